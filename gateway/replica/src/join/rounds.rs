//! Which windows are to be published when: those that changed, once a second each, and those
//! that wait for a gateway to become complete.

use super::window::WindowKey;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::BTreeSet;

/// Windows that wait to become complete: a gateway that is away for a week leaves 120,000 of
/// each series that it shares with others. Beyond, the first no longer waits, and is complete
/// only when it is next published for another reason.
const WAITING_MAX: usize = 1 << 20;

/// A window that is to be published, and from when on.
pub type Due = (i64, WindowKey);
/// A window that waits for a gateway to be complete up to a time.
pub type Waiting = (u32, i64, WindowKey);

/// What is to be published.
#[derive(Debug, Default)]
pub struct Rounds {
    /// By the time from which they may be.
    due: BTreeSet<Due>,
    at: HashMap<WindowKey, i64>,
    /// Published, not complete: by the gateway that they wait for, and until when.
    waiting: BTreeSet<Waiting>,
}

impl Rounds {
    /// What [`Rounds::parts`] gave.
    pub fn new(due: Vec<Due>, waiting: Vec<Waiting>) -> Self {
        Self {
            at: due.iter().map(|(at, key)| (*key, *at)).collect(),
            due: due.into_iter().collect(),
            waiting: waiting.into_iter().collect(),
        }
    }

    /// What is due and what waits.
    pub fn parts(&self) -> (Vec<Due>, Vec<Waiting>) {
        (self.due.iter().copied().collect(), self.waiting.iter().copied().collect())
    }

    /// A window changed, and may be published from `at_ms` on.
    pub fn add(&mut self, key: WindowKey, at_ms: i64) {
        if let Entry::Vacant(place) = self.at.entry(key) {
            place.insert(at_ms);
            self.due.insert((at_ms, key));
        }
    }

    /// The same for one that may be published earlier than was thought.
    pub fn hasten(&mut self, key: WindowKey, at_ms: i64) {
        match self.at.get_mut(&key) {
            Some(at) if *at > at_ms => {
                self.due.remove(&(*at, key));
                self.due.insert((at_ms, key));
                *at = at_ms;
            }
            Some(_) => {}
            None => self.add(key, at_ms),
        }
    }

    /// Whether a change of it is still to be published.
    pub fn holds(&self, key: WindowKey) -> bool {
        self.at.contains_key(&key)
    }

    /// When the next may be published.
    pub fn next_ms(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Windows that changed and are not published yet.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// Windows that are published and wait to be complete.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next window that may be published at `clock_ms`.
    pub fn take(&mut self, clock_ms: i64) -> Option<WindowKey> {
        let (at, key) = *self.due.first()?;
        if at > clock_ms {
            return None;
        }
        self.due.pop_first();
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
        r.add((1, 10, 0), 500);
        r.add((1, 10, 0), 100);
        r.add((2, 10, 0), 0);
        assert_eq!((r.due(), r.next_ms(), r.take(499), r.take(499), r.take(500)), (2, Some(0), Some((2, 10, 0)), None, Some((1, 10, 0))));
        r.add((3, 10, 0), 900);
        r.hasten((3, 10, 0), 700);
        r.hasten((3, 10, 0), 800);
        assert_eq!((r.take(699), r.take(700), r.due()), (None, Some((3, 10, 0)), 0));
        r.wait(7, (1, 10, 90));
        r.wait(7, (1, 10, 100));
        r.wait(8, (1, 10, 40));
        assert_eq!(r.reached(7, 100), [(1, 10, 90)]);
        assert_eq!(r.reached(7, i64::MAX), [(1, 10, 100)]);
        assert_eq!((r.reached(9, i64::MAX), r.waiting()), (vec![], 1));
    }
}
