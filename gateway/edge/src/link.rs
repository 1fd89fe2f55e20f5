//! The sockets under `replica::uplink`: two connections to the cloud's broker, one for
//! intervals and one for alerts, so that an alert never waits behind a backlog.

use crate::client;
use crate::event::{Event, Events, LinkEvent};
use crate::limits::{CONNECT_WAIT, LINK_PACKET_BYTES_MAX, LINK_REQUESTS_MAX};
use crate::status::Lanes;
use broker::complaint::Kind;
use parking_lot::Mutex;
use rand::Rng;
use replica::backoff::Backoff;
use replica::uplink::Lane;
use rumqttc::{AsyncClient, Event as Mqtt, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS, SubscribeFilter, SubscribeReasonCode};
use schemas::message::{Ack, Bye, Command, FORMAT, Receipt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{info, warn};

/// Bytes on the line, both ways, of all connections to the cloud.
#[derive(Debug, Default)]
pub struct Bytes {
    all: AtomicU64,
    /// Those that the uplink has not been told of: all but what it said itself.
    untold: AtomicU64,
}

impl Bytes {
    /// So many passed.
    pub fn pass(&self, bytes: usize) {
        self.told(bytes);
        self.untold.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many passed, of which the uplink is told in another way.
    pub fn told(&self, bytes: usize) {
        self.all.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// One connection, as the core holds it.
struct Handle {
    client: AsyncClient,
    /// Whether it stands and listens for answers. Locked while something enters the queue, so that
    /// nothing enters that of a connection that is gone.
    up: Arc<Mutex<bool>>,
    backoff: Arc<Mutex<Backoff>>,
    give_up: watch::Sender<()>,
}

/// Both connections of a gateway.
pub struct Link {
    gateway: String,
    deltas: Handle,
    alerts: Handle,
    hurry: watch::Sender<()>,
    bytes: Arc<Bytes>,
}

impl Link {
    /// Starts both connections; they come back by themselves.
    pub fn start(gateway: &str, boot: u64, host: &str, port: u16, events: &Events) -> Self {
        let hurry = watch::channel(()).0;
        let bytes = Arc::<Bytes>::default();
        let began = Instant::now();
        let start = |lane: Lane, name: &str, answers: &[&str]| {
            let mut options = MqttOptions::new(format!("tidegate-{gateway}-{boot:016x}-{name}"), host, port);
            options.set_keep_alive(Duration::from_secs(10)).set_clean_session(true);
            options.set_max_packet_size(LINK_PACKET_BYTES_MAX, LINK_PACKET_BYTES_MAX);
            let mut greeting = greeting_bytes(&options.client_id());
            if lane == Lane::Intervals {
                let (topic, bye) = (format!("bridge/v1/{gateway}/up/bye"), Bye { format: FORMAT, boot }.encode());
                greeting += 2 + topic.len() + 2 + bye.len();
                options.set_last_will(LastWill::new(topic, bye, QoS::AtLeastOnce, false));
            }
            let (client, mut mqtt) = AsyncClient::new(options, LINK_REQUESTS_MAX);
            client::prepare(&mut mqtt);
            let filters: Vec<String> = answers.iter().map(|what| format!("bridge/v1/{gateway}/down/{what}")).collect();
            let (give_up, given_up) = watch::channel(());
            let (backoff, up) = (Arc::<Mutex<Backoff>>::default(), Arc::<Mutex<bool>>::default());
            let drive = Drive {
                lane,
                client: client.clone(),
                mqtt,
                greeting: greeting + subscribe_bytes(&filters),
                filters,
                events: events.clone(),
                bytes: bytes.clone(),
                backoff: backoff.clone(),
                began,
                hurry: hurry.subscribe(),
                given_up,
                up: up.clone(),
                missed: false,
                undecoded: Kind::default(),
            };
            tokio::spawn(drive.run());
            Handle { client, up, backoff, give_up }
        };
        let deltas = start(Lane::Intervals, "deltas", &["ack"]);
        let alerts = start(Lane::Alerts, "alerts", &["command", "receipt"]);
        Self { gateway: gateway.to_owned(), deltas, alerts, hurry, bytes }
    }

    fn handle(&self, lane: Lane) -> &Handle {
        match lane {
            Lane::Intervals => &self.deltas,
            Lane::Alerts => &self.alerts,
        }
    }

    /// Which connections stand.
    pub fn lanes(&self) -> Lanes {
        Lanes { intervals: *self.deltas.up.lock(), alerts: *self.alerts.up.lock() }
    }

    /// The connection, or the other while only that one stands: the cloud takes a sign of life on either.
    pub fn or_other(&self, lane: Lane) -> Lane {
        match self.lanes() {
            Lanes { intervals: true, alerts: false } => Lane::Intervals,
            Lanes { intervals: false, alerts: true } => Lane::Alerts,
            _ => lane,
        }
    }

    /// Sends a message; its bytes on the line. What does not fit the queue is computed again, and so
    /// is what no connection stands for: once it stands, all that the cloud may not have is sent.
    pub fn send(&self, lane: Lane, what: &str, payload: Vec<u8>) -> usize {
        // An alert is asked to be kept by a broker between; of all else only the application's
        // answer counts, and what is lost is computed again.
        let qos = if what == "alert" { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let topic = format!("bridge/v1/{}/up/{what}", self.gateway);
        let bytes = publish_bytes(topic.len(), payload.len(), qos);
        let handle = self.handle(lane);
        let up = handle.up.lock();
        if !*up {
            return 0;
        }
        if let Err(error) = handle.client.try_publish(topic, qos, false, payload) {
            warn!(%error, ?lane, "the uplink's queue is full");
            return 0;
        }
        self.bytes.told(bytes);
        bytes
    }

    /// A connection that waits to be tried again is tried now, if it was not hurried too often: a
    /// critical alert waits for nobody's backoff, nor does one connection where the other has
    /// just found the cloud.
    pub fn hurry(&self) {
        self.hurry.send_replace(());
    }

    /// The cloud answered: what is lost now is tried again soon.
    pub fn answered(&self) {
        self.deltas.backoff.lock().answered();
        self.alerts.backoff.lock().answered();
    }

    /// A connection is deaf: it is given up, and another is tried.
    pub fn give_up(&self, lane: Lane) {
        self.handle(lane).give_up.send_replace(());
    }

    /// Bytes that passed beside what was sent, since the last call.
    pub fn take_bytes(&self) -> usize {
        self.bytes.untold.swap(0, Ordering::Relaxed) as usize
    }

    /// Where other connections to the cloud count theirs.
    pub fn counter(&self) -> Arc<Bytes> {
        self.bytes.clone()
    }

    /// Bytes on the line, both ways, since this process began.
    pub fn bytes(&self) -> u64 {
        self.bytes.all.load(Ordering::Relaxed)
    }
}

/// Bytes of CONNECT: head, protocol, flags, keep-alive, identifier; and of its CONNACK.
pub fn greeting_bytes(client_id: &str) -> usize {
    2 + 10 + 2 + client_id.len() + 4
}

/// Bytes of SUBSCRIBE and its SUBACK.
pub fn subscribe_bytes(filters: &[impl AsRef<str>]) -> usize {
    2 + 2 + 4 + filters.iter().map(|f| 2 + f.as_ref().len() + 1 + 1).sum::<usize>()
}

/// Bytes of an MQTT PUBLISH: type, remaining length, topic, packet id, payload.
pub fn publish_bytes(topic: usize, payload: usize, qos: QoS) -> usize {
    let rest = 2 + topic + if qos == QoS::AtMostOnce { 0 } else { 2 } + payload;
    let length = match rest {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    1 + length + rest
}

/// One connection, for as long as the process lives.
struct Drive {
    lane: Lane,
    client: AsyncClient,
    mqtt: EventLoop,
    filters: Vec<String>,
    greeting: usize,
    events: Events,
    bytes: Arc<Bytes>,
    backoff: Arc<Mutex<Backoff>>,
    began: Instant,
    hurry: watch::Receiver<()>,
    given_up: watch::Receiver<()>,
    up: Arc<Mutex<bool>>,
    /// That the cloud is not reached was said.
    missed: bool,
    undecoded: Kind,
}

/// Why an event is the last one.
enum Stop {
    /// The core is gone: nothing is left to do.
    Ended,
    /// The connection is of no use, for this reason.
    Useless(&'static str),
}

async fn tell(events: &Events, event: LinkEvent) -> Result<(), Stop> {
    events.send(Event::Link(event)).await.map_err(|_| Stop::Ended)
}

impl Drive {
    /// Polls, and comes back with full jitter.
    async fn run(mut self) {
        let mut began = Instant::now();
        loop {
            // A broker that takes the connection and says nothing, or never lets us subscribe, is none.
            let patience = if *self.up.lock() { Duration::MAX } else { CONNECT_WAIT.saturating_sub(began.elapsed()) };
            let why = tokio::select! {
                biased;
                Ok(()) = self.given_up.changed() => "nothing was heard for too long".to_owned(),
                polled = tokio::time::timeout(patience, self.mqtt.poll()) => match polled {
                    Ok(Ok(event)) => match self.event(event).await {
                        Ok(()) => continue,
                        Err(Stop::Ended) => return,
                        Err(Stop::Useless(why)) => why.to_owned(),
                    },
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer to the connection".to_owned(),
                },
            };
            if self.lost(&why).await.is_err() {
                return;
            }
            began = Instant::now();
        }
    }

    async fn event(&mut self, event: Mqtt) -> Result<(), Stop> {
        match event {
            Mqtt::Incoming(Packet::ConnAck(_)) => {
                self.bytes.pass(self.greeting);
                let filters = self.filters.iter().map(|f| SubscribeFilter::new(f.clone(), QoS::AtMostOnce));
                // Without waiting: what empties the queue is this task.
                let queued = self.client.try_subscribe_many(filters.collect::<Vec<_>>());
                queued.map_err(|_| Stop::Useless("its queue is full"))?;
            }
            Mqtt::Incoming(Packet::SubAck(answer)) => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    warn!(lane = ?self.lane, filters = ?self.filters, "the cloud's broker refuses the subscription");
                    return Err(Stop::Useless("the broker refuses the subscription"));
                }
                info!(lane = ?self.lane, "uplink connected");
                *self.up.lock() = true;
                self.missed = false;
                tell(&self.events, LinkEvent::Connected(self.lane)).await?;
            }
            Mqtt::Incoming(Packet::Publish(publish)) => {
                self.bytes.pass(publish_bytes(publish.topic.len(), publish.payload.len(), publish.qos));
                let event = match self.lane {
                    Lane::Intervals => Ack::decode(&publish.payload).map(LinkEvent::Ack),
                    Lane::Alerts if publish.topic.ends_with("/command") => Command::decode(&publish.payload).map(LinkEvent::Command),
                    Lane::Alerts => Receipt::decode(&publish.payload).map(LinkEvent::Receipt),
                };
                match event {
                    Ok(event) => tell(&self.events, event).await?,
                    Err(error) => {
                        if let Some(untold) = self.undecoded.due() {
                            warn!(%error, topic = publish.topic, untold, "the cloud's answer does not decode");
                        }
                    }
                }
            }
            Mqtt::Outgoing(Outgoing::PingReq) | Mqtt::Incoming(Packet::PingResp) => self.bytes.pass(2),
            Mqtt::Incoming(Packet::PubAck(_)) => self.bytes.pass(4),
            _ => {}
        }
        Ok(())
    }

    /// The connection is gone, or none came about: waits until the next is tried.
    async fn lost(&mut self, why: &str) -> Result<(), Stop> {
        let stood = {
            let mut up = self.up.lock();
            // What was queued for the old connection is computed anew on the next.
            client::forget(&mut self.mqtt);
            std::mem::replace(&mut *up, false)
        };
        if !stood && !std::mem::replace(&mut self.missed, true) {
            warn!(lane = ?self.lane, why, "the cloud is not reached; it is tried again until it is");
        }
        if stood {
            warn!(lane = ?self.lane, why, "uplink lost");
            // What hurried while it stood needs no haste now; what hurries during an attempt that fails does.
            self.hurry.mark_unchanged();
            tell(&self.events, LinkEvent::Disconnected(self.lane)).await?;
        }
        let pause = self.backoff.lock().pause_ms(rand::rng().random());
        let until = tokio::time::Instant::now() + Duration::from_millis(pause.unsigned_abs());
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                Ok(()) = self.hurry.changed() => {
                    let now_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
                    if self.backoff.lock().hurry(now_ms) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::peer::{Peer, listener};
    use rumqttc::PubAck;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    /// A link to a listener, and what it tells.
    async fn link() -> (Link, TcpListener, mpsc::Receiver<Event>) {
        let (listener, port) = listener().await;
        let (events, told) = mpsc::channel(64);
        (Link::start("plant-a", 7, "127.0.0.1", port, &events), listener, told)
    }

    /// The connection of that name, and of the other nothing but its place.
    async fn accept(listener: &TcpListener, name: &str) -> Peer {
        loop {
            let (peer, client_id) = Peer::accept(listener, false).await;
            if client_id.ends_with(name) {
                return peer;
            }
        }
    }

    async fn connected(told: &mut mpsc::Receiver<Event>, wanted: Lane) {
        loop {
            if matches!(told.recv().await, Some(Event::Link(LinkEvent::Connected(lane))) if lane == wanted) {
                return;
            }
        }
    }

    /// What people do in an outage is more than the queue takes: the connection must still subscribe
    /// when it comes about, and what is sent then must go.
    #[tokio::test]
    async fn an_outage_full_of_messages_does_not_hold_the_connection_behind_it() {
        let (link, listener, mut told) = link().await;
        for _ in 0..2 * LINK_REQUESTS_MAX {
            assert_eq!(link.send(Lane::Alerts, "command", vec![1; 8]), 0, "nothing is queued for a connection that does not stand");
        }
        let mut peer = accept(&listener, "alerts").await;
        assert_eq!(peer.subscribed(SubscribeReasonCode::Success(QoS::AtMostOnce)).await.len(), 2);
        connected(&mut told, Lane::Alerts).await;
        assert_eq!((link.lanes(), link.or_other(Lane::Intervals)), (Lanes { intervals: false, alerts: true }, Lane::Alerts));
        assert!(link.send(Lane::Alerts, "command", b"now".to_vec()) > 0);
        let Some(Packet::Publish(first)) = peer.next().await else { panic!("no PUBLISH") };
        assert_eq!(&first.payload[..], b"now");
    }

    /// One PUBACK is missing, and its identifier comes round again: the next connection takes
    /// requests all the same.
    #[tokio::test]
    async fn a_collision_of_identifiers_is_over_with_its_connection() {
        let (link, listener, mut told) = link().await;
        let mut peer = accept(&listener, "alerts").await;
        peer.subscribed(SubscribeReasonCode::Success(QoS::AtMostOnce)).await;
        connected(&mut told, Lane::Alerts).await;
        for _ in 0..300 {
            assert!(link.send(Lane::Alerts, "alert", vec![1; 8]) > 0);
        }
        let mut seen = 0;
        while seen < 99 {
            let Some(Packet::Publish(publish)) = peer.next().await else { panic!("no PUBLISH") };
            if publish.pkid != 2 {
                peer.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
            }
            seen += 1;
        }
        // The next ones take what is left of a round; then 2 is in use still.
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(peer);
        let mut peer = accept(&listener, "alerts").await;
        peer.subscribed(SubscribeReasonCode::Success(QoS::AtMostOnce)).await;
        connected(&mut told, Lane::Alerts).await;
        link.send(Lane::Alerts, "alert", b"again".to_vec());
        let Some(Packet::Publish(first)) = peer.next().await else { panic!("no PUBLISH") };
        assert_eq!(&first.payload[..], b"again", "and nothing of the old connection");
    }

    #[tokio::test]
    async fn a_subscription_without_an_answer_or_refused_ends_the_attempt() {
        let (link, listener, mut told) = link().await;
        let mut peer = accept(&listener, "deltas").await;
        assert!(matches!(peer.next().await, Some(Packet::Subscribe(_))));
        // Pings are answered all the while.
        assert!(peer.next().await.is_none(), "given up");
        let mut peer = accept(&listener, "deltas").await;
        peer.subscribed(SubscribeReasonCode::Failure).await;
        assert!(peer.next().await.is_none(), "given up");
        let mut peer = accept(&listener, "deltas").await;
        peer.subscribed(SubscribeReasonCode::Success(QoS::AtMostOnce)).await;
        connected(&mut told, Lane::Intervals).await;
        assert_eq!(link.or_other(Lane::Alerts), Lane::Intervals);
    }

    #[test]
    fn a_publish_is_as_long_as_it_is_written() {
        for (topic, payload) in [(1, 0), (20, 105), (20, 106), (30, 16_351), (30, 16_352), (30, 40_000)] {
            let publish = rumqttc::Publish::new("t".repeat(topic), QoS::AtMostOnce, vec![0; payload]);
            let mut out = bytes::BytesMut::new();
            publish.write(&mut out).unwrap();
            assert_eq!(publish_bytes(topic, payload, QoS::AtMostOnce), out.len());
            let mut publish = rumqttc::Publish::new("t".repeat(topic), QoS::AtLeastOnce, vec![0; payload]);
            publish.pkid = 1;
            out.clear();
            publish.write(&mut out).unwrap();
            assert_eq!(publish_bytes(topic, payload, QoS::AtLeastOnce), out.len());
        }
    }
}
