//! The sockets under `replica::uplink`: two connections to the cloud's broker, one for
//! intervals and one for alerts, so that an alert never waits behind a backlog.

use crate::core::{Event, Events};
use crate::limits::{BACKOFF_MS, LINK_PACKET_BYTES_MAX, LINK_REQUESTS_MAX};
use parking_lot::Mutex;
use rand::Rng;
use replica::limits::HEARTBEAT_MS;
use rumqttc::{AsyncClient, Event as Mqtt, EventLoop, LastWill, MqttOptions, Packet, QoS};
use schemas::message::{Ack, Bye, Command, FORMAT, Receipt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{info, warn};

/// What the link tells the core.
#[derive(Debug)]
pub enum LinkEvent {
    /// The interval connection stands and listens for acks.
    Connected,
    /// It is gone.
    Disconnected,
    /// An answer to an interval.
    Ack(Ack),
    /// An answer on the urgent lane.
    Receipt(Receipt),
    /// The cloud passes on what was done there.
    Command(Command),
}

/// Both connections of a gateway.
pub struct Link {
    gateway: String,
    deltas: AsyncClient,
    alerts: AsyncClient,
    hurry: watch::Sender<()>,
    /// The last hello, while the interval connection stands: said again as a sign of life.
    hello: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Link {
    /// Starts both connections; they come back by themselves.
    pub fn start(gateway: &str, boot: u64, host: &str, port: u16, events: Events) -> Self {
        let (hurry, hurried) = watch::channel(());
        let lane = |name: &str| {
            let mut options = MqttOptions::new(format!("tidegate-{gateway}-{boot:016x}-{name}"), host, port);
            options.set_keep_alive(Duration::from_secs(10)).set_clean_session(true);
            options.set_max_packet_size(LINK_PACKET_BYTES_MAX, LINK_PACKET_BYTES_MAX);
            if name == "deltas" {
                let bye = Bye { format: FORMAT, boot }.encode();
                options.set_last_will(LastWill::new(format!("bridge/v1/{gateway}/up/bye"), bye, QoS::AtLeastOnce, false));
            }
            AsyncClient::new(options, LINK_REQUESTS_MAX)
        };
        let (deltas, delta_loop) = lane("deltas");
        let (alerts, alert_loop) = lane("alerts");
        let down = |what: &str| format!("bridge/v1/{gateway}/down/{what}");
        let hello = Arc::new(Mutex::new(None));
        tokio::spawn(heartbeat(gateway.to_owned(), alerts.clone(), hello.clone()));
        tokio::spawn(drive(deltas.clone(), delta_loop, down("ack"), events.clone(), hurried.clone()));
        tokio::spawn(drive(alerts.clone(), alert_loop, down("receipt"), events, hurried));
        Self { gateway: gateway.to_owned(), deltas, alerts, hurry, hello }
    }

    /// Sends a hello or an interval; what does not fit the queue is computed again after the ack's time.
    pub fn send(&self, what: &str, payload: Vec<u8>) {
        if what == "hello" {
            *self.hello.lock() = Some(payload.clone());
        }
        let topic = format!("bridge/v1/{}/up/{what}", self.gateway);
        // At most once: the application's ack decides, and what is lost is computed again.
        if let Err(error) = self.deltas.try_publish(topic, QoS::AtMostOnce, false, payload) {
            warn!(%error, "the uplink's queue is full");
        }
    }

    /// Sends an alert on its own connection.
    pub fn alert(&self, payload: Vec<u8>) {
        let topic = format!("bridge/v1/{}/up/alert", self.gateway);
        if let Err(error) = self.alerts.try_publish(topic, QoS::AtLeastOnce, false, payload) {
            warn!(%error, "the urgent lane's queue is full");
        }
    }

    /// Says something about alarms at once; the interval repeats it.
    pub fn command(&self, payload: Vec<u8>) {
        let topic = format!("bridge/v1/{}/up/command", self.gateway);
        if let Err(error) = self.alerts.try_publish(topic, QoS::AtMostOnce, false, payload) {
            warn!(%error, "the urgent lane's queue is full");
        }
    }

    /// A connection that waits to be tried again is tried now: a critical alert waits for nobody's backoff, nor does
    /// one connection where the other has just found the cloud.
    pub fn hurry(&self) {
        self.hurry.send_replace(());
    }
}

/// Says hello again and again, beside whatever else is said: so the cloud tells a quiet gateway
/// from one that is frozen or cut off. It goes on the alerts' connection, where nothing is
/// waited for, and at most once: only the newest means anything.
async fn heartbeat(gateway: String, alerts: AsyncClient, hello: Arc<Mutex<Option<Vec<u8>>>>) {
    let mut beat = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS as u64));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let payload = hello.lock().clone();
        if let Some(payload) = payload {
            // A full queue means that the connection does not stand.
            drop(alerts.try_publish(format!("bridge/v1/{gateway}/up/hello"), QoS::AtMostOnce, false, payload));
        }
    }
}

/// One connection for as long as the process lives: poll, and come back with full jitter.
async fn drive(client: AsyncClient, mut mqtt: EventLoop, filter: String, events: Events, mut hurry: watch::Receiver<()>) {
    let is_deltas = filter.ends_with("/ack");
    let mut wait_ms = BACKOFF_MS.0;
    let mut up = false;
    loop {
        match mqtt.poll().await {
            Ok(Mqtt::Incoming(Packet::ConnAck(_))) => {
                if !is_deltas && client.subscribe(filter.replace("/receipt", "/command"), QoS::AtMostOnce).await.is_err() {
                    return;
                }
                if client.subscribe(filter.as_str(), QoS::AtMostOnce).await.is_err() {
                    return;
                }
            }
            Ok(Mqtt::Incoming(Packet::SubAck(_))) => {
                info!(filter, "uplink connected");
                up = true;
                if is_deltas && events.send(Event::Link(LinkEvent::Connected)).await.is_err() {
                    return;
                }
            }
            Ok(Mqtt::Incoming(Packet::Publish(publish))) => {
                let event = if is_deltas {
                    Ack::decode(&publish.payload).map(LinkEvent::Ack)
                } else if publish.topic.ends_with("/command") {
                    Command::decode(&publish.payload).map(LinkEvent::Command)
                } else {
                    Receipt::decode(&publish.payload).map(LinkEvent::Receipt)
                };
                match event {
                    // An answer, not a connection, shows that the other side works.
                    Ok(event) => {
                        wait_ms = BACKOFF_MS.0;
                        if events.send(Event::Link(event)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => warn!(%error, topic = publish.topic, "the cloud's answer does not decode"),
                }
            }
            Ok(_) => {}
            Err(error) => {
                if up {
                    warn!(%error, "uplink lost");
                    up = false;
                    // What hurried while it stood needs no haste now; what hurries during an attempt that fails does.
                    hurry.mark_unchanged();
                    if is_deltas && events.send(Event::Link(LinkEvent::Disconnected)).await.is_err() {
                        return;
                    }
                }
                // What was queued for the old connection is computed anew on the next.
                mqtt.clean();
                mqtt.pending.clear();
                let pause = Duration::from_millis(rand::rng().random_range(0..=wait_ms));
                wait_ms = (wait_ms * 2).min(BACKOFF_MS.1);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Ok(()) = hurry.changed() => {}
                }
            }
        }
    }
}
