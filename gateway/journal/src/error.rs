//! What can go wrong with the log.

use std::io;
use std::path::{Path, PathBuf};

/// Why the log cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process owns the data dir.
    #[error("{0} is in use by another process; a data dir belongs to one process at a time")]
    Locked(PathBuf),
    /// The data dir holds another's data.
    #[error(
        "{} holds the data of {found}, and this is {owner}: a data dir serves one of them for its life, so name another one \
         (its log is untouched)", data_dir.display()
    )]
    Owned {
        /// The data dir.
        data_dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who wanted it.
        owner: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A newer program wrote this log.
    #[error("{path} has log format {found}, this program knows {known}; use a newer program (the log is untouched)")]
    Newer {
        /// The segment or snapshot.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest known.
        known: u32,
    },
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}

/// What the disk's answer means for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No room now; there may be some later.
    Full,
    /// Not writable now.
    ReadOnly,
    /// Nothing is known about the bytes any more.
    Final,
}

/// Sorts what the system says about a write (never about a sync: that is always final).
pub(crate) fn trouble(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Trouble::Full,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Trouble::ReadOnly,
        _ => Trouble::Final,
    }
}

/// Whether a part cannot be read, and what is around it may be.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}
