//! A limit as configured.

use crate::error::RuleError;
use crate::pattern::Pattern;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One `[[limit]]`; values in the series' unit, delays in ms (contract §2). The default one has
/// no limits, and no series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    /// A dynamic limit: a warning above what is usual at this hour by so much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above_usual: Option<f64>,
    /// The same below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below_usual: Option<f64>,
}

impl fmt::Display for LimitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "series = {}", self.series)?;
        let bounds = [("low_low", self.low_low), ("low", self.low), ("high", self.high), ("high_high", self.high_high)];
        let dynamic = [("above_usual", self.above_usual), ("below_usual", self.below_usual)];
        for (key, bound) in bounds.into_iter().chain(dynamic).filter_map(|(key, bound)| Some((key, bound?))) {
            write!(f, ", {key} = {bound}")?;
        }
        write!(f, ", deadband = {}, on_delay = {} ms, off_delay = {} ms", self.deadband, self.on_delay_ms, self.off_delay_ms)
    }
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
        let dynamic = [("above_usual", self.above_usual), ("below_usual", self.below_usual)];
        let dynamic: Vec<(&'static str, f64)> = dynamic.into_iter().filter_map(|(key, by)| Some((key, by?))).collect();
        if given.is_empty() && dynamic.is_empty() {
            return Err(RuleError::NoLimit);
        }
        for &(key, value) in &dynamic {
            if !value.is_finite() {
                return Err(RuleError::NotFinite { key, value });
            }
            if value <= 0.0 {
                return Err(RuleError::Negative { key });
            }
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
        if let (Some(above), Some(below)) = (self.above_usual, self.below_usual)
            && self.deadband - below > above - self.deadband
        {
            return Err(RuleError::DeadbandUsual { deadband: self.deadband, above, below });
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(low_low: Option<f64>, low: Option<f64>, high: Option<f64>) -> LimitRule {
        LimitRule { series: Pattern::new("line1/**"), high, low, low_low, deadband: 1.0, ..LimitRule::default() }
    }

    #[test]
    fn a_rule_that_cannot_be_followed_is_told_why() {
        let why = |rule: LimitRule| rule.check().unwrap_err().to_string();
        assert_eq!(rule(None, Some(1.0), Some(9.0)).check(), Ok(()));
        assert_eq!(why(rule(Some(5.0), Some(1.0), None)), "low_low (5) must be below low (1)");
        assert_eq!(why(rule(None, None, Some(f64::NAN))), "high is NaN, which is not a finite number");
        assert!(why(rule(None, None, None)).starts_with("the rule has no limit"));
        assert!(why(rule(None, Some(1.0), Some(2.0))).starts_with("a deadband of 1 leaves"));
        let usual = |deadband| LimitRule { above_usual: Some(3.0), below_usual: Some(5.0), deadband, ..rule(None, None, None) };
        assert_eq!(usual(4.0).check(), Ok(()));
        assert!(why(usual(4.1)).starts_with("a deadband of 4.1 leaves no value from 5 below to 3 above"));
        let negative = LimitRule { on_delay_ms: -1, ..rule(None, Some(1.0), None) };
        assert_eq!(why(negative), "on_delay must not be negative");
    }
}
