//! Last wills: offered to the application like any PUBLISH, at once or after their delay.
//!
//! A will is in the application's log from its client's CONNECT until it is published or withdrawn, so
//! that it outlives this process: the next one publishes it unless the client is back in a moment.
//! With a durable session it is one of its events; else it has a session of its own there, of expiry 0.

use crate::application::{Client, Horizon, OpenSession, Publish, SessionEvent, Ticket, Verdict, Version};
use crate::codec::connect::Will;
use crate::inner::Inner;
use crate::limits::{BUSY_RETRY, BUSY_WAIT, WILL_BYTES_MAX, WILLS_BYTES_MAX};
use crate::message::Message;
use crate::refusal::Refusal;
use crate::session::{LastWill, Logged};
use crate::stats::count;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;

impl Inner {
    /// A will that is in the log already.
    pub fn logged_will(&self, will: &Will, number: u64, ticket: Ticket) -> Logged {
        let bytes = will.topic.len() + will.payload.len() + will.properties.len();
        self.wills_bytes.fetch_add(bytes, Ordering::Relaxed);
        Logged { number, ticket, ends: false, bytes, kept: self.wills_bytes.clone() }
    }

    /// Logs the will of a client that has come; `session` is 0 where its session ends with the connection. None
    /// where it is in memory only: too large, without room, or not for the log.
    pub fn log_will(&self, will: &Will, session: u64, client_id: &str, version: Version) -> Option<Logged> {
        let mut logged = self.logged_will(will, session, 0);
        let fits = logged.bytes <= WILL_BYTES_MAX && self.wills_bytes.load(Ordering::Relaxed) <= WILLS_BYTES_MAX;
        if !fits || !self.application.keeps_will(&will.topic) {
            return None;
        }
        if session == 0 {
            let open = OpenSession { client_id, expiry_s: 0, version };
            logged.number = self.application.open_session(&open).ok()?.number;
            logged.ends = true;
        }
        match self.application.session(logged.number, SessionEvent::Will(will)) {
            Ok(ticket) => {
                logged.ticket = ticket;
                Some(logged)
            }
            Err(refusal) => {
                tracing::debug!(client_id, ?refusal, "a last will is not logged: it ends with this process");
                None
            }
        }
    }

    /// A will is published or withdrawn.
    pub fn will_over(&self, logged: &Logged) {
        let event = if logged.ends { SessionEvent::Ended } else { SessionEvent::WillOver { ticket: logged.ticket } };
        if self.log(logged.number, event).is_err() {
            tracing::debug!(session = logged.number, "the end of a last will is not logged: it may come again after a restart");
        }
    }
}

/// Publishes a will in a task of its own.
pub(crate) fn publish(inner: &Arc<Inner>, last: LastWill) {
    let inner = inner.clone();
    tokio::spawn(async move {
        let mut horizon = inner.application.horizon();
        let LastWill { will, mut client, from, logged } = last;
        // It comes once, and its session may be over: the application need not remember it there.
        client.session = 0;
        let is_routed = offer(&inner, &client, &will, &mut horizon).await;
        if let Some(logged) = &logged
            && !horizon.borrow().failed
        {
            inner.will_over(logged);
        }
        if !is_routed {
            return;
        }
        let message = Arc::new(Message {
            topic: will.topic.into(),
            payload: will.payload.into(),
            properties: will.properties.into(),
            qos: will.qos,
            retain: will.retain,
            expires: will.expiry_s.map(|s| Instant::now() + Duration::from_secs(u64::from(s))),
            urgent: false,
        });
        inner.retain(&message);
        inner.router.route(&message, from);
    });
}

/// Whether the application took it, durably, and wants it routed.
async fn offer(inner: &Inner, client: &Client, will: &Will, horizon: &mut watch::Receiver<Horizon>) -> bool {
    let publish =
        Publish { topic: &will.topic, payload: &will.payload, qos: will.qos, retain: will.retain, dup: false, packet_id: 0, will: true };
    let until = Instant::now() + BUSY_WAIT;
    loop {
        let mut verdicts = Vec::with_capacity(1);
        inner.application.publish(client, &[publish], &mut verdicts);
        match verdicts.first() {
            Some(Verdict::Route) => return true,
            Some(Verdict::After { ticket, route }) => {
                return durable(horizon, *ticket).await && *route;
            }
            Some(Verdict::Refuse(Refusal::Busy)) if Instant::now() < until => tokio::time::sleep(BUSY_RETRY).await,
            Some(Verdict::Accept) => return false,
            Some(Verdict::Refuse(refusal) | Verdict::Decline(refusal)) => {
                count(&inner.counters.refused, 1);
                if let Some(untold) = inner.wills_refused.lock().due() {
                    tracing::warn!(client = client.client_id, topic = will.topic, ?refusal, untold, "a last will is refused");
                }
                return false;
            }
            None => return false,
        }
    }
}

/// Waits until a ticket is durable; false once that will not happen.
pub(crate) async fn durable(horizon: &mut watch::Receiver<Horizon>, ticket: Ticket) -> bool {
    horizon.wait_for(|h| h.failed || h.durable >= ticket).await.is_ok_and(|h| h.durable >= ticket)
}
