//! The cloud's half of the protocol (§3, §4): apply once, and `applied` never goes back.
//!
//! A deterministic fold over the cloud's own log. Invariants: an interval whose `from` lies
//! beyond `applied`, or that believes in another boot of the cloud, changes nothing; each
//! item of any other is judged alone; a merged window is the sum of its entries in the
//! canonical order (gateway, boot, start, born); a revision is a function of the log. What a
//! stranger sent and cannot be taken is counted: a record that was logged always folds.
//!
//! | file | subject |
//! |---|---|
//! | [`alarms`] | alarms of all gateways, and commands on their way down |
//! | [`gateways`] | gateways and their boots |
//! | [`series`] | names, units and sizes |
//! | [`group`] | what counts of redundant gateways |
//! | [`window`] | a merged window, and as bytes |
//! | [`store`] | where windows are kept, the cache before it |
//! | [`crossing`] | ordinary messages, both ways |
//! | [`rounds`] | what is to be published when |
//! | [`saved`] | all but the windows ↔ bytes |

pub mod alarms;
pub mod crossing;
pub mod gateways;
pub mod group;
pub mod rounds;
pub mod saved;
pub mod series;
pub mod store;
#[cfg(test)]
mod tests;
pub mod window;

use crate::error::Error;
use crate::limits::{
    ALERTS_AHEAD_MAX, BLOCK_ENTRIES_MAX, CACHED_WINDOWS_MAX, CHANGED_WINDOWS_MAX, GATEWAY_SERIES_MAX, GATEWAYS_MAX, ROUND_WINDOWS_MAX,
    SOURCES_MAX, WINDOW_ENTRIES_MAX, WINDOW_IDLE_MS,
};
use crate::record::Record;
use crate::session::Sessions;
pub use alarms::Alarms;
pub use crossing::Crossing;
use detect::alarm::Name;
pub use gateways::{Gateway, Part};
use group::{Member, Piece};
use rounds::Rounds;
use schemas::limits::CROSSED_MAX;
use schemas::message::{Ack, AlertBody, AlertUp, Command, CommandUp, CrossAck, CrossUp, Crossed, Delta, FORMAT, Hello, Receipt};
use schemas::{DecodeError, cbor};
use serde::{Deserialize, Serialize};
use series::{Catalogue, UNPLACED, valid_gateway, valid_name};
use std::collections::{BTreeMap, HashSet, VecDeque};
use store::{Store, StoreError, Windows};
use telemetry::aggregate::Aggregate;
use telemetry::entry::Entry;
use telemetry::{block, window as tumbling};
use window::{Held, Published};
pub use window::{Window, WindowKey};

/// A window is published again at the earliest after this time, in ms (contract §4).
pub const REPUBLISH_MS: i64 = 1_000;
/// A gateway counts for `complete` when it had the series so long before, in ms.
const HAD_MS: i64 = 7 * DAY_MS;
/// How often windows that are too old leave the store, in ms.
const DAY_MS: i64 = 86_400_000;
/// Bytes of a stored config.
const CONFIG_BYTES_MAX: usize = 1 << 16;

/// What of the config decides what records mean; each boot logs it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BridgeConfig {
    /// Windows that ended longer ago, in ms, are counted as expired and not merged; none: all are.
    pub retain_ms: Option<i64>,
}

impl BridgeConfig {
    /// As a boot's record carries it.
    pub fn encode(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }
}

/// An interval that decodes in all its parts.
pub struct Interval {
    /// The message.
    pub delta: Delta,
    entries: Vec<Entry>,
    /// Those before it are covered by `to`; the others go ahead.
    covered: usize,
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

/// A message that no broker is known to have taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Pending {
    /// A window.
    Window(WindowKey),
    /// An alert of a gateway.
    Alert(String, Box<AlertBody>),
    /// A series and size whose retained window goes.
    Cleared(String, i64),
    /// An ordinary message of a gateway.
    Crossed(Crossed),
}

/// What follows from a record.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answer to an interval.
    pub ack: Option<(String, Ack)>,
    /// Answer on the urgent lane.
    pub receipt: Option<(String, Receipt)>,
    /// Alerts seen for the first time.
    pub alerts: Vec<(String, AlertBody)>,
    /// Windows to publish.
    pub merged: Vec<Merged>,
    /// Series and sizes in ms whose newest window has expired: retained no longer.
    pub cleared: Vec<(String, i64)>,
    /// Ordinary messages of gateways to publish.
    pub crossed: Vec<Crossed>,
    /// Answer to those.
    pub cross_ack: Option<(String, CrossAck)>,
    /// Gateway that the record speaks of.
    pub gateway: Option<String>,
    /// Alarms that changed, by gateway; each is retained as it stands.
    pub alarms: Vec<(String, Name)>,
    /// What is to be passed on to a gateway at once.
    pub command: Option<(String, Command)>,
}

impl Effects {
    /// Whether it makes messages that a broker must take.
    pub fn publishes(&self) -> bool {
        !(self.alerts.is_empty() && self.merged.is_empty() && self.cleared.is_empty() && self.crossed.is_empty())
    }
}

/// The cloud's fold.
#[derive(Default)]
pub struct Bridge {
    /// The cloud's own boot.
    pub boot: u64,
    /// Last record folded.
    pub lsn: u64,
    /// The logged clock.
    pub clock_ms: i64,
    /// What the present boot's records mean.
    pub config: BridgeConfig,
    /// By name.
    pub gateways: BTreeMap<String, Gateway>,
    /// Durable MQTT sessions of the embedded broker.
    pub sessions: Sessions,
    /// Alarms.
    pub alarms: Alarms,
    /// Messages of records up to here were taken by the broker.
    pub cursor: u64,
    /// Windows of rounds up to this record are not built: while a log is folded again, what is
    /// still to be published is built once, at its end ([`Bridge::unpublished`]).
    pub quiet: u64,
    /// Messages in the log that this version cannot read, and those beyond a bound.
    pub spoilt: u64,
    /// Windows published, revisions counted each.
    pub rounds_windows: u64,
    series: Catalogue,
    windows: Windows,
    rounds: Rounds,
    /// Messages of records behind the cursor, by record.
    pending: VecDeque<(u64, Pending)>,
    /// Gateways' names by number.
    names: Vec<String>,
    /// Their `complete_ms` by number.
    complete_ms: Vec<i64>,
    /// Their redundancy groups by number.
    groups: Vec<Option<Box<str>>>,
    /// Boots by number: the gateway's number and the boot.
    sources: Vec<(u32, u64)>,
    /// Ordinary messages, by gateway.
    pub crossings: BTreeMap<String, Crossing>,
    /// The day for which windows were last let go.
    swept: i64,
}

fn store_error(error: StoreError) -> Error {
    Error::Store(error.to_string())
}

impl Bridge {
    /// An empty fold whose windows are kept in `store`.
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { windows: Windows::new(store), ..Self::default() }
    }

    /// Whether an interval may be logged; otherwise the answer that goes back at once.
    ///
    /// # Errors
    /// The ack that says where to go on.
    pub fn admit(&self, gateway: &str, delta: &Delta) -> Result<(), Ack> {
        let applied = self.part(gateway, delta.boot).map_or(0, |p| p.applied);
        if delta.from > applied || (delta.cloud_boot != 0 && delta.cloud_boot != self.boot) {
            return Err(self.ack(gateway, delta, false, false));
        }
        Ok(())
    }

    /// Whether there is room for a gateway and a boot, known or new.
    pub fn has_room(&self, gateway: &str, boot: u64) -> bool {
        self.part(gateway, boot).is_some()
            || (valid_gateway(gateway)
                && self.sources.len() < SOURCES_MAX
                && (self.names.len() < GATEWAYS_MAX || self.gateways.contains_key(gateway)))
    }

    /// Whether an alert can be published, and remembered until its interval comes.
    pub fn can_take(&self, gateway: &str, alert: &AlertBody) -> bool {
        let ahead = self.part(gateway, alert.boot).map_or(0, |p| p.alerts.len());
        publishable(alert) && ahead < ALERTS_AHEAD_MAX && self.has_room(gateway, alert.boot)
    }

    /// Whether a hello says nothing new: then it is a sign of life, and not logged.
    pub fn knows(&self, gateway: &str, hello: &Hello) -> bool {
        let parent = hello.parent.and_then(|(boot, end)| Some((self.part(gateway, boot)?, end)));
        self.part(gateway, hello.boot).is_some_and(|p| p.sizes == hello.sizes && p.grace_ms == hello.grace_ms && p.group == hello.group)
            && self.crossings.get(gateway).map_or(&[][..], |c| &c.wanted) == hello.wanted
            && parent.is_none_or(|(p, end)| p.ended || p.end == Some(end))
    }

    /// The answer to an interval that cannot be taken now: how far its boot is, and when to come again.
    pub fn busy(&self, gateway: &str, delta: &Delta, retry_after_ms: u64) -> Ack {
        Ack { retry_after_ms: Some(retry_after_ms), ..self.ack(gateway, delta, false, false) }
    }

    fn part(&self, gateway: &str, boot: u64) -> Option<&Part> {
        self.gateways.get(gateway)?.boots.get(&boot)
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
        }
    }

    /// Folds one record of the cloud's log.
    ///
    /// # Errors
    /// For a kind that this version does not know, and when the store cannot go on.
    pub fn apply(&mut self, lsn: u64, kind: u8, payload: &[u8]) -> Result<Effects, Error> {
        self.apply_decoded(lsn, kind, payload, None)
    }

    /// The same for a record whose interval was decoded before it was logged.
    ///
    /// # Errors
    /// As [`Bridge::apply`].
    pub fn apply_decoded(&mut self, lsn: u64, kind: u8, payload: &[u8], decoded: Option<Interval>) -> Result<Effects, Error> {
        let (advance, record) = Record::decode(kind, payload)?;
        self.lsn = lsn;
        self.clock_ms = self.clock_ms.saturating_add(i64::try_from(advance).unwrap_or(i64::MAX));
        let mut effects = Effects::default();
        match record {
            Record::Boot { boot, config, .. } => {
                self.boot = boot;
                // The first programs logged none.
                self.config = cbor::from_slice(config, CONFIG_BYTES_MAX).unwrap_or_default();
                self.sessions.restart(self.clock_ms);
            }
            Record::Session { number, event } => self.sessions.apply(self.clock_ms, number, event),
            Record::Cursor { lsn } => {
                self.cursor = self.cursor.max(lsn);
                while self.pending.front().is_some_and(|(at, _)| *at <= self.cursor) {
                    self.pending.pop_front();
                }
            }
            Record::Hello { gateway, bytes } => match Hello::decode(bytes) {
                Ok(hello) => self.hello(gateway, &hello, &mut effects).map_err(store_error)?,
                Err(_) => self.spoilt += 1,
            },
            Record::AlertUp { gateway, bytes } => match AlertUp::decode(bytes) {
                Ok(up) => self.urgent(gateway, up.alert, &mut effects),
                Err(_) => self.spoilt += 1,
            },
            Record::Interval { gateway, bytes } => match decoded.map_or_else(|| Interval::decode(bytes), Ok) {
                Ok(interval) => self.interval(gateway, interval, &mut effects).map_err(store_error)?,
                Err(_) => self.spoilt += 1,
            },
            Record::AskedAt { gateway, request } => {
                let command = self.alarms.asked(self.clock_ms, gateway, &request);
                effects.command = command.map(|command| (gateway.to_owned(), command));
            }
            Record::CommandUp { gateway, bytes } => match CommandUp::decode(bytes) {
                Ok(up) => self.command_up(gateway, &up),
                Err(_) => self.spoilt += 1,
            },
            Record::CrossUp { gateway, bytes } => match CrossUp::decode(bytes) {
                Ok(up) => self.crossed(gateway, up, &mut effects),
                Err(_) => self.spoilt += 1,
            },
            Record::CrossIn { message, session, packet_id } => {
                if packet_id != 0 {
                    self.sessions.received(session, packet_id);
                }
                let (topic, payload) = (message.topic.to_owned(), message.payload.to_vec());
                self.offer(
                    None,
                    &Crossed {
                        boot: self.boot,
                        seq: lsn.saturating_mul(CROSSED_MAX as u64),
                        topic,
                        payload,
                        qos: message.qos,
                        retain: message.retain,
                    },
                );
            }
            Record::CrossDone { gateway, boot, seq } => {
                if let Some(crossing) = self.crossings.get_mut(gateway) {
                    crossing.done(boot, seq);
                }
            }
            Record::Round => effects.merged = self.round().map_err(store_error)?,
            _ => {}
        }
        self.alarms.advance(self.clock_ms);
        effects.alarms = self.alarms.take_changed();
        self.sweep(&mut effects);
        let alerts = effects.alerts.iter().cloned().map(|(gateway, alert)| Pending::Alert(gateway, Box::new(alert)));
        let cleared = effects.cleared.iter().cloned().map(|(series, size)| Pending::Cleared(series, size));
        let crossed = effects.crossed.iter().cloned().map(Pending::Crossed);
        self.pending.extend(alerts.chain(cleared).chain(crossed).map(|pending| (lsn, pending)));
        Ok(effects)
    }

    /// A gateway and its boot, known from here on; false where there is no room.
    fn open(&mut self, gateway: &str, boot: u64) -> bool {
        if !self.has_room(gateway, boot) {
            return false;
        }
        let number = self.names.len() as u32;
        let known = self.gateways.entry(gateway.to_owned()).or_insert_with(|| {
            self.names.push(gateway.to_owned());
            self.complete_ms.push(i64::MAX);
            self.groups.push(None);
            Gateway::new(number)
        });
        let (number, source) = (known.number, self.sources.len() as u32);
        known.boots.entry(boot).or_insert_with(|| {
            self.sources.push((number, boot));
            Part { number: source, ..Part::default() }
        });
        known.seen_ms = self.clock_ms;
        true
    }

    fn hello(&mut self, gateway: &str, hello: &Hello, effects: &mut Effects) -> Result<(), StoreError> {
        if !self.open(gateway, hello.boot) {
            self.spoilt += 1;
            return Ok(());
        }
        let Some(known) = self.gateways.get_mut(gateway) else { return Ok(()) };
        known.boot = hello.boot;
        known.change(hello.boot, |p| {
            p.set_windows(&hello.sizes, hello.grace_ms);
            p.group.clone_from(&hello.group);
        });
        if let Some((parent, end)) = hello.parent {
            known.change(parent, |p| p.end = Some(end));
            if let Some(part) = known.boots.get_mut(&parent) {
                part.retire();
            }
        }
        effects.gateway = Some(gateway.to_owned());
        if !hello.wanted.is_empty() || self.crossings.contains_key(gateway) {
            self.crossings.entry(gateway.to_owned()).or_default().wanted.clone_from(&hello.wanted);
        }
        self.recheck(gateway)
    }

    /// Ordinary messages of a gateway: published once, and offered to the other gateways.
    fn crossed(&mut self, gateway: &str, up: CrossUp, effects: &mut Effects) {
        let Some((boot, last)) = up.messages.last().map(|m| (m.boot, m.seq)) else { return };
        if !self.has_room(gateway, boot) || !self.open(gateway, boot) {
            self.spoilt += 1;
            return;
        }
        let crossing = self.crossings.entry(gateway.to_owned()).or_default();
        crossing.lost_there = (up.given_up, up.expired);
        effects.crossed = crossing.fresh(up.lane, up.messages);
        let applied = crossing.applied(boot, up.lane).max(last);
        effects.cross_ack = Some((gateway.to_owned(), CrossAck { format: FORMAT, boot, lane: up.lane, applied }));
        effects.gateway = Some(gateway.to_owned());
        for (nth, message) in effects.crossed.iter().enumerate() {
            // A name of its own at the cloud: the record, and which of its messages.
            let seq = self.lsn.saturating_mul(CROSSED_MAX as u64).saturating_add(nth as u64);
            self.offer(Some(gateway), &Crossed { boot: self.boot, seq, ..message.clone() });
        }
    }

    /// Offers a message to every gateway but the one that it came from.
    fn offer(&mut self, from: Option<&str>, message: &Crossed) {
        let clock_ms = self.clock_ms;
        for (_, crossing) in self.crossings.iter_mut().filter(|(name, _)| from != Some(name.as_str())) {
            crossing.offer(clock_ms, message);
        }
    }

    fn urgent(&mut self, gateway: &str, alert: AlertBody, effects: &mut Effects) {
        if !self.can_take(gateway, &alert) || !self.open(gateway, alert.boot) {
            self.spoilt += 1;
            return;
        }
        let receipt = Receipt { format: FORMAT, boot: alert.boot, seq: alert.seq, ordinal: alert.ordinal, cloud_boot: self.boot };
        effects.receipt = Some((gateway.to_owned(), receipt));
        self.first_time(gateway, alert, effects);
    }

    /// What a gateway said about alarms at once. Names that can be no topics are passed over.
    fn command_up(&mut self, gateway: &str, up: &CommandUp) {
        if !self.open(gateway, up.boot) {
            self.spoilt += 1;
            return;
        }
        for act in up.acts.iter().filter(|act| valid_name(&act.series)) {
            self.alarms.join(self.clock_ms, gateway, act);
        }
        for answer in &up.answers {
            self.alarms.answered(self.clock_ms, gateway, answer);
        }
    }

    /// Remembers an alert's id, and shows it if that is new.
    fn first_time(&mut self, gateway: &str, alert: AlertBody, effects: &mut Effects) {
        let part = self.gateways.get_mut(gateway).and_then(|g| g.boots.get_mut(&alert.boot));
        let is_new = part.is_some_and(|p| alert.seq > p.applied && p.alerts.insert((alert.seq, alert.ordinal)));
        if is_new && self.alarms.alert(self.clock_ms, gateway, &alert) {
            effects.alerts.push((gateway.to_owned(), alert));
        }
    }

    fn interval(&mut self, gateway: &str, interval: Interval, effects: &mut Effects) -> Result<(), StoreError> {
        let Interval { delta, entries, covered } = interval;
        if let Err(ack) = self.admit(gateway, &delta) {
            effects.ack = Some((gateway.to_owned(), ack));
            return Ok(());
        }
        if !self.open(gateway, delta.boot) {
            self.spoilt += 1;
            return Ok(());
        }
        effects.gateway = Some(gateway.to_owned());
        self.define(gateway, &delta);
        let Some(known) = self.gateways.get_mut(gateway) else { return Ok(()) };
        let Some(part) = known.boots.get(&delta.boot) else { return Ok(()) };
        let unknown = |series: u32| !part.series.contains_key(&series);
        if entries.iter().any(|e| unknown(e.series)) || delta.marks.iter().any(|m| unknown(m.series)) {
            effects.ack = Some((gateway.to_owned(), self.ack(gateway, &delta, false, true)));
            return Ok(());
        }
        known.change(delta.boot, |p| {
            p.set_windows(&delta.sizes, delta.grace_ms);
            p.group.clone_from(&delta.group);
            p.miss(delta.complete_from, delta.readings_from);
            // Who goes on is not over: a clone of a boot that ended, or the disk it was taken from.
            if delta.to > p.applied && !delta.ended {
                (p.ended, p.end) = (false, None);
            }
        });
        self.join(gateway, &delta, entries, covered)?;
        self.give_up(gateway, &delta)?;
        for alert in delta.alerts.iter() {
            if publishable(alert) && alert.boot == delta.boot {
                self.first_time(gateway, alert.clone(), effects);
            } else if let Some(known) = self.gateways.get_mut(gateway) {
                known.refused += 1;
            }
        }
        for act in delta.acts.iter().filter(|act| valid_name(&act.series)) {
            self.alarms.join(self.clock_ms, gateway, act);
        }
        if let Some(known) = self.gateways.get_mut(gateway) {
            if !delta.ended {
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
                }
                p.ended |= delta.ended && p.applied == delta.to;
                p.alerts.retain(|(seq, _)| *seq > p.applied);
                p.marks.retain(|_, seq| *seq > p.applied);
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
            let Some(known) = self.gateways.get_mut(gateway) else { return };
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
        let Some(known) = self.gateways.get_mut(gateway) else { return Ok(()) };
        let Some(part) = known.boots.get(&delta.boot) else { return Ok(()) };
        let oldest_ms = self.config.retain_ms.map_or(i64::MIN, |retain| self.clock_ms.saturating_sub(retain));
        let mut touched = HashSet::new();
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
                // What goes ahead comes once more, covered.
                if i < covered {
                    known.expired = (known.expired.0 + 1, known.expired.1.saturating_add(e.aggregate.count()));
                }
                continue;
            }
            let key = (series, e.size_ms, e.start_ms);
            let held = Held { source: part.number, born: e.born, version: e.version, aggregate: e.aggregate };
            let mut is_full = false;
            let is_new = self.windows.change(key, self.clock_ms, |w| {
                is_full = w.entries.len() >= WINDOW_ENTRIES_MAX && w.entry(held.source, held.born).is_none();
                !is_full && w.join(held)
            })?;
            known.refused += u64::from(is_full && i < covered);
            if is_new {
                touched.insert(key);
            }
        }
        let number = known.number;
        let mut touched: Vec<WindowKey> = touched.into_iter().collect();
        touched.sort_unstable();
        touched.into_iter().try_for_each(|key| self.touch(number, &delta.sizes, key))
    }

    /// Entries that the gateway gave up: what of them is not here, is shed.
    fn give_up(&mut self, gateway: &str, delta: &Delta) -> Result<(), StoreError> {
        for mark in &delta.marks {
            let Some(known) = self.gateways.get_mut(gateway) else { return Ok(()) };
            let Some(part) = known.boots.get(&delta.boot) else { return Ok(()) };
            let name = (mark.series, mark.size_ms, mark.start_ms, mark.born);
            if mark.version <= part.applied || part.marks.contains_key(&name) {
                continue;
            }
            let held = match part.series.get(&mark.series) {
                Some(&series) if series != UNPLACED => {
                    let window = self.windows.load((series, mark.size_ms, mark.start_ms), self.clock_ms)?;
                    window.entry(part.number, mark.born).map_or(0, |e| e.aggregate.count())
                }
                _ => 0,
            };
            known.change(delta.boot, |p| {
                // A reading is in an entry of each size that is kept, and counts once.
                if p.kept.iter().min() == Some(&mark.size_ms) {
                    p.shed = p.shed.saturating_add(mark.count.saturating_sub(held));
                }
                p.marks.insert(name, mark.shed_seq);
            });
        }
        Ok(())
    }

    /// A base window changed: so did every published window that it is part of.
    fn touch(&mut self, gateway: u32, sizes: &[i64], (number, base_ms, start_ms): WindowKey) -> Result<(), StoreError> {
        let Some(series) = self.series.list_mut().get_mut(number as usize) else { return Ok(()) };
        series.had(gateway, start_ms.saturating_add(base_ms), sizes);
        for &size in &series.sizes {
            if !tumbling::divides(base_ms, size) {
                continue;
            }
            let start = tumbling::start_of(start_ms, size);
            let newest = series.newest.entry(size).or_insert(start);
            *newest = (*newest).max(start);
            let key = (number, size, start);
            if !self.rounds.holds(key) {
                let published = self.windows.load(key, self.clock_ms)?.published;
                self.rounds.add(key, due_ms(published));
            }
        }
        Ok(())
    }

    /// A gateway's boots went on: windows that waited for it may be complete.
    fn recheck(&mut self, gateway: &str) -> Result<(), StoreError> {
        let Some(known) = self.gateways.get(gateway) else { return Ok(()) };
        let number = known.number;
        self.complete_ms[number as usize] = known.complete_ms;
        if self.groups[number as usize].as_deref() != known.group() {
            self.groups[number as usize] = known.group().map(Box::from);
        }
        for key in self.rounds.reached(number, known.complete_ms) {
            match self.blocker(key)? {
                Some(other) => self.rounds.wait(other, key.2.saturating_add(key.1), key),
                None => {
                    let published = self.windows.load(key, self.clock_ms)?.published;
                    if !published.complete {
                        self.rounds.add(key, due_ms(published));
                    }
                }
            }
        }
        Ok(())
    }

    /// The first gateway for which a window is not complete (contract §4). Of a redundancy group
    /// only the fullest members are asked, and one of them suffices.
    fn blocker(&mut self, key: WindowKey) -> Result<Option<u32>, StoreError> {
        let (number, size, start) = key;
        let end = start.saturating_add(size);
        let Some(series) = self.series.list().get(number as usize) else { return Ok(None) };
        let is_past = |gateway: u32| self.complete_ms.get(gateway as usize).is_some_and(|until| *until >= end);
        let had = series.gateways.iter().filter(|(_, last)| **last >= end.saturating_sub(HAD_MS)).map(|(gateway, _)| *gateway);
        let grouped = |gateway: u32| self.groups.get(gateway as usize).is_some_and(Option::is_some);
        let mut members: Vec<u32> = Vec::new();
        for gateway in had {
            if grouped(gateway) {
                members.push(gateway);
            } else if !is_past(gateway) {
                return Ok(Some(gateway));
            }
        }
        if members.iter().all(|member| is_past(*member)) {
            return Ok(None);
        }
        self.load(key)?;
        let pieces = self.pieces(key);
        let members = members.iter().filter_map(|m| {
            let (name, group) = (self.names.get(*m as usize)?, self.groups.get(*m as usize)?.as_deref()?);
            Some(Member { number: *m, name, group, is_past: self.complete_ms.get(*m as usize).is_some_and(|until| *until >= end) })
        });
        Ok(group::blocker(&pieces, members))
    }

    /// Whether a round now would publish something.
    pub fn round_due(&self, clock_ms: i64) -> bool {
        self.rounds.next_ms().is_some_and(|at| at <= clock_ms)
    }

    /// Whether anything waits for a round.
    pub fn is_dirty(&self) -> bool {
        self.rounds.due() > 0
    }

    /// Windows that changed and are not published; those that wait to be complete; those in memory,
    /// and those of them that the store does not have as they are.
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        (self.rounds.due(), self.rounds.waiting(), self.windows.cached(), self.windows.changed())
    }

    /// Series known.
    pub fn series(&self) -> usize {
        self.series.list().len()
    }

    fn round(&mut self) -> Result<Vec<Merged>, StoreError> {
        let mut out = Vec::new();
        for _ in 0..ROUND_WINDOWS_MAX {
            let Some(key) = self.rounds.take(self.clock_ms) else { break };
            let blocker = self.blocker(key)?;
            let at_ms = self.clock_ms;
            let mut complete = blocker.is_none();
            self.windows.change(key, at_ms, |w| {
                complete |= w.published.complete;
                w.published = Published { revision: w.published.revision + 1, at_ms, complete };
                true
            })?;
            if let Some(gateway) = blocker.filter(|_| !complete) {
                self.rounds.wait(gateway, key.2.saturating_add(key.1), key);
            }
            self.rounds_windows += 1;
            self.pending.push_back((self.lsn, Pending::Window(key)));
            if self.lsn > self.quiet {
                out.extend(self.build(key)?);
            }
        }
        Ok(out)
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
        let published = self.windows.load(key, self.clock_ms)?.published;
        if published.revision == 0 {
            return Ok(None);
        }
        self.load(key)?;
        let mut pieces = self.pieces(key);
        let Some(sum) = group::sum(&mut pieces, &self.members(key)) else { return Ok(None) };
        let Some(series) = self.series.list().get(number as usize) else { return Ok(None) };
        Ok(Some(Merged {
            series: series.name.clone(),
            unit: series.unit.clone(),
            size_ms,
            start_ms,
            aggregate: sum.aggregate,
            gateways: sum.gateways,
            agree: sum.agree,
            revision: published.revision,
            complete: published.complete,
            newest: series.newest.get(&size_ms).is_some_and(|newest| start_ms >= *newest),
        }))
    }

    /// The windows that a published window is added up from.
    fn bases(&self, (number, size_ms, start_ms): WindowKey) -> impl Iterator<Item = WindowKey> + '_ {
        let sizes = self.series.list().get(number as usize).map(|series| &series.sizes);
        let bases = sizes.into_iter().flatten().filter(move |base| tumbling::divides(**base, size_ms));
        bases.flat_map(move |base| (0..size_ms / base).map(move |i| (number, *base, start_ms.saturating_add(i * base))))
    }

    /// Brings those into memory.
    fn load(&mut self, key: WindowKey) -> Result<(), StoreError> {
        let bases: Vec<WindowKey> = self.bases(key).collect();
        bases.into_iter().try_for_each(|base| self.windows.load(base, self.clock_ms).map(drop))
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
        let had = series.gateways.iter().filter(|(_, last)| **last >= since_ms);
        had.filter_map(|(g, _)| Some((self.groups.get(*g as usize)?.as_deref()?, self.names.get(*g as usize)?.as_str()))).collect()
    }

    /// The newest published window of each series and size: what is retained. One that changed
    /// since is left out; it is published again in a moment.
    ///
    /// # Errors
    /// The store's.
    pub fn newest(&mut self, mut each: impl FnMut(Merged)) -> Result<(), Error> {
        for number in 0..self.series.list().len() as u32 {
            let newest: Vec<(i64, i64)> = self.series.list()[number as usize].newest.iter().map(|(size, start)| (*size, *start)).collect();
            for (size, start) in newest {
                let key = (number, size, start);
                if !self.rounds.holds(key)
                    && let Some(merged) = self.merged(key)?
                {
                    each(merged);
                }
            }
            self.windows.trim(CACHED_WINDOWS_MAX / 4);
        }
        Ok(())
    }

    /// What no broker is known to have taken, by record: after a start it is published again. A
    /// window comes once, as it stands, with the last of its records.
    ///
    /// # Errors
    /// The store's.
    pub fn unpublished(&mut self) -> Result<Vec<(u64, Effects)>, Error> {
        let mut seen = HashSet::new();
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
                Pending::Crossed(message) => effects.crossed.push(message),
                Pending::Cleared(series, size) => effects.cleared.push((series, size)),
            }
        }
        out.reverse();
        for (_, effects) in &mut out {
            effects.merged.reverse();
            effects.alerts.reverse();
            effects.crossed.reverse();
        }
        out.retain(|(_, effects)| effects.publishes());
        Ok(out)
    }

    /// Once a day, windows that ended too long ago leave the store.
    fn sweep(&mut self, effects: &mut Effects) {
        let Some(retain_ms) = self.config.retain_ms else { return };
        let day = self.clock_ms.div_euclid(DAY_MS);
        if std::mem::replace(&mut self.swept, day) == day {
            return;
        }
        let oldest_ms = self.clock_ms.saturating_sub(retain_ms);
        let mut largest_ms = 0;
        for series in self.series.list_mut() {
            largest_ms = largest_ms.max(series.sizes.last().copied().unwrap_or(0));
            let name = &series.name;
            series.newest.retain(|size, start| {
                let stays = start.saturating_add(*size) >= oldest_ms;
                if !stays {
                    effects.cleared.push((name.clone(), *size));
                }
                stays
            });
        }
        self.rounds.forget(oldest_ms);
        // A larger window that is not over yet is still added up from them.
        self.windows.forget(oldest_ms.saturating_sub(largest_ms));
    }

    /// Whether so much is in memory that [`Bridge::flush`] is due.
    pub fn is_full(&self) -> bool {
        self.windows.changed() >= CHANGED_WINDOWS_MAX || self.windows.cached() >= CACHED_WINDOWS_MAX
    }

    /// Writes the windows and all else, as of the last record, to the store.
    ///
    /// # Errors
    /// The store's.
    pub fn flush(&mut self) -> Result<(), Error> {
        let mut windows = std::mem::take(&mut self.windows);
        let idle_ms = self.clock_ms.saturating_sub(WINDOW_IDLE_MS);
        let written = windows.flush(self.lsn, &|| self.save(), idle_ms, CACHED_WINDOWS_MAX / 2);
        self.windows = windows;
        written.map_err(store_error)
    }
}

/// When a window may be published again.
fn due_ms(published: Published) -> i64 {
    if published.revision == 0 { i64::MIN } else { published.at_ms.saturating_add(REPUBLISH_MS) }
}

/// Whether an alert can be a message: its series a topic, its value a number.
fn publishable(alert: &AlertBody) -> bool {
    valid_name(&alert.series) && !alert.value.is_nan()
}
