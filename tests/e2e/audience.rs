//! Consumers without a session that outlives the connection, over a restart of the bridge.

use crate::bridge::until;
use crate::gateway::{status_at, tidegate};
use crate::plant::{PATIENCE, Role, configs, free_port};
use crate::wire::{Message, Publish, Seen, Wire};
use broker::Version::V5;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const BASE_MS: i64 = 1_700_000_000_000;
/// A bridge that starts waits for its consumers for 10 s: what happens within these happens meanwhile.
const AWAITED: Duration = Duration::from_secs(8);

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

    /// Waits until the bridge has noted who listens.
    fn until_noted(&self, dir: &Path, what: &str, is_noted: impl Fn(&str) -> bool) {
        let noted = || std::fs::read_to_string(dir.join("cloud/consumers.json")).unwrap_or_default();
        until(what, || is_noted(&noted()));
    }

    /// `kill -9`, and a new process over the same data; when that began.
    fn kill_bridge(&mut self, dir: &Path) -> Instant {
        self.cloud.kill();
        let began = Instant::now();
        self.cloud = Role::start("cloud", &dir.join("cloud.toml"), &dir.join("cloud"));
        began
    }

    /// Waits until the bridge has all that the gateway accepted.
    fn until_delivered(&self) {
        until("all is delivered", || status_at(self.edge.http)["ledger"]["held"] == 0);
    }
}

/// The next message that is not retained and of which that is so.
fn heard(wire: &mut Wire, what: &str, holds: impl Fn(&str, &Value) -> bool) -> Value {
    let mut found = None;
    listen(wire, what, true, |topic, v| {
        found = holds(topic, v).then(|| v.clone());
        found.is_some()
    });
    found.unwrap()
}

/// The alert and the second revision, whichever comes first.
fn heard_both(wire: &mut Wire, acknowledges: bool) {
    let (mut alert, mut revision) = (false, false);
    listen(wire, "the alert and the revision", acknowledges, |topic, v| {
        alert |= is_alert(topic, v);
        revision |= is_window(2)(topic, v);
        alert && revision
    });
}

/// Takes messages that are not retained until one is the last.
fn listen(wire: &mut Wire, what: &str, acknowledges: bool, mut is_last: impl FnMut(&str, &Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let Some(Seen::Packet(head, body)) = wire.try_next_within(PATIENCE) else { continue };
        let message = Message::read(V5, head, &body);
        if acknowledges {
            wire.acknowledge(message.id);
        }
        let v: Value = serde_json::from_str(&message.payload).unwrap();
        if !message.retain && is_last(&message.topic, &v) {
            return;
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

/// Tells a story again where the machine was too slow for it.
fn told(story: impl Fn() -> bool) {
    assert!((0..20).any(|_| story()), "the machine is never quick enough");
}

#[test]
fn a_consumer_that_comes_back_a_while_after_the_bridge_has_missed_nothing() {
    told(comes_back);
}

/// False where the bridge may have stopped waiting.
fn comes_back() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mut plant = plant(dir.path());
    let mut consumer = Wire::clean(plant.at, V5, "dashboard");
    consumer.subscribe(&FILTERS);
    plant.read(20.0, BASE_MS);
    plant.read(21.0, BASE_MS + 60_000);
    heard(&mut consumer, "the first window", is_window(1));
    plant.until_noted(dir.path(), "the consumer is noted", |noted| FILTERS.iter().all(|(filter, _)| noted.contains(filter)));
    let began = plant.kill_bridge(dir.path());
    // Late data for an old window, which is not retained, and an alert, before it is back.
    plant.read(22.0, BASE_MS + 1);
    plant.read(99.0, BASE_MS + 61_000);
    plant.until_delivered();
    std::thread::sleep(Duration::from_millis(500));
    let mut consumer = Wire::clean(plant.at, V5, "under another name");
    consumer.subscribe(&FILTERS);
    if began.elapsed() > AWAITED {
        return false;
    }
    heard_both(&mut consumer, true);
    assert_eq!((plant.edge.stop(), plant.cloud.stop()), (Some(0), Some(0)));
    let verified = tidegate(&["log", "verify", "--data-dir", dir.path().join("cloud").to_str().unwrap()]);
    assert!(verified.status.success(), "{verified:?}");
    true
}

#[test]
fn one_that_never_comes_back_holds_the_others_for_a_moment_and_no_alert() {
    told(never_comes_back);
}

/// False where the bridge may have stopped waiting.
fn never_comes_back() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mut plant = plant(dir.path());
    let mut gone = Wire::clean(plant.at, V5, "gone");
    gone.subscribe(&[("merged/1s/oven/#", 1)]);
    let (mut consumer, _) = Wire::durable(plant.at, V5, "stays");
    consumer.subscribe(&FILTERS);
    plant.read(20.0, BASE_MS);
    heard(&mut gone, "the first window", is_window(1));
    plant.until_noted(dir.path(), "the one is noted", |noted| noted.contains("oven"));
    let began = plant.kill_bridge(dir.path());
    let (mut consumer, present) = Wire::durable(plant.at, V5, "stays");
    assert!(present);
    plant.read(99.0, BASE_MS + 1);
    let first = heard(&mut consumer, "the alert", is_alert);
    if began.elapsed() > AWAITED {
        return false;
    }
    // Again, as somebody who was waited for might have missed it; and then all else.
    assert_eq!(heard(&mut consumer, "the alert again", is_alert), first);
    heard(&mut consumer, "the revision", is_window(2));
    // Once it is given up it is not waited for again.
    plant.until_noted(dir.path(), "the one is forgotten", |noted| !noted.contains("oven"));
    plant.kill_bridge(dir.path());
    let (mut consumer, _) = Wire::durable(plant.at, V5, "stays");
    plant.read(23.0, BASE_MS + 2);
    heard(&mut consumer, "the next revision", is_window(3));
    assert!(!std::fs::read_to_string(dir.path().join("cloud/consumers.json")).unwrap().contains("oven"));
    assert_eq!((plant.edge.stop(), plant.cloud.stop()), (Some(0), Some(0)));
    true
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
    heard_both(&mut consumer, false);
    plant.until_noted(dir.path(), "the consumer is noted", |noted| FILTERS.iter().all(|(filter, _)| noted.contains(filter)));
    assert_eq!(plant.cloud.stop(), Some(0));
    drop(consumer);
    plant.cloud = Role::start("cloud", &dir.path().join("cloud.toml"), &dir.path().join("cloud"));
    let mut consumer = Wire::clean(plant.at, V5, "dashboard");
    consumer.subscribe(&FILTERS);
    heard_both(&mut consumer, true);
    assert_eq!((plant.edge.stop(), plant.cloud.stop()), (Some(0), Some(0)));
}
