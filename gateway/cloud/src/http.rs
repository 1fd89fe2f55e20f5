//! Health, figures and status over HTTP (contract §5).

use crate::core::{Event, Events};
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use journal::{Journal, RunState};
use serde_json::Value;
use std::fmt::Write;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What the answers are read off.
#[derive(Clone)]
pub struct State {
    /// The core.
    pub events: Events,
    /// The log.
    pub journal: Journal,
}

/// Serves until aborted.
pub async fn serve(listener: TcpListener, state: State) {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .with_state(state);
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "HTTP ended");
    }
}

async fn ready(Shared(state): Shared<State>) -> (StatusCode, String) {
    if state.journal.horizon().borrow().state == RunState::Failed {
        return (StatusCode::SERVICE_UNAVAILABLE, "the log failed\n".into());
    }
    match state.journal.refusing() {
        None => (StatusCode::OK, "ready\n".into()),
        Some(refused) => (StatusCode::SERVICE_UNAVAILABLE, format!("{refused}\n")),
    }
}

async fn status(Shared(state): Shared<State>) -> Result<Json<Value>, StatusCode> {
    let (reply, answer) = oneshot::channel();
    state.events.send(Event::Status(reply)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    answer.await.map(Json).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

async fn metrics(Shared(state): Shared<State>) -> String {
    let s = state.journal.stats();
    let mut out = String::new();
    for (name, kind, help, value) in [
        ("log_written_bytes_total", "counter", "Bytes written to the log by this process.", s.bytes_written),
        ("log_syncs_total", "counter", "Syncs of the log by this process.", s.syncs),
        ("log_bytes", "gauge", "Bytes that the log takes.", s.used_bytes),
        ("log_durable_records", "gauge", "Number of the newest durable record.", s.durable),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP tidegate_{name} {help}\n# TYPE tidegate_{name} {kind}\ntidegate_{name} {value}");
    }
    out
}
