//! Clock jumps: a series whose event time runs backwards, or leaps ahead of the time that passed
//! at the gateway. Only of a series whose times have followed the gateway's clock: a recording
//! that is replayed, or a batch that was kept back, proves nothing about a sensor's clock.
//!
//! Readings older than the newest are late, and no jump, until nothing else comes
//! ([`crate::watch`]); then this detector tells.

use crate::finding::{Finding, Kind, Severity, State, duration};
use crate::limits::SCORE_MAX;
use serde::{Deserialize, Serialize};

/// Readings before it speaks.
const WARM_UP: u32 = 60;
/// A series' times follow the clock while they stray by no more than this, in ms.
const FOLLOWS_MS: f64 = 2_000.0;
/// Weight of a reading in how far they stray.
const WEIGHT: f64 = 0.05;
/// Nor do they follow it that run ahead of it, or behind, by so much of each step: a recording that is replayed.
const BIAS_PART: f64 = 0.2;
const BIAS_WEIGHT: f64 = 0.02;
const BIAS_UNIT: f64 = 10_000.0;
/// The least leap, in ms: what a sensor that corrects its clock by a network's may do each day.
const LEAP_MS_MIN: i64 = 30_000;
/// And times how far times stray.
const TIMES: f64 = 10.0;
/// Readings after which a jump that was told is over: its time is the series' time now.
const CALM: u8 = 60;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "event time against the gateway's clock, from reading to reading: told when it leaps ahead by {} s and {TIMES} times its usual \
         straying, or goes back for good; over after {CALM} readings, whose time then counts",
        LEAP_MS_MIN / 1_000
    )
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Leap {
    seen: u32,
    clock_ms: i64,
    time_ms: i64,
    /// How far a step of event time differs from the clock's, usually.
    stray_ms: f64,
    /// How far event time was ahead of the clock at most: what only catches up leaps nowhere.
    front_ms: i64,
    /// Readings until a jump that was told is over; 0: there is none.
    left: u8,
    /// How far a step of event time is ahead of the clock's, usually and not only now and then, in ten
    /// thousandths of itself.
    #[serde(default)]
    bias: i16,
}

impl Leap {
    /// One reading, newer than or as new as the last.
    #[inline]
    pub(crate) fn observe(&mut self, clock_ms: i64, time_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        let step_ms = time_ms.saturating_sub(self.time_ms);
        let ahead_ms = step_ms.saturating_sub(clock_ms.saturating_sub(self.clock_ms));
        (self.clock_ms, self.time_ms) = (clock_ms, time_ms);
        self.seen = self.seen.saturating_add(1);
        let front_ms = time_ms.saturating_sub(clock_ms);
        if self.seen == 1 {
            self.front_ms = front_ms;
            return;
        }
        let leap_ms = front_ms.saturating_sub(self.front_ms);
        self.front_ms = self.front_ms.max(front_ms);
        if self.left > 0 {
            self.left -= 1;
            if self.left == 0 {
                findings.push(finding(State::Cleared, time_ms, value, 0, "its time goes on evenly".to_owned()));
            }
        } else if leap_ms >= LEAP_MS_MIN && self.follows() && ahead_ms as f64 > TIMES * self.stray_ms {
            self.left = CALM;
            let message = format!("its time leapt ahead by {}", duration(ahead_ms));
            findings.push(finding(State::Active, time_ms, value, ahead_ms, message));
            return;
        }
        let stray = (ahead_ms.unsigned_abs() as f64).min(LEAP_MS_MIN as f64);
        self.stray_ms += WEIGHT.max(1.0 / f64::from(self.seen - 1)) * (stray - self.stray_ms);
        // A pause, or a batch, counts as one step.
        let bias = (ahead_ms as f64 / step_ms.max(1) as f64).clamp(-1.0, 1.0) * BIAS_UNIT;
        let weight = BIAS_WEIGHT.max(1.0 / f64::from(self.seen - 1));
        self.bias = (f64::from(self.bias) + weight * (bias - f64::from(self.bias))).round() as i16;
    }

    /// Only older readings come: the series' time was set back to this one.
    #[cold]
    pub(crate) fn rewound(&mut self, clock_ms: i64, time_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        let back_ms = self.time_ms.saturating_sub(time_ms);
        if self.left == 0 && self.follows() && back_ms >= LEAP_MS_MIN {
            self.left = CALM;
            let message = format!("its time went back by {}", duration(back_ms));
            findings.push(finding(State::Active, time_ms, value, back_ms.saturating_neg(), message));
        }
        (self.clock_ms, self.time_ms, self.front_ms) = (clock_ms, time_ms, time_ms.saturating_sub(clock_ms));
    }

    /// The clock was so far behind, and is set now. Whether the series' times were that far behind with it.
    pub(crate) fn set_clock(&mut self, behind_ms: i64) -> bool {
        let set_ms = self.clock_ms.saturating_add(behind_ms);
        let with_it = self.time_ms.abs_diff(self.clock_ms) <= self.time_ms.abs_diff(set_ms);
        self.clock_ms = set_ms;
        if with_it {
            self.time_ms = self.time_ms.saturating_add(behind_ms);
        } else {
            self.front_ms = self.front_ms.saturating_sub(behind_ms);
        }
        with_it
    }

    /// A reading that shows nothing.
    pub(crate) fn rest(&mut self, clock_ms: i64, time_ms: i64) {
        (self.clock_ms, self.time_ms, self.front_ms) = (clock_ms, time_ms, self.front_ms.max(time_ms.saturating_sub(clock_ms)));
    }

    fn follows(&self) -> bool {
        self.seen > WARM_UP && self.stray_ms <= FOLLOWS_MS && f64::from(self.bias).abs() <= BIAS_PART * BIAS_UNIT
    }
}

#[cold]
fn finding(state: State, time_ms: i64, value: f64, ahead_ms: i64, message: String) -> Finding {
    Finding {
        kind: Kind::Clock,
        severity: Severity::Warning,
        state,
        time_ms,
        value,
        limit: None,
        score: (state == State::Active).then_some((ahead_ms.unsigned_abs() as f64 / 1e3).min(SCORE_MAX)),
        baseline: None,
        message,
        contributors: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_of_a_clock_that_followed_is_told_and_a_replay_is_not() {
        let mut out = Vec::new();
        let mut leap = Leap::default();
        (0..100).for_each(|at| leap.observe(at * 1_000, 5_000_000 + at * 1_000, 1.0, &mut out));
        leap.observe(100_000, 5_100_000 + 240_000, 1.0, &mut out);
        assert_eq!((out.len(), out[0].message.as_str()), (1, "its time leapt ahead by 4 min"));
        (0..60).for_each(|at| leap.observe(101_000 + at * 1_000, 5_341_000 + at * 1_000, 1.0, &mut out));
        assert_eq!((out.len(), out[1].state), (2, State::Cleared));
        leap.rewound(162_000, 1_762_000, 1.0, &mut out);
        assert_eq!(out[2].message, "its time went back by 60.6 min");
        assert_eq!(out[2].score, Some(3_638.0));
        let (mut replay, mut out) = (Leap::default(), Vec::new());
        (0..500).for_each(|at| replay.observe(at, at * 60_000 + at / 100 * 9_000_000, 1.0, &mut out));
        replay.rewound(501, 0, 1.0, &mut out);
        assert!(out.is_empty(), "{out:?}");
    }

    #[test]
    fn gaps_of_a_recording_that_is_replayed_are_no_leap_at_whatever_speed() {
        for speed in [1.0, 1.5, 2.0, 60.0, 1e6] {
            let (mut leap, mut out) = (Leap::default(), Vec::new());
            for at in 0..5_000_i64 {
                let time_ms = at * 1_000 + at / 500 * 500_000;
                leap.observe((time_ms as f64 / speed) as i64, time_ms, 1.0, &mut out);
            }
            assert!(out.is_empty(), "{speed}: {out:?}");
        }
    }

    #[test]
    fn a_pause_and_a_batch_kept_back_are_no_leap() {
        let (mut leap, mut out) = (Leap::default(), Vec::new());
        (0..100).for_each(|at| leap.observe(at * 1_000, at * 1_000, 1.0, &mut out));
        leap.observe(7_200_000, 7_200_000, 1.0, &mut out);
        (0..100).for_each(|at| leap.observe(9_000_000 + at / 50, 7_201_000 + at * 1_000, 1.0, &mut out));
        leap.observe(9_001_000, 9_001_000, 1.0, &mut out);
        assert!(out.is_empty(), "{out:?}");
    }
}
