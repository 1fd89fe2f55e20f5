//! [`Novelty`] as a detector: readings of a minute are judged as their mean, those that come
//! more slowly each by itself, so that a fast series does not show a day's worth of tails in
//! an hour. For what no other detector is made for; it is only for information.

use crate::finding::{Finding, Kind, Severity, State, amount};
use crate::limits::NOVELTY_VALUE_MAX;
use crate::mark::Mark;
use crate::novelty::Novelty;
use serde::{Deserialize, Serialize};

/// Readings so close together are judged as one, in ms.
const BLOCK_MS: i64 = 60_000;
/// Surprise, in powers of ten, that is told. Chosen on generated series without faults: none
/// of 90 sensor-days reached it after its first day.
const TELL: f64 = 18.0;
/// The same while the states of a series are not known: another one is rare in every way.
const TELL_YOUNG: f64 = 36.0;
/// Judgements after the last surprise until it is over.
const CALM: u16 = 60;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "five views of each reading, or of each minute's mean, by the tails of their own past: told when their surprises add up to one \
         in 10^{TELL}; over after {CALM} without"
    )
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Novel {
    novelty: Novelty,
    /// Where the last block ended, and what was read since.
    ended_ms: Mark,
    sum: f64,
    count: u32,
    /// Score of the last reading; 0 where its block is not over.
    score: f64,
    /// Judgements until an event that was told is over; 0: there is none.
    left: u16,
    /// Something else spoke of what the present block holds.
    #[serde(default)]
    muted: bool,
    /// Of the present block, the reading farthest from the usual.
    #[serde(default)]
    farthest: f64,
}

impl Novel {
    /// Score of the last reading: 0, or its surprise in powers of ten.
    pub(crate) fn score(&self) -> f64 {
        self.score
    }

    /// A reading that is not judged.
    #[inline]
    pub(crate) fn skip(&mut self) {
        self.score = 0.0;
    }

    /// Judges one value, then learns from it. With `mute` nothing new is raised.
    #[inline]
    pub(crate) fn observe(&mut self, time_ms: i64, value: f64, unit: Option<&str>, young: bool, mute: bool, findings: &mut Vec<Finding>) {
        self.sum += value.clamp(-NOVELTY_VALUE_MAX, NOVELTY_VALUE_MAX);
        self.count += 1;
        let usual = self.novelty.usual();
        if self.count == 1 || (value - usual).abs() > (self.farthest - usual).abs() {
            self.farthest = value;
        }
        self.muted |= mute;
        if self.ended_ms.get().is_some_and(|ended| (0..BLOCK_MS).contains(&time_ms.saturating_sub(ended))) && self.count < u32::MAX {
            self.score = 0.0;
            return;
        }
        self.judge(time_ms, unit, if young { TELL_YOUNG } else { TELL }, findings);
    }

    fn judge(&mut self, time_ms: i64, unit: Option<&str>, least: f64, findings: &mut Vec<Finding>) {
        let mute = std::mem::take(&mut self.muted);
        let (mean, count) = (self.sum / f64::from(self.count), self.count);
        (self.ended_ms, self.sum, self.count) = (Mark::at(time_ms), 0.0, 0);
        let usual = self.novelty.usual();
        self.score = self.novelty.observe(mean);
        if self.score >= least && self.left > 0 {
            self.left = CALM;
        } else if self.score >= least && !mute {
            self.left = CALM;
            findings.push(self.finding(State::Active, time_ms, mean, count, usual, unit));
        } else if self.left > 0 {
            self.left -= 1;
            if self.left == 0 {
                findings.push(self.finding(State::Cleared, time_ms, mean, count, usual, unit));
            }
        }
    }

    #[cold]
    fn finding(&self, state: State, time_ms: i64, mean: f64, count: u32, usual: f64, unit: Option<&str>) -> Finding {
        let (now, usual_text) = (amount(self.farthest, unit), amount(usual, unit));
        let what =
            if count > 1 { format!("a mean of {} in {count} readings, at the farthest {now},", amount(mean, unit)) } else { now.clone() };
        let message = match state {
            State::Active => {
                let less = if self.score > TELL + 0.5 { "less than " } else { "" };
                format!("{what} is new to this series (usual {usual_text}): its ways of being unusual together are {less}one in 10^{TELL}")
            }
            State::Cleared => format!("nothing new for {CALM} readings or minutes; {what} now"),
        };
        let score = (state == State::Active).then_some(self.score);
        Finding {
            kind: Kind::Novelty,
            severity: Severity::Info,
            state,
            time_ms,
            value: self.farthest,
            limit: None,
            score,
            baseline: Some(usual),
            message,
            contributors: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_minute_the_mean_is_called_one_and_the_value_is_one_that_was_read() {
        let (mut novel, mut out, mut mixed) = (Novel::default(), Vec::new(), 1_u32);
        for at in 0..86_400 {
            mixed = mixed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f64::from(mixed >> 30) + if at >= 80_000 { 7.0 } else { 0.0 };
            novel.observe(at * 1_000, value, Some("1"), false, false, &mut out);
        }
        assert_eq!(out[0].state, State::Active);
        assert!(out[0].value == 10.0 && out[0].message.starts_with("a mean of "), "{out:?}");
        assert!(out[0].message.contains(" 1 in 60 readings, at the farthest 10 1, is new to this series"), "{out:?}");
    }
}
