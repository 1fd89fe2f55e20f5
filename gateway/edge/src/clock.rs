//! The logged clock: follows the wall clock and never goes back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall time in ms since the Unix epoch, 0 for a clock before it.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The clock that records carry. While the wall clock is behind what was logged, it
/// advances with the monotonic one (protocol §3).
#[derive(Debug)]
pub struct LoggedClock {
    now_ms: i64,
    logged_ms: i64,
    since: Instant,
}

impl LoggedClock {
    /// A clock that goes on from the last one logged.
    pub fn resume(logged_ms: i64) -> Self {
        Self { now_ms: logged_ms, logged_ms, since: Instant::now() }
    }

    /// Reads the clock: the arrival time of what is appended until it is read again.
    pub fn read(&mut self) -> i64 {
        let wall = wall_ms();
        if wall >= self.now_ms {
            self.now_ms = wall;
            self.since = Instant::now();
        } else {
            let step = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(0);
            if step > 0 {
                self.now_ms = self.now_ms.saturating_add(step);
                self.since = Instant::now();
            }
        }
        self.now_ms
    }

    /// By how many ms the next record advances the logged clock; called once for each record.
    pub fn stamp(&mut self) -> u64 {
        let advance = self.now_ms.abs_diff(self.logged_ms);
        self.logged_ms = self.now_ms;
        advance
    }
}
