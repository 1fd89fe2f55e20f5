//! How a backlog drains: what is left, how fast it goes, how long it will take.

use serde::Serialize;
use std::collections::VecDeque;

/// How far back the present rate reaches, and how far apart it is looked at, in ms.
const PRESENT_MS: i64 = 10_000;
const STEP_MS: i64 = 250;

/// What is still to go, and how it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Drain {
    /// Readings that the cloud has not acknowledged.
    pub readings: u64,
    /// Sealed windows that the cloud is not known to hold. Of those that it lost and that are still to be folded
    /// again, their readings tell how many they are, as far as can be told.
    pub windows: u64,
    /// Bytes that these will take on the line, as far as can be told.
    pub bytes: u64,
    /// Intervals under way, and bytes of them.
    pub in_flight: u64,
    /// Alerts without a receipt.
    pub alerts: u64,
    /// Readings, windows and bytes a second, lately; `None` when nothing was acknowledged lately.
    pub readings_per_s: Option<u64>,
    /// See [`Drain::readings_per_s`].
    pub windows_per_s: Option<u64>,
    /// See [`Drain::readings_per_s`].
    pub bytes_per_s: Option<u64>,
    /// Seconds until all windows are there at that rate.
    pub eta_s: Option<u64>,
}

/// What was acknowledged in all.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Done {
    pub(super) readings: u64,
    pub(super) windows: u64,
    pub(super) bytes: u64,
}

/// What was acknowledged, looked at from time to time.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    done: Done,
    looks: VecDeque<(i64, Done)>,
}

impl Meter {
    /// More was acknowledged.
    pub(super) fn add(&mut self, now_ms: i64, more: Done) {
        if self.looks.back().is_none_or(|(at, _)| now_ms >= at + STEP_MS) {
            self.looks.push_back((now_ms, self.done));
        }
        while self.looks.len() > 1 && self.looks[0].0 + PRESENT_MS < now_ms {
            self.looks.pop_front();
        }
        self.done.readings += more.readings;
        self.done.windows += more.windows;
        self.done.bytes += more.bytes;
    }

    /// Windows that so many readings come to, by all that were acknowledged.
    pub(super) fn windows_of(&self, readings: u64) -> u64 {
        let share = u128::from(readings) * u128::from(self.done.windows) / u128::from(self.done.readings.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// The present rates a second: readings, windows, bytes.
    pub(super) fn rates(&self, now_ms: i64) -> Option<[u64; 3]> {
        let (from, was) = self.looks.iter().find(|(at, _)| at + PRESENT_MS >= now_ms)?;
        let ms = (now_ms - from).max(STEP_MS) as u64;
        let now = self.done;
        let done = [now.readings - was.readings, now.windows - was.windows, now.bytes - was.bytes];
        done.iter().any(|d| *d > 0).then(|| done.map(|d| d.saturating_mul(1_000) / ms))
    }
}

/// Seconds until so many are done at a rate.
pub(super) fn eta_s(left: u64, rate: Option<u64>) -> Option<u64> {
    match (left, rate) {
        (0, _) => Some(0),
        (_, Some(rate)) if rate > 0 => Some(left.div_ceil(rate)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_seconds_and_ends_with_them() {
        let mut meter = Meter::default();
        assert_eq!(meter.rates(0), None);
        for s in 0..40 {
            let each = if s < 20 { 1_000 } else { 100 };
            meter.add(s * 1_000, Done { readings: each, windows: each / 10, bytes: each * 2 });
        }
        let rates = meter.rates(40_000).unwrap();
        assert!((90..=110).contains(&rates[0]) && (9..=11).contains(&rates[1]), "{rates:?}");
        assert_eq!(meter.rates(60_000), None);
        assert_eq!((meter.windows_of(5_000), Meter::default().windows_of(5_000)), (500, 0));
        assert_eq!((eta_s(0, None), eta_s(101, Some(10)), eta_s(5, None), eta_s(5, Some(0))), (Some(0), Some(11), None, None));
    }
}
