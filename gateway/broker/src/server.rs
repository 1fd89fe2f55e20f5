//! Sockets, the handle, orderly stop.

use crate::application::{Application, SessionEvent, Ticket};
use crate::connection;
use crate::router::{Message, Router};
use crate::session::{Session, StoredSession};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// How the front door behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Largest packet taken, in bytes.
    pub max_packet: usize,
    /// Connections at once; one more is closed unanswered.
    pub connections_max: usize,
}

/// Figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections at present.
    pub connections: usize,
    /// Sessions, of present and absent clients.
    pub sessions: usize,
    /// PUBLISHes received.
    pub received: u64,
    /// Messages handed to subscribers.
    pub delivered: u64,
    /// Messages that slow subscribers missed.
    pub dropped: u64,
}

pub(crate) struct Slot {
    pub session: Arc<Mutex<Session>>,
    /// Connection that has it, and how to end that.
    pub owner: Option<(u64, Arc<Notify>)>,
}

pub(crate) struct Inner {
    pub config: Config,
    pub application: Arc<dyn Application>,
    pub router: Router,
    pub sessions: Mutex<HashMap<String, Slot>>,
    pub connections: AtomicUsize,
    pub next_connection: AtomicU64,
    pub received: AtomicU64,
    pub stop: watch::Sender<bool>,
}

/// A handle on the front door.
#[derive(Clone)]
pub struct Broker {
    pub(crate) inner: Arc<Inner>,
}

impl Broker {
    /// A front door with the sessions that the application kept; nothing listens yet.
    pub fn new(config: Config, application: Arc<dyn Application>, stored: Vec<StoredSession>) -> Self {
        let mut sessions = HashMap::new();
        for s in stored {
            let client_id = s.client_id.clone();
            let mut session = Session::from(s);
            session.deadline = deadline(session.expiry_s);
            sessions.insert(client_id, Slot { session: Arc::new(Mutex::new(session)), owner: None });
        }
        let inner = Inner {
            config,
            application,
            router: Router::default(),
            sessions: Mutex::new(sessions),
            connections: AtomicUsize::new(0),
            next_connection: AtomicU64::new(1),
            received: AtomicU64::new(0),
            stop: watch::channel(false).0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes connections until [`Broker::shutdown`].
    pub fn listen(&self, listener: TcpListener) -> JoinHandle<()> {
        let inner = self.inner.clone();
        let mut stop = inner.stop.subscribe();
        tokio::spawn(async move {
            let mut sweep = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            if inner.connections.load(Ordering::Relaxed) >= inner.config.connections_max {
                                continue;
                            }
                            inner.connections.fetch_add(1, Ordering::Relaxed);
                            let inner = inner.clone();
                            tokio::spawn(async move {
                                connection::serve(stream, inner.clone()).await;
                                inner.connections.fetch_sub(1, Ordering::Relaxed);
                            });
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a connection cannot be taken");
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    },
                    _ = sweep.tick() => inner.expire(),
                    _ = stop.changed() => return,
                }
            }
        })
    }

    /// Publishes from inside: routed at once, retained if so asked.
    pub fn publish(&self, topic: &str, payload: Bytes, qos: u8, retain: bool) {
        self.inner.router.route(0, Message { topic: topic.into(), payload, qos, retain, properties: Bytes::new() });
    }

    /// Sets a retained message without routing it.
    pub fn retain(&self, topic: &str, payload: Bytes) {
        self.inner.router.retain(&Message { topic: topic.into(), payload, qos: 1, retain: true, properties: Bytes::new() });
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.inner.connections.load(Ordering::Relaxed),
            sessions: self.inner.sessions.lock().len(),
            received: self.inner.received.load(Ordering::Relaxed),
            delivered: self.inner.router.delivered.load(Ordering::Relaxed),
            dropped: self.inner.router.dropped.load(Ordering::Relaxed),
        }
    }

    /// Takes no more connections; those there get what is committed acknowledged and a
    /// DISCONNECT, within `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.stop.send_replace(true);
        let until = Instant::now() + grace;
        while self.inner.connections.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn deadline(expiry_s: u32) -> Option<Instant> {
    (expiry_s != u32::MAX).then(|| Instant::now() + Duration::from_secs(u64::from(expiry_s)))
}

impl Inner {
    /// Logs a session's event, if the session is durable.
    pub fn log(&self, number: u64, event: SessionEvent<'_>) -> Result<Ticket, crate::Refusal> {
        if number == 0 { Ok(0) } else { self.application.session(number, event) }
    }

    /// Ends sessions whose clients stayed away.
    fn expire(&self) {
        let now = Instant::now();
        let mut ended = Vec::new();
        self.sessions.lock().retain(|_, slot| {
            let session = slot.session.lock();
            let over = slot.owner.is_none() && session.deadline.is_some_and(|d| d <= now);
            if over {
                ended.push(session.number);
            }
            !over
        });
        for number in ended {
            if self.log(number, SessionEvent::Ended).is_err() {
                tracing::warn!(number, "the end of a session is not logged; it is ended again after a restart");
            }
        }
    }
}
