//! A gateway's shell around the real fold and uplink: what `edge::core` and `edge::intake` do
//! with threads and sockets, in one thread. Every record, snapshot and message is the real one.

use crate::disk::{Disk, Fact, Frame, Kept, Snapshot};
use crate::mutation::Mutation;
use crate::network::{Link, State};
use crate::oracle::Oracle;
use crate::rng::Rng;
use replica::fold::Fold;
use replica::limits::IDLE_FRONTIER_MS;
use replica::record::{self, FLAG_LEAVES, FLAG_PACKET_ID, FLAG_TIMED, KIND_MESSAGE, Numbers, Record, SessionEvent};
use replica::session::Redelivery;
use replica::uplink::{Lane, Out, Settings, Uplink};
use schemas::message::{Ack, Delta, Receipt};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

/// True time at which worlds begin, ms since the Unix epoch.
pub const EPOCH_MS: i64 = 1_700_000_000_000;
/// Readings further ahead of the gateway's clock are stamped with their arrival (contract §3).
const FUTURE_MS_MAX: i64 = 5 * 60_000;
/// Entries of a page: few, so that pages are many.
const PAGE_ENTRIES: usize = 3;
/// Series names that sensors use; all gateways share them.
pub const SERIES: [&str; 4] = ["line/a", "line/b", "line/c", "line/d"];

/// The one of them that must not leave its site.
pub const LOCAL: &str = "line/d";

const LANES: [Lane; 2] = [Lane::Intervals, Lane::Alerts];

/// More than this said in one round is no end of it.
const OUTS_MAX: usize = 2_000;

/// What every device needs to know of the world.
#[derive(Clone)]
pub struct Ctx {
    /// True time since [`EPOCH_MS`]; never goes back.
    pub now_ms: i64,
    pub oracle: Oracle,
    pub mutation: Mutation,
    pub config: Rc<Vec<u8>>,
    pub every_ms: i64,
    pub preview: bool,
    pub budget: Option<u64>,
    pub interval_bytes: usize,
    pub rng: Rng,
    pub messages: u64,
    /// Whether the cloud publishes what it merges.
    pub publishes: bool,
    /// Whether to tell what happens.
    pub traced: bool,
}

impl Ctx {
    /// For a person who replays a seed.
    pub fn trace(&self, what: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:>8} {}", self.now_ms, what());
        }
    }
}

/// An interval in one line.
pub fn told(delta: &Delta) -> String {
    let names = |block: &[u8]| {
        let entries = telemetry::block::decode(block, 1 << 16).unwrap_or_default();
        entries.iter().map(|e| format!(" {}@{}..{}", e.series, e.born, e.version)).collect::<String>()
    };
    let Delta { boot, number, from, to, cloud_boot, ended, alerts, .. } = delta;
    let (entries, ahead) = (names(&delta.entries), names(&delta.ahead));
    let ended = if *ended { " end" } else { "" };
    format!("{number:x} of {boot:x} ({from}, {to}]{ended} to {cloud_boot:x}:{entries}; ahead{ahead}; {} alerts", alerts.len())
}

#[derive(Debug, Clone)]
pub struct Message {
    id: u64,
    timed: bool,
    /// A redelivery can be told by the readings' own times.
    told_apart: bool,
    leaves: bool,
    readings: Vec<(u32, i64, f64)>,
}

/// A client with a persistent session: it sends again what was not acknowledged.
#[derive(Debug, Clone, Default)]
struct Sensor {
    unacknowledged: VecDeque<Message>,
}

/// The logged clock as `edge::clock` keeps it: follows the wall, never goes back.
#[derive(Clone)]
struct Clock {
    now_ms: i64,
    logged_ms: i64,
    since_ms: i64,
}

impl Clock {
    fn read(&mut self, wall_ms: i64, mono_ms: i64) -> i64 {
        self.now_ms = if wall_ms >= self.now_ms { wall_ms } else { self.now_ms + (mono_ms - self.since_ms) };
        self.since_ms = mono_ms;
        self.now_ms
    }

    fn stamp(&mut self) -> u64 {
        let advance = self.now_ms.abs_diff(self.logged_ms);
        self.logged_ms = self.now_ms;
        advance
    }
}

#[derive(Clone)]
pub struct Process {
    pub fold: Fold,
    pub uplink: Uplink,
    pub boot: u64,
    base: u64,
    batch: Frame,
    pending: VecDeque<Rc<Frame>>,
    clock: Clock,
    numbers: HashMap<String, u32>,
    sessions: Vec<u64>,
    memories: BTreeMap<u64, Redelivery>,
    /// Record, sensor, message.
    awaiting: VecDeque<(u64, usize, u64)>,
    ticked_ms: i64,
    /// The last page of marks that the oracle was told of.
    marks_told: u64,
}

#[derive(Clone)]
pub struct Device {
    pub name: String,
    pub disk: Disk,
    pub backup: Option<Disk>,
    pub process: Option<Process>,
    pub link: Link,
    pub offset_ms: i64,
    /// Seconds gained in a thousand.
    pub drift: i64,
    sensors: Vec<Sensor>,
}

impl Process {
    fn push(&mut self, record: &Record<'_>) -> u64 {
        let mut payload = Vec::new();
        record.encode(self.clock.stamp(), &mut payload);
        self.batch.records.push((record.kind(), payload));
        self.batch.last()
    }
}

impl Device {
    pub fn new(name: String, offset_ms: i64, drift: i64) -> Self {
        Self {
            name,
            disk: Disk::default(),
            backup: None,
            process: None,
            link: Link::new(),
            offset_ms,
            drift,
            sensors: vec![Sensor::default(); 2],
        }
    }

    /// A second device with a copy of the disk, and sensors of its own.
    pub fn cloned(&self) -> Self {
        Self { disk: self.disk.clone(), ..Self::new(self.name.clone(), self.offset_ms, self.drift) }
    }

    fn wall_ms(&self, ctx: &Ctx) -> i64 {
        (EPOCH_MS + ctx.now_ms + ctx.now_ms * self.drift / 1_000 + self.offset_ms).max(0)
    }

    /// A process starts, as `edge::run` does.
    pub fn start(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        if self.process.is_some() {
            return Ok(());
        }
        let fold = self.recover(ctx)?;
        ctx.oracle.recovered(&self.name, &self.disk, &fold)?;
        let boot = match (ctx.mutation, fold.current()) {
            (Mutation::BootReused, Some(part)) => part.boot,
            _ => ctx.rng.next() | 1,
        };
        let parent = fold.current().map(|p| (p.boot, p.end));
        let wall_ms = self.wall_ms(ctx);
        let mut process = Process {
            uplink: Uplink::new(Settings {
                gateway: self.name.clone(),
                version: "1".to_owned(),
                boot,
                every_ms: ctx.every_ms,
                preview: ctx.preview,
                budget: ctx.budget,
                interval_bytes: ctx.interval_bytes,
                seed: boot,
            }),
            boot,
            base: self.disk.end,
            batch: Frame { first: self.disk.end + 1, marks: self.disk.marks, ..Frame::default() },
            pending: VecDeque::new(),
            clock: Clock { now_ms: fold.clock_ms, logged_ms: fold.clock_ms, since_ms: ctx.now_ms },
            numbers: fold.dictionary(),
            sessions: Vec::new(),
            memories: fold.sessions.by_number.iter().map(|(n, s)| (*n, s.memory.clone())).collect(),
            awaiting: VecDeque::new(),
            ticked_ms: 0,
            marks_told: 0,
            fold,
        };
        process.clock.read(wall_ms, ctx.now_ms);
        process.batch.marks[2..].copy_from_slice(&[boot, process.base]);
        let config = ctx.config.clone();
        process.push(&Record::Boot { boot, parent, config: &config });
        let mut last = process.fold.sessions.last;
        for index in 0..self.sensors.len() {
            let client = format!("sensor-{index}");
            let known = process.fold.sessions.by_number.iter().find(|(_, s)| s.client_id == client).map(|(n, _)| *n);
            let number = known.unwrap_or_else(|| {
                last += 1;
                last
            });
            let event = match known {
                Some(_) => SessionEvent::Resumed { expiry_s: u32::MAX },
                None => SessionEvent::Opened { client_id: &client, expiry_s: u32::MAX, version: 5 },
            };
            process.push(&Record::Session { number, event });
            process.sessions.push(number);
        }
        self.process = Some(process);
        self.show(ctx)?;
        // The sensors are back, and send again what was not acknowledged.
        for sensor in 0..self.sensors.len() {
            let again: Vec<Message> = self.sensors[sensor].unacknowledged.drain(..).collect();
            for message in again {
                self.publish(ctx, sensor, message, true);
            }
        }
        Ok(())
    }

    fn recover(&self, ctx: &Ctx) -> Result<Fold, String> {
        let snapshot = self.disk.snapshots.last().filter(|_| ctx.mutation != Mutation::SnapshotMissing);
        let mut fold = match snapshot {
            Some(saved) => Fold::restore(&saved.state).map_err(|error| format!("a snapshot is not read back: {error}"))?,
            None => Fold::default(),
        };
        fold.shelf.set_page_entries(PAGE_ENTRIES);
        let missing = ctx.mutation == Mutation::PagesMissing;
        fold.shelf.keep_in(Arc::new(if missing { Kept::default() } else { self.disk.pages.clone() }));
        if ctx.mutation == Mutation::SnapshotTooEarly && snapshot.is_some() {
            fold.lsn = fold.lsn.saturating_sub(4);
        }
        let from = fold.lsn;
        for frame in self.disk.frames.iter().filter(|frame| frame.last() > from) {
            fold.frame(frame.first, frame.marks, frame.records()).map_err(|error| format!("the log is not folded: {error}"))?;
        }
        Ok(fold)
    }

    /// The process dies; `kept`: the batch under way had reached the disk.
    pub fn crash(&mut self, ctx: &mut Ctx, kept: bool) -> Result<(), String> {
        if kept && self.process.is_some() {
            self.commit(ctx)?;
        }
        self.process = None;
        self.disconnect();
        Ok(())
    }

    /// A sensor publishes something new.
    pub fn sense(&mut self, ctx: &mut Ctx, salt: u64) {
        let mut rng = Rng::new(salt);
        let sensor = rng.index(self.sensors.len());
        let true_ms = EPOCH_MS + ctx.now_ms;
        let count = if rng.percent(70) { 1 } else { 1 + rng.index(4) };
        let timed = rng.percent(80);
        let series = rng.index(SERIES.len());
        ctx.messages += 1;
        let id = ctx.messages;
        let readings = (0..count).map(|_| {
            let at = true_ms
                - match rng.below(20) {
                    0 => rng.range(0, 7_200_000),
                    1 => -rng.range(0, 240_000),
                    2..6 => rng.range(0, 40_000),
                    _ => rng.range(0, 2_000),
                };
            // No two messages are alike, so that a redelivery is one.
            (series as u32, at, (rng.range(-200, 1_000) * 1_000 + id as i64 % 1_000) as f64 / 1e4)
        });
        let readings = readings.collect();
        let message = Message { id, timed, told_apart: timed, leaves: SERIES[series] != LOCAL, readings };
        self.publish(ctx, sensor, message, false);
    }

    /// A sensor publishes these readings: series, event time since [`EPOCH_MS`], value.
    pub fn tell(&mut self, ctx: &mut Ctx, readings: &[(u32, i64, f64)]) {
        ctx.messages += 1;
        let readings = readings.iter().map(|(series, at_ms, value)| (*series, EPOCH_MS + at_ms, *value)).collect();
        let message = Message { id: ctx.messages, timed: true, told_apart: true, leaves: true, readings };
        self.publish(ctx, 0, message, false);
    }

    /// All that decides what this device does next, as a hash.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        for frame in &self.disk.frames {
            frame.records.hash(hasher);
        }
        self.sensors.iter().for_each(|s| s.unacknowledged.iter().for_each(|m| m.id.hash(hasher)));
        self.link.digest(hasher);
        let Some(process) = &self.process else { return };
        process.batch.records.hash(hasher);
        process.pending.len().hash(hasher);
        format!("{:?}", process.uplink).hash(hasher);
        for part in &process.fold.boots {
            (part.boot, part.applied, part.readings_applied, part.alerts.len(), part.shed_to, part.marks.len()).hash(hasher);
            part.entries.young().for_each(|(name, sealed)| (name, sealed.version).hash(hasher));
            part.entries.pages().iter().for_each(|page| (page.id, page.born, page.version).hash(hasher));
            part.entries.held_names().hash(hasher);
        }
    }

    /// As `edge::intake` takes it.
    fn publish(&mut self, ctx: &mut Ctx, sensor: usize, mut message: Message, dup: bool) {
        let wall_ms = self.wall_ms(ctx);
        let Some(process) = &mut self.process else {
            self.sensors[sensor].unacknowledged.push_back(message);
            return;
        };
        if self.disk.full {
            return;
        }
        let now_ms = process.clock.read(wall_ms, ctx.now_ms);
        let session = process.sessions[sensor];
        let mut readings = Vec::new();
        let mut untimed = !message.timed;
        for (series, time_ms, value) in &message.readings {
            let name = SERIES[*series as usize];
            let number = match process.numbers.get(name) {
                Some(number) => *number,
                None => {
                    let number = process.numbers.len() as u32;
                    process.push(&Record::Series { number, name, unit: None });
                    process.numbers.insert(name.to_owned(), number);
                    number
                }
            };
            let clamped = *time_ms > now_ms + FUTURE_MS_MAX;
            let time_ms = if message.timed && !clamped { *time_ms } else { now_ms };
            untimed |= clamped;
            readings.push((number, *series, time_ms, *value));
        }
        // A time that is not believed is no time by which a redelivery could be told.
        message.told_apart &= !untimed;
        let lsn;
        let memory = process.memories.entry(session).or_default();
        let known = message.timed && dup && readings.iter().all(|(n, _, t, v)| memory.knows(*n, *t, *v));
        let packet_id = (message.id % 65_535) as u16 + 1;
        if known && ctx.mutation != Mutation::RedeliveryCounted {
            lsn = process.push(&Record::Duplicate { session, count: readings.len() as u64, packet_id: 0 });
        } else {
            let mut flags = if message.leaves { FLAG_LEAVES } else { 0 };
            if message.timed {
                flags |= FLAG_TIMED | FLAG_PACKET_ID;
                readings.iter().for_each(|(n, _, t, v)| memory.remember(packet_id, *n, *t, *v));
            }
            let mut payload = Vec::new();
            schemas::wire::put_varint(&mut payload, process.clock.stamp());
            record::put_message_head(&mut payload, flags, session, packet_id);
            for (number, _, time_ms, value) in &readings {
                record::put_reading(&mut payload, *number, *time_ms, now_ms, *value);
            }
            process.batch.records.push((KIND_MESSAGE, payload));
            lsn = process.batch.last();
            process.batch.marks[usize::from(!message.leaves)] += readings.len() as u64;
            let (boot, seq) = (process.boot, lsn - process.base);
            process.batch.facts.extend(readings.iter().map(|(_, series, time_ms, value)| Fact {
                boot,
                seq,
                message: message.id,
                series: *series,
                time_ms: *time_ms,
                value: *value,
                leaves: message.leaves,
            }));
        }
        if ctx.mutation == Mutation::SensorAckBeforeCommit {
            ctx.oracle.acknowledged(message.id, message.told_apart);
            return;
        }
        process.awaiting.push_back((lsn, sensor, message.id));
        self.sensors[sensor].unacknowledged.push_back(message);
    }

    /// The batch becomes durable; nobody has been told yet.
    fn commit(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if process.batch.records.is_empty() {
            return Ok(());
        }
        let next = Frame { first: process.batch.last() + 1, marks: process.batch.marks, ..Frame::default() };
        let frame = Rc::new(std::mem::replace(&mut process.batch, next));
        ctx.oracle.durable(&self.name, &frame)?;
        self.disk.append(frame.clone());
        process.pending.push_back(frame);
        Ok(())
    }

    /// Commits, and acknowledges to the sensors.
    pub fn sync(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        self.commit(ctx)?;
        let Some(process) = &mut self.process else { return Ok(()) };
        while let Some((lsn, sensor, id)) = process.awaiting.front().copied().filter(|(lsn, ..)| *lsn <= self.disk.end) {
            debug_assert!(lsn <= self.disk.end);
            process.awaiting.pop_front();
            let waiting = &mut self.sensors[sensor].unacknowledged;
            if let Some(at) = waiting.iter().position(|m| m.id == id)
                && let Some(message) = waiting.remove(at)
            {
                ctx.oracle.acknowledged(id, message.told_apart);
            }
        }
        Ok(())
    }

    /// Folds what is durable, ticks, speaks: a round of `edge::core`.
    pub fn think(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        let wall_ms = self.wall_ms(ctx);
        let Some(process) = &mut self.process else { return Ok(()) };
        if ctx.mutation == Mutation::SendsUncommitted {
            let (batch, from) = (process.batch.clone(), process.fold.lsn);
            for (lsn, kind, payload) in batch.records().filter(|(lsn, ..)| *lsn > from) {
                process.fold.apply(lsn, kind, payload).map_err(|e| e.to_string())?;
            }
        }
        while let Some(frame) = process.pending.pop_front() {
            process.fold.frame(frame.first, frame.marks, frame.records()).map_err(|e| e.to_string())?;
        }
        self.tell_marks(ctx);
        self.show(ctx)?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let now_ms = process.clock.read(wall_ms, ctx.now_ms);
        let due = process.fold.next_due_ms().filter(|at| *at <= now_ms && *at != process.ticked_ms);
        let idle = process.uplink.is_connected() && now_ms - process.fold.clock_ms.max(process.ticked_ms) >= IDLE_FRONTIER_MS;
        if due.is_some() || idle {
            process.push(&Record::Tick);
            process.ticked_ms = due.unwrap_or(now_ms);
        }
        for _ in 0..OUTS_MAX {
            let Some(out) = process.uplink.poll(ctx.now_ms, &process.fold) else {
                let late = process.uplink.next_timeout_ms().filter(|at| *at <= ctx.now_ms);
                if late.is_some() && ctx.every_ms > 0 {
                    return Err(format!("{} has nothing to do, and a timer for it: it would never rest", self.name));
                }
                for page in process.uplink.unreadable() {
                    process.push(&Record::Lost { page });
                }
                return ctx.oracle.gateway(&self.name, &self.disk, &process.fold);
            };
            let (lane, what, bytes) = match out {
                Out::Hello(lane, hello) => (lane, "hello", hello.encode()),
                Out::Alert(alert) => (Lane::Alerts, "alert", alert.encode()),
                Out::Delta(delta) => {
                    let number = delta.number;
                    let delta = mutated(delta, ctx.mutation, &process.fold);
                    ctx.trace(|| format!("{} {:x} sends {}", self.name, process.boot, told(&delta)));
                    let bytes = delta.encode();
                    process.uplink.weighed(ctx.now_ms, number, bytes.len());
                    self.link.send_up(Lane::Intervals, "delta", bytes);
                    continue;
                }
                Out::Drop(lane) => {
                    ctx.trace(|| format!("{} gives up {lane:?}", self.name));
                    *self.link.lane(lane) = State::Down;
                    process.uplink.disconnected(lane);
                    continue;
                }
                Out::Unheard(told) => {
                    let (count, oldest) = told.unwrap_or_default();
                    process.push(&Record::Unheard { count, oldest });
                    continue;
                }
            };
            process.uplink.paid(ctx.now_ms, bytes.len());
            self.link.send_up(lane, what, bytes);
        }
        Err(format!("{} has always something to say", self.name))
    }

    /// What is given up is told, window for window.
    fn tell_marks(&mut self, ctx: &mut Ctx) {
        let Some(process) = &mut self.process else { return };
        let fold = &process.fold;
        let newest = fold.boots.iter().flat_map(|p| p.marks.pages()).map(|page| page.id).max().unwrap_or(0);
        if newest > process.marks_told {
            process.marks_told = newest;
            for part in &fold.boots {
                let batch = part.marks.oldest(&fold.shelf, 0, usize::MAX, |_| false);
                for mark in &batch.marks {
                    let name = fold.series.get(mark.series as usize).map_or("", |series| &series.name);
                    ctx.oracle.given_up(&self.name, part.boot, name, mark);
                }
            }
        }
    }

    /// There is no room: the oldest entries are given up.
    pub fn shed(&mut self, bytes: u64) {
        let Some(process) = &mut self.process else { return };
        if let Some((boot, version)) = replica::shed::oldest(&process.fold, bytes) {
            process.push(&Record::Shed { boot, version });
        }
    }

    fn show(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let fresh = std::mem::take(&mut process.fold.fresh);
        let shown = process.fold.shown;
        for (_, alert) in fresh.iter().filter(|(lsn, _)| *lsn > shown) {
            let leaves = process.fold.boots.iter().any(|p| p.owes(alert));
            ctx.oracle.raised(&self.name, alert, leaves)?;
            if leaves {
                process.uplink.urgent(ctx.now_ms, alert);
            }
        }
        if let Some((lsn, _)) = fresh.last() {
            process.push(&Record::Shown { lsn: *lsn });
        }
        Ok(())
    }

    /// What stalls is given up, and all comes back.
    pub fn connect(&mut self, ctx: &Ctx) {
        for lane in LANES {
            if *self.link.lane(lane) == State::Stalled {
                self.lose(lane);
            }
        }
        self.reconnect(ctx);
    }

    /// What is known to be gone comes back.
    pub fn reconnect(&mut self, ctx: &Ctx) {
        let Some(process) = &mut self.process else { return };
        for lane in LANES {
            if *self.link.lane(lane) == State::Down {
                *self.link.lane(lane) = State::Up;
                process.uplink.connected(ctx.now_ms, lane);
            }
        }
    }

    pub fn disconnect(&mut self) {
        LANES.into_iter().for_each(|lane| self.lose(lane));
    }

    fn lose(&mut self, lane: Lane) {
        *self.link.lane(lane) = State::Down;
        if let Some(process) = &mut self.process {
            process.uplink.disconnected(lane);
        }
    }

    /// A connection that stands carries nothing any more, and nobody knows.
    pub fn stall(&mut self, lane: Lane) {
        let state = self.link.lane(lane);
        if *state == State::Up {
            *state = State::Stalled;
        }
    }

    /// Something came down; nobody may be there.
    pub fn receive(&mut self, ctx: &mut Ctx, what: &str, bytes: &[u8]) -> Result<(), String> {
        let lane = if what == "receipt" { Lane::Alerts } else { Lane::Intervals };
        let stands = *self.link.lane(lane) == State::Up;
        let Some(process) = self.process.as_mut().filter(|_| stands) else { return Ok(()) };
        if what == "receipt" {
            let receipt = Receipt::decode(bytes).map_err(|e| format!("a receipt does not decode: {e}"))?;
            process.uplink.receipted(ctx.now_ms, &receipt);
            return Ok(());
        }
        let mut ack = Ack::decode(bytes).map_err(|e| format!("an ack does not decode: {e}"))?;
        match ctx.mutation {
            Mutation::AppliedTooFar => ack.applied += 1,
            Mutation::AckOfAnotherBoot => ack.boot = process.boot,
            _ => {}
        }
        ctx.trace(|| format!("{} {:x} gets {ack:x?}", self.name, process.boot));
        let outcome = process.uplink.acked(ctx.now_ms, &ack, &mut process.fold);
        if let Some((boot, cloud_boot, pages)) = outcome.told {
            let pages = Numbers::encode(&pages);
            process.push(&Record::Told { boot, cloud_boot, pages: Numbers { bytes: &pages } });
        }
        if let Some(record) = outcome.record {
            let wall_ms = (EPOCH_MS + ctx.now_ms + ctx.now_ms * self.drift / 1_000 + self.offset_ms).max(0);
            process.clock.read(wall_ms, ctx.now_ms);
            process.push(&record);
            if let Record::Acked { boot, applied, shed, readings, .. } = record
                && let Some(part) = process.fold.boots.iter_mut().find(|p| p.boot == boot)
            {
                part.acknowledged(applied, readings, shed);
            }
        }
        ctx.oracle.gateway(&self.name, &self.disk, &process.fold)
    }

    pub fn save(&mut self) {
        let Some(process) = &mut self.process else { return };
        let fold = &mut process.fold;
        let lsn = fold.lsn;
        if lsn > 0 && lsn <= self.disk.end && self.disk.snapshots.last().is_none_or(|s| s.lsn < lsn) {
            let pages: Vec<(u64, Arc<[u8]>)> = fold.shelf.in_memory().map(|(id, bytes)| (id, bytes.clone())).collect();
            pages.iter().for_each(|(id, _)| fold.shelf.release(*id));
            self.disk.pages.0.extend(pages);
            self.disk.snapshots.push(Snapshot { lsn, state: Rc::new(fold.save()), pages: Rc::new(fold.pages()) });
            self.disk.tidy();
            fold.shelf.keep_in(Arc::new(self.disk.pages.clone()));
        }
    }

    /// Whether a crash could lose something.
    pub fn waits(&self) -> bool {
        self.process.as_ref().is_some_and(|p| !p.batch.records.is_empty())
    }

    /// Whether nothing waits here any more.
    pub fn quiet(&self) -> bool {
        let Some(process) = &self.process else { return false };
        process.pending.is_empty()
            && process.fold.boots.iter().all(|p| {
                p.entries.is_empty()
                    && p.marks.is_empty()
                    && p.alerts.is_empty()
                    && p.readings_applied == p.readings
                    && (!p.ended || p.applied == p.end)
            })
    }
}

/// What a broken gateway would send instead.
fn mutated(mut delta: Delta, mutation: Mutation, fold: &Fold) -> Delta {
    let part = fold.boots.iter().find(|p| p.boot == delta.boot);
    match mutation {
        Mutation::ToBeyondOpenBirths => {
            delta.to = part.map_or(delta.to, |p| p.end);
            delta.readings_to = part.map_or(delta.readings_to, |p| p.readings);
        }
        Mutation::MarksPassed => delta.marks.clear(),
        Mutation::VersionsOnly => {
            let mut entries = telemetry::block::decode(&delta.entries, 1 << 16).unwrap_or_default();
            entries.retain(|e| e.version <= delta.to);
            delta.entries = telemetry::block::encode(&entries);
        }
        _ => {}
    }
    delta
}
