//! What strangers send, through the whole fold: no panic, no state without bound, no false flood.

use replica::fold::FoldConfig;
use replica::record::Record;
use replica::rehearse::Rehearsal;

const START_MS: i64 = 1_700_000_000_000;

fn gateway(config: FoldConfig) -> Rehearsal {
    Rehearsal::new(START_MS, FoldConfig { sizes_ms: vec![10_000], grace_ms: 2_000, alarms: Some(Default::default()), ..config }).unwrap()
}

/// Alerts that began, each with what it says.
fn raised(gateway: &Rehearsal) -> Vec<String> {
    let begun = gateway.fold.fresh.iter().filter(|(_, alert)| alert.state == 0);
    begun.map(|(_, alert)| format!("{} {}: {}", alert.series, alert.kind, alert.message)).collect()
}

/// Noise between -1 and 1 from a seed.
fn noise(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[test]
fn a_hundred_thousand_new_series_in_a_minute_raise_nothing() {
    const SERIES: u32 = 100_000;
    let mut gateway = gateway(FoldConfig::default());
    for number in 0..SERIES {
        // Machines, lists that are too long for one, and series without a prefix.
        let name = match number % 3 {
            0 => format!("line{}/machine{}/sensor{number}", number % 7, number % 3_001),
            1 => format!("list/{number}"),
            _ => format!("sensor{number}"),
        };
        let clock_ms = START_MS + i64::from(number) * 60_000 / i64::from(SERIES);
        assert_eq!(gateway.series(&name, None).unwrap(), number);
        gateway.message(clock_ms, [(number, clock_ms, f64::from(number % 100))]).unwrap();
    }
    gateway.pass(START_MS + 600_000).unwrap();
    assert_eq!(gateway.fold.series.len(), SERIES as usize);
    assert_eq!(raised(&gateway), Vec::<String>::new(), "a series that was heard once has no cadence to miss");
}

#[test]
fn values_that_are_hard_to_reckon_with_raise_no_flood() {
    type Shape = (&'static str, fn(i64, f64) -> f64);
    let shapes: [Shape; 9] = [
        ("zero", |_, _| 0.0),
        ("negative zero", |at, _| if at % 2 == 0 { 0.0 } else { -0.0 }),
        ("huge", |_, noise| 1e308 * noise),
        ("huge and small", |at, noise| if at % 100 == 0 { 1e308 * noise } else { noise }),
        ("denormal", |_, noise| 5e-324 * (noise * 100.0).round()),
        ("tiny", |_, noise| 1e-310 * noise),
        ("extremes", |at, _| if at % 2 == 0 { f64::MAX } else { f64::MIN }),
        ("gaps", |at, noise| if at % 60 < 20 { f64::NAN } else { 20.0 + noise }),
        ("ordinary", |_, noise| 20.0 + noise),
    ];
    let mut gateway = gateway(FoldConfig::default());
    for (name, _) in shapes {
        gateway.series(&format!("machine/{name}"), Some("V")).unwrap();
    }
    let seed = 20_261_126;
    let mut state = seed;
    for at in 0..6_000_i64 {
        let clock_ms = START_MS + at * 1_000;
        let readings =
            shapes.iter().zip(0..).map(|((_, shape), number)| (number, clock_ms, shape(at, noise(&mut state)))).collect::<Vec<_>>();
        gateway.message(clock_ms, readings).unwrap();
    }
    let told = raised(&gateway);
    assert!(told.len() <= 6, "seed {seed}: {told:#?}");
    let wrong = |number: f64| !number.is_finite();
    assert!(gateway.fold.fresh.iter().all(|(_, alert)| ![Some(alert.value), alert.score, alert.baseline].into_iter().flatten().any(wrong)));
}

#[test]
fn a_series_that_changes_its_unit_or_its_clock_raises_no_flood() {
    let mut gateway = gateway(FoldConfig::default());
    let number = gateway.series("machine/temperature", None).unwrap();
    let seed = 7;
    let mut state = seed;
    let mut say = |gateway: &mut Rehearsal, count: i64, level: f64, skew_ms: fn(i64) -> i64| {
        let before = raised(gateway).len();
        for at in 0..count {
            let clock_ms = gateway.fold.clock_ms + 1_000;
            gateway.message(clock_ms, [(number, clock_ms + skew_ms(at), level + noise(&mut state))]).unwrap();
        }
        raised(gateway)[before..].to_vec()
    };
    assert_eq!(say(&mut gateway, 2_000, 20.0, |_| 0), Vec::<String>::new());
    gateway.record(gateway.fold.clock_ms, &Record::Unit { number, unit: "°F" }).unwrap();
    // The same sensor in another unit is another level: a state of a series that is a day old at most.
    let told = say(&mut gateway, 2_000, 68.0, |_| 0);
    assert!(told.len() <= 1, "seed {seed}: {told:#?}");
    // From a number to a switch.
    let told = say(&mut gateway, 2_000, 0.0, |_| 0);
    assert!(told.len() <= 2, "seed {seed}: {told:#?}");
    // A clock that runs backwards, one that stands, and one that jumps to and fro.
    for skew_ms in [(|at| -2_000 * at) as fn(i64) -> i64, |at| -1_000 * at, |at| if at % 2 == 0 { 0 } else { -86_400_000 }] {
        let told = say(&mut gateway, 2_000, 0.0, skew_ms);
        assert!(told.len() <= 3, "seed {seed}: {told:#?}");
    }
}
