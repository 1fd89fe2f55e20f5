//! An application whose log is a counter: it is durable at once, or when the test says so.

use broker::{
    Application, Broker, Client, Config, Horizon, OpenSession, Opened, Publish, Refusal, SessionEvent, StoredSession, Ticket, Verdict,
    Version,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A PUBLISH that the application took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub dup: bool,
    pub will: bool,
    pub session: u64,
}

/// What the application keeps, as a log would.
#[derive(Default)]
struct Kept {
    last: Ticket,
    taken: Vec<Taken>,
    sessions: BTreeMap<u64, StoredSession>,
}

/// Topics below `log/` are logged; `log/bad` is no reading, `log/full` has no room, `log/mine` is
/// nobody else's, `log/busy` must wait while the test says so; all others are ordinary.
pub struct Log {
    kept: Mutex<Kept>,
    horizon: watch::Sender<Horizon>,
    manual: AtomicBool,
    pub busy: AtomicBool,
    pub asked: AtomicUsize,
}

impl Log {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::default(),
            horizon: watch::channel(Horizon::default()).0,
            manual: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        })
    }

    /// From now on nothing is durable until [`Log::commit`].
    pub fn hold(&self) {
        self.manual.store(true, Ordering::SeqCst);
    }

    /// What was taken so far is durable.
    pub fn commit(&self) {
        let durable = self.kept.lock().last;
        self.horizon.send_modify(|h| h.durable = durable);
    }

    /// The disk failed for good.
    pub fn fail(&self) {
        self.horizon.send_modify(|h| h.failed = true);
    }

    /// Records so far, durable or not.
    pub fn appended(&self) -> Ticket {
        self.kept.lock().last
    }

    /// PUBLISHes taken so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.kept.lock().taken.clone()
    }

    /// Payloads taken so far, as text.
    pub fn payloads(&self) -> Vec<String> {
        self.taken().into_iter().map(|t| String::from_utf8(t.payload).unwrap()).collect()
    }

    /// Sessions as a restart would find them.
    pub fn sessions(&self) -> Vec<StoredSession> {
        self.kept.lock().sessions.values().cloned().collect()
    }

    fn append(&self, kept: &mut Kept) -> Ticket {
        kept.last += 1;
        if !self.manual.load(Ordering::SeqCst) {
            let durable = kept.last;
            self.horizon.send_modify(|h| h.durable = durable);
        }
        kept.last
    }
}

impl Application for Log {
    fn publish(&self, client: &Client, batch: &[Publish<'_>], verdicts: &mut Vec<Verdict>) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut kept = self.kept.lock();
        for p in batch {
            let refusal = match p.topic {
                "log/bad" => Some(Refusal::PayloadFormatInvalid),
                "log/full" => Some(Refusal::QuotaExceeded),
                "log/mine" => Some(Refusal::NotAuthorized),
                "log/long" => Some(Refusal::TopicNameInvalid),
                "log/busy" if self.busy.load(Ordering::SeqCst) => Some(Refusal::Busy),
                _ => None,
            };
            if p.topic == "log/never" {
                verdicts.push(Verdict::Decline(Refusal::PayloadFormatInvalid));
                continue;
            }
            if let Some(refusal) = refusal {
                verdicts.push(Verdict::Refuse(refusal));
                if refusal == Refusal::Busy {
                    // Nothing behind it may be taken.
                    return;
                }
                continue;
            }
            if !p.topic.starts_with("log/") || p.payload.is_empty() {
                verdicts.push(Verdict::Route);
                continue;
            }
            let ticket = self.append(&mut kept);
            if p.qos == 2
                && let Some(session) = kept.sessions.get_mut(&client.session)
            {
                session.received.push(p.packet_id);
            }
            let (topic, payload, session) = (p.topic.to_owned(), p.payload.to_vec(), client.session);
            kept.taken.push(Taken { topic, payload, qos: p.qos, dup: p.dup, will: p.will, session });
            verdicts.push(Verdict::After { ticket, route: true });
        }
    }

    fn open_session(&self, open: &OpenSession<'_>) -> Result<Opened, Refusal> {
        let mut kept = self.kept.lock();
        let ticket = self.append(&mut kept);
        let OpenSession { client_id, expiry_s, version } = *open;
        let number = ticket;
        let client_id = client_id.to_owned();
        kept.sessions
            .insert(number, StoredSession { number, client_id, expiry_s, version, subscriptions: vec![], received: vec![], will: None });
        Ok(Opened { number, ticket })
    }

    fn session(&self, number: u64, event: SessionEvent<'_>) -> Result<Ticket, Refusal> {
        let mut kept = self.kept.lock();
        let ticket = self.append(&mut kept);
        let session = kept.sessions.get_mut(&number).expect("a session that is open");
        match event {
            SessionEvent::Resumed { expiry_s } => (session.expiry_s, session.will) = (expiry_s, None),
            SessionEvent::Disconnected { expiry_s, .. } => session.expiry_s = expiry_s,
            SessionEvent::Ended => drop(kept.sessions.remove(&number)),
            SessionEvent::Subscribed { filter, options, identifier } => {
                session.subscriptions.retain(|(f, ..)| f != filter);
                session.subscriptions.push((filter.to_owned(), options, identifier));
            }
            SessionEvent::Unsubscribed { filter } => session.subscriptions.retain(|(f, ..)| f != filter),
            SessionEvent::Qos2Received { packet_id } => session.received.push(packet_id),
            SessionEvent::Qos2Released { packet_id } => session.received.retain(|id| *id != packet_id),
            SessionEvent::Will(will) => session.will = Some((will.clone(), ticket)),
            SessionEvent::WillOver { ticket } => drop(session.will.take_if(|(_, logged)| *logged == ticket)),
        }
        Ok(ticket)
    }

    fn horizon(&self) -> watch::Receiver<Horizon> {
        self.horizon.subscribe()
    }
}

/// A broker that listens on a free loopback port.
pub struct Door {
    pub log: Arc<Log>,
    pub broker: Broker,
    pub at: SocketAddr,
    runtime: Runtime,
}

impl Door {
    pub fn open() -> Self {
        Self::with(|_| {})
    }

    /// With other bounds than usual.
    pub fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::over(Log::new(), adjust)
    }

    /// Over a log with sessions of an earlier broker.
    pub fn over(log: Arc<Log>, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { max_packet: 256 << 10, connections_max: 2_000, queue_max: 10_000 };
        adjust(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let broker = Broker::new(config, log.clone(), log.sessions());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        {
            let _inside = runtime.enter();
            drop(broker.listen(listener));
        }
        Self { log, broker, at, runtime }
    }

    /// The process dies and another one opens the same log.
    pub fn reopen(self) -> Self {
        let Self { log, runtime, .. } = self;
        runtime.shutdown_timeout(Duration::from_secs(1));
        Self::over(log, |_| {})
    }

    /// Runs the orderly stop; how long it took.
    pub fn shutdown(&self, grace: Duration) -> Duration {
        let began = Instant::now();
        self.runtime.block_on(self.broker.shutdown(grace));
        began.elapsed()
    }

    /// Waits until a condition holds.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !holds(self) {
            assert!(Instant::now() < deadline, "it did not come to this: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a session is there, absent or not; false for none.
    pub fn subscriptions(&self) -> usize {
        self.broker.stats().subscriptions
    }
}

/// Both protocol versions.
pub const BOTH: [Version; 2] = [Version::V3, Version::V5];
