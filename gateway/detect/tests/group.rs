//! What a machine's detector promises: a channel that leaves its range and channels that no
//! longer go together are told once, with who contributes; ordinary noise, bad values and
//! missing channels are not.

mod noise;

use detect::group::{Cause, Change};
use detect::limits::{GROUP_CHANNELS_MAX, GROUP_STATE_BYTES_MAX};
use detect::{Group, State};
use noise::Noise;

/// A pump: speed moves by itself, current and flow follow it, temperature has noise of its own.
fn pump(noise: &mut Noise, speed: &mut f64) -> [f64; 4] {
    *speed = 0.98 * *speed + 0.2 * noise.normal();
    [50.0 + *speed + 0.1 * noise.normal(), 4.0 + 0.2 * *speed + 0.02 * noise.normal(), 30.0 + 2.0 * *speed + 0.2 * noise.normal(), {
        65.0 + 0.3 * noise.normal()
    }]
}

fn group(channels: usize) -> Group {
    let mut group = Group::default();
    (0..channels).for_each(|at| assert_eq!(group.join(), Some(at as u16)));
    group
}

fn row(group: &mut Group, second: i64, values: &[f64]) -> Vec<Change> {
    let observe = |(at, value): (usize, &f64)| group.observe(at as u16, second * 1_000, *value);
    values.iter().enumerate().filter_map(observe).collect()
}

fn run(rows: i64, fault: impl Fn(i64, &mut [f64; 4])) -> Vec<(i64, Change)> {
    let (mut group, mut noise, mut speed) = (group(4), Noise(7), 0.0);
    let mut out = Vec::new();
    for second in 0..rows {
        let mut values = pump(&mut noise, &mut speed);
        fault(second, &mut values);
        out.extend(row(&mut group, second, &values).into_iter().map(|change| (second, change)));
    }
    out
}

#[test]
fn a_day_without_a_fault_is_quiet() {
    assert_eq!(run(20_000, |_, _| {}), []);
}

#[test]
fn a_channel_that_leaves_its_range_is_named_and_clears() {
    let found = run(3_000, |second, values| values[3] += if (2_000..2_200).contains(&second) { 5.0 } else { 0.0 });
    let states = found.iter().map(|(_, change)| change.state).collect::<Vec<_>>();
    assert_eq!(states, [State::Active, State::Cleared], "{found:?}");
    assert!((2_000..2_015).contains(&found[0].0) && (2_200..2_300).contains(&found[1].0));
    assert_eq!(found[0].1.contributors[0].channel, 3);
    let finding = found[0].1.finding(|at| (["speed", "current", "flow", "temperature"][usize::from(at)], Some("°C").filter(|_| at == 3)));
    assert!(finding.message.contains("temperature 69.9") && finding.message.contains(" °C (usual 65 °C ± 0.0"), "{}", finding.message);
}

#[test]
fn of_equal_events_two_are_told_and_a_larger_one_is() {
    let event = |second: i64| second >= 2_000 && second % 1_000 < 100;
    let found = run(6_000, |second, values| values[3] += if event(second) { if second < 5_000 { 5.0 } else { 20.0 } } else { 0.0 });
    let told = found.iter().filter(|(_, change)| change.state == State::Active).map(|(second, _)| second / 1_000).collect::<Vec<_>>();
    assert_eq!(told, [2, 3, 5], "{found:?}");
}

/// What sensors tell that have no value, from one channel of eight; three hours later another
/// channel is two deviations elsewhere.
#[test]
fn wild_readings_do_not_hide_what_comes_hours_later() {
    for (wild, rows) in [(85.0, 1), (-999.0, 1), (65_535.0, 1), (1e10, 1), (-999.0, 3), (1e10, 3)] {
        let (mut group, mut noise) = (group(8), Noise(61));
        let mut told = Vec::new();
        for second in 0..16_000 {
            let load = noise.normal();
            let values = std::array::from_fn::<_, 8, _>(|at| match at {
                1 if (5_000..5_000 + rows).contains(&second) => wild,
                2 if second >= 15_000 => 22.0 + 0.8 * load + 0.6 * noise.normal(),
                _ => 20.0 + 0.8 * load + 0.6 * noise.normal(),
            });
            told.extend(row(&mut group, second, &values).into_iter().filter(|change| change.state == State::Active).map(|_| second));
        }
        let Some((fault, before)) = told.split_last() else { panic!("{rows} of {wild}: nothing told") };
        assert!((15_000..15_100).contains(fault), "{rows} of {wild}: {told:?}");
        // The event of some rows is one; that of a single row is none.
        let expected = usize::from(rows > 1);
        assert_eq!(before.len(), expected, "{rows} of {wild}: {told:?}");
    }
}

#[test]
fn one_wild_cell_neither_hides_a_fault_nor_stays_an_alarm() {
    let fault = |second: i64, values: &mut [f64; 4]| values[3] += if (2_000..2_200).contains(&second) { 5.0 } else { 0.0 };
    let told = |found: Vec<(i64, Change)>| found.iter().map(|(second, change)| (*second / 100, change.state)).collect::<Vec<_>>();
    let without = told(run(3_000, fault));
    assert_eq!(without.len(), 2);
    for at in [3, 20, 90, 250, 390, 410, 1_500] {
        for wild in [0.0, -999.0, 1e6, 1e308] {
            for channel in 0..4 {
                let found = told(run(3_000, |second, values| {
                    fault(second, values);
                    if second == at {
                        values[channel] = wild;
                    }
                }));
                let (besides, faults) = found.split_at(found.len() - 2);
                assert_eq!(faults, without, "{wild} in {channel} at {at}");
                assert!(besides.len() <= 2 && besides.iter().all(|(hundred, _)| hundred - at / 100 <= 1), "{at}: {besides:?}");
            }
        }
    }
}

#[test]
fn channels_that_no_longer_go_together_are_told_though_each_is_within_its_range() {
    // The flow turns against the speed: no value that was not seen before.
    let found = run(4_000, |second, values| values[2] = if second < 2_000 { values[2] } else { 60.0 - values[2] });
    let (second, change) = found.first().expect("a finding");
    assert!(change.cause != Cause::Channel && (2_000..2_100).contains(second), "{found:?}");
    let named = change.contributors.iter().map(|part| part.channel).collect::<Vec<_>>();
    assert!(named.contains(&2), "{named:?}");
}

#[test]
fn a_channel_that_no_longer_follows_the_others_is_told_though_it_stays_within_its_range() {
    // The current follows a speed of its own: of the same size, and of the same pace.
    let (mut noise, mut speed) = (Noise(23), 0.0);
    let own = (0..4_000).map(|_| pump(&mut noise, &mut speed)[1]).collect::<Vec<_>>();
    let found = run(4_000, |second, values| values[1] = if second < 2_000 { values[1] } else { own[second as usize] });
    let (second, change) = found.first().expect("a finding");
    assert!(change.cause == Cause::Residual && (2_000..2_100).contains(second), "{found:?}");
    assert!(change.contributors.iter().any(|part| part.channel == 1), "{found:?}");
    let finding = change.finding(|at| (["speed", "current", "flow", "temperature"][usize::from(at)], None));
    assert!(
        finding.message.starts_with("no longer go together, ") && finding.message.contains(" goes with the others)"),
        "{}",
        finding.message
    );
}

#[test]
fn what_lasts_is_usual_from_now_on() {
    let found = run(8_000, |second, values| values[3] += if second >= 2_000 { 5.0 } else { 0.0 });
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].1.lasts && found[1].1.finding(|_| ("x", None)).message.starts_with("unusual for 1800 rows"));
}

#[test]
fn a_stored_and_restored_group_goes_on_as_if_it_never_was() {
    let (mut a, mut noise, mut speed) = (group(4), Noise(3), 0.0);
    let mut told = 0;
    for second in 0..1_500 {
        let mut values = pump(&mut noise, &mut speed);
        values[1] += if (1_000..1_100).contains(&second) { 3.0 } else { 0.0 };
        let mut b: Group = schemas::cbor::from_slice(&schemas::cbor::to_vec(&a), 1 << 16).unwrap();
        assert_eq!(b, a);
        let found = row(&mut a, second, &values);
        assert_eq!(row(&mut b, second, &values), found);
        told += found.len();
        assert_eq!(a, b);
    }
    assert_eq!(told, 2);
}

#[test]
fn the_largest_group_stays_within_its_bytes_and_one_more_channel_is_refused() {
    let mut group = group(GROUP_CHANNELS_MAX);
    assert_eq!(group.join(), None);
    assert!(group.state_bytes() <= GROUP_STATE_BYTES_MAX, "{}", group.state_bytes());
}

#[test]
fn channels_of_different_pace_and_channels_that_go_silent_hold_nothing_up() {
    let (mut group, mut noise) = (group(3), Noise(11));
    let mut told = Vec::new();
    for second in 0..3_000 {
        told.extend(group.observe(0, second * 1_000, noise.normal()));
        told.extend(group.observe(1, second * 1_000 + 300, noise.normal()).filter(|_| second < 1_500));
        if second % 20 == 0 && second < 1_500 {
            told.extend(group.observe(2, second * 1_000 + 700, noise.normal()));
        }
    }
    assert_eq!(told, []);
    // A fault of the fast channel is found though the others are gone.
    for second in 3_000..3_050 {
        told.extend(group.observe(0, second * 1_000, 9.0 + noise.normal()));
    }
    assert_eq!(told.len(), 1);
}

/// Four channels of one load while the machine works, noise of their own, and far less of it, by
/// night; the second goes its own way from `fault` on, for two hours, within its range.
fn shifts(days: i64, fault: Option<i64>) -> Vec<(i64, Change)> {
    let (mut group, mut noise) = (group(4), Noise(31));
    let (mut load, mut own) = (0.0, 0.0);
    let mut out = Vec::new();
    for second in 0..days * 86_400 {
        load = 0.98 * load + 0.2 * noise.normal();
        own = 0.98 * own + 0.2 * noise.normal();
        let works = (6..22).contains(&(second / 3_600 % 24));
        let apart = fault.is_some_and(|fault| (fault..fault + 7_200).contains(&second));
        let value = |at: usize, level: f64, noise: f64| {
            let part = if apart && at == 1 { own } else { load };
            if works { level * (1.0 + 0.05 * part) + noise } else { 0.3 * noise }
        };
        let values = [
            value(0, 10.0, 0.05 * noise.normal()),
            value(1, 50.0, 0.25 * noise.normal()),
            value(2, 5.0, 0.03 * noise.normal()),
            value(3, 100.0, 0.5 * noise.normal()),
        ];
        out.extend(row(&mut group, second, &values).into_iter().map(|change| (second, change)));
    }
    out
}

#[test]
fn a_machine_that_rests_at_night_is_quiet_after_its_first_day_and_finds_what_goes_its_own_way_by_day() {
    let fault = 2 * 86_400 + 36_000;
    let found = shifts(3, Some(fault));
    let told = found.iter().filter(|(_, change)| change.state == State::Active).collect::<Vec<_>>();
    assert!((21_600..21_610).contains(&told[0].0), "the first start: {told:?}");
    let [(second, change)] = told.iter().filter(|(second, _)| *second >= 86_400).collect::<Vec<_>>()[..] else { panic!("{told:?}") };
    assert!((fault..fault + 100).contains(second), "{told:?}");
    assert!(change.cause == Cause::Residual && change.contributors[0].channel == 1, "{change:?}");
}

/// Noise that is fifteen times larger while the machine works, for ten days: longer than a change
/// of level is remembered that does not come back.
#[test]
fn a_level_that_is_noisier_than_the_one_before_is_learnt_and_quiet_nights_stay_quiet() {
    let (mut group, mut noise) = (group(3), Noise(37));
    let mut told = Vec::new();
    for second in 0..10 * 86_400 {
        let works = (6..22).contains(&(second / 3_600 % 24));
        let (part, size) = if works { (1.0, 0.3) } else { (0.0, 0.02) };
        let values = [1.0 + 9.0 * part, 2.0 + 5.0 * part, 20.0 + 3.0 * part].map(|level| level + size * noise.normal());
        told.extend(row(&mut group, second, &values).into_iter().filter(|change| change.state == State::Active).map(|_| second));
    }
    assert!(matches!(told[..], [start] if (21_600..21_610).contains(&start)), "{told:?}");
    // Its scales are those of its work, also at night; where it never was is news then.
    let change = (0..20).find_map(|second| row(&mut group, 864_000 + second, &[1.0, -1.0, 20.0]).pop()).expect("never there");
    assert!(change.contributors[0].channel == 1 && change.contributors[0].sigma > 0.03, "{change:?}");
}

/// The first rows are of a machine that runs down, within seconds or within a quarter of an hour.
#[test]
fn white_noise_after_a_spin_down_is_no_news_and_a_fault_in_it_is() {
    for (on, pace, seed) in [(0, 3.0, 41), (5, 3.0, 43), (30, 3.0, 47), (0, 30.0, 53), (0, 300.0, 59)] {
        let (mut group, mut noise) = (group(3), Noise(seed));
        let mut speed = 1.0;
        let mut told = Vec::new();
        for second in 0..43_200 {
            speed *= if second < on { 1.0 } else { 1.0 - 1.0 / pace };
            let fault = if second >= 43_000 { 0.4 } else { 0.0 };
            let values = [
                0.3 + 11.0 * speed + 0.02 * noise.normal(),
                1.0 + 5.5 * speed + 0.03 * noise.normal() + fault,
                0.05 + 1.2 * speed + 0.01 * noise.normal(),
            ];
            told.extend(row(&mut group, second, &values).into_iter().filter(|change| change.state == State::Active).map(|_| second));
        }
        assert!(matches!(told[..], [found] if (43_000..43_020).contains(&found)), "seed {seed}: {told:?}");
    }
}

#[test]
fn bad_values_neither_panic_nor_flood() {
    let wild = [f64::NAN, f64::INFINITY, 1e308, -1e308, 5e-324, 0.0, -0.0, f64::MAX, f64::MIN_POSITIVE];
    let mut noise = Noise(5);
    let mut group = group(4);
    let mut told = 0;
    for second in 0..20_000 {
        let mut values = [0.0, 5.0, noise.normal(), wild[(noise.uniform() * wild.len() as f64) as usize]];
        if second % 100 == 0 {
            values[1] = 6.0;
        }
        // Now and then the clock runs backwards.
        let second = if second % 1_000 < 20 { second - 500 } else { second };
        told += row(&mut group, second, &values).len();
    }
    assert!(told <= 12, "{told}");
    let text = format!("{group:?}");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
}

/// Scales twenty powers of ten apart, values that no double squares, clocks that leap, channels that
/// stop: every state is of numbers, and every alert says who contributes.
#[test]
fn whatever_comes_numbers_stay_finite_and_who_contributes_is_named() {
    let wild = [1e308, -1e308, 5e-324, 0.0, 1e150, -1e150, 1e-290, f64::MAX, f64::MIN];
    for seed in 1..=24 {
        let mut noise = Noise(seed * 7_919);
        let channels = 2 + (noise.uniform() * 31.0) as usize;
        let mut group = group(channels);
        let (mut level, mut size, mut stuck, mut time_ms, mut load) =
            (vec![0.0; channels], vec![1.0; channels], vec![false; channels], 0, 0.0);
        for _ in 0..3_000 {
            time_ms += 1_000;
            load = 0.95 * load + noise.normal();
            let at = (noise.uniform() * channels as f64) as usize;
            match (noise.uniform() * 300.0) as usize {
                0 => level[at] += 50.0 * noise.normal(),
                1 => size[at] = 10f64.powf(20.0 * noise.uniform() - 10.0),
                2 => stuck[at] = !stuck[at],
                3 => time_ms -= 50_000,
                _ => {}
            }
            for at in (0..channels).filter(|at| !stuck[*at]) {
                let value = match noise.uniform() {
                    rare if rare < 0.02 => continue,
                    rare if rare < 0.0202 => wild[(noise.uniform() * wild.len() as f64) as usize],
                    _ => level[at] + size[at] * (load + 0.3 * noise.normal()),
                };
                if let Some(change) = group.observe(at as u16, time_ms, value) {
                    assert!(change.score.is_finite() && !change.contributors.is_empty(), "seed {seed}: {change:?}");
                }
            }
        }
        let text = format!("{group:?}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "seed {seed}: {text}");
    }
}
