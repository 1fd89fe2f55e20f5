//! Segment files: made ahead of need, so that a full disk is found before anything is
//! written, and recycled, because overwriting in place costs a sync half of what growing does.

use crate::Lsn;
use crate::disk::{Disk, File};
use crate::error::{Error, at};
use crate::format::{Head, SEGMENT_HEADER, SegmentHeader, VERSION};
use crate::limits::{GAP_RECORDS_MAX, SALVAGE_BYTES};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the segment prepared for the next need.
pub(crate) const SPARE: &str = "spare";

/// A segment on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its first record.
    pub first: Lsn,
    /// Its file.
    pub path: PathBuf,
    /// Bytes that the file takes.
    pub bytes: u64,
    /// Kept aside too, so it must not be written over.
    pub damaged: bool,
}

/// Where a segment with this first record lies.
pub fn path_of(dir: &Path, first: Lsn) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The segments of a dir, by first record as their names say.
///
/// # Errors
/// When the dir cannot be read.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Segment>, Error> {
    let mut found = Vec::new();
    for name in disk.list(dir).map_err(at(dir))? {
        let Some(first) = name.strip_suffix(".seg").and_then(|n| n.parse().ok()).filter(|n| *n > 0) else {
            continue;
        };
        let path = dir.join(name);
        match disk.size(&path) {
            Ok(bytes) => found.push(Segment { first, path, bytes, damaged: false }),
            // Freed meanwhile by the process that owns it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path)(error)),
        }
    }
    found.sort_by_key(|s| s.first);
    Ok(found)
}

/// Refuses a segment that a newer program wrote.
///
/// # Errors
/// [`Error::Newer`]; or what the system says, except for damage, which is found later.
pub fn check_version(disk: &dyn Disk, segment: &Segment) -> Result<(), Error> {
    let head = match disk.read(&segment.path, 0, SEGMENT_HEADER) {
        Ok(head) => head,
        Err(error) if is_damage(&error) => return Ok(()),
        Err(error) => return Err(at(&segment.path)(error)),
    };
    match SegmentHeader::decode(&head) {
        Some(header) if header.version > VERSION => Err(Error::Newer { path: segment.path.clone(), found: header.version, known: VERSION }),
        _ => Ok(()),
    }
}

/// Makes sure that a segment can be begun without asking the disk for room.
///
/// # Errors
/// The system's: no room, read-only.
pub fn prepare(disk: &dyn Disk, dir: &Path, bytes: u64) -> io::Result<()> {
    let path = dir.join(SPARE);
    if disk.size(&path).is_ok_and(|size| size == bytes) {
        return Ok(());
    }
    let file = disk.create(&path)?;
    let made = file.allocate(bytes).and_then(|()| file.sync());
    if made.is_err() {
        // A spare with less than its space would be taken for whole later.
        disk.remove(&path)?;
    }
    made
}

/// A segment under way.
pub(crate) struct Current {
    pub file: Box<dyn File>,
    pub id: u64,
    /// Where the next frame goes.
    pub offset: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What keeps a segment from being begun.
pub(crate) enum BeginError {
    /// Before any sync: nothing has happened.
    Before(io::Error),
    /// A sync failed.
    Sync(io::Error),
}

/// Begins a segment in the spare. The header is durable before the file has its name: so a
/// named segment without a whole header is damaged, never unfinished.
pub(crate) fn begin(disk: &dyn Disk, dir: &Path, first: Lsn, bytes: u64) -> Result<Current, BeginError> {
    let spare = dir.join(SPARE);
    let id = disk.random().map_err(BeginError::Before)?;
    let file = disk.open(&spare).map_err(BeginError::Before)?;
    let header = SegmentHeader { version: VERSION, id, first };
    file.write_at(&header.encode(), 0).map_err(BeginError::Before)?;
    file.sync().map_err(BeginError::Sync)?;
    disk.rename(&spare, &path_of(dir, first)).map_err(BeginError::Before)?;
    disk.sync_dir(dir).map_err(BeginError::Sync)?;
    Ok(Current { file, id, offset: SEGMENT_HEADER as u64, bytes })
}

/// Reads a whole file. Where the disk cannot read a part, that part is zeros: a checksum will
/// say so, and what is around it is not lost too.
///
/// # Errors
/// The system's, other than for unreadable parts.
pub(crate) fn read(disk: &dyn Disk, segment: &Segment) -> io::Result<Vec<u8>> {
    match disk.read(&segment.path, 0, usize::MAX) {
        Err(error) if is_damage(&error) => {}
        other => return other,
    }
    let size = usize::try_from(disk.size(&segment.path)?).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    for from in (0..size).step_by(SALVAGE_BYTES) {
        if let Ok(part) = disk.read(&segment.path, from as u64, SALVAGE_BYTES.min(size - from)) {
            bytes[from..from + part.len()].copy_from_slice(&part);
        }
    }
    Ok(bytes)
}

fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// The whole frames of a segment's bytes, damage passed over: a frame that does not follow the
/// one before is told by its first record.
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    pub id: u64,
    /// Behind the last frame.
    pub offset: usize,
    /// The record that follows the last frame.
    pub next: Lsn,
    /// Whether anything was passed over.
    pub damaged: bool,
}

impl<'a> Frames<'a> {
    /// `None` when there is neither a whole header nor a frame that could stand for it.
    pub fn new(bytes: &'a [u8], first: Lsn) -> Option<Self> {
        let header = SegmentHeader::decode(bytes).filter(|h| h.first == first && h.version <= VERSION);
        let mut frames = Self { bytes, id: 0, offset: SEGMENT_HEADER, next: first, damaged: header.is_none() };
        frames.id = match header {
            Some(header) => header.id,
            None => frames.search(0, None)?.1.id,
        };
        Some(frames)
    }

    /// The same from behind a frame that was met before; `offset` 0 stands for the beginning.
    pub fn from(self, offset: usize, next: Lsn) -> Self {
        if offset == 0 { self } else { Self { offset, next, ..self } }
    }

    fn plausible(&self, offset: usize, id: Option<u64>) -> Option<Head> {
        let bytes = self.bytes.get(offset..)?;
        // The checksum last: what only looks like a frame must not cost more than a look.
        Head::peek(bytes)
            .filter(|h| id.is_none_or(|id| id == h.id))
            .filter(|h| h.first >= self.next && h.first - self.next < GAP_RECORDS_MAX)
            .filter(|h| h.is_whole(bytes))
    }

    fn search(&self, from: usize, id: Option<u64>) -> Option<(usize, Head)> {
        const STEP: usize = 4096;
        let mut i = from;
        while i < self.bytes.len() {
            // Most of what is searched was never written.
            if self.bytes.get(i..i + STEP).is_some_and(|chunk| *chunk == [0; STEP]) {
                i += STEP;
                continue;
            }
            if let Some(head) = self.plausible(i, id) {
                return Some((i, head));
            }
            i += 1;
        }
        None
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = (Head, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let id = Some(self.id);
        let here = self.plausible(self.offset, id).filter(|h| h.first == self.next);
        let (at, head) = match here {
            Some(head) => (self.offset, head),
            // Only a search says whether this is the end or damage before it.
            None => {
                let found = self.search(self.offset, id);
                self.damaged |= found.is_some();
                found?
            }
        };
        self.offset = at + head.bytes;
        self.next = head.last() + 1;
        Some((head, &self.bytes[at..at + head.bytes]))
    }
}
