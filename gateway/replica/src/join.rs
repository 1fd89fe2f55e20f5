//! The cloud's half of the protocol (§3, §4): apply once, and `applied` never goes back.
//!
//! A deterministic fold over the cloud's own log. Invariants: an interval whose `from` lies
//! beyond `applied`, or that believes in another boot of the cloud, changes nothing; each
//! item of any other is judged alone; a merged window is the sum of its entries in the
//! canonical order (gateway, boot, start, born); a revision is a function of the log.

use crate::error::Error;
use crate::record::Record;
use crate::session::Sessions;
use schemas::message::{Ack, AlertBody, AlertUp, Delta, FORMAT, Hello, Receipt};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use telemetry::aggregate::Aggregate;
use telemetry::{block, window};

/// A window is published again at the earliest after this time, in ms (contract §4).
pub const REPUBLISH_MS: i64 = 1_000;
/// Windows in one round; the rest follows with the next.
const ROUND_WINDOWS_MAX: usize = 4_096;
/// Entries in one block of an interval; a gateway aims at far fewer.
const BLOCK_ENTRIES_MAX: usize = 1 << 16;
/// A gateway counts for `complete` when it had the series so long before, in ms.
const HAD_MS: i64 = 7 * 86_400_000;

/// Series, size in ms, start.
pub type WindowKey = (u32, i64, i64);
type EntryKey = (String, u64, u64);

/// One boot of a gateway, as the cloud knows it.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Every record up to here is in.
    pub applied: u64,
    /// It is over, and all of it is in.
    pub ended: bool,
    /// Its logged clock at `applied`.
    pub frontier_ms: i64,
    /// Its readings at or below `applied`, all that may leave, and those that stay.
    pub readings: u64,
    /// All that may leave.
    pub accepted: u64,
    /// Those that stay on site.
    pub local: u64,
    sizes: Vec<i64>,
    grace_ms: i64,
    series: HashMap<u32, u32>,
    alerts: BTreeSet<(u64, u32)>,
}

/// A gateway, as the cloud knows it.
#[derive(Debug, Clone, Default)]
pub struct Gateway {
    /// By boot.
    pub boots: BTreeMap<u64, Part>,
    /// The boot that spoke last.
    pub boot: u64,
    /// Clock of the last contact.
    pub seen_ms: i64,
}

struct Series {
    name: String,
    unit: Option<String>,
    /// Gateway → end of its newest window.
    gateways: BTreeMap<String, i64>,
    /// Published size → newest start.
    newest: BTreeMap<i64, i64>,
    sizes: BTreeSet<i64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Published {
    revision: u64,
    at_ms: i64,
    complete: bool,
}

/// A merged window to be published.
#[derive(Debug, Clone)]
pub struct Merged {
    /// Series name.
    pub series: String,
    /// Its unit.
    pub unit: Option<String>,
    /// Size and start in ms.
    pub size_ms: i64,
    /// Start.
    pub start_ms: i64,
    /// All readings.
    pub aggregate: Aggregate,
    /// Count by gateway.
    pub gateways: BTreeMap<String, u64>,
    /// From 1.
    pub revision: u64,
    /// Contract §4.
    pub complete: bool,
    /// Whether it is its series' newest of that size.
    pub newest: bool,
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
    /// Gateway that the record speaks of.
    pub gateway: Option<String>,
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
    /// By name.
    pub gateways: BTreeMap<String, Gateway>,
    /// Durable MQTT sessions of the embedded broker.
    pub sessions: Sessions,
    /// Messages of records up to here were taken by the broker.
    pub cursor: u64,
    series: Vec<Series>,
    by_name: HashMap<String, u32>,
    windows: HashMap<WindowKey, BTreeMap<EntryKey, (u64, Aggregate)>>,
    published: HashMap<WindowKey, Published>,
    dirty: BTreeSet<WindowKey>,
    /// Published windows that are not complete, by the frontier that they wait for.
    waiting: BTreeSet<(i64, WindowKey)>,
}

impl Bridge {
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
            shed: 0,
            need_defs,
            readings: part.map_or(0, |p| p.readings),
        }
    }

    /// Folds one record of the cloud's log.
    ///
    /// # Errors
    /// For a kind or bytes that this version cannot read.
    pub fn apply(&mut self, lsn: u64, kind: u8, payload: &[u8]) -> Result<Effects, Error> {
        let (advance, record) = Record::decode(kind, payload)?;
        self.lsn = lsn;
        self.clock_ms = self.clock_ms.saturating_add(i64::try_from(advance).unwrap_or(i64::MAX));
        let mut effects = Effects::default();
        let bad = |source| Error::Record { kind, source };
        match record {
            Record::Boot { boot, .. } => {
                self.boot = boot;
                self.sessions.restart(self.clock_ms);
            }
            Record::Session { number, event } => self.sessions.apply(self.clock_ms, number, event),
            Record::Cursor { lsn } => self.cursor = self.cursor.max(lsn),
            Record::Hello { gateway, bytes } => {
                let hello = Hello::decode(bytes).map_err(bad)?;
                let clock_ms = self.clock_ms;
                let known = self.gateways.entry(gateway.to_owned()).or_default();
                (known.boot, known.seen_ms) = (hello.boot, clock_ms);
                let part = known.boots.entry(hello.boot).or_default();
                (part.sizes, part.grace_ms) = (hello.sizes, hello.grace_ms);
                effects.gateway = Some(gateway.to_owned());
            }
            Record::AlertUp { gateway, bytes } => {
                let alert = AlertUp::decode(bytes).map_err(bad)?.alert;
                let (boot, seq, ordinal) = (alert.boot, alert.seq, alert.ordinal);
                if self.first_time(gateway, &alert) {
                    effects.alerts.push((gateway.to_owned(), alert));
                }
                let receipt = Receipt { format: FORMAT, boot, seq, ordinal, cloud_boot: self.boot };
                effects.receipt = Some((gateway.to_owned(), receipt));
            }
            Record::Interval { gateway, bytes } => {
                let delta = Delta::decode(bytes).map_err(bad)?;
                effects.gateway = Some(gateway.to_owned());
                self.interval(gateway, delta, &mut effects).map_err(bad)?;
            }
            Record::Round => effects.merged = self.round(),
            _ => {}
        }
        Ok(effects)
    }

    /// Remembers an alert's id; whether it is new.
    fn first_time(&mut self, gateway: &str, alert: &AlertBody) -> bool {
        let part = self.gateways.entry(gateway.to_owned()).or_default().boots.entry(alert.boot).or_default();
        alert.seq > part.applied && part.alerts.insert((alert.seq, alert.ordinal))
    }

    fn interval(&mut self, gateway: &str, delta: Delta, effects: &mut Effects) -> Result<(), schemas::DecodeError> {
        if let Err(ack) = self.admit(gateway, &delta) {
            effects.ack = Some((gateway.to_owned(), ack));
            return Ok(());
        }
        let mut entries = block::decode(&delta.entries, BLOCK_ENTRIES_MAX)?;
        entries.extend(block::decode(&delta.ahead, BLOCK_ENTRIES_MAX)?);
        for definition in &delta.defs {
            let series = self.define(&definition.name, definition.unit.as_deref());
            let part = self.gateways.entry(gateway.to_owned()).or_default().boots.entry(delta.boot).or_default();
            part.series.insert(definition.number, series);
        }
        let clock_ms = self.clock_ms;
        let known = self.gateways.entry(gateway.to_owned()).or_default();
        known.seen_ms = clock_ms;
        let part = known.boots.entry(delta.boot).or_default();
        if entries.iter().any(|e| !part.series.contains_key(&e.series)) {
            effects.ack = Some((gateway.to_owned(), self.ack(gateway, &delta, false, true)));
            return Ok(());
        }
        (part.sizes, part.grace_ms) = (delta.sizes.clone(), delta.grace_ms);
        let applied = part.applied;
        let places: Vec<(u32, telemetry::entry::Entry)> =
            entries.into_iter().filter_map(|e| Some((*part.series.get(&e.series)?, e))).collect();
        for (series, e) in places {
            if e.version <= applied {
                continue;
            }
            let key = (series, e.size_ms, e.start_ms);
            let window = self.windows.entry(key).or_default();
            let name = (gateway.to_owned(), delta.boot, e.born);
            if window.get(&name).is_some_and(|(version, _)| *version >= e.version) {
                continue;
            }
            window.insert(name, (e.version, e.aggregate));
            self.touch(gateway, series, &delta.sizes, e.size_ms, e.start_ms);
        }
        for alert in delta.alerts.iter().cloned() {
            if self.first_time(gateway, &alert) {
                effects.alerts.push((gateway.to_owned(), alert));
            }
        }
        let Some(part) = self.gateways.get_mut(gateway).and_then(|g| g.boots.get_mut(&delta.boot)) else { return Ok(()) };
        (part.accepted, part.local) = (part.accepted.max(delta.accepted), part.local.max(delta.local));
        if delta.to > part.applied {
            (part.applied, part.readings, part.frontier_ms) = (delta.to, delta.readings_to, part.frontier_ms.max(delta.frontier_ms));
        }
        part.ended |= delta.ended && part.applied == delta.to;
        let applied = part.applied;
        part.alerts.retain(|(seq, _)| *seq > applied);
        let frontier = if part.ended { i64::MAX } else { part.frontier_ms };
        self.recheck(frontier);
        effects.ack = Some((gateway.to_owned(), self.ack(gateway, &delta, true, false)));
        Ok(())
    }

    /// The first unit owns a series; another goes to a series of its own (contract §3).
    fn define(&mut self, name: &str, unit: Option<&str>) -> u32 {
        if let Some(&number) = self.by_name.get(name) {
            let series = &mut self.series[number as usize];
            match (&series.unit, unit) {
                (Some(owner), Some(unit)) if owner != unit => return self.define(&format!("{name}@{unit}"), Some(unit)),
                (None, Some(unit)) => series.unit = Some(unit.to_owned()),
                _ => {}
            }
            return number;
        }
        let number = self.series.len() as u32;
        self.series.push(Series {
            name: name.to_owned(),
            unit: unit.map(str::to_owned),
            gateways: BTreeMap::new(),
            newest: BTreeMap::new(),
            sizes: BTreeSet::new(),
        });
        self.by_name.insert(name.to_owned(), number);
        number
    }

    /// A base window changed: so did every published window that it is part of.
    fn touch(&mut self, gateway: &str, number: u32, sizes: &[i64], base_ms: i64, start_ms: i64) {
        let series = &mut self.series[number as usize];
        let end = start_ms + base_ms;
        let last = series.gateways.entry(gateway.to_owned()).or_insert(end);
        *last = (*last).max(end);
        series.sizes.extend(sizes.iter().copied().filter(|s| *s > 0));
        for &size in &series.sizes {
            if size % base_ms == 0 {
                let start = window::start_of(start_ms, size);
                let newest = series.newest.entry(size).or_insert(start);
                *newest = (*newest).max(start);
                self.dirty.insert((number, size, start));
            }
        }
    }

    /// A frontier moved: windows that waited for it may be complete.
    fn recheck(&mut self, frontier_ms: i64) {
        let reached: Vec<(i64, WindowKey)> = self.waiting.iter().take_while(|(at, _)| *at <= frontier_ms).copied().collect();
        for (at, key) in reached {
            if self.complete(key) {
                self.waiting.remove(&(at, key));
                self.dirty.insert(key);
            }
        }
    }

    fn complete(&self, (number, size, start): WindowKey) -> bool {
        let end = start + size;
        self.series[number as usize].gateways.iter().filter(|(_, last)| **last >= end - HAD_MS).all(|(name, _)| {
            self.gateways.get(name).is_some_and(|g| g.boots.values().all(|p| p.ended || p.frontier_ms >= end + p.grace_ms))
        })
    }

    /// Whether a round now would publish something.
    pub fn round_due(&self, clock_ms: i64) -> bool {
        self.dirty.iter().any(|key| self.eligible(*key, clock_ms))
    }

    /// Whether anything waits for a round.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    fn eligible(&self, key: WindowKey, clock_ms: i64) -> bool {
        self.published.get(&key).is_none_or(|p| clock_ms - p.at_ms >= REPUBLISH_MS)
    }

    fn round(&mut self) -> Vec<Merged> {
        let keys: Vec<WindowKey> =
            self.dirty.iter().copied().filter(|k| self.eligible(*k, self.clock_ms)).take(ROUND_WINDOWS_MAX).collect();
        let mut out = Vec::with_capacity(keys.len());
        for key in keys {
            self.dirty.remove(&key);
            let complete = self.complete(key);
            let before = self.published.get(&key).copied().unwrap_or_default();
            let now = Published { revision: before.revision + 1, at_ms: self.clock_ms, complete: complete || before.complete };
            self.published.insert(key, now);
            if !now.complete {
                // The least grace: the check itself asks every boot for its own.
                self.waiting.insert((key.2 + key.1, key));
            }
            out.extend(self.merged(key));
        }
        out
    }

    /// A window as it stands, with the revision that was published last.
    pub fn merged(&self, key: WindowKey) -> Option<Merged> {
        let (number, size_ms, start_ms) = key;
        let series = self.series.get(number as usize)?;
        let published = self.published.get(&key)?;
        let mut parts: Vec<(&EntryKey, i64, &Aggregate)> = Vec::new();
        for &base in series.sizes.iter().filter(|b| size_ms % **b == 0) {
            let mut at = start_ms;
            while at < start_ms + size_ms {
                for (name, (_, aggregate)) in self.windows.get(&(number, base, at)).into_iter().flatten() {
                    let kept = self.part(&name.0, name.1).map(|p| window::kept(&p.sizes)).unwrap_or_default();
                    if window::base_for(&kept, size_ms) == Some(base) {
                        parts.push((name, at, aggregate));
                    }
                }
                at += base;
            }
        }
        parts.sort_by(|a, b| (&a.0.0, a.0.1, a.1, a.0.2).cmp(&(&b.0.0, b.0.1, b.1, b.0.2)));
        let mut sum: Option<Aggregate> = None;
        let mut gateways = BTreeMap::new();
        for (name, _, aggregate) in parts {
            *gateways.entry(name.0.clone()).or_insert(0) += aggregate.count();
            match &mut sum {
                Some(sum) => sum.merge(aggregate),
                None => sum = Some(aggregate.clone()),
            }
        }
        Some(Merged {
            series: series.name.clone(),
            unit: series.unit.clone(),
            size_ms,
            start_ms,
            aggregate: sum?,
            gateways,
            revision: published.revision,
            complete: published.complete,
            newest: series.newest.get(&size_ms).is_some_and(|n| start_ms >= *n),
        })
    }

    /// The newest published window of each series and size: what is retained.
    pub fn newest(&self) -> Vec<Merged> {
        let keys = self.series.iter().enumerate().flat_map(|(n, s)| s.newest.iter().map(move |(size, start)| (n as u32, *size, *start)));
        keys.filter_map(|key| self.merged(key)).collect()
    }
}
