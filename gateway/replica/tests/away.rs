//! A gateway that was away, or whose clock was not set, among a series' first readings: its own
//! absence is no gap of the sensor.

use replica::fold::{FOLD_VERSION, FoldConfig};
use replica::record::{Plain, Record};
use replica::rehearse::Rehearsal;

/// Twenty-five readings, half a second apart, up to 12.5 s.
fn young() -> Rehearsal {
    let mut gateway = Rehearsal::new(0, config()).unwrap();
    let series = gateway.series("a", None).unwrap();
    (1..=25).for_each(|at| gateway.message(at * 500, [(series, at * 500, 1.0 + (at % 3) as f64)]).unwrap());
    gateway
}

fn config() -> FoldConfig {
    FoldConfig { sizes_ms: vec![1_000], grace_ms: 0, ..FoldConfig::default() }
}

/// How long after its last reading a sensor is called silent that goes on from `now_ms` for half a minute, in ms.
fn silent_after(mut gateway: Rehearsal, now_ms: i64) -> i64 {
    (1..=60).for_each(|at| gateway.message(now_ms + at * 500, [(0, now_ms + at * 500, 1.0 + (at % 3) as f64)]).unwrap());
    let stops_ms = now_ms + 30_000;
    gateway.fold.fresh.clear();
    gateway.pass(stops_ms + 600_000).unwrap();
    let silence = gateway.fold.fresh.iter().find(|(_, alert)| alert.kind == "silence");
    silence.map_or(i64::MAX, |(_, alert)| alert.time_ms - stops_ms)
}

#[test]
fn after_a_restart_silence_is_called_as_soon_as_ever() {
    for away_ms in [30_000, 3_600_000] {
        let mut gateway = young();
        let now_ms = gateway.fold.clock_ms + away_ms;
        gateway.boot(now_ms, 2, config()).unwrap();
        assert_eq!(silent_after(gateway, now_ms), 10_000, "away for {away_ms} ms");
    }
}

#[test]
fn after_a_clock_that_is_set_silence_is_called_as_soon_as_ever() {
    let behind_ms = 50 * 365 * 86_400_000;
    let mut gateway = young();
    let now_ms = gateway.fold.clock_ms + behind_ms;
    gateway.record(now_ms, &Record::ClockSet { behind_ms }).unwrap();
    assert_eq!(silent_after(gateway, now_ms), 10_000);
}

/// The process stood still for as long as a silence takes: what the sensor sent meanwhile comes behind.
#[test]
fn a_gateway_that_stood_still_takes_no_sensor_for_silent_that_goes_on() {
    let mut gateway = young();
    (1..=60).for_each(|at| gateway.message(12_500 + at * 500, [(0, 12_500 + at * 500, 1.0 + (at % 3) as f64)]).unwrap());
    let thawed_ms = gateway.fold.clock_ms + 11_000;
    gateway.record(thawed_ms, &Record::Away { leapt_ms: 0 }).unwrap();
    assert!(gateway.fold.fresh.iter().all(|(_, alert)| alert.kind != "silence"), "its own absence is none");
    assert_eq!(silent_after(gateway, thawed_ms), 10_000);
}

/// Who stands still again and again would never tell.
#[test]
fn a_sensor_is_waited_for_once_more_and_no_longer() {
    let mut gateway = young();
    (1..=60).for_each(|at| gateway.message(12_500 + at * 500, [(0, 12_500 + at * 500, 1.0 + (at % 3) as f64)]).unwrap());
    let last_ms = gateway.fold.clock_ms;
    for at in 1..=6 {
        gateway.record(last_ms + at * 3_000, &Record::Away { leapt_ms: 0 }).unwrap();
    }
    let silence = gateway.fold.fresh.iter().find(|(_, alert)| alert.kind == "silence");
    assert_eq!(silence.map(|(_, alert)| alert.time_ms - last_ms), Some(15_000));
}

/// What waits for the link waited no longer, by a clock that leapt or that nobody had set.
#[test]
fn no_message_expires_by_a_leap_of_the_clock() {
    let (hour_ms, years_ms) = (3_600_000, 50 * 365 * 86_400_000);
    let mut gateway = Rehearsal::new(0, FoldConfig { fold_version: FOLD_VERSION, crossing_bytes: 1 << 20, ..config() }).unwrap();
    let message = Plain { topic: "t", payload: b"p", qos: 1, retain: false };
    gateway.record(1_000, &Record::Crossed { lane: 1, ttl_ms: hour_ms, message, session: 0, packet_id: 0 }).unwrap();
    let leapt_ms = 10 * hour_ms;
    let mut now_ms = 1_000 + leapt_ms as i64;
    gateway.record(now_ms, &Record::Away { leapt_ms }).unwrap();
    now_ms += years_ms;
    gateway.record(now_ms, &Record::ClockSet { behind_ms: years_ms }).unwrap();
    // One that turns out to be ahead does not go back.
    gateway.record(now_ms, &Record::ClockSet { behind_ms: -years_ms }).unwrap();
    assert_eq!(gateway.fold.crossing.waiting(), 1);
    // Its own hour is not longer for it.
    gateway.pass(now_ms + hour_ms as i64 - 1).unwrap();
    assert_eq!(gateway.fold.crossing.waiting(), 1);
    gateway.record(now_ms + hour_ms as i64, &Record::Tick).unwrap();
    assert_eq!((gateway.fold.crossing.waiting(), gateway.fold.crossing.expired), (0, 1));
    // Who stood still for as long has let it become old.
    gateway.record(now_ms + 2 * hour_ms as i64, &Record::Crossed { lane: 1, ttl_ms: hour_ms, message, session: 0, packet_id: 0 }).unwrap();
    gateway.record(now_ms + 4 * hour_ms as i64, &Record::Away { leapt_ms: 0 }).unwrap();
    assert_eq!(gateway.fold.crossing.expired, 2);
}
