//! The sockets under `replica::uplink`: two connections to the cloud's broker, one for
//! intervals and one for alerts, so that an alert never waits behind a backlog.

use crate::core::{Event, Events};
use crate::limits::{CONNECT_WAIT, FLUSH_WAIT_S, LINK_PACKET_BYTES_MAX, LINK_REQUESTS_MAX};
use parking_lot::Mutex;
use rand::Rng;
use replica::backoff::Backoff;
use replica::uplink::Lane;
use rumqttc::{AsyncClient, Event as Mqtt, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing, Packet, QoS, SubscribeFilter};
use schemas::message::{Ack, Bye, Command, FORMAT, Receipt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{info, warn};

/// What the link tells the core.
#[derive(Debug)]
pub enum LinkEvent {
    /// A connection stands and listens for answers.
    Connected(Lane),
    /// It is gone.
    Disconnected(Lane),
    /// An answer to an interval.
    Ack(Ack),
    /// An answer on the urgent lane.
    Receipt(Receipt),
    /// The cloud passes on what was done there.
    Command(Command),
}

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
            let mut network = NetworkOptions::new();
            network.set_connection_timeout(FLUSH_WAIT_S).set_tcp_nodelay(true);
            mqtt.set_network_options(network);
            let filters: Vec<String> = answers.iter().map(|what| format!("bridge/v1/{gateway}/down/{what}")).collect();
            let (give_up, given_up) = watch::channel(());
            let backoff = Arc::<Mutex<Backoff>>::default();
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
                up: false,
            };
            tokio::spawn(drive.run());
            Handle { client, backoff, give_up }
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

    /// Sends a message; its bytes on the line. What does not fit the queue is computed again.
    pub fn send(&self, lane: Lane, what: &str, payload: Vec<u8>) -> usize {
        // An alert is asked to be kept by a broker between; of all else only the application's
        // answer counts, and what is lost is computed again.
        let qos = if what == "alert" { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let topic = format!("bridge/v1/{}/up/{what}", self.gateway);
        let bytes = publish_bytes(topic.len(), payload.len(), qos);
        if let Err(error) = self.handle(lane).client.try_publish(topic, qos, false, payload) {
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
    up: bool,
}

/// The core is gone: nothing is left to do.
struct Ended;

async fn tell(events: &Events, event: LinkEvent) -> Result<(), Ended> {
    events.send(Event::Link(event)).await.map_err(|_| Ended)
}

impl Drive {
    /// Polls, and comes back with full jitter.
    async fn run(mut self) {
        loop {
            // A broker that takes the connection and says nothing, or never lets us subscribe, is none.
            let patience = if self.up { Duration::MAX } else { CONNECT_WAIT };
            let why = tokio::select! {
                biased;
                Ok(()) = self.given_up.changed() => "nothing was heard for too long".to_owned(),
                polled = tokio::time::timeout(patience, self.mqtt.poll()) => match polled {
                    Ok(Ok(event)) => match self.event(event).await {
                        Ok(()) => continue,
                        Err(Ended) => return,
                    },
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer to the connection".to_owned(),
                },
            };
            if self.lost(&why).await.is_err() {
                return;
            }
        }
    }

    async fn event(&mut self, event: Mqtt) -> Result<(), Ended> {
        match event {
            Mqtt::Incoming(Packet::ConnAck(_)) => {
                self.bytes.pass(self.greeting);
                let filters = self.filters.iter().map(|f| SubscribeFilter::new(f.clone(), QoS::AtMostOnce));
                self.client.subscribe_many(filters.collect::<Vec<_>>()).await.map_err(|_| Ended)?;
            }
            Mqtt::Incoming(Packet::SubAck(_)) => {
                info!(lane = ?self.lane, "uplink connected");
                self.up = true;
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
                    Err(error) => warn!(%error, topic = publish.topic, "the cloud's answer does not decode"),
                }
            }
            Mqtt::Outgoing(Outgoing::PingReq) | Mqtt::Incoming(Packet::PingResp) => self.bytes.pass(2),
            Mqtt::Incoming(Packet::PubAck(_)) => self.bytes.pass(4),
            _ => {}
        }
        Ok(())
    }

    /// The connection is gone, or none came about: waits until the next is tried.
    async fn lost(&mut self, why: &str) -> Result<(), Ended> {
        if self.up {
            warn!(lane = ?self.lane, why, "uplink lost");
            self.up = false;
            // What hurried while it stood needs no haste now; what hurries during an attempt that fails does.
            self.hurry.mark_unchanged();
            tell(&self.events, LinkEvent::Disconnected(self.lane)).await?;
        }
        // What was queued for the old connection is computed anew on the next.
        self.mqtt.clean();
        self.mqtt.pending.clear();
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
