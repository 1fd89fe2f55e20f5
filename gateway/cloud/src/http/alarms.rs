//! Alarms over HTTP (contract §6): the list, one of them, the figures, and what people do.

use super::State;
use crate::event::{Ask, Event, Refused};
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use replica::alarm::{self, Filter};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use web::refusal;

/// So long one who asks for a list waits for those before; a place that others need is not held for longer.
const TURN_WAIT: Duration = Duration::from_secs(2);

/// The routes below `/api/v1/alarms`, and that of series.
pub fn routes() -> Router<State> {
    Router::new()
        .route("/api/v1/alarms", get(list))
        .route("/api/v1/alarms/kpi", get(kpi))
        .route("/api/v1/alarms/{*target}", get(one).post(act))
        .route("/api/v1/series/{*series}", get(series))
}

async fn ask<T>(state: &State, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Response> {
    let closing = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the bridge is stopping");
    let (reply, answer) = oneshot::channel();
    state.events.send(Event::Alarm(ask(reply))).await.map_err(|_| closing())?;
    answer.await.map_err(|_| closing())
}

async fn list(Shared(state): Shared<State>, filter: Result<Query<Filter>, QueryRejection>) -> Result<Json<Vec<Value>>, Response> {
    let Query(filter) = filter.map_err(|why| refusal(why.status(), why.body_text()))?;
    filter.check().map_err(|why| refusal(StatusCode::BAD_REQUEST, why))?;
    let busy = |_| refusal(StatusCode::SERVICE_UNAVAILABLE, "too many ask for lists of alarms at once; ask again in a moment");
    let _turn = timeout(TURN_WAIT, state.lists.acquire()).await.map_err(busy)?;
    ask(&state, |reply| Ask::List(filter, reply)).await.map(Json)
}

/// One for each gateway that ever had an alarm.
async fn kpi(Shared(state): Shared<State>) -> Result<Json<Vec<Value>>, Response> {
    ask(&state, Ask::Kpi).await.map(Json)
}

/// Whether there is such a series, or such a machine: for who asks about one that had no alarm.
async fn series(Shared(state): Shared<State>, Path(name): Path<String>) -> Result<Json<Value>, Response> {
    let named = name.clone();
    match ask(&state, |reply| Ask::Series(named, reply)).await? {
        true => Ok(Json(json!({ "series": name }))),
        false => Err(refusal(StatusCode::NOT_FOUND, format!("there is no series {name}"))),
    }
}

fn unknown(path: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, alarm::unknown(path))
}

async fn one(Shared(state): Shared<State>, Path(path): Path<String>) -> Result<Json<Value>, Response> {
    ask(&state, |reply| Ask::One(path.clone(), reply)).await?.map(Json).ok_or_else(|| unknown(&path))
}

async fn act(Shared(state): Shared<State>, Path(path): Path<String>, body: Bytes) -> Result<Json<Value>, Response> {
    let body =
        alarm::request(&path, &body, settings::unit::duration_ms).map_err(|error| refusal(error.http_status(), error.to_string()))?;
    match ask(&state, |reply| Ask::Do(path.clone(), body, reply)).await? {
        Ok(alarm) => Ok(Json(alarm)),
        Err(Refused::Unknown) => Err(unknown(path.rsplit_once('/').map_or("", |(alarm, _)| alarm))),
        Err(Refused::Busy(why)) => Err(refusal(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}
