//! Who is online, by last will and by own judgement: a gateway that is frozen says nothing,
//! while its connection stands.
//!
//! Silence is measured in the bridge's own running time: while the bridge itself is frozen nobody
//! can be heard. Gateways then find it deaf, and give up their connections; the wills of these say
//! nothing of the gateways.

use crate::limits::{BYE_MS, FROZEN, SILENCE_MS, THAW_MS};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    online: bool,
    /// Running time.
    heard_ms: i64,
    /// Wall time.
    wall_ms: i64,
    /// When a last will came, with nothing heard since.
    bye_ms: Option<i64>,
}

/// Gateways heard of by this process; all others are offline.
#[derive(Debug, Default)]
pub struct Presence {
    by_name: BTreeMap<String, Seen>,
    /// Running time, whole: events less than a millisecond apart must add up. And when it was looked at last.
    running: Duration,
    looked: Option<Instant>,
    /// Running time until which wills are of connections that a freeze broke.
    thawed_ms: i64,
}

impl Presence {
    /// Time goes on. Called every second at least, unless this process does not run.
    pub fn look(&mut self, at: Instant) {
        let passed = self.looked.replace(at).map_or_else(Default::default, |looked| at.saturating_duration_since(looked));
        self.running += passed.min(FROZEN);
        if passed > FROZEN {
            let now_ms = self.now_ms();
            self.thawed_ms = now_ms + THAW_MS;
            self.by_name.values_mut().for_each(|seen| (seen.heard_ms, seen.bye_ms) = (now_ms, None));
        }
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.running.as_millis()).unwrap_or(i64::MAX)
    }

    /// A gateway spoke. Whether it came online by that.
    pub fn heard(&mut self, gateway: &str, wall_ms: i64) -> bool {
        if !self.by_name.contains_key(gateway) {
            self.by_name.insert(gateway.to_owned(), Seen::default());
        }
        let now_ms = self.now_ms();
        let Some(seen) = self.by_name.get_mut(gateway) else { return false };
        (seen.heard_ms, seen.wall_ms, seen.bye_ms) = (now_ms, wall_ms, None);
        !std::mem::replace(&mut seen.online, true)
    }

    /// Whether it has spoken to this process.
    pub fn knows(&self, gateway: &str) -> bool {
        self.by_name.contains_key(gateway)
    }

    /// Its last will came: it is gone, unless it is only changing connections.
    pub fn gone(&mut self, gateway: &str) {
        let now_ms = self.now_ms();
        if let Some(seen) = self.by_name.get_mut(gateway).filter(|_| now_ms >= self.thawed_ms) {
            seen.bye_ms.get_or_insert(now_ms);
        }
    }

    /// Those that went offline: with a last will, or because they have said nothing for too long.
    pub fn lost(&mut self) -> Vec<String> {
        let (mut lost, now_ms) = (Vec::new(), self.now_ms());
        for (name, seen) in &mut self.by_name {
            let left = seen.bye_ms.is_some_and(|bye| now_ms - bye >= BYE_MS);
            if seen.online && (left || now_ms - seen.heard_ms >= SILENCE_MS) {
                seen.online = false;
                lost.push(name.clone());
            }
        }
        lost
    }

    /// Whether it is online, and the wall time when it was last heard.
    pub fn of(&self, gateway: &str) -> (bool, i64) {
        self.by_name.get(gateway).map_or((false, 0), |seen| (seen.online, seen.wall_ms))
    }

    /// How many are online.
    pub fn online(&self) -> usize {
        self.by_name.values().filter(|seen| seen.online).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets time pass as a process does that runs.
    fn pass(p: &mut Presence, ms: i64) {
        let at = p.looked.unwrap();
        (1..=ms / 250).for_each(|i| p.look(at + Duration::from_millis(i as u64 * 250)));
    }

    #[test]
    fn a_gateway_is_offline_until_it_speaks_and_when_it_is_silent() {
        let mut p = Presence::default();
        p.look(Instant::now());
        assert_eq!(p.of("a"), (false, 0));
        assert!(p.heard("a", 7) && p.heard("b", 1));
        pass(&mut p, 5_000);
        assert!(!p.heard("a", 8));
        pass(&mut p, SILENCE_MS - 5_000);
        assert_eq!((p.lost(), p.of("a"), p.online()), (vec!["b".to_owned()], (true, 8), 1));
        p.gone("a");
        p.gone("nobody");
        pass(&mut p, BYE_MS - 250);
        assert!(p.lost().is_empty() && !p.heard("a", 9), "it was only changing connections");
        p.gone("a");
        pass(&mut p, BYE_MS);
        assert_eq!((p.lost(), p.lost()), (vec!["a".to_owned()], vec![]));
        assert!(p.heard("a", 9));
    }

    #[test]
    fn time_goes_on_under_load_too() {
        let mut p = Presence::default();
        let began = Instant::now();
        p.look(began);
        p.heard("a", 1);
        let events = (1..=SILENCE_MS as u64 * 2).map(|n| began + Duration::from_micros(n * 500));
        events.for_each(|at| p.look(at));
        assert_eq!(p.lost(), ["a"], "an event each half millisecond");
    }

    #[test]
    fn a_bridge_that_was_frozen_blames_nobody_for_it() {
        let mut p = Presence::default();
        p.look(Instant::now());
        p.heard("a", 1);
        p.heard("b", 1);
        pass(&mut p, SILENCE_MS - 1_000);
        p.look(p.looked.unwrap() + Duration::from_secs(20));
        // Both found it deaf, and gave their connections up.
        p.gone("a");
        p.gone("b");
        pass(&mut p, BYE_MS);
        assert!(p.lost().is_empty());
        p.heard("a", 2);
        pass(&mut p, SILENCE_MS - BYE_MS);
        assert_eq!(p.lost(), ["b"], "who does not come back is lost all the same");
        p.gone("a");
        pass(&mut p, BYE_MS);
        assert_eq!(p.lost(), ["a"]);
    }
}
