//! The bridge: gateways' intervals and alerts in, merged topics out.
//!
//! | file | subject |
//! |---|---|
//! | [`alarms`] | what people ask for, and what is shown of alarms; commands passed on |
//! | [`known`] | alarms as the doors know them |
//! | [`audience`] | consumers that are waited for after a restart |
//! | [`config`] | the configuration that cannot be wrong |
//! | [`conflict`] | two that speak under one boot |
//! | [`inbound`] | intervals and alerts arrive; clients' sessions are logged |
//! | [`event`] | what reaches the core |
//! | [`core`] | accepted → log → join → ack, rounds, publishing |
//! | [`store`] | the embedded merge store: windows in sled, then in runs |
//! | [`recover`] | what an earlier process left, and the log behind it |
//! | [`presence`] | who is online |
//! | [`speakers`] | who speaks under a gateway's name, and whether two do |
//! | [`outbound`] | the broker that takes what is published |
//! | [`existing`] | the connection to a broker that is already there |
//! | [`publish`] | merged windows and statuses as JSON |
//! | [`error`] | why a bridge cannot start or go on |
//! | [`run`] | start, stop, and what connects the rooms |
//! | [`urgent`] | where alerts overtake all that is to be joined |
//! | [`status`] | how the bridge stands |
//! | [`http`] | health, figures, status |
//! | [`limits`] | bounds with their reasons |
pub mod alarms;
pub mod audience;
pub mod config;
pub mod conflict;
pub mod core;
pub mod error;
pub mod event;
pub mod existing;
pub mod http;
pub mod inbound;
pub mod known;
pub mod limits;
pub mod outbound;
pub mod presence;
pub mod publish;
pub mod recover;
pub mod run;
pub mod speakers;
pub mod status;
pub mod store;
pub mod urgent;

pub use config::Config;
pub use error::Error;
pub use run::run;
