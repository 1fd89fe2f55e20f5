//! What the tasks of one broker share.

use crate::application::Application;
use crate::audience::Audience;
use crate::complaint::Kind;
use crate::message::Message;
use crate::retained::Retained;
use crate::router::Router;
use crate::slots::Sessions;
use crate::stats::{Counters, count};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use tokio::sync::watch;

/// How the front door behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Largest packet taken, in bytes, its header included; announced in MQTT 5, a larger one
    /// closes with 0x95.
    pub max_packet: usize,
    /// Connections at once; one more is told so in its CONNACK.
    pub connections_max: usize,
    /// Live messages waiting for one subscriber, present or absent; one more is dropped and counted.
    pub queue_max: usize,
}

/// How far the stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// It has not been asked for.
    Running,
    /// Nothing new is read; what was taken is acknowledged once durable.
    Draining,
    /// Connections end now.
    Now,
}

/// What the tasks of one broker share.
pub(crate) struct Inner {
    pub config: Config,
    pub application: Arc<dyn Application>,
    pub router: Router,
    pub retained: Retained,
    pub sessions: Sessions,
    pub audience: Arc<Audience>,
    pub counters: Arc<Counters>,
    /// Bytes of the wills in the application's log.
    pub wills_bytes: Arc<AtomicUsize>,
    /// Wills that the application did not take, as they are told.
    pub wills_refused: Mutex<Kind>,
    pub next_connection: AtomicU64,
    pub next_subscriber: AtomicU64,
    pub stop: watch::Sender<Stop>,
}

impl Inner {
    /// Retains a message that asks for it.
    pub fn retain(&self, message: &Arc<Message>) {
        if message.retain && !self.retained.set(message, self.application.owns(&message.topic)) {
            count(&self.counters.unretained, 1);
        }
    }
}
