//! Alarms over HTTP (contract §6): the list, one of them, the figures, and what people do.

use super::State;
use crate::alarms::Ask;
use crate::core::Event;
use crate::desk::Refused;
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
    let closing = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping");
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

/// A list of one, as a bridge has one for each gateway.
async fn kpi(Shared(state): Shared<State>) -> Result<Json<Vec<Value>>, Response> {
    let figures = ask(&state, Ask::Kpi).await?;
    Ok(Json(vec![alarm::kpi_json(&state.gateway, &figures)]))
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
    let name = path.split_once('/').filter(|(gateway, _)| *gateway == state.gateway).and_then(|(_, rest)| rest.rsplit_once('/'));
    let Some((series, kind)) = name else { return Err(unknown(&path)) };
    let name = (series.to_owned(), kind.to_owned());
    ask(&state, |reply| Ask::One(name, reply)).await?.map(Json).ok_or_else(|| unknown(&path))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crossing::rules::Rules;
    use crate::desk::Desk;
    use crate::intake::Intake;
    use replica::fold::Fold;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::sync::{Semaphore, mpsc, watch};

    /// Each holds the core for as long as it takes to make it: dashboards that ask together wait in turn, and
    /// what sensors say goes on between.
    #[tokio::test]
    async fn one_list_is_made_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let opened = journal::open(dir.path(), journal::Options { retain: Duration::MAX, limit_bytes: 1 << 30 }).unwrap();
        let journal = opened.start(Box::new(drop)).unwrap();
        let sources = telemetry::source::Sources::new("plant-a", vec![telemetry::source::Source::default()]).unwrap();
        let (_keep, horizon) = watch::channel(broker::Horizon::default());
        let (desk, rules) = (Arc::new(Desk::new("plant-a")), Arc::new(Rules::new("plant-a", &[])));
        let settings = detect::Settings::default();
        let intake = Intake::new(journal.clone(), &Fold::default(), sources, true, settings, rules, 10, horizon, desk);
        let broker = broker::Broker::new(broker::Config { max_packet: 1 << 16, connections_max: 1 }, Arc::new(intake), Vec::new());
        let (events, mut core) = mpsc::channel(8);
        let (gateway, started, lists) = ("plant-a".to_owned(), Instant::now(), Arc::new(Semaphore::new(1)));
        let state = State { events, journal, broker, gateway, started, lists };
        let asks: Vec<_> = (0..3).map(|_| tokio::spawn(list(Shared(state.clone()), Ok(Query(Filter::default()))))).collect();
        for _ in 0..3 {
            let Some(Event::Alarm(Ask::List(_, reply))) = core.recv().await else { panic!("a list is asked for") };
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(core.try_recv().is_err(), "no other before this one is there");
            reply.send(Vec::new()).unwrap();
        }
        for ask in asks {
            assert!(ask.await.unwrap().is_ok());
        }
    }
}
