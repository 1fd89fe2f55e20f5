//! Bytes ↔ packets (MQTT 3.1.1 and 5), in place over the read buffer, sizes checked first.
//!
//! | file | subject |
//! |---|---|
//! | [`cursor`] | integers, strings and binary fields of one packet |
//! | [`properties`] | MQTT 5 properties: which may stand where, how often |
//! | [`connect`] | CONNECT and its will |
//! | [`read`] | framing and every other packet of a client |
//! | [`write`] | packets to a client |
//! | [`reason`] | reason codes |

pub mod connect;
pub mod cursor;
pub mod properties;
pub mod read;
pub mod reason;
pub mod write;

#[cfg(test)]
mod tests;
