//! The bridge: gateways' intervals and alerts in, merged topics out.
//!
//! | file | subject |
//! |---|---|
//! | [`config`] | the configuration that cannot be wrong |
//! | [`inbound`] | intervals and alerts arrive; clients' sessions are logged |
//! | [`core`] | accepted → log → join → ack, rounds, publishing |
//! | [`outbound`] | the broker that takes what is published |
//! | [`publish`] | merged windows, alerts and statuses as JSON |
//! | [`run`] | start, stop, and what connects the rooms |
//! | [`http`] | health, figures, status |
pub mod config;
pub mod core;
pub mod http;
pub mod inbound;
pub mod outbound;
pub mod publish;
pub mod run;

pub use config::Config;
pub use run::{Error, run};
