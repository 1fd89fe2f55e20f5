//! What ordinary messages may take of the link: they share the budget with intervals, in turns.

use super::Uplink;
use crate::timer::Timer;

impl Uplink {
    /// Whether a batch of ordinary messages may go now: the budget has something left, the cloud has
    /// not asked for a pause, and no interval waits since the last batch went.
    pub fn may_cross(&mut self, now_ms: i64) -> bool {
        self.budget.is_free(now_ms) && self.pause_ms <= now_ms && !(self.crossed && self.is_due(Timer::Interval, now_ms))
    }

    /// Before then none may.
    pub fn cross_at_ms(&self) -> i64 {
        self.budget.free_at_ms().max(self.pause_ms)
    }

    /// Bytes that a batch should not pass, so that others do not wait for it.
    pub fn cross_bytes(&self) -> usize {
        self.budget.slice()
    }

    /// A batch took so many bytes on the line.
    pub fn crossed(&mut self, now_ms: i64, bytes: usize) {
        self.budget.owe(now_ms, bytes);
        self.crossed = true;
    }
}
