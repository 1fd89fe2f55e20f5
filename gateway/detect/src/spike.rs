//! A value far from where the series usually is: exponentially weighted location and scale,
//! with clipped updates so that what is unusual does not become usual at once (after the
//! robust control charts of Huber-type winsorised EWMA).
//!
//! The scale is the weighted mean absolute deviation, times 1.2533 (the ratio for normal
//! data), and never below the smallest step that the series has shown: a quantised sensor's
//! next step is no spike.

use crate::finding::{Finding, Kind, Severity, State, amount, number};
use serde::{Deserialize, Serialize};

/// Samples before it speaks.
const WARM_UP: u32 = 120;
/// Weight of a new sample once warm.
const ALPHA: f64 = 0.02;
/// Robust standard deviations that raise; eight keeps a normal series silent for years.
const RAISE: f64 = 8.0;
/// And that clear.
const CLEAR: f64 = 4.0;
/// Updates are clipped here, in standard deviations.
const CLIP: f64 = 3.0;
/// After this many samples out in a row the series has moved: it is learnt anew.
const MOVED: u32 = 60;

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Spike {
    seen: u32,
    mean: f64,
    deviation: f64,
    step: f64,
    last: f64,
    active: bool,
    out: u32,
}

impl Spike {
    /// Judges one value, then learns from it.
    #[inline]
    pub fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, findings: &mut Vec<Finding>) {
        if self.seen == 0 {
            (self.mean, self.last) = (value, value);
            self.seen = 1;
            return;
        }
        let step = (value - self.last).abs();
        self.last = value;
        let distance = value - self.mean;
        let scale = (1.2533 * self.deviation).max(self.step).max(self.mean.abs() * 1e-6).max(1e-12);
        let score = if distance.is_finite() { (distance / scale).abs() } else { f64::MAX };
        if self.seen < WARM_UP {
            self.seen += 1;
            let alpha = (1.0 / f64::from(self.seen)).max(ALPHA);
            // The first quarter is taken as it comes: there is nothing to clip against yet.
            let clip = if self.seen > WARM_UP / 4 { CLIP * scale } else { f64::MAX };
            self.learn(alpha, distance, clip);
            if step > 0.0 && self.seen > 2 {
                self.step = if self.step == 0.0 { step } else { self.step.min(step) };
            }
            return;
        }
        if step > 0.0 && step < self.step {
            self.step = step;
        }
        if !self.active && score > RAISE {
            self.active = true;
            self.out = 0;
            findings.push(self.finding(State::Active, time_ms, value, score, unit));
        } else if self.active && score < CLEAR {
            self.active = false;
            findings.push(self.finding(State::Cleared, time_ms, value, score, unit));
        }
        self.learn(ALPHA, distance, CLIP * scale);
        if self.active {
            self.out += 1;
            if self.out >= MOVED {
                findings.push(self.finding(State::Cleared, time_ms, value, score, unit));
                *self = Self { step: self.step, ..Self::default() };
            }
        }
    }

    fn learn(&mut self, alpha: f64, distance: f64, clip: f64) {
        let clipped = distance.clamp(-clip, clip);
        if clipped.is_finite() {
            self.deviation += alpha * (clipped.abs() - self.deviation);
            self.mean += alpha * clipped;
        }
    }

    fn finding(&self, state: State, time_ms: i64, value: f64, score: f64, unit: Option<&str>) -> Finding {
        let message = match state {
            State::Active => format!(
                "{} is {} times the usual deviation away from the usual {}",
                amount(value, unit),
                number(score),
                amount(self.mean, unit)
            ),
            State::Cleared => {
                format!("{} is near the usual {} again, or the usual is learnt anew", amount(value, unit), amount(self.mean, unit))
            }
        };
        Finding {
            kind: Kind::Spike,
            severity: Severity::Warning,
            state,
            time_ms,
            value,
            limit: None,
            score: Some(score.min(1e9)),
            baseline: Some(self.mean),
            message,
        }
    }
}
