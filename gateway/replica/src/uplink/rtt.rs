//! How long answers take, and so how long to wait for one (RFC 6298).

use crate::limits::{ANSWER_MS, DEAF_MS};

/// A larger message is waited for so many times as long at most.
const LARGER_MAX: i64 = 8;

/// Measured round trips of one connection's messages, in ms.
#[derive(Debug, Clone, Default)]
pub(super) struct Rtt {
    /// Smoothed, in eighths; and its deviation, in quarters. None before the first.
    smooth: Option<(i64, i64)>,
    shortest: Option<i64>,
    /// What the messages took on the line, smoothed, in bytes.
    bytes: i64,
    /// How often in a row no answer came.
    missed: u32,
}

impl Rtt {
    /// An answer came to a message of so many bytes; it names it, so no sample is ambiguous.
    pub(super) fn sample(&mut self, ms: i64, bytes: usize) {
        let ms = ms.clamp(0, 1 << 32);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).clamp(1, 1 << 32);
        self.bytes = if self.bytes == 0 { bytes } else { (self.bytes * 7 + bytes) / 8 };
        self.missed = 0;
        self.shortest = Some(self.shortest.map_or(ms, |s| s.min(ms)));
        self.smooth = Some(match self.smooth {
            None => (ms * 8, ms * 2),
            Some((smooth, deviation)) => {
                let error = ms - smooth / 8;
                (smooth + error, deviation + (error.abs() - deviation / 4))
            }
        });
    }

    /// No answer came in time: the next is waited for twice as long.
    pub(super) fn missed(&mut self) {
        self.missed = (self.missed + 1).min(16);
    }

    /// What an answer takes at most, by what was measured.
    fn usual(&self) -> i64 {
        let (first, least, most) = ANSWER_MS;
        self.smooth.map_or(first, |(smooth, deviation)| smooth / 8 + deviation).clamp(least, most)
    }

    /// How long to wait for the answer to a message of so many bytes: to one that is larger than
    /// those before, longer.
    pub(super) fn wait(&self, bytes: usize) -> i64 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let larger = if self.bytes == 0 { 1 } else { (bytes / self.bytes).clamp(1, LARGER_MAX) };
        ((self.usual() * larger) << self.missed).min(ANSWER_MS.2)
    }

    /// How long nothing may be heard, while an answer is owed, before the connection is given up.
    pub(super) fn patience(&self) -> i64 {
        (self.usual() * 4).clamp(DEAF_MS.0, DEAF_MS.1)
    }

    /// So much longer than the shortest one did a round trip take.
    pub(super) fn queued(&self, ms: i64) -> i64 {
        ms - self.shortest.unwrap_or(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wait_follows_what_was_measured_within_bounds() {
        let mut rtt = Rtt::default();
        assert_eq!((rtt.wait(100), rtt.patience()), (3_000, 12_000));
        (0..50).for_each(|_| rtt.sample(20, 100));
        assert_eq!((rtt.wait(100), rtt.patience(), rtt.queued(320)), (1_000, 10_000, 300));
        (0..100).for_each(|_| rtt.sample(5_000, 100));
        assert!((5_000..6_000).contains(&rtt.wait(100)), "{}", rtt.wait(100));
        rtt.missed();
        rtt.missed();
        assert!(rtt.wait(100) >= 20_000);
        (0..40).for_each(|_| rtt.missed());
        assert_eq!(rtt.wait(100), ANSWER_MS.2);
        rtt.sample(5_000, 100);
        assert!(rtt.wait(100) < 6_000, "an answer ends the doubling");
        assert!((25_000..30_000).contains(&rtt.wait(500)), "a larger message takes longer");
    }

    proptest! {
        #[test]
        fn no_sample_takes_it_out_of_its_bounds(samples in proptest::collection::vec(any::<i64>(), 0..100)) {
            let mut rtt = Rtt::default();
            for ms in samples {
                rtt.sample(ms, 100);
                prop_assert!((ANSWER_MS.1..=ANSWER_MS.2).contains(&rtt.wait(100)) && (DEAF_MS.0..=DEAF_MS.1).contains(&rtt.patience()));
            }
        }
    }
}
