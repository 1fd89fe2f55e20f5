//! Bounds of what both roles do, each with its reason.

use std::time::Duration;

/// So long one who asks for a list of alarms waits for those before; a place that others need is not held for longer.
pub const TURN_WAIT: Duration = Duration::from_secs(2);

/// Requests about alarms that wait for the log; one more is refused.
pub const ALARM_REQUESTS_MAX: usize = 4_096;

/// How often the figures of alarms may be published, in ms.
pub const KPI_MS: i64 = 10_000;
