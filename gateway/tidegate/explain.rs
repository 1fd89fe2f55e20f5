//! `tidegate explain`: why an alert was raised: what was seen, what was expected, since when,
//! which detector said so with which parameters, and what changed the day before.
//!
//! | file | subject |
//! |---|---|
//! | `remote.rs` | the same of a running role, by its list of alarms |
//! | `quantities.rs` | what was seen and what was expected, as one quantity |
//! | `text.rs` | an explanation for a person |

mod quantities;
mod remote;
mod text;

use crate::history::{self, History};
use crate::outcome::{Failure, print};
use crate::words::{self, moment};
use anyhow::anyhow;
use detect::LimitRule;
use replica::alert::{AlertBody, topic_and_json};
use replica::machine::is_of;
use serde_json::{Value, json};
use settings::nearest::nearest;
use std::path::{Path, PathBuf};

/// How far back something may have been a cause.
const BEFORE_MS: i64 = 86_400_000;
/// Alerts, and starts, of the day before that are named; the rest is counted.
const NAMED_MAX: usize = 20;

/// `SERIES [TIME] --data-dir DIR | --url URL [--json]`
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("place").required(true))]
pub struct Arguments {
    /// The series, or a machine: the prefix of its series.
    #[arg(value_name = "SERIES")]
    series: String,

    /// Explain the last alert raised up to this time (RFC 3339; without a zone it is UTC); else the last of all.
    #[arg(value_name = "TIME")]
    time: Option<String>,

    /// The gateway's data dir; it may be running. It knows every alert that the log reaches back to.
    #[arg(long, value_name = "DIR", group = "place")]
    data_dir: Option<PathBuf>,

    /// A running gateway or bridge instead: it knows the newest alert of each alarm.
    #[arg(long, value_name = "http://HOST:PORT", group = "place")]
    url: Option<String>,

    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// What is known of one alert.
struct Explanation<'a> {
    alert: &'a AlertBody,
    ended: Option<&'a AlertBody>,
    rule: Option<&'a LimitRule>,
    /// Other alerts of its machine in the day before, latest first.
    before: Vec<&'a AlertBody>,
    /// Starts of the gateway in that day, with what is different from the start before.
    changes: Vec<(i64, u64, Vec<String>)>,
}

/// Explains an alert.
///
/// # Errors
/// [`Failure::Usage`] for a series that is not there or a time that is none, [`Failure::Running`]
/// for a log that cannot be read.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let until_ms = arguments.time.as_deref().map(moment_ms).transpose()?;
    let Some(data_dir) = &arguments.data_dir else {
        return remote::run(arguments.url.as_deref().unwrap_or_default(), &arguments.series, until_ms, arguments.json);
    };
    let history = history::read(data_dir)?;
    let Some(explanation) = explain(&history, &arguments.series, until_ms) else {
        return nothing(arguments, &history);
    };
    show(&as_json(&explanation, gateway(data_dir).as_deref()), arguments.json)
}

fn show(explanation: &Value, as_json: bool) -> Result<(), Failure> {
    match as_json {
        true => print(&explanation.to_string()),
        false => print(text::text(&words::harmless_json(explanation.clone())).trim_end()),
    }
}

/// The name of the gateway that a data dir is of, where it is known: its owner says.
fn gateway(data_dir: &Path) -> Option<String> {
    let owner = journal::owner::of(data_dir).ok().flatten()?;
    owner.strip_prefix("gateway ").map(str::to_owned)
}

/// The machine that an alert is about; a series that stands alone is one.
fn machine_of<'a>(series: &'a str, kind: &str) -> &'a str {
    detect::alarm::machine(series, kind).unwrap_or(series)
}

/// No alert: says what is known of the series.
fn nothing(arguments: &Arguments, history: &History) -> Result<(), Failure> {
    let series = &arguments.series;
    let known = history.fold.series.iter().find(|one| one.name == *series);
    if !history.fold.series.iter().any(|one| is_of(&one.name, series)) {
        let names = history.fold.series.iter().map(|one| one.name.as_str());
        let hint = nearest(series, names).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        return Err(Failure::Usage(anyhow!("the log has no series {series:?}{hint}")));
    }
    let cut = if history.is_cut { ", as far back as the log reaches" } else { "" };
    let last = known.and_then(|one| one.last).map(|(time_ms, value)| (moment(time_ms), value));
    if arguments.json {
        let last = last.map(|(time, value)| json!({"time": time, "value": value}));
        return print(&json!({"series": series, "alert": null, "last": last, "cut": history.is_cut}).to_string());
    }
    let last = last.map_or(String::new(), |(time, value)| format!("; its last reading is {}, of {time}", words::number(value)));
    let until = arguments.time.as_ref().map_or(String::new(), |time| format!(" up to {time}"));
    print(&words::harmless(&format!("{series}: no alert was raised{until}{cut}{last}")))
}

fn explain<'a>(history: &'a History, series: &str, until_ms: Option<i64>) -> Option<Explanation<'a>> {
    let in_time = |alert: &AlertBody| until_ms.is_none_or(|until| alert.time_ms <= until);
    let concerns = |alert: &AlertBody| alert.series == series || alert.contributors.iter().any(|one| one.series == series);
    let raised = || history.alerts.iter().enumerate().filter(|(_, alert)| alert.state == 0 && in_time(alert));
    // A machine has alerts of its own; without, those of its series are meant.
    let own = raised().rfind(|(_, alert)| concerns(alert));
    let (at, alert) = own.or_else(|| raised().rfind(|(_, alert)| is_of(&alert.series, series)))?;
    let same = |other: &&AlertBody| other.series == alert.series && other.kind == alert.kind;
    let ended = history.alerts[at + 1..].iter().find(same).filter(|other| other.state == 1);
    let (from_ms, to_ms) = (alert.time_ms.saturating_sub(BEFORE_MS), alert.time_ms);
    let machine = machine_of(&alert.series, &alert.kind);
    let related = |other: &&AlertBody| other.state == 0 && (from_ms..=to_ms).contains(&other.time_ms) && is_of(&other.series, machine);
    let before = history.alerts[..at].iter().rev().filter(related);
    // An alert of a recording's own time is far from the boots' clock: then all boots count.
    let own_boot = history.boots.iter().position(|(_, boot, _)| *boot == alert.boot).unwrap_or(0);
    let changes = history.boots.iter().enumerate().take(own_boot + 1).filter(|(_, (clock_ms, ..))| *clock_ms >= from_ms);
    let changes = changes.map(|(at, (clock_ms, boot, config))| {
        let old = at.checked_sub(1).map(|at| &history.boots[at].2);
        (*clock_ms, *boot, old.map_or(Vec::new(), |old| old.differences(config)))
    });
    let config = history.boots.get(own_boot).map_or(&history.fold.config, |(.., config)| config);
    Some(Explanation { alert, ended, rule: config.detection.rule(&alert.series), before: before.collect(), changes: changes.collect() })
}

/// The detector and, of a limit, its rule.
fn detector(kind: &str, baseline: Option<f64>, rule: Option<&str>) -> Option<String> {
    let about = detect::about::detector(kind, baseline)?;
    Some(rule.map_or(about.clone(), |rule| format!("{about}: {rule}")))
}

fn as_json(explanation: &Explanation<'_>, gateway: Option<&str>) -> Value {
    // Without its name an alert's is not whole: what is not known is left out.
    let alert = |alert: &AlertBody| {
        let mut json = serde_json::from_str::<Value>(&topic_and_json(gateway.unwrap_or_default(), alert).1).unwrap_or_default();
        if gateway.is_none()
            && let Some(fields) = json.as_object_mut()
        {
            fields.remove("gateway");
            fields.insert("id".to_owned(), json!(format!("{:016x}/{}/{}", alert.boot, alert.seq, alert.ordinal)));
        }
        json
    };
    let rule = explanation.rule.filter(|_| explanation.alert.limit.is_some()).map(ToString::to_string);
    let shown = alert(explanation.alert);
    let (seen, expected) = quantities::of(&shown);
    let starts_more = explanation.changes.len().saturating_sub(NAMED_MAX);
    json!({
        "alert": shown,
        "seen": seen,
        "expected": expected,
        "since": moment(explanation.alert.time_ms),
        "until": explanation.ended.map(|ended| moment(ended.time_ms)),
        "until_message": explanation.ended.map(|ended| ended.message.as_str()),
        "detector": detector(&explanation.alert.kind, explanation.alert.baseline, rule.as_deref()),
        "machine": machine_of(&explanation.alert.series, &explanation.alert.kind),
        "before": explanation.before.iter().take(NAMED_MAX).map(|other| alert(other)).collect::<Vec<_>>(),
        "before_more": explanation.before.len().saturating_sub(NAMED_MAX),
        "starts": explanation.changes.iter().skip(starts_more).map(|(clock_ms, boot, changed)| {
            json!({"time": moment(*clock_ms), "boot": format!("{boot:016x}"), "changed": changed})
        }).collect::<Vec<_>>(),
        "starts_more": starts_more,
    })
}

fn moment_ms(text: &str) -> Result<i64, Failure> {
    crate::replay::moment::parse(text)
        .ok_or_else(|| Failure::Usage(anyhow!("{text:?} is no time; write it as 2026-01-31T12:00:00Z, or milliseconds since 1970")))
}
