//! Mergeable aggregates: count, sum, min, max, second moment, first, last, quantiles.
//!
//! Readings of most sensors are decimals. While every value is m / 10^scale, sums and squares
//! are kept as integers relative to the first value: exact, so the same in every order, and
//! short on the wire. Else the sum is compensated (Neumaier 1974) and the second moment
//! follows Welford and Chan, Golub, LeVeque (1979).

use crate::sketch::Sketch;

/// Powers of ten that a scale can mean.
pub(crate) const SCALES: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Mantissas stay exact in a double below this.
const MANTISSA_MAX: f64 = (1u64 << 53) as f64;
/// Bounds that keep the integer sums far from overflow: beyond, the aggregate turns to doubles.
const D1_MAX: i128 = 1 << 100;

/// Sum and second moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Moments {
    /// Every value is a decimal: Σ(m − origin) and Σ(m − origin)², m = value · 10^scale.
    Exact { scale: u8, origin: i64, d1: i128, d2: i128 },
    /// Compensated sum (high and low part), mean and Σ(x − mean)².
    Float { high: f64, low: f64, mean: f64, m2: f64 },
}

/// What a window's readings come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    pub(crate) count: u64,
    pub(crate) moments: Moments,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) first: (i64, f64),
    pub(crate) last: (i64, f64),
    pub(crate) sketch: Sketch,
}

/// `value · 10^scale` where that is an integer that reads back bit for bit.
#[inline]
pub(crate) fn mantissa(value: f64, scale: u8) -> Option<i64> {
    let factor = SCALES[scale as usize];
    // Adding zero turns -0.0, which no integer tells from 0, into what does not read back.
    let m = (value * factor).round_ties_even() + 0.0;
    (m.abs() < MANTISSA_MAX && (m / factor).to_bits() == value.to_bits()).then_some(m as i64)
}

/// The smallest scale that holds a value exactly, from `least` on.
fn scale_of(value: f64, least: u8) -> Option<(u8, i64)> {
    (least..SCALES.len() as u8).find_map(|scale| mantissa(value, scale).map(|m| (scale, m)))
}

impl Aggregate {
    /// One reading: event time in ms, value (finite).
    pub fn new(time_ms: i64, value: f64) -> Self {
        let moments = match scale_of(value, 0) {
            Some((scale, m)) => Moments::Exact { scale, origin: m, d1: 0, d2: 0 },
            None => Moments::Float { high: value, low: 0.0, mean: value, m2: 0.0 },
        };
        let mut sketch = Sketch::default();
        sketch.add(value);
        Self { count: 1, moments, min: value, max: value, first: (time_ms, value), last: (time_ms, value), sketch }
    }

    /// One reading more, in the log's order: of equal times the first seen is first, the last seen last.
    #[inline]
    pub fn add(&mut self, time_ms: i64, value: f64) {
        self.add_moment(value);
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if time_ms < self.first.0 {
            self.first = (time_ms, value);
        }
        if time_ms >= self.last.0 {
            self.last = (time_ms, value);
        }
        self.sketch.add(value);
    }

    #[inline]
    fn add_moment(&mut self, value: f64) {
        if let Moments::Exact { scale, origin, d1, d2 } = &mut self.moments {
            if let Some(m) = mantissa(value, *scale) {
                let d = i128::from(m - *origin);
                *d1 += d;
                *d2 += d * d;
                if *d2 < D1_MAX {
                    return;
                }
                *d1 -= d;
                *d2 -= d * d;
            } else if let Some((finer, m)) = scale_of(value, *scale)
                && self.rescale(finer)
            {
                let Moments::Exact { origin, d1, d2, .. } = &mut self.moments else { return };
                let d = i128::from(m - *origin);
                *d1 += d;
                *d2 += d * d;
                return;
            }
            self.to_float();
        }
        if let Moments::Float { high, low, mean, m2 } = &mut self.moments {
            let sum = *high + value;
            *low += if high.abs() >= value.abs() { (*high - sum) + value } else { (value - sum) + *high };
            *high = sum;
            let delta = value - *mean;
            *mean += delta / (self.count + 1) as f64;
            *m2 += delta * (value - *mean);
        }
    }

    /// Goes to a finer scale; false where the numbers would become too long.
    fn rescale(&mut self, finer: u8) -> bool {
        let Moments::Exact { scale, origin, d1, d2 } = &mut self.moments else { return false };
        let factor = 10i64.pow(u32::from(finer - *scale));
        let Some(o) = origin.checked_mul(factor).filter(|o| (*o as f64).abs() < MANTISSA_MAX) else { return false };
        let wide = i128::from(factor);
        let (Some(a), Some(b)) = (d1.checked_mul(wide), d2.checked_mul(wide * wide)) else { return false };
        if b >= D1_MAX {
            return false;
        }
        (*scale, *origin, *d1, *d2) = (finer, o, a, b);
        true
    }

    fn to_float(&mut self) {
        if let Moments::Exact { .. } = self.moments {
            let (high, low) = self.sum_parts();
            let mean = high / self.count as f64;
            let m2 = self.second_moment();
            self.moments = Moments::Float { high, low, mean, m2 };
        }
    }

    /// The sum as an unevaluated pair of doubles.
    fn sum_parts(&self) -> (f64, f64) {
        match &self.moments {
            Moments::Float { high, low, .. } => (*high, *low),
            Moments::Exact { scale, origin, d1, .. } => {
                let total = i128::from(*origin) * i128::from(self.count) + d1;
                (total as f64 / SCALES[*scale as usize], 0.0)
            }
        }
    }

    /// Σ(x − mean)².
    fn second_moment(&self) -> f64 {
        match &self.moments {
            Moments::Float { m2, .. } => m2.max(0.0),
            Moments::Exact { scale, d1, d2, .. } => {
                let n = i128::from(self.count);
                let unit = SCALES[*scale as usize];
                match (n.checked_mul(*d2), d1.checked_mul(*d1)) {
                    (Some(a), Some(b)) => (a - b) as f64 / n as f64 / (unit * unit),
                    _ => (*d2 as f64 - (*d1 as f64) * (*d1 as f64) / n as f64).max(0.0) / (unit * unit),
                }
            }
        }
    }

    /// Adds the readings of another, which is later in the canonical order of entries.
    pub fn merge(&mut self, other: &Aggregate) {
        self.merge_moments(other);
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.first.0 < self.first.0 {
            self.first = other.first;
        }
        if other.last.0 >= self.last.0 {
            self.last = other.last;
        }
        self.sketch.merge(&other.sketch);
    }

    fn merge_moments(&mut self, other: &Aggregate) {
        let mut theirs = other.clone_moments();
        if let (Moments::Exact { scale: a, .. }, Moments::Exact { scale: b, .. }) = (&self.moments, &theirs.moments) {
            let finer = *a.max(b);
            let same = (*a == finer || self.rescale(finer)) && (*b == finer || theirs.rescale(finer));
            if same
                && let (Moments::Exact { origin, d1, d2, .. }, Moments::Exact { origin: o, d1: e1, d2: e2, .. }) =
                    (&mut self.moments, &theirs.moments)
            {
                // Their deviations, seen from our origin: Σ(m − a)² = Σ(m − b)² + 2(b − a)Σ(m − b) + n(b − a)².
                let shift = i128::from(*o) - i128::from(*origin);
                let n = i128::from(theirs.count);
                let moved = (|| {
                    let s1 = e1.checked_add(shift.checked_mul(n)?)?;
                    let cross = shift.checked_mul(*e1)?.checked_mul(2)?;
                    let s2 = e2.checked_add(cross)?.checked_add(shift.checked_mul(shift)?.checked_mul(n)?)?;
                    Some((d1.checked_add(s1)?, d2.checked_add(s2)?))
                })();
                if let Some((s1, s2)) = moved.filter(|(_, s2)| *s2 < D1_MAX) {
                    (*d1, *d2) = (s1, s2);
                    return;
                }
            }
        }
        self.to_float();
        theirs.to_float();
        if let (Moments::Float { high, low, mean, m2 }, Moments::Float { high: h, low: l, mean: m, m2: s }) =
            (&mut self.moments, &theirs.moments)
        {
            let sum = *high + h;
            *low += (if high.abs() >= h.abs() { (*high - sum) + h } else { (h - sum) + *high }) + l;
            *high = sum;
            let (n, k) = (self.count as f64, theirs.count as f64);
            let delta = m - *mean;
            *mean += delta * (k / (n + k));
            *m2 += s + delta * delta * (n * k / (n + k));
        }
    }

    fn clone_moments(&self) -> Aggregate {
        let Self { count, min, max, first, last, .. } = *self;
        Aggregate { count, moments: self.moments.clone(), min, max, first, last, sketch: Sketch::default() }
    }

    /// How many readings.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        let (high, low) = self.sum_parts();
        let sum = high + low;
        if sum.is_finite() { sum } else { high.clamp(f64::MIN, f64::MAX) }
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        let mean = self.sum() / self.count as f64;
        mean.clamp(self.min, self.max)
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The population's standard deviation.
    pub fn stddev(&self) -> f64 {
        let sd = (self.second_moment() / self.count as f64).sqrt();
        if sd.is_finite() { sd } else { self.max / 2.0 - self.min / 2.0 }
    }

    /// Event time and value of the earliest reading.
    pub fn first(&self) -> (i64, f64) {
        self.first
    }

    /// Event time and value of the latest reading.
    pub fn last(&self) -> (i64, f64) {
        self.last
    }

    /// Within 1 % of sorted[floor(q · (n − 1))], q in [0, 1].
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = (q.clamp(0.0, 1.0) * (self.count - 1) as f64).floor() as u64;
        self.sketch.at_rank(rank).clamp(self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Aggregate {
        let mut a = Aggregate::new(0, values[0]);
        values[1..].iter().enumerate().for_each(|(i, v)| a.add(i as i64 + 1, *v));
        a
    }

    proptest! {
        #[test]
        fn decimals_are_exact_in_any_grouping(ms in prop::collection::vec(-100_000i64..100_000, 2..80), cut in 1usize..79) {
            let values: Vec<f64> = ms.iter().map(|m| *m as f64 / 100.0).collect();
            let whole = of(&values);
            let cut = cut.min(values.len() - 1);
            let mut left = of(&values[..cut]);
            left.merge(&of(&values[cut..]));
            prop_assert_eq!(whole.sum().to_bits(), left.sum().to_bits());
            prop_assert_eq!(whole.stddev().to_bits(), left.stddev().to_bits());
            prop_assert_eq!(whole.sum(), ms.iter().sum::<i64>() as f64 / 100.0);
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            for q in [0.0, 0.5, 0.95, 0.99, 1.0] {
                let truth = sorted[(q * (sorted.len() - 1) as f64).floor() as usize];
                prop_assert!((whole.quantile(q) - truth).abs() <= truth.abs() * 0.01 + 1e-12);
            }
        }

        #[test]
        fn any_finite_values_never_panic(bits in prop::collection::vec(any::<u64>(), 1..40)) {
            let values: Vec<f64> = bits.iter().map(|b| f64::from_bits(*b)).filter(|v| v.is_finite()).collect();
            if !values.is_empty() {
                let mut a = of(&values);
                a.merge(&of(&values));
                prop_assert!(a.sum().is_finite() && a.stddev().is_finite() && a.mean().is_finite());
            }
        }
    }
}
