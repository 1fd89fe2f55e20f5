//! What detection costs: one reading through all default detectors of a series, and one row of
//! a machine of eight channels. `cargo bench -p tidegate-detect`.

use detect::{Group, Settings};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 5;
const READINGS: u32 = 1_000_000;
const ROWS: u32 = 200_000;
const CHANNELS: u16 = 8;

/// Deterministic noise, uniform between -1 and 1.
fn noise(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// The best of some rounds, in ns for each of `count`: what else runs makes it only slower.
fn best(count: u32, mut round: impl FnMut()) -> f64 {
    let once = |_| {
        let began = Instant::now();
        round();
        began.elapsed().as_nanos() as f64 / f64::from(count)
    };
    (0..ROUNDS).map(once).fold(f64::MAX, f64::min)
}

fn main() {
    let mut state = 7;
    // As a sensor with one decimal gives them.
    let values = (0..READINGS).map(|_| (650.0 + 9.0 * noise(&mut state)).round() / 10.0).collect::<Vec<_>>();
    let mut watch = Settings::default().watch("line1/press3/temperature", Some("°C"));
    let mut out = Vec::new();
    let mut now_ms = 1_700_000_000_000;
    let reading = best(READINGS, || {
        for value in &values {
            now_ms += 1_000;
            watch.observe(now_ms, now_ms, black_box(*value), &mut out);
            black_box(watch.due());
        }
    });
    println!("a reading through all detectors of a series: {reading:.0} ns");

    let mut group = Group::default();
    (0..CHANNELS).for_each(|_| {
        black_box(group.join());
    });
    let row = best(ROWS, || {
        for values in values.chunks(usize::from(CHANNELS)).cycle().take(ROWS as usize) {
            now_ms += 1_000;
            for (channel, value) in (0..CHANNELS).zip(values) {
                black_box(group.observe(channel, now_ms, black_box(*value)));
            }
        }
    });
    println!("a row of {CHANNELS} channels through their machine's detector: {:.2} µs", row / 1e3);
    println!("alerts told meanwhile: {}", out.len());
}
