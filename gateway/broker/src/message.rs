//! A message on its way to subscribers.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// A message, shared by all who get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub topic: Box<str>,
    pub payload: Bytes,
    /// MQTT 5 properties that travel with it, encoded, without message expiry.
    pub properties: Bytes,
    /// QoS it was published with.
    pub qos: u8,
    /// Retain flag it was published with.
    pub retain: bool,
    /// When its message expiry interval ends.
    pub expires: Option<Instant>,
    /// It goes before whatever else waits for a subscriber.
    pub urgent: bool,
}

impl Message {
    /// Bytes that it occupies while it waits, with what surrounds it.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len() + 96
    }

    /// Whether its message expiry interval is over.
    pub fn is_expired(&self) -> bool {
        self.expires.is_some_and(|end| end <= Instant::now())
    }

    /// What is left of its message expiry interval, in whole seconds, at least 1.
    pub fn expiry_s(&self) -> Option<u32> {
        let left = self.expires?.saturating_duration_since(Instant::now());
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1))
    }
}

/// A message for one subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub message: Arc<Message>,
    /// The lower of published and granted QoS: 0 or 1.
    pub qos: u8,
    /// Retain flag to be sent.
    pub retain: bool,
    /// Subscription identifiers that matched.
    pub identifiers: Option<Arc<[u32]>>,
}
