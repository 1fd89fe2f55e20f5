//! A bridge that lost its disk, or was restored from a backup: its revisions still grow.
//!
//! Consumers keep of a window the highest revision. What they have may be of the time that the
//! bridge does not remember: so once a gateway tells again what a bridge had acknowledged, the
//! windows that began before, or that it is told again, go on with the second of that moment (since
//! the Unix epoch) for a revision. A window changes its revision once a second at most, so that this is higher than any
//! that it had, and lower than those after the next such loss.

use schemas::message::Delta;
use serde::{Deserialize, Serialize};

/// The last time that this was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct SetBack {
    /// The boot of the bridge; it happens before a process begins, and so once for each.
    boot: u64,
    /// The logged clock, ms since the Unix epoch.
    at_ms: i64,
    /// Start of the latest window that was told again; by a gateway whose clock is ahead, or with times
    /// of their own, they may begin later.
    #[serde(default)]
    until_ms: i64,
}

impl SetBack {
    /// An interval of a gateway was taken by the bridge's present boot; its latest window starts at `latest_ms`.
    pub(super) fn told(&mut self, delta: &Delta, boot: u64, clock_ms: i64, latest_ms: Option<i64>) {
        if !delta.again {
            return;
        }
        if self.boot != boot {
            *self = Self { boot, at_ms: clock_ms, until_ms: clock_ms.saturating_sub(1) };
        }
        self.until_ms = self.until_ms.max(latest_ms.unwrap_or(i64::MIN));
    }

    /// The revision of a window that began at `start_ms`, behind that `before`.
    pub(super) fn revision(&self, before: u64, start_ms: i64) -> u64 {
        let least = if start_ms < self.at_ms || start_ms <= self.until_ms { self.at_ms.div_euclid(1_000) } else { 0 };
        (before + 1).max(u64::try_from(least).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_before_go_on_above_what_was_forgotten() {
        let mut set_back = SetBack::default();
        set_back.told(&Delta::default(), 1, 9_000_000, Some(9_500_000));
        assert_eq!(set_back.revision(4, 5_000), 5);
        let again = Delta { again: true, ..Delta::default() };
        set_back.told(&again, 1, 9_000_999, Some(8_000_000));
        set_back.told(&again, 1, 9_900_000, None);
        assert_eq!(set_back.revision(4, 5_000), 9_000);
        assert_eq!(set_back.revision(9_000, 5_000), 9_001);
        assert_eq!(set_back.revision(0, 9_000_999), 1);
        set_back.told(&again, 1, 9_900_000, Some(9_950_000));
        assert_eq!((set_back.revision(0, 9_950_000), set_back.revision(0, 9_950_001)), (9_000, 1), "of a clock that is ahead");
        set_back.told(&again, 2, 9_900_000, None);
        assert_eq!(set_back.revision(9_001, 5_000), 9_900);
    }
}
