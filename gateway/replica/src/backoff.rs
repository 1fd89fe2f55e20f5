//! When a connection is tried again: exponential with full jitter, 1 s to 30 s, reset by an
//! answer of the cloud and not by a connection (protocol §4). What is urgent tries at once, but
//! only so often: a storm of alerts is no storm of connections.

use crate::limits::{BACKOFF_MS, HURRIES_MAX, HURRY_MS};

/// The waits of one connection.
#[derive(Debug, Clone)]
pub struct Backoff {
    wait_ms: i64,
    /// Hurried attempts left, and when the next one comes back.
    hurries: i64,
    refill_ms: i64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait_ms: BACKOFF_MS.0, hurries: HURRIES_MAX, refill_ms: i64::MIN }
    }
}

impl Backoff {
    /// An attempt failed or a connection ended: how long to wait, in ms. `chance` is any random number.
    pub fn pause_ms(&mut self, chance: u64) -> i64 {
        let pause = (chance % (self.wait_ms.unsigned_abs() + 1)) as i64;
        self.wait_ms = (self.wait_ms * 2).min(BACKOFF_MS.1);
        pause
    }

    /// The cloud answered: the next wait is a short one.
    pub fn answered(&mut self) {
        self.wait_ms = BACKOFF_MS.0;
    }

    /// Whether something urgent may try at `now_ms` instead of waiting. A few may in a row, then
    /// one each [`HURRY_MS`].
    pub fn hurry(&mut self, now_ms: i64) -> bool {
        if self.hurries == HURRIES_MAX {
            self.refill_ms = now_ms;
        }
        let back = (now_ms.saturating_sub(self.refill_ms) / HURRY_MS).clamp(0, HURRIES_MAX - self.hurries);
        self.hurries += back;
        self.refill_ms += back * HURRY_MS;
        if self.hurries == 0 {
            return false;
        }
        if self.hurries == HURRIES_MAX {
            self.refill_ms = now_ms;
        }
        self.hurries -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_bound_and_only_an_answer_resets_them() {
        let mut b = Backoff::default();
        let longest: Vec<i64> = (0..7).map(|_| b.clone().pause_ms(1).max(b.pause_ms(b.wait_ms as u64))).collect();
        assert_eq!(longest, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        b.answered();
        assert_eq!((b.pause_ms(1_000), b.pause_ms(0)), (1_000, 0));
    }

    proptest! {
        #[test]
        fn a_storm_of_alerts_hurries_a_few_times_and_then_seldom(gaps in proptest::collection::vec(0i64..4_000, 1..400)) {
            let mut b = Backoff::default();
            let (mut now, mut tried) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if b.hurry(now) {
                    tried.push(now);
                }
            }
            prop_assert_eq!(tried[0], tried[0].min(4_000), "the first goes at once");
            for (i, from) in tried.iter().enumerate() {
                for (j, to) in tried.iter().enumerate().skip(i) {
                    prop_assert!(((j - i + 1) as i64) <= HURRIES_MAX + 1 + (to - from) / HURRY_MS);
                }
            }
        }
    }
}
