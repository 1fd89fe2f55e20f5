//! How far apart commits are, so that a trickle of readings does not wear the flash out.
//!
//! A commit costs at least a page, however little it carries: sensors that arrive one by one
//! make a commit each. A token bucket over the bytes that commits cause holds them to a budget:
//! while there are tokens, every commit goes at once; when a trickle has used them up, commits
//! are spaced until a page is full, by [`SPACING_MS`] at most. It is a target for the spacing and
//! never a cap on readings: full pages waste nothing and do not wait.

use crate::limits::{FLASH_BURST_BYTES, PAGE_BYTES, SPACING_MS};
use std::time::{Duration, Instant};

const DAY_S: f64 = 86_400.0;

/// The bucket. Time is an argument.
#[derive(Debug, Clone)]
pub struct Pace {
    bytes_per_s: f64,
    tokens: f64,
    filled: Instant,
    committed: Instant,
}

impl Pace {
    /// A full bucket for so many bytes a day.
    pub fn new(bytes_per_day: u64, now: Instant) -> Self {
        Self { bytes_per_s: bytes_per_day as f64 / DAY_S, tokens: FLASH_BURST_BYTES as f64, filled: now, committed: now }
    }

    /// How long a commit that would write `bytes` still waits for company; none once it must go.
    pub fn wait(&mut self, bytes: u64, now: Instant) -> Option<Duration> {
        let grown = now.saturating_duration_since(self.filled).as_secs_f64() * self.bytes_per_s;
        self.tokens = (self.tokens + grown).min(FLASH_BURST_BYTES as f64);
        self.filled = now;
        if bytes >= PAGE_BYTES || self.tokens >= PAGE_BYTES as f64 {
            return None;
        }
        let until = self.committed + Duration::from_millis(SPACING_MS);
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// A commit took `pages_bytes` of whole pages. Debts are not carried: what had to go went.
    pub fn spend(&mut self, pages_bytes: u64, now: Instant) {
        self.tokens = (self.tokens - pages_bytes as f64).max(0.0);
        self.committed = now;
    }
}

/// Bytes of the pages that a write touches.
pub fn pages_bytes(offset: u64, length: u64) -> u64 {
    ((offset + length).div_ceil(PAGE_BYTES) - offset / PAGE_BYTES) * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits in so many seconds of a trickle of one small record every 2 ms.
    fn commits(pace: &mut Pace, from: Instant, seconds: u64) -> u64 {
        let (mut count, mut waiting) = (0, 0);
        for step in 0..seconds * 500 {
            let now = from + Duration::from_millis(step * 2);
            waiting += 20;
            if pace.wait(waiting, now).is_none() {
                pace.spend(pages_bytes(count * 64, waiting), now);
                (count, waiting) = (count + 1, 0);
            }
        }
        count
    }

    #[test]
    fn a_trickle_goes_at_once_until_the_bucket_is_empty_and_is_spaced_then() {
        let now = Instant::now();
        let mut pace = Pace::new(20 << 30, now);
        assert_eq!(commits(&mut pace, now, 10), 5_000, "every reading has a commit of its own");
        pace.spend(FLASH_BURST_BYTES, now + Duration::from_secs(10));
        let spaced = commits(&mut pace, now + Duration::from_secs(10), 10);
        // 20 GiB a day are some 60 pages a second; beyond them, ten commits a second go anyway.
        assert!((100..=720).contains(&spaced), "{spaced}");
    }

    #[test]
    fn a_full_page_never_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(1, now);
        pace.spend(FLASH_BURST_BYTES, now);
        assert_eq!(pace.wait(PAGE_BYTES, now), None);
        assert_eq!(pace.wait(100, now), Some(Duration::from_millis(SPACING_MS)));
        assert_eq!(pace.wait(100, now + Duration::from_millis(SPACING_MS)), None);
    }

    #[test]
    fn pages_are_counted_as_touched() {
        assert_eq!(pages_bytes(0, 1), 4_096);
        assert_eq!(pages_bytes(4_000, 200), 8_192);
        assert_eq!(pages_bytes(4_096, 4_096), 4_096);
    }
}
