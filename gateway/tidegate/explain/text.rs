//! An explanation for a person, from the same JSON that `--json` prints.

use crate::words;
use serde_json::Value;
use std::fmt::Write as _;

pub(super) fn text(explanation: &Value) -> String {
    let alert = &explanation["alert"];
    let word = |key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    let unit = alert["unit"].as_str().map_or(String::new(), |unit| format!(" {unit}"));
    let said = |key: &str| explanation[key].as_str().map(str::to_owned);
    let number = |value: &Value| value.as_f64().map(words::number);
    // Of an alert, or of an alarm in a role's list.
    let severity = alert["severity"].as_str().or_else(|| alert["priority"].as_str()).unwrap_or("-");
    let mut out = format!("{}: {} ({severity})\n", word("series"), word("kind"));
    let mut line = |name: &str, value: String| writeln!(out, "  {name:10}{value}").unwrap_or_default();
    line("why", word("message"));
    line("since", explanation["since"].as_str().unwrap_or_default().to_owned());
    match (explanation["until"].as_str(), explanation["until_message"].as_str()) {
        (Some(until), Some(message)) => line("until", format!("{until}: {message}")),
        (Some(until), None) => line("until", until.to_owned()),
        (None, _) => line("until", "now: it is not over".to_owned()),
    }
    let value = number(&alert["value"]).map_or_else(|| "-".to_owned(), |value| value + &unit);
    let seen = said("seen").unwrap_or_else(|| value.clone());
    let is_of_value = seen == value;
    line("seen", seen);
    if let Some(expected) = said("expected") {
        line("expected", expected);
    }
    if !is_of_value {
        line("value", value);
    }
    if let Some(limit) = number(&alert["limit"]) {
        line("limit", limit + &unit);
    }
    if let Some(score) = alert["score"].as_f64() {
        line("score", format!("{score:.2}"));
    }
    for one in alert["contributors"].as_array().into_iter().flatten() {
        let part = |key: &str| number(&one[key]).unwrap_or_default();
        line("by", format!("{}: {} (usual {} ± {})", one["series"].as_str().unwrap_or("-"), part("value"), part("usual"), part("sigma")));
    }
    if let Some(detector) = explanation["detector"].as_str() {
        line("detector", detector.to_owned());
    }
    if let Some(state) = alert["state"].as_str().filter(|_| alert["raised"].is_i64()) {
        line("state", state.to_owned());
    }
    for verb in ["acknowledged", "shelved", "out_of_service", "suppressed"] {
        if let Some(by) = alert[format!("{verb}_by")].as_str() {
            let at = alert[format!("{verb}_at")].as_i64().map_or(String::new(), |at| format!(", {}", words::moment(at)));
            let why = alert[format!("{verb}_reason")].as_str().map_or(String::new(), |why| format!(": {why}"));
            line("", format!("{} by {by}{at}{why}", verb.replace('_', " ")));
        }
    }
    if let (Some(count), Some(day)) = (alert["count"].as_u64(), alert["count_day"].as_u64()) {
        line("raised", format!("{count} times, {day} of them in the last day"));
    }
    line("id", word("id"));
    out + &before(explanation)
}

/// What may have been a cause.
fn before(explanation: &Value) -> String {
    let machine = explanation["machine"].as_str().unwrap_or("the gateway");
    let mut out = format!("the day before, of {machine} and of the configuration:\n");
    if let Some(more) = explanation["starts_more"].as_u64().filter(|more| *more > 0) {
        writeln!(out, "  the gateway started {more} times before these").unwrap_or_default();
    }
    for start in explanation["starts"].as_array().into_iter().flatten() {
        let changed = start["changed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
        let changed = if changed.is_empty() { "nothing that detection depends on was changed".to_owned() } else { changed.join("; ") };
        let text = |key: &str| start[key].as_str().unwrap_or_default();
        writeln!(out, "  {}  the gateway started (boot {}): {changed}", text("time"), text("boot")).unwrap_or_default();
    }
    let others = explanation["before"].as_array().map_or(&[][..], Vec::as_slice);
    for other in others {
        let text = |key: &str| other[key].as_str().unwrap_or_default();
        let time = other["raised"].as_i64().or_else(|| other["time"].as_i64()).map(words::moment).unwrap_or_default();
        writeln!(out, "  {time}  {} {}: {}", text("series"), text("kind"), text("message")).unwrap_or_default();
    }
    // A role knows the newest alert of each alarm: that it names none proves nothing.
    let knows = explanation["knows"].as_str();
    match explanation["before_more"].as_u64() {
        _ if others.is_empty() && knows.is_none() => out.push_str("  no other alert\n"),
        Some(more) if more > 0 => writeln!(out, "  and {more} before these").unwrap_or_default(),
        _ => {}
    }
    if let Some(knows) = knows {
        writeln!(out, "  {knows}; explain --data-dir reads all").unwrap_or_default();
    }
    out
}
