//! What the figures of the standard are made of ([`super::figures`]), kept as alerts come.

use super::flood::{KINDS, SERIES, TEN_MINUTES_MS};
use super::{SHOWN, Told, is_annunciated};
use schemas::message::AlertBody;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What figures look back on, in ms.
pub(super) const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Floods remembered; there are at most 288 of five minutes in a day.
const FLOODS_MAX: usize = 288;

/// Raises of one alarm by hour, over a day.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Hours(VecDeque<(i64, u32)>);

impl Hours {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn count(&mut self, at_ms: i64) {
        count(&mut self.0, at_ms.div_euclid(HOUR_MS), DAY_MS / HOUR_MS);
    }

    /// In the day before a time.
    pub fn sum(&self, clock_ms: i64) -> u64 {
        let first = clock_ms.div_euclid(HOUR_MS) - DAY_MS / HOUR_MS;
        self.0.iter().filter(|(hour, _)| *hour > first).map(|(_, count)| u64::from(*count)).sum()
    }
}

/// Counts in bins of time, of which the newest `keep` are kept; sorted, only those with a count.
fn count(bins: &mut VecDeque<(i64, u32)>, bin: i64, keep: i64) {
    match bins.iter_mut().find(|(known, _)| *known == bin) {
        Some((_, count)) => *count = count.saturating_add(1),
        None => {
            let at = bins.partition_point(|(known, _)| *known < bin);
            bins.insert(at, (bin, 1));
        }
    }
    let newest = bins.back().map_or(bin, |(newest, _)| *newest);
    bins.retain(|(bin, _)| newest - bin < keep);
}

/// What the figures are made of.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Kpi {
    /// Alarms raised that people were told of ([`is_annunciated`]), by ten minutes, over a day.
    pub(super) raised: VecDeque<(i64, u32)>,
    /// When the first alert came, by the gateway's clock.
    pub(super) began_ms: Option<i64>,
    /// Floods that are over, and the one under way.
    pub(super) floods: VecDeque<(i64, i64)>,
    pub(super) flood_ms: Option<i64>,
    /// Alerts that were not shown, by why.
    pub(super) held: BTreeMap<u8, u64>,
    /// Alarms raised that people were told of, over the life of the list.
    pub total: u64,
    /// When the last of them was raised, by the gateway's clock.
    #[serde(default)]
    last_ms: Option<i64>,
}

impl Kpi {
    pub(super) fn alert(&mut self, told: &Told, alert: &AlertBody) {
        let at_ms = told.key.at_ms;
        self.began_ms = Some(self.began_ms.map_or(at_ms, |began| began.min(at_ms)));
        if told.note.held != SHOWN {
            *self.held.entry(told.note.held).or_default() += 1;
        }
        if alert.series == SERIES && alert.kind == KINDS[0] {
            self.flood(at_ms, alert.state == 0);
        } else if alert.state == 0 && is_annunciated(told.note.held) && !(alert.series == SERIES && alert.kind == KINDS[1]) {
            self.last_ms = self.last_ms.max(Some(at_ms));
            if told.is_new() {
                self.total += 1;
                count(&mut self.raised, at_ms.div_euclid(TEN_MINUTES_MS), DAY_MS / TEN_MINUTES_MS);
            }
        }
    }

    /// When a flood was over at the latest: without one more alarm it is ten minutes later, also where nobody was there to
    /// say so, as a gateway was off.
    pub(super) fn flood_end(&self, since_ms: i64, told_ms: i64) -> i64 {
        let last_ms = self.last_ms.map_or(told_ms, |last| last.saturating_add(TEN_MINUTES_MS));
        told_ms.min(last_ms).max(since_ms)
    }

    fn flood(&mut self, at_ms: i64, begins: bool) {
        if begins {
            self.flood_ms = Some(at_ms);
        } else if let Some(since) = self.flood_ms.take() {
            self.floods.push_back((since, self.flood_end(since, at_ms)));
            if self.floods.len() > FLOODS_MAX {
                self.floods.pop_front();
            }
        }
    }
}
