//! How the bridge stands: what `/api/v1/status` shows, and figures for `/metrics`.

use replica::alarm::LabelledFigure;
use serde_json::Value;

/// How the bridge stands.
pub struct Status {
    /// As `/api/v1/status` shows it.
    pub json: Value,
    /// Figures for `/metrics`: name, kind, help, value.
    pub figures: Vec<(&'static str, &'static str, &'static str, f64)>,
    /// Those of alarms by gateway and by alarm.
    pub alarms: Vec<LabelledFigure>,
}

impl Status {
    /// Writes the figures of each gateway. There are as many of each as gateways, and of those there
    /// is a bound.
    pub fn put_gateways(&self, out: &mut web::health::Figures) {
        let figures = [
            ("online", "gateway_online", "gauge", "1 while the gateway is online."),
            ("accepted", "gateway_readings_accepted_total", "counter", "Readings accepted by the gateway, as far as known here."),
            ("delivered", "gateway_readings_delivered_total", "counter", "Readings of the gateway durable here."),
            ("held", "gateway_readings_held", "gauge", "Readings still at the gateway, as far as known here."),
            ("shed", "gateway_readings_shed_total", "counter", "Readings given up by the gateway and reported."),
            ("local", "gateway_readings_local_total", "counter", "Readings that stay at the gateway."),
            ("skew_ms", "gateway_clock_skew_seconds", "gauge", "The gateway's wall clock less ours."),
        ];
        let gateways = || self.json["gateways"].as_object().into_iter().flatten();
        let value = |key: &str, value: &Value| match (key, value) {
            (_, Value::Bool(flag)) => Some(f64::from(u8::from(*flag))),
            ("skew_ms", value) => value.as_f64().map(|ms| ms / 1_000.0),
            (_, value) => value.as_f64(),
        };
        for (key, name, kind, help) in figures {
            let values = gateways().filter_map(|(name, one)| Some((name, value(key, &one[key])?)));
            out.put_by(name, kind, help, "gateway", values);
        }
        for (name, kind, help, label, values) in &self.alarms {
            out.put_by(name, kind, help, label, values.iter().map(|(of, value)| (of, value)));
        }
    }
}
