//! What every role answers alike: that it lives, whether it is ready, and its figures (contract §5).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::{Display, Write};

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
    /// One of them: its name behind `tidegate_`, `counter` or `gauge`, what it is, and how much.
    pub fn put(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP tidegate_{name} {help}\n# TYPE tidegate_{name} {kind}\ntidegate_{name} {value}");
    }
}

impl IntoResponse for Figures {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], self.0).into_response()
    }
}
