//! Durable bytes in order.
//!
//! One thread owns the log: it takes everything that waits, writes it as one frame, calls
//! `fdatasync` once, and then lets all that waited for it go. The crate knows records as
//! (number, kind, bytes) and refuses to know what they mean.
//!
//! | file | subject |
//! |---|---|
//! | [`format`](mod@format) | the layout of segments and frames |
//! | [`disk`] | what it asks of a disk: the real one, and for tests a lying one |
//! | [`append`] | the open batch, where records enter |
//! | [`writer`] | the one thread that makes them durable |
//! | [`segment`] | segment files: made ahead, begun, read |
//! | `window` | a file's bytes, a piece at a time |
//! | [`pace`] | how far apart commits are, for the flash's sake |
//! | [`retention`] | what may go |
//! | [`rate`] | how fast a figure grows, and how long the room lasts |
//! | [`recovery`] | what is found at start: torn tail cut, damage set aside |
//! | [`opened`] | a log that is found: replay it, start it |
//! | [`reader`] | reading beside a running process |
//! | [`history`] | an earlier state, and the log from there on, of a running log |
//! | [`snapshot`] | the owner's state as of a record, atomically |
//! | `keeper` | the thread that writes it |
//! | [`parts`] | pages of that state that never change, each written once |
//! | [`lock`] | one process at a time in a data dir |
//! | [`owner`] | whose data it holds, for its life |
//! | [`limits`], [`error`] | bounds with their reasons; what can go wrong |

pub mod append;
pub mod disk;
pub mod error;
pub mod format;
pub mod history;
mod keeper;
pub mod limits;
pub mod lock;
pub mod opened;
pub mod owner;
pub mod pace;
pub mod parts;
pub mod rate;
pub mod reader;
pub mod recovery;
pub mod retention;
pub mod segment;
pub mod snapshot;
mod window;
pub mod writer;

pub use append::{Append, Horizon, Journal, Refused, RunState, Stats};
pub use error::Error;
pub use format::Frame;
pub use history::{Beginning, History};
pub use opened::{Opened, Options, Tuning, open, open_on};
pub use parts::Parts;
pub use reader::Reader;
pub use recovery::{Gap, RecoveryReport};
pub use segment::Segment;

#[cfg(test)]
mod tests;

/// Number of a record, from 1 over the life of the data dir.
pub type Lsn = u64;
