//! What the embedding program answers: the traits and types between it and the broker.

pub use crate::codec::connect::Version;
use crate::codec::connect::Will;
pub use crate::refusal::Refusal;
use parking_lot::Mutex;
use std::any::Any;
use tokio::sync::watch;

/// A point in the application's log: durable once the horizon has reached it.
pub type Ticket = u64;

/// How far the application's log is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    /// Every ticket up to here.
    pub durable: u64,
    /// It will not go on: nothing may be acknowledged any more.
    pub failed: bool,
}

/// A connected client, or the one whose will is published.
pub struct Client {
    /// Its identifier, chosen by the broker where it had none.
    pub client_id: String,
    /// Its durable session's number, 0 for none and for a will.
    pub session: u64,
    /// Its protocol version.
    pub version: Version,
    /// Number of the connection, unique in this process.
    pub connection: u64,
    /// The application's memory of this connection.
    pub memory: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A PUBLISH, borrowed from the read buffer.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Topic name, valid.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// 0, 1, 2.
    pub qos: u8,
    /// Retain flag.
    pub retain: bool,
    /// Duplicate flag.
    pub dup: bool,
    /// Packet id, 0 at QoS 0.
    pub packet_id: u16,
    /// It is a client's last will.
    pub will: bool,
}

/// What becomes of a PUBLISH. Acknowledgements of one client leave in the order of arrival, so
/// each also waits for those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An ordinary message: routed and acknowledged at once.
    Route,
    /// Taken by the application: acknowledged at once, not routed.
    Accept,
    /// Acknowledged, and routed if so asked, once the ticket is durable.
    After {
        /// Durable once the horizon has reached it.
        ticket: Ticket,
        /// Whether subscribers get it then.
        route: bool,
    },
    /// Not taken: MQTT 5 hears why; in MQTT 3.1.1 the connection closes, at QoS 0 it is dropped.
    /// What is [`Refusal::NotAuthorized`] MQTT 3.1.1 acknowledges and drops: who may not publish
    /// there would only come back with it.
    Refuse(Refusal),
    /// Not taken, and never will be: MQTT 5 hears why; in MQTT 3.1.1 it is acknowledged, as
    /// closing would only make the client send it again.
    Decline(Refusal),
}

/// A durable session to be opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenSession<'a> {
    /// Client identifier.
    pub client_id: &'a str,
    /// Expiry in seconds, `u32::MAX` for never.
    pub expiry_s: u32,
    /// Protocol version.
    pub version: Version,
}

/// An opened session.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// Its number, from 1.
    pub number: u64,
    /// Durable with this ticket.
    pub ticket: Ticket,
}

/// What happens to a durable session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent<'a> {
    /// Its client is back; CONNACK waits for the ticket.
    Resumed {
        /// Expiry in seconds that it asks for now.
        expiry_s: u32,
    },
    /// Its client is gone; the session stays.
    Disconnected {
        /// Expiry in seconds from now, `u32::MAX` for never.
        expiry_s: u32,
        /// It sent DISCONNECT when it had been sent an answer to everything before.
        settled: bool,
    },
    /// It is over: expired, or its client began anew.
    Ended,
    /// It has a subscription, new or replaced; SUBACK waits for the ticket.
    Subscribed {
        /// Filter, valid.
        filter: &'a str,
        /// Options byte (MQTT 5, 3.8.3.1).
        options: u8,
        /// Subscription identifier.
        identifier: Option<u32>,
    },
    /// A subscription is gone; UNSUBACK waits for the ticket.
    Unsubscribed {
        /// Filter.
        filter: &'a str,
    },
    /// A QoS 2 message that the application let route came; PUBREC waits for the ticket. For
    /// messages with [`Verdict::After`] the application logs the identifier itself.
    Qos2Received {
        /// Packet identifier.
        packet_id: u16,
    },
    /// A QoS 2 identifier is free again; PUBCOMP waits for the ticket.
    Qos2Released {
        /// Packet identifier.
        packet_id: u16,
    },
    /// Its client, which has just come, leaves a last will; CONNACK waits for the ticket, unless the session is there for
    /// the will alone.
    Will(&'a Will),
    /// That will is published, or withdrawn. [`SessionEvent::Resumed`] and [`SessionEvent::Ended`] say the same.
    WillOver {
        /// The ticket that it was logged with.
        ticket: Ticket,
    },
}

/// The embedding program.
pub trait Application: Send + Sync + 'static {
    /// Pushes one verdict for each PUBLISH of a batch, in order: all those that one read of one
    /// client brought, at most [`BATCH_MAX`](crate::limits::BATCH_MAX). A QoS 2 message that was
    /// received before is not offered again. Called on the client's task; must not wait.
    ///
    /// After a verdict of [`Refusal::Busy`] the rest of the batch is offered again with it, so
    /// the application must not have taken anything behind it. A missing verdict counts as
    /// [`Refusal::Unavailable`].
    fn publish(&self, client: &Client, batch: &[Publish<'_>], verdicts: &mut Vec<Verdict>);
    /// Opens a durable session.
    ///
    /// # Errors
    /// A refusal, which the client gets.
    fn open_session(&self, open: &OpenSession<'_>) -> Result<Opened, Refusal>;
    /// Logs a session's event; its answer to the client waits for the ticket.
    ///
    /// # Errors
    /// A refusal, which ends the connection.
    fn session(&self, number: u64, event: SessionEvent<'_>) -> Result<Ticket, Refusal>;
    /// Whether a will on that topic outlives the process. One of a client without a durable session is then
    /// logged as that of a session of expiry 0.
    fn keeps_will(&self, topic: &str) -> bool {
        let _ = topic;
        true
    }
    /// Whether clients cannot publish there: what is retained below it takes none of their room.
    fn owns(&self, topic: &str) -> bool {
        let _ = topic;
        false
    }
    /// How far the log is durable.
    fn horizon(&self) -> watch::Receiver<Horizon>;
}
