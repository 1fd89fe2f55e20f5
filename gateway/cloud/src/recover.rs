//! What an earlier process left: the merge store as of record N, or the last snapshot, and the
//! log behind it.

use crate::error::Error;
use crate::store::{self, Handle};
use journal::Opened;
use replica::join::{Bridge, Effects};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;
use tracing::{info, warn};

/// A bridge as of the log's end.
pub struct Recovered {
    /// The fold.
    pub bridge: Bridge,
    /// Its store.
    pub store: Handle,
    /// What no broker is known to have taken, by record.
    pub unpublished: Vec<(u64, Effects)>,
}

/// Finds the state and folds the log on from there.
///
/// # Errors
/// When log or store cannot be read, or a newer program wrote them.
pub fn recover(data_dir: &Path, opened: &Opened, kernel: &str) -> Result<Recovered, Error> {
    let began = Instant::now();
    let (mut bridge, store) = base(data_dir, opened, kernel)?;
    let from = bridge.lsn;
    bridge.quiet = u64::MAX;
    let mut failed = None;
    let gaps = opened.replay(from, &mut |frame| {
        let mut fold = || -> Result<(), replica::Error> {
            for (lsn, kind, payload) in frame.records().filter(|(lsn, _, _)| *lsn > from) {
                bridge.apply(lsn, kind, payload)?;
            }
            bridge.settle()?;
            if bridge.is_full() && store.has_room() { bridge.begin_flush() } else { Ok(()) }
        };
        match fold() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        // What stopped it may be the store's own damage.
        store.distrust();
        return Err(error.into());
    }
    for gap in gaps {
        warn!(first = gap.first, last = gap.last, "records of the log are damaged; what gateways sent in them may be missing for good");
    }
    bridge.quiet = 0;
    let unpublished = bridge.unpublished()?;
    info!(from, to = opened.end(), seconds = began.elapsed().as_secs_f64(), "folded");
    Ok(Recovered { bridge, store, unpublished })
}

/// The state to go on from.
fn base(data_dir: &Path, opened: &Opened, kernel: &str) -> Result<(Bridge, Handle), Error> {
    let snapshot = opened.snapshot();
    let base = snapshot.as_ref().map_or(0, |(lsn, _)| *lsn);
    if base == 0 && opened.first() > 1 {
        warn!(first = opened.first(), "the log begins late, and no snapshot is whole; what lies before is lost");
    }
    let trouble = |error: replica::join::store::StoreError| Error::Store(error.to_string());
    let (keeper, handle, found) = store::open(data_dir, kernel, (opened.first(), opened.end()), base).map_err(trouble)?;
    if let Some(found) = found {
        match Bridge::restore(&found.state, Box::new(keeper)) {
            Ok(bridge) => return Ok((bridge, handle)),
            Err(error) => warn!(%error, "the merge store's state is of no use"),
        }
        handle.distrust();
        drop(handle);
        let (keeper, handle, _) = store::open(data_dir, kernel, (opened.first(), opened.end()), base).map_err(trouble)?;
        return Ok((of_snapshot(snapshot, keeper)?, handle));
    }
    Ok((of_snapshot(snapshot, keeper)?, handle))
}

fn of_snapshot(snapshot: Option<(u64, Vec<u8>)>, keeper: store::Keeper) -> Result<Bridge, Error> {
    match snapshot {
        Some((_, bytes)) => Ok(Bridge::restore(&bytes, Box::new(keeper))?),
        None => Ok(Bridge::new(Box::new(keeper))),
    }
}
