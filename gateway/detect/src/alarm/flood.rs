//! Too many alarms: a flood is told once, instead of each of its alarms (ISA-18.2, EEMUA 191).
//!
//! A flood begins with more alarms within ten minutes than one person can work on, and ends
//! with fewer than half as many. A storm is ten times a flood, where EEMUA 191 finds that people
//! stop reading. A flood holds back what is only good to know, a storm warnings too; critical
//! alerts are always shown. What is held back is counted, told in the summary, and in the list.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The series of the gateway's own alarms about its alarms.
pub const SERIES: &str = "alarms";
/// Their kinds: a flood and a storm.
pub const KINDS: [&str; 2] = ["flood", "storm"];

/// Over what time alarms are counted, in ms.
pub const TEN_MINUTES_MS: i64 = 600_000;
/// A storm is so many times a flood.
pub const STORM: usize = 10;

/// Alarms whose time is remembered; with more in ten minutes, as many are told.
const RECENT_MAX: usize = 4_096;

/// One of the two levels.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Level {
    /// Since when it lasts, ms since the Unix epoch by the logged clock.
    pub since_ms: Option<i64>,
    /// Alarms raised in it, those that made it one included.
    pub raised: u64,
    /// Most within ten minutes.
    pub peak: u64,
    /// Alerts held back in it: critical (none), warning, info.
    pub held: [u64; 3],
    /// When the first of them was raised, by the logged clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<i64>,
}

/// How many alarms there are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Flood {
    /// When the last ones were raised.
    recent: VecDeque<i64>,
    /// Flood, storm.
    pub levels: [Level; 2],
}

impl Flood {
    /// How many begin a level.
    pub fn threshold(rate: u32, level: usize) -> usize {
        (rate as usize).max(1) * if level == 0 { 1 } else { STORM }
    }

    fn forget(&mut self, clock_ms: i64) {
        while self.recent.front().is_some_and(|at| clock_ms.saturating_sub(*at) >= TEN_MINUTES_MS) {
            self.recent.pop_front();
        }
    }

    /// An alarm is raised.
    pub fn raised(&mut self, clock_ms: i64, rate: u32) {
        self.forget(clock_ms);
        self.recent.push_back(clock_ms);
        if self.recent.len() > RECENT_MAX.max(Self::threshold(rate, 1) + 1) {
            self.recent.pop_front();
        }
        let count = self.recent.len() as u64;
        for level in self.levels.iter_mut().filter(|level| level.since_ms.is_some()) {
            level.raised += 1;
            level.peak = level.peak.max(count);
        }
    }

    /// Whether alerts of a severity are held back now.
    pub fn holds(&self, severity: u8) -> bool {
        match severity {
            0 => false,
            1 => self.levels[1].since_ms.is_some(),
            _ => self.levels[0].since_ms.is_some(),
        }
    }

    /// An alert was held back.
    pub fn held(&mut self, severity: u8) {
        for level in self.levels.iter_mut().filter(|level| level.since_ms.is_some()) {
            level.held[usize::from(severity.min(2))] += 1;
        }
    }

    /// What begins or ends at the clock: the level, and what it was when it ended.
    pub fn turn(&mut self, clock_ms: i64, rate: u32) -> Option<(usize, Option<Level>)> {
        self.forget(clock_ms);
        let count = self.recent.len();
        // A storm ends before its flood does, and begins after it.
        for number in [1, 0] {
            let threshold = Self::threshold(rate, number);
            let level = &mut self.levels[number];
            if level.since_ms.is_some() && count < threshold.div_ceil(2) {
                return Some((number, Some(std::mem::take(level))));
            }
        }
        for number in [0, 1] {
            let threshold = Self::threshold(rate, number);
            let level = &mut self.levels[number];
            if level.since_ms.is_none() && count > threshold {
                *level = Level {
                    since_ms: Some(clock_ms),
                    raised: count as u64,
                    peak: count as u64,
                    held: [0; 3],
                    first_ms: self.recent.front().copied(),
                };
                return Some((number, None));
            }
        }
        None
    }

    /// When a level ends if nothing else comes.
    pub fn due_ms(&self, rate: u32) -> Option<i64> {
        let ends = [0, 1].into_iter().filter(|number| self.levels[*number].since_ms.is_some()).map(|number| {
            let half = Self::threshold(rate, number).div_ceil(2);
            let last = self.recent.len().checked_sub(half).and_then(|at| self.recent.get(at));
            last.map_or(0, |at| at.saturating_add(TEN_MINUTES_MS))
        });
        ends.min()
    }
}
