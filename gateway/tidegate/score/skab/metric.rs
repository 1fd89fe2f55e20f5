//! SKAB's metrics.

/// Width of a changepoint's window.
const WINDOW_MS: i64 = 60_000;
/// Cost of a false changepoint and of a missed one, for each profile.
pub(super) const PROFILES: [(&str, f64, f64); 3] = [("standard", -0.11, -1.0), ("low FP", -0.22, -1.0), ("low FN", -0.11, -2.0)];
/// Steps of the benchmark's scoring function over a window.
const STEPS: usize = 1_000;

/// One scored row.
pub(super) struct Row {
    pub(super) time_ms: i64,
    pub(super) anomaly: bool,
    pub(super) changepoint: bool,
    pub(super) flagged: bool,
}

/// Rows by label and verdict.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outliers {
    true_positive: f64,
    false_positive: f64,
    false_negative: f64,
    true_negative: f64,
}

impl Outliers {
    pub(super) fn of(rows: &[Row]) -> Self {
        let count = |anomaly, flagged| rows.iter().filter(|row| row.anomaly == anomaly && row.flagged == flagged).count() as f64;
        Self {
            true_positive: count(true, true),
            false_positive: count(false, true),
            false_negative: count(true, false),
            true_negative: count(false, false),
        }
    }

    pub(super) fn pooled(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            true_positive: sum.true_positive + one.true_positive,
            false_positive: sum.false_positive + one.false_positive,
            false_negative: sum.false_negative + one.false_negative,
            true_negative: sum.true_negative + one.true_negative,
        })
    }

    pub(super) fn f1(self) -> f64 {
        let wrong = self.false_negative + self.false_positive;
        part(self.true_positive, self.true_positive + wrong / 2.0)
    }

    pub(super) fn false_alarms(self) -> f64 {
        part(self.false_positive, self.false_positive + self.true_negative)
    }

    pub(super) fn missed_alarms(self) -> f64 {
        part(self.false_negative, self.false_negative + self.true_positive)
    }
}

fn part(of: f64, whole: f64) -> f64 {
    if whole > 0.0 { of / whole } else { 0.0 }
}

/// The benchmark's NAB score: what a profile's hits, misses and false alarms add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Changepoints {
    score: f64,
    null: f64,
    perfect: f64,
}

impl Changepoints {
    pub(super) fn of(rows: &[Row], false_positive: f64, false_negative: f64) -> Self {
        let mut windows = rows.iter().filter(|row| row.changepoint).map(|row| (row.time_ms, row.time_ms + WINDOW_MS)).collect::<Vec<_>>();
        for at in 1..windows.len() {
            // Where windows overlap, the later one begins where the earlier one ends.
            windows[at].0 = windows[at].0.max(windows[at - 1].1);
        }
        let said = rows.windows(2).filter(|pair| pair[0].flagged != pair[1].flagged).map(|pair| pair[1].time_ms).collect::<Vec<_>>();
        let outside = said.iter().filter(|time| !windows.iter().any(|(from, to)| (from..=to).contains(time))).count();
        let mut score = false_positive * outside as f64;
        for &(from, to) in &windows {
            score += match said.iter().find(|time| (from..=to).contains(time)) {
                Some(time) => worth(part((time - from) as f64, (to - from) as f64), false_positive),
                None => false_negative,
            };
        }
        let count = windows.len() as f64;
        Self { score, null: count * false_negative, perfect: count }
    }

    pub(super) fn pooled(all: impl Iterator<Item = Self>) -> f64 {
        let sum = all.fold(Self::default(), |sum, one| Self {
            score: sum.score + one.score,
            null: sum.null + one.null,
            perfect: sum.perfect + one.perfect,
        });
        100.0 * part(sum.score - sum.null, sum.perfect - sum.null)
    }
}

/// What a hit is worth at a part of its window.
fn worth(at: f64, false_positive: f64) -> f64 {
    use std::f64::consts::PI;
    let step = ((at * STEPS as f64) as usize).min(STEPS - 1);
    let x = -PI / 2.0 + PI * step as f64 / (STEPS - 1) as f64;
    let half = (1.0 - false_positive) / 2.0;
    half * -x.tanh() / (PI / 2.0).tanh() + half + false_positive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(anomaly: &[u8], flagged: &[u8], changepoint: usize) -> Vec<Row> {
        let row = |at: usize| Row {
            time_ms: at as i64 * 1_000,
            anomaly: anomaly[at] == 1,
            changepoint: at == changepoint,
            flagged: flagged[at] == 1,
        };
        (0..anomaly.len()).map(row).collect()
    }

    #[test]
    fn outliers_are_counted_row_by_row() {
        let one = Outliers::of(&rows(&[0, 0, 1, 1, 1, 0], &[0, 1, 1, 1, 0, 0], 2));
        assert_eq!(one.f1(), 2.0 / 3.0);
        assert!((one.false_alarms() - 1.0 / 3.0).abs() < 1e-9 && (one.missed_alarms() - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_changepoint_found_at_once_is_worth_all_and_one_missed_nothing() {
        let found = rows(&[0, 0, 1, 1, 1, 1], &[0, 0, 1, 1, 1, 1], 2);
        let missed = rows(&[0, 0, 1, 1, 1, 1], &[0, 0, 0, 0, 0, 0], 2);
        let score = |rows: &[Row]| Changepoints::pooled([Changepoints::of(rows, -0.11, -1.0)].into_iter());
        assert!((score(&found) - 100.0).abs() < 1e-9, "{}", score(&found));
        assert_eq!(score(&missed), 0.0);
        // A false changepoint before it costs 0.11 of the two that lie between none and all.
        let early = rows(&[0, 0, 1, 1, 1, 1], &[1, 0, 1, 1, 1, 1], 2);
        assert!((score(&early) - 100.0 * (2.0 - 0.11) / 2.0).abs() < 1e-9);
    }
}
