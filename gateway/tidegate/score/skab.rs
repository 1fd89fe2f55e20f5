//! SKAB: outliers row by row (F1, false-alarm rate, missed-alarm rate, pooled over files) and
//! changepoints by the benchmark's variant of the NAB score: a window of 60 s behind each
//! changepoint, a tanh that falls from 1 to the cost of a false alarm, the first hit counts.

use super::{Arguments, field, name, recordings, time_ms};
use crate::outcome::{Failure, print};
use anyhow::{Context as _, anyhow};
use detect::Group;
use std::path::Path;

/// Rows of each file that only teach.
const FIT_ROWS: usize = 400;
/// Width of a changepoint's window.
const WINDOW_MS: i64 = 60_000;
/// Cost of a false changepoint and of a missed one, for each profile.
const PROFILES: [(&str, f64, f64); 3] = [("standard", -0.11, -1.0), ("low FP", -0.22, -1.0), ("low FN", -0.11, -2.0)];
/// Steps of the benchmark's scoring function over a window.
const STEPS: usize = 1_000;

/// One recording, its labels, and what the detector said.
struct Recording {
    name: String,
    rows: Vec<Row>,
}

/// One scored row.
struct Row {
    time_ms: i64,
    anomaly: bool,
    changepoint: bool,
    flagged: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Outliers {
    true_positive: f64,
    false_positive: f64,
    false_negative: f64,
    true_negative: f64,
}

impl Outliers {
    fn of(rows: &[Row]) -> Self {
        let count = |anomaly, flagged| rows.iter().filter(|row| row.anomaly == anomaly && row.flagged == flagged).count() as f64;
        Self {
            true_positive: count(true, true),
            false_positive: count(false, true),
            false_negative: count(true, false),
            true_negative: count(false, false),
        }
    }

    fn pooled(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            true_positive: sum.true_positive + one.true_positive,
            false_positive: sum.false_positive + one.false_positive,
            false_negative: sum.false_negative + one.false_negative,
            true_negative: sum.true_negative + one.true_negative,
        })
    }

    fn f1(self) -> f64 {
        let wrong = self.false_negative + self.false_positive;
        part(self.true_positive, self.true_positive + wrong / 2.0)
    }

    fn false_alarms(self) -> f64 {
        100.0 * part(self.false_positive, self.false_positive + self.true_negative)
    }

    fn missed_alarms(self) -> f64 {
        100.0 * part(self.false_negative, self.false_negative + self.true_positive)
    }
}

fn part(of: f64, whole: f64) -> f64 {
    if whole > 0.0 { of / whole } else { 0.0 }
}

/// The benchmark's NAB score: what a profile's hits, misses and false alarms add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Changepoints {
    score: f64,
    null: f64,
    perfect: f64,
}

impl Changepoints {
    fn of(rows: &[Row], false_positive: f64, false_negative: f64) -> Self {
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

    fn pooled(all: impl Iterator<Item = Self>) -> f64 {
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

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut all = Vec::new();
    for path in recordings(&arguments.dir)? {
        if let Some(recording) = read(&path, name(&path, &arguments.dir)).with_context(|| path.display().to_string())? {
            all.push(recording);
        }
    }
    if all.is_empty() {
        return Err(Failure::Usage(anyhow!("{} holds no recordings of SKAB (datetime;…;anomaly;changepoint)", arguments.dir.display())));
    }
    let outliers = all.iter().map(|recording| Outliers::of(&recording.rows)).collect::<Vec<_>>();
    let total = Outliers::pooled(outliers.iter().copied());
    let nab = PROFILES.map(|(_, fp, missed)| Changepoints::pooled(all.iter().map(|one| Changepoints::of(&one.rows, fp, missed))));
    let without = |left: usize| Outliers::pooled(outliers.iter().enumerate().filter(|(at, _)| *at != left).map(|(_, one)| *one));
    let folds = (0..all.len()).map(without).collect::<Vec<_>>();
    let range = |of: fn(Outliers) -> f64| folds.iter().map(|one| of(*one)).fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    let (f1, far, mar) = (range(Outliers::f1), range(Outliers::false_alarms), range(Outliers::missed_alarms));
    if arguments.json {
        let json = serde_json::json!({
            "files": all.len(),
            "rows": outliers.iter().map(|one| one.true_positive + one.false_positive + one.false_negative + one.true_negative).sum::<f64>(),
            "outlier": {"f1": total.f1(), "far": total.false_alarms(), "mar": total.missed_alarms()},
            "changepoint": {"standard": nab[0], "low_fp": nab[1], "low_fn": nab[2]},
            "one_file_left_out": {"f1": [f1.0, f1.1], "far": [far.0, far.1], "mar": [mar.0, mar.1]},
        });
        return print(&json.to_string());
    }
    if arguments.files {
        print(&format!("{:24} {:>6} {:>7} {:>7}", "recording", "F1", "FAR %", "MAR %"))?;
        for (recording, one) in all.iter().zip(&outliers) {
            let (f1, far, mar) = (one.f1(), one.false_alarms(), one.missed_alarms());
            print(&format!("{:24} {f1:6.3} {far:7.2} {mar:7.2}", recording.name))?;
        }
    }
    let rows = all.iter().map(|one| one.rows.len()).sum::<usize>();
    print(&format!("SKAB: {} recordings, {rows} scored rows (rows 0 to {} of each teach)", all.len(), FIT_ROWS - 1))?;
    print(&format!("outlier      F1 {:.3}  FAR {:.2} %  MAR {:.2} %", total.f1(), total.false_alarms(), total.missed_alarms()))?;
    print(&format!(
        "  one file left out: F1 {:.3} to {:.3}, FAR {:.2} to {:.2} %, MAR {:.2} to {:.2} %",
        f1.0, f1.1, far.0, far.1, mar.0, mar.1
    ))?;
    let said = PROFILES.iter().zip(nab).map(|((profile, ..), score)| format!("{profile} {score:.2}")).collect::<Vec<_>>();
    print(&format!("changepoint  NAB {}", said.join("  ")))
}

/// Runs the detector over one recording; none for a CSV file that is not of this benchmark.
fn read(path: &Path, name: String) -> anyhow::Result<Option<Recording>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(b';').flexible(true).from_path(path)?;
    let header = reader.headers()?.clone();
    let place = |wanted: &str| header.iter().position(|column| column == wanted);
    let (Some(time), Some(anomaly)) = (place("datetime"), place("anomaly")) else {
        return Ok(None);
    };
    let changepoint = place("changepoint");
    let columns = (0..header.len()).filter(|at| ![Some(time), Some(anomaly), changepoint].contains(&Some(*at))).collect::<Vec<_>>();
    let mut group = Group::default();
    let channels = columns.iter().map_while(|_| group.join()).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let record = record?;
        let row = format!("row {number}");
        let time_ms = time_ms(record.get(time).unwrap_or_default()).context(row.clone())?;
        for (column, channel) in columns.iter().zip(&channels) {
            group.observe(*channel, time_ms, field(&record, *column).context(row.clone())?);
        }
        if number >= FIT_ROWS {
            rows.push(Row {
                time_ms,
                anomaly: field(&record, anomaly).context(row.clone())? != 0.0,
                changepoint: changepoint.map_or(Ok(0.0), |at| field(&record, at)).context(row)? != 0.0,
                flagged: group.is_active(),
            });
        }
    }
    Ok(Some(Recording { name, rows }))
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
        assert!((one.false_alarms() - 100.0 / 3.0).abs() < 1e-9 && (one.missed_alarms() - 100.0 / 3.0).abs() < 1e-9);
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
