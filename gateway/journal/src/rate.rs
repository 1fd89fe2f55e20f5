//! How fast a figure grows at present: bytes of the log, or readings.

use std::collections::VecDeque;
use std::time::Duration;

/// Parts of the present: looks are so far apart, in a young process nearer.
const STEPS: u32 = 60;
/// No two looks are nearer.
const STEP_LEAST: Duration = Duration::from_secs(1);

/// A figure that only grows, looked at from time to time.
#[derive(Debug)]
pub struct Rate {
    /// How far back the present reaches.
    span: Duration,
    /// When, since the process began, and what it was.
    looks: VecDeque<(Duration, u64)>,
}

impl Default for Rate {
    /// The present is a minute.
    fn default() -> Self {
        Self::over(Duration::from_secs(60))
    }
}

impl Rate {
    /// One whose present reaches so far back.
    pub fn over(span: Duration) -> Self {
        Self { span, looks: VecDeque::new() }
    }

    /// Whether a look would be kept, `elapsed` after the process began.
    pub fn is_due(&self, elapsed: Duration) -> bool {
        let step = |at: Duration| (self.span / STEPS).min((at / 8).max(STEP_LEAST));
        self.looks.back().is_none_or(|(at, _)| elapsed >= *at + step(*at))
    }

    /// It is `figure`, `elapsed` after the process began.
    pub fn look(&mut self, figure: u64, elapsed: Duration) {
        if !self.is_due(elapsed) {
            return;
        }
        self.looks.push_back((elapsed, figure));
        while self.looks.len() > 2 && self.looks[1].0 + self.span <= elapsed {
            self.looks.pop_front();
        }
    }

    /// By how much it grew within the present; `None` before a second look.
    pub fn growth(&self) -> Option<u64> {
        let (from, to) = (self.looks.front()?, self.looks.back()?);
        (from.0 < to.0).then(|| to.1.saturating_sub(from.1))
    }

    /// The same for each second.
    pub fn per_s(&self) -> Option<f64> {
        let (from, to) = (self.looks.front()?, self.looks.back()?);
        Some(self.growth()? as f64 / (to.0 - from.0).as_secs_f64())
    }

    /// Seconds until it has grown by `room`; `None` while it does not.
    pub fn lasts_s(&self, room: u64) -> Option<u64> {
        let rate = self.per_s()?;
        (rate > 0.0).then(|| (room as f64 / rate) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_rate_decides() {
        let mut rate = Rate::default();
        assert_eq!((rate.lasts_s(1_000), rate.growth()), (None, None));
        rate.look(0, Duration::ZERO);
        assert_eq!((rate.per_s(), rate.growth()), (None, None), "one look is no rate");
        for s in 1..200u64 {
            rate.look(if s < 100 { s * 1_000 } else { 100_000 + (s - 100) * 10 }, Duration::from_secs(s));
        }
        assert_eq!((rate.lasts_s(1_000), rate.growth(), rate.per_s()), (Some(100), Some(600), Some(10.0)));
        assert!(rate.looks.len() < 70);
    }

    #[test]
    fn an_hour_is_looked_at_by_the_minute_and_its_beginning_by_the_second() {
        let mut rate = Rate::over(Duration::from_secs(3_600));
        rate.look(0, Duration::ZERO);
        rate.look(500, Duration::from_secs(1));
        assert_eq!(rate.growth(), Some(500));
        for s in 2..20_000u64 {
            rate.look(s * 500, Duration::from_secs(s));
            assert!(rate.looks.len() < 100);
        }
        assert_eq!(rate.per_s(), Some(500.0));
    }
}
