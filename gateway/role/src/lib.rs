//! What gateway and bridge do alike between their doors and their logs, so that it is done once.
//!
//! Knows a broker's clients and what records say of them, and refuses to know which of the two roles it serves.
//!
//! | file | subject |
//! |---|---|
//! | [`session`] | MQTT sessions: their events as records, and those that an earlier process left |
//! | [`alarms`] | what people ask of the core about alarms, and who waits for the log |
//! | [`http`] | the same over HTTP |
//! | [`limits`] | bounds with their reasons |

pub mod alarms;
pub mod http;
pub mod limits;
pub mod session;
