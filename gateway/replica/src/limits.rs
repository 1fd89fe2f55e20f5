//! Bounds of this crate, each with its reason and what happens there.

/// Readings remembered per session for telling redeliveries (contract §3, protocol §1).
/// Older ones are forgotten: a DUP that late counts again. MQTT's receive maximum that
/// the front door grants is no larger, so a client cannot have more in flight.
pub const REDELIVERY_READINGS_MAX: usize = 1024;

/// Uncompressed bytes that an interval aims at (protocol §4); `to` is cut below the next entry.
pub const INTERVAL_BYTES_AIM: usize = 256 * 1024;

/// An entry's share of [`INTERVAL_BYTES_AIM`] when it is planned, before columns shrink it.
pub const ENTRY_BYTES_GUESS: usize = 48;

/// Alerts in one interval; the rest follows with the next.
pub const INTERVAL_ALERTS_MAX: usize = 512;

/// Bytes of a string inside a record (a topic is at most 65,535).
pub const TEXT_BYTES_MAX: usize = 65_535;

/// Bytes of a stored configuration, a quarantined payload or a message from the wire.
pub const BLOB_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a snapshot: 100,000 series with their detectors stay well below.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// How long an interval may stay unacknowledged before it is computed and sent again, in ms.
pub const ACK_WAIT_MS: i64 = 5_000;

/// An idle gateway tells its clock this often, in ms, so that windows of series that it
/// shares with others become complete.
pub const IDLE_FRONTIER_MS: i64 = 30_000;

/// An alert without a receipt is sent again on the urgent lane after this time, in ms.
pub const RECEIPT_WAIT_MS: i64 = 3_000;
