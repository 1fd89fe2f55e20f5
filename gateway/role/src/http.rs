//! Alarms over HTTP (contract §6): the list, one of them, the figures, and what people do.

use crate::alarms::{Ask, Refused};
use crate::limits::TURN_WAIT;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use replica::alarm::{self, Filter};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use web::refusal;

/// What happens to a role's core; that somebody asks about alarms is one such thing.
pub trait Event: From<Ask> + Send + 'static {}

impl<T: From<Ask> + Send + 'static> Event for T {}

/// Where it is asked.
struct Desk<E> {
    core: mpsc::Sender<E>,
    /// The right to ask for a list, which may hold the core for some tenths of a second: one has it at a time.
    lists: Semaphore,
}

type Shared<E> = State<Arc<Desk<E>>>;

/// The routes below `/api/v1/alarms`, and that of series.
pub fn routes<E: Event, S: Clone + Send + Sync + 'static>(core: mpsc::Sender<E>) -> Router<S> {
    Router::new()
        .route("/api/v1/alarms", get(list::<E>))
        .route("/api/v1/alarms/kpi", get(kpi::<E>))
        .route("/api/v1/alarms/{*target}", get(one::<E>).post(act::<E>))
        .route("/api/v1/series/{*series}", get(series::<E>))
        .with_state(Arc::new(Desk { core, lists: Semaphore::new(1) }))
}

impl<E: Event> Desk<E> {
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Response> {
        let closing = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the process is stopping");
        let (reply, answer) = oneshot::channel();
        self.core.send(ask(reply).into()).await.map_err(|_| closing())?;
        answer.await.map_err(|_| closing())
    }
}

async fn list<E: Event>(State(desk): Shared<E>, filter: Result<Query<Filter>, QueryRejection>) -> Result<Json<Vec<Value>>, Response> {
    let Query(filter) = filter.map_err(|why| refusal(why.status(), why.body_text()))?;
    filter.check().map_err(|why| refusal(StatusCode::BAD_REQUEST, why))?;
    let busy = |_| refusal(StatusCode::SERVICE_UNAVAILABLE, "too many ask for lists of alarms at once; ask again in a moment");
    let _turn = timeout(TURN_WAIT, desk.lists.acquire()).await.map_err(busy)?;
    desk.ask(|reply| Ask::List(filter, reply)).await.map(Json)
}

/// One for each gateway that ever had an alarm; a gateway has its own.
async fn kpi<E: Event>(State(desk): Shared<E>) -> Result<Json<Vec<Value>>, Response> {
    desk.ask(Ask::Kpi).await.map(Json)
}

/// Whether there is such a series, or such a machine, and what a gateway is configured to watch it by: for who asks why.
async fn series<E: Event>(State(desk): Shared<E>, Path(name): Path<String>) -> Result<Json<Value>, Response> {
    match desk.ask(|reply| Ask::Series(name.clone(), reply)).await? {
        Some(known) => Ok(Json(known)),
        None => Err(refusal(StatusCode::NOT_FOUND, format!("there is no series {name}"))),
    }
}

fn unknown(path: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, alarm::unknown(path))
}

async fn one<E: Event>(State(desk): Shared<E>, Path(path): Path<String>) -> Result<Json<Value>, Response> {
    desk.ask(|reply| Ask::One(path.clone(), reply)).await?.map(Json).ok_or_else(|| unknown(&path))
}

async fn act<E: Event>(State(desk): Shared<E>, Path(path): Path<String>, body: Bytes) -> Result<Json<Value>, Response> {
    let body =
        alarm::request(&path, &body, settings::unit::duration_ms).map_err(|error| refusal(error.http_status(), error.to_string()))?;
    match desk.ask(|reply| Ask::Do(path.clone(), body, reply)).await? {
        Ok(alarm) => Ok(Json(alarm)),
        Err(Refused::Unknown) => Err(unknown(path.rsplit_once('/').map_or("", |(alarm, _)| alarm))),
        Err(Refused::Busy(why)) => Err(refusal(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Each holds the core for as long as it takes to make it: dashboards that ask together wait in turn, and
    /// what else the core does goes on between.
    #[tokio::test]
    async fn one_list_is_made_at_a_time() {
        let (events, mut core) = mpsc::channel::<Ask>(8);
        let desk = Arc::new(Desk { core: events, lists: Semaphore::new(1) });
        let asks: Vec<_> = (0..3).map(|_| tokio::spawn(list(State(desk.clone()), Ok(Query(Filter::default()))))).collect();
        for _ in 0..3 {
            let Some(Ask::List(_, reply)) = core.recv().await else { panic!("a list is asked for") };
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(core.try_recv().is_err(), "no other before this one is there");
            reply.send(Vec::new()).unwrap();
        }
        for ask in asks {
            assert!(ask.await.unwrap().is_ok());
        }
    }
}
