//! Fixed limits with deadband and delays (ISA-18.2 §3.1, IEC 62682: on-delay, off-delay, deadband).
//!
//! A value beyond a limit for the on-delay raises; one back inside by the deadband for the
//! off-delay clears. Delays run by event time, so late data decide as timely data would.

use crate::finding::{Finding, Kind, Severity, State, amount};
use crate::settings::LimitRule;
use serde::{Deserialize, Serialize};

/// One of a rule's four limits, in its present state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    kind: Kind,
    limit: f64,
    deadband: f64,
    on_delay_ms: i64,
    off_delay_ms: i64,
    active: bool,
    /// Since when the value asks for the other state.
    since_ms: Option<i64>,
}

impl Limit {
    /// The limits of a rule; what an earlier rule's had as state stays where kind and limit are the same.
    pub fn of(rule: &LimitRule, before: &[Limit]) -> Vec<Limit> {
        let kinds = [(Kind::HighHigh, rule.high_high), (Kind::High, rule.high), (Kind::Low, rule.low), (Kind::LowLow, rule.low_low)];
        let one = |(kind, limit): (Kind, Option<f64>)| {
            let limit = limit?;
            let old = before.iter().find(|l| l.kind == kind && l.limit == limit);
            let (active, since_ms) = old.map_or((false, None), |l| (l.active, l.since_ms));
            let LimitRule { deadband, on_delay_ms, off_delay_ms, .. } = *rule;
            Some(Limit { kind, limit, deadband, on_delay_ms, off_delay_ms, active, since_ms })
        };
        kinds.into_iter().filter_map(one).collect()
    }

    /// Judges one value.
    #[inline]
    pub fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, out: &mut Vec<Finding>) {
        let above = matches!(self.kind, Kind::HighHigh | Kind::High);
        let beyond = if above { value > self.limit } else { value < self.limit };
        let inside = if above { value <= self.limit - self.deadband } else { value >= self.limit + self.deadband };
        let turn = if self.active { inside } else { beyond };
        if !turn {
            self.since_ms = None;
            return;
        }
        let since = *self.since_ms.get_or_insert(time_ms);
        let delay = if self.active { self.off_delay_ms } else { self.on_delay_ms };
        if time_ms - since < delay {
            return;
        }
        self.active = !self.active;
        self.since_ms = None;
        let side = match (self.active, above) {
            (true, true) => "is above",
            (true, false) => "is below",
            (false, true) => "is back below",
            (false, false) => "is back above",
        };
        let severity = if matches!(self.kind, Kind::HighHigh | Kind::LowLow) { Severity::Critical } else { Severity::Warning };
        out.push(Finding {
            kind: self.kind,
            severity,
            state: if self.active { State::Active } else { State::Cleared },
            time_ms,
            value,
            limit: Some(self.limit),
            score: None,
            baseline: None,
            message: format!("{} {side} {}", amount(value, unit), amount(self.limit, unit)),
        });
    }
}
