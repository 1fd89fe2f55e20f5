//! Readings from the plant's existing broker, acknowledged there only after our commit.

use crate::config::Ingest;
use crate::intake::Intake;
use crate::limits::BACKOFF_MS;
use broker::{Application, Broker, Client, Publish, Verdict, Version};
use parking_lot::Mutex;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Subscribes for as long as the process lives; comes back by itself.
pub async fn run(gateway: String, ingest: Ingest, intake: Arc<Intake>, broker: Broker) {
    let id = format!("tidegate-{gateway}-ingest");
    let mut options = MqttOptions::new(id.clone(), ingest.url.host.clone(), ingest.url.port);
    options.set_clean_session(false).set_manual_acks(true).set_keep_alive(Duration::from_secs(10));
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut mqtt) = AsyncClient::new(options, 1_000);
    // The plant's broker keeps the session; here it is a client like any other, whose
    // redeliveries are told by what its session sent lately.
    let session =
        intake.open_session(&broker::OpenSession { client_id: &id, expiry_s: u32::MAX, version: Version::V5 }).map_or(0, |o| o.number);
    let us = Client { client_id: id, session, version: Version::V5, connection: 0, memory: Mutex::new(None) };
    let mut wait_ms = BACKOFF_MS.0;
    loop {
        match mqtt.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                info!(url = %ingest.url, filter = ingest.filter, "reading from the plant's broker");
                if client.subscribe(ingest.filter.as_str(), QoS::AtLeastOnce).await.is_err() {
                    return;
                }
            }
            Ok(Event::Incoming(Packet::Publish(p))) => {
                wait_ms = BACKOFF_MS.0;
                let publish = Publish {
                    topic: &p.topic,
                    payload: &p.payload,
                    qos: p.qos as u8,
                    retain: p.retain,
                    dup: p.dup,
                    packet_id: p.pkid,
                    will: false,
                };
                let ticket = loop {
                    let mut verdicts = Vec::new();
                    intake.publish(&us, &[publish], &mut verdicts);
                    match verdicts.first() {
                        Some(Verdict::Refuse(broker::Refusal::Busy | broker::Refusal::QuotaExceeded | broker::Refusal::Unavailable)) => {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                        }
                        Some(Verdict::After { ticket, .. }) => break Some(*ticket),
                        // What is no reading is counted, and would be no reading again.
                        _ => break None,
                    }
                };
                let (client, broker, mut horizon) = (client.clone(), broker.clone(), intake.horizon());
                let wait = async move {
                    if let Some(ticket) = ticket {
                        let durable = horizon.wait_for(|h| h.failed || h.durable >= ticket).await;
                        if !durable.is_ok_and(|h| !h.failed) {
                            return;
                        }
                        broker.publish(&p.topic, p.payload.clone(), p.qos as u8, false);
                    }
                    if client.ack(&p).await.is_err() {
                        warn!("the plant's broker is not told of a reading; it will send it again");
                    }
                };
                tokio::spawn(wait);
            }
            Ok(_) => {}
            Err(error) => {
                warn!(%error, url = %ingest.url, "the plant's broker is not reached");
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..=wait_ms))).await;
                wait_ms = (wait_ms * 2).min(BACKOFF_MS.1);
            }
        }
    }
}
