//! The MQTT client of a replay: many in flight, resumed after a break, acknowledgements counted.

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, PubRecReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions, Request};
use settings::BrokerUrl;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Publishes without their acknowledgement at once: enough to fill a group commit over any loopback or plant network.
const INFLIGHT_MAX: u16 = 4_096;
/// Messages waiting for the socket; more would only be memory.
const QUEUE_MAX: usize = 1_024;
/// How long a broker that never answered is tried.
const FIRST_CONTACT: Duration = Duration::from_secs(15);
/// How long one that was there may be away, or acknowledge nothing: a gateway recovers in less.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(250);
/// How long the session outlives a break of the connection.
const SESSION_EXPIRY_S: u32 = 3_600;
/// Bytes of a packet from the broker; it only acknowledges.
const PACKET_BYTES_MAX: u32 = 64 * 1024;

/// One publish.
#[derive(Debug)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
}

/// What became of the publishes.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Handed to the client; none while it was never connected.
    pub published: u64,
    /// Acknowledged with success.
    pub acknowledged: u64,
    /// Refused, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// The client; its connection lives in a task of its own.
#[derive(Debug)]
pub struct Client {
    client: AsyncClient,
    qos: QoS,
    shared: Arc<Shared>,
    closing: oneshot::Sender<()>,
    task: JoinHandle<(BTreeMap<String, u64>, anyhow::Result<()>)>,
}

#[derive(Debug, Default)]
struct Shared {
    published: AtomicU64,
    acknowledged: AtomicU64,
    connected: AtomicBool,
    gone: AtomicBool,
}

impl Client {
    /// Begins to connect; must be called within a runtime.
    pub fn start(url: &BrokerUrl, id: &str, qos: u8) -> Self {
        let mut options = MqttOptions::new(id, url.host.clone(), url.port);
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(SESSION_EXPIRY_S))
            .set_keep_alive(Duration::from_secs(30))
            .set_connection_timeout(5)
            .set_max_packet_size(Some(PACKET_BYTES_MAX))
            .set_outgoing_inflight_upper_limit(INFLIGHT_MAX);
        let qos = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let (client, eventloop) = AsyncClient::new(options, QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let (closing, closed) = oneshot::channel();
        let driver = Driver {
            url: url.to_string(),
            client: client.clone(),
            qos,
            eventloop,
            shared: Arc::clone(&shared),
            refused: BTreeMap::new(),
            sent: 0,
            order: BTreeMap::new(),
            saved: VecDeque::new(),
            connected_once: false,
            broken: None,
        };
        let task = tokio::spawn(driver.run(closed));
        Self { client, qos, shared, closing, task }
    }

    /// Queues a publish, waiting for room; false once the client has given up.
    pub async fn publish(&self, message: Message) -> bool {
        if self.shared.gone.load(Ordering::Relaxed) {
            return false;
        }
        // Counted first: its acknowledgement must not overtake the count.
        self.shared.published.fetch_add(1, Ordering::Relaxed);
        let sent = self.client.publish(message.topic, self.qos, false, message.payload).await.is_ok();
        if !sent {
            self.shared.published.fetch_sub(1, Ordering::Relaxed);
        }
        sent
    }

    /// How far it is, for the progress bar.
    pub fn in_words(&self) -> String {
        let (published, acknowledged) = (self.shared.published.load(Ordering::Relaxed), self.shared.acknowledged.load(Ordering::Relaxed));
        format!("published {published} acknowledged {acknowledged}")
    }

    /// Waits until everything is acknowledged or refused, and says goodbye.
    pub async fn finish(self) -> (Counts, anyhow::Result<()>) {
        // A driver that has given up no longer listens.
        let _ = self.closing.send(());
        let (refused, ended) = match self.task.await {
            Ok(ended) => ended,
            Err(error) => (BTreeMap::new(), Err(error.into())),
        };
        let counts = Counts {
            published: if self.shared.connected.load(Ordering::Relaxed) { self.shared.published.load(Ordering::Relaxed) } else { 0 },
            acknowledged: self.shared.acknowledged.load(Ordering::Relaxed),
            refused,
        };
        (counts, ended)
    }
}

struct Driver {
    url: String,
    client: AsyncClient,
    qos: QoS,
    eventloop: EventLoop,
    shared: Arc<Shared>,
    refused: BTreeMap<String, u64>,
    /// Publishes of QoS 0 that were written; nothing will answer them.
    sent: u64,
    /// Packet identifiers that were sent and have no answer, each with its place in the order of sending.
    order: BTreeMap<u16, u64>,
    /// What the client library would forget when the broker has lost the session.
    saved: VecDeque<Request>,
    connected_once: bool,
    /// Why the last attempt to connect failed.
    broken: Option<String>,
}

impl Driver {
    async fn run(mut self, mut closed: oneshot::Receiver<()>) -> (BTreeMap<String, u64>, anyhow::Result<()>) {
        let ended = self.drive(&mut closed).await;
        self.shared.gone.store(true, Ordering::Relaxed);
        (self.refused, ended)
    }

    async fn drive(&mut self, closed: &mut oneshot::Receiver<()>) -> anyhow::Result<()> {
        let mut progress = Instant::now();
        let mut closing = false;
        let mut saying_goodbye = false;
        loop {
            if closing && !saying_goodbye && self.is_complete() {
                saying_goodbye = true;
                self.client.try_disconnect()?;
            }
            let patience = if self.connected_once { SILENCE_MAX } else { FIRST_CONTACT };
            let event = tokio::select! {
                // Polling is safe to break off only while nothing is under way; the close is looked for first.
                biased;
                _ = &mut *closed, if !closing => {
                    closing = true;
                    progress = Instant::now();
                    continue;
                }
                event = self.eventloop.poll() => event,
                () = tokio::time::sleep_until(progress + patience), if self.is_waiting() || !self.connected_once => {
                    match &self.broken {
                        Some(why) => anyhow::bail!("{} cannot be reached: {why}", self.url),
                        None => anyhow::bail!("{} has acknowledged nothing for {} s", self.url, patience.as_secs()),
                    }
                }
            };
            match event {
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(()),
                Ok(event) => {
                    if self.on_event(event)? {
                        progress = Instant::now();
                    }
                }
                // The broker may close before our DISCONNECT is written; everything is answered by then.
                Err(_) if saying_goodbye => return Ok(()),
                Err(error) => {
                    if progress.elapsed() > patience {
                        anyhow::bail!("{} cannot be reached: {error}", self.url);
                    }
                    tracing::debug!(%error, "the connection broke, trying again");
                    self.broken = Some(error.to_string());
                    self.keep_pending();
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Whether an answer is owed.
    fn is_waiting(&self) -> bool {
        !self.is_complete()
    }

    fn is_complete(&self) -> bool {
        let done = match self.qos {
            QoS::AtMostOnce => self.sent,
            _ => self.shared.acknowledged.load(Ordering::Relaxed) + self.refused.values().sum::<u64>(),
        };
        done >= self.shared.published.load(Ordering::Relaxed)
    }

    /// Takes one event; true when it was progress.
    fn on_event(&mut self, event: Event) -> anyhow::Result<bool> {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                self.connected_once = true;
                self.broken = None;
                self.shared.connected.store(true, Ordering::Relaxed);
                if !connack.session_present {
                    self.begin_again();
                }
                self.saved.clear();
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                self.order.remove(&ack.pkid);
                match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => self.acknowledge(),
                    reason => self.refuse(format!("{reason:?}")),
                }
            }
            Event::Incoming(Packet::PubRec(rec)) => match rec.reason {
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers => {}
                // The library never frees the place of a refused QoS 2 publish; many would stop it without a word.
                reason => {
                    self.refuse(format!("{reason:?}"));
                    anyhow::bail!("{} refused a publish of QoS 2 with {reason:?}", self.url);
                }
            },
            Event::Incoming(Packet::PubComp(comp)) => {
                self.order.remove(&comp.pkid);
                self.acknowledge();
            }
            Event::Outgoing(Outgoing::Publish(0)) => self.sent += 1,
            Event::Outgoing(Outgoing::Publish(pkid)) => {
                // Going out a second time, it keeps its place.
                let next = self.order.values().max().map_or(0, |last| last + 1);
                self.order.entry(pkid).or_insert(next);
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn acknowledge(&self) {
        self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    fn refuse(&mut self, reason: String) {
        *self.refused.entry(reason).or_default() += 1;
    }

    /// After a break: puts what goes out a second time first, in the order in which it went (MQTT 5, 4.6), and
    /// marks it (3.3.1.1). The library does neither.
    fn keep_pending(&mut self) {
        put_in_order(&mut self.eventloop.pending, &self.order);
        for request in &mut self.eventloop.pending {
            if let Request::Publish(publish) = request
                && publish.pkid != 0
            {
                publish.dup = true;
            }
        }
        self.saved = self.eventloop.pending.clone();
    }

    /// After the broker lost the session: the library has dropped everything, so it is given back as new.
    fn begin_again(&mut self) {
        for request in self.saved.drain(..) {
            match request {
                Request::Publish(mut publish) => {
                    publish.dup = false;
                    self.eventloop.pending.push_back(Request::Publish(publish));
                }
                // It was received, only the last step is missing, and there is no session left to take it in.
                Request::PubRel(_) => {
                    self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                other => self.eventloop.pending.push_back(other),
            }
        }
        self.order.clear();
    }
}

/// Requests as they are to go after a break: releases, publishes in the order that they had, what never went.
fn put_in_order(pending: &mut VecDeque<Request>, order: &BTreeMap<u16, u64>) {
    pending.make_contiguous().sort_by_key(|request| match request {
        Request::PubRel(_) => (0, 0),
        Request::Publish(publish) if publish.pkid != 0 => (1, order.get(&publish.pkid).copied().unwrap_or(u64::MAX)),
        _ => (2, 0),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::Publish;

    /// Packet identifiers went round, and one break came upon another: what was resent stands behind what was not.
    #[test]
    fn what_goes_out_again_goes_in_the_order_in_which_it_went() {
        let publish = |pkid: u16, payload: &'static str| {
            let mut publish = Publish::new("t", QoS::AtLeastOnce, payload, None);
            publish.pkid = pkid;
            Request::Publish(publish)
        };
        let mut pending =
            VecDeque::from([publish(1, "c"), publish(2, "d"), publish(0, "e"), publish(9, "a"), publish(10, "b"), publish(0, "f")]);
        put_in_order(&mut pending, &BTreeMap::from([(9, 0), (10, 1), (1, 2), (2, 3)]));
        let said: Vec<_> =
            pending.iter().map(|request| if let Request::Publish(p) = request { p.payload.clone() } else { "".into() }).collect();
        assert_eq!(said, ["a", "b", "c", "d", "e", "f"]);
    }
}
