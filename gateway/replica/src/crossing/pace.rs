//! How much of ordinary messages goes at once, and how long its answer is waited for.

use crate::limits::{
    CROSS_ANSWER_MS, CROSS_BATCH_BYTES, CROSS_BATCH_BYTES_FIRST, CROSS_BATCH_BYTES_LEAST, CROSS_RATE_LEAST, CROSS_WAIT_MS,
};

/// The pace of one connection: one batch is under way at a time.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Bytes that the next batch may have.
    aim: u64,
    /// When the one under way first went, and when it goes again.
    sent_ms: Option<(i64, i64)>,
    /// How long the next one is waited for.
    wait_ms: i64,
    /// Bytes of the one under way that have left.
    left: u64,
    /// Bytes per second that the last answer speaks for.
    rate: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { aim: CROSS_BATCH_BYTES_FIRST, sent_ms: None, wait_ms: CROSS_WAIT_MS.0, left: 0, rate: 0 }
    }
}

impl Pace {
    /// Bytes that the next batch may have; a message that is longer goes alone.
    pub fn batch_bytes(&self) -> u64 {
        self.aim
    }

    /// A batch goes.
    pub fn sent(&mut self, now_ms: i64) {
        let first_ms = self.sent_ms.map_or(now_ms, |(first_ms, _)| first_ms);
        if self.sent_ms.is_some() {
            // The one before was not answered in time: the line is slow, or it was not taken.
            self.narrow();
            self.wait_ms = (self.wait_ms * 2).min(CROSS_WAIT_MS.1);
        }
        self.left = 0;
        self.sent_ms = Some((first_ms, now_ms.saturating_add(self.wait_ms)));
    }

    /// It is written, so many bytes: the wait for its answer begins. It may still be under way from one
    /// system's buffers to the other's, and takes as long there as the line is known, or feared, to be slow.
    pub fn left(&mut self, now_ms: i64, bytes: u64) {
        let way_ms = (bytes.saturating_mul(1_000) / (self.rate / 2).max(CROSS_RATE_LEAST)).min(CROSS_WAIT_MS.1.unsigned_abs());
        if let Some((_, due_ms)) = &mut self.sent_ms {
            *due_ms = now_ms.saturating_add(self.wait_ms).saturating_add_unsigned(way_ms);
            self.left = bytes;
        }
    }

    /// It was answered.
    pub fn answered(&mut self, now_ms: i64) {
        let Some((sent_ms, _)) = self.sent_ms.take() else { return };
        let took = now_ms.saturating_sub(sent_ms);
        if self.left > 0 {
            self.rate = self.left.saturating_mul(1_000) / took.max(1).unsigned_abs();
        }
        if took <= CROSS_ANSWER_MS.0 {
            self.aim = (self.aim * 2).min(CROSS_BATCH_BYTES);
            self.wait_ms = CROSS_WAIT_MS.0;
        } else if took > CROSS_ANSWER_MS.1 {
            self.narrow();
        }
    }

    /// The connection is gone, and what was under way perhaps with it: it may have been too much.
    pub fn disconnected(&mut self) {
        if self.sent_ms.take().is_some() {
            self.narrow();
        }
        self.aim = self.aim.min(CROSS_BATCH_BYTES_FIRST);
        self.wait_ms = CROSS_WAIT_MS.0;
        // The next one may go by another line.
        self.rate = 0;
    }

    /// When what is under way goes again; none while nothing is.
    pub fn due_ms(&self) -> Option<i64> {
        self.sent_ms.map(|(_, due)| due)
    }

    fn narrow(&mut self) {
        self.aim = (self.aim / 2).max(CROSS_BATCH_BYTES_LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_is_done_with_soon_grows_and_what_takes_long_shrinks() {
        let mut pace = Pace::default();
        for turn in 0..10 {
            pace.sent(turn * 100);
            pace.answered(turn * 100 + 20);
        }
        assert_eq!((pace.batch_bytes(), pace.due_ms()), (CROSS_BATCH_BYTES, None));
        pace.sent(10_000);
        pace.answered(14_000);
        assert_eq!(pace.batch_bytes(), CROSS_BATCH_BYTES / 2);
        pace.sent(20_000);
        pace.answered(22_000);
        assert_eq!(pace.batch_bytes(), CROSS_BATCH_BYTES / 2, "neither soon nor late");
        for turn in 0..20 {
            pace.sent(30_000 + turn * 100_000);
            pace.disconnected();
        }
        assert_eq!(pace.batch_bytes(), CROSS_BATCH_BYTES_LEAST, "each connection that a batch was too much for");
    }

    #[test]
    fn what_is_not_answered_goes_again_less_and_less_often() {
        let mut pace = Pace::default();
        let mut at = 0;
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.sent(at);
            waits.push(pace.due_ms().unwrap() - at);
            at = pace.due_ms().unwrap();
        }
        assert_eq!(waits, [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000]);
        pace.answered(at);
        assert_eq!(pace.due_ms(), None);
    }

    #[test]
    fn the_wait_begins_when_it_has_left_and_is_longer_for_more_on_a_slow_line() {
        let mut pace = Pace::default();
        let wait_ms = |pace: &mut Pace, now_ms, bytes| {
            pace.sent(now_ms);
            pace.left(now_ms + 70_000, bytes);
            pace.due_ms().unwrap() - now_ms - 70_000
        };
        assert_eq!(wait_ms(&mut pace, 0, 2 << 20), 5_000 + 256_000, "nothing is known of the line");
        pace.answered(1_000);
        assert_eq!(wait_ms(&mut pace, 100_000, 2 << 20), 5_000 + 2_000, "2 MiB took it a second");
        pace.answered(200_000);
        assert_eq!(wait_ms(&mut pace, 300_000, 2 << 20), 5_000 + 200_014, "now it took 100 s");
        pace.disconnected();
        assert_eq!(wait_ms(&mut pace, 900_000, 1 << 30), 5_000 + 300_000, "bounded");
    }
}
