//! What sensors do wrong, told by name in the process's log: the first of a kind at once, then at
//! most one in a while, with how many there were in between. Counting is the ledger's.

use crate::limits::COMPLAINT_EVERY;
use parking_lot::Mutex;
use replica::record::Refusal;
use std::time::Instant;
use tracing::warn;

/// One kind's.
#[derive(Debug, Default)]
pub struct Kind {
    told: Option<Instant>,
    untold: u64,
}

impl Kind {
    /// Whether this one is to be told; then how many were not before it.
    pub fn due(&mut self) -> Option<u64> {
        if self.told.is_some_and(|told| told.elapsed() < COMPLAINT_EVERY) {
            self.untold += 1;
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

/// All kinds'.
#[derive(Default)]
pub struct Complaints {
    refused: [Mutex<Kind>; Refusal::ALL.len()],
    misfits: Mutex<Kind>,
    clamped: Mutex<Kind>,
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

    /// A reading's time lies so far ahead that its arrival is taken instead.
    pub fn clamped(&self, client: &str, topic: &str, ahead_ms: i64) {
        if let Some(untold) = self.clamped.lock().due() {
            warn!(client, topic, ahead_ms, untold, "a reading's time lies ahead of this clock: it counts by its arrival");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_next_counted() {
        let mut kind = Kind::default();
        assert_eq!([kind.due(), kind.due(), kind.due()], [Some(0), None, None]);
        kind.told = Instant::now().checked_sub(COMPLAINT_EVERY);
        assert_eq!([kind.due(), kind.due()], [Some(2), None]);
    }
}
