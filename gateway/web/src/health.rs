//! What every role answers alike: that it lives, whether it is ready, and its figures (contract §5).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::{Display, Write};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The process lives.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// Ready, or why not.
pub fn readiness(why: Option<impl Display>) -> (StatusCode, String) {
    match why {
        None => (StatusCode::OK, "ready\n".into()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// Figures as Prometheus reads them.
#[derive(Debug, Default)]
pub struct Figures(String);

impl Figures {
    /// With what every role tells of its process: the program's version, and when it started.
    pub fn of(version: &str, started: Instant) -> Self {
        let mut figures = Self::default();
        figures.put_by("build_info", "gauge", "The program; always 1.", "version", [(version, 1)]);
        let began = SystemTime::now().checked_sub(started.elapsed()).and_then(|began| began.duration_since(UNIX_EPOCH).ok());
        let began = began.map_or(0, |began| began.as_secs());
        figures.put("process_start_time_seconds", "gauge", "When the process started, in seconds since the Unix epoch.", began);
        figures
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP tidegate_{name} {help}\n# TYPE tidegate_{name} {kind}");
    }

    /// One of them: its name behind `tidegate_`, `counter` or `gauge`, what it is, and how much.
    pub fn put(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "tidegate_{name} {value}");
    }

    /// A figure for each value of a label; without any, nothing.
    pub fn put_by<L: Display, V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        self.head(name, kind, help);
        for (of, value) in values {
            let of = of.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(self.0, "tidegate_{name}{{{label}=\"{of}\"}} {value}");
        }
    }
}

impl IntoResponse for Figures {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], self.0).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_under_one_head_and_labels_are_escaped() {
        let mut figures = Figures::of("0.1.0", Instant::now());
        figures.put_by("refused_total", "counter", "Refused.", "reason", [("a\\b\n\"", 1), ("room", 2)]);
        figures.put_by("nothing", "gauge", "None.", "gateway", [("", 0); 0]);
        let text = figures.0;
        assert!(text.contains("tidegate_build_info{version=\"0.1.0\"} 1\n"), "{text}");
        let wanted = "# TYPE tidegate_refused_total counter\ntidegate_refused_total{reason=\"a\\\\b\\n\\\"\"} 1\ntidegate_refused_total{reason=\"room\"} 2\n";
        assert!(text.ends_with(wanted), "{text}");
        let start = text.lines().find_map(|line| line.strip_prefix("tidegate_process_start_time_seconds ")).unwrap();
        assert!(start.parse::<u64>().unwrap() > 1_600_000_000);
    }
}
