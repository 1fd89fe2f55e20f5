//! What the cloud may not have yet: per boot, the entries no reading will change any
//! more and the alerts beyond `applied`.
//!
//! Invariants: an entry is here from its sealing (or its boot's end) until `applied` has
//! reached its version; `applied ≤ end`; alerts are in order of (seq, ordinal).
//!
//! | file | subject |
//! |---|---|
//! | [`entries`] | a boot's sealed entries: the young ones, and pages |
//! | [`page`] | sealed entries as bytes |
//! | [`shelf`] | where pages are |

pub mod entries;
pub mod page;
pub mod shelf;
#[cfg(test)]
mod tests;

pub use entries::{Batch, Entries};
pub use page::Page;
pub use shelf::{Pages, Shelf};

use schemas::message::{Act, AlertBody};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use telemetry::aggregate::Aggregate;

/// An entry's name within its boot; ordered by birth, as intervals go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryName {
    /// Seq of the record that opened it.
    pub born: u64,
    /// Series number.
    pub series: u32,
    /// Window size in ms.
    pub size_ms: i64,
    /// Window start, ms since the Unix epoch.
    pub start_ms: i64,
}

/// Where the log stood just before an entry was born: what an interval that ends there says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Before {
    /// Readings of the boot that may leave, up to there.
    pub readings: u64,
    /// The logged clock there.
    pub clock_ms: i64,
}

/// An entry that its boot will not change again.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// Seq of the last record that changed it.
    pub version: u64,
    /// Where the log stood before its birth.
    pub before: Before,
    /// Its readings.
    pub aggregate: Aggregate,
}

/// What the cloud acknowledged of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Every record up to here is in.
    pub applied: u64,
    /// R(applied).
    pub readings: u64,
    /// Given up for good at or below `applied`, as the cloud counts.
    pub shed: u64,
}

/// One boot's part of the log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BootPart {
    /// The boot's name.
    pub boot: u64,
    /// The boot before it, with its end.
    pub parent: Option<(u64, u64)>,
    /// Log record before its first: seq = lsn − base.
    pub base: u64,
    /// Its last seq, growing while it lives.
    pub end: u64,
    /// Whether a later boot has begun.
    pub ended: bool,
    /// The logged clock at `end`.
    pub clock_ms: i64,
    /// Readings that may leave, R(end).
    pub readings: u64,
    /// Readings that stay, L(end).
    pub local: u64,
    /// Last acknowledged by the cloud.
    pub applied: u64,
    /// R(applied).
    pub readings_applied: u64,
    /// Given up for good at or below `applied`, as the cloud counts.
    pub shed: u64,
    /// Readings in damaged parts of the log: given up here.
    pub damaged: u64,
    /// Below this the log was cut; a cloud whose `applied` is lower is told a gap.
    pub complete_from: u64,
    /// The redundancy group that its process was configured for.
    pub group: Option<String>,
    /// What the log says of `applied`: an ack counts at once, and is in the log a moment later.
    /// What is let go of, and so what pages hold, depends on this alone.
    pub logged: Acknowledged,
    /// Sealed entries not covered by `applied`.
    pub entries: Entries,
    /// Alerts beyond `applied`, with where the log stood before their record.
    pub alerts: VecDeque<(AlertBody, Before)>,
    /// What was done to alarms beyond `applied`: seq of its record, and where the log stood before it.
    pub acts: VecDeque<(u64, Act, Before)>,
}

impl BootPart {
    /// Takes the cloud's acknowledgement, as soon as it is there.
    pub fn acknowledged(&mut self, applied: u64, readings: u64, shed: u64) {
        let applied = applied.min(self.end);
        self.applied = applied;
        self.readings_applied = readings.min(self.readings);
        self.shed = shed;
        self.entries.covered(applied);
        while self.alerts.front().is_some_and(|(a, _)| a.seq <= applied) {
            self.alerts.pop_front();
        }
        while self.acts.front().is_some_and(|(seq, ..)| *seq <= applied) {
            self.acts.pop_front();
        }
    }
}

impl BootPart {
    /// Entries of this version and below are gone: acknowledged, or given up.
    pub fn floor(&self) -> u64 {
        self.applied
    }

    /// Folds the record of an acknowledgement: what it covers is let go of.
    pub(crate) fn acknowledgement_logged(&mut self, shelf: &mut Shelf) {
        self.logged = Acknowledged { applied: self.applied, readings: self.readings_applied, shed: self.shed };
        self.entries.trim(self.applied, shelf);
    }

    /// Whether an alert of this boot is still to be told: it may leave, and `applied` does not cover it.
    pub fn owes(&self, alert: &AlertBody) -> bool {
        let id = (alert.seq, alert.ordinal);
        self.boot == alert.boot && self.alerts.iter().rev().any(|(a, _)| (a.seq, a.ordinal) == id)
    }
}

/// The ledger in single values (contract §3), over the life of the data dir.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// All readings acknowledged to sensors.
    pub accepted: u64,
    /// Acknowledged by the cloud as durable.
    pub delivered: u64,
    /// Kept here, still to go.
    pub held: u64,
    /// Given up, and reported.
    pub shed: u64,
    /// Never meant to leave.
    pub local: u64,
}

impl Ledger {
    /// Sums the parts; `accepted = delivered + held + shed + local` holds by construction
    /// of each term from durable facts, and is asserted.
    pub fn of<'a>(parts: impl Iterator<Item = &'a BootPart>) -> Ledger {
        let mut sum = Ledger::default();
        for part in parts {
            sum.accepted += part.readings + part.local;
            sum.local += part.local;
            let damaged_beyond = part.damaged.min(part.readings - part.readings_applied);
            let shed = part.shed.min(part.readings_applied);
            sum.shed += shed + damaged_beyond;
            sum.delivered += part.readings_applied - shed;
            sum.held += part.readings - part.readings_applied - damaged_beyond;
        }
        assert_eq!(sum.accepted, sum.delivered + sum.held + sum.shed + sum.local, "the ledger balances");
        sum
    }
}
