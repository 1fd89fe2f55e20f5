//! Another speaks under a gateway's boot: a virtual machine resumed from a live snapshot, played
//! by an interval that this gateway never sent. The gateway goes on under a boot of its own, in
//! the same process, and what it cannot tell any more is told as shed.

use crate::gateway::status_at;
use crate::plant::{Role, consume, free_port, publish_all};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use schemas::message::{Delta, FORMAT};
use serde_json::Value;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

fn until(http: u16, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // While it begins again nobody answers.
        let answers = TcpStream::connect(("127.0.0.1", http)).is_ok();
        let told = if answers { std::panic::catch_unwind(|| status_at(http)).unwrap_or_default() } else { Value::Null };
        if holds(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "never {what}: {told}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn readings(from: u64, count: u64) -> Vec<(String, String)> {
    let reading = |n: u64| format!("{{\"value\":{},\"ts\":{}}}", n % 50, 1_700_000_000_000 + n * 100);
    (from..from + count).map(|n| ("sensors/line1/flow".to_owned(), reading(n))).collect()
}

/// Publishes one message at QoS 1, and waits until it is acknowledged.
fn say(port: u16, topic: &str, payload: Vec<u8>) {
    let (client, mut connection) = Client::new(MqttOptions::new("other", "127.0.0.1", port), 10);
    client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
    let acked = connection.iter().any(|event| matches!(event, Ok(Event::Incoming(Packet::PubAck(_)))));
    assert!(acked);
}

#[test]
fn who_finds_another_under_its_boot_goes_on_under_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().display();
    let (mqtt, http, cloud_mqtt) = (free_port(), free_port(), free_port());
    let edge = format!(
        "gateway = \"plant-a\"\ndata_dir = \"{d}/edge\"\n[mqtt]\nlisten = \"127.0.0.1:{mqtt}\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{cloud_mqtt}\"\nevery = \"1s\"\n[windows]\nsizes = [\"1s\"]\ngrace = \"1s\"\n"
    );
    let cloud = format!("data_dir = \"{d}/cloud\"\n[mqtt]\nlisten = \"127.0.0.1:{cloud_mqtt}\"\n[http]\nlisten = \"127.0.0.1:0\"\n");
    let paths = (dir.path().join("edge.toml"), dir.path().join("cloud.toml"));
    std::fs::write(&paths.0, edge).unwrap();
    std::fs::write(&paths.1, cloud).unwrap();
    let bridge = Role::start("cloud", &paths.1, &dir.path().join("cloud"));
    let alerts = consume(cloud_mqtt, &["alerts/#"]);
    let mut gateway = Role::start("edge", &paths.0, &dir.path().join("edge"));

    assert_eq!(publish_all(mqtt, readings(0, 200)).join().unwrap(), 200);
    let before = until(http, "delivered", |s| s["ledger"]["delivered"] == 200);
    let boot = before["boot"].as_str().unwrap().to_owned();
    let other = Delta {
        format: FORMAT,
        boot: u64::from_str_radix(&boot, 16).unwrap(),
        to: 1_000_000,
        number: 9,
        readings_to: 200,
        accepted: 200,
        sizes: vec![1_000],
        grace_ms: 1_000,
        hash_to: 0xabcd,
        ..Delta::default()
    };
    say(cloud_mqtt, "bridge/v1/plant-a/up/delta", other.encode());

    // Sensors go on through it: their session, and what was not acknowledged, are there again.
    assert_eq!(publish_all(mqtt, readings(200, 300)).join().unwrap(), 300);
    let after = until(http, "at rest under another boot", |s| {
        s["ledger"]["accepted"] == 500 && s["ledger"]["held"] == 0 && !s["forks"].is_null() && s["boot"] != boot.as_str()
    });
    assert_eq!(after["forks"][0]["boot"], boot.as_str(), "{after}");
    let shed = after["ledger"]["shed"].as_u64().unwrap();
    assert_eq!(after["forks"][0]["shed"], shed, "{after}");
    assert_eq!(after["ledger"]["delivered"].as_u64().unwrap() + shed, 500, "{after}");
    // The cloud comes to know the same.
    until(bridge.http, "known to the bridge", |told| {
        let ledger = &told["gateways"]["plant-a"]["ledger"];
        ledger["accepted"] == 500 && ledger["shed"] == shed && ledger["held"] == 0
    });
    let (topic, alert) = std::iter::from_fn(|| alerts.recv_timeout(PATIENCE).ok()).find(|(_, alert)| alert["kind"] == "conflict").unwrap();
    assert_eq!((topic.as_str(), &alert["state"]), ("alerts/warning/plant-a/tidegate/boot", &Value::from("active")));
    assert!(alert["message"].as_str().unwrap().contains(&boot), "{alert}");
    assert_eq!(gateway.stop(), Some(0));
}
