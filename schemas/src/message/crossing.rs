//! Ordinary messages that cross the link (`[[bridge]]`): up in lanes by priority, each in the
//! order of the gateway's log, and down in the order of the cloud's.

use super::{Check, ensure, text};
use crate::cbor;
use crate::error::DecodeError;
use crate::limits::{CROSSED_MAX, TOPIC_BYTES_MAX};
use serde::{Deserialize, Serialize};

/// Lanes upwards: urgent, normal, bulk.
pub const LANES: usize = 3;

/// A message's part that both directions have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossed {
    /// Boot of the log that took it: the gateway's on the way up, the cloud's on the way down.
    pub boot: u64,
    /// Its record's seq (up) or number (down) there; grows within a lane.
    pub seq: u64,
    /// Where the receiver publishes it, 1 to [`TOPIC_BYTES_MAX`] bytes; on the way down, where
    /// it was published at the cloud.
    pub topic: String,
    /// The payload.
    #[serde(with = "cbor::bytes")]
    pub payload: Vec<u8>,
    /// 0 to 2.
    pub qos: u8,
    /// The retain flag.
    pub retain: bool,
}

/// Messages of one lane, in order, all of one boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossUp {
    /// [`super::FORMAT`] of the writer.
    pub format: u32,
    /// 0 urgent, 1 normal, 2 bulk.
    pub lane: u8,
    /// At most [`CROSSED_MAX`].
    #[serde(deserialize_with = "cbor::list::<_, _, CROSSED_MAX>")]
    pub messages: Vec<Crossed>,
    /// Messages that the gateway gave up for want of room, in all.
    pub given_up: u64,
    /// Messages whose time to live ended at the gateway, in all.
    pub expired: u64,
}

/// The cloud has the messages of a lane up to here on stable storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossAck {
    /// [`super::FORMAT`] of the writer.
    pub format: u32,
    /// The gateway's boot.
    pub boot: u64,
    /// The lane.
    pub lane: u8,
    /// The last message of boot and lane that is durable.
    pub applied: u64,
}

/// Messages for a gateway, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossDown {
    /// [`super::FORMAT`] of the writer.
    pub format: u32,
    /// At most [`CROSSED_MAX`].
    #[serde(deserialize_with = "cbor::list::<_, _, CROSSED_MAX>")]
    pub messages: Vec<Crossed>,
}

/// The gateway has the messages up to here on stable storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossDone {
    /// [`super::FORMAT`] of the writer.
    pub format: u32,
    /// The cloud's boot in the last message's name.
    pub boot: u64,
    /// Its number.
    pub seq: u64,
}

/// What a gateway wants from the cloud's broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Topic filter there, 1 to [`TOPIC_BYTES_MAX`] bytes.
    pub filter: String,
    /// How long a message may wait for the gateway, in ms; 0 for as long as there is room.
    pub ttl_ms: i64,
}

impl Wanted {
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        topic(&self.filter)?;
        ensure(self.ttl_ms >= 0, "a time to live")
    }
}

impl Crossed {
    fn check(&self) -> Result<(), DecodeError> {
        topic(&self.topic)?;
        ensure(!self.topic.contains(['+', '#']), "a topic with wildcards")?;
        ensure(self.qos <= 2, "a QoS")
    }
}

fn topic(name: &str) -> Result<(), DecodeError> {
    ensure(!name.is_empty() && !name.contains('\0'), "a topic")?;
    text(name, TOPIC_BYTES_MAX)
}

impl Check for CrossUp {
    fn check(&self) -> Result<(), DecodeError> {
        ensure(usize::from(self.lane) < LANES, "a lane")?;
        let one = self.messages.windows(2).all(|pair| pair[0].boot == pair[1].boot && pair[0].seq < pair[1].seq);
        ensure(one && !self.messages.is_empty(), "the order of messages")?;
        self.messages.iter().try_for_each(Crossed::check)
    }
}

impl Check for CrossAck {
    fn check(&self) -> Result<(), DecodeError> {
        ensure(usize::from(self.lane) < LANES, "a lane")
    }
}

impl Check for CrossDown {
    fn check(&self) -> Result<(), DecodeError> {
        self.messages.iter().try_for_each(Crossed::check)
    }
}

impl Check for CrossDone {
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}
