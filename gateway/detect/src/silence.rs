//! Readings that no longer come: the cadence is learnt from arrivals by the logged clock.
//!
//! Silence is called at several times both the usual gap and the largest gap remembered, so
//! that bursts and pauses of a normal day raise nothing; it ends with the next reading. The
//! largest gap is forgotten by time, not by count: a burst of readings must not make the
//! pause after it look new.

use crate::finding::{Finding, Kind, Severity, State, duration};
use crate::limits::SCORE_MAX;
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
/// Part of a silence that becomes known: the second like it is told, the third is a habit.
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
         the largest remembered; over with the next reading",
        WAIT_MIN_MS / 1e3
    )
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Silence {
    /// How long it has been heard, in ms.
    heard_ms: f64,
    /// Clock of the last arrival.
    last_ms: Option<i64>,
    /// Clock from which is waited.
    from_ms: i64,
    /// It was waited once more.
    again: bool,
    seen: u32,
    usual_ms: f64,
    largest_ms: f64,
    active: bool,
}

impl Silence {
    /// An arrival.
    #[inline]
    pub(crate) fn observe(&mut self, clock_ms: i64, time_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        let before = self.last_ms.replace(clock_ms);
        let from = std::mem::replace(&mut self.from_ms, clock_ms);
        let Some(last) = before else { return };
        let gap_ms = clock_ms.saturating_sub(last);
        if self.active {
            self.returned(time_ms, value, gap_ms, findings);
            return;
        }
        // Values of one message arrive together and are one arrival; a clock set back is none.
        // A gap in which the gateway was away says nothing about the sensor.
        if gap_ms <= 0 || std::mem::take(&mut self.again) || from != last {
            return;
        }
        let gap = (gap_ms as f64).min(WAIT_MAX_MS);
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
        let gap_ms = self.last_ms.map_or(0, |last| clock_ms.saturating_sub(last));
        if self.active {
            self.returned(time_ms, value, gap_ms, findings);
        }
        (self.last_ms, self.from_ms, self.again) = (Some(clock_ms), clock_ms, true);
    }

    /// Until now the gateway was away, or its clock was not set: what lies before is no sensor's gap, and
    /// what is due is waited for once more.
    pub(crate) fn resume(&mut self, clock_ms: i64) {
        if self.last_ms.is_some() {
            (self.from_ms, self.again) = (clock_ms, true);
        }
    }

    #[cold]
    fn returned(&mut self, time_ms: i64, value: f64, gap_ms: i64, findings: &mut Vec<Finding>) {
        (self.active, self.again) = (false, false);
        let gap = (gap_ms.max(0) as f64).min(WAIT_MAX_MS);
        if gap > self.largest_ms {
            self.largest_ms += LEARN * (gap - self.largest_ms);
        }
        let message = format!("readings come again, after {}", duration(gap_ms));
        findings.push(self.finding(State::Cleared, time_ms, value, gap_ms, message));
    }

    /// The usual gap between two arrivals, in ms; 0 before one was seen.
    pub(crate) fn usual_ms(&self) -> i64 {
        self.usual_ms as i64
    }

    /// When silence is to be called, by the logged clock.
    #[inline]
    pub(crate) fn due(&self) -> Option<i64> {
        if self.active || self.seen < WARM_UP {
            return None;
        }
        let wait = (USUAL_TIMES * self.usual_ms).max(LARGEST_TIMES * self.largest_ms).clamp(WAIT_MIN_MS, WAIT_MAX_MS);
        let known = self.heard_ms >= HISTORY_PART * wait;
        known.then(|| self.from_ms.saturating_add(wait as i64))
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
        let quiet_ms = clock_ms.saturating_sub(self.last_ms.unwrap_or(clock_ms));
        let message = format!("no reading for {}; one every {} is usual", duration(quiet_ms), duration(self.usual_ms as i64));
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
