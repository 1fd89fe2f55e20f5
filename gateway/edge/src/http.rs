//! Health, figures and status over HTTP (contract §5).

use crate::event::{Event, Events};
use crate::status::Status;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use broker::Broker;
use journal::Journal;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use web::health::{Figures, alive, readiness};

/// What the answers are read off.
#[derive(Clone)]
pub struct State {
    /// The core, which knows the ledger.
    pub events: Events,
    /// The log.
    pub journal: Journal,
    /// The front door.
    pub broker: Broker,
    /// The gateway's name.
    pub gateway: String,
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

async fn ready(Shared(state): Shared<State>) -> (StatusCode, String) {
    readiness(state.journal.unready())
}

async fn ask(state: &State) -> Option<Status> {
    let (reply, answer) = oneshot::channel();
    state.events.send(Event::Status(reply)).await.ok()?;
    answer.await.ok()
}

async fn status(Shared(state): Shared<State>) -> Result<Json<serde_json::Value>, StatusCode> {
    let status = ask(&state).await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let mut json = serde_json::to_value(&status).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let door = state.broker.stats();
    json["role"] = "edge".into();
    json["gateway"] = state.gateway.as_str().into();
    json["version"] = env!("CARGO_PKG_VERSION").into();
    json["uptime_s"] = state.started.elapsed().as_secs().into();
    json["unready"] = state.journal.unready().into();
    json["room"] = match &status.room {
        Ok(bytes) => (*bytes).into(),
        Err(why) => why.clone().into(),
    };
    json["connections"] = door.connections.into();
    json["sessions"] = door.sessions.into();
    json["subscriber_dropped"] = door.dropped.into();
    json["alarms"] = replica::alarm::kpi_json(&state.gateway, &status.alarms);
    Ok(Json(json))
}

async fn metrics(Shared(state): Shared<State>) -> Result<impl IntoResponse, StatusCode> {
    let s = ask(&state).await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let door = state.broker.stats();
    let mut figures = Figures::of(env!("CARGO_PKG_VERSION"), state.started);
    let refused = &s.ledger.refused;
    figures.put_by("messages_refused_total", "counter", "Messages refused, by reason.", "reason", refused);
    if let Some(skew_ms) = s.skew_ms {
        let help = "Wall clock less the cloud's at its last answer.";
        figures.put("clock_skew_seconds", "gauge", help, skew_ms as f64 / 1_000.0);
    }
    figures.put("clock_ahead_seconds", "gauge", "The logged clock's lead over the wall clock.", s.ahead_ms as f64 / 1_000.0);
    let mut put = |name: &str, kind: &str, help: &str, value: u64| figures.put(name, kind, help, value);
    put("readings_accepted_total", "counter", "Readings acknowledged to sensors.", s.ledger.accepted);
    put("readings_delivered_total", "counter", "Readings durable at the cloud.", s.ledger.delivered);
    put("readings_held", "gauge", "Readings still to go.", s.ledger.held);
    put("readings_shed_total", "counter", "Readings given up and reported.", s.ledger.shed);
    put("readings_local_total", "counter", "Readings that stay on site.", s.ledger.local);
    put("readings_duplicate_total", "counter", "Values of redeliveries.", s.ledger.duplicates);
    put("readings_clamped_total", "counter", "Readings stamped with their arrival: their time lay ahead.", s.clamped);
    put("readings_misfit_total", "counter", "Readings in a unit other than their series', by this process.", s.misfits);
    put("readings_undated", "gauge", "Readings that wait until the clock is set.", s.undated as u64);
    put("clock_jumps_total", "counter", "Jumps of the wall clock seen by this process.", s.clock_jumps);
    put("series", "gauge", "Series defined.", s.series as u64);
    put("marks_held", "gauge", "Windows given up for want of room that the cloud has not counted for good.", s.marks_held as u64);
    put("held_bytes", "gauge", "Bytes of what is held for the cloud: on disk, and an estimate of what is in memory alone.", s.held_bytes);
    put("entries_held", "gauge", "Sealed window entries not acknowledged by the cloud.", s.entries_held as u64);
    put("log_written_bytes_total", "counter", "Bytes written to the log by this process.", s.bytes_written);
    put("log_syncs_total", "counter", "Syncs of the log by this process.", s.syncs);
    put("log_bytes", "gauge", "Bytes that the log takes.", s.log_bytes);
    if let Some(flash) = &s.flash {
        put(
            "disk_written_bytes_total",
            "counter",
            "Bytes of pages written to disk by this process: log, snapshots, their parts.",
            flash.bytes,
        );
        put("commits_spaced_total", "counter", "Commits that waited for company, for the flash budget's sake.", flash.spaced_commits);
        if let Some(bytes) = flash.bytes_per_day {
            put("disk_written_bytes_per_day", "gauge", "Bytes of pages written in a day, at the rate of the last hour.", bytes);
        }
        if let Some(bytes) = flash.bytes_per_reading {
            put("disk_written_bytes_per_reading", "gauge", "Bytes of pages written for a reading, in the last hour.", bytes.round() as u64);
        }
    }
    put("connections", "gauge", "MQTT connections.", door.connections as u64);
    put("retained_messages", "gauge", "Retained messages.", door.retained as u64);
    put("unretained_total", "counter", "Retained messages of clients that there was no room to keep.", door.unretained);
    put("subscriber_dropped_total", "counter", "Messages that slow subscribers missed.", door.dropped);
    put("publishes_refused_total", "counter", "PUBLISHes and wills of clients that were not taken.", door.refused);
    if let Some(b) = &s.bridge {
        put("bridge_taken_total", "counter", "Ordinary messages that bridges took from clients.", b.taken);
        put("bridge_delivered_total", "counter", "Ordinary messages acknowledged by the cloud.", b.delivered);
        put("bridge_waiting", "gauge", "Ordinary messages that wait for the cloud.", b.waiting);
        put("bridge_waiting_bytes", "gauge", "Bytes of those.", b.waiting_bytes);
        put("bridge_given_up_total", "counter", "Ordinary messages given up for want of room.", b.given_up);
        put("bridge_expired_total", "counter", "Ordinary messages that were too old.", b.expired);
        put("bridge_received_total", "counter", "Ordinary messages taken from the cloud.", b.received);
        put("bridge_unheld_total", "counter", "Those of the cloud that a subscriber may have missed if the gateway ended since.", b.unheld);
        put("bridge_refused_total", "counter", "Ordinary messages of the cloud that were passed over, by this process.", b.refused);
    }
    put("uplink_bytes_total", "counter", "Bytes on the uplink, both ways, by this process.", s.uplink_bytes);
    if let Some(drain) = s.drain {
        put("drain_windows", "gauge", "Sealed windows that the cloud is not known to hold.", drain.windows);
        put("drain_bytes", "gauge", "Bytes that these will take on the uplink.", drain.bytes);
        put("drain_intervals_in_flight", "gauge", "Intervals that the cloud has not answered.", drain.in_flight);
        put("drain_alerts", "gauge", "Alerts without the cloud's receipt.", drain.alerts);
        put("drain_readings_per_second", "gauge", "Readings acknowledged by the cloud, lately.", drain.readings_per_s.unwrap_or(0));
        if let Some(eta) = drain.eta_s {
            put("drain_remaining_seconds", "gauge", "Until all windows are there at the present rate.", eta);
        }
    }
    if let Some(room) = s.room_s {
        put("log_room_seconds", "gauge", "How long the log has room for at the present rate.", room);
    }
    put("alerts_lost_total", "counter", "Alerts that waited for the cloud and were lost with damaged parts of the disk.", s.alerts_lost);
    put("alerts_kept", "gauge", "Alerts kept for a crash until each durable session here has them.", s.alerts_kept as u64);
    put("alerts_unheld_total", "counter", "Alerts, by session, that one may have missed if the gateway ended since.", s.alerts_unheld);
    put("shadow_alerts_total", "counter", "Alerts of detectors in shadow, which raise nothing.", s.shadow.values().sum());
    put("uplink_connected", "gauge", "1 while the link to the cloud stands.", u64::from(s.connected == Some(true)));
    let alerts = s.lanes.is_some_and(|lanes| lanes.alerts);
    put("uplink_alerts_connected", "gauge", "1 while its connection for alerts stands.", u64::from(alerts));
    for (name, kind, help, value) in replica::alarm::metrics(std::iter::once(&s.alarms)) {
        figures.put(name, kind, help, value);
    }
    for (name, kind, help, label, values) in replica::alarm::metrics_by(std::iter::once((state.gateway.as_str(), &s.alarms))) {
        figures.put_by(name, kind, help, label, values);
    }
    Ok(figures)
}
