//! How a role is found and answers over HTTP: connections are bounded in number and in patience, so that slow
//! or silent clients cost neither the sensors their sockets nor others their answers.
//!
//! Knows no route, but how a refusal looks, and what every role says in the same way.
//!
//! | file | subject |
//! |---|---|
//! | [`place`] | sockets and `run.json` |
//! | [`health`] | alive, ready, figures |
//! | [`limits`] | bounds with their reasons |

pub mod health;
pub mod limits;
pub mod place;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use limits::{ACCEPT_PAUSE, CONNECTION_LIFE, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_WAIT};
use std::pin::pin;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Serves until aborted.
pub async fn serve(listener: TcpListener, app: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed, so this ends with the task only.
    while let Ok(place) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let app = app.clone();
                tokio::spawn(async move {
                    connection(stream, app).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection cannot be taken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Why a request is not done, as JSON: `{"error":"…"}`.
pub fn refusal(code: impl TryInto<StatusCode>, why: impl Into<String>) -> Response {
    let code = code.try_into().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, Json(serde_json::json!({ "error": why.into() }))).into_response()
}

async fn connection(stream: TcpStream, app: Router) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_BYTES_MAX);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = sleep(CONNECTION_LIFE) => {
            // Between two requests it ends at once; one under way is answered first, if the client takes it.
            served.as_mut().graceful_shutdown();
            timeout(HEAD_WAIT, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
