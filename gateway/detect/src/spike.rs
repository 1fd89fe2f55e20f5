//! A value suddenly far from where the series usually is: exponentially weighted location and
//! scale with clipped updates (the family of Huber-type EWMA control charts).
//!
//! Two things must be unusual together: the distance from the level, and the step from the
//! value before. The first alone would call a wandering series' far ends spikes, the second
//! alone would call a rough series' return one. Scales never fall below the usual size of a
//! step other than zero: a quantised sensor's next step is no spike.
//!
//! A spike ends when values are near the old level again. When they stay away, the level has
//! moved: the spike is cleared and the level learnt anew. Either way the event is remembered
//! ([`Habit`]), so that what a series does regularly is soon told no more.

use crate::finding::{Finding, Kind, Severity, State, amount, number};
use crate::limits::{SCALE_MIN, SCALE_RELATIVE_MIN, SCORE_MAX, VALUE_MAX};
use crate::scale::{CLIP, Habit, Scale, weight};
use serde::{Deserialize, Serialize};

/// Readings before it speaks.
const WARM_UP: u32 = 60;
/// Changes of value before it speaks: a constant has no scale.
const CHANGES_MIN: u32 = 20;
/// Readings that the level takes as they come, with the scale's own.
const FREE: u32 = 15;
/// Robust standard deviations from the level that raise, at least.
const LEVEL: f64 = 5.0;
/// And times the largest of ordinary values: a fat tail is how a series is.
const RECORD_TIMES: f64 = 1.2;
/// What of that record is kept from reading to reading: half is forgotten in 12 days at 1 Hz.
const RECORD_KEEP: f64 = 1.0 - 1.0 / 1_572_864.0;
/// And from the value before, in those of the steps (√2 times the values', for independent ones).
const STEP: f64 = 3.0;
/// Part of the usual step that a deviation is at least: of independent values, a step is √2 times one.
const STEP_PART: f64 = 0.707;
/// Distance at which values are back.
const CLEAR: f64 = 4.0;
/// Readings away after which the level has moved.
const STAY: u8 = 10;

/// What a value was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing unusual.
    Usual,
    /// Part of a spike, or what may become a new level.
    Out,
    /// The level has moved with this value.
    Moved,
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Spike {
    seen: u32,
    level: f64,
    last: f64,
    deviation: Scale,
    /// Sizes of steps other than zero.
    step: Scale,
    habit: Habit,
    /// Largest distance of an ordinary value, in robust standard deviations.
    record: f64,
    /// Readings since the value went out; 0: it is not out.
    out: u8,
    /// An alert says so.
    told: bool,
    /// The event is one to remember: no configured limit spoke for it.
    counts: bool,
    /// Largest distance of the event.
    peak: f64,
}

impl Spike {
    /// The usual size of a step other than zero.
    #[inline]
    pub(crate) fn quantum(&self) -> f64 {
        self.step.sigma()
    }

    /// Whether a spike goes on, told or not.
    #[inline]
    pub(crate) fn is_out(&self) -> bool {
        self.out > 0
    }

    /// Judges one value, then learns from it. With `mute` nothing new is raised: a configured
    /// limit already speaks of it.
    #[inline]
    pub(crate) fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, mute: bool, findings: &mut Vec<Finding>) -> Verdict {
        let at = value.clamp(-VALUE_MAX, VALUE_MAX);
        if self.seen == 0 {
            (self.level, self.last, self.seen) = (at, at, 1);
            return Verdict::Usual;
        }
        let step = (at - self.last).abs();
        self.last = at;
        let distance = at - self.level;
        let size = distance.abs();
        let least = (SCALE_RELATIVE_MIN * self.level.abs()).max(SCALE_MIN);
        let step_scale = self.step.sigma().max(least);
        let scale = self.deviation.sigma().max(STEP_PART * step_scale).max(least);
        self.habit.forget();
        if self.out > 0 {
            return self.follow(time_ms, value, size, scale, unit, findings);
        }
        let warm = self.seen >= WARM_UP && self.step.seen() >= CHANGES_MIN;
        self.record *= RECORD_KEEP;
        if warm && size > LEVEL.max(RECORD_TIMES * self.record) * scale && step > STEP * step_scale {
            let news = self.habit.is_news(size);
            (self.out, self.peak) = (1, size);
            (self.told, self.counts) = (news && !mute, !mute);
            if self.told {
                findings.push(self.finding(State::Active, time_ms, value, size / scale, unit));
            }
            return Verdict::Out;
        }
        if warm {
            self.record = self.record.max(size / scale);
        }
        self.learn(distance, step, scale);
        Verdict::Usual
    }

    /// A value after one that went out.
    #[cold]
    fn follow(&mut self, time_ms: i64, value: f64, size: f64, scale: f64, unit: Option<&str>, findings: &mut Vec<Finding>) -> Verdict {
        self.out += 1;
        self.peak = self.peak.max(size);
        let back = size < CLEAR * scale;
        if !back && self.out <= STAY {
            return Verdict::Out;
        }
        if self.told {
            findings.push(self.finding(State::Cleared, time_ms, value, size / scale, unit));
        }
        if self.counts {
            self.habit.learn(self.peak);
        }
        (self.out, self.told) = (0, false);
        if back {
            return Verdict::Usual;
        }
        // The machine may run differently now: scales are learnt anew too.
        (self.seen, self.level) = (1, self.last);
        (self.deviation, self.step) = Default::default();
        Verdict::Moved
    }

    #[inline]
    fn learn(&mut self, distance: f64, step: f64, scale: f64) {
        self.seen = self.seen.saturating_add(1);
        let clip = if self.seen > FREE { CLIP * scale } else { f64::MAX };
        self.level += weight(self.seen) * distance.clamp(-clip, clip);
        self.deviation.learn(distance.abs(), scale);
        if step > 0.0 {
            self.step.learn(step, 0.0);
        }
    }

    fn finding(&self, state: State, time_ms: i64, value: f64, score: f64, unit: Option<&str>) -> Finding {
        let (now, usual) = (amount(value, unit), amount(self.level, unit));
        let score = score.min(SCORE_MAX);
        let message = match state {
            State::Active => {
                format!("{now} is {} times the usual deviation away from the usual {usual}", number((score * 10.0).round() / 10.0))
            }
            State::Cleared if self.out > STAY => {
                format!("{now} is the new level after {STAY} readings away from {usual}")
            }
            State::Cleared => format!("{now} is near the usual {usual} again"),
        };
        Finding {
            kind: Kind::Spike,
            severity: Severity::Warning,
            state,
            time_ms,
            value,
            limit: None,
            score: Some(score),
            baseline: Some(self.level),
            message,
        }
    }
}
