//! `tidegate alarms`: the alarms of a running gateway or bridge and the standard's figures, and
//! what people do about them.

use crate::outcome::{Failure, print};
use crate::web::{encoded, host_of, request};
use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// `--url http://H:P [--json] [ack|shelve|unshelve|out-of-service|return ALARM …]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The role's HTTP address; run.json in its data dir names it.
    #[arg(long, value_name = "http://HOST:PORT", global = true)]
    url: Option<String>,

    /// Print JSON: the list of alarms, or the alarm after what was done.
    #[arg(long, global = true)]
    json: bool,

    /// With those in peace, too.
    #[arg(long)]
    all: bool,

    #[command(subcommand)]
    act: Option<Act>,
}

/// Who does what to which alarm, and why.
#[derive(Debug, clap::Args)]
struct What {
    /// GATEWAY/SERIES/KIND, such as plant-a/line1/press3/temperature/high-high.
    alarm: String,

    /// Who does it.
    #[arg(long, value_name = "NAME")]
    by: String,

    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Acknowledge: you know.
    Ack(What),
    /// Put aside for a time: its alerts are not shown.
    Shelve {
        #[command(flatten)]
        what: What,
        /// For how long, such as 30m.
        #[arg(long = "for", value_name = "DURATION")]
        long: String,
    },
    /// Take off the shelf before its time.
    Unshelve(What),
    /// Take out of service until it is returned.
    OutOfService(What),
    /// Return to service.
    Return(What),
}

/// Lists the alarms, or does something to one.
///
/// # Errors
/// [`Failure::Usage`] for a command line that cannot be, [`Failure::Running`] when the role does
/// not answer well, or does not do it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let url = arguments.url.as_deref().ok_or_else(|| Failure::Usage(anyhow!("--url is missing; write --url http://HOST:PORT")))?;
    let host = host_of(url).map_err(Failure::Usage)?;
    match &arguments.act {
        None => list(&host, arguments),
        Some(act) => done(&host, act, arguments.json),
    }
}

fn ask(host: &str, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
    let answer = request(host, method, path, body).with_context(|| format!("no answer from {host}"))?;
    let json = serde_json::from_slice::<Value>(&answer.body);
    if answer.code != 200 {
        let why = json.as_ref().ok().and_then(|json| json["error"].as_str()).map(str::to_owned);
        let why = why.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).trim().to_owned());
        return Err(anyhow!("it answered {}: {why}", answer.code));
    }
    json.with_context(|| format!("the answer of {host} is no JSON"))
}

fn list(host: &str, arguments: &Arguments) -> Result<(), Failure> {
    let path = if arguments.all { "/api/v1/alarms?state=all" } else { "/api/v1/alarms" };
    let alarms = ask(host, "GET", path, "")?;
    if arguments.json {
        return print(&serde_json::to_string_pretty(&alarms).map_err(anyhow::Error::from)?);
    }
    let figures = ask(host, "GET", "/api/v1/alarms/kpi", "")?;
    print(human(&alarms, &figures).trim_end())
}

fn done(host: &str, act: &Act, as_json: bool) -> Result<(), Failure> {
    let (verb, what, long) = match act {
        Act::Ack(what) => ("ack", what, None),
        Act::Shelve { what, long } => ("shelve", what, Some(long)),
        Act::Unshelve(what) => ("unshelve", what, None),
        Act::OutOfService(what) => ("out-of-service", what, None),
        Act::Return(what) => ("return", what, None),
    };
    let mut body = json!({ "by": what.by, "reason": what.reason });
    if let Some(long) = long {
        body["for"] = long.as_str().into();
    }
    let path = format!("/api/v1/alarms/{}/{verb}", encoded(&what.alarm));
    let alarm = ask(host, "POST", &path, &body.to_string())?;
    match as_json {
        true => print(&serde_json::to_string_pretty(&alarm).map_err(anyhow::Error::from)?),
        false => print(line(&alarm).trim_end()),
    }
}

fn moment(ms: &Value) -> String {
    let time = ms.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms / 1_000 * 1_000).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

fn line(alarm: &Value) -> String {
    let text = |key: &str| alarm[key].as_str().unwrap_or("-");
    let name = format!("{}/{}/{}", text("gateway"), text("series"), text("kind"));
    let mut out = format!("{:<9} {:<15} {}  {name}\n", text("priority"), text("state"), moment(&alarm["since"]));
    let mut notes = Vec::new();
    if alarm["state"] != "normal" {
        notes.push(text("message").to_owned());
    }
    if let Some(who) = alarm["acknowledged_by"].as_str() {
        notes.push(format!("acknowledged by {who}"));
    }
    if let Some(who) = alarm["shelved_by"].as_str() {
        notes.push(format!("shelved by {who} until {}", moment(&alarm["shelved_until"])));
    }
    if let Some(who) = alarm["out_of_service_by"].as_str() {
        notes.push(format!("taken out of service by {who}"));
    }
    if let Some(why) = ["out_of_service_reason", "shelved_reason"].iter().find_map(|key| alarm[*key].as_str()) {
        notes.push(why.to_owned());
    }
    if alarm["chattering"] == true {
        notes.push("chatters".to_owned());
    }
    match (alarm["first"].as_bool(), alarm["consequences"].as_u64()) {
        (Some(true), Some(count)) => notes.push(format!("came first, {count} followed")),
        (Some(false), _) => notes.push(format!("follows {}", text("group"))),
        _ => {}
    }
    if alarm["pending"].as_u64().is_some() {
        notes.push("on its way to the gateway".to_owned());
    }
    if !notes.is_empty() {
        let _ = writeln!(out, "{:26}{}", "", notes.join("; "));
    }
    out
}

fn human(alarms: &Value, figures: &Value) -> String {
    let mut out = String::new();
    let empty = Vec::new();
    let alarms = alarms.as_array().unwrap_or(&empty);
    if alarms.is_empty() {
        out.push_str("no alarms\n");
    }
    alarms.iter().for_each(|alarm| out.push_str(&line(alarm)));
    for kpi in figures.as_array().unwrap_or(&empty) {
        let whole = |key: &str| kpi[key].as_u64().unwrap_or(0);
        let _ = writeln!(out, "\n{}, in the last day", kpi["gateway"].as_str().unwrap_or("-"));
        let flood = settings::unit::duration_text(i64::try_from(whole("flood_s")).unwrap_or(i64::MAX).saturating_mul(1_000));
        let _ = writeln!(
            out,
            "  average {:.1} in 10 min, peak {}, raised {}; floods {}, {:.1} % of the time ({flood}){}",
            kpi["average_per_10min"].as_f64().unwrap_or(0.0),
            whole("peak_per_10min"),
            whole("raised_day"),
            whole("floods_day"),
            kpi["flood_share"].as_f64().unwrap_or(0.0) * 100.0,
            if kpi["in_flood"] == true { ", one now" } else { "" },
        );
        let names = |key: &str| {
            let list = kpi[key].as_array().into_iter().flatten();
            let name = |one: &Value| {
                let count = one["count"].as_u64().map_or(String::new(), |count| format!(" ({count})"));
                format!("{}/{}{count}", one["series"].as_str().unwrap_or("-"), one["kind"].as_str().unwrap_or("-"))
            };
            list.map(name).collect::<Vec<_>>().join(", ")
        };
        for (what, key) in [("most often", "top"), ("chattering", "chattering"), ("stale", "stale")] {
            let names = names(key);
            if !names.is_empty() {
                let _ = writeln!(out, "  {what}: {names}");
            }
        }
        if let Some(held) = kpi["held"].as_object().filter(|held| !held.is_empty()) {
            let held = held.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "  alerts not shown: {held}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_what_counts() {
        let alarm = json!({"gateway":"plant-a","series":"line1/press3/temperature","kind":"high-high","priority":"critical","state":"shelved",
            "since":1_700_000_000_123i64,"message":"97 °C is above 95 °C","shelved_by":"ann","shelved_until":1_700_003_600_000i64,
            "shelved_reason":"repair","first":true,"consequences":2});
        let kpi = json!({"gateway":"plant-a","average_per_10min":1.25,"peak_per_10min":9,"flood_s":600,"flood_share":0.5,
            "top":[{"series":"a","kind":"high","count":4}],"held":{"flood":3}});
        let text = human(&json!([alarm]), &json!([kpi]));
        for part in [
            "critical",
            "shelved by ann until 2023-11-14T23:13:20Z",
            "repair",
            "came first, 2 followed",
            "average 1.2 in 10 min",
            "a/high (4)",
            "3 flood",
            "(10m)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(encoded("a b/°/x%"), "a%20b/%C2%B0/x%25");
    }
}
