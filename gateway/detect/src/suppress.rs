//! What is decided about alerts before they are made: alarms that another alarm suppresses by
//! design, and detectors that are tried in shadow.
//!
//! While a machine's power is off, nobody wants to hear that its vibration is stuck: the alarm
//! of the power suppresses the others (ISA-18.2: suppressed by design). A detector in shadow
//! works and learns as ever; its alerts are counted and told apart, and raise nothing.

use crate::finding::Kind;
use crate::pattern::Pattern;
use serde::{Deserialize, Serialize};

/// One `[[suppress]]`: while one alarm is active, others are not shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suppression {
    /// The series whose alarm suppresses.
    pub by: String,
    /// Kind of that alarm.
    pub by_kind: Kind,
    /// Which series it suppresses alarms of.
    pub series: Pattern,
    /// Which kinds of them; empty: all.
    pub kinds: Vec<Kind>,
}

impl Suppression {
    /// Whether it is about an alarm; never about the one that suppresses.
    pub fn is_about(&self, series: &str, kind: &str) -> bool {
        let itself = series == self.by && kind == self.by_kind.as_str();
        !itself && self.series.matches(series) && has(&self.kinds, kind)
    }

    /// Whether it can be about no alarm: it names the one that suppresses, and no other.
    pub fn is_idle(&self) -> bool {
        self.series.as_str() == self.by && !self.kinds.is_empty() && self.kinds.iter().all(|kind| *kind == self.by_kind)
    }
}

/// One `[[shadow]]`: detectors whose alerts are counted and told apart, and raise nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// Of which series.
    pub series: Pattern,
    /// Which detectors, by their kinds; empty: all.
    pub kinds: Vec<Kind>,
}

impl Shadow {
    /// Whether it is about an alert.
    pub fn is_about(&self, series: &str, kind: Kind) -> bool {
        self.series.matches(series) && has(&self.kinds, kind.as_str())
    }
}

fn has(kinds: &[Kind], kind: &str) -> bool {
    kinds.is_empty() || kinds.iter().any(|one| one.as_str() == kind)
}

/// One `[[group]]`: series that are watched together though they have no prefix of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRule {
    /// What the machine is called in alerts.
    pub name: String,
    /// Its series; one that several groups name is of the first.
    pub series: Vec<Pattern>,
}

impl GroupRule {
    /// Whether a series is one of its channels.
    pub fn is_about(&self, series: &str) -> bool {
        self.series.iter().any(|pattern| pattern.matches(series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_about_what_they_name_and_never_about_themselves() {
        let rule = Suppression { by: "m/power".into(), by_kind: Kind::Low, series: Pattern::new("m/**"), kinds: vec![] };
        assert!(rule.is_about("m/flow", "flatline") && rule.is_about("m/power", "silence"));
        assert!(!rule.is_about("m/power", "low") && !rule.is_about("n/flow", "flatline"));
        let itself = Suppression { series: Pattern::new("m/power"), kinds: vec![Kind::Low, Kind::Low], ..rule.clone() };
        assert!(itself.is_idle() && !rule.is_idle());
        assert!(!Suppression { kinds: vec![], ..itself.clone() }.is_idle() && !Suppression { kinds: vec![Kind::High], ..itself }.is_idle());
        let some = Suppression { kinds: vec![Kind::Silence], ..rule };
        assert!(some.is_about("m/flow", "silence") && !some.is_about("m/flow", "flatline"));
        let shadow = Shadow { series: Pattern::new("**"), kinds: vec![Kind::Drift] };
        assert!(shadow.is_about("x", Kind::Drift) && !shadow.is_about("x", Kind::Spike));
        let group = GroupRule { name: "cell".into(), series: vec![Pattern::new("a/*"), Pattern::new("b/flow")] };
        assert!(group.is_about("a/x") && group.is_about("b/flow") && !group.is_about("b/x"));
    }
}
