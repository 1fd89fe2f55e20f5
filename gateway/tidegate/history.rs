//! A gateway's log through the fold, read-only: what was told, and under which settings. Also
//! beside a running process: no lock, nothing changed.

use crate::outcome::Failure;
use anyhow::anyhow;
use journal::{Frame, Reader, snapshot};
use replica::alert::AlertBody;
use replica::fold::{Fold, FoldConfig};
use std::ops::ControlFlow;
use std::path::Path;

/// What the log tells.
#[derive(Default)]
pub struct History {
    /// The state at its end.
    pub fold: Fold,
    /// Alerts in the order in which they were made.
    pub alerts: Vec<AlertBody>,
    /// Starts of the gateway: the logged clock in ms, the boot, its settings.
    pub boots: Vec<(i64, u64, FoldConfig)>,
    /// The records before are gone; what was told then is not known.
    pub is_cut: bool,
}

/// Opens the log of a data dir.
///
/// # Errors
/// [`Failure::Usage`] when it has none, [`Failure::Running`] when it cannot be read.
pub fn open(data_dir: &Path) -> Result<Reader, Failure> {
    if !data_dir.join("log").is_dir() {
        return Err(Failure::Usage(anyhow!("{} is no data dir: it has no log", data_dir.display())));
    }
    Reader::open(data_dir).map_err(|error| Failure::Running(error.into()))
}

/// The state before the first record that is still there: empty, or the oldest snapshot that
/// the log goes on from.
///
/// # Errors
/// [`Failure::Running`] when the log begins later and no snapshot fits.
pub fn beginning(reader: &Reader, first: u64) -> Result<Fold, Failure> {
    if first <= 1 {
        return Ok(Fold::default());
    }
    let disk = journal::disk::RealDisk;
    let mut listed = snapshot::list(&disk, reader.dir()).map_err(anyhow::Error::from)?;
    listed.sort_by_key(|saved| saved.at);
    let fits = listed.iter().filter(|saved| saved.at + 1 >= first);
    let restored = fits.filter_map(|saved| Fold::restore(&snapshot::read(&disk, reader.dir(), saved.at)?).ok()).next();
    restored.ok_or_else(|| Failure::Running(anyhow!("the log begins with record {first} and no snapshot says what was before")))
}

/// Goes through the whole log, frame by frame, from what was before its first record.
///
/// # Errors
/// [`Failure::Usage`] for a folder that is no gateway's, [`Failure::Running`] when it cannot be read or folded.
pub fn each_frame(
    data_dir: &Path,
    mut begin: impl FnMut(Fold) -> Result<(), Failure>,
    mut each: impl FnMut(&Frame) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if let Some(owner) = journal::owner::of(data_dir).map_err(anyhow::Error::from)?.filter(|owner| !owner.starts_with("gateway ")) {
        return Err(Failure::Usage(anyhow!("{} holds the data of {owner}, no gateway's", data_dir.display())));
    }
    let reader = open(data_dir)?;
    let mut begun = false;
    let mut failed = None;
    let seen = reader.frames(|frame| {
        let mut step = || {
            if !std::mem::replace(&mut begun, true) {
                begin(beginning(&reader, frame.first)?)?;
            }
            each(frame)
        };
        match step() {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(failure) = failed {
        return Err(failure);
    }
    for damage in seen.map_err(anyhow::Error::from)?.damage {
        tracing::warn!("{damage}");
    }
    Ok(())
}

/// Reads it all.
///
/// # Errors
/// As [`each_frame`].
pub fn read(data_dir: &Path) -> Result<History, Failure> {
    let fold = std::cell::RefCell::new(Fold::default());
    let mut history = History::default();
    let mut is_cut = false;
    each_frame(
        data_dir,
        |before| {
            is_cut = before.lsn > 0;
            *fold.borrow_mut() = before;
            Ok(())
        },
        |frame| {
            let mut fold = fold.borrow_mut();
            let boots = fold.boots.len();
            fold.frame(frame.first, frame.marks, frame.records()).map_err(anyhow::Error::from)?;
            if let Some(part) = fold.boots.last().filter(|_| fold.boots.len() > boots) {
                history.boots.push((fold.clock_ms, part.boot, fold.config.clone()));
            }
            history.alerts.extend(fold.fresh.drain(..).map(|(_, alert)| alert));
            Ok(())
        },
    )?;
    history.fold = fold.into_inner();
    history.is_cut = is_cut;
    Ok(history)
}
