//! Intervals and alerts arrive; sessions of the embedded broker's clients are logged.

use crate::event::{Event, Events};
use crate::known::Known;
use crate::limits::{CROSS_PAYLOAD_BYTES_MAX, EVENT_BYTES_MAX};
use crate::urgent::Urgent;
use broker::{Client, OpenSession, Opened, Publish, Refusal, SessionEvent, Ticket, Verdict};
use journal::{Append, Journal};
use parking_lot::{Mutex, RwLock};
use replica::alarm::{Body, BodyError, Target};
use replica::clock::Clock;
use replica::join::Bridge;
use replica::record::{Plain, Record, SessionEvent as Logged};
use role::session;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use telemetry::source::matches;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tracing::warn;

/// Wall time in ms since the Unix epoch.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The door of the cloud's log: records with the logged clock, in one order.
pub struct Door {
    journal: Journal,
    state: Mutex<State>,
    horizon: watch::Receiver<broker::Horizon>,
    /// The way to the core.
    pub events: Events,
    known: Arc<Known>,
    /// Where alerts overtake.
    pub urgent: Urgent,
    /// Bytes of messages that wait for the core.
    waiting_bytes: AtomicUsize,
    /// What gateways want of the ordinary messages here.
    wanted: RwLock<Vec<String>>,
}

struct State {
    clock: Clock,
    /// What the monotonic clock is counted from.
    began: Instant,
    logged_ms: i64,
    sessions_last: u64,
}

impl State {
    fn now_ms(&mut self) -> i64 {
        let monotonic_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.clock.read(wall_ms(), monotonic_ms)
    }
}

impl Door {
    /// A door whose clock and session numbers go on from the log's.
    pub fn new(
        journal: Journal,
        bridge: &Bridge,
        cloud_boot: u64,
        horizon: watch::Receiver<broker::Horizon>,
        events: Events,
        known: Arc<Known>,
    ) -> Self {
        let clock_ms = bridge.clock_ms;
        let state =
            State { clock: Clock::resume(clock_ms, 0), began: Instant::now(), logged_ms: clock_ms, sessions_last: bridge.sessions.last };
        let urgent = Urgent::new(known.clone(), cloud_boot);
        Self {
            journal,
            state: Mutex::new(state),
            horizon,
            events,
            known,
            urgent,
            waiting_bytes: AtomicUsize::new(0),
            wanted: RwLock::default(),
        }
    }

    /// Begins this process's boot with its record.
    ///
    /// # Errors
    /// The journal's refusal.
    pub fn begin(&self, record: &Record<'_>) -> Result<Ticket, journal::Refused> {
        let mut state = self.state.lock();
        Ok(push(&mut self.journal.append_beginning()?, &mut state, std::slice::from_ref(record)))
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The journal's refusal.
    pub fn log(&self, record: &Record<'_>) -> Result<Ticket, journal::Refused> {
        self.append(&mut self.state.lock(), std::slice::from_ref(record))
    }

    /// What the core is to do about a gateway's message: of an alert that overtakes, only that the
    /// gateway spoke.
    pub fn wire(&self, gateway: &str, what: &str, payload: &[u8]) -> Event {
        let gateway = gateway.to_owned();
        if what == "alert" && self.urgent.take(&gateway, payload, |record| self.log(record)) {
            return Event::Heard { gateway };
        }
        self.coming(payload.len());
        Event::Wire { gateway, what: what.to_owned(), bytes: payload.to_vec(), at: Instant::now() }
    }

    /// So many bytes of a message are on their way to the core.
    pub fn coming(&self, bytes: usize) {
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Hands an event to the core.
    fn pass_on(&self, event: Event) -> Verdict {
        let Err(TrySendError::Full(event) | TrySendError::Closed(event)) = self.events.try_send(event) else { return Verdict::Accept };
        match event {
            // That somebody spoke can be missed: it is said again soon.
            Event::Heard { .. } => Verdict::Accept,
            Event::Wire { bytes, .. } => {
                self.arrived(bytes.len());
                Verdict::Refuse(Refusal::Busy)
            }
            _ => Verdict::Refuse(Refusal::Busy),
        }
    }

    /// Whether so many bytes wait for the core that gateways must wait, too.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes.load(Ordering::Relaxed) >= EVENT_BYTES_MAX
    }

    /// The core has a message of so many bytes, or it did not find its way to it.
    pub fn arrived(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The logged clock now: what is due by it is due whatever happens to the wall clock.
    pub fn now_ms(&self) -> i64 {
        self.state.lock().now_ms()
    }

    /// Something that is asked for about an alarm, by a message to `alarms/{gateway}/{series}/{kind}/{verb}`.
    fn ask(&self, client: &Client, publish: &Publish<'_>, target: &Target<'_>) -> Verdict {
        let alarm = format!("{}/{}/{}", target.gateway, target.series, target.kind);
        match self.known.read().get(&alarm) {
            None => {
                warn!(client = client.client_id, alarm, "what was asked about an alarm that is not known is refused");
                return Verdict::Decline(Refusal::TopicNameInvalid);
            }
            Some(known) if known.is_full => return Verdict::Refuse(Refusal::QuotaExceeded),
            Some(_) => {}
        }
        let body = match Body::parse(target.verb, publish.payload, settings::unit::duration_ms) {
            Ok(body) => body,
            Err(BodyError::Malformed(why) | BodyError::Wrong(why)) => {
                warn!(client = client.client_id, alarm, why, "what was asked about an alarm is refused");
                return Verdict::Decline(Refusal::PayloadFormatInvalid);
            }
        };
        let request = target.request(rand::random(), &body);
        let event = Logged::Qos2Received { packet_id: publish.packet_id };
        let records = [Record::AskedAt { gateway: target.gateway, request }, Record::Session { number: client.session, event }];
        let is_received = publish.qos == 2 && client.session != 0;
        // Both or none: what is offered again must not be asked twice.
        after(self.append(&mut self.state.lock(), &records[..1 + usize::from(is_received)]), false)
    }

    /// Gateways want ordinary messages on these topics from here on; whether that is news.
    pub fn want(&self, filters: Vec<String>) -> bool {
        let mut wanted = self.wanted.write();
        let is_new = *wanted != filters;
        *wanted = filters;
        is_new
    }

    /// Whether a gateway wants ordinary messages on that topic.
    pub fn is_wanted(&self, topic: &str) -> bool {
        self.wanted.read().iter().any(|filter| matches(filter, topic))
    }

    /// A client's ordinary message: logged when a gateway wants it.
    fn ordinary(&self, client: &Client, publish: &Publish<'_>) -> Verdict {
        if !self.is_wanted(publish.topic) {
            return Verdict::Route;
        }
        if publish.payload.len() > CROSS_PAYLOAD_BYTES_MAX {
            warn!(topic = publish.topic, bytes = publish.payload.len(), "too large for the way to a gateway; refused");
            return Verdict::Refuse(Refusal::QuotaExceeded);
        }
        let message = Plain { topic: publish.topic, payload: publish.payload, qos: publish.qos, retain: publish.retain };
        let packet_id = if publish.qos == 2 { publish.packet_id } else { 0 };
        after(self.log(&Record::CrossIn { message, session: client.session, packet_id }), true)
    }

    /// All of them or none; the last one's ticket.
    fn append(&self, state: &mut State, records: &[Record<'_>]) -> Result<Ticket, journal::Refused> {
        Ok(push(&mut self.journal.append_bookkeeping()?, state, records))
    }
}

/// What becomes of a message that the log was given.
fn after(logged: Result<Ticket, journal::Refused>, route: bool) -> Verdict {
    match logged {
        Ok(ticket) => Verdict::After { ticket, route },
        Err(journal::Refused::Full) => Verdict::Refuse(Refusal::Busy),
        Err(journal::Refused::Stopped) => Verdict::Refuse(Refusal::Unavailable),
        Err(_) => Verdict::Refuse(Refusal::QuotaExceeded),
    }
}

/// Pushes records of this moment; the ticket of the last one.
fn push(append: &mut Append<'_>, state: &mut State, records: &[Record<'_>]) -> Ticket {
    let now_ms = state.now_ms();
    let mut ticket = 0;
    for record in records {
        let advance = now_ms.abs_diff(state.logged_ms);
        state.logged_ms = now_ms;
        ticket = append.push(record.kind(), |out| record.encode(advance, out));
    }
    ticket
}

/// First levels of what the bridge alone publishes: whoever reads there may believe it. Of the wire
/// that is all but what gateways say (`up/`): a gateway lets go of what an answer calls delivered.
const OWN: [&str; 5] = ["merged/", "alerts/", "alarms/", "gateways/", "bridge/"];

/// Whether a topic is the bridge's own.
pub fn is_own(topic: &str) -> bool {
    OWN.iter().any(|own| topic.starts_with(own))
}

/// Gateway and message of a topic of the wire.
pub fn wire(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix("bridge/v1/")?.split_once("/up/")
}

impl broker::Application for Door {
    fn publish(&self, client: &Client, batch: &[Publish<'_>], verdicts: &mut Vec<Verdict>) {
        for publish in batch {
            let verdict = match wire(publish.topic) {
                None => match publish.topic.strip_prefix("alarms/").and_then(Target::of) {
                    Some(target) => self.ask(client, publish, &target),
                    None if is_own(publish.topic) => Verdict::Refuse(Refusal::NotAuthorized),
                    None => self.ordinary(client, publish),
                },
                Some((gateway, what)) => {
                    if what != "alert" && self.is_full() {
                        Verdict::Refuse(Refusal::Busy)
                    } else {
                        self.pass_on(self.wire(gateway, what, publish.payload))
                    }
                }
            };
            // What is offered again must keep its order: nothing behind it is taken either.
            let busy = verdict == Verdict::Refuse(Refusal::Busy);
            verdicts.push(verdict);
            if busy {
                verdicts.resize(verdicts.len() + batch.len(), verdict);
                return;
            }
        }
    }

    fn open_session(&self, open: &OpenSession<'_>) -> Result<Opened, Refusal> {
        let mut state = self.state.lock();
        state.sessions_last += 1;
        let number = state.sessions_last;
        let record = Record::Session { number, event: session::opened(open) };
        let ticket = self.append(&mut state, &[record]).map_err(|_| Refusal::Unavailable)?;
        Ok(Opened { number, ticket })
    }

    fn session(&self, number: u64, event: SessionEvent<'_>) -> Result<Ticket, Refusal> {
        self.log(&Record::Session { number, event: session::logged(event) }).map_err(|_| Refusal::Unavailable)
    }

    fn owns(&self, topic: &str) -> bool {
        is_own(topic)
    }

    fn keeps_will(&self, topic: &str) -> bool {
        // Gateways that do not come back are missed without it, by name; and one may come back under another.
        !topic.starts_with("bridge/")
    }

    fn horizon(&self) -> watch::Receiver<broker::Horizon> {
        self.horizon.clone()
    }
}
