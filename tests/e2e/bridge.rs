//! Ordinary messages over `[[bridge]]`: out, in and both ways, through outages and kills, once and
//! in order; with a bridge at the cloud, and with a broker that stands alone.

use crate::foreign;
use crate::gateway::status_at;
use crate::link::{Link, State};
use crate::plant::{PATIENCE, Role, consume, free_port, publish_all_as};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const RULES: &str = "[[bridge]]\nfilter = \"events/#\"\npriority = \"urgent\"\n\
    [[bridge]]\nfilter = \"brief/#\"\nttl = \"300ms\"\n\
    [[bridge]]\nfilter = \"orders/#\"\ndirection = \"in\"\n\
    [[bridge]]\nfilter = \"chat/#\"\ndirection = \"both\"\nremote = \"rooms/{gateway}/{topic}\"\n";

fn edge(dir: &Path, mqtt: u16, cloud: u16, rules: &str) -> (PathBuf, PathBuf) {
    let (config, data) = (dir.join("edge.toml"), dir.join("edge"));
    let text = format!(
        "gateway = \"plant-a\"\ndata_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:{mqtt}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{cloud}\"\nevery = \"1s\"\n{rules}",
        data.display().to_string()
    );
    std::fs::write(&config, text).unwrap();
    (config, data)
}

fn cloud(dir: &Path, mqtt: &str) -> (PathBuf, PathBuf) {
    let (config, data) = (dir.join("cloud.toml"), dir.join("cloud"));
    let text = format!("data_dir = {:?}\n[mqtt]\n{mqtt}\n[http]\nlisten = \"127.0.0.1:0\"\n", data.display().to_string());
    std::fs::write(&config, text).unwrap();
    (config, data)
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come to this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Messages `from..to` over two topics below `root`, in order.
fn messages(root: &str, from: u64, to: u64) -> Vec<(String, String)> {
    (from..to).map(|i| (format!("{root}/{}", i % 2), i.to_string())).collect()
}

fn publish(client: &'static str, port: u16, messages: Vec<(String, String)>) {
    let sent = messages.len();
    assert_eq!(publish_all_as(client, port, messages, Duration::ZERO).join().unwrap(), sent);
}

/// What came on each topic, in order of arrival.
#[derive(Default)]
struct Heard {
    by_topic: BTreeMap<String, Vec<u64>>,
    /// A number may come again.
    repeats: bool,
}

impl Heard {
    fn take(&mut self, from: &Receiver<(String, Value)>) {
        while let Ok((topic, v)) = from.try_recv() {
            let (numbers, number) = (self.by_topic.entry(topic).or_default(), v.as_u64().unwrap());
            if !self.repeats || !numbers.contains(&number) {
                numbers.push(number);
            }
        }
    }

    /// Waits until both topics below `root` hold exactly these numbers, in order.
    fn until(&mut self, from: &Receiver<(String, Value)>, root: &str, numbers: std::ops::Range<u64>) {
        let of = |odd: u64| numbers.clone().filter(|i| i % 2 == odd).collect::<Vec<_>>();
        let wanted = [of(0), of(1)];
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.take(from);
            let held = [0, 1].map(|i| self.by_topic.get(&format!("{root}/{i}")).cloned().unwrap_or_default());
            if held == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{root}: {} and {} of {numbers:?}: {held:?}", held[0].len(), held[1].len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn messages_cross_once_and_in_order_through_an_outage_and_kills() {
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let link = Link::to(cloud_port);
    let (edge_config, edge_data) = edge(dir.path(), edge_port, link.port, RULES);
    let (cloud_config, cloud_data) = cloud(dir.path(), &format!("listen = \"127.0.0.1:{cloud_port}\""));
    let mut bridge = Role::start("cloud", &cloud_config, &cloud_data);
    let mut gateway = Role::start("edge", &edge_config, &edge_data);
    let at_cloud = consume(cloud_port, &["plants/#", "rooms/#"]);
    let at_plant = consume(edge_port, &["events/#", "orders/#", "chat/#"]);
    let (mut up, mut down) = (Heard::default(), Heard::default());

    publish("press", edge_port, messages("events", 0, 40));
    up.until(&at_cloud, "plants/plant-a/events", 0..40);
    down.until(&at_plant, "events", 0..40);
    until("the gateway knows that they crossed", || status_at(gateway.http)["bridge"]["waiting"] == 0);

    // The link is gone, and the gateway is killed: what it acknowledged waits in its log. What is
    // for the plant waits at the cloud.
    link.set(State::Cut);
    publish("press", edge_port, messages("events", 40, 120));
    publish("press", edge_port, messages("brief", 0, 10));
    publish("press", edge_port, messages("chat", 0, 10));
    // What a broker's subscriber has not got yet is not kept for it through a kill.
    down.until(&at_plant, "events", 0..120);
    down.until(&at_plant, "chat", 0..10);
    gateway.kill();
    publish("office", cloud_port, messages("plants/plant-a/orders", 0, 29));
    gateway = Role::start("edge", &edge_config, &edge_data);
    until("what is too old is counted", || status_at(gateway.http)["bridge"]["expired"] == 10);
    let b = status_at(gateway.http)["bridge"].clone();
    assert_eq!((&b["delivery"], &b["taken"], &b["waiting"]), (&"once".into(), &140.into(), &90.into()), "{b}");
    at_plant.until_subscribed(2);
    link.set(State::Up);
    up.until(&at_cloud, "plants/plant-a/events", 0..120);
    up.until(&at_cloud, "rooms/plant-a/chat", 0..10);
    down.until(&at_plant, "orders", 0..29);

    // The bridge is killed once the broker has everything: it repeats nothing, and takes the rest later.
    let mut rounds = 0;
    until("the cursor follows", || {
        // It is logged with a round, each of 100 ms; who is answered later has seen one.
        std::thread::sleep(Duration::from_millis(150));
        rounds = if status_at(bridge.http)["records_unpublished"] == 0 { rounds + 1 } else { 0 };
        rounds == 4
    });
    // Acknowledged once it is durable, and with it all that was logged before.
    publish("office", cloud_port, messages("plants/plant-a/orders", 29, 30));
    down.until(&at_plant, "orders", 0..30);
    link.set(State::Cut);
    bridge.kill();
    publish("press", edge_port, messages("events", 120, 160));
    bridge = Role::start("cloud", &cloud_config, &cloud_data);
    at_cloud.until_subscribed(2);
    link.set(State::Up);
    publish("office", cloud_port, messages("rooms/plant-a/chat", 10, 20));
    up.until(&at_cloud, "plants/plant-a/events", 0..160);
    // Both ways, and nothing goes back: each of either side is seen once at either side.
    up.until(&at_cloud, "rooms/plant-a/chat", 0..20);
    down.until(&at_plant, "chat", 0..20);
    std::thread::sleep(Duration::from_secs(1));
    up.until(&at_cloud, "rooms/plant-a/chat", 0..20);
    down.until(&at_plant, "chat", 0..20);
    assert!(up.by_topic.keys().all(|topic| !topic.contains("brief")), "{:?}", up.by_topic.keys());
    until("all is acknowledged at both ends", || {
        let (b, c) = (status_at(gateway.http)["bridge"].clone(), status_at(bridge.http)["gateways"]["plant-a"]["bridge"].clone());
        b["waiting"] == 0 && b["received"] == 40 && c["down"] == 40 && c["up"] == 170 && c["expired"] == 10 && c["waiting"] == 0
    });
    // Apart from readings.
    assert_eq!(status_at(gateway.http)["ledger"]["accepted"], 0);
    assert_eq!((gateway.stop(), bridge.stop()), (Some(0), Some(0)));
}

/// A durable subscriber, through restarts of the gateway, that takes less than a thousand messages a second; what it
/// hears, the largest number when it is subscribed. It ends with the channel.
fn durable_subscriber(port: u16, filter: &'static str, heard: Sender<u64>) {
    std::thread::spawn(move || {
        let mut options = MqttOptions::new("durable", "127.0.0.1", port);
        options.set_clean_session(false);
        let (client, mut connection) = Client::new(options, 10);
        let mut is_granted = false;
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::ConnAck(ack))) if is_granted => assert!(ack.session_present),
                Ok(Event::Incoming(Packet::ConnAck(_))) => client.try_subscribe(filter, QoS::AtLeastOnce).unwrap(),
                Ok(Event::Incoming(Packet::SubAck(_))) => is_granted = heard.send(u64::MAX).is_ok(),
                Ok(Event::Incoming(Packet::Publish(p))) => {
                    std::thread::sleep(Duration::from_millis(1));
                    if heard.send(std::str::from_utf8(&p.payload).unwrap().parse().unwrap()).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    });
}

/// What the gateway has answered for reaches a durable subscriber that is there, though the gateway is killed while much
/// of it waits for that subscriber: at least once. After a stop in order nothing comes again.
#[test]
fn what_came_in_outlives_a_kill_until_a_durable_subscriber_has_it() {
    const COUNT: u64 = 12_000;
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let (edge_config, edge_data) = edge(dir.path(), edge_port, cloud_port, RULES);
    let (cloud_config, cloud_data) = cloud(dir.path(), &format!("listen = \"127.0.0.1:{cloud_port}\""));
    let mut bridge = Role::start("cloud", &cloud_config, &cloud_data);
    let mut gateway = Role::start("edge", &edge_config, &edge_data);
    let (sender, heard) = channel();
    durable_subscriber(edge_port, "orders/#", sender);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(u64::MAX), "subscribed");
    // The bridge has heard what this gateway wants.
    until("the gateway is connected", || status_at(bridge.http)["gateways"]["plant-a"]["online"] == true);
    publish("office", cloud_port, vec![("plants/plant-a/orders".into(), "0".into())]);
    let mut times = vec![0u32; COUNT as usize];
    let mut take_until = |what: &dyn Fn(&[u32]) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !what(&times) {
            let Ok(number) = heard.recv_timeout(Duration::from_secs(1)) else {
                let lacking = times.iter().filter(|count| **count == 0).count();
                assert!(Instant::now() < deadline, "{lacking} of {COUNT} are missing");
                continue;
            };
            times[number as usize] += 1;
        }
    };
    take_until(&|times| times[0] > 0);
    let messages = (1..COUNT).map(|i| ("plants/plant-a/orders".to_owned(), i.to_string())).collect::<Vec<_>>();
    let publisher = publish_all_as("office", cloud_port, messages, Duration::ZERO);
    for killed_at in [1_000, 3_000, 6_000] {
        take_until(&|times| times[killed_at] > 0);
        gateway.kill();
        gateway = Role::start("edge", &edge_config, &edge_data);
    }
    assert_eq!(publisher.join().unwrap(), COUNT as usize - 1);
    take_until(&|times| times.iter().all(|count| *count > 0));
    let told = |http: u16| status_at(http)["bridge"].clone();
    until("all is counted", || told(gateway.http)["received"] == COUNT);
    assert_eq!(told(gateway.http)["unheld"], 0);
    // Stopped in order: nothing of it comes again, and what is new does.
    assert_eq!(gateway.stop(), Some(0));
    gateway = Role::start("edge", &edge_config, &edge_data);
    while heard.try_recv().is_ok() {}
    publish("office", cloud_port, vec![("plants/plant-a/orders".into(), (COUNT - 1).to_string())]);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(COUNT - 1));
    assert_eq!((gateway.stop(), bridge.stop()), (Some(0), Some(0)));
}

/// Of what waits on either side of a link that is gone, what is too old when it is back is counted
/// and not delivered, and the rest is, once.
#[test]
fn what_is_too_old_when_the_link_is_back_is_counted_and_the_rest_crosses_once() {
    const RULES: &str = "[[bridge]]\nfilter = \"up/brief/#\"\nttl = \"8s\"\n\
        [[bridge]]\nfilter = \"up/#\"\nttl = \"10m\"\n\
        [[bridge]]\nfilter = \"down/brief/#\"\ndirection = \"in\"\nttl = \"8s\"\n\
        [[bridge]]\nfilter = \"down/#\"\ndirection = \"in\"\nttl = \"10m\"\n";
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let link = Link::to(cloud_port);
    let (edge_config, edge_data) = edge(dir.path(), edge_port, link.port, RULES);
    let (cloud_config, cloud_data) = cloud(dir.path(), &format!("listen = \"127.0.0.1:{cloud_port}\""));
    let mut bridge = Role::start("cloud", &cloud_config, &cloud_data);
    let mut gateway = Role::start("edge", &edge_config, &edge_data);
    let (at_cloud, at_plant) = (consume(cloud_port, &["plants/#"]), consume(edge_port, &["down/#"]));
    let (mut up, mut down) = (Heard::default(), Heard::default());
    let both = |what: &str, from: u64, to: u64| {
        publish("press", edge_port, messages(&format!("up/{what}"), from, to));
        publish("office", cloud_port, messages(&format!("plants/plant-a/down/{what}"), from, to));
    };
    let told = || (status_at(gateway.http)["bridge"].clone(), status_at(bridge.http)["gateways"]["plant-a"]["bridge"].clone());
    // The way stands, both ways, before anything goes that may become too old on it.
    until("the gateway is connected, and online at the bridge", || {
        status_at(gateway.http)["connected"] == true && status_at(bridge.http)["gateways"]["plant-a"]["online"] == true
    });
    both("long", 0, 2);
    up.until(&at_cloud, "plants/plant-a/up/long", 0..2);
    down.until(&at_plant, "down/long", 0..2);
    both("brief", 0, 4);
    up.until(&at_cloud, "plants/plant-a/up/brief", 0..4);
    down.until(&at_plant, "down/brief", 0..4);
    until("both ends know that they crossed", || {
        let (here, there) = told();
        here["waiting"] == 0 && there["waiting"] == 0 && there["down"] == 6
    });

    link.set(State::Cut);
    both("brief", 4, 14);
    both("long", 2, 8);
    until("what is too old is counted at both ends, though nothing comes", || {
        let (here, there) = told();
        [&here["expired"], &here["waiting"], &there["expired"], &there["waiting"]].map(|v| v.as_u64().unwrap()) == [10, 6, 10, 6]
    });
    link.set(State::Up);
    up.until(&at_cloud, "plants/plant-a/up/long", 0..8);
    down.until(&at_plant, "down/long", 0..8);
    until("all is acknowledged, and the sums are right", || {
        let (here, there) = told();
        let sums =
            [&here["taken"], &here["delivered"], &here["expired"], &here["received"], &there["up"], &there["down"], &there["expired"]];
        // At the cloud, what was too old at either end.
        sums.map(|v| v.as_u64().unwrap()) == [22, 12, 10, 12, 12, 12, 20]
    });
    up.until(&at_cloud, "plants/plant-a/up/brief", 0..4);
    down.until(&at_plant, "down/brief", 0..4);
    let metrics = crate::gateway::get_at(gateway.http, "/metrics").1;
    assert!(metrics.lines().any(|line| line == "tidegate_bridge_expired_total 10"), "{metrics}");
    assert_eq!((gateway.stop(), bridge.stop()), (Some(0), Some(0)));
}

/// Out, in and both at a broker with nobody behind it: at least once. An outage and a kill of the
/// gateway lose nothing; what was under way then may come twice.
fn alone(broker: u16) {
    let dir = tempfile::tempdir().unwrap();
    let edge_port = free_port();
    let link = Link::to(broker);
    let rules = RULES.replace("[[bridge]]\n", "[[bridge]]\ndelivery = \"broker\"\n");
    let (config, data) = edge(dir.path(), edge_port, link.port, &rules);
    let mut gateway = Role::start("edge", &config, &data);
    let at_cloud = consume(broker, &["plants/#", "rooms/#"]);
    let at_plant = consume(edge_port, &["orders/#", "chat/#"]);
    let (mut up, mut down) = (Heard { repeats: true, ..Heard::default() }, Heard { repeats: true, ..Heard::default() });
    publish("press", edge_port, messages("events", 0, 40));
    up.until(&at_cloud, "plants/plant-a/events", 0..40);
    until("the broker's acknowledgements are logged", || status_at(gateway.http)["bridge"]["waiting"] == 0);
    assert_eq!(status_at(gateway.http)["bridge"]["delivery"], "at-least-once");
    publish("press", edge_port, messages("chat", 0, 10));
    publish("office", broker, messages("plants/plant-a/orders", 0, 20));
    up.until(&at_cloud, "rooms/plant-a/chat", 0..10);
    publish("office", broker, messages("rooms/plant-a/chat", 10, 20));
    up.until(&at_cloud, "rooms/plant-a/chat", 0..20);
    down.until(&at_plant, "orders", 0..20);
    down.until(&at_plant, "chat", 0..20);
    link.set(State::Cut);
    publish("press", edge_port, messages("events", 40, 100));
    gateway.kill();
    // The broker keeps what is for us, in the session.
    publish("office", broker, messages("plants/plant-a/orders", 20, 40));
    gateway = Role::start("edge", &config, &data);
    at_plant.until_subscribed(2);
    link.set(State::Up);
    up.until(&at_cloud, "plants/plant-a/events", 0..100);
    down.until(&at_plant, "orders", 0..40);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn mosquitto_alone_gets_everything_at_least_once() {
    if let Some(mosquitto) = foreign::mosquitto() {
        alone(mosquitto.port);
    }
}

#[test]
fn nats_alone_gets_everything_at_least_once() {
    if let Some(nats) = foreign::nats() {
        alone(nats.port);
    }
}

#[test]
fn a_broker_that_stands_alone_gets_everything_at_least_once() {
    alone(foreign::rumqttd());
}
