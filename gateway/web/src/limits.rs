//! Bounds of HTTP, each with its reason and what happens there.

use std::time::Duration;

/// Connections at once: monitors and dashboards are few, and the open files are the sensors'. For one more,
/// the one that has been waited for longest is closed; while the answers of all are being made, it waits.
pub const CONNECTIONS_MAX: usize = 128;
/// While all places are taken, it is looked so often who may be asked to leave.
pub const PLACE_LOOK: Duration = Duration::from_millis(100);
/// How long a request's head may take, the silence before it included, and how long a connection
/// may take to end when it is told so; then it is closed.
pub const HEAD_WAIT: Duration = Duration::from_secs(10);
/// How long a request's body may take; then it is answered 408, and the connection closes.
pub const BODY_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a request's body, which is in memory before it is looked at; more is answered 413, be its
/// length told before or not. What people ask for has a few hundred.
pub const BODY_BYTES_MAX: usize = 256 << 10;
/// Bytes of a refusal's text that are told.
pub const REFUSAL_BYTES_MAX: usize = 16 << 10;
/// How long one connection is kept, so that nobody holds a place for good by not reading.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// Bytes of a request's head; more is answered 431.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// After an accept that failed, the next is tried so much later.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
