//! The one thread behind the journal: committed records in, and what follows from them out.
//!
//! It alone owns the fold and the uplink's state machine. Its stations, in this order:
//! fold the frame, show alerts, hurry critical ones up, log what time makes due, speak to
//! the cloud, save a snapshot.

use crate::alarms::{Alarms, told};
use crate::alerts::{Alerts, is_held};
use crate::clock::{Watch, wall_ms};
use crate::crossing::Crossing;
use crate::event::{Event, LinkEvent};
use crate::healing::Healing;
use crate::intake::Intake;
use crate::limits::ROUND_MAX;
use crate::link::Link;
use crate::proof::prove;
use crate::status::Status;
use crate::store::Snapshots;
use crate::wear::Wear;
use broker::Broker;
use journal::rate::Rate;
use journal::{Frame, Journal};
use replica::alert::topic_and_json;
use replica::fold::Fold;
use replica::outbox::LastRead;
use replica::record::{Numbers, Record};
use replica::uplink::{Acknowledged, Lane, Out, Uplink};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

/// Why a gateway's boot ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to stop.
    Stopped,
    /// Another speaks under its boot: it must begin again, under another.
    Forked,
}

/// The gateway's thinking part, on a thread of its own.
pub struct Core {
    /// Requests about alarms, and what is shown of them.
    pub alarms: Alarms,
    /// Alerts, as they are shown.
    pub alerts: Alerts,
    /// The folded log.
    pub fold: Fold,
    /// The log, for ticks, acks and snapshots.
    pub journal: Journal,
    /// The door of the log.
    pub intake: Arc<Intake>,
    /// The gateway's own broker, where alerts appear first.
    pub broker: Broker,
    /// The gateway's name.
    pub gateway: String,
    /// Protocol and sockets to the cloud, unless the gateway stands alone.
    pub uplink: Option<(Uplink, Link)>,
    /// When its state is saved.
    pub snapshots: Snapshots,
    /// What a cloud lost, told again.
    pub healing: Healing,
    /// Ordinary messages, where a bridge carries any.
    pub crossing: Option<Crossing>,
    /// How good the wall clock is.
    pub clock: Watch,
    /// When this process began.
    pub began: Instant,
    /// Ms since this process began, and the logged clock, at the last look.
    pub looked_ms: (i64, i64),
    /// Due time for which a tick has been logged.
    pub ticked_ms: i64,
    /// How fast the log grows.
    pub rate: Rate,
    /// What that costs the flash.
    pub wear: Wear,
    /// Who asked for the status, and the record that must be folded first: what was durable
    /// then may be acknowledged already, and counts in the answer.
    pub asked: Vec<(u64, oneshot::Sender<Status>)>,
    /// Acknowledgements of the cloud that the log had no room for, by boot.
    pub unlogged: BTreeMap<u64, Record<'static>>,
    /// An interval went, and perhaps more are to go: not before what happened meanwhile, as each
    /// takes milliseconds to make.
    pub speaks_on: bool,
}

impl Core {
    /// Runs until [`Event::Stop`], or until the boot must end; a record that cannot be folded ends
    /// the process's work.
    ///
    /// # Errors
    /// The fold's.
    pub fn run(mut self, mut events: mpsc::Receiver<Event>, runtime: &tokio::runtime::Handle) -> Result<End, replica::Error> {
        self.show();
        self.cross();
        self.look();
        let mut heals = false;
        loop {
            let wait = if heals { Duration::ZERO } else { self.next_wait() };
            let event = runtime.block_on(async { tokio::time::timeout(wait, events.recv()).await });
            match event {
                Ok(None | Some(Event::Stop)) => break,
                Ok(Some(event)) => {
                    self.take(event)?;
                    // What else is already there goes in the same round; but a round ends: what
                    // goes up, time and snapshots wait for no flood to be over.
                    let began = Instant::now();
                    while began.elapsed() < ROUND_MAX
                        && let Ok(event) = events.try_recv()
                    {
                        if matches!(event, Event::Stop) {
                            self.snapshots.save(&self.fold);
                            return Ok(End::Stopped);
                        }
                        self.take(event)?;
                    }
                }
                Err(_) => {}
            }
            if self.uplink.as_ref().is_some_and(|(uplink, _)| uplink.is_forked(&self.fold)) {
                self.snapshots.save(&self.fold);
                return Ok(End::Forked);
            }
            self.look();
            self.tick();
            if self.alerts.is_due() {
                self.alerts.tell(&self.fold, &self.intake);
            }
            if let Some(crossing) = &mut self.crossing {
                crossing.retry(&self.intake);
                crossing.show(&self.fold, &self.intake, &self.broker);
            }
            heals = self.uplink.is_some() && self.healing.go_on(&mut self.fold);
            self.speak();
            self.weigh();
            self.snapshots.settle(&mut self.fold);
            if let Some(record) = self.snapshots.relieve(&self.fold) {
                match self.intake.log(&record) {
                    Ok(lsn) => self.snapshots.relieved(lsn),
                    Err(refused) => warn!(%refused, "nothing can be given up for want of room in the log"),
                }
            }
            if self.snapshots.is_due(&self.fold) {
                self.snapshots.save(&self.fold);
            }
        }
        self.snapshots.save(&self.fold);
        Ok(End::Stopped)
    }

    fn take(&mut self, event: Event) -> Result<(), replica::Error> {
        match event {
            Event::Frame(frame, _room) => {
                fold_frame(&mut self.fold, &frame)?;
                self.intake.folded(self.fold.lsn);
                self.show();
                let acts = self.alarms.folded(&mut self.fold, &self.broker);
                let now_ms = self.now_ms();
                if let Some((uplink, link)) = &mut self.uplink {
                    for acts in acts.chunks(replica::limits::INTERVAL_ACTS_MAX) {
                        if let Some(up) = told(&self.fold, acts.to_vec()) {
                            uplink.paid(now_ms, link.send(Lane::Alerts, "command", up.encode()));
                        }
                    }
                }
                self.cross();
                self.answer();
            }
            Event::Cross(event) => {
                let now_ms = self.now_ms();
                if let Some(crossing) = &mut self.crossing {
                    crossing.event(event, now_ms, &self.fold, &self.intake);
                    crossing.show(&self.fold, &self.intake, &self.broker);
                }
            }
            Event::Left(done) => {
                self.cross();
                self.alerts.tell(&self.fold, &self.intake);
                // Who waits for it may have gone on.
                done.send(()).ok();
            }
            Event::Alarm(ask) => self.alarms.ask(ask, &self.fold, &self.intake),
            Event::Link(event) => self.link(event),
            Event::Status(reply) => {
                let durable = self.journal.horizon().borrow().durable;
                self.asked.push((durable, reply));
                self.answer();
            }
            Event::Stop => {}
        }
        Ok(())
    }

    /// Looks at what was written, and for how many readings.
    fn weigh(&mut self) {
        let elapsed = self.began.elapsed();
        // Once a second, not for each event.
        if !self.rate.is_due(elapsed) {
            return;
        }
        let stats = self.journal.stats();
        self.rate.look(stats.bytes_written, elapsed);
        self.wear.look(stats.disk_bytes, self.fold.ledger().accepted, elapsed);
    }

    /// Answers those whose record is folded.
    fn answer(&mut self) {
        let now_ms = self.now_ms();
        for (_, reply) in self.asked.extract_if(.., |(durable, _)| *durable <= self.fold.lsn) {
            let crossing = self.crossing.as_ref().map(|crossing| crossing.view(&self.fold));
            let mut status = Status::of(&self.fold, &self.intake, &self.journal, crossing, &self.clock);
            status.flash = Some(self.wear.flash(&self.journal.stats()));
            status.room_s = status.room.as_ref().ok().and_then(|room| self.rate.lasts_s(*room));
            if let Some((uplink, link)) = &self.uplink {
                status.connected = Some(uplink.is_connected());
                status.lanes = Some(link.lanes());
                status.uplink_bytes = link.bytes();
                status.drains(uplink.drain(now_ms, &self.fold), &self.fold);
            }
            // The asker may have gone; then nobody needs the answer.
            drop(reply.send(status));
        }
    }

    /// Alerts made by the frame: at the gateway's own broker, and up.
    fn show(&mut self) {
        self.show_shadow();
        let fresh = self.alerts.fresh(&self.fold);
        if fresh.is_empty() {
            return;
        }
        let (now_ms, mut last_read) = (self.now_ms(), LastRead::default());
        for (lsn, alert) in fresh {
            self.alerts.show(*lsn, alert, &self.broker);
            if is_held(alert) {
                continue;
            }
            if let Some((uplink, link)) = &mut self.uplink
                && self.fold.owes(alert, &mut last_read)
            {
                uplink.urgent(now_ms, alert);
                if alert.severity == 0 {
                    link.hurry();
                }
            }
        }
        self.speak();
    }

    /// What detectors in shadow would have told: here alone, at a topic of its own.
    fn show_shadow(&mut self) {
        for (_, alert) in std::mem::take(&mut self.fold.fresh_shadow) {
            let (topic, json) = topic_and_json(&self.gateway, &alert);
            let topic = topic.replacen("alerts/", "shadow/", 1);
            self.broker.publish(&topic, json.into(), 0, false);
        }
    }

    /// Ms since this process began: the clock of the uplink, which nobody can set.
    fn now_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Ordinary messages of the cloud that the frame made durable.
    fn cross(&mut self) {
        if let Some(crossing) = &mut self.crossing {
            crossing.show(&self.fold, &self.intake, &self.broker);
        }
    }

    fn link(&mut self, event: LinkEvent) {
        let now_ms = self.now_ms();
        let Some((uplink, link)) = &mut self.uplink else { return };
        match event {
            LinkEvent::Connected(lane) => {
                uplink.connected(now_ms, lane);
                // Where one connection found the cloud, the other need not wait.
                link.hurry();
                if lane == Lane::Alerts
                    && let Some(up) = self.alarms.connected(&self.fold)
                {
                    uplink.paid(now_ms, link.send(Lane::Alerts, "command", up.encode()));
                }
            }
            LinkEvent::Disconnected(lane) => {
                uplink.disconnected(lane);
                self.crossing.iter().for_each(Crossing::line_lost);
            }
            LinkEvent::Command(command) => {
                if let Some(up) = self.alarms.command(&command, &self.fold, &self.intake) {
                    uplink.paid(now_ms, link.send(Lane::Alerts, "command", up.encode()));
                }
            }
            LinkEvent::Receipt(receipt) => {
                link.answered();
                uplink.receipted(now_ms, &receipt);
            }
            LinkEvent::Ack(ack) => {
                if ack.clock_ms != 0 {
                    self.clock.answered(wall_ms(), ack.clock_ms);
                }
                // An answer, not a connection, shows that the other side works.
                link.answered();
                let outcome = uplink.acked(now_ms, &ack, &mut self.fold);
                acknowledged(outcome, &mut self.fold, &self.intake, &mut self.unlogged);
            }
        }
    }

    /// A look at the clocks, once a round; a step between two looks is a jump.
    fn look(&mut self) {
        let now_ms = self.now_ms();
        self.clock.look(wall_ms(), now_ms);
        let (logged_ms, refused) = self.intake.look();
        self.looked_ms = (now_ms, logged_ms);
        if self.clock.logged(wall_ms(), logged_ms) {
            warn!(
                ahead_s = self.clock.ahead_ms / 1_000,
                "the logged clock is ahead of the wall clock, and never goes back: readings without a time are dated by it until the wall \
                 clock has come there. If the wall clock is wrong, set it; else wait, or stop once all is delivered and start on a new data_dir"
            );
        }
        if let Some(refused) = refused {
            warn!(%refused, "the clock is set, and readings still wait for their date");
        }
    }

    /// The logged clock now, as far as the last look tells.
    fn logged_ms(&self) -> i64 {
        self.looked_ms.1.saturating_add(self.now_ms() - self.looked_ms.0)
    }

    /// Time that makes something due enters the log as a record. Due is what the logged clock
    /// would reach, which goes on when the wall clock is set back.
    fn tick(&mut self) {
        // Of an ended boot no other acknowledgement may ever come.
        while let Some(waits) = self.unlogged.first_entry() {
            let told = told_with(waits.get(), &self.fold);
            if told.is_some_and(|told| log_told(told, &self.intake).is_err()) || self.intake.log(waits.get()).is_err() {
                break;
            }
            waits.remove();
        }
        let now_ms = self.logged_ms();
        let due = self.fold.next_due_ms().filter(|at| *at <= now_ms && *at != self.ticked_ms);
        let idle = self.uplink.as_ref().is_some_and(|(u, _)| u.is_connected())
            && now_ms - self.fold.clock_ms.max(self.ticked_ms) >= replica::limits::IDLE_FRONTIER_MS;
        let eases = self.snapshots.is_stale(&self.fold);
        if due.is_none() && !idle && !eases {
            return;
        }
        if let Ok(lsn) = self.intake.log(&Record::Tick) {
            if eases {
                self.snapshots.eased(lsn);
            }
            if due.is_some() || idle {
                self.ticked_ms = due.unwrap_or(now_ms);
            }
        }
    }

    /// Does what the uplink has to do, what goes first at first, up to one interval.
    fn speak(&mut self) {
        self.speaks_on = false;
        self.alarms.show_kpi(&self.fold, &self.broker);
        let (logged_ms, now_ms) = (self.logged_ms(), self.now_ms());
        let Some((uplink, link)) = &mut self.uplink else { return };
        uplink.paid(now_ms, link.take_bytes());
        if let Some(crossing) = self.crossing.as_mut().filter(|_| uplink.may_cross(now_ms))
            && let Some(bytes) = crossing.speak(now_ms, logged_ms, uplink.cross_bytes(), &self.fold)
        {
            uplink.crossed(now_ms, bytes);
        }
        if let Some(up) = self.alarms.overdue(&self.fold) {
            uplink.paid(now_ms, link.send(Lane::Alerts, "command", up.encode()));
        }
        while let Some(out) = uplink.poll(now_ms, &self.fold) {
            match out {
                Out::Hello(lane, hello) => uplink.paid(now_ms, link.send(link.or_other(lane), "hello", hello.encode())),
                Out::Beat(beat) => uplink.paid(now_ms, link.send(link.or_other(Lane::Alerts), "beat", beat.encode())),
                Out::Alert(alert) => uplink.paid(now_ms, link.send(Lane::Alerts, "alert", alert.encode())),
                Out::Delta(mut delta) => {
                    if self.fold.current().is_some_and(|living| living.boot == delta.boot) {
                        (delta.sent_ms, delta.clock) = (self.intake.now_ms(), self.clock.quality());
                    }
                    uplink.weighed(now_ms, delta.number, link.send(Lane::Intervals, "delta", delta.encode()));
                    self.speaks_on = true;
                    break;
                }
                Out::Offer(boot, born) => {
                    if let Err(refused) = self.intake.log(&Record::Offered { boot, born }) {
                        warn!(%refused, "nothing new goes to the cloud until the log takes a record again");
                        uplink.offer_refused(now_ms);
                    }
                }
                Out::Prove(question) => {
                    let proof = prove(&self.journal, question, self.healing.reads());
                    let outcome = uplink.proved(now_ms, &question, proof, &mut self.fold);
                    acknowledged(outcome, &mut self.fold, &self.intake, &mut self.unlogged);
                }
                Out::Drop(lane) => link.give_up(lane),
                Out::Unheard(told) => {
                    let (count, oldest) = told.unwrap_or_default();
                    if let Err(refused) = self.intake.log(&Record::Unheard { count, oldest }) {
                        warn!(%refused, count, "the plant is not told yet whether the cloud hears alerts");
                        uplink.unheard_refused(now_ms);
                    }
                }
            }
        }
        for page in uplink.unreadable() {
            if self.fold.is_healing() {
                error!(page, "windows or alerts that the cloud lost are damaged on disk, and lost to it");
                self.fold.heal_lost(page);
                continue;
            }
            error!(page, "windows or alerts held for the cloud are damaged on disk; readings are counted shed, alerts lost");
            if let Err(refused) = self.intake.log(&Record::Lost { page }) {
                warn!(%refused, "damage is not logged yet");
            }
        }
    }

    fn next_wait(&self) -> Duration {
        if self.speaks_on {
            return Duration::ZERO;
        }
        let logged_ms = self.logged_ms();
        let due = self.fold.next_due_ms().filter(|at| *at != self.ticked_ms);
        let due = due.map(|at| at.saturating_sub(logged_ms));
        let uplink = self.uplink.as_ref().map(|(uplink, _)| uplink);
        let speak = uplink.and_then(Uplink::next_timeout_ms).map(|at| at.saturating_sub(self.now_ms()));
        let cross = self.crossing.as_ref().zip(uplink).and_then(|(c, u)| Some(c.next_timeout_ms(&self.fold)?.max(u.cross_at_ms())));
        let cross = cross.map(|at| at.saturating_sub(self.now_ms()));
        let settle = self.crossing.as_ref().and_then(Crossing::settle_wait_ms);
        let wait = due.into_iter().chain(speak).chain(cross).chain(settle).min().unwrap_or(i64::MAX);
        // A due time that is already ticked comes with its frame; look again soon in any case.
        Duration::from_millis(wait.clamp(1, 1_000) as u64)
    }
}

/// The cloud has counted these pages of windows given up: boot, the cloud's boot, pages.
type Counted = (u64, u64, Vec<u64>);

fn log_told((boot, cloud_boot, pages): Counted, intake: &Intake) -> Result<(), journal::Refused> {
    let pages = Numbers::encode(&pages);
    intake.log(&Record::Told { boot, cloud_boot, pages: Numbers { bytes: &pages } }).map(drop)
}

/// What was said with an acknowledgement that waits, and is not in the log either.
fn told_with(acked: &Record<'_>, fold: &Fold) -> Option<Counted> {
    let Record::Acked { boot, cloud_boot, .. } = *acked else { return None };
    let pages = fold.boots.iter().find(|part| part.boot == boot)?.marks.unlogged();
    (!pages.is_empty()).then_some((boot, cloud_boot, pages))
}

/// Logs what came of an ack; what the log refuses is kept in `unlogged`.
fn acknowledged(outcome: Acknowledged, fold: &mut Fold, intake: &Intake, unlogged: &mut BTreeMap<u64, Record<'static>>) {
    if let Some((boot, applied)) = outcome.went_back {
        error!(
            boot = format!("{boot:016x}"),
            applied,
            "the cloud holds less than it acknowledged: it was restored or lost its disk; it is told again what the log still holds"
        );
    }
    // What an answer says of windows given up comes before it, or waits with it.
    let is_told = outcome.told.is_none_or(|told| log_told(told, intake).is_ok());
    if let Some(record @ Record::Acked { boot, applied, shed, readings, hash, .. }) = outcome.record {
        // A newer one takes the place of one that still waits.
        unlogged.remove(&boot);
        if !is_told || intake.log(&record).is_err() {
            warn!("an acknowledgement is logged once the log takes records again");
            unlogged.insert(boot, record);
        }
        if let Some(part) = fold.boots.iter_mut().find(|p| p.boot == boot) {
            // Folding the record later gives the same; until then the next interval must not wait.
            part.acknowledged(applied, readings, shed, hash);
        }
    }
    if let Some(record) = outcome.forked {
        if let Record::Forked { boot, at, .. } = record {
            let boot = format!("{boot:016x}");
            error!(
                boot,
                at, "another device speaks under this boot, with another log; what this one has beyond that record is counted shed"
            );
        }
        if let Err(refused) = intake.log(&record) {
            warn!(%refused, "it is found again with the next answer");
        }
    }
}

/// Folds a frame, minding what is missing before it.
///
/// # Errors
/// The fold's, for records that this version cannot read.
pub fn fold_frame(fold: &mut Fold, frame: &Frame) -> Result<(), replica::Error> {
    fold.frame(frame.first, frame.marks, frame.records())
}
