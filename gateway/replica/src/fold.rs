//! Committed record → windows, detectors, alerts, ledger.
//!
//! Invariants:
//! - the fold is a function of the records alone: the same records give the same state,
//!   bit for bit, whatever snapshot it was resumed from;
//! - the logged clock never goes back;
//! - time acts on a record's arrival before the record itself does: what is due at the new
//!   clock is sealed or raised first, in the order of its due time;
//! - an entry is changed only by readings of its own boot, and never once sealed; it is not sealed
//!   while another reading of the record that opened it may open it again, under the same name.

pub mod alarms;
mod config;
mod crowd;
mod dues;
mod ends;
mod fork;
pub mod healing;
mod machines;
mod open;
pub(crate) mod series;
mod undated;

pub(crate) use config::is_zero;
pub use config::{FoldConfig, Start};
pub(crate) use dues::Due;
pub(crate) use open::{Crowd, Open};
pub use series::Series;
use undated::Dating;
pub(crate) use undated::Undated;

use crate::crossing::{Crossing, Incoming, NEVER_MS, Outgoing};
use crate::error::Error;
use crate::hash;
use crate::limits::{CHANGES_MAX, FUTURE_MS_MAX, STARTS_MAX};
use crate::machine::Machines;
use crate::outbox::{Before, BootPart, Ledger, Shelf, Telling};
use crate::record::{
    FLAG_AHEAD, FLAG_LEAVES, FLAG_PACKET_ID, FLAG_RECEIVED, FLAG_RELATIVE, FLAG_TIMED, FLAG_UNDATED, Plain, Readings, Record,
};
use crate::session::{Digest, Sessions, messages_max};
use detect::alarm::Annunciator;
use detect::{Finding, Settings};
use ends::Ends;
use schemas::message::{Act, AlertBody, Crossed};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use telemetry::window;

/// Raised whenever the same records would fold to something else.
pub const FOLD_VERSION: u32 = 11;

/// Version of the fold since which ordinary messages outlive a leap of the clock.
const LEAPS_SINCE: u32 = 9;

/// The working state of a gateway as of one record.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    /// The record up to which it is folded.
    pub lsn: u64,
    /// The logged clock, ms since the Unix epoch.
    pub clock_ms: i64,
    /// The settings of the current boot.
    pub config: FoldConfig,
    pub(crate) kept_ms: Vec<i64>,
    /// By number.
    pub series: Vec<Series>,
    /// Series watched together.
    pub machines: Machines,
    /// Boots, oldest first; the last one lives.
    pub boots: Vec<BootPart>,
    /// The pages of their sealed entries.
    pub shelf: Shelf,
    /// Durable MQTT sessions.
    pub sessions: Sessions,
    /// Values that were redeliveries.
    pub duplicates: u64,
    /// Messages refused, by reason.
    pub refused: BTreeMap<u8, u64>,
    /// Readings whose series' definition, or whose windows' sizes, were lost with a damaged part of the log.
    pub orphaned: u64,
    /// Alerts that waited for the cloud and were lost with the pages that they were in.
    pub lost_alerts: u64,
    /// Bytes of payloads kept in quarantine.
    pub quarantined: u64,
    /// Alerts up to this record were shown locally; those sessions that are behind lack some.
    pub shown: u64,
    /// Durable sessions that lack alerts, each with the record up to which it has all.
    pub behind: BTreeMap<u64, u64>,
    /// How often one is kept no longer for a session that may still lack it.
    pub alerts_unheld: u64,
    /// The plant was told that the cloud does not hear its alerts.
    pub unheard: bool,
    /// Alerts that the caller has not taken, with the record that made them, until the log says that they were shown to
    /// everyone.
    pub fresh: Vec<(u64, AlertBody)>,
    /// Alerts of detectors in shadow since the caller last took them. Not part of the state.
    pub fresh_shadow: Vec<(u64, AlertBody)>,
    /// Readings dated by their arrival instead of the time that they said, which lay ahead, or seemed to before the
    /// clock was set.
    pub clamped: u64,
    /// The last starts that were folded here, oldest first, [`STARTS_MAX`] at most. Not part of the state: those before
    /// the snapshot that it goes on from are not known.
    pub starts: Vec<Start>,
    /// How many of them began, by kind.
    pub shadowed: BTreeMap<String, u64>,
    /// The gateway's alarms.
    pub alarms: Annunciator,
    /// What was done to alarms since the caller last took it, and the cloud is to know. Not part
    /// of the state: an interval brings it anyway.
    pub fresh_acts: Vec<Act>,
    /// Ordinary messages that bridges carry.
    pub crossing: Crossing,
    /// What the cloud lost, on its way to it. Not part of the state.
    pub(crate) healing: Option<Box<healing::Healing>>,
    /// Boots, with what of them is let go of, whose past is not kept.
    pub(crate) unhealed: Vec<(u64, u64)>,
    /// It folds a log for the second time, for a cloud that lost what it had.
    pub(crate) again: bool,
    pub(crate) dues: BinaryHeap<Reverse<Due>>,
    /// Births of open entries: how many, and where the log stood before.
    pub(crate) births: BTreeMap<u64, (u32, Before)>,
    /// When windows that the cloud adds up are over.
    pub(crate) ends: Ends,
    /// Readings that wait until the clock is set.
    pub(crate) undated: Vec<Undated>,
    /// Series that have too many open windows, until the record under way is folded.
    pub(crate) crowded: BTreeMap<u32, Crowd>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) ordinal: u32,
    /// When the next maintenance begins by the logged clock. Not part of the state: follows from
    /// settings and clock.
    pub(crate) rests_ms: Option<i64>,
    /// The logged clock before the record under way, and the running hash.
    pub(crate) before_ms: i64,
    pub(crate) before_hash: u64,
}

impl Fold {
    /// Folds one record of the log.
    ///
    /// # Errors
    /// For a kind or bytes that this version cannot read; the state is then as before the record.
    pub fn apply(&mut self, lsn: u64, kind: u8, payload: &[u8]) -> Result<(), Error> {
        let (advance, record) = Record::decode(kind, payload)?;
        self.lsn = lsn;
        self.ordinal = 0;
        self.before_ms = self.clock_ms;
        self.before_hash = self.boots.last().map_or(hash::UNKNOWN, |part| part.hash);
        self.clock_ms = self.clock_ms.saturating_add(i64::try_from(advance).unwrap_or(i64::MAX));
        if let Record::Boot { boot, parent, config } = record {
            let config = FoldConfig::decode(config).map_err(|source| Error::Record { kind, source })?;
            let ended = if config.detection.groups == self.config.detection.groups { Vec::new() } else { self.machines.disband() };
            self.starts(boot, &config);
            self.config = config;
            self.shelf.set_page_alerts(self.config.page_alerts);
            self.begin_boot(boot, parent, lsn - 1);
            if let Some(part) = self.boots.last_mut() {
                part.hash = hash::first(kind, payload);
                (part.hash_applied, part.logged.hash) = (hash::BEGIN, hash::BEGIN);
            }
            self.before_hash = hash::UNKNOWN;
            self.redesign();
            ended.into_iter().for_each(|name| self.disbanded(name));
            self.cut_forks();
            return Ok(());
        }
        let clock_ms = self.clock_ms;
        if let Some(part) = self.boots.last_mut() {
            part.end = lsn - part.base;
            part.clock_ms = clock_ms;
            part.hash = hash::next(part.hash, kind, payload);
        }
        if let Record::ClockSet { behind_ms } = record {
            self.leapt(behind_ms);
            self.series.iter_mut().for_each(|series| series.watch.set_clock(clock_ms, behind_ms));
        }
        if let Record::Away { leapt_ms } = record {
            self.leapt(i64::try_from(leapt_ms).unwrap_or(i64::MAX));
            self.series.iter_mut().for_each(|series| series.watch.missed(clock_ms));
        }
        if self.dues.peek().is_some_and(|Reverse(due)| due.at_ms <= clock_ms) {
            self.run_dues();
        }
        self.crossing.expire(clock_ms);
        match record {
            record if self.passes_over(&record) => {}
            Record::Message { flags, session, packet_id, readings } => {
                self.message(flags, session, packet_id, readings).map_err(|source| Error::Record { kind, source })?;
            }
            Record::Series { number, name, unit } => self.define(number, name, unit),
            Record::Unit { number, unit } => {
                if let Some(series) = self.series.get_mut(number as usize) {
                    series.unit = Some(unit.to_owned());
                    series.watch.set_unit(Some(unit));
                }
            }
            Record::Duplicate { session, count, packet_id } => {
                self.duplicates += count;
                if packet_id != 0 {
                    self.sessions.received(session, packet_id);
                }
            }
            Record::Refused { reason, count } => *self.refused.entry(reason as u8).or_default() += count,
            Record::Quarantined { refusal, payload, session, packet_id, .. } => {
                *self.refused.entry(refusal as u8).or_default() += 1;
                self.quarantined += payload.len() as u64;
                if packet_id != 0 {
                    self.sessions.received(session, packet_id);
                }
            }
            Record::Session { number, event } => {
                self.sessions.apply(lsn, clock_ms, number, event);
                if self.behind.contains_key(&number) {
                    self.forget_shown();
                }
            }
            Record::Acked { boot, applied, cloud_boot, shed, readings, hash } => {
                if let Some(part) = self.boots.iter_mut().find(|p| p.boot == boot) {
                    part.cloud_boot = cloud_boot;
                    part.acknowledged(applied, readings, shed, hash);
                    part.acknowledgement_logged(&mut self.shelf);
                }
                self.miss_late(boot);
                self.catch_up();
            }
            Record::Crossed { lane, ttl_ms, message, session, packet_id } => {
                if packet_id != 0 {
                    self.sessions.received(session, packet_id);
                }
                self.cross(lane, ttl_ms, message);
            }
            Record::CrossAcked { boot, lane, applied } => self.crossing.acknowledged(boot, lane, applied),
            Record::CrossReceived { boot, seq, message } => {
                let (topic, payload) = (message.topic.to_owned(), message.payload.to_vec());
                self.crossing.receive(boot, seq, Incoming { lsn, topic, payload, qos: message.qos, retain: message.retain });
            }
            Record::CrossShown { lsn, unheld } => self.crossing.shown(lsn, unheld),
            Record::Shed { boot, version } => {
                let base_ms = self.kept_ms.iter().min().copied().unwrap_or(0);
                let version = version.min(self.sealed_to(boot));
                if let Some(part) = self.boots.iter_mut().find(|p| p.boot == boot) {
                    part.give_up(version, base_ms, &mut self.shelf);
                }
            }
            Record::Offered { boot, born } => {
                if let Some(part) = self.boots.iter_mut().find(|p| p.boot == boot) {
                    part.offered = part.offered.max(born);
                }
            }
            Record::Forked { boot, at, readings } => self.forked(boot, at, readings),
            Record::Unnamed { boot, born } => {
                if let Some(part) = self.boots.iter_mut().find(|p| p.boot == boot) {
                    part.unname(born, &mut self.shelf);
                }
            }
            Record::Told { boot, cloud_boot, pages } => {
                let pages = pages.list().map_err(|source| Error::Record { kind, source })?;
                if let Some(part) = self.boots.iter_mut().find(|p| p.boot == boot) {
                    part.marks.told(cloud_boot, &pages);
                    part.marks.trim(part.logged.applied, &mut self.shelf);
                }
            }
            Record::Lost { page } => {
                let lost = self.boots.iter_mut().map(|part| part.lose(page, &mut self.shelf)).sum();
                self.alerts_lost(lost);
            }
            Record::Shown { lsn, unheld, behind } => {
                self.behind = behind.sessions(lsn).map_err(|source| Error::Record { kind, source })?;
                self.shown = self.shown.max(lsn);
                self.alerts_unheld = self.alerts_unheld.saturating_add(unheld);
                self.forget_shown();
            }
            Record::Asked { request } => self.asked(&request),
            Record::Commanded { bytes } => self.commanded(bytes),
            Record::Unheard { count, oldest } => self.unheard(count, oldest),
            Record::ClockSet { behind_ms } => {
                if let Some(part) = self.boots.last() {
                    self.date(behind_ms, self.lsn - part.base);
                }
            }
            Record::Receipt { .. } | Record::Tick | Record::Away { .. } | Record::Boot { .. } => {}
            Record::AskedAt { .. } | Record::CommandUp { .. } => {}
            Record::Interval { .. } | Record::AlertUp { .. } | Record::Hello { .. } | Record::Round | Record::Cursor { .. } => {}
            Record::CrossUp { .. } | Record::CrossIn { .. } | Record::CrossDone { .. } => {}
        }
        self.settle_alarms();
        Ok(())
    }

    /// Lets go of alerts that no session lacks any more.
    fn forget_shown(&mut self) {
        self.behind.retain(|number, _| self.sessions.by_number.contains_key(number));
        let all_have = self.behind.values().copied().min().map_or(self.shown, |has| has.min(self.shown));
        self.fresh.drain(..self.fresh.partition_point(|(lsn, _)| *lsn <= all_have));
    }

    /// Readings over the life of the log: those that may leave, and those that stay.
    pub fn totals(&self) -> (u64, u64) {
        self.boots.iter().fold((0, 0), |(r, l), p| (r + p.readings, l + p.local))
    }

    fn starts(&mut self, boot: u64, config: &FoldConfig) {
        let mut changed = if self.boots.is_empty() { Vec::new() } else { self.config.differences(config) };
        let more = changed.len().saturating_sub(CHANGES_MAX);
        if more > 0 {
            changed.truncate(CHANGES_MAX);
            changed.push(format!("and {more} more"));
        }
        if self.starts.len() >= STARTS_MAX {
            self.starts.remove(0);
        }
        self.starts.push(Start { clock_ms: self.clock_ms, boot, changed });
    }

    /// Begins a boot: what the one before left open is final (protocol §3).
    pub fn begin_boot(&mut self, boot: u64, parent: Option<(u64, u64)>, base: u64) {
        if let Some(old) = self.boots.last() {
            self.date(0, old.end);
        }
        self.kept_ms = window::kept(&self.config.sizes_ms);
        if let Some(old) = self.boots.last_mut() {
            old.ended = true;
            for series in &mut self.series {
                for open in series.open.drain(..) {
                    old.entries.insert(open.name, open.sealed(), &mut self.shelf);
                }
            }
            old.entries.finish(&mut self.shelf);
        }
        // Those of boots before the first that has pages of them, too.
        self.boots.iter_mut().for_each(|old| old.alerts.finish(&mut self.shelf));
        self.births.clear();
        self.sessions.restart(self.clock_ms);
        let detection = &self.config.detection;
        for series in &mut self.series {
            series.watch.resume(self.clock_ms);
            series.watch.reconfigure(detection, &series.name, series.unit.as_deref());
            series.maintained = detection.maintained(&series.name);
        }
        // A snapshot of an older program knows none.
        if self.machines.all.is_empty() {
            for (number, series) in self.series.iter().enumerate() {
                self.machines.join(number as u32, &series.name, &detection.groups);
            }
        }
        self.boots.push(BootPart {
            boot,
            parent,
            base,
            end: 1,
            clock_ms: self.clock_ms,
            group: self.config.group.clone(),
            sizes_ms: self.config.sizes_ms.clone(),
            grace_ms: self.config.grace_ms,
            offered: if self.config.offers { 0 } else { u64::MAX },
            ..BootPart::default()
        });
        self.schedule_all();
    }

    /// The living boot.
    pub fn current(&self) -> Option<&BootPart> {
        self.boots.last()
    }

    /// Up to where everything of `part` can be told: below the birth of its oldest open entry.
    pub fn complete_to(&self, part: &BootPart) -> (u64, Before) {
        let whole = (part.end, Before { readings: part.readings, clock_ms: part.clock_ms, hash: part.hash });
        if part.ended || part.telling == Telling::Ends {
            return whole;
        }
        self.births.iter().next().map_or(whole, |(born, (_, before))| (born - 1, *before))
    }

    /// Below this version no entry of a boot is still to be sealed.
    pub fn sealed_to(&self, boot: u64) -> u64 {
        if self.current().is_none_or(|p| p.boot != boot) {
            return u64::MAX;
        }
        self.series.iter().flat_map(|s| &s.open).map(|open| open.version - 1).min().unwrap_or(u64::MAX)
    }

    /// The ledger at this record.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(self.boots.iter())
    }

    /// The clock leapt ahead by so much: what waits is no older for it.
    fn leapt(&mut self, by_ms: i64) {
        // Older programs let it expire; one that was ahead of the time goes on, and leaps nowhere.
        if by_ms > 0 && self.config.fold_version >= LEAPS_SINCE {
            self.crossing.leapt(by_ms);
        }
    }

    fn cross(&mut self, lane: u8, ttl_ms: u64, message: Plain<'_>) {
        let Some(part) = self.boots.last() else { return };
        let crossed = Crossed {
            boot: part.boot,
            seq: self.lsn - part.base,
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
        };
        let expires_ms = if ttl_ms == 0 { NEVER_MS } else { self.clock_ms.saturating_add(i64::try_from(ttl_ms).unwrap_or(NEVER_MS)) };
        self.crossing.take(self.lsn, lane, Outgoing { crossed, expires_ms }, self.config.crossing_bytes);
    }

    fn define(&mut self, number: u32, name: &str, unit: Option<&str>) {
        self.place_series(number, name, unit);
        if let Some((machine, finding)) = self.machines.join(number, name, &self.config.detection.groups) {
            self.raise_machine(machine, finding);
        }
    }

    fn place_series(&mut self, number: u32, name: &str, unit: Option<&str>) {
        let fresh = |name: &str, unit: Option<&str>, detection: &Settings| Series {
            name: name.to_owned(),
            unit: unit.map(str::to_owned),
            watch: detection.watch(name, unit),
            watch_at: i64::MAX,
            open: Vec::new(),
            leaves: false,
            last: None,
            maintained: detection.maintained(name),
        };
        let index = number as usize;
        // A gap may have swallowed definitions: keep numbers dense, so that a later one finds its place.
        while self.series.len() < index && index - self.series.len() < telemetry::limits::SERIES_MAX {
            self.series.push(fresh("", None, &self.config.detection));
        }
        if index == self.series.len() {
            self.series.push(fresh(name, unit, &self.config.detection));
        } else if let Some(place) = self.series.get_mut(index) {
            *place = fresh(name, unit, &self.config.detection);
        }
    }

    /// Where the log stood before the record under way, which has counted nothing yet.
    pub(crate) fn before(&self, part: &BootPart) -> Before {
        Before { readings: part.readings, clock_ms: self.before_ms, hash: self.before_hash }
    }

    fn message(&mut self, flags: u64, session: u64, packet_id: u16, readings: Readings<'_>) -> Result<(), schemas::DecodeError> {
        let Some(part) = self.boots.last() else { return Ok(()) };
        let seq = self.lsn - part.base;
        let before = self.before(part);
        let leaves = flags & FLAG_LEAVES != 0;
        let remember = flags & FLAG_TIMED != 0;
        let (clock_ms, orphaned) = (self.clock_ms, self.orphaned);
        let dating = match flags & (FLAG_UNDATED | FLAG_RELATIVE) {
            0 | FLAG_RELATIVE => Dating::Known,
            FLAG_UNDATED => Dating::Waits,
            _ => Dating::WaitsRelative,
        };
        let latest_ms = if flags & FLAG_AHEAD != 0 { clock_ms.saturating_add(FUTURE_MS_MAX) } else { i64::MAX };
        let mut digest = Digest::default();
        let count = readings.for_each(clock_ms, |series, sent_ms, value| {
            let is_ahead = sent_ms > latest_ms;
            self.clamped += u64::from(is_ahead);
            let time_ms = if is_ahead { clock_ms } else { sent_ms };
            self.reading(seq, before, leaves, dating, series, time_ms, value);
            if remember && let Some(session) = self.sessions.by_number.get_mut(&session) {
                session.memory.reading(&mut digest, packet_id, series, sent_ms, value);
            }
        });
        self.thin_out();
        let count = count?;
        let max = messages_max(self.sessions.by_number.len());
        if remember && let Some(session) = self.sessions.by_number.get_mut(&session) {
            session.memory.message(&digest, packet_id, clock_ms, max);
        }
        // A QoS 1 message carries its id for the redelivery memory only.
        if flags & FLAG_RECEIVED != 0 || flags & (FLAG_PACKET_ID | FLAG_TIMED) == FLAG_PACKET_ID {
            self.sessions.received(session, packet_id);
        }
        if let Some(part) = self.boots.last_mut() {
            *(if leaves { &mut part.readings } else { &mut part.local }) += count;
            if leaves && self.orphaned > orphaned {
                part.damaged_at(seq, self.orphaned - orphaned);
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one reading with its record, on the hot path")]
    fn reading(&mut self, seq: u64, before: Before, leaves: bool, dating: Dating, number: u32, time_ms: i64, value: f64) {
        // A series without a name only keeps the place of one whose definition was lost.
        let Some(series) = self.series.get_mut(number as usize).filter(|s| !s.name.is_empty()) else {
            self.orphaned += 1;
            return;
        };
        if series.last.is_none_or(|(last, _)| time_ms >= last) {
            series.last = Some((time_ms, value));
        }
        let clock_ms = self.clock_ms;
        series.leaves = leaves;
        // The record that began the boot was lost, and no other said which windows there are.
        self.orphaned += u64::from(leaves && self.kept_ms.is_empty());
        match (leaves, dating) {
            (false, _) => {}
            (true, Dating::Known) => self.place((seq, seq), None, before, number, time_ms, value),
            (true, dating) if self.waits(dating, number, time_ms) => self.wait(seq, before, dating, number, time_ms, value),
            (true, _) => {
                let time_ms = self.unset_time(time_ms);
                self.place((seq, seq), None, before, number, time_ms, value);
            }
        }
        let Some(series) = self.series.get_mut(number as usize) else { return };
        let rests = series.maintained != 0 && self.config.detection.maintenance_at(series.maintained, time_ms).is_some();
        if rests {
            series.watch.rest(clock_ms, time_ms, value, &mut self.findings);
        } else {
            series.watch.observe(clock_ms, time_ms, value, &mut self.findings);
        }
        if let Some(at_ms) = series.watch.due()
            && at_ms < series.watch_at
        {
            series.watch_at = at_ms;
            self.dues.push(Reverse(Due { at_ms, series: number, size_ms: 0, start_ms: 0, born: 0 }));
        }
        if !self.findings.is_empty() {
            self.raise(number);
        }
        if !rests && let Some((machine, finding)) = self.machines.observe(number, time_ms, value, &self.series) {
            self.raise_machine(machine, finding);
        }
    }

    fn raise(&mut self, number: u32) {
        let series = &self.series[number as usize];
        let (name, unit, leaves) = (series.name.clone(), series.unit.clone(), series.leaves);
        let mut findings = std::mem::take(&mut self.findings);
        for finding in findings.drain(..) {
            self.alert(name.clone(), unit.clone(), leaves, finding);
        }
        self.findings = findings;
    }

    /// A finding becomes an alert; what leaves the site waits for the cloud.
    pub(crate) fn alert(&mut self, series: String, unit: Option<String>, leaves: bool, finding: Finding) {
        // What the detectors of an older program said was told by it; limits mean the same in all.
        if self.config.fold_version < FOLD_VERSION && !finding.kind.is_limit() {
            return;
        }
        let Some(part) = self.boots.last() else { return };
        let alert = AlertBody {
            boot: part.boot,
            seq: self.lsn - part.base,
            ordinal: self.ordinal,
            series,
            severity: finding.severity as u8,
            kind: finding.kind.as_str().to_owned(),
            state: finding.state as u8,
            time_ms: finding.time_ms,
            value: finding.value,
            limit: finding.limit,
            unit,
            message: finding.message,
            score: finding.score,
            baseline: finding.baseline,
            alarm: None,
            contributors: finding.contributors,
        };
        self.ordinal += 1;
        self.tell(alert, leaves);
    }

    /// Names to numbers, for the intake.
    pub fn dictionary(&self) -> HashMap<String, u32> {
        self.series.iter().enumerate().map(|(n, s)| (s.name.clone(), n as u32)).collect()
    }
}
