//! Limits as configured.

use crate::pattern::Pattern;
use crate::watch::Watch;
use serde::{Deserialize, Serialize};

/// One `[[limit]]`; values in the series' unit, delays in ms.
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
    /// How far back inside the limit a value must be to clear it.
    pub deadband: f64,
    /// How long it must be beyond the limit.
    pub on_delay_ms: i64,
    /// How long it must be back.
    pub off_delay_ms: i64,
}

/// What detection depends on; the first rule that matches a series is its rule.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Fixed limits.
    pub limits: Vec<LimitRule>,
}

/// A series' critical limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Critical {
    /// Critical below.
    pub low_low: Option<f64>,
    /// Critical above.
    pub high_high: Option<f64>,
}

impl Critical {
    /// Whether a value is beyond one.
    pub fn beyond(&self, value: f64) -> bool {
        self.high_high.is_some_and(|limit| value > limit) || self.low_low.is_some_and(|limit| value < limit)
    }
}

impl Settings {
    /// The rule of a series.
    pub fn rule(&self, series: &str) -> Option<&LimitRule> {
        self.limits.iter().find(|rule| rule.series.matches(series))
    }

    /// The critical limits of a series.
    pub fn critical(&self, series: &str) -> Option<Critical> {
        let rule = self.rule(series)?;
        (rule.high_high.is_some() || rule.low_low.is_some()).then_some(Critical { low_low: rule.low_low, high_high: rule.high_high })
    }

    /// Detectors for a series that was just met.
    pub fn watch(&self, series: &str, unit: Option<&str>) -> Watch {
        let mut watch = Watch::default();
        watch.reconfigure(self, series, unit);
        watch
    }
}
