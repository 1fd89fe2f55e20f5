//! Alarms of one machine within a short time belong together; the first is most likely the cause.
//!
//! A machine is the series under one prefix (`line1/press3/…`). The order is that of the log:
//! what the gateway heard first.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An alarm joins a group that was last added to no longer ago, in ms: consequences follow each other.
const FOLLOWS_MS: i64 = 30_000;
/// And that began no longer ago, in ms: a machine that alarms all day is no single event.
const LASTS_MS: i64 = 300_000;
/// Groups under way; a plant with more machines in trouble at once has no first-out for the rest.
const GROUPS_MAX: usize = 1_024;

/// Boot, seq and ordinal of an alert.
pub type AlertId = (u64, u64, u32);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Group {
    first: AlertId,
    began_ms: i64,
    last_ms: i64,
}

/// Groups that may still grow, by machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Groups {
    open: BTreeMap<String, Group>,
}

impl Groups {
    /// An alarm was raised: the alert that came first in its group, none if that is itself.
    pub fn raised(&mut self, clock_ms: i64, series: &str, kind: &str, id: AlertId) -> Option<AlertId> {
        self.open.retain(|_, g| clock_ms - g.last_ms <= FOLLOWS_MS && clock_ms - g.began_ms <= LASTS_MS);
        let machine = machine(series, kind)?;
        if let Some(group) = self.open.get_mut(machine) {
            group.last_ms = clock_ms;
            return Some(group.first);
        }
        if self.open.len() < GROUPS_MAX {
            self.open.insert(machine.to_owned(), Group { first: id, began_ms: clock_ms, last_ms: clock_ms });
        }
        None
    }
}

/// The machine that a series belongs to; none for a series that stands alone.
pub fn machine<'a>(series: &'a str, kind: &str) -> Option<&'a str> {
    // What a machine's channels say together is already about the machine.
    if kind == crate::Kind::Group.as_str() { Some(series) } else { series.rsplit_once('/').map(|(machine, _)| machine) }
}
