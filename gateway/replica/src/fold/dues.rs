//! What falls due as the logged clock goes on, in the order of its due time.

use super::{Fold, FoldConfig, open, undated};
use crate::outbox::EntryName;
use std::cmp::Reverse;

/// What falls due: a series' watch, or one of its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(super) at_ms: i64,
    pub(super) series: u32,
    /// 0: the watch; else the window's size and start.
    pub(super) size_ms: i64,
    pub(super) start_ms: i64,
    pub(super) born: u64,
}

impl Fold {
    /// When the next window, detector, alarm or ordinary message falls due: a tick must then be logged, if nothing else is.
    pub fn next_due_ms(&self) -> Option<i64> {
        let due = self.dues.peek().map(|Reverse(due)| due.at_ms);
        let alarms = self.alarms.due_ms(self.config.alarms.as_ref());
        due.into_iter()
            .chain(alarms)
            .chain(self.design_due_ms())
            .chain(self.ends.next_ms(self.clock_ms))
            .chain(self.crossing.next_expiry_ms())
            .min()
    }

    /// Seals and raises what is due at the clock, in order of its due time.
    pub(super) fn run_dues(&mut self) {
        while let Some(Reverse(due)) = self.dues.peek().copied().filter(|Reverse(d)| d.at_ms <= self.clock_ms) {
            self.dues.pop();
            let Some(series) = self.series.get_mut(due.series as usize) else { continue };
            if due.size_ms == 0 {
                if series.watch_at != due.at_ms {
                    continue;
                }
                if series.watch.due().is_some_and(|at| at <= due.at_ms) {
                    series.watch.tick(self.clock_ms, &mut self.findings);
                }
                series.watch_at = i64::MAX;
                if let Some(at_ms) = series.watch.due() {
                    // A detector that is still due at this clock waits for the next record.
                    let at_ms = at_ms.max(due.at_ms.saturating_add(1));
                    series.watch_at = at_ms;
                    self.dues.push(Reverse(Due { at_ms, ..due }));
                }
                if !self.findings.is_empty() {
                    self.raise(due.series);
                }
                continue;
            }
            // What may still belong to it comes when the clock is set, or the boot ends: it is due again then.
            if self.config.fold_version >= open::WHOLE_SINCE && undated::is_owed(&self.undated, due.series, due.born) {
                continue;
            }
            let found = series
                .open
                .iter()
                .position(|o| o.name.born == due.born && o.name.size_ms == due.size_ms && o.name.start_ms == due.start_ms);
            let Some(index) = found else { continue };
            let at_ms = series.open[index].due(self.config.grace_ms);
            if at_ms > due.at_ms {
                self.dues.push(Reverse(Due { at_ms, ..due }));
                continue;
            }
            let open = series.open.swap_remove(index);
            open::born_less(&mut self.births, due.born);
            if let Some(part) = self.boots.last_mut() {
                let FoldConfig { sizes_ms, grace_ms, .. } = &self.config;
                self.ends.sealed(sizes_ms, &self.kept_ms, due.size_ms, due.start_ms, *grace_ms);
                part.entries.insert(open.name, open.sealed(), &mut self.shelf);
            }
        }
    }

    /// Makes the dues anew from the state: at a boot, and after a snapshot.
    pub(crate) fn schedule_all(&mut self) {
        self.dues.clear();
        self.births.clear();
        for (number, series) in self.series.iter_mut().enumerate() {
            series.watch_at = i64::MAX;
            if let Some(at_ms) = series.watch.due() {
                series.watch_at = at_ms;
                self.dues.push(Reverse(Due { at_ms, series: number as u32, size_ms: 0, start_ms: 0, born: 0 }));
            }
            for open in &series.open {
                let EntryName { born, size_ms, start_ms, .. } = open.name;
                let at_ms = open.due(self.config.grace_ms);
                self.dues.push(Reverse(Due { at_ms, series: number as u32, size_ms, start_ms, born }));
                self.births.entry(born).or_insert((0, open.before)).0 += 1;
            }
        }
        self.undated_births();
    }
}
