//! Messages that came in and that our own broker has before it.
//!
//! What waits for a subscriber is in memory only, and a crash would lose it. So the log is told
//! that a message was shown only when nobody waits for it any more; until then the fold keeps it,
//! and the next process shows it again. A subscriber that stays away holds this up for a minute
//! at most: what it has not taken by then is let go of, and counted.

use crate::limits::{CROSS_GIVEN_BYTES_MAX, CROSS_GIVEN_MAX, CROSS_GIVEN_PAUSE, CROSS_GIVEN_WAIT, CROSS_GIVEN_WINDOW};
use broker::Watched;
use std::collections::VecDeque;
use std::time::Instant;

struct One {
    lsn: u64,
    bytes: usize,
    since: Instant,
    watched: Watched,
}

/// In the order of their records.
#[derive(Default)]
pub struct Given {
    list: VecDeque<One>,
    bytes: usize,
    /// Up to which record nobody waits for anything, and up to which the log knows.
    settled: u64,
    told: u64,
    /// Those let go of before each subscriber had them, not told to the log yet.
    unheld: u64,
}

impl Given {
    /// The message of record `lsn` is published.
    pub fn give(&mut self, lsn: u64, bytes: usize, watched: Watched) {
        self.bytes += bytes;
        self.list.push_back(One { lsn, bytes, since: Instant::now(), watched });
    }

    /// Whether subscribers have enough before them: the rest can wait where it is safe. One that
    /// takes nothing for a while is not waited for.
    pub fn is_enough(&mut self) -> bool {
        if self.is_wide() {
            self.trim();
        }
        self.is_wide() && self.list.front().is_some_and(|one| one.since.elapsed() < CROSS_GIVEN_PAUSE)
    }

    fn is_wide(&self) -> bool {
        self.list.len() >= CROSS_GIVEN_WINDOW || self.bytes >= CROSS_GIVEN_BYTES_MAX / 2
    }

    /// Whether anything waits for a subscriber.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What the log is to be told, if anything: up to which record nothing is waited for any more, and how many
    /// were let go of.
    pub fn settle(&mut self) -> Option<(u64, u64)> {
        self.trim();
        (self.settled > self.told).then_some((self.settled, self.unheld))
    }

    /// Lets go of what is not waited for, from the first on.
    fn trim(&mut self) {
        while let Some(first) = self.list.front() {
            let is_done = first.watched.is_done();
            let is_over =
                self.list.len() > CROSS_GIVEN_MAX || self.bytes > CROSS_GIVEN_BYTES_MAX || first.since.elapsed() > CROSS_GIVEN_WAIT;
            if !is_done && !is_over {
                break;
            }
            self.unheld += u64::from(!is_done);
            self.settled = self.settled.max(first.lsn);
            self.bytes -= first.bytes;
            self.list.pop_front();
        }
    }

    /// The log was told.
    pub fn told(&mut self) {
        (self.told, self.unheld) = (self.settled, 0);
    }

    #[cfg(test)]
    pub fn settled(&self) -> u64 {
        self.settled
    }
}
