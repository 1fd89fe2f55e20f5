//! A value suddenly far from where the series usually is: exponentially weighted location and
//! scale with clipped updates (the family of Huber-type EWMA control charts).
//!
//! Two things must be unusual together: the distance from the level, of one value or of two
//! neighbours, and the step that led there, which must be a good part of it. The first alone
//! would call a wandering series' far ends spikes, the second alone would call a rough series'
//! return one. Scales never fall below half the usual size of a step other than zero: a
//! quantised sensor's next step is no spike. How far is far is also a matter of the series' own
//! record, upwards and downwards apart.
//!
//! A spike ends when values are near the old level again. When they stay away, the level has
//! moved: the spike is cleared and the level learnt anew. Either way the event is remembered
//! ([`Habit`]), so that what a series does regularly is soon told no more.

use crate::chart::Tell;
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
const LEVEL: f64 = 5.6;
/// Readings at which twice as much is asked: a scale of few readings is believed less.
const YOUNG: f64 = 25.0;
/// And times the largest of ordinary values; more where that is beyond what chance gives
/// normal data in days: a fat tail goes on.
const RECORD_TIMES: f64 = 1.2;
const FAT: f64 = 5.2;
const FAT_TIMES: f64 = 1.4;
/// What of that record is kept from reading to reading: half is forgotten in 12 days at 1 Hz.
const RECORD_KEEP: f64 = 1.0 - 1.0 / 1_572_864.0;
/// And the step to it or to the value before, in those of the steps (√2 times the values', for independent ones).
const STEP: f64 = 2.3;
/// Part of the distance that this step is at least: what climbs or wanders there is no spike.
const LEAP_PART: f64 = 0.5;
/// Part of the usual step that a deviation is at least. Of independent values, a step is √2
/// times one; those other than zero of a coarse sensor are larger.
const STEP_PART: f64 = 0.5;
/// Weight of a deviation in their scale, once warm: the last 250 count, so that chance moves
/// the scale by few percent only.
const SCALE_WEIGHT: f64 = 0.004;
/// Distance at which values are back.
const CLEAR: f64 = 4.0;
/// Readings away after which the level has moved.
const STAY: u8 = 10;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "value against an exponentially weighted level: told beyond {LEVEL} robust deviations and {RECORD_TIMES} to {FAT_TIMES} times \
         the series' own record, reached by a step; over when near again, or after {STAY} readings, which are then the new level"
    )
}

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
    /// Largest distance of an ordinary value above the level, in robust standard deviations.
    record: f64,
    /// Readings since the value went out; 0: it is not out.
    out: u8,
    /// An alert says so.
    told: bool,
    /// The event is one to remember: no configured limit spoke for it.
    counts: bool,
    /// Largest distance of the event.
    peak: f64,
    /// The value before the last.
    #[serde(default)]
    before: f64,
    /// Largest distance of an ordinary value below the level.
    #[serde(default)]
    below: f64,
    /// The last one's distance, upwards: of the record once the next value is ordinary too.
    #[serde(default)]
    pending: f64,
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

    /// The usual deviation of a reading.
    #[inline]
    pub(crate) fn deviation(&self) -> f64 {
        self.deviation.sigma().max(STEP_PART * self.step.sigma())
    }

    /// Whether what is usual is being learnt.
    #[inline]
    pub(crate) fn is_young(&self) -> bool {
        self.seen < WARM_UP
    }

    /// Judges one value, then learns from it.
    #[inline]
    pub(crate) fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, tell: Tell, findings: &mut Vec<Finding>) -> Verdict {
        let at = value.clamp(-VALUE_MAX, VALUE_MAX);
        if self.seen == 0 {
            (self.level, self.last, self.before, self.seen) = (at, at, at, 1);
            return Verdict::Usual;
        }
        let step = (at - self.last).abs();
        // The leap may have come with the value before.
        let leap = step.max((self.last - self.before).abs());
        // Two neighbours out on one side weigh as one that is √2 times the sum of them out.
        let pair = ((at - self.level) + (self.last - self.level)) * std::f64::consts::FRAC_1_SQRT_2;
        (self.before, self.last) = (self.last, at);
        let distance = at - self.level;
        let size = distance.abs();
        let least = (SCALE_RELATIVE_MIN * self.level.abs()).max(SCALE_MIN);
        let step_scale = self.step.sigma().max(least);
        let scale = self.deviation.sigma().max(STEP_PART * step_scale).max(least);
        self.habit.forget();
        if self.out > 0 {
            return self.follow(time_ms, value, size, scale, unit, tell, findings);
        }
        let warm = self.seen >= WARM_UP && self.step.seen() >= CHANGES_MIN;
        let far = if pair.abs() > size { pair } else { distance };
        let record = if far > 0.0 { self.record } else { self.below };
        let young = 1.0 + YOUNG / f64::from(self.seen);
        let limit = young * LEVEL.max(if record > FAT { FAT_TIMES } else { RECORD_TIMES } * record);
        let stride = step_scale * f64::from(self.step.seen()) / f64::from(self.seen);
        if warm && far.abs() > limit * scale && leap > (STEP * stride).max(LEAP_PART * size) {
            let news = self.habit.is_news(size);
            (self.out, self.peak, self.pending) = (1, size, 0.0);
            (self.told, self.counts) = (news && tell == Tell::Now, tell != Tell::Never);
            if self.told {
                findings.push(self.finding(State::Active, time_ms, value, size / scale, unit));
            }
            return Verdict::Out;
        }
        if self.seen >= FREE {
            // One value alone may be the beginning of a spike.
            let last = std::mem::replace(&mut self.pending, far / scale);
            self.record = (self.record * RECORD_KEEP).max(last);
            self.below = (self.below * RECORD_KEEP).max(-last);
        }
        self.learn(distance, step, scale);
        Verdict::Usual
    }

    /// A value after one that went out.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    fn follow(
        &mut self,
        time_ms: i64,
        value: f64,
        size: f64,
        scale: f64,
        unit: Option<&str>,
        tell: Tell,
        findings: &mut Vec<Finding>,
    ) -> Verdict {
        self.out += 1;
        self.peak = self.peak.max(size);
        let back = size < CLEAR * scale;
        if !self.told && self.counts && !back && self.out <= STAY && tell == Tell::Now && self.habit.is_news(size) {
            // It went on to where it may be told.
            self.told = true;
            findings.push(self.finding(State::Active, time_ms, value, size / scale, unit));
        }
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
        self.deviation.learn_slowly(distance.abs(), scale, SCALE_WEIGHT);
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
            contributors: Vec::new(),
        }
    }
}
