//! Rolling over: a new live begins, the old one's windows go to runs beside the work, then the snapshot
//! goes to the log.

use super::live::Live;
use super::run::{KEY, Writer, day_of, key_of};
use super::{Handle, Save, Shared, StoreError, lives, sync_dir};
use replica::join::window::decode;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tracing::{error, info};

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

impl Handle {
    /// Whether live should roll over at record `lsn`.
    pub fn is_full(&self, lsn: u64) -> bool {
        let full = {
            let live = self.live.lock();
            let records = lsn.saturating_sub(live.base);
            let old = || live.since.elapsed().is_ok_and(|age| age >= ROLL_AGE);
            live.written >= ROLL_WINDOWS || records >= ROLL_RECORDS || (records >= ROLL_RECORDS_MIN && old())
        };
        full && self.shared.frozen.lock().is_none()
    }

    /// From here on the store rolls over by itself; what an earlier process began goes on.
    pub fn resume(&self, save: Save) {
        *self.shared.save.lock() = Some(save.clone());
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
        let old = {
            // Together: who misses a window in the new one looks into the old one.
            let mut frozen = self.shared.frozen.lock();
            let old = std::mem::replace(&mut *self.live.lock(), next);
            *frozen = Some(old.db.clone());
            old
        };
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
