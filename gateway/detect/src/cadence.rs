//! Missed cadence: readings still come, but fewer than the series usually sends. The mean gap of
//! the last readings, by event time, against the usual one, on the series' own record
//! ([`crate::chart`]). Where none comes at all, [`crate::silence`] speaks.
//!
//! Event times and not arrivals: a batch that was kept back by the network misses nothing.

use crate::chart::{Chart, Rule, Tell, Verdict};
use crate::finding::{Finding, Kind, Severity, State, duration, number};
use crate::limits::SCORE_MAX;
use serde::{Deserialize, Serialize};

/// 1.6 times the usual gap, as when two of five readings are missing, and 1.3 times the record,
/// which a ratio that climbs must not take along.
const RULE: Rule = Rule { fit: 60, warm: 600, least: 1.6, times: 1.3, grow: 2e-3, enter: 10, calm: 30, lasts: 1_800 };
/// Weight of a gap now, and usually.
const NOW: f32 = 2.0 / 31.0;
const USUAL: f32 = 1e-3;
/// Where gaps are clipped, in usual ones, at both ends: one long gap is silence, or none, and a
/// burst makes no cadence.
const CLIP: f32 = 5.0;
/// The longest gap that counts as it is, in ms (a day).
const GAP_MS_MAX: f32 = 86_400_000.0;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "mean gap of the last 30 readings, by their own times, against the usual one: told beyond {} times the usual and {} times the \
         largest known, for {} readings in a row; over after {} calm ones, or {}, which are then usual",
        RULE.least, RULE.times, RULE.enter, RULE.calm, RULE.lasts
    )
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Cadence {
    seen: u32,
    last_ms: i64,
    now_ms: f32,
    usual_ms: f32,
    chart: Chart,
}

impl Cadence {
    /// One reading, newer than or as new as the last; readings of one moment count once.
    #[inline]
    pub(crate) fn observe(&mut self, time_ms: i64, value: f64, findings: &mut Vec<Finding>) {
        let gap = time_ms.saturating_sub(self.last_ms);
        if self.seen > 0 && gap <= 0 {
            return;
        }
        self.last_ms = time_ms;
        self.seen = self.seen.saturating_add(1);
        if self.seen == 1 {
            return;
        }
        let young = (1.0 / f64::from(self.seen - 1)) as f32;
        let mut gap = (gap as f32).min(GAP_MS_MAX);
        if self.seen > RULE.fit {
            gap = gap.max(self.usual_ms / CLIP).min(self.usual_ms * CLIP);
        }
        self.now_ms += NOW.max(young) * (gap - self.now_ms);
        let verdict = self.chart.observe(&RULE, f64::from(self.now_ms / self.usual_ms.max(1.0)), Tell::Now);
        let usual_ms = self.usual_ms;
        if verdict == Verdict::Lasts {
            self.usual_ms = self.now_ms;
        } else if !self.chart.is_out() {
            self.usual_ms += USUAL.max(young) * (gap - self.usual_ms);
        }
        if !matches!(verdict, Verdict::Usual | Verdict::Goes) {
            findings.push(self.finding(verdict, time_ms, value, usual_ms));
        }
    }

    /// Its time starts anew: what lies between is no gap.
    pub(crate) fn restart(&mut self, time_ms: i64) {
        self.last_ms = time_ms;
    }

    /// All readings so far were of so much later.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        self.last_ms = self.last_ms.saturating_add(by_ms);
    }

    #[cold]
    fn finding(&self, verdict: Verdict, time_ms: i64, value: f64, usual_ms: f32) -> Finding {
        let (now, usual) = (duration(self.now_ms as i64), duration(usual_ms as i64));
        let times = f64::from(self.now_ms / usual_ms.max(1.0));
        let message = match verdict {
            Verdict::Begins => {
                let missing = number((100.0 * (1.0 - 1.0 / times)).round());
                format!("a reading every {now}, where one every {usual} is usual: {missing} % are missing")
            }
            Verdict::Ends => format!("a reading every {now} again"),
            _ => format!("a reading every {now}, which is usual from now on"),
        };
        Finding {
            kind: Kind::Cadence,
            severity: Severity::Warning,
            state: if verdict == Verdict::Begins { State::Active } else { State::Cleared },
            time_ms,
            value,
            limit: None,
            score: Some(times.min(SCORE_MAX)),
            baseline: Some(f64::from(usual_ms) / 1e3),
            message,
            contributors: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cadence: &mut Cadence, from_ms: &mut i64, gaps: impl IntoIterator<Item = i64>) -> Vec<String> {
        let mut out = Vec::new();
        for gap in gaps {
            *from_ms += gap;
            cadence.observe(*from_ms, 1.0, &mut out);
        }
        out.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn every_second_reading_missing_is_told_and_a_batch_or_one_long_gap_is_not() {
        let (mut cadence, mut now_ms) = (Cadence::default(), 0);
        assert!(run(&mut cadence, &mut now_ms, (0..2_000).map(|at| 950 + at % 7 * 20)).is_empty());
        assert!(run(&mut cadence, &mut now_ms, [60_000, 1_000, 0, 0, 1_000]).is_empty());
        assert!(run(&mut cadence, &mut now_ms, [1_000; 200]).is_empty());
        let told = run(&mut cadence, &mut now_ms, [2_000; 100]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with("% are missing") && told[0].contains("one every 1 s is usual"), "{told:?}");
        let told = run(&mut cadence, &mut now_ms, [1_000; 300]);
        assert!(told.len() == 1 && told[0].ends_with("again"), "{told:?}");
    }
}
