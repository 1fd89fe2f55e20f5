//! MQTT sessions as the log knows them, with their redelivery memory.

use crate::limits::REDELIVERY_READINGS_MAX;
use crate::record::SessionEvent;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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

/// The last readings of a session, as hashes of (series, time, value) with the packet id that
/// brought them: enough to tell a redelivery, bounded by [`REDELIVERY_READINGS_MAX`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Redelivery {
    recent: VecDeque<(u64, u16)>,
}

impl Redelivery {
    /// Remembers a reading, forgetting the oldest at the bound.
    pub fn remember(&mut self, packet_id: u16, series: u32, time_ms: i64, value: f64) {
        if self.recent.len() == REDELIVERY_READINGS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((fingerprint(series, time_ms, value), packet_id));
    }

    /// Whether this very reading is among those remembered.
    pub fn knows(&self, series: u32, time_ms: i64, value: f64) -> bool {
        let wanted = fingerprint(series, time_ms, value);
        self.recent.iter().any(|(known, _)| *known == wanted)
    }

    /// Whether this very reading is among those that came under this packet id.
    pub fn knows_under(&self, packet_id: u16, series: u32, time_ms: i64, value: f64) -> bool {
        self.recent.contains(&(fingerprint(series, time_ms, value), packet_id))
    }

    /// The packet ids of what is remembered: those that a client which comes back may still
    /// hold unacknowledged.
    pub fn packet_ids(&self) -> impl Iterator<Item = u16> + '_ {
        self.recent.iter().map(|(_, id)| *id)
    }
}

/// SplitMix64's finaliser over the three parts (Steele, Lea, Flood 2014).
fn fingerprint(series: u32, time_ms: i64, value: f64) -> u64 {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    mix(mix(mix(u64::from(series).wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ time_ms as u64) ^ value.to_bits())
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
            SessionEvent::Disconnected { expiry_s } => {
                session.expiry_s = expiry_s;
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
