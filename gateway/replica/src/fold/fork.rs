//! Another speaks under the name of a boot ([`crate::outbox::Fork`]): its part of it ends.

use super::Fold;
use crate::alert;
use crate::outbox::Fork;

impl Fold {
    /// Another has the boot's name; up to `at` the logs are the same. The living boot ends with
    /// the process.
    pub(super) fn forked(&mut self, boot: u64, at: u64, readings: u64) {
        if let Some(part) = self.boots.iter_mut().find(|p| p.boot == boot && p.forked.is_none()) {
            part.forked = Some(Fork { at: at.min(part.end), readings: readings.min(part.readings), given_up: None });
        }
        self.cut_forks();
    }

    /// The parts of boots that are over end at their forks; the living boot tells what is left of them.
    pub(super) fn cut_forks(&mut self) {
        let seq = self.lsn - self.boots.last().map_or(0, |part| part.base);
        let mut told = Vec::new();
        let before = self.boots.last().map(|part| self.before(part)).unwrap_or_default();
        if let Some((living, old)) = self.boots.split_last_mut() {
            for part in old {
                let Some(behind) = part.cut(&mut self.shelf) else { continue };
                told.push((part.boot, behind.fork));
                living.inherit(behind, seq, &mut self.ordinal, before);
            }
        }
        for (boot, fork) in told {
            // It is an event: the alarm that it makes is over at once, and stays until somebody has seen it.
            for state in [0, 1] {
                let Some(living) = self.boots.last() else { return };
                let alert = alert::forked((living.boot, seq, self.ordinal), self.clock_ms, state, boot, &fork);
                self.ordinal += 1;
                self.tell(alert, true);
            }
        }
    }
}
