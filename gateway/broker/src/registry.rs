//! All sessions, of present and absent clients: who has which, and when it ends.

use crate::application::{Client, OpenSession, SessionEvent, Ticket};
use crate::codec::connect::{Connect, Will};
use crate::inner::{Inner, Stop};
use crate::limits::{SESSIONS_MAX, TAKEOVER_WAIT, WILL_GRACE};
use crate::refusal::Refusal;
use crate::session::{LastWill, Session, StoredSession};
use crate::slots::{Delayed, Holder, Slot};
use crate::subscriber::Subscriber;
use crate::will;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// What a connection holds while it has a session. Giving it back is [`Inner::detach`]; a
/// connection that ends without that leaves no session behind.
pub(crate) struct Attached {
    pub session: Session,
    pub subscriber: Arc<Subscriber>,
    /// Whether the client found its session.
    pub present: bool,
    /// CONNACK waits for it.
    pub ticket: Ticket,
    /// Rung when another connection wants the session.
    pub kick: Arc<Notify>,
    pub hold: Hold,
}

/// What a connection gives back.
pub(crate) struct Detached {
    pub hold: Hold,
    pub client: Client,
    pub session: Session,
    pub subscriber: Arc<Subscriber>,
    /// Its client said goodbye, with an answer to all that it had sent.
    pub settled: bool,
    /// The server stops: the will stays in the log, for the next process.
    pub leaves_will: bool,
}

/// Proof that a connection has a session; dropped, the session is free.
pub(crate) struct Hold {
    inner: Arc<Inner>,
    client_id: String,
    connection: u64,
    _gone: watch::Sender<()>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut slots = self.inner.sessions.slots.lock();
        let ours = matches!(slots.get(&self.client_id), Some(Slot { holder: Holder::Connection { id, .. }, .. }) if *id == self.connection);
        // Only a task that was torn down comes here with the session still its own.
        if let Some(slot) = ours.then(|| slots.remove(&self.client_id)).flatten() {
            self.inner.router.forget(slot.subscriber.id);
        }
    }
}

fn deadline(expiry_s: u32) -> Option<Instant> {
    (expiry_s != u32::MAX).then(|| Instant::now() + Duration::from_secs(u64::from(expiry_s)))
}

impl Inner {
    /// Takes back what the application kept; expiry counts from now.
    pub fn restore(&self, stored: Vec<StoredSession>) {
        let mut slots = self.sessions.slots.lock();
        for stored in stored {
            let client_id = stored.client_id.clone();
            let (version, will) = (stored.version, stored.will.clone());
            let session = Session::from(stored);
            let subscriber = self.new_subscriber(session.number);
            for (filter, (options, identifier)) in &session.subscriptions {
                self.router.subscribe(&subscriber, filter, *options, *identifier);
            }
            let will = will.map(|(will, ticket)| {
                let due = Instant::now() + WILL_GRACE.max(Duration::from_secs(u64::from(will.delay_s)));
                let logged = Some(self.logged_will(&will, session.number, ticket));
                let client = Client { client_id: client_id.clone(), session: 0, version, connection: 0, memory: Mutex::default() };
                Box::new(Delayed { last: LastWill { will, client, from: subscriber.id, logged }, due, inherited: true })
            });
            let deadline = match session.expiry_s {
                0 => Some(Instant::now() + WILL_GRACE),
                expiry_s => deadline(expiry_s),
            };
            slots.insert(client_id, Slot { subscriber, holder: Holder::Absent { session, deadline, will } });
        }
    }

    /// The door opens: only from here on can anybody be back.
    pub fn opens(&self) {
        let least = Instant::now() + WILL_GRACE;
        for slot in self.sessions.slots.lock().values_mut() {
            let Holder::Absent { session, deadline, will } = &mut slot.holder else { continue };
            if let Some(delayed) = will.as_mut().filter(|delayed| delayed.inherited) {
                delayed.due = delayed.due.max(least);
            }
            if session.expiry_s == 0 {
                *deadline = deadline.map(|at| at.max(least));
            }
        }
    }

    fn new_subscriber(&self, session: u64) -> Arc<Subscriber> {
        Subscriber::new(self.next_subscriber.fetch_add(1, Ordering::Relaxed), session, self.config.queue_max, self.counters.clone())
    }

    /// Logs a session's event, if the session is durable.
    pub fn log(&self, number: u64, event: SessionEvent<'_>) -> Result<Ticket, Refusal> {
        if number == 0 { Ok(0) } else { self.application.session(number, event) }
    }

    /// Finds or opens the client's session, taking it over from an older connection.
    pub async fn attach(self: &Arc<Self>, connect: &Connect, client_id: &str, connection: u64) -> Result<Attached, Refusal> {
        let until = tokio::time::Instant::now() + TAKEOVER_WAIT;
        loop {
            let mut older = match self.try_attach(connect, client_id, connection)? {
                Ok(attached) => return Ok(attached),
                Err(older) => older,
            };
            // An error says that the older connection has dropped its end.
            if tokio::time::timeout_at(until, older.changed()).await.is_err() {
                return Err(Refusal::Busy);
            }
        }
    }

    fn try_attach(
        self: &Arc<Self>,
        connect: &Connect,
        client_id: &str,
        connection: u64,
    ) -> Result<Result<Attached, watch::Receiver<()>>, Refusal> {
        let mut slots = self.sessions.slots.lock();
        if let Some(Slot { holder: Holder::Connection { kick, gone, .. }, .. }) = slots.get(client_id) {
            kick.notify_one();
            return Ok(Err(gone.clone()));
        }
        let resumes = !connect.clean && slots.get(client_id).is_some_and(|slot| !slot.is_over());
        if !resumes {
            if let Some(mut slot) = slots.remove(client_id) {
                slot.returned();
                self.end(slot);
            }
            if slots.len() >= SESSIONS_MAX {
                return Err(Refusal::QuotaExceeded);
            }
        }
        let (mut session, mut ticket, subscriber) = if resumes {
            let Some(Slot { holder: Holder::Absent { session, .. }, .. }) = slots.get_mut(client_id) else {
                return Err(Refusal::Unavailable);
            };
            let ticket = self.log(session.number, SessionEvent::Resumed { expiry_s: connect.expiry_s })?;
            let Some(Slot { subscriber, holder: Holder::Absent { mut session, .. } }) = slots.remove(client_id) else {
                return Err(Refusal::Unavailable);
            };
            // A will that was waiting for the client's return is not published.
            session.expiry_s = connect.expiry_s;
            (session, ticket, subscriber)
        } else {
            let (mut session, mut ticket) = (Session { expiry_s: connect.expiry_s, ..Session::default() }, 0);
            if connect.expiry_s > 0 {
                let open = OpenSession { client_id, expiry_s: connect.expiry_s, version: connect.version };
                let opened = self.application.open_session(&open)?;
                (session.number, ticket) = (opened.number, opened.ticket);
            }
            let subscriber = self.new_subscriber(session.number);
            (session, ticket, subscriber)
        };
        if let Some(will) = &connect.will {
            session.will = self.log_will(will, session.number, client_id, connect.version);
            // Who has no durable session is not held up for it.
            ticket = session.will.as_ref().filter(|_| session.number != 0).map_or(ticket, |logged| logged.ticket);
        }
        subscriber.set_online(true);
        let (sender, gone) = watch::channel(());
        let kick = Arc::new(Notify::new());
        let holder = Holder::Connection { id: connection, kick: kick.clone(), gone };
        slots.insert(client_id.to_owned(), Slot { subscriber: subscriber.clone(), holder });
        let hold = Hold { inner: self.clone(), client_id: client_id.to_owned(), connection, _gone: sender };
        Ok(Ok(Attached { session, subscriber, present: resumes, ticket, kick, hold }))
    }

    /// Gives a session back when its connection ends; `will` is published now, after its delay
    /// or with the session's end, whichever comes first.
    pub fn detach(self: &Arc<Self>, attached: Detached, will: Option<Will>) {
        let Detached { hold, client, mut session, subscriber, settled, leaves_will } = attached;
        subscriber.set_online(false);
        let expiry_s = session.expiry_s;
        let client_id = hold.client_id.clone();
        let mut logged = session.will.take();
        let last = will.map(|will| LastWill { will, client, from: subscriber.id, logged: logged.take() });
        if let Some(logged) = logged.filter(|_| !leaves_will) {
            self.will_over(&logged);
        }
        let mut slots = self.sessions.slots.lock();
        slots.remove(&client_id);
        // A stop is none of the client's doing: what it has not acknowledged stays before it, so
        // that nobody takes it for received.
        let is_stopping = *self.stop.borrow() > Stop::Running;
        if expiry_s == 0 && !is_stopping {
            let will = last.map(|last| Box::new(Delayed { last, due: Instant::now(), inherited: false }));
            self.end(Slot { subscriber, holder: Holder::Absent { session, deadline: None, will } });
        } else {
            if self.log(session.number, SessionEvent::Disconnected { expiry_s, settled }).is_err() {
                tracing::debug!(client_id, "a session's pause is not logged; after a restart its expiry counts from there");
            }
            let will = match last {
                Some(last) if last.will.delay_s > 0 => {
                    let due = Instant::now() + Duration::from_secs(u64::from(last.will.delay_s));
                    Some(Box::new(Delayed { last, due, inherited: false }))
                }
                Some(last) => {
                    will::publish(self, last);
                    None
                }
                None => None,
            };
            let deadline = if is_stopping { None } else { deadline(expiry_s) };
            slots.insert(client_id, Slot { subscriber, holder: Holder::Absent { session, deadline, will } });
        }
        drop(slots);
        // Only now may another connection have it.
        drop(hold);
    }

    /// Ends an absent client's session.
    fn end(self: &Arc<Self>, slot: Slot) {
        let Holder::Absent { session, will, .. } = slot.holder else {
            return;
        };
        for filter in session.subscriptions.keys() {
            self.router.unsubscribe(slot.subscriber.id, filter);
        }
        let mut last = will.map(|delayed| delayed.last);
        if let Some(logged) = last.as_mut().and_then(|last| last.logged.as_mut()) {
            // It ends in the log once its will is published, not before.
            logged.ends = true;
        } else if self.log(session.number, SessionEvent::Ended).is_err() {
            tracing::warn!(number = session.number, "the end of a session is not logged; it ends again after a restart");
        }
        if let Some(last) = last {
            will::publish(self, last);
        }
    }

    /// Publishes wills and ends sessions whose time has come.
    pub fn sweep_sessions(self: &Arc<Self>) {
        let now = Instant::now();
        let mut slots = self.sessions.slots.lock();
        let mut over = Vec::new();
        for (client_id, slot) in slots.iter_mut() {
            let Holder::Absent { deadline, will, .. } = &mut slot.holder else {
                continue;
            };
            if deadline.is_some_and(|end| end <= now) {
                over.push(client_id.clone());
            } else if let Some(delayed) = will.take_if(|delayed| delayed.due <= now) {
                will::publish(self, delayed.last);
            }
        }
        for client_id in over {
            if let Some(slot) = slots.remove(&client_id) {
                self.end(slot);
            }
        }
    }
}
