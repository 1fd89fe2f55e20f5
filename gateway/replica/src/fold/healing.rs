//! A cloud that lost its disk, or was restored from a backup, is told again what it lost (§4).
//!
//! The living state has let go of what was once acknowledged. So the log is folded a second
//! time, from a state as of a record at or before what the cloud still has: same log, same
//! names, same entries. Intervals come from that second fold, which lags behind the living one
//! and goes only as far ahead of what the cloud has taken as its memory allows, until the living
//! state holds all that the cloud lacks. What no kept state reaches back to is a gap, and told.
//!
//! Invariants:
//! - the second fold lets go of nothing for what the log says of acknowledgements: only for what
//!   the cloud acknowledges now. What was given up for want of room is in the log, and comes back;
//! - no interval is made, and so no gap told, between the loss being known and the second fold;
//! - where the log is damaged, what it tells of a boot behind that ends where the living state takes over ([`hole`]);
//! - nothing here is part of the state: after a crash `applied` in the log lies below what is
//!   let go of, and it begins again.

mod hole;
#[cfg(test)]
mod tests;

use super::Fold;
use crate::error::Error;
use crate::limits::HEALING_ENTRIES_MAX;
use crate::outbox::BootPart;
use crate::record::Record;
use std::collections::BTreeMap;

/// What the cloud lost, on its way to it.
#[derive(Debug, Clone)]
pub struct Healing {
    fold: Fold,
    /// By boot: what it did not reach back to when it began.
    began: BTreeMap<u64, u64>,
    /// It has all that the living state let go of, and needs no more of the log.
    is_over: bool,
}

impl Fold {
    /// Record at or before which a state is needed that [`Fold::heal`] can begin from; none while
    /// the cloud lacks nothing that is not here or on its way.
    pub fn heals_from(&self) -> Option<u64> {
        let lacking = self.boots.iter().filter(|p| lacks(p));
        match &self.healing {
            None => lacking.filter(|p| !self.unhealed.contains(&(p.boot, p.complete_from))).map(|p| p.base + p.applied).min(),
            // The cloud went back once more, behind what was let go of since.
            Some(healing) => {
                let is_behind = |p: &BootPart| {
                    if healing.leaves_out(p) {
                        return true;
                    }
                    let second = healing.fold.boots.iter().find(|other| other.boot == p.boot);
                    let began = healing.began.get(&p.boot).copied().unwrap_or(0);
                    second.is_some_and(|other| p.applied < other.complete_from && other.complete_from > began)
                };
                let behind = self.boots.iter().any(|p| lacks(p) && is_behind(p));
                lacking.map(|p| p.base + p.applied).min().filter(|_| behind)
            }
        }
    }

    /// Begins from a state as of an earlier record, an empty one for a log that was never cut, or
    /// from none, where none is kept: what the cloud lacks is then told as a gap.
    pub fn heal(&mut self, state: Option<Fold>) {
        self.healing = None;
        let Some(mut fold) = state else {
            self.unhealed = self.boots.iter().filter(|p| lacks(p)).map(|p| (p.boot, p.complete_from)).collect();
            return;
        };
        fold.again = true;
        fold.fresh.clear();
        fold.healing = None;
        // Whichever cloud counted them, this one may not have.
        fold.boots.iter_mut().for_each(|p| p.marks.recount());
        let began = fold.boots.iter().map(|p| (p.boot, p.complete_from)).collect();
        self.healing = Some(Box::new(Healing { fold, began, is_over: false }));
        self.catch_up();
    }

    /// The record that the second fold goes on with, when it wants more of the log now.
    pub fn heals_with(&self) -> Option<u64> {
        let Healing { fold, is_over, .. } = &**self.healing.as_ref()?;
        if *is_over || fold.lsn >= self.lsn {
            return None;
        }
        let waiting: u64 = fold.boots.iter().map(|p| p.entries.unheld(p.floor()) + p.alerts.len() as u64).sum();
        // Where a window that is open holds intervals back, it must go on until that is sealed.
        let goes_on = || fold.boots.iter().any(|p| fold.complete_to(p).0 > p.applied);
        (waiting < HEALING_ENTRIES_MAX || !goes_on()).then_some(fold.lsn + 1)
    }

    /// A frame of the log for the second fold, as [`Fold::frame`] takes it.
    ///
    /// # Errors
    /// As [`Fold::apply`]; the gap is then as wide as the log that cannot be folded.
    pub fn heal_frame<'a>(&mut self, first: u64, marks: [u64; 4], records: impl Iterator<Item = (u64, u8, &'a [u8])>) -> Result<(), Error> {
        let Some(mut healing) = self.healing.take() else { return Ok(()) };
        let folded = healing.frame(self, first, marks, records);
        healing.fold.fresh.clear();
        healing.fold.fresh_acts.clear();
        self.healing = Some(healing);
        self.catch_up();
        folded
    }

    /// What intervals are made of: this state, or while the cloud heals the second one; none
    /// while that is still to begin.
    pub fn outbox(&self) -> Option<&Fold> {
        if self.heals_from().is_some() {
            return None;
        }
        Some(self.healing.as_ref().map_or(self, |healing| &healing.fold))
    }

    /// Whether a second fold is under way.
    pub fn is_healing(&self) -> bool {
        self.healing.is_some()
    }

    /// Windows of the second fold that still have to go; none while there is none, nor needs to be.
    pub(crate) fn heals(&self) -> Option<u64> {
        let waiting = |p: &BootPart| p.entries.unheld(p.floor());
        match &self.healing {
            Some(healing) => Some(healing.fold.boots.iter().map(waiting).sum()),
            None => self.heals_from().map(|_| 0),
        }
    }

    /// Up to where the second fold is, of this one's records.
    pub fn healed_to(&self) -> Option<u64> {
        self.healing.as_ref().map(|healing| healing.fold.lsn)
    }

    /// A boot's part in the second fold.
    pub(crate) fn second(&mut self, boot: u64) -> Option<&mut BootPart> {
        self.healing.as_mut()?.fold.boots.iter_mut().find(|p| p.boot == boot)
    }

    /// Up to where a boot can be told whole: below, this state knows of a gap.
    pub(crate) fn gap_to(&self, boot: u64) -> (u64, u64) {
        let find = |fold: &Fold| fold.boots.iter().find(|p| p.boot == boot).map(|p| (p.complete_from, p.readings_from));
        match &self.healing {
            Some(healing) => find(&healing.fold),
            None => find(self),
        }
        .unwrap_or_default()
    }

    /// A page of the second fold cannot be read: what it holds is lost to the cloud.
    pub fn heal_lost(&mut self, page: u64) {
        if let Some(healing) = &mut self.healing {
            let Fold { boots, shelf, .. } = &mut healing.fold;
            for part in boots {
                part.lose(page, shelf);
            }
        }
    }

    /// What the cloud has by now leaves the second fold; the last of it ends it.
    pub(crate) fn catch_up(&mut self) {
        let Some(healing) = &mut self.healing else { return };
        if !self.boots.iter().any(lacks) {
            self.healing = None;
            return;
        }
        let Fold { boots, shelf, .. } = &mut healing.fold;
        for (at, part) in boots.iter_mut().enumerate() {
            // One log has the same boots, in the same order.
            let same = self.boots.get(at).filter(|p| p.boot == part.boot);
            let Some(living) = same.or_else(|| self.boots.iter().find(|p| p.boot == part.boot)) else { continue };
            let (applied, readings) = (living.applied.min(part.end), living.readings_applied.min(part.readings));
            if (applied, readings, living.shed) != (part.applied, part.readings_applied, part.shed) {
                let hash = if applied == living.applied { living.hash_applied } else { part.hash };
                part.acknowledged(applied, readings, living.shed, hash);
                part.acknowledgement_logged(shelf);
            }
        }
    }

    /// Whether a record is of no account to a second fold.
    pub(super) fn passes_over(&self, record: &Record<'_>) -> bool {
        self.again
            && matches!(
                record,
                Record::Acked { .. } | Record::Shed { .. } | Record::Unnamed { .. } | Record::Told { .. } | Record::Lost { .. }
            )
    }
}

/// Whether the cloud is known to lack what is let go of here, and only this one can tell it again.
fn lacks(part: &BootPart) -> bool {
    part.forked.is_none() && part.applied < part.complete_from
}
