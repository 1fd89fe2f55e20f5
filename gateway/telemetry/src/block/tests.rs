//! Blocks read back to the bit, stay small, and refuse what they did not write.

use super::*;
use crate::aggregate::Aggregate;
use proptest::prelude::*;
use schemas::pack;

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-9_999i64..9_999, 0usize..3).prop_map(|(m, scale)| m as f64 / [1.0, 10.0, 1_000.0][scale]),
        2 => any::<f64>().prop_filter("finite", |v| v.is_finite()),
        1 => (-1i64 << 52..1 << 52).prop_map(|m| m as f64 / 1e3),
        2 => prop::sample::select(vec![
            0.0, -0.0, 1e308, -1e308, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -5e-324, 1e-310, 1e15, 0.1, 1e-9,
        ]),
    ]
}

/// Windows of one kind of value or of all kinds, some of them merged from two.
fn aggregate(start_ms: i64) -> impl Strategy<Value = Aggregate> {
    let decimals = (-9_999i64..9_999).prop_map(|m| m as f64 / 10.0);
    let readings = |v: BoxedStrategy<f64>| prop::collection::vec((0i64..10_000, v), 1..40).boxed();
    let readings = prop_oneof![readings(decimals.boxed()), readings(value().boxed())];
    (readings, any::<prop::sample::Index>(), 0u32..3, any::<bool>()).prop_map(move |(readings, cut, doublings, digested)| {
        let of = |part: &[(i64, f64)]| {
            let new = if digested { Aggregate::digested } else { Aggregate::new };
            let mut a = new(start_ms + part[0].0, part[0].1);
            part[1..].iter().for_each(|(t, v)| a.add(start_ms + t, *v));
            a
        };
        let cut = cut.index(readings.len());
        let mut a = of(&readings[cut..]);
        if cut > 0 {
            a.merge(&of(&readings[..cut]));
        }
        (0..doublings * 8).for_each(|_| a.merge(&a.clone()));
        a
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let name = (0u32..5, 0i64..100, prop_oneof![Just(10_000i64), Just(60_000)], 0u64..1_000, 0u64..1_000);
    name.prop_flat_map(|(series, window, size_ms, born, span)| {
        let start_ms = window * size_ms;
        aggregate(start_ms).prop_map(move |aggregate| Entry { series, size_ms, start_ms, born, version: born + span, aggregate })
    })
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by_key(|e| (e.series, e.size_ms, e.start_ms, e.born));
    entries
}

/// A block of these bytes as they are, without compression.
fn stored(plain: &[u8]) -> Vec<u8> {
    [&[0], plain].concat()
}

/// Everything that is asked of an entry from a stranger, and merging it, works.
fn exercise(entries: &[Entry]) {
    for e in entries {
        let mut a = e.aggregate.clone();
        for other in entries.iter().take(8) {
            a.merge(&other.aggregate);
        }
        a.add(0, 0.1);
        for a in [&a, &e.aggregate] {
            assert!(a.min() <= a.max() && a.count() > 0);
            for number in [a.sum(), a.mean(), a.stddev(), a.quantile(0.5), a.quantile(0.99)] {
                assert!(number.is_finite());
            }
        }
    }
}

proptest! {
    #[test]
    fn a_block_reads_back_to_the_bit(entries in prop::collection::vec(entry(), 0..30)) {
        let bytes = encode(&entries);
        let back = decode(&bytes, entries.len()).unwrap();
        prop_assert_eq!(&back, &sorted(entries));
        prop_assert_eq!(encode(&back), bytes);
    }

    #[test]
    fn extreme_names_read_back(names in prop::collection::vec((any::<u32>(), 1i64.., any::<i64>(), any::<u64>(), any::<u64>(), any::<i64>()), 1..20)) {
        let entries: Vec<Entry> = names
            .into_iter()
            .map(|(series, size_ms, start_ms, a, b, time_ms)| {
                let start_ms = start_ms.min(i64::MAX - size_ms);
                let mut aggregate = Aggregate::new(time_ms, 1.0);
                aggregate.add(time_ms ^ 1, 2.0);
                Entry { series, size_ms, start_ms, born: a.min(b), version: a.max(b), aggregate }
            })
            .collect();
        prop_assert_eq!(decode(&encode(&entries), entries.len()).unwrap(), sorted(entries));
    }

    #[test]
    fn damage_is_an_error_or_harmless(
        entries in prop::collection::vec(entry(), 1..10),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut plain = pack::decompress(&encode(&entries), 1 << 20).unwrap();
        for (at, byte) in hits {
            let at = at.index(plain.len());
            plain[at] = byte;
        }
        if let Ok(entries) = decode(&stored(&plain), 1_000) {
            exercise(&entries);
        }
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_harmless(bytes in prop::collection::vec(0u8..64, 0..300)) {
        if let Ok(entries) = decode(&stored(&bytes), 1_000) {
            exercise(&entries);
        }
    }

    #[test]
    fn a_cut_block_is_an_error(entries in prop::collection::vec(entry(), 1..10), at: prop::sample::Index) {
        let plain = pack::decompress(&encode(&entries), 1 << 20).unwrap();
        prop_assert!(decode(&stored(&plain[..at.index(plain.len())]), 1_000).is_err());
    }
}

#[test]
fn no_entries_are_no_bytes() {
    assert!(encode(&[]).is_empty());
    assert_eq!(decode(&[], 0).unwrap(), vec![]);
    assert!(decode(&stored(&[0]), 10).is_err());
}

#[test]
fn more_entries_than_asked_for_are_refused() {
    let entries: Vec<Entry> = (0..10).map(|i| sensor(Values::Decimals, i, 1, 0)).collect();
    assert!(decode(&encode(&entries), 9).is_err());
    assert!(decode(&stored(&[0xff, 0xff, 0xff, 0xff, 0x0f]), usize::MAX).is_err());
}

/// A sketch beyond its bound is written in full.
#[test]
fn a_collapsed_sketch_reads_back() {
    let mut aggregate = Aggregate::new(0, 0.0);
    for i in 1..3_000i32 {
        aggregate.add(i64::from(i), 1.03f64.powi(i - 1_500) * if i % 3 == 0 { -1.0 } else { 1.0 });
    }
    for i in 0..2_500i32 {
        aggregate.add(i64::from(i), 1.03f64.powi(i + 3_000));
    }
    let entries = vec![Entry { series: 0, size_ms: 10_000, start_ms: 0, born: 1, version: 9, aggregate }];
    assert_eq!(decode(&encode(&entries), 1).unwrap(), entries);
}

/// Counts that outgrow a bucket's 32 bits no longer add up to the entry's.
#[test]
fn a_full_bucket_reads_back() {
    let mut aggregate = Aggregate::new(0, 1.5);
    (0..34).for_each(|_| aggregate.merge(&aggregate.clone()));
    let entries = vec![Entry { series: 0, size_ms: 10_000, start_ms: 0, born: 1, version: 9, aggregate }];
    assert_eq!(decode(&encode(&entries), 1).unwrap(), entries);
}

/// What sensors measure.
#[derive(Debug, Clone, Copy)]
enum Values {
    /// Decimals of one place.
    Decimals,
    /// The reals of a controller, in single precision.
    Singles,
    /// Doubles in full.
    Doubles,
}

/// Readings at 1 Hz with up to 50 ms of jitter, as a sensor among 200 sends them.
/// All that varies is well mixed (SplitMix64), so that nothing compresses but what is really alike.
fn sensor(values: Values, series: u32, readings: i64, window: i64) -> Entry {
    let mut seed = u64::from(series) << 32 | window as u64;
    let mut random = move |below: i64| {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 1) as i64 % below
    };
    let level = 200 + (i64::from(series).wrapping_mul(0x5851_f42d_4c95_7f2d) >> 20).rem_euclid(800);
    let start_ms = 1_700_000_040_000 + window * 60_000;
    let mut reading = |i: i64| {
        let time_ms = start_ms + i * 1_000 + random(50);
        let value = match values {
            Values::Decimals => (level + random(5) + random(5) - 4) as f64 / 10.0,
            Values::Singles => f64::from(level as f32 / 10.0 + random(1 << 24) as f32 / (1 << 24) as f32),
            Values::Doubles => level as f64 / 10.0 + random(1 << 52) as f64 / (1i64 << 52) as f64,
        };
        (time_ms, value)
    };
    let (time_ms, value) = reading(0);
    let mut aggregate = Aggregate::new(time_ms, value);
    (1..readings).map(&mut reading).for_each(|(time_ms, value)| aggregate.add(time_ms, value));
    let born = 5_000_000 + window as u64 * 12_000 + random(200) as u64;
    let version = born + 200 * (readings as u64 - 1) + random(20) as u64;
    Entry { series, size_ms: 60_000, start_ms, born, version, aggregate }
}

#[test]
fn a_minute_of_a_sensor_takes_few_bytes() {
    use Values::{Decimals, Doubles, Singles};
    let cases = [
        (Decimals, 1, 60, 18),
        (Decimals, 5, 60, 18),
        (Decimals, 1, 10, 17),
        (Decimals, 1, 1, 8),
        (Singles, 1, 60, 33),
        (Doubles, 1, 60, 54),
    ];
    for (values, windows, readings, most) in cases {
        let of = |series| (0..windows).map(move |window| sensor(values, series, readings, window));
        let entries: Vec<Entry> = (0..200).flat_map(of).collect();
        let bytes = encode(&entries);
        assert_eq!(decode(&bytes, entries.len()).unwrap(), entries);
        let each = bytes.len() as f64 / entries.len() as f64;
        println!("{values:?}, {windows} windows of {readings} readings: {each:.1} bytes for each");
        assert!(each <= f64::from(most), "{each} bytes for a window of {readings} readings");
    }
}

/// One entry of each kind that a block knows.
fn one_of_each() -> Vec<Entry> {
    let kinds = [Values::Decimals, Values::Singles, Values::Doubles];
    let mut entries: Vec<Entry> =
        (0..).zip(kinds).flat_map(|(series, values)| [sensor(values, series, 60, 0), sensor(values, series, 1, 1)]).collect();
    let named = |series, aggregate| Entry { series, size_ms: 60_000, start_ms: 0, born: 1, version: 9, aggregate };
    let of = |mut aggregate: Aggregate, values: &[f64]| {
        (1..).zip(values).for_each(|(t, value)| aggregate.add(t, *value));
        aggregate
    };
    // Moments too long for a column; a digest; a sketch beyond its bound.
    entries.push(named(3, of(Aggregate::new(0, 4_503_599_627_370.5), &[-4_503_599_627_370.25, 1.125])));
    entries.push(named(4, of(Aggregate::digested(0, 20.5), &[20.25, 21.0])));
    let wide: Vec<f64> =
        (100..1_900u64).flat_map(|exponent| [1, -1].map(|sign| f64::from(sign) * f64::from_bits(exponent << 52))).collect();
    entries.push(named(5, of(Aggregate::new(0, 0.0), &wide)));
    sorted(entries)
}

/// What gateways keep and bridges archived is read by every program that follows. A form that no longer reads this
/// needs a number of its own.
#[test]
fn a_block_of_before_reads_back() {
    let hex = include_str!("golden.hex").trim();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let entries = one_of_each();
    assert_eq!(decode(&bytes, entries.len()).unwrap(), entries);
}
