//! Figures for status and metrics.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// A reading of the broker's figures. Counts are over the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections at present, those included that have not said CONNECT yet.
    pub connections: usize,
    /// Sessions, of present and absent clients.
    pub sessions: usize,
    /// Subscriptions of all sessions.
    pub subscriptions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Bytes of retained messages.
    pub retained_bytes: usize,
    /// Bytes waiting for subscribers.
    pub queued_bytes: usize,
    /// PUBLISHes received and judged.
    pub received: u64,
    /// PUBLISHes that the application refused.
    pub refused: u64,
    /// Messages handed to subscribers' queues.
    pub delivered: u64,
    /// Messages that subscribers missed: too slow, too long away, or too large for them.
    pub dropped: u64,
    /// Messages that outlived their message expiry interval in a queue.
    pub expired: u64,
    /// Messages that were not retained because of a bound.
    pub unretained: u64,
    /// Connections closed for a breach of the protocol.
    pub violations: u64,
    /// Connections turned away at the bound on connections.
    pub turned_away: u64,
}

/// The counters behind [`Stats`], shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub connections: AtomicUsize,
    pub queued_bytes: AtomicUsize,
    pub received: AtomicU64,
    pub refused: AtomicU64,
    pub delivered: AtomicU64,
    pub dropped: AtomicU64,
    pub expired: AtomicU64,
    pub unretained: AtomicU64,
    pub violations: AtomicU64,
    pub turned_away: AtomicU64,
    /// Subscribers that have much waiting, by id, and until when they are waited for.
    pub laggards: Mutex<HashMap<u64, Instant>>,
}

/// Adds to a counter that nothing is ordered by.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Reads such a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
