//! Damage in a log that is folded for the second time.
//!
//! Behind it the second fold knows less than the living one, which may have been made of the
//! log while it was whole: it knows where boots began and ended, how many readings they had, their windows
//! and their series, and holds whole what it never let go of. So of a boot with a hole only that is told
//! here which the living state let go of: what is open then goes as it stands, as a version that the
//! living state follows up. What lay in the hole is lost as far as it was let go of, and is counted where it was.

#[cfg(test)]
mod tests;

use super::{Fold, Healing, lacks};
use crate::error::Error;
use crate::fold::FoldConfig;
use crate::frame::Marks;
use crate::hash;
use crate::outbox::{BootPart, Telling};
use detect::Settings;

impl Healing {
    /// A frame of the log, for the state that lives.
    pub(super) fn frame<'a>(
        &mut self,
        living: &Fold,
        first: u64,
        marks: [u64; 4],
        records: impl Iterator<Item = (u64, u8, &'a [u8])>,
    ) -> Result<(), Error> {
        let fold = &mut self.fold;
        let is_behind = first > fold.lsn + 1;
        if !is_behind && !fold.boots.last().is_some_and(|p| p.holed) {
            return fold.frame(first, marks, records);
        }
        let records: Vec<_> = records.filter(|(lsn, ..)| *lsn > fold.lsn).collect();
        let mut nobodys = (0, 0);
        if is_behind {
            fold.fill(living, first);
            if fold.reaches_all(living) {
                self.is_over = true;
                return Ok(());
            }
            nobodys = fold.bridge(first, Marks::of(marks), &records)?;
        }
        for (lsn, kind, payload) in records {
            if fold.hand_over_in_time(living) && fold.reaches_all(living) {
                self.is_over = true;
                return Ok(());
            }
            fold.apply(lsn, kind, payload)?;
            fold.miss(std::mem::take(&mut nobodys));
        }
        if is_behind {
            fold.cut_forks();
        }
        let Fold { boots, shelf, .. } = fold;
        for part in boots.iter_mut().filter(|p| p.telling == Telling::Silent) {
            part.entries.trim(u64::MAX, shelf);
            part.alerts.trim(u64::MAX, shelf);
            part.acts.clear();
        }
        Ok(())
    }

    /// Whether what the cloud lacks of a boot was not lacking when it was left to the living state.
    pub(super) fn leaves_out(&self, part: &BootPart) -> bool {
        let is_silent = |p: &BootPart| p.boot == part.boot && p.telling == Telling::Silent;
        (self.is_over || self.fold.boots.iter().any(is_silent)) && !self.fold.reaches(part)
    }
}

impl Fold {
    /// Whether all is here that the living state let go of, of a boot.
    fn reaches(&self, living: &BootPart) -> bool {
        let second = self.boots.iter().find(|p| p.boot == living.boot);
        second.is_some_and(|p| p.end >= living.complete_from && (p.ended || p.telling == Telling::Ends))
    }

    fn reaches_all(&self, living: &Fold) -> bool {
        living.boots.iter().filter(|p| lacks(p)).all(|p| self.reaches(p))
    }

    /// What the living state knows of the boots in a hole that ends before record `first`.
    fn fill(&mut self, living: &Fold, first: u64) {
        if self.boots.is_empty() {
            self.config = FoldConfig { detection: Settings::default(), ..living.config.clone() };
            self.shelf.set_page_alerts(self.config.page_alerts);
        }
        // Where it lost names itself, their numbers may have come to others since.
        let named = if living.orphaned == 0 { &living.series[..] } else { &[] };
        for (number, series) in (0u32..).zip(named) {
            if self.series.get(number as usize).is_none_or(|known| known.name.is_empty()) {
                self.place_series(number, &series.name, series.unit.as_deref());
            }
        }
        let last = first - 1;
        for (at, own) in living.boots.iter().enumerate() {
            let over = living.boots.get(at + 1).map_or(u64::MAX, |next| next.base);
            let (from, to) = (self.lsn.max(own.base), last.min(over));
            if from >= to {
                continue;
            }
            if self.boots.last().is_none_or(|p| p.boot != own.boot) {
                self.begin_as(own);
            }
            self.holed(own, from - own.base, to - own.base);
            if over > last {
                continue;
            }
            // It ended here: so many were there.
            let parts = || self.boots.iter().filter(|p| p.boot == own.boot);
            let (readings, local) = (parts().map(|p| p.readings).sum::<u64>(), parts().map(|p| p.local).sum::<u64>());
            if let Some(part) = self.boots.last_mut() {
                part.readings += own.readings.saturating_sub(readings);
                part.local += own.local.saturating_sub(local);
            }
        }
    }

    /// Of the boot under way, what lies beyond `seen` and up to `to` is gone.
    fn holed(&mut self, own: &BootPart, seen: u64, to: u64) {
        let Some(part) = self.boots.last_mut() else { return };
        let is_told = part.telling == Telling::Goes;
        part.holed |= own.complete_from > seen;
        if is_told && own.complete_from > seen && own.complete_from <= to {
            part.end = own.complete_from;
            part.hash = hash::UNKNOWN;
            let missing = own.readings_from.saturating_sub(part.readings);
            self.miss((missing, 0));
        }
        if is_told && own.complete_from <= to && !is_told_whole(own) {
            self.hand_over(own.complete_from);
        }
        if let Some(part) = self.boots.last_mut() {
            part.end = if part.telling == Telling::Goes { to.min(own.end) } else { to };
            part.hash = hash::UNKNOWN;
        }
    }

    /// Begins a boot whose first record is gone.
    fn begin_as(&mut self, own: &BootPart) {
        self.config.sizes_ms.clone_from(&own.sizes_ms);
        self.config.grace_ms = own.grace_ms;
        self.config.group.clone_from(&own.group);
        self.begin_boot(own.boot, own.parent, own.base);
        if let Some(part) = self.boots.last_mut() {
            part.end = 0;
            part.hash = hash::UNKNOWN;
        }
    }

    /// Where a boot with a hole has come to what the living state holds, that takes over; whether it does.
    fn hand_over_in_time(&mut self, living: &Fold) -> bool {
        let Some(part) = self.boots.last().filter(|p| p.holed && p.telling == Telling::Goes) else { return false };
        let own = living.boots.iter().find(|p| p.boot == part.boot);
        let Some(let_go) = own.filter(|own| part.end >= own.complete_from && !is_told_whole(own)).map(|own| own.complete_from) else {
            return false;
        };
        self.hand_over(let_go);
        true
    }

    /// The part of the boot under way ends here, for the cloud; what follows is told by nobody. The living state let go
    /// of what lies up to `let_go`.
    fn hand_over(&mut self, let_go: u64) {
        // Their date lies in the hole, or behind it: here they are in no window, and there no more.
        let lost = self.forget_undated(let_go);
        let Some(part) = self.boots.last_mut() else { return };
        for series in &mut self.series {
            for open in series.open.drain(..) {
                part.entries.insert(open.name, open.sealed(), &mut self.shelf);
            }
        }
        part.damaged_at(part.end, lost);
        part.telling = Telling::Ends;
        let rest = BootPart {
            boot: part.boot,
            parent: part.parent,
            base: part.base,
            end: part.end,
            clock_ms: part.clock_ms,
            group: part.group.clone(),
            sizes_ms: part.sizes_ms.clone(),
            grace_ms: part.grace_ms,
            hash: part.hash,
            holed: true,
            offered: u64::MAX,
            telling: Telling::Silent,
            ..BootPart::default()
        };
        self.boots.push(rest);
        self.schedule_all();
    }
}

/// Whether the living state let go of all of a boot that is over: then nothing of it is left to take over.
fn is_told_whole(own: &BootPart) -> bool {
    own.ended && own.complete_from >= own.end
}
