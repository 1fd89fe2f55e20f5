//! `tidegate status`: what a running gateway or bridge is doing, for a person.

use crate::outcome::{Failure, print};
use crate::web::{host_of, request};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::fmt::Write as _;

/// `--url http://H:P [--json]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The role's HTTP address; run.json in its data dir names it.
    #[arg(long, value_name = "http://HOST:PORT")]
    url: String,

    /// Print the JSON of /api/v1/status as it is.
    #[arg(long)]
    json: bool,
}

/// Prints the status.
///
/// # Errors
/// [`Failure::Usage`] for a URL that is none, [`Failure::Running`] when the role does not answer well.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let host = host_of(&arguments.url).map_err(Failure::Usage)?;
    let body = get(&host, "/api/v1/status").with_context(|| format!("no status from {}", arguments.url))?;
    let status = serde_json::from_slice::<Value>(&body).with_context(|| format!("the answer of {} is no JSON", arguments.url))?;
    match arguments.json {
        true => print(&serde_json::to_string_pretty(&status).map_err(anyhow::Error::from)?),
        false => print(human(&status).trim_end()),
    }
}

/// The status of a role at `host:port`.
///
/// # Errors
/// When it does not answer well.
pub fn of(host: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&get(host, "/api/v1/status")?)?)
}

fn get(host: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let answer = request(host, "GET", path, "")?;
    if answer.code != 200 {
        bail!("it answered {}: {}", answer.code, String::from_utf8_lossy(&answer.body).trim());
    }
    Ok(answer.body)
}

/// The JSON as indented lines, names with spaces, times and sizes in units a person reads.
fn human(status: &Value) -> String {
    let mut out = String::new();
    lines(status, 0, &mut out);
    out
}

fn lines(value: &Value, depth: usize, out: &mut String) {
    let Value::Object(fields) = value else {
        let _ = writeln!(out, "{:indent$}{}", "", plain("", value), indent = depth * 2);
        return;
    };
    let is_group = |value: &Value| match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    };
    let width = fields.iter().filter(|(_, value)| !is_group(value)).map(|(name, _)| label(name).chars().count()).max().unwrap_or(0);
    // Single values first: a group's lines would push them out of sight.
    for (name, value) in fields.iter().filter(|(_, value)| !is_group(value)) {
        // The log's, in bytes; deeper down it is a reason for which messages were refused.
        let unit = if depth == 0 && name == "room" { "room_bytes" } else { name };
        let _ = writeln!(out, "{:indent$}{:width$}  {}", "", label(name), plain(unit, value), indent = depth * 2);
    }
    for (name, value) in fields.iter().filter(|(_, value)| is_group(value)) {
        let _ = writeln!(out, "{:indent$}{}", "", label(name), indent = depth * 2);
        match value {
            Value::Array(items) => items.iter().for_each(|item| lines(item, depth + 1, out)),
            _ => lines(value, depth + 1, out),
        }
    }
}

fn label(name: &str) -> String {
    // Beside "room", which is in bytes.
    if name == "room_s" {
        return "room lasts".to_owned();
    }
    let base = ["_bytes", "_ms", "_s"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    base.replace('_', " ")
}

fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Array(items) => items.iter().map(|item| plain(name, item)).collect::<Vec<_>>().join(", "),
        Value::Object(_) => "none".to_owned(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => whole(name, number),
            None => number.to_string(),
        },
    }
}

/// A whole number by the unit that its name ends in.
fn whole(name: &str, number: i64) -> String {
    let is_moment = |ms: i64| (1_000_000_000_000..100_000_000_000_000).contains(&ms);
    let moment = |ms: i64| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string());
    if name.contains("bytes") {
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let (mut size, mut unit) = (number as f64, "B");
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            if size.abs() < 1024.0 {
                break;
            }
            (size, unit) = (size / 1024.0, next);
        }
        return if unit == "B" { format!("{number} B") } else { format!("{size:.1} {unit}") };
    }
    if is_moment(number) && (name.ends_with("_ms") || ["seen", "frontier", "time", "since", "clock"].contains(&name)) {
        return moment(number);
    }
    if name.ends_with("_ms") {
        return settings::unit::duration_text(number);
    }
    if name.ends_with("_s") {
        let (days, rest) = (number / 86_400, number % 86_400);
        let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
        return match (days, hours, minutes) {
            (0, 0, 0) => format!("{seconds} s"),
            (0, 0, _) => format!("{minutes} min {seconds} s"),
            (0, _, _) => format!("{hours} h {minutes} min"),
            _ => format!("{days} d {hours} h"),
        };
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_units() {
        let status = serde_json::json!({"gateway":"plant-a","room_s":90_061,"room":2_147_483_648u64,"log_bytes":3_145_728,"connected":true,
            "ledger":{"accepted":5,"refused":{"room":7}},"seen":1_700_000_000_000i64});
        let text = human(&status);
        for part in [
            "gateway",
            "plant-a",
            "room        2.0 GiB",
            "room lasts  1 d 1 h",
            "3.0 MiB",
            "yes",
            "  accepted  5",
            "    room  7\n",
            "2023-11-14T22:13:20Z",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
