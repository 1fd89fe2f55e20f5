//! A value that no longer moves, though it used to.
//!
//! Learnt: how many equal values in a row the series usually shows. A series that has never
//! moved, or often rests, says nothing.

use crate::finding::{Finding, Kind, Severity, State, amount, duration};
use serde::{Deserialize, Serialize};

/// Changes seen before it speaks.
const CHANGES_MIN: u32 = 60;
/// Equal values at least.
const RUN_MIN: u32 = 60;
/// And so many times the longest run remembered.
const TIMES: f64 = 8.0;
/// How slowly the longest run is forgotten.
const FORGET: f64 = 0.999;

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Flatline {
    last: Option<f64>,
    since_ms: i64,
    run: u32,
    changes: u32,
    longest: f64,
    active: bool,
}

impl Flatline {
    /// Judges one value, then learns from it.
    #[inline]
    pub fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, findings: &mut Vec<Finding>) {
        if self.last == Some(value) {
            self.run = self.run.saturating_add(1);
            let usual = f64::from(RUN_MIN).max(TIMES * self.longest);
            if !self.active && self.changes >= CHANGES_MIN && f64::from(self.run) >= usual {
                self.active = true;
                findings.push(self.finding(State::Active, time_ms, value, unit));
            }
            return;
        }
        if self.active {
            self.active = false;
            findings.push(self.finding(State::Cleared, time_ms, value, unit));
        }
        if self.last.is_some() {
            self.changes = self.changes.saturating_add(1);
            self.longest = (self.longest * FORGET).max(f64::from(self.run));
        }
        (self.last, self.since_ms, self.run) = (Some(value), time_ms, 1);
    }

    fn finding(&self, state: State, time_ms: i64, value: f64, unit: Option<&str>) -> Finding {
        let message = match state {
            State::Active => format!(
                "stuck at {} for {} ({} equal values; {} in a row are usual at most)",
                amount(value, unit),
                duration(time_ms - self.since_ms),
                self.run,
                self.longest.ceil()
            ),
            State::Cleared => format!("moves again, at {}", amount(value, unit)),
        };
        Finding {
            kind: Kind::Flatline,
            severity: Severity::Warning,
            state,
            time_ms,
            value,
            limit: None,
            score: Some(f64::from(self.run) / self.longest.max(1.0)),
            baseline: Some(self.longest),
            message,
        }
    }
}
