//! Consumers without a session that outlives the connection, over a restart of the bridge.

use crate::gateway::{status_at, tidegate};
use crate::plant::{Role, configs, free_port};
use crate::wire::{Message, Publish, Seen, Wire};
use broker::Version::V5;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const BASE_MS: i64 = 1_700_000_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

struct Plant {
    edge: Role,
    cloud: Role,
    at: SocketAddr,
}

fn plant(dir: &Path) -> Plant {
    let (edge_port, cloud_port) = (free_port(), free_port());
    let (edge_config, cloud_config) = configs(dir, edge_port, cloud_port);
    let cloud = Role::start("cloud", &cloud_config, &dir.join("cloud"));
    let edge = Role::start("edge", &edge_config, &dir.join("edge"));
    Plant { edge, cloud, at: SocketAddr::from(([127, 0, 0, 1], cloud_port)) }
}

impl Plant {
    fn read(&self, value: f64, time_ms: i64) {
        let at = SocketAddr::from(([127, 0, 0, 1], self.edge.mqtt));
        let mut sensor = Wire::clean(at, V5, "sensor");
        sensor.publish(Publish {
            qos: 1,
            id: 1,
            payload: &format!("{{\"value\":{value},\"ts\":{time_ms}}}"),
            ..Publish::of("sensors/oven/temperature", "")
        });
        assert!(matches!(sensor.next(), Seen::Packet(0x40, _)));
        sensor.leave();
    }

    fn kill_bridge(&mut self, dir: &Path) {
        // Who listens is looked at twice a second.
        std::thread::sleep(Duration::from_millis(1_500));
        self.cloud.kill();
        self.cloud = Role::start("cloud", &dir.join("cloud.toml"), &dir.join("cloud"));
    }

    /// Waits until the bridge has all that the gateway accepted.
    fn until_delivered(&self) {
        let deadline = Instant::now() + PATIENCE;
        while status_at(self.edge.http)["ledger"]["held"] != 0 {
            assert!(Instant::now() < deadline, "{}", status_at(self.edge.http));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The next message that is not retained and of which that is so.
fn heard(wire: &mut Wire, what: &str, holds: impl Fn(&str, &Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let Some(Seen::Packet(head, body)) = wire.try_next_within(Duration::from_secs(1)) else { continue };
        let message = Message::read(V5, head, &body);
        wire.acknowledge(message.id);
        let v: Value = serde_json::from_str(&message.payload).unwrap();
        if !message.retain && holds(&message.topic, &v) {
            return v;
        }
    }
    panic!("not heard: {what}");
}

fn is_window(count: u64) -> impl Fn(&str, &Value) -> bool {
    move |topic, v| topic == "merged/1s/oven/temperature" && v["start"] == BASE_MS && v["count"] == count
}

fn is_alert(topic: &str, v: &Value) -> bool {
    topic.starts_with("alerts/critical/") && v["state"] == "active"
}

const FILTERS: [(&str, u8); 2] = [("merged/#", 1), ("alerts/#", 1)];

#[test]
fn a_consumer_that_comes_back_a_while_after_the_bridge_has_missed_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut plant = plant(dir.path());
    let mut consumer = Wire::clean(plant.at, V5, "dashboard");
    consumer.subscribe(&FILTERS);
    plant.read(20.0, BASE_MS);
    plant.read(21.0, BASE_MS + 60_000);
    heard(&mut consumer, "the first window", is_window(1));
    plant.kill_bridge(dir.path());
    // Late data for an old window, which is not retained, and an alert, before it is back.
    plant.read(22.0, BASE_MS + 1);
    plant.read(99.0, BASE_MS + 61_000);
    plant.until_delivered();
    std::thread::sleep(Duration::from_secs(2));
    let mut consumer = Wire::clean(plant.at, V5, "under another name");
    consumer.subscribe(&FILTERS);
    heard(&mut consumer, "the alert", is_alert);
    heard(&mut consumer, "the revision", is_window(2));
    assert_eq!((plant.edge.stop(), plant.cloud.stop()), (Some(0), Some(0)));
    let verified = tidegate(&["log", "verify", "--data-dir", dir.path().join("cloud").to_str().unwrap()]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn one_that_never_comes_back_holds_the_others_for_a_moment_and_no_alert() {
    let dir = tempfile::tempdir().unwrap();
    let mut plant = plant(dir.path());
    let mut gone = Wire::clean(plant.at, V5, "gone");
    gone.subscribe(&[("merged/1s/oven/#", 1)]);
    let (mut consumer, _) = Wire::durable(plant.at, V5, "stays");
    consumer.subscribe(&FILTERS);
    plant.read(20.0, BASE_MS);
    heard(&mut gone, "the first window", is_window(1));
    plant.kill_bridge(dir.path());
    let (mut consumer, present) = Wire::durable(plant.at, V5, "stays");
    assert!(present);
    plant.read(99.0, BASE_MS + 1);
    let first = heard(&mut consumer, "the alert", is_alert);
    // Again, as somebody who was waited for might have missed it; and then all else.
    assert_eq!(heard(&mut consumer, "the alert again", is_alert), first);
    heard(&mut consumer, "the revision", is_window(2));
    // Once it is given up it is not waited for again.
    plant.kill_bridge(dir.path());
    let (mut consumer, _) = Wire::durable(plant.at, V5, "stays");
    plant.read(23.0, BASE_MS + 2);
    heard(&mut consumer, "the next revision", is_window(3));
    assert!(!std::fs::read_to_string(dir.path().join("cloud/consumers.json")).unwrap().contains("oven"));
    assert_eq!((plant.edge.stop(), plant.cloud.stop()), (Some(0), Some(0)));
}

#[test]
fn what_a_consumer_has_not_acknowledged_comes_again_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut plant = plant(dir.path());
    let mut consumer = Wire::clean(plant.at, V5, "dashboard");
    consumer.subscribe(&FILTERS);
    plant.read(20.0, BASE_MS);
    heard(&mut consumer, "the first window", is_window(1));
    // Late data for that window, and an alert: told, and not acknowledged.
    plant.read(22.0, BASE_MS + 1);
    plant.read(99.0, BASE_MS + 60_000);
    plant.until_delivered();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(plant.cloud.stop(), Some(0));
    drop(consumer);
    plant.cloud = Role::start("cloud", &dir.path().join("cloud.toml"), &dir.path().join("cloud"));
    let mut consumer = Wire::clean(plant.at, V5, "dashboard");
    consumer.subscribe(&FILTERS);
    heard(&mut consumer, "the alert", is_alert);
    heard(&mut consumer, "the revision", is_window(2));
    assert_eq!((plant.edge.stop(), plant.cloud.stop()), (Some(0), Some(0)));
}
