//! What a board would have to look through all its alarms for: who came first in a group, how
//! many followed, which alarms may be forgotten, and which give way to others. Derived from the alarms, and not kept.

use super::group::AlertId;
use super::{Alarm, Name, Standing};
use schemas::message::AlertKey;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Alarms by what is asked of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Index {
    /// By the alert that alarms which followed them name.
    leaders: BTreeMap<AlertId, BTreeSet<Name>>,
    /// By the alert that came first.
    followers: BTreeMap<AlertId, BTreeSet<Name>>,
    /// Those in peace once they are off the shelf, by when they changed last.
    peace: BTreeSet<(i64, Name)>,
    /// All that were ever raised, by severity and by when they were raised last.
    raised: BTreeSet<(u8, Reverse<AlertKey>, Name)>,
}

impl Index {
    /// An alarm is as it is now.
    pub(super) fn put(&mut self, name: &Name, alarm: &Alarm) {
        if let Some(id) = alarm.leads_as() {
            self.leaders.entry(id).or_default().insert(name.clone());
        }
        if let Some(id) = alarm.follows() {
            self.followers.entry(id).or_default().insert(name.clone());
        }
        if is_peaceful(alarm) {
            self.peace.insert((alarm.touched_ms, name.clone()));
        }
        self.raised.extend(rank(name, alarm));
    }

    /// An alarm, which was put as it is, goes or changes.
    pub(super) fn take(&mut self, name: &Name, alarm: &Alarm) {
        let take = |map: &mut BTreeMap<AlertId, BTreeSet<Name>>, id: Option<AlertId>| {
            let Some(id) = id else { return };
            if let Some(names) = map.get_mut(&id) {
                names.remove(name);
                if names.is_empty() {
                    map.remove(&id);
                }
            }
        };
        take(&mut self.leaders, alarm.leads_as());
        take(&mut self.followers, alarm.follows());
        if is_peaceful(alarm) {
            self.peace.remove(&(alarm.touched_ms, name.clone()));
        }
        if let Some(rank) = rank(name, alarm) {
            self.raised.remove(&rank);
        }
    }

    /// The alarm of a machine that leads as `id`; the first by name, should there be more.
    pub(super) fn leader(&self, id: AlertId, machine: &str) -> Option<&Name> {
        let from = (machine.to_owned(), String::new());
        self.leaders.get(&id)?.range(from..).next().filter(|name| name.0.starts_with(machine))
    }

    /// Alarms that follow `id`.
    pub(super) fn following(&self, id: AlertId) -> impl Iterator<Item = &Name> {
        self.followers.get(&id).into_iter().flatten()
    }

    /// Alarms less severe than `severity`: the least severe first, of those the one raised longest ago.
    pub(super) fn lesser(&self, severity: u8) -> impl Iterator<Item = &Name> {
        self.raised.iter().rev().take_while(move |(other, ..)| *other > severity).map(|(.., name)| name)
    }

    /// How many alarms of a machine follow `id`.
    pub(super) fn followers(&self, id: AlertId, machine: &str) -> usize {
        let Some(names) = self.followers.get(&id) else { return 0 };
        let is_inside = |name: &&Name| name.0.starts_with(machine);
        // What begins alike stands together: mostly all of them do.
        if names.first().filter(is_inside).is_some() && names.last().filter(is_inside).is_some() {
            return names.len();
        }
        names.iter().filter(is_inside).count()
    }

    /// Those in peace, unless they are on the shelf, the one that changed longest ago first.
    pub(super) fn peaceful(&self) -> impl Iterator<Item = &Name> {
        self.peace.iter().map(|(_, name)| name)
    }
}

fn rank(name: &Name, alarm: &Alarm) -> Option<(u8, Reverse<AlertKey>, Name)> {
    alarm.raised.as_ref().map(|raised| (raised.severity, Reverse(raised.key), name.clone()))
}

fn is_peaceful(alarm: &Alarm) -> bool {
    alarm.pending.is_empty() && alarm.standing(i64::MAX) == Standing::Normal
}
