//! Messages of our own broker, until those who subscribed are done with them: the cursor waits for that.

use crate::limits::{GIVEN_MAX, GIVEN_WAIT};
use broker::Watched;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Instant;

/// Messages that our own broker has before it. What waits for a subscriber is in memory only: a
/// cursor ahead of it would lose it with a crash.
#[derive(Default)]
pub struct Given(Mutex<Lists>);

#[derive(Default)]
struct Lists {
    /// In the order of their records.
    ordered: VecDeque<(u64, Instant, Watched)>,
    /// Those that overtook.
    urgent: Vec<(u64, Instant, Watched)>,
}

impl Given {
    pub(super) fn give(&self, lsn: u64, watched: Watched) {
        if !watched.is_done() {
            let ordered = &mut self.0.lock().ordered;
            // What was withheld comes behind younger records: those count for it, too.
            ordered.iter_mut().rev().take_while(|(at, ..)| *at > lsn).for_each(|(at, ..)| *at = lsn);
            ordered.push_back((lsn, Instant::now(), watched));
        }
    }

    pub(super) fn give_urgent(&self, lsn: u64, watched: Watched) {
        if !watched.is_done() {
            self.0.lock().urgent.push((lsn, Instant::now(), watched));
        }
    }

    /// Messages that overtook with a record count for another from here on.
    pub(super) fn hold_urgent(&self, hold: impl Fn(&mut u64)) {
        self.0.lock().urgent.iter_mut().for_each(|(at, ..)| hold(at));
    }

    /// Up to which record, `lsn` at most, nobody waits for a message.
    pub(super) fn settle(&self, lsn: u64) -> u64 {
        let Lists { ordered, urgent } = &mut *self.0.lock();
        let is_over = |at: &Instant, watched: &Watched| watched.is_done() || at.elapsed() > GIVEN_WAIT;
        while ordered.front().is_some_and(|(_, at, w)| is_over(at, w)) || ordered.len() > GIVEN_MAX {
            ordered.pop_front();
        }
        urgent.retain(|(_, at, w)| !is_over(at, w));
        urgent.drain(..urgent.len().saturating_sub(GIVEN_MAX));
        let first = urgent.iter().chain(ordered.front()).map(|(first, ..)| *first).min();
        first.map_or(lsn, |first| lsn.min(first.saturating_sub(1)))
    }
}
