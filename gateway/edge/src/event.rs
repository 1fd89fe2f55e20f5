//! What reaches the core: durable frames, what the sockets to the cloud tell, and what people ask for.

use crate::status::Status;
use journal::Frame;
use replica::uplink::Lane;
use role::alarms::Ask;
use rumqttc::Publish;
use schemas::message::{Ack, Command, CrossAck, CrossDown, Receipt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// What happens to the core.
pub enum Event {
    /// A frame is durable; while it waits it takes this room.
    Frame(Frame, OwnedSemaphorePermit),
    /// The link has news.
    Link(LinkEvent),
    /// Somebody asks about alarms.
    Alarm(Ask),
    /// The connection for ordinary messages has news.
    Cross(CrossEvent),
    /// Clients have left: what they have taken is logged.
    Left(oneshot::Sender<()>),
    /// Somebody asks how things stand.
    Status(oneshot::Sender<Status>),
    /// No more frames will come.
    Stop,
}

impl From<Ask> for Event {
    fn from(ask: Ask) -> Self {
        Self::Alarm(ask)
    }
}

/// The way to the core; a full queue holds the sender.
pub type Events = mpsc::Sender<Event>;

/// What the link tells the core.
#[derive(Debug)]
pub enum LinkEvent {
    /// A connection stands and listens for answers.
    Connected(Lane),
    /// It is gone.
    Disconnected(Lane),
    /// An answer to an interval.
    Ack(Ack),
    /// An answer on the urgent lane.
    Receipt(Receipt),
    /// The cloud passes on what was done there.
    Command(Command),
}

/// What the connection for ordinary messages tells.
#[derive(Debug)]
pub enum CrossEvent {
    /// It stands; whether the broker goes on with the session of the one before.
    Connected(bool),
    /// The batch of that number is written to the socket: its answer may be waited for.
    Left(u64),
    /// It is gone, and with it what was under way.
    Disconnected,
    /// The cloud has messages.
    Ack(CrossAck),
    /// Messages of the cloud.
    Came(CrossDown),
    /// A broker alone has acknowledged all that [`CrossLink::publish`](crate::crossing::link::CrossLink::publish) was given last.
    Taken,
    /// A message of a broker alone, and the connection that it came by.
    Plain(u64, Publish),
}
