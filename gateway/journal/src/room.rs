//! How long the log's room lasts at the present rate.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back the present reaches.
const PRESENT: Duration = Duration::from_secs(60);
/// Least time between two looks that are kept.
const STEP: Duration = Duration::from_secs(1);

/// Bytes written by now, looked at from time to time.
#[derive(Debug, Default)]
pub struct Rate {
    looks: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// So many bytes were written by this process `elapsed` after its start.
    pub fn look(&mut self, bytes: u64, elapsed: Duration) {
        if self.looks.back().is_some_and(|(at, _)| elapsed < *at + STEP) {
            return;
        }
        self.looks.push_back((elapsed, bytes));
        while self.looks.len() > 2 && self.looks[1].0 + PRESENT <= elapsed {
            self.looks.pop_front();
        }
    }

    /// Seconds until `room` bytes are written; `None` while nothing is.
    pub fn lasts_s(&self, room: u64) -> Option<u64> {
        let (from, to) = (self.looks.front()?, self.looks.back()?);
        let seconds = (to.0 - from.0).as_secs_f64();
        let rate = to.1.saturating_sub(from.1) as f64 / seconds;
        (seconds > 0.0 && rate > 0.0).then(|| (room as f64 / rate) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_rate_decides() {
        let mut rate = Rate::default();
        assert_eq!(rate.lasts_s(1_000), None);
        for s in 0..200u64 {
            rate.look(if s < 100 { s * 1_000 } else { 100_000 + (s - 100) * 10 }, Duration::from_secs(s));
        }
        assert_eq!(rate.lasts_s(1_000), Some(100));
        assert!(rate.looks.len() < 70);
    }
}
