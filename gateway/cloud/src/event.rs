//! What reaches the core: messages, durable frames, and what people ask for.

use crate::status::Status;
use journal::Frame;
use replica::alarm::{Body, Filter};
use serde_json::Value;
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

/// Why something that was asked for is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such alarm.
    #[error("there is no such alarm")]
    Unknown,
    /// It cannot be taken now.
    #[error("{0}")]
    Busy(String),
}

/// Who waits for something to be done.
pub type Reply = oneshot::Sender<Result<Value, Refused>>;

/// What is asked of the core about alarms.
pub enum Ask {
    /// A list.
    List(Filter, oneshot::Sender<Vec<Value>>),
    /// One alarm, as `{gateway}/{series}/{kind}`.
    One(String, oneshot::Sender<Option<Value>>),
    /// The figures of all gateways.
    Kpi(oneshot::Sender<Vec<Value>>),
    /// Whether there is a series of this name, or one of a machine of this name.
    Series(String, oneshot::Sender<bool>),
    /// Something is to be done; answered with the alarm once that is durable.
    Do(String, Body, Reply),
}
