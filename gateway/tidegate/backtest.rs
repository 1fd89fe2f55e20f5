//! `tidegate backtest`: a changed configuration over recorded data: which alerts it would have
//! raised, which not any more. Both sides run the very fold of a gateway over the same readings
//! at the same moments; only the configuration differs.
//!
//! `--log DIR` names a gateway's data dir; it is read in `main.rs`, where the word has its other meaning too.

use crate::history;
use crate::outcome::{Failure, print};
use crate::replay::recording::{Choice, Recording, Row};
use crate::words;
use anyhow::{Context as _, anyhow};
use detect::alarm::{HELD, SHOWN};
use replica::alert::{AlertBody, severity};
use replica::fold::FoldConfig;
use replica::record::{FLAG_AHEAD, Record};
use replica::rehearse::Rehearsal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The boots of a log are told apart from those of a backtest.
const BOOT: u64 = 2;

/// `--log DIR | --csv FILE`, `--config NEW.toml [--against OLD.toml] [--json]`. A log is compared with the
/// configurations that its gateway ran with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A recorded CSV with a time column. Compared with a gateway without any configuration.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// The changed configuration of a gateway.
    #[arg(long, value_name = "NEW.toml")]
    config: PathBuf,

    /// Compare with this configuration instead.
    #[arg(long, value_name = "OLD.toml")]
    against: Option<PathBuf>,

    /// Names of a CSV's series; {column} becomes the column's name.
    #[arg(long, value_name = "TEMPLATE", default_value = "{column}")]
    series: String,

    /// The CSV's time column; by default the one called datetime, timestamp, time, ts or date.
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,

    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// One side: a gateway under one configuration, and what it told.
#[derive(Default)]
struct Side {
    /// Settings that replace those that were recorded.
    config: Option<FoldConfig>,
    gateway: Option<Rehearsal>,
    raised: Vec<AlertBody>,
    /// What detectors in shadow would have told.
    shadow: Vec<AlertBody>,
}

impl Side {
    fn gateway(&mut self) -> Result<&mut Rehearsal, Failure> {
        self.gateway.as_mut().ok_or_else(|| Failure::Running(anyhow!("the recording has no beginning")))
    }

    /// Keeps what was raised; ends follow from it.
    fn drain(&mut self) {
        if let Some(gateway) = &mut self.gateway {
            self.raised.extend(gateway.fold.fresh.drain(..).map(|(_, alert)| alert).filter(|alert| alert.state == 0));
            self.shadow.extend(gateway.fold.fresh_shadow.drain(..).map(|(_, alert)| alert).filter(|alert| alert.state == 0));
        }
    }
}

/// Runs both sides and prints the difference.
///
/// # Errors
/// [`Failure::Usage`] for a configuration or a recording that is wrong, [`Failure::Running`] for
/// one that cannot be read.
pub fn run(arguments: &Arguments, log_dir: Option<PathBuf>) -> Result<(), Failure> {
    let new = Side { config: Some(load(&arguments.config)?), ..Side::default() };
    let old = Side { config: arguments.against.as_deref().map(load).transpose()?, ..Side::default() };
    let mut sides = [old, new];
    match (log_dir, &arguments.csv) {
        (Some(dir), None) => log(&dir, &mut sides)?,
        (None, Some(file)) => csv(file, arguments, &mut sides)?,
        _ => return Err(Failure::Usage(anyhow!("name one thing to run over: --log DIR (a gateway's data dir) or --csv FILE"))),
    }
    let [old, new] = sides;
    report(arguments.json, old.raised, new.raised, &new.shadow)
}

fn load(file: &Path) -> Result<FoldConfig, Failure> {
    edge::config::load(file, &[]).map(|config| config.fold()).map_err(|errors| Failure::Usage(anyhow!("{errors}")))
}

/// Feeds a gateway's log, record by record, at the clock of each.
fn log(dir: &Path, sides: &mut [Side; 2]) -> Result<(), Failure> {
    let sides = std::cell::RefCell::new(sides);
    let clock = std::cell::Cell::new(0_i64);
    history::each_frame(
        dir,
        |before| {
            clock.set(before.clock_ms);
            for side in sides.borrow_mut().iter_mut().filter(|_| before.lsn > 0) {
                let mut gateway = Rehearsal::resume(before.clone());
                if let Some(config) = &side.config {
                    gateway.boot(before.clock_ms, BOOT, config.clone()).map_err(anyhow::Error::from)?;
                }
                side.gateway = Some(gateway);
            }
            Ok(())
        },
        |frame| {
            for (_, kind, payload) in frame.records() {
                let (advance_ms, record) = Record::decode(kind, payload).map_err(anyhow::Error::from)?;
                clock.set(clock.get().saturating_add(i64::try_from(advance_ms).unwrap_or(i64::MAX)));
                for side in sides.borrow_mut().iter_mut() {
                    feed(side, clock.get(), &record)?;
                    side.drain();
                }
            }
            Ok(())
        },
    )
}

/// One record of a log; what is no business of detection is passed over.
fn feed(side: &mut Side, clock_ms: i64, record: &Record<'_>) -> Result<(), Failure> {
    match record {
        Record::Boot { boot, config, .. } => {
            let recorded = FoldConfig::decode(config).map_err(anyhow::Error::from)?;
            let config = side.config.clone().unwrap_or(recorded);
            match &mut side.gateway {
                Some(gateway) => gateway.boot(clock_ms, *boot, config).map_err(anyhow::Error::from)?,
                none => *none = Some(Rehearsal::new(clock_ms, config).map_err(anyhow::Error::from)?),
            }
        }
        Record::Message { flags, readings, .. } => {
            // As one that stays: nothing is kept for a cloud. How it was dated holds.
            let record = Record::Message { flags: flags & FLAG_AHEAD, session: 0, packet_id: 0, readings: *readings };
            side.gateway()?.record(clock_ms, &record).map_err(anyhow::Error::from)?;
        }
        Record::Series { .. } | Record::Unit { .. } | Record::ClockSet { .. } | Record::Away { .. } | Record::Tick => {
            side.gateway()?.record(clock_ms, record).map_err(anyhow::Error::from)?;
        }
        _ => {}
    }
    Ok(())
}

/// Feeds a CSV: each row arrives at its time.
fn csv(file: &Path, arguments: &Arguments, sides: &mut [Side; 2]) -> Result<(), Failure> {
    let choice = Choice { delimiter: None, time_column: arguments.time_column.as_deref(), columns: &[] };
    let mut recording = Recording::open(file, &choice)?;
    if !recording.has_time() {
        return Err(Failure::Usage(anyhow!("{}: there is no time column; name it with --time-column", file.display())));
    }
    if recording.columns().len() > 1 && !arguments.series.contains("{column}") {
        return Err(Failure::Usage(anyhow!("--series {:?} gives all columns one name; write {{column}} in it", arguments.series)));
    }
    let names = recording.columns().iter().map(|column| arguments.series.replace("{column}", column)).collect::<Vec<_>>();
    let mut row = Row::default();
    while recording.next(&mut row)? {
        let Some(time_ms) = row.time_ms else { continue };
        for side in sides.iter_mut() {
            if side.gateway.is_none() {
                let config = side.config.clone().unwrap_or_default();
                let mut gateway = Rehearsal::new(time_ms, config).map_err(anyhow::Error::from)?;
                for name in &names {
                    gateway.series(name, None).map_err(anyhow::Error::from)?;
                }
                side.gateway = Some(gateway);
            }
            let values = row.values.iter().filter_map(|(column, value)| Some((*column as u32, time_ms, value.parse().ok()?)));
            side.gateway()?.message(time_ms, values).with_context(|| file.display().to_string())?;
            side.drain();
        }
    }
    Ok(())
}

/// What is the same in two runs: not the sentence, whose numbers follow from the limits.
fn key(alert: &AlertBody) -> (String, String, i64) {
    (alert.series.clone(), alert.kind.clone(), alert.time_ms)
}

/// Alerts of the first that the second lacks.
fn without<'a>(these: &'a [AlertBody], those: &[AlertBody]) -> Vec<&'a AlertBody> {
    let mut left = BTreeMap::<_, usize>::new();
    those.iter().for_each(|alert| *left.entry(key(alert)).or_default() += 1);
    let is_there = |alert: &&AlertBody| match left.get_mut(&key(alert)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    these.iter().filter(is_there).collect()
}

/// Whether people would be told of it by itself.
fn is_shown(alert: &AlertBody) -> bool {
    alert.alarm.as_ref().is_none_or(|note| note.held == SHOWN)
}

/// Why it is not shown, in a word.
fn held(alert: &AlertBody) -> Option<&'static str> {
    let why = alert.alarm.as_ref()?.held;
    (why != SHOWN).then(|| HELD.get(usize::from(why)).copied().unwrap_or("held back"))
}

/// What two runs differ in. What is held back is told to nobody: to begin or cease to be is a difference.
struct Difference {
    same: usize,
    gone: Vec<AlertBody>,
    added: Vec<AlertBody>,
    /// Held back by the old configuration, and by the new one.
    old_held: Vec<AlertBody>,
    new_held: Vec<AlertBody>,
}

impl Difference {
    fn of(old: Vec<AlertBody>, new: Vec<AlertBody>) -> Self {
        let (old, old_held): (Vec<_>, Vec<_>) = old.into_iter().partition(is_shown);
        let (new, new_held): (Vec<_>, Vec<_>) = new.into_iter().partition(is_shown);
        let own = |alerts: Vec<&AlertBody>| alerts.into_iter().cloned().collect::<Vec<_>>();
        let (gone, added) = (own(without(&old, &new)), own(without(&new, &old)));
        Self { same: new.len() - added.len(), gone, added, old_held, new_held }
    }
}

fn report(as_json: bool, old: Vec<AlertBody>, new: Vec<AlertBody>, shadow: &[AlertBody]) -> Result<(), Failure> {
    let Difference { same, gone, added, old_held, new_held } = Difference::of(old, new);
    if as_json {
        let list = |alerts: &[AlertBody]| alerts.iter().map(alert_json).collect::<Vec<_>>();
        let (gone, added, held) = (list(&gone), list(&added), list(&new_held));
        return print(&json!({"same": same, "gone": gone, "added": added, "held": held, "shadow": list(shadow)}).to_string());
    }
    for (sign, alerts, others) in [('-', &*gone, &*new_held), ('+', &*added, &*old_held), ('~', shadow, &[])] {
        for alert in alerts {
            let time = words::moment(alert.time_ms);
            let other = others.iter().find(|other| key(other) == key(alert)).and_then(held);
            let other = other.map_or(String::new(), |why| format!("; {} held back: {why}", if sign == '-' { "now" } else { "was" }));
            print(&words::harmless(&format!("{sign} {time}  {} {}: {}{other}", alert.series, alert.kind, alert.message)))?;
        }
    }
    let mut rest = String::new();
    for (count, what) in [(new_held.len(), "held back"), (shadow.len(), "in shadow")] {
        rest += &if count == 0 { String::new() } else { format!(", {count} {what}") };
    }
    print(&format!("{same} alerts the same, {} gone, {} added{rest}", gone.len(), added.len()))
}

fn alert_json(alert: &AlertBody) -> Value {
    let mut json = json!({
        "series": alert.series, "kind": alert.kind, "severity": severity(alert), "time": alert.time_ms,
        "value": replica::alert::number(alert.value), "message": alert.message,
    });
    if let Some(why) = held(alert) {
        json["held"] = why.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use replica::alert::AlertBody;
    use schemas::message::AlarmNote;

    fn alert(time_ms: i64, held: u8) -> AlertBody {
        let note = AlarmNote { at_ms: time_ms, held, count: 1, flags: 0, group: None };
        let text = String::new;
        AlertBody {
            boot: 1,
            seq: 1,
            ordinal: 0,
            series: text(),
            severity: 1,
            kind: text(),
            state: 0,
            time_ms,
            value: 1.0,
            limit: None,
            unit: None,
            message: text(),
            score: None,
            baseline: None,
            alarm: Some(note),
            contributors: Vec::new(),
        }
    }

    #[test]
    fn what_a_configuration_holds_back_is_a_difference() {
        let suppressed = 4;
        let old = vec![alert(1, SHOWN), alert(2, SHOWN), alert(3, suppressed), alert(4, suppressed)];
        let new = vec![alert(1, SHOWN), alert(2, suppressed), alert(3, SHOWN), alert(4, suppressed)];
        let times = |alerts: &[AlertBody]| alerts.iter().map(|alert| alert.time_ms).collect::<Vec<_>>();
        let all = Difference::of(old, new);
        assert_eq!((all.same, times(&all.gone), times(&all.added), times(&all.new_held)), (1, vec![2], vec![3], vec![2, 4]));
        assert_eq!(held(&all.new_held[0]), Some("suppressed"));
    }
}
