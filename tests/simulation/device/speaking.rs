//! What a device makes of what is durable, and says and hears: what `edge::core` does.

use super::clock::is_set;
use super::{Ctx, Device, LANES, OUTS_MAX, Process};
use crate::disk::Frame;
use crate::mutation::Mutation;
use crate::network::State;
use replica::fold::Fold;
use replica::frame::Marks;
use replica::limits::IDLE_FRONTIER_MS;
use replica::outbox::{Fate, LastRead};
use replica::record::{Behind, Numbers, Record};
use replica::uplink::{Acknowledged, Lane, Out, Proof};
use schemas::message::{Ack, Delta, Receipt};

/// An interval in one line.
fn told(delta: &Delta) -> String {
    let names = |block: &[u8]| {
        let entries = telemetry::block::decode(block, 1 << 16).unwrap_or_default();
        entries.iter().map(|e| format!(" {}@{}..{}", e.series, e.born, e.version)).collect::<String>()
    };
    let Delta { boot, number, from, to, cloud_boot, ended, alerts, frontier_ms, .. } = delta;
    let (entries, ahead) = (names(&delta.entries), names(&delta.ahead));
    let ended = if *ended { " end" } else { "" };
    format!(
        "{number:x} of {boot:x} ({from}, {to}]{ended} at {frontier_ms} to {cloud_boot:x}:{entries}; ahead{ahead}; {} alerts",
        alerts.len()
    )
}

/// Folds a frame; what it gives up is told to the oracle, window for window, before a later record
/// takes the names away.
pub(super) fn fold_frame(name: &str, fold: &mut Fold, frame: &Frame, ctx: &mut Ctx) -> Result<(), String> {
    let said = |error: replica::Error| format!("the log is not folded: {error}");
    let shed = (Record::Shed { boot: 0, version: 0 }).kind();
    if frame.first > fold.lsn + 1 {
        let mut marks = frame.marks;
        match ctx.mutation {
            Mutation::GapNotDeclared => {
                return frame.records().try_for_each(|(lsn, kind, payload)| fold.apply(lsn, kind, payload)).map_err(said);
            }
            Mutation::GapTakesNoTime => Marks::set_clock(&mut marks, 0),
            _ => {}
        }
        fold.frame(frame.first, marks, frame.records()).map_err(said)?;
        if frame.records().any(|(_, kind, _)| kind == shed) {
            tell_given_up(name, fold, ctx);
        }
    }
    for record in frame.records().filter(|(lsn, ..)| *lsn > fold.lsn).collect::<Vec<_>>() {
        fold.frame(record.0, frame.marks, std::iter::once(record)).map_err(said)?;
        if record.1 == shed {
            tell_given_up(name, fold, ctx);
        }
    }
    Ok(())
}

fn tell_given_up(name: &str, fold: &Fold, ctx: &mut Ctx) {
    for part in &fold.boots {
        let batch = part.marks.oldest(&fold.shelf, u64::MAX, usize::MAX, |_| Fate::Goes);
        for mark in &batch.marks {
            let series = fold.series.get(mark.series as usize).map_or("", |series| &series.name);
            ctx.oracle.given_up(name, part.boot, series, mark);
        }
    }
}

impl Process {
    /// The logged clock now. Once the wall clock is set, that is logged: what waits for its date gets it.
    fn look(&mut self, ctx: &Ctx, wall_ms: i64) -> i64 {
        if self.clock.is_unset && is_set(wall_ms) && !self.refuses {
            let behind_ms = self.clock.set(wall_ms, ctx.now_ms);
            let is_told = ctx.mutation != Mutation::ClockSetUnsaid;
            let lsn = self.push(&if is_told { Record::ClockSet { behind_ms } } else { Record::Tick });
            self.batch.set = Some((lsn - self.base, behind_ms));
        }
        self.clock.read(wall_ms, ctx.now_ms)
    }

    /// Logs what came of an ack.
    fn settle(&mut self, mutation: Mutation, outcome: Acknowledged, wall_ms: i64, now_ms: i64) {
        let is_told = outcome.told.is_none_or(|(boot, cloud_boot, pages)| {
            let pages = Numbers::encode(&pages);
            self.log(&Record::Told { boot, cloud_boot, pages: Numbers { bytes: &pages } }).is_some()
        });
        if let Some(record) = outcome.record {
            self.clock.read(wall_ms, now_ms);
            let is_logged = is_told && self.log(&record).is_some();
            if let Record::Acked { boot, applied, shed, readings, hash, .. } = record
                && let Some(part) = self.fold.boots.iter_mut().find(|p| p.boot == boot)
            {
                part.acknowledged(applied, readings, shed, hash);
            }
            if let Record::Acked { boot, .. } = record {
                // A newer one takes the place of one that still waits.
                self.unlogged.remove(&boot);
                if !is_logged && mutation != Mutation::AckNotRetried {
                    self.unlogged.insert(boot, record);
                }
            }
        }
        if let Some(record) = outcome.forked {
            self.log(&record);
        }
    }
}

impl Device {
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
            fold_frame(&self.name, &mut process.fold, &frame, ctx)?;
        }
        if process.uplink.is_forked(&process.fold) {
            ctx.trace(|| format!("{} begins another boot", self.name));
            let links = LANES.map(|lane| *self.link.lane(lane) == State::Up);
            self.crash(ctx, true)?;
            self.start(ctx)?;
            if links[0] {
                self.reconnect(ctx);
            }
            return Ok(());
        }
        ctx.oracle.forked(&self.name, &mut self.disk, &process.fold)?;
        if let Some(process) = &mut self.process {
            process.critical.clear();
        }
        self.show(ctx)?;
        self.cross(ctx)?;
        self.heal(ctx)?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let now_ms = process.look(ctx, wall_ms);
        while let Some(waits) = process.unlogged.first_entry().filter(|_| !process.refuses) {
            let record = waits.remove();
            if let Record::Acked { boot, cloud_boot, .. } = record
                && let Some(part) = process.fold.boots.iter().find(|part| part.boot == boot)
                && let pages = part.marks.unlogged()
                && !pages.is_empty()
            {
                let pages = Numbers::encode(&pages);
                process.push(&Record::Told { boot, cloud_boot, pages: Numbers { bytes: &pages } });
            }
            process.push(&record);
        }
        let due = process.fold.next_due_ms().filter(|at| *at <= now_ms && *at != process.ticked_ms);
        let idle = process.uplink.is_connected() && now_ms - process.fold.clock_ms.max(process.ticked_ms) >= IDLE_FRONTIER_MS;
        if (due.is_some() || idle) && process.log(&Record::Tick).is_some() {
            process.ticked_ms = due.unwrap_or(now_ms);
        }
        let mut behind = Vec::new();
        for _ in 0..OUTS_MAX {
            let Some(out) = process.uplink.poll(ctx.now_ms, &process.fold) else {
                behind.drain(..).for_each(|bytes| self.link.send_up(Lane::Alerts, "alert", bytes));
                let late = process.uplink.next_timeout_ms().filter(|at| *at <= ctx.now_ms);
                if late.is_some() && ctx.every_ms > 0 {
                    return Err(format!("{} has nothing to do, and a timer for it: it would never rest", self.name));
                }
                for page in process.uplink.unreadable() {
                    if process.fold.is_healing() {
                        process.fold.heal_lost(page);
                        continue;
                    }
                    process.log(&Record::Lost { page });
                }
                return ctx.oracle.gateway(&self.name, &self.disk, &process.fold);
            };
            let (lane, what, bytes) = match out {
                Out::Hello(lane, hello) => (lane, "hello", hello.encode()),
                Out::Beat(beat) => (Lane::Alerts, "beat", beat.encode()),
                Out::Alert(alert) if ctx.mutation == Mutation::AlertsBehind => {
                    behind.push(alert.encode());
                    continue;
                }
                Out::Alert(up) => {
                    process.critical.remove(&(up.alert.boot, up.alert.seq, up.alert.ordinal));
                    (Lane::Alerts, "alert", up.encode())
                }
                Out::Delta(delta) => {
                    if *self.link.lane(Lane::Alerts) == State::Up && !process.critical.is_empty() {
                        return Err(format!("{}'s critical alerts {:?} wait behind an interval", self.name, process.critical));
                    }
                    let number = delta.number;
                    ctx.oracle.hashed(&self.name, &self.disk, &process.fold, &delta)?;
                    let mut delta = mutated(delta, ctx.mutation, &process.fold);
                    if ctx.is_old(process.boot) {
                        (delta.hash_from, delta.hash_to, delta.after) = (0, 0, 0);
                    }
                    ctx.oracle.sent(&self.name, &self.disk, &process.fold, &delta);
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
                Out::Prove(mut question) => {
                    self.disk
                        .frames
                        .iter()
                        .flat_map(|frame| frame.records())
                        .for_each(|(lsn, kind, bytes)| question.read(lsn, kind, bytes));
                    let proof = match question.proof() {
                        _ if ctx.mutation == Mutation::HashNotCompared => Proof::Unknown,
                        _ if question.records().1 > self.disk.end => Proof::Beyond,
                        proof => proof,
                    };
                    ctx.trace(|| format!("{} {:x} asks its log {question:x?}: {proof:x?}", self.name, process.boot));
                    let outcome = process.uplink.proved(ctx.now_ms, &question, proof, &mut process.fold);
                    ctx.oracle.found(&self.name, outcome.forked.as_ref())?;
                    process.settle(ctx.mutation, outcome, wall_ms, ctx.now_ms);
                    continue;
                }
                Out::Offer(boot, born) => {
                    if process.log(&Record::Offered { boot, born }).is_none() && ctx.mutation != Mutation::OfferBelieved {
                        process.uplink.offer_refused(ctx.now_ms);
                    }
                    continue;
                }
                Out::Unheard(told) => {
                    let (count, oldest) = told.unwrap_or_default();
                    process.log(&Record::Unheard { count, oldest });
                    continue;
                }
            };
            process.uplink.paid(ctx.now_ms, bytes.len());
            self.link.send_up(lane, what, bytes);
        }
        Err(format!("{} has always something to say", self.name))
    }

    pub(super) fn show(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let fresh = std::mem::take(&mut process.fold.fresh);
        let (shown, mut last_read) = (process.fold.shown, LastRead::default());
        for (_, alert) in fresh.iter().filter(|(lsn, _)| *lsn > shown) {
            let leaves = process.fold.owes(alert, &mut last_read);
            ctx.oracle.raised(&self.name, self.disk.name(alert.boot, alert.seq), alert, leaves)?;
            if leaves {
                process.uplink.urgent(ctx.now_ms, alert);
                let id = (alert.boot, alert.seq, alert.ordinal);
                // What a copy of this machine has told the cloud already need not be told again.
                if alert.severity == 0 && !process.receipted.contains(&id) {
                    process.critical.insert(id);
                }
            }
        }
        if let Some((lsn, _)) = fresh.last() {
            process.log(&Record::Shown { lsn: *lsn, unheld: 0, behind: Behind::default() });
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

    pub(super) fn lose(&mut self, lane: Lane) {
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
        let wall_ms = self.wall_ms(ctx);
        let lane = if what == "receipt" { Lane::Alerts } else { Lane::Intervals };
        let stands = *self.link.lane(lane) == State::Up;
        if stands && what.starts_with("cross") {
            return self.crossed(ctx, what, bytes);
        }
        let Some(process) = self.process.as_mut().filter(|_| stands) else { return Ok(()) };
        if what == "receipt" {
            let mut receipt = Receipt::decode(bytes).map_err(|e| format!("a receipt does not decode: {e}"))?;
            if ctx.mutation == Mutation::HeldBefore {
                receipt.cloud_boot = *process.first_cloud.get_or_insert(receipt.cloud_boot);
            }
            process.receipted.insert((receipt.boot, receipt.seq, receipt.ordinal));
            process.uplink.receipted(ctx.now_ms, &receipt);
            return Ok(());
        }
        let mut ack = Ack::decode(bytes).map_err(|e| format!("an ack does not decode: {e}"))?;
        match ctx.mutation {
            Mutation::AppliedTooFar => ack.applied += 1,
            Mutation::AckOfAnotherBoot => ack.boot = process.boot,
            Mutation::HashNotCompared => ack.hash = 0,
            Mutation::HeldBefore => ack.cloud_boot = *process.first_cloud.get_or_insert(ack.cloud_boot),
            _ => {}
        }
        if ctx.is_old(process.boot) {
            (ack.hash, ack.last) = (0, 0);
        }
        ctx.trace(|| format!("{} {:x} gets {ack:x?}", self.name, process.boot));
        let outcome = process.uplink.acked(ctx.now_ms, &ack, &mut process.fold);
        ctx.oracle.found(&self.name, outcome.forked.as_ref())?;
        process.settle(ctx.mutation, outcome, wall_ms, ctx.now_ms);
        ctx.oracle.gateway(&self.name, &self.disk, &process.fold)
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
        Mutation::GroupSummed => delta.group = None,
        Mutation::HoleNotTold => delta.holed = false,
        Mutation::FrontierAhead => delta.frontier_ms = fold.clock_ms,
        Mutation::VersionsOnly => {
            let mut entries = telemetry::block::decode(&delta.entries, 1 << 16).unwrap_or_default();
            entries.retain(|e| e.version <= delta.to);
            delta.entries = telemetry::block::encode(&entries);
        }
        _ => {}
    }
    delta
}
