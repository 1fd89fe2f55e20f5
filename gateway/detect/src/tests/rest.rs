//! What must neither blind detectors nor make them cry: machines at rest, beginnings of one value or
//! with an outlier, a gateway that was away, people who work on a sensor, changes that last.

use super::*;

#[test]
fn a_gateway_that_was_away_among_the_first_readings_is_no_gap_of_the_sensor() {
    let decades_ms = 50 * 365 * 86_400_000;
    for away_ms in [30_000, 3_600_000, decades_ms] {
        let mut story = Story::new(18);
        story.normal(25);
        story.now_ms += away_ms;
        story.watch.resume(story.now_ms);
        story.normal(60);
        assert_eq!(kinds(&story.wait(9_000)), []);
        assert_eq!(kinds(&story.wait(2_000)), [(Kind::Silence, ACTIVE)], "away for {away_ms} ms");
    }
}

#[test]
fn a_gateway_that_comes_back_waits_for_its_sensors() {
    let mut story = Story::new(19);
    story.normal(100);
    story.tell([40.0]);
    story.now_ms += 3_600_000;
    story.watch.resume(story.now_ms);
    assert_eq!(kinds(&story.wait(9_000)), []);
    assert_eq!(kinds(&story.wait(2_000)), [(Kind::Silence, ACTIVE)]);
}

/// Readings of one value, as a machine tells them that is off.
fn off(seconds: usize) -> std::iter::RepeatN<f64> {
    std::iter::repeat_n(0.0, seconds)
}

/// Single readings far away, each between ordinary ones: which are told as spikes.
fn spikes(story: &mut Story, deviations: &[f64]) -> Vec<bool> {
    let told = |by: &f64| {
        let mut found = story.normal(600);
        found.extend(story.tell([tenths(20.0 + 0.3 * by)]));
        found.extend(story.normal(60));
        kinds(&found) == [(Kind::Spike, ACTIVE), (Kind::Spike, CLEARED)]
    };
    deviations.iter().map(told).collect()
}

#[test]
fn a_rest_at_one_value_does_not_blind() {
    for seconds in [7, 20, 40, 90, 600, 7_200] {
        let mut story = Story::new(20);
        story.normal(3_000);
        let mut found = story.tell(off(seconds));
        found.extend(story.normal(3_000));
        assert_eq!(kinds(&found), [(Kind::Shift, ACTIVE), (Kind::Shift, CLEARED)], "the first stop, {seconds} s: {found:?}");
        assert_eq!(spikes(&mut story, &[100.0, -200.0, 333.0]), [true; 3], "after {seconds} s");
        for _ in 0..20 {
            let mut found = story.tell(off(seconds));
            found.extend(story.normal(1_500));
            assert_eq!(kinds(&found), [], "stops and starts of {seconds} s: {found:?}");
        }
        assert_eq!(kinds(&spikes_once(&mut story)), [(Kind::Spike, ACTIVE), (Kind::Spike, CLEARED)], "later, after {seconds} s");
    }
}

fn spikes_once(story: &mut Story) -> Vec<Finding> {
    let mut found = story.tell([-250.0]);
    found.extend(story.normal(60));
    found
}

#[test]
fn a_beginning_at_one_value_neither_blinds_nor_alarms() {
    for seconds in [7, 20, 40, 90, 600, 1_700, 2_500, 20_000] {
        for value in [0.0, 20.0] {
            let mut story = Story::new(21);
            let mut found = story.tell(std::iter::repeat_n(value, seconds));
            found.extend(story.normal(3_000));
            assert_eq!(kinds(&found), [], "{seconds} s at {value}: {found:?}");
            assert_eq!(spikes(&mut story, &[100.0, -200.0, 333.0]), [true; 3], "after {seconds} s at {value}");
        }
    }
}

#[test]
fn a_machine_that_goes_back_to_where_it_rested_is_no_news_and_a_fault_is() {
    for (seed, rest) in [(31, 2_000), (32, 21_600)] {
        let mut story = Story::new(seed);
        let mut found = story.tell(off(rest));
        for cycle in 0..40 {
            found.extend(story.normal(200 + cycle * 37 % 400));
            found.extend(story.tell(off(20 + cycle * 53 % 160)));
        }
        assert_eq!(kinds(&found), [], "seed {seed}: {found:?}");
        story.normal(1_000);
        let spike: Vec<Finding> = story.tell([60.0]).into_iter().chain(story.normal(60)).collect();
        assert_eq!(kinds(&spike), [(Kind::Spike, ACTIVE), (Kind::Spike, CLEARED)], "seed {seed}: {spike:?}");
    }
}

#[test]
fn a_rest_teaches_no_scale() {
    // Runs of a few readings are how this machine is; after a rest they are no news.
    let mut story = Story::new(33);
    let mut found = Vec::new();
    for _ in 0..4 {
        for cycle in 0..120 {
            found.extend(story.tell((0..3 + cycle * 7 % 8).map(|at| 15.0 + f64::from(at % 3) / 10.0)));
            found.extend(story.tell(off(1 + cycle as usize * 5 % 3)));
        }
        found.extend(story.tell(off(600)));
    }
    found.retain(|finding| matches!(finding.kind, Kind::Spike | Kind::Shift | Kind::Drift | Kind::Rate));
    assert_eq!(kinds(&found), [], "{found:?}");
}

#[test]
fn a_door_that_opens_for_the_first_time_is_no_news() {
    let mut story = Story::new(34);
    let mut found = Vec::new();
    for at in 0..60 {
        found.extend(story.tell(std::iter::repeat_n(f64::from(at % 2), 30 + at as usize * 97 % 1_500)));
    }
    assert_eq!(kinds(&found), [], "{found:?}");
}

#[test]
fn cycles_of_an_oven_are_told_once() {
    for seed in 1..5 {
        let (mut story, mut found) = (Story::new(seed), Vec::new());
        let phase = 300 * seed as usize;
        for at in 0..540 * 20 {
            let part = ((at + phase) % 540) as f64 / 540.0;
            let level = match part {
                part if part < 0.2 => 25.0 + 155.0 * part / 0.2,
                part if part < 0.75 => 180.0,
                part => 180.0 - 155.0 * (part - 0.75) / 0.25,
            };
            let value = tenths(level + 0.8 * story.noise.normal());
            found.extend(story.tell([value]).into_iter().filter(|finding| finding.state == ACTIVE));
        }
        assert!(found.len() <= 1, "seed {seed}: {found:?}");
    }
}

#[test]
fn one_early_outlier_does_not_blind() {
    for at in [0, 1, 5, 14, 16, 40, 59] {
        for wild in [-9999.0, 1e6, 1e308, -1e308] {
            let mut story = Story::new(23);
            story.normal(at);
            story.tell([wild]);
            assert_eq!(kinds(&story.normal(3_000)), []);
            assert_eq!(spikes(&mut story, &[-100.0, -200.0, 333.0]), [true; 3], "after {wild} at {at}");
            story.normal(2_000);
            let shift: Vec<f64> = (0..100).map(|_| tenths(22.5 + 0.3 * story.noise.normal())).collect();
            assert_eq!(kinds(&story.tell(shift)), [(Kind::Shift, ACTIVE)], "after {wild} at {at}");
        }
    }
}

#[test]
fn a_machine_that_often_rests_is_seen_to_be_stuck_elsewhere_and_to_drift() {
    let mut story = Story::new(24);
    for _ in 0..30 {
        story.normal(2_400);
        story.tell(off(1_200));
    }
    let mut stuck = Story { watch: story.watch.clone(), now_ms: story.now_ms, noise: Noise(24) };
    stuck.normal(1_200);
    assert_eq!(kinds(&stuck.tell([20.1; 200])), [(Kind::Flatline, ACTIVE)]);
    story.normal(1_200);
    let drift: Vec<f64> = (0..1_800).map(|at| tenths(20.0 + f64::from(at) / 60.0 + 0.3 * story.noise.normal())).collect();
    let found = story.tell(drift);
    assert!(!found.is_empty() && found.iter().all(|f| matches!(f.kind, Kind::Drift | Kind::Shift)), "{found:?}");
}

#[test]
fn a_lasting_change_becomes_usual_to_a_dynamic_limit_within_a_day_and_mutes_for_an_hour() {
    let rule = LimitRule { series: Pattern::new("**"), above_usual: Some(5.0), ..LimitRule::default() };
    let mut watch = Settings { limits: vec![rule], ..Settings::default() }.watch("s", None);
    let (mut noise, mut told) = (Noise(25), Vec::new());
    let mut minute = |at: i64, value: f64| {
        let mut out = Vec::new();
        let (now_ms, value) = (1_700_000_000_000 + at * 60_000, tenths(value + 0.3 * noise.normal()));
        watch.observe(now_ms, now_ms, value, &mut out);
        for finding in out.iter().filter(|finding| finding.kind == Kind::High && finding.state == ACTIVE) {
            let usual = finding.baseline.expect("what was usual");
            assert!(
                (finding.limit.unwrap() - usual - 5.0).abs() < 1e-9 && (usual - if at < 9 * 1_440 { 20.0 } else { 30.0 }).abs() < 1.0,
                "{finding:?}"
            );
            assert!(finding.message.contains(", which is 5 above what is usual, "), "{}", finding.message);
        }
        told.extend(out.into_iter().map(|finding| (at, finding.kind, finding.state)));
    };
    let day = 1_440;
    (0..5 * day).for_each(|at| minute(at, 20.0));
    for at in 5 * day..9 * day {
        // Twelve hours later something else happens.
        minute(at, if at == 5 * day + 720 { 90.0 } else { 30.0 });
    }
    // Beyond what is usual by now.
    (9 * day..9 * day + 60).for_each(|at| minute(at, 40.0));
    let high = told.iter().filter(|(_, kind, _)| *kind == Kind::High).map(|(at, _, state)| (at / day, *state)).collect::<Vec<_>>();
    assert_eq!(high, [(5, ACTIVE), (6, CLEARED), (9, ACTIVE)], "{told:?}");
    assert!(told.contains(&(5 * day + 721, Kind::Spike, ACTIVE)) || told.contains(&(5 * day + 720, Kind::Spike, ACTIVE)), "{told:?}");
}

#[test]
fn a_sensor_whose_clock_goes_back_in_maintenance_is_watched() {
    let settings = Settings { limits: vec![LimitRule { off_delay_ms: 0, ..rule() }], ..Settings::default() };
    let mut watch = settings.watch("s", None);
    let mut out = Vec::new();
    let start_ms = 1_700_000_000_000;
    (0..100).for_each(|at| watch.observe(start_ms + at * 1_000, start_ms + at * 1_000, 20.0, &mut out));
    let back_ms = 3_600_000;
    let mut rest = |at: i64, value: f64| {
        watch.rest(start_ms + at * 1_000, start_ms + at * 1_000 - back_ms, value, &mut out);
        std::mem::take(&mut out)
    };
    assert_eq!(kinds(&rest(100, 97.0)), [(Kind::HighHigh, ACTIVE)], "late, and not answered");
    let cleared: Vec<Finding> = (101..130).flat_map(|at| rest(at, 20.0)).collect();
    assert_eq!(kinds(&cleared), [(Kind::HighHigh, CLEARED)], "its time counts from there");
    assert_eq!(kinds(&rest(131, 97.0)), [(Kind::HighHigh, ACTIVE)]);
}

#[test]
fn a_machine_that_starts_every_morning_is_soon_no_news() {
    let mut story = Story::new(15);
    let mut told = Vec::new();
    for day in 0..5 {
        let started = |hour: i64| (6..14).contains(&hour);
        for _ in 0..24 * 60 {
            story.now_ms += 60_000;
            let level = if started(story.now_ms / 3_600_000 % 24) { 60.0 } else { 20.0 };
            let value = tenths(level + 0.3 * story.noise.normal());
            story.watch.observe(story.now_ms, story.now_ms, value, &mut told);
        }
        assert_eq!(kinds(&told), [(Kind::Shift, ACTIVE), (Kind::Shift, CLEARED)], "the first start only; day {day}: {told:?}");
    }
}

#[test]
fn a_door_makes_no_noise() {
    for seed in 1..9 {
        let (mut watch, mut noise, mut out) = (Settings::default().watch("hall/door", None), Noise(seed), Vec::new());
        let mut open = 0.0;
        for at in 0..21 * 1_440 {
            let by_day = at / 1_440 % 7 < 5 && (390..1_050).contains(&(at % 1_440));
            open = if !by_day {
                0.0
            } else if noise.uniform() < 0.02 {
                1.0 - open
            } else {
                open
            };
            watch.observe(at * 60_000, at * 60_000, open, &mut out);
        }
        out.retain(|finding| finding.kind == Kind::Noise);
        assert!(out.is_empty(), "seed {seed}: {out:?}");
    }
}

#[test]
fn one_wild_reading_does_not_hide_spikes_far_smaller() {
    for wild in [-999.0, 65_535.0, 1e12] {
        let mut story = Story::new(97);
        story.normal(20_000);
        assert_eq!(kinds(&story.tell([wild])), [], "held");
        assert_eq!(kinds(&story.normal(20_000)), [(Kind::Spike, ACTIVE), (Kind::Spike, CLEARED)]);
        for deviations in [12.0, 50.0, 500.0] {
            assert_eq!(kinds(&story.tell([20.0 + 0.3 * deviations])), [], "held");
            let found = story.normal(3_600);
            assert_eq!(kinds(&found), [(Kind::Spike, ACTIVE), (Kind::Spike, CLEARED)], "{deviations} after {wild}: {found:?}");
        }
    }
}

#[test]
fn a_climb_is_over_when_the_level_moves() {
    let mut story = Story::new(4);
    story.normal(7_200);
    let climb: Vec<f64> = (0..30).map(|at| tenths(20.0 + 0.9 * f64::from(at) + 0.1 * story.noise.normal())).collect();
    assert!(kinds(&story.tell(climb)).contains(&(Kind::Rate, ACTIVE)));
    let found = story.tell([5.0; 60]);
    let over = found.iter().find(|finding| finding.kind == Kind::Rate).expect("an end");
    assert_eq!((over.state, over.message.as_str()), (CLEARED, "5 °C is the new level"), "{found:?}");
}

/// A device without a battery for its clock: its first seconds are of 1970.
#[test]
fn a_clock_that_is_set_makes_no_series_older() {
    let run = |unset: i64, timed: bool| {
        let (set_ms, mut noise) = (1_790_000_000_000, Noise(7));
        let (mut watch, mut out) = (Settings::default().watch("s", Some("bar")), Vec::new());
        for at in 0..20_000 {
            let right_ms = set_ms + at * 1_000;
            let clock_ms = if at < unset { at * 1_000 } else { right_ms };
            if at == unset && unset > 0 {
                watch.set_clock(clock_ms, set_ms);
            }
            let level = [20.0, 30.0, 60.0, 45.0][(at / 5_000) as usize];
            let time_ms = if timed { right_ms } else { clock_ms };
            watch.observe(clock_ms, time_ms, tenths(level + 0.1 * noise.normal()), &mut out);
        }
        out.into_iter().map(|finding| (finding.kind, finding.state, finding.message)).collect::<Vec<_>>()
    };
    let set = run(0, false);
    assert!(set[0].2.contains("for 83.3 min"), "{set:?}");
    assert_eq!(run(30, false), set);
    assert_eq!(run(30, true), set, "a sensor that knew the time");
}
