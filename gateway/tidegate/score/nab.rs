//! NAB: every reading gets a score; one threshold for all recordings and each profile, the best
//! one, decides what counts as an alert. An alert in a labelled window is worth more the
//! earlier it comes, one outside costs by its distance behind the window before it; 0 is a
//! detector that never speaks, 100 a perfect one.
//!
//! Published in: S. Lavin, S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms — the
//! Numenta Anomaly Benchmark" (2015). The threshold that the other recordings would have chosen
//! is reported beside, as the score with one file left out.

use super::{Arguments, field, name, recordings, time_ms};
use crate::outcome::{Failure, print};
use anyhow::{Context as _, anyhow};
use detect::Novelty;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Cost of a false alert and of a missed window, for each profile.
const PROFILES: [Profile; 3] = [
    Profile { name: "standard", false_positive: 0.11, false_negative: 1.0 },
    Profile { name: "reward low FP", false_positive: 0.22, false_negative: 1.0 },
    Profile { name: "reward low FN", false_positive: 0.11, false_negative: 2.0 },
];
/// Part of a recording that is not scored, and of how many rows at most.
const PROBATION: f64 = 0.15;
const PROBATION_ROWS_OF: f64 = 5_000.0;

#[derive(Debug, Clone, Copy)]
struct Profile {
    name: &'static str,
    false_positive: f64,
    false_negative: f64,
}

/// One recording, as it is scored.
struct Recording {
    name: String,
    windows: usize,
    /// Rows that the detector found unusual at all, after probation.
    points: Vec<Point>,
}

/// One row that may become an alert.
#[derive(Debug, Clone, Copy)]
struct Point {
    score: f64,
    /// The labelled window it lies in.
    window: Option<usize>,
    /// What it is worth there, or costs outside, in false alerts.
    worth: f64,
}

/// 1 far before, 0 at the right edge of a window, -1 far behind it.
fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// The rows with their worth; windows are closed ranges of row numbers, in order.
fn points(scores: &[f64], windows: &[(usize, usize)]) -> Vec<Point> {
    let probation = (PROBATION * scores.len() as f64).floor().min(PROBATION * PROBATION_ROWS_OF) as usize;
    let worth = |row: usize| {
        if let Some((at, &(from, to))) = windows.iter().enumerate().find(|(_, (from, to))| (*from..=*to).contains(&row)) {
            let width = (to - from + 1) as f64;
            return (Some(at), sigmoid(-((to - row + 1) as f64) / width) / sigmoid(-1.0));
        }
        let position = match windows.iter().rev().find(|(_, to)| *to < row) {
            Some(&(from, to)) => (row - to) as f64 / ((to - from) as f64).max(1.0),
            None => 3.0,
        };
        (None, if position >= 3.0 { -1.0 } else { sigmoid(position) })
    };
    let unusual = scores.iter().enumerate().skip(probation).filter(|(_, score)| **score > 0.0);
    unusual.map(|(row, &score)| (score, worth(row))).map(|(score, (window, worth))| Point { score, window, worth }).collect()
}

/// What one recording scores at a threshold, before normalisation.
fn raw(recording: &Recording, threshold: f64, profile: Profile) -> f64 {
    let mut found = vec![-profile.false_negative; recording.windows];
    let mut cost = 0.0;
    for point in recording.points.iter().filter(|point| point.score >= threshold) {
        match point.window {
            Some(at) => found[at] = found[at].max(point.worth),
            None => cost += point.worth * profile.false_positive,
        }
    }
    found.iter().sum::<f64>() + cost
}

/// The raw score between that of a detector that never speaks and the perfect one.
fn normalised(raw: f64, windows: usize, profile: Profile) -> f64 {
    let (null, perfect) = (-profile.false_negative * windows as f64, windows as f64);
    if windows == 0 { 0.0 } else { 100.0 * (raw - null) / (perfect - null) }
}

/// The threshold with the best score over recordings, and that score. Goes through the points
/// from the highest score down, as a sweep.
fn best(recordings: &[&Recording], profile: Profile) -> (f64, f64) {
    let mut points = Vec::new();
    let mut total = 0.0;
    for (file, recording) in recordings.iter().enumerate() {
        total -= profile.false_negative * recording.windows as f64;
        points.extend(recording.points.iter().map(|point| (file, point)));
    }
    points.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
    let mut found = BTreeMap::new();
    let mut best = (f64::INFINITY, total);
    for (at, (file, point)) in points.iter().enumerate() {
        match point.window {
            Some(window) => {
                let had = found.entry((*file, window)).or_insert(-profile.false_negative);
                total += (point.worth - *had).max(0.0);
                *had = had.max(point.worth);
            }
            None => total += point.worth * profile.false_positive,
        }
        // Points of one score become alerts together.
        let last = points.get(at + 1).is_none_or(|(_, next)| next.score < point.score);
        if last && total > best.1 {
            best = (point.score, total);
        }
    }
    best
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let all = load(&arguments.dir)?;
    let windows = all.iter().map(|recording| recording.windows).sum::<usize>();
    let every = all.iter().collect::<Vec<_>>();
    let mut results = Vec::new();
    for profile in PROFILES {
        let (threshold, total) = best(&every, profile);
        let left_out = (0..all.len()).map(|left| {
            let others = all.iter().enumerate().filter(|(at, _)| *at != left).map(|(_, one)| one).collect::<Vec<_>>();
            raw(&all[left], best(&others, profile).0, profile)
        });
        let left_out = normalised(left_out.sum(), windows, profile);
        results.push((profile, threshold, normalised(total, windows, profile), left_out));
    }
    if arguments.json {
        let profiles = results.iter().map(|(profile, threshold, score, left_out)| {
            let result = serde_json::json!({"score": score, "threshold": threshold, "one_file_left_out": left_out});
            (profile.name.replace(' ', "_").to_lowercase(), result)
        });
        let profiles = profiles.collect::<serde_json::Map<_, _>>();
        return print(&serde_json::json!({"files": all.len(), "windows": windows, "profiles": profiles}).to_string());
    }
    if arguments.files {
        files(&all, results[0].1)?;
    }
    print(&format!("NAB: {} recordings, {windows} labelled windows", all.len()))?;
    for (profile, threshold, score, left_out) in results {
        print(&format!("{:14} {score:6.2}  threshold {threshold:.3}; threshold of the other files {left_out:.2}", profile.name))?;
    }
    Ok(())
}

/// One line for each recording at the standard profile's threshold.
fn files(all: &[Recording], threshold: f64) -> Result<(), Failure> {
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

fn load(dir: &Path) -> Result<Vec<Recording>, Failure> {
    let places = [dir.join("combined_windows.json"), dir.join("labels/combined_windows.json")];
    let Some(labels) = places.iter().find(|path| path.is_file()) else {
        return Err(Failure::Usage(anyhow!("{} has no combined_windows.json, nor has its folder labels", dir.display())));
    };
    let text = std::fs::read(labels).with_context(|| labels.display().to_string())?;
    let labels: Labels = serde_json::from_slice(&text).with_context(|| labels.display().to_string())?;
    let mut all = Vec::new();
    for path in recordings(dir)? {
        let name = short_name(&path, dir);
        if let Some(windows) = labels.get(&name) {
            all.push(read(&path, name, windows).with_context(|| path.display().to_string())?);
        }
    }
    if all.is_empty() {
        return Err(Failure::Usage(anyhow!("{} holds none of the recordings that combined_windows.json names", dir.display())));
    }
    Ok(all)
}

/// `folder/file.csv`, the name that labels use, wherever the folder lies.
fn short_name(path: &Path, dir: &Path) -> String {
    let name = name(path, dir);
    let parts = name.rsplitn(3, '/').take(2).collect::<Vec<_>>();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Runs the detector over one recording.
fn read(path: &PathBuf, name: String, windows: &[(String, String)]) -> anyhow::Result<Recording> {
    let mut novelty = Novelty::default();
    let (mut times, mut scores) = (Vec::new(), Vec::new());
    for (number, record) in csv::Reader::from_path(path)?.records().enumerate() {
        let (record, row) = (record?, format!("row {number}"));
        let time_ms = time_ms(record.get(0).unwrap_or_default()).context(row.clone())?;
        scores.push(novelty.observe(field(&record, 1).context(row)?));
        times.push(time_ms);
    }
    let row = |text: &str| {
        let time_ms = time_ms(text)?;
        times.iter().position(|time| *time == time_ms).with_context(|| format!("no row at {text}, where a window begins or ends"))
    };
    let windows = windows.iter().map(|(from, to)| Ok((row(from)?, row(to)?))).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Recording { name, windows: windows.len(), points: points(&scores, &windows) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(scores: &[(usize, f64)], windows: &[(usize, usize)]) -> Recording {
        let mut all = vec![0.0; 1_000];
        scores.iter().for_each(|(row, score)| all[*row] = *score);
        Recording { name: String::new(), windows: windows.len(), points: points(&all, windows) }
    }

    #[test]
    fn an_alert_at_a_windows_beginning_is_perfect_and_silence_is_nothing() {
        let standard = PROFILES[0];
        let perfect = recording(&[(400, 1.0), (700, 1.0)], &[(400, 450), (700, 750)]);
        let (_, total) = best(&[&perfect], standard);
        assert!((normalised(total, 2, standard) - 100.0).abs() < 1e-9);
        let silent = recording(&[(10, 9.0)], &[(400, 450), (700, 750)]);
        assert_eq!(normalised(best(&[&silent], standard).1, 2, standard), 0.0, "probation is not scored");
    }

    #[test]
    fn a_false_alert_costs_more_the_further_behind_a_window_it_is() {
        let score = |row| raw(&recording(&[(405, 1.0), (row, 1.0)], &[(400, 450)]), 1.0, PROFILES[0]);
        let without = raw(&recording(&[(405, 1.0)], &[(400, 450)]), 1.0, PROFILES[0]);
        assert!(score(452) > score(480) && score(480) > score(900));
        assert!((without - score(900) - 0.11).abs() < 1e-9);
        assert!((without - score(300) - 0.11).abs() < 1e-9, "before every window too");
    }

    #[test]
    fn the_threshold_is_the_one_that_scores_best() {
        let one = recording(&[(405, 5.0), (300, 4.0), (200, 4.0), (705, 3.0), (600, 1.0)], &[(400, 450), (700, 750)]);
        let (threshold, total) = best(&[&one], PROFILES[0]);
        assert_eq!(threshold, 3.0);
        assert!((total - raw(&one, 3.0, PROFILES[0])).abs() < 1e-12);
        // With dear misses and dear false alerts the choice is another.
        let dear = Profile { name: "", false_positive: 2.0, false_negative: 0.1 };
        assert_eq!(best(&[&one], dear).0, 5.0);
    }
}
