//! What sensors do wrong, told by name in the process's log: the first of a kind at once, then at
//! most one in a while, with how many there were in between. Counting is the ledger's.

use broker::complaint::Kind;
use parking_lot::Mutex;
use replica::record::Refusal;
use tracing::warn;

/// All kinds'.
#[derive(Default)]
pub struct Complaints {
    refused: [Mutex<Kind>; Refusal::ALL.len()],
    misfits: Mutex<Kind>,
    clamped: Mutex<Kind>,
    loops: Mutex<Kind>,
}

impl Complaints {
    /// A message was not taken as a reading.
    pub fn refused(&self, reason: Refusal, client: &str, topic: &str, detail: &str) {
        if let Some(untold) = self.refused[reason as usize].lock().due() {
            warn!(reason = reason.as_str(), client, topic, detail, untold, "a message is refused as a reading");
        }
    }

    /// A reading has another unit than its series, and goes to one of its own.
    pub fn misfit(&self, series: &str, owner: &str, unit: &str) {
        if let Some(untold) = self.misfits.lock().due() {
            warn!(series, owner, unit, untold, "a reading has another unit than its series: it counts as series@unit");
        }
    }

    /// A client comes under a name by which this gateway reads elsewhere.
    pub fn looped(&self, client: &str) {
        if let Some(untold) = self.loops.lock().due() {
            warn!(client, untold, "an [[ingest]] leads to this gateway's own door, and is refused");
        }
    }

    /// A reading's time lies so far ahead that its arrival is taken instead.
    pub fn clamped(&self, client: &str, topic: &str, ahead_ms: i64) {
        if let Some(untold) = self.clamped.lock().due() {
            warn!(client, topic, ahead_ms, untold, "a reading's time lies ahead of this clock: it counts by its arrival");
        }
    }
}
