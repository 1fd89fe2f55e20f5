//! Machines: series under one prefix, watched together by [`detect::Group`].
//!
//! A series' machine is its name without the last level; series of one level are a machine of
//! their own, called [`TOP`]. More than [`detect::limits::GROUP_CHANNELS_MAX`] series under one
//! prefix are a list and no machine: its channels have nothing in common but their place, and
//! what it costs would grow with the square of their number. A `[[group]]` of the configuration
//! takes its series out of their prefixes; its detector learns anew when the groups change.
//!
//! An alert of a machine is one of the series that is called like the prefix, of kind `group`.

#[cfg(test)]
mod tests;

use crate::fold::series::Series;
use detect::{Finding, Group, GroupRule, Kind, Severity, State};
use schemas::message::Contributor;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The machine of series that have no prefix.
pub const TOP: &str = "machine";

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The prefix of its series.
    pub name: String,
    /// Numbers of its series, in the order of their channels; none for a list.
    pub(crate) members: Vec<u32>,
    /// Its detector.
    pub group: Group,
    /// There were too many series: it is no machine any more.
    list: bool,
}

/// Whether a series is the named one, or one of the machine of that name.
pub fn is_of(series: &str, name: &str) -> bool {
    series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && !name.is_empty()))
}

/// All machines of a gateway.
#[derive(Debug, Clone, Default)]
pub struct Machines {
    pub(crate) all: Vec<Machine>,
    /// By series: machine and channel.
    places: Vec<Option<(u32, u16)>>,
    by_name: HashMap<String, u32>,
}

impl Machines {
    /// From what a snapshot holds.
    pub(crate) fn restore(all: Vec<Machine>) -> Self {
        let mut machines = Self { all, ..Self::default() };
        for (at, machine) in machines.all.iter().enumerate() {
            machines.by_name.insert(machine.name.clone(), at as u32);
            for (channel, &number) in machine.members.iter().enumerate() {
                place(&mut machines.places, number, Some((at as u32, channel as u16)));
            }
        }
        machines
    }

    /// The machine that a series is part of.
    pub fn of(&self, number: u32) -> Option<&Machine> {
        let (machine, _) = self.places.get(number as usize).copied().flatten()?;
        self.all.get(machine as usize)
    }

    /// The machine of a name, unless too many series share it.
    pub fn named(&self, name: &str) -> Option<&Machine> {
        self.all.get(*self.by_name.get(name)? as usize).filter(|machine| !machine.list)
    }

    /// All machines are forgotten, to be formed anew. The names of those that had an alert are returned.
    pub(crate) fn disband(&mut self) -> Vec<String> {
        let all = std::mem::take(self).all;
        all.into_iter().filter(|machine| machine.group.is_active()).map(|machine| machine.name).collect()
    }

    /// A series was defined. What that ends is returned: the machine's number and what to say.
    pub(crate) fn join(&mut self, number: u32, series: &str, groups: &[GroupRule]) -> Option<(u32, Finding)> {
        if series.is_empty() || self.of(number).is_some() {
            return None;
        }
        let prefix = series.rsplit_once('/').map_or(TOP, |(prefix, _)| prefix);
        let name = groups.iter().find(|group| group.is_about(series)).map_or(prefix, |group| group.name.as_str());
        let name = if name.is_empty() { TOP } else { name };
        let at = match self.by_name.get(name) {
            Some(at) => *at,
            None => {
                let at = self.all.len() as u32;
                self.all.push(Machine { name: name.to_owned(), members: Vec::new(), group: Group::default(), list: false });
                self.by_name.insert(name.to_owned(), at);
                at
            }
        };
        let machine = &mut self.all[at as usize];
        if machine.list {
            return None;
        }
        if let Some(channel) = machine.group.join() {
            machine.members.push(number);
            place(&mut self.places, number, Some((at, channel)));
            return None;
        }
        machine.list = true;
        for number in std::mem::take(&mut machine.members) {
            place(&mut self.places, number, None);
        }
        let group = std::mem::take(&mut machine.group);
        group.is_active().then(|| {
            (at, ended(format!("more than {} series share this prefix: a list, not a machine", detect::limits::GROUP_CHANNELS_MAX)))
        })
    }

    /// A reading of a series: what its machine says.
    #[inline]
    pub(crate) fn observe(&mut self, number: u32, time_ms: i64, value: f64, series: &[Series]) -> Option<(u32, Finding)> {
        let (at, channel) = self.places.get(number as usize).copied().flatten()?;
        let machine = &mut self.all[at as usize];
        // One channel alone is its own series' business.
        if machine.members.len() < 2 {
            return None;
        }
        let change = machine.group.observe(channel, time_ms, value)?;
        let members = &machine.members;
        let mut finding = change.finding(|channel| {
            let series = members.get(usize::from(channel)).and_then(|number| series.get(*number as usize));
            series.map_or(("", None), |series| (last_level(&series.name), series.unit.as_deref()))
        });
        // Within its machine a channel is known by its last level, elsewhere by its whole name.
        finding.contributors = change
            .contributors
            .iter()
            .filter_map(|part| {
                let series = series.get(*members.get(usize::from(part.channel))? as usize)?;
                Some(Contributor { series: series.name.clone(), value: part.value, usual: part.usual, sigma: part.sigma })
            })
            .collect();
        Some((at, finding))
    }
}

fn place(places: &mut Vec<Option<(u32, u16)>>, number: u32, at: Option<(u32, u16)>) {
    let index = number as usize;
    if places.len() <= index {
        places.resize(index + 1, None);
    }
    places[index] = at;
}

fn last_level(series: &str) -> &str {
    series.rsplit('/').next().unwrap_or(series)
}

#[cold]
pub(crate) fn ended(why: String) -> Finding {
    Finding {
        kind: Kind::Group,
        severity: Severity::Warning,
        state: State::Cleared,
        time_ms: 0,
        value: 0.0,
        limit: None,
        score: None,
        baseline: None,
        message: why,
        contributors: Vec::new(),
    }
}
