//! What size is usual: an exponentially weighted mean with clipped updates, and what sizes
//! are known as events.
//!
//! The clipping is Huber's: a size beyond three standard deviations moves the estimate as
//! three would, so an outlier does not make outliers usual, and a lasting change still does
//! within some hundred readings. The mean absolute deviation times 1.2533 (√(π/2)) is the
//! standard deviation of normal data, and less drawn by tails than the root of squares.

use crate::limits::SCALE_MIN;
use serde::{Deserialize, Serialize};

/// Weight of a new size once warm: the last 50 count for most.
pub(crate) const WEIGHT: f64 = 0.02;
/// Sizes after which the weight is constant: 1/50 is [`WEIGHT`].
const WARM: u32 = 50;
/// Sizes taken as they come: there is nothing to clip against yet.
const FREE: u32 = 15;
/// Where updates are clipped, in standard deviations.
pub(crate) const CLIP: f64 = 3.0;
/// Standard deviation of normal data over its mean absolute deviation.
const NORMAL: f64 = 1.2533;

/// The weight of the reading after `seen` others: their plain mean at first.
#[inline]
pub(crate) fn weight(seen: u32) -> f64 {
    if seen >= WARM { WEIGHT } else { 1.0 / f64::from(seen.max(1)) }
}

/// The usual size of something.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// Sizes learnt.
    seen: u32,
    /// Their weighted mean.
    mean: f64,
}

impl Scale {
    /// How many sizes were learnt.
    #[inline]
    pub(crate) fn seen(&self) -> u32 {
        self.seen
    }

    /// The robust standard deviation.
    #[inline]
    pub(crate) fn sigma(&self) -> f64 {
        NORMAL * self.mean
    }

    /// Learns a size (0 or more, finite); `floor` is the smallest standard deviation believed.
    #[inline]
    pub(crate) fn learn(&mut self, size: f64, floor: f64) {
        self.learn_slowly(size, floor, WEIGHT);
    }

    /// The same, with a weight of its own once warm.
    #[inline]
    pub(crate) fn learn_slowly(&mut self, size: f64, floor: f64, weight: f64) {
        self.seen = self.seen.saturating_add(1);
        let sigma = self.sigma().max(floor);
        let size = if self.seen > FREE && sigma > 0.0 { size.min(CLIP * sigma) } else { size };
        self.mean += weight.max(1.0 / f64::from(self.seen)) * (size - self.mean);
        // A constant series would decay into numbers that processors handle slowly.
        if self.mean < SCALE_MIN {
            self.mean = 0.0;
        }
    }
}

/// An event is news when it is so many times larger than those known.
const NEWS: f64 = 1.25;
/// Events this many times apart are no habit together: a sensor's -999 says nothing of its faults.
const APART: f64 = 4.0;
/// How much is kept from reading to reading: half is forgotten in 12 days at 1 Hz.
const KEEP: f64 = 1.0 - 1.0 / 1_572_864.0;
/// The largest size that is remembered.
const SIZE_MAX: f64 = 1e38;

fn bounded(size: f64) -> f32 {
    size.min(SIZE_MAX) as f32
}

/// Events of about one size: what is known is the second largest of them. So one alone raises no bar,
/// and of equal ones two are told.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Alike {
    known: f32,
    #[serde(default)]
    largest: f32,
}

impl Alike {
    /// Whether an event of this size is larger than those that came twice.
    #[inline]
    pub(crate) fn is_news(&self, size: f64) -> bool {
        f64::from(bounded(size)) > NEWS * f64::from(self.known)
    }

    /// One reading passed.
    #[inline]
    pub(crate) fn forget(&mut self) {
        if self.largest.max(self.known) > 0.0 {
            for size in [&mut self.known, &mut self.largest] {
                *size *= KEEP as f32;
                if *size < f32::MIN_POSITIVE {
                    *size = 0.0;
                }
            }
        }
    }

    /// An event of this size happened.
    #[cold]
    pub(crate) fn learn(&mut self, size: f64) {
        let size = bounded(size);
        (self.known, self.largest) = (self.known.max(size.min(self.largest)), self.largest.max(size));
    }
}

/// The sizes of events that a series is known for: a machine that switches on and off, a
/// tank that empties. It bounds how often a detector speaks, whatever the series does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Habit {
    /// Those that are like the first one: nothing far smaller is known by them.
    known: f32,
    #[serde(default)]
    largest: f32,
    /// All others.
    #[serde(default)]
    others: Alike,
}

impl Habit {
    #[inline]
    fn first(&self) -> Alike {
        Alike { known: self.known, largest: self.largest.max(self.known) }
    }

    /// Whether an event of this size is none that the series is known for.
    #[inline]
    pub(crate) fn is_news(&self, size: f64) -> bool {
        let known = !self.first().is_news(size) && APART * size >= f64::from(self.known);
        !known && self.others.is_news(size)
    }

    /// One reading passed.
    #[inline]
    pub(crate) fn forget(&mut self) {
        let mut first = self.first();
        if first.largest > 0.0 {
            first.forget();
            (self.known, self.largest) = (first.known, first.largest);
            self.others.forget();
        }
    }

    /// An event of this size happened.
    #[cold]
    pub(crate) fn learn(&mut self, size: f64) {
        let (mut first, largest) = (self.first(), f64::from(self.first().largest));
        let bound = size.min(SIZE_MAX);
        if largest == 0.0 || bound <= APART * largest && bound * APART >= largest {
            first.learn(size);
            (self.known, self.largest) = (first.known, first.largest);
        } else {
            self.others.learn(size);
        }
    }
}

/// How much of an event beyond it the known takes up at once.
const LEARN: f64 = 0.7;

/// One size of events, in little room; of those that are told once they are larger.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Known(f32);

impl Known {
    /// Whether an event of this size is larger than what the series is known for.
    pub(crate) fn is_news(&self, size: f64) -> bool {
        size > NEWS * f64::from(self.0)
    }

    /// One reading passed.
    #[inline]
    pub(crate) fn forget(&mut self) {
        if self.0 > 0.0 {
            self.0 *= KEEP as f32;
            if self.0 < f32::MIN_POSITIVE {
                self.0 = 0.0;
            }
        }
    }

    /// An event of this size happened.
    #[cold]
    pub(crate) fn learn(&mut self, size: f64) {
        let known = f64::from(self.0);
        if size > known {
            self.0 = ((known + LEARN * (size - known)) as f32).min(f32::MAX);
        }
    }

    /// One of this size was told by something else.
    #[cold]
    pub(crate) fn include(&mut self, size: f64) {
        self.0 = self.0.max(size as f32).min(f32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_does_not_become_usual_but_a_lasting_change_does() {
        let mut scale = Scale::default();
        (0..100).for_each(|_| scale.learn(1.0, 0.0));
        scale.learn(1e9, 0.0);
        assert!(scale.sigma() < 1.4);
        (0..300).for_each(|_| scale.learn(100.0, 0.0));
        assert!(scale.sigma() > 90.0);
    }

    #[test]
    fn two_equal_events_are_news_and_a_larger_one_always() {
        let mut habit = Habit::default();
        let mut news = 0;
        for _ in 0..20 {
            news += u32::from(habit.is_news(10.0));
            habit.learn(10.0);
        }
        assert_eq!(news, 2);
        assert!(habit.is_news(13.0));
    }

    #[test]
    fn a_single_event_far_larger_hides_none_and_what_comes_often_in_all_sizes_is_soon_known() {
        let mut habit = Habit::default();
        let mut news = |sizes: &[f64]| sizes.iter().map(|size| (habit.is_news(*size), habit.learn(*size)).0).collect::<Vec<_>>();
        assert_eq!(news(&[1e6]), [true]);
        assert_eq!(news(&[12.0, 12.0, 12.0]), [true, true, false]);
        assert_eq!(news(&[1e6, 1e6, 12.0, 300.0, 300.0]), [true, false, false, true, true]);
        assert_eq!(news(&[300.0, 12.0, 1e6, 2e6]), [false, false, false, true]);
        assert_eq!(news(&[1e300, 1e301, 1e302]), [true, true, false]);
        let told = (0..1_000).filter(|at| news(&[10f64.powi(at * 7 % 40)])[0]).count();
        assert!(told < 25, "{told}");
    }
}
