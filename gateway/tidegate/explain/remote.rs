//! `tidegate explain SERIES --url URL`: the same of a running role, from its list of alarms. It keeps
//! the newest alert of each alarm, so a past one is explained from the log alone.

use crate::outcome::{Failure, print};
use crate::web;
use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How far back another alarm may have been a cause.
const BEFORE_MS: i64 = 86_400_000;
/// Alarms of the day before that are named.
const NAMED_MAX: usize = 20;

/// Explains the newest alert of a series that a role knows.
pub(super) fn run(url: &str, series: &str, until_ms: Option<i64>, as_json: bool) -> Result<(), Failure> {
    let host = web::host_of(url).map_err(Failure::Usage)?;
    let answer = web::request(&host, "GET", "/api/v1/alarms?state=all", "").with_context(|| format!("{url} does not answer"))?;
    if answer.code != 200 {
        return Err(Failure::Running(anyhow!("{url} answers {}", answer.code)));
    }
    let list: Vec<Value> = serde_json::from_slice(&answer.body).with_context(|| format!("{url} answers no list of alarms"))?;
    let raised = |alarm: &Value| alarm["raised"].as_i64();
    let in_time = |alarm: &&Value| raised(alarm).is_some_and(|at| until_ms.is_none_or(|until| at <= until));
    let Some(alarm) = list.iter().filter(|alarm| alarm["series"] == series).filter(in_time).max_by_key(|alarm| raised(alarm)) else {
        return match as_json {
            true => print(&json!({"series": series, "alert": null}).to_string()),
            false => print(&format!("{series}: {url} knows no alarm of it; explain --data-dir reads the whole log")),
        };
    };
    let at_ms = raised(alarm).unwrap_or_default();
    let detector = alarm["kind"].as_str().and_then(detect::about::detector);
    let of_the_day =
        |other: &&Value| *other != alarm && raised(other).is_some_and(|at| (at_ms.saturating_sub(BEFORE_MS)..=at_ms).contains(&at));
    let mut before = list.iter().filter(of_the_day).collect::<Vec<_>>();
    before.sort_by_key(|other| std::cmp::Reverse(raised(other)));
    match as_json {
        true => print(&json!({"alert": alarm, "since": super::moment(at_ms), "detector": detector, "before": before}).to_string()),
        false => print(text(alarm, detector, &before).trim_end()),
    }
}

fn text(alarm: &Value, detector: Option<String>, before: &[&Value]) -> String {
    let word = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let at = |of: &Value, key: &str| of[key].as_i64().map(super::moment);
    let unit = alarm["unit"].as_str().map_or(String::new(), |unit| format!(" {unit}"));
    let mut out = format!("{}: {} ({})\n", word(alarm, "series"), word(alarm, "kind"), word(alarm, "priority"));
    let mut line = |name: &str, value: String| writeln!(out, "  {name:10}{value}").unwrap_or_default();
    line("why", word(alarm, "message"));
    line("since", at(alarm, "raised").unwrap_or_default());
    line("until", at(alarm, "cleared").unwrap_or_else(|| "now: it is not over".to_owned()));
    line("seen", format!("{}{unit}", alarm["value"]));
    if !alarm["limit"].is_null() {
        line("limit", format!("{}{unit}", alarm["limit"]));
    }
    if let Some(detector) = detector {
        line("detector", detector);
    }
    line("state", word(alarm, "state"));
    for verb in ["acknowledged", "shelved", "out_of_service", "suppressed"] {
        if let Some(by) = alarm[format!("{verb}_by")].as_str() {
            line("", format!("{verb} by {by}: {}", word(alarm, &format!("{verb}_reason"))));
        }
    }
    line("raised", format!("{} times, {} of them in the last day", alarm["count"], alarm["count_day"]));
    out.push_str("the day before:\n");
    for other in before.iter().take(NAMED_MAX) {
        let time = at(other, "raised").unwrap_or_default();
        writeln!(out, "  {time}  {} {}: {}", word(other, "series"), word(other, "kind"), word(other, "message")).unwrap_or_default();
    }
    match before.len() {
        0 => out.push_str("  no other alarm\n"),
        count if count > NAMED_MAX => writeln!(out, "  and {} before these", count - NAMED_MAX).unwrap_or_default(),
        _ => {}
    }
    out
}
