//! A look at a file's bytes that holds a piece of them at a time: a start reads whole segments,
//! and may not take the memory of one.

use crate::disk::Disk;
use crate::error::is_damage;
use crate::limits::{PIECE_BYTES, SALVAGE_BYTES};
use std::io;
use std::path::Path;

/// Bytes of a file, at hand or read as they are asked for.
pub(crate) struct Window<'a> {
    source: Source<'a>,
    /// Bytes of the file.
    size: usize,
    /// Where the piece that is held begins.
    start: usize,
    piece: Vec<u8>,
    failed: Option<io::Error>,
}

enum Source<'a> {
    Bytes(&'a [u8]),
    File(&'a dyn Disk, &'a Path),
}

impl<'a> Window<'a> {
    /// Of bytes that are at hand.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { source: Source::Bytes(bytes), size: bytes.len(), start: 0, piece: Vec::new(), failed: None }
    }

    /// Of a file. Where the disk cannot read a part, that part is zeros: a checksum will say so, and
    /// what is around it is not lost too.
    ///
    /// # Errors
    /// The system's, other than for unreadable parts; what comes later says [`Window::failed`].
    pub fn open(disk: &'a dyn Disk, path: &'a Path) -> io::Result<Self> {
        let size = usize::try_from(disk.size(path)?).map_err(io::Error::other)?;
        let mut window = Self { source: Source::File(disk, path), size, start: 0, piece: Vec::new(), failed: None };
        window.get(0, size.min(1));
        match window.failed.take() {
            Some(error) => Err(error),
            None => Ok(window),
        }
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        self.size
    }

    /// So many bytes from `from` on; none beyond the file's end, nor once a read failed.
    pub fn get(&mut self, from: usize, bytes: usize) -> Option<&[u8]> {
        let to = from.checked_add(bytes).filter(|to| *to <= self.size)?;
        let (disk, path) = match self.source {
            Source::Bytes(all) => return all.get(from..to),
            Source::File(disk, path) => (disk, path),
        };
        if self.failed.is_some() {
            return None;
        }
        if from < self.start || to > self.start + self.piece.len() {
            // Never two pieces at once.
            self.piece = Vec::new();
            // What is unreadable is told apart by sectors.
            self.start = from - from % SALVAGE_BYTES;
            let end = to.next_multiple_of(SALVAGE_BYTES).max(self.start + PIECE_BYTES).min(self.size);
            match read(disk, path, self.start, end - self.start) {
                Ok(piece) => self.piece = piece,
                Err(error) => self.failed = Some(error),
            }
        }
        self.piece.get(from - self.start..to - self.start)
    }

    /// What kept a part from being read: what was got until then may not be all.
    pub fn failed(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// Whether [`Window::failed`] has something to say.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }
}

/// Bytes of a file; zeros for what the disk cannot read, by sectors from `from` on.
pub(crate) fn read(disk: &dyn Disk, path: &Path, from: usize, bytes: usize) -> io::Result<Vec<u8>> {
    match disk.read(path, from as u64, bytes) {
        Err(error) if is_damage(&error) => {}
        other => return other,
    }
    let mut piece = vec![0; bytes];
    for at in (0..bytes).step_by(SALVAGE_BYTES) {
        if let Ok(part) = disk.read(path, (from + at) as u64, SALVAGE_BYTES.min(bytes - at)) {
            piece[at..at + part.len()].copy_from_slice(&part);
        }
    }
    Ok(piece)
}
