//! What reaches the core: messages, durable frames, and what people ask for.

use crate::status::Status;
use journal::Frame;
use replica::alarm::Body;
use role::alarms::Ask;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// What happens to the core.
pub enum Event {
    /// A message of a gateway.
    Wire {
        /// Its name.
        gateway: String,
        /// Last level of the topic.
        what: String,
        /// Its payload.
        bytes: Vec<u8>,
        /// When it arrived.
        at: Instant,
    },
    /// A gateway spoke: its message is taken already.
    Heard {
        /// Its name.
        gateway: String,
    },
    /// A frame is durable.
    Frame(Frame),
    /// An ordinary message of an existing broker, and the connection that it came by.
    Plain(u64, rumqttc::Publish),
    /// Something is asked for about an alarm by a message of an existing broker.
    Asked {
        /// The connection that it came by.
        generation: u64,
        /// The message.
        publish: rumqttc::Publish,
        /// `{gateway}/{series}/{kind}/{verb}`.
        path: String,
        /// What it says.
        body: Body,
    },
    /// An existing broker has forgotten us, and with us perhaps what it retained.
    Anew,
    /// Somebody asks about alarms.
    Alarm(Ask),
    /// Somebody asks how things stand.
    Status(oneshot::Sender<Status>),
    /// Nothing more will arrive: what is published is to be logged as such.
    Finish(oneshot::Sender<()>),
    /// No more frames will come.
    Stop,
}

/// The way to the core.
pub type Events = mpsc::Sender<Event>;

impl From<Ask> for Event {
    fn from(ask: Ask) -> Self {
        Self::Alarm(ask)
    }
}
