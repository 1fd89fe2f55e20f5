//! The broker that takes what is published: our own, or one that is already there.

use broker::Broker;
use rumqttc::{AsyncClient, QoS};

/// Where messages go.
#[derive(Clone)]
pub enum Outbound {
    /// In this process.
    Embedded(Broker),
    /// Over the network.
    Existing(AsyncClient),
}

impl Outbound {
    /// Publishes; waits while an existing broker takes nothing.
    pub async fn publish(&self, topic: &str, payload: Vec<u8>, qos: u8, retain: bool) {
        match self {
            Outbound::Embedded(broker) => broker.publish(topic, payload.into(), qos, retain),
            Outbound::Existing(client) => {
                let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                if let Err(error) = client.publish(topic, qos, retain, payload).await {
                    tracing::warn!(%error, topic, "the broker takes nothing any more");
                }
            }
        }
    }

    /// Sets a retained message again after a restart; an existing broker kept its own.
    pub fn retain(&self, topic: &str, payload: String) {
        if let Outbound::Embedded(broker) = self {
            broker.retain(topic, payload.into());
        }
    }
}
