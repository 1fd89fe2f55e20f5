//! Readings, one by one, become rows.

use super::{Change, Channel, Group};
use crate::limits::LATE_READINGS_MAX;
use serde::{Deserialize, Serialize};

/// Rows without a reading of its own after which a channel is gone: it neither speaks nor
/// holds rows up, until it reports again.
const MISSED_MAX: u8 = 60;

/// The row under way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Row {
    /// Which channels have reported: one bit each.
    reported: u32,
    /// Its newest reading's time; of the last row while it is empty.
    time_ms: i64,
    /// Readings in a row that were older than the row before.
    late: u8,
}

impl Channel {
    pub(super) fn is_gone(&self) -> bool {
        self.missed >= MISSED_MAX
    }
}

impl Group {
    /// One reading of a channel that [`Group::join`] gave; what changes is returned. A reading
    /// older than the last row is passed over: the row is over.
    #[inline]
    pub fn observe(&mut self, channel: u16, time_ms: i64, value: f64) -> Option<Change> {
        let bit = 1u32.checked_shl(u32::from(channel))?;
        if usize::from(channel) >= self.channels.len() || !value.is_finite() || self.is_late(time_ms) {
            return None;
        }
        let mut change = None;
        if self.row.reported & bit != 0 && self.is_half_full() {
            change = self.close();
        }
        self.row.time_ms = if self.row.reported == 0 { time_ms } else { self.row.time_ms.max(time_ms) };
        self.row.reported |= bit;
        self.channels[usize::from(channel)].value = value;
        if change.is_none() && self.is_full() {
            change = self.close();
        }
        change
    }

    /// Older than the last row; when nothing else comes, clocks were set back and time starts anew.
    fn is_late(&mut self, time_ms: i64) -> bool {
        let late = self.row.reported == 0 && time_ms <= self.row.time_ms && self.channels.iter().any(|channel| channel.seen > 0);
        self.row.late = if late { self.row.late.saturating_add(1) } else { 0 };
        late && self.row.late < LATE_READINGS_MAX
    }

    fn is_full(&self) -> bool {
        let waits = |(at, channel): (usize, &Channel)| self.row.reported & (1 << at) == 0 && !channel.is_gone();
        !self.channels.iter().enumerate().any(waits)
    }

    fn is_half_full(&self) -> bool {
        let living = self.channels.iter().filter(|channel| !channel.is_gone()).count();
        2 * self.row.reported.count_ones() as usize >= living
    }

    fn close(&mut self) -> Option<Change> {
        for (at, channel) in self.channels.iter_mut().enumerate() {
            let reported = self.row.reported & (1 << at) != 0;
            channel.missed = if reported { 0 } else { channel.missed.saturating_add(1) };
        }
        self.row.reported = 0;
        self.judge(self.row.time_ms)
    }
}
