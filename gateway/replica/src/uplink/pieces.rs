//! Alerts and acts of the next interval.
//!
//! They go with the interval that covers their record. What one record made can be more than an
//! interval carries: the clock silences all series at once, a maintenance window that ends
//! releases all alarms. Then it goes in pieces. A piece claims nothing, its interval ends before
//! the record; the cloud joins what is in it all the same, and remembers it. Only once that is
//! acknowledged the next one goes, and at last the interval that covers the record, with what is
//! left. A cloud of another boot is believed to have none of it.

use crate::interval::Unreadable;
use crate::limits::{INTERVAL_ACTS_MAX, INTERVAL_ALERTS_MAX};
use crate::outbox::alerts::Waiting;
use crate::outbox::{Before, BootPart, Shelf};
use schemas::message::{Act, AlertBody};
use std::collections::BTreeMap;
use std::iter::from_fn;

/// Bytes of an alert or act beside its texts, at most.
const HEAD_BYTES: usize = 192;

/// What of one record is under way: its alerts and then its acts, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) seq: u64,
    first: usize,
    end: usize,
    /// Its alerts of lower ordinals are at the cloud once this is.
    pub(super) ordinal: u32,
}

/// How much of a record the present cloud has, by boot.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces(BTreeMap<u64, (u64, usize)>);

impl Pieces {
    /// The record, and how many of its alerts and acts.
    pub(super) fn had(&self, boot: u64) -> (u64, usize) {
        self.0.get(&boot).copied().unwrap_or_default()
    }

    /// A piece was joined. One that builds on what is no longer believed says nothing.
    pub(super) fn joined(&mut self, boot: u64, piece: Piece) {
        let (seq, had) = self.had(boot);
        let had = if seq == piece.seq { had } else { 0 };
        if piece.first <= had && piece.seq >= seq {
            self.0.insert(boot, (piece.seq, had.max(piece.end)));
        }
    }

    /// An interval has told all of a boot up to there.
    pub(super) fn covered(&mut self, boot: u64, applied: u64) {
        self.0.retain(|of, (seq, _)| *of != boot || *seq > applied);
    }

    /// The cloud has nothing of it, as far as we know.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// What an interval carries of them.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) alerts: Vec<AlertBody>,
    /// Alerts that are only named.
    pub(super) named: Vec<(u64, u32)>,
    pub(super) acts: Vec<Act>,
    /// Bytes that they take before compression, at most.
    pub(super) bytes: usize,
    /// Where the interval has to end, and where the log stood there, when it carries no more.
    pub(super) cut: Option<(u64, Before)>,
    /// All of it is of one record, and that is not all.
    pub(super) piece: Option<Piece>,
}

enum Item<'a> {
    Alert(Box<AlertBody>),
    Act(&'a Act),
}

impl Told {
    /// Those of `part` for the interval `(from, to]`, less what the cloud has of a record, and
    /// some `room` bytes at most, but one at least. Alerts that it `is_heard` to have are named.
    ///
    /// # Errors
    /// [`Unreadable`], when pages of alerts among them are damaged: their places in a record are
    /// not known then.
    pub(super) fn of(
        part: &BootPart,
        shelf: &Shelf,
        interval: (u64, u64),
        had: (u64, usize),
        room: usize,
        is_heard: impl Fn(&AlertBody) -> bool,
    ) -> Result<Self, Unreadable> {
        let mut unreadable = Vec::new();
        let alerts = part.alerts.beyond(shelf, interval.0, &mut unreadable);
        let told = Self::gather(alerts, part, interval, had, room, is_heard);
        if unreadable.is_empty() { Ok(told) } else { Err(Unreadable(unreadable)) }
    }

    fn gather(
        alerts: impl Iterator<Item = Waiting>,
        part: &BootPart,
        (from, to): (u64, u64),
        had: (u64, usize),
        room: usize,
        is_heard: impl Fn(&AlertBody) -> bool,
    ) -> Self {
        let mut alerts = alerts.peekable();
        let mut acts = part.acts.range(part.acts.partition_point(|(seq, ..)| *seq <= from)..).peekable();
        let mut told = Self::default();
        loop {
            let next = [alerts.peek().map(|(a, stood)| (a.seq, *stood)), acts.peek().map(|(seq, _, stood)| (*seq, *stood))];
            let next = next.into_iter().flatten().min_by_key(|(seq, _)| *seq);
            let Some((seq, stood)) = next.filter(|(seq, _)| *seq <= to) else { return told };
            let before = (told.alerts.len(), told.named.len(), told.acts.len());
            let (first, mut ordinal) = (if had.0 == seq { had.1 } else { 0 }, 0);
            let alerts = from_fn(|| alerts.next_if(|(a, _)| a.seq == seq)).map(|(alert, _)| Item::Alert(Box::new(alert)));
            let acts = from_fn(|| acts.next_if(|(of, ..)| *of == seq)).map(|(_, act, _)| Item::Act(act));
            for (at, item) in alerts.chain(acts).enumerate() {
                if at >= first && told.is_full(room) {
                    if from + 1 < seq {
                        // What comes before it goes first.
                        told.truncate(before);
                        told.cut = Some((seq - 1, stood));
                    } else {
                        told.cut = Some((from, stood));
                        told.piece = Some(Piece { seq, first, end: at, ordinal });
                    }
                    return told;
                }
                if let Item::Alert(alert) = &item {
                    ordinal = alert.ordinal.saturating_add(1);
                }
                if at >= first {
                    told.push(item, &is_heard);
                }
            }
        }
    }

    fn is_full(&self, room: usize) -> bool {
        let alerts = self.alerts.len() + self.named.len();
        alerts + self.acts.len() > 0 && (self.bytes >= room || alerts >= INTERVAL_ALERTS_MAX || self.acts.len() >= INTERVAL_ACTS_MAX)
    }

    fn push(&mut self, item: Item<'_>, is_heard: impl Fn(&AlertBody) -> bool) {
        match item {
            Item::Alert(alert) if is_heard(&alert) => {
                self.bytes += 16;
                self.named.push((alert.seq, alert.ordinal));
            }
            Item::Alert(alert) => {
                let contributors: usize = alert.contributors.iter().map(|one| one.series.len() + HEAD_BYTES / 4).sum();
                let texts = alert.series.len() + alert.kind.len() + alert.message.len() + alert.unit.as_ref().map_or(0, String::len);
                self.bytes += HEAD_BYTES + texts + contributors;
                self.alerts.push(*alert);
            }
            Item::Act(act) => {
                self.bytes += HEAD_BYTES + act.series.len() + act.kind.len() + act.by.len() + act.reason.len();
                self.acts.push(act.clone());
            }
        }
    }

    fn truncate(&mut self, (alerts, named, acts): (usize, usize, usize)) {
        self.alerts.truncate(alerts);
        self.named.truncate(named);
        self.acts.truncate(acts);
    }
}
