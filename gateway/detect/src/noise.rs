//! Variance change: readings jump about more than they ever did. Mean squares of the steps from
//! reading to reading, the last hundred against the usual ones; steps and not deviations,
//! because a level that moves is no noise. Single wild steps are clipped: those are spikes.

use crate::chart::{Chart, Rule, Tell, Verdict};
use crate::finding::{Finding, Kind, Severity, State, brief, number, with_unit};
use crate::limits::{DEPARTURE_VALUE_MAX, SCALE_MIN, SCORE_MAX};
use serde::{Deserialize, Serialize};

const RULE: Rule = Rule { fit: 200, warm: 1_800, least: 2.0, times: 1.4, grow: 2e-3, enter: 10, calm: 60, lasts: 3_600 };
/// Steps before it speaks at all, and at which twice as much is asked as later.
const YOUNG_MIN: u32 = 120;
const YOUNG: f64 = 120.0;
/// Readings of one value that make a series constant.
const STILL_MIN: u32 = 15;
/// Weight of a step now, and usually.
const NOW: f64 = 2.0 / 61.0;
const USUAL: f64 = 5e-4;
/// Mean size of normal values in their deviations.
const MEAN_PART: f64 = 0.797_884_560_802_865_4;
/// Where steps are clipped, in usual ones.
const CLIP: f64 = 8.0;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "size of steps from reading to reading, the last 60 against the usual, of more than a switch: told beyond {} times the usual and {} times the \
         largest known, for {} readings in a row; over after {} calm ones, or {}, which are then usual",
        RULE.least, RULE.times, RULE.enter, RULE.calm, RULE.lasts
    )
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Noise {
    seen: u32,
    last: f64,
    /// Mean squares.
    now: f64,
    usual: f64,
    chart: Chart,
    /// Means of the steps as they were, to be told of: now, and usually.
    #[serde(default)]
    step: f32,
    #[serde(default)]
    usual_step: f32,
    /// It rested at times; what is usual is measured without.
    #[serde(default)]
    rests: bool,
}

/// In half the room: what is told has two digits.
#[inline]
fn single(step: f64) -> f32 {
    step.min(f64::from(f32::MAX)) as f32
}

impl Noise {
    /// Judges one value, then learns from it; `quantum` is the usual size of a step other than 0.
    /// A value that is `still` the same teaches nothing: a machine at rest is not what its noise is
    /// measured by when it works again.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn observe(
        &mut self,
        time_ms: i64,
        value: f64,
        quantum: f64,
        unit: Option<&str>,
        mute: bool,
        still: bool,
        findings: &mut Vec<Finding>,
    ) {
        let at = value.clamp(-DEPARTURE_VALUE_MAX, DEPARTURE_VALUE_MAX);
        let step = if self.seen == 0 { 0.0 } else { (at - self.last).abs() };
        self.last = at;
        if still && !self.chart.is_out() {
            self.now *= 1.0 - NOW;
            self.step *= 1.0 - NOW as f32;
            self.rests = true;
            return;
        }
        if self.usual == 0.0 && self.now == 0.0 && self.seen >= STILL_MIN {
            // A series of one value so far begins with its first change.
            if step > 0.0 {
                *self = Self { seen: 1, last: at, ..Self::default() };
            }
            return;
        }
        self.seen = self.seen.saturating_add(1);
        let young = 1.0 / f64::from(self.seen);
        // A sensor that rarely moves has small mean squares: its own step is no noise.
        let floor = (0.1 * quantum).max(SCALE_MIN.sqrt());
        let usual = self.usual.sqrt().max(floor);
        let clip = if self.seen > RULE.fit { CLIP * usual } else { f64::MAX };
        let square = step.min(clip).powi(2);
        self.now += NOW.max(young) * (square - self.now);
        if self.now < SCALE_MIN {
            self.now = 0.0;
        }
        if self.usual_step == 0.0 && self.usual > 0.0 {
            // Learnt before steps were kept as they were: those of normal values.
            (self.step, self.usual_step) = (single(MEAN_PART * self.now.sqrt()), single(MEAN_PART * self.usual.sqrt()));
        }
        self.step += NOW.max(young) as f32 * (single(step) - self.step);
        let tell = if mute { Tell::Never } else { Tell::Now };
        let times = (self.seen > YOUNG_MIN).then(|| 1.0 + YOUNG / f64::from(self.seen));
        let verdict = self.chart.observe_young(&RULE, self.now.sqrt() / usual, tell, times);
        let usual_step = self.usual_step;
        let lasts = matches!(verdict, Verdict::Lasts | Verdict::Stays);
        if !self.chart.is_out() || lasts {
            let square = square.min(self.usual * 16.0).max(if self.seen > RULE.fit { 0.0 } else { square });
            self.usual += USUAL.max(young) * (square - self.usual);
            self.usual_step += USUAL.max(young) as f32 * (single(square.sqrt().min(step)) - self.usual_step);
            if lasts {
                (self.usual, self.usual_step) = (self.now, self.step);
            }
            if self.usual < SCALE_MIN {
                self.usual = 0.0;
            }
        }
        if !matches!(verdict, Verdict::Usual | Verdict::Goes | Verdict::Stays) {
            findings.push(self.finding(verdict, time_ms, value, (usual, usual_step), unit));
        }
    }

    /// Whether a rough time goes on, told or not.
    #[inline]
    pub(crate) fn is_out(&self) -> bool {
        self.chart.is_out()
    }

    /// Whether one goes on that was told.
    #[inline]
    pub(crate) fn is_told(&self) -> bool {
        self.chart.is_told()
    }

    /// A value that something else speaks of, and that steps are told with.
    #[cold]
    pub(crate) fn pass(&mut self, value: f64) {
        let from = self.last;
        self.skip(value);
        if self.usual_step > 0.0 {
            self.step += NOW as f32 * (single((self.last - from).abs()) - self.step);
        }
    }

    /// The series begins with this value.
    #[cold]
    pub(crate) fn begin_anew(&mut self, value: f64) {
        if !self.chart.is_out() {
            *self = Self { seen: 1, last: value.clamp(-DEPARTURE_VALUE_MAX, DEPARTURE_VALUE_MAX), ..Self::default() };
        }
    }

    /// The series is elsewhere: the step that led there is none of its noise.
    pub(crate) fn skip(&mut self, value: f64) {
        self.last = value.clamp(-DEPARTURE_VALUE_MAX, DEPARTURE_VALUE_MAX);
    }

    #[cold]
    fn finding(&self, verdict: Verdict, time_ms: i64, value: f64, (usual, usual_step): (f64, f32), unit: Option<&str>) -> Finding {
        let times = self.now.sqrt() / usual;
        let usual_step = if usual_step > 0.0 { f64::from(usual_step) } else { usual };
        let step = f64::from(self.step);
        let [now, before] = [step, usual_step].map(|step| with_unit(&brief(step), unit));
        let moving = if self.rests { " while it moves" } else { "" };
        let message = match verdict {
            Verdict::Begins => {
                let times = number((step / usual_step * 10.0).round() / 10.0);
                format!("jumps by {now} on average from reading to reading, {times} times the usual {before}{moving}")
            }
            Verdict::Ends => format!("jumps by {now} on average from reading to reading again; {before} is usual{moving}"),
            _ => format!("jumps by {now} on average from reading to reading, which is usual from now on"),
        };
        Finding {
            kind: Kind::Noise,
            severity: Severity::Warning,
            state: if verdict == Verdict::Begins { State::Active } else { State::Cleared },
            time_ms,
            value,
            limit: None,
            score: Some((times / self.chart.limit(&RULE)).min(SCORE_MAX)),
            baseline: Some(usual_step),
            message,
            contributors: Vec::new(),
        }
    }
}
