//! What outlives a connection.

use crate::application::Version;
use std::collections::{BTreeMap, BTreeSet};

/// A durable session as the application kept it.
#[derive(Debug, Clone)]
pub struct StoredSession {
    /// Its number.
    pub number: u64,
    /// Its client's identifier.
    pub client_id: String,
    /// Expiry in seconds after the client left.
    pub expiry_s: u32,
    /// Protocol version it was opened with.
    pub version: Version,
    /// Filter, options byte, subscription identifier.
    pub subscriptions: Vec<(String, u8, Option<u32>)>,
    /// QoS 2 packet ids received and not released.
    pub received: Vec<u16>,
}

/// A session while it is known here.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// Number in the log, 0 when it ends with its connection.
    pub number: u64,
    /// Expiry in seconds after the client left.
    pub expiry_s: u32,
    /// Filter → options byte, subscription identifier.
    pub subscriptions: BTreeMap<String, (u8, Option<u32>)>,
    /// QoS 2 packet ids received and not released.
    pub received: BTreeSet<u16>,
    /// When it ends unless its client comes back.
    pub deadline: Option<std::time::Instant>,
}

impl From<StoredSession> for Session {
    fn from(stored: StoredSession) -> Self {
        Self {
            number: stored.number,
            expiry_s: stored.expiry_s,
            subscriptions: stored.subscriptions.into_iter().map(|(f, o, i)| (f, (o, i))).collect(),
            received: stored.received.into_iter().collect(),
            deadline: None,
        }
    }
}
