//! Mergeable aggregates: count, sum, min, max, second moment, first, last, quantiles.
//!
//! Readings of most sensors are decimals. While every value is m / 10^scale, Σm and Σm² are
//! kept as integers: exact, and a function of the set of readings alone, so merging is
//! associative and commutative to the bit. Whether they can be kept so depends on the set alone
//! too. Else the sum is compensated (Neumaier 1974), the second moment follows Welford and Chan,
//! Golub, LeVeque (1979), and the canonical order of entries makes the bits the same everywhere.
//!
//! Only basic IEEE operations are used; no platform computes another bit.

use crate::digest;
use crate::sketch::Sketch;

/// Powers of ten that a scale can mean.
pub(crate) const SCALES: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Mantissas stay below this: fifteen digits. With the double's own error and that of the
/// multiplication, `value · 10^scale` is then still nearer to m than to any other integer,
/// so a decimal of one scale is a decimal of every finer one.
pub(crate) const MANTISSA_MAX: i64 = 1 << 50;
/// Σm² stays below this, which keeps every integer below from overflowing.
pub(crate) const SQUARES_MAX: i128 = 1 << 126;

/// Sum and second moment.
#[derive(Debug, Clone)]
pub(crate) enum Moments {
    /// Every value is m / 10^scale, at the least such scale: Σm and Σm².
    Exact { scale: u8, s1: i128, s2: i128 },
    /// Compensated sum (high and low part), mean, and Σ(x − mean)², which is infinite once beyond a double.
    Float { high: f64, low: f64, mean: f64, m2: f64 },
}

/// What a window's readings come to: 144 bytes, and 8 more for each bucket of the sketch.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub(crate) count: u64,
    pub(crate) moments: Moments,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) first: (i64, f64),
    pub(crate) last: (i64, f64),
    pub(crate) sketch: Sketch,
    /// Which readings, as a set; only where redundant gateways are to be compared.
    pub(crate) digest: Option<u64>,
}

const _: () = assert!(size_of::<Aggregate>() < 200, "an open window of each of 100,000 series must fit in memory");

impl PartialEq for Moments {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact { scale, s1, s2 }, Self::Exact { scale: scale2, s1: t1, s2: t2 }) => (scale, s1, s2) == (scale2, t1, t2),
            (Self::Float { high, low, mean, m2 }, Self::Float { high: h, low: l, mean: m, m2: n }) => {
                [high, low, mean, m2].map(|v| v.to_bits()) == [h, l, m, n].map(|v| v.to_bits())
            }
            _ => false,
        }
    }
}

/// Equal to the bit: 0.0 and -0.0 differ.
impl PartialEq for Aggregate {
    fn eq(&self, other: &Self) -> bool {
        let values = |a: &Self| [a.min, a.max, a.first.1, a.last.1].map(f64::to_bits);
        self.count == other.count
            && values(self) == values(other)
            && (self.first.0, self.last.0) == (other.first.0, other.last.0)
            && self.moments == other.moments
            && self.sketch == other.sketch
            && self.digest == other.digest
    }
}

impl Eq for Aggregate {}

/// `value · 10^scale` where that is an integer that reads back bit for bit (so never for -0.0).
#[inline]
pub(crate) fn mantissa(value: f64, scale: u8) -> Option<i64> {
    // Adding and taking away 1.5 · 2^52 rounds to an integer, ties to even, in two additions;
    // what is too large for that is beyond the bound anyway.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let factor = SCALES[usize::from(scale)];
    let m = (value * factor + ROUND) - ROUND;
    (m.abs() < MANTISSA_MAX as f64 && (m / factor).to_bits() == value.to_bits()).then_some(m as i64)
}

/// The smallest scale from `least` on that holds a value exactly.
fn scale_of(value: f64, least: u8) -> Option<(u8, i64)> {
    (least..SCALES.len() as u8).find_map(|scale| mantissa(value, scale).map(|m| (scale, m)))
}

impl Moments {
    fn new(value: f64) -> Self {
        match scale_of(value, 0) {
            Some((scale, m)) => Self::Exact { scale, s1: m.into(), s2: i128::from(m) * i128::from(m) },
            None => Self::Float { high: value, low: 0.0, mean: value, m2: 0.0 },
        }
    }

    /// The same numbers at a finer scale, `largest` being the largest magnitude among the
    /// values; `None` where they would become too long.
    fn rescaled(&self, finer: u8, largest: f64) -> Option<Self> {
        let Self::Exact { scale, s1, s2 } = *self else {
            return None;
        };
        if scale == finer {
            return Some(self.clone());
        }
        let factor = 10i64.pow(u32::from(finer - scale));
        mantissa(largest, scale)?.checked_mul(factor).filter(|m| m.abs() < MANTISSA_MAX)?;
        let factor = i128::from(factor);
        let s2 = s2.checked_mul(factor * factor).filter(|s2| *s2 < SQUARES_MAX)?;
        Some(Self::Exact { scale: finer, s1: s1 * factor, s2 })
    }

    /// The sum as an unevaluated pair of doubles.
    fn sum(&self) -> (f64, f64) {
        match *self {
            Self::Float { high, low, .. } => (high, low),
            Self::Exact { scale, s1, .. } => (s1 as f64 / SCALES[usize::from(scale)], 0.0),
        }
    }

    /// Σ(x − mean)² of `count` values.
    fn second(&self, count: u64) -> f64 {
        match *self {
            Self::Float { m2, .. } => m2,
            Self::Exact { scale, s1, s2 } => {
                let n = i128::from(count);
                let unit = SCALES[usize::from(scale)];
                let deviations = match (n.checked_mul(s2), s1.checked_mul(s1)) {
                    (Some(a), Some(b)) => (a - b) as f64 / count as f64,
                    // Too long for n·Σm² − (Σm)²: seen from the mean, rounded down, it is short.
                    _ => {
                        let mean = s1.div_euclid(n);
                        let rest = s1 - n * mean;
                        (s2 - mean * (s1 + rest)) as f64 - rest as f64 * (rest as f64 / count as f64)
                    }
                };
                (deviations / (unit * unit)).max(0.0)
            }
        }
    }

    /// These moments of `count` values as doubles.
    fn float(&self, count: u64) -> (f64, f64, f64, f64) {
        match *self {
            Self::Float { high, low, mean, m2 } => (high, low, mean, m2),
            Self::Exact { .. } => {
                let (high, low) = self.sum();
                (high, low, high / count as f64, self.second(count))
            }
        }
    }
}

/// Neumaier's step: the sum and what it lost. A sum beyond a double stays at the largest.
#[inline]
fn compensated(high: f64, low: f64, value: f64) -> (f64, f64) {
    let sum = high + value;
    if !sum.is_finite() {
        return (sum.clamp(f64::MIN, f64::MAX), 0.0);
    }
    let lost = if high.abs() >= value.abs() { (high - sum) + value } else { (value - sum) + high };
    (sum, low + lost)
}

impl Aggregate {
    /// One reading: event time in ms since the Unix epoch, value (finite).
    pub fn new(time_ms: i64, value: f64) -> Self {
        let mut sketch = Sketch::default();
        sketch.add(value);
        let at = (time_ms, value);
        Self { count: 1, moments: Moments::new(value), min: value, max: value, first: at, last: at, sketch, digest: None }
    }

    /// The same, which also keeps a digest of its readings from here on.
    pub fn digested(time_ms: i64, value: f64) -> Self {
        Self { digest: Some(digest::of(time_ms, value)), ..Self::new(time_ms, value) }
    }

    /// One reading more, in the log's order: of equal times the first seen is first, the last
    /// seen last. The value is finite.
    #[inline]
    pub fn add(&mut self, time_ms: i64, value: f64) {
        self.add_moments(value);
        self.count = self.count.saturating_add(1);
        self.widen(value, value);
        if time_ms < self.first.0 {
            self.first = (time_ms, value);
        }
        if time_ms >= self.last.0 {
            self.last = (time_ms, value);
        }
        self.sketch.add(value);
        if let Some(digest) = &mut self.digest {
            *digest = digest.wrapping_add(digest::of(time_ms, value));
        }
    }

    /// The total order tells -0.0 from 0.0, as `f64::min` does on some platforms only.
    #[inline]
    fn widen(&mut self, min: f64, max: f64) {
        if min.total_cmp(&self.min).is_lt() {
            self.min = min;
        }
        if max.total_cmp(&self.max).is_gt() {
            self.max = max;
        }
    }

    #[inline]
    fn add_moments(&mut self, value: f64) {
        if let Moments::Exact { scale, s1, s2 } = &mut self.moments
            && let Some(m) = mantissa(value, *scale)
        {
            let m = i128::from(m);
            let squares = *s2 + m * m;
            if squares < SQUARES_MAX {
                (*s1, *s2) = (*s1 + m, squares);
                return;
            }
        }
        self.add_moments_slow(value);
    }

    /// A value of a finer scale, or one that makes or finds the moments doubles.
    fn add_moments_slow(&mut self, value: f64) {
        if let Moments::Exact { scale, .. } = self.moments
            && let Some((finer, m)) = scale_of(value, scale)
            && let Some(Moments::Exact { s1, s2, .. }) = self.moments.rescaled(finer, self.largest())
            && let m = i128::from(m)
            && s2 + m * m < SQUARES_MAX
        {
            self.moments = Moments::Exact { scale: finer, s1: s1 + m, s2: s2 + m * m };
            return;
        }
        let (high, low, mean, m2) = self.moments.float(self.count);
        let (high, low) = compensated(high, low, value);
        let n = self.count as f64 + 1.0;
        let delta = value - mean;
        let (mean, m2) = if delta.is_finite() {
            let moved = mean + delta / n;
            (moved, m2 + delta * (value - moved))
        } else {
            (mean + (value / n - mean / n), f64::INFINITY)
        };
        self.moments = Moments::Float { high, low, mean, m2 };
    }

    /// The largest magnitude among the values.
    fn largest(&self) -> f64 {
        if -self.min > self.max { -self.min } else { self.max }
    }

    /// Adds the readings of another, which is later in the canonical order of entries: its
    /// first yields, its last wins where times are equal.
    pub fn merge(&mut self, other: &Aggregate) {
        self.moments = self.merged_exact(other).unwrap_or_else(|| self.merged_float(other));
        self.count = self.count.saturating_add(other.count);
        self.widen(other.min, other.max);
        if other.first.0 < self.first.0 {
            self.first = other.first;
        }
        if other.last.0 >= self.last.0 {
            self.last = other.last;
        }
        self.sketch.merge(&other.sketch);
        self.digest = digest::merged(self.digest, other.digest);
    }

    fn merged_exact(&self, other: &Aggregate) -> Option<Moments> {
        let (Moments::Exact { scale: a, .. }, Moments::Exact { scale: b, .. }) = (&self.moments, &other.moments) else {
            return None;
        };
        let scale = *a.max(b);
        let (ours, theirs) = (self.moments.rescaled(scale, self.largest())?, other.moments.rescaled(scale, other.largest())?);
        let (Moments::Exact { s1, s2, .. }, Moments::Exact { s1: t1, s2: t2, .. }) = (ours, theirs) else {
            return None;
        };
        let s2 = s2.checked_add(t2).filter(|s2| *s2 < SQUARES_MAX)?;
        Some(Moments::Exact { scale, s1: s1.checked_add(t1)?, s2 })
    }

    fn merged_float(&self, other: &Aggregate) -> Moments {
        let (high, low, mean, m2) = self.moments.float(self.count);
        let (h, l, m, s) = other.moments.float(other.count);
        let (high, low) = compensated(high, low, h);
        let (n, k) = (self.count as f64, other.count as f64);
        let (ours, theirs) = (n / (n + k), k / (n + k));
        let delta = m - mean;
        let (mean, m2) = if delta.is_finite() {
            (mean + delta * theirs, m2 + s + delta * (delta * (n * theirs)))
        } else {
            (mean * ours + m * theirs, f64::INFINITY)
        };
        Moments::Float { high, low: low + l, mean, m2 }
    }

    /// How many readings, at least one.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum; beyond a double, the largest double.
    pub fn sum(&self) -> f64 {
        let (high, low) = self.moments.sum();
        let sum = high + low;
        if sum.is_nan() { high } else { sum.clamp(f64::MIN, f64::MAX) }
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        (self.sum() / self.count as f64).clamp(self.min, self.max)
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The population's standard deviation; where squares are beyond a double (values beyond
    /// 10^154), its upper bound: half the range.
    pub fn stddev(&self) -> f64 {
        let half = self.max / 2.0 - self.min / 2.0;
        let deviation = (self.moments.second(self.count) / self.count as f64).sqrt();
        if deviation.is_finite() { deviation } else { half }
    }

    /// The digest of its readings (see [`crate::digest`]), where one is kept.
    pub fn digest(&self) -> Option<u64> {
        self.digest
    }

    /// Event time (ms since the Unix epoch) and value of the earliest reading.
    pub fn first(&self) -> (i64, f64) {
        self.first
    }

    /// Event time (ms since the Unix epoch) and value of the latest reading.
    pub fn last(&self) -> (i64, f64) {
        self.last
    }

    /// Within 1 % of sorted[floor(q · (n − 1))], q in [0, 1]; the smallest and the largest are exact.
    pub fn quantile(&self, q: f64) -> f64 {
        let last = self.count - 1;
        let rank = (q.clamp(0.0, 1.0) * last as f64).floor() as u64;
        match rank {
            0 => self.min,
            _ if rank >= last => self.max,
            _ => self.sketch.at_rank(rank).clamp(self.min, self.max),
        }
    }
}

#[cfg(test)]
mod tests;
