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
//! A machine that is off often tells one and the same value: that teaches no scale. Until enough
//! changes are seen there, the scale of the level before counts; where none is known, the first
//! change is where the series begins. And no record is kept of distances that no scale measured.
//!
//! A spike ends when values are near the old level again. When they stay away, the level has
//! moved: the spike is cleared and the level learnt anew. Either way the event is remembered
//! ([`Habit`]), so that what a series does regularly is soon told no more.

use crate::chart::Tell;
use crate::finding::{Finding, Kind, Severity, State, amount, number};
use crate::limits::{SCALE_MIN, SCALE_RELATIVE_MIN, SCORE_MAX, VALUE_MAX};
use crate::logarithm::ln;
use crate::scale::{CLIP, Habit, Scale, weight};
use serde::{Deserialize, Serialize};

/// Readings before it speaks.
const WARM_UP: u32 = 60;
/// Changes of value before it speaks: a constant has no scale.
const CHANGES_MIN: u32 = 20;
/// Equal readings at a level that are no chance.
const STILL_MIN: u32 = 5;
/// Of so many readings one has changed the value at least, of a series that has a scale.
const STILL_PART: u32 = WARM_UP / CHANGES_MIN;
/// Readings of a series that was just met; so many in a row that change and are so far below its scale show
/// that this is of an outlier among the first, which nobody has judged.
const MET: u32 = 1_800;
const SMALL_MIN: u8 = 30;
const SMALL_PART: f64 = 0.05;
/// Readings that the level takes as they come, with the scale's own.
const FREE: u32 = 15;
/// Robust standard deviations from the level that raise, at least.
const LEVEL: f64 = 5.6;
/// So many an outlier counts before a series is known.
const FIRST_TIMES: f64 = 20.0;
/// Readings at which twice as much is asked: a scale of few readings is believed less.
const YOUNG: f64 = 15.0;
/// And times the largest of ordinary values; more where that is beyond what chance gives so
/// many normal ones: a fat tail goes on.
const RECORD_TIMES: f64 = 1.2;
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
/// Distance at which values are back; of an event that is held, this part of the way at most.
const CLEAR: f64 = 4.0;
const BACK_PART: f64 = 0.5;
/// Times the usual step that steps of a level come to rest are at most, where that is more than a
/// part of the way there.
const CALM_STEPS: f64 = 4.0;
/// Readings away after which the level has moved.
const STAY: u8 = 10;
/// The same for a series that was at one level so far: sooner there, so that what stays is told as
/// what it is. Of slow series fewer, once so much time has passed, in ms.
const STAY_ONE: u8 = 5;
const STAY_ONE_SLOW: u8 = 3;
const SLOW_MS: i64 = 60_000;
/// And for one that was at several on its first day: until then nothing is told of it, as it may be a
/// machine that starts, stops or gets its next set point.
pub(crate) const STAY_YOUNG: u16 = 25;
/// Part of the way to another state that a step there is at most, and what of the largest is
/// kept from reading to reading; and part that the last readings move on: what does not come to
/// rest is none.
const CALM_PART: f64 = 0.25;
const ROUGH_KEEP: f64 = 0.7;
const REST_PART: f64 = 0.25;
const REST: u16 = 8;
/// Least distance of two neighbours on one side, each, that raises; and times its record.
const BOTH: f64 = 4.5;
const BOTH_TIMES: f64 = 1.5;
/// The largest that is remembered of it.
const BOTH_MAX: f64 = 1e38;
/// Readings that are counted by how little they depend on each other.
const COUNTED: u32 = 1_800;
/// Readings over which a fat tail must be expected to go on: two weeks at 1 Hz, as a logarithm.
const LN_HORIZON: f64 = 13.8;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "value against an exponentially weighted level: told beyond {LEVEL} robust deviations and {RECORD_TIMES} to {FAT_TIMES} times \
         the series' own record (none far beyond all known levels), reached by a step; over when near again, or after {STAY} readings, which are then the new level"
    )
}

/// What a value was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing unusual.
    Usual,
    /// The same: the first change of a series that was one value so far, or where one begins whose first
    /// readings were none to learn from.
    First,
    /// Part of a spike, or what may become a new level.
    Out,
    /// The level has moved with this value.
    Moved,
    /// The same, to another state of a machine whose states are not known yet: nothing was told.
    Settled,
    /// The same, away from all that is known, and to be told: from the level before, in
    /// `times` its usual deviations, since `began_ms`.
    Shifted { from: f64, times: f64, began_ms: i64 },
}

/// How long nothing is told of an event, so that what it is can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Not at all.
    No,
    /// Some readings: the series was at one level so far, and goes to another or comes back.
    Brief,
    /// Longer: the series' states are not known yet, only that there are several.
    Long,
}

/// What may be told of an event, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) tell: Tell,
    pub(crate) hold: Hold,
    /// The value may be at another state of the machine, where it stays.
    pub(crate) next: bool,
    /// The value is beyond all that the series is known for, and the ways between its levels, which are
    /// of its record, do not count.
    pub(crate) far: bool,
    /// The value is one more of so many equal ones that it says nothing of how far values stray.
    pub(crate) still: bool,
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
    /// The event is told when it ends, if it is no change of state.
    #[serde(default)]
    held: bool,
    /// Largest step of the held event, as it is forgotten.
    #[serde(default)]
    rough: f64,
    /// Where it was [`REST`] readings before it is decided.
    #[serde(default)]
    mark: f64,
    /// It went beyond what is known.
    #[serde(default)]
    beyond: bool,
    /// When a held event began, and its value farthest away.
    #[serde(default)]
    began_ms: i64,
    #[serde(default)]
    farthest: f64,
    /// The last distance, in robust standard deviations, and the largest that two ordinary
    /// neighbours on one side both had.
    #[serde(default)]
    behind: f64,
    #[serde(default)]
    both: f32,
    /// Ordinary readings, whatever the level.
    #[serde(default)]
    lived: u32,
    /// The held event is decided soon.
    #[serde(default)]
    brief: bool,
    /// Readings that do not depend on each other, of the first [`COUNTED`].
    #[serde(default)]
    independent: f32,
    /// The usual deviation at the last level that had one.
    #[serde(default)]
    prior: f64,
    /// Readings in a row far below the scale.
    #[serde(default)]
    small: u8,
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

    /// Readings since the value went out; 0: it is not out.
    #[inline]
    pub(crate) fn out_for(&self) -> u8 {
        self.out
    }

    /// Whether a spike goes on that is told when it ends.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Where the series is.
    #[inline]
    pub(crate) fn level(&self) -> f64 {
        self.level
    }

    /// How far the last value is from the level.
    pub(crate) fn away(&self) -> f64 {
        self.last - self.level
    }

    /// A climb that is another detector's on a series whose states are known: held as an event.
    #[cold]
    pub(crate) fn hold(&mut self, time_ms: i64) {
        (self.out, self.held, self.brief, self.told, self.counts) = (1, true, false, false, true);
        (self.peak, self.began_ms, self.farthest, self.beyond) = ((self.last - self.level).abs(), time_ms, self.last, true);
    }

    /// All readings so far were of so much later.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        self.began_ms = self.began_ms.saturating_add(by_ms);
    }

    /// No reading comes that would decide about a held event: it is told.
    #[cold]
    pub(crate) fn release(&mut self, unit: Option<&str>, findings: &mut Vec<Finding>) {
        if std::mem::take(&mut self.held) && self.counts && self.habit.is_news(self.peak) {
            self.told = true;
            let score = self.peak / self.deviation().max(SCALE_MIN);
            findings.push(self.finding(State::Active, self.began_ms, self.farthest, score, unit));
        }
    }

    /// The usual deviation of a reading.
    #[inline]
    pub(crate) fn deviation(&self) -> f64 {
        let own = self.deviation.sigma().max(STEP_PART * self.step.sigma());
        if self.is_still() { own.max(self.prior) } else { own }
    }

    /// Whether it has been at one value, or nearly: what it shows is no scale.
    #[inline]
    fn is_still(&self) -> bool {
        let (readings, changes) = (self.deviation.seen().saturating_add(1), self.step.seen());
        let least = if changes == 0 { STILL_MIN } else { FREE.max(STILL_PART.saturating_mul(changes)) };
        changes < CHANGES_MIN && readings >= least
    }

    /// Whether readings have shown a scale.
    #[inline]
    fn is_warm(&self) -> bool {
        self.seen >= WARM_UP && self.step.seen() >= CHANGES_MIN
    }

    /// Readings at the present level, counted as those that do not depend on each other: neighbours
    /// that are alike, by their steps against their distances, say less.
    pub(crate) fn independent(&self) -> f64 {
        f64::from(self.independent)
    }

    /// The series goes on at another level: all is learnt anew there.
    #[cold]
    pub(crate) fn relearn(&mut self, level: f64) {
        if self.is_warm() {
            self.prior = self.deviation();
        }
        (self.out, self.told, self.held) = (0, false, false);
        (self.seen, self.level) = (1, level);
        (self.deviation, self.step, self.behind, self.pending, self.independent) = Default::default();
    }

    /// The smaller of a deviation and the usual one of the last level: what creeps takes that of the
    /// present one along.
    #[inline]
    pub(crate) fn calmest(&self, deviation: f64) -> f64 {
        if self.prior > 0.0 { deviation.min(self.prior) } else { deviation }
    }

    /// Ordinary readings, whatever the level.
    #[inline]
    pub(crate) fn lived(&self) -> u32 {
        self.lived
    }

    /// Ordinary readings at the present level.
    #[inline]
    pub(crate) fn seen(&self) -> u32 {
        self.seen
    }

    /// Whether nothing is usual yet.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        self.is_young() && self.prior == 0.0
    }

    /// Whether what is usual is being learnt.
    #[inline]
    pub(crate) fn is_young(&self) -> bool {
        self.seen < WARM_UP
    }

    /// A value as means are to take it: of a series that was just met, no outlier as it is, which
    /// nobody has judged.
    #[inline]
    pub(crate) fn bounded(&self, value: f64) -> f64 {
        if self.prior > 0.0 || self.seen > WARM_UP || self.seen <= FREE || self.is_still() {
            return value;
        }
        let most = FIRST_TIMES * self.deviation();
        value.clamp(self.level - most, self.level + most)
    }

    /// Judges one value, then learns from it.
    #[inline]
    pub(crate) fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, manner: Manner, findings: &mut Vec<Finding>) -> Verdict {
        let Manner { tell, hold, .. } = manner;
        let at = value.clamp(-VALUE_MAX, VALUE_MAX);
        if self.seen == 0 {
            (self.level, self.last, self.before, self.seen) = (at, at, at, 1);
            return Verdict::Usual;
        }
        let step = (at - self.last).abs();
        // The leap may have come with the value before.
        let behind_step = (self.last - self.before).abs();
        let leap = step.max(behind_step);
        // Two neighbours out on one side weigh as one that is √2 times the sum of them out.
        let pair = ((at - self.level) + (self.last - self.level)) * std::f64::consts::FRAC_1_SQRT_2;
        (self.before, self.last) = (self.last, at);
        let distance = at - self.level;
        let size = distance.abs();
        let least = (SCALE_RELATIVE_MIN * self.level.abs()).max(SCALE_MIN);
        let step_scale = self.step.sigma().max(least);
        let warm = self.is_warm();
        let own = self.deviation().max(STEP_PART * step_scale).max(least);
        let scale = if warm { own } else { own.max(self.prior) };
        self.habit.forget();
        if self.out > 0 {
            return self.follow(time_ms, value, size, scale, unit, manner, findings);
        }
        let still = self.is_still();
        if still && self.prior == 0.0 && step > LEVEL * self.step.sigma() {
            let first = self.step.seen() == 0;
            self.begin(at, step);
            return if first { Verdict::First } else { Verdict::Usual };
        }
        // At a new level the deviation of the one before will do, until there is one.
        let ready = warm || self.prior > 0.0 && (still || self.seen >= FREE);
        // The value before is one of two only if it was judged, too.
        let judged = self.seen > if warm { WARM_UP } else { FREE };
        let far = if judged && pair.abs() > size { pair } else { distance };
        let record = if far > 0.0 { self.record } else { self.below };
        let young = 1.0 + YOUNG / f64::from(if still { self.seen.max(WARM_UP) } else { self.seen });
        let behind = std::mem::replace(&mut self.behind, distance / scale);
        // What climbs on is no leap of two.
        let both = if behind * distance > 0.0 && behind_step > 2.0 * step { behind.abs().min(size / scale) } else { 0.0 };
        let stride = step_scale * f64::from(self.step.seen()) / f64::from(self.seen);
        let leaps = ready && leap > (STEP * stride).max(LEAP_PART * size);
        let record = if manner.far { 0.0 } else { record };
        if leaps && (far.abs() > young * scale * self.limit(record) || both > young * self.limit_of_both()) {
            let news = self.habit.is_news(size);
            (self.out, self.peak, self.pending) = (1, size, 0.0);
            (self.told, self.counts) = (news && tell == Tell::Now && hold == Hold::No, tell != Tell::Never);
            (self.held, self.brief, self.rough) = (hold != Hold::No && self.counts, hold == Hold::Brief, 0.0);
            (self.began_ms, self.farthest, self.beyond) = (time_ms, value, tell == Tell::Now);
            if self.told {
                findings.push(self.finding(State::Active, time_ms, value, size / scale, unit));
            }
            return Verdict::Out;
        }
        if warm {
            // One value alone may be the beginning of a spike.
            let last = std::mem::replace(&mut self.pending, far / scale);
            self.record = (self.record * RECORD_KEEP).max(last);
            self.below = (self.below * RECORD_KEEP).max(-last);
            self.both = (self.both * RECORD_KEEP as f32).max(both.min(BOTH_MAX) as f32);
        }
        self.lived = self.lived.saturating_add(1);
        if !manner.still {
            self.learn(distance, step, scale);
        }
        if self.lived < MET && self.prior == 0.0 && step > 0.0 && self.is_misled(at, size.max(step), scale) {
            return Verdict::First;
        }
        Verdict::Usual
    }

    /// Whether an outlier among the first readings made the scale: what came before is forgotten.
    fn is_misled(&mut self, at: f64, size: f64, scale: f64) -> bool {
        self.small = if size < SMALL_PART * scale { self.small + 1 } else { 0 };
        if self.small < SMALL_MIN {
            return false;
        }
        (self.seen, self.level, self.small) = (1, at, 0);
        (self.deviation, self.step, self.behind, self.pending, self.independent) = Default::default();
        (self.record, self.below, self.both) = Default::default();
        true
    }

    /// The first change of a series without a scale. What is known of it until then is one value.
    #[cold]
    fn begin(&mut self, at: f64, step: f64) {
        (self.seen, self.level) = (1, at);
        (self.deviation, self.step, self.behind, self.pending, self.independent) = Default::default();
        self.step.learn(step, 0.0);
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
        manner: Manner,
        findings: &mut Vec<Finding>,
    ) -> Verdict {
        let tell = manner.tell;
        self.out += 1;
        if u16::from(self.out) == STAY_YOUNG - REST {
            self.mark = self.last;
        }
        self.rough = (self.rough * ROUGH_KEEP).max((self.last - self.before).abs());
        if size > self.peak {
            (self.peak, self.farthest) = (size, value);
        }
        let clear = if self.held { CLEAR.min(BACK_PART * self.peak / scale) } else { CLEAR };
        let back = size < clear * scale;
        self.beyond |= tell == Tell::Now && !back;
        let rests = !back && self.rests(size);
        let (from, times) = (self.level, size / scale);
        let slow = self.out >= STAY_ONE_SLOW && time_ms.saturating_sub(self.began_ms) >= SLOW_MS;
        if self.held && self.brief && self.beyond && (self.out >= STAY_ONE || slow) && rests {
            self.habit.learn(self.peak);
            self.relearn(self.last);
            return Verdict::Shifted { from, times, began_ms: self.began_ms };
        }
        let stay = if self.held { STAY_YOUNG as u8 } else { STAY };
        if !self.told && !self.held && self.counts && !back && self.out <= stay && tell == Tell::Now && self.habit.is_news(size) {
            // It went on to where it may be told.
            self.told = true;
            findings.push(self.finding(State::Active, time_ms, value, size / scale, unit));
        }
        if !back && self.out <= stay {
            return Verdict::Out;
        }
        let state = self.held && !self.brief && manner.next && rests && self.came_to_rest(size);
        let shifted = self.held && !state && self.beyond && rests;
        if self.held && !state && !shifted && self.beyond && self.habit.is_news(self.peak) {
            self.told = true;
            findings.push(self.finding(State::Active, self.began_ms, self.farthest, self.peak / scale, unit));
        }
        if self.told {
            let mut told = self.finding(State::Cleared, time_ms, value, size / scale, unit);
            let (now, usual) = (amount(value, unit), amount(self.level, unit));
            if !back {
                told.message = format!("{now} is the new level after {} readings away from {usual}", self.out - 1);
            } else if size > BACK_PART * self.peak {
                told.message = format!("{now} is no longer unusually far from {usual}");
            }
            findings.push(told);
        }
        if self.counts && !state {
            self.habit.learn(self.peak);
        }
        if back {
            (self.out, self.told, self.held) = (0, false, false);
            return Verdict::Usual;
        }
        // The machine may run differently now: scales are learnt anew too.
        self.relearn(self.last);
        match (state, shifted) {
            (true, _) => Verdict::Settled,
            (_, true) => Verdict::Shifted { from, times, began_ms: self.began_ms },
            _ => Verdict::Moved,
        }
    }

    /// Whether an event is calm where it is, so far from where it began.
    fn rests(&self, size: f64) -> bool {
        self.rough <= (CALM_PART * size).max(CALM_STEPS * self.step.sigma())
    }

    /// Whether it also has been there for some readings.
    fn came_to_rest(&self, size: f64) -> bool {
        self.rough <= CALM_PART * size && (self.last - self.mark).abs() <= REST_PART * size
    }

    /// What a distance must exceed, in deviations, at a record of such. A fat tail goes on: the
    /// largest of few is the farther exceeded by that of many.
    fn limit(&self, record: f64) -> f64 {
        let ln_seen = ln(f64::from(self.lived.max(WARM_UP)));
        let fat = record * record > 2.0 * ln_seen;
        LEVEL.max(if fat { FAT_TIMES.max(LN_HORIZON / ln_seen) } else { RECORD_TIMES } * record)
    }

    /// The same for each of two neighbours, whose rareness is squared.
    fn limit_of_both(&self) -> f64 {
        let ln_seen = ln(f64::from(self.lived.max(WARM_UP)));
        let both = f64::from(self.both);
        let fat = both * both > ln_seen;
        BOTH.max(if fat { BOTH_TIMES.max(LN_HORIZON / ln_seen) } else { BOTH_TIMES } * both)
    }

    #[inline]
    fn learn(&mut self, distance: f64, step: f64, scale: f64) {
        self.seen = self.seen.saturating_add(1);
        let clip = if self.seen > FREE { CLIP * scale } else { f64::MAX };
        self.level += weight(self.seen) * distance.clamp(-clip, clip);
        self.deviation.learn_slowly(distance.abs(), scale, SCALE_WEIGHT);
        if step > 0.0 {
            if self.step.seen() == 1 && step * LEVEL < self.step.sigma() {
                // The first led from a level to another.
                self.step = Scale::default();
            }
            self.step.learn(step, 0.0);
        }
        if self.seen <= COUNTED {
            let moved = f64::from(self.step.seen()) / f64::from(self.seen);
            let alike = self.step.sigma() * moved / self.deviation().max(SCALE_MIN);
            let part = (0.5 * alike * alike).min(1.0);
            let counted = if self.seen <= WARM_UP { f64::from(self.seen) * part } else { self.independent() + part };
            self.independent = counted as f32;
        }
    }

    fn finding(&self, state: State, time_ms: i64, value: f64, score: f64, unit: Option<&str>) -> Finding {
        let (now, usual) = (amount(value, unit), amount(self.level, unit));
        let score = score.min(SCORE_MAX);
        let message = match state {
            State::Active => {
                format!("{now} is {} times the usual deviation away from the usual {usual}", number((score * 10.0).round() / 10.0))
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
