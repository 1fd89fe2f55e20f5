//! The MQTT front door: 3.1.1 and 5 over TCP.
//!
//! Knows packets, sessions and subscriptions, and refuses to know what a payload means: it
//! hands each batch of PUBLISHes to an [`Application`] and acknowledges when the ticket it
//! got back is durable. It writes no file; what must outlive the process it tells the
//! application.
//!
//! | file | subject |
//! |---|---|
//! | [`application`] | what the embedding program answers |
//! | `refusal.rs` | why something is not taken → reason codes, once |
//! | [`codec`] | bytes ↔ packets, in place, sizes checked first |
//! | [`topic`] | topic names and filters |
//! | `listener.rs` | sockets, the bound on connections |
//! | [`descriptors`] | open files |
//! | `connection.rs` | the one loop per client; below it `handshake`, `inbound`, `control`, `outbound` |
//! | `registry.rs` | who has which session: taking over, expiry |
//! | `slots.rs` | the table of all sessions |
//! | `session.rs` | one client's QoS state and last will, no sockets |
//! | `router.rs` | the trie of subscriptions: who gets a message |
//! | `subscriber.rs` | one session's bounded queue |
//! | [`complaint`] | what clients do wrong, told without a flood |
//! | `audience.rs` | subscriptions that end with their connections |
//! | `retained.rs`, `will.rs`, `message.rs` | retained messages, last wills, what a message is |
//! | `inner.rs` | what the tasks of one broker share |
//! | `server.rs` | the handle, the orderly stop |
//! | [`limits`], [`error`], `stats.rs` | bounds with reasons, breaches of the protocol, figures |

pub mod application;
mod audience;
pub mod codec;
pub mod complaint;
mod connection;
pub mod descriptors;
pub mod error;
mod inner;
pub mod limits;
mod listener;
mod message;
mod refusal;
mod registry;
mod retained;
mod router;
mod server;
mod session;
mod slots;
mod stats;
mod subscriber;
pub mod topic;
mod will;

pub use application::{Application, Client, Horizon, OpenSession, Opened, Publish, SessionEvent, Ticket, Verdict, Version};
pub use codec::connect::Will;
pub use inner::Config;
pub use refusal::Refusal;
pub use server::{Broker, Watched};
pub use session::StoredSession;
pub use stats::Stats;
