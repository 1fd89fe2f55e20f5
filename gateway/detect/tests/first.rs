//! What a person sees who tries the product for the first time: some minutes of an ordinary
//! series, and then an obvious fault. It is told once, soon, and by its own name; and a series
//! that turns out to change its level by habit costs one alert.

mod noise;

use detect::{Finding, Kind, Settings, State, Watch};
use noise::Noise;

const SIGMA: f64 = 0.3;
const SEEDS: u64 = 10;
const WARM_UPS: [usize; 4] = [60, 300, 600, 3_600];

/// How a sensor reports.
#[derive(Debug, Clone, Copy)]
struct Sensor {
    gap_ms: i64,
    quantum: f64,
    /// Readings carry no time of their own and arrive unevenly.
    untimed: bool,
}

const SECONDS: Sensor = Sensor { gap_ms: 1_000, quantum: 0.01, untimed: false };

/// What was told before the fault and after it began, with the readings since.
struct Told {
    before: usize,
    after: Vec<(usize, Finding)>,
}

impl Told {
    fn kinds(&self) -> Vec<(Kind, State)> {
        self.after.iter().map(|(_, finding)| (finding.kind, finding.state)).collect()
    }
}

/// `warm_up` ordinary readings, then `count` as the fault makes them.
fn watch(sensor: Sensor, seed: u64, warm_up: usize, count: usize, fault: impl Fn(usize, f64) -> f64) -> Told {
    let mut watch: Watch = Settings::default().watch("line1/press3/temperature", Some("°C"));
    let mut noise = Noise(seed.wrapping_mul(7_919) + 3);
    let (mut now_ms, mut out) = (1_700_000_000_000, Vec::new());
    let mut told = Told { before: 0, after: Vec::new() };
    for at in 0..warm_up + count {
        let late = if sensor.untimed { (noise.uniform() * 0.2 * sensor.gap_ms as f64) as i64 } else { 0 };
        now_ms += sensor.gap_ms;
        let ordinary = 21.5 + SIGMA * noise.normal();
        let value = if at < warm_up { ordinary } else { fault(at - warm_up, ordinary) };
        if let Some(due) = watch.due().filter(|due| *due <= now_ms) {
            watch.tick(due, &mut out);
        }
        watch.observe(now_ms + late, now_ms + late, (value / sensor.quantum).round() * sensor.quantum, &mut out);
        for finding in out.drain(..) {
            match at.checked_sub(warm_up) {
                None => told.before += 1,
                Some(since) => told.after.push((since, finding)),
            }
        }
    }
    told
}

/// Of all seeds, how many told a lasting jump as one shift within 30 readings, and nothing before.
fn shifts(sensor: Sensor, warm_up: usize, deviations: f64) -> u64 {
    let right = |seed: &u64| {
        let told = watch(sensor, *seed, warm_up, 600, |_, value| value + deviations * SIGMA);
        assert_eq!(told.before, 0, "{sensor:?} {warm_up} seed {seed}");
        let soon = told.after.first().is_some_and(|(since, _)| *since < 30);
        soon && told.kinds() == [(Kind::Shift, State::Active)]
    };
    (0..SEEDS).filter(right).count() as u64
}

#[test]
fn a_jump_that_stays_is_told_once_as_a_shift_whatever_its_size_and_the_warm_up() {
    for warm_up in WARM_UPS {
        for deviations in [10.0, 15.0, 20.0, 50.0, 130.0, -10.0, -20.0, -130.0] {
            assert_eq!(shifts(SECONDS, warm_up, deviations), SEEDS, "{warm_up} readings, {deviations} deviations");
        }
        // Sixty readings know a deviation to a tenth only, and a value now and then looks like a return.
        for (deviations, least) in [(8.0, SEEDS - 1), (6.0, if warm_up == 60 { SEEDS / 2 } else { SEEDS - 2 })] {
            let right = shifts(SECONDS, warm_up, deviations);
            assert!(right >= least, "{warm_up} readings, {deviations} deviations: {right} of {SEEDS}");
        }
    }
}

#[test]
fn neither_cadence_nor_quantisation_nor_arrival_times_hide_it() {
    let sensors = [
        Sensor { gap_ms: 100, ..SECONDS },
        Sensor { gap_ms: 10_000, ..SECONDS },
        Sensor { gap_ms: 60_000, ..SECONDS },
        Sensor { quantum: 0.1, ..SECONDS },
        Sensor { quantum: 0.5, ..SECONDS },
        Sensor { untimed: true, ..SECONDS },
        Sensor { untimed: true, gap_ms: 60_000, quantum: 0.1 },
    ];
    for sensor in sensors {
        for warm_up in WARM_UPS {
            for deviations in [15.0, 130.0, -20.0] {
                assert_eq!(shifts(sensor, warm_up, deviations), SEEDS, "{sensor:?}, {warm_up} readings, {deviations} deviations");
            }
        }
    }
}

#[test]
fn the_message_says_what_was_and_what_is() {
    let told = watch(SECONDS, 1, 600, 2_400, |_, value| value + 38.5);
    let [(at, began), (known, ended)] = told.after.as_slice() else { panic!("{:?}", told.kinds()) };
    assert!(*at < 5 && (1_700..1_900).contains(known), "{at} {known}");
    assert!(began.message.starts_with("was 21.5 °C for 10 min, now "), "{}", began.message);
    assert!(
        began.message.contains(" °C, away since 22:23:21 UTC: ") && began.message.ends_with(" times the usual deviation"),
        "{}",
        began.message
    );
    assert!(ended.message.ends_with(" is the new level"), "{}", ended.message);
}

#[test]
fn a_jump_that_returns_within_a_few_readings_is_a_spike() {
    for warm_up in WARM_UPS {
        for (deviations, readings) in [(12.0, 1), (100.0, 1), (100.0, 3)] {
            let told = |seed| {
                let told = watch(SECONDS, seed, warm_up, 300, |at, value| value + if at < readings { deviations * SIGMA } else { 0.0 });
                told.kinds() == [(Kind::Spike, State::Active), (Kind::Spike, State::Cleared)]
            };
            let right = (0..SEEDS).filter(|seed| told(*seed)).count() as u64;
            assert!(right >= SEEDS - 1, "{warm_up} readings, {deviations} deviations for {readings}: {right} of {SEEDS}");
        }
    }
}

#[test]
fn a_level_told_once_is_known_and_a_third_far_away_is_told_again() {
    for warm_up in WARM_UPS {
        for seed in 0..SEEDS {
            let told = watch(SECONDS, seed, warm_up, 6_000, |at, value| value + if at / 300 % 2 == 0 { 38.5 } else { 0.0 });
            assert_eq!(told.kinds(), [(Kind::Shift, State::Active), (Kind::Shift, State::Cleared)], "a switching machine, seed {seed}");
            let told = watch(SECONDS, seed, warm_up, 1_200, |at, value| if at < 600 { value + 6.0 } else { value + 200.0 });
            let active = told.after.iter().filter(|(_, finding)| finding.state == State::Active).collect::<Vec<_>>();
            assert_eq!(active.len(), 2, "seed {seed}: {:?}", told.kinds());
            assert!((600..640).contains(&active[1].0) && active[1].1.kind == Kind::Shift, "{:?}", active[1]);
        }
    }
}

#[test]
fn a_drift_that_is_fast_against_the_warm_up_is_told_once() {
    for warm_up in [300, 600, 3_600] {
        for seed in 0..SEEDS {
            let told = watch(SECONDS, seed, warm_up, 1_200, |at, value| value + 100.0 * SIGMA * at as f64 / 1_200.0);
            let active = told.after.iter().filter(|(_, finding)| finding.state == State::Active).count();
            assert!(active == 1 && told.after[0].0 < 120, "{warm_up} readings, seed {seed}: {:?}", told.kinds());
            assert_eq!(told.before, 0);
        }
    }
}

#[test]
fn a_sensor_that_stops_is_told_within_some_seconds() {
    for warm_up in WARM_UPS {
        let mut watch: Watch = Settings::default().watch("s", None);
        let (mut noise, mut out, mut now_ms) = (Noise(5), Vec::new(), 0);
        for _ in 0..warm_up {
            now_ms += 1_000;
            watch.observe(now_ms, now_ms, 21.5 + SIGMA * noise.normal(), &mut out);
        }
        assert!(out.is_empty(), "{out:?}");
        let due = watch.due().expect("it is waited for");
        assert!((10_000..12_000).contains(&(due - now_ms)), "{}", due - now_ms);
        watch.tick(due, &mut out);
        assert!(out.len() == 1 && out[0].kind == Kind::Silence && out[0].state == State::Active, "{out:?}");
    }
}
