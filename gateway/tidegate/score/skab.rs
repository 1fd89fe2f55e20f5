//! SKAB: outliers row by row (F1, false-alarm rate, missed-alarm rate, pooled over files) and
//! changepoints by the benchmark's variant of the NAB score: a window of 60 s behind each
//! changepoint, a tanh that falls from 1 to the cost of a false alarm, the first hit counts.
//!
//! The channels are series of one machine of a gateway; a row is flagged while the machine's
//! `group` alert is active.

mod metric;

use super::{Arguments, Sheet, field, name, output, recordings, time_ms};
use crate::outcome::{Failure, print};
use anyhow::{Context as _, anyhow};
use metric::{Changepoints, Outliers, PROFILES, Row};
use serde_json::json;

/// Rows of each file that only teach.
const FIT_ROWS: usize = 400;

/// One recording, and what the detector said of its rows.
struct Recording {
    name: String,
    rows: Vec<Row>,
    /// Of all rows, those that teach too.
    scores: Vec<f64>,
}

impl Recording {
    fn scored(&self) -> &[Row] {
        self.rows.get(FIT_ROWS..).unwrap_or_default()
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut all = Vec::new();
    for path in recordings(arguments)? {
        let name = name(&path, &arguments.dir);
        let sheet = Sheet::read(&path).with_context(|| path.display().to_string())?;
        let Some(recording) = read(&sheet, name).with_context(|| path.display().to_string())? else {
            tracing::warn!("{} is left out: it has no columns datetime and anomaly", path.display());
            continue;
        };
        if let Some(out) = &arguments.out {
            let said = recording.scores.iter().zip(&recording.rows).map(|(score, row)| (*score, row.flagged));
            output::write(out, &recording.name, &sheet, said)?;
        }
        all.push(recording);
    }
    if all.is_empty() {
        let dir = arguments.dir.display();
        return Err(Failure::Usage(anyhow!(
            "{dir} holds no recordings of SKAB; they have columns datetime, channels, anomaly, changepoint"
        )));
    }
    report(arguments, &all)
}

fn report(arguments: &Arguments, all: &[Recording]) -> Result<(), Failure> {
    let outliers = all.iter().map(|recording| Outliers::of(recording.scored())).collect::<Vec<_>>();
    let total = Outliers::pooled(outliers.iter().copied());
    let nab = PROFILES.map(|(_, fp, missed)| Changepoints::pooled(all.iter().map(|one| Changepoints::of(one.scored(), fp, missed))));
    let folds = left_out(&outliers);
    let rows = all.iter().map(|one| one.scored().len()).sum::<usize>();
    if arguments.json {
        let json = json!({
            "f1": total.f1(), "far": total.false_alarms(), "mar": total.missed_alarms(),
            "changepoint": {"standard": nab[0], "low_fp": nab[1], "low_fn": nab[2]},
            "files": all.len(), "rows": rows,
            "one_file_left_out": folds.map(|[f1, far, mar]| json!({"f1": [f1.0, f1.1], "far": [far.0, far.1], "mar": [mar.0, mar.1]})),
        });
        return print(&json.to_string());
    }
    if arguments.files {
        print(&format!("{:24} {:>6} {:>7} {:>7}", "recording", "F1", "FAR %", "MAR %"))?;
        for (recording, one) in all.iter().zip(&outliers) {
            let (f1, far, mar) = (one.f1(), 100.0 * one.false_alarms(), 100.0 * one.missed_alarms());
            print(&format!("{:24} {f1:6.3} {far:7.2} {mar:7.2}", recording.name))?;
        }
    }
    let percent = |(low, high): (f64, f64)| format!("{:.2} to {:.2} %", 100.0 * low, 100.0 * high);
    print(&format!("SKAB: {} recordings, {rows} scored rows (rows 0 to {} of each teach)", all.len(), FIT_ROWS - 1))?;
    print(&format!(
        "outlier      F1 {:.3}  FAR {:.2} %  MAR {:.2} %",
        total.f1(),
        100.0 * total.false_alarms(),
        100.0 * total.missed_alarms()
    ))?;
    match folds {
        Some([f1, far, mar]) => {
            print(&format!("  one file left out: F1 {:.3} to {:.3}, FAR {}, MAR {}", f1.0, f1.1, percent(far), percent(mar)))?;
        }
        None => print("  of one recording, none can be left out")?,
    }
    let said = PROFILES.iter().zip(nab).map(|((profile, ..), score)| format!("{profile} {score:.2}")).collect::<Vec<_>>();
    print(&format!("changepoint  NAB {}", said.join("  ")))
}

/// Lowest and highest F1, FAR and MAR of the recordings but one; none of a single recording.
fn left_out(outliers: &[Outliers]) -> Option<[(f64, f64); 3]> {
    let without = |left: usize| Outliers::pooled(outliers.iter().enumerate().filter(|(at, _)| *at != left).map(|(_, one)| *one));
    let folds = (0..outliers.len()).map(without).collect::<Vec<_>>();
    let range = |of: fn(Outliers) -> f64| folds.iter().map(|one| of(*one)).fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    (outliers.len() > 1).then(|| [range(Outliers::f1), range(Outliers::false_alarms), range(Outliers::missed_alarms)])
}

/// Runs a gateway over one recording; none for a CSV file that is not of this benchmark.
fn read(sheet: &Sheet, name: String) -> anyhow::Result<Option<Recording>> {
    let (Some(time), Some(anomaly)) = (sheet.column("datetime"), sheet.column("anomaly")) else {
        return Ok(None);
    };
    let changepoint = sheet.column("changepoint");
    let columns = (0..sheet.header.len()).filter(|at| ![Some(time), Some(anomaly), changepoint].contains(&Some(*at))).collect::<Vec<_>>();
    let mut gateway = None;
    // A gateway meets a series with its first reading.
    let mut numbers = vec![None; columns.len()];
    let mut recording = Recording { name, rows: Vec::new(), scores: Vec::new() };
    for (number, record) in sheet.rows.iter().enumerate() {
        let row = || format!("row {number}");
        let time_ms = time_ms(record.get(time).unwrap_or_default()).with_context(row)?;
        let gateway = match &mut gateway {
            Some(gateway) => gateway,
            none => none.insert(super::gateway(time_ms)?),
        };
        for (column, known) in columns.iter().zip(&mut numbers) {
            let Some(value) = field(record, *column).with_context(row)?.filter(|value| value.is_finite()) else { continue };
            let series = match *known {
                Some(series) => series,
                None => *known.insert(gateway.series(&format!("rig/{}", sheet.header[*column].trim()), None)?),
            };
            gateway.message(time_ms, [(series, time_ms, value)])?;
        }
        gateway.fold.fresh.clear();
        let group = gateway.fold.machines.of(0).map(|machine| &machine.group);
        recording.scores.push(group.map_or(0.0, |group| group.score()));
        let is_set = |at: usize| anyhow::Ok(field(record, at)?.is_some_and(|label| label != 0.0));
        recording.rows.push(Row {
            time_ms,
            anomaly: is_set(anomaly).with_context(row)?,
            changepoint: changepoint.map_or(Ok(false), is_set).with_context(row)?,
            flagged: group.is_some_and(|group| group.is_active()),
        });
    }
    Ok(Some(recording))
}
