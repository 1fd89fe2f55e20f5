//! How much of ordinary messages goes at once, and how long its answer is waited for.

use crate::limits::{CROSS_ANSWER_MS, CROSS_BATCH_BYTES, CROSS_BATCH_BYTES_FIRST, CROSS_BATCH_BYTES_LEAST, CROSS_WAIT_MS};

/// The pace of one connection: one batch is under way at a time.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Bytes that the next batch may have.
    aim: u64,
    /// When the one under way first went, and when it goes again.
    sent_ms: Option<(i64, i64)>,
    /// How long the next one is waited for.
    wait_ms: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { aim: CROSS_BATCH_BYTES_FIRST, sent_ms: None, wait_ms: CROSS_WAIT_MS.0 }
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
        self.sent_ms = Some((first_ms, now_ms.saturating_add(self.wait_ms)));
    }

    /// It was answered.
    pub fn answered(&mut self, now_ms: i64) {
        let Some((sent_ms, _)) = self.sent_ms.take() else { return };
        let took = now_ms.saturating_sub(sent_ms);
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
}
