//! The logged clock: follows the wall clock and never goes back.

use replica::clock::Clock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall time in ms since the Unix epoch, 0 for a clock before it.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The clock that records carry.
#[derive(Debug)]
pub struct LoggedClock {
    clock: Clock,
    now_ms: i64,
    logged_ms: i64,
    began: Instant,
}

impl LoggedClock {
    /// A clock that goes on from the last one logged.
    pub fn resume(logged_ms: i64) -> Self {
        Self { clock: Clock::resume(logged_ms, 0), now_ms: logged_ms, logged_ms, began: Instant::now() }
    }

    /// Reads the clock: the arrival time of what is appended until it is read again.
    pub fn read(&mut self) -> i64 {
        let monotonic_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.now_ms = self.clock.read(wall_ms(), monotonic_ms);
        self.now_ms
    }

    /// By how many ms the next record advances the logged clock; called once for each record.
    pub fn stamp(&mut self) -> u64 {
        let advance = self.now_ms.abs_diff(self.logged_ms);
        self.logged_ms = self.now_ms;
        advance
    }
}
