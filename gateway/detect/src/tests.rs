//! Stories of a series, told to all its detectors together.

mod far;
/// The noise that the integration tests use, too.
#[path = "../tests/noise/mod.rs"]
mod noise;
mod rest;

use crate::limits::STATE_BYTES_MAX;
use crate::{Finding, Kind, LimitRule, Pattern, Settings, State, Watch};
use noise::Noise;
use proptest::prelude::*;
use std::f64::consts::TAU;

const ACTIVE: State = State::Active;
const CLEARED: State = State::Cleared;

/// A value for each second.
type Series = Box<dyn FnMut(f64) -> f64>;

/// A series under watch, with one reading each second.
struct Story {
    watch: Watch,
    now_ms: i64,
    noise: Noise,
}

impl Story {
    fn new(seed: u64) -> Self {
        Self::of(Settings::default(), seed)
    }

    fn of(settings: Settings, seed: u64) -> Self {
        Self { watch: settings.watch("s", Some("°C")), now_ms: 1_700_000_000_000, noise: Noise(seed) }
    }

    fn tell(&mut self, values: impl IntoIterator<Item = f64>) -> Vec<Finding> {
        let mut out = Vec::new();
        for value in values {
            self.now_ms += 1_000;
            if self.watch.due().is_some_and(|due| due <= self.now_ms) {
                self.watch.tick(self.now_ms, &mut out);
            }
            self.watch.observe(self.now_ms, self.now_ms, value, &mut out);
        }
        out
    }

    /// `count` readings around 20 with σ 0.3, of a sensor with one decimal.
    fn normal(&mut self, count: usize) -> Vec<Finding> {
        let values: Vec<f64> = (0..count).map(|_| tenths(20.0 + 0.3 * self.noise.normal())).collect();
        self.tell(values)
    }

    fn wait(&mut self, ms: i64) -> Vec<Finding> {
        let mut out = Vec::new();
        let end_ms = self.now_ms + ms;
        while let Some(due) = self.watch.due().filter(|due| *due <= end_ms) {
            self.watch.tick(due, &mut out);
        }
        self.now_ms = end_ms;
        out
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn kinds(findings: &[Finding]) -> Vec<(Kind, State)> {
    findings.iter().map(|f| (f.kind, f.state)).collect()
}

#[test]
fn normal_days_of_many_kinds_are_silent() {
    for seed in 0..8 {
        let day = 86_400;
        assert_eq!(kinds(&Story::new(seed).normal(day)), [], "quantised noise, seed {seed}");
        let mut noise = Noise(seed);
        let mut steady: Vec<(&str, Series)> = vec![
            ("constant", Box::new(|_| 4.2)),
            ("zero", Box::new(|_| 0.0)),
            ("switch", Box::new(|i| f64::from(i as i32 / 137 % 2))),
            ("counter", Box::new(|i| 1e6 + i)),
            ("slow sine", Box::new(|i| 50.0 + 40.0 * (TAU * i / 3_600.0).sin())),
            ("quantised slow sine", Box::new(|i| tenths(5.0 + 4.0 * (TAU * i / 40_000.0).sin()))),
            ("fast sine", Box::new(|i| 50.0 + 40.0 * (TAU * i / 23.0).sin())),
            ("stairs", Box::new(|i| (i / 500.0).floor() * 0.5)),
            ("drifting", Box::new(|i| i * 1e-3 + (i * 0.37).sin())),
        ];
        let mut level = 0.0;
        steady.push((
            "walk",
            Box::new(move |_| {
                level += noise.normal();
                level
            }),
        ));
        for (name, series) in &mut steady {
            let found = Story::new(seed).tell((0..day).map(|i| series(f64::from(i as i32))));
            assert_eq!(kinds(&found), [], "{name}, seed {seed}");
        }
    }
}

#[test]
fn a_spike_is_told_when_it_ends_or_nothing_follows() {
    for before in [70, 86_400] {
        let mut story = Story::new(1);
        assert_eq!(story.normal(before), []);
        assert_eq!(story.tell([20.0, 40.0, 39.0]), [], "it may stay");
        let mut silent = Story { watch: story.watch.clone(), now_ms: story.now_ms, noise: Noise(1) };
        let found = story.tell([20.1]);
        assert_eq!(kinds(&found), [(Kind::Spike, ACTIVE), (Kind::Spike, CLEARED)]);
        assert_eq!((found[0].value, found[0].time_ms), (40.0, story.now_ms - 2_000));
        assert!(found[0].message.starts_with("40 °C is ") && (found[0].baseline.unwrap() - 20.0).abs() < 0.3, "{}", found[0].message);
        assert!(found[1].message.starts_with("20.1 °C is near the usual "));
        assert_eq!(story.normal(1_000), []);
        let found = silent.wait(60_000);
        assert_eq!(kinds(&found), [(Kind::Silence, ACTIVE), (Kind::Spike, ACTIVE)]);
        assert_eq!(kinds(&silent.tell([20.1])), [(Kind::Silence, CLEARED), (Kind::Spike, CLEARED)]);
    }
}

#[test]
fn a_spike_of_a_series_known_to_change_its_level_is_told_at_once() {
    let mut story = Story::new(1);
    story.normal(86_400);
    let at = |story: &mut Story, level: f64| (0..2_000).map(|_| tenths(level + 0.3 * story.noise.normal())).collect::<Vec<_>>();
    let other = at(&mut story, 24.0);
    assert_eq!(kinds(&story.tell(other)), [(Kind::Shift, ACTIVE), (Kind::Shift, CLEARED)]);
    assert_eq!(kinds(&story.tell([60.0])), [(Kind::Spike, ACTIVE)]);
    assert_eq!(kinds(&story.tell([24.0])), [(Kind::Spike, CLEARED)]);
}

#[test]
fn a_lasting_step_is_told_once_as_a_shift_and_is_then_the_new_level() {
    for before in [86_400, 600] {
        let mut story = Story::new(2);
        story.normal(before);
        let began_ms = story.now_ms + 1_000;
        let values: Vec<f64> = (0..2_000).map(|_| tenths(60.0 + 0.3 * story.noise.normal())).collect();
        let found = story.tell(values);
        assert_eq!(kinds(&found), [(Kind::Shift, ACTIVE), (Kind::Shift, CLEARED)]);
        assert_eq!(found[0].time_ms, began_ms);
        assert!(found[0].message.starts_with("was 20 °C for ") && found[0].message.contains(" °C, away since "), "{}", found[0].message);
        assert!(found[1].message.ends_with(" is the new level"), "{}", found[1].message);
        assert_eq!(kinds(&story.tell([20.0, 60.0])), [], "a level seen before is no news");
        let mut back: Vec<f64> = (0..600).map(|_| tenths(20.0 + 0.3 * story.noise.normal())).collect();
        back.extend((0..600).map(|_| tenths(60.0 + 0.3 * story.noise.normal())));
        assert_eq!(kinds(&story.tell(back)), [], "a machine with two states");
    }
}

#[test]
fn a_shift_that_is_over_ends_with_the_level_before() {
    for stays in [8, 30, 300] {
        let mut story = Story::new(2);
        story.normal(600);
        let values: Vec<f64> = (0..stays).map(|_| tenths(60.0 + 0.3 * story.noise.normal())).collect();
        assert_eq!(kinds(&story.tell(values)), [(Kind::Shift, ACTIVE)]);
        let found = story.normal(600);
        assert_eq!(kinds(&found), [(Kind::Shift, CLEARED)], "after {stays}");
        assert!(found[0].message.contains(" is near the usual "), "{}", found[0].message);
    }
}

#[test]
fn what_a_series_does_regularly_is_soon_told_no_more() {
    let mut story = Story::new(3);
    story.normal(86_400);
    let mut told = 0;
    for round in 0..100 {
        let level = if round % 2 == 0 { 60.0 } else { 20.0 };
        let values: Vec<f64> = (0..500).map(|_| level + 0.3 * story.noise.normal()).collect();
        told += story.tell(values).iter().filter(|f| f.state == ACTIVE).count();
    }
    assert!((1..=5).contains(&told), "{told}");
}

#[test]
fn a_climb_is_told_as_a_rate() {
    let mut story = Story::new(4);
    story.normal(86_400);
    let climb: Vec<f64> = (0..27).map(|i| tenths(20.0 + 0.05 * f64::from(i * i) + 0.1 * story.noise.normal())).collect();
    let found = story.tell(climb);
    let rate = found.iter().find(|f| f.kind == Kind::Rate).expect("a rate");
    assert!(rate.message.starts_with("rises by ") && rate.message.contains(" °C/s; "), "{}", rate.message);
    let top: Vec<f64> = (0..300).map(|_| tenths(54.0 + 0.3 * story.noise.normal())).collect();
    assert!(kinds(&story.tell(top)).contains(&(Kind::Rate, CLEARED)));
    let mut young = Story::new(4);
    young.normal(300);
    let climb: Vec<f64> = (0..60).map(|i| tenths(20.0 + 0.9 * f64::from(i))).collect();
    assert_eq!(kinds(&young.tell(climb))[0], (Kind::Rate, ACTIVE));
}

#[test]
fn a_burst_of_readings_is_no_rate() {
    let mut story = Story::new(5);
    story.normal(300);
    let mut out = Vec::new();
    for _ in 0..500 {
        story.now_ms += 1;
        let value = tenths(20.0 + 0.3 * story.noise.normal());
        story.watch.observe(story.now_ms, story.now_ms, value, &mut out);
    }
    assert_eq!(kinds(&out), []);
    let after = story.normal(500);
    assert!(after.iter().all(|finding| finding.kind != Kind::Rate), "{after:?}");
}

#[test]
fn a_stuck_sensor_is_told_once_it_had_moved() {
    let mut story = Story::new(6);
    story.normal(150);
    let found = story.tell(std::iter::repeat_n(20.1, 400));
    assert_eq!(kinds(&found), [(Kind::Flatline, ACTIVE)]);
    assert!(found[0].message.starts_with("stuck at 20.1 °C for "), "{}", found[0].message);
    assert_eq!(kinds(&story.normal(200)), [(Kind::Flatline, CLEARED)]);
    let again = story.tell(std::iter::repeat_n(20.1, 400));
    assert_eq!(kinds(&again), [], "a rest where it rested before, and not longer");
}

#[test]
fn silence_is_told_when_due_and_ends_with_a_reading() {
    let mut story = Story::new(7);
    story.normal(100);
    assert_eq!(story.wait(9_000), []);
    let found = story.wait(60_000);
    assert_eq!(kinds(&found), [(Kind::Silence, ACTIVE)]);
    assert_eq!(found[0].message, "no reading for 10 s; one every 1 s is usual");
    assert_eq!(story.watch.due(), None);
    assert_eq!(kinds(&story.tell([20.0])), [(Kind::Silence, CLEARED)]);
    assert_eq!(kinds(&story.normal(100)), []);
}

#[test]
fn a_gateway_that_was_away_blames_no_sensor() {
    let mut story = Story::new(8);
    story.normal(100);
    story.now_ms += 3_600_000;
    let mut found = Vec::new();
    story.watch.tick(story.now_ms, &mut found);
    assert_eq!(found, []);
    assert_eq!(kinds(&story.clone_and_wait(60_000)), [(Kind::Silence, ACTIVE)], "still silent now");
    assert_eq!(kinds(&story.normal(100)), [], "back in time");
    assert!(story.watch.due().unwrap() <= story.now_ms + 11_000, "the gap taught nothing");
}

impl Story {
    fn clone_and_wait(&self, ms: i64) -> Vec<Finding> {
        let mut other = Self { watch: self.watch.clone(), now_ms: self.now_ms, noise: Noise(0) };
        other.wait(ms)
    }
}

#[test]
fn batches_with_long_pauses_are_no_silence() {
    let mut watch = Settings::default().watch("s", None);
    let mut out = Vec::new();
    for minute in 0..200_i64 {
        for i in 0..600 {
            let clock_ms = minute * 60_000 + i / 6;
            if watch.due().is_some_and(|due| due <= clock_ms) {
                watch.tick(watch.due().unwrap(), &mut out);
            }
            let value = f64::from((i * 7 % 11) as i32);
            watch.observe(clock_ms, minute * 60_000 + i * 100, value, &mut out);
        }
    }
    let silences = out.iter().filter(|f| f.kind == Kind::Silence && f.state == ACTIVE).count();
    assert_eq!(silences, 0);
}

fn rule() -> LimitRule {
    LimitRule {
        series: Pattern::new("**"),
        high_high: Some(95.0),
        high: Some(85.0),
        low: Some(10.0),
        deadband: 1.0,
        off_delay_ms: 2_000,
        ..LimitRule::default()
    }
}

#[test]
fn the_contracts_example() {
    let settings = Settings { limits: vec![rule()], ..Settings::default() };
    let mut story = Story::of(settings, 9);
    let found = story.tell([97.2]);
    assert_eq!(kinds(&found), [(Kind::HighHigh, ACTIVE)]);
    assert_eq!((found[0].value, found[0].limit), (97.2, Some(95.0)));
    assert_eq!(found[0].message, "97.2 °C is above 95 °C");
    // Within the deadband, then back too shortly, then for the off-delay.
    assert_eq!(story.tell([94.5, 93.0, 94.5]), []);
    let found = story.tell([93.0, 93.0, 93.0]);
    assert_eq!(kinds(&found), [(Kind::HighHigh, CLEARED), (Kind::High, ACTIVE)]);
    let found = story.tell([60.0, 60.0, 60.0]);
    assert_eq!(kinds(&found), [(Kind::High, CLEARED)]);
    assert_eq!(found[0].message, "60 °C is back below 85 °C");
    let found = story.tell([90.0, 96.0, 5.0, 5.0, 5.0]);
    let expected = [(Kind::High, ACTIVE), (Kind::HighHigh, ACTIVE), (Kind::Low, ACTIVE), (Kind::HighHigh, CLEARED), (Kind::High, CLEARED)];
    assert_eq!(kinds(&found), expected);
}

#[test]
fn a_dynamic_limit_follows_what_is_usual() {
    let rule = LimitRule { high_high: None, high: Some(30.0), low: None, off_delay_ms: 0, above_usual: Some(4.0), ..rule() };
    let mut story = Story::of(Settings { limits: vec![rule], ..Settings::default() }, 13);
    assert_eq!(story.normal(600), []);
    let found = story.tell([30.5, 20.0]);
    assert_eq!(found[0].limit, Some(30.0), "only the fixed one before the usual is known");
    story.normal(2_000);
    let found = story.tell([25.0, 20.0]);
    assert_eq!(kinds(&found)[0], (Kind::High, ACTIVE));
    assert!((found[0].limit.unwrap() - 24.0).abs() < 0.2, "{found:?}");
    assert_eq!(kinds(&found).last(), Some(&(Kind::High, CLEARED)));
}

#[test]
fn what_happens_in_maintenance_is_not_learnt() {
    let mut story = Story::of(Settings { limits: vec![rule()], ..Settings::default() }, 14);
    story.normal(500);
    let before = story.watch.clone();
    let mut out = Vec::new();
    for at in 0..600 {
        story.now_ms += 1_000;
        story.watch.rest(story.now_ms, story.now_ms, if at % 2 == 0 { 0.0 } else { 60.0 }, &mut out);
    }
    assert!(out.iter().all(|finding| finding.kind.is_limit()) && !out.is_empty(), "{out:?}");
    assert_eq!(before.due().is_some(), story.watch.due().is_some());
    assert_eq!(kinds(&story.normal(500)).into_iter().filter(|(kind, _)| !kind.is_limit()).collect::<Vec<_>>(), []);
}

#[test]
fn missed_readings_and_a_clock_that_leaps_are_told() {
    let mut story = Story::new(16);
    story.normal(700);
    let mut found = Vec::new();
    for _ in 0..100 {
        story.now_ms += 2_000;
        story.watch.observe(story.now_ms, story.now_ms, 20.0 + tenths(0.3 * story.noise.normal()), &mut found);
    }
    assert_eq!(kinds(&found), [(Kind::Cadence, ACTIVE)]);
    let mut story = Story::new(17);
    story.normal(700);
    let (mut found, early) = (Vec::new(), story.now_ms - 7_200_000);
    for at in 0..100 {
        let value = 20.0 + tenths(0.3 * story.noise.normal());
        story.watch.observe(story.now_ms + at * 1_000, early + at * 1_000, value, &mut found);
    }
    assert_eq!(kinds(&found), [(Kind::Clock, ACTIVE), (Kind::Clock, CLEARED)]);
    assert!(found[0].message.starts_with("its time went back by 119"), "{}", found[0].message);
}

#[test]
fn delays_end_by_the_clock_when_no_reading_comes() {
    let settings = Settings { limits: vec![LimitRule { on_delay_ms: 5_000, ..rule() }], ..Settings::default() };
    let mut story = Story::of(settings, 10);
    assert_eq!(story.tell([20.0, 90.0]), []);
    assert_eq!(story.watch.due(), Some(story.now_ms + 5_000));
    let raised_ms = story.now_ms + 5_000;
    let found = story.wait(60_000);
    assert_eq!(kinds(&found), [(Kind::High, ACTIVE)]);
    assert_eq!(found[0].time_ms, raised_ms);
    assert_eq!(found[0].message, "90 °C is above 85 °C for 5 s");
    assert_eq!(story.tell([20.0]), []);
    assert_eq!(kinds(&story.wait(10_000)), [(Kind::High, CLEARED)]);
    assert_eq!(story.tell([90.0, 90.0, 80.0, 90.0, 90.0, 90.0, 90.0]), [], "short of the delay");
}

#[test]
fn a_late_reading_raises_only_what_nothing_later_answered() {
    let settings = Settings { limits: vec![LimitRule { off_delay_ms: 0, ..rule() }], ..Settings::default() };
    let mut watch = settings.watch("s", None);
    let mut out = Vec::new();
    watch.observe(10_000, 10_000, 20.0, &mut out);
    watch.observe(10_001, 9_000, 96.0, &mut out);
    assert_eq!(kinds(&out), [(Kind::HighHigh, ACTIVE)]);
    assert_eq!((out[0].time_ms, out[0].value), (9_000, 96.0));
    watch.observe(11_000, 11_000, 20.0, &mut out);
    assert_eq!(out.len(), 2);
    for late in 0..10 {
        watch.observe(11_000 + late, 9_500 + late, 96.0, &mut out);
    }
    assert_eq!(out.len(), 2, "answered by the reading at 11 s");
}

#[test]
fn what_a_late_reading_raised_ends_by_the_newest_one_though_none_follows() {
    let settings = Settings { limits: vec![rule()], ..Settings::default() };
    let mut watch = settings.watch("s", None);
    let mut out = Vec::new();
    watch.observe(10_000, 10_000, 20.0, &mut out);
    watch.observe(20_000, 9_000, 96.0, &mut out);
    assert_eq!(kinds(&out), [(Kind::HighHigh, ACTIVE)]);
    assert_eq!(watch.due(), Some(22_000), "the off-delay");
    watch.tick(21_999, &mut out);
    assert_eq!(out.len(), 1);
    watch.tick(22_000, &mut out);
    assert_eq!(kinds(&out[1..]), [(Kind::HighHigh, CLEARED)]);
    assert_eq!((out[1].value, out[1].time_ms), (20.0, 12_000));
    watch.observe(23_000, 9_500, 96.0, &mut out);
    assert_eq!(out.len(), 2, "answered");
    // Not far enough back inside, nothing ends by itself.
    let settings = Settings { limits: vec![LimitRule { high: None, ..rule() }], ..Settings::default() };
    let mut watch = settings.watch("s", None);
    watch.observe(10_000, 10_000, 94.5, &mut out);
    watch.observe(20_000, 9_000, 96.0, &mut out);
    watch.tick(99_000, &mut out);
    assert_eq!(kinds(&out[2..]), [(Kind::HighHigh, ACTIVE)]);
}

#[test]
fn a_limit_that_is_gone_is_not_raised_afterwards() {
    // The warning is not told while the critical limit of its side speaks.
    let both = Settings { limits: vec![LimitRule { off_delay_ms: 0, ..rule() }], ..Settings::default() };
    let one = Settings { limits: vec![LimitRule { high: None, ..both.limits[0].clone() }], ..Settings::default() };
    let mut story = Story::of(both, 12);
    assert_eq!(kinds(&story.tell([20.0, 97.0])), [(Kind::HighHigh, ACTIVE)]);
    story.watch.reconfigure(&one, "s", None);
    assert_eq!(kinds(&story.tell([97.0, 20.0, 21.0, 20.0])), [(Kind::HighHigh, CLEARED)]);
}

#[test]
fn a_sensor_whose_clock_was_set_back_is_watched_again() {
    let mut story = Story::of(Settings { limits: vec![rule()], ..Settings::default() }, 11);
    story.normal(100);
    story.now_ms -= 3_600_000;
    assert_eq!(kinds(&story.normal(100)), [(Kind::Clock, ACTIVE), (Kind::Clock, CLEARED)]);
    let found = story.tell([97.0]);
    assert_eq!(kinds(&found), [(Kind::HighHigh, ACTIVE)]);
}

#[test]
fn changed_limits_keep_or_clear_what_is_active() {
    let settings = Settings { limits: vec![rule()], ..Settings::default() };
    let mut story = Story::of(settings.clone(), 12);
    assert_eq!(kinds(&story.tell([97.2])), [(Kind::HighHigh, ACTIVE)]);
    story.watch.reconfigure(&settings, "s", Some("°C"));
    assert_eq!(story.tell([97.2]), [], "the same limits change nothing");
    story.watch.reconfigure(&Settings::default(), "s", Some("°C"));
    assert!(story.watch.due().is_some_and(|due| due <= story.now_ms));
    let mut found = Vec::new();
    story.watch.tick(story.now_ms, &mut found);
    assert_eq!(kinds(&found), [(Kind::HighHigh, CLEARED)]);
    assert_eq!(found[0].message, "the limit was removed; the last value was 97.2 °C");
    assert_eq!(story.watch.due(), None);
}

#[test]
fn the_state_is_small() {
    let boxed = std::mem::size_of::<crate::limit::Limits>() + crate::limits::UNIT_BYTES_MAX;
    let season = std::mem::size_of::<crate::season::Season>() + crate::season::HEAP_BYTES;
    let bytes = std::mem::size_of::<Watch>() + boxed + season;
    assert!(bytes <= STATE_BYTES_MAX, "{bytes}");
}

#[test]
fn a_unit_is_cut_at_a_character() {
    let mut watch = Settings { limits: vec![rule()], ..Settings::default() }.watch("s", Some(&"°".repeat(40)));
    let mut out = Vec::new();
    watch.observe(0, 0, 99.0, &mut out);
    assert_eq!(out[0].message.matches('°').count(), 64);
}

/// Values that break arithmetic, and ordinary ones.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-50_i32..50).prop_map(|v| f64::from(v) / 10.0),
        2 => prop::sample::select(vec![0.0, -0.0, 1e308, -1e308, f64::MAX, f64::MIN, 5e-324, 1e-310, f64::EPSILON, 96.0, 4.0]),
        1 => any::<f64>(),
    ]
}

fn times() -> impl Strategy<Value = (i64, i64)> {
    prop_oneof![
        8 => (0_i64..2_000, 0_i64..2_000),
        1 => (-100_000_i64..100_000, -100_000_i64..100_000),
        1 => (any::<i64>(), any::<i64>()),
    ]
}

fn limits() -> impl Strategy<Value = Settings> {
    let limit = || prop::option::of(value());
    let rule = (limit(), limit(), limit(), limit(), value(), -1_i64..5_000, -1_i64..5_000).prop_map(
        |(high_high, high, low, low_low, deadband, on_delay_ms, off_delay_ms)| LimitRule {
            series: Pattern::new("**"),
            high_high,
            high,
            low,
            low_low,
            deadband,
            on_delay_ms,
            off_delay_ms,
            ..LimitRule::default()
        },
    );
    prop::collection::vec(rule, 0..2).prop_map(|limits| Settings { limits, ..Settings::default() })
}

/// For each kind, active and cleared alternate.
fn alternate(findings: &[Finding]) -> bool {
    let mut active = std::collections::BTreeSet::new();
    findings.iter().all(|f| match f.state {
        State::Active => active.insert(f.kind),
        State::Cleared => active.remove(&f.kind),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, in whatever order of time: no panic, every number of a finding and of
    /// the state is finite, kinds alternate, and a watch that was stored and restored before
    /// any step says and becomes the same as one that was not.
    #[test]
    fn anything_goes_in_and_storage_changes_nothing(
        settings in limits(),
        other in limits(),
        head in prop::collection::vec(-20_i32..20, 0..150),
        steps in prop::collection::vec((times(), value(), 0_u8..30), 1..150),
    ) {
        let mut whole = settings.watch("s", Some("m/s"));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let (mut clock_ms, mut time_ms) = (0_i64, 0_i64);
        for v in head {
            (clock_ms, time_ms) = (clock_ms + 1_000, time_ms + 1_000);
            whole.observe(clock_ms, time_ms, f64::from(v) / 10.0, &mut a);
        }
        b.clone_from(&a);
        let mut stored = whole.clone();
        for ((clock_step, time_step), value, what) in steps {
            let bytes = schemas::cbor::to_vec(&stored);
            stored = schemas::cbor::from_slice(&bytes, 1 << 16).unwrap();
            prop_assert_eq!(&schemas::cbor::to_vec(&stored), &bytes);
            clock_ms = clock_ms.wrapping_add(clock_step);
            time_ms = time_ms.wrapping_add(time_step);
            for (watch, out) in [(&mut whole, &mut a), (&mut stored, &mut b)] {
                match what {
                    0 => watch.reconfigure(&other, "s", None),
                    1 => watch.tick(clock_ms, out),
                    2 => if let Some(due) = watch.due() { watch.tick(due, out) },
                    _ => watch.observe(clock_ms, time_ms, value, out),
                }
            }
            prop_assert_eq!(schemas::cbor::to_vec(&whole), schemas::cbor::to_vec(&stored));
        }
        prop_assert_eq!(&a, &b);
        prop_assert!(alternate(&a), "{:?}", kinds(&a));
        for finding in &a {
            let numbers = [Some(finding.value), finding.score, finding.baseline];
            prop_assert!(numbers.into_iter().flatten().all(f64::is_finite), "{finding:?}");
        }
    }
}

/// However wild, a series without limits cannot make its detectors flood.
#[test]
fn no_series_floods() {
    for (seed, shape) in (0..34_u64).flat_map(|n| (0..6).map(move |shape| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), shape))) {
        let mut story = Story::new(seed);
        let mut noise = Noise(seed);
        let value = |i: usize| {
            let uniform = noise.uniform() - 0.5;
            match shape {
                0 => (std::f64::consts::PI * uniform).tan(),
                1 => uniform.signum() * (1e-9 + 0.5 - uniform.abs()).ln().abs(),
                2 => uniform / (1e-9 + noise.uniform()).powi(3),
                3 if noise.uniform() < 0.01 => 1e308 * uniform.signum(),
                3 => uniform,
                4 if (i / 97).is_multiple_of(2) => uniform * 1e-3,
                4 => uniform * 1e3,
                _ => (uniform * 1400.0).exp2(),
            }
        };
        let values: Vec<f64> = (0..20_000).map(value).filter(|v| v.is_finite()).collect();
        let active = story.tell(values).iter().filter(|f| f.state == ACTIVE).count();
        assert!(active <= 24, "{active} in 20,000 readings of shape {shape}, seed {seed}");
    }
}
