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
//! | [`marks`] | entries that were given up |
//! | [`alerts`] | alerts: the young ones, and pages |
//! | [`shelf`] | where pages are |
//! | [`fork`] | a boot under whose name another speaks |

pub mod alerts;
pub mod entries;
pub mod fork;
pub mod marks;
pub mod page;
#[cfg(test)]
mod refold;
pub mod shelf;
#[cfg(test)]
mod tests;

pub use alerts::{AlertPage, Alerts, LastRead};
pub use entries::{Batch, Entries};
pub use fork::Fork;
pub use marks::{Fate, MarkPage, Marks};
pub use page::Page;
pub use shelf::{Pages, Shelf};

use crate::hash;
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
    /// The running hash of the boot's log there.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub hash: u64,
}

fn is_unknown(hash: &u64) -> bool {
    *hash == hash::UNKNOWN
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
    /// The boot of the cloud that said so.
    pub cloud_boot: u64,
    /// The running hash at `applied`.
    #[serde(default)]
    pub hash: u64,
}

/// How far a second fold tells a boot ([`crate::fold::healing`]). Elsewhere all of it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Telling {
    /// All that there is.
    #[default]
    Goes,
    /// Up to its end here, which is not the boot's: the living state tells what follows.
    Ends,
    /// Nothing: it is what follows.
    Silent,
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
    /// Where they were: up to which seq, how many.
    pub damage: Vec<(u64, u64)>,
    /// Entries of versions up to here were given up, for want of room.
    pub shed_to: u64,
    /// Marks of them, until the cloud has counted them.
    pub marks: Marks,
    /// What was born up to here may be at the cloud, in windows or as marks.
    pub offered: u64,
    /// Below this the log was cut; a cloud whose `applied` is lower is told a gap.
    pub complete_from: u64,
    /// R(complete_from).
    pub readings_from: u64,
    /// The redundancy group that its process was configured for.
    pub group: Option<String>,
    /// Window sizes that its process was configured for, in ms: what the cloud adds its entries up to.
    pub sizes_ms: Vec<i64>,
    /// Its grace, in ms.
    pub grace_ms: i64,
    /// The boot of the cloud that acknowledged last; 0 for none.
    pub cloud_boot: u64,
    /// What the log says of `applied`: an ack counts at once, and is in the log a moment later.
    /// What is let go of, and so what pages hold, depends on this alone.
    pub logged: Acknowledged,
    /// Sealed entries not covered by `applied`.
    pub entries: Entries,
    /// Alerts beyond `applied`, with where the log stood before their record.
    pub alerts: Alerts,
    /// What was done to alarms beyond `applied`: seq of its record, and where the log stood before it.
    pub acts: VecDeque<(u64, Act, Before)>,
    /// The running hash of its log at `end` ([`crate::hash`]).
    pub hash: u64,
    /// The same at `applied`.
    pub hash_applied: u64,
    /// Part of its log is gone, damaged: what was told before may be of entries that span it.
    pub holed: bool,
    /// Another speaks under its name: what is told of it ends here.
    pub forked: Option<Fork>,
    /// How far it is told. Not part of the state.
    pub telling: Telling,
}

impl BootPart {
    /// Takes the cloud's acknowledgement, as soon as it is there.
    pub fn acknowledged(&mut self, applied: u64, readings: u64, shed: u64, hash: u64) {
        // What a clone told beyond the end is none of ours.
        self.hash_applied = if applied > self.end { self.hash } else { hash };
        let applied = applied.min(self.end);
        self.applied = applied;
        self.readings_applied = readings.min(self.readings);
        self.shed = shed;
        self.entries.covered(applied);
    }
}

impl BootPart {
    /// Entries of this version and below are gone: acknowledged, or given up.
    pub fn floor(&self) -> u64 {
        self.applied.max(self.shed_to)
    }

    /// Gives up all entries of versions up to `version`: whole entries, each with a mark. A
    /// reading is in an entry of each size that is kept; it counts in those of `base_ms`.
    pub(crate) fn give_up(&mut self, version: u64, base_ms: i64, shelf: &mut Shelf) {
        let floor = self.logged.applied.max(self.shed_to);
        let (marks, steps, unreadable) = self.entries.up_to(shelf, floor, version);
        for id in unreadable {
            self.lose(id, shelf);
        }
        // The numbers of an old boot have ended: its marks go with the interval that ends there.
        let made = marks::Made { shed_seq: self.end, applied: self.logged.applied, base_ms };
        self.marks.add(made, &marks, &steps, shelf);
        self.shed_to = self.shed_to.max(version);
        self.entries.trim(self.logged.applied.max(self.shed_to), shelf);
    }

    /// Takes their names from marks of pages born up to `born` that the cloud can have nothing
    /// of: what they stand for is told as one sum.
    pub(crate) fn unname(&mut self, born: u64, shelf: &mut Shelf) {
        let (offered, end) = (self.offered, self.end);
        for page in self.marks.take_unoffered(offered, born, shelf) {
            self.damaged_at(page.version.min(page.shed_seq).min(end), page.readings);
        }
    }

    /// A page is lost: its readings are given up without a name. Of a page of alerts it is answered
    /// how many are lost.
    pub(crate) fn lose(&mut self, id: u64, shelf: &mut Shelf) -> u64 {
        if let Some(page) = self.alerts.lose(id, shelf) {
            return u64::from(page.alerts);
        }
        let lost = match self.entries.lose(id, shelf) {
            Some(page) => (page.version.1, page.readings),
            None => match self.marks.lose(id, shelf) {
                // What the cloud counted is in its own figure.
                Some(page) if page.told == 0 => (page.born.1, page.readings),
                _ => return 0,
            },
        };
        self.damaged_at(lost.0.min(self.end), lost.1);
        0
    }

    /// Readings up to `seq` are in no entry, for damage.
    pub(crate) fn damaged_at(&mut self, seq: u64, readings: u64) {
        if readings == 0 {
            return;
        }
        self.damaged += readings;
        match self.damage.last_mut() {
            // Nobody has been told of the last ones: they are told together, later.
            Some(last) if last.0 > self.logged.applied => *last = (last.0.max(seq), last.1 + readings),
            _ => self.damage.push((seq, readings)),
        }
    }

    /// Readings lost with damage at or below `to`.
    pub fn lost_to(&self, to: u64) -> u64 {
        self.damage.iter().filter(|(seq, _)| *seq <= to).map(|(_, readings)| readings).sum()
    }

    /// Folds the record of an acknowledgement: what it covers is let go of.
    pub(crate) fn acknowledgement_logged(&mut self, shelf: &mut Shelf) {
        self.logged = Acknowledged {
            applied: self.applied,
            readings: self.readings_applied,
            shed: self.shed,
            cloud_boot: self.cloud_boot,
            hash: self.hash_applied,
        };
        if self.applied > self.complete_from {
            (self.complete_from, self.readings_from) = (self.applied, self.readings_applied);
        }
        // What a snapshot holds depends on the log alone: alerts and acts go with the record too.
        self.alerts.trim(self.applied, shelf);
        while self.acts.front().is_some_and(|(seq, ..)| *seq <= self.applied) {
            self.acts.pop_front();
        }
        self.entries.trim(self.applied.max(self.shed_to), shelf);
        self.marks.trim(self.applied, shelf);
    }

    /// Whether an alert of this boot is still to be told: it may leave, and `applied` does not cover it.
    pub(crate) fn owes(&self, alert: &AlertBody, shelf: &Shelf, last: &mut LastRead) -> bool {
        let is_waiting = |last| self.alerts.find(shelf, (alert.seq, alert.ordinal), last).is_some();
        self.boot == alert.boot && alert.seq > self.applied && is_waiting(last)
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
            let beyond = part.readings - part.readings_applied;
            let damaged = part.damage.iter().filter(|(seq, _)| *seq > part.applied).map(|(_, n)| n).sum::<u64>();
            let shed = (part.shed + part.marks.untold() + damaged).min(part.readings);
            // Of what is given up, as much as lies beyond `applied` is no longer held.
            let marked: u64 = part.marks.pages().iter().filter(|p| p.born.1 > part.applied).map(|p| p.readings).sum();
            let shed_beyond = (marked + damaged).min(beyond).min(shed).max(shed.saturating_sub(part.readings_applied));
            sum.shed += shed;
            sum.delivered += part.readings_applied - (shed - shed_beyond);
            sum.held += beyond - shed_beyond;
        }
        assert_eq!(sum.accepted, sum.delivered + sum.held + sum.shed + sum.local, "the ledger balances");
        sum
    }
}
