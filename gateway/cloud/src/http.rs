//! Health, figures and status over HTTP (contract §5).

use crate::event::{Event, Events};
use crate::outbound::Outbound;
use crate::status::Status;
use crate::store::Handle;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use journal::Journal;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use web::health::{Figures, alive, readiness};

/// A core that does not answer so long is busy with its store.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// What the answers are read off.
#[derive(Clone)]
pub struct State {
    /// The core.
    pub events: Events,
    /// The log.
    pub journal: Journal,
    /// The broker.
    pub out: Outbound,
    /// The merge store.
    pub store: Handle,
    /// When the process started.
    pub started: Instant,
}

/// Serves until aborted.
pub async fn serve(listener: TcpListener, state: State) {
    let app = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .merge(role::http::routes(state.events.clone()))
        .with_state(state);
    web::serve(listener, app).await;
}

/// Why nothing can be taken from gateways, or shown; none where it can.
fn unready(state: &State) -> Option<String> {
    let is_short = || state.store.is_short().then(|| "the merge store has no room on its disk".to_owned());
    let is_alone = || (!state.out.is_connected()).then(|| "the existing broker is not reached".to_owned());
    state.journal.unready().or_else(is_short).or_else(is_alone)
}

async fn ready(Shared(state): Shared<State>) -> (StatusCode, String) {
    readiness(unready(&state))
}

async fn ask(state: &State) -> Result<Status, StatusCode> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        state.events.send(Event::Status(reply)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        answer.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    };
    tokio::time::timeout(ANSWER_WAIT, asked).await.unwrap_or(Err(StatusCode::SERVICE_UNAVAILABLE))
}

async fn status(Shared(state): Shared<State>) -> Result<Json<Value>, StatusCode> {
    let mut json = ask(&state).await?.json;
    json["version"] = env!("CARGO_PKG_VERSION").into();
    json["uptime_s"] = state.started.elapsed().as_secs().into();
    json["unready"] = unready(&state).into();
    Ok(Json(json))
}

async fn metrics(Shared(state): Shared<State>) -> Result<impl IntoResponse, StatusCode> {
    let s = state.journal.stats();
    let status = ask(&state).await?;
    let mut figures = status.figures.clone();
    figures.extend([
        ("log_written_bytes_total", "counter", "Bytes written to the log by this process.", s.bytes_written as f64),
        ("log_syncs_total", "counter", "Syncs of the log by this process.", s.syncs as f64),
        ("log_bytes", "gauge", "Bytes that the log takes.", s.used_bytes as f64),
        ("log_durable_records", "gauge", "Number of the newest durable record.", s.durable as f64),
    ]);
    if let Outbound::Embedded(broker, _) = &state.out {
        let door = broker.stats();
        figures.extend([
            ("connections", "gauge", "MQTT connections.", door.connections as f64),
            ("retained_messages", "gauge", "Retained messages.", door.retained as f64),
            ("unretained_total", "counter", "Retained messages of clients that there was no room to keep.", door.unretained as f64),
            ("subscriber_dropped_total", "counter", "Messages that slow subscribers missed.", door.dropped as f64),
            ("publishes_refused_total", "counter", "PUBLISHes and wills of clients that were not taken.", door.refused as f64),
        ]);
    }
    let mut out = Figures::of(env!("CARGO_PKG_VERSION"), state.started);
    for (name, kind, help, value) in figures {
        out.put(name, kind, help, value);
    }
    status.put_gateways(&mut out);
    Ok(out)
}
