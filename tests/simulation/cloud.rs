//! The bridge's shell around the real join: what `cloud::core` and `cloud::run` do with threads
//! and sockets, in one thread.

mod crossing;

use crate::canonical;
use crate::device::{Ctx, EPOCH_MS};
use crate::disk::chained;
use crate::mutation::Mutation;
use crate::oracle::{Told, ensure};
use replica::join::store::{Batch, Store, StoreError};
use replica::join::{Bridge, BridgeConfig, Effects, Merged, Unfolded, Window, WindowKey};
use replica::record::Record;
use schemas::message::{Ack, AlertUp, Delta, Hello};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// A durable frame: its first record's number, and its records.
type Logged = Rc<(u64, Vec<(u8, Vec<u8>)>)>;

/// Least time between two rounds, in ms, as in `cloud::core`.
const ROUND_MS: i64 = 100;

/// What a store has: windows as they were written last, and what they were written with.
#[derive(Default)]
struct Kept {
    windows: BTreeMap<WindowKey, Window>,
    last: Option<Arc<Batch>>,
}

/// Looked into from outside.
type Written = Arc<Mutex<Kept>>;

/// A store that can be looked into.
struct Seen(Written);

/// The store as of a record, as it is found after a crash.
#[derive(Clone)]
pub struct Saved {
    lsn: u64,
    windows: Rc<BTreeMap<WindowKey, Window>>,
    state: Rc<Vec<u8>>,
}

impl Store for Seen {
    fn get(&mut self, key: WindowKey) -> Result<Option<Window>, StoreError> {
        Ok(self.0.lock().map_err(|e| e.to_string())?.windows.get(&key).cloned())
    }

    fn write(&mut self, batch: Arc<Batch>) -> Result<(), StoreError> {
        let changed = batch.windows.iter().map(|(key, window)| (*key, window.clone()));
        let mut kept = self.0.lock().map_err(|e| e.to_string())?;
        kept.windows.extend(changed);
        kept.last = Some(batch.clone());
        Ok(())
    }

    fn written(&mut self, _wait: bool) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn forget(&mut self, _: i64) {}
}

#[derive(Clone)]
pub struct Process {
    /// Shared by copies of a world until one of them changes it.
    pub bridge: Rc<Bridge>,
    windows: Written,
    batch: Vec<(u8, Vec<u8>)>,
    pending: VecDeque<Logged>,
    unfolded: Unfolded,
    clock_ms: i64,
    taken: (u64, u64),
    round_logged: bool,
    round_ms: i64,
    /// Messages under way to gateways: until when they are waited for, and how many it had had.
    carried: BTreeMap<String, (i64, u64)>,
}

#[derive(Clone, Default)]
pub struct Cloud {
    /// Durable frames.
    pub log: Vec<Logged>,
    /// Of all records that it was given.
    pub hash: u64,
    /// The store, if one was ever written.
    pub saved: Option<Saved>,
    /// With what the world was told by then.
    pub backup: Option<(Vec<Logged>, Option<Saved>, Told)>,
    pub process: Option<Process>,
}

/// What no broker is known to have taken, by record.
type Unpublished = Vec<(u64, Effects)>;

/// What goes down: to the gateway of that name.
pub type Down = Vec<(String, &'static str, Vec<u8>)>;

impl Process {
    /// The bridge, to be changed: folded again when another world looks at it too.
    fn bridge_of(&mut self, log: &[Logged]) -> Result<&mut Bridge, String> {
        if Rc::get_mut(&mut self.bridge).is_none() {
            let windows = Written::default();
            let (mut own, end) = (Bridge::new(Box::new(Seen(windows.clone()))), self.bridge.lsn);
            for (lsn, kind, payload) in log.iter().flat_map(records).filter(|(lsn, ..)| *lsn <= end) {
                own.apply(lsn, kind, payload).map_err(|e| e.to_string())?;
            }
            (self.bridge, self.windows) = (Rc::new(own), windows);
        }
        Rc::get_mut(&mut self.bridge).ok_or_else(|| "a bridge that is shared".to_owned())
    }

    fn log(&mut self, ctx: &Ctx, record: &Record<'_>) {
        let now = (EPOCH_MS + ctx.now_ms).max(self.clock_ms);
        let mut payload = Vec::new();
        record.encode(now.abs_diff(self.clock_ms), &mut payload);
        self.clock_ms = now;
        self.batch.push((record.kind(), payload));
    }

    fn effects(&mut self, ctx: &mut Ctx, lsn: u64, effects: Effects, again: bool, down: &mut Down) -> Result<(), String> {
        let publishes = effects.publishes();
        if let Some((gateway, receipt)) = effects.receipt {
            down.push((gateway, "receipt", receipt.encode()));
        }
        for (gateway, body) in &effects.alerts {
            ctx.oracle.alerted(gateway, body, again)?;
        }
        for message in &effects.crossed {
            ctx.oracle.crossed.taken(&mut ctx.oracle.told.crossed, message, again)?;
        }
        if let Some((gateway, ack)) = effects.cross_ack {
            down.push((gateway, "cross-ack", ack.encode()));
        }
        if let Some((gateway, ack)) = effects.ack {
            if ack.ahead {
                ctx.oracle.taken(ack.number)?;
            }
            down.push((gateway, "ack", said(ctx, ack)));
        }
        for merged in &effects.merged {
            ctx.oracle.published(merged)?;
        }
        if publishes {
            self.taken.0 = lsn;
        }
        Ok(())
    }
}

/// Whether they are of one window.
fn is_of(one: &Merged, other: &Merged) -> bool {
    (&one.series, one.size_ms, one.start_ms) == (&other.series, other.size_ms, other.start_ms)
}

/// What follows from a record, as that cloud tells it, is judged by what is known as of the record.
fn judged(ctx: &mut Ctx, bridge: &Bridge, lsn: u64, effects: &mut Effects) -> Result<(), String> {
    for merged in &mut effects.merged {
        match ctx.mutation {
            Mutation::CompleteAlways => merged.complete = true,
            Mutation::CompleteNever => merged.complete = false,
            _ => {}
        }
    }
    ctx.oracle.completed(bridge, lsn, &effects.merged)
}

/// An ack as that version of the bridge encodes it.
fn said(ctx: &Ctx, mut ack: Ack) -> Vec<u8> {
    if ctx.is_old(ack.cloud_boot) {
        (ack.hash, ack.last) = (0, 0);
    }
    ack.encode()
}

impl Cloud {
    /// A process starts, as `cloud::run` does.
    pub fn start(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        if self.process.is_some() {
            return Ok(());
        }
        let windows = Written::default();
        let saved = self.saved.clone().filter(|saved| saved.lsn <= self.end());
        // All of the log, told as it was: what a start from the store comes to must be the same.
        let mut bridge = Bridge::new(Box::new(Seen(windows.clone())));
        let mut unpublished: Vec<(u64, Effects)> = Vec::new();
        for (lsn, kind, payload) in self.log.iter().flat_map(records) {
            let forgotten = match ctx.mutation {
                Mutation::AlertForgotten => kind == 33,
                Mutation::CrossForgotten => kind == Record::CrossUp { gateway: "", bytes: &[] }.kind(),
                _ => false,
            };
            if forgotten {
                continue;
            }
            let mut effects = bridge.apply(lsn, kind, payload).map_err(|e| format!("the cloud's log is not folded: {e}"))?;
            judged(ctx, &bridge, lsn, &mut effects)?;
            crossing::offers(ctx, &bridge, kind, payload, &effects);
            if effects.publishes() {
                unpublished.push((lsn, Effects { ack: None, receipt: None, cross_ack: None, ..effects }));
            }
            let cursor = bridge.cursor;
            unpublished.retain(|(lsn, _)| *lsn > cursor);
        }
        let (windows, bridge, unpublished) = match saved {
            Some(saved) => self.found(ctx, &saved, (&mut bridge, unpublished))?,
            None => (windows, bridge, unpublished),
        };
        let mut process = Process {
            batch: Vec::new(),
            pending: VecDeque::new(),
            unfolded: Unfolded::default(),
            clock_ms: bridge.clock_ms,
            taken: (bridge.cursor, bridge.cursor),
            round_logged: false,
            round_ms: 0,
            carried: BTreeMap::new(),
            windows,
            bridge: Rc::new(bridge),
        };
        let boot = ctx.draw(1);
        let parent = (process.bridge.boot != 0).then_some((process.bridge.boot, self.end()));
        process
            .log(ctx, &Record::Boot { boot, parent, config: &BridgeConfig { retain_ms: None, is_paced: true, is_skewed: true }.encode() });
        let is_forgotten = ctx.mutation == Mutation::UnpublishedForgotten;
        for (lsn, effects) in unpublished.into_iter().filter(|_| !is_forgotten) {
            process.effects(ctx, lsn, effects, true, &mut Vec::new())?;
        }
        self.process = Some(process);
        Ok(())
    }

    /// The state that a store has, folded on to the end of the log: what `cloud::recover` does. It is that of
    /// all of the log, and so is what is still to be published.
    fn found(&self, ctx: &Ctx, saved: &Saved, (whole, told): (&mut Bridge, Unpublished)) -> Result<(Written, Bridge, Unpublished), String> {
        let said = |error: replica::Error| format!("the cloud's store is of no use: {error}");
        let kept = if ctx.mutation == Mutation::StoreStale { BTreeMap::new() } else { (*saved.windows).clone() };
        let windows: Written = Arc::new(Mutex::new(Kept { windows: kept, last: None }));
        let mut bridge = Bridge::restore(&saved.state, Box::new(Seen(windows.clone()))).map_err(said)?;
        bridge.quiet = u64::MAX;
        for (lsn, kind, payload) in self.log.iter().flat_map(records).filter(|(lsn, ..)| *lsn > saved.lsn) {
            bridge.apply(lsn, kind, payload).map_err(said)?;
        }
        bridge.quiet = 0;
        let unpublished = bridge.unpublished().map_err(said)?;
        let is_forgetful = [Mutation::AlertForgotten, Mutation::CrossForgotten].contains(&ctx.mutation);
        ensure(is_forgetful || bridge.save() == whole.save(), || {
            "the cloud's state is another one from its store than from its log".to_owned()
        })?;
        // A window comes as it stands by now, not as it was told then.
        let standing = whole.unpublished().map_err(said)?;
        let windows_of = |list: &Unpublished| list.iter().flat_map(|(_, effects)| effects.merged.clone()).collect::<Vec<_>>();
        let (found, known) = (windows_of(&unpublished), windows_of(&standing));
        ensure(is_forgetful || found == known, || format!("the cloud's store would publish {found:?}, its log {known:?}"))?;
        let forgotten = told.iter().flat_map(|(_, effects)| &effects.merged).find(|m| !found.iter().any(|other| is_of(m, other)));
        ensure(is_forgetful || forgotten.is_none(), || format!("the cloud's store would not publish {forgotten:?}"))?;
        Ok((windows, bridge, unpublished))
    }

    /// The store is written, as of the last record folded.
    pub fn save(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.bridge_of(&self.log)?.flush().map_err(|e| e.to_string())?;
        let kept = process.windows.lock().map_err(|e| e.to_string())?;
        if let Some(batch) = &kept.last {
            self.saved = Some(Saved { lsn: batch.lsn, windows: Rc::new(kept.windows.clone()), state: Rc::new((batch.state)()) });
        }
        Ok(())
    }

    pub fn crash(&mut self, kept: bool) {
        if kept {
            self.sync();
        }
        self.process = None;
    }

    /// A message of a gateway: logged when it is admitted, answered at once when it is not.
    pub fn receive(&mut self, ctx: &mut Ctx, gateway: &str, what: &str, bytes: &[u8], down: &mut Down) -> Result<(), String> {
        let end = self.end();
        let Some(process) = &mut self.process else { return Ok(()) };
        let undecodable = |e| format!("a {what} does not decode: {e}");
        match what {
            "hello" => {
                let hello = Hello::decode(bytes).map_err(undecodable)?;
                if ctx.mutation == Mutation::BootForgotten
                    && let Some(known) = process.bridge_of(&self.log)?.gateways.get_mut(gateway)
                {
                    std::sync::Arc::make_mut(known).boots.retain(|boot, _| *boot == hello.boot);
                }
                process.log(ctx, &Record::Hello { gateway, bytes });
            }
            "beat" => {}
            "cross" | "cross-done" => process.crossed(ctx, gateway, what, bytes, down)?,
            "alert" => {
                AlertUp::decode(bytes).map_err(undecodable)?;
                process.log(ctx, &Record::AlertUp { gateway, bytes });
            }
            _ => {
                let mut delta = Delta::decode(bytes).map_err(undecodable)?;
                if ctx.mutation == Mutation::HashNotCompared || ctx.is_old(process.bridge.boot) {
                    (delta.hash_from, delta.hash_to, delta.after) = (0, 0, 0);
                }
                if delta.cloud_boot != 0 && [Mutation::HeldBefore, Mutation::UnderWayBefore].contains(&ctx.mutation) {
                    // Nor is looked which interval it follows, which would tell as well.
                    (delta.cloud_boot, delta.after) = (process.bridge.boot, 0);
                }
                ctx.oracle.interval(gateway, &delta)?;
                let known = process.bridge.gateways.get(gateway).and_then(|g| g.boots.get(&delta.boot));
                let applied = known.map_or(0, |p| p.applied);
                let ignored = ctx.mutation == Mutation::IntervalIgnored && delta.to > 0 && delta.to <= applied;
                match process.bridge.admit(gateway, &delta, &process.unfolded) {
                    Ok(()) if ignored => {
                        // Answered as if it had been folded.
                        let mut probe = delta.clone();
                        probe.from = u64::MAX;
                        if let Err(mut ack) = process.bridge.admit(gateway, &probe, &Unfolded::default()) {
                            ack.ahead = true;
                            down.push((gateway.to_owned(), "ack", said(ctx, ack)));
                        }
                    }
                    Ok(()) => {
                        let admitted = delta.clone();
                        let bytes = mutated(delta, ctx.mutation);
                        process.log(ctx, &Record::Interval { gateway, bytes: &bytes });
                        process.unfolded.push(end + process.batch.len() as u64, gateway, &admitted);
                    }
                    Err(ack) => down.push((gateway.to_owned(), "ack", said(ctx, ack))),
                }
            }
        }
        if ctx.mutation == Mutation::CloudAckBeforeCommit {
            self.think(ctx, down)?;
        }
        Ok(())
    }

    /// Last durable record.
    fn end(&self) -> u64 {
        self.log.last().map_or(0, |frame| frame.0 + frame.1.len() as u64 - 1)
    }

    pub fn sync(&mut self) {
        let first = self.end() + 1;
        if let Some(process) = self.process.as_mut().filter(|p| !p.batch.is_empty()) {
            let frame: Logged = Rc::new((first, std::mem::take(&mut process.batch)));
            self.hash = chained(self.hash, &frame.1);
            self.log.push(frame.clone());
            process.pending.push_back(frame);
        }
    }

    /// Joins what is durable, answers and publishes: a round of `cloud::core`.
    pub fn think(&mut self, ctx: &mut Ctx, down: &mut Down) -> Result<(), String> {
        let durable = self.end();
        let Some(process) = &mut self.process else { return Ok(()) };
        if ctx.mutation == Mutation::CloudAckBeforeCommit {
            process.pending.push_back(Rc::new((durable + 1, process.batch.clone())));
        }
        while let Some(frame) = process.pending.pop_front() {
            for (lsn, kind, payload) in records(&frame).filter(|(lsn, ..)| *lsn > process.bridge.lsn).collect::<Vec<_>>() {
                if kind == Record::Round.kind() {
                    process.round_logged = false;
                }
                let mut effects = process.bridge_of(&self.log)?.apply(lsn, kind, payload).map_err(|e| e.to_string())?;
                judged(ctx, &process.bridge, lsn, &mut effects)?;
                crossing::offers(ctx, &process.bridge, kind, payload, &effects);
                process.effects(ctx, lsn, effects, false, down)?;
            }
        }
        process.unfolded.folded(process.bridge.lsn);
        ctx.oracle.cloud(&process.bridge)?;
        process.carry(ctx, down);
        let now_ms = EPOCH_MS + ctx.now_ms;
        if !ctx.publishes {
            // What is not written yet shows that something changed.
            let changed = process.bridge.sizes().3 > 0;
            return if changed { process.bridge_of(&self.log)?.flush().map(drop).map_err(|e| e.to_string()) } else { Ok(()) };
        }
        if now_ms - process.round_ms < ROUND_MS || process.round_logged {
            return Ok(());
        }
        if process.bridge.is_dirty() && process.bridge.round_due(now_ms) {
            process.round_ms = now_ms;
            process.round_logged = true;
            if ctx.mutation == Mutation::CursorAhead {
                let lsn = durable + process.batch.len() as u64 + 2;
                process.log(ctx, &Record::Cursor { lsn });
            }
            process.log(ctx, &Record::Round);
        }
        if process.taken.0 > process.taken.1 {
            let lsn = process.taken.0;
            process.log(ctx, &Record::Cursor { lsn });
            process.taken.1 = lsn;
            process.round_ms = now_ms;
        }
        Ok(())
    }

    /// All that decides what the cloud does next.
    pub fn tell(&self) -> canonical::Told {
        let Some(process) = &self.process else { return canonical::Told::default() };
        let bridge = &process.bridge;
        let windows = process.windows.lock().map(|kept| kept.windows.clone()).unwrap_or_default();
        debug_assert!(process.batch.is_empty() && process.pending.is_empty());
        canonical::Told::of(&[&bridge.boot, &bridge.gateways, &bridge.alarms, &windows])
    }

    /// Numbers of the intervals that it took last of each boot.
    pub fn followed(&self) -> Vec<u64> {
        let gateways = self.process.iter().flat_map(|p| p.bridge.gateways.values());
        gateways.flat_map(|g| g.boots.values()).map(|part| part.followed).collect()
    }

    pub fn quiet(&self) -> bool {
        self.process.as_ref().is_some_and(|p| !p.bridge.is_dirty() && p.batch.is_empty() && p.pending.is_empty())
    }
}

fn records(frame: &Logged) -> impl Iterator<Item = (u64, u8, &[u8])> {
    frame.1.iter().enumerate().map(|(i, (kind, payload))| (frame.0 + i as u64, *kind, payload.as_slice()))
}

/// What a broken cloud would join instead.
fn mutated(mut delta: Delta, mutation: Mutation) -> Vec<u8> {
    if mutation == Mutation::VersionReversed {
        let mut entries = telemetry::block::decode(&delta.entries, 1 << 16).unwrap_or_default();
        let mut ahead = telemetry::block::decode(&delta.ahead, 1 << 16).unwrap_or_default();
        for entry in entries.iter_mut().chain(&mut ahead) {
            entry.version = (1 << 40) - entry.version;
        }
        (delta.entries, delta.ahead) = (telemetry::block::encode(&entries), telemetry::block::encode(&ahead));
    }
    if mutation == Mutation::AheadApplied {
        let ahead = telemetry::block::decode(&delta.ahead, 1 << 16).unwrap_or_default();
        delta.to = ahead.iter().map(|e| e.version).max().unwrap_or(0).max(delta.to);
    }
    delta.encode()
}
