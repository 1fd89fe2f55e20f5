//! How new a reading is to its series, as one number: for events that no single chart is made for.
//!
//! Three views of the reading (distance from the long level, step from the value before,
//! distance of the short level from the long one) are each measured by the tail of their own
//! past: how rare a larger one has been, as peaks over a high quantile with an exponential
//! tail. Their surprises, in powers of ten, are added. A score is given only when it exceeds
//! a slowly forgotten record of the scores before, so that one event is told once.

use crate::limits::{NOVELTY_VALUE_MAX, SCORE_MAX};
use serde::{Deserialize, Serialize};

/// Views of a reading.
const VIEWS: usize = 3;
/// Weight of a new reading in what is usual, once warm: the last 500 count.
const WEIGHT: f64 = 0.002;
/// Weight in the short level.
const SHORT: f64 = 2.0 / 11.0;
/// Readings before a view is taken.
const FIRST: u32 = 10;
/// Readings before tails are believed.
const WARM: u32 = 20;
/// Where updates are clipped, in standard deviations; of steps, in usual ones.
const CLIP: f64 = 4.0;
const CLIP_STEP: f64 = 5.0;
/// Smallest deviation relative to the level.
const RELATIVE_MIN: f64 = 1e-9;
/// What of the record is kept from reading to reading: half is forgotten in 140 readings.
const KEEP: f64 = 0.995;
/// How far above the record a score must be.
const RISE: f64 = 1.05;
/// A score below is not worth telling: less than one reading in ten thousand is rarer.
const LEAST: f64 = 4.0;

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Novelty {
    seen: u32,
    last: f64,
    level: f64,
    short: f64,
    variance: f64,
    step: f64,
    tails: [Tail; VIEWS],
    record: f64,
}

impl Novelty {
    /// One reading: 0, or how new it is, in powers of ten.
    pub fn observe(&mut self, _time_ms: i64, value: f64) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        let value = value.clamp(-NOVELTY_VALUE_MAX, NOVELTY_VALUE_MAX);
        if self.seen == 0 {
            (self.last, self.level, self.short) = (value, value, value);
        }
        self.seen = self.seen.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.seen));
        let least = (RELATIVE_MIN * self.level.abs()).max(1e-12);
        let sigma = self.variance.sqrt() + least;
        let step = (value - self.last).abs();
        self.short += SHORT.max(1.0 / f64::from(self.seen)) * (value - self.short);
        let far = value - self.level;
        let views = [far.abs() / sigma, step / (self.step + least), (self.short - self.level).abs() / sigma];
        let known = self.seen > FIRST;
        let mut surprise = 0.0;
        for (tail, view) in self.tails.iter_mut().zip(views) {
            surprise += tail.observe(self.seen, if known { view } else { 0.0 });
        }
        let clip = if self.seen > WARM { CLIP * sigma } else { f64::MAX };
        let moved = far.clamp(-clip, clip);
        self.level += weight * moved;
        self.variance = (1.0 - weight) * (self.variance + weight * moved * moved);
        let clip = if self.seen > WARM && self.step > 0.0 { CLIP_STEP * self.step } else { f64::MAX };
        self.step += weight * (step.min(clip) - self.step);
        self.last = value;
        self.record *= KEEP;
        let score = surprise.min(SCORE_MAX);
        if score <= LEAST || score <= RISE * self.record {
            return 0.0;
        }
        self.record = score;
        score
    }
}

/// Quantile above which a tail begins.
const QUANTILE: f64 = 0.98;
/// Weight of a reading in the quantile.
const QUANTILE_WEIGHT: f64 = 0.005;
/// Weight of an exceedance in the tail's scale.
const EXCESS_WEIGHT: f64 = 0.025;
/// Exceedances before the tail's scale is believed.
const EXCEEDANCES_MIN: u32 = 10;

/// The tail of one view, over its logarithm: a power law there is exponential here.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Tail {
    /// The high quantile.
    quantile: f64,
    /// Mean excess above it, and how many were seen.
    excess: f64,
    exceedances: u32,
    /// Mean of the view: the size of the quantile's steps.
    mean: f64,
}

impl Tail {
    /// How rare, in powers of ten; 0 below the quantile.
    fn observe(&mut self, seen: u32, view: f64) -> f64 {
        let view = view.ln_1p();
        let mut surprise = 0.0;
        let over = view - self.quantile;
        if seen > WARM && over > 0.0 {
            let young = 0.1 * f64::from(EXCEEDANCES_MIN.saturating_sub(self.exceedances)) / f64::from(EXCEEDANCES_MIN);
            let scale = self.excess.max(1e-3).max(young);
            surprise = (over / scale - (1.0 - QUANTILE).ln()) / std::f64::consts::LN_10;
        }
        self.mean += QUANTILE_WEIGHT.max(1.0 / f64::from(seen)) * (view - self.mean);
        let step = 2.0 * QUANTILE_WEIGHT.max(1.0 / f64::from(seen)) * self.mean.max(1e-9);
        if over > 0.0 {
            self.exceedances = self.exceedances.saturating_add(1);
            self.excess += EXCESS_WEIGHT.max(1.0 / f64::from(self.exceedances)) * (over - self.excess);
            self.quantile += step * QUANTILE;
        } else {
            self.quantile = (self.quantile - step * (1.0 - QUANTILE)).max(0.0);
        }
        surprise
    }
}
