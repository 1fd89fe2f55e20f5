//! The handle on the front door, and the orderly stop.

use crate::application::Application;
use crate::inner::{Config, Inner, Stop};
use crate::listener;
use crate::message::Message;
use crate::retained::Retained;
use crate::router::Router;
use crate::session::StoredSession;
use crate::slots::Sessions;
use crate::stats::{Stats, read};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A message on its way to its subscribers, see [`Broker::publish_watched`].
#[derive(Debug)]
pub struct Watched(Weak<Message>);

impl Watched {
    /// Whether nobody has it before them any more: each subscriber has acknowledged it, or got it
    /// at QoS 0, or lost it at a bound, or ended its session.
    pub fn is_done(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// A handle on the front door; clones share it.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

impl Broker {
    /// A front door with the sessions that the application kept; nothing listens yet.
    pub fn new(config: Config, application: Arc<dyn Application>, stored: Vec<StoredSession>) -> Self {
        let inner = Inner {
            config,
            application,
            router: Router::default(),
            retained: Retained::default(),
            sessions: Sessions::default(),
            audience: Arc::default(),
            counters: Arc::default(),
            wills_bytes: Arc::default(),
            wills_refused: Mutex::default(),
            next_connection: AtomicU64::new(1),
            next_subscriber: AtomicU64::new(1),
            stop: watch::channel(Stop::Running).0,
        };
        inner.restore(stored);
        Self { inner: Arc::new(inner) }
    }

    /// Takes connections until [`Broker::shutdown`]. Must be called inside a tokio runtime.
    pub fn listen(&self, listener: TcpListener) -> JoinHandle<()> {
        tokio::spawn(listener::run(self.inner.clone(), listener))
    }

    /// Publishes from inside: routed at once, retained if so asked (an empty payload clears).
    pub fn publish(&self, topic: &str, payload: Bytes, qos: u8, retain: bool) {
        let message = message(topic, payload, qos, retain);
        self.inner.retain(&message);
        self.inner.router.route(&message, 0);
    }

    /// Publishes from inside like [`Broker::publish`], and says when all are done with it.
    pub fn publish_watched(&self, topic: &str, payload: Bytes, qos: u8, retain: bool) -> Watched {
        let message = message(topic, payload, qos, retain);
        if retain {
            // What is retained stays: it must not keep the one on its way alive.
            self.inner.retain(&Arc::new(Message::clone(&message)));
        }
        self.inner.router.route(&message, 0);
        Watched(Arc::downgrade(&message))
    }

    /// The same for a message that is not retained and goes before all that waits for its
    /// subscribers. A topic is to be published to in this way always or never: within it, order stays.
    pub fn publish_urgent(&self, topic: &str, payload: Bytes, qos: u8) -> Watched {
        let message = Arc::new(urgent(topic, payload, qos));
        self.inner.router.route(&message, 0);
        Watched(Arc::downgrade(&message))
    }

    /// The same for those sessions alone whose number is `wanted`, 0 for all that end with their connections. Says of each
    /// durable one that gets it at QoS 1 when that is done with it.
    pub fn publish_apart(&self, topic: &str, payload: Bytes, qos: u8, wanted: impl Fn(u64) -> bool) -> Vec<(u64, Watched)> {
        let given = self.inner.router.route_apart(urgent(topic, payload, qos), wanted);
        given.into_iter().map(|(session, message)| (session, Watched(message))).collect()
    }

    /// Sets a retained message without routing it.
    pub fn retain(&self, topic: &str, payload: Bytes) {
        self.inner.retain(&message(topic, payload, 1, true));
    }

    /// Whether a subscriber has so much waiting that it would miss messages if many more were
    /// published at once. One that does not catch up is not waited for
    /// ([`LAG_WAIT`](crate::limits::LAG_WAIT)), nor is one that stays away
    /// ([`ABSENT_WAIT`](crate::limits::ABSENT_WAIT)).
    pub fn is_behind(&self) -> bool {
        let now = std::time::Instant::now();
        self.inner.counters.laggards.lock().values().any(|until| now < *until)
    }

    /// Filters with subscriptions that end with their connections, and how many each has; `None`
    /// once the broker stops, as it is the broker then that ends them.
    pub fn audience(&self) -> Option<BTreeMap<String, usize>> {
        (*self.inner.stop.borrow() == Stop::Running).then(|| self.inner.audience.all())
    }

    /// The broker's figures.
    pub fn stats(&self) -> Stats {
        let counters = &self.inner.counters;
        let (retained, retained_bytes) = self.inner.retained.size();
        Stats {
            connections: counters.connections.load(Ordering::Relaxed),
            sessions: self.inner.sessions.len(),
            subscriptions: self.inner.router.len(),
            retained,
            retained_bytes,
            queued_bytes: counters.queued_bytes.load(Ordering::Relaxed),
            received: read(&counters.received),
            refused: read(&counters.refused),
            delivered: read(&counters.delivered),
            dropped: read(&counters.dropped),
            expired: read(&counters.expired),
            unretained: read(&counters.unretained),
            violations: read(&counters.violations),
            turned_away: read(&counters.turned_away),
        }
    }

    /// Takes no more connections; those there get what is durable acknowledged and a DISCONNECT
    /// (0x8B), within `grace`. Wills are not published: the next process does that, for clients that do not come back.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.stop.send_replace(Stop::Draining);
        if !self.connections_end(grace).await {
            self.inner.stop.send_replace(Stop::Now);
            self.connections_end(Duration::from_millis(200)).await;
        }
    }

    async fn connections_end(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while self.inner.counters.connections.load(Ordering::Relaxed) > 0 {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

fn urgent(topic: &str, payload: Bytes, qos: u8) -> Message {
    Message { topic: topic.into(), payload, properties: Bytes::new(), qos, retain: false, expires: None, urgent: true }
}

fn message(topic: &str, payload: Bytes, qos: u8, retain: bool) -> Arc<Message> {
    Arc::new(Message { topic: topic.into(), payload, properties: Bytes::new(), qos, retain, expires: None, urgent: false })
}
