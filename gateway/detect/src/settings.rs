//! What detection depends on, as configured.

use crate::maintenance::Maintenance;
use crate::rule::{Critical, LimitRule};
use crate::suppress::{GroupRule, Shadow, Suppression};
use serde::{Deserialize, Serialize};

/// What detection depends on. Without a rule the learning detectors watch alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Fixed limits; the first rule that matches a series is its rule.
    pub limits: Vec<LimitRule>,
    /// Times in which people work on machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance: Vec<Maintenance>,
    /// Alarms that suppress others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressions: Vec<Suppression>,
    /// Detectors that are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<Shadow>,
    /// Machines that their prefix does not name; the first that names a series has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupRule>,
}

/// How many `[[maintenance]]` there may be: a series keeps one bit for each.
pub const MAINTENANCE_MAX: usize = u64::BITS as usize;

impl Settings {
    /// The rule of a series.
    pub fn rule(&self, series: &str) -> Option<&LimitRule> {
        self.limits.iter().find(|rule| rule.series.matches(series))
    }

    /// Which maintenance a series may be in: a bit for each of the first [`MAINTENANCE_MAX`].
    pub fn maintained(&self, series: &str) -> u64 {
        let rules = self.maintenance.iter().take(MAINTENANCE_MAX).enumerate();
        rules.filter(|(_, rule)| rule.series.matches(series)).fold(0, |bits, (at, _)| bits | 1 << at)
    }

    /// The maintenance that a moment lies in, of those that a series may be in, and when it ends:
    /// of several the one that ends last.
    pub fn maintenance_at(&self, maintained: u64, at_ms: i64) -> Option<(&Maintenance, i64)> {
        let rules = self.maintenance.iter().take(MAINTENANCE_MAX).enumerate().filter(|(at, _)| maintained >> at & 1 == 1);
        rules.filter_map(|(_, rule)| Some((rule, rule.ends_at(at_ms)?))).max_by_key(|(_, ends)| *ends)
    }

    /// When the first maintenance that begins after a moment does.
    pub fn maintenance_after(&self, at_ms: i64) -> Option<i64> {
        self.maintenance.iter().take(MAINTENANCE_MAX).filter_map(|rule| rule.begins_after(at_ms)).min()
    }

    /// The critical limits of a series; none when its rule has none.
    pub fn critical(&self, series: &str) -> Option<Critical> {
        let &LimitRule { low_low, high_high, .. } = self.rule(series)?;
        (low_low.is_some() || high_high.is_some()).then_some(Critical { low_low, high_high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    fn rule(low_low: Option<f64>, high: Option<f64>) -> LimitRule {
        LimitRule { series: Pattern::new("line1/**"), high, low_low, deadband: 1.0, ..LimitRule::default() }
    }

    #[test]
    fn the_first_rule_that_matches_is_the_series_rule() {
        let mut settings = Settings { limits: vec![rule(Some(5.0), None), rule(None, Some(9.0))], ..Settings::default() };
        let critical = settings.critical("line1/a").unwrap();
        assert!(critical.beyond(4.9) && !critical.beyond(5.0) && !critical.beyond(1e9));
        assert_eq!(settings.critical("line2/a"), None);
        settings.limits.remove(0);
        assert_eq!(settings.critical("line1/a"), None);
    }
}
