//! The gateway's half of the protocol (§4), without sockets or clocks.
//!
//! Intervals go one at a time: a next one is computed from the fold and `applied` once the
//! one before is acknowledged, or again when its ack does not come. Nothing is queued, so
//! nothing can be lost here. What the cloud is believed to hold is believed of one boot of
//! the cloud only, and only from its acks.

use crate::fold::Fold;
use crate::interval::{self, Content, Unreadable};
use crate::limits::{
    ACK_WAIT_MS, ENTRY_BYTES_GUESS, IDLE_FRONTIER_MS, INTERVAL_ACTS_MAX, INTERVAL_ALERTS_MAX, INTERVAL_BYTES_AIM, RECEIPT_WAIT_MS,
};
use crate::outbox::page::name_of;
use crate::outbox::{BootPart, EntryName};
use crate::record::{Record, Refusal};
use schemas::message::{Ack, AlertBody, AlertUp, Definition, Delta, FORMAT, Hello, Receipt, Tally};
use std::collections::{BTreeMap, BTreeSet};
use telemetry::block;
use telemetry::entry::Entry;

/// What an interval under way carries.
#[derive(Debug, Clone)]
struct Flight {
    number: u64,
    boot: u64,
    cloud_boot: u64,
    to: u64,
    readings: u64,
    /// Entries with the version they were sent at: one that is open may since have grown.
    names: Vec<(EntryName, u64)>,
    ahead: Vec<(EntryName, u64)>,
    definitions: Vec<u32>,
    deadline_ms: i64,
    /// More waits behind it.
    cut: bool,
}

/// The gateway's end of the link.
#[derive(Debug, Clone)]
pub struct Uplink {
    gateway: String,
    version: String,
    every_ms: i64,
    preview: bool,
    connected: bool,
    /// The process's own boot.
    boot: u64,
    /// The cloud was told of it on this connection.
    greeted: bool,
    cloud_boot: u64,
    /// Of the last interval; counts from the living boot on.
    number: u64,
    flight: Option<Flight>,
    next_ms: i64,
    /// Logged clock told last, per living boot.
    frontier_ms: i64,
    defined: BTreeMap<u64, BTreeSet<u32>>,
    previewed: BTreeMap<EntryName, u64>,
    /// Alerts without a receipt: when to send them again.
    unreceipted: BTreeMap<(u64, u64, u32), i64>,
    unreadable: Vec<u64>,
    /// What is known of the own clock, as intervals say it.
    clock: u8,
}

/// What came of an ack.
#[derive(Debug, Default, PartialEq)]
pub struct Acknowledged {
    /// To be logged, when something changed: applied, cloud boot, shed, readings.
    pub record: Option<Record<'static>>,
    /// The cloud holds less than it acknowledged before: the boot, and how far it is now.
    pub went_back: Option<(u64, u64)>,
}

impl Uplink {
    /// An uplink of `gateway` and of the process that began `boot`; it sends every `every_ms`,
    /// and is not connected.
    pub fn new(gateway: &str, version: &str, boot: u64, every_ms: i64, preview: bool) -> Self {
        Self {
            gateway: gateway.to_owned(),
            version: version.to_owned(),
            every_ms,
            preview,
            connected: false,
            boot,
            greeted: false,
            cloud_boot: 0,
            // Acks go to the gateway's topic: one for an earlier process, or for a clone, that
            // speaks of the same old boot must not pass for an answer to ours.
            number: boot,
            flight: None,
            next_ms: 0,
            frontier_ms: 0,
            defined: BTreeMap::new(),
            previewed: BTreeMap::new(),
            unreceipted: BTreeMap::new(),
            unreadable: Vec::new(),
            clock: 0,
        }
    }

    /// What is known of the own clock from here on: 0 nothing against it, 1 it was never set, 2 it jumped lately.
    pub fn set_clock(&mut self, quality: u8) {
        self.clock = quality;
    }

    /// Whether the link stands.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The link stands: gives the hello to send first, unless [`Uplink::hello`] has it later.
    pub fn connected(&mut self, now_ms: i64, fold: &Fold) -> Option<Hello> {
        self.connected = true;
        self.greeted = false;
        self.flight = None;
        self.next_ms = now_ms;
        self.unreceipted = fold.boots.iter().flat_map(|p| &p.alerts).map(|(a, _)| ((a.boot, a.seq, a.ordinal), now_ms)).collect();
        self.hello(fold)
    }

    /// The hello, once for each connection, as soon as the process's own boot is in the fold.
    /// Before, the fold takes the boot before it for the living one, which goes on no more.
    pub fn hello(&mut self, fold: &Fold) -> Option<Hello> {
        let part = fold.current().filter(|p| self.connected && !self.greeted && p.boot == self.boot)?;
        self.greeted = true;
        Some(Hello {
            format: FORMAT,
            gateway: self.gateway.clone(),
            boot: part.boot,
            parent: part.parent,
            sizes: fold.config.sizes_ms.clone(),
            grace_ms: fold.config.grace_ms,
            every_ms: self.every_ms,
            clock_ms: fold.clock_ms,
            version: self.version.clone(),
            group: part.group.clone(),
            wanted: fold.config.wanted.clone(),
        })
    }

    /// The link is gone; what was under way may or may not have arrived.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.flight = None;
    }

    /// A new alert for the urgent lane, at once; it waits for its receipt from here on.
    pub fn urgent(&mut self, now_ms: i64, alert: &AlertBody) -> Option<AlertUp> {
        if !self.connected {
            return None;
        }
        self.unreceipted.insert((alert.boot, alert.seq, alert.ordinal), now_ms + RECEIPT_WAIT_MS);
        Some(AlertUp { format: FORMAT, alert: alert.clone() })
    }

    /// Alerts whose receipt did not come in time, again.
    pub fn overdue(&mut self, now_ms: i64, fold: &Fold) -> Vec<AlertUp> {
        if !self.connected || self.unreceipted.is_empty() {
            return Vec::new();
        }
        let mut again = Vec::new();
        let mut waiting = BTreeMap::new();
        for (alert, _) in fold.boots.iter().flat_map(|p| &p.alerts) {
            let id = (alert.boot, alert.seq, alert.ordinal);
            if let Some(&at) = self.unreceipted.get(&id) {
                let late = at <= now_ms && again.len() < INTERVAL_ALERTS_MAX;
                waiting.insert(id, if late { now_ms + RECEIPT_WAIT_MS } else { at });
                if late {
                    again.push(AlertUp { format: FORMAT, alert: alert.clone() });
                }
            }
        }
        // An alert that an interval has covered is no longer in the fold, and needs no receipt.
        self.unreceipted = waiting;
        again
    }

    /// The cloud has an alert of the urgent lane.
    pub fn receipted(&mut self, receipt: &Receipt) {
        self.unreceipted.remove(&(receipt.boot, receipt.seq, receipt.ordinal));
    }

    /// When [`Uplink::poll`] or [`Uplink::overdue`] has something to do; `None` while there is no link.
    pub fn next_timeout_ms(&self) -> Option<i64> {
        if !self.connected {
            return None;
        }
        let interval = self.flight.as_ref().map_or(self.next_ms, |f| f.deadline_ms);
        Some(self.unreceipted.values().min().map_or(interval, |at| interval.min(*at)))
    }

    /// The next interval, when one is due and there is something to say.
    pub fn poll(&mut self, now_ms: i64, fold: &Fold) -> Option<Delta> {
        if !self.connected || !self.greeted {
            return None;
        }
        match &self.flight {
            Some(flight) if now_ms < flight.deadline_ms => return None,
            Some(_) => self.flight = None,
            None if now_ms < self.next_ms => return None,
            None => {}
        }
        self.next_ms = now_ms + self.every_ms;
        let part = fold.boots.iter().find(|p| self.worth(fold, p))?;
        match interval::content(fold, part, self.cloud_boot, INTERVAL_BYTES_AIM / ENTRY_BYTES_GUESS) {
            Ok(content) => Some(self.interval(now_ms, fold, part, content)),
            Err(Unreadable(pages)) => {
                self.unreadable = pages;
                None
            }
        }
    }

    /// Whether an interval about `part` would tell the cloud anything.
    fn worth(&self, fold: &Fold, part: &BootPart) -> bool {
        if part.ended {
            return part.applied < part.end;
        }
        let (to, before) = fold.complete_to(part);
        self.has_entries(fold, part)
            || part.alerts.front().is_some_and(|(a, _)| a.seq <= to)
            || part.acts.front().is_some_and(|(seq, ..)| *seq <= to)
            || part.readings_applied < before.readings
            || (to == part.end && part.applied < to && before.clock_ms - self.frontier_ms >= IDLE_FRONTIER_MS)
            || (self.preview && fold.series.iter().flat_map(|s| &s.open).any(|o| self.previewed.get(&o.name) != Some(&o.version)))
    }

    /// Whether the cloud lacks a sealed entry of `part`, as far as we know.
    fn has_entries(&self, fold: &Fold, part: &BootPart) -> bool {
        let batch = part.entries.oldest(&fold.shelf, part.floor(), self.cloud_boot, 1);
        !batch.entries.is_empty() || !batch.unreadable.is_empty()
    }

    /// Pages that could not be read since the last call: the log must say that they are lost.
    pub fn unreadable(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unreadable)
    }

    fn interval(&mut self, now_ms: i64, fold: &Fold, part: &BootPart, content: Content) -> Delta {
        let from = part.applied;
        let Content { mut to, mut before, mut entries, mut ahead, mut cut } = content;
        let mut alerts = Vec::new();
        for (alert, stood) in part.alerts.iter().take_while(|(a, _)| a.seq <= to) {
            if alerts.len() >= INTERVAL_ALERTS_MAX && alerts.last().is_some_and(|a: &AlertBody| a.seq < alert.seq) {
                (to, before, cut) = (alert.seq - 1, *stood, true);
                break;
            }
            alerts.push(alert.clone());
        }
        let mut acts = Vec::new();
        for (seq, act, stood) in part.acts.iter().take_while(|(seq, ..)| *seq <= to) {
            if acts.len() >= INTERVAL_ACTS_MAX {
                (to, before, cut) = (seq - 1, *stood, true);
                alerts.retain(|alert: &AlertBody| alert.seq <= to);
                break;
            }
            acts.push(act.clone());
        }
        let late = entries.iter().position(|e: &Entry| e.born > to).unwrap_or(entries.len());
        ahead.extend(entries.drain(late..));
        if self.preview && !part.ended {
            for open in fold.series.iter().flat_map(|s| &s.open) {
                if self.previewed.insert(open.name, open.version) != Some(open.version) {
                    let EntryName { born, series, size_ms, start_ms } = open.name;
                    ahead.push(Entry { series, size_ms, start_ms, born, version: open.version, aggregate: open.aggregate.clone() });
                }
            }
            self.previewed.retain(|name, _| name.born > part.applied);
        }
        if to < from {
            // What a clone told for us: nothing new below, entries ahead all the same.
            (to, before.readings) = (from, part.readings_applied);
        }
        let names = |list: &[Entry]| list.iter().map(|e| (name_of(e), e.version)).collect::<Vec<_>>();
        let known = self.defined.entry(part.boot).or_default();
        let mut definitions: Vec<u32> = entries.iter().chain(&ahead).map(|e| e.series).filter(|s| !known.contains(s)).collect();
        definitions.sort_unstable();
        definitions.dedup();
        self.number = self.number.wrapping_add(1);
        self.flight = Some(Flight {
            number: self.number,
            boot: part.boot,
            cloud_boot: self.cloud_boot,
            to,
            readings: before.readings,
            names: names(&entries),
            ahead: names(&ahead),
            definitions: definitions.clone(),
            deadline_ms: now_ms + ACK_WAIT_MS,
            cut: cut || part.ended,
        });
        let defs = definitions.iter().filter_map(|n| {
            let series = fold.series.get(*n as usize)?;
            Some(Definition { number: *n, name: series.name.clone(), unit: series.unit.clone() })
        });
        if !part.ended {
            self.frontier_ms = before.clock_ms;
        }
        Delta {
            format: FORMAT,
            boot: part.boot,
            from,
            to,
            cloud_boot: self.cloud_boot,
            number: self.number,
            frontier_ms: before.clock_ms,
            ended: part.ended && to == part.end,
            readings_to: before.readings,
            accepted: part.readings,
            local: part.local,
            complete_from: part.complete_from,
            defs: defs.collect(),
            entries: block::encode(&entries),
            ahead: block::encode(&ahead),
            alerts,
            marks: Vec::new(),
            sizes: fold.config.sizes_ms.clone(),
            grace_ms: fold.config.grace_ms,
            acts,
            group: part.group.clone(),
            sent_ms: now_ms,
            clock: self.clock,
            // One that ended may speak for another disk's counts by now.
            tally: (!part.ended).then(|| tally(fold)).flatten(),
        }
    }

    /// The cloud answered an interval.
    pub fn acked(&mut self, now_ms: i64, ack: &Ack, fold: &mut Fold) -> Acknowledged {
        let sent = self.number.wrapping_sub(self.boot);
        if !(1..=sent).contains(&ack.number.wrapping_sub(self.boot)) {
            return Acknowledged::default();
        }
        let known = fold.boots.iter().find(|p| p.boot == ack.boot);
        if known.is_none_or(|p| ack.cloud_boot == self.cloud_boot && ack.applied < p.applied) {
            // A boot of the cloud never goes back: this ack was overtaken by a later one.
            return Acknowledged::default();
        }
        if ack.cloud_boot != self.cloud_boot {
            self.cloud_boot = ack.cloud_boot;
            self.defined.clear();
            self.previewed.clear();
        }
        if ack.need_defs {
            self.defined.remove(&ack.boot);
        }
        let flight = self.flight.take_if(|f| f.number == ack.number && f.boot == ack.boot);
        let Some(part) = fold.boots.iter_mut().find(|p| p.boot == ack.boot) else { return Acknowledged::default() };
        let mut readings = if ack.applied == part.applied { part.readings_applied } else { ack.readings };
        if let Some(flight) = flight {
            let believed = (flight.cloud_boot == 0 || flight.cloud_boot == ack.cloud_boot) && !ack.need_defs;
            let taken = believed && ack.applied >= flight.to;
            if taken {
                // Those that grew beyond `to` are not covered by it.
                let beyond = flight.names.into_iter().filter(|(_, version)| *version > ack.applied);
                part.entries.hold(ack.cloud_boot, beyond);
                self.defined.entry(ack.boot).or_default().extend(flight.definitions);
            }
            if believed && ack.ahead {
                part.entries.hold(ack.cloud_boot, flight.ahead);
            }
            if ack.applied == flight.to {
                readings = flight.readings;
            }
            if flight.cut || !taken {
                self.next_ms = now_ms;
            }
        }
        let mut result = Acknowledged::default();
        if ack.applied < part.applied {
            result.went_back = Some((ack.boot, ack.applied));
        }
        if ack.applied != part.applied || ack.shed != part.shed {
            result.record =
                Some(Record::Acked { boot: ack.boot, applied: ack.applied, cloud_boot: ack.cloud_boot, shed: ack.shed, readings });
        }
        result
    }
}

/// What was not taken as a reading, if there is any such thing.
fn tally(fold: &Fold) -> Option<Tally> {
    let refused = Refusal::ALL.map(|reason| fold.refused.get(&(reason as u8)).copied().unwrap_or(0));
    (fold.duplicates > 0 || refused != [0; Refusal::ALL.len()]).then(|| Tally { duplicates: fold.duplicates, refused: refused.to_vec() })
}
