//! The embedded merge store: merged windows on disk, in two layers under `DATA_DIR/windows`.
//!
//! - **live** ([`live`]), in sled: windows that changed since record B, the last snapshot of the log, as of
//!   record N, with the bridge's other state as of N beside it. Working state only: sled 0.34
//!   ends `flush()` in `sync_file_range`, so after a power cut its files are anybody's guess.
//!   It is trusted while the kernel has not been started anew, or when it was closed after a
//!   real sync of its files; else, or when it does not open, it is thrown away.
//! - **runs** ([`run`]): windows as of a snapshot, in files written once, synced, and never
//!   changed. Half a run is never seen.
//!
//! Batches are written, and live rolls over, on a thread of their own ([`keeper`]): whoever reads waits
//! for neither.
//!
//! Now and then live **rolls** over ([`rolling`]): what it has goes to runs, one for each day that its
//! windows start on; then the snapshot as of that record goes to the journal, and the log
//! before it may be cut. So a start folds the log from N; after a power cut from B; and the
//! disk holds each window once, in some 20 bytes. sled never gives space back; runs of
//! windows that have expired are removed.

mod keeper;
mod live;
mod rolling;
pub mod run;

use journal::disk::{Disk, RealDisk};
pub use keeper::Keeper;
use live::Live;
use parking_lot::Mutex;
use replica::join::store::{Store, StoreError};
use run::{Run, Runs};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};
use tracing::{error, info, warn};

/// Nothing is written unless so much room is left behind it on the disk, in bytes: sled that meets a
/// full disk is of no more use, and the log, which can wait, needs the rest.
const ROOM_MIN: u64 = 32 << 20;
/// Says how much room a dir has, in bytes.
type Probe = Box<dyn Fn(&Path) -> io::Result<u64> + Send>;
/// Takes the bridge's state as of a record to the log, or says whether it is there; `None` once
/// the log has ended.
pub type Save = Arc<dyn Fn(u64, Option<Vec<u8>>) -> Option<bool> + Send + Sync>;

/// What readers and the thread that writes runs share.
struct Shared {
    /// A live that rolled over, until its runs are written.
    frozen: Mutex<Option<sled::Db>>,
    runs: Mutex<Runs>,
    /// Whether the disk had no room when it was looked at last.
    is_short: AtomicBool,
    /// Bytes that the batch under way takes, or the last one took.
    wanted: AtomicU64,
    /// A batch waits for room.
    is_waiting: AtomicBool,
    /// The bridge is gone: nothing waits any more.
    is_closing: AtomicBool,
    /// How room is looked for.
    probe: Mutex<Probe>,
    /// Until when live does not try to roll over again.
    rests: Mutex<Option<Instant>>,
    /// Windows that ended before this are not kept.
    oldest_ms: Mutex<i64>,
    /// Where snapshots go, once it is known.
    save: Mutex<Option<Save>>,
}

/// A handle on the store for its owner, who decides when it rolls over and when it closes.
#[derive(Clone)]
pub struct Handle {
    dir: PathBuf,
    kernel: String,
    live: Arc<Mutex<Live>>,
    shared: Arc<Shared>,
}

/// What was found of an earlier process.
pub struct Found {
    /// Record as of which the store is.
    pub lsn: u64,
    /// The bridge's other state then.
    pub state: Vec<u8>,
}

/// Figures of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Runs, windows in them, their bytes.
    pub runs: (u64, u64, u64),
    /// Windows written to live since its snapshot.
    pub live_windows: u64,
    /// Parts of runs that were lost.
    pub damaged: u64,
}

/// The kernel's present start; what the page cache holds is as old as that at most.
pub fn kernel_boot() -> String {
    // Unreadable, it is never the same again: nothing is trusted that was not synced.
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| format!("{:?}", SystemTime::now()), |id| id.trim().to_owned())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Syncs every file below a dir, for real.
fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync_dir(dir)
}

fn lives(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let base = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("live-")).and_then(|n| n.parse().ok());
        found.extend(base.map(|base| (base, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Opens the store of a data dir: as an earlier process left it, where that can be trusted and
/// the log (its first record and its last) has all that it has; else as of the snapshot `base`, 0 for none.
///
/// # Errors
/// When its dir cannot be written.
pub fn open(data_dir: &Path, kernel: &str, log: (u64, u64), base: u64) -> Result<(Keeper, Handle, Option<Found>), StoreError> {
    let dir = data_dir.join("windows");
    fs::create_dir_all(&dir)?;
    sync_dir(data_dir)?;
    let (live, frozen, found) = match reopen(&dir, kernel, log.1, base) {
        Ok((live, frozen, found)) => (live, frozen, Some(found)),
        Err(why) => {
            let old = lives(&dir)?;
            if !old.is_empty() {
                info!(%why, base, "the merge store is folded again from the last snapshot");
            }
            for (_, path) in old {
                fs::remove_dir_all(path)?;
            }
            (Live::open(&dir.join(format!("live-{base:020}")), base, kernel)?, None, None)
        }
    };
    let mut runs = Runs::default();
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "tmp") {
            fs::remove_file(path)?;
            continue;
        }
        match Run::open(&path) {
            // Written for a snapshot that never came to be: the log has it again. Or for one that is
            // no longer whole, and the log behind it was cut.
            Ok(Some(run)) if run.label > live.base || (frozen.is_some() && run.label == live.base) => {
                if run.label > live.base && log.0 > live.base + 1 {
                    error!(path = %path.display(), "the snapshot that a run of merged windows belongs to is lost; the run is set aside");
                    fs::rename(&path, path.with_extension("damaged"))?;
                    runs.damaged += 1;
                } else {
                    fs::remove_file(path)?;
                }
            }
            Ok(Some(run)) => runs.add(run),
            Ok(None) => {}
            Err(error) => {
                error!(%error, path = %path.display(), "a run of merged windows is damaged; it is set aside, and its windows begin anew");
                fs::rename(&path, path.with_extension("damaged"))?;
                runs.damaged += 1;
            }
        }
    }
    let shared = Arc::new(Shared {
        frozen: Mutex::new(frozen),
        runs: Mutex::new(runs),
        is_short: AtomicBool::new(false),
        wanted: AtomicU64::new(0),
        is_waiting: AtomicBool::new(false),
        is_closing: AtomicBool::new(false),
        probe: Mutex::new(Box::new(|dir| RealDisk.free(dir))),
        rests: Mutex::new(None),
        oldest_ms: Mutex::new(i64::MIN),
        save: Mutex::new(None),
    });
    let live = Arc::new(Mutex::new(live));
    let handle = Handle { dir, kernel: kernel.to_owned(), live, shared };
    Ok((Keeper::new(handle.clone())?, handle, found))
}

/// What an earlier process left, if it can be gone on with.
fn reopen(dir: &Path, kernel: &str, log_end: u64, base: u64) -> Result<(Live, Option<sled::Db>, Found), StoreError> {
    let mut old = lives(dir)?;
    let (newest, path) = old.pop().ok_or("there is none")?;
    if !Live::is_trusted(&path, kernel) {
        return Err("it was not closed before the machine went down".into());
    }
    let mut live = Live::open(&path, newest, kernel)?;
    let (lsn, state) = live.found()?;
    let found = Found { lsn, state };
    if found.lsn > log_end {
        return Err(format!("it is as of record {}, and the log ends with {log_end}", found.lsn).into());
    }
    let mut frozen = None;
    for (older, path) in old.into_iter().rev() {
        // The snapshot as of which `newest` begins is there: so are the runs behind it.
        if newest <= base {
            fs::remove_dir_all(path)?;
        } else if frozen.is_none() && Live::is_trusted(&path, kernel) {
            frozen = Some(Live::open(&path, older, kernel)?.db);
        } else {
            return Err("an older one is not in runs yet, and cannot be trusted".into());
        }
    }
    if newest > base && frozen.is_none() && newest != 0 {
        return Err("its snapshot is gone".into());
    }
    Ok((live, frozen, found))
}

impl Handle {
    /// Figures.
    pub fn figures(&self) -> Figures {
        let runs = self.shared.runs.lock();
        let sum = |f: fn(&Run) -> u64| runs.list().iter().map(f).sum::<u64>();
        Figures {
            runs: (runs.list().len() as u64, sum(|r| r.windows), sum(|r| r.bytes)),
            live_windows: self.live.lock().written,
            damaged: runs.damaged,
        }
    }

    fn free(&self) -> u64 {
        self.shared.probe.lock()(&self.dir).unwrap_or(0)
    }

    /// Looks whether the disk has room for a batch like the last. Without, what changed stays in memory:
    /// the log has it.
    pub fn has_room(&self) -> bool {
        let has_room = self.free() >= ROOM_MIN.saturating_add(self.shared.wanted.load(Ordering::Relaxed));
        if self.shared.is_short.swap(!has_room, Ordering::Relaxed) == has_room {
            match has_room {
                true => info!("the merge store has room again"),
                false => {
                    warn!("the merge store has no room on its disk: what changes stays in memory, and is folded again after a restart")
                }
            }
        }
        has_room
    }

    /// Whether the disk had no room when it was looked at last.
    pub fn is_short(&self) -> bool {
        self.shared.is_short.load(Ordering::Relaxed)
    }

    /// Syncs everything for real: whatever happens to the machine, it can be gone on with. The
    /// bridge has been flushed, and does not write any more.
    ///
    /// # Errors
    /// The system's.
    pub fn close(&self) -> Result<(), StoreError> {
        let live = self.live.lock().clone();
        live.db.flush()?;
        if self.shared.frozen.lock().is_some() {
            // Under way, and folded again if the machine goes down before it is finished.
            return Ok(());
        }
        sync_all(&live.dir)?;
        fs::write(live.dir.join("closed"), b"")?;
        sync_all(&live.dir)?;
        sync_dir(&self.dir)?;
        Ok(())
    }

    /// What is there must not be gone on with: the next start folds it again.
    pub fn distrust(&self) {
        for (_, path) in lives(&self.dir).unwrap_or_default() {
            if let Err(error) = fs::remove_file(path.join("kernel")) {
                warn!(%error, path = %path.display(), "the merge store may be trusted wrongly; remove it");
            }
        }
    }
}

#[cfg(test)]
mod tests;
