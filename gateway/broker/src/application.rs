//! What the embedding program answers.

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

/// A client's protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

/// A connected client.
pub struct Client {
    /// Its identifier.
    pub client_id: String,
    /// Its durable session's number, 0 for none.
    pub session: u64,
    /// Its version.
    pub version: Version,
    /// Number of the connection.
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

/// What becomes of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An ordinary message: routed and acknowledged at once.
    Route,
    /// Taken by the application: acknowledged at once, not routed.
    Accept,
    /// Acknowledged, and routed if so asked, once the ticket is durable.
    After {
        /// When.
        ticket: Ticket,
        /// Whether subscribers get it then.
        route: bool,
    },
    /// Not taken.
    Refuse(Refusal),
}

/// Why something is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A limit or the disk is full.
    QuotaExceeded,
    /// The payload is not of the expected form.
    PayloadFormatInvalid,
    /// Not allowed.
    NotAuthorized,
    /// The topic cannot be used.
    TopicNameInvalid,
    /// Not now: offered again once the horizon moves.
    Busy,
    /// The application is closing.
    Unavailable,
}

impl Refusal {
    /// The reason code of MQTT 5 (2.4).
    pub fn code(self) -> u8 {
        match self {
            Refusal::QuotaExceeded | Refusal::Busy => 0x97,
            Refusal::PayloadFormatInvalid => 0x99,
            Refusal::NotAuthorized => 0x87,
            Refusal::TopicNameInvalid => 0x90,
            Refusal::Unavailable => 0x83,
        }
    }
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
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum SessionEvent<'a> {
    Resumed { expiry_s: u32 },
    Disconnected { expiry_s: u32 },
    Ended,
    Subscribed { filter: &'a str, options: u8, identifier: Option<u32> },
    Unsubscribed { filter: &'a str },
    Qos2Received { packet_id: u16 },
    Qos2Released { packet_id: u16 },
}

/// The embedding program.
pub trait Application: Send + Sync + 'static {
    /// One verdict for each PUBLISH of a batch, in order. Called on the client's task; must not wait.
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
    /// How far the log is durable.
    fn horizon(&self) -> watch::Receiver<Horizon>;
}
