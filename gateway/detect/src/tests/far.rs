//! Departures from all that a series which follows set points is known for.

use super::*;

const EVERY_MS: i64 = 10_000;
const DAY: i64 = 8_640;

/// An oven that goes to one of four set points every few hours, in ten minutes, with a reading each ten
/// seconds; `fault` is added by the number of the reading. What is told, with the reading's number.
fn oven(seed: u64, days: i64, fault: impl Fn(i64) -> f64) -> Vec<(i64, Finding)> {
    let (mut watch, mut noise, mut out) = (Settings::default().watch("oven/zone", Some("°C")), Noise(seed), Vec::new());
    let (mut to, mut value, mut left) = (180.0, 180.0, 0);
    for at in 0..days * DAY {
        if left == 0 && fault(at) == 0.0 {
            to = 160.0 + 20.0 * (4.0 * noise.uniform()).floor();
            left = 720 + (1_440.0 * noise.uniform()) as i64;
        }
        left = (left - 1).max(0);
        value += 0.04 * (to - value);
        let now_ms = 1_700_000_000_000 + at * EVERY_MS;
        let mut found = Vec::new();
        if watch.due().is_some_and(|due| due <= now_ms) {
            watch.tick(now_ms, &mut found);
        }
        watch.observe(now_ms, now_ms, tenths(value + 0.15 * noise.normal() + fault(at)), &mut found);
        out.extend(found.into_iter().map(|finding| (at, finding)));
    }
    out
}

fn begun(told: &[(i64, Finding)], from: i64) -> Vec<(i64, Kind)> {
    told.iter().filter(|(at, finding)| *at >= from && finding.state == ACTIVE).map(|(at, finding)| (*at, finding.kind)).collect()
}

#[test]
fn what_goes_far_beyond_all_set_points_is_told_once_however_it_goes_there() {
    let fault = 4 * DAY + 3_000;
    for seed in 1..7 {
        assert_eq!(begun(&oven(seed, 6, |_| 0.0), 2 * DAY), [], "without a fault, seed {seed}");
        let value = begun(&oven(seed, 5, |at| if at == fault { 118.0 } else { 0.0 }), 2 * DAY);
        assert_eq!(value, [(fault, Kind::Spike)], "one value, seed {seed}");
        let creeps = oven(seed, 5, |at| if (fault..fault + 360).contains(&at) { 0.65 * (at - fault) as f64 } else { 0.0 });
        let begun = begun(&creeps, 2 * DAY);
        assert!(
            matches!(begun[..], [(at, Kind::Shift | Kind::Drift | Kind::Rate)] if at < fault + 330),
            "creeping, seed {seed}: {begun:?}"
        );
        let stands: i32 = creeps.iter().map(|(_, finding)| if finding.state == ACTIVE { 1 } else { -1 }).sum();
        assert_eq!(stands, 0, "and is over, seed {seed}");
    }
}

#[test]
fn what_goes_there_every_day_is_told_twice() {
    let told = oven(1, 12, |at| if at > 4 * DAY && (3_000..3_180).contains(&(at % DAY)) { 0.65 * (at % DAY - 3_000) as f64 } else { 0.0 });
    let begun: Vec<i64> = begun(&told, 2 * DAY).iter().map(|(at, _)| at / DAY).collect();
    assert_eq!(begun, [4, 5]);
}
