//! The owner's state as of a record, written atomically: a file of its own, synced, renamed,
//! the dir synced. `snap-NNNNNNNNNNNNNNNNNNNN`, named by the record:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `TGSNAP\0\0` |
//! | 8 | 4 | format version |
//! | 12 | 4 | CRC-32C of all that follows |
//! | 16 | 8 | the record's number |
//! | 24 | 8 | length of the state in bytes |
//! | 32 | … | the state |

use crate::Lsn;
use crate::append::Shared;
use crate::disk::Disk;
use crate::error::{Error, at};
use crate::format::{VERSION, u32_at, u64_at};
use crate::retention;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::atomic::Ordering;

/// First bytes of a snapshot.
pub const MAGIC: [u8; 8] = *b"TGSNAP\0\0";
/// Bytes before the state.
pub const HEADER: usize = 32;
/// Name of a snapshot while it is written.
pub(crate) const TEMPORARY: &str = "snap.tmp";

/// A snapshot on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The record as of which it is.
    pub at: Lsn,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// Where the snapshot as of a record lies.
pub fn path_of(dir: &Path, at: Lsn) -> PathBuf {
    dir.join(format!("snap-{at:020}"))
}

/// Writes a snapshot; it counts once this has returned.
///
/// # Errors
/// The system's; earlier snapshots are as they were.
pub fn write(disk: &dyn Disk, dir: &Path, lsn: Lsn, state: &[u8]) -> io::Result<Saved> {
    let temporary = dir.join(TEMPORARY);
    let mut head = [0; HEADER];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[16..24].copy_from_slice(&lsn.to_le_bytes());
    head[24..].copy_from_slice(&(state.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[16..]), state);
    head[12..16].copy_from_slice(&crc.to_le_bytes());
    let bytes = (HEADER + state.len()) as u64;
    let written = disk.create(&temporary).and_then(|file| {
        file.allocate(bytes)?;
        file.write_at(&head, 0)?;
        file.write_at(state, HEADER as u64)?;
        file.sync()
    });
    if let Err(error) = written {
        // Half a snapshot only takes room; where it cannot be removed, the next one replaces it.
        drop(disk.remove(&temporary));
        return Err(error);
    }
    disk.rename(&temporary, &path_of(dir, lsn))?;
    disk.sync_dir(dir)?;
    Ok(Saved { at: lsn, bytes })
}

/// Snapshots by record, newest first, as their names say.
///
/// # Errors
/// The system's.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Saved>, Error> {
    let mut found = Vec::new();
    for name in disk.list(dir).map_err(at(dir))? {
        let Some(lsn) = name.strip_prefix("snap-").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let path = dir.join(name);
        found.push(Saved { at: lsn, bytes: disk.size(&path).map_err(at(&path))? });
    }
    found.sort_by_key(|saved| std::cmp::Reverse(saved.at));
    Ok(found)
}

/// Refuses a snapshot that a newer program wrote.
///
/// # Errors
/// [`Error::Newer`].
pub fn check_version(disk: &dyn Disk, dir: &Path, lsn: Lsn) -> Result<(), Error> {
    let path = path_of(dir, lsn);
    // What cannot be read is passed over later for the one before.
    let head = disk.read(&path, 0, HEADER).unwrap_or_default();
    if head.len() == HEADER && head[..8] == MAGIC && u32_at(&head, 8) > VERSION {
        return Err(Error::Newer { path, found: u32_at(&head, 8), known: VERSION });
    }
    Ok(())
}

/// A snapshot's state, when it is whole.
pub fn read(disk: &dyn Disk, dir: &Path, lsn: Lsn) -> Option<Vec<u8>> {
    let mut bytes = disk.read(&path_of(dir, lsn), 0, usize::MAX).ok()?;
    let head = bytes.get(..HEADER)?;
    let whole = head[..8] == MAGIC
        && u32_at(head, 8) <= VERSION
        && u32_at(head, 12) == crc32c::crc32c(&bytes[16..])
        && u64_at(head, 16) == lsn
        && u64_at(head, 24) == (bytes.len() - HEADER) as u64;
    whole.then(|| bytes.split_off(HEADER))
}

/// The newest state to be written; one that was not begun yet gives way to a newer one, so at
/// most two are in memory.
#[derive(Default)]
pub(crate) struct Desk {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    state: Option<(Lsn, Vec<u8>)>,
    stopped: bool,
}

impl Desk {
    pub fn put(&self, lsn: Lsn, state: Vec<u8>) {
        self.waiting.lock().state = Some((lsn, state));
        self.wake.notify_one();
    }

    /// What waits is still written.
    pub fn stop(&self) {
        self.waiting.lock().stopped = true;
        self.wake.notify_one();
    }

    fn take(&self) -> Option<(Lsn, Vec<u8>)> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(state) = waiting.state.take() {
                return Some(state);
            }
            if waiting.stopped {
                return None;
            }
            self.wake.wait(&mut waiting);
        }
    }
}

/// The snapshots' thread: a commit never waits for one.
pub(crate) fn run(disk: &dyn Disk, dir: &Path, desk: &Desk, shared: &Weak<Shared>) {
    while let Some((lsn, state)) = desk.take() {
        let saved = match write(disk, dir, lsn, &state) {
            Ok(saved) => saved,
            Err(error) => {
                tracing::warn!(%error, "a snapshot cannot be written; the log stays longer");
                continue;
            }
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut kept = shared.snapshots.lock().clone();
        kept.retain(|other| other.at != lsn);
        kept.push(saved);
        kept.sort_by_key(|saved| std::cmp::Reverse(saved.at));
        let first = shared.counters.first.load(Ordering::Relaxed);
        for old in retention::superfluous(&kept, first, shared.limit_bytes) {
            match disk.remove(&path_of(dir, old)) {
                Ok(()) => kept.retain(|saved| saved.at != old),
                Err(error) => tracing::warn!(%error, "an old snapshot cannot be removed"),
            }
        }
        *shared.snapshots.lock() = kept;
        shared.snapshots_changed.store(true, Ordering::Release);
        shared.wake.notify_one();
    }
}
