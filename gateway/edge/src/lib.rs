//! A gateway: front door, log, fold, link.
//!
//! | file | subject |
//! |---|---|
//! | [`desk`] | what the front door knows of the alarms |
//! | [`alerts`] | alerts at the gateway's own broker, and for whom they are kept |
//! | [`alarms`] | what people ask for, what is retained, commands of the cloud |
//! | [`config`] | the configuration that cannot be wrong |
//! | [`intake`] | PUBLISH → record; the acknowledgement waits for its commit |
//! | [`core`] | committed record → fold → alerts, intervals |
//! | [`event`] | what reaches it, from sockets, log and people |
//! | [`healing`] | what a restored cloud lost, told again |
//! | [`store`] | the fold's pages that have left its memory |
//! | [`crossing`] | ordinary messages that bridges carry, both ways |
//! | [`ingest`] | readings from the plant's existing brokers |
//! | [`link`] | the sockets to the cloud |
//! | [`client`] | what each connection to a broker elsewhere needs beside its MQTT client |
//! | [`proof`] | what the log says where the cloud's answer is in doubt |
//! | [`run`] | start, stop, and what connects the rooms |
//! | [`http`], [`status`] | health, figures, status |
//! | [`clock`] | the logged clock |
//! | [`wear`] | what the log costs the flash |
//! | [`limits`] | bounds with reasons |
pub mod alarms;
pub mod alerts;
pub mod client;
pub mod clock;
pub mod config;
pub mod core;
pub mod crossing;
pub mod desk;
pub mod event;
pub mod healing;
pub mod http;
pub mod ingest;
pub mod intake;
pub mod limits;
pub mod link;
pub mod proof;
pub mod run;
pub mod status;
pub mod store;
pub mod wear;

pub use config::Config;
pub use run::{Error, run};
