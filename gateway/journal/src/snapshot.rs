//! The owner's state as of a record, written atomically: a file of its own, synced, renamed,
//! the dir synced. `snap-NNNNNNNNNNNNNNNNNNNN`, named by the record:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `TGSNAP\0\0` |
//! | 8 | 4 | format version: 1 without parts, else 2 |
//! | 12 | 4 | CRC-32C of all that follows |
//! | 16 | 8 | the record's number |
//! | 24 | 8 | length in bytes of all that follows |
//! | 32 | 8, 8 each | version 2: how many parts the state needs, and their records |
//! | … | … | the state |

use crate::Lsn;
use crate::disk::{Disk, put};
use crate::error::{Error, at};
use crate::format::{u32_at, u64_at};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// First bytes of a snapshot.
pub const MAGIC: [u8; 8] = *b"TGSNAP\0\0";
/// Newest version of a snapshot.
pub const VERSION: u32 = 2;
/// Bytes before what the length counts.
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
    /// Records of the parts that hold pages of it.
    pub parts: Vec<Lsn>,
}

/// A state to be kept.
pub(crate) struct State {
    pub at: Lsn,
    pub bytes: Vec<u8>,
    /// Pages that no part may have yet.
    pub new: Vec<(u64, Arc<[u8]>)>,
    /// Numbers of all pages that it names.
    pub pages: Vec<u64>,
}

/// Where the snapshot as of a record lies.
pub fn path_of(dir: &Path, at: Lsn) -> PathBuf {
    dir.join(format!("snap-{at:020}"))
}

/// Writes a snapshot; it counts once this has returned.
///
/// # Errors
/// The system's; earlier snapshots are as they were.
pub fn write(disk: &dyn Disk, dir: &Path, lsn: Lsn, parts: &[Lsn], state: &[u8]) -> io::Result<Saved> {
    let mut head = vec![0; HEADER];
    head[..8].copy_from_slice(&MAGIC);
    let version: u32 = if parts.is_empty() { 1 } else { VERSION };
    head[8..12].copy_from_slice(&version.to_le_bytes());
    head[16..24].copy_from_slice(&lsn.to_le_bytes());
    if !parts.is_empty() {
        head.extend_from_slice(&(parts.len() as u64).to_le_bytes());
        parts.iter().for_each(|part| head.extend_from_slice(&part.to_le_bytes()));
    }
    let bytes = (head.len() + state.len()) as u64;
    let length = bytes - HEADER as u64;
    head[24..HEADER].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[16..]), state);
    head[12..16].copy_from_slice(&crc.to_le_bytes());
    put(disk, dir, TEMPORARY, &path_of(dir, lsn), &[&head, state])?;
    Ok(Saved { at: lsn, bytes, parts: parts.to_vec() })
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
        let bytes = disk.size(&path).map_err(at(&path))?;
        found.push(Saved { at: lsn, bytes, parts: named(disk, &path, bytes) });
    }
    found.sort_by_key(|saved| std::cmp::Reverse(saved.at));
    Ok(found)
}

/// The parts that a snapshot names; none where it does not read, which is found out later.
fn named(disk: &dyn Disk, path: &Path, bytes: u64) -> Vec<Lsn> {
    let head = disk.read(path, 0, HEADER + 8).unwrap_or_default();
    if head.len() < HEADER + 8 || head[..8] != MAGIC || u32_at(&head, 8) < 2 {
        return Vec::new();
    }
    let count = u64_at(&head, HEADER).min(bytes / 8) as usize;
    let list = disk.read(path, (HEADER + 8) as u64, count * 8).unwrap_or_default();
    list.chunks_exact(8).map(|lsn| u64_at(lsn, 0)).collect()
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
    let state = match u32_at(head, 8) {
        0 | 1 => HEADER,
        _ => usize::try_from(u64_at(bytes.get(HEADER..HEADER + 8)?, 0)).ok()?.checked_mul(8)?.checked_add(HEADER + 8)?,
    };
    (whole && state <= bytes.len()).then(|| bytes.split_off(state))
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
    state: Option<State>,
    /// Log was freed: what only it needed may go.
    tidy: bool,
    stopped: bool,
}

impl Desk {
    pub fn put(&self, state: State) {
        self.waiting.lock().state = Some(state);
        self.wake.notify_one();
    }

    /// Has snapshots and parts that nobody needs removed.
    pub fn tidy(&self) {
        self.waiting.lock().tidy = true;
        self.wake.notify_one();
    }

    /// What waits is still written.
    pub fn stop(&self) {
        self.waiting.lock().stopped = true;
        self.wake.notify_one();
    }

    /// The next state; `Some(None)`: there is something to tidy; `None`: the end.
    pub fn take(&self) -> Option<Option<State>> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(state) = waiting.state.take() {
                return Some(Some(state));
            }
            if waiting.stopped {
                return None;
            }
            if std::mem::take(&mut waiting.tidy) {
                return Some(None);
            }
            self.wake.wait(&mut waiting);
        }
    }
}
