//! The broker that takes what is published: our own, or one that is already there.
//!
//! | file | subject |
//! |---|---|
//! | [`given`] | messages of our own broker, until subscribers are done with them |
//! | [`outbox`] | messages for an existing broker, until it has them |

pub mod given;
pub mod outbox;

use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MAX};
use broker::Broker;
use given::Given;
pub use outbox::Outbox;
use schemas::message::Crossed;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where messages go.
#[derive(Clone)]
pub enum Outbound {
    /// In this process.
    Embedded(Broker, Arc<Given>),
    /// Over the network.
    Existing(Arc<Outbox>),
}

impl Outbound {
    /// Our own broker.
    pub fn embedded(broker: Broker) -> Self {
        Self::Embedded(broker, Arc::default())
    }

    /// Publishes at QoS 1 what follows from record `lsn`.
    pub fn publish(&self, lsn: u64, topic: String, payload: String, retain: bool) {
        match self {
            Outbound::Embedded(broker, given) => given.give(lsn, broker.publish_watched(&topic, payload.into(), 1, retain)),
            Outbound::Existing(outbox) => outbox.publish(lsn, topic, payload.into_bytes(), retain),
        }
    }

    /// Publishes an alert at QoS 1, before all that waits. Its record `lsn` may be ahead of others.
    pub fn publish_urgent(&self, lsn: u64, topic: String, payload: String) {
        match self {
            Outbound::Embedded(broker, given) => given.give_urgent(lsn, broker.publish_urgent(&topic, payload.into(), 1)),
            Outbound::Existing(outbox) => outbox.publish_urgent(lsn, topic, payload.into_bytes()),
        }
    }

    /// What was published urgently with record `lsn` counts for an earlier one too: until it was
    /// taken, the cursor stays before both.
    pub fn hold_cursor(&self, lsn: u64, earlier: u64) {
        let hold = |at: &mut u64| *at = if *at == lsn { earlier.min(lsn) } else { *at };
        match self {
            Outbound::Embedded(_, given) => given.hold_urgent(hold),
            Outbound::Existing(outbox) => outbox.hold_urgent(hold),
        }
    }

    /// Publishes an ordinary message of a gateway; an existing broker gets it at QoS 1.
    pub fn forward(&self, lsn: u64, message: Crossed) {
        let Crossed { topic, payload, qos, retain, .. } = message;
        match self {
            Outbound::Embedded(broker, given) => given.give(lsn, broker.publish_watched(&topic, payload.into(), qos, retain)),
            Outbound::Existing(outbox) => outbox.forward(lsn, topic, payload, retain),
        }
    }

    /// Gateways want ordinary messages on these topics: of our own broker the door sees them.
    pub fn want(&self, filters: BTreeSet<String>) {
        if let Outbound::Existing(outbox) = self {
            outbox.want(filters);
        }
    }

    /// An ordinary message of an existing broker is durable here.
    pub fn acknowledge(&self, generation: u64, publish: &rumqttc::Publish) {
        if let Outbound::Existing(outbox) = self {
            outbox.acknowledge(generation, publish);
        }
    }

    /// Whether what came by that connection of an existing broker is still to be taken.
    pub fn is_open(&self, generation: u64) -> bool {
        matches!(self, Outbound::Existing(outbox) if outbox.is_open(generation))
    }

    /// A message of an existing broker cannot be taken: the connection that it came by ends.
    pub fn give_up(&self, generation: u64) {
        if let Outbound::Existing(outbox) = self {
            outbox.give_up(generation);
        }
    }

    /// Answers a gateway, at most once: it asks again.
    pub fn answer(&self, topic: String, payload: Vec<u8>) {
        match self {
            Outbound::Embedded(broker, _) => broker.publish(&topic, payload.into(), 0, false),
            Outbound::Existing(outbox) => outbox.answer(topic, payload),
        }
    }

    /// All messages of records up to `lsn` have been given; up to which they were taken.
    pub fn settle(&self, lsn: u64) -> u64 {
        match self {
            Outbound::Embedded(_, given) => given.settle(lsn),
            Outbound::Existing(outbox) => outbox.settle(lsn),
        }
    }

    /// Whether so much waits that a round should, too.
    pub fn is_behind(&self) -> bool {
        match self {
            Outbound::Embedded(broker, _) => broker.is_behind(),
            Outbound::Existing(outbox) => outbox.waiting() > OUTBOX_MAX / 2 || outbox.waiting_bytes() > OUTBOX_BYTES_MAX,
        }
    }

    /// Ordinary messages of an existing broker that are too large for the way to a gateway.
    pub fn refused(&self) -> u64 {
        match self {
            Outbound::Embedded(..) => 0,
            Outbound::Existing(outbox) => outbox.refused(),
        }
    }

    /// Whether the broker is there: it answered, and takes what it is given.
    pub fn is_connected(&self) -> bool {
        match self {
            Outbound::Embedded(..) => true,
            Outbound::Existing(outbox) => outbox.is_answering(),
        }
    }
}
