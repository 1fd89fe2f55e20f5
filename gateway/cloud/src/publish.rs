//! Merged windows and statuses as JSON (contract §4); alerts are [`replica::alert`]'s.

use crate::inbound::wall_ms;
use replica::alert::number;
use replica::join::{Crossing, Gateway, Merged};
use replica::record::Refusal;
use serde_json::{Value, json};
use telemetry::window::size_name;

/// Topic of a merged window.
pub fn merged_topic(series: &str, size_ms: i64) -> String {
    format!("merged/{}/{series}", size_name(size_ms))
}

/// Topic and payload of a merged window.
pub fn merged(m: &Merged) -> (String, String) {
    let a = &m.aggregate;
    let size = size_name(m.size_ms);
    let mut body = json!({
        "series": m.series, "window": size, "start": m.start_ms, "end": m.start_ms.saturating_add(m.size_ms),
        "count": a.count(), "sum": number(a.sum()), "mean": number(a.mean()), "min": a.min(), "max": a.max(), "stddev": number(a.stddev()),
        "first": a.first().1, "last": a.last().1,
        "p50": a.quantile(0.5), "p95": a.quantile(0.95), "p99": a.quantile(0.99),
        "gateways": m.gateways, "revision": m.revision, "complete": m.complete,
    });
    if let Some(unit) = &m.unit {
        body["unit"] = unit.clone().into();
    }
    if let Some(agree) = m.agree {
        body["agree"] = agree.into();
    }
    (merged_topic(&m.series, m.size_ms), body.to_string())
}

/// Topic of a gateway's status.
pub fn status_topic(gateway: &str) -> String {
    format!("gateways/{gateway}/status")
}

/// Gaps of a gateway that its status tells one by one; all are counted in `shed`.
const GAPS_TOLD_MAX: usize = 64;

/// Series whose windows lack readings that a status names.
const LACKING_TOLD_MAX: usize = 64;

/// Adds the windows of which a gateway gave readings up: in how many spans of time they lie, and of the series (and sizes)
/// where that was for the newest windows, the newest span each.
pub fn lacking<'a>(status: &mut Value, of: impl Iterator<Item = (&'a str, i64, &'a [(i64, i64)])>) {
    let mut count = 0;
    let newest = of.filter_map(|(series, size_ms, spans)| {
        count += spans.len();
        Some((*spans.last()?, series, size_ms))
    });
    let mut told: Vec<_> = newest.collect();
    if count == 0 {
        return;
    }
    let by_age = |a: &((i64, i64), &str, i64), b: &((i64, i64), &str, i64)| b.cmp(a);
    if told.len() > LACKING_TOLD_MAX {
        told.select_nth_unstable_by(LACKING_TOLD_MAX, by_age);
        told.truncate(LACKING_TOLD_MAX);
    }
    told.sort_unstable_by(by_age);
    let json = |((from, to), series, size_ms): ((i64, i64), &str, i64)| json!({"series": series, "window": size_name(size_ms), "from": from, "to": to});
    status["lacking"] = json!({ "spans": count, "newest": told.into_iter().map(json).collect::<Vec<_>>() });
}

/// The ledger of a gateway, as far as the cloud knows, in single values; `refused` in messages.
pub fn ledger(g: &Gateway) -> Value {
    let mut ledger = readings(g);
    let tally = g.tally.clone().unwrap_or_default();
    let refused = Refusal::ALL.into_iter().map(|reason| {
        let count = tally.refused.get(reason as usize).copied().unwrap_or(0);
        (reason.as_str().to_owned(), count.into())
    });
    ledger["duplicates"] = tally.duplicates.into();
    ledger["refused"] = Value::Object(refused.collect());
    ledger
}

fn readings(g: &Gateway) -> Value {
    let t = &g.totals;
    let delivered = t.readings.saturating_sub(t.shed);
    // One that tells more than it said to have accepted has accepted that, too.
    let settled = delivered.saturating_add(t.shed);
    let accepted = t.accepted.max(settled);
    json!({
        "accepted": accepted.saturating_add(t.local), "delivered": delivered,
        "held": accepted - settled, "shed": t.shed, "local": t.local,
    })
}

/// A gateway's status, as far as the cloud knows; `seen_ms` is when it was last heard, 0 for
/// not since the bridge started. `expired` and `refused` are entries.
pub fn status(name: &str, g: &Gateway, crossing: Option<&Crossing>, online: bool, seen_ms: i64) -> Value {
    let mut status = readings(g);
    // What this cloud had lost and the gateway could not send again: missing for good.
    let gaps = g.boots.iter().flat_map(|(boot, p)| {
        p.gaps.iter().map(move |(from, to, readings)| json!({"boot": format!("{boot:016x}"), "from": from, "to": to, "readings": readings}))
    });
    let gaps: Vec<Value> = gaps.take(GAPS_TOLD_MAX).collect();
    if !gaps.is_empty() {
        status["gaps"] = gaps.into();
    }
    let rest = json!({
        "gateway": name, "online": online, "boot": format!("{:016x}", g.boot),
        "frontier": g.frontier_ms, "seen": g.seen_ms.max(seen_ms), "expired": g.expired.0, "refused": g.refused,
    });
    if let (Value::Object(status), Value::Object(rest)) = (&mut status, rest) {
        status.extend(rest);
    }
    if let Some(c) = crossing {
        let (waiting, waiting_bytes, expired) = c.standing(wall_ms());
        status["bridge"] = json!({
            "up": c.up, "down": c.down, "waiting": waiting, "waiting_bytes": waiting_bytes,
            "given_up": c.given_up.saturating_add(c.lost_there.0), "expired": expired.saturating_add(c.lost_there.1),
        });
    }
    status
}

/// Beyond this difference to ours a gateway's clock counts as skewed, in ms.
const SKEW_MS: i64 = 5_000;

/// Adds what is known of a gateway's clock since the bridge started: its difference to ours, in
/// ms, and what the gateway itself said of it (1 never set, 2 jumped lately).
pub fn clock(status: &mut Value, known: Option<(i64, u8)>) {
    let Some((skew_ms, quality)) = known else { return };
    let word = match quality {
        1 => "unset",
        2 => "jumped",
        _ if skew_ms.saturating_abs() > SKEW_MS => "skewed",
        _ => "ok",
    };
    (status["clock"], status["skew_ms"]) = (word.into(), skew_ms.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use telemetry::aggregate::Aggregate;

    #[test]
    fn numbers_stay_numbers_however_large_the_readings() {
        let mut aggregate = Aggregate::new(1, f64::MAX);
        aggregate.add(2, f64::MAX);
        aggregate.add(3, f64::MIN);
        let gateways = BTreeMap::from([("plant-a".to_owned(), 3)]);
        let merged_window = Merged {
            series: "a/b".into(),
            unit: None,
            size_ms: 10_000,
            start_ms: 0,
            aggregate,
            gateways,
            agree: Some(true),
            revision: 1,
            complete: false,
            newest: true,
        };
        let (topic, json) = merged(&merged_window);
        let v: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((topic.as_str(), &v["gateways"]["plant-a"], &v["end"]), ("merged/10s/a/b", &json!(3), &json!(10_000)));
        assert_eq!(v["agree"], true);
        for key in ["sum", "mean", "min", "max", "stddev", "first", "last", "p50", "p95", "p99"] {
            assert!(v[key].is_number(), "{key}: {}", v[key]);
        }
    }

    #[test]
    fn windows_that_lack_readings_are_named_the_newest_first() {
        let mut v = json!({});
        lacking(&mut v, std::iter::empty());
        assert_eq!(v, json!({}));
        let spans: Vec<(i64, i64)> = (0..100).map(|n| (n * 20_000, n * 20_000 + 10_000)).collect();
        let all = (1..=100).map(|n| ("a/b", 10_000, &spans[..n])).chain([("c", 60_000, &[(5_000_000, 5_120_000)][..])]);
        lacking(&mut v, all);
        let told = &v["lacking"];
        assert_eq!((&told["spans"], told["newest"].as_array().map(Vec::len)), (&json!(5_051), Some(LACKING_TOLD_MAX)));
        assert_eq!(told["newest"][0], json!({"series": "c", "window": "1m", "from": 5_000_000, "to": 5_120_000}));
        assert_eq!(told["newest"][1], json!({"series": "a/b", "window": "10s", "from": 1_980_000, "to": 1_990_000}));
    }

    #[test]
    fn the_ledger_adds_up() {
        let mut g = Gateway::new(0);
        (g.totals.accepted, g.totals.readings, g.totals.local, g.totals.shed) = (100, 60, 7, 5);
        let v = status("plant-a", &g, None, true, 9);
        assert_eq!(
            (&v["accepted"], &v["delivered"], &v["held"], &v["shed"], &v["local"]),
            (&json!(107), &json!(55), &json!(40), &json!(5), &json!(7))
        );
        assert_eq!((&v["seen"], &v["online"]), (&json!(9), &json!(true)));
        (g.totals.accepted, g.totals.readings, g.totals.shed) = (3, 60, 5);
        assert_eq!(readings(&g), json!({"accepted": 67, "delivered": 55, "held": 0, "shed": 5, "local": 7}), "of a liar, too");
        assert!(v.get("clock").is_none() && v.get("bridge").is_none());
        for (skew_ms, quality, word) in [(-40, 0, "ok"), (5_001, 0, "skewed"), (i64::MIN, 9, "skewed"), (0, 2, "jumped"), (-9, 1, "unset")]
        {
            let mut v = v.clone();
            clock(&mut v, Some((skew_ms, quality)));
            assert_eq!((&v["clock"], &v["skew_ms"]), (&json!(word), &json!(skew_ms)));
        }
    }
}
