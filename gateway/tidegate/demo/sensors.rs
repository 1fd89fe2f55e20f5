//! The simulated machines as MQTT clients: QoS 1, persistent sessions, a time in every reading.
//!
//! They are ordinary clients: while their gateway is dead they go on measuring, and what was not acknowledged
//! goes out again by the client library once it is back.

use crate::demo::compare::Truth;
use crate::demo::machine::Machine;
use crate::demo::plan::PERIOD_MS;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Publishes of a machine without their acknowledgement; more wait inside it.
const INFLIGHT_MAX: u16 = 100;
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

/// What the machines of one gateway have done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Readings handed to the client.
    pub sent: AtomicU64,
    /// Readings that the gateway acknowledged.
    pub acknowledged: AtomicU64,
    /// Publishes that went out again, because a connection broke before their acknowledgement.
    pub resent: AtomicU64,
    /// Bytes that the same readings would take on a line if each were bridged at QoS 1.
    pub raw_bytes: AtomicU64,
}

/// What a machine needs to know of the world.
#[derive(Debug, Clone)]
pub struct World {
    /// Its gateway.
    pub gateway: String,
    /// Port of the gateway's broker.
    pub port: u16,
    /// The moment of the first reading.
    pub began: Instant,
    /// The same, ms since the Unix epoch.
    pub began_ms: i64,
    /// How long to send.
    pub run_ms: i64,
    /// What was done.
    pub counts: Arc<Counts>,
    /// What was sent.
    pub truth: Arc<Mutex<Truth>>,
}

/// Runs a machine until everything it sent is acknowledged.
///
/// # Errors
/// When the client library gives up.
pub async fn run(machine: Machine, world: World) -> anyhow::Result<()> {
    let mut options = MqttOptions::new(machine.client.clone(), "127.0.0.1", world.port);
    options.set_clean_session(false).set_keep_alive(Duration::from_secs(10)).set_inflight(INFLIGHT_MAX);
    let (client, mqtt) = AsyncClient::new(options, usize::from(INFLIGHT_MAX));
    let (acknowledged, mut progress) = watch::channel(0u64);
    // The connection is its own task: a reading must not wait for it, and it ends with the machine.
    let mut driving = tokio::task::JoinSet::new();
    driving.spawn(drive(mqtt, acknowledged, world.counts.clone()));
    let mut sent = 0;
    let mut late: BTreeMap<i64, Vec<(usize, i64, String)>> = BTreeMap::new();
    for tick in 0..world.run_ms / PERIOD_MS {
        tokio::time::sleep_until(world.began + Duration::from_millis((tick * PERIOD_MS).unsigned_abs())).await;
        for (index, sensor) in machine.sensors.iter().enumerate() {
            if let Some(text) = sensor.reading(tick) {
                late.entry(tick + sensor.delay(tick)).or_default().push((index, tick, text));
            }
        }
        while let Some(due) = late.first_entry().filter(|due| *due.key() <= tick) {
            for reading in due.remove() {
                send(&client, &machine, &world, reading).await?;
                sent += 1;
            }
        }
    }
    for reading in late.into_values().flatten() {
        send(&client, &machine, &world, reading).await?;
        sent += 1;
    }
    progress.wait_for(|acknowledged| *acknowledged == sent).await?;
    client.disconnect().await?;
    while driving.join_next().await.is_some() {}
    Ok(())
}

async fn send(client: &AsyncClient, machine: &Machine, world: &World, (index, tick, text): (usize, i64, String)) -> anyhow::Result<()> {
    let sensor = &machine.sensors[index];
    let time_ms = world.began_ms + tick * PERIOD_MS;
    let value = text.parse::<f64>()?;
    let topic = format!("sensors/{}", sensor.series);
    let payload = format!("{{\"value\":{text},\"ts\":{time_ms},\"unit\":\"{}\"}}", sensor.unit);
    let bytes = raw_bytes(&topic, &payload);
    {
        // Counted before it can arrive: whoever compares must never find more than was sent.
        let mut truth = world.truth.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        truth.add(&world.gateway, &sensor.series, time_ms, value);
    }
    world.counts.sent.fetch_add(1, Ordering::Relaxed);
    world.counts.raw_bytes.fetch_add(bytes, Ordering::Relaxed);
    client.publish(topic, QoS::AtLeastOnce, false, payload).await?;
    Ok(())
}

/// A PUBLISH of QoS 1 in MQTT 3.1.1 and its PUBACK: fixed header, length, topic with its length, packet id, payload; 4.
fn raw_bytes(topic: &str, payload: &str) -> u64 {
    let rest = 2 + topic.len() + 2 + payload.len();
    let length = match rest {
        ..128 => 1,
        128..16_384 => 2,
        _ => 3,
    };
    (1 + length + rest + 4) as u64
}

/// The connection: polls until the machine has said goodbye, and tells how much is acknowledged.
async fn drive(mut mqtt: EventLoop, acknowledged: watch::Sender<u64>, counts: Arc<Counts>) {
    let mut in_flight = HashSet::new();
    let mut leaving = false;
    loop {
        match mqtt.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                // Known already: this goes out again, and is one reading still.
                if !in_flight.insert(id) {
                    counts.resent.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                if in_flight.remove(&ack.pkid) {
                    counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                    acknowledged.send_modify(|acknowledged| *acknowledged += 1);
                }
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => leaving = true,
            Ok(_) => {}
            // The gateway closes the connection after a goodbye, or may be gone: all is acknowledged.
            Err(_) if leaving => return,
            Err(error) => {
                tracing::debug!(%error, "a machine lost its gateway");
                tokio::time::sleep(RETRY).await;
            }
        }
        if leaving {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_bytes_are_those_of_mqtt() {
        // 0x32, length, 0 3 'a/b', id id, 'x': 1 + 1 + 8; the acknowledgement: 4.
        assert_eq!(raw_bytes("a/b", "x"), 14);
        assert_eq!(raw_bytes("a/b", &"x".repeat(121)), 1 + 2 + 128 + 4);
    }
}
