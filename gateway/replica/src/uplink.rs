//! The gateway's half of the protocol (§4), without sockets or clocks.
//!
//! Nothing is queued here, so nothing can be lost: what must go next is computed from the fold
//! and from what the cloud acknowledged. Several intervals may be under way, each beginning
//! where the one before ends; one that is lost makes the cloud answer how far it is, and what
//! follows goes on from there. What the cloud is believed to hold is believed of one boot of the
//! cloud only, and only from its acks.
//!
//! There are two connections: one for intervals, one for alerts and signs of life, so that an
//! alert never waits behind a backlog. Times are ms of a clock that never goes back; the wall
//! clock may jump as it likes. Chance comes from the seed.
//!
//! | file | subject |
//! |---|---|
//! | `interval` | the next interval, computed |
//! | `pieces` | alerts and acts of an interval, and of a record that made more than one carries |
//! | `flight` | intervals under way: how many, how large, what a loss takes with it |
//! | [`proof`] | whether the cloud has of a boot what this log says |
//! | `urgent` | alerts without a receipt |
//! | `rtt` | how long answers take |
//! | `drain` | how a backlog drains |
//! | `crossing` | what ordinary messages may take of the link |

mod crossing;
mod drain;
mod flight;
mod interval;
mod pieces;
pub mod proof;
mod rtt;
#[cfg(test)]
mod tests;
mod urgent;

use crate::budget::Budget;
use crate::fold::Fold;
use crate::lane::Share;
use crate::limits::{ENTRY_WIRE_BYTES_GUESS, HEARTBEAT_MS, REFUSALS_MAX, RETELL_MS, RETRY_AFTER_MS_MAX};
use crate::outbox::{BootPart, EntryName};
use crate::record::Record;
use crate::timer::Timer;
pub use drain::Drain;
use drain::{Done, Meter};
use flight::Flights;
use pieces::Pieces;
use proof::{Chain, Judged};
pub use proof::{Proof, Question};
use schemas::message::{Ack, AlertBody, AlertUp, Beat, Delta, FORMAT, Hello, READS, Receipt};
use std::collections::{BTreeMap, BTreeSet};
pub use urgent::AlertId;
use urgent::Urgent;

/// What an uplink is told once.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The gateway's name.
    pub gateway: String,
    /// The program's version.
    pub version: String,
    /// The boot that the process began.
    pub boot: u64,
    /// How often intervals go, in ms.
    pub every_ms: i64,
    /// Whether windows that are still open go as well.
    pub preview: bool,
    /// Bytes a second that the link may carry, both ways together; none: no bound.
    pub budget: Option<u64>,
    /// Uncompressed bytes that an interval aims at, at most; 0: as many as the protocol says.
    pub interval_bytes: usize,
    /// For all that is left to chance.
    pub seed: u64,
}

/// A connection to the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Intervals up, acks down.
    Intervals,
    /// Alerts and signs of life up, receipts down.
    Alerts,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Out {
    /// Send a hello there.
    Hello(Lane, Hello),
    /// Send a sign of life, on the connection for alerts.
    Beat(Beat),
    /// Send an alert on its connection.
    Alert(AlertUp),
    /// Send an interval; [`Uplink::weighed`] is told its size.
    Delta(Delta),
    /// Log that what was born up to there, of that boot, may go to the cloud; it waits until the
    /// fold knows. [`Uplink::offer_refused`] when the log has no room.
    Offer(u64, u64),
    /// The connection is deaf: give it up and make another.
    Drop(Lane),
    /// Ask the log, and tell [`Uplink::proved`].
    Prove(Question),
    /// Log that so many alerts, and this one the longest, have no receipt for too long; none: all have been
    /// heard. [`Uplink::unheard_refused`] when the log has no room.
    Unheard(Option<(u64, AlertId)>),
}

/// The gateway's end of the link.
#[derive(Debug, Clone)]
pub struct Uplink {
    settings: Settings,
    connected: bool,
    /// The cloud was told of the living boot on this connection.
    greeted: bool,
    /// Alerts of the fold are known here.
    learnt: bool,
    cloud_boot: u64,
    /// What it reads beyond the first format.
    reads: u32,
    /// Of the last interval, less what its number has of the log; counts from the living boot on.
    number: u64,
    flights: Flights,
    urgent: Urgent,
    budget: Budget,
    /// Ordinary messages went since the last interval.
    crossed: bool,
    share: Share,
    /// When the next interval is due.
    next_ms: i64,
    /// When the newest are looked for next, while a backlog waits.
    look_ms: i64,
    /// The next interval waits for what is under way.
    stalled: bool,
    /// What is being offered: boot and birth.
    offering: Option<(u64, u64)>,
    /// Until when the cloud asked for a pause.
    pause_ms: i64,
    /// Intervals in a row that were turned down.
    refused: u32,
    /// When the cloud last heard or answered.
    heard_ms: i64,
    /// Logged clock told last, of the living boot.
    frontier_ms: i64,
    defined: BTreeMap<u64, BTreeSet<u32>>,
    previewed: BTreeMap<EntryName, u64>,
    /// The series at which open windows are shown next.
    preview_at: usize,
    pieces: Pieces,
    /// An entry on the line, in sixteenths of a byte, and whether any was weighed.
    entry_bytes: usize,
    is_weighed: bool,
    meter: Meter,
    unreadable: Vec<u64>,
    /// Acks that the log must be asked about, by boot, and whether it was.
    doubts: BTreeMap<u64, (Ack, bool)>,
    chain: Chain,
    /// What the log answered last, by boot: about which record.
    proofs: BTreeMap<u64, (u64, Proof)>,
    /// When marks that were counted are told to the log again, should it not know.
    retell_ms: i64,
    chance: u64,
}

/// What came of an ack.
#[derive(Debug, Default, PartialEq)]
pub struct Acknowledged {
    /// To be logged, when something changed: applied, cloud boot, shed, readings.
    pub record: Option<Record<'static>>,
    /// The cloud counted the marks of these pages, to be logged: boot, cloud boot, pages.
    pub told: Option<(u64, u64, Vec<u64>)>,
    /// The cloud holds less than it acknowledged before: the boot, and how far it is now.
    pub went_back: Option<(u64, u64)>,
    /// Another speaks under the name of a boot, to be logged.
    pub forked: Option<Record<'static>>,
}

impl Uplink {
    /// An uplink that is not connected.
    pub fn new(settings: Settings) -> Self {
        Self {
            connected: false,
            greeted: false,
            learnt: false,
            cloud_boot: 0,
            reads: 0,
            // Acks go to the gateway's topic: one for an earlier process, or for a clone, that
            // speaks of the same old boot must not pass for an answer to ours.
            number: settings.boot,
            flights: Flights::new(settings.interval_bytes),
            urgent: Urgent::default(),
            budget: Budget::new(settings.budget),
            crossed: false,
            share: Share::default(),
            next_ms: 0,
            look_ms: 0,
            stalled: false,
            offering: None,
            pause_ms: i64::MIN,
            refused: 0,
            heard_ms: 0,
            frontier_ms: 0,
            defined: BTreeMap::new(),
            previewed: BTreeMap::new(),
            preview_at: 0,
            pieces: Pieces::default(),
            entry_bytes: ENTRY_WIRE_BYTES_GUESS * 16,
            is_weighed: false,
            meter: Meter::default(),
            unreadable: Vec::new(),
            doubts: BTreeMap::new(),
            chain: Chain::of(settings.boot),
            proofs: BTreeMap::new(),
            retell_ms: 0,
            chance: settings.seed,
            settings,
        }
    }

    /// Whether the connection for intervals stands.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// A connection stands.
    pub fn connected(&mut self, now_ms: i64, lane: Lane) {
        match lane {
            Lane::Intervals => {
                self.connected = true;
                self.greeted = false;
                self.flights.connected();
                self.refused = 0;
                (self.next_ms, self.look_ms) = (now_ms, now_ms);
            }
            Lane::Alerts => {
                self.urgent.connected(now_ms);
                self.heard_ms = self.heard_ms.max(now_ms);
            }
        }
    }

    /// A connection is gone; what was under way may or may not have arrived.
    pub fn disconnected(&mut self, lane: Lane) {
        match lane {
            Lane::Intervals => {
                self.connected = false;
                self.flights.lost_all();
            }
            Lane::Alerts => self.urgent.disconnected(),
        }
    }

    /// The log does not take the offer now.
    pub fn offer_refused(&mut self, now_ms: i64) {
        self.offering = None;
        self.next_ms = now_ms.saturating_add(self.settings.every_ms.max(1_000));
    }

    /// The log does not take [`Out::Unheard`] now: it comes again.
    pub fn unheard_refused(&mut self, now_ms: i64) {
        self.urgent.unheard_refused(now_ms);
    }

    /// A new alert for the urgent lane; it waits for its receipt from here on.
    pub fn urgent(&mut self, now_ms: i64, alert: &AlertBody) {
        self.urgent.add(now_ms, alert);
    }

    /// The cloud has an alert of the urgent lane.
    pub fn receipted(&mut self, now_ms: i64, receipt: &Receipt) {
        self.heard_ms = self.heard_ms.max(now_ms);
        self.urgent.receipted(now_ms, (receipt.boot, receipt.seq, receipt.ordinal), receipt.cloud_boot);
    }

    /// So many bytes passed on the line beside intervals: whatever else was sent, and all that came.
    pub fn paid(&mut self, now_ms: i64, bytes: usize) {
        self.budget.pay(now_ms, bytes);
    }

    /// The interval of that number took so many bytes on the line.
    pub fn weighed(&mut self, now_ms: i64, number: u64, bytes: usize) {
        self.crossed = false;
        self.budget.pay(now_ms, bytes);
        let Some(flight) = self.flights.weigh(number, bytes) else { return };
        let entries = flight.names.len() + flight.ahead.len();
        if entries >= 16 && flight.mark_pages.is_empty() {
            self.entry_bytes = (self.entry_bytes * 3 + bytes * 16 / entries) / 4;
            self.is_weighed = true;
        }
    }

    /// What is to be done now, what goes first at first; call it until there is nothing.
    pub fn poll(&mut self, now_ms: i64, fold: &Fold) -> Option<Out> {
        if !self.learnt {
            self.learnt = true;
            self.urgent.learn(now_ms, fold);
        }
        self.urgent.follow(fold);
        if let Some(question) = self.question(fold) {
            return Some(Out::Prove(question));
        }
        if self.is_due(Timer::DeafIntervals, now_ms) {
            self.flights.give_up();
            self.connected = false;
            return Some(Out::Drop(Lane::Intervals));
        }
        if self.is_due(Timer::DeafAlerts, now_ms) {
            self.urgent.give_up();
            return Some(Out::Drop(Lane::Alerts));
        }
        if self.connected
            && !self.greeted
            && let Some(hello) = self.hello(fold)
        {
            self.greeted = true;
            return Some(Out::Hello(Lane::Intervals, hello));
        }
        if let Some((boot, born)) = self.offering
            && fold.boots.iter().all(|p| p.boot != boot || p.offered >= born)
        {
            self.offering = None;
            self.next_ms = self.next_ms.min(now_ms);
        }
        let is_free = self.budget.is_free(now_ms);
        if let Some(alert) = self.urgent.next(now_ms, is_free && self.pause_ms <= now_ms, fold) {
            self.heard_ms = self.heard_ms.max(now_ms);
            return Some(Out::Alert(AlertUp { format: FORMAT, alert }));
        }
        // Behind the alerts: what an interval has covered is seen there to wait no more.
        if self.is_due(Timer::Unheard, now_ms)
            && let Some(told) = self.urgent.unheard(now_ms)
        {
            return Some(Out::Unheard(told));
        }
        if self.is_due(Timer::Beat, now_ms) {
            self.heard_ms = now_ms;
            if self.reads & READS != 0 {
                return Some(Out::Beat(Beat { format: FORMAT, living: Some(self.settings.boot as u16) }));
            }
            if let Some(hello) = self.hello(fold) {
                return Some(Out::Hello(Lane::Alerts, hello));
            }
        }
        if self.is_due(Timer::Answer, now_ms) {
            self.flights.expire(now_ms);
            self.next_ms = self.next_ms.min(now_ms);
        }
        if self.is_due(Timer::Interval, now_ms) && is_free {
            return self.interval(now_ms, fold);
        }
        None
    }

    /// Who this is: once the process's own boot is in the fold. Before, the fold takes the boot
    /// before it for the living one, which goes on no more.
    fn hello(&self, fold: &Fold) -> Option<Hello> {
        let part = fold.current().filter(|p| p.boot == self.settings.boot)?;
        Some(Hello {
            format: FORMAT,
            gateway: self.settings.gateway.clone(),
            boot: part.boot,
            parent: part.parent,
            sizes: fold.config.sizes_ms.clone(),
            grace_ms: fold.config.grace_ms,
            every_ms: self.settings.every_ms,
            clock_ms: fold.clock_ms,
            version: self.settings.version.clone(),
            group: part.group.clone(),
            wanted: fold.config.wanted.clone(),
        })
    }

    /// When a timer fires; none while it is not set.
    fn at_ms(&self, timer: Timer) -> Option<i64> {
        let free = self.budget.free_at_ms();
        match timer {
            Timer::Interval => (self.connected && self.greeted && self.offering.is_none() && self.flights.has_room())
                .then(|| self.next_ms.max(self.pause_ms).max(free)),
            Timer::Answer => self.flights.deadline_ms().filter(|_| self.connected),
            Timer::DeafIntervals => self.flights.deaf_at_ms().filter(|_| self.connected),
            Timer::Alert => self.urgent.due_ms(free.max(self.pause_ms)),
            Timer::DeafAlerts => self.urgent.deaf_at_ms(),
            Timer::Unheard => self.urgent.unheard_at_ms(),
            Timer::Beat => (self.urgent.connected || self.connected).then(|| self.heard_ms.saturating_add(HEARTBEAT_MS)),
        }
    }

    fn is_due(&self, timer: Timer, now_ms: i64) -> bool {
        self.at_ms(timer).is_some_and(|at| at <= now_ms)
    }

    /// When [`Uplink::poll`] has something to do, if nothing happens before.
    pub fn next_timeout_ms(&self) -> Option<i64> {
        Timer::ALL.iter().filter_map(|timer| self.at_ms(*timer)).min()
    }

    /// The cloud answered an interval.
    pub fn acked(&mut self, now_ms: i64, ack: &Ack, fold: &mut Fold) -> Acknowledged {
        let sent = flight::count_from(self.settings.boot, self.number);
        if !(1..=sent).contains(&flight::count_from(self.settings.boot, ack.number)) {
            return Acknowledged::default();
        }
        let known = fold.boots.iter().find(|p| p.boot == ack.boot && p.forked.is_none());
        if ack.cloud_boot == 0 || known.is_none_or(|p| ack.cloud_boot == p.cloud_boot && ack.applied < p.applied) {
            // A boot of the cloud never goes back: this ack was overtaken by a later one. One that
            // has no boot yet has not read its own log.
            return Acknowledged::default();
        }
        self.heard_ms = self.heard_ms.max(now_ms);
        let Some(known) = known else { return Acknowledged::default() };
        if ack.cloud_boot != self.cloud_boot {
            self.chain.anew(self.settings.boot);
        }
        if !self.heard(ack) {
            return Acknowledged { forked: Some(self.fork(known)), ..Acknowledged::default() };
        }
        let hash = match self.judge(ack, known, fold) {
            Judged::Ours(hash) => hash,
            Judged::Doubtful => {
                self.doubt(ack);
                return Acknowledged::default();
            }
            Judged::Others => return Acknowledged { forked: Some(self.fork(known)), ..Acknowledged::default() },
        };
        let answered = self.flights.answered(now_ms, ack.number, ack.boot);
        let is_late = answered.as_ref().is_some_and(|(_, is_late)| *is_late);
        let flight = answered.map(|(flight, _)| flight);
        if ack.cloud_boot != self.cloud_boot {
            self.cloud_boot = ack.cloud_boot;
            self.defined.clear();
            self.previewed.clear();
            self.pieces.forget();
            self.flights.forget(ack.cloud_boot);
            // One that lost its disk must hear who this is.
            self.greeted = false;
        }
        self.reads = ack.reads;
        if std::mem::take(&mut self.stalled) {
            self.next_ms = self.next_ms.min(now_ms);
        }
        if ack.need_defs {
            self.defined.remove(&ack.boot);
            self.flights.turned_down(ack.boot, 0);
            self.urgent.forget();
            self.pieces.forget();
        }
        self.rest(now_ms, ack.retry_after_ms);
        let Some(part) = fold.boots.iter_mut().find(|p| p.boot == ack.boot) else { return Acknowledged::default() };
        let mut result = Acknowledged::default();
        let mut readings = if ack.applied == part.applied { part.readings_applied } else { ack.readings };
        let mut done = Done::default();
        let mut held = Vec::new();
        if let Some(flight) = flight.filter(|f| !f.asks) {
            let believed = (flight.cloud_boot == 0 || flight.cloud_boot == ack.cloud_boot) && !ack.need_defs;
            // One that is turned down may say nothing beyond `applied`, marks alone: that it was
            // joined, only `ahead` tells.
            let taken = believed && ack.ahead && ack.applied >= flight.to;
            if ack.applied == flight.to {
                readings = flight.readings;
            }
            if taken {
                done.windows += flight.names.len() as u64;
                if let Some(piece) = flight.piece {
                    self.pieces.joined(ack.boot, piece);
                    self.urgent.joined(ack.boot, piece.seq, piece.ordinal);
                }
                // Those that grew beyond `to` are not covered by it.
                held.extend(flight.names.into_iter().filter(|(_, version)| *version > ack.applied));
                part.marks.count(ack.cloud_boot, &flight.mark_pages);
                result.told = (!flight.mark_pages.is_empty()).then_some((ack.boot, ack.cloud_boot, flight.mark_pages));
                self.defined.entry(ack.boot).or_default().extend(flight.definitions);
                self.refused = 0;
                self.flights.widen(now_ms - flight.sent_ms, is_late);
                done.bytes = flight.bytes as u64;
            } else if !is_late {
                // Once for each loss: what builds on it is under way no longer.
                self.flights.turned_down(ack.boot, ack.applied);
                if ack.boot == self.settings.boot && ack.last != 0 {
                    // Those that follow it are turned down too, whatever they begin with.
                    self.flights.forsake(ack.boot);
                }
                self.flights.narrow();
                self.refused += 1;
                // What is turned down again and again is not offered without end.
                self.next_ms = if self.refused < REFUSALS_MAX { now_ms } else { now_ms + self.settings.every_ms.max(1) };
            }
            if believed && ack.ahead {
                done.windows += flight.ahead.len() as u64;
                held.extend(flight.ahead);
            }
        }
        part.entries.hold(ack.cloud_boot, held.iter().copied());
        if now_ms >= self.retell_ms {
            // What the log would not take is offered to it once more.
            self.retell_ms = now_ms.saturating_add(RETELL_MS);
            let unlogged = part.marks.unlogged();
            if !unlogged.is_empty() {
                result.told = Some((ack.boot, ack.cloud_boot, unlogged));
            }
        }
        done.readings = readings.saturating_sub(part.readings_applied);
        self.meter.add(now_ms, done);
        self.flights.passed(ack.number, ack.boot, ack.applied);
        self.urgent.covered(ack.boot, ack.applied);
        self.pieces.covered(ack.boot, ack.applied);
        if ack.applied < part.applied {
            result.went_back = Some((ack.boot, ack.applied));
        }
        // Of a boot that is over it is logged which cloud has it, so that it is asked once.
        part.cloud_boot = ack.cloud_boot;
        let is_new = part.ended && part.logged.cloud_boot != ack.cloud_boot;
        if ack.applied != part.applied || ack.shed != part.shed || is_new {
            let Ack { boot, applied, cloud_boot, shed, .. } = *ack;
            result.record = Some(Record::Acked { boot, applied, cloud_boot, shed, readings, hash });
        }
        if let Some(second) = fold.second(ack.boot) {
            second.entries.hold(ack.cloud_boot, held);
            if let Some((_, cloud_boot, pages)) = &result.told {
                second.marks.told(*cloud_boot, pages);
            }
        }
        result
    }

    /// The log answered [`Out::Prove`]: the ack that it was about is taken.
    pub fn proved(&mut self, now_ms: i64, question: &Question, proof: Proof, fold: &mut Fold) -> Acknowledged {
        let Some(ack) = self.answer(question, proof) else { return Acknowledged::default() };
        let result = self.acked(now_ms, &ack, fold);
        self.proofs.remove(&question.boot);
        result
    }

    /// The cloud has too much to do: intervals and alerts that are not critical pause as long as
    /// it asks, and by chance up to half as long again, so that not all come back at once.
    fn rest(&mut self, now_ms: i64, retry_after_ms: Option<u64>) {
        self.pause_ms = match retry_after_ms {
            None => i64::MIN,
            Some(ms) => {
                let ms = i64::try_from(ms).unwrap_or(i64::MAX).clamp(0, RETRY_AFTER_MS_MAX);
                let more = (self.random() % (ms.unsigned_abs() / 2 + 1)) as i64;
                now_ms.saturating_add(ms + more)
            }
        };
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Pages that could not be read since the last call: the log must say that they are lost.
    pub fn unreadable(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unreadable)
    }

    /// How the backlog drains.
    pub fn drain(&self, now_ms: i64, fold: &Fold) -> Drain {
        let readings = fold.ledger().held;
        let waiting = |p: &BootPart| p.entries.waiting(p.floor(), self.cloud_boot);
        let windows = match fold.heals() {
            None => fold.boots.iter().map(waiting).sum::<u64>(),
            Some(again) => again.max(self.meter.windows_of(readings)),
        };
        // Before any went, some are weighed.
        let (bytes, of) = match self.is_weighed {
            true => (self.entry_bytes as u64, 16),
            false => fold.boots.iter().max_by_key(|p| waiting(p)).map_or((0, 0), |p| p.entries.weighed()),
        };
        let rates = self.meter.rates(now_ms);
        Drain {
            readings,
            windows,
            bytes: u64::try_from(u128::from(windows) * u128::from(bytes) / u128::from(of.max(1))).unwrap_or(u64::MAX),
            in_flight: self.flights.len() as u64,
            alerts: self.urgent.len() as u64,
            readings_per_s: rates.map(|[readings, ..]| readings),
            windows_per_s: rates.map(|[_, windows, _]| windows),
            bytes_per_s: rates.map(|[.., bytes]| bytes),
            eta_s: drain::eta_s(windows, rates.map(|[_, windows, _]| windows)),
        }
    }
}
