//! At the gateway: which alerts are shown, which are held back, and what belongs together.
//!
//! It decides once, when an alert is made, as part of the fold; the decision travels with the
//! alert ([`AlarmNote`]), so that both ends show the same.

use super::Name;
use super::board::{Board, SWEEP_MS};
use super::flood::{Flood, KINDS, Level, SERIES, TEN_MINUTES_MS};
use super::group::Groups;
use super::{AGAIN, Alarm, CHATTER_MS, CHATTERS, FLEETING, FLEETING_MS, HELD_FLOOD, HELD_SUPPRESSED, LATCHES, SHOWN, Standing};
use crate::finding::duration;
use schemas::message::{AlarmNote, AlertBody};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which alarms stay until they are acknowledged after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Latch {
    /// None: what was acknowledged and is over, is over.
    #[default]
    None,
    /// Critical ones.
    Critical,
    /// All.
    All,
}

/// How the gateway treats its alarms; part of the fold's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Which alarms latch.
    pub latch: Latch,
    /// Alarms in ten minutes that are no flood yet.
    pub flood: u32,
}

impl Default for Settings {
    /// ISA-18.2: more than ten in ten minutes are a flood.
    fn default() -> Self {
        Self { latch: Latch::None, flood: 10 }
    }
}

/// How an alert comes that a detector did not just make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// It is not shown, by configuration.
    pub designed: bool,
    /// It tells again what stands already.
    pub again: bool,
}

/// An alert of the gateway about its alarms.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// Whether it ended.
    pub ended: bool,
    /// Alarms in ten minutes: now, or at most.
    pub value: f64,
    /// How many are none yet.
    pub limit: f64,
    /// One sentence.
    pub message: String,
}

/// A gateway's alarms, and what decides about showing them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Annunciator {
    /// The alarms.
    pub board: Board,
    /// Too many of them.
    pub flood: Flood,
    groups: Groups,
    /// Whether the summaries under way may leave the site: something that led to them does.
    pub leaves: bool,
    swept_ms: i64,
    /// Alarms that configuration suppresses, and until when at the latest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub designed: BTreeMap<Name, i64>,
    #[serde(skip)]
    summaries: Vec<Summary>,
}

impl Annunciator {
    /// What the alarm list makes of an alert that was just made, and takes it in. `leaves` says
    /// whether it may be told to the cloud. Without settings, as in the boots of programs that
    /// knew none, nothing is held back.
    pub fn alert(&mut self, settings: Option<&Settings>, clock_ms: i64, leaves: bool, alert: &mut AlertBody) {
        self.alert_by(settings, clock_ms, leaves, Way::default(), alert);
    }

    /// The same, of an alert that comes in a way of its own.
    pub fn alert_by(&mut self, settings: Option<&Settings>, clock_ms: i64, leaves: bool, way: Way, alert: &mut AlertBody) {
        let known = self.board.get(&alert.series, &alert.kind);
        let standing = known.map_or(Standing::Normal, |alarm| alarm.standing(clock_ms));
        let last = known.and_then(|alarm| alarm.raised.as_ref()).map(|told| told.note.clone());
        let is_summary = alert.series == SERIES && KINDS.contains(&alert.kind.as_str());
        let mut note = AlarmNote { at_ms: clock_ms, held: SHOWN, count: last.as_ref().map_or(0, |n| n.count), flags: 0, group: None };
        let raised_ms = known.and_then(Alarm::last_raise);
        if alert.state == 0 {
            note.held = standing.holds().or(way.designed.then_some(HELD_SUPPRESSED)).unwrap_or(SHOWN);
            note.flags = flags(settings, clock_ms, alert.severity, known);
            if let Some(last) = last.as_ref().filter(|_| way.again) {
                note.flags = note.flags & !CHATTERS | last.flags & CHATTERS | AGAIN;
            } else {
                note.count += 1;
            }
            if let Some(settings) = settings.filter(|_| note.held == SHOWN && !is_summary) {
                self.flood.raised(clock_ms, settings.flood);
                self.turn(settings, clock_ms);
                self.leaves |= leaves;
                if self.flood.holds(alert.severity) {
                    note.held = HELD_FLOOD;
                }
            }
            if !is_summary {
                note.group = self.groups.raised(clock_ms, &alert.series, &alert.kind, (alert.boot, alert.seq, alert.ordinal));
            }
        } else if let Some(last) = last {
            // Who was not told of the beginning need not hear of the end.
            note.held = last.held;
            note.group = last.group;
            let lasted_ms = clock_ms.saturating_sub(raised_ms.unwrap_or(last.at_ms));
            note.flags = last.flags & !AGAIN | if lasted_ms <= FLEETING_MS { FLEETING } else { 0 };
        }
        if note.held == HELD_FLOOD {
            self.flood.held(alert.severity);
        }
        alert.alarm = Some(note);
        self.board.alert(clock_ms, alert, leaves);
    }

    /// The clock went on: what ends by itself; gives what came off the shelf. Called behind every
    /// record, whether or not something is due.
    pub fn advance(&mut self, settings: Option<&Settings>, clock_ms: i64) -> Vec<Name> {
        if self.board.is_empty() {
            return Vec::new();
        }
        let back = self.board.advance(clock_ms);
        if clock_ms.saturating_sub(self.swept_ms) >= SWEEP_MS {
            self.swept_ms = clock_ms;
            self.board.sweep(clock_ms);
        }
        if let Some(settings) = settings {
            self.turn(settings, clock_ms);
        }
        back
    }

    fn turn(&mut self, settings: &Settings, clock_ms: i64) {
        while let Some((number, ended)) = self.flood.turn(clock_ms, settings.flood) {
            let threshold = Flood::threshold(settings.flood, number);
            self.summaries.push(match ended {
                None => began(number, self.flood.levels[number].raised, threshold),
                Some(level) => over(number, &level, threshold, clock_ms),
            });
        }
    }

    /// When [`Annunciator::advance`] has something to do.
    pub fn due_ms(&self, settings: Option<&Settings>) -> Option<i64> {
        let flood = settings.and_then(|settings| self.flood.due_ms(settings.flood));
        self.board.due_ms().into_iter().chain(flood).min()
    }

    /// Summaries to be made alerts of, in order.
    pub fn take_summaries(&mut self) -> Vec<Summary> {
        std::mem::take(&mut self.summaries)
    }
}

fn flags(settings: Option<&Settings>, clock_ms: i64, severity: u8, known: Option<&Alarm>) -> u32 {
    let latches = match settings.map(|settings| settings.latch) {
        None | Some(Latch::None) => false,
        Some(Latch::Critical) => severity == 0,
        Some(Latch::All) => true,
    };
    let chatters = known.and_then(Alarm::raise_before_last).is_some_and(|at| clock_ms.saturating_sub(at) <= CHATTER_MS);
    (if latches { LATCHES } else { 0 }) | (if chatters { CHATTERS } else { 0 })
}

fn began(number: usize, count: u64, threshold: usize) -> Summary {
    let held = ["info alerts are", "warnings are, too,"][number];
    Summary {
        kind: KINDS[number],
        ended: false,
        value: count as f64,
        limit: threshold as f64,
        message: format!(
            "{count} alarms in 10 min, more than {threshold}; until it is over {held} held back, and stand in the list of alarms"
        ),
    }
}

fn over(number: usize, level: &Level, threshold: usize, clock_ms: i64) -> Summary {
    let Level { since_ms, raised, peak, held: [_, warnings, infos], first_ms } = level;
    let lasted = duration(clock_ms.saturating_sub(first_ms.or(*since_ms).unwrap_or(clock_ms)));
    Summary {
        kind: KINDS[number],
        ended: true,
        value: *peak as f64,
        limit: threshold as f64,
        message: format!(
            "{raised} alarms in {lasted}, at most {peak} in any 10 min of it; held back: {warnings} warning and {infos} info alerts"
        ),
    }
}

const _: () = assert!(CHATTER_MS < TEN_MINUTES_MS);
