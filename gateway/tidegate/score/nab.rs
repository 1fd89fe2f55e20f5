//! NAB: every reading gets a score; one threshold for all recordings and each profile, the best
//! one, decides what counts as an alert. An alert in a labelled window is worth more the
//! earlier it comes, one outside costs by its distance behind the window before it; 0 is a
//! detector that never speaks, 100 a perfect one.
//!
//! Published in: S. Lavin, S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms — the
//! Numenta Anomaly Benchmark" (2015). The threshold that the other recordings would have chosen
//! is reported beside, as the score with one file left out.
//!
//! The score is the surprise that a gateway's `novelty` detector saw, s powers of ten, as the
//! number between 0 and 1 that the benchmark asks for: s / (s + 10).

mod rule;

use super::{Sheet, field, gateway, name, output, recordings, time_ms};
use crate::outcome::{Failure, print};
use anyhow::{Context as _, anyhow};
use rule::{PROFILES, Profile, Recording, best, normalised, points, raw};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Surprise that scores one half.
const HALF: f64 = 10.0;

/// `DIR [--files] [--json] [--out DIR] [--threshold X]`
#[derive(Debug, clap::Args)]
#[group(id = "nab")]
pub struct Arguments {
    #[command(flatten)]
    common: super::Arguments,

    /// Score with this threshold for all profiles instead of the best one for each.
    #[arg(long, value_name = "X")]
    threshold: Option<f64>,
}

/// What one profile gives.
struct Outcome {
    profile: Profile,
    threshold: f64,
    score: f64,
    /// With each file judged by the threshold of the others; none for a threshold that is given, or
    /// where there are no others.
    left_out: Option<f64>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.threshold.is_some_and(f64::is_nan) {
        return Err(Failure::Usage(anyhow!("--threshold is no number")));
    }
    let found = load(&arguments.common)?;
    let all = found.iter().map(|(recording, ..)| recording).collect::<Vec<_>>();
    let windows = all.iter().map(|recording| recording.windows).sum::<usize>();
    let outcomes = PROFILES.map(|profile| outcome(&all, windows, profile, arguments.threshold));
    if let Some(out) = &arguments.common.out {
        for (recording, sheet, scores) in &found {
            let said = scores.iter().map(|score| (*score, *score >= outcomes[0].threshold));
            output::write(out, &recording.name, sheet, said)?;
        }
    }
    if arguments.common.json {
        let each = |of: &dyn Fn(&Outcome) -> Option<f64>| {
            outcomes.iter().map(|one| (one.profile.name.to_owned(), json!(of(one)))).collect::<serde_json::Map<_, _>>()
        };
        let mut json = each(&|one| Some(one.score));
        // JSON has no infinity: a threshold that nothing reaches is one above all scores.
        json.insert("threshold".into(), each(&|one| Some(one.threshold.min(f64::MAX))).into());
        json.insert("one_file_left_out".into(), each(&|one| one.left_out).into());
        json.insert("files".into(), json!(all.len()));
        json.insert("windows".into(), json!(windows));
        return print(&serde_json::Value::Object(json).to_string());
    }
    if arguments.common.files {
        files(&all, outcomes[0].threshold)?;
    }
    print(&format!("NAB: {} recordings, {windows} labelled windows", all.len()))?;
    for Outcome { profile, threshold, score, left_out } in outcomes {
        let beside = left_out.map_or(String::new(), |score| format!("; with the threshold of the other files {score:.2}"));
        print(&format!("{:10} {score:6.2}  threshold {threshold:.4}{beside}", profile.name))?;
    }
    Ok(())
}

fn outcome(all: &[&Recording], windows: usize, profile: Profile, given: Option<f64>) -> Outcome {
    let (threshold, total) = match given {
        Some(threshold) => (threshold, all.iter().map(|one| raw(one, threshold, profile)).sum()),
        None => best(all, profile),
    };
    let left_out = (given.is_none() && all.len() > 1).then(|| {
        let scores = (0..all.len()).map(|left| {
            let others = all.iter().enumerate().filter(|(at, _)| *at != left).map(|(_, one)| *one).collect::<Vec<_>>();
            raw(all[left], best(&others, profile).0, profile)
        });
        normalised(scores.sum(), windows, profile)
    });
    Outcome { profile, threshold, score: normalised(total, windows, profile), left_out }
}

/// One line for each recording at the standard profile's threshold.
fn files(all: &[&Recording], threshold: f64) -> Result<(), Failure> {
    print(&format!("{:60} {:>7} {:>5} {:>6} {:>6}", "recording", "windows", "found", "false", "raw"))?;
    for one in all {
        let alerts = one.points.iter().filter(|point| point.score >= threshold);
        let found = alerts.clone().filter_map(|point| point.window).collect::<BTreeSet<_>>().len();
        let outside = alerts.filter(|point| point.window.is_none()).count();
        let raw = raw(one, threshold, PROFILES[0]);
        print(&format!("{:60} {:7} {found:5} {outside:6} {raw:6.2}", one.name, one.windows))?;
    }
    Ok(())
}

/// A recording's labelled windows, as written: first and last time.
type Labels = BTreeMap<String, Vec<(String, String)>>;

fn load(arguments: &super::Arguments) -> Result<Vec<(Recording, Sheet, Vec<f64>)>, Failure> {
    let dir = &arguments.dir;
    let paths = recordings(arguments)?;
    let places = [dir.join("combined_windows.json"), dir.join("labels/combined_windows.json"), dir.join("../labels/combined_windows.json")];
    let Some(labels) = places.iter().find(|path| path.is_file()) else {
        return Err(Failure::Usage(anyhow!(
            "{} holds no recordings of NAB: it has no combined_windows.json, nor has a folder labels",
            dir.display()
        )));
    };
    let text = std::fs::read(labels).with_context(|| labels.display().to_string())?;
    let labels: Labels = serde_json::from_slice(&text)
        .map_err(|error| Failure::Usage(anyhow!("{} is no list of labelled windows: {error}", labels.display())))?;
    let mut all = Vec::new();
    for path in paths {
        let name = name(&path, dir);
        let Some(windows) = labels.get(&short_name(&name)) else {
            tracing::warn!("{} is left out: combined_windows.json does not name it", path.display());
            continue;
        };
        let place = || path.display().to_string();
        let sheet = Sheet::read(&path).with_context(place)?;
        let (times, scores) = score(&sheet).with_context(place)?;
        let windows = rows(&name, &times, windows).with_context(place)?;
        let recording = Recording { name, windows: windows.len(), points: points(&scores, &windows) };
        all.push((recording, sheet, scores));
    }
    if all.is_empty() {
        return Err(Failure::Usage(anyhow!("{} holds none of the recordings that combined_windows.json names", dir.display())));
    }
    Ok(all)
}

/// `folder/file.csv`, the name that labels use, wherever the folder lies.
fn short_name(name: &str) -> String {
    let parts = name.rsplitn(3, '/').take(2).collect::<Vec<_>>();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Runs a gateway over one recording: the time and the score of each row.
fn score(sheet: &Sheet) -> anyhow::Result<(Vec<i64>, Vec<f64>)> {
    let (time, value) = (sheet.column("timestamp").unwrap_or(0), sheet.column("value").unwrap_or(1));
    let (mut times, mut scores) = (Vec::new(), Vec::new());
    let mut stream = None;
    for (number, record) in sheet.rows.iter().enumerate() {
        let row = || format!("row {number}");
        let time_ms = time_ms(record.get(time).unwrap_or_default()).with_context(row)?;
        let stream = match &mut stream {
            Some(stream) => stream,
            none => {
                let mut fresh = gateway(time_ms)?;
                fresh.series("benchmark/value", None)?;
                none.insert(fresh)
            }
        };
        let surprise = match field(record, value).with_context(row)?.filter(|value| value.is_finite()) {
            Some(value) => {
                stream.message(time_ms, [(0, time_ms, value)])?;
                stream.fold.series.first().map_or(0.0, |series| series.novelty())
            }
            None => 0.0,
        };
        stream.fold.fresh.clear();
        times.push(time_ms);
        scores.push(surprise / (surprise + HALF));
    }
    Ok((times, scores))
}

/// Labelled windows as row numbers, first and last; rows that are missing narrow a window.
fn rows(name: &str, times: &[i64], windows: &[(String, String)]) -> anyhow::Result<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    for (from, to) in windows {
        let (from_ms, to_ms) = (time_ms(from)?, time_ms(to)?);
        let inside = |time: &i64| (from_ms..=to_ms).contains(time);
        match (times.iter().position(inside), times.iter().rposition(inside)) {
            (Some(first), Some(last)) => found.push((first, last)),
            _ => tracing::warn!("{name}: the labelled window from {from} to {to} is left out: no row lies in it"),
        }
    }
    found.sort_unstable();
    Ok(found)
}
