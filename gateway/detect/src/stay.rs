//! How long a series has been about where it is: what an alert may say of the time before a change
//! of level. It decides nothing.

use crate::mark::Mark;
use serde::{Deserialize, Serialize};

/// Readings away after which a level was left, though the series came back.
const AWAY: u8 = 3;
/// The least time that says something, in ms.
const HELD_MS_MIN: i64 = 60_000;
/// Part of the way to another level within which all of the time before must lie.
const PART: f64 = 0.5;

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Stay {
    /// Event time of the first reading of it.
    since_ms: Mark,
    /// Where the last ten readings were in the mean since then, at the least and at the most.
    low: f32,
    high: f32,
}

impl Stay {
    /// A reading that is ordinary, and the mean of the last ones.
    #[inline]
    pub(crate) fn observe(&mut self, time_ms: i64, few: f64) {
        let few = few as f32;
        if self.since_ms.get().is_none() {
            (self.since_ms, self.low, self.high) = (Mark::at(time_ms), few, few);
        }
        (self.low, self.high) = (self.low.min(few), self.high.max(few));
    }

    /// It is back, after so many readings elsewhere.
    #[inline]
    pub(crate) fn came_back(&mut self, away: u8) {
        if away >= AWAY {
            self.restart();
        }
    }

    /// What was before counts no more, or is not known.
    #[inline]
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    /// All readings so far were of so much later.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        self.since_ms.shift(by_ms);
    }

    /// How long it was at `from` until it left for `to`, in ms; none where it wandered too much to say so.
    #[cold]
    pub(crate) fn held(&self, from: f64, to: f64, until_ms: i64) -> Option<i64> {
        let most = PART * (to - from).abs();
        let is_near = |edge: f32| (from - f64::from(edge)).abs() < most;
        let is_near = is_near(self.low) && is_near(self.high);
        let held_ms = until_ms.saturating_sub(self.since_ms.get()?);
        (is_near && held_ms >= HELD_MS_MIN).then_some(held_ms)
    }
}
