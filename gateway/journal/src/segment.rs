//! Segment files: made ahead of need, so that a full disk is found before anything is
//! written, and recycled, because overwriting in place costs a sync half of what growing does.

use crate::Lsn;
use crate::error::{Error, at};
use crate::format::{SEGMENT_HEADER, read_segment_header, segment_header};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the segment prepared for the next need.
const SPARE: &str = "spare";

/// A segment on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its first record.
    pub first: Lsn,
    /// Its file.
    pub path: PathBuf,
}

/// Where a segment with this first record lies.
pub fn path_of(dir: &Path, first: Lsn) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The segments of a dir, by first record as their names say.
///
/// # Errors
/// When the dir cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Segment>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        let first = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".seg")).and_then(|n| n.parse().ok());
        if let Some(first) = first {
            found.push(Segment { first, path });
        }
    }
    found.sort_by_key(|s| s.first);
    Ok(found)
}

/// Makes sure that a segment can be taken without asking the disk for room.
///
/// # Errors
/// The system's: no room, read-only.
pub fn prepare(dir: &Path, bytes: u64) -> io::Result<()> {
    let path = dir.join(SPARE);
    if path.metadata().is_ok_and(|m| m.len() >= bytes) {
        return Ok(());
    }
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let made = allocate(&file, bytes).and_then(|()| file.sync_all());
    if made.is_err() {
        // A spare of half the size would be taken for whole once the disk says otherwise.
        fs::remove_file(&path)?;
    }
    made
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: posix_fallocate takes a descriptor that `file` keeps open, and no memory.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Begins a segment from the spare; its header is synced with its first frame.
///
/// # Errors
/// The system's.
pub fn begin(dir: &Path, first: Lsn) -> io::Result<File> {
    let path = path_of(dir, first);
    let spare = dir.join(SPARE);
    let file = OpenOptions::new().read(true).write(true).open(&spare)?;
    file.write_all_at(&segment_header(first), 0)?;
    fs::rename(&spare, &path)?;
    sync_dir(dir)?;
    Ok(file)
}

/// Turns a segment that nobody needs into the next spare, or removes it when there is one.
///
/// # Errors
/// The system's.
pub fn recycle(dir: &Path, segment: &Segment) -> io::Result<()> {
    let spare = dir.join(SPARE);
    if spare.exists() { fs::remove_file(&segment.path) } else { fs::rename(&segment.path, &spare) }
}

/// Makes names in a dir durable.
///
/// # Errors
/// The system's.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A segment's bytes behind its header, or why they cannot be told.
///
/// # Errors
/// [`Error::Newer`] for a format of a newer program; [`Error::Io`].
pub fn read(segment: &Segment) -> Result<Option<Vec<u8>>, Error> {
    let bytes = fs::read(&segment.path).map_err(at(&segment.path))?;
    match read_segment_header(&bytes) {
        Some((version, _)) if version > crate::format::VERSION => {
            Err(Error::Newer { path: segment.path.clone(), found: version, known: crate::format::VERSION })
        }
        Some((_, first)) if first == segment.first => Ok(Some(bytes[SEGMENT_HEADER..].to_vec())),
        _ => Ok(None),
    }
}
