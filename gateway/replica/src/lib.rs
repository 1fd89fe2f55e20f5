//! The log's meaning, and agreement about it.
//!
//! The log is the truth; everything else is a fold over it. This crate says what
//! records mean ([`record`]), folds them into windows, detector states, alerts and
//! the ledger ([`fold`]), and holds both ends of the protocol between gateway and
//! cloud as state machines that take bytes and times and give bytes and timers.
//! It knows no clock, no file, no socket: time and chance are arguments or records.
//!
//! | file | subject |
//! |---|---|
//! | [`clock`] | the logged clock, from times that the caller reads |
//! | [`record`] | all that can happen to a gateway or to the cloud, as bytes in the log |
//! | [`fold`] | committed record → windows, detectors, alerts, ledger |
//! | [`frame`] | a committed frame folded, minding what is missing before it |
//! | [`hash`] | the running hash of a boot's log |
//! | [`machine`] | series under one prefix, watched together |
//! | [`rehearse`] | recorded readings through the fold, without a log |
//! | [`interval`] | what of a boot goes into its next interval |
//! | [`outbox`] | sealed entries and alerts that the cloud may not have yet |
//! | [`alarm`] | alarms as topics and JSON, and what may be asked |
//! | [`alert`] | an alert as topic and JSON, the same at gateway and cloud |
//! | [`crossing`] | ordinary messages that bridges carry |
//! | [`session`] | MQTT sessions as the log knows them, with their redelivery memory |
//! | [`snapshot`] | the fold as of record N ↔ bytes |
//! | [`join`] | the cloud's half: intervals joined, windows merged and revised |
//! | [`shed`] | what is given up first, for want of room |
//! | [`uplink`] | the gateway's half of the protocol: intervals, acks, urgent lane |
//! | [`lane`] | what goes first: the newest ahead, the backlog in order |
//! | [`timer`], [`backoff`], [`budget`] | when to speak again, and how much |
pub mod alarm;
pub mod alert;
pub mod backoff;
pub mod budget;
pub mod clock;
pub mod crossing;
pub mod error;
pub mod fold;
pub mod frame;
pub mod hash;
pub mod interval;
pub mod join;
pub mod lane;
pub mod limits;
pub mod machine;
pub mod outbox;
pub mod record;
pub mod rehearse;
pub mod session;
pub mod shed;
pub mod snapshot;
pub mod timer;
pub mod uplink;

pub use error::Error;
