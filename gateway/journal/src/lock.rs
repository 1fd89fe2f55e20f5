//! One process at a time in a data dir.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Holds the file's lock until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "the open file is the lock")] File);

/// Takes the lock on a file, making the file if need be; `None` when another process has it.
///
/// # Errors
/// The system's.
pub fn take(path: &Path) -> io::Result<Option<Lock>> {
    // Read-only where it is there already: a start on a full or read-only disk is possible.
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => OpenOptions::new().create(true).truncate(false).write(true).open(path)?,
        Err(error) => return Err(error),
    };
    // SAFETY: flock takes a descriptor that `file` keeps open, and no memory.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(Some(Lock(file)));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
}
