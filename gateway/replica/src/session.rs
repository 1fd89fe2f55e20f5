//! MQTT sessions as the log knows them, with their redelivery memory.

mod redelivery;

use crate::record::SessionEvent;
pub use redelivery::{Digest, Redelivery};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One durable session.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Session {
    /// The client identifier.
    pub client_id: String,
    /// Session expiry interval in seconds; `u32::MAX` never ends.
    pub expiry_s: u32,
    /// 4 for MQTT 3.1.1, 5 for MQTT 5.
    pub version: u8,
    /// When its client left, by the logged clock; `None` while connected.
    pub left_ms: Option<i64>,
    /// Filter → options byte and subscription identifier.
    pub subscriptions: BTreeMap<String, (u8, Option<u32>)>,
    /// QoS 2 packet ids received and not yet released.
    pub received: BTreeSet<u16>,
    /// What it sent lately.
    pub memory: Redelivery,
}

impl Session {
    /// Whether the session is over at `clock_ms`.
    pub fn expired(&self, clock_ms: i64) -> bool {
        self.expiry_s != u32::MAX && self.left_ms.is_some_and(|left| clock_ms >= left + i64::from(self.expiry_s) * 1_000)
    }
}

/// All durable sessions of a log.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// By number.
    pub by_number: BTreeMap<u64, Session>,
    /// The highest number ever given.
    pub last: u64,
}

impl Sessions {
    /// Folds one event; events of sessions that are not known change nothing.
    pub fn apply(&mut self, clock_ms: i64, number: u64, event: SessionEvent<'_>) {
        if let SessionEvent::Opened { client_id, expiry_s, version } = event {
            self.last = self.last.max(number);
            self.by_number.retain(|_, s| s.client_id != client_id);
            let session = Session { client_id: client_id.to_owned(), expiry_s, version, ..Session::default() };
            self.by_number.insert(number, session);
            return;
        }
        let Some(session) = self.by_number.get_mut(&number) else { return };
        match event {
            SessionEvent::Opened { .. } => {}
            SessionEvent::Resumed { expiry_s } => {
                session.expiry_s = expiry_s;
                session.left_ms = None;
            }
            SessionEvent::Disconnected { expiry_s, settled } => {
                session.expiry_s = expiry_s;
                if settled {
                    session.memory.settle();
                }
                session.left_ms = Some(clock_ms);
            }
            SessionEvent::Ended => {
                self.by_number.remove(&number);
            }
            SessionEvent::Subscribed { filter, options, identifier } => {
                session.subscriptions.insert(filter.to_owned(), (options, identifier));
            }
            SessionEvent::Unsubscribed { filter } => {
                session.subscriptions.remove(filter);
            }
            SessionEvent::Qos2Received { packet_id } => {
                session.received.insert(packet_id);
            }
            SessionEvent::Qos2Released { packet_id } => {
                session.received.remove(&packet_id);
            }
        }
    }

    /// A process start: nobody is connected any more.
    pub fn restart(&mut self, clock_ms: i64) {
        for session in self.by_number.values_mut() {
            session.left_ms.get_or_insert(clock_ms);
        }
    }

    /// A QoS 2 message of a source was received with its readings.
    pub fn received(&mut self, number: u64, packet_id: u16) {
        if let Some(session) = self.by_number.get_mut(&number) {
            session.received.insert(packet_id);
        }
    }
}
