//! Segment files: made ahead of need, so that a full disk is found before anything is
//! written, and recycled, because overwriting in place costs a sync half of what growing does.

use crate::Lsn;
use crate::disk::{Disk, File};
use crate::error::{Error, at, is_damage};
use crate::format::{FRAME_HEADER, Frame, Head, SEGMENT_HEADER, SegmentHeader, VERSION};
use crate::limits::GAP_RECORDS_MAX;
use crate::window::{self, Window};
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

/// Reads a whole file. Where the disk cannot read a part, that part is zeros, as in [`Window::open`].
///
/// # Errors
/// The system's, other than for unreadable parts.
pub(crate) fn read(disk: &dyn Disk, segment: &Segment) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(disk.size(&segment.path)?).map_err(io::Error::other)?;
    window::read(disk, &segment.path, 0, bytes)
}

/// The whole frames of a segment's bytes, damage passed over: a frame that does not follow the
/// one before is told by its first record.
pub(crate) struct Frames<'a> {
    bytes: Window<'a>,
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
    ///
    /// # Errors
    /// The system's, from the first read on.
    pub fn read(disk: &'a dyn Disk, segment: &'a Segment) -> io::Result<Option<Self>> {
        let mut bytes = Window::open(disk, &segment.path)?;
        match Self::begin(&mut bytes, segment.first) {
            _ if bytes.has_failed() => Err(bytes.failed().unwrap_or(io::ErrorKind::Other.into())),
            Some((id, damaged)) => Ok(Some(Self { bytes, id, offset: SEGMENT_HEADER, next: segment.first, damaged })),
            None => Ok(None),
        }
    }

    /// The same of bytes that are at hand.
    pub fn new(bytes: &'a [u8], first: Lsn) -> Option<Self> {
        let mut bytes = Window::of(bytes);
        let (id, damaged) = Self::begin(&mut bytes, first)?;
        Some(Self { bytes, id, offset: SEGMENT_HEADER, next: first, damaged })
    }

    /// The segment's id, and whether its header is damaged.
    fn begin(bytes: &mut Window<'_>, first: Lsn) -> Option<(u64, bool)> {
        let header = bytes.get(0, SEGMENT_HEADER).and_then(SegmentHeader::decode);
        match header.filter(|h| h.first == first && h.version <= VERSION) {
            Some(header) => Some((header.id, false)),
            None => search(bytes, 0, first, None).map(|(_, head)| (head.id, true)),
        }
    }

    /// The same from behind a frame that was met before; `offset` 0 stands for the beginning.
    pub fn from(self, offset: usize, next: Lsn) -> Self {
        if offset == 0 { self } else { Self { offset, next, ..self } }
    }

    /// The next frame's header; [`Frames::bytes`] are its bytes.
    pub fn next(&mut self) -> Option<Head> {
        let id = Some(self.id);
        let here = plausible(&mut self.bytes, self.offset, self.next, id).filter(|h| h.first == self.next);
        let (at, head) = match here {
            Some(head) => (self.offset, head),
            // Only a search says whether this is the end or damage before it.
            None => {
                let found = search(&mut self.bytes, self.offset, self.next, id);
                self.damaged |= found.is_some();
                found?
            }
        };
        self.offset = at + head.bytes;
        self.next = head.last() + 1;
        Some(head)
    }

    /// The bytes of the frame that [`Frames::next`] gave last.
    pub fn bytes(&mut self, head: &Head) -> &[u8] {
        // It was whole just now, and is still held.
        self.bytes.get(self.offset - head.bytes, head.bytes).unwrap_or_default()
    }

    /// That frame, to be kept.
    pub fn frame(&mut self, head: &Head) -> Frame {
        Frame::of(head, self.bytes(head))
    }

    /// What begins the file.
    pub fn header(&mut self) -> &[u8] {
        self.bytes.get(0, SEGMENT_HEADER).unwrap_or_default()
    }

    /// Where a frame was begun behind the last one and is not whole: as many bytes as it says, or there are.
    pub fn torn(&mut self) -> Option<usize> {
        let rest = self.bytes.size().checked_sub(self.offset)?;
        let begun = self.bytes.get(self.offset, FRAME_HEADER).filter(|head| Head::begun(head, self.id, self.next))?;
        Some(Head::peek(begun).map_or(FRAME_HEADER, |head| head.bytes).min(rest))
    }

    /// What kept the rest from being read.
    pub fn failed(&mut self) -> Option<io::Error> {
        self.bytes.failed()
    }
}

fn plausible(bytes: &mut Window<'_>, offset: usize, next: Lsn, id: Option<u64>) -> Option<Head> {
    // The checksum last: what only looks like a frame must not cost more than a look.
    let head = Head::peek(bytes.get(offset, FRAME_HEADER)?)
        .filter(|h| id.is_none_or(|id| id == h.id))
        .filter(|h| h.first >= next && h.first - next < GAP_RECORDS_MAX)?;
    head.is_whole(bytes.get(offset, head.bytes)?).then_some(head)
}

fn search(bytes: &mut Window<'_>, from: usize, next: Lsn, id: Option<u64>) -> Option<(usize, Head)> {
    const STEP: usize = 4096;
    let mut i = from;
    while i < bytes.size() && !bytes.has_failed() {
        // Most of what is searched was never written.
        if bytes.get(i, STEP).is_some_and(|chunk| *chunk == [0; STEP]) {
            i += STEP;
            continue;
        }
        if let Some(head) = plausible(bytes, i, next, id) {
            return Some((i, head));
        }
        i += 1;
    }
    None
}
