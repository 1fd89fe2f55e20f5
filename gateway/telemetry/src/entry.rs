//! One boot's aggregate of one window.

use crate::aggregate::Aggregate;

/// An entry of protocol §3, without gateway and boot, which its message names.
///
/// `(series, size_ms, start_ms, born)` is its name within the boot. Of two with the same name
/// the one of the higher `version` holds all that the other does.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Series number within the boot's log.
    pub series: u32,
    /// Window size in ms, above zero.
    pub size_ms: i64,
    /// Window start, ms since the Unix epoch.
    pub start_ms: i64,
    /// Seq of the record that opened it.
    pub born: u64,
    /// Seq of the last record that changed it, at or above `born`.
    pub version: u64,
    /// Its readings.
    pub aggregate: Aggregate,
}
