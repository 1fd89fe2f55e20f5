//! Who speaks under a gateway's name. Two processes that live at once under one name, as after a
//! device was cloned or a name given twice, cost no reading: their boots are told apart (protocol
//! §2). But they mix two sites' series, and commands reach both; so it is reported.

use crate::limits::{CONFLICT_OVER, CONFLICT_SINCE, CONFLICT_TURNS};
use std::collections::BTreeMap;
use std::time::Instant;

/// The last two boots that spoke as living ones, by their low bits.
#[derive(Debug)]
struct Turns {
    now: u16,
    before: Option<u16>,
    /// How often one spoke again after the other had.
    count: u32,
    first: Instant,
    last: Instant,
}

/// Gateways that spoke to this process.
#[derive(Debug, Default)]
pub struct Speakers(BTreeMap<String, Turns>);

impl Speakers {
    /// A boot spoke as the living one of a gateway. Whether this shows that two of them live.
    pub fn heard(&mut self, gateway: &str, living: u16, at: Instant) -> bool {
        let Some(turns) = self.0.get_mut(gateway) else {
            self.0.insert(gateway.to_owned(), Turns { now: living, before: None, count: 0, first: at, last: at });
            return false;
        };
        if living == turns.now {
            return false;
        }
        let was = turns.is_conflict(at);
        if turns.before != Some(living) || at.saturating_duration_since(turns.last) > CONFLICT_OVER {
            // A new process follows the one before. What that one had under way may still come.
            *turns = Turns { now: living, before: Some(turns.now), count: 0, first: at, last: at };
            return false;
        }
        (turns.now, turns.before) = (living, Some(turns.now));
        turns.count += 1;
        turns.last = at;
        turns.is_conflict(at) && !was
    }

    /// Both boots, while two live.
    pub fn conflict(&self, gateway: &str, at: Instant) -> Option<[u16; 2]> {
        let turns = self.0.get(gateway).filter(|turns| turns.is_conflict(at))?;
        let mut both = [turns.now, turns.before?];
        both.sort_unstable();
        Some(both)
    }

    /// How many gateways live twice.
    pub fn conflicts(&self, at: Instant) -> usize {
        self.0.values().filter(|turns| turns.is_conflict(at)).count()
    }
}

impl Turns {
    fn is_conflict(&self, at: Instant) -> bool {
        self.count >= CONFLICT_TURNS
            && self.last.saturating_duration_since(self.first) >= CONFLICT_SINCE
            && at.saturating_duration_since(self.last) <= CONFLICT_OVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn two_that_take_turns_are_told_and_a_restart_is_not() {
        let (mut s, start) = (Speakers::default(), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        // A restart, and what the old process had under way; then another.
        for (boot, second) in [(1, 0.0), (2, 1.0), (1, 1.1), (2, 1.2), (1, 1.3), (2, 1.4), (2, 30.0), (3, 31.0), (3, 60.0)] {
            assert!(!s.heard("a", boot, at(second)), "{boot} at {second}");
            assert_eq!(s.conflict("a", at(second)), None);
        }
        let turns: Vec<bool> = (0..10).map(|i| s.heard("a", 4 - i % 2, at(61.0 + 5.0 * i as f64))).collect();
        assert_eq!(turns.iter().filter(|told| **told).count(), 1, "told once: {turns:?}");
        assert_eq!((s.conflict("a", at(110.0)), s.conflicts(at(110.0))), (Some([3, 4]), 1));
        assert_eq!((s.conflict("a", at(300.0)), s.conflict("b", at(110.0))), (None, None), "one of them is gone");
    }
}
