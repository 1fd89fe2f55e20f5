//! Quantiles within 1 % (DDSketch: Masson, Rim, Lee, VLDB 2019), on every platform the same.
//!
//! A value's bucket is found from its exponent and a cubic in its mantissa (the cubically
//! interpolated mapping of the reference implementation) with IEEE basic operations alone:
//! no logarithm, so gateway and cloud agree to the bit. Keys are signed and grow with the
//! value: negative values, zero, positive values.

use crate::limits::SKETCH_BUCKETS_MAX;

const A: f64 = 6.0 / 35.0;
const B: f64 = -3.0 / 5.0;
const C: f64 = 10.0 / 7.0;
/// Buckets per doubling: 7 / (10 · log2 γ) with γ = 1.0198 for a relative error below 0.99 %.
const MULTIPLIER: f64 = 50.0 * 0.7 / 0.7072;
/// Keys of positive values start here: 2^-1075 maps above zero.
const OFFSET: i32 = 80_000;

/// Counts by key, in order of the keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sketch {
    buckets: Vec<(i32, u32)>,
}

/// The bucket of a value.
#[inline]
pub fn key(value: f64) -> i32 {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return 0;
    }
    // Denormals are scaled into the normal range first.
    let (scaled, shift) = if magnitude < f64::MIN_POSITIVE { (magnitude * 18_014_398_509_481_984.0, 54) } else { (magnitude, 0) };
    let bits = scaled.to_bits();
    let exponent = ((bits >> 52) as i32) - 1023 - shift;
    let s = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000) - 1.0;
    let log = ((A * s + B) * s + C) * s + f64::from(exponent);
    let index = (log * MULTIPLIER).floor() as i32 + OFFSET;
    if value < 0.0 { -index } else { index }
}

/// The value that stands for a bucket: within 1 % of all in it.
pub fn representative(key: i32) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let index = key.abs() - OFFSET;
    let (low, high) = (lower_bound(index), lower_bound(index + 1));
    // The harmonic middle has the same relative error to both ends.
    let middle = if high.is_finite() { low * (2.0 / (1.0 + low / high)) } else { low };
    let middle = if middle.is_finite() { middle } else { low };
    if key < 0 { -middle } else { middle }
}

/// The smallest value of a bucket, by bisection over the mantissa: exact, and rarely asked.
fn lower_bound(index: i32) -> f64 {
    let log = f64::from(index) / MULTIPLIER;
    let exponent = log.floor();
    let wanted = log - exponent;
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..52 {
        let s = (low + high) / 2.0;
        if ((A * s + B) * s + C) * s < wanted {
            low = s;
        } else {
            high = s;
        }
    }
    (1.0 + high) * power_of_two(exponent as i32)
}

fn power_of_two(exponent: i32) -> f64 {
    match exponent {
        1024.. => f64::INFINITY,
        -1022..1024 => f64::from_bits(((exponent + 1023) as u64) << 52),
        -1074..-1022 => f64::from_bits(1u64 << (exponent + 1074)),
        _ => 0.0,
    }
}

impl Sketch {
    /// Counts one value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.add_key(key(value), 1);
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Sketch) {
        for (key, count) in &other.buckets {
            self.add_key(*key, *count);
        }
    }

    /// Adds a count to a bucket.
    #[inline]
    pub fn add_key(&mut self, key: i32, count: u32) {
        match self.buckets.binary_search_by_key(&key, |b| b.0) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => {
                self.buckets.insert(at, (key, count));
                if self.buckets.len() > SKETCH_BUCKETS_MAX {
                    self.collapse();
                }
            }
        }
    }

    /// At the bound the two buckets nearest zero become one: the smallest values lose accuracy first.
    fn collapse(&mut self) {
        let nearest = (0..self.buckets.len()).min_by_key(|i| self.buckets[*i].0.abs()).unwrap_or(0);
        let neighbour = if nearest + 1 < self.buckets.len() { nearest + 1 } else { nearest - 1 };
        self.buckets[neighbour].1 = self.buckets[neighbour].1.saturating_add(self.buckets[nearest].1);
        self.buckets.remove(nearest);
    }

    /// The buckets, by key.
    pub fn buckets(&self) -> &[(i32, u32)] {
        &self.buckets
    }

    /// The value of rank `rank` (0: the smallest), as its bucket's representative.
    pub fn at_rank(&self, rank: u64) -> f64 {
        let mut seen = 0;
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
            prop_assume!(value.is_finite() && value.abs() > 1e-300);
            let near = representative(key(value));
            prop_assert!((near - value).abs() <= value.abs() * 0.01, "{} for {}", near, value);
        }

        #[test]
        fn keys_grow_with_values(a in -1e12f64..1e12, b in -1e12f64..1e12) {
            prop_assert!(a > b || key(a) <= key(b));
        }
    }

    #[test]
    fn extremes_have_buckets() {
        for value in [0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::MIN] {
            assert!(representative(key(value)).is_finite());
        }
    }
}
