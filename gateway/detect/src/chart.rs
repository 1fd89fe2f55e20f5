//! A chart whose limit is the stream's own record: a size is unusual when it is clearly larger
//! than the largest seen while the series was learnt, and than what chance alone would bring.
//!
//! Textbook charts take readings as independent and normal; readings of plants are neither,
//! and at one a second every model's tail is met daily. The record knows neither. It grows a
//! little with every ordinary size beyond it and much with every event that ended, so that a
//! series is told of what it does regularly twice, and no more; it is forgotten in days.

use crate::limits::{SCALE_MIN, SCORE_MAX};
use serde::{Deserialize, Serialize};

/// How one chart is read.
pub(crate) struct Rule {
    /// Sizes from which on the record grows, and from which on the chart speaks.
    pub(crate) fit: u32,
    pub(crate) warm: u32,
    /// The least size that is unusual, whatever the record.
    pub(crate) least: f64,
    /// Times the record that is unusual.
    pub(crate) times: f64,
    /// How much of an ordinary size beyond the record it takes up: little where neighbouring sizes
    /// are alike, or what creeps would take the record along.
    pub(crate) grow: f64,
    /// Sizes beyond in a row that begin an event, and sizes below that end it.
    pub(crate) enter: u8,
    pub(crate) calm: u8,
    /// Sizes after which an event is how the series is now.
    pub(crate) lasts: u16,
}

/// How much of an event's largest the record takes up once it has ended.
const HABIT: f64 = 0.7;
/// What of the record is kept from size to size: half is forgotten in 12 days at 1 Hz.
const KEEP: f64 = 1.0 - 1.0 / 1_572_864.0;
/// Part of an event's peak below which its after-effects are calm.
const AFTER: f64 = 0.2;

/// The same of an event that no record measures.
const FAR_AFTER: f64 = 0.5;

/// Whether an event may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    /// At once.
    Now,
    /// Not now; if it goes on when it may, then.
    Later,
    /// Not the event that begins now: something else speaks of it.
    Never,
}

/// What a size was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to tell: no event, or one that is not told.
    Usual,
    /// An event begins.
    Begins,
    /// It goes on.
    Goes,
    /// It is over.
    Ends,
    /// It goes on for so long that it is usual from now on.
    Lasts,
    /// The same, of an event that was not told.
    Stays,
}

/// State of one chart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Chart {
    record: f64,
    /// Largest size of the event under way.
    worst: f32,
    seen: u32,
    /// Sizes since the event began; 0: there is none.
    active: u16,
    above: u8,
    below: u8,
    /// The event was told.
    told: bool,
    /// It was not told, and must not be later.
    #[serde(default)]
    hushed: bool,
    /// It began by other means than a size beyond the record: it is over when half of it is.
    #[serde(default)]
    far: bool,
}

impl Chart {
    /// Whether an event goes on, told or not.
    #[inline]
    pub(crate) fn is_out(&self) -> bool {
        self.active > 0
    }

    /// Whether an event goes on, or the last size was of one.
    #[inline]
    pub(crate) fn is_suspect(&self) -> bool {
        self.active > 0 || self.above > 0
    }

    /// Whether an event goes on that was told.
    #[inline]
    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    /// Largest size of the event under way; 0: there is none.
    #[inline]
    pub(crate) fn worst(&self) -> f64 {
        f64::from(self.worst)
    }

    /// Sizes since the event under way began; 0: there is none.
    #[inline]
    pub(crate) fn out_for(&self) -> u16 {
        self.active
    }

    /// What a size must exceed.
    #[inline]
    pub(crate) fn limit(&self, rule: &Rule) -> f64 {
        (rule.times * self.record).max(rule.least)
    }

    /// Judges a size (0 or more), then learns from it. Says nothing while it is warming up.
    #[inline]
    pub(crate) fn observe(&mut self, rule: &Rule, size: f64, tell: Tell) -> Verdict {
        self.observe_young(rule, size, tell, None)
    }

    /// The same; while it is warming up, what is so many times beyond the least that may be unusual is
    /// it too. Its record does not count there: what creeps would take it along.
    #[inline]
    pub(crate) fn observe_young(&mut self, rule: &Rule, size: f64, tell: Tell, times: Option<f64>) -> Verdict {
        let size = size.min(SCORE_MAX);
        self.seen = self.seen.saturating_add(1);
        if self.active > 0 {
            return self.follow(rule, size, tell);
        }
        if self.seen <= rule.warm && times.is_none_or(|times| size <= times * rule.least) {
            if self.seen > rule.fit {
                self.record = self.record.max(size);
            }
            self.above = 0;
            return Verdict::Usual;
        }
        if self.seen > rule.warm && size <= self.limit(rule) {
            self.above = 0;
            self.record += rule.grow * (size - self.record).max(0.0);
            self.record *= KEEP;
            if self.record < SCALE_MIN {
                self.record = 0.0;
            }
            return Verdict::Usual;
        }
        self.above = self.above.saturating_add(1);
        if self.above < rule.enter {
            return Verdict::Usual;
        }
        if self.seen <= rule.warm {
            // What crept there is not what was usual.
            self.record = self.record.min(rule.least / rule.times);
        }
        (self.active, self.below, self.above, self.worst) = (1, 0, 0, size as f32);
        (self.told, self.hushed, self.far) = (tell == Tell::Now, tell == Tell::Never, false);
        if self.told { Verdict::Begins } else { Verdict::Usual }
    }

    #[cold]
    fn follow(&mut self, rule: &Rule, size: f64, tell: Tell) -> Verdict {
        self.active = self.active.saturating_add(1);
        self.worst = self.worst.max(size as f32);
        let worst = f64::from(self.worst);
        let least = if self.far { FAR_AFTER * worst } else { self.limit(rule).max(AFTER * worst) };
        self.below = if size > least { 0 } else { self.below + 1 };
        let calm = self.below >= rule.calm;
        if !self.told && !self.hushed && tell == Tell::Now && self.below == 0 && self.active < rule.lasts {
            self.told = true;
            return Verdict::Begins;
        }
        if !calm && self.active < rule.lasts {
            return if self.told { Verdict::Goes } else { Verdict::Usual };
        }
        self.record += HABIT * (worst - self.record).max(0.0);
        let told = std::mem::take(&mut self.told);
        (self.active, self.worst, self.far) = (0, 0.0, false);
        match (told, calm) {
            (false, true) => Verdict::Usual,
            (false, false) => Verdict::Stays,
            (true, true) => Verdict::Ends,
            (true, false) => Verdict::Lasts,
        }
    }

    /// An event of this size has begun, and was told.
    #[cold]
    pub(crate) fn begin(&mut self, size: f64) {
        (self.active, self.below, self.above, self.worst) = (1, 0, 0, size.min(SCORE_MAX) as f32);
        (self.told, self.hushed, self.far) = (true, false, false);
    }

    /// An event of this size has begun, whatever the record, and is not told; or one that was not told
    /// goes on as such.
    #[cold]
    pub(crate) fn depart(&mut self, size: f64) {
        if !self.far {
            self.begin(size);
            (self.told, self.hushed, self.far) = (false, true, true);
        }
        self.below = 0;
    }

    /// The event under way is told.
    #[cold]
    pub(crate) fn tell(&mut self) {
        self.told = true;
    }

    /// Largest size of an event that began by [`Chart::depart`], while it goes on.
    #[inline]
    pub(crate) fn far(&self) -> Option<f64> {
        self.far.then_some(f64::from(self.worst))
    }

    /// The series goes on elsewhere: an event under way is over. Whether it was told.
    pub(crate) fn abandon(&mut self) -> bool {
        (self.active, self.above, self.worst, self.far) = (0, 0, 0.0, false);
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { fit: 10, warm: 100, least: 3.0, times: 1.25, grow: 0.02, enter: 3, calm: 5, lasts: 200 };

    fn run(chart: &mut Chart, sizes: impl IntoIterator<Item = f64>) -> Vec<Verdict> {
        sizes
            .into_iter()
            .map(|size| chart.observe(&RULE, size, Tell::Now))
            .filter(|verdict| !matches!(verdict, Verdict::Usual | Verdict::Goes))
            .collect()
    }

    #[test]
    fn an_event_beyond_the_record_begins_and_ends_and_the_third_equal_one_is_usual() {
        let mut chart = Chart::default();
        assert_eq!(run(&mut chart, (0..200).map(|at| f64::from(at % 5))), []);
        let event = || std::iter::repeat_n(20.0, 10).chain(std::iter::repeat_n(1.0, 20));
        assert_eq!(run(&mut chart, event()), [Verdict::Begins, Verdict::Ends]);
        assert_eq!(run(&mut chart, event()), [Verdict::Begins, Verdict::Ends]);
        assert_eq!(run(&mut chart, event()), []);
        assert_eq!(run(&mut chart, [40.0, 40.0, 1.0, 40.0]), [], "shorter than it takes");
        assert_eq!(run(&mut chart, [40.0; 3]), [Verdict::Begins]);
        assert_eq!(run(&mut chart, [40.0; 300]), [Verdict::Lasts]);
    }
}
