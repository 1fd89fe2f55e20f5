//! The MQTT front door: 3.1.1 and 5 over TCP.
//!
//! Knows packets, sessions and subscriptions, and refuses to know what a payload means: it
//! hands each batch of PUBLISHes to an [`Application`] and acknowledges when the ticket it
//! got comes back as durable.
//!
//! | file | subject |
//! |---|---|
//! | [`application`] | what the embedding program answers |
//! | [`codec`] | bytes ↔ packets, in place, sizes checked first |
//! | [`topic`] | topic names and filters |
//! | [`router`] | who gets a message; retained messages |
//! | [`session`] | what outlives a connection |
//! | [`connection`] | the one loop per client |
//! | [`server`] | sockets, the handle, orderly stop |
pub mod application;
pub mod codec;
pub mod connection;
pub mod limits;
pub mod router;
pub mod server;
pub mod session;
pub mod topic;

pub use application::{Application, Client, Horizon, OpenSession, Opened, Publish, Refusal, SessionEvent, Ticket, Verdict, Version};
pub use server::{Broker, Config, Stats};
pub use session::StoredSession;
