//! The one thread behind the cloud's log: what arrives is judged, logged, and joined once it
//! is durable; only then is it acknowledged and published.

/// Tells what others do wrong, and what is known of it: of each kind one in a while, with how many were not told before it.
macro_rules! complain {
    ($core:ident, $what:literal, $($known:tt)+) => {
        if let Some(untold) = $core.complaints.entry($what).or_default().due() {
            tracing::warn!($($known)+, untold, $what);
        }
    };
}

mod asked;
mod crossing;
mod showing;
mod standing;
#[cfg(test)]
mod tests;
mod wire;

use crate::alarms::Alarms;
use crate::audience::Audience;
use crate::conflict::Conflict;
use crate::error::CoreError;
use crate::event::Event;
use crate::inbound::Door;
use crate::known::Known;
use crate::outbound::Outbound;
use crate::presence::Presence;
use crate::speakers::Speakers;
use crate::store::Handle;
use journal::rate::Rate;
use journal::{Frame, Journal};
use replica::crossing::pace::Pace;
use replica::join::{Bridge, Effects, Interval, Unfolded};
use replica::record::Record;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

/// The kind of record that says what a gateway wants.
const HELLO: u8 = Record::Hello { gateway: "", bytes: &[] }.kind();

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
    /// Who speaks under gateways' names.
    pub speakers: Speakers,
    /// Statuses to be published again, and when the last was.
    pub changed: BTreeMap<String, i64>,
    /// What the log was given that is not durable yet; what it does not hold is decoded again.
    pub decoded: VecDeque<(u64, Interval)>,
    /// Entries in those.
    pub decoded_entries: usize,
    /// Intervals in the log that are not folded yet.
    pub unfolded: Unfolded,
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
    /// What gateways do wrong, as it is told.
    pub complaints: BTreeMap<&'static str, broker::complaint::Kind>,
    /// Gateways' clocks less ours at their last interval, in ms, and what they know of them.
    pub clocks: BTreeMap<String, (i64, u8)>,
    /// Gateways of which two spoke under one boot, as far as this process has seen.
    pub conflicts: BTreeMap<String, Conflict>,
    /// Ordinary messages on their way to gateways: until when to wait, and how many each had taken before.
    pub carried: BTreeMap<String, (Pace, u64)>,
    /// When they were looked at last, in ms since this process began, and whether some were put off then.
    pub carried_at_ms: i64,
    /// See [`Core::carried_at_ms`].
    pub is_carry_due: bool,
    /// Ordinary messages of gateways in the log that are not folded yet: records and their bytes.
    pub crossing_up: VecDeque<(u64, u64)>,
    /// Bytes of those.
    pub crossing_up_bytes: u64,
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
    /// Hellos that the log had no room for, by gateway.
    pub hellos: BTreeMap<String, Vec<u8>>,
    /// What is published once those who are waited for are back.
    pub withheld: Vec<(u64, Effects)>,
}

impl Core {
    /// The core of a bridge that was recovered; nobody has spoken yet, and all statuses are to be shown.
    pub fn new(
        bridge: Bridge,
        door: Arc<Door>,
        journal: Journal,
        out: Outbound,
        store: Handle,
        known: Arc<Known>,
        audience: Audience,
    ) -> Self {
        Self {
            taken: (bridge.cursor, bridge.cursor),
            changed: bridge.gateways.keys().map(|name| (name.clone(), 0)).collect(),
            bridge,
            door,
            journal,
            out,
            store,
            presence: Presence::default(),
            speakers: Speakers::default(),
            decoded: VecDeque::new(),
            decoded_entries: 0,
            unfolded: Unfolded::default(),
            round_logged: false,
            round_ms: 0,
            looked_ms: 0,
            rate: Rate::default(),
            late_ms: 0,
            refused: 0,
            complaints: BTreeMap::new(),
            clocks: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            carried: BTreeMap::new(),
            carried_at_ms: 0,
            is_carry_due: false,
            crossing_up: VecDeque::new(),
            crossing_up_bytes: 0,
            unacknowledged: VecDeque::new(),
            began: Instant::now(),
            alarms: Alarms::default(),
            known,
            audience,
            hellos: BTreeMap::new(),
            withheld: Vec::new(),
        }
    }

    /// Runs until [`Event::Stop`]; then everything is in the store, for real.
    ///
    /// # Errors
    /// For a record that cannot be folded, and for a store that cannot go on.
    pub fn run(mut self, mut events: mpsc::Receiver<Event>, runtime: &Runtime) -> Result<(), CoreError> {
        loop {
            let is_soon = self.bridge.is_dirty() || !self.changed.is_empty() || self.audience.is_awaited() || self.is_carry_due;
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
                Ok(Some(Event::Plain(generation, publish))) => {
                    self.door.arrived(publish.payload.len());
                    self.plain(generation, publish, runtime);
                }
                Ok(Some(Event::Asked { generation, publish, path, body })) => {
                    self.door.arrived(publish.payload.len());
                    self.asked(generation, publish, &path, &body, runtime);
                }
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
                self.door.urgent.audience_is_back();
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
        if self.store.has_room() && self.bridge.flush()? {
            self.store.close().map_err(|error| CoreError::Store(error.to_string()))?;
        }
        Ok(())
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
            // Who is new has spoken, and nobody else was told to have.
            let new = effects.gateway.clone().filter(|gateway| !self.presence.knows(gateway));
            self.effects(lsn, effects);
            if let Some(gateway) = new {
                self.heard(&gateway);
            }
        }
        while self.crossing_up.front().is_some_and(|(lsn, _)| *lsn <= self.bridge.lsn)
            && let Some((_, bytes)) = self.crossing_up.pop_front()
        {
            self.crossing_up_bytes -= bytes;
        }
        self.unfolded.folded(self.bridge.lsn);
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
}
