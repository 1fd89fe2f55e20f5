//! Who is online, by last will and by own judgement: a gateway that is frozen says nothing,
//! while its connection stands. Times are ms of any clock that does not go back.

use crate::limits::{BYE_MS, SILENCE_MS};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    online: bool,
    /// Of this clock.
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
}

impl Presence {
    /// A gateway spoke. Whether it came online by that.
    pub fn heard(&mut self, gateway: &str, now_ms: i64, wall_ms: i64) -> bool {
        if !self.by_name.contains_key(gateway) {
            self.by_name.insert(gateway.to_owned(), Seen::default());
        }
        let Some(seen) = self.by_name.get_mut(gateway) else { return false };
        (seen.heard_ms, seen.wall_ms, seen.bye_ms) = (seen.heard_ms.max(now_ms), wall_ms, None);
        !std::mem::replace(&mut seen.online, true)
    }

    /// Its last will came: it is gone, unless it is only changing connections.
    pub fn gone(&mut self, gateway: &str, now_ms: i64) {
        if let Some(seen) = self.by_name.get_mut(gateway) {
            seen.bye_ms.get_or_insert(now_ms);
        }
    }

    /// Those that went offline: with a last will, or because they have said nothing for too long.
    pub fn lost(&mut self, now_ms: i64) -> Vec<String> {
        let mut lost = Vec::new();
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

    #[test]
    fn a_gateway_is_offline_until_it_speaks_and_when_it_is_silent() {
        let mut p = Presence::default();
        assert_eq!(p.of("a"), (false, 0));
        assert!(p.heard("a", 0, 7) && !p.heard("a", 5_000, 8) && p.heard("b", 0, 1));
        assert_eq!((p.lost(SILENCE_MS), p.of("a"), p.online()), (vec!["b".to_owned()], (true, 8), 1));
        p.gone("a", 6_000);
        p.gone("nobody", 6_000);
        assert!(p.lost(6_000 + BYE_MS - 1).is_empty() && !p.heard("a", 6_500, 9), "it was only changing connections");
        p.gone("a", 7_000);
        assert_eq!((p.lost(7_000 + BYE_MS), p.lost(99_999)), (vec!["a".to_owned()], vec![]));
        assert!(p.heard("a", 20_000, 9));
    }
}
