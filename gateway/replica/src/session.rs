//! MQTT sessions as the log knows them, with their redelivery memory.

mod kept;
mod redelivery;

use crate::record::{LastWill, SessionEvent};
pub use redelivery::{Digest, Redelivery, messages_max};
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
    /// What its client asked to have published once it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub will: Option<Will>,
}

/// A last will that is still to be published, or withdrawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Will {
    /// The record that brought it.
    pub lsn: u64,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    #[serde(with = "schemas::cbor::bytes")]
    pub payload: Vec<u8>,
    /// 0 to 2.
    pub qos: u8,
    /// The retain flag.
    pub retain: bool,
    /// Seconds for which the client's return is waited for.
    pub delay_s: u32,
    /// Message expiry interval in seconds.
    pub expiry_s: Option<u32>,
    /// MQTT 5 properties that travel with it, encoded.
    #[serde(with = "schemas::cbor::bytes")]
    pub properties: Vec<u8>,
}

impl Will {
    fn of(lsn: u64, will: LastWill<'_>) -> Self {
        let LastWill { message, delay_s, expiry_s, properties } = will;
        let (topic, payload, properties) = (message.topic.to_owned(), message.payload.to_vec(), properties.to_vec());
        Self { lsn, topic, payload, qos: message.qos, retain: message.retain, delay_s, expiry_s, properties }
    }
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
    /// Folds one event, of record `lsn`; events of sessions that are not known change nothing.
    pub fn apply(&mut self, lsn: u64, clock_ms: i64, number: u64, event: SessionEvent<'_>) {
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
                session.will = None;
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
            SessionEvent::Will(will) => session.will = Some(Will::of(lsn, will)),
            // The next one may have come by then.
            SessionEvent::WillOver { lsn } => drop(session.will.take_if(|will| will.lsn == lsn)),
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
