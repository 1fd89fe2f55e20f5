//! Rate of change: the series climbs or falls much faster than it usually does.
//!
//! From the last eight readings, the change over four of them is taken at four places; the
//! middle two of the four decide, so that one or even two wild values cannot. Both the change
//! and the change per second must be unusual: a burst of readings makes noise steep, a pause
//! makes an ordinary way long. A single step is not a rate (that is [`crate::spike`]'s): no
//! neighbouring pair may make up most of the way.

use crate::finding::{Finding, Kind, Severity, State, amount};
use crate::limits::{SCALE_MIN, SCALE_RELATIVE_MIN, SCORE_MAX, VALUE_MAX};
use crate::scale::{Alike, Scale};
use serde::{Deserialize, Serialize};

/// Readings looked at.
const SPAN: usize = 8;
/// Distance of those compared.
const LAG: usize = 4;
/// Changes learnt before it speaks.
const WARM_UP: u32 = 60;
/// Robust standard deviations that raise.
const RAISE: f64 = 8.0;
/// Below so many the change is ordinary.
const CLEAR: f64 = 3.0;
/// Ordinary readings in a row that clear.
const CALM: u8 = SPAN as u8;
/// Readings after which a climb that goes on is how the series is now, and learnt anew.
const LASTS: u16 = 600;
/// The part of the way that one step may make up.
const STEP_PART: f64 = 0.6;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "change over {LAG} readings, the middle of {LAG} such: told beyond {RAISE} times the usual change and rate, when no single step \
         makes up {STEP_PART} of the way; over after {CALM} ordinary readings, or {LASTS} readings, which are then usual"
    )
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// The last readings, as a ring.
    times: [i64; SPAN],
    values: [f64; SPAN],
    /// Where the next one goes, and how many there are.
    next: u8,
    held: u8,
    /// Usual changes over [`LAG`] readings, and per second; those other than zero.
    change: Scale,
    slope: Scale,
    habit: Alike,
    /// Readings since it was raised; 0: it is not active.
    active: u16,
    calm: u8,
    /// Largest change of the event.
    peak: f64,
}

/// Middle two of four, averaged.
#[inline]
fn middle(of: [f64; 4]) -> f64 {
    let [a, b, c, d] = of;
    let low = a.min(b).max(c.min(d));
    let high = a.max(b).min(c.max(d));
    0.5 * low + 0.5 * high
}

impl Rate {
    /// Judges one value, then learns from it. With `mute` nothing new is raised: a configured
    /// limit already speaks of it. With `hold` neither, but whether it would be is answered.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        time_ms: i64,
        value: f64,
        unit: Option<&str>,
        mute: bool,
        hold: bool,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let at = value.clamp(-VALUE_MAX, VALUE_MAX);
        // Of readings at one moment the first counts; they have no rate.
        if self.held > 0 && time_ms <= self.times[self.back(1)] {
            return false;
        }
        let place = usize::from(self.next) % SPAN;
        (self.times[place], self.values[place]) = (time_ms, at);
        self.next = (place as u8 + 1) % SPAN as u8;
        if usize::from(self.held) < SPAN {
            self.held += 1;
            if usize::from(self.held) < SPAN {
                return false;
            }
        }
        let mut changes = [0.0; LAG];
        let mut slopes = [0.0; LAG];
        for (i, (change, slope)) in changes.iter_mut().zip(&mut slopes).enumerate() {
            let (new, old) = (self.back(1 + i), self.back(1 + i + LAG));
            *change = self.values[new] - self.values[old];
            let ms = self.times[new].saturating_sub(self.times[old]).max(1);
            *slope = *change * 1e3 / ms as f64;
        }
        let (change, slope) = (middle(changes), middle(slopes));
        let least = (SCALE_RELATIVE_MIN * at.abs()).max(SCALE_MIN);
        let change_score = change.abs() / self.change.sigma().max(least);
        let slope_score = slope.abs() / self.slope.sigma().max(SCALE_MIN);
        let score = change_score.min(slope_score).min(SCORE_MAX);
        self.habit.forget();
        if self.active > 0 {
            self.follow(time_ms, value, change.abs(), slope, score, unit, findings);
        } else if score > RAISE && !mute && self.change.seen() >= WARM_UP && !self.is_step() {
            if hold && self.habit.is_news(change.abs()) {
                self.habit.learn(change.abs());
                self.restart();
                return true;
            }
            if self.habit.is_news(change.abs()) {
                (self.active, self.calm, self.peak) = (1, 0, change.abs());
                findings.push(self.finding(State::Active, time_ms, value, slope, score, unit));
            } else {
                // What is known stays known as long as it happens.
                self.habit.learn(change.abs());
            }
        } else if change != 0.0 {
            self.change.learn(change.abs(), 0.0);
            self.slope.learn(slope.abs(), 0.0);
        }
        false
    }

    /// Whether a climb or fall goes on.
    pub(crate) fn is_active(&self) -> bool {
        self.active > 0
    }

    /// The series goes on elsewhere, or its time starts anew: what lies between is no rate.
    pub(crate) fn restart(&mut self) {
        (self.held, self.next) = (0, 0);
    }

    /// The level has moved, and the machine may run differently now: what is usual is learnt anew too, and
    /// a climb that was told is over, as nothing would be left to judge its end by.
    #[cold]
    pub(crate) fn relearn(&mut self, time_ms: i64, value: f64, unit: Option<&str>, findings: &mut Vec<Finding>) {
        if self.active > 0 {
            let mut told = self.finding(State::Cleared, time_ms, value, 0.0, 0.0, unit);
            told.message = format!("{} is the new level", amount(value, unit));
            findings.push(told);
            self.habit.learn(self.peak);
            self.active = 0;
        }
        self.restart();
        (self.change, self.slope) = Default::default();
    }

    /// Place of the reading `n` back; 1 is the newest.
    #[inline]
    fn back(&self, n: usize) -> usize {
        (usize::from(self.next) + 2 * SPAN - n) % SPAN
    }

    /// Whether one pair of neighbours makes up most of the way.
    #[cold]
    fn is_step(&self) -> bool {
        let way = (self.values[self.back(1)] - self.values[self.back(SPAN)]).abs();
        let step = |n: usize| (self.values[self.back(n)] - self.values[self.back(n + 1)]).abs();
        (1..SPAN).any(|n| step(n) > STEP_PART * way)
    }

    #[cold]
    #[allow(clippy::too_many_arguments)]
    fn follow(&mut self, time_ms: i64, value: f64, change: f64, slope: f64, score: f64, unit: Option<&str>, findings: &mut Vec<Finding>) {
        self.active += 1;
        self.peak = self.peak.max(change);
        self.calm = if score < CLEAR { self.calm + 1 } else { 0 };
        let calm = self.calm >= CALM;
        if !calm && self.active < LASTS {
            return;
        }
        findings.push(self.finding(State::Cleared, time_ms, value, slope, score, unit));
        self.habit.learn(self.peak);
        self.active = 0;
        if !calm {
            (self.change, self.slope) = Default::default();
        }
    }

    fn finding(&self, state: State, time_ms: i64, value: f64, slope: f64, score: f64, unit: Option<&str>) -> Finding {
        let usual = self.slope.sigma();
        let span_ms = self.times[self.back(1)].saturating_sub(self.times[self.back(SPAN)]);
        let (name, seconds) = match span_ms {
            ..60_000 => ("s", 1.0),
            60_000..3_600_000 => ("min", 60.0),
            _ => ("h", 3_600.0),
        };
        let per = |rate: f64| {
            let number = amount(rate.abs() * seconds, unit);
            match unit {
                Some(_) => format!("{number}/{name}"),
                None => format!("{number} per {name}"),
            }
        };
        let way = if slope < 0.0 { "falls" } else { "rises" };
        let message = match state {
            State::Active => format!("{way} by {}; {} is usual", per(slope), per(usual)),
            State::Cleared if self.calm < CALM => {
                format!("{way} by {} for {LASTS} readings, which is usual from now on", per(slope))
            }
            State::Cleared => format!("changes by {} again; {} is usual", per(slope), per(usual)),
        };
        Finding {
            kind: Kind::Rate,
            severity: Severity::Warning,
            state,
            time_ms,
            value,
            limit: None,
            score: Some(score),
            baseline: Some(usual),
            message,
            contributors: Vec::new(),
        }
    }
}
