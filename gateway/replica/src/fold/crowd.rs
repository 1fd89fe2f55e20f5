//! Windows of a series that are too many are sealed once their record is folded, but for those that readings which
//! wait for their date may belong to.

use super::undated::{Undated, is_owed};
use super::{Due, Fold, Open, open};
use crate::limits::OPEN_WINDOWS_MAX;
use crate::outbox::EntryName;
use std::cmp::Reverse;

impl Fold {
    /// Seals windows that are too many, those that changed least lately, now that all readings of a record have their places.
    pub(super) fn thin_out(&mut self) {
        let undated = std::mem::take(&mut self.undated);
        self.thin_out_but(&undated);
        self.undated = undated;
    }

    /// The same, while these wait for their date.
    pub(super) fn thin_out_but(&mut self, waiting: &[Undated]) {
        for number in std::mem::take(&mut self.crowded).into_keys() {
            let Some(series) = self.series.get_mut(number as usize) else { continue };
            for &size_ms in &self.kept_ms {
                let of_size = |o: &&Open| o.name.size_ms == size_ms;
                let too_many = series.open.iter().filter(of_size).count().saturating_sub(OPEN_WINDOWS_MAX);
                let sealable = series.open.iter().filter(of_size).filter(|o| !is_owed(waiting, number, o.name.born));
                let mut oldest: Vec<(u64, EntryName)> = sealable.map(|o| (o.version, o.name)).collect();
                oldest.sort_unstable();
                let Some(&youngest) = too_many.checked_sub(1).and_then(|last| oldest.get(last).or(oldest.last())) else { continue };
                let is_over =
                    |o: &mut Open| o.name.size_ms == size_ms && (o.version, o.name) <= youngest && !is_owed(waiting, number, o.name.born);
                let mut over: Vec<Open> = series.open.extract_if(.., is_over).collect();
                over.sort_unstable_by_key(|o| (o.version, o.name));
                for sealed in over {
                    open::born_less(&mut self.births, sealed.name.born);
                    if let Some(part) = self.boots.last_mut() {
                        part.entries.insert(sealed.name, sealed.sealed(), &mut self.shelf);
                    }
                }
            }
        }
    }

    /// Windows that were kept open for readings of the record `seq` that waited are due by themselves again.
    pub(super) fn due_again(&mut self, number: u32, seq: u64) {
        let Some(series) = self.series.get(number as usize) else { return };
        for open in series.open.iter().filter(|open| open.name.born == seq) {
            let EntryName { born, series, size_ms, start_ms } = open.name;
            self.dues.push(Reverse(Due { at_ms: open.due(self.config.grace_ms), series, size_ms, start_ms, born }));
        }
    }
}
