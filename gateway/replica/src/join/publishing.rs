//! Merged windows: which are to be published when, and what they say (contract §4).

use super::group::{self, Member, Piece};
use super::store::StoreError;
use super::window::Published;
use super::{Bridge, DAY_MS, Effects, Pending, WindowKey, store_error};
use crate::error::Error;
use crate::limits::{LONG_PARTS, ROUND_PARTS_MAX, ROUND_WINDOWS_MAX};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use telemetry::aggregate::Aggregate;
use telemetry::window as tumbling;

/// A window is published again at the earliest after this time, in ms (contract §4).
pub const REPUBLISH_MS: i64 = 1_000;
/// A gateway counts for `complete` when it had the series so long before, in ms.
const HAD_MS: i64 = 7 * DAY_MS;

/// A merged window to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Series name.
    pub series: String,
    /// Its unit.
    pub unit: Option<String>,
    /// Size in ms.
    pub size_ms: i64,
    /// Start.
    pub start_ms: i64,
    /// All readings.
    pub aggregate: Aggregate,
    /// Count by gateway.
    pub gateways: BTreeMap<String, u64>,
    /// Whether the members of each redundancy group in it saw the same readings; none without a group.
    pub agree: Option<bool>,
    /// From 1.
    pub revision: u64,
    /// Contract §4.
    pub complete: bool,
    /// Whether it is its series' newest of that size.
    pub newest: bool,
}

impl Bridge {
    /// A base window changed: so did every published window that it is part of.
    pub(super) fn touch(&mut self, gateway: u32, sizes: &[i64], (number, base_ms, start_ms): WindowKey) -> Result<(), StoreError> {
        let Some(series) = self.series.list_mut().get_mut(number as usize).map(Arc::make_mut) else { return Ok(()) };
        series.had(gateway, start_ms.saturating_add(base_ms), sizes);
        for &size in &series.sizes {
            if !tumbling::divides(base_ms, size) {
                continue;
            }
            let start = tumbling::start_of(start_ms, size);
            let newest = series.newest.entry(size, start);
            *newest = (*newest).max(start);
            let key = (number, size, start);
            let mut is_first = false;
            if !self.rounds.holds(key) {
                let published = self.windows.load(key)?.published;
                let is_long = is_long(&series.sizes, size);
                is_first = is_long && published.revision == 0 && series.since.get(size).is_some_and(|since| start >= since);
                let at_ms = if published.revision == 0 && self.config.is_paced { self.clock_ms } else { due_ms(published) };
                self.rounds.add(key, at_ms, is_long && self.config.is_paced);
            }
            self.spans.add(key, base_ms, start_ms, is_first);
        }
        Ok(())
    }

    /// A gateway's boots went on: windows that waited for it may be complete.
    pub(super) fn recheck(&mut self, gateway: &str) -> Result<(), StoreError> {
        let Some(known) = self.gateways.get(gateway) else { return Ok(()) };
        let number = known.number;
        self.complete_ms[number as usize] = known.complete_ms;
        if self.groups[number as usize].as_deref() != known.group() {
            self.groups[number as usize] = known.group().map(Box::from);
        }
        for key in self.rounds.reached(number, known.complete_ms) {
            let published = self.windows.load(key)?.published;
            if published.complete {
                continue;
            }
            let blockers = self.blockers(key)?;
            self.wait(&blockers, key);
            if blockers.is_empty() {
                let sizes = self.series.sizes(key.0);
                self.rounds.hasten(key, due_ms(published), self.config.is_paced && is_long(sizes, key.1));
            }
        }
        Ok(())
    }

    /// The first gateway for which a window is not complete (contract §4). Of a redundancy group
    /// only the fullest members are asked, and one of them suffices: then it is all of them.
    fn blockers(&mut self, key: WindowKey) -> Result<Vec<u32>, StoreError> {
        let (number, size, start) = key;
        let end = start.saturating_add(size);
        let Some(series) = self.series.list().get(number as usize) else { return Ok(Vec::new()) };
        let is_past = |gateway: u32| self.is_past(gateway, key);
        let had = series.gateways.iter().filter(|(_, last)| *last >= end.saturating_sub(HAD_MS)).map(|(gateway, _)| gateway);
        let grouped = |gateway: u32| self.groups.get(gateway as usize).is_some_and(Option::is_some);
        let mut members: Vec<u32> = Vec::new();
        for gateway in had {
            if grouped(gateway) {
                members.push(gateway);
            } else if !is_past(gateway) {
                return Ok(vec![gateway]);
            }
        }
        if members.iter().all(|member| is_past(*member)) {
            return Ok(Vec::new());
        }
        self.load(key)?;
        let pieces = self.pieces(key);
        let members = members.iter().filter_map(|m| {
            let (name, group) = (self.names.get(*m as usize)?, self.groups.get(*m as usize)?.as_deref()?);
            Some(Member { number: *m, name, group, is_past: self.is_past(*m, key) })
        });
        Ok(group::blockers(&pieces, members))
    }

    /// Whether all that a gateway accepted of a window is here.
    fn is_past(&self, gateway: u32, key: WindowKey) -> bool {
        let end = key.2.saturating_add(key.1);
        self.complete_ms.get(gateway as usize).is_some_and(|until| *until >= end) && !self.lacks(gateway, key)
    }

    /// A window waits for gateways; for what one of them gave up it would wait in vain.
    fn wait(&mut self, blockers: &[u32], key: WindowKey) {
        for gateway in blockers {
            if !self.lacks(*gateway, key) {
                self.rounds.wait(*gateway, key);
            }
        }
    }

    /// Whether a gateway gave up what a window is added up from: of several sizes that divide it, it may have all of
    /// the one that counts.
    fn lacks(&self, gateway: u32, key: WindowKey) -> bool {
        let known = || self.names.get(gateway as usize).and_then(|name| self.gateways.get(name));
        let is_base = |base: i64| known().is_some_and(|g| g.boots.values().any(|p| tumbling::base_for(&p.kept, key.1) == Some(base)));
        self.lacking.has(gateway, key, is_base)
    }

    /// Whether a round now would publish something.
    pub fn round_due(&self, clock_ms: i64) -> bool {
        self.rounds.next_ms().is_some_and(|at| at <= clock_ms)
    }

    /// Whether anything waits for a round.
    pub fn is_dirty(&self) -> bool {
        self.rounds.due() > 0
    }

    pub(super) fn round(&mut self) -> Result<Vec<Merged>, StoreError> {
        let (mut out, mut read) = (Vec::new(), 0i64);
        for _ in 0..ROUND_WINDOWS_MAX {
            let short = if self.config.is_paced && read >= ROUND_PARTS_MAX { None } else { self.rounds.take(self.clock_ms) };
            let Some(key) = short.or_else(|| self.rounds.take_long(self.clock_ms)) else { break };
            let sizes = self.series.sizes(key.0);
            let parts = self.spans.count(key, sizes);
            match short {
                Some(_) => read = read.saturating_add(parts),
                None => self.rounds.spend(parts),
            }
            if self.is_nothing_here(key)? {
                continue;
            }
            let blockers = self.blockers(key)?;
            let at_ms = self.clock_ms;
            let mut complete = blockers.is_empty();
            let set_back = self.set_back;
            self.windows.change(key, |w| {
                complete |= w.published.complete;
                w.published = Published { revision: set_back.revision(w.published.revision, key.2), at_ms, complete };
                true
            })?;
            if complete {
                self.settled(key);
            } else {
                self.wait(&blockers, key);
            }
            self.rounds_windows += 1;
            self.pending.push_back((self.lsn, Pending::Window(key)));
            if self.lsn > self.quiet {
                out.extend(self.build(key)?);
            }
            self.windows.trim();
        }
        Ok(out)
    }

    /// Whether nothing is in a window yet: one that several sizes divide is added up from one of them, and the entry of
    /// another may come first. There is nothing to show then, and nothing that could be complete.
    fn is_nothing_here(&mut self, key: WindowKey) -> Result<bool, StoreError> {
        let window = self.windows.load(key)?;
        if window.published.revision > 0 || !window.entries.is_empty() {
            return Ok(false);
        }
        self.load(key)?;
        Ok(self.pieces(key).is_empty())
    }

    /// A window is complete: members of groups that it waited for as well are waited for no more.
    fn settled(&mut self, key: WindowKey) {
        let Some(series) = self.series.list().get(key.0 as usize) else { return };
        let members = series.gateways.iter().map(|(gateway, _)| gateway);
        for gateway in members.filter(|gateway| self.groups.get(*gateway as usize).is_some_and(Option::is_some)) {
            self.rounds.wait_no_more(gateway, key);
        }
    }

    /// A window as it stands, with the revision that was published last.
    ///
    /// # Errors
    /// The store's.
    pub fn merged(&mut self, key: WindowKey) -> Result<Option<Merged>, Error> {
        self.build(key).map_err(store_error)
    }

    fn build(&mut self, key: WindowKey) -> Result<Option<Merged>, StoreError> {
        let (number, size_ms, start_ms) = key;
        let published = self.windows.load(key)?.published;
        if published.revision == 0 {
            return Ok(None);
        }
        self.load(key)?;
        let mut pieces = self.pieces(key);
        let Some(sum) = group::sum(&mut pieces, &self.members(key)) else { return Ok(None) };
        let Some(series) = self.series.list().get(number as usize) else { return Ok(None) };
        Ok(Some(Merged {
            series: series.name.to_string(),
            unit: series.unit.as_deref().map(str::to_owned),
            size_ms,
            start_ms,
            aggregate: sum.aggregate,
            gateways: sum.gateways,
            agree: sum.agree,
            revision: published.revision,
            complete: published.complete,
            newest: series.newest.get(size_ms).is_some_and(|newest| start_ms >= newest),
        }))
    }

    /// The windows that a published window is added up from.
    fn bases(&self, key: WindowKey) -> impl Iterator<Item = WindowKey> + '_ {
        let sizes = self.series.sizes(key.0);
        self.spans.parts(key, sizes)
    }

    /// Brings those into memory.
    fn load(&mut self, key: WindowKey) -> Result<(), StoreError> {
        let bases: Vec<WindowKey> = self.bases(key).collect();
        bases.into_iter().try_for_each(|base| self.windows.load(base).map(drop))
    }

    /// What gateways gave to a published window, of what is in memory.
    fn pieces(&self, key: WindowKey) -> Vec<Piece<'_>> {
        let held = self.bases(key).flat_map(|base| {
            let entries = self.windows.peek(base).map_or(&[][..], |w| &w.entries);
            entries.iter().map(move |held| (base, held))
        });
        let piece = held.filter_map(|((_, base, start_ms), held)| {
            let &(gateway, boot) = self.sources.get(held.source as usize)?;
            let name = self.names[gateway as usize].as_str();
            let part = self.part(name, boot)?;
            (tumbling::base_for(&part.kept, key.1) == Some(base)).then_some(Piece {
                gateway: name,
                group: part.group.as_deref(),
                boot,
                start_ms,
                born: held.born,
                aggregate: &held.aggregate,
            })
        });
        piece.collect()
    }

    /// Members of redundancy groups that had the series lately: group and name.
    fn members(&self, (number, size_ms, start_ms): WindowKey) -> Vec<(&str, &str)> {
        let Some(series) = self.series.list().get(number as usize) else { return Vec::new() };
        let since_ms = start_ms.saturating_add(size_ms).saturating_sub(HAD_MS);
        let had = series.gateways.iter().filter(|(_, last)| *last >= since_ms);
        had.filter_map(|(g, _)| Some((self.groups.get(g as usize)?.as_deref()?, self.names.get(g as usize)?.as_str()))).collect()
    }

    /// The newest published window of each series and size: what is retained. One that changed
    /// since is left out; it is published again when its turn comes.
    ///
    /// # Errors
    /// The store's.
    pub fn newest(&mut self, mut each: impl FnMut(Merged)) -> Result<(), Error> {
        for number in 0..self.series.list().len() as u32 {
            let newest: Vec<(i64, i64)> = self.series.list()[number as usize].newest.iter().collect();
            for (size, start) in newest {
                let key = (number, size, start);
                if !self.rounds.holds(key)
                    && let Some(merged) = self.merged(key)?
                {
                    each(merged);
                }
            }
            self.windows.trim();
        }
        Ok(())
    }

    /// What no broker is known to have taken, by record: after a start it is published again. A
    /// window comes once, as it stands, with the last of its records, and so does an alarm.
    ///
    /// # Errors
    /// The store's.
    pub fn unpublished(&mut self) -> Result<Vec<(u64, Effects)>, Error> {
        let (mut seen, mut told) = (HashSet::new(), HashSet::new());
        let mut out: Vec<(u64, Effects)> = Vec::new();
        // From the end, so that it is the last record that a window comes with.
        for i in (0..self.pending.len()).rev() {
            let Some((lsn, pending)) = self.pending.get(i).cloned() else { break };
            if out.last().is_none_or(|(last, _)| *last != lsn) {
                out.push((lsn, Effects::default()));
            }
            let Some((_, effects)) = out.last_mut() else { break };
            match pending {
                Pending::Window(key) if seen.insert(key) => effects.merged.extend(self.merged(key)?),
                Pending::Window(_) => {}
                Pending::Alert(gateway, alert) => effects.alerts.push((gateway, *alert)),
                Pending::Crossed(message) => effects.crossed.push(Arc::unwrap_or_clone(message)),
                Pending::Cleared(series, size) => effects.cleared.push((series, size)),
                Pending::Alarm(gateway, name) if told.insert((gateway.clone(), name.clone())) => effects.alarms.push((gateway, name)),
                Pending::Alarm(..) => {}
            }
        }
        out.reverse();
        for (_, effects) in &mut out {
            effects.merged.reverse();
            effects.alerts.reverse();
            effects.crossed.reverse();
            effects.alarms.reverse();
        }
        out.retain(|(_, effects)| effects.publishes());
        Ok(out)
    }
}

/// When a window may be published again.
fn due_ms(published: Published) -> i64 {
    if published.revision == 0 { i64::MIN } else { published.at_ms.saturating_add(REPUBLISH_MS) }
}

/// Whether windows of that size may be added up from many.
fn is_long(sizes: &[i64], size: i64) -> bool {
    sizes.iter().filter(|base| tumbling::divides(**base, size)).any(|base| size / base >= LONG_PARTS)
}
