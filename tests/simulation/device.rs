//! A gateway's shell around the real fold and uplink: what `edge::core` and `edge::intake` do
//! with threads and sockets, in one thread. Every record, snapshot and message is the real one.
//!
//! | file | subject |
//! |---|---|
//! | [`clock`] | the logged clock |
//! | [`crossing`] | ordinary messages that bridges carry |
//! | [`sensing`] | sensors, and readings on their way into the log |
//! | [`speaking`] | the fold's rounds, and the link |

pub mod clock;
pub mod crossing;
mod sensing;
mod speaking;

use crate::canonical::{SEQS, Told, value_end};
use crate::disk::{Alias, Disk, Frame, Kept, Snapshot};
use crate::mutation::Mutation;
use crate::network::Link;
use crate::oracle::Oracle;
use crate::rng::Rng;
use clock::Clock;
use replica::fold::Fold;
use replica::frame::Marks;
use replica::hash;
use replica::record::{Record, SessionEvent};
use replica::session::Redelivery;
use replica::uplink::{Lane, Settings, Uplink};
use sensing::{LOST_OF, Sensor};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// True time at which worlds begin, ms since the Unix epoch.
pub const EPOCH_MS: i64 = 1_700_000_000_000;
/// Entries of a page: few, so that pages are many.
const PAGE_ENTRIES: usize = 3;
/// Frames that are folded for the second time in one round: few, so that it lags.
const HEALED_FRAMES: usize = 2;
/// Series names that sensors use; all gateways share them.
pub const SERIES: [&str; 4] = ["line/a", "line/b", "line/c", "line/d"];

/// The one of them that must not leave its site.
pub const LOCAL: &str = "line/d";

const LANES: [Lane; 2] = [Lane::Intervals, Lane::Alerts];

/// Between boots that are counted: as many intervals have numbers of one.
const BOOTS_APART: u64 = 1 << 16;

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
    /// Some processes are of the version before: no hashes, and nothing said of which interval follows which.
    pub mixed: bool,
    /// Whether to tell what happens.
    pub traced: bool,
    /// Boots are counted for each side instead of drawn: the same whatever came before.
    pub counted: Option<[u64; 2]>,
}

impl Ctx {
    /// A boot's name; `side` 0 for a gateway's, 1 for the cloud's.
    pub fn draw(&mut self, side: usize) -> u64 {
        match &mut self.counted {
            Some(counts) => {
                counts[side] += 1;
                ((1 + side as u64) << 32) + counts[side] * BOOTS_APART
            }
            None => self.rng.next() | 1,
        }
    }

    /// Whether the process of that boot is of the version before.
    pub fn is_old(&self, boot: u64) -> bool {
        self.mixed && boot & 2 == 0
    }

    /// For a person who replays a seed.
    pub fn trace(&self, what: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:>8} {}", self.now_ms, what());
        }
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
    /// Series that have a number, be their names lost.
    defined: u32,
    sessions: Vec<u64>,
    memories: BTreeMap<u64, Redelivery>,
    /// Record, sensor, message.
    awaiting: VecDeque<(u64, usize, u64)>,
    ticked_ms: i64,
    crossing: crossing::Crossing,
    /// The log takes nothing at all: no reading, no record of the gateway's own.
    pub refuses: bool,
    /// Critical alerts made in this round that have not gone yet: boot, seq, ordinal.
    critical: BTreeSet<(u64, u64, u32)>,
    /// Alerts that the cloud said to have.
    receipted: BTreeSet<(u64, u64, u32)>,
    /// The cloud's boot that it heard of first; only a mutation asks.
    first_cloud: Option<u64>,
    /// Acknowledgements that it did not take, by boot.
    unlogged: BTreeMap<u64, Record<'static>>,
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
    /// Messages of the cloud that its clients were shown.
    seen: BTreeSet<u64>,
}

impl Process {
    fn push(&mut self, record: &Record<'_>) -> u64 {
        let mut payload = Vec::new();
        record.encode(self.clock.stamp(), &mut payload);
        Marks::set_clock(&mut self.batch.marks, self.clock.logged_ms);
        self.batch.records.push((record.kind(), payload));
        self.batch.last()
    }

    /// A record of the gateway's own, if the log takes it.
    fn log(&mut self, record: &Record<'_>) -> Option<u64> {
        if self.refuses { None } else { Some(self.push(record)) }
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
            seen: BTreeSet::new(),
        }
    }

    /// A second machine with a copy of the disk and of the process, whose connections are gone, and
    /// sensors of its own. What the first one had not committed is committed before.
    pub fn copied(&mut self, ctx: &mut Ctx) -> Result<Option<Self>, String> {
        self.sync(ctx)?;
        let mut copy = self.cloned();
        copy.process.clone_from(&self.process);
        let Some(process) = copy.process.as_ref().filter(|_| self.disk.alias.is_none()) else { return Ok(None) };
        copy.disk.alias = Some(Alias { boot: process.boot, at: self.disk.end - process.base, name: ctx.draw(0) });
        copy.disconnect();
        Ok(Some(copy))
    }

    /// A second device with a copy of the disk, and sensors of its own.
    pub fn cloned(&self) -> Self {
        Self { disk: self.disk.clone(), ..Self::new(self.name.clone(), self.offset_ms, self.drift) }
    }

    /// Its gateway's number.
    pub fn number(&self) -> u8 {
        self.name[1..].parse().unwrap_or(u8::MAX)
    }

    /// What its wall clock says.
    pub fn wall_ms(&self, ctx: &Ctx) -> i64 {
        (EPOCH_MS + ctx.now_ms + ctx.now_ms * self.drift / 1_000 + self.offset_ms).max(0)
    }

    /// A process starts, as `edge::run` does.
    pub fn start(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        if self.process.is_some() {
            return Ok(());
        }
        let mut fold = self.recover(ctx)?;
        ctx.oracle.forked(&self.name, &mut self.disk, &fold)?;
        ctx.oracle.recovered(&self.name, &self.disk, &fold)?;
        let boot = match (ctx.mutation, fold.current()) {
            (Mutation::BootReused, Some(part)) => part.boot,
            _ => ctx.draw(0),
        };
        let parent = fold.current().map(|p| (p.boot, p.end));
        if ctx.mixed && boot & 4 == 0 {
            // The snapshot was of the version before.
            for part in &mut fold.boots {
                (part.hash, part.hash_applied, part.logged.hash) = (hash::UNKNOWN, hash::UNKNOWN, hash::UNKNOWN);
            }
        }
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
            clock: Clock::resume(fold.clock_ms, wall_ms, ctx.now_ms),
            numbers: fold.dictionary(),
            defined: fold.series.len() as u32,
            sessions: Vec::new(),
            memories: fold.sessions.by_number.iter().map(|(n, s)| (*n, s.memory.clone())).collect(),
            awaiting: VecDeque::new(),
            ticked_ms: 0,
            refuses: false,
            critical: BTreeSet::new(),
            receipted: BTreeSet::new(),
            first_cloud: None,
            unlogged: BTreeMap::new(),
            crossing: crossing::Crossing::new(fold.lsn),
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
            self.come_anew(ctx, sensor);
        }
        Ok(())
    }

    fn recover(&self, ctx: &mut Ctx) -> Result<Fold, String> {
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
            speaking::fold_frame(&self.name, &mut fold, frame, ctx)?;
        }
        Ok(fold)
    }

    /// Ordinary messages that were given up for want of room, as its log says.
    pub fn given_up(&self, ctx: &mut Ctx) -> Result<u64, String> {
        Ok(self.recover(ctx)?.crossing.given_up)
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

    /// What records alone change.
    pub fn tell_records(&mut self) -> Told {
        let Some(process) = &mut self.process else { return Default::default() };
        // Boots are told apart, and each has the same config.
        let (boots, config) = (std::mem::take(&mut process.fold.boots), std::mem::take(&mut process.fold.config));
        let told = Told::of(&[&process.fold]);
        (process.fold.boots, process.fold.config) = (boots, config);
        told
    }

    /// What acks may have changed, too.
    pub fn tell_boots(&self) -> Told {
        let Some(process) = &self.process else { return Told::default() };
        let unacknowledged: Vec<u64> = self.sensors.iter().flat_map(|s| s.unacknowledged.iter().map(|m| m.id)).collect();
        let boots = &process.fold.boots;
        let held: Vec<_> = boots.iter().map(|part| part.entries.held_names()).collect();
        let sealed: Vec<_> =
            boots.iter().map(|part| part.entries.oldest(&process.fold.shelf, part.floor(), 0, usize::MAX).entries).collect();
        let mut unreadable = Vec::new();
        let mut alerts: Vec<_> = Vec::new();
        for part in boots {
            alerts.extend(part.alerts.beyond(&process.fold.shelf, part.applied, &mut unreadable));
        }
        Told::of(&[&unacknowledged, &process.boot, boots, &held, &sealed, &alerts, &process.batch.records, &process.pending.len()])
    }

    /// The uplink. Acks of intervals of another process are not even looked at: they are lost.
    pub fn tell_uplink(&mut self) -> Flying {
        let Some(process) = &self.process else { return Flying::default() };
        self.link.drop_acks(|number| !is_of(process.boot, number));
        Flying::of(&format!("{:?}", process.uplink), process.boot)
    }

    /// The batch becomes durable; nobody has been told yet.
    fn commit(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if process.batch.records.is_empty() {
            return Ok(());
        }
        let first = match ctx.counted {
            Some([boots, _]) if process.batch.last() < process.base + boots * SEQS => process.base + boots * SEQS,
            _ => process.batch.last() + 1,
        };
        let next = Frame { first, marks: process.batch.marks, ..Frame::default() };
        let frame = Rc::new(std::mem::replace(&mut process.batch, next));
        ctx.oracle.durable(&self.name, self.disk.alias, &frame)?;
        self.disk.append(frame.clone());
        ctx.oracle.logged(&self.name, &self.disk, process.boot, &frame);
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
            let Some(at) = waiting.iter().position(|m| m.id == id) else { continue };
            ctx.oracle.acknowledged(id, waiting[at].told_apart);
            // Some first acknowledgements are lost on the way: the sensor does not know.
            waiting[at].acknowledged += 1;
            if id % LOST_OF != 0 || waiting[at].acknowledged > 1 {
                waiting.remove(at);
            }
        }
        Ok(())
    }

    /// There is no room: the oldest entries are given up.
    pub fn shed(&mut self, bytes: u64) {
        let Some(process) = &mut self.process else { return };
        if let Some((boot, version)) = replica::shed::oldest(&process.fold, bytes) {
            process.log(&Record::Shed { boot, version });
        }
        // What is pushed in this batch is none of what the fold knows yet.
        if let Some((boot, born)) = replica::shed::nameless(&process.fold, bytes) {
            process.log(&Record::Unnamed { boot, born });
        }
    }

    pub fn save(&mut self) {
        let Some(process) = &mut self.process else { return };
        let fold = &mut process.fold;
        let lsn = fold.lsn;
        if lsn > 0 && lsn <= self.disk.end && self.disk.snapshots.last().is_none_or(|s| s.lsn < lsn) {
            let pages: Vec<(u64, Arc<[u8]>)> = fold.shelf.in_memory().map(|(id, bytes)| (id, bytes.clone())).collect();
            pages.iter().for_each(|(id, _)| fold.shelf.release(*id));
            self.disk.pages.0.extend(pages);
            let (state, pages, is_configured) = (Rc::new(fold.save()), Rc::new(fold.pages()), self.disk.is_configured(lsn));
            self.disk.snapshots.push(Snapshot { lsn, state, pages, is_configured });
            self.disk.tidy();
            fold.shelf.keep_in(Arc::new(self.disk.pages.clone()));
        }
    }

    /// What the cloud lost is told again, from the log as far as it is kept: what `edge::healing` does.
    fn heal(&mut self, ctx: &Ctx) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if let Some(lsn) = process.fold.heals_from() {
            if ctx.mutation == Mutation::NotHealed {
                process.fold.heal(None);
                return Ok(());
            }
            let lsn = if ctx.mutation == Mutation::HealedFromNewest { u64::MAX } else { lsn };
            let whole = !self.disk.is_cut;
            let before = self.disk.snapshots.iter().rev().find(|s| s.lsn <= lsn);
            let mut state = match before.or(self.disk.snapshots.first().filter(|_| !whole)) {
                Some(saved) => Fold::restore(&saved.state).map_err(|error| format!("a snapshot is not read back: {error}"))?,
                None => Fold::default(),
            };
            state.shelf.set_page_entries(PAGE_ENTRIES);
            state.shelf.keep_in(Arc::new(self.disk.pages.clone()));
            process.fold.heal(Some(state));
        }
        for _ in 0..HEALED_FRAMES {
            let Some(next) = process.fold.heals_with() else { break };
            let Some(frame) = self.disk.frames.iter().find(|frame| frame.last() >= next) else { break };
            process.fold.heal_frame(frame.first, frame.marks, frame.records()).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// The log is cut behind a snapshot, unless it is being told again.
    pub fn trim(&mut self, ctx: &mut Ctx, keep: usize) -> Result<(), String> {
        if self.process.as_ref().is_some_and(|p| p.fold.is_healing()) {
            return Ok(());
        }
        self.disk.trim(keep);
        if self.disk.frames.first().is_none_or(|frame| frame.first > 1)
            && let Some(oldest) = self.disk.snapshots.first()
        {
            let state = Fold::restore(&oldest.state).map_err(|error| format!("a snapshot is not read back: {error}"))?;
            ctx.oracle.cut(&self.name, &state);
        }
        Ok(())
    }

    /// Whether a crash could lose something.
    pub fn waits(&self) -> bool {
        self.process.as_ref().is_some_and(|p| !p.batch.records.is_empty())
    }

    /// Whether nothing waits here any more, and the cloud of that boot is known to have all of it.
    pub fn quiet(&self, cloud_boot: u64) -> bool {
        let Some(process) = &self.process else { return false };
        process.pending.is_empty()
            && !process.fold.is_healing()
            && process.fold.boots.iter().filter(|p| p.forked.is_none_or(|fork| fork.given_up.is_none())).all(|p| {
                p.entries.is_empty()
                    && p.marks.is_empty()
                    && p.alerts.is_empty()
                    && p.readings_applied == p.readings
                    && (!p.ended || p.applied == p.end)
                    && (!p.ended || p.logged.applied == p.applied)
                    && p.cloud_boot == cloud_boot
            })
    }
}

/// Whether an interval's number is one of a boot that is counted; the high bits are of a hash.
fn is_of(boot: u64, number: u64) -> bool {
    number.wrapping_sub(boot) % (1 << 40) < BOOTS_APART
}

/// An uplink as it tells itself.
#[derive(Clone, Default)]
pub struct Flying {
    boot: u64,
    /// All but the intervals that it has taken for lost.
    pub told: Told,
    /// Those, by number.
    late: Vec<(u64, Told)>,
    /// Of its intervals under way, in its order.
    numbers: Vec<u64>,
    /// Of the last that it knows to be taken.
    pub taken: u64,
}

impl Flying {
    fn of(text: &str, boot: u64) -> Self {
        const FLIGHT: &str = "Flight { number: ";
        const LATE: &str = " late: [";
        let number = |rest: &str| rest.split(',').next().and_then(|digits| digits.parse::<u64>().ok()).unwrap_or(0);
        let start = text.find(LATE).map_or(text.len(), |at| at + LATE.len());
        let end = if start < text.len() { value_end(text.as_bytes(), start - 1) - 1 } else { start };
        let late =
            text[start..end].split(FLIGHT).skip(1).map(|flight| (number(flight), Told::text(flight.trim_end_matches(", ")))).collect();
        let rest = [&text[..start], &text[end..]].concat();
        let numbers = rest.split(FLIGHT).skip(1).map(number).collect();
        const TAKEN: &str = "chain: Chain { taken: ";
        let taken = rest.split(TAKEN).nth(1).map_or(0, number);
        Self { boot, told: Told::text(&rest), late, numbers, taken }
    }

    /// Those taken for lost that something under way can still answer.
    pub fn late(&self, link: &Link) -> Vec<&(u64, Told)> {
        self.late.iter().filter(|(number, _)| link.carries(*number)).collect()
    }

    /// Numbers that it remembers, in its order.
    pub fn known(&self, late: &[&(u64, Told)]) -> Vec<u64> {
        self.numbers.iter().copied().chain(late.iter().map(|(late, _)| *late)).chain([self.taken]).collect()
    }

    /// What a number names to this process: nothing, one that it forgot, or one under way or late.
    pub fn whose(&self, number: u64, late: &[&(u64, Told)]) -> usize {
        let mut known = self.numbers.iter().chain(late.iter().map(|(late, _)| late));
        match known.position(|n| *n == number) {
            Some(place) => 2 + place,
            None => usize::from(is_of(self.boot, number)),
        }
    }
}
