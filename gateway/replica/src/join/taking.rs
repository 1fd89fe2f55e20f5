//! Taking intervals and alerts: each item judged alone (§4).

use super::series::{UNPLACED, valid_name};
use super::store::StoreError;
use super::window::Held;
use super::{Bridge, Effects, Unfolded, WindowKey};
use crate::hash;
use crate::limits::{ALERTS_AHEAD_MAX, BLOCK_ENTRIES_MAX, GATEWAY_SERIES_MAX, MARKS_HELD_MAX, MARKS_WAIT_MS, WINDOW_ENTRIES_MAX};
use schemas::DecodeError;
use schemas::message::{Ack, AlertBody, Delta, FORMAT, READS, Receipt};
use std::collections::HashSet;
use std::sync::Arc;
use telemetry::block;
use telemetry::entry::Entry;

/// An interval that decodes in all its parts.
pub struct Interval {
    /// The message.
    pub delta: Delta,
    entries: Vec<Entry>,
    /// Those before it are covered by `to`; the others go ahead.
    covered: usize,
}

/// What hashes say of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// Nothing against it.
    Fits,
    /// It cannot be told.
    Unknown,
    /// It is of another log.
    Differs,
}

impl Interval {
    /// Entries in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// From the bytes of a delta.
    ///
    /// # Errors
    /// The decoder's, for the message or the blocks in it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let delta = Delta::decode(bytes)?;
        let mut entries = block::decode(&delta.entries, BLOCK_ENTRIES_MAX)?;
        let covered = entries.len();
        entries.extend(block::decode(&delta.ahead, BLOCK_ENTRIES_MAX)?);
        Ok(Self { delta, entries, covered })
    }
}

impl Bridge {
    /// Whether an interval may be logged behind what is `unfolded` there; otherwise the answer that
    /// goes back at once.
    ///
    /// # Errors
    /// The ack that says where to go on.
    pub fn admit(&self, gateway: &str, delta: &Delta, unfolded: &Unfolded) -> Result<(), Ack> {
        let applied = self.part(gateway, delta.boot).map_or(0, |p| p.applied);
        let is_ours = delta.cloud_boot == 0 || delta.cloud_boot == self.boot;
        let goes_on = delta.from <= applied && self.compare(gateway, delta) == Compared::Fits;
        if !is_ours || !(goes_on || unfolded.leads_to(gateway, delta)) {
            return Err(self.ack(gateway, delta, false, false));
        }
        let marks = self.part(gateway, delta.boot).map_or(0, |p| p.marks.len());
        if !delta.marks.is_empty() && marks + delta.marks.len() > MARKS_HELD_MAX {
            return Err(self.busy(gateway, delta, MARKS_WAIT_MS));
        }
        Ok(())
    }

    /// Whether an interval goes on from what is here, by the running hashes of the boot's log. One
    /// that begins below `applied` can be compared only where it ends there; unless it claims
    /// nothing, it has to go on from `applied`, whose hash its sender can compare.
    fn compare(&self, gateway: &str, delta: &Delta) -> Compared {
        let Some(part) = self.part(gateway, delta.boot) else { return Compared::Fits };
        let known = part.hash != hash::UNKNOWN && delta.hash_from != hash::UNKNOWN;
        let there = match part.applied {
            applied if applied == delta.from => delta.hash_from,
            applied if applied == delta.to => delta.hash_to,
            _ if known && delta.from < delta.to => return Compared::Unknown,
            _ => return Compared::Fits,
        };
        if hash::differ(part.hash, there) { Compared::Differs } else { Compared::Fits }
    }

    /// Whether an interval follows the last one that was taken, or is that one once more.
    fn follows(&self, gateway: &str, delta: &Delta) -> bool {
        let last = self.part(gateway, delta.boot).map_or(0, |p| p.followed);
        delta.after == 0 || last == 0 || [delta.after, delta.number].contains(&last)
    }

    /// Whether an interval is of another log than what is here of its boot: two speak under one name.
    pub fn is_of_another_log(&self, gateway: &str, delta: &Delta) -> bool {
        self.compare(gateway, delta) == Compared::Differs
    }

    /// Whether an alert can be published, and remembered until its interval comes.
    pub fn can_take(&self, gateway: &str, alert: &AlertBody) -> bool {
        let ahead = self.part(gateway, alert.boot).map_or(0, |p| p.alerts.len());
        publishable(alert) && ahead < ALERTS_AHEAD_MAX && self.has_room(gateway, alert.boot)
    }

    /// The answer to an interval that cannot be taken now: how far its boot is, and when to come again.
    pub fn busy(&self, gateway: &str, delta: &Delta, retry_after_ms: u64) -> Ack {
        Ack { retry_after_ms: Some(retry_after_ms), ..self.ack(gateway, delta, false, false) }
    }

    fn ack(&self, gateway: &str, delta: &Delta, ahead: bool, need_defs: bool) -> Ack {
        let part = self.part(gateway, delta.boot);
        Ack {
            format: FORMAT,
            boot: delta.boot,
            number: delta.number,
            applied: part.map_or(0, |p| p.applied),
            cloud_boot: self.boot,
            ahead,
            shed: part.map_or(0, |p| p.shed),
            need_defs,
            readings: part.map_or(0, |p| p.readings),
            clock_ms: 0,
            retry_after_ms: None,
            reads: READS,
            hash: part.map_or(hash::UNKNOWN, |p| p.hash),
            last: part.map_or(0, |p| p.followed),
        }
    }

    pub(super) fn urgent(&mut self, gateway: &str, alert: AlertBody, effects: &mut Effects) {
        if !self.can_take(gateway, &alert) || !self.open(gateway, alert.boot) {
            self.spoilt += 1;
            return;
        }
        let receipt = Receipt { format: FORMAT, boot: alert.boot, seq: alert.seq, ordinal: alert.ordinal, cloud_boot: self.boot };
        effects.receipt = Some((gateway.to_owned(), receipt));
        self.first_time(gateway, alert, effects);
    }

    /// Remembers an alert's id, and shows it if that is new.
    fn first_time(&mut self, gateway: &str, alert: AlertBody, effects: &mut Effects) {
        let part = self.gateways.get_mut(gateway).and_then(|g| Arc::make_mut(g).boots.get_mut(&alert.boot));
        let is_new = part.is_some_and(|p| alert.seq > p.applied && p.alerts.insert((alert.seq, alert.ordinal)));
        if is_new && self.alarms.alert(self.clock_ms, gateway, &alert) {
            effects.alerts.push((gateway.to_owned(), alert));
        }
    }

    pub(super) fn interval(&mut self, gateway: &str, interval: Interval, effects: &mut Effects) -> Result<(), StoreError> {
        let Interval { delta, entries, covered } = interval;
        // What it follows is judged here alone: the one before may be on its way into the log.
        let refused = self
            .admit(gateway, &delta, &Unfolded::default())
            .err()
            .or_else(|| (!self.follows(gateway, &delta)).then(|| self.ack(gateway, &delta, false, false)));
        if let Some(ack) = refused {
            effects.ack = Some((gateway.to_owned(), ack));
            return Ok(());
        }
        if !self.open(gateway, delta.boot) {
            self.spoilt += 1;
            return Ok(());
        }
        effects.gateway = Some(gateway.to_owned());
        if self.config.is_skewed && delta.sent_ms != 0 {
            self.alarms.heard(self.clock_ms, gateway, delta.sent_ms);
        }
        self.set_back.told(&delta, self.boot, self.clock_ms, entries.iter().map(|e| e.start_ms).max());
        self.define(gateway, &delta);
        let Some(known) = self.gateways.get_mut(gateway).map(Arc::make_mut) else { return Ok(()) };
        let Some(part) = known.boots.get(&delta.boot) else { return Ok(()) };
        let unknown = |series: u32| !part.series.contains_key(&series);
        let unheard = |(seq, ordinal): &(u64, u32)| *seq > part.applied && !part.alerts.contains(&(*seq, *ordinal));
        if entries.iter().any(|e| unknown(e.series)) || delta.marks.iter().any(|m| unknown(m.series)) || delta.named.iter().any(unheard) {
            effects.ack = Some((gateway.to_owned(), self.ack(gateway, &delta, false, true)));
            return Ok(());
        }
        known.change(delta.boot, |p| {
            // A boot whose first record is gone does not know any more what it was configured for.
            if !delta.holed || p.sizes.is_empty() {
                p.set_windows(&delta.sizes, delta.grace_ms);
                p.group.clone_from(&delta.group);
            }
            p.holed |= delta.holed;
            p.miss(delta.complete_from, delta.readings_from);
            // Who goes on is not over: a clone of a boot that ended, or the disk it was taken from.
            if delta.to > p.applied && !delta.ended {
                (p.ended, p.end) = (false, None);
            }
        });
        if let Some(part) = known.boots.get_mut(&delta.boot) {
            part.came(entries.iter().map(|e| e.born));
        }
        self.join(gateway, &delta, entries, covered)?;
        self.give_up(gateway, &delta)?;
        for alert in delta.alerts.iter() {
            if publishable(alert) && alert.boot == delta.boot {
                self.first_time(gateway, alert.clone(), effects);
            } else if let Some(known) = self.gateways.get_mut(gateway).map(Arc::make_mut) {
                known.refused += 1;
            }
        }
        for act in delta.acts.iter().filter(|act| valid_name(&act.series)) {
            self.alarms.join(self.clock_ms, gateway, act);
        }
        if let Some(known) = self.gateways.get_mut(gateway).map(Arc::make_mut) {
            if !delta.ended && !delta.past {
                known.boot = delta.boot;
            }
            // An interval that comes late tells old counts.
            let is_newest = known.boots.get(&delta.boot).is_some_and(|p| delta.to >= p.applied);
            if let Some(tally) = delta.tally.as_ref().filter(|_| is_newest) {
                known.tally = Some(tally.clone());
            }
            known.change(delta.boot, |p| {
                (p.accepted, p.local) = (p.accepted.max(delta.accepted), p.local.max(delta.local));
                if delta.to > p.applied {
                    p.shed = p.shed.saturating_add(delta.lost.saturating_sub(p.lost));
                    p.lost = p.lost.max(delta.lost);
                    (p.applied, p.readings, p.frontier_ms) = (delta.to, delta.readings_to, p.frontier_ms.max(delta.frontier_ms));
                    p.hash = delta.hash_to;
                }
                if delta.after != 0 {
                    p.followed = delta.number;
                }
                p.ended |= delta.ended && p.applied == delta.to;
                p.alerts.retain(|(seq, _)| *seq > p.applied);
                p.marks.retain(|_, version| *version > p.applied);
                p.gave_way.retain(|_, (version, _)| *version > p.applied);
                p.ahead = p.ahead.filter(|(_, last)| *last > p.applied);
            });
            if let Some(part) = known.boots.get_mut(&delta.boot) {
                part.retire();
            }
        }
        self.recheck(gateway)?;
        effects.ack = Some((gateway.to_owned(), self.ack(gateway, &delta, true, false)));
        Ok(())
    }

    fn define(&mut self, gateway: &str, delta: &Delta) {
        for definition in &delta.defs {
            let number = self.series.define(&definition.name, definition.unit.as_deref());
            let Some(known) = self.gateways.get_mut(gateway).map(Arc::make_mut) else { return };
            let Some(part) = known.boots.get_mut(&delta.boot) else { return };
            let full = part.series.len() >= GATEWAY_SERIES_MAX && !part.series.contains_key(&definition.number);
            if number == UNPLACED && part.series.get(&definition.number) != Some(&UNPLACED) {
                known.refused += 1;
            }
            if !full {
                part.series.insert(definition.number, number);
            }
        }
    }

    fn join(&mut self, gateway: &str, delta: &Delta, entries: Vec<Entry>, covered: usize) -> Result<(), StoreError> {
        let Some(known) = self.gateways.get_mut(gateway).map(Arc::make_mut) else { return Ok(()) };
        let Some(part) = known.boots.get(&delta.boot) else { return Ok(()) };
        let oldest_ms = self.config.retain_ms.map_or(i64::MIN, |retain| self.clock_ms.saturating_sub(retain));
        let (mut touched, mut found) = (HashSet::new(), 0u64);
        // Entries that stand or gave way, in order.
        let mut ways = Vec::new();
        for (i, e) in entries.into_iter().enumerate() {
            let series = part.series.get(&e.series).copied().unwrap_or(UNPLACED);
            if e.version <= part.applied {
                continue;
            }
            if series == UNPLACED {
                known.refused += u64::from(i < covered);
                continue;
            }
            if e.start_ms.saturating_add(e.size_ms) < oldest_ms {
                // What went ahead may come once more, covered.
                if i < covered {
                    known.expired = (known.expired.0 + 1, known.expired.1.saturating_add(e.aggregate.count()));
                }
                continue;
            }
            let key = (series, e.size_ms, e.start_ms);
            let held = Held { source: part.number, born: e.born, version: e.version, aggregate: e.aggregate };
            let (name, count) = ((e.series, e.size_ms, e.start_ms, e.born), held.aggregate.count());
            let (mut is_full, mut more, mut gave_way) = (false, 0, Vec::new());
            let is_holed = part.holed;
            let is_new = self.windows.change(key, |w| {
                let known = w.entry(held.source, held.born);
                is_full = w.entries.len() >= WINDOW_ENTRIES_MAX && known.is_none();
                more = count.saturating_sub(known.map_or(0, |e| e.aggregate.count()));
                if is_full || !is_holed {
                    return !is_full && w.join(held);
                }
                let (is_new, met) = w.join_holed(held);
                gave_way = met;
                is_new
            })?;
            let is_base = part.kept.iter().min() == Some(&e.size_ms);
            // Given up by one who had no room, and told by one who had kept it: it is here after all.
            if is_new && part.marks.contains_key(&name) && is_base {
                found = found.saturating_add(more);
            }
            known.refused += u64::from(is_full && i < covered);
            if is_new {
                touched.insert(key);
            }
            if is_holed && is_new {
                ways.push((name, None));
            }
            ways.extend(gave_way.into_iter().map(|(born, version, lacking)| {
                let name = (e.series, e.size_ms, e.start_ms, born);
                (name, Some((version, if is_base { lacking } else { 0 })))
            }));
        }
        if found > 0 {
            known.change(delta.boot, |p| p.shed = p.shed.saturating_sub(found));
        }
        if !ways.is_empty() {
            known.change(delta.boot, |p| {
                for (name, gave_way) in ways {
                    match gave_way {
                        Some((version, lacking)) => p.give_way(name, version, lacking),
                        None => p.stand(name),
                    }
                }
            });
        }
        let number = known.number;
        let mut touched: Vec<WindowKey> = touched.into_iter().collect();
        touched.sort_unstable();
        touched.into_iter().try_for_each(|key| self.touch(number, &delta.sizes, key))
    }

    /// Entries that the gateway gave up: what of them is not here, is shed.
    fn give_up(&mut self, gateway: &str, delta: &Delta) -> Result<(), StoreError> {
        for mark in &delta.marks {
            let Some(known) = self.gateways.get_mut(gateway).map(Arc::make_mut) else { return Ok(()) };
            let Some(part) = known.boots.get(&delta.boot) else { return Ok(()) };
            let name = (mark.series, mark.size_ms, mark.start_ms, mark.born);
            if mark.version <= part.applied || part.marks.contains_key(&name) {
                continue;
            }
            let held = match part.series.get(&mark.series) {
                // Nothing is looked for that never came: marks are many, and the store is slow.
                Some(&series) if series != UNPLACED && part.may_hold(mark.born) => {
                    let window = self.windows.load((series, mark.size_ms, mark.start_ms))?;
                    window.entry(part.number, mark.born).map_or(0, |e| e.aggregate.count())
                }
                _ => 0,
            };
            // Of other sizes a gateway has no entries: a stranger's could be any, and without end.
            let is_lost = mark.count > held && part.kept.contains(&mark.size_ms);
            if let Some(&series) = part.series.get(&mark.series).filter(|series| **series != UNPLACED && is_lost) {
                Arc::make_mut(&mut self.lacking).add(known.number, (series, mark.size_ms, mark.start_ms));
            }
            known.change(delta.boot, |p| {
                // A reading is in an entry of each size that is kept, and counts once.
                if p.kept.iter().min() == Some(&mark.size_ms) {
                    p.shed = p.shed.saturating_add(mark.count.saturating_sub(held));
                }
                // Once `applied` has passed its version it is ignored anyway.
                p.marks.insert(name, mark.version);
            });
        }
        Ok(())
    }
}

/// Whether an alert can be a message: its series a topic, its value a number.
fn publishable(alert: &AlertBody) -> bool {
    valid_name(&alert.series) && !alert.value.is_nan()
}
