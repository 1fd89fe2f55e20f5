//! What the cloud knows of gateways and their boots: how far each is in, and since when a
//! gateway's windows are whole.

use crate::limits::MARKS_HELD_MAX;
use schemas::message::Tally;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use telemetry::window;

/// Gaps of one boot that are told apart: each needs a cloud that lost its disk once more. Those
/// beyond widen the last.
const GAPS_MAX: usize = 64;

/// One boot of a gateway, as the cloud knows it. Kept for good: a clone may still speak for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its number at the cloud, by which windows name it.
    pub number: u32,
    /// Every record up to here is in.
    pub applied: u64,
    /// It is over, and all of it is in.
    pub ended: bool,
    /// Where it ended, as its successor says.
    pub end: Option<u64>,
    /// Its logged clock at `applied`.
    pub frontier_ms: i64,
    /// Its readings at or below `applied` that may leave.
    pub readings: u64,
    /// All that may leave.
    pub accepted: u64,
    /// Those that stay on site.
    pub local: u64,
    /// Readings that it gave up for good.
    pub shed: u64,
    /// Window sizes, in ms.
    pub sizes: Vec<i64>,
    /// Grace, in ms.
    pub grace_ms: i64,
    /// Sizes that it keeps, of which the others are sums.
    pub kept: Vec<i64>,
    /// Its numbers of series → the cloud's.
    pub series: BTreeMap<u32, u32>,
    /// Alerts beyond `applied` that the urgent lane brought.
    pub alerts: BTreeSet<(u64, u32)>,
    /// Entries given up of versions beyond `applied`: series, size, start, born, and the version.
    /// A bounded number: `applied` follows the marks, and those it has passed are ignored.
    pub marks: BTreeMap<(u32, i64, i64, u64), u64>,
    /// The redundancy group that it was configured for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Readings that it lost with damage, at or below `applied`; counted in `shed` too.
    #[serde(default)]
    pub lost: u64,
    /// What is missing for good, because this cloud had lost it and the gateway's log was cut:
    /// beyond the first record, up to the second, and the readings there.
    #[serde(default)]
    pub gaps: Vec<(u64, u64, u64)>,
    /// The boot's readings at or below the end of the last gap.
    #[serde(default)]
    pub gap_readings: u64,
    /// Lowest and highest birth of the entries that came ahead of `applied`.
    #[serde(default = "any_birth")]
    pub ahead: Option<(u64, u64)>,
    /// The running hash of its log at `applied`, 0 when it is not known.
    #[serde(default)]
    pub hash: u64,
    /// Number of the last interval taken that said which one it follows: so of two that speak
    /// under its name one alone is heard.
    #[serde(default)]
    pub followed: u64,
    /// Part of its log is gone, damaged: entries of before and behind may speak of the same readings.
    #[serde(default)]
    pub holed: bool,
    /// Entries that gave way to others they overlap, of versions beyond `applied`: series, size, start,
    /// born, with the version, and how many readings of it are counted in `shed`.
    #[serde(default)]
    pub gave_way: BTreeMap<(u32, i64, i64, u64), (u64, u64)>,
    /// The cloud's record with its first hello, 0 where none was noted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub introduced: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What a state says that was saved before births were noted.
fn any_birth() -> Option<(u64, u64)> {
    Some((0, u64::MAX))
}

impl Part {
    /// Whether an entry of that birth can have come at all.
    pub fn may_hold(&self, born: u64) -> bool {
        born <= self.applied || self.ahead.is_some_and(|(first, last)| (first..=last).contains(&born))
    }

    /// Entries of these births came, ahead of `applied` perhaps.
    pub fn came(&mut self, births: impl Iterator<Item = u64>) {
        for born in births.filter(|born| *born > self.applied) {
            let (first, last) = self.ahead.unwrap_or((born, born));
            self.ahead = Some((first.min(born), last.max(born)));
        }
    }

    /// Takes over the windows' settings.
    pub fn set_windows(&mut self, sizes: &[i64], grace_ms: i64) {
        if self.sizes != sizes {
            self.sizes = sizes.to_vec();
            self.kept = window::kept(sizes);
        }
        self.grace_ms = grace_ms;
    }

    /// An entry gave way to one that it overlaps; so many of its readings the other may lack.
    pub fn give_way(&mut self, name: (u32, i64, i64, u64), version: u64, readings: u64) {
        let is_known = self.gave_way.contains_key(&name);
        if !is_known && self.gave_way.len() >= MARKS_HELD_MAX {
            return self.shed = self.shed.saturating_add(readings);
        }
        let known = self.gave_way.entry(name).or_default();
        self.shed = self.shed.saturating_add(readings.saturating_sub(known.1));
        *known = (version.max(known.0), readings.max(known.1));
    }

    /// An entry stands, although it once gave way: the other did so itself.
    pub fn stand(&mut self, name: (u32, i64, i64, u64)) {
        let (_, readings) = self.gave_way.remove(&name).unwrap_or_default();
        self.shed = self.shed.saturating_sub(readings);
    }

    /// The gateway can tell nothing below `complete_from`: what of it is not here is missing for good.
    pub fn miss(&mut self, complete_from: u64, readings_from: u64) {
        let known = self.gaps.last().map_or(0, |gap| gap.1);
        let from = self.applied.max(known);
        if complete_from <= from {
            return;
        }
        let counted = if known > self.applied { self.gap_readings } else { self.readings };
        let readings = readings_from.saturating_sub(counted);
        self.gap_readings = readings_from;
        self.shed = self.shed.saturating_add(readings);
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push((from, complete_from, readings));
        } else if let Some(last) = self.gaps.last_mut() {
            (last.1, last.2) = (complete_from, last.2.saturating_add(readings));
        }
    }

    /// It is over when all up to the end that its successor named is in; unless it goes on
    /// after all, as a clone does.
    fn settle(&mut self) {
        self.ended |= self.end == Some(self.applied);
    }

    /// A boot that is over is defined again, should a clone of it speak. Not before all of an
    /// interval is joined: the clone's definitions may have come with it.
    pub fn retire(&mut self) {
        if self.ended {
            self.series = BTreeMap::new();
        }
    }
}

/// Sums over all boots of a gateway, in single readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// All that may leave.
    pub accepted: u64,
    /// Those in the windows, or expired.
    pub readings: u64,
    /// Those that stay on site.
    pub local: u64,
    /// Those given up for good.
    pub shed: u64,
}

/// A gateway, as the cloud knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its number at the cloud.
    pub number: u32,
    /// By boot.
    pub boots: BTreeMap<u64, Part>,
    /// The boot that spoke last.
    pub boot: u64,
    /// The logged clock at the last message that was logged.
    pub seen_ms: i64,
    /// Sums over its boots.
    pub totals: Totals,
    /// The newest of its boots' logged clocks.
    pub frontier_ms: i64,
    /// All its known boots accepted up to here, grace passed over, is in.
    pub complete_ms: i64,
    /// Entries, and readings in them, of windows that had ended too long ago.
    pub expired: (u64, u64),
    /// Entries, definitions and alerts that could not be placed: impossible names, or beyond a bound.
    pub refused: u64,
    living: BTreeSet<u64>,
    /// What it did not take as readings, as its living boot said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
}

impl Gateway {
    /// A gateway that has not spoken yet.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            boots: BTreeMap::new(),
            boot: 0,
            seen_ms: 0,
            totals: Totals::default(),
            frontier_ms: 0,
            complete_ms: i64::MAX,
            expired: (0, 0),
            refused: 0,
            living: BTreeSet::new(),
            tally: None,
        }
    }

    /// Changes what is known of a boot, and all that follows from it: many old boots cost nothing.
    pub fn change<T>(&mut self, boot: u64, change: impl FnOnce(&mut Part) -> T) -> Option<T> {
        let part = self.boots.get_mut(&boot)?;
        let before = sums(part);
        let result = change(part);
        part.settle();
        let (after, grace_ms) = (sums(part), part.grace_ms);
        let moved = |total: u64, i: usize| total.wrapping_sub(before[i]).wrapping_add(after[i]);
        let t = self.totals;
        self.totals =
            Totals { accepted: moved(t.accepted, 0), readings: moved(t.readings, 1), local: moved(t.local, 2), shed: moved(t.shed, 3) };
        self.frontier_ms = self.frontier_ms.max(part.frontier_ms);
        if part.ended {
            self.living.remove(&boot);
        } else {
            self.living.insert(boot);
        }
        let living = self.living.iter().filter_map(|b| self.boots.get(b));
        let least = living.map(|p| p.frontier_ms.saturating_sub(p.grace_ms)).min();
        // None lives: one does that has not told of itself yet, and begins where the others ended.
        self.complete_ms = least.unwrap_or(self.frontier_ms.saturating_sub(grace_ms));
        Some(result)
    }

    /// Its redundancy group, if all its boots that are not over are of one.
    pub fn group(&self) -> Option<&str> {
        let of = |boot: &u64| self.boots.get(boot).and_then(|p| p.group.as_deref());
        let group = of(self.living.first().unwrap_or(&self.boot))?;
        self.living.iter().all(|boot| of(boot) == Some(group)).then_some(group)
    }

    /// Whether a boot that introduces itself, behind `parent`, may have a log that does not go on from what was told
    /// here: its disk was lost, or restored from a copy; or a boot between them never spoke.
    pub fn is_set_back(&self, boot: u64, parent: Option<(u64, u64)>) -> bool {
        let introduced = self.boots.iter().filter(|(_, part)| part.introduced > 0).max_by_key(|(_, part)| part.introduced);
        // The first programs noted none.
        let last = introduced.map_or(self.boot, |(last, _)| *last);
        let is_known = last == boot || self.boots.get(&boot).is_some_and(|part| part.introduced > 0);
        let Some(part) = self.boots.get(&last).filter(|_| !is_known) else { return false };
        let told = part.alerts.last().map_or(0, |(seq, _)| *seq).max(part.applied);
        parent.is_none_or(|(parent, end)| parent != last || end < told)
    }

    /// Boots that are not known to be over.
    pub fn living(&self) -> usize {
        self.living.len()
    }
}

fn sums(p: &Part) -> [u64; 4] {
    [p.accepted, p.readings, p.local, p.shed]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_that_is_over_no_longer_holds_windows_back() {
        let mut g = Gateway::new(0);
        for boot in 1..=1_000u64 {
            g.boots.insert(boot, Part::default());
            g.change(boot, |p| (p.frontier_ms, p.grace_ms, p.applied, p.accepted) = (boot as i64 * 10, 5, 7, 3));
            assert_eq!(g.complete_ms, boot as i64 * 10 - 5);
            // Its successor says where it ended, and all of it is in. Nobody knows the successor yet.
            g.change(boot, |p| p.end = Some(7));
            assert_eq!((g.complete_ms, g.living()), (boot as i64 * 10 - 5, 0));
        }
        assert_eq!((g.totals.accepted, g.frontier_ms), (3_000, 10_000));
        g.change(1, |p| p.ended = false);
        assert_eq!(g.living(), 0, "its end still stands");
        g.change(1, |p| (p.end, p.ended) = (None, false));
        assert_eq!((g.complete_ms, g.living()), (5, 1), "a clone goes on");
    }
}
