//! How a role is found and answers over HTTP: connections are bounded in number and in patience, so that slow
//! or silent clients cost neither the sensors their sockets nor others their answers.
//!
//! Knows no route, but how a refusal looks, and what every role says in the same way. A request's body is read here,
//! with a limit of its own, before its route sees any of it.
//!
//! | file | subject |
//! |---|---|
//! | [`place`] | sockets and `run.json` |
//! | [`health`] | alive, ready, figures |
//! | `seat.rs` | who makes room when all places are taken |
//! | [`limits`] | bounds with their reasons |

pub mod health;
pub mod limits;
pub mod place;
mod seat;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use limits::{
    ACCEPT_PAUSE, BODY_BYTES_MAX, BODY_WAIT, CONNECTION_LIFE, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_WAIT, PLACE_LOOK, REFUSAL_BYTES_MAX,
};
use seat::{Seat, Seats};
use std::pin::pin;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Serves until aborted.
pub async fn serve(listener: TcpListener, app: Router) {
    let app = app.layer(from_fn(exchange));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let seats = Arc::new(Seats::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection cannot be taken");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if room.available_permits() == 0 {
            seats.free_one();
        }
        let place = loop {
            match timeout(PLACE_LOOK, room.clone().acquire_owned()).await {
                Ok(Ok(place)) => break place,
                // The semaphore is never closed, so this ends with the task only.
                Ok(Err(_)) => return,
                // Nobody was waited for, or has not left yet.
                Err(_) => seats.free_one(),
            }
        };
        let (app, seat, seats) = (app.clone(), seats.take(), seats.clone());
        tokio::spawn(async move {
            connection(stream, app, &seat).await;
            seats.left(&seat);
            drop(place);
        });
    }
}

/// Why a request is not done, as JSON: `{"error":"…"}`.
pub fn refusal(code: impl TryInto<StatusCode>, why: impl Into<String>) -> Response {
    let code = code.try_into().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, Json(serde_json::json!({ "error": why.into() }))).into_response()
}

/// One request: its body is there, or it is refused; and every refusal looks the same.
async fn exchange(request: Request, next: Next) -> Response {
    let seat = request.extensions().get::<Arc<Seat>>().cloned();
    if let Some(seat) = &seat {
        seat.waits();
    }
    let (head, body) = request.into_parts();
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return too_long();
    }
    let body = match timeout(BODY_WAIT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if std::error::Error::source(&error).is_some_and(|why| why.is::<LengthLimitError>()) => return too_long(),
        Ok(Err(_)) => return closing(StatusCode::BAD_REQUEST, "the body is broken".to_owned()),
        Err(_) => return closing(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {} s", BODY_WAIT.as_secs())),
    };
    if let Some(seat) = &seat {
        seat.answers();
    }
    let response = told(next.run(Request::from_parts(head, Body::from(body))).await).await;
    if let Some(seat) = &seat {
        seat.waits();
    }
    response
}

fn too_long() -> Response {
    closing(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {BODY_BYTES_MAX} bytes"))
}

/// A refusal after which nothing more is read from this connection.
fn closing(code: StatusCode, why: String) -> Response {
    let mut response = refusal(code, why);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What a route's own refusals and those before any route have in common; `Allow` and the like stay.
async fn told(response: Response) -> Response {
    let json = HeaderValue::from_static("application/json");
    if !response.status().is_client_error() || response.headers().get(header::CONTENT_TYPE) == Some(&json) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let said = to_bytes(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let why = match (head.status, String::from_utf8_lossy(&said)) {
        (_, said) if !said.is_empty() => said.into_owned(),
        (StatusCode::NOT_FOUND, _) => "there is nothing at this path".to_owned(),
        (StatusCode::METHOD_NOT_ALLOWED, _) => "this path does not take that method".to_owned(),
        (status, _) => status.canonical_reason().unwrap_or("refused").to_owned(),
    };
    head.headers.insert(header::CONTENT_TYPE, json);
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(serde_json::json!({ "error": why }).to_string()))
}

async fn connection(stream: TcpStream, app: Router, seat: &Arc<Seat>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_BYTES_MAX);
    let app = TowerToHyperService::new(app);
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(seat.clone());
        app.call(request)
    });
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = seat.leave.notified() => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn served() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let echo = |body: axum::body::Bytes| async move { body.len().to_string() };
        let named = |axum::extract::Path(name): axum::extract::Path<String>| async move { name };
        let app = Router::new().route("/here", get(health::alive).post(echo)).route("/named/{name}", get(named));
        tokio::spawn(serve(listener, app));
        at
    }

    /// Sends as it is; everything that comes back until the other side closes.
    async fn raw(at: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        timeout(BODY_WAIT * 2, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn every_refusal_is_json() {
        let at = served().await;
        let long = BODY_BYTES_MAX + 1;
        for (request, code, why) in [
            ("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), 404, "there is nothing at this path"),
            ("DELETE /here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), 405, "this path does not take that method"),
            ("GET /named/%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), 400, "UTF-8"),
            (format!("POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: {long}\r\n\r\n"), 413, "the body is longer than"),
            (
                format!("POST /here HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{long:x}\r\n{}", "x".repeat(long)),
                413,
                "the body is longer than",
            ),
            ("POST /here HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(), 400, "the body is broken"),
        ] {
            let answer = raw(at, request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let request = &request[..request.len().min(200)];
            assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{request}: {answer}");
            assert!(head.contains("content-type: application/json"), "{answer}");
            let error = serde_json::from_str::<serde_json::Value>(body).unwrap()["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains(why), "{request}: {answer}");
        }
        let good = raw(at, b"POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc").await;
        assert!(good.starts_with("HTTP/1.1 200 ") && good.ends_with("\r\n\r\n3"), "{good}");
    }

    /// More than there are places, each with half a request, and again and again: who asks for something is answered.
    #[tokio::test]
    async fn requests_that_do_not_come_hold_no_place_from_others() {
        let at = served().await;
        let mut halves = Vec::new();
        for round in 0..3 {
            for _ in 0..CONNECTIONS_MAX + 50 {
                let mut half = TcpStream::connect(at).await.unwrap();
                half.write_all(b"GET /here HTTP/1.1\r\nHost: x\r\nX: ").await.unwrap();
                halves.push(half);
            }
            let alive = timeout(HEAD_WAIT / 2, raw(at, b"GET /here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
            let alive = alive.await.unwrap_or_else(|_| panic!("no answer in round {round}"));
            assert!(alive.starts_with("HTTP/1.1 200 "), "{alive}");
        }
    }

    /// As many as there are places, each with a body that does not come: one makes room, the others are told.
    #[tokio::test]
    async fn a_body_that_does_not_come_is_told_so_or_makes_room() {
        let at = served().await;
        let slow = b"POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
        let slow: Vec<_> = (0..CONNECTIONS_MAX).map(|_| tokio::spawn(raw(at, slow))).collect();
        sleep(std::time::Duration::from_millis(500)).await;
        let alive = raw(at, b"GET /here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(alive.starts_with("HTTP/1.1 200 "), "{alive}");
        let mut closed = 0;
        for answer in slow {
            let answer = answer.await.unwrap();
            closed += usize::from(answer.is_empty());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
        }
        assert_eq!(closed, 1, "one made room");
    }
}
