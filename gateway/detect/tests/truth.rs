//! What alerts say is true: generated series with faults, and each number of each message held against
//! what the series did.

mod noise;

use detect::{Finding, Kind, Settings, State};
use noise::Noise;

const EVERY_MS: i64 = 10_000;
const DAY: usize = 8_640;
const START_MS: i64 = 1_763_337_600_000;

/// Three days of one kind of series, a reading each ten seconds; the deviation of its noise.
fn series(kind: &str, noise: &mut Noise) -> (Vec<f64>, f64) {
    let (mut at, mut level, mut left, mut slow) = (0.0, 60.0, 0, 60.0);
    let mut value = |i: usize| {
        let hour = (i % DAY) as f64 / 360.0;
        at = 0.95 * at + 0.31 * noise.normal();
        match kind {
            "steady" => 20.0 + 0.3 * noise.normal(),
            "wandering" => 20.0 + 0.3 * at,
            "daily" => ((20.0 + 3.0 * (std::f64::consts::TAU * (hour - 9.0) / 24.0).sin() + 0.15 * at) * 10.0).round() / 10.0,
            "coarse" => ((50.0 + 1.5 * at + 0.1 * noise.normal()) * 2.0).round() / 2.0,
            "vibration" => (0.35 * noise.normal()).exp() * 2.0,
            "counter" => {
                level += if (6.0..22.0).contains(&hour) && noise.uniform() < 0.7 { 1.0 } else { 0.0 };
                level
            }
            "work" => {
                let works = (5.0..21.0).contains(&hour);
                slow += 0.08 * (if works { 30.0 } else { 0.0 } - slow);
                if works { slow + 0.5 * at } else { ((slow * 10.0).floor() / 10.0).max(0.0) }
            }
            _ => {
                if left == 0 {
                    (level, left) =
                        ([60.0, 70.0, 80.0, 90.0, 120.0][(noise.uniform() * 5.0) as usize], 120 + (noise.uniform() * 400.0) as usize);
                }
                left -= 1;
                slow += 0.15 * (level - slow);
                if kind == "set points" {
                    slow + 0.4 * noise.normal()
                } else {
                    level.min(61.0) - 60.0 + 0.01 * (noise.uniform() * 3.0).floor()
                }
            }
        }
    };
    let values = (0..3 * DAY).map(|i| (value(i) * 1e3).round() / 1e3).collect();
    let sigma = match kind {
        "steady" | "wandering" => 0.3,
        "daily" => 0.15,
        "coarse" | "set points" | "work" => 0.5,
        "vibration" => 0.8,
        "counter" => 1.0,
        _ => 0.01,
    };
    (values, sigma)
}

const KINDS: [&str; 9] = ["steady", "wandering", "daily", "coarse", "vibration", "counter", "work", "set points", "switch"];
const FAULTS: [&str; 6] = ["none", "spike", "shift", "drift", "stuck", "noise"];

/// A fault for two hours, on the third day, of so many deviations.
fn fail(values: &mut [f64], fault: &str, size: f64, noise: &mut Noise) {
    let from = 2 * DAY + 3_000 + (noise.uniform() * 2_000.0) as usize;
    let stuck = values[from];
    for (i, value) in values[from..from + 720].iter_mut().enumerate() {
        *value += match fault {
            "spike" if i < 2 => size,
            "shift" => size,
            "drift" => 2.0 * size * i as f64 / 720.0,
            "noise" => ((size * noise.normal()) * 1e3).round() / 1e3,
            "stuck" => stuck - *value,
            _ => 0.0,
        };
    }
}

fn watch(values: &[f64]) -> Vec<Finding> {
    let mut watch = Settings::default().watch("line1/press3/temperature", Some("°C"));
    let mut out = Vec::new();
    for (now_ms, value) in (0..).map(|i| START_MS + i * EVERY_MS).zip(values) {
        if let Some(due) = watch.due().filter(|due| *due <= now_ms) {
            watch.tick(due, &mut out);
        }
        watch.observe(now_ms, now_ms, *value, &mut out);
    }
    out
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(if after.is_empty() { rest } else { rest.split_once(after)?.0 })
}

/// The number that a text begins with.
fn number(text: &str) -> f64 {
    text.split([' ', ',', ':']).next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no number: {text}"))
}

fn duration_ms(text: &str) -> f64 {
    let unit = match text.split_whitespace().nth(1).unwrap_or_default() {
        "ms" => 1.0,
        "s" => 1e3,
        "min" => 60e3,
        "h" => 3_600e3,
        "days" => 86_400e3,
        other => panic!("no unit: {other}"),
    };
    number(text) * unit
}

/// Mean size of some steps, without those of a rest (60 equal values and more).
fn mean_step(values: &[f64], without_rest: bool) -> f64 {
    let (mut sum, mut count, mut run) = (0.0, 0.0_f64, 0);
    for pair in values.windows(2) {
        run = if pair[0] == pair[1] { run + 1 } else { 0 };
        if !without_rest || run < 60 {
            (sum, count) = (sum + (pair[1] - pair[0]).abs(), count + 1.0);
        }
    }
    sum / count.max(1.0)
}

/// Lengths of the runs of equal values; the last one may go on.
fn runs(values: &[f64]) -> Vec<usize> {
    values.chunk_by(|a, b| a == b).map(<[f64]>::len).collect()
}

/// Holds a message against the series; gives what it claimed.
fn check(values: &[f64], told: &Finding, raised: Option<&Finding>) -> Option<&'static str> {
    let text = told.message.as_str();
    let at = ((told.time_ms - START_MS) / EVERY_MS) as usize;
    if let Some(first) = text.strip_prefix("was ").filter(|_| told.kind == Kind::Shift) {
        let (from, to) = (number(first), number(between(text, ", now ", "")?));
        let since = between(text, "away since ", " UTC").unwrap_or_else(|| panic!("{text}"));
        assert!(values[at..values.len().min(at + 40)].iter().any(|value| (value - to).abs() < 1e-3 * to.abs().max(1.0)), "{text}");
        let second = (told.time_ms / 1_000).rem_euclid(86_400);
        assert_eq!(since, format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60), "{text}");
        // A shift that is told begins with the reading that left: the one before was nearer to the level before.
        let Some(held) = between(text.split_once(", now").unwrap_or((text, "")).0, " for ", "") else { return Some("was") };
        let count = (duration_ms(held) / EVERY_MS as f64) as usize;
        assert!(count <= at, "longer than it is known: {text}");
        let there = values[at - count..at].iter().filter(|value| (**value - from).abs() < 0.5 * (to - from).abs()).count();
        assert!(there as f64 >= 0.95 * count as f64, "there for {there} of {count}: {text}");
        return Some("was for");
    }
    if text.contains("is near the usual ") {
        let (now, usual) = (number(text), number(between(text, "near the usual ", "")?));
        let away = (raised?.value - usual).abs();
        assert!((now - usual).abs() <= 0.51 * away, "{text}, raised: {}", raised?.message);
        return Some("near");
    }
    if told.kind == Kind::Flatline && told.state == State::Active {
        let all = runs(&values[..=at]);
        let (run, before) = all.split_last()?;
        let longest = *before.iter().max()?;
        assert_eq!(number(between(text, ": ", " equal")?) as usize, *run, "{text}");
        assert!(
            (duration_ms(between(text, " for ", ": ")?) - ((run - 1) as i64 * EVERY_MS) as f64).abs()
                <= 0.05 * *run as f64 * EVERY_MS as f64,
            "{text}"
        );
        let most = between(text, "at most ", " came").or_else(|| between(text, "though ", " came")).map_or(0.0, number) as usize;
        let rest = between(text, "rests of up to ", "").map_or(0.0, number) as usize;
        assert_eq!(most.max(rest), longest, "{text}");
        assert!(before.contains(&most), "{most}: {text}");
        return Some(if rest > 0 { "stuck after rests" } else { "stuck" });
    }
    if told.kind == Kind::Noise && told.state == State::Active {
        let (now, usual) = (number(between(text, "jumps by ", "")?), number(between(text, "the usual ", "")?));
        let times = number(between(text, "reading to reading, ", "")?);
        assert!((times * usual / now - 1.0).abs() < 0.12, "{text}");
        let truth = mean_step(&values[at - 60..=at], false);
        assert!((0.5..2.0).contains(&(now / truth)), "{truth} now: {text}");
        let truth = mean_step(&values[at.saturating_sub(6_000)..at - 60], true);
        assert!((0.5..2.0).contains(&(usual / truth)), "{truth} usually: {text}");
        return Some("jumps");
    }
    if told.kind == Kind::Novelty && told.state == State::Active {
        assert!(text.ends_with("one in 10^18"), "{text}");
        return Some("novelty");
    }
    None
}

#[test]
fn each_number_of_a_message_is_what_the_series_did() {
    let mut claims = std::collections::BTreeMap::<&str, usize>::new();
    for (seed, kind) in KINDS.iter().enumerate() {
        for (nth, fault) in FAULTS.iter().enumerate() {
            for size in [8.0, 40.0] {
                let mut noise = Noise(seed as u64 * 1_009 + nth as u64 * 31 + size as u64);
                let (mut values, sigma) = series(kind, &mut noise);
                fail(&mut values, fault, size * sigma, &mut noise);
                let told = watch(&values);
                for (at, finding) in told.iter().enumerate() {
                    let raised = told[..at].iter().rfind(|other| other.kind == finding.kind && other.state == State::Active);
                    if std::env::var("SHOW").is_ok() {
                        println!("{kind} {fault} {size} {} {:?}: {}", finding.kind.as_str(), finding.state, finding.message);
                    }
                    if let Some(claim) = check(&values, finding, raised) {
                        *claims.entry(claim).or_default() += 1;
                    }
                }
            }
        }
    }
    println!("{claims:?}");
    for claim in ["was", "was for", "near", "stuck", "stuck after rests", "jumps"] {
        assert!(claims.get(claim).is_some_and(|count| *count >= 3), "{claim}: {claims:?}");
    }
}
