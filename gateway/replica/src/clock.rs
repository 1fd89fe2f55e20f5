//! The logged clock, from times that the caller reads: it follows the wall clock and never
//! goes back. While the wall clock is behind, it advances with the monotonic one (protocol §3).

/// A clock that was set back, or is set again and again, stops nothing that waits for a time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    now_ms: i64,
    /// The monotonic clock when this one was read last.
    read_ms: i64,
}

impl Clock {
    /// A clock that goes on from the last time logged; `monotonic_ms` from any beginning.
    pub fn resume(logged_ms: i64, monotonic_ms: i64) -> Self {
        Self { now_ms: logged_ms, read_ms: monotonic_ms }
    }

    /// The time now, in ms since the Unix epoch; it is logged as it was read.
    pub fn read(&mut self, wall_ms: i64, monotonic_ms: i64) -> i64 {
        let passed = monotonic_ms.saturating_sub(self.read_ms).max(0);
        self.now_ms = if wall_ms >= self.now_ms { wall_ms } else { self.now_ms.saturating_add(passed) };
        self.read_ms = self.read_ms.max(monotonic_ms);
        self.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_wall_and_goes_on_while_that_is_behind() {
        let mut clock = Clock::resume(1_000, 0);
        assert_eq!(clock.read(5_000, 10), 5_000);
        // Set back by four seconds: on with the monotonic clock, not a step back, none lost.
        assert_eq!([clock.read(1_000, 10), clock.read(1_500, 510), clock.read(1_501, 511)], [5_000, 5_500, 5_501]);
        // Caught up.
        assert_eq!([clock.read(5_600, 600), clock.read(5_650, 650)], [5_600, 5_650]);
        // Set ahead, and right again.
        assert_eq!([clock.read(90_000, 700), clock.read(5_800, 800)], [90_000, 90_100]);
        // Nothing that a broken clock says makes it go back or overflow.
        assert_eq!([clock.read(i64::MIN, -5), clock.read(i64::MAX, i64::MAX), clock.read(0, i64::MAX)], [90_100, i64::MAX, i64::MAX]);
    }
}
