//! How far the last readings lie from where the series usually is: two exponentially weighted
//! means, the distance in the standard deviations that this distance itself has shown. Taking
//! these, and not the readings' own, accounts for readings that depend on each other.

use crate::chart::{Chart, Rule, Tell, Verdict};
use crate::limits::{DEPARTURE_VALUE_MAX, SCALE_MIN, SCALE_RELATIVE_MIN};
use crate::scale::Known;
use serde::{Deserialize, Serialize};

/// Where updates are clipped, in standard deviations.
/// Low: what creeps must not make creeping usual before it is told.
const CLIP: f64 = 2.0;

/// Readings after which the usual mean is one.
const USUAL_READINGS: u32 = 1_800;

/// Over how many readings.
pub(crate) struct Pace {
    /// Weight of a reading in the mean of the last ones, and in the usual one.
    pub(crate) few: f64,
    pub(crate) usual: f64,
    pub(crate) rule: Rule,
}

/// What a distance is judged by before it has shown what is usual.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Young {
    /// Usual deviation of a single reading.
    pub(crate) deviation: f64,
    /// Times the limit that is asked.
    pub(crate) times: f64,
}

/// State of one distance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Departure {
    seen: u32,
    pub(crate) few: f64,
    pub(crate) mean: f64,
    variance: f64,
    chart: Chart,
    /// Largest distance of the departures from all that the series is known for.
    #[serde(default)]
    known: Known,
}

impl Departure {
    /// The deviation that the distance usually has.
    pub(crate) fn sigma(&self, quantum: f64) -> f64 {
        let least = (SCALE_RELATIVE_MIN * self.mean.abs()).max(SCALE_MIN.sqrt());
        // The mean of quantised readings is known no better than a part of their step.
        self.variance.sqrt().max(least).max(QUANTUM_PART * quantum)
    }

    /// Judges one value, then learns from it; `quantum` is the usual size of a step other than 0.
    /// While it is warming up, it judges by `early`, if at all. A value that is `still` the same says
    /// nothing of how far the series strays.
    #[inline]
    pub(crate) fn observe(&mut self, pace: &Pace, value: f64, quantum: f64, tell: Tell, early: Option<Young>, still: bool) -> Verdict {
        let value = value.clamp(-DEPARTURE_VALUE_MAX, DEPARTURE_VALUE_MAX);
        let constant = self.variance == 0.0 && self.few == self.mean && value != self.mean;
        if self.seen == 0 {
            (self.few, self.mean) = (value, value);
        }
        self.seen = self.seen.saturating_add(1);
        let young = 1.0 / f64::from(self.seen);
        self.few += pace.few.max(young) * (value - self.few);
        let far = self.few - self.mean;
        let sigma = self.sigma(quantum);
        self.known.forget();
        let departed = self.chart.far();
        let verdict = match early.filter(|_| self.seen <= pace.rule.warm && !self.chart.is_out()) {
            Some(Young { deviation, times }) => {
                let sigma = sigma.max(DEVIATION_PART * deviation);
                self.chart.observe_young(&pace.rule, far.abs() / sigma, tell, Some(times))
            }
            None => self.chart.observe(&pace.rule, far.abs() / sigma, tell),
        };
        if let Some(worst) = departed.filter(|_| !self.chart.is_out()) {
            self.known.learn(worst * sigma);
        }
        if matches!(verdict, Verdict::Lasts | Verdict::Stays) {
            self.mean = self.few;
            if self.variance == 0.0 {
                // Nor is a record in such distances one to go by.
                *self = Self { seen: 1, few: self.few, mean: self.mean, ..Self::default() };
            }
            return verdict;
        }
        if self.chart.is_out() || constant || self.variance == 0.0 && self.chart.is_suspect() {
            return verdict;
        }
        let clip = if self.seen > pace.rule.fit { CLIP * sigma } else { f64::MAX };
        let moved = far.clamp(-clip, clip);
        let weight = pace.usual.max(young);
        self.mean += weight * moved;
        // At first both means are the same, and their distance shows nothing.
        let shown = f64::from(self.seen) - YOUNG / pace.few;
        if shown >= 1.0 && !(still && moved * moved < self.variance) {
            let weight = pace.usual.max(1.0 / shown);
            self.variance = (1.0 - weight) * (self.variance + weight * moved * moved);
        }
        if self.variance < SCALE_MIN {
            self.variance = 0.0;
        }
        verdict
    }

    /// What was one value so far changes for the first time: there is no distance to judge that by.
    #[cold]
    pub(crate) fn begin_anew(&mut self) {
        // Of an event that was told the end is still to be told.
        if !self.is_out() {
            *self = Self::default();
        }
    }

    /// Whether it is still warming up.
    #[inline]
    pub(crate) fn is_warming(&self, pace: &Pace) -> bool {
        self.seen < pace.rule.warm
    }

    /// Whether an event goes on.
    pub(crate) fn is_out(&self) -> bool {
        self.chart.is_out()
    }

    /// Where the series usually is, once half an hour at 1 Hz has shown it.
    pub(crate) fn usual(&self) -> Option<f64> {
        (self.seen >= USUAL_READINGS).then_some(self.mean)
    }

    /// Whether an event goes on, or may be about to begin.
    pub(crate) fn is_suspect(&self) -> bool {
        self.chart.is_suspect()
    }

    /// Whether an event goes on that was told.
    pub(crate) fn is_told(&self) -> bool {
        self.chart.is_told()
    }

    /// Largest distance of the event under way, in what was its deviation.
    #[inline]
    pub(crate) fn worst(&self) -> f64 {
        self.chart.worst()
    }

    /// Readings since the event under way began; 0: there is none.
    pub(crate) fn out_for(&self) -> u16 {
        self.chart.out_for()
    }

    /// The series went from a level to another, and that was told.
    #[cold]
    pub(crate) fn begin(&mut self, from: f64, to: f64, quantum: f64) {
        let bound = |value: f64| value.clamp(-DEPARTURE_VALUE_MAX, DEPARTURE_VALUE_MAX);
        (self.mean, self.few) = (bound(from), bound(to));
        self.chart.begin((self.few - self.mean).abs() / self.sigma(quantum));
    }

    /// The last readings are beyond all that the series is known for: an event, if they are also away
    /// from where it usually is, by `least`. Whether that is to be told; with `mute` something else speaks
    /// of it.
    #[cold]
    pub(crate) fn depart(&mut self, least: f64, quantum: f64, mute: bool) -> bool {
        let away = (self.few - self.mean).abs();
        let goes = self.has_departed();
        if !goes && (self.chart.is_told() || away < least) {
            return false;
        }
        self.chart.depart(away / self.sigma(quantum));
        if self.chart.is_told() {
            return false;
        }
        if mute {
            self.known.include(away);
        }
        let news = self.known.is_news(away);
        if news {
            self.chart.tell();
        }
        news
    }

    /// Whether such an event goes on, told or not.
    #[inline]
    pub(crate) fn has_departed(&self) -> bool {
        self.chart.far().is_some()
    }

    /// Whether a value is much nearer to where the series usually is than to where it was of late.
    pub(crate) fn returns(&self, value: f64) -> bool {
        (value - self.mean).abs() < NEAR_PART * (self.few - self.mean).abs()
    }

    /// The series is elsewhere from now on. Whether an event that was told is over with it.
    #[cold]
    pub(crate) fn restart(&mut self, value: f64) -> bool {
        let value = value.clamp(-DEPARTURE_VALUE_MAX, DEPARTURE_VALUE_MAX);
        if self.has_departed() {
            self.known.learn((self.few - self.mean).abs());
        }
        (self.few, self.mean) = (value, value);
        self.chart.abandon()
    }

    /// How unusual, in times the limit.
    pub(crate) fn score(&self, pace: &Pace, quantum: f64) -> f64 {
        (self.few - self.mean).abs() / self.sigma(quantum) / self.chart.limit(&pace.rule)
    }
}

/// Times the length of the shorter mean after which the distance of the two shows something.
const YOUNG: f64 = 2.0;
/// Part of a quantised sensor's step below which no deviation is believed.
const QUANTUM_PART: f64 = 0.1;
/// Part of a single reading's deviation that the distance's is at least, while it is young.
const DEVIATION_PART: f64 = 0.4;
/// Part of the way away from the usual level at which a value is back there.
pub(crate) const NEAR_PART: f64 = 0.25;
