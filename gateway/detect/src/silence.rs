//! Readings that no longer come: the cadence is learnt from arrivals by the logged clock.
//!
//! Silence is called at several times both the usual gap and the largest gap remembered, so
//! that bursts and pauses of a normal day raise nothing; it ends with the next reading. The
//! largest gap is forgotten by time, not by count: a burst of readings must not make the
//! pause after it look new. Pauses that come again, far longer than the gaps between them, are
//! remembered apart ([`Spells`]): a line that stands every noon is no news, and is soon missed
//! at any other time.

use crate::finding::{Finding, Kind, Severity, State, duration};
use crate::limits::SCORE_MAX;
use crate::mark::Mark;
use crate::spell::Spells;
use serde::{Deserialize, Serialize};

/// Gaps seen before it speaks.
const WARM_UP: u32 = 30;
/// Part of the wait over which readings must have come: a first batch has not shown the
/// pause that follows it.
const HISTORY_PART: f64 = 0.25;
/// Weight of a new gap once warm.
const WEIGHT: f64 = 0.05;
/// Part of the largest gap forgotten in a time as long as itself.
const FORGET: f64 = 0.02;
/// Part of a silence that becomes known: one fault must not blind for long.
const LEARN: f64 = 0.25;
/// Times the usual gap.
const USUAL_TIMES: f64 = 6.0;
/// Times the largest gap remembered.
const LARGEST_TIMES: f64 = 2.5;
/// At least so long, in ms: below, a reconnecting client looks the same.
const WAIT_MIN_MS: f64 = 10_000.0;
/// At most so long, in ms (400 days): beyond, nobody waits for the answer.
const WAIT_MAX_MS: f64 = 400.0 * 86_400_000.0;
/// A tick so late, in ms, says that the gateway itself was away: nobody can tell whether the
/// sensor was silent, so it is waited for once more.
const LATE_MS: i64 = 2_000;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "time since the last reading, by the logged clock: told beyond {} s, {USUAL_TIMES} times the usual gap and {LARGEST_TIMES} times \
         the largest remembered, and longer than a pause that came twice; over with the next reading",
        WAIT_MIN_MS / 1e3
    )
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Silence {
    /// How long it has been heard, in ms.
    heard_ms: f64,
    /// Clock of the last arrival.
    last_ms: Mark,
    /// Clock from which is waited.
    from_ms: i64,
    /// It was waited once more.
    again: bool,
    seen: u32,
    usual_ms: f64,
    largest_ms: f64,
    active: bool,
    /// Pauses that would have been news.
    #[serde(default, skip_serializing_if = "Spells::is_empty")]
    spells: Spells,
}

impl Silence {
    /// An arrival.
    #[inline]
    pub(crate) fn observe(&mut self, clock_ms: i64, time_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        let before = std::mem::replace(&mut self.last_ms, Mark::at(clock_ms)).get();
        let from = std::mem::replace(&mut self.from_ms, clock_ms);
        let Some(last) = before else { return };
        let gap_ms = clock_ms.saturating_sub(last);
        if self.active {
            self.returned(clock_ms, time_ms, value, gap_ms, findings);
            return;
        }
        // Values of one message arrive together and are one arrival; a clock set back is none.
        // A gap in which the gateway was away says nothing about the sensor.
        if gap_ms <= 0 || std::mem::take(&mut self.again) || from != last {
            return;
        }
        let gap = (gap_ms as f64).min(WAIT_MAX_MS);
        if gap > WAIT_MIN_MS && self.wait_ms().is_some_and(|wait_ms| gap > wait_ms) {
            // A pause that it is known for: no gap as between readings.
            self.spells.learn(last, gap);
            return;
        }
        self.heard_ms = (self.heard_ms + gap).min(WAIT_MAX_MS);
        self.seen = self.seen.saturating_add(1);
        let weight = if self.seen >= 20 { WEIGHT } else { 1.0 / f64::from(self.seen) };
        self.usual_ms += weight * (gap - self.usual_ms);
        if gap >= self.largest_ms {
            self.largest_ms = gap;
        } else {
            self.largest_ms -= FORGET * gap;
        }
    }

    /// An arrival that teaches nothing; the gap before the next one neither.
    pub(crate) fn rest(&mut self, clock_ms: i64, time_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        let gap_ms = self.last_ms.get().map_or(0, |last| clock_ms.saturating_sub(last));
        if self.active {
            self.returned(clock_ms, time_ms, value, gap_ms, findings);
        }
        (self.last_ms, self.from_ms, self.again) = (Mark::at(clock_ms), clock_ms, true);
    }

    /// Until now the gateway was away, or its clock was not set: what lies before is no sensor's gap, and
    /// what is due is waited for once more.
    pub(crate) fn resume(&mut self, clock_ms: i64) {
        if self.last_ms.get().is_some() {
            (self.from_ms, self.again) = (clock_ms, true);
        }
    }

    /// The same while it goes on: once until the next reading, as who is away again and again would
    /// never tell.
    pub(crate) fn missed(&mut self, clock_ms: i64) {
        if !self.again {
            self.resume(clock_ms);
        }
    }

    #[cold]
    fn returned(&mut self, clock_ms: i64, time_ms: i64, value: f64, gap_ms: i64, findings: &mut Vec<Finding>) {
        self.active = false;
        let gap = (gap_ms.max(0) as f64).min(WAIT_MAX_MS);
        if !std::mem::take(&mut self.again) {
            self.spells.learn(clock_ms.saturating_sub(gap_ms), gap);
        }
        if gap > self.largest_ms {
            self.largest_ms += LEARN * (gap - self.largest_ms);
        }
        let message = format!("readings come again, after {}", duration(gap_ms));
        findings.push(self.finding(State::Cleared, time_ms, value, gap_ms, message));
    }

    /// Whether silence was told, and goes on.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// The usual gap between two arrivals, in ms; 0 before one was seen.
    pub(crate) fn usual_ms(&self) -> i64 {
        self.usual_ms as i64
    }

    /// After how long silence is to be called, in ms, if no pauses are known.
    #[inline]
    fn wait_ms(&self) -> Option<f64> {
        if self.seen < WARM_UP {
            return None;
        }
        let wait_ms = (USUAL_TIMES * self.usual_ms).max(LARGEST_TIMES * self.largest_ms).clamp(WAIT_MIN_MS, WAIT_MAX_MS);
        (self.heard_ms >= HISTORY_PART * wait_ms).then_some(wait_ms)
    }

    /// When silence is to be called, by the logged clock.
    #[inline]
    pub(crate) fn due(&self) -> Option<i64> {
        if self.active {
            return None;
        }
        let wait_ms = self.wait_ms()?.max(self.spells.usual(self.from_ms));
        Some(self.from_ms.saturating_add(wait_ms as i64))
    }

    /// The logged clock moved without a reading.
    pub(crate) fn tick(&mut self, clock_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        let Some(due) = self.due().filter(|due| *due <= clock_ms) else {
            return;
        };
        if !self.again && clock_ms.saturating_sub(due) > LATE_MS {
            (self.again, self.from_ms) = (true, clock_ms);
            return;
        }
        self.active = true;
        let quiet_ms = clock_ms.saturating_sub(self.last_ms.get().unwrap_or(clock_ms));
        let usual = duration(self.usual_ms as i64);
        let known = self.spells.usual(self.from_ms) as i64;
        let known = if known > 0 { format!(", and a pause of {} at most", duration(known)) } else { String::new() };
        let message = format!("no reading for {}; one every {usual} is usual{known}", duration(quiet_ms));
        findings.push(self.finding(State::Active, clock_ms, value, quiet_ms, message));
    }

    fn finding(&self, state: State, time_ms: i64, value: f64, quiet_ms: i64, message: String) -> Finding {
        let score = quiet_ms.max(0) as f64 / self.usual_ms.max(1.0);
        Finding {
            kind: Kind::Silence,
            severity: Severity::Warning,
            state,
            time_ms,
            value,
            limit: None,
            score: Some(score.min(SCORE_MAX)),
            baseline: Some(self.usual_ms / 1e3),
            message,
            contributors: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: i64 = 86_400;

    /// A reading each ten seconds, or as often as `every_s`, but where there is a pause; with the seconds
    /// since the start at which silence was told.
    fn told(days: i64, every_s: i64, pauses: impl Fn(i64) -> bool) -> Vec<i64> {
        let (mut silence, mut out) = (Silence::default(), Vec::new());
        for at in (0..days * DAY_S).map(|second| second * 1_000) {
            silence.tick(at, 1.0, &mut out);
            if at / 1_000 % every_s == 0 && !pauses(at / 1_000) {
                silence.observe(at, at, 1.0, &mut out);
            }
        }
        out.iter().filter(|finding| finding.state == State::Active).map(|finding| finding.time_ms / 1_000).collect()
    }

    fn lunch(at: i64) -> bool {
        (12 * 3_600..12 * 3_600 + 1_800).contains(&(at % DAY_S))
    }

    #[test]
    fn pauses_that_come_again_and_again_are_told_twice() {
        assert_eq!(told(3, 1, |at| at % 200 >= 185).len(), 2);
        assert_eq!(told(3, 1, |at| at % 300 >= 270).len(), 2);
        let days: Vec<i64> = told(21, 10, lunch).iter().map(|at| at / DAY_S).collect();
        assert_eq!(days, [0, 1]);
        let nightly: Vec<i64> =
            told(14, 60, |at| (3 * 3_600..3 * 3_600 + 900).contains(&(at % DAY_S))).iter().map(|at| at / DAY_S).collect();
        assert_eq!(nightly, [0, 1]);
    }

    #[test]
    fn a_pause_far_longer_than_usual_or_at_another_time_of_the_day_is_told() {
        let fault = 10 * DAY_S + 12 * 3_600;
        let long = told(12, 10, |at| lunch(at) || (fault..fault + 7_200).contains(&at));
        assert!(long.len() == 3 && (fault + 2_600..fault + 2_800).contains(&long[2]), "{long:?}");
        let evening = fault + 6 * 3_600;
        let other = told(12, 10, |at| lunch(at) || (evening..evening + 1_800).contains(&at));
        assert!(other.len() == 3 && (evening + 50..evening + 1_000).contains(&other[2]), "{other:?}");
        let often = told(3, 1, |at| at % 200 >= 185 || (2 * DAY_S..2 * DAY_S + 60).contains(&at));
        assert!(often.len() == 3 && (2 * DAY_S..2 * DAY_S + 50).contains(&often[2]), "{often:?}");
    }
}
