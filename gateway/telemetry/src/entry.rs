//! One boot's aggregate of one window.

use crate::aggregate::Aggregate;

/// An entry of protocol §3, without gateway and boot, which its message names.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Series number within the boot's log.
    pub series: u32,
    /// Window size in ms.
    pub size_ms: i64,
    /// Window start, ms since the Unix epoch.
    pub start_ms: i64,
    /// Seq of the record that opened it.
    pub born: u64,
    /// Seq of the last record that changed it.
    pub version: u64,
    /// Its readings.
    pub aggregate: Aggregate,
}
