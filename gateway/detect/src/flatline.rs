//! A value that no longer moves, though it used to.
//!
//! Learnt: how many equal values in a row the series usually shows at most. A series that has
//! never moved, that only switches between a few values, or that often rests, says nothing;
//! nor does a rest at a value where it rested before, such as zero while the machine is off, or
//! one as long as others were, at whatever value: a counter stands each night at another.

use crate::finding::{Finding, Kind, Severity, State, amount, duration, number};
use crate::limits::SCORE_MAX;
use crate::spell::Spells;
use serde::{Deserialize, Serialize};

/// Changes seen before it speaks.
const CHANGES_MIN: u32 = 30;
/// Different values seen before it speaks: fewer are states, not a measurement.
const VALUES_MIN: usize = 4;
/// Equal values at least: a minute at 1 Hz.
const RUN_MIN: u32 = 60;
/// And so many times the longest run remembered. Chance runs grow with the logarithm of the
/// time watched, so five times the longest is beyond chance.
const TIMES: f64 = 5.0;
/// How much of the longest run is remembered from change to change.
const KEEP: f32 = 0.9995;
/// Equal values that are a rest.
const REST_MIN: u32 = 20;
/// And of a state: five minutes at 1 Hz. That it goes back there is no news.
const KNOWN_MIN: u32 = 300;
/// A rest where it rested before is news when it is so many times longer: a weekend is seven nights.
const REST_TIMES: u32 = 8;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "equal values in a row, of a series that moves: told at {RUN_MIN} or more that are {TIMES} times the longest run remembered, \
         and longer than what came twice; over when the value moves"
    )
}

/// Where it rested, and how many values long.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Rest {
    value: f64,
    run: u32,
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Flatline {
    last: Option<f64>,
    since_ms: i64,
    run: u32,
    changes: u32,
    longest: f32,
    /// The first different values, in half the room: of those that differ by less, more must come.
    values: [f32; VALUES_MIN],
    known: u8,
    rests: [Rest; 2],
    active: bool,
    /// It would be, but something else spoke of the run.
    #[serde(default)]
    hushed: bool,
    /// Lengths of the rests that would have been news.
    #[serde(default, skip_serializing_if = "Spells::is_empty")]
    spells: Spells,
    /// Longest run so far that was none of rest, and longest of all others, to be told of.
    #[serde(default)]
    most: u32,
    #[serde(default)]
    rested: u32,
}

impl Flatline {
    /// Whether a value is one more of so many equal ones that the series rests, or is stuck.
    #[inline]
    pub(crate) fn is_still(&self, value: f64) -> bool {
        self.run >= RUN_MIN && self.last == Some(value)
    }

    /// Whether it is 0 and 1 so far, with a value, and nothing else: a state, not a measurement.
    #[inline]
    pub(crate) fn is_switch(&self, value: f64) -> bool {
        let mut known = self.values.iter().take(usize::from(self.known));
        (1..=2).contains(&self.known) && known.all(|value| [0.0, 1.0].contains(value)) && [0.0, 1.0].contains(&value)
    }

    /// Whether a value is one at which it rested, for long.
    #[inline]
    pub(crate) fn has_rested(&self, value: f64) -> bool {
        self.rests.iter().any(|rest| rest.run >= KNOWN_MIN && rest.value == value)
    }

    /// Event time since which the values are equal.
    pub(crate) fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Judges one value, then learns from it. With `mute` something else speaks of the run.
    #[inline]
    pub(crate) fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, mute: bool, findings: &mut Vec<Finding>) {
        if self.last == Some(value) {
            self.run = self.run.saturating_add(1);
            if !self.active && !self.hushed && self.run >= RUN_MIN && self.is_news(value) {
                (self.active, self.hushed) = (!mute, mute);
                if mute {
                    return;
                }
                findings.push(self.finding(State::Active, time_ms, value, unit));
            }
            return;
        }
        if self.active {
            findings.push(self.finding(State::Cleared, time_ms, value, unit));
        }
        if let Some(last) = self.last {
            self.changes = self.changes.saturating_add(1);
            self.learn(last);
        }
        (self.active, self.hushed) = (false, false);
        (self.last, self.since_ms, self.run) = (Some(value), time_ms, 1);
        if usize::from(self.known) < VALUES_MIN {
            self.meet(value);
        }
    }

    /// Event time starts anew.
    pub(crate) fn restart(&mut self, time_ms: i64) {
        self.since_ms = time_ms;
    }

    /// All readings so far were of so much later.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        self.since_ms = self.since_ms.saturating_add(by_ms);
    }

    fn is_news(&self, value: f64) -> bool {
        let known = self.rests.iter().filter(|r| r.value == value).map(|r| r.run);
        self.changes >= CHANGES_MIN
            && usize::from(self.known) >= VALUES_MIN
            && f64::from(self.run) >= TIMES * f64::from(self.longest)
            && self.run >= known.max().unwrap_or(0).saturating_mul(REST_TIMES)
            && f64::from(self.run) > self.spells.usual(self.since_ms)
    }

    /// Learns the run that ended at `last`.
    #[inline]
    fn learn(&mut self, last: f64) {
        self.longest = (self.longest * KEEP).max(1.0);
        let run = self.run as f32;
        let least = self.longest.max(RUN_MIN as f32 / TIMES as f32);
        if run < TIMES as f32 * least {
            self.longest = self.longest.max(run);
            self.most = self.most.max(self.run);
            return self.note(last);
        }
        self.rested = self.rested.max(self.run);
        if !self.rests.iter().any(|rest| rest.run > 0 && rest.value == last) {
            self.stood(run, least);
        }
        self.note(last);
    }

    /// Notes where it rested, if it did.
    #[inline]
    fn note(&mut self, last: f64) {
        // Where it is known to rest, it may for as long as it likes; that says nothing of elsewhere.
        if self.run >= REST_MIN {
            self.rest(last);
        }
    }

    /// Learns a run that was far longer than usual.
    #[cold]
    fn stood(&mut self, run: f32, least: f32) {
        if f64::from(run) > self.spells.usual(self.since_ms) {
            // One fault must not blind for good: it doubles the patience at most.
            self.longest = run.min(2.0 * least);
        }
        self.spells.learn(self.since_ms, f64::from(run));
    }

    #[cold]
    fn rest(&mut self, value: f64) {
        let run = self.run;
        match self.rests.iter_mut().find(|rest| rest.run > 0 && rest.value == value) {
            Some(rest) => rest.run = rest.run.max(run),
            None => {
                // The shorter of two gives way: what a value passes on its way to rest hides no night.
                if self.rests[0].run > self.rests[1].run {
                    self.rests.swap(0, 1);
                }
                self.rests[0] = Rest { value, run };
            }
        }
    }

    /// Equal values in a row that are usual at most.
    fn usual(&self) -> f64 {
        f64::from(self.longest).max(self.spells.usual(self.since_ms))
    }

    #[cold]
    fn meet(&mut self, value: f64) {
        let (known, value) = (usize::from(self.known), value as f32);
        if !self.values[..known].contains(&value) {
            self.values[known] = value;
            self.known += 1;
        }
    }

    /// Runs before this one, in words.
    fn before(&self) -> String {
        // What was learnt before the longest was kept is at least what is remembered of it.
        let most = self.most.max(self.longest.ceil() as u32);
        let rests = if self.rested > 0 { format!(", but for rests of up to {}", self.rested) } else { String::new() };
        if most < self.run {
            return format!("at most {most} came before{rests}");
        }
        format!("{} are remembered at most, though {most} came once{rests}", number(f64::from(self.longest.ceil())))
    }

    fn finding(&self, state: State, time_ms: i64, value: f64, unit: Option<&str>) -> Finding {
        let message = match state {
            State::Active => format!(
                "stuck at {} for {}: {} equal values in a row, where {}",
                amount(value, unit),
                duration(time_ms.saturating_sub(self.since_ms)),
                self.run,
                self.before()
            ),
            State::Cleared => format!("moves again, to {}, after {}", amount(value, unit), duration(time_ms.saturating_sub(self.since_ms))),
        };
        Finding {
            kind: Kind::Flatline,
            severity: Severity::Warning,
            state,
            time_ms,
            value,
            limit: None,
            score: Some((f64::from(self.run) / self.usual().max(1.0)).min(SCORE_MAX)),
            baseline: Some(self.usual()),
            message,
            contributors: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: i64 = 86_400;

    /// A counter: a piece each five seconds by day, none for eight hours of each night, and none at all
    /// in `stuck` seconds; with the seconds since the start at which a rest was told.
    fn nights(days: i64, stuck: std::ops::Range<i64>) -> Vec<i64> {
        let (mut flatline, mut out, mut count) = (Flatline::default(), Vec::new(), 0);
        for at in 0..days * DAY_S {
            if at % DAY_S < 16 * 3_600 && at % 5 == 0 && !stuck.contains(&at) {
                count += 1;
            }
            flatline.observe(at * 1_000, f64::from(count), None, false, &mut out);
        }
        out.iter().filter(|finding| finding.state == State::Active).map(|finding| finding.time_ms / 1_000).collect()
    }

    #[test]
    fn what_stands_each_night_at_another_value_is_told_twice() {
        let told: Vec<i64> = nights(14, 0..0).iter().map(|at| at / DAY_S).collect();
        assert_eq!(told, [0, 1]);
    }

    #[test]
    fn who_rests_at_zero_each_night_may_do_so_at_the_weekend_and_is_stuck_elsewhere() {
        let (mut flatline, mut out, mut value, mut mixed) = (Flatline::default(), Vec::new(), 0.0, 1_u32);
        for at in 0..15 * DAY_S {
            let works = (5 * 3_600..21 * 3_600).contains(&(at % DAY_S)) && at / DAY_S % 7 < 5;
            mixed = mixed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // What runs out passes each hundredth for long.
            value = if works { 30.0 + f64::from(mixed >> 24) / 100.0 } else { value * 0.99 };
            let told = if at == 14 * DAY_S + 40_000 { 33.0 } else { (value * 100.0_f64).round() / 100.0 };
            flatline.observe(at * 1_000, told, None, false, &mut out);
        }
        assert!(out.is_empty(), "{out:?}");
        (0..2_000).for_each(|at| flatline.observe((15 * DAY_S + at) * 1_000, 31.0, None, false, &mut out));
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn what_stands_each_night_is_told_when_it_stands_at_noon_or_far_into_the_day() {
        let noon = 10 * DAY_S + 6 * 3_600;
        let told = nights(14, noon..noon + 1_800);
        assert!(told.len() == 3 && (noon + 50..noon + 200).contains(&told[2]), "{told:?}");
        let night = 9 * DAY_S + 16 * 3_600;
        let told = nights(14, night..night + 16 * 3_600);
        assert!(told.len() == 3 && (night + 12 * 3_600 - 60..night + 12 * 3_600 + 60).contains(&told[2]), "{told:?}");
    }
}
