//! What a series is like at this hour: seasonality by hour of the day. For each hour it keeps the
//! range of ordinary values, and on how many days it saw that hour. An hour seen on two days before is known: a value within its range is
//! no news, whatever the level was an hour ago, so that a shift that begins every morning is no
//! anomaly; and dynamic limits follow the middle of its range.
//!
//! Hours are those of UTC; what matters is that they come again. The range of an hour follows
//! slowly and is forgotten in weeks.

use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
const HOURS: usize = 24;
/// Days on which an hour was seen before it is known.
const DAYS_MIN: u8 = 2;
/// Part of the range that is forgotten each day.
const FORGET: f32 = 0.1;
/// Margin around the range, as a part of it, and in usual deviations.
const PART: f64 = 0.1;
const DEVIATIONS: f64 = 4.0;

/// One hour. Single precision holds what a sensor can tell, in half the room.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Hour {
    low: f32,
    high: f32,
    /// The last day on which it was seen, counted from 1970 (its last digits), and on how many.
    day: u8,
    days: u8,
}

/// The hour under way: its values are no news to the same hour of another day, and not before it is
/// over, or what creeps would take its range along.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Under {
    at: u8,
    day: u8,
    low: f32,
    high: f32,
}

/// State of one series: apart, and only once it has been seen for more than a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Season {
    hours: Box<[Hour]>,
    #[serde(default)]
    under: Option<Under>,
}

impl Default for Season {
    fn default() -> Self {
        Self { hours: Box::new([Hour::default(); HOURS]), under: None }
    }
}

/// Bytes of its heap.
#[cfg(test)]
pub(crate) const HEAP_BYTES: usize = HOURS * size_of::<Hour>();

fn place(time_ms: i64) -> (usize, u8) {
    let day = time_ms.div_euclid(DAY_MS);
    let hour = (time_ms.rem_euclid(DAY_MS) / HOUR_MS) as usize;
    (hour, day.rem_euclid(1 << 8) as u8)
}

fn single(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

impl Season {
    fn known(&self, time_ms: i64) -> Option<&Hour> {
        self.hours.get(place(time_ms).0).filter(|hour| hour.days >= DAYS_MIN)
    }

    /// Whether a value is ordinary for this hour.
    pub(crate) fn expects(&self, time_ms: i64, value: f64, deviation: f64) -> bool {
        self.known(time_ms).is_some_and(|hour| {
            let (low, high) = (f64::from(hour.low), f64::from(hour.high));
            let margin = (PART * (high - low)).max(DEVIATIONS * deviation);
            value >= low - margin && value <= high + margin
        })
    }

    /// What is usual at this hour, once it is known.
    pub(crate) fn usual(&self, time_ms: i64) -> Option<f64> {
        self.known(time_ms).map(|hour| 0.5 * f64::from(hour.low) + 0.5 * f64::from(hour.high))
    }

    /// An ordinary value.
    #[inline]
    pub(crate) fn learn(&mut self, time_ms: i64, value: f64) {
        let (at, day) = place(time_ms);
        let (at, value) = (at as u8, single(value));
        match &mut self.under {
            Some(under) if (under.at, under.day) == (at, day) => {
                (under.low, under.high) = (under.low.min(value), under.high.max(value));
            }
            under => {
                let ended = under.replace(Under { at, day, low: value, high: value });
                if let Some(ended) = ended {
                    self.keep(ended);
                }
            }
        }
    }

    /// An hour is over.
    #[cold]
    fn keep(&mut self, ended: Under) {
        let Under { at, day, low, high } = ended;
        let Some(hour) = self.hours.get_mut(usize::from(at)) else { return };
        if hour.days == 0 {
            *hour = Hour { low, high, day, days: 1 };
            return;
        }
        if hour.day != day {
            let part = FORGET * (hour.high - hour.low);
            if part.is_finite() {
                (hour.low, hour.high) = (hour.low + 0.5 * part, hour.high - 0.5 * part);
            }
            (hour.day, hour.days) = (day, hour.days.saturating_add(1));
        }
        (hour.low, hour.high) = (hour.low.min(low), hour.high.max(high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_known_after_two_days_and_another_hour_is_not() {
        let mut season = Season::default();
        // A Monday; 20 by night, 60 from 06 to 14 o'clock.
        let monday = 4 * DAY_MS;
        let value = |at: i64| if (6..14).contains(&(at / HOUR_MS % 24)) { 60.0 } else { 20.0 };
        let mut day = |day: i64| {
            let known = season.expects(monday + day * DAY_MS + 7 * HOUR_MS, 60.0, 0.1);
            (0..24 * 60).map(|minute| minute * 60_000).for_each(|at| season.learn(monday + day * DAY_MS + at, value(at)));
            known
        };
        assert_eq!([0, 1, 2].map(&mut day), [false, false, true]);
        assert!(!season.expects(monday + 3 * DAY_MS + 3 * HOUR_MS, 60.0, 0.1), "at night it is news");
        assert!((season.usual(monday + 3 * DAY_MS + 7 * HOUR_MS).unwrap() - 60.0).abs() < 1e-3);
        season.learn(monday, 1e308);
        assert!(season.usual(i64::MIN).is_none_or(f64::is_finite));
    }
}
