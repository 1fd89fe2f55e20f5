//! Maintenance windows: times in which people work on a machine. What its sensors tell then is
//! neither learnt nor shown: alarms stand in the list as suppressed by design, with the reason,
//! until the window ends. Fixed limits are watched on, so that the list is true.
//!
//! A window may come again every so often: a weekly cleaning, a yearly overhaul.

use crate::pattern::Pattern;
use serde::{Deserialize, Serialize};

/// One `[[maintenance]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Which series.
    pub series: Pattern,
    /// When the (first) window begins, ms since the Unix epoch.
    pub from_ms: i64,
    /// When it ends.
    pub until_ms: i64,
    /// From beginning to beginning, in ms, where it comes again.
    pub every_ms: Option<i64>,
    /// Why, in a few words.
    pub reason: String,
}

impl Maintenance {
    /// When the window that a moment lies in ends; none outside of all. A window that ends before it begins is none.
    #[inline]
    pub fn ends_at(&self, at_ms: i64) -> Option<i64> {
        let into_ms = at_ms.checked_sub(self.from_ms).filter(|into| *into >= 0)?;
        let into_ms = self.every_ms.filter(|every| *every > 0).map_or(into_ms, |every| into_ms % every);
        let left_ms = self.until_ms.saturating_sub(self.from_ms).saturating_sub(into_ms);
        (left_ms > 0).then(|| at_ms.saturating_add(left_ms))
    }

    /// When the first window that begins after a moment does.
    pub fn begins_after(&self, at_ms: i64) -> Option<i64> {
        if at_ms < self.from_ms {
            return Some(self.from_ms);
        }
        let every_ms = self.every_ms.filter(|every| *every > 0)?;
        at_ms.checked_add(every_ms - at_ms.checked_sub(self.from_ms)? % every_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_comes_once_or_again_and_again() {
        let once = Maintenance { series: Pattern::new("a/**"), from_ms: 1_000, until_ms: 1_500, every_ms: None, reason: "oil".into() };
        assert_eq!([999, 1_000, 1_499, 1_500, 2_100].map(|at| once.ends_at(at)), [None, Some(1_500), Some(1_500), None, None]);
        let weekly = Maintenance { every_ms: Some(1_000), ..once.clone() };
        assert_eq!([999, 1_200, 1_600, 2_100, 3_499].map(|at| weekly.ends_at(at)), [None, Some(1_500), None, Some(2_500), Some(3_500)]);
        assert_eq!([999, 1_000, 1_200].map(|at| once.begins_after(at)), [Some(1_000), None, None]);
        assert_eq!([999, 1_000, 1_999, 2_000].map(|at| weekly.begins_after(at)), [Some(1_000), Some(2_000), Some(2_000), Some(3_000)]);
        assert_eq!([i64::MIN, i64::MAX].map(|at| weekly.begins_after(at)), [Some(1_000), None]);
        let wrong = Maintenance { until_ms: 0, every_ms: Some(0), ..once };
        assert_eq!([i64::MIN, 1_000, i64::MAX].map(|at| wrong.ends_at(at)), [None; 3]);
    }
}
