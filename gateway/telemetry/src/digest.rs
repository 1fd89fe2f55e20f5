//! Which readings an aggregate has seen, as one number: the sum, modulo 2^64, of a hash of each
//! reading's (event time, value).
//!
//! The order does not matter, and digests of disjoint sets add up as their aggregates do. Two
//! sets of readings that differ have the same digest by chance once in 2^64; it is no protection
//! against somebody who wants it so. The bits of a value count: 0.0 and -0.0 differ.

/// The digest of one reading: event time in ms since the Unix epoch, value.
#[inline]
pub fn of(time_ms: i64, value: f64) -> u64 {
    // Twice SplitMix64's finaliser (Steele, Lea, Flood 2014): each bit of either moves half of all.
    mix(mix((time_ms as u64).wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_add(value.to_bits()))
}

/// The digest of two disjoint sets; none where that of either is not known.
pub fn merged(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.wrapping_add(b?))
}

#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Aggregate;
    use proptest::prelude::*;

    fn aggregate(readings: &[(i64, f64)]) -> Option<Aggregate> {
        let (first, rest) = readings.split_first()?;
        let mut a = Aggregate::digested(first.0, first.1);
        rest.iter().for_each(|(t, v)| a.add(*t, *v));
        Some(a)
    }

    proptest! {
        #[test]
        fn the_digest_is_of_the_set_whatever_its_order_and_parts(
            mut readings in prop::collection::vec((0i64..1_000, -1_000i32..1_000), 2..40),
            cut in 1usize..39,
            swaps in prop::collection::vec((0usize..40, 0usize..40), 0..40),
        ) {
            let plain = |r: &[(i64, i32)]| aggregate(&r.iter().map(|(t, v)| (*t, f64::from(*v) / 8.0)).collect::<Vec<_>>()).unwrap();
            let whole = plain(&readings).digest();
            for (a, b) in swaps {
                let n = readings.len();
                readings.swap(a % n, b % n);
            }
            prop_assert_eq!(plain(&readings).digest(), whole);
            let cut = cut % (readings.len() - 1) + 1;
            let mut left = plain(&readings[..cut]);
            left.merge(&plain(&readings[cut..]));
            prop_assert_eq!(left.digest(), whole);
            // One reading more, less or other shows.
            prop_assert_ne!(plain(&readings[1..]).digest(), whole);
            readings[0].0 += 1;
            prop_assert_ne!(plain(&readings).digest(), whole);
            readings[0] = (readings[0].0 - 1, readings[0].1 + 1);
            prop_assert_ne!(plain(&readings).digest(), whole);
        }
    }

    #[test]
    fn who_keeps_none_has_none_and_makes_none() {
        let mut a = Aggregate::new(1, 2.0);
        a.add(2, 3.0);
        assert_eq!(a.digest(), None);
        let mut b = Aggregate::digested(1, 2.0);
        b.merge(&a);
        assert_eq!(b.digest(), None);
        assert_ne!(of(0, 0.0), of(0, -0.0));
        assert_ne!(of(1, f64::from_bits(2)), of(2, f64::from_bits(1)));
    }
}
