//! What an outage held back arrives at once: nobody who listens may miss it for being slower.

use crate::plant::{PATIENCE, Role, configs, free_port};
use crate::wire::{PUBACK, Publish, Seen, Wire};
use broker::Version::{V3, V5};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

const SECONDS: u64 = 8_000;
const SERIES: u64 = 4;

#[test]
fn a_slow_consumer_misses_no_window_of_a_backlog() {
    let _apart = crate::apart::loading();
    let dir = tempfile::tempdir().unwrap();
    let ports = (free_port(), free_port());
    let (edge_config, cloud_config) = configs(dir.path(), ports.0, ports.1);
    let edge = Role::start("edge", &edge_config, &dir.path().join("edge"));
    // The link is down, as there is no bridge yet.
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut sensor = Wire::clean(at(edge.mqtt), V5, "sensor");
    for second in 0..SECONDS {
        let payload = format!("{{\"value\":{second},\"ts\":{}}}", 1_700_000_000 + second);
        for n in 0..SERIES {
            let topic = format!("sensors/s{n}");
            sensor.publish(Publish { qos: 1, id: n as u16 + 1, ..Publish::of(&topic, &payload) });
        }
        for n in 0..SERIES {
            sensor.expect(PUBACK, &(n as u16 + 1).to_be_bytes());
        }
    }
    // Nothing is published before somebody listens.
    edge.freeze();
    let cloud = Role::start("cloud", &cloud_config, &dir.path().join("cloud"));
    let mut consumer = Wire::clean(at(cloud.mqtt), V3, "slow");
    consumer.subscribe(&[("merged/1s/#", 1)]);
    edge.thaw();
    consumer.wait_at_most(PATIENCE);
    let mut seen = BTreeSet::new();
    while seen.len() < (SECONDS * SERIES) as usize {
        let Seen::Packet(head, body) = consumer.next() else { panic!("{} windows, and no more come", seen.len()) };
        assert_eq!(head >> 4, 3);
        let message = crate::wire::Message::read(V3, head, &body);
        consumer.acknowledge(message.id);
        let v: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
        seen.insert((message.topic, v["start"].as_i64().unwrap()));
        if seen.len() % 40 == 0 {
            // Some 4,000 a second: a tenth of what the bridge can publish.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
