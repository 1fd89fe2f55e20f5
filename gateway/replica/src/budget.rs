//! How many bytes a link may carry: a token bucket that may be overdrawn.
//!
//! What goes is paid for afterwards with its true size, so the bucket may fall below nothing by
//! one message; then others wait until it is filled again. Over any time t no more passes than
//! `rate·t`, the depth and one message; what must not wait is paid for like the rest.

use crate::limits::{BUDGET_DEBT_MS, BUDGET_DEPTH_MS, BUDGET_SLICE_MS};

/// The budget of one link.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Bytes a second; none: no bound.
    rate: Option<u64>,
    /// Thousandths of a byte.
    tokens: i64,
    at_ms: i64,
}

impl Budget {
    /// A full bucket of `rate` bytes a second, or one without a bound.
    pub fn new(rate: Option<u64>) -> Self {
        let mut budget = Self { rate: rate.map(|r| r.clamp(1, 1 << 50)), tokens: 0, at_ms: i64::MIN };
        budget.tokens = budget.of_ms(BUDGET_DEPTH_MS);
        budget
    }

    /// Tokens that come in so many ms.
    fn of_ms(&self, ms: i64) -> i64 {
        let rate = self.rate.unwrap_or(0);
        i64::try_from(u128::from(rate) * ms.max(0) as u128).unwrap_or(i64::MAX)
    }

    fn fill(&mut self, now_ms: i64) {
        if self.at_ms == i64::MIN {
            self.at_ms = now_ms;
        }
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.tokens = self.tokens.saturating_add(self.of_ms(passed)).min(self.of_ms(BUDGET_DEPTH_MS));
    }

    /// So many bytes went, or came: what could not wait is forgiven in part, so that all else is
    /// back soon.
    pub fn pay(&mut self, now_ms: i64, bytes: usize) {
        let least = (-self.of_ms(BUDGET_DEBT_MS)).min(self.tokens);
        self.owe(now_ms, bytes);
        self.tokens = self.tokens.max(least);
    }

    /// So many bytes went that could have waited: nothing else goes until they are paid for.
    pub fn owe(&mut self, now_ms: i64, bytes: usize) {
        if self.rate.is_some() {
            self.fill(now_ms);
            let cost = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(1_000);
            self.tokens = self.tokens.saturating_sub(cost);
        }
    }

    /// From when on something may go; a time that has passed where it may now.
    pub fn free_at_ms(&self) -> i64 {
        match self.rate {
            None => i64::MIN,
            Some(_) if self.tokens > 0 => i64::MIN,
            Some(rate) => self.at_ms.saturating_add((-self.tokens) / rate as i64 + 1),
        }
    }

    /// Whether something may go now.
    pub fn is_free(&mut self, now_ms: i64) -> bool {
        if self.rate.is_some() {
            self.fill(now_ms);
        }
        self.rate.is_none() || self.tokens > 0
    }

    /// Bytes that one message should not pass, so that the others do not wait for it.
    pub fn slice(&self) -> usize {
        self.rate.map_or(usize::MAX, |r| (r * BUDGET_SLICE_MS.unsigned_abs() / 1_000) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn over_any_time_no_more_passes_than_the_rate_and_a_slice(
            rate in 1_000u64..1_000_000,
            tries in proptest::collection::vec((0i64..300, 1usize..1_000), 1..600),
        ) {
            let mut budget = Budget::new(Some(rate));
            let (mut now, mut went) = (5_000, Vec::new());
            for (gap, part) in tries {
                now += gap;
                let bytes = budget.slice() * part / 1_000;
                if budget.is_free(now) {
                    budget.pay(now, bytes);
                    went.push((now, bytes as u64));
                } else {
                    let at = budget.free_at_ms();
                    prop_assert!(at > now && budget.clone().is_free(at), "free when it says");
                }
            }
            for (i, (from, _)) in went.iter().enumerate() {
                let mut sum = 0;
                for (to, bytes) in &went[i..] {
                    sum += bytes;
                    let most = rate * (*to - *from) as u64 / 1_000 + rate * BUDGET_DEPTH_MS as u64 / 1_000 + budget.slice() as u64 + 2;
                    prop_assert!(sum <= most, "{sum} of {most} in {} ms", to - from);
                }
            }
        }

        #[test]
        fn a_sender_that_never_rests_uses_all_of_it(rate in 2_000u64..200_000) {
            let mut budget = Budget::new(Some(rate));
            let (mut now, mut sum) = (0, 0);
            while now < 10_000 {
                if budget.is_free(now) {
                    budget.pay(now, budget.slice());
                    sum += budget.slice() as u64;
                } else {
                    now = budget.free_at_ms();
                }
            }
            prop_assert!(sum as f64 >= rate as f64 * 9.9 && sum as f64 <= rate as f64 * 10.6, "{sum} at {rate}");
        }
    }

    #[test]
    fn a_long_message_is_paid_for_in_full_and_urgent_ones_only_so_far() {
        let mut budget = Budget::new(Some(1_000));
        budget.owe(0, 60_100);
        assert_eq!(budget.free_at_ms(), 60_001);
        budget.pay(0, 500);
        assert_eq!(budget.free_at_ms(), 60_001, "more is not owed for what could not wait");
        let mut budget = Budget::new(Some(1_000));
        budget.pay(0, 60_100);
        assert_eq!(budget.free_at_ms(), BUDGET_DEBT_MS + 1);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut budget = Budget::new(None);
        budget.pay(0, usize::MAX);
        assert!(budget.is_free(0) && budget.slice() == usize::MAX && budget.free_at_ms() == i64::MIN);
    }
}
