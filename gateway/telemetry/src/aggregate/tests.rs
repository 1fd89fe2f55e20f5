//! The laws of merge, and what the numbers come to.

use super::*;
use proptest::prelude::*;

fn of(values: &[f64]) -> Aggregate {
    timed(&values.iter().enumerate().map(|(i, v)| (i as i64, *v)).collect::<Vec<_>>())
}

fn timed(readings: &[(i64, f64)]) -> Aggregate {
    let mut a = Aggregate::new(readings[0].0, readings[0].1);
    readings[1..].iter().for_each(|(t, v)| a.add(*t, *v));
    a
}

fn plus(a: &Aggregate, b: &Aggregate) -> Aggregate {
    let mut sum = a.clone();
    sum.merge(b);
    sum
}

/// Decimals of mixed scales, some with too many digits for others' scales.
fn decimal() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-100_000i64..100_000, 0u32..4).prop_map(|(m, scale)| m as f64 / 10f64.powi(scale as i32)),
        1 => (-MANTISSA_MAX..MANTISSA_MAX, 0u32..10).prop_map(|(m, scale)| m as f64 / 10f64.powi(scale as i32)),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        decimal(),
        any::<f64>().prop_filter("finite", |v| v.is_finite()),
        prop::sample::select(vec![0.0, -0.0, 5e-324, -1e-310, 1e308, -1e308, f64::MAX, f64::MIN, 1e-9]),
    ]
}

proptest! {
    /// Each reading at a time of its own, so that first and last are a function of the set too.
    #[test]
    fn decimals_merge_to_the_same_bits_in_any_order_and_grouping(
        values in prop::collection::vec(decimal(), 3..60),
        order in any::<u64>(),
        cuts in (1usize..58, 1usize..58),
    ) {
        let readings: Vec<(i64, f64)> = values.iter().enumerate().map(|(i, v)| (i as i64, *v)).collect();
        let whole = timed(&readings);
        let (i, j) = (cuts.0 % (readings.len() - 2) + 1, cuts.1 % (readings.len() - 2) + 1);
        let (i, j) = (i.min(j), i.max(j) + 1);
        let (a, b, c) = (timed(&readings[..i]), timed(&readings[i..j]), timed(&readings[j..]));
        let left = plus(&plus(&a, &b), &c);
        if matches!(whole.moments, Moments::Exact { .. }) {
            let mut shuffled = readings.clone();
            shuffled.sort_by_key(|(t, _)| (*t as u64 ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            prop_assert_eq!(&whole, &timed(&shuffled), "any order of adding");
            prop_assert_eq!(&whole, &left, "as added one by one");
            prop_assert_eq!(&left, &plus(&a, &plus(&b, &c)), "associative");
            prop_assert_eq!(&left, &plus(&c, &plus(&b, &a)), "commutative");
        } else {
            prop_assert!(matches!(left.moments, Moments::Float { .. }), "being exact is a function of the set");
        }
    }

    #[test]
    fn decimals_have_the_exact_sum_and_deviation(ms in prop::collection::vec(-100_000i64..100_000, 1..80)) {
        let a = of(&ms.iter().map(|m| *m as f64 / 100.0).collect::<Vec<_>>());
        prop_assert_eq!(a.sum(), ms.iter().sum::<i64>() as f64 / 100.0);
        let (n, s1) = (ms.len() as i64, ms.iter().sum::<i64>());
        let truth = ((n * ms.iter().map(|m| m * m).sum::<i64>() - s1 * s1) as f64).sqrt() / n as f64 / 100.0;
        prop_assert!((a.stddev() - truth).abs() <= truth * 1e-14);
    }

    #[test]
    fn doubles_are_summed_to_double_precision(values in prop::collection::vec(-1.0f64..1.0, 2..80), level in -1e6f64..1e6) {
        let values: Vec<f64> = values.iter().map(|v| v + level).collect();
        let a = of(&values);
        let halves = plus(&of(&values[..1]), &of(&values[1..]));
        let n = values.len() as f64;
        let mean = level + values.iter().map(|v| v - level).sum::<f64>() / n;
        let truth = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
        for a in [a, halves] {
            prop_assert!((a.mean() - mean).abs() <= mean.abs() * 1e-15 + 1e-10);
            prop_assert!((a.stddev() - truth).abs() <= 1e-9);
        }
    }

    #[test]
    fn quantiles_are_within_a_percent(mut values in prop::collection::vec(finite(), 1..200), q in 0.0f64..=1.0) {
        let a = of(&values);
        values.sort_by(f64::total_cmp);
        for q in [0.0, 0.5, 0.95, 0.99, 1.0, q] {
            let truth = values[(q * (values.len() - 1) as f64).floor() as usize];
            let near = a.quantile(q);
            // Denormals are too coarse for a percent.
            let bound = truth.abs() * 0.01 + 5e-324;
            prop_assert!((near - truth).abs() <= bound || near == truth, "{near} for {truth}");
            prop_assert!(near >= a.min() && near <= a.max());
        }
    }

    #[test]
    fn any_finite_values_give_finite_numbers(values in prop::collection::vec(finite(), 2..60), cut in 1usize..59) {
        let cut = cut.min(values.len() - 1);
        let merged = plus(&of(&values[..cut]), &of(&values[cut..]));
        for a in [of(&values), merged] {
            prop_assert!(a.sum().is_finite() && a.mean().is_finite() && a.stddev().is_finite() && a.stddev() >= 0.0);
            prop_assert!(a.min() <= a.mean() && a.mean() <= a.max());
            prop_assert_eq!(a.count(), values.len() as u64);
            prop_assert_eq!(a.min().to_bits(), values.iter().copied().min_by(f64::total_cmp).unwrap().to_bits());
            prop_assert_eq!(a.max().to_bits(), values.iter().copied().max_by(f64::total_cmp).unwrap().to_bits());
        }
    }
}

#[test]
fn of_equal_times_the_first_seen_is_first_and_the_last_seen_last() {
    let a = timed(&[(5, 1.0), (5, 2.0), (3, 4.0), (3, 5.0), (5, 3.0)]);
    assert_eq!((a.first(), a.last()), ((3, 4.0), (5, 3.0)));
    let b = plus(&a, &timed(&[(3, 7.0), (5, 8.0)]));
    assert_eq!((b.first(), b.last()), ((3, 4.0), (5, 8.0)));
}

#[test]
fn decimals_stay_exact_where_doubles_would_drift() {
    let a = of(&[0.1; 1_000]);
    assert_eq!((a.sum(), a.stddev(), a.mean()), (100.0, 0.0, 0.1));
}

#[test]
fn millions_of_long_readings_have_their_deviation() {
    let value = |i: i64| (1_000_000_000_000i64 + i % 2) as f64 / 1_000.0;
    let mut a = of(&(0..1_000).map(value).collect::<Vec<_>>());
    // Merged with itself, the product n·Σm² outgrows 128 bits.
    for _ in 0..12 {
        a.merge(&a.clone());
    }
    assert!(matches!(a.moments, Moments::Exact { .. }));
    assert_eq!(a.count(), 4_096_000);
    assert!((a.stddev() - 0.000_5).abs() < 1e-12, "{}", a.stddev());
}

#[test]
fn zeros_of_both_signs_are_told_apart_in_any_order() {
    for values in [[0.0, -0.0], [-0.0, 0.0]] {
        let a = of(&values);
        assert_eq!((a.min().to_bits(), a.max().to_bits()), ((-0.0f64).to_bits(), 0));
        assert_eq!(a.quantile(0.5), 0.0);
    }
}
