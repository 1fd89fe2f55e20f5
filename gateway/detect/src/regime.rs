//! Where a series has been: levels seen before are no news to one that changes its level.
//!
//! A machine that follows set points, or that switches on and off, leaves its level often and
//! lastingly. Once a series has done so, departures are told only beyond the range of values
//! that it had before, by a margin: its set points and states are then known, and a fault that
//! takes it elsewhere is still found. The range follows slowly, so that what creeps out of it
//! is seen, and is forgotten in days.

use crate::limits::VALUE_MAX;
use serde::{Deserialize, Serialize};

/// Weight of a value beyond the range: a quarter of an hour at 1 Hz at a new level makes it known.
const FOLLOW: f64 = 1.0 / 1_000.0;
/// Weight of a value inside: half is forgotten in 12 days at 1 Hz.
const FORGET: f64 = 1.0 / 1_572_864.0;
/// Margin in usual deviations of single readings, and as a part of the range.
const DEVIATIONS: f64 = 6.0;
const PART: f64 = 0.25;
/// Part of the range beyond it that is far, of a series known for long.
const FAR_PART: f64 = 0.5;
/// Times the range that the next level may lie beyond it: few levels say little about where the
/// others are.
const YOUNG_PART: f64 = 2.8;
/// Changes of level after which they are known.
const MOVES_KNOWN: u8 = 10;
/// Readings after which a change of level is forgotten: 6 days at 1 Hz.
const MOVE_READINGS: u32 = 1 << 19;

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Regime {
    low: f64,
    high: f64,
    seen: u32,
    /// Changes of level remembered.
    moves: u8,
}

impl Regime {
    /// The series went to another level and stays there.
    #[cold]
    pub(crate) fn moved(&mut self) {
        self.moves = self.moves.saturating_add(1);
        self.seen = self.seen.max(1);
    }

    /// A series whose states are not known went to another one: that is known now.
    #[cold]
    pub(crate) fn settled(&mut self, from: f64, to: f64) {
        let (from, to) = (from.clamp(-VALUE_MAX, VALUE_MAX), to.clamp(-VALUE_MAX, VALUE_MAX));
        if self.seen == 0 {
            (self.low, self.high) = (from, from);
        }
        (self.low, self.high) = (self.low.min(from).min(to), self.high.max(from).max(to));
        self.moved();
    }

    /// It came to a level that it is known for: that it changes its level is not forgotten for now.
    #[cold]
    pub(crate) fn returned(&mut self) {
        self.seen = self.seen.min(1);
    }

    /// Whether it changes its level at all.
    #[inline]
    pub(crate) fn changes(&self) -> bool {
        self.moves > 0
    }

    /// Whether so few changes of level were seen that little is known of where the next leads.
    #[inline]
    pub(crate) fn is_young(&self) -> bool {
        self.moves < MOVES_KNOWN
    }

    /// Whether a value is at, or on the way between, levels that this series is known for.
    #[inline]
    pub(crate) fn is_known(&self, value: f64, deviation: f64) -> bool {
        self.moves > 0 && self.is_within(PART, value, deviation)
    }

    /// Whether a value away from the present `level` may be at the next one of a series that has
    /// changed its level before: the range, with where it is now, goes on.
    pub(crate) fn may_be_next(&self, value: f64, level: f64, deviation: f64) -> bool {
        let (low, high) = (self.low.min(level), self.high.max(level));
        self.moves > 0 && is_within(low, high, YOUNG_PART, value, deviation)
    }

    /// Whether a value is far from all that a series which changes its level is known for.
    #[inline]
    pub(crate) fn is_far(&self, value: f64, deviation: f64) -> bool {
        self.moves > 0 && !self.is_within(FAR_PART, value, deviation)
    }

    /// What it is known for, from and to, and how far beyond is far.
    pub(crate) fn range(&self) -> (f64, f64, f64) {
        (self.low, self.high, FAR_PART * (self.high - self.low))
    }

    #[inline]
    fn is_within(&self, part: f64, value: f64, deviation: f64) -> bool {
        is_within(self.low, self.high, part, value, deviation)
    }

    /// An ordinary value.
    #[inline]
    pub(crate) fn learn(&mut self, value: f64) {
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        if self.seen == 0 {
            (self.low, self.high) = (value, value);
        }
        self.high += if value > self.high { FOLLOW } else { FORGET } * (value - self.high);
        self.low += if value < self.low { FOLLOW } else { FORGET } * (value - self.low);
        self.seen = self.seen.saturating_add(1);
        if self.seen == MOVE_READINGS {
            (self.seen, self.moves) = (1, self.moves.saturating_sub(1));
        }
    }
}

#[inline]
fn is_within(low: f64, high: f64, part: f64, value: f64, deviation: f64) -> bool {
    let margin = (part * (high - low)).max(DEVIATIONS * deviation);
    value >= low - margin && value <= high + margin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_seen_before_are_known_once_the_level_has_changed_and_others_are_not() {
        let mut regime = Regime::default();
        (0..1_000).for_each(|_| regime.learn(10.0));
        assert!(!regime.is_known(10.0, 0.1), "one level is no habit of changing it");
        regime.moved();
        assert!(regime.is_known(10.5, 0.1) && !regime.is_known(12.0, 0.1));
        (0..5_000).for_each(|_| regime.learn(12.0));
        assert!(regime.is_known(10.0, 0.1) && regime.is_known(11.0, 0.1) && regime.is_known(12.4, 0.1));
        assert!(!regime.is_known(14.0, 0.1) && !regime.is_known(8.0, 0.1));
        (0..MOVE_READINGS).for_each(|_| regime.learn(12.0));
        assert!(!regime.is_known(12.0, 0.1), "forgotten");
    }

    #[test]
    fn what_creeps_leaves_the_range_behind() {
        let mut regime = Regime::default();
        regime.learn(0.0);
        regime.moved();
        let mut value = 0.0;
        for _ in 0..3_000 {
            value += 0.1;
            regime.learn(value);
        }
        assert!(!regime.is_known(value, 0.5));
    }
}
