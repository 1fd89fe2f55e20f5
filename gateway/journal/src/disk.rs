//! What the log asks of a disk, and the real one.
//!
//! The log touches files only through [`Disk`] and [`File`], so that tests can put a disk
//! underneath that forgets what was not synced, tears writes, fails and is full.

#[cfg(any(test, feature = "lying-disk"))]
pub mod lying;

use crate::lock;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Files by path. Every method's error is the system's.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Disk: Send + Sync {
    /// Takes a lock that ends with the returned value or the process; `None`: another has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// Makes a dir and its parents, unless they are there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in a dir.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file for writing that is there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Makes an empty file, in place of any other of that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Reads up to `bytes_max` bytes from `offset` on; fewer at the file's end.
    fn read(&self, path: &Path, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>>;
    /// Bytes of a file.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// How long ago a file was written last; zero where the clock says in the future.
    fn age(&self, path: &Path) -> io::Result<Duration>;
    /// Renames a file, in place of any other of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a dir durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that can still be allocated below a dir.
    fn free(&self, dir: &Path) -> io::Result<u64>;
    /// A number that nobody can guess.
    fn random(&self) -> io::Result<u64>;
}

/// An open file. Every method's error is the system's.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait File: Send {
    /// Makes the file this long, its space reserved.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes contents and length durable (`fdatasync`). After an error nothing is known about
    /// what was written, and asking again would tell nothing either.
    fn sync(&self) -> io::Result<()>;
}

/// Writes a file of a dir under another name and gives it its own: after a power cut it is there whole, or as it was.
///
/// # Errors
/// The system's.
pub(crate) fn put(disk: &dyn Disk, dir: &Path, temporary: &str, path: &Path, pieces: &[&[u8]]) -> io::Result<()> {
    let temporary = dir.join(temporary);
    let written = disk.create(&temporary).and_then(|file| {
        file.allocate(pieces.iter().map(|piece| piece.len() as u64).sum())?;
        let mut offset = 0;
        for piece in pieces {
            file.write_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        file.sync()
    });
    if let Err(error) = written {
        // Half a file only takes room; where it cannot be removed, the next one replaces it.
        drop(disk.remove(&temporary));
        return Err(error);
    }
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)
}

/// The system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        Ok(lock::take(path)?.map(|lock| Box::new(lock) as Box<dyn Send + Sync>))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.is_dir();
        let made: Vec<&Path> = dir.ancestors().take_while(missing).collect();
        fs::create_dir_all(dir)?;
        // Without this a new data dir could be gone after a power cut, log and all.
        made.into_iter().rev().try_for_each(|made| match made.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.sync_dir(parent),
            None => self.sync_dir(Path::new(".")),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // What is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let made = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(RealFile(made)))
    }

    fn read(&self, path: &Path, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let left = file.metadata()?.len().saturating_sub(offset).min(bytes_max as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(left).map_err(io::Error::other)?);
        file.seek(SeekFrom::Start(offset))?;
        file.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(path.metadata()?.len())
    }

    fn age(&self, path: &Path) -> io::Result<Duration> {
        Ok(path.metadata()?.modified()?.elapsed().unwrap_or_default())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).map_err(io::Error::other)?;
        // SAFETY: statvfs reads the path, which ends in NUL, and fills `told`, for which all
        // zeros is a valid value.
        let (code, told) = unsafe {
            let mut told: libc::statvfs = std::mem::zeroed();
            (libc::statvfs(path.as_ptr(), &mut told), told)
        };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }

    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0u8; 8];
        // SAFETY: getrandom fills at most the eight bytes that it is given.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if got != 8 {
            return Err(io::Error::last_os_error());
        }
        Ok(u64::from_le_bytes(bytes))
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: posix_fallocate takes a descriptor that the file keeps open, and no memory.
        match unsafe { libc::posix_fallocate(self.0.as_raw_fd(), 0, length) } {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
