//! Doubles ↔ integers that are small where doubles lie near one another.
//!
//! A double's place among the doubles is an integer, and neighbours' places differ by one. What
//! was widened from single precision, as the reals of most controllers are, leaves the lowest 29
//! bits zero: those are told once. Of the moments, all but their last bits follows from the rest.
//!
//! What is expected is computed by basic IEEE operations, on every platform to the same bit.

use schemas::DecodeError;

/// Fewer zero bits than these are not told: of doubles in full a few happen to be zero.
const ZEROS_MIN: u32 = 16;
/// Zero bits of a number that is zero, less one that is left of it.
pub(super) const ZEROS_MAX: u32 = 63;
/// Bits of a double below its exponent, and its exponent's.
const FRACTION: u64 = (1 << 52) - 1;
const EXPONENT: u64 = 0x7ff << 52;

/// A double's place: itself in order, less zero's; that of -0.0, which zero has taken, is the lowest.
pub(super) fn place(value: f64) -> i64 {
    turned(value.to_bits() as i64)
}

/// The double of a place.
pub(super) fn at(place: i64) -> f64 {
    f64::from_bits(turned(place) as u64)
}

/// Sign and magnitude ↔ two's complement. The lowest number has no negative, and stays.
fn turned(bits: i64) -> i64 {
    if bits < 0 && bits != i64::MIN { i64::MIN.wrapping_sub(bits) } else { bits }
}

/// How many low bits are zero in all of these, and not worth telling; at most [`ZEROS_MAX`].
pub(super) fn zeros(places: &[i64]) -> u32 {
    let zeros = places.iter().fold(0, |all, p| all | p).trailing_zeros().min(ZEROS_MAX);
    if zeros < ZEROS_MIN { 0 } else { zeros }
}

/// An odd number (or zero) and the power of two that it is multiplied by; -0.0 is told by that.
fn parts(value: f64) -> (i64, i64) {
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & FRACTION, last_bit(value));
    let number = if bits & EXPONENT == 0 { fraction } else { fraction | (FRACTION + 1) };
    let zeros = number.trailing_zeros();
    match (number, value.is_sign_negative()) {
        (0, negative) => (0, i64::from(negative)),
        (_, false) => ((number >> zeros) as i64, exponent + i64::from(zeros)),
        (_, true) => (-((number >> zeros) as i64), exponent + i64::from(zeros)),
    }
}

/// Exponent of the last bit of a double, from -1,074 to 971.
fn last_bit(value: f64) -> i64 {
    ((value.to_bits() & EXPONENT) >> 52).max(1) as i64 - 1_075
}

/// The double of such parts, if there is one.
fn whole((number, exponent): (i64, i64)) -> Option<f64> {
    let power = match exponent {
        _ if number == 0 => return Some(if exponent == 0 { 0.0 } else { -0.0 }),
        -1_074..-1_022 => f64::from_bits(1 << (exponent + 1_074)),
        -1_022..=1_023 => f64::from_bits(((exponent + 1_023) as u64) << 52),
        _ => return None,
    };
    Some(number as f64 * power)
}

/// Moments of doubles, less what is expected of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Residual {
    /// Zero bits at the low end of the sum.
    pub(super) zeros: u8,
    /// The sum's high part, to that of as many readings halfway between min and max.
    pub(super) high: i64,
    /// The sum's low part: an odd number or zero, and how far its exponent lies below that of the
    /// high part's last bit.
    pub(super) low: (i64, i64),
    /// The mean, to the sum over the count.
    pub(super) mean: i64,
    /// The second moment, to that of readings spread evenly between min and max.
    pub(super) m2: i64,
}

/// Sum and second moment of readings spread evenly.
fn expected(count: u64, min: f64, max: f64) -> (f64, f64) {
    let (n, range) = (count as f64, max - min);
    (n * (min / 2.0 + max / 2.0), range * range * (n / 12.0))
}

impl Residual {
    /// Of the moments (high, low, mean, m2) of `count` values from `min` to `max`.
    pub(super) fn of([high, low, mean, m2]: [f64; 4], count: u64, min: f64, max: f64) -> Self {
        let (sum, second) = expected(count, min, max);
        let zeros = zeros(&[place(high)]);
        let (number, exponent) = parts(low);
        Self {
            zeros: zeros as u8,
            high: (place(high) >> zeros).wrapping_sub(place(sum) >> zeros),
            low: (number, if number == 0 { exponent } else { last_bit(high) - exponent }),
            mean: place(mean).wrapping_sub(place((high + low) / count as f64)),
            m2: place(m2).wrapping_sub(place(second)),
        }
    }

    /// The moments again. Of what [`Residual::of`] does not make they may be any doubles.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for bits or exponents that no double has.
    pub(super) fn moments(self, count: u64, min: f64, max: f64) -> Result<[f64; 4], DecodeError> {
        let (sum, second) = expected(count, min, max);
        let zeros = u32::from(self.zeros);
        if zeros > ZEROS_MAX {
            return Err(DecodeError::Invalid("zero bits"));
        }
        let high = at((place(sum) >> zeros).wrapping_add(self.high) << zeros);
        let (number, below) = self.low;
        let exponent = if number == 0 { Some(below) } else { last_bit(high).checked_sub(below) };
        let low = exponent.and_then(|exponent| whole((number, exponent))).ok_or(DecodeError::Invalid("an exponent"))?;
        let mean = at(place((high + low) / count as f64).wrapping_add(self.mean));
        Ok([high, low, mean, at(place(second).wrapping_add(self.m2))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double() -> impl Strategy<Value = f64> {
        let special = prop::sample::select(vec![0.0, -0.0, 5e-324, -5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1.0, -1.0]);
        prop_oneof![any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |v| v.is_finite()), special]
    }

    proptest! {
        #[test]
        fn places_and_parts_read_back(value in double()) {
            prop_assert_eq!(at(place(value)).to_bits(), value.to_bits());
            prop_assert_eq!(whole(parts(value)).map(f64::to_bits), Some(value.to_bits()));
        }

        #[test]
        fn places_are_in_order(a in double(), b in double()) {
            prop_assert!(a == 0.0 || b == 0.0 || (a < b) == (place(a) < place(b)));
        }

        #[test]
        fn moments_read_back(moments in [double(), double(), double(), double()], count in 1u64..1 << 40, a in double(), b in double()) {
            let back = Residual::of(moments, count, a, b).moments(count, a, b).unwrap();
            prop_assert_eq!(back.map(f64::to_bits), moments.map(f64::to_bits));
        }

        #[test]
        fn strangers_residuals_are_errors_or_doubles(zeros: u8, high: i64, low: (i64, i64), mean: i64, m2: i64, count in 1u64..9, a in double()) {
            let _ = Residual { zeros, high, low, mean, m2 }.moments(count, a, a);
            let _ = Residual { zeros: zeros % 64, high, low: (low.0, low.1 % 2_000), mean, m2 }.moments(count, a, a);
        }
    }

    #[test]
    fn single_precision_leaves_zeros() {
        let widened = [21.3f32, -0.001, 1e20].map(|v| place(f64::from(v)));
        assert!(zeros(&widened) >= 29);
        assert_eq!(zeros(&[place(21.3)]), 0);
        assert_eq!(zeros(&[0]), 63);
    }
}
