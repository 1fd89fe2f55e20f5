//! What outlives a connection: one client's QoS state, without sockets.

use crate::application::{Client, Ticket, Version};
use crate::audience::Seat;
use crate::codec::connect::Will;
use crate::message::Delivery;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A durable session as the application kept it.
#[derive(Debug, Clone)]
pub struct StoredSession {
    /// Its number.
    pub number: u64,
    /// Its client's identifier.
    pub client_id: String,
    /// Expiry in seconds after the client left, `u32::MAX` for never; it counts anew from the
    /// broker's start.
    pub expiry_s: u32,
    /// Protocol version it was opened with.
    pub version: Version,
    /// Filter, options byte, subscription identifier.
    pub subscriptions: Vec<(String, u8, Option<u32>)>,
    /// QoS 2 packet ids received and not released.
    pub received: Vec<u16>,
    /// Its client's last will, not published yet, and the ticket that it was logged with. A session of expiry 0 is
    /// kept for nothing else.
    pub will: Option<(Will, Ticket)>,
}

/// A will whose client is gone.
pub(crate) struct LastWill {
    pub will: Will,
    pub client: Client,
    /// Subscriber number of the client's session, whose own messages `no local` holds back.
    pub from: u64,
    /// Where the application's log has it.
    pub logged: Option<Logged>,
}

/// A will's place in the application's log.
#[derive(Debug)]
pub(crate) struct Logged {
    pub number: u64,
    pub ticket: Ticket,
    /// With it the session ends.
    pub ends: bool,
    pub bytes: usize,
    /// What all take together.
    pub kept: Arc<AtomicUsize>,
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A session. While its client is connected the connection owns it, so nobody else can change it.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Number in the application's log, 0 when the session ends with its connection.
    pub number: u64,
    /// Expiry in seconds after the client leaves, 0 for at once.
    pub expiry_s: u32,
    /// Filter → options byte, subscription identifier.
    pub subscriptions: BTreeMap<String, (u8, Option<u32>)>,
    /// QoS 2 packet ids received and not released, with the ticket their PUBREC waits for.
    pub received: BTreeMap<u16, Ticket>,
    /// QoS 1 messages sent and not acknowledged.
    pub inflight: Inflight,
    /// Its client's will in the application's log, while the client is there.
    pub will: Option<Logged>,
    /// Its subscriptions as they are counted, when it ends with its connection.
    pub seats: BTreeMap<String, Seat>,
}

impl From<StoredSession> for Session {
    fn from(stored: StoredSession) -> Self {
        Self {
            number: stored.number,
            expiry_s: stored.expiry_s,
            subscriptions: stored.subscriptions.into_iter().map(|(f, o, i)| (f, (o, i))).collect(),
            received: stored.received.into_iter().map(|id| (id, 0)).collect(),
            inflight: Inflight::default(),
            will: None,
            seats: BTreeMap::new(),
        }
    }
}

/// QoS 1 messages sent to a client and not acknowledged, in the order they were sent.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    by_id: HashMap<u16, (u64, Delivery)>,
    sent: u64,
    last_id: u16,
}

impl Inflight {
    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Gives a message a packet identifier that is free. Callers keep fewer than
    /// [`INFLIGHT_MAX`](crate::limits::INFLIGHT_MAX), so that there is one.
    pub fn send(&mut self, delivery: Delivery) -> u16 {
        assert!(self.by_id.len() < usize::from(u16::MAX), "packet identifiers are bounded by the window");
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&self.last_id) {
                break;
            }
        }
        self.sent += 1;
        self.by_id.insert(self.last_id, (self.sent, delivery));
        self.last_id
    }

    /// The client has it; false for an identifier that is not out.
    pub fn acknowledge(&mut self, packet_id: u16) -> bool {
        self.by_id.remove(&packet_id).is_some()
    }

    /// What a returning client gets again, in the order it was sent.
    pub fn unacknowledged(&self) -> Vec<(u16, Delivery)> {
        let mut sent: Vec<_> = self.by_id.iter().map(|(id, (order, delivery))| (*order, *id, delivery.clone())).collect();
        sent.sort_unstable_by_key(|(order, ..)| *order);
        sent.into_iter().map(|(_, id, delivery)| (id, delivery)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use bytes::Bytes;
    use std::sync::Arc;

    fn delivery(topic: &str) -> Delivery {
        let message = Message {
            topic: topic.into(),
            payload: Bytes::new(),
            properties: Bytes::new(),
            qos: 1,
            retain: false,
            expires: None,
            urgent: false,
        };
        Delivery { message: Arc::new(message), qos: 1, retain: false, identifiers: None }
    }

    #[test]
    fn identifiers_in_flight_are_not_given_twice() {
        let mut inflight = Inflight::default();
        let first = inflight.send(delivery("first"));
        for _ in 0..u32::from(u16::MAX) * 2 {
            let id = inflight.send(delivery("other"));
            assert!(id != first && id != 0);
            assert!(inflight.acknowledge(id));
        }
        assert!(inflight.acknowledge(first) && !inflight.acknowledge(first));
    }

    #[test]
    fn a_returning_client_gets_the_unacknowledged_in_order() {
        let mut inflight = Inflight::default();
        let ids: Vec<u16> = (0..20).map(|n| inflight.send(delivery(&n.to_string()))).collect();
        inflight.acknowledge(ids[3]);
        let again: Vec<String> = inflight.unacknowledged().into_iter().map(|(_, d)| d.message.topic.to_string()).collect();
        let expected: Vec<String> = (0..20).filter(|n| *n != 3).map(|n| n.to_string()).collect();
        assert_eq!(again, expected);
    }
}
