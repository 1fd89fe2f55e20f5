//! Why a bridge cannot start or go on.

/// Why a bridge cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// A record.
    #[error(transparent)]
    Replica(#[from] replica::Error),
    /// The log refuses the bridge's own records.
    #[error("the log takes no records at start: {0}")]
    Refused(#[from] journal::Refused),
    /// A socket or file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The core.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The merge store.
    #[error("the merge store cannot be opened: {0}")]
    Store(String),
    /// A sync failed: final for this process.
    #[error("the log could not be written; what was acknowledged is safe, the process ends so that it can recover")]
    LogFailed,
}

/// Why the core ends.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// A record that cannot be folded, or the store.
    #[error(transparent)]
    Replica(#[from] replica::Error),
    /// The merge store.
    #[error("the merge store: {0}")]
    Store(String),
}
