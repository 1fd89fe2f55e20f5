//! The embedded merge store: merged windows on disk, in two layers under `DATA_DIR/windows`.
//!
//! - **live**, in sled: windows that changed since record B, the last snapshot of the log, as of
//!   record N, with the bridge's other state as of N beside it. Working state only: sled 0.34
//!   ends `flush()` in `sync_file_range`, so after a power cut its files are anybody's guess.
//!   It is trusted while the kernel has not been started anew, or when it was closed after a
//!   real sync of its files; else, or when it does not open, it is thrown away.
//! - **runs** ([`run`]): windows as of a snapshot, in files written once, synced, and never
//!   changed. Half a run is never seen.
//!
//! Now and then live **rolls** over: what it has goes to runs, one for each day that its
//! windows start on; then the snapshot as of that record goes to the journal, and the log
//! before it may be cut. So a start folds the log from N; after a power cut from B; and the
//! disk holds each window once, in some 20 bytes. sled never gives space back; runs of
//! windows that have expired are removed.

pub mod run;

use journal::disk::{Disk, RealDisk};
use parking_lot::Mutex;
use replica::join::store::{Store, StoreError};
use replica::join::window::{decode, encode};
use replica::join::{Window, WindowKey};
use run::{KEY, Run, Runs, Writer, day_of, key_bytes, key_of};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tracing::{error, info, warn};

/// sled's own cache: what changes is in memory before it already.
const CACHE_BYTES: u64 = 64 << 20;
/// Windows written to live before it rolls over: a power cut costs folding so many again, a
/// minute or less.
const ROLL_WINDOWS: u64 = 4 << 20;
/// Records since the snapshot before live rolls over.
const ROLL_RECORDS: u64 = 1 << 20;
/// Live rolls over after this time too, so that the log of a small plant can be cut.
const ROLL_AGE: Duration = Duration::from_secs(86_400);
/// Not for fewer records than this.
const ROLL_RECORDS_MIN: u64 = 10_000;
/// Runs written at once: file handles are few.
const WRITERS_MAX: usize = 64;
/// Where live says as of which record it is.
const AS_OF: &[u8] = b"as of";
/// Nothing is written with less room than this on the disk, in bytes: sled that meets a full disk
/// is of no more use, and the log, which can wait, needs the rest.
const ROOM_MIN: u64 = 32 << 20;
/// Version of all of it; another is thrown away.
const FORMAT: u32 = 1;

/// Takes the bridge's state as of a record to the log, or says whether it is there; `None` once
/// the log has ended.
pub type Save = Arc<dyn Fn(u64, Option<Vec<u8>>) -> Option<bool> + Send + Sync>;

/// What lies open of one sled.
struct Live {
    base: u64,
    dir: PathBuf,
    db: sled::Db,
    written: u64,
    since: SystemTime,
}

/// What readers and the thread that writes runs share.
#[derive(Default)]
struct Shared {
    /// A live that rolled over, until its runs are written.
    frozen: Mutex<Option<sled::Db>>,
    runs: Mutex<Runs>,
    /// Whether the disk had no room when it was looked at last.
    is_short: AtomicBool,
    /// Windows that ended before this are not kept.
    oldest_ms: Mutex<i64>,
}

/// The store, for the bridge.
pub struct Keeper {
    live: Arc<Mutex<Live>>,
    shared: Arc<Shared>,
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

impl Live {
    /// Opens or makes one; from here on its files change without being synced.
    fn open(dir: &Path, base: u64, kernel: &str) -> Result<Self, StoreError> {
        fs::create_dir_all(dir)?;
        match fs::remove_file(dir.join("closed")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::write(dir.join("kernel"), kernel)?;
        File::open(dir.join("kernel"))?.sync_all()?;
        sync_dir(dir)?;
        let config =
            sled::Config::new().path(dir.join("sled")).cache_capacity(CACHE_BYTES).flush_every_ms(None).mode(sled::Mode::HighThroughput);
        // Damaged files make sled panic in places.
        let db = catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|_| "sled panics over its files")??;
        let since = dir.join("since");
        if !since.exists() {
            fs::write(&since, b"")?;
        }
        let since = fs::metadata(&since)?.modified()?;
        Ok(Self { base, dir: dir.to_owned(), db, written: 0, since })
    }

    fn is_trusted(dir: &Path, kernel: &str) -> bool {
        dir.join("closed").exists() || fs::read_to_string(dir.join("kernel")).is_ok_and(|then| then == kernel)
    }

    /// As of which record it is, with the state beside it.
    fn found(&mut self) -> Result<Found, StoreError> {
        let meta = self.db.get(AS_OF)?.ok_or("it was never written")?;
        let number = |range| meta.get::<std::ops::Range<usize>>(range).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (Some(lsn), Some(written), Some(FORMAT)) = (number(0..8), number(8..16), number(16..24).map(|f| f as u32)) else {
            return Err("it has another format".into());
        };
        let bytes = fs::read(self.dir.join(format!("state-{lsn:020}")))?;
        let (crc, state) = bytes.split_at_checked(4).ok_or("its state is cut")?;
        if crc32c::crc32c(state).to_le_bytes() != crc {
            return Err("its state is damaged".into());
        }
        self.written = written;
        Ok(Found { lsn, state: state.to_vec() })
    }

    fn write(&mut self, lsn: u64, state: &[u8], changed: &[(WindowKey, &Window)]) -> Result<(), StoreError> {
        let path = self.dir.join(format!("state-{lsn:020}"));
        let mut bytes = crc32c::crc32c(state).to_le_bytes().to_vec();
        bytes.extend_from_slice(state);
        fs::write(&path, bytes)?;
        self.written += changed.len() as u64;
        let mut batch = sled::Batch::default();
        for (key, window) in changed {
            batch.insert(&key_bytes(*key)[..], encode(std::iter::once((*key, *window))));
        }
        let mut meta = lsn.to_le_bytes().to_vec();
        meta.extend_from_slice(&self.written.to_le_bytes());
        meta.extend_from_slice(&u64::from(FORMAT).to_le_bytes());
        batch.insert(AS_OF, meta);
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        for entry in fs::read_dir(&self.dir)? {
            let other = entry?.path();
            if other != path && other.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("state-")) {
                fs::remove_file(other)?;
            }
        }
        Ok(())
    }
}

fn read(db: &sled::Db, key: WindowKey) -> Result<Option<Window>, StoreError> {
    match db.get(key_bytes(key))? {
        None => Ok(None),
        Some(bytes) => Ok(decode(&bytes)?.pop().map(|(_, window)| window)),
    }
}

/// Opens the store of a data dir: as an earlier process left it, where that can be trusted and
/// the log has all that it has; else as of the snapshot `base`, 0 for none.
///
/// # Errors
/// When its dir cannot be written.
pub fn open(data_dir: &Path, kernel: &str, log_end: u64, base: u64) -> Result<(Keeper, Handle, Option<Found>), StoreError> {
    let dir = data_dir.join("windows");
    fs::create_dir_all(&dir)?;
    sync_dir(data_dir)?;
    let (live, frozen, found) = match reopen(&dir, kernel, log_end, base) {
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
            // Written for a snapshot that never came to be: the log has it again.
            Ok(Some(run)) if run.label > live.base || (frozen.is_some() && run.label == live.base) => fs::remove_file(path)?,
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
        oldest_ms: Mutex::new(i64::MIN),
    });
    let live = Arc::new(Mutex::new(live));
    let handle = Handle { dir, kernel: kernel.to_owned(), live: live.clone(), shared: shared.clone() };
    Ok((Keeper { live, shared }, handle, found))
}

/// What an earlier process left, if it can be gone on with.
fn reopen(dir: &Path, kernel: &str, log_end: u64, base: u64) -> Result<(Live, Option<sled::Db>, Found), StoreError> {
    let mut old = lives(dir)?;
    let (newest, path) = old.pop().ok_or("there is none")?;
    if !Live::is_trusted(&path, kernel) {
        return Err("it was not closed before the machine went down".into());
    }
    let mut live = Live::open(&path, newest, kernel)?;
    let found = live.found()?;
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

impl Store for Keeper {
    fn get(&mut self, key: WindowKey) -> Result<Option<Window>, StoreError> {
        if let Some(window) = read(&self.live.lock().db, key)? {
            return Ok(Some(window));
        }
        // Held while it is read, so that it is not taken away between a miss here and its runs.
        let frozen = self.shared.frozen.lock();
        if let Some(db) = &*frozen
            && let Some(window) = read(db, key)?
        {
            return Ok(Some(window));
        }
        drop(frozen);
        Ok(self.shared.runs.lock().get(key))
    }

    fn write(&mut self, lsn: u64, state: &dyn Fn() -> Vec<u8>, changed: &[(WindowKey, &Window)]) -> Result<(), StoreError> {
        self.live.lock().write(lsn, &state(), changed)
    }

    fn forget(&mut self, before_ms: i64) {
        *self.shared.oldest_ms.lock() = before_ms;
        let gone = self.shared.runs.lock().remove(|run| run.end_ms < before_ms);
        for run in gone {
            // Tried again at the next start, when it is still there.
            if let Err(error) = fs::remove_file(&run.path) {
                warn!(%error, path = %run.path.display(), "an expired run is not removed");
            }
        }
    }
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

    /// Looks whether the disk has room to write to. Without, what changed stays in memory: the log
    /// has it.
    pub fn has_room(&self) -> bool {
        let has_room = RealDisk.free(&self.dir).is_ok_and(|free| free >= ROOM_MIN);
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

    /// Whether live should roll over at record `lsn`.
    pub fn is_full(&self, lsn: u64) -> bool {
        let live = self.live.lock();
        let records = lsn.saturating_sub(live.base);
        let old = || live.since.elapsed().is_ok_and(|age| age >= ROLL_AGE);
        let full = live.written >= ROLL_WINDOWS || records >= ROLL_RECORDS || (records >= ROLL_RECORDS_MIN && old());
        full && self.shared.frozen.lock().is_none()
    }

    /// Goes on with what an earlier process began to roll over.
    pub fn resume(&self, save: Save) {
        let label = self.live.lock().base;
        let state = fs::read(self.dir.join(format!("live-{label:020}/base"))).unwrap_or_default();
        let frozen = self.shared.frozen.lock().clone();
        if let Some(db) = frozen {
            self.write_runs(db, label, state, save);
        }
    }

    /// Begins a new live as of record `lsn`, where the bridge stands as `state` says and has
    /// just been flushed; the old one's windows go to runs beside the work, and then `state`
    /// to the log.
    ///
    /// # Errors
    /// When the new one cannot be made; the old one stays.
    pub fn roll(&self, lsn: u64, state: Vec<u8>, save: Save) -> Result<(), StoreError> {
        let path = self.dir.join(format!("live-{lsn:020}"));
        fs::create_dir_all(&path)?;
        // Before anything of the new live counts: from it the snapshot is made, by whichever process.
        fs::write(path.join("base"), &state)?;
        let mut next = Live::open(&path, lsn, &self.kernel)?;
        next.write(lsn, &state, &[])?;
        next.written = 0;
        let old = std::mem::replace(&mut *self.live.lock(), next);
        *self.shared.frozen.lock() = Some(old.db.clone());
        self.write_runs(old.db, lsn, state, save);
        Ok(())
    }

    fn write_runs(&self, db: sled::Db, label: u64, state: Vec<u8>, save: Save) {
        let (dir, shared) = (self.dir.clone(), self.shared.clone());
        let work = move || match rolled(&dir, &shared, db, label, state, &save) {
            Ok(windows) => info!(windows, label, "merged windows are in runs"),
            Err(error) => {
                error!(%error, "merged windows cannot be written to runs; the log stays longer, and it is tried again after a restart")
            }
        };
        if let Err(error) = std::thread::Builder::new().name("runs".into()).spawn(work) {
            error!(%error, "there is no thread for runs");
        }
    }

    /// Syncs everything for real: whatever happens to the machine, it can be gone on with. The
    /// bridge has been flushed, and does not write any more.
    ///
    /// # Errors
    /// The system's.
    pub fn close(&self) -> Result<(), StoreError> {
        let live = self.live.lock();
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

/// Writes a frozen live to runs, then its snapshot, then removes it.
fn rolled(dir: &Path, shared: &Shared, db: sled::Db, label: u64, state: Vec<u8>, save: &Save) -> Result<u64, StoreError> {
    let oldest_ms = *shared.oldest_ms.lock();
    let mut finished = Vec::new();
    let mut days_done: BTreeSet<i64> = BTreeSet::new();
    loop {
        let mut writers: BTreeMap<i64, Writer> = BTreeMap::new();
        let mut left = false;
        for item in db.iter() {
            let (key, value) = item?;
            let Some(key) = (key.len() == KEY).then(|| key_of(&key)).flatten() else { continue };
            let day = day_of(key);
            if days_done.contains(&day) || key.2.saturating_add(key.1) < oldest_ms {
                continue;
            }
            if !writers.contains_key(&day) {
                if writers.len() == WRITERS_MAX {
                    left = true;
                    continue;
                }
                writers.insert(day, Writer::new(dir, day, label)?);
            }
            let (Some(writer), Some((_, window))) = (writers.get_mut(&day), decode(&value)?.pop()) else { continue };
            writer.push(key, window)?;
        }
        for (day, writer) in writers {
            days_done.insert(day);
            finished.push(writer.finish()?);
        }
        if !left {
            break;
        }
    }
    sync_dir(dir)?;
    let windows = finished.iter().map(|run| run.windows).sum();
    {
        // Together, so that a reader finds a window in the one or the other.
        let mut frozen = shared.frozen.lock();
        let mut runs = shared.runs.lock();
        finished.into_iter().for_each(|run| runs.add(run));
        drop(db);
        *frozen = None;
    }
    save(label, Some(state));
    loop {
        match save(label, None) {
            Some(true) => break,
            Some(false) => std::thread::sleep(Duration::from_millis(200)),
            None => return Ok(windows),
        }
    }
    for (base, path) in lives(dir)? {
        if base < label {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(windows)
}

#[cfg(test)]
mod tests;
