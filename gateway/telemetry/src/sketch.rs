//! Quantiles within 1 % (DDSketch: Masson, Rim, Lee, VLDB 2019), on every platform the same.
//!
//! A value's bucket is found from its exponent and a cubic in its mantissa (the cubically
//! interpolated mapping of the reference implementation) with IEEE basic operations alone:
//! no logarithm, so gateway and cloud agree to the bit. Keys are signed and grow with the
//! value: negative values, zero (a bucket of its own, so exact), positive values.
//!
//! **Bound.** At most [`SKETCH_BUCKETS_MAX`] buckets besides zero's are kept: those of the
//! largest magnitudes; what is smaller is counted in the smallest that is kept. Which these are
//! depends on the set of values alone, so adding and merging are associative and commutative
//! at the bound too.

use crate::limits::SKETCH_BUCKETS_MAX;

// The cubic A·s³ + B·s² + C·s runs from 0 to 1 with s and stays nearest to log2(1 + s).
const A: f64 = 6.0 / 35.0;
const B: f64 = -3.0 / 5.0;
const C: f64 = 10.0 / 7.0;
/// Buckets per doubling. The cubic is steepest against the logarithm at s = 0, by 1/C = 0.7,
/// so a bucket spans at most a factor of exp(0.7 / 35.35) = 1.02: 0.991 % to its middle.
const PER_DOUBLING: f64 = 35.35;
/// Raises the keys of positive values above zero: 2^-1074 lies at −37,966 buckets.
const OFFSET: f64 = 40_000.0;

/// Counts by key, in order of the keys, none of them zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sketch {
    buckets: Vec<(i32, u32)>,
}

/// The bucket of a finite value: 0 for zero, from 2,034 to 76,198 for positive values, and
/// their negative for negative ones.
#[inline]
pub fn key(value: f64) -> i32 {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return 0;
    }
    let (normal, shift) = if magnitude < f64::MIN_POSITIVE {
        // 2^54: denormals have an exponent only once they are scaled into the normal range.
        (magnitude * 18_014_398_509_481_984.0, 54)
    } else {
        (magnitude, 0)
    };
    let bits = normal.to_bits();
    let exponent = ((bits >> 52) as i32) - 1023 - shift;
    let s = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000) - 1.0;
    let log = ((A * s + B) * s + C) * s + f64::from(exponent);
    // Positive for every double, so the cast rounds down.
    let index = (log * PER_DOUBLING + OFFSET) as i32;
    if value < 0.0 { -index } else { index }
}

/// The value that stands for a bucket: within 1 % of all normal doubles in it.
pub fn representative(key: i32) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let (low, exponent) = lower_bound(key.unsigned_abs());
    let (high, above) = lower_bound(key.unsigned_abs() + 1);
    let high = if above > exponent { high * 2.0 } else { high };
    // The harmonic middle has the same relative error to both ends.
    let middle = times_power_of_two(2.0 * low * high / (low + high), exponent);
    if key < 0 { -middle } else { middle }
}

/// Where a bucket begins, as 1 + s and exponent: the cubic inverted by bisection, because only
/// basic operations give the same bits everywhere, and quantiles are asked for rarely.
fn lower_bound(index: u32) -> (f64, i32) {
    let log = (f64::from(index) - OFFSET) / PER_DOUBLING;
    let exponent = log.floor();
    let wanted = log - exponent;
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..40 {
        let s = (low + high) / 2.0;
        if ((A * s + B) * s + C) * s < wanted {
            low = s;
        } else {
            high = s;
        }
    }
    (1.0 + low, exponent as i32)
}

/// `m · 2^exponent` for m in [1, 2.1), rounded once, at most `f64::MAX`.
fn times_power_of_two(m: f64, exponent: i32) -> f64 {
    let power = |e: i32| f64::from_bits(((e + 1023) as u64) << 52);
    match exponent {
        ..-1100 => 0.0,
        -1100..-1022 => m * power(exponent + 100) * power(-100),
        -1022..1024 => (m * power(exponent)).min(f64::MAX),
        _ => f64::MAX,
    }
}

impl Sketch {
    /// Counts one finite value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.add_key(key(value), 1);
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Sketch) {
        // A few are looked up one by one; many are merged in one pass.
        if other.buckets.len() < 8 {
            other.buckets.iter().for_each(|(key, count)| self.add_key(*key, *count));
            return;
        }
        let mut merged = Vec::with_capacity(self.buckets.len() + other.buckets.len());
        let (mut ours, mut theirs) = (self.buckets.iter().peekable(), other.buckets.iter().peekable());
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.0 == b.0 => theirs.next().and_then(|b| ours.next().map(|a| (a.0, a.1.saturating_add(b.1)))),
                (Some(a), Some(b)) if a.0 > b.0 => theirs.next().copied(),
                (Some(_), _) => ours.next().copied(),
                (None, _) => theirs.next().copied(),
            };
            let Some(bucket) = next else { break };
            merged.push(bucket);
        }
        self.buckets = merged;
        while self.collapse() {}
    }

    /// Adds a count to a bucket; a bucket's count stays at `u32::MAX` once there.
    #[inline]
    pub fn add_key(&mut self, key: i32, count: u32) {
        match self.buckets.binary_search_by_key(&key, |b| b.0) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.insert(at, key, count),
        }
    }

    #[cold]
    fn insert(&mut self, at: usize, key: i32, count: u32) {
        if count == 0 {
            return;
        }
        self.buckets.insert(at, (key, count));
        self.collapse();
    }

    /// Beyond the bound the bucket nearest zero is counted in the next one by magnitude;
    /// false where there is no need.
    fn collapse(&mut self) -> bool {
        if self.buckets.len() <= SKETCH_BUCKETS_MAX {
            return false;
        }
        let below = self.buckets.partition_point(|b| b.0 < 0);
        let zero = usize::from(self.buckets.get(below).is_some_and(|b| b.0 == 0));
        if self.buckets.len() - zero <= SKETCH_BUCKETS_MAX {
            return false;
        }
        // Of equal magnitudes the negative one is the nearer.
        let nearest = |below: usize, above: usize| match (below.checked_sub(1), self.buckets.get(above)) {
            (Some(n), Some(p)) if p.0 < self.buckets[n].0.abs() => above,
            (Some(n), _) => n,
            (None, _) => above,
        };
        let above = below + zero;
        let victim = nearest(below, above);
        let heir = if victim < below { nearest(below - 1, above) } else { nearest(below, above + 1) };
        self.buckets[heir].1 = self.buckets[heir].1.saturating_add(self.buckets[victim].1);
        self.buckets.remove(victim);
        true
    }

    /// The buckets as (key, count), by key.
    pub fn buckets(&self) -> &[(i32, u32)] {
        &self.buckets
    }

    /// Buckets that are already in order, with no count of zero and no more than the bound.
    pub(crate) fn from_sorted(buckets: Vec<(i32, u32)>) -> Self {
        debug_assert!(buckets.is_sorted_by(|a, b| a.0 < b.0));
        Self { buckets }
    }

    /// The value of rank `rank` (0: the smallest), as its bucket's representative.
    pub fn at_rank(&self, rank: u64) -> f64 {
        let mut seen = 0u64;
        for (key, count) in &self.buckets {
            seen += u64::from(*count);
            if seen > rank {
                return representative(*key);
            }
        }
        self.buckets.last().map_or(0.0, |(key, _)| representative(*key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_stands_for_its_values(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_normal());
            let near = representative(key(value));
            prop_assert!((near - value).abs() <= value.abs() * 0.01, "{near} for {value}");
        }

        #[test]
        fn keys_grow_with_values(a: u64, b: u64) {
            let (a, b) = (f64::from_bits(a), f64::from_bits(b));
            prop_assume!(a.is_finite() && b.is_finite());
            prop_assert!(a > b || key(a) <= key(b));
        }

        #[test]
        fn neighbouring_values_have_neighbouring_keys(bits in 1u64..0x7fef_ffff_ffff_ffff) {
            let (a, b) = (key(f64::from_bits(bits)), key(f64::from_bits(bits + 1)));
            prop_assert!(a <= b && (b - a <= 1 || bits < 64), "{a} {b}");
        }

        /// Values of both signs over more buckets than are kept, in parts and in another order.
        #[test]
        fn the_bound_keeps_the_laws_of_merge(mut exponents in prop::collection::vec(-250i32..250, 40..60), cut in 1usize..40, seed: u32) {
            let part = |list: &[i32]| {
                let mut sketch = Sketch::default();
                for e in list {
                    for i in 0..120 {
                        let step = e * 70 + i;
                        let sign = if (step as u32 ^ seed).is_multiple_of(3) { -1 } else { 1 };
                        sketch.add_key(sign * (40_000 + step), 1);
                    }
                    sketch.add_key(0, 1);
                }
                sketch
            };
            let whole = part(&exponents);
            prop_assert!(whole.buckets().len() <= SKETCH_BUCKETS_MAX + 1);
            prop_assert_eq!(whole.buckets().iter().map(|b| b.1 as usize).sum::<usize>(), exponents.len() * 121);
            let mut left = part(&exponents[..cut]);
            left.merge(&part(&exponents[cut..]));
            prop_assert_eq!(&left, &whole);
            let mut right = part(&exponents[cut..]);
            right.merge(&part(&exponents[..cut]));
            prop_assert_eq!(&right, &whole);
            exponents.reverse();
            prop_assert_eq!(&part(&exponents), &whole);
        }
    }

    #[test]
    fn extremes_have_buckets() {
        assert_eq!((key(0.0), key(-0.0)), (0, 0));
        assert_eq!((key(5e-324), key(f64::MAX)), (2_034, 76_198));
        for value in [f64::MIN_POSITIVE, 5e-324, 1e-310, f64::MAX, f64::MIN] {
            let near = representative(key(value));
            assert!((near - value).abs() <= value.abs() * 0.01, "{near} for {value}");
        }
        for hostile in [1, -1, i32::MAX - 1, i32::MIN + 2] {
            assert!(representative(hostile).is_finite());
        }
    }
}
