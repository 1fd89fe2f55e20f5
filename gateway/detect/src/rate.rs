//! Rate of change: a step between neighbours far larger than the series' steps usually are.
//!
//! Steps are compared with the exponentially weighted mean of their sizes. A spike is two
//! such steps, so this one asks for a change that stays: the value after must lie on the far
//! side too.

use crate::finding::{Finding, Kind, Severity, State, amount, number};
use serde::{Deserialize, Serialize};

const WARM_UP: u32 = 120;
const ALPHA: f64 = 0.02;
/// Times the usual step; the mean of a normal series' steps is 1.13 σ.
const RAISE: f64 = 12.0;
/// Samples that it stays active at least: one event, one alert.
const HOLD: u32 = 30;

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rate {
    seen: u32,
    last: Option<(i64, f64)>,
    usual: f64,
    smallest: f64,
    /// Value before a large step that is not confirmed yet, and the step.
    pending: Option<(f64, f64)>,
    active: u32,
}

impl Rate {
    /// Judges one value, then learns from it.
    #[inline]
    pub fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, findings: &mut Vec<Finding>) {
        let Some((last_ms, last)) = self.last else {
            self.last = Some((time_ms, value));
            return;
        };
        if time_ms <= last_ms {
            return;
        }
        self.last = Some((time_ms, value));
        let step = value - last;
        let size = if step.is_finite() { step.abs() } else { f64::MAX };
        if size > 0.0 && (self.smallest == 0.0 || size < self.smallest) {
            self.smallest = size;
        }
        let usual = self.usual.max(self.smallest).max(1e-12);
        if self.seen < WARM_UP {
            self.seen += 1;
            let alpha = (1.0 / f64::from(self.seen)).max(ALPHA);
            self.usual += alpha * (size.min(1e300) - self.usual);
            return;
        }
        if self.active > 0 {
            self.active -= 1;
            if self.active == 0 {
                findings.push(finding(State::Cleared, time_ms, value, 0.0, usual, unit));
            }
        } else if let Some((before, step)) = self.pending.take() {
            if (value - before).abs() > step.abs() / 2.0 && (value - before) * step > 0.0 {
                self.active = HOLD;
                findings.push(finding(State::Active, time_ms, value, step, usual, unit));
            }
        } else if size > RAISE * usual {
            self.pending = Some((last, step));
        }
        self.usual += ALPHA * (size.min(4.0 * usual) - self.usual);
    }
}

fn finding(state: State, time_ms: i64, value: f64, step: f64, usual: f64, unit: Option<&str>) -> Finding {
    let score = (step.abs() / usual).min(1e9);
    let message = match state {
        State::Active => {
            format!("changed by {} at once and stayed; {} is usual ({} times)", amount(step, unit), amount(usual, unit), number(score))
        }
        State::Cleared => format!("changes by its usual {} again", amount(usual, unit)),
    };
    let baseline = Some(usual);
    Finding { kind: Kind::Rate, severity: Severity::Warning, state, time_ms, value, limit: None, score: Some(score), baseline, message }
}
