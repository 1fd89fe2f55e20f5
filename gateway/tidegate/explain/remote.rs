//! `tidegate explain SERIES --url URL`: the same of a running role, from its list of alarms, and from what a gateway
//! says of its configuration. It keeps the newest alert of each alarm, so an earlier one is explained from the log alone.

use super::{BEFORE_MS, NAMED_MAX, detector, machine_of, quantities, show};
use crate::outcome::{Failure, print};
use crate::{web, words};
use anyhow::{Context as _, anyhow};
use replica::machine::is_of;
use serde_json::{Value, json};
use settings::nearest::nearest;

/// Explains the newest alert of a series that a role knows.
pub(super) fn run(url: &str, series: &str, until_ms: Option<i64>, as_json: bool) -> Result<(), Failure> {
    let host = web::host_of(url).map_err(Failure::Usage)?;
    let answer = web::request(&host, "GET", "/api/v1/alarms?state=all", "").with_context(|| format!("{url} does not answer"))?;
    if answer.code != 200 {
        return Err(Failure::Running(anyhow!("{url} answers {}", answer.code)));
    }
    let list: Vec<Value> = serde_json::from_slice(&answer.body).with_context(|| format!("{url} answers no list of alarms"))?;
    let Some(alarm) = chosen(&list, series, until_ms) else { return nothing(url, &host, &list, series, as_json) };
    let path = format!("/api/v1/series/{}", web::encoded(name(alarm)));
    let answer = web::request(&host, "GET", &path, "").with_context(|| format!("{url} does not answer"))?;
    // The gateway's own alarms are of no series that it has.
    let configured = if answer.code == 200 { serde_json::from_slice(&answer.body).unwrap_or_default() } else { Value::Null };
    match explain(&list, alarm, &configured) {
        Some(explanation) => show(&explanation, as_json),
        None => nothing(url, &host, &list, series, as_json),
    }
}

fn name(alarm: &Value) -> &str {
    alarm["series"].as_str().unwrap_or_default()
}

fn raised(alarm: &Value) -> Option<i64> {
    alarm["raised"].as_i64()
}

/// The alarm that was raised last, of a series or a machine.
fn chosen<'a>(list: &'a [Value], series: &str, until_ms: Option<i64>) -> Option<&'a Value> {
    let in_time = |alarm: &&Value| raised(alarm).is_some_and(|at| until_ms.is_none_or(|until| at <= until));
    let by = |alarm: &Value| alarm["contributors"].as_array().is_some_and(|all| all.iter().any(|one| one["series"] == series));
    let known = || list.iter().filter(in_time);
    let own = known().filter(|alarm| name(alarm) == series || by(alarm)).max_by_key(|alarm| raised(alarm));
    // A machine has alarms of its own; without, those of its series are meant.
    own.or_else(|| known().filter(|alarm| is_of(name(alarm), series)).max_by_key(|alarm| raised(alarm)))
}

/// The starts up to that of an alert's own boot, no more than a day before it, and whether what is configured now is
/// what it was raised by.
fn starts(configured: &Value, alarm: &Value, at_ms: i64) -> (Vec<Value>, bool) {
    let all = configured["starts"].as_array().map_or(&[][..], Vec::as_slice);
    let boot = alarm["id"].as_str().and_then(|id| id.split('/').nth(1)).unwrap_or_default();
    let own = all.iter().position(|start| start["boot"] == boot);
    let count = own.map_or(0, |own| own + 1);
    let time = |start: &Value| start["time"].as_i64().unwrap_or(0);
    let before = all[..count].iter().filter(|start| time(start) >= at_ms.saturating_sub(BEFORE_MS));
    let before = before.map(|start| {
        let mut start = start.clone();
        start["time"] = words::moment(time(&start)).into();
        start
    });
    (before.collect(), own.is_some() && count == all.len())
}

fn explain(list: &[Value], alarm: &Value, configured: &Value) -> Option<Value> {
    let (at_ms, kind) = (raised(alarm)?, alarm["kind"].as_str().unwrap_or_default());
    let machine = machine_of(name(alarm), kind);
    let related = |other: &&Value| {
        *other != alarm
            && other["gateway"] == alarm["gateway"]
            && is_of(name(other), machine)
            && raised(other).is_some_and(|at| (at_ms.saturating_sub(BEFORE_MS)..=at_ms).contains(&at))
    };
    let mut before = list.iter().filter(related).collect::<Vec<_>>();
    before.sort_by_key(|other| std::cmp::Reverse(raised(other)));
    let (starts, is_present) = starts(configured, alarm, at_ms);
    let rule = configured["limit"].as_str().filter(|_| alarm["limit"].is_number());
    let rule = rule.map(|rule| if is_present { rule.to_owned() } else { format!("{rule} (as it is configured now)") });
    let (seen, expected) = quantities::of(alarm);
    let knows = match configured["starts"].is_array() {
        true => "known here: the newest alert of each alarm, and the starts since the last snapshot",
        false => "known here: the newest alert of each alarm; starts and what they changed, at the gateway",
    };
    Some(json!({
        "alert": alarm, "seen": seen, "expected": expected, "knows": knows, "since": words::moment(at_ms), "until": alarm["cleared"].as_i64().map(words::moment),
        "until_message": alarm["cleared_message"], "detector": detector(kind, alarm["baseline"].as_f64(), rule.as_deref()), "machine": machine, "starts": starts,
        "before": before.iter().take(NAMED_MAX).collect::<Vec<_>>(), "before_more": before.len().saturating_sub(NAMED_MAX),
    }))
}

/// No alarm: says whether there is such a series at all.
fn nothing(url: &str, host: &str, list: &[Value], series: &str, as_json: bool) -> Result<(), Failure> {
    let path = format!("/api/v1/series/{}", web::encoded(series));
    let answer = web::request(host, "GET", &path, "").with_context(|| format!("{url} does not answer"))?;
    match answer.code {
        404 => {
            let hint = nearest(series, list.iter().map(name)).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            Err(Failure::Usage(anyhow!("{url} has no series {series:?}{hint}")))
        }
        200 if as_json => print(&json!({"series": series, "alert": null}).to_string()),
        200 => print(&words::harmless(&format!("{series}: {url} knows no alarm of it; explain --data-dir reads the whole log"))),
        code => Err(Failure::Running(anyhow!("{url} answers {code}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(series: &str, raised: i64, rest: Value) -> Value {
        let mut alarm = json!({"gateway": "plant-a", "series": series, "kind": "spike", "priority": "warning", "state": "returned",
            "id": "plant-a/9f3c2b7a11d04e58/7/0", "raised": raised, "value": 29.16142843472617, "message": "29.1614 is far from the usual 12"});
        if let (Value::Object(all), Value::Object(rest)) = (&mut alarm, rest) {
            all.extend(rest);
        }
        alarm
    }

    #[test]
    fn what_is_over_is_explained_by_what_raised_it_and_by_its_own_machine() {
        let explain = |list: &[Value], series: &str, until_ms| explain(list, chosen(list, series, until_ms)?, &Value::Null);
        let over =
            json!({"baseline": 12.0, "score": 40.5, "cleared": 1_700_000_009_000i64, "cleared_message": "12.1 is near the usual again"});
        let list = [
            alarm("line1/zz/temperature", 1_700_000_000_000, over),
            alarm("line1/zz/flow", 1_699_999_000_000, json!({})),
            alarm("line2/a/flow", 1_699_999_000_001, json!({})),
            alarm("line1/zz/flow", 1_600_000_000_000, json!({})),
        ];
        // By its machine, too.
        for series in ["line1/zz/temperature", "line1/zz"] {
            let text = super::super::text::text(&explain(&list, series, None).unwrap());
            for part in [
                "why       29.1614 is far from the usual 12",
                "until     2023-11-14T22:13:29Z: 12.1 is near the usual again",
                "seen      29.1614\n",
                "expected  12\n",
                "score     40.50",
                "line1/zz/flow spike",
                "id        plant-a/9f3c2b7a11d04e58/7/0",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(!text.contains("line2") && text.matches("line1/zz/flow").count() == 1, "{text}");
        }
        assert!(explain(&list, "line1/z", None).is_none() && explain(&list, "line1/zz", Some(1)).is_none());
    }

    #[test]
    fn a_limit_is_explained_by_its_rule_and_by_the_start_that_changed_it() {
        let start = |time: i64, boot: &str, changed: &[&str]| json!({"time": time, "boot": boot, "changed": changed});
        let [early, own, later] = [("1", 1_600_000_000_000), ("9f3c2b7a11d04e58", 1_699_999_000_000), ("3", 1_700_000_001_000)];
        let list = [alarm("a/t", 1_700_000_000_000, json!({"kind": "high", "limit": 80.0}))];
        let text = |starts: &[Value]| {
            let configured = json!({"series": "a/t", "limit": "series = a/t, high = 80", "starts": starts});
            super::super::text::text(&explain(&list, &list[0], &configured).unwrap())
        };
        let mut starts = vec![start(early.1, early.0, &["long ago"]), start(own.1, own.0, &["limit new or changed: high = 80"])];
        let shown = text(&starts);
        for part in [
            "delays: series = a/t, high = 80\n",
            "(boot 9f3c2b7a11d04e58): limit new or changed: high = 80\n",
            "known here: the newest alert",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("long ago") && !shown.contains("no other alert"), "{shown}");
        starts.push(start(later.1, later.0, &["limit gone"]));
        let shown = text(&starts);
        assert!(shown.contains("high = 80 (as it is configured now)\n") && !shown.contains("limit gone"), "{shown}");
        let shown = super::super::text::text(&explain(&list, &list[0], &json!({"series": "a/t"})).unwrap());
        assert!(shown.contains("what they changed, at the gateway; explain --data-dir reads all\n"), "{shown}");
    }
}
