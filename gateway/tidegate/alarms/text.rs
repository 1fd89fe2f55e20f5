//! The list of alarms as an operator reads it (ISA-18.2): what waits for somebody first, by
//! priority, the newest on top; then the figures.

use crate::words;
use serde_json::Value;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// States in the order in which they ask for attention.
const ORDER: [&str; 8] = ["unacknowledged", "acknowledged", "latched", "returned", "shelved", "suppressed", "out-of-service", "normal"];
const PRIORITIES: [&str; 3] = ["critical", "warning", "info"];

/// `GATEWAY/SERIES/KIND`.
pub(super) fn name(alarm: &Value) -> String {
    let text = |key: &str| alarm[key].as_str().unwrap_or("-");
    format!("{}/{}/{}", text("gateway"), text("series"), text("kind"))
}

/// To the second; what has none is a dash.
fn moment(ms: &Value) -> String {
    ms.as_i64().map_or_else(|| "-".to_owned(), |ms| words::moment(ms.div_euclid(1_000) * 1_000))
}

/// Digits count by their value: press2 before press10.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let number = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits_a, digits_b) = (number(a), number(b));
        let order = if digits_a > 0 && digits_b > 0 {
            let (x, y) = (a[..digits_a].trim_start_matches('0'), b[..digits_b].trim_start_matches('0'));
            (a, b) = (&a[digits_a..], &b[digits_b..]);
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            let (x, y) = (a.chars().next(), b.chars().next());
            let (Some(first), Some(second)) = (x, y) else { return x.cmp(&y) };
            (a, b) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
            first.cmp(&second)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn place(alarm: &Value) -> (usize, usize, Reverse<i64>) {
    let at = |list: &[&str], key: &str| list.iter().position(|one| alarm[key] == *one).unwrap_or(list.len());
    (at(&ORDER, "state"), at(&PRIORITIES, "priority"), Reverse(alarm["raised"].as_i64().unwrap_or(i64::MIN)))
}

/// Alarms with a header, in the order in which they ask for attention.
pub(super) fn lines(alarms: &[Value]) -> String {
    let mut sorted = alarms.iter().map(|alarm| (place(alarm), name(alarm), alarm)).collect::<Vec<_>>();
    sorted.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| natural(&a.1, &b.1)));
    let mut out = String::new();
    if !sorted.is_empty() {
        let _ = writeln!(out, "{:<9} {:<15} {:<20}  {:<20}  ALARM", "PRIORITY", "STATE", "RAISED", "CHANGED");
    }
    sorted.iter().for_each(|(_, name, alarm)| out.push_str(&line(name, alarm)));
    out
}

fn line(name: &str, alarm: &Value) -> String {
    let text = |key: &str| alarm[key].as_str().unwrap_or("-");
    let (raised, since) = (moment(&alarm["raised"]), moment(&alarm["since"]));
    let mut out = format!("{:<9} {:<15} {raised:<20}  {since:<20}  {name}\n", text("priority"), text("state"));
    let mut notes = Vec::new();
    if alarm["state"] != "normal" {
        notes.push(text("message").to_owned());
    }
    if let Some(end) = alarm["cleared_message"].as_str().filter(|_| alarm["state"] != "normal") {
        notes.push(format!("over since {}: {end}", moment(&alarm["cleared"])));
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
        (Some(false), _) => notes.push(format!("follows {}", alarm["follows"].as_str().unwrap_or("another of its machine"))),
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

/// How many there are, by where they stand.
fn count(alarms: &[Value]) -> String {
    let active = alarms.iter().filter(|alarm| alarm["active"] == true).count();
    let mut out = format!("{} {}: {active} active", alarms.len(), if alarms.len() == 1 { "alarm" } else { "alarms" });
    for state in ORDER {
        let count = alarms.iter().filter(|alarm| alarm["state"] == state).count();
        if count > 0 {
            let _ = write!(out, ", {count} {state}");
        }
    }
    out + "\n"
}

/// Gateways that the bridge does not hear: their alarms are as they were.
fn stale(status: &Value, gateway: Option<&str>) -> String {
    let gateways = status["gateways"].as_object().into_iter().flatten();
    let offline = gateways.filter(|(name, one)| one["online"] == false && gateway.is_none_or(|only| only == *name));
    offline.fold(String::new(), |mut out, (name, one)| {
        let _ = writeln!(out, "{name} is offline: its alarms are stale since {}", moment(&one["seen"]));
        out
    })
}

/// The whole page.
pub(super) fn page(alarms: &Value, figures: &Value, status: &Value, gateway: Option<&str>) -> String {
    let alarms = alarms.as_array().map_or(&[][..], Vec::as_slice);
    let mut out = if alarms.is_empty() { "no alarms\n".to_owned() } else { count(alarms) };
    out += &stale(status, gateway);
    if !alarms.is_empty() {
        out.push('\n');
    }
    out += &lines(alarms);
    let mine = |kpi: &&Value| gateway.is_none_or(|gateway| kpi["gateway"] == gateway);
    figures.as_array().into_iter().flatten().filter(mine).for_each(|kpi| out += &kpi_text(kpi));
    out
}

fn kpi_text(kpi: &Value) -> String {
    let mut out = String::new();
    let whole = |key: &str| kpi[key].as_u64().unwrap_or(0);
    let base_s = kpi["base_s"].as_u64().unwrap_or(86_400);
    // Less than what rates are per says nothing of them.
    let is_young = base_s < 600;
    let span = if base_s >= 86_400 { "in the last day".to_owned() } else { format!("in {}, since its first alarm", words::lasts(base_s)) };
    let _ = writeln!(out, "\n{}, {span}", kpi["gateway"].as_str().unwrap_or("-"));
    let now = if kpi["in_flood"] == true { ", one now" } else { "" };
    let (raised, floods, flood) = (whole("raised_day"), whole("floods_day"), words::lasts(whole("flood_s")));
    if is_young {
        let _ = writeln!(out, "  raised {raised}; rates are told once there are 10 min");
        let _ = writeln!(out, "  floods {floods} ({flood}){now}");
    } else {
        let average = kpi["average_per_10min"].as_f64().map_or(String::new(), |average| format!("; on average {average:.1} in 10 min"));
        let _ = writeln!(out, "  raised {raised}{average}; most in one 10-min slot of the clock {}", whole("peak_per_10min"));
        let share = kpi["flood_share"].as_f64().unwrap_or(0.0) * 100.0;
        let _ = writeln!(out, "  floods {floods}, {share:.1} % of the time ({flood}){now}");
    }
    for (what, key) in [("most often", "top"), ("chattering", "chattering"), ("stale (active for more than a day)", "stale")] {
        let list = kpi[key].as_array().map_or(&[][..], Vec::as_slice);
        if !list.is_empty() {
            let _ = writeln!(out, "  {what}");
        }
        for one in list {
            let count = one["count"].as_u64().map_or(String::new(), |count| format!("{count:>6} × "));
            let _ = writeln!(out, "    {count}{}/{}", one["series"].as_str().unwrap_or("-"), one["kind"].as_str().unwrap_or("-"));
        }
    }
    if let Some(refused) = kpi["refused"].as_u64().filter(|refused| *refused > 0) {
        let _ =
            writeln!(out, "  NO ROOM for {refused} alarms so far: their alerts were shown, they are not listed; acknowledge what is over");
    }
    let held = kpi["held"].as_object().into_iter().flatten().collect::<BTreeMap<_, _>>();
    if !held.is_empty() {
        let held = held.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "  alerts not shown: {held}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_person_sees_what_counts() {
        let alarm = json!({"gateway":"plant-a","series":"line1/press3/temperature","kind":"high-high","priority":"critical","state":"shelved",
            "since":1_700_000_000_123i64,"message":"97 °C is above 95 °C","shelved_by":"ann","shelved_until":1_700_003_600_000i64,
            "raised":1_699_999_000_000i64,"shelved_reason":"repair","first":true,"consequences":2,"active":true});
        let kpi = json!({"gateway":"plant-a","average_per_10min":1.25,"peak_per_10min":9,"flood_s":600,"flood_share":0.5,"base_s":3_600,
            "top":[{"series":"a","kind":"high","count":4},{"series":"b","kind":"high","count":3}],"held":{"flood":3},"refused":51});
        let status = json!({"gateways":{"plant-a":{"online":false,"seen":1_700_000_000_000i64},"plant-b":{"online":true}}});
        let text = page(&json!([alarm]), &json!([kpi]), &status, None);
        for part in [
            "1 alarm: 1 active, 1 shelved\n",
            "plant-a is offline: its alarms are stale since 2023-11-14T22:13:20Z",
            "PRIORITY  STATE           RAISED                CHANGED               ALARM\n",
            "critical  shelved         2023-11-14T21:56:40Z  2023-11-14T22:13:20Z  plant-a/line1/press3/temperature/high-high\n",
            "shelved by ann until 2023-11-14T23:13:20Z",
            "repair",
            "came first, 2 followed",
            "in 1 h 0 min, since its first alarm",
            "on average 1.2 in 10 min; most in one 10-min slot of the clock 9",
            "     4 × a/high\n         3 × b/high\n",
            "3 flood",
            "NO ROOM for 51 alarms so far",
            "(10 min 0 s)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("plant-b"));
        let young = json!([{"gateway":"plant-a","average_per_10min":212.0,"raised_day":212,"base_s":20,
            "peak_per_10min":212,"floods_day":1,"flood_s":19,"flood_share":0.03,"in_flood":true}]);
        let text = page(&json!([]), &young, &status, Some("plant-a"));
        assert!(
            text.contains(
                "in 20 s, since its first alarm\n  raised 212; rates are told once there are 10 min\n  floods 1 (19 s), one now\n"
            ) && ["average", "slot", "%", "NO ROOM"].iter().all(|part| !text.contains(part)),
            "{text}"
        );
    }

    #[test]
    fn what_waits_for_somebody_comes_first() {
        let alarm = |state: &str, priority: &str, raised: i64, series: &str| json!({"gateway":"g","series":series,"kind":"high","state":state,"priority":priority,"raised":raised});
        let list = [
            alarm("returned", "critical", 9, "a"),
            alarm("unacknowledged", "warning", 8, "b"),
            alarm("acknowledged", "critical", 9, "c"),
            alarm("unacknowledged", "critical", 1, "press10"),
            alarm("unacknowledged", "critical", 1, "press9"),
            alarm("unacknowledged", "critical", 2, "z"),
            alarm("shelved", "critical", 9, "e"),
        ];
        let text = lines(&list);
        let order =
            text.lines().filter_map(|line| line.split_once("  g/")).map(|(_, name)| name.trim_end_matches("/high")).collect::<Vec<_>>();
        assert_eq!(order, ["z", "press9", "press10", "b", "c", "a", "e"], "{text}");
        for (a, b) in [("a2", "a10"), ("a02b", "a2c"), ("", "a"), ("a", "a1"), ("ä1", "ä2"), ("7", "x")] {
            assert_eq!((natural(a, b), natural(b, a)), (Ordering::Less, Ordering::Greater), "{a} {b}");
        }
    }
}
