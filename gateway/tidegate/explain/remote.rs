//! `tidegate explain SERIES --url URL`: the same of a running role, from its list of alarms. It keeps
//! the newest alert of each alarm, so an earlier one is explained from the log alone.

use super::{BEFORE_MS, NAMED_MAX, machine_of, show};
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
    match explain(&list, series, until_ms) {
        Some(explanation) => show(&explanation, as_json),
        None => nothing(url, &host, &list, series, as_json),
    }
}

fn name(alarm: &Value) -> &str {
    alarm["series"].as_str().unwrap_or_default()
}

fn explain(list: &[Value], series: &str, until_ms: Option<i64>) -> Option<Value> {
    let raised = |alarm: &Value| alarm["raised"].as_i64();
    let in_time = |alarm: &&Value| raised(alarm).is_some_and(|at| until_ms.is_none_or(|until| at <= until));
    let by = |alarm: &Value| alarm["contributors"].as_array().is_some_and(|all| all.iter().any(|one| one["series"] == series));
    let known = || list.iter().filter(in_time);
    let own = known().filter(|alarm| name(alarm) == series || by(alarm)).max_by_key(|alarm| raised(alarm));
    // A machine has alarms of its own; without, those of its series are meant.
    let alarm = own.or_else(|| known().filter(|alarm| is_of(name(alarm), series)).max_by_key(|alarm| raised(alarm)))?;
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
    Some(json!({
        "alert": alarm, "since": words::moment(at_ms), "until": alarm["cleared"].as_i64().map(words::moment),
        "until_message": alarm["cleared_message"], "detector": detect::about::detector(kind), "machine": machine,
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
        200 => print(&format!("{series}: {url} knows no alarm of it; explain --data-dir reads the whole log")),
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
}
