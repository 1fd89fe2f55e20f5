//! Who is online, by last will and by own judgement: a gateway that is frozen says nothing,
//! while its connection stands. Times are ms of any clock that does not go back.

use crate::limits::SILENCE_MS;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    online: bool,
    /// Of this clock.
    heard_ms: i64,
    /// Wall time.
    wall_ms: i64,
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
        (seen.heard_ms, seen.wall_ms) = (seen.heard_ms.max(now_ms), wall_ms);
        !std::mem::replace(&mut seen.online, true)
    }

    /// Its last will came. Whether it went offline by that.
    pub fn gone(&mut self, gateway: &str) -> bool {
        self.by_name.get_mut(gateway).is_some_and(|seen| std::mem::replace(&mut seen.online, false))
    }

    /// Those that went offline because they have said nothing for too long.
    pub fn silent(&mut self, now_ms: i64) -> Vec<String> {
        let mut gone = Vec::new();
        for (name, seen) in &mut self.by_name {
            if seen.online && now_ms - seen.heard_ms >= SILENCE_MS {
                seen.online = false;
                gone.push(name.clone());
            }
        }
        gone
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
        assert_eq!((p.silent(SILENCE_MS), p.of("a"), p.online()), (vec!["b".to_owned()], (true, 8), 1));
        assert!(p.gone("a") && !p.gone("a") && !p.gone("c") && p.silent(99_999).is_empty());
        assert!(p.heard("a", 6_000, 9));
    }
}
