//! The connection for ordinary messages, apart from those for intervals and alerts, so that a
//! large payload holds nothing else up.
//!
//! With a bridge at the cloud it carries batches and their answers, at most once each: whoever
//! misses an answer asks again. With a broker alone, messages go as they are at QoS 1, and the
//! broker's PUBACK is the answer; what comes is acknowledged there after our commit.

use crate::client;
use crate::event::{CrossEvent, Event, Events};
use crate::limits::{
    BACKOFF_MS, CONNECT_WAIT, CROSS_ANSWER_WAIT, CROSS_KEEP_ALIVE, CROSS_KEEP_ALIVE_BRIDGE, FLUSH_WAIT_S, INGEST_PACKET_BYTES_MAX,
    LINK_PACKET_BYTES_MAX,
};
use crate::link::{Bytes, greeting_bytes, publish_bytes, subscribe_bytes};
use broker::complaint::Kind;
use parking_lot::Mutex;
use rumqttc::{AsyncClient, Event as Mqtt, EventLoop, MqttOptions, Outgoing, Packet, Publish, QoS, SubscribeFilter, SubscribeReasonCode};
use schemas::limits::CROSSED_MAX;
use schemas::message::{CrossAck, CrossDone, CrossDown, CrossUp, Crossed};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{error, info, warn};

struct State {
    connected: bool,
    /// Of the present connection.
    generation: u64,
    /// Acknowledgements that are still to come.
    awaited: usize,
    /// When the last one came, or what they are for last went on.
    heard: Instant,
    /// Messages queued and not written to the socket yet, in order; of a batch its number.
    unwritten: VecDeque<Option<u64>>,
    /// The number of the last batch.
    batches: u64,
    /// The longest pause before the next attempt, in ms.
    wait_ms: u64,
}

/// The connection, from the core's side.
pub struct CrossLink {
    gateway: String,
    client: AsyncClient,
    state: Arc<Mutex<State>>,
    give_up: watch::Sender<()>,
    bytes: Arc<Bytes>,
}

/// How a connection is used.
struct Use {
    filters: Vec<SubscribeFilter>,
    /// Without the subscription nothing goes: there is no answer then.
    is_needed: bool,
    /// How long an acknowledgement may take.
    answer_wait: Duration,
    keep_alive: Duration,
}

impl CrossLink {
    /// Starts the connection to a bridge's broker; it comes back by itself. Its events go to the core.
    pub fn to_bridge(gateway: &str, boot: u64, (host, port): (&str, u16), events: Events, bytes: Arc<Bytes>) -> Self {
        let down = |what: &str| SubscribeFilter::new(format!("bridge/v1/{gateway}/down/{what}"), QoS::AtMostOnce);
        let mut options = MqttOptions::new(format!("tidegate-{gateway}-{boot:016x}-cross"), host, port);
        options.set_clean_session(true).set_max_packet_size(LINK_PACKET_BYTES_MAX, LINK_PACKET_BYTES_MAX);
        let filters = vec![down("cross"), down("cross-ack")];
        let used = Use { filters, is_needed: true, answer_wait: CROSS_ANSWER_WAIT, keep_alive: CROSS_KEEP_ALIVE_BRIDGE };
        Self::start(gateway, options, used, events, bytes)
    }

    /// The same to a broker that stands alone, where it keeps a session and subscribes to `filters`.
    pub fn to_broker(gateway: &str, at: (&str, u16), filters: Vec<String>, events: Events, bytes: Arc<Bytes>) -> Self {
        Self::to_broker_patiently(gateway, at, filters, CROSS_ANSWER_WAIT, events, bytes)
    }

    fn to_broker_patiently(
        gateway: &str,
        (host, port): (&str, u16),
        filters: Vec<String>,
        answer_wait: Duration,
        events: Events,
        bytes: Arc<Bytes>,
    ) -> Self {
        let mut options = MqttOptions::new(format!("tidegate-{gateway}-cross"), host, port);
        options.set_clean_session(false).set_manual_acks(true);
        // What is too large for us comes all the same, and is passed over: it must not end every connection.
        options.set_max_packet_size(INGEST_PACKET_BYTES_MAX, LINK_PACKET_BYTES_MAX);
        let filters = filters.into_iter().map(|f| SubscribeFilter::new(f, QoS::AtLeastOnce)).collect();
        Self::start(gateway, options, Use { filters, is_needed: false, answer_wait, keep_alive: CROSS_KEEP_ALIVE }, events, bytes)
    }

    fn start(gateway: &str, mut options: MqttOptions, used: Use, events: Events, bytes: Arc<Bytes>) -> Self {
        options.set_keep_alive(used.keep_alive).set_inflight(100);
        // A batch, its subscriptions and acknowledgements of what came meanwhile.
        let (client, mut mqtt) = AsyncClient::new(options, 4 * CROSSED_MAX);
        client::prepare(&mut mqtt);
        let state = State {
            connected: false,
            generation: 0,
            awaited: 0,
            heard: Instant::now(),
            unwritten: VecDeque::new(),
            batches: 0,
            wait_ms: BACKOFF_MS.0,
        };
        let state = Arc::new(Mutex::new(state));
        let (give_up, given_up) = watch::channel(());
        let drive = Drive {
            client: client.clone(),
            mqtt,
            state: state.clone(),
            events,
            bytes: bytes.clone(),
            given_up,
            up: false,
            awaits_subscription: false,
            subscribed: used.filters.is_empty(),
            used,
            undecoded: Kind::default(),
        };
        tokio::spawn(drive.run());
        Self { gateway: gateway.to_owned(), client, state, give_up, bytes }
    }

    /// The connection is of no use: it is given up, and another is tried after a pause. What it
    /// brought and was not acknowledged comes again.
    pub fn give_up(&self) {
        self.give_up.send_replace(());
    }

    /// Sends a batch: its number, none where nothing took it, and its bytes on the line, for the uplink to be
    /// told. [`CrossEvent::Left`] with that number or [`CrossEvent::Disconnected`] follows. What is lost
    /// behind that is sent again when its answer does not come.
    pub fn send(&self, batch: &CrossUp) -> (Option<u64>, usize) {
        let mut state = self.state.lock();
        let number = state.batches + 1;
        let bytes = self.publish_to(&mut state, "cross", Some(number), batch.encode());
        self.bytes.told(bytes);
        if bytes == 0 {
            return (None, 0);
        }
        state.batches = number;
        (Some(number), bytes)
    }

    /// Says that messages of the cloud are here.
    pub fn done(&self, done: &CrossDone) {
        let bytes = self.publish_to(&mut self.state.lock(), "cross-done", None, done.encode());
        self.bytes.pass(bytes);
    }

    /// Under the lock, so that nothing enters the queue of a connection that is gone.
    fn publish_to(&self, state: &mut State, what: &str, batch: Option<u64>, payload: Vec<u8>) -> usize {
        let topic = format!("bridge/v1/{}/up/{what}", self.gateway);
        let bytes = publish_bytes(topic.len(), payload.len(), QoS::AtMostOnce);
        if !state.connected {
            return 0;
        }
        if self.client.try_publish(topic, QoS::AtMostOnce, false, payload).is_err() {
            warn!("the queue for ordinary messages is full");
            return 0;
        }
        state.unwritten.push_back(batch);
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
        if state.awaited == 0 {
            state.heard = Instant::now();
        }
        state.awaited += taken;
        state.unwritten.extend(std::iter::repeat_n(None, taken));
        let bytes = messages[..taken].iter().map(|m| publish_bytes(m.topic.len(), m.payload.len(), QoS::AtLeastOnce)).sum();
        self.bytes.told(bytes);
        (taken, bytes)
    }

    /// Acknowledges what came, unless the connection that it came by is gone.
    pub fn acknowledge(&self, generation: u64, publish: &Publish) {
        let mut state = self.state.lock();
        if !state.connected || state.generation != generation {
            return;
        }
        state.wait_ms = BACKOFF_MS.0;
        if self.client.try_ack(publish).is_err() {
            // Brokers send again on a new connection only.
            warn!("the queue for ordinary messages is full; messages come again");
            self.give_up();
        }
    }
}

const FLUSH_WAIT: Duration = Duration::from_secs(FLUSH_WAIT_S);

/// Whether the core still listens.
async fn tell(events: &Events, event: CrossEvent) -> bool {
    events.send(Event::Cross(event)).await.is_ok()
}

/// One connection for as long as the process lives.
struct Drive {
    client: AsyncClient,
    mqtt: EventLoop,
    used: Use,
    state: Arc<Mutex<State>>,
    events: Events,
    bytes: Arc<Bytes>,
    given_up: watch::Receiver<()>,
    up: bool,
    /// The present connection has asked, and has no answer yet.
    awaits_subscription: bool,
    /// The broker has granted this process what it asked for; it may know so on the next connection.
    subscribed: bool,
    undecoded: Kind,
}

impl Drive {
    /// Polls, and comes back with full jitter.
    async fn run(mut self) {
        let mut began = Instant::now();
        loop {
            let patience = self.patience(began);
            let mut is_unheard = false;
            let why = tokio::select! {
                biased;
                Ok(()) = self.given_up.changed() => "given up".to_owned(),
                polled = tokio::time::timeout(patience, client::poll(&mut self.mqtt)) => match polled {
                    Ok(Ok(event)) => match self.event(event) {
                        Ok(None) => continue,
                        Ok(Some(event)) => match tell(&self.events, event).await {
                            true => continue,
                            false => return,
                        },
                        Err(why) => why.to_owned(),
                    },
                    Ok(Err(error)) => {
                        is_unheard = client::is_unheard(&error);
                        error.to_string()
                    }
                    Err(_) => "no answer".to_owned(),
                },
            };
            let pause_ms = {
                let mut state = self.state.lock();
                (state.connected, state.awaited) = (false, 0);
                state.unwritten.clear();
                // Under the lock, so that nothing comes behind it into the client's queue.
                client::forget(&mut self.mqtt);
                let wait_ms = state.wait_ms;
                state.wait_ms = (wait_ms * 2).min(BACKOFF_MS.1);
                rand::random_range(0..=wait_ms)
            };
            self.awaits_subscription = false;
            // A session that began with this CONNECT has no subscription, and the next CONNACK calls it present.
            self.subscribed &= self.up || is_unheard;
            if std::mem::replace(&mut self.up, false) {
                warn!(why, "ordinary messages wait");
                if !tell(&self.events, CrossEvent::Disconnected).await {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            self.given_up.mark_unchanged();
            began = Instant::now();
        }
    }

    /// How long the next event is waited for. A broker that takes the connection and says nothing, or
    /// never answers the subscription, or never acknowledges, is none.
    fn patience(&self, began: Instant) -> Duration {
        if !self.up {
            return CONNECT_WAIT.saturating_sub(began.elapsed());
        }
        if self.awaits_subscription {
            // Messages that waited in a kept session may come before the answer.
            return self.used.answer_wait.saturating_sub(began.elapsed());
        }
        let state = self.state.lock();
        // A slow line may take as long for one message as it may for one write.
        let wait = if state.unwritten.is_empty() { self.used.answer_wait } else { self.used.answer_wait.max(FLUSH_WAIT) };
        if state.awaited > 0 { wait.saturating_sub(state.heard.elapsed()) } else { Duration::MAX }
    }

    /// What the core is to be told of an event; an error where the connection is of no use.
    fn event(&mut self, event: Mqtt) -> Result<Option<CrossEvent>, &'static str> {
        Ok(Some(match event {
            Mqtt::Incoming(Packet::ConnAck(ack)) => {
                self.bytes.pass(greeting_bytes(&self.mqtt.mqtt_options.client_id()));
                let generation = {
                    let mut state = self.state.lock();
                    // A subscription made again would bring everything retained again.
                    if !(self.used.filters.is_empty() || ack.session_present && self.subscribed) {
                        let filters = self.used.filters.clone();
                        let names: Vec<&str> = filters.iter().map(|f| f.path.as_str()).collect();
                        self.bytes.pass(subscribe_bytes(&names));
                        (self.awaits_subscription, self.subscribed) = (true, false);
                        self.client.try_subscribe_many(filters).map_err(|_| "its queue is full")?;
                    }
                    state.connected = true;
                    state.generation += 1;
                    state.generation
                };
                info!(generation, "ordinary messages go");
                self.up = true;
                CrossEvent::Connected(ack.session_present)
            }
            Mqtt::Incoming(Packet::SubAck(answer)) => {
                self.awaits_subscription = false;
                self.subscribed = !answer.return_codes.contains(&SubscribeReasonCode::Failure);
                if !self.subscribed {
                    error!(filters = ?self.used.filters, "the broker refuses a subscription for ordinary messages");
                    if self.used.is_needed {
                        return Err("the subscription is refused");
                    }
                }
                return Ok(None);
            }
            Mqtt::Incoming(Packet::PubAck(_)) => {
                self.bytes.pass(4);
                let mut state = self.state.lock();
                state.wait_ms = BACKOFF_MS.0;
                state.heard = Instant::now();
                state.awaited = state.awaited.saturating_sub(1);
                if state.awaited > 0 {
                    return Ok(None);
                }
                CrossEvent::Taken
            }
            Mqtt::Incoming(Packet::Publish(publish)) => {
                self.bytes.pass(publish_bytes(publish.topic.len(), publish.payload.len(), publish.qos));
                return Ok(self.came(publish));
            }
            // Told once it is written.
            Mqtt::Outgoing(Outgoing::Publish(_)) => {
                let mut state = self.state.lock();
                state.heard = Instant::now();
                return Ok(state.unwritten.pop_front().flatten().map(CrossEvent::Left));
            }
            Mqtt::Outgoing(Outgoing::PingReq) | Mqtt::Incoming(Packet::PingResp) => {
                self.bytes.pass(2);
                return Ok(None);
            }
            Mqtt::Outgoing(Outgoing::PubAck(_)) => {
                self.bytes.pass(4);
                return Ok(None);
            }
            _ => return Ok(None),
        }))
    }

    fn came(&mut self, publish: Publish) -> Option<CrossEvent> {
        let decoded = match publish.topic.strip_prefix("bridge/v1/").and_then(|rest| rest.split_once("/down/")) {
            Some((_, "cross")) => CrossDown::decode(&publish.payload).map(CrossEvent::Came),
            Some((_, "cross-ack")) => CrossAck::decode(&publish.payload).map(CrossEvent::Ack),
            _ => return Some(CrossEvent::Plain(self.state.lock().generation, publish)),
        };
        match decoded {
            Ok(event) => {
                self.state.lock().wait_ms = BACKOFF_MS.0;
                Some(event)
            }
            Err(error) => {
                if let Some(untold) = self.undecoded.due() {
                    warn!(%error, topic = publish.topic, untold, "what the cloud says of ordinary messages does not decode");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
