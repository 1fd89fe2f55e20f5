//! Rolling over: a new live begins, the old one's windows go to runs beside the work, then the snapshot
//! goes to the log.

use super::live::Live;
use super::run::{KEY, Run, Writer, day_of, key_of};
use super::{Handle, ROOM_MIN, Save, Shared, StoreError, lives, sync_dir};
use replica::join::window::decode;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
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
/// What failed is tried again after at least and at most so long, each time twice as long.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How often it is looked whether a snapshot is in the log, and how many times before it is put there
/// again, at first and at most.
const SNAPSHOT_LOOK: Duration = Duration::from_millis(200);
/// See [`SNAPSHOT_LOOK`].
const SNAPSHOT_LOOKS: u32 = 10;
/// See [`SNAPSHOT_LOOK`].
const SNAPSHOT_LOOKS_MAX: u32 = 300;
/// Bytes of a window in a run, before it is written: more than most take.
const RUN_WINDOW_BYTES_GUESS: u64 = 32;
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
        full && self.shared.rests.lock().is_none_or(|until| Instant::now() >= until) && self.shared.frozen.lock().is_none()
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

    /// Live does not try to roll over for a moment.
    pub(super) fn rest(&self) {
        *self.shared.rests.lock() = Some(Instant::now() + PAUSE.1);
    }

    /// Begins a new live as of record `lsn`, where the bridge stands as `state` says and has
    /// just been flushed; the old one's windows go to runs beside the work, and then `state`
    /// to the log.
    ///
    /// # Errors
    /// When the new one cannot be made; the old one stays.
    pub fn roll(&self, lsn: u64, state: Vec<u8>, save: Save) -> Result<(), StoreError> {
        // The state beside each live and in the log, and the runs.
        let wanted = 3 * state.len() as u64 + RUN_WINDOW_BYTES_GUESS * self.live.lock().written;
        if self.free() < ROOM_MIN.saturating_add(wanted) {
            return Err(format!("it takes some {} MiB of room", (ROOM_MIN + wanted) >> 20).into());
        }
        let path = self.dir.join(format!("live-{lsn:020}"));
        let next = match self.begin(&path, lsn, &state) {
            Ok(next) => next,
            Err(error) => {
                // Found at the next start, it would be one that was never written.
                drop(fs::remove_dir_all(path));
                return Err(error);
            }
        };
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

    fn begin(&self, path: &Path, lsn: u64, state: &[u8]) -> Result<Live, StoreError> {
        fs::create_dir_all(path)?;
        // Before anything of the new live counts: from it the snapshot is made, by whichever process.
        fs::write(path.join("base"), state)?;
        let mut next = Live::open(path, lsn, &self.kernel)?;
        next.prepare(lsn, state, &[])?;
        next.take(lsn, &[])?;
        next.written = 0;
        Ok(next)
    }

    fn write_runs(&self, db: sled::Db, label: u64, state: Vec<u8>, save: Save) {
        let (dir, shared) = (self.dir.clone(), self.shared.clone());
        let work = move || match rolled(&dir, &shared, db, label, &state, &save) {
            Ok(windows) => info!(windows, label, "merged windows are in runs"),
            Err(error) => error!(%error, "what rolled over is not removed; the next start does it"),
        };
        if let Err(error) = std::thread::Builder::new().name("runs".into()).spawn(work) {
            error!(%error, "there is no thread for runs; they are written after a restart");
        }
    }
}

/// Waits a while, each time longer. Whether the log still goes on.
fn pause(length: &mut Duration, label: u64, save: &Save) -> bool {
    std::thread::sleep(*length);
    *length = (*length * 2).min(PAUSE.1);
    save(label, None).is_some()
}

/// Writes a frozen live to runs, then its snapshot, then removes it. What fails is tried again: until
/// then the log cannot be cut, and no other live rolls over.
fn rolled(dir: &Path, shared: &Shared, db: sled::Db, label: u64, state: &[u8], save: &Save) -> Result<u64, StoreError> {
    let mut length = PAUSE.0;
    let finished = loop {
        match to_runs(dir, shared, &db, label) {
            Ok(finished) => break finished,
            Err(error) => {
                discard(dir, label);
                error!(%error, "merged windows cannot be written to runs; the log stays longer, and it is tried again");
                if !pause(&mut length, label, save) {
                    return Ok(0);
                }
            }
        }
    };
    let windows = finished.iter().map(|run| run.windows).sum();
    {
        // Together, so that a reader finds a window in the one or the other.
        let mut frozen = shared.frozen.lock();
        let mut runs = shared.runs.lock();
        finished.into_iter().for_each(|run| runs.add(run));
        drop(db);
        *frozen = None;
    }
    let mut patience = SNAPSHOT_LOOKS;
    loop {
        // One that the log could not write is forgotten there.
        save(label, Some(state.to_vec()));
        let mut looks = 0..patience;
        let is_there = looks.find_map(|_| match save(label, None) {
            Some(false) => {
                std::thread::sleep(SNAPSHOT_LOOK);
                None
            }
            answer => Some(answer),
        });
        match is_there {
            Some(Some(_)) => break,
            Some(None) => return Ok(windows),
            None => patience = (2 * patience).min(SNAPSHOT_LOOKS_MAX),
        }
    }
    for (base, path) in lives(dir)? {
        if base < label {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(windows)
}

/// Takes away what was written of runs that are not all there: whoever needs the room has it.
fn discard(dir: &Path, label: u64) {
    let label = format!("-{label:020}");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_run = |name: &str| name.starts_with("run-") && name.ends_with(&label);
        if path.file_stem().and_then(|name| name.to_str()).is_some_and(is_run) {
            // Written over when it is tried again.
            drop(fs::remove_file(path));
        }
    }
}

fn to_runs(dir: &Path, shared: &Shared, db: &sled::Db, label: u64) -> Result<Vec<Run>, StoreError> {
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
    Ok(finished)
}
