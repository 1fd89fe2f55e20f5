//! Limits as configured.

use crate::error::RuleError;
use crate::pattern::Pattern;
use crate::watch::Watch;
use serde::{Deserialize, Serialize};

/// One `[[limit]]`; values in the series' unit, delays in ms (contract §2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitRule {
    /// Which series.
    pub series: Pattern,
    /// Critical above.
    pub high_high: Option<f64>,
    /// Warning above.
    pub high: Option<f64>,
    /// Warning below.
    pub low: Option<f64>,
    /// Critical below.
    pub low_low: Option<f64>,
    /// How far back inside a limit a value must be to clear it; 0 or more.
    pub deadband: f64,
    /// How long a value must be beyond a limit to raise it, in ms; 0 or more.
    pub on_delay_ms: i64,
    /// How long it must be back to clear it, in ms; 0 or more.
    pub off_delay_ms: i64,
}

impl LimitRule {
    /// Whether the rule can be followed as written. A rule that cannot is still safe to watch
    /// by: a limit that is no number is never passed, a negative deadband or delay counts as 0.
    ///
    /// # Errors
    /// The first [`RuleError`] found.
    pub fn check(&self) -> Result<(), RuleError> {
        let given = [("low_low", self.low_low), ("low", self.low), ("high", self.high), ("high_high", self.high_high)];
        let given: Vec<(&'static str, f64)> = given.into_iter().filter_map(|(key, limit)| Some((key, limit?))).collect();
        if given.is_empty() {
            return Err(RuleError::NoLimit);
        }
        for &(key, value) in given.iter().chain([&("deadband", self.deadband)]) {
            if !value.is_finite() {
                return Err(RuleError::NotFinite { key, value });
            }
        }
        for pair in given.windows(2) {
            let ((lower_key, lower), (upper_key, upper)) = (pair[0], pair[1]);
            // Equal limits of one side are allowed: the critical one then speaks alone.
            let sides = upper_key.starts_with("high") && lower_key.starts_with("low");
            if lower > upper || (sides && lower == upper) {
                return Err(RuleError::Order { lower_key, lower, upper_key, upper });
            }
        }
        let negative = [("deadband", self.deadband < 0.0), ("on_delay", self.on_delay_ms < 0), ("off_delay", self.off_delay_ms < 0)];
        if let Some((key, _)) = negative.into_iter().find(|(_, negative)| *negative) {
            return Err(RuleError::Negative { key });
        }
        if let (Some(low), Some(high)) = (self.low.or(self.low_low), self.high.or(self.high_high))
            && low + self.deadband > high - self.deadband
        {
            let deadband = self.deadband;
            return Err(RuleError::Deadband { deadband, low, high });
        }
        Ok(())
    }
}

/// What detection depends on. Without a rule the learning detectors watch alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Fixed limits; the first rule that matches a series is its rule.
    pub limits: Vec<LimitRule>,
}

/// A series' critical limits: what intake asks before it decides how soon to commit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Critical {
    /// Critical below.
    pub low_low: Option<f64>,
    /// Critical above.
    pub high_high: Option<f64>,
}

impl Critical {
    /// Whether a value is beyond one.
    #[inline]
    pub fn beyond(&self, value: f64) -> bool {
        self.high_high.is_some_and(|limit| value > limit) || self.low_low.is_some_and(|limit| value < limit)
    }
}

impl Settings {
    /// The rule of a series.
    pub fn rule(&self, series: &str) -> Option<&LimitRule> {
        self.limits.iter().find(|rule| rule.series.matches(series))
    }

    /// The critical limits of a series; none when its rule has none.
    pub fn critical(&self, series: &str) -> Option<Critical> {
        let &LimitRule { low_low, high_high, .. } = self.rule(series)?;
        (low_low.is_some() || high_high.is_some()).then_some(Critical { low_low, high_high })
    }

    /// Detectors for a series that was just met.
    pub fn watch(&self, series: &str, unit: Option<&str>) -> Watch {
        let mut watch = Watch::default();
        watch.reconfigure(self, series, unit);
        watch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(low_low: Option<f64>, low: Option<f64>, high: Option<f64>) -> LimitRule {
        LimitRule { series: Pattern::new("line1/**"), high_high: None, high, low, low_low, deadband: 1.0, on_delay_ms: 0, off_delay_ms: 0 }
    }

    #[test]
    fn a_rule_that_cannot_be_followed_is_told_why() {
        let why = |rule: LimitRule| rule.check().unwrap_err().to_string();
        assert_eq!(rule(None, Some(1.0), Some(9.0)).check(), Ok(()));
        assert_eq!(why(rule(Some(5.0), Some(1.0), None)), "low_low (5) must be below low (1)");
        assert_eq!(why(rule(None, None, Some(f64::NAN))), "high is NaN, which is not a finite number");
        assert!(why(rule(None, None, None)).starts_with("the rule has no limit"));
        assert!(why(rule(None, Some(1.0), Some(2.0))).starts_with("a deadband of 1 leaves"));
        let negative = LimitRule { on_delay_ms: -1, ..rule(None, Some(1.0), None) };
        assert_eq!(why(negative), "on_delay must not be negative");
    }

    #[test]
    fn the_first_rule_that_matches_is_the_series_rule() {
        let mut settings = Settings { limits: vec![rule(Some(5.0), None, None), rule(None, None, Some(9.0))] };
        let critical = settings.critical("line1/a").unwrap();
        assert!(critical.beyond(4.9) && !critical.beyond(5.0) && !critical.beyond(1e9));
        assert_eq!(settings.critical("line2/a"), None);
        settings.limits.remove(0);
        assert_eq!(settings.critical("line1/a"), None);
    }
}
