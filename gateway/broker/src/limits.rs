//! Bounds of the front door, each with its reason.

use std::time::Duration;

/// QoS > 0 PUBLISHes of one client that may wait for their commit; announced as Receive Maximum in MQTT 5.
pub const RECEIVE_MAX: u16 = 1024;
/// PUBLISHes handed over at once.
pub const BATCH_MAX: usize = 256;
/// Messages waiting for a subscriber that does not read; what comes beyond is dropped and counted.
pub const SUBSCRIBER_QUEUE_MAX: usize = 10_000;
/// QoS 1 messages sent to a subscriber and not acknowledged, unless it asks for fewer.
pub const INFLIGHT_MAX: u16 = 512;
/// Bytes read from a socket at once.
pub const READ_BYTES: usize = 64 * 1024;
/// Retained messages; beyond, a new topic is not retained.
pub const RETAINED_MAX: usize = 200_000;
/// Subscriptions of one session.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
/// A connection must say CONNECT within this time.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Sessions held for absent clients.
pub const SESSIONS_MAX: usize = 100_000;
