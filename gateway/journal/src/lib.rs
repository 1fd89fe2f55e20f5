//! Durable bytes in order.
//!
//! One thread owns the log: it takes everything that waits, writes it as one frame, calls
//! `fdatasync` once, and then lets all that waited for it go. The crate knows records as
//! (number, kind, bytes) and refuses to know what they mean.
//!
//! | file | subject |
//! |---|---|
//! | [`format`](mod@format) | the layout of segments and frames |
//! | [`append`] | the open batch, where records enter |
//! | [`writer`] | the one thread that makes them durable |
//! | [`segment`] | segment files: made ahead, found, recycled |
//! | [`recovery`] | what is found at start: torn tail cut, damage set aside |
//! | [`reader`] | reading beside a running process |
//! | [`snapshot`] | the working state as of a record, atomically |
//! | [`lock`] | one owner of a data dir |
pub mod append;
pub mod error;
pub mod format;
pub mod limits;
pub mod lock;
pub mod reader;
pub mod recovery;
pub mod segment;
pub mod snapshot;
pub mod writer;

pub use append::{Append, Horizon, Journal, Refused, RunState, Stats};
pub use error::Error;
pub use format::Frame;
pub use reader::Reader;
pub use recovery::{Opened, Options, RecoveryReport, open};

/// Number of a record, from 1 over the life of the data dir.
pub type Lsn = u64;
