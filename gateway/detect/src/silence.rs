//! Readings that no longer come: the cadence is learnt from arrivals by the logged clock.
//!
//! The usual gap is an exponentially weighted mean, the largest gap a slowly forgotten
//! maximum; silence is beyond both by a wide margin, so that bursts and pauses of a normal
//! day raise nothing.

use crate::finding::{Finding, Kind, Severity, State, duration};
use serde::{Deserialize, Serialize};

/// Gaps seen before it speaks.
const WARM_UP: u32 = 30;
const ALPHA: f64 = 0.05;
/// How slowly the largest gap is forgotten.
const FORGET: f64 = 0.995;
/// Times the usual gap, and times the largest.
const TIMES: (f64, f64) = (10.0, 3.0);
/// At least so long, in ms: below, a network's hiccup looks the same.
const LEAST_MS: f64 = 10_000.0;

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Silence {
    last_ms: Option<i64>,
    seen: u32,
    usual_ms: f64,
    largest_ms: f64,
    active: bool,
}

impl Silence {
    /// An arrival.
    #[inline]
    pub fn observe(&mut self, clock_ms: i64, time_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        let Some(last) = self.last_ms.replace(clock_ms) else { return };
        let gap = (clock_ms - last).max(0) as f64;
        if self.active {
            self.active = false;
            let message = format!("readings come again after {}", duration(clock_ms - last));
            findings.push(self.finding(State::Cleared, time_ms, value, message));
            return;
        }
        self.seen = self.seen.saturating_add(1);
        let alpha = (1.0 / f64::from(self.seen)).max(ALPHA);
        self.usual_ms += alpha * (gap - self.usual_ms);
        self.largest_ms = (self.largest_ms * FORGET).max(gap);
    }

    /// When silence is to be called, by the logged clock.
    #[inline]
    pub fn due(&self) -> Option<i64> {
        let last = self.last_ms?;
        if self.active || self.seen < WARM_UP {
            return None;
        }
        let wait = (TIMES.0 * self.usual_ms).max(TIMES.1 * self.largest_ms).max(LEAST_MS);
        Some(last.saturating_add(wait.min(1e15) as i64))
    }

    /// The logged clock moved without a reading.
    pub fn tick(&mut self, clock_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        if self.due().is_none_or(|due| due > clock_ms) {
            return;
        }
        self.active = true;
        let quiet = clock_ms - self.last_ms.unwrap_or(clock_ms);
        let message = format!("no reading for {}; one every {} is usual", duration(quiet), duration(self.usual_ms as i64));
        findings.push(self.finding(State::Active, clock_ms, value, message));
    }

    fn finding(&self, state: State, time_ms: i64, value: f64, message: String) -> Finding {
        let baseline = Some(self.usual_ms / 1e3);
        Finding { kind: Kind::Silence, severity: Severity::Warning, state, time_ms, value, limit: None, score: None, baseline, message }
    }
}
