//! Last wills: offered to the application like any PUBLISH, at once or after their delay.

use crate::application::{Client, Horizon, Publish, Ticket, Verdict};
use crate::codec::connect::Will;
use crate::limits::{BUSY_RETRY, BUSY_WAIT};
use crate::message::Message;
use crate::refusal::Refusal;
use crate::server::Inner;
use crate::stats::count;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A will whose client is gone.
pub(crate) struct LastWill {
    pub will: Will,
    pub client: Client,
    /// Subscriber number of the client's session, whose own messages `no local` holds back.
    pub from: u64,
}

/// Publishes a will in a task of its own.
pub(crate) fn publish(inner: &Arc<Inner>, last: LastWill) {
    let inner = inner.clone();
    tokio::spawn(async move {
        let mut horizon = inner.application.horizon();
        let LastWill { will, mut client, from } = last;
        // It comes once, and its session may be over: the application need not remember it there.
        client.session = 0;
        if !offer(&inner, &client, &will, &mut horizon).await {
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
                tracing::warn!(client = client.client_id, topic = will.topic, ?refusal, "a last will is refused");
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
