//! An alert as people and programs read it: topic and JSON (contract §4), the same at the
//! gateway's own broker and at the cloud.

use crate::limits::{ALERTS_WAITING_MAX, UNHEARD_MS};
use crate::outbox::Fork;
pub use schemas::message::AlertBody;
use schemas::message::Contributor;
use serde_json::{Value, json};

/// The name of an alert's severity in topics.
pub fn severity(alert: &AlertBody) -> &'static str {
    ["critical", "warning", "info"][usize::from(alert.severity.min(2))]
}

/// Whether a topic is one that a gateway alone publishes at its own broker: whoever reads there
/// may believe it.
pub fn is_gateways_own(topic: &str) -> bool {
    topic.starts_with("alerts/") || topic.starts_with("alarms/")
}

/// Topic and payload of an alert.
pub fn topic_and_json(gateway: &str, a: &AlertBody) -> (String, String) {
    let severity = severity(a);
    let mut body = json!({
        "id": format!("{gateway}/{:016x}/{}/{}", a.boot, a.seq, a.ordinal),
        "gateway": gateway, "series": a.series, "severity": severity, "kind": a.kind,
        "state": if a.state == 0 { "active" } else { "cleared" },
        "time": a.time_ms, "value": number(a.value), "message": a.message,
    });
    let finite = |v: Option<f64>| v.filter(|v| !v.is_nan()).map(|v| Value::from(number(v)));
    let optional = [
        ("limit", finite(a.limit)),
        ("unit", a.unit.clone().map(Value::from)),
        ("score", finite(a.score)),
        ("baseline", finite(a.baseline)),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            body[key] = value;
        }
    }
    if let Some(contributors) = contributors(&a.contributors) {
        body["contributors"] = contributors;
    }
    (format!("alerts/{severity}/{gateway}/{}", a.series), body.to_string())
}

/// Who contributes to an alert; none where nobody is named.
pub(crate) fn contributors(all: &[Contributor]) -> Option<Value> {
    let one = |c: &Contributor| json!({"series": c.series, "value": number(c.value), "usual": number(c.usual), "sigma": number(c.sigma)});
    let sayable = all.iter().filter(|c| ![c.value, c.usual, c.sigma].iter().any(|v| v.is_nan()));
    (!all.is_empty()).then(|| sayable.map(one).collect())
}

/// Where an alert was raised: boot, record, and which of the record's alerts.
pub type Id = (u64, u64, u32);

/// A warning of the gateway about itself, under a series of its own.
fn own((boot, seq, ordinal): Id, time_ms: i64, (series, kind): (&str, &str), state: u8, value: f64, message: String) -> AlertBody {
    AlertBody {
        boot,
        seq,
        ordinal,
        series: series.to_owned(),
        severity: 1,
        kind: kind.to_owned(),
        state,
        time_ms,
        value,
        limit: None,
        unit: None,
        message,
        score: None,
        baseline: None,
        alarm: None,
        contributors: Vec::new(),
    }
}

/// The series under which a gateway tells about its own link.
pub const LINK_SERIES: &str = "tidegate/uplink";

/// What the plant is told when alerts have no receipt of the cloud in time, and when all have
/// been heard (`count` 0). It stays at the gateway.
pub fn unheard(id: Id, clock_ms: i64, count: u64, oldest: Id) -> AlertBody {
    let limit_s = UNHEARD_MS / 1_000;
    let message = match count {
        0 => "the cloud has every alert again".to_owned(),
        _ => {
            let (boot, seq, ordinal) = oldest;
            // More are not counted one by one.
            let least = if count >= ALERTS_WAITING_MAX as u64 { "at least " } else { "" };
            let alerts = if count == 1 { "1 alert has" } else { &format!("{least}{count} alerts have") };
            format!("{alerts} no receipt from the cloud after {limit_s} s, the first of them {boot:016x}/{seq}/{ordinal}")
        }
    };
    own(id, clock_ms, (LINK_SERIES, "uplink"), u8::from(count == 0), count as f64, message)
}

/// Series of alerts about another that speaks under this gateway's boot.
pub const BOOT_SERIES: &str = "tidegate/boot";

/// Another was found to speak under the name of a boot; `state` 0, and 1 once it ended.
pub fn forked(id: Id, clock_ms: i64, state: u8, old: u64, fork: &Fork) -> AlertBody {
    let given_up = fork.given_up.unwrap_or(0);
    let message = format!(
        "another device speaks under boot {old:016x}, with another log beyond record {}: {given_up} readings of this one are counted shed, and it goes on as boot {:016x}",
        fork.at, id.0
    );
    own(id, clock_ms, (BOOT_SERIES, "conflict"), state, given_up as f64, message)
}

/// Series of alerts about what the gateway keeps.
pub const LOG_SERIES: &str = "tidegate/log";

/// Alerts that waited for the cloud were lost with damaged pages; `state` 0, and 1 once it ended.
pub fn lost(id: Id, clock_ms: i64, state: u8, count: u64) -> AlertBody {
    let alerts = if count == 1 { "1 alert" } else { &format!("{count} alerts") };
    own(
        id,
        clock_ms,
        (LOG_SERIES, "lost"),
        state,
        count as f64,
        format!("{alerts} that waited for the cloud cannot be read from the disk any more, and do not reach it"),
    )
}

/// A double that JSON can say: beyond all others stands for infinite, as JSON has no such number.
pub fn number(v: f64) -> f64 {
    v.clamp(f64::MIN, f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_reads_as_the_contract_says_and_has_numbers_for_numbers() {
        let mut alert = AlertBody {
            boot: 0x9f3c_2b7a_11d0_4e58,
            seq: 4711,
            ordinal: 0,
            series: "line1/press3/temperature".into(),
            severity: 0,
            kind: "high-high".into(),
            state: 0,
            time_ms: 1_700_000_003_000,
            value: 97.2,
            limit: Some(95.0),
            unit: Some("°C".into()),
            message: "97.2 °C is above 95 °C".into(),
            score: None,
            baseline: None,
            alarm: None,
            contributors: Vec::new(),
        };
        let (topic, json) = topic_and_json("plant-a", &alert);
        assert_eq!(topic, "alerts/critical/plant-a/line1/press3/temperature");
        let v: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(v["id"], "plant-a/9f3c2b7a11d04e58/4711/0");
        assert_eq!(
            (&v["value"], &v["limit"], &v["state"], &v["kind"]),
            (&json!(97.2), &json!(95.0), &json!("active"), &json!("high-high"))
        );
        assert!(v.get("score").is_none());
        (alert.value, alert.limit, alert.score) = (f64::INFINITY, Some(f64::NEG_INFINITY), Some(f64::NAN));
        let v: Value = serde_json::from_str(&topic_and_json("plant-a", &alert).1).unwrap();
        assert_eq!((v["value"].as_f64(), v["limit"].as_f64(), v.get("score")), (Some(f64::MAX), Some(f64::MIN), None));
    }
}
