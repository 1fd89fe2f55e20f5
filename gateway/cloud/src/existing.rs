//! A broker that is already there: gateways' messages come from it, and what is published goes
//! to it. The session is durable, so that it keeps alerts while the bridge is away; that a
//! message of a gateway is acknowledged to it means nothing, as gateways wait for the application's
//! answer; one for a gateway, and what people ask for, is acknowledged once it is in our log.

use crate::event::Event;
use crate::inbound::{Door, wire};
use crate::limits::{BACKOFF_MS, CONNECT_WAIT, FLUSH_WAIT_S, OUTBOX_INFLIGHT_MAX, OUTBOX_URGENT_MAX, PACKET_BYTES_MAX, REQUESTS_MAX};
use crate::outbound::Outbox;
use rand::Rng;
use replica::alarm::{Body, Target};
use rumqttc::{
    AsyncClient, ConnectionError, Event as Mqtt, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet, Publish, QoS, SubscribeFilter,
    SubscribeReasonCode,
};
use settings::BrokerUrl;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::{info, warn};

/// While too much waits for the core, that is looked at so often.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// How long a broker waits whose messages the log had no room for: as it is then, it would have none again at once.
const FULL_LOG_PAUSE: Duration = Duration::from_secs(2);

/// What gateways say.
const FILTER: &str = "bridge/v1/+/up/#";

/// What people ask for about alarms; no filter leaves out the alarms themselves, which we publish.
const ALARMS: &str = "alarms/#";

/// A client of the broker, not connected yet.
///
/// # Errors
/// When the data dir does not take the client's identifier.
pub fn client(data_dir: &Path, broker: &BrokerUrl) -> io::Result<(AsyncClient, EventLoop)> {
    let mut options = MqttOptions::new(client_id(data_dir)?, broker.host.clone(), broker.port);
    options.set_keep_alive(Duration::from_secs(10)).set_clean_session(false).set_manual_acks(true);
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX).set_inflight(2 * (OUTBOX_INFLIGHT_MAX + OUTBOX_URGENT_MAX) as u16);
    options.set_pending_throttle(Duration::ZERO);
    // What we publish, and the acknowledgements of what comes.
    let (client, mut mqtt) = AsyncClient::new(options, REQUESTS_MAX + 2 * (OUTBOX_INFLIGHT_MAX + OUTBOX_URGENT_MAX) + u16::MAX as usize);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(FLUSH_WAIT_S).set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    Ok((client, mqtt))
}

/// The identifier under which the broker keeps the session: drawn once for a data dir.
fn client_id(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join("client-id");
    if let Ok(found) = std::fs::read_to_string(&path)
        && found.starts_with("tidegate-cloud-")
    {
        return Ok(found);
    }
    let id = format!("tidegate-cloud-{:016x}", rand::random::<u64>());
    std::fs::write(&path, &id)?;
    Ok(id)
}

/// Speaks with the broker for as long as the process lives.
pub async fn drive(client: AsyncClient, mut mqtt: EventLoop, outbox: Arc<Outbox>, door: Arc<Door>) {
    let events = door.events.clone();
    let mut wait_ms = BACKOFF_MS.0;
    let mut up = false;
    let mut began = Instant::now();
    loop {
        // A broker that takes the connection and says nothing, never lets us subscribe, or acknowledges nothing, is none.
        let patience = if up { outbox.patience().unwrap_or(Duration::MAX) } else { CONNECT_WAIT.saturating_sub(began.elapsed()) };
        let polled = tokio::select! {
            polled = timeout(patience, mqtt.poll()) => Some(polled.unwrap_or(Err(ConnectionError::NetworkTimeout))),
            () = outbox.given_up() => None,
        };
        let Some(polled) = polled else {
            outbox.disconnected(&mut mqtt);
            up = false;
            tokio::time::sleep(FULL_LOG_PAUSE).await;
            began = Instant::now();
            continue;
        };
        let why = match polled {
            Ok(Mqtt::Incoming(Packet::ConnAck(ack))) => {
                // Also of a session that it kept: it may keep less than it says.
                let filters = [FILTER, ALARMS].map(|filter| SubscribeFilter::new(filter.to_owned(), QoS::AtLeastOnce));
                let queued = client.try_subscribe_many(filters);
                outbox.connected(ack.session_present);
                if !ack.session_present && events.send(Event::Anew).await.is_err() {
                    return;
                }
                match queued {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                }
            }
            // What gateways want besides comes behind.
            Ok(Mqtt::Incoming(Packet::SubAck(answer))) if !up => match answer.return_codes.first() {
                Some(SubscribeReasonCode::Success(_)) => {
                    if answer.return_codes.iter().any(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
                        warn!("the existing broker refuses the subscription to {ALARMS}: what people do to alarms through it is not heard");
                    }
                    info!("the existing broker is there");
                    outbox.listens();
                    (up, wait_ms) = (true, BACKOFF_MS.0);
                    continue;
                }
                _ => format!("it refuses the subscription to {FILTER}"),
            },
            Ok(Mqtt::Incoming(Packet::Publish(p))) => {
                if let Some(event) = arrived(p, &outbox, &door) {
                    while door.is_full() {
                        tokio::time::sleep(FULL_PAUSE).await;
                    }
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            Ok(Mqtt::Outgoing(Outgoing::Publish(packet))) => {
                outbox.sent(packet);
                continue;
            }
            Ok(Mqtt::Incoming(Packet::PubAck(ack))) => {
                outbox.acked(ack.pkid);
                continue;
            }
            Ok(_) => continue,
            Err(error) => error.to_string(),
        };
        outbox.disconnected(&mut mqtt);
        if std::mem::replace(&mut up, false) || wait_ms == BACKOFF_MS.0 {
            warn!(why, "the existing broker is not reached");
        }
        let pause = rand::rng().random_range(0..=wait_ms);
        wait_ms = (wait_ms * 2).min(BACKOFF_MS.1);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        began = Instant::now();
    }
}

/// What the core is to do about a message. What is not for it is acknowledged, and passed over.
pub(crate) fn arrived(publish: Publish, outbox: &Outbox, door: &Door) -> Option<Event> {
    let generation = outbox.generation();
    if let Some((gateway, what)) = wire(&publish.topic) {
        let event = door.wire(gateway, what, &publish.payload);
        outbox.acknowledge(generation, &publish);
        return Some(event);
    }
    // What a broker retained was heard when it came, and would act again with each subscription.
    let news = Some(&publish).filter(|publish| !publish.retain);
    let event = if let Some((path, body)) = news.and_then(|publish| asked(&publish.topic, &publish.payload)) {
        door.coming(publish.payload.len());
        Event::Asked { generation, publish, path, body }
    } else if outbox.came(&publish) {
        door.coming(publish.payload.len());
        Event::Plain(generation, publish)
    } else {
        outbox.acknowledge(generation, &publish);
        return None;
    };
    Some(event)
}

/// What is asked for about an alarm, and of which.
fn asked(topic: &str, payload: &[u8]) -> Option<(String, Body)> {
    let path = topic.strip_prefix("alarms/")?;
    let target = Target::of(path)?;
    match Body::parse(target.verb, payload, settings::unit::duration_ms) {
        Ok(body) => Some((path.to_owned(), body)),
        Err(why) => {
            warn!(topic, %why, "what was asked about an alarm is refused");
            None
        }
    }
}
