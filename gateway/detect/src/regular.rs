//! Events that come at regular intervals: a machine that starts every morning is no news, one
//! that starts at another time is.

use serde::{Deserialize, Serialize};

/// Part of the usual size that an event of the same kind has at least; the inverse bounds it above.
const ALIKE: f64 = 0.5;
/// Part of the interval by which an event may be early or late.
const TOLERANCE: f64 = 0.1;
/// Equal intervals in a row before the next is expected.
const MATCHES_MIN: u8 = 2;
/// Readings below the kind's size after which another event may begin.
const APART: u32 = 12;
/// What of the kind's size is kept from reading to reading: half is forgotten in 2,300, so that
/// one large event does not hide a smaller kind for good.
const KEEP: f64 = 0.9997;
/// Intervals without an event after which the kind is forgotten.
const FORGET_INTERVALS: f64 = 3.0;
/// A size so small is none.
const SIZE_MIN: f64 = 1e-3;
/// Weight of a new event in size and interval.
const WEIGHT: f64 = 0.3;

/// The kind of event that a series is known for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Regular {
    /// Its size; 0: there is none.
    size: f64,
    /// Readings between two; 0: not known.
    interval: f64,
    /// When the last one began, and when it was last seen, in readings.
    began: u32,
    last: u32,
    matches: u8,
}

impl Regular {
    /// A reading passed without anything to tell.
    #[inline]
    pub(crate) fn pass(&mut self) {
        self.size *= KEEP;
        if self.size < SIZE_MIN {
            *self = Self::default();
        }
    }

    /// A reading of some size (above 0) at a moment, counted in readings: whether it begins an
    /// event that was expected now.
    pub(crate) fn observe(&mut self, now: u32, size: f64) -> bool {
        let quiet = now.saturating_sub(self.began);
        self.pass();
        if self.interval > 0.0 && f64::from(quiet) > FORGET_INTERVALS * self.interval {
            *self = Self::default();
        }
        if self.size == 0.0 || size > self.size / ALIKE {
            if self.size > 0.0 && quiet < APART {
                // The same event, still growing.
                (self.size, self.last) = (size, now);
            } else {
                *self = Self { size, interval: 0.0, began: now, last: now, matches: 0 };
            }
            return false;
        }
        if size < ALIKE * self.size {
            return false;
        }
        let apart = now.saturating_sub(self.last) >= APART;
        self.last = now;
        if !apart {
            return false;
        }
        let interval = f64::from(quiet);
        self.began = now;
        if self.interval == 0.0 || (interval - self.interval).abs() > TOLERANCE * self.interval {
            (self.interval, self.matches) = (interval, 0);
            return false;
        }
        self.interval += WEIGHT * (interval - self.interval);
        self.size += WEIGHT * (size - self.size);
        self.matches = self.matches.saturating_add(1);
        self.matches >= MATCHES_MIN
    }
}
