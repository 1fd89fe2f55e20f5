//! PUBLISH → record. The acknowledgement waits at the broker for the record's commit.
//!
//! Payloads are parsed on the client's own task; only naming, stamping and appending happen
//! under the one lock that gives the log its order.

mod complaint;
mod naming;
mod redelivery;
#[cfg(test)]
mod tests;

use crate::clock::{self, LoggedClock, wall_ms};
use crate::crossing::rules::{Out, Rules};
use crate::desk::{Desk, Refused};
use crate::limits::{QUARANTINE_BYTES_MAX, QUARANTINE_PAYLOAD_BYTES_MAX, TOPICS_CACHED_MAX};
use broker::{Client, OpenSession, Opened, Publish, SessionEvent, Ticket, Verdict, Version};
use complaint::Complaints;
use detect::{Critical, Settings};
use hashbrown::HashMap;
use journal::{Append, Journal};
use naming::{Route, no_series};
use parking_lot::Mutex;
use redelivery::Memory;
use replica::alarm::{Body, Target};
use replica::fold::Fold;
use replica::limits::FUTURE_MS_MAX;
use replica::record::{
    self, FLAG_LEAVES, FLAG_PACKET_ID, FLAG_RECEIVED, FLAG_TIMED, FLAG_UNDATED, KIND_MESSAGE, Plain, Record, Refusal,
    SessionEvent as Logged,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use telemetry::payload::{self, Sample};
use telemetry::source::{OnInvalid, Share, Sources, valid_series};
use tokio::sync::watch;

/// The door of the log: everything that enters it goes through here, in one order.
pub struct Intake {
    journal: Journal,
    sources: Sources,
    /// Whether anything can leave at all.
    linked: bool,
    detection: Settings,
    /// Which other messages cross the link.
    rules: Arc<Rules>,
    series_max: usize,
    state: Mutex<State>,
    horizon: watch::Receiver<broker::Horizon>,
    desk: Arc<Desk>,
    refused: [AtomicU64; Refusal::ALL.len()],
    /// Readings whose time lay too far ahead, stamped with their arrival instead.
    pub clamped: AtomicU64,
    /// Readings in a unit that is not their series' own.
    pub misfits: AtomicU64,
    complaints: Complaints,
}

struct State {
    clock: LoggedClock,
    numbers: HashMap<String, u32>,
    units: Vec<Option<Arc<str>>>,
    /// By number: beyond these a reading is committed without waiting for company.
    critical: Vec<Option<Critical>>,
    sessions_last: u64,
    memories: HashMap<u64, Memory>,
    quarantined: u64,
}

impl State {
    /// Appends a record at the clock as last read.
    fn push(&mut self, append: &mut Append<'_>, record: &Record<'_>) -> Ticket {
        let advance = self.clock.stamp();
        append.push(record.kind(), |out| record.encode(advance, out))
    }
}

/// What the intake remembers of a connection.
#[derive(Default)]
struct Connection {
    topics: HashMap<String, u32>,
    /// By the index above; `None` for topics that no source matches.
    routes: Vec<Option<Route>>,
    /// What it sent, when it has no durable session that would remember it.
    memory: Memory,
    /// Room for the readings of one message and their series, kept for the next.
    readings: Vec<(u32, i64, f64)>,
    numbers: Vec<u32>,
}

impl Connection {
    fn route(&mut self, sources: &Sources, topic: &str) -> usize {
        if let Some(known) = self.topics.get(topic) {
            return *known as usize;
        }
        let route = sources.resolve(topic).map(|(source, series)| Route { source, series: series.into(), plain: None });
        let index = self.routes.len();
        self.routes.push(route);
        // Bounded by TOPICS_CACHED_MAX and one batch, so the index fits.
        self.topics.insert(topic.to_owned(), index as u32);
        index
    }
}

/// An ordinary message that crosses the link.
struct Crossing<'a> {
    index: usize,
    out: Result<Out, ()>,
    publish: &'a Publish<'a>,
}

/// A message of a source, on its way to the lock.
struct Parsed<'a> {
    index: usize,
    route: usize,
    samples: std::ops::Range<usize>,
    refused: Option<(Refusal, String)>,
    publish: &'a Publish<'a>,
}

impl Intake {
    /// Opens the door with what the fold knows at start.
    #[expect(clippy::too_many_arguments, reason = "the rooms around the door, named once, at start")]
    pub fn new(
        journal: Journal,
        fold: &Fold,
        sources: Sources,
        linked: bool,
        detection: Settings,
        rules: Arc<Rules>,
        series_max: usize,
        horizon: watch::Receiver<broker::Horizon>,
        desk: Arc<Desk>,
    ) -> Self {
        let state = State {
            clock: LoggedClock::resume(fold.clock_ms),
            numbers: fold.dictionary().into_iter().collect(),
            critical: fold.series.iter().map(|s| detection.critical(&s.name)).collect(),
            units: fold.series.iter().map(|s| s.unit.as_deref().map(Arc::from)).collect(),
            sessions_last: fold.sessions.last,
            memories: fold.sessions.by_number.iter().map(|(n, s)| (*n, Memory::of(s.memory.clone()))).collect(),
            quarantined: fold.quarantined,
        };
        Self {
            journal,
            sources,
            linked,
            detection,
            rules,
            series_max,
            state: Mutex::new(state),
            horizon,
            desk,
            refused: Default::default(),
            clamped: AtomicU64::new(0),
            misfits: AtomicU64::new(0),
            complaints: Complaints::default(),
        }
    }

    /// The logged clock now, in ms since the Unix epoch: what is due by it is due whatever happens to
    /// the wall clock.
    pub fn now_ms(&self) -> i64 {
        self.state.lock().clock.read()
    }

    /// Appends a record of the gateway's own: ticks, acks, counts.
    ///
    /// # Errors
    /// The journal's refusal.
    pub fn log(&self, record: &Record<'_>) -> Result<Ticket, journal::Refused> {
        let mut state = self.state.lock();
        let mut append = self.journal.append_bookkeeping()?;
        state.clock.read();
        Ok(state.push(&mut append, record))
    }

    /// The logged clock now, as [`Intake::now_ms`]; once the wall clock is set, that is logged: what waits
    /// for its date gets it. What refused that record comes with the clock, and it is to be tried again.
    pub fn look(&self) -> (i64, Option<journal::Refused>) {
        let mut state = self.state.lock();
        let mut refused = None;
        if state.clock.is_unset() && clock::is_set(wall_ms()) {
            match self.journal.append_bookkeeping() {
                Ok(mut append) => {
                    let behind_ms = state.clock.set();
                    state.push(&mut append, &Record::ClockSet { behind_ms });
                }
                Err(why) => refused = Some(why),
            }
        }
        (state.clock.read(), refused)
    }

    /// Begins this process's boot: its record, and the marks that frames carry from here on.
    ///
    /// # Errors
    /// The journal's refusal.
    pub fn begin(&self, boot: u64, record: &Record<'_>) -> Result<Ticket, journal::Refused> {
        let mut state = self.state.lock();
        let mut append = self.journal.append_bookkeeping()?;
        state.clock.read();
        let base = append.next() - 1;
        append.marks()[2..].copy_from_slice(&[boot, base]);
        Ok(state.push(&mut append, record))
    }

    /// Whether the log takes no readings now, for want of room or a disk that can be written.
    pub fn is_refusing(&self) -> bool {
        self.journal.refusing().is_some()
    }

    /// Logs what was refused since the last call, so that the ledger's counts outlive the process.
    pub fn flush_refused(&self) {
        for (reason, counter) in Refusal::ALL.into_iter().zip(&self.refused) {
            let count = counter.swap(0, Ordering::Relaxed);
            if count > 0 && self.log(&Record::Refused { reason, count }).is_err() {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Refusals that are not in the log yet.
    pub fn refused_unlogged(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.refused.iter().map(|c| c.load(Ordering::Relaxed)))
    }

    fn refuse(&self, reason: Refusal) -> Verdict {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
        Verdict::Refuse(match reason {
            Refusal::Payload => broker::Refusal::PayloadFormatInvalid,
            Refusal::Series => broker::Refusal::TopicNameInvalid,
            Refusal::Quota => broker::Refusal::QuotaExceeded,
            Refusal::Room => broker::Refusal::NoRoom,
        })
    }

    /// Takes a batch that was read at once from one client; one verdict each, in order.
    pub fn take(&self, client: &Client, batch: &[Publish<'_>], verdicts: &mut Vec<Verdict>) {
        let mut remembered = client.memory.lock();
        let connection = remembered.get_or_insert_with(|| Box::<Connection>::default());
        let Some(connection) = connection.downcast_mut::<Connection>() else {
            verdicts.extend(batch.iter().map(|_| Verdict::Route));
            return;
        };
        let arrival_ms = wall_ms();
        let first = verdicts.len();
        let mut samples = Vec::with_capacity(batch.len());
        let mut parsed = Vec::with_capacity(batch.len());
        let mut crossing = Vec::new();
        if connection.routes.len() + batch.len() > TOPICS_CACHED_MAX {
            // Forgotten between batches only: within one, indexes stay true.
            connection.topics.clear();
            connection.routes.clear();
        }
        for (index, publish) in batch.iter().enumerate() {
            verdicts.push(Verdict::Route);
            if replica::alert::is_gateways_own(publish.topic) {
                verdicts[first + index] = match self.desk.target(publish.topic) {
                    Some(target) => self.ask(client, publish, &target),
                    None => Verdict::Refuse(broker::Refusal::NotAuthorized),
                };
                continue;
            }
            if publish.payload.is_empty() {
                crossing.extend(self.rules.out(publish.topic).map(|out| Crossing { index, out, publish }));
                continue;
            }
            let place = connection.route(&self.sources, publish.topic);
            let Some(route) = &connection.routes[place] else {
                crossing.extend(self.rules.out(publish.topic).map(|out| Crossing { index, out, publish }));
                continue;
            };
            let from = samples.len();
            let refused = match payload::parse(publish.payload, arrival_ms, &mut samples) {
                Ok(()) if route.plain.is_some() || valid_series(&route.series) => None,
                Ok(()) => Some((Refusal::Series, no_series(&route.series))),
                Err(_) if self.sources.get(route.source).on_invalid == OnInvalid::Pass => {
                    samples.truncate(from);
                    crossing.extend(self.rules.out(publish.topic).map(|out| Crossing { index, out, publish }));
                    continue;
                }
                Err(error) => Some((Refusal::Payload, error.to_string())),
            };
            if refused.is_some() {
                samples.truncate(from);
            }
            parsed.push(Parsed { index, route: place, samples: from..samples.len(), refused, publish });
        }
        if parsed.is_empty() && crossing.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let mut append = match self.journal.append() {
            Ok(append) => append,
            Err(refused) => {
                for index in parsed.iter().map(|p| p.index).chain(crossing.iter().map(|c| c.index)) {
                    verdicts[first + index] = match &refused {
                        journal::Refused::Full => Verdict::Refuse(broker::Refusal::Busy),
                        journal::Refused::Stopped => Verdict::Refuse(broker::Refusal::Unavailable),
                        why => {
                            self.complaints.refused(Refusal::Room, &client.client_id, batch[index].topic, &why.to_string());
                            self.refuse(Refusal::Room)
                        }
                    };
                }
                return;
            }
        };
        // What was read at once arrived at once.
        let now_ms = state.clock.read();
        for p in parsed {
            let verdict = match &p.refused {
                Some((reason, detail)) => self.refuse_message(&mut state, &mut append, client, &p, *reason, detail),
                None => match self.append(&mut state, &mut append, connection, client, now_ms, &p, &samples[p.samples.clone()]) {
                    Ok(verdict) => verdict,
                    Err(reason @ Refusal::Series) => {
                        let detail = "a field, a name or a unit in it makes a name that no series can have";
                        self.refuse_message(&mut state, &mut append, client, &p, reason, detail)
                    }
                    Err(reason) => {
                        let detail = "it names a new series, and [limits] series is reached";
                        self.complaints.refused(reason, &client.client_id, p.publish.topic, detail);
                        self.refuse(reason)
                    }
                },
            };
            verdicts[first + p.index] = verdict;
        }
        for c in crossing {
            verdicts[first + c.index] = self.cross(&mut state, &mut append, client, &c);
        }
    }

    /// Logs an ordinary message that crosses the link; it is routed here once that is durable.
    fn cross(&self, state: &mut State, append: &mut Append<'_>, client: &Client, c: &Crossing<'_>) -> Verdict {
        let publish = c.publish;
        let Ok(out) = &c.out else { return self.refuse(Refusal::Series) };
        let message = Plain { topic: &out.remote, payload: publish.payload, qos: publish.qos.min(out.qos), retain: publish.retain };
        let packet_id = if publish.qos == 2 { publish.packet_id } else { 0 };
        if out.lane == 0 {
            append.hurry();
        }
        let record = Record::Crossed { lane: out.lane, ttl_ms: out.ttl_ms, message, session: client.session, packet_id };
        Verdict::After { ticket: state.push(append, &record), route: true }
    }

    /// Something that is asked for about an alarm, by a message to `alarms/{gateway}/{series}/{kind}/{verb}`.
    fn ask(&self, client: &Client, publish: &Publish<'_>, target: &Target<'_>) -> Verdict {
        match self.desk.admit(target) {
            Ok(()) => {}
            Err(Refused::Unknown) => return Verdict::Refuse(broker::Refusal::TopicNameInvalid),
            Err(Refused::Busy(_)) => return Verdict::Refuse(broker::Refusal::QuotaExceeded),
        }
        let body = match Body::parse(target.verb, publish.payload, settings::unit::duration_ms) {
            Ok(body) => body,
            Err(why) => {
                tracing::warn!(client = client.client_id, topic = publish.topic, %why, "what was asked about an alarm is refused");
                return Verdict::Refuse(broker::Refusal::PayloadFormatInvalid);
            }
        };
        let logged = self.log(&Record::Asked { request: target.request(rand::random(), &body) }).and_then(|ticket| match publish.qos {
            2 if client.session != 0 => {
                let event = Logged::Qos2Received { packet_id: publish.packet_id };
                self.log(&Record::Session { number: client.session, event })
            }
            _ => Ok(ticket),
        });
        match logged {
            Ok(ticket) => Verdict::After { ticket, route: false },
            Err(journal::Refused::Full) => Verdict::Refuse(broker::Refusal::Busy),
            Err(_) => Verdict::Refuse(broker::Refusal::QuotaExceeded),
        }
    }

    /// A message that is no reading: refused where the protocol can say so, else kept aside.
    fn refuse_message(
        &self,
        state: &mut State,
        append: &mut Append<'_>,
        client: &Client,
        p: &Parsed<'_>,
        reason: Refusal,
        detail: &str,
    ) -> Verdict {
        let publish = p.publish;
        self.complaints.refused(reason, &client.client_id, publish.topic, detail);
        if client.version == Version::V5 && !publish.will {
            return self.refuse(reason);
        }
        if state.quarantined >= QUARANTINE_BYTES_MAX {
            if publish.will {
                return self.refuse(reason);
            }
            // Beyond the quarantine's bound only the count is kept; MQTT 3.1.1 knows no refusal but closing.
            self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
            return Verdict::After { ticket: state.push(append, &Record::Tick), route: false };
        }
        let payload = &publish.payload[..publish.payload.len().min(QUARANTINE_PAYLOAD_BYTES_MAX)];
        state.quarantined += payload.len() as u64;
        let packet_id = if publish.qos == 2 { publish.packet_id } else { 0 };
        let kept = Record::Quarantined { reason: detail, topic: publish.topic, payload, session: client.session, packet_id };
        Verdict::After { ticket: state.push(append, &kept), route: false }
    }

    #[expect(clippy::too_many_arguments, reason = "the lock's guards and one message, on the hot path")]
    fn append(
        &self,
        state: &mut State,
        append: &mut Append<'_>,
        connection: &mut Connection,
        client: &Client,
        now_ms: i64,
        p: &Parsed<'_>,
        samples: &[Sample<'_>],
    ) -> Result<Verdict, Refusal> {
        let Connection { routes, memory: own, readings, numbers, .. } = connection;
        let Some(route) = &mut routes[p.route] else { return Ok(Verdict::Route) };
        let publish = p.publish;
        readings.clear();
        numbers.clear();
        self.numbers(state, append, route, samples, numbers)?;
        let undated = state.clock.is_unset();
        let mut timed = true;
        for (sample, &number) in samples.iter().zip(&*numbers) {
            let time_ms = match sample.time_ms {
                // A clock that was never set cannot say what is in the future: the fold decides, once it is.
                Some(t) if t > now_ms + FUTURE_MS_MAX && !undated => {
                    self.clamped.fetch_add(1, Ordering::Relaxed);
                    self.complaints.clamped(&client.client_id, publish.topic, t - now_ms);
                    now_ms
                }
                Some(t) => t,
                None => {
                    timed = false;
                    now_ms
                }
            };
            if state.critical[number as usize].is_some_and(|critical| critical.beyond(sample.value)) {
                append.hurry();
            }
            readings.push((number, time_ms, sample.value));
        }
        let leaves = self.linked && self.sources.get(route.source).share != Share::None;
        let mut flags = if leaves { FLAG_LEAVES } else { 0 } | if undated { FLAG_UNDATED } else { 0 };
        let mut packet_id = 0;
        let received = publish.qos == 2;
        if received {
            (flags, packet_id) = (flags | FLAG_PACKET_ID, publish.packet_id);
        }
        if timed && publish.qos > 0 {
            let durable = client.session != 0;
            let memory = if durable { state.memories.entry(client.session).or_default() } else { own };
            if memory.is_redelivery(publish, readings) {
                let record = Record::Duplicate { session: client.session, count: readings.len() as u64, packet_id };
                return Ok(Verdict::After { ticket: state.push(append, &record), route: false });
            }
            memory.remember(publish.packet_id, readings);
            if durable {
                (flags, packet_id) = (flags | FLAG_PACKET_ID | FLAG_TIMED, publish.packet_id);
                flags |= if received { FLAG_RECEIVED } else { 0 };
            }
        }
        let advance = state.clock.stamp();
        let ticket = append.push(KIND_MESSAGE, |out| {
            schemas::wire::put_varint(out, advance);
            record::put_message_head(out, flags, client.session, packet_id);
            for (series, time_ms, value) in readings.iter() {
                record::put_reading(out, *series, *time_ms, now_ms, *value);
            }
        });
        append.marks()[usize::from(!leaves)] += readings.len() as u64;
        Ok(Verdict::After { ticket, route: true })
    }
}

impl broker::Application for Intake {
    fn publish(&self, client: &Client, batch: &[Publish<'_>], verdicts: &mut Vec<Verdict>) {
        self.take(client, batch, verdicts);
    }

    fn open_session(&self, open: &OpenSession<'_>) -> Result<Opened, broker::Refusal> {
        let mut state = self.state.lock();
        let mut append = self.journal.append_bookkeeping().map_err(|_| broker::Refusal::Unavailable)?;
        state.clock.read();
        state.sessions_last += 1;
        let number = state.sessions_last;
        let version = if open.version == Version::V5 { 5 } else { 4 };
        let event = Logged::Opened { client_id: open.client_id, expiry_s: open.expiry_s, version };
        let record = Record::Session { number, event };
        let ticket = state.push(&mut append, &record);
        Ok(Opened { number, ticket })
    }

    fn session(&self, number: u64, event: SessionEvent<'_>) -> Result<Ticket, broker::Refusal> {
        let event = match event {
            SessionEvent::Resumed { expiry_s } => {
                if let Some(memory) = self.state.lock().memories.get_mut(&number) {
                    memory.resumed();
                }
                Logged::Resumed { expiry_s }
            }
            SessionEvent::Disconnected { expiry_s } => Logged::Disconnected { expiry_s },
            SessionEvent::Ended => {
                self.state.lock().memories.remove(&number);
                Logged::Ended
            }
            SessionEvent::Subscribed { filter, options, identifier } => Logged::Subscribed { filter, options, identifier },
            SessionEvent::Unsubscribed { filter } => Logged::Unsubscribed { filter },
            SessionEvent::Qos2Received { packet_id } => Logged::Qos2Received { packet_id },
            SessionEvent::Qos2Released { packet_id } => Logged::Qos2Released { packet_id },
        };
        self.log(&Record::Session { number, event }).map_err(|_| broker::Refusal::Unavailable)
    }

    fn horizon(&self) -> watch::Receiver<broker::Horizon> {
        self.horizon.clone()
    }
}
