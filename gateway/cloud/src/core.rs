//! The one thread behind the cloud's log: what arrives is judged, logged, and joined once it
//! is durable; only then is it acknowledged and published.

use crate::alarms::{self, Alarms, Ask, Known};
use crate::audience::Audience;
use crate::inbound::{Door, wall_ms};
use crate::limits::{
    CROSS_WAIT_MS, DECODED_ENTRIES_MAX, OVERLOAD_MS, RETRY_FULL_MS, RETRY_ROOM_MS, ROOM_WAIT, ROUND_MS, STATUS_MS, UNWRITTEN_WINDOWS_MAX,
};
use crate::outbound::Outbound;
use crate::presence::Presence;
use crate::publish;
use crate::status::Status;
use crate::store::Handle;
use crate::urgent::receipt_topic;
use journal::room::Rate;
use journal::{Frame, Journal, Refused};
use replica::alert::topic_and_json;
use replica::join::{Bridge, Effects, Interval};
use replica::record::{Plain, Record};
use schemas::DecodeError;
use schemas::message::{Ack, AlertBody, AlertUp, Beat, Bye, CommandUp, CrossAck, CrossDone, CrossDown, CrossUp, Delta, FORMAT, Hello};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle as Runtime;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// What happens to the core.
pub enum Event {
    /// A message of a gateway.
    Wire {
        /// Its name.
        gateway: String,
        /// Last level of the topic.
        what: String,
        /// Its payload.
        bytes: Vec<u8>,
        /// When it arrived.
        at: Instant,
    },
    /// A gateway spoke: its message is taken already.
    Heard {
        /// Its name.
        gateway: String,
    },
    /// A frame is durable.
    Frame(Frame),
    /// An ordinary message of an existing broker, and the connection that it came by.
    Plain(u64, rumqttc::Publish),
    /// An existing broker has forgotten us, and with us perhaps what it retained.
    Anew,
    /// Somebody asks about alarms.
    Alarm(Ask),
    /// Somebody asks how things stand.
    Status(oneshot::Sender<Status>),
    /// Nothing more will arrive: what is published is to be logged as such.
    Finish(oneshot::Sender<()>),
    /// No more frames will come.
    Stop,
}

/// The way to the core.
pub type Events = mpsc::Sender<Event>;

/// The kind of record that says what a gateway wants.
const HELLO: u8 = Record::Hello { gateway: "", bytes: &[] }.kind();

/// Why the core ends.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// A record that cannot be folded, or the store.
    #[error(transparent)]
    Replica(#[from] replica::Error),
    /// The merge store.
    #[error("the merge store: {0}")]
    Store(String),
}

/// The bridge's thinking part, on a thread of its own.
pub struct Core {
    /// The folded log.
    pub bridge: Bridge,
    /// The door of the log.
    pub door: Arc<Door>,
    /// The log.
    pub journal: Journal,
    /// Where messages go.
    pub out: Outbound,
    /// The merge store, which rolls over from time to time.
    pub store: Handle,
    /// Who is online.
    pub presence: Presence,
    /// Statuses to be published again, and when the last was.
    pub changed: BTreeMap<String, i64>,
    /// What the log was given that is not durable yet; what it does not hold is decoded again.
    pub decoded: VecDeque<(u64, Interval)>,
    /// Entries in those.
    pub decoded_entries: usize,
    /// A round is logged and not yet folded.
    pub round_logged: bool,
    /// Clock of the last round.
    pub round_ms: i64,
    /// Last record with messages, and the last such record that the log knows to be taken.
    pub taken: (u64, u64),
    /// When statuses were looked at last.
    pub looked_ms: i64,
    /// How fast the log grows.
    pub rate: Rate,
    /// How long the last message had waited before it was looked at, in ms.
    pub late_ms: u64,
    /// Messages of gateways that could not be taken.
    pub refused: u64,
    /// Gateways' clocks less ours at their last interval, in ms, and what they know of them.
    pub clocks: BTreeMap<String, (i64, u8)>,
    /// Ordinary messages on their way to gateways: until when to wait, and how many each had taken before.
    pub carried: BTreeMap<String, (i64, u64)>,
    /// Messages of an existing broker, to be acknowledged there once this record is durable.
    pub unacknowledged: VecDeque<(u64, u64, rumqttc::Publish)>,
    /// When this process began.
    pub began: Instant,
    /// Requests about alarms, and what was shown.
    pub alarms: Alarms,
    /// Alarms that the door knows.
    pub known: Arc<Known>,
    /// Who listens.
    pub audience: Audience,
    /// What is published once those who are waited for are back.
    pub withheld: Vec<(u64, Effects)>,
}

impl Core {
    /// Runs until [`Event::Stop`]; then everything is in the store, for real.
    ///
    /// # Errors
    /// For a record that cannot be folded, and for a store that cannot go on.
    pub fn run(mut self, mut events: mpsc::Receiver<Event>, runtime: &Runtime) -> Result<(), CoreError> {
        loop {
            let is_soon = self.bridge.is_dirty() || !self.changed.is_empty() || self.audience.is_awaited();
            let wait = if is_soon { 50 } else { 1_000 };
            let event = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(wait), events.recv()).await });
            self.presence.look(Instant::now());
            match event {
                Ok(None | Some(Event::Stop)) => break,
                Ok(Some(Event::Frame(frame))) => self.frame(&frame)?,
                Ok(Some(Event::Wire { gateway, what, bytes, at })) => {
                    self.door.arrived(bytes.len());
                    self.wire(&gateway, &what, &bytes, at, runtime);
                }
                Ok(Some(Event::Heard { gateway })) => self.heard(&gateway),
                Ok(Some(Event::Plain(generation, publish))) => self.plain(generation, publish),
                Ok(Some(Event::Anew)) => self.anew()?,
                Ok(Some(Event::Alarm(ask))) => self.alarms.ask(ask, &self.bridge, &self.door),
                Ok(Some(Event::Status(reply))) => drop(reply.send(self.status())),
                Ok(Some(Event::Finish(done))) => {
                    self.cursor(true);
                    // Who asked may have stopped waiting.
                    let _ = done.send(());
                }
                Err(_) => {}
            }
            if self.audience.is_back() {
                let withheld = std::mem::take(&mut self.withheld);
                for (lsn, effects) in withheld {
                    self.publish(lsn, effects);
                    self.taken.0 = lsn;
                }
            }
            self.audience.note();
            self.carry();
            self.round();
            self.watch(events.is_empty());
        }
        // Without it the next start folds what was not written from the log.
        if self.store.has_room() {
            self.bridge.flush()?;
            self.store.close().map_err(|error| CoreError::Store(error.to_string()))?;
        }
        Ok(())
    }

    /// A message from a gateway: logged when it is admitted, answered at once when it is not.
    fn wire(&mut self, gateway: &str, what: &str, bytes: &[u8], at: Instant, runtime: &Runtime) {
        self.late_ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        if !replica::join::series::valid_gateway(gateway) {
            warn!(?gateway, "a message of a gateway with an impossible name is ignored");
            self.refused += 1;
            return;
        }
        let taken = match what {
            "hello" => self.hello(gateway, bytes, runtime),
            "alert" => self.alert(gateway, bytes, runtime),
            "delta" => self.delta(gateway, bytes, at, runtime),
            "command" => self.command(gateway, bytes, runtime),
            "cross" => self.cross(gateway, bytes, runtime),
            "beat" => Beat::decode(bytes).map(|_| self.bridge.gateways.contains_key(gateway)),
            "cross-done" => self.cross_done(gateway, bytes, runtime),
            "bye" => {
                self.bye(gateway, bytes);
                return;
            }
            _ => Ok(false),
        };
        match taken {
            Ok(true) => self.heard(gateway),
            Ok(false) => self.refused += 1,
            Err(error) => {
                self.refused += 1;
                warn!(%error, gateway, what, "a message does not decode and is ignored");
            }
        }
    }

    /// A gateway spoke.
    fn heard(&mut self, gateway: &str) {
        if self.presence.heard(gateway, wall_ms()) {
            info!(gateway, "online");
            // At once, however lately the last status went.
            self.changed.insert(gateway.to_owned(), 0);
        }
    }

    /// Ms since this process began.
    fn clock_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// What says nothing new is a sign of life, and not logged.
    fn hello(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let hello = Hello::decode(bytes)?;
        if hello.gateway != gateway || !self.bridge.has_room(gateway, hello.boot) {
            warn!(gateway, named = hello.gateway, "a gateway that speaks for another, or one too many, is ignored");
            return Ok(false);
        }
        if !self.bridge.knows(gateway, &hello) {
            self.log(&Record::Hello { gateway, bytes }, runtime);
        }
        Ok(true)
    }

    fn alert(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let up = AlertUp::decode(bytes)?;
        if !self.bridge.can_take(gateway, &up.alert) {
            warn!(gateway, series = ?up.alert.series, "an alert that cannot be published, or one too many, is ignored");
            return Ok(false);
        }
        self.log(&Record::AlertUp { gateway, bytes }, runtime);
        Ok(true)
    }

    fn command(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let up = CommandUp::decode(bytes)?;
        if !self.bridge.has_room(gateway, up.boot) {
            warn!(gateway, "one gateway or boot too many is ignored");
            return Ok(false);
        }
        // What is known already is not logged again: a gateway repeats it when it connects.
        let board = self.bridge.alarms.board(gateway);
        let is_news = !up.answers.is_empty() || up.acts.iter().any(|act| board.is_none_or(|board| !board.knows(act)));
        if is_news {
            self.log(&Record::CommandUp { gateway, bytes }, runtime);
        }
        Ok(true)
    }

    fn delta(&mut self, gateway: &str, bytes: &[u8], at: Instant, runtime: &Runtime) -> Result<bool, DecodeError> {
        let interval = Interval::decode(bytes)?;
        if self.store.is_short() && self.bridge.sizes().3 >= UNWRITTEN_WINDOWS_MAX && !self.store.has_room() {
            // The gateway keeps it, and sends it again; without an answer it would take the connection for deaf.
            self.ack(gateway, self.bridge.busy(gateway, &interval.delta, RETRY_ROOM_MS));
            return Ok(true);
        }
        if !self.bridge.has_room(gateway, interval.delta.boot) {
            warn!(gateway, "one gateway or boot too many is asked to come again later");
            self.ack(gateway, self.bridge.busy(gateway, &interval.delta, RETRY_FULL_MS));
            return Ok(false);
        }
        let Delta { sent_ms, clock, .. } = interval.delta;
        if sent_ms != 0 {
            let arrived_ms = wall_ms().saturating_sub(i64::try_from(at.elapsed().as_millis()).unwrap_or(0));
            self.clocks.insert(gateway.to_owned(), (sent_ms.saturating_sub(arrived_ms), clock));
        }
        match self.bridge.admit(gateway, &interval.delta) {
            Err(ack) => self.ack(gateway, ack),
            Ok(()) => match self.log(&Record::Interval { gateway, bytes }, runtime) {
                Some(lsn) if self.decoded_entries + interval.len() <= DECODED_ENTRIES_MAX => {
                    self.decoded_entries += interval.len();
                    self.decoded.push_back((lsn, interval));
                }
                Some(_) => {}
                None => self.ack(gateway, self.bridge.busy(gateway, &interval.delta, RETRY_ROOM_MS)),
            },
        }
        Ok(true)
    }

    fn bye(&mut self, gateway: &str, bytes: &[u8]) {
        match Bye::decode(bytes) {
            Ok(bye) if self.bridge.gateways.get(gateway).is_some_and(|g| g.boot == bye.boot) => {
                self.presence.gone(gateway);
            }
            // The will of a boot that another has followed.
            Ok(_) => {}
            Err(error) => {
                self.refused += 1;
                warn!(%error, gateway, "a last will does not decode and is ignored");
            }
        }
    }

    /// Ordinary messages of a gateway. While an existing broker is behind they wait at the gateway.
    fn cross(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let up = CrossUp::decode(bytes)?;
        let Some((boot, last)) = up.messages.last().map(|m| (m.boot, m.seq)) else { return Ok(false) };
        if !self.bridge.has_room(gateway, boot) {
            warn!(gateway, "ordinary messages of a gateway too many are ignored");
            return Ok(false);
        }
        let applied = self.bridge.crossings.get(gateway).map_or(0, |c| c.applied(boot, up.lane));
        if last <= applied {
            let ack = CrossAck { format: FORMAT, boot, lane: up.lane, applied };
            self.out.answer(format!("bridge/v1/{gateway}/down/cross-ack"), ack.encode());
        } else if !self.out.is_behind() {
            self.log(&Record::CrossUp { gateway, bytes }, runtime);
        }
        Ok(true)
    }

    /// A gateway has what was carried to it.
    fn cross_done(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let done = CrossDone::decode(bytes)?;
        if self.bridge.crossings.get(gateway).is_some_and(|c| c.waiting() > 0) {
            self.log(&Record::CrossDone { gateway, boot: done.boot, seq: done.seq }, runtime);
        }
        Ok(true)
    }

    /// An ordinary message of an existing broker that a gateway wants.
    fn plain(&mut self, generation: u64, publish: rumqttc::Publish) {
        let message = Plain { topic: &publish.topic, payload: &publish.payload, qos: publish.qos as u8, retain: publish.retain };
        match self.door.log(&Record::CrossIn { message, session: 0, packet_id: 0 }) {
            Ok(lsn) => self.unacknowledged.push_back((lsn, generation, publish)),
            Err(refused) => warn!(%refused, "a message for a gateway is not taken; it comes again with the next connection"),
        }
    }

    /// Tells the doors what gateways want.
    pub fn want(&self) {
        let wanted = self.bridge.crossings.values().flat_map(|c| &c.wanted).map(|w| w.filter.clone());
        let filters: BTreeSet<String> = wanted.collect();
        if self.door.want(filters.iter().cloned().collect()) {
            self.out.want(filters);
        }
    }

    /// Ordinary messages go to gateways that are there, a batch at a time.
    fn carry(&mut self) {
        let clock_ms = self.clock_ms();
        for (name, crossing) in &self.bridge.crossings {
            if crossing.waiting() == 0 || !self.presence.of(name).0 {
                continue;
            }
            if self.carried.get(name).is_some_and(|(until, down)| clock_ms < *until && *down == crossing.down) {
                continue;
            }
            let messages = crossing.next_down(wall_ms());
            if !messages.is_empty() {
                self.out.answer(format!("bridge/v1/{name}/down/cross"), CrossDown { format: FORMAT, messages }.encode());
                self.carried.insert(name.clone(), (clock_ms + CROSS_WAIT_MS, crossing.down));
            }
        }
    }

    /// Answers an interval, by our clock. When messages wait long before they are looked at, gateways
    /// are asked to pause: twice as long as it takes to catch up.
    fn ack(&self, gateway: &str, mut ack: Ack) {
        ack.clock_ms = wall_ms();
        if self.late_ms >= OVERLOAD_MS {
            let pause = (2 * self.late_ms).min(RETRY_FULL_MS);
            ack.retry_after_ms = Some(ack.retry_after_ms.unwrap_or(0).max(pause));
        }
        self.out.answer(format!("bridge/v1/{gateway}/down/ack"), ack.encode());
    }

    /// Appends a record; waits a moment for a log that is behind, as that holds the gateways.
    fn log(&self, record: &Record<'_>, runtime: &Runtime) -> Option<u64> {
        let until = Instant::now() + ROOM_WAIT;
        let mut progress = self.journal.horizon();
        loop {
            progress.mark_unchanged();
            match self.door.log(record) {
                Ok(lsn) => return Some(lsn),
                Err(Refused::Full) if Instant::now() < until => {
                    // Out of time or out of log: both are seen above.
                    drop(runtime.block_on(async { tokio::time::timeout(ROOM_WAIT / 10, progress.changed()).await }));
                }
                Err(refused) => {
                    warn!(%refused, "not taken; the gateway sends it again");
                    return None;
                }
            }
        }
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), CoreError> {
        let mut says_hello = false;
        for (lsn, kind, payload) in frame.records() {
            if kind == Record::Round.kind() {
                self.round_logged = false;
            }
            says_hello |= kind == HELLO;
            let mut decoded = None;
            while self.decoded.front().is_some_and(|(at, _)| *at <= lsn)
                && let Some((at, interval)) = self.decoded.pop_front()
            {
                self.decoded_entries -= interval.len();
                decoded = (at == lsn).then_some(interval);
            }
            let effects = self.bridge.apply_decoded(lsn, kind, payload, decoded)?;
            self.effects(lsn, effects);
        }
        self.alarms.folded(self.bridge.lsn, &self.bridge);
        if says_hello {
            self.want();
        }
        while self.unacknowledged.front().is_some_and(|(lsn, ..)| *lsn <= self.bridge.lsn) {
            let Some((_, generation, publish)) = self.unacknowledged.pop_front() else { break };
            self.out.acknowledge(generation, &publish);
        }
        self.bridge.settle()?;
        // The store rolls over behind a write.
        if (self.bridge.is_full() || self.store.is_full(self.bridge.lsn)) && self.store.has_room() {
            self.bridge.begin_flush()?;
        }
        Ok(())
    }

    /// What follows from a durable record.
    pub fn effects(&mut self, lsn: u64, mut effects: Effects) {
        let publishes = effects.publishes();
        let urgent = &self.door.urgent;
        if let Some((gateway, receipt)) = effects.receipt.take().filter(|_| !urgent.has_logged(lsn)) {
            self.out.answer(receipt_topic(&gateway), receipt.encode());
        }
        let is_claimed = |(gateway, body): &(String, AlertBody)| urgent.claim(lsn, gateway, body, &self.out);
        let shown = if self.audience.is_awaited() {
            // At once to those who are there, and again when all are.
            effects.alerts.iter().filter(|alert| is_claimed(alert)).cloned().collect()
        } else {
            effects.alerts.retain(is_claimed);
            std::mem::take(&mut effects.alerts)
        };
        self.alert_all(lsn, &shown);
        if let Some((name, gateway)) = effects.gateway.as_ref().and_then(|name| self.bridge.gateways.get_key_value(name)) {
            urgent.folded(name, gateway);
        }
        if let Some((gateway, ack)) = effects.cross_ack.take() {
            self.out.answer(format!("bridge/v1/{gateway}/down/cross-ack"), ack.encode());
        }
        if let Some((gateway, ack)) = effects.ack.take() {
            self.ack(&gateway, ack);
        }
        if let Some((gateway, command)) = effects.command.take() {
            self.out.answer(format!("bridge/v1/{gateway}/down/command"), command.encode());
        }
        self.alarms.changed(lsn, &effects.alarms, &self.bridge, &self.known, &self.out);
        if let Some(gateway) = effects.gateway.take() {
            self.changed.entry(gateway).or_insert_with(wall_ms);
        }
        if self.audience.is_awaited() {
            if publishes {
                self.withheld.push((lsn, effects));
            }
            return;
        }
        self.publish(lsn, effects);
        if publishes {
            self.taken.0 = lsn;
        }
    }

    fn alert_all(&self, lsn: u64, alerts: &[(String, AlertBody)]) {
        for (gateway, body) in alerts {
            let (topic, json) = topic_and_json(gateway, body);
            self.out.publish_urgent(lsn, topic, json);
        }
    }

    /// What a record makes that a broker must take.
    fn publish(&self, lsn: u64, effects: Effects) {
        self.alert_all(lsn, &effects.alerts);
        for message in effects.crossed {
            self.out.forward(lsn, message);
        }
        for merged in &effects.merged {
            let (topic, json) = publish::merged(merged);
            self.out.publish(lsn, topic, json, merged.newest);
        }
        for (series, size_ms) in &effects.cleared {
            self.out.publish(lsn, publish::merged_topic(series, *size_ms), String::new(), true);
        }
    }

    /// Logs a round when there is something to publish, and the cursor behind the last one.
    fn round(&mut self) {
        let now_ms = self.door.now_ms();
        if now_ms - self.round_ms < ROUND_MS || self.round_logged {
            return;
        }
        self.round_ms = now_ms;
        if self.bridge.round_due(now_ms) && !self.out.is_behind() && !self.audience.is_awaited() {
            self.round_logged = self.door.log(&Record::Round).is_ok();
        }
        // What comes off the shelf does so by the logged clock.
        if self.bridge.alarms.due_ms().is_some_and(|at| at <= now_ms && self.bridge.clock_ms < at) {
            // Full, it is tried again with the next round.
            let _ = self.door.log(&Record::Tick);
        }
        self.cursor(false);
    }

    /// Logs up to where messages were taken, when that moved.
    fn cursor(&mut self, last: bool) {
        if self.audience.is_awaited() {
            return;
        }
        let taken = self.out.settle(self.taken.0);
        if taken > self.taken.1 {
            match self.door.log(&Record::Cursor { lsn: taken }) {
                Ok(_) => self.taken.1 = taken,
                Err(refused) if last => warn!(%refused, "messages may be repeated after the next start"),
                Err(_) => {}
            }
        }
    }

    /// Looks who has fallen silent, and shows the statuses that are due.
    fn watch(&mut self, is_idle: bool) {
        let clock_ms = self.clock_ms();
        if clock_ms - self.looked_ms < STATUS_MS / 4 {
            return;
        }
        // While messages wait here, nobody is silent: they are heard of late. But not for ever.
        if is_idle || clock_ms - self.looked_ms > STATUS_MS {
            self.looked_ms = clock_ms;
            self.rate.look(self.journal.stats().bytes_written, self.began.elapsed());
            for gateway in self.presence.lost() {
                info!(gateway, "offline");
                self.changed.insert(gateway, 0);
            }
            self.show_statuses();
            let presence = &self.presence;
            self.alarms.pass_on(&mut self.bridge, &self.out, |gateway| presence.of(gateway).0);
            self.alarms.show_kpi(&self.bridge, &self.out);
        }
    }

    fn show_statuses(&mut self) {
        let now_ms = wall_ms();
        let due: Vec<String> =
            self.changed.iter().filter(|(_, at)| !(0..STATUS_MS).contains(&(now_ms - **at))).map(|(g, _)| g.clone()).collect();
        for name in due {
            self.changed.remove(&name);
            let Some(gateway) = self.bridge.gateways.get(&name) else { continue };
            let (online, seen_ms) = self.presence.of(&name);
            let mut status = publish::status(&name, gateway, self.bridge.crossings.get(&name).map(Arc::as_ref), online, seen_ms);
            publish::clock(&mut status, self.clocks.get(&name).copied());
            let json = status.to_string();
            self.out.publish(self.bridge.lsn, publish::status_topic(&name), json, true);
        }
    }

    /// Everything that is retained, once more.
    fn anew(&mut self) -> Result<(), CoreError> {
        let (lsn, out) = (self.bridge.lsn, self.out.clone());
        self.bridge.newest(|merged| {
            let (topic, json) = publish::merged(&merged);
            out.publish(lsn, topic, json, true);
        })?;
        alarms::all(&self.bridge, &self.known, |topic, payload| self.out.publish(lsn, topic, payload, true));
        self.changed = self.bridge.gateways.keys().map(|name| (name.clone(), 0)).collect();
        Ok(())
    }
}
