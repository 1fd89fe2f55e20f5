//! PUBLISH → record. The acknowledgement waits at the broker for the record's commit.
//!
//! Payloads are parsed on the client's own task; only naming, stamping and appending happen
//! under the one lock that gives the log its order.

mod asked;
mod complaint;
mod naming;
mod redelivery;
mod refusals;
#[cfg(test)]
mod tests;

use crate::clock::{self, LoggedClock, wall_ms};
use crate::crossing::rules::{Out, Rules};
use crate::desk::Desk;
use crate::limits::{
    QUARANTINE_BYTES_MAX, QUARANTINE_PAYLOAD_BYTES_MAX, TOPIC_CACHED_BYTES_MAX, TOPICS_CACHED_BYTES_MAX, TOPICS_CACHED_MAX,
};
use asked::Asked;
use broker::{Client, OpenSession, Opened, Publish, SessionEvent, Ticket, Verdict, Version};
use complaint::Complaints;
use detect::{Critical, Settings};
use hashbrown::HashMap;
use journal::{Append, Journal};
use naming::{Route, no_series};
use parking_lot::Mutex;
use redelivery::Memory;
use refusals::Refusals;
use replica::alert::is_gateways_own;
use replica::fold::Fold;
use replica::frame::Marks;
use replica::limits::FUTURE_MS_MAX;
use replica::record::{
    self, FLAG_AHEAD, FLAG_LEAVES, FLAG_PACKET_ID, FLAG_RECEIVED, FLAG_RELATIVE, FLAG_TIMED, FLAG_UNDATED, KIND_MESSAGE, Plain, Record,
    Refusal,
};
use role::session;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
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
    refused: Refusals,
    /// Readings in a unit that is not their series' own.
    pub misfits: AtomicU64,
    complaints: Complaints,
    /// Names of our own clients elsewhere.
    readers: Vec<String>,
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
    /// Reads the clock for what is appended next. Where the gateway took nothing for a while, the log says so
    /// before that: what waited meanwhile is not missing.
    fn read(&mut self, append: &mut Append<'_>) -> i64 {
        let now_ms = self.clock.read();
        if let Some(leapt_ms) = self.clock.take_away() {
            self.push(append, &Record::Away { leapt_ms });
        }
        now_ms
    }

    /// Appends a record at the clock as last read.
    fn push(&mut self, append: &mut Append<'_>, record: &Record<'_>) -> Ticket {
        let advance = self.clock.stamp();
        Marks::set_clock(append.marks(), self.clock.logged_ms());
        append.push(record.kind(), |out| record.encode(advance, out))
    }
}

/// What the intake remembers of a connection.
#[derive(Default)]
struct Connection {
    topics: HashMap<String, u32>,
    /// Bytes of these topics.
    topics_bytes: usize,
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
        // The text of a topic that makes no series may be long, and the next one another.
        let series = |name: &str| if valid_series(name) { Ok(name.into()) } else { Err(no_series(name)) };
        let route = sources.resolve(topic).map(|(source, name)| Route { source, series: series(&name), plain: None });
        let is_kept = topic.len() <= TOPIC_CACHED_BYTES_MAX && route.as_ref().is_none_or(|r| r.series.is_ok());
        let index = self.routes.len();
        self.routes.push(route);
        if is_kept {
            // Bounded by TOPICS_CACHED_MAX and one batch, so the index fits.
            self.topics.insert(topic.to_owned(), index as u32);
            self.topics_bytes += topic.len();
        }
        index
    }

    /// Forgets between batches only: within one, indexes stay true.
    fn make_room(&mut self, batch: usize) {
        if self.routes.len() + batch > TOPICS_CACHED_MAX || self.topics_bytes > TOPICS_CACHED_BYTES_MAX {
            self.topics.clear();
            self.routes.clear();
            self.topics_bytes = 0;
        }
    }
}

/// A message on its way to the lock: where in its batch, and what it is.
struct Item<'a> {
    index: usize,
    publish: &'a Publish<'a>,
    what: What<'a>,
}

enum What<'a> {
    /// A source's: its route and samples.
    Readings(usize, std::ops::Range<usize>),
    /// A source's, which is no reading.
    Refused(Refusal, String),
    /// An ordinary message that crosses the link, unless its name there would be too long.
    Crossing(Result<Out, ()>),
    /// Something asked for about an alarm.
    Asked(Box<Asked<'a>>),
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
            refused: Refusals::default(),
            misfits: AtomicU64::new(0),
            complaints: Complaints::default(),
            readers: Vec::new(),
        }
    }

    /// Under these names nobody is let in.
    pub fn without(mut self, readers: Vec<String>) -> Self {
        self.readers = readers;
        self
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
        state.read(&mut append);
        Ok(state.push(&mut append, record))
    }

    /// The logged clock now, as [`Intake::now_ms`]; once the wall clock is set, that is logged: what waits
    /// for its date gets it. So is that the gateway was away. What refused that record comes with the clock, and it is to be tried again.
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
        let mut now_ms = state.clock.read();
        if state.clock.was_away()
            && let Ok(mut append) = self.journal.append_bookkeeping()
        {
            now_ms = state.read(&mut append);
        }
        (now_ms, refused)
    }

    /// Begins this process's boot: its record, and the marks that frames carry from here on. The fold
    /// at the log's end counted `totals`, more than the last frame's marks say where what a snapshot
    /// covers of the log is lost: what damage takes later is told from these.
    ///
    /// # Errors
    /// The journal's refusal.
    pub fn begin(&self, boot: u64, record: &Record<'_>, totals: (u64, u64)) -> Result<Ticket, journal::Refused> {
        let mut state = self.state.lock();
        let mut append = self.journal.append_beginning()?;
        state.clock.read();
        let base = append.next() - 1;
        let said = Marks::of(*append.marks());
        *append.marks() = [said.readings.max(totals.0), said.local.max(totals.1), boot, base];
        Ok(state.push(&mut append, record))
    }

    /// Whether the log takes no readings now, for want of room or a disk that can be written.
    pub fn is_refusing(&self) -> bool {
        self.journal.refusing().is_some()
    }

    /// Logs what was refused since the last call, so that the ledger's counts outlive the process.
    pub fn flush_refused(&self) {
        self.refused.flush(|record| self.log(record));
    }

    /// The fold counts what was refused up to record `lsn`.
    pub fn folded(&self, lsn: u64) {
        self.refused.folded(lsn);
    }

    /// Refusals that a fold as of record `folded` does not count, by reason; that never goes back from
    /// one call to the next.
    pub fn refused_beyond(&self, folded: u64) -> impl Iterator<Item = (Refusal, u64)> {
        self.refused.beyond(folded).into_iter()
    }

    fn refuse(&self, reason: Refusal) -> Verdict {
        self.refused.count(reason);
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
        let first = verdicts.len();
        let mut samples = Vec::with_capacity(batch.len());
        let mut items = Vec::with_capacity(batch.len());
        connection.make_room(batch.len());
        for (index, publish) in batch.iter().enumerate() {
            verdicts.push(Verdict::Route);
            let what = match is_gateways_own(publish.topic).then(|| self.asked(publish)) {
                None => self.read(connection, publish, &mut samples),
                Some(Some(asked)) => Some(What::Asked(asked)),
                Some(None) => {
                    verdicts[first + index] = Verdict::Refuse(broker::Refusal::NotAuthorized);
                    continue;
                }
            };
            items.extend(what.map(|what| Item { index, publish, what }));
        }
        if items.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let (mut append, refusing) = match self.open(&items) {
            Ok(open) => open,
            Err((refusal, why)) => {
                for item in &items {
                    // What is asked about alarms is no reading, and what comes again is counted then.
                    verdicts[first + item.index] = match &item.what {
                        What::Asked(_) => Verdict::Refuse(refusal),
                        _ if refusal != broker::Refusal::NoRoom => Verdict::Refuse(refusal),
                        _ => self.no_room(client, item.publish, &why),
                    };
                }
                return;
            }
        };
        // What was read at once arrived at once.
        let now_ms = state.read(&mut append);
        for item in &items {
            let publish = item.publish;
            verdicts[first + item.index] = match (&item.what, &refusing) {
                (What::Asked(asked), _) => self.ask(&mut state, &mut append, client, publish, asked),
                (_, Some(why)) => self.no_room(client, publish, why),
                (What::Crossing(Ok(out)), _) => self.cross(&mut state, &mut append, client, publish, out),
                (What::Crossing(Err(())), _) => {
                    let detail = "its name at the cloud is too long";
                    self.refuse_message(&mut state, &mut append, client, publish, Refusal::Series, detail)
                }
                (What::Refused(reason, detail), _) => self.refuse_message(&mut state, &mut append, client, publish, *reason, detail),
                (What::Readings(route, range), _) => {
                    let samples = &samples[range.clone()];
                    match self.append(&mut state, &mut append, connection, client, now_ms, publish, *route, samples) {
                        Ok(verdict) => verdict,
                        Err(reason @ Refusal::Quota) => {
                            let detail = "it names a new series, and [limits] series is reached";
                            self.complaints.refused(reason, &client.client_id, publish.topic, detail);
                            self.refuse(reason)
                        }
                        Err(reason) => {
                            let detail = match reason {
                                Refusal::Payload => "a time relative to its arrival lies before 1970",
                                _ => "a field, a name or a unit in it makes a name that no series can have",
                            };
                            self.refuse_message(&mut state, &mut append, client, publish, reason, detail)
                        }
                    }
                }
            };
        }
    }

    /// A message that the log has no room for. It is counted here until the log can say so.
    fn no_room(&self, client: &Client, publish: &Publish<'_>, why: &journal::Refused) -> Verdict {
        self.complaints.refused(Refusal::Room, &client.client_id, publish.topic, &why.to_string());
        self.refuse(Refusal::Room)
    }

    /// What a message is; none where it is an ordinary one that stays here.
    fn read<'a>(&self, connection: &mut Connection, publish: &Publish<'a>, samples: &mut Vec<Sample<'a>>) -> Option<What<'a>> {
        let place = connection.route(&self.sources, publish.topic);
        let route = connection.routes[place].as_ref();
        // What may not leave the site does not leave it as an ordinary message.
        let leaves = route.is_none_or(|route| self.sources.get(route.source).share != Share::None);
        let ordinary = || self.rules.out(publish.topic).filter(|_| leaves).map(What::Crossing);
        let Some(route) = route.filter(|_| !publish.payload.is_empty()) else { return ordinary() };
        let from = samples.len();
        let (reason, detail) = match (payload::parse(publish.payload, samples), &route.series) {
            (Ok(()), Ok(_)) => return Some(What::Readings(place, from..samples.len())),
            (Ok(()), Err(why)) => (Refusal::Series, why.clone()),
            (Err(_), _) if self.sources.get(route.source).on_invalid == OnInvalid::Pass => {
                samples.truncate(from);
                return ordinary();
            }
            (Err(error), _) => (Refusal::Payload, error.to_string()),
        };
        samples.truncate(from);
        Some(What::Refused(reason, detail))
    }

    /// Locks the log for a batch, all of it or nothing. With it comes why it takes no readings,
    /// where it takes what is asked about alarms all the same.
    fn open(&self, items: &[Item<'_>]) -> Result<(Append<'_>, Option<journal::Refused>), (broker::Refusal, journal::Refused)> {
        let refusal = |why: journal::Refused| match why {
            journal::Refused::Full => (broker::Refusal::Busy, why),
            journal::Refused::Stopped => (broker::Refusal::Unavailable, why),
            _ => (broker::Refusal::NoRoom, why),
        };
        match self.journal.append() {
            Ok(append) => Ok((append, None)),
            Err(why @ (journal::Refused::Full | journal::Refused::Stopped)) => Err(refusal(why)),
            Err(why) => match self.journal.append_bookkeeping() {
                Ok(append) => Ok((append, Some(why))),
                // Nothing was judged yet, so that nothing is counted twice when all of it is offered again.
                Err(beside) if items.iter().any(|item| matches!(item.what, What::Asked(_))) => Err(refusal(beside)),
                Err(_) => Err(refusal(why)),
            },
        }
    }

    /// Logs an ordinary message that crosses the link; it is routed here once that is durable.
    fn cross(&self, state: &mut State, append: &mut Append<'_>, client: &Client, publish: &Publish<'_>, out: &Out) -> Verdict {
        let message = Plain { topic: &out.remote, payload: publish.payload, qos: publish.qos.min(out.qos), retain: publish.retain };
        let packet_id = if publish.qos == 2 { publish.packet_id } else { 0 };
        if out.lane == 0 {
            append.hurry();
        }
        let record = Record::Crossed { lane: out.lane, ttl_ms: out.ttl_ms, message, session: client.session, packet_id };
        Verdict::After { ticket: state.push(append, &record), route: true }
    }

    /// A message that is no reading: refused where the protocol can say so, else kept aside.
    fn refuse_message(
        &self,
        state: &mut State,
        append: &mut Append<'_>,
        client: &Client,
        publish: &Publish<'_>,
        reason: Refusal,
        detail: &str,
    ) -> Verdict {
        self.complaints.refused(reason, &client.client_id, publish.topic, detail);
        if client.version == Version::V5 && !publish.will {
            return self.refuse(reason);
        }
        if state.quarantined >= QUARANTINE_BYTES_MAX {
            if publish.will {
                return self.refuse(reason);
            }
            // Beyond the quarantine's bound only the count is kept; MQTT 3.1.1 knows no refusal but closing.
            self.refused.count(reason);
            return Verdict::After { ticket: state.push(append, &Record::Tick), route: false };
        }
        let payload = &publish.payload[..publish.payload.len().min(QUARANTINE_PAYLOAD_BYTES_MAX)];
        state.quarantined += payload.len() as u64;
        let packet_id = if publish.qos == 2 { publish.packet_id } else { 0 };
        let (refusal, topic, session) = (reason, publish.topic, client.session);
        let kept = Record::Quarantined { refusal, reason: detail, topic, payload, session, packet_id };
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
        publish: &Publish<'_>,
        route: usize,
        samples: &[Sample<'_>],
    ) -> Result<Verdict, Refusal> {
        let Connection { routes, memory: own, readings, numbers, .. } = connection;
        let Some(route) = &mut routes[route] else { return Ok(Verdict::Route) };
        let undated = state.clock.is_unset();
        // A clock that was never set cannot say what is in the future or before 1970: the fold decides, once it is.
        if !undated && samples.iter().any(|s| s.time_ms.is_none() && now_ms.saturating_add(s.after_ms) < 0) {
            return Err(Refusal::Payload);
        }
        readings.clear();
        numbers.clear();
        self.numbers(state, append, route, samples, numbers)?;
        let (mut timed, mut ahead, mut relative) = (true, false, undated);
        for (sample, &number) in samples.iter().zip(&*numbers) {
            // As it was sent: so it is known when it comes again.
            let time_ms = sample.time_ms.unwrap_or_else(|| now_ms.saturating_add(sample.after_ms));
            if time_ms > now_ms + FUTURE_MS_MAX && !undated {
                ahead = true;
                self.complaints.clamped(&client.client_id, publish.topic, time_ms - now_ms);
            }
            timed &= sample.time_ms.is_some();
            relative &= sample.time_ms.is_none();
            if state.critical[number as usize].is_some_and(|critical| critical.beyond(sample.value)) {
                append.hurry();
            }
            readings.push((number, time_ms, sample.value));
        }
        let leaves = self.linked && self.sources.get(route.source).share != Share::None;
        let mut flags = if leaves { FLAG_LEAVES } else { 0 } | if undated { FLAG_UNDATED } else { 0 };
        flags |= if ahead { FLAG_AHEAD } else { 0 } | if relative { FLAG_RELATIVE } else { 0 };
        let mut packet_id = 0;
        let received = publish.qos == 2;
        if received {
            (flags, packet_id) = (flags | FLAG_PACKET_ID, publish.packet_id);
        }
        if timed && publish.qos > 0 {
            let durable = client.session != 0;
            // One that ends with its connection is not asked what it sent before that.
            let sessions = if durable { state.memories.len() } else { usize::MAX };
            let memory = if durable { state.memories.entry(client.session).or_default() } else { own };
            if memory.is_redelivery(publish, readings) {
                let record = Record::Duplicate { session: client.session, count: readings.len() as u64, packet_id };
                return Ok(Verdict::After { ticket: state.push(append, &record), route: false });
            }
            memory.remember(publish.packet_id, now_ms, sessions, readings);
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
        Marks::set_clock(append.marks(), state.clock.logged_ms());
        Ok(Verdict::After { ticket, route: true })
    }
}

impl broker::Application for Intake {
    fn owns(&self, topic: &str) -> bool {
        is_gateways_own(topic)
    }

    fn publish(&self, client: &Client, batch: &[Publish<'_>], verdicts: &mut Vec<Verdict>) {
        self.take(client, batch, verdicts);
    }

    fn open_session(&self, open: &OpenSession<'_>) -> Result<Opened, broker::Refusal> {
        if self.readers.iter().any(|reader| reader == open.client_id) {
            self.complaints.looped(open.client_id);
            return Err(broker::Refusal::NotAuthorized);
        }
        let mut state = self.state.lock();
        let mut append = self.journal.append_bookkeeping().map_err(|_| broker::Refusal::Unavailable)?;
        state.read(&mut append);
        state.sessions_last += 1;
        let number = state.sessions_last;
        let ticket = state.push(&mut append, &Record::Session { number, event: session::opened(open) });
        Ok(Opened { number, ticket })
    }

    fn session(&self, number: u64, event: SessionEvent<'_>) -> Result<Ticket, broker::Refusal> {
        let mut state = self.state.lock();
        match event {
            SessionEvent::Resumed { .. } => drop(state.memories.get_mut(&number).map(Memory::resumed)),
            SessionEvent::Disconnected { settled: true, .. } => drop(state.memories.get_mut(&number).map(Memory::settled)),
            SessionEvent::Ended => drop(state.memories.remove(&number)),
            _ => {}
        }
        drop(state);
        self.log(&Record::Session { number, event: session::logged(event) }).map_err(|_| broker::Refusal::Unavailable)
    }

    fn horizon(&self) -> watch::Receiver<broker::Horizon> {
        self.horizon.clone()
    }
}
