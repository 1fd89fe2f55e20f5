//! How new a reading is to its series, as one number: for events that no single chart is made for.
//!
//! Five views of the series (distance from a recent and from a long level, step from the value
//! before, distance of the last few from the usual level, roughness against the usual one) are
//! each measured by the tail of their own past ([`crate::tail`]). Their surprises, in powers of
//! ten, are added: what is rare in several ways at once counts for more than what is very rare
//! in one. A score is given only when it exceeds a slowly forgotten record of the scores before,
//! so that one event is told once, and not when events of its size come at regular intervals.

use crate::limits::{NOVELTY_VALUE_MAX, SCORE_MAX};
use crate::logarithm::ln;
use crate::regular::Regular;
use crate::tail::Tail;
use serde::{Deserialize, Serialize};

/// Views of a series.
const VIEWS: usize = 5;
/// Weight of a new reading in the recent, the usual and the long level: 100, 500, 2,000 readings count.
const RECENT: f64 = 0.01;
const USUAL: f64 = 0.002;
const LONG: f64 = 0.0005;
/// Weight in the mean of the last few.
const FEW: f64 = 2.0 / 11.0;
/// Weight in the roughness now: 100 readings count, so that one wild step is no rough time.
const ROUGH: f64 = 2.0 / 101.0;
/// Readings before a view is taken.
const FIRST: u32 = 10;
/// Readings before it speaks: tails are young.
const WARM: u32 = 150;
/// Readings before clipping.
const FREE: u32 = 20;
/// Where updates are clipped, in standard deviations; of steps, in usual ones.
const CLIP: f64 = 4.0;
const CLIP_STEP: f64 = 5.0;
/// Smallest deviation relative to the level, and absolute.
const RELATIVE_MIN: f64 = 1e-9;
const DEVIATION_MIN: f64 = 1e-12;
/// What of the record is kept from reading to reading: half is forgotten in 140 readings.
const KEEP: f64 = 0.995;
/// How far above the record a score must be.
const RISE: f64 = 1.1;
/// A score below is not worth telling.
const LEAST: f64 = 4.0;

/// Where a series is over some time, and how far it strays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Level {
    mean: f64,
    variance: f64,
}

impl Level {
    /// Distance in standard deviations.
    fn distance(&self, value: f64) -> f64 {
        (value - self.mean).abs() / (self.variance.sqrt() + floor(self.mean))
    }

    fn learn(&mut self, seen: u32, weight: f64, value: f64) {
        let weight = weight.max(1.0 / f64::from(seen));
        let clip = if seen > FREE { CLIP * (self.variance.sqrt() + floor(self.mean)) } else { f64::MAX };
        let moved = (value - self.mean).clamp(-clip, clip);
        self.mean += weight * moved;
        self.variance = (1.0 - weight) * (self.variance + weight * moved * moved);
    }
}

fn floor(level: f64) -> f64 {
    DEVIATION_MIN + RELATIVE_MIN * level.abs()
}

/// State of one series: below [`crate::limits::STATE_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Novelty {
    seen: u32,
    last: f64,
    recent: Level,
    usual: Level,
    long: Level,
    few: f64,
    /// Usual step, and mean squares of steps now and usually.
    step: f64,
    rough: f64,
    rough_usual: f64,
    tails: [Tail; VIEWS],
    record: f64,
    regular: Regular,
}

impl Novelty {
    /// One reading: 0, or how new it is, in powers of ten.
    pub fn observe(&mut self, value: f64) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        let value = value.clamp(-NOVELTY_VALUE_MAX, NOVELTY_VALUE_MAX);
        if self.seen == 0 {
            (self.last, self.few) = (value, value);
            for level in [&mut self.recent, &mut self.usual, &mut self.long] {
                level.mean = value;
            }
        }
        self.seen = self.seen.saturating_add(1);
        let step = (value - self.last).abs();
        let young = 1.0 / f64::from(self.seen);
        self.few += FEW.max(young) * (value - self.few);
        self.rough += ROUGH.max(young) * (step * step - self.rough);
        self.rough_usual += USUAL.max(young) * (step * step - self.rough_usual);
        let mut surprise = 0.0;
        if self.seen > FIRST {
            let views = self.views(value, step);
            for (tail, view) in self.tails.iter_mut().zip(views) {
                surprise += tail.observe(self.seen, view);
            }
        }
        self.learn(value, step);
        self.tell(surprise.min(SCORE_MAX))
    }

    /// Where the series usually is.
    pub fn usual(&self) -> f64 {
        self.usual.mean
    }

    fn views(&self, value: f64, step: f64) -> [f64; VIEWS] {
        let floor = floor(self.usual.mean);
        let rough = (self.rough + floor * floor) / (self.rough_usual + floor * floor);
        [
            self.recent.distance(value),
            self.long.distance(value),
            step / (self.step + floor),
            self.usual.distance(self.few),
            ln(rough).max(0.0),
        ]
    }

    fn learn(&mut self, value: f64, step: f64) {
        self.recent.learn(self.seen, RECENT, value);
        self.usual.learn(self.seen, USUAL, value);
        self.long.learn(self.seen, LONG, value);
        let clip = if self.seen > FREE && self.step > 0.0 { CLIP_STEP * self.step } else { f64::MAX };
        self.step += USUAL.max(1.0 / f64::from(self.seen)) * (step.min(clip) - self.step);
        self.last = value;
    }

    /// What of a surprise is news.
    fn tell(&mut self, score: f64) -> f64 {
        self.record *= KEEP;
        if self.seen <= WARM || score <= LEAST {
            self.regular.pass();
            return 0.0;
        }
        let regular = self.regular.observe(self.seen, score);
        if regular {
            self.record = self.record.max(score);
        }
        if regular || score <= RISE * self.record {
            return 0.0;
        }
        self.record = score;
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise, deterministic.
    fn noise(at: u32) -> f64 {
        let mixed = at.wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(0x9E37_79B9);
        f64::from(mixed >> 8) / f64::from(1u32 << 24) - 0.5
    }

    fn run(readings: u32, value: impl Fn(u32) -> f64) -> Vec<(u32, f64)> {
        let mut novelty = Novelty::default();
        let scores = (0..readings).map(|at| (at, novelty.observe(value(at))));
        scores.filter(|(_, score)| *score > 10.0).collect()
    }

    #[test]
    fn noise_is_nothing_new_and_a_shift_is_told_once_and_at_once() {
        let found = run(4_000, |at| noise(at) + if at >= 3_000 { 5.0 } else { 0.0 });
        assert!(found.len() <= 3 && found.iter().all(|(at, _)| (3_000..3_020).contains(at)) && !found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_rough_time_is_told_though_no_single_reading_is_far() {
        let found = run(6_000, |at| noise(at) * if (4_600..4_900).contains(&at) { 2.0 } else { 1.0 });
        assert!(found.iter().all(|(at, _)| (4_600..4_900).contains(at)) && !found.is_empty(), "{found:?}");
    }

    #[test]
    fn what_comes_as_regularly_as_a_clock_is_soon_no_news() {
        let found = run(8_000, |at| noise(at) + if at % 300 == 299 { 50.0 } else { 0.0 });
        assert!(found.iter().all(|(at, _)| *at < 3_500), "{found:?}");
        let irregular = run(8_000, |at| noise(at) + if at % 300 == 299 || at == 6_140 { 50.0 } else { 0.0 });
        assert!(irregular.iter().any(|(at, _)| *at == 6_140), "{irregular:?}");
    }

    #[test]
    fn bad_values_give_a_number_and_no_flood() {
        let wild = [f64::NAN, f64::INFINITY, 1e308, -1e308, 5e-324, 0.0, f64::MIN_POSITIVE];
        let mut novelty = Novelty::default();
        let scores = (0..20_000).map(|at| novelty.observe(wild[(noise(at).abs() * 14.0) as usize % wild.len()])).collect::<Vec<_>>();
        assert!(scores.iter().all(|score| score.is_finite()));
        assert!(scores.iter().filter(|score| **score > 10.0).count() < 20);
        assert!((0..5_000).all(|_| Novelty::default().observe(0.0) == 0.0));
    }
}
