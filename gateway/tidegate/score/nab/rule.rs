//! NAB's scoring rule.

use std::collections::BTreeMap;

/// Cost of a false alert and of a missed window, for each profile.
pub(super) const PROFILES: [Profile; 3] = [
    Profile { name: "standard", false_positive: 0.11, false_negative: 1.0 },
    Profile { name: "low_fp", false_positive: 0.22, false_negative: 1.0 },
    Profile { name: "low_fn", false_positive: 0.11, false_negative: 2.0 },
];
/// Part of a recording that is not scored, and of how many rows at most.
const PROBATION: f64 = 0.15;
const PROBATION_ROWS_OF: f64 = 5_000.0;

/// What a mistake costs, where a window found at once is worth 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    false_positive: f64,
    false_negative: f64,
}

/// One recording, as it is scored.
pub(super) struct Recording {
    pub(super) name: String,
    pub(super) windows: usize,
    /// Rows that the detector found unusual at all, after probation.
    pub(super) points: Vec<Point>,
}

/// One row that may become an alert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) score: f64,
    /// The labelled window it lies in.
    pub(super) window: Option<usize>,
    /// What it is worth there, or costs outside, in false alerts.
    worth: f64,
}

/// 1 far before, 0 at the right edge of a window, -1 far behind it.
fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// The rows with their worth; windows are closed ranges of row numbers, in order.
pub(super) fn points(scores: &[f64], windows: &[(usize, usize)]) -> Vec<Point> {
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
pub(super) fn raw(recording: &Recording, threshold: f64, profile: Profile) -> f64 {
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
pub(super) fn normalised(raw: f64, windows: usize, profile: Profile) -> f64 {
    let (null, perfect) = (-profile.false_negative * windows as f64, windows as f64);
    if windows == 0 { 0.0 } else { 100.0 * (raw - null) / (perfect - null) }
}

/// The threshold with the best score over recordings, and that score. Goes through the points
/// from the highest score down, as a sweep.
pub(super) fn best(recordings: &[&Recording], profile: Profile) -> (f64, f64) {
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
