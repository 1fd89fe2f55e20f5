//! The connection for ordinary messages, apart from those for intervals and alerts, so that a
//! large payload holds nothing else up.
//!
//! With a bridge at the cloud it carries batches and their answers, at most once each: whoever
//! misses an answer asks again. With a broker alone, messages go as they are at QoS 1, and the
//! broker's PUBACK is the answer; what comes is acknowledged there after our commit.

use crate::core::{Event, Events};
use crate::limits::{BACKOFF_MS, CROSS_KEEP_ALIVE, LINK_PACKET_BYTES_MAX};
use crate::link::{Bytes, greeting_bytes, publish_bytes, subscribe_bytes};
use parking_lot::Mutex;
use rumqttc::{AsyncClient, Event as Mqtt, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet, Publish, QoS};
use schemas::limits::CROSSED_MAX;
use schemas::message::{CrossAck, CrossDone, CrossDown, CrossUp, Crossed};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// What the connection tells.
#[derive(Debug)]
pub enum CrossEvent {
    /// It stands.
    Connected,
    /// It is gone, and with it what was under way.
    Disconnected,
    /// The cloud has messages.
    Ack(CrossAck),
    /// Messages of the cloud.
    Came(CrossDown),
    /// A broker alone has acknowledged all that [`CrossLink::publish`] was given last.
    Taken,
    /// A message of a broker alone, and the connection that it came by.
    Plain(u64, Publish),
}

#[derive(Default)]
struct State {
    connected: bool,
    /// Of the present connection.
    generation: u64,
    /// Acknowledgements that are still to come.
    awaited: usize,
}

/// The connection, from the core's side.
pub struct CrossLink {
    gateway: String,
    client: AsyncClient,
    state: Arc<Mutex<State>>,
    bytes: Arc<Bytes>,
}

impl CrossLink {
    /// Starts the connection to a bridge's broker; it comes back by itself. Its events go to the core.
    pub fn to_bridge(gateway: &str, boot: u64, (host, port): (&str, u16), events: Events, bytes: Arc<Bytes>) -> Self {
        let down = |what: &str| format!("bridge/v1/{gateway}/down/{what}");
        let mut options = MqttOptions::new(format!("tidegate-{gateway}-{boot:016x}-cross"), host, port);
        options.set_clean_session(true);
        Self::start(gateway, options, vec![(down("cross"), QoS::AtMostOnce), (down("cross-ack"), QoS::AtMostOnce)], events, bytes)
    }

    /// The same to a broker that stands alone, where it keeps a session and subscribes to `filters`.
    pub fn to_broker(gateway: &str, (host, port): (&str, u16), filters: Vec<String>, events: Events, bytes: Arc<Bytes>) -> Self {
        let mut options = MqttOptions::new(format!("tidegate-{gateway}-cross"), host, port);
        options.set_clean_session(false).set_manual_acks(true);
        Self::start(gateway, options, filters.into_iter().map(|f| (f, QoS::AtLeastOnce)).collect(), events, bytes)
    }

    fn start(gateway: &str, mut options: MqttOptions, filters: Vec<(String, QoS)>, events: Events, bytes: Arc<Bytes>) -> Self {
        options.set_keep_alive(CROSS_KEEP_ALIVE).set_inflight(100);
        options.set_max_packet_size(LINK_PACKET_BYTES_MAX, LINK_PACKET_BYTES_MAX);
        // A batch, its subscriptions and acknowledgements of what came meanwhile.
        let (client, mut mqtt) = AsyncClient::new(options, 4 * CROSSED_MAX);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        mqtt.set_network_options(network);
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn(drive(client.clone(), mqtt, filters, state.clone(), events, bytes.clone()));
        Self { gateway: gateway.to_owned(), client, state, bytes }
    }

    /// Sends a batch; its bytes on the line, for the uplink to be told. What is lost is sent again
    /// when its answer does not come.
    pub fn send(&self, batch: &CrossUp) -> usize {
        let bytes = self.publish_to("cross", batch.encode());
        self.bytes.told(bytes);
        bytes
    }

    /// Says that messages of the cloud are here.
    pub fn done(&self, done: &CrossDone) {
        self.bytes.pass(self.publish_to("cross-done", done.encode()));
    }

    fn publish_to(&self, what: &str, payload: Vec<u8>) -> usize {
        let state = self.state.lock();
        let topic = format!("bridge/v1/{}/up/{what}", self.gateway);
        let bytes = publish_bytes(topic.len(), payload.len(), QoS::AtMostOnce);
        if !state.connected {
            return 0;
        }
        if self.client.try_publish(topic, QoS::AtMostOnce, false, payload).is_err() {
            warn!("the queue for ordinary messages is full");
            return 0;
        }
        bytes
    }

    /// Publishes at a broker alone, as many as the queue takes: their number, and bytes on the line.
    /// Unless that is 0, [`CrossEvent::Taken`] or [`CrossEvent::Disconnected`] follows.
    pub fn publish(&self, messages: &[Crossed]) -> (usize, usize) {
        // Under the lock, so that nothing enters the queue of a connection that is gone.
        let mut state = self.state.lock();
        let taken = messages.iter().take_while(|m| {
            state.connected && self.client.try_publish(m.topic.as_str(), QoS::AtLeastOnce, m.retain, m.payload.clone()).is_ok()
        });
        let taken = taken.count();
        state.awaited += taken;
        let bytes = messages[..taken].iter().map(|m| publish_bytes(m.topic.len(), m.payload.len(), QoS::AtLeastOnce)).sum();
        self.bytes.told(bytes);
        (taken, bytes)
    }

    /// Acknowledges what came, unless the connection that it came by is gone.
    pub fn acknowledge(&self, generation: u64, publish: &Publish) {
        let state = self.state.lock();
        if state.connected && state.generation == generation && self.client.try_ack(publish).is_err() {
            warn!("the queue for ordinary messages is full; one comes again");
        }
    }
}

/// Whether the core still listens.
async fn tell(events: &Events, event: CrossEvent) -> bool {
    events.send(Event::Cross(event)).await.is_ok()
}

/// One connection for as long as the process lives: poll, and come back with full jitter.
async fn drive(
    client: AsyncClient,
    mut mqtt: EventLoop,
    filters: Vec<(String, QoS)>,
    state: Arc<Mutex<State>>,
    events: Events,
    bytes: Arc<Bytes>,
) {
    let greeting = greeting_bytes(&mqtt.mqtt_options.client_id());
    let subscription = subscribe_bytes(&filters.iter().map(|(filter, _)| filter.as_str()).collect::<Vec<_>>());
    let mut wait_ms = BACKOFF_MS.0;
    let mut up = false;
    let mut subscribed = false;
    loop {
        let event = match mqtt.poll().await {
            Ok(Mqtt::Incoming(Packet::ConnAck(ack))) => {
                bytes.pass(greeting);
                let generation = {
                    let mut state = state.lock();
                    state.connected = true;
                    state.generation += 1;
                    state.generation
                };
                // A subscription made again would bring everything retained again.
                if !ack.session_present || !subscribed {
                    bytes.pass(subscription);
                    subscribed = filters.iter().all(|(filter, qos)| client.try_subscribe(filter.as_str(), *qos).is_ok());
                }
                info!(generation, "ordinary messages go");
                up = true;
                CrossEvent::Connected
            }
            Ok(Mqtt::Incoming(Packet::PubAck(_))) => {
                bytes.pass(4);
                wait_ms = BACKOFF_MS.0;
                let mut state = state.lock();
                state.awaited = state.awaited.saturating_sub(1);
                if state.awaited > 0 {
                    continue;
                }
                CrossEvent::Taken
            }
            Ok(Mqtt::Incoming(Packet::Publish(publish))) => {
                bytes.pass(publish_bytes(publish.topic.len(), publish.payload.len(), publish.qos));
                wait_ms = BACKOFF_MS.0;
                match publish.topic.strip_prefix("bridge/v1/").and_then(|rest| rest.split_once("/down/")) {
                    Some((_, "cross")) => match CrossDown::decode(&publish.payload) {
                        Ok(down) => CrossEvent::Came(down),
                        Err(error) => {
                            warn!(%error, "messages of the cloud do not decode");
                            continue;
                        }
                    },
                    Some((_, "cross-ack")) => match CrossAck::decode(&publish.payload) {
                        Ok(ack) => CrossEvent::Ack(ack),
                        Err(error) => {
                            warn!(%error, "the cloud's answer does not decode");
                            continue;
                        }
                    },
                    _ => {
                        let generation = state.lock().generation;
                        CrossEvent::Plain(generation, publish)
                    }
                }
            }
            Ok(Mqtt::Outgoing(Outgoing::PingReq) | Mqtt::Incoming(Packet::PingResp)) => {
                bytes.pass(2);
                continue;
            }
            Ok(Mqtt::Outgoing(Outgoing::PubAck(_))) => {
                bytes.pass(4);
                continue;
            }
            Ok(_) => continue,
            Err(error) => {
                {
                    let mut state = state.lock();
                    (state.connected, state.awaited) = (false, 0);
                    // Under the lock, so that nothing comes behind it into the client's queue.
                    mqtt.clean();
                    mqtt.pending.clear();
                }
                if std::mem::replace(&mut up, false) {
                    warn!(%error, "ordinary messages wait");
                    if !tell(&events, CrossEvent::Disconnected).await {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..=wait_ms))).await;
                wait_ms = (wait_ms * 2).min(BACKOFF_MS.1);
                continue;
            }
        };
        if !tell(&events, event).await {
            return;
        }
    }
}
