//! Merged windows, alerts and statuses as JSON (contract §4).

use replica::join::{Gateway, Merged};
use schemas::message::AlertBody;
use serde_json::{Value, json};
use telemetry::window::size_name;

/// Topic and payload of a merged window.
pub fn merged(m: &Merged) -> (String, String) {
    let a = &m.aggregate;
    let size = size_name(m.size_ms);
    let mut body = json!({
        "series": m.series, "window": size, "start": m.start_ms, "end": m.start_ms + m.size_ms,
        "count": a.count(), "sum": a.sum(), "mean": a.mean(), "min": a.min(), "max": a.max(), "stddev": a.stddev(),
        "first": a.first().1, "last": a.last().1,
        "p50": a.quantile(0.5), "p95": a.quantile(0.95), "p99": a.quantile(0.99),
        "gateways": m.gateways, "revision": m.revision, "complete": m.complete,
    });
    if let Some(unit) = &m.unit {
        body["unit"] = unit.clone().into();
    }
    (format!("merged/{size}/{}", m.series), body.to_string())
}

/// Topic and payload of an alert.
pub fn alert(gateway: &str, a: &AlertBody) -> (String, String) {
    let severity = ["critical", "warning", "info"][usize::from(a.severity.min(2))];
    let mut body = json!({
        "id": format!("{gateway}/{:016x}/{}/{}", a.boot, a.seq, a.ordinal),
        "gateway": gateway, "series": a.series, "severity": severity, "kind": a.kind,
        "state": if a.state == 0 { "active" } else { "cleared" },
        "time": a.time_ms, "value": a.value, "message": a.message,
    });
    let optional: [(&str, Option<Value>); 4] = [
        ("limit", a.limit.map(Value::from)),
        ("unit", a.unit.clone().map(Value::from)),
        ("score", a.score.map(Value::from)),
        ("baseline", a.baseline.map(Value::from)),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            body[key] = value;
        }
    }
    (format!("alerts/{severity}/{gateway}/{}", a.series), body.to_string())
}

/// A gateway's status, as far as the cloud knows.
pub fn status(name: &str, g: &Gateway, online: bool) -> Value {
    let sum = |f: fn(&replica::join::Part) -> u64| g.boots.values().map(f).sum::<u64>();
    let (leaving, local, delivered) = (sum(|p| p.accepted), sum(|p| p.local), sum(|p| p.readings));
    json!({
        "gateway": name, "online": online, "boot": format!("{:016x}", g.boot),
        "accepted": leaving + local, "delivered": delivered, "held": leaving.saturating_sub(delivered), "shed": 0, "local": local,
        "frontier": g.boots.values().map(|p| p.frontier_ms).max().unwrap_or(0), "seen": g.seen_ms,
    })
}
