//! Which windows are to be published when: those that changed, once a second each, and those
//! that wait for a gateway to become complete.
//!
//! Windows that are added up from many parts stand apart: they share so many parts a second, so
//! that the short ones, which tell what goes on, never wait behind them, however many there are.

use super::window::WindowKey;
use crate::limits::ROUND_PARTS_PER_S;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Windows that wait to become complete: a gateway that is away for a week leaves 120,000 of
/// each series that it shares with others. Beyond, the first no longer waits, and is complete
/// only when it is next published for another reason.
const WAITING_MAX: usize = 1 << 20;

/// A window that is to be published, and from when on.
pub type Due = (i64, WindowKey);
/// A window that waits for a gateway to be complete up to a time.
pub type Waiting = (u32, i64, WindowKey);

/// Parts that may be added up for long windows: a second's worth at most. One is begun with any at
/// all, so that it may be below zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    parts: i64,
    at_ms: i64,
}

impl Budget {
    fn refill(&mut self, clock_ms: i64) {
        let passed_ms = clock_ms.saturating_sub(self.at_ms).clamp(0, 3_600_000);
        self.parts = (self.parts + passed_ms * ROUND_PARTS_PER_S / 1_000).min(ROUND_PARTS_PER_S);
        self.at_ms = clock_ms;
    }

    /// From when on there are some.
    fn ready_ms(&self) -> i64 {
        if self.parts > 0 { i64::MIN } else { self.at_ms.saturating_add(1 - self.parts * 1_000 / ROUND_PARTS_PER_S) }
    }
}

/// What is to be published.
#[derive(Debug, Default)]
pub struct Rounds {
    /// By the time from which they may be; those of many parts apart.
    due: BTreeSet<Due>,
    due_long: BTreeSet<Due>,
    at: HashMap<WindowKey, (i64, bool)>,
    /// Published, not complete: by the gateway that they wait for, and until when.
    waiting: BTreeSet<Waiting>,
    /// For those of many parts.
    pub budget: Budget,
}

impl Rounds {
    /// What [`Rounds::parts`] gave.
    pub fn new(due: Vec<Due>, due_long: Vec<Due>, waiting: Vec<Waiting>, budget: Budget) -> Self {
        let at = |list: &[Due], is_long| list.iter().map(|(at, key)| (*key, (*at, is_long))).collect::<Vec<_>>();
        Self {
            at: at(&due, false).into_iter().chain(at(&due_long, true)).collect(),
            due: due.into_iter().collect(),
            due_long: due_long.into_iter().collect(),
            waiting: waiting.into_iter().collect(),
            budget,
        }
    }

    /// What is due, those of many parts apart, and what waits.
    pub fn parts(&self) -> (Vec<Due>, Vec<Due>, Vec<Waiting>) {
        (self.due.iter().copied().collect(), self.due_long.iter().copied().collect(), self.waiting.iter().copied().collect())
    }

    fn list(&mut self, is_long: bool) -> &mut BTreeSet<Due> {
        if is_long { &mut self.due_long } else { &mut self.due }
    }

    /// A window changed, and may be published from `at_ms` on; it has many parts if it `is_long`.
    pub fn add(&mut self, key: WindowKey, at_ms: i64, is_long: bool) {
        if let Entry::Vacant(place) = self.at.entry(key) {
            place.insert((at_ms, is_long));
            self.list(is_long).insert((at_ms, key));
        }
    }

    /// The same for one that may be published earlier than was thought.
    pub fn hasten(&mut self, key: WindowKey, at_ms: i64, is_long: bool) {
        match self.at.get_mut(&key) {
            Some((at, is_long)) if *at > at_ms => {
                let (before, is_long) = (std::mem::replace(at, at_ms), *is_long);
                self.list(is_long).remove(&(before, key));
                self.list(is_long).insert((at_ms, key));
            }
            Some(_) => {}
            None => self.add(key, at_ms, is_long),
        }
    }

    /// Whether a change of it is still to be published.
    pub fn holds(&self, key: WindowKey) -> bool {
        self.at.contains_key(&key)
    }

    /// When the next may be published.
    pub fn next_ms(&self) -> Option<i64> {
        let long = self.due_long.first().map(|(at, _)| (*at).max(self.budget.ready_ms()));
        self.due.first().map(|(at, _)| *at).into_iter().chain(long).min()
    }

    /// Windows that changed and are not published yet.
    pub fn due(&self) -> usize {
        self.at.len()
    }

    /// Windows that are published and wait to be complete.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next window that may be published at `clock_ms`.
    pub fn take(&mut self, clock_ms: i64) -> Option<WindowKey> {
        self.pop(clock_ms, false)
    }

    /// The same of those of many parts, while there is budget for them.
    pub fn take_long(&mut self, clock_ms: i64) -> Option<WindowKey> {
        self.budget.refill(clock_ms);
        if self.budget.parts > 0 { self.pop(clock_ms, true) } else { None }
    }

    /// So many parts of one of those are added up.
    pub fn spend(&mut self, parts: i64) {
        self.budget.parts = self.budget.parts.saturating_sub(parts);
    }

    fn pop(&mut self, clock_ms: i64, is_long: bool) -> Option<WindowKey> {
        let (_, key) = *self.list(is_long).first().filter(|(at, _)| *at <= clock_ms)?;
        self.list(is_long).pop_first();
        self.at.remove(&key);
        Some(key)
    }

    /// A window waits until a gateway is complete up to its end.
    pub fn wait(&mut self, gateway: u32, key: WindowKey) {
        self.waiting.insert((gateway, key.2.saturating_add(key.1), key));
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_first();
        }
    }

    /// A window does not wait for this gateway.
    pub fn wait_no_more(&mut self, gateway: u32, key: WindowKey) {
        self.waiting.remove(&(gateway, key.2.saturating_add(key.1), key));
    }

    /// Those that no longer wait for a gateway that is complete up to `complete_ms`.
    pub fn reached(&mut self, gateway: u32, complete_ms: i64) -> Vec<WindowKey> {
        let top = (gateway, complete_ms, (u32::MAX, i64::MAX, i64::MAX));
        let reached: Vec<_> = self.waiting.range((gateway, i64::MIN, (0, i64::MIN, i64::MIN))..=top).copied().collect();
        for entry in &reached {
            self.waiting.remove(entry);
        }
        reached.into_iter().map(|(_, _, key)| key).collect()
    }

    /// Forgets windows that ended before this time.
    pub fn forget(&mut self, before_ms: i64) {
        let stays = |key: &WindowKey| key.2.saturating_add(key.1) >= before_ms;
        self.due.retain(|(_, key)| stays(key));
        self.due_long.retain(|(_, key)| stays(key));
        self.at.retain(|key, _| stays(key));
        self.waiting.retain(|(_, _, key)| stays(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_due_once_and_waits_for_its_gateway_alone() {
        let mut r = Rounds::default();
        r.add((1, 10, 0), 500, false);
        r.add((1, 10, 0), 100, false);
        r.add((2, 10, 0), 0, false);
        assert_eq!((r.due(), r.next_ms(), r.take(499), r.take(499), r.take(500)), (2, Some(0), Some((2, 10, 0)), None, Some((1, 10, 0))));
        r.add((3, 10, 0), 900, false);
        r.hasten((3, 10, 0), 700, false);
        r.hasten((3, 10, 0), 800, false);
        assert_eq!((r.take(699), r.take(700), r.due()), (None, Some((3, 10, 0)), 0));
        r.wait(7, (1, 10, 90));
        r.wait(7, (1, 10, 100));
        r.wait(8, (1, 10, 40));
        assert_eq!(r.reached(7, 100), [(1, 10, 90)]);
        assert_eq!(r.reached(7, i64::MAX), [(1, 10, 100)]);
        assert_eq!((r.reached(9, i64::MAX), r.waiting()), (vec![], 1));
    }

    #[test]
    fn windows_of_many_parts_share_what_a_second_has_and_hold_up_no_other() {
        let mut r = Rounds::default();
        (0..9).for_each(|n| r.add((n, 86_400_000, 0), 500, true));
        r.add((10, 10, 0), 900, false);
        assert_eq!((r.take_long(499), r.take_long(500), r.take(900)), (None, Some((0, 86_400_000, 0)), Some((10, 10, 0))));
        // It took three seconds' worth, of which one was there.
        r.spend(ROUND_PARTS_PER_S / 2 + 3 * ROUND_PARTS_PER_S);
        let from = r.next_ms().unwrap();
        assert_eq!((r.take_long(from - 1), r.take_long(from + 1)), (None, Some((1, 86_400_000, 0))));
        assert!((3_400..3_600).contains(&from), "{from}");
        r.hasten((2, 86_400_000, 0), 100, true);
        assert_eq!(r.take_long(from + 2_000), Some((2, 86_400_000, 0)));
        let (due, long, waiting) = r.parts();
        assert_eq!((due.len(), long.len(), r.due()), (0, 6, 6));
        let again = Rounds::new(due, long, waiting, r.budget);
        assert_eq!((again.next_ms(), again.parts()), (r.next_ms(), r.parts()));
    }
}
