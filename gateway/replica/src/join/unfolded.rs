//! Intervals that are in the cloud's log and not folded yet: what goes on from there may be logged
//! behind them, so that a gateway need not wait for the disk between one interval and the next.
//!
//! Whether it is taken is decided by the fold alone: this only keeps out of the log what it would
//! turn down anyway.

use crate::hash;
use schemas::message::Delta;
use std::collections::VecDeque;

/// How far boots will be, once all is folded; oldest first.
#[derive(Debug, Clone, Default)]
pub struct Unfolded(VecDeque<Mark>);

#[derive(Debug, Clone)]
struct Mark {
    lsn: u64,
    gateway: String,
    boot: u64,
    to: u64,
    hash: u64,
}

impl Unfolded {
    /// An interval went into the log as record `lsn`.
    pub fn push(&mut self, lsn: u64, gateway: &str, delta: &Delta) {
        let Delta { boot, to, hash_to: hash, .. } = *delta;
        self.0.push_back(Mark { lsn, gateway: gateway.to_owned(), boot, to, hash });
    }

    /// All records up to `lsn` are folded.
    pub fn folded(&mut self, lsn: u64) {
        while self.0.front().is_some_and(|mark| mark.lsn <= lsn) {
            self.0.pop_front();
        }
    }

    /// Whether an interval begins where one of these ends.
    pub(super) fn leads_to(&self, gateway: &str, delta: &Delta) -> bool {
        let is_before = |m: &Mark| m.boot == delta.boot && m.to == delta.from && m.gateway == gateway;
        self.0.iter().any(|mark| is_before(mark) && !hash::differ(mark.hash, delta.hash_from))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bridge;
    use super::*;

    fn delta(boot: u64, (from, hash_from): (u64, u64), (to, hash_to): (u64, u64)) -> Delta {
        Delta { boot, from, hash_from, to, hash_to, ..Delta::default() }
    }

    #[test]
    fn what_goes_on_from_an_interval_on_its_way_into_the_log_is_admitted_behind_it() {
        let (bridge, mut unfolded) = (Bridge::default(), Unfolded::default());
        let first = delta(7, (0, 1), (10, 5));
        assert!(bridge.admit("a", &first, &unfolded).is_ok());
        unfolded.push(3, "a", &first);
        assert!(bridge.admit("a", &first, &unfolded).is_ok(), "once more, should it be lost");
        let next = |gateway, delta| bridge.admit(gateway, &delta, &unfolded).is_ok();
        assert!(next("a", delta(7, (10, 5), (20, 6))));
        assert!(!next("a", delta(7, (11, 5), (20, 6))), "it begins behind");
        assert!(!next("a", delta(7, (10, 4), (20, 6))), "it is of another log");
        assert!(!next("a", delta(8, (10, 5), (20, 6))), "it is of another boot");
        assert!(!next("b", delta(7, (10, 5), (20, 6))), "it is another gateway's");
        unfolded.push(4, "a", &delta(7, (10, 5), (20, 6)));
        unfolded.folded(3);
        assert!(bridge.admit("a", &delta(7, (20, 6), (30, 7)), &unfolded).is_ok());
        unfolded.folded(4);
        assert!(bridge.admit("a", &delta(7, (20, 6), (30, 7)), &unfolded).is_err(), "the fold would have it by now");
    }
}
