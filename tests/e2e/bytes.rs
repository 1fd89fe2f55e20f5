//! What a window costs on the uplink, against the same readings bridged raw over MQTT QoS 1.

use crate::link::Link;
use crate::plant::{Role, consume, free_port, publish_all_as};
use crate::truth::{Held, Truth};
use std::time::{Duration, Instant};

const SERIES: i64 = 200;
/// Plant time.
const SECONDS: i64 = 180;

/// Readings of every series once a second, through a counted link; bytes raw for each byte sent.
fn ratio(size: (&'static str, i64)) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let (cloud_config, edge_config) = (dir.path().join("cloud.toml"), dir.path().join("edge.toml"));
    let (cloud_data, edge_data) = (dir.path().join("cloud"), dir.path().join("edge"));
    let http = "[http]\nlisten = \"127.0.0.1:0\"\n";
    let text = format!("data_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:{port}\"\n{http}", cloud_data.display().to_string());
    std::fs::write(&cloud_config, text).unwrap();
    let link = Link::to(port);
    let text = format!(
        "gateway = \"plant-a\"\ndata_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:0\"\n{http}[cloud]\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [windows]\nsizes = [{:?}]\n",
        edge_data.display().to_string(),
        link.port,
        size.0
    );
    std::fs::write(&edge_config, text).unwrap();
    let mut cloud = Role::start("cloud", &cloud_config, &cloud_data);
    let began = Instant::now();
    let mut edge = Role::start("edge", &edge_config, &edge_data);
    let received = consume(port, &["merged/#"]);

    let (mut truth, mut messages, mut raw) = (Truth::default(), Vec::new(), 0);
    for second in 0..SECONDS {
        for number in 0..SERIES {
            let series = format!("line{}/machine{}/temperature", number % 10, number / 10);
            let noise = (second * 7_919 + number * 104_729) % 200;
            let value = (2_000 + number * 10 + noise) as f64 / 100.0;
            let time = 1_699_999_980_000 + second * 1_000 + number;
            truth.add(&[size], &series, time, value);
            let (topic, payload) = (format!("sensors/{series}"), format!("{{\"value\":{value},\"ts\":{time},\"unit\":\"°C\"}}"));
            // PUBLISH: head, topic, packet id, payload; PUBACK.
            raw += 2 + 2 + topic.len() + 2 + payload.len() + 4;
            messages.push((topic, payload));
        }
    }
    let sent = messages.len();
    assert_eq!(publish_all_as("plant", edge.mqtt, messages, Duration::ZERO).join().unwrap(), sent);
    Held::default().settle(&received, &truth, Duration::from_secs(120));
    // Signs of life and pings are not for windows, and a slow machine has more of them.
    let used = link.bytes() - 16 * began.elapsed().as_secs();
    assert_eq!((edge.stop(), cloud.stop()), (Some(0), Some(0)));
    println!(
        "{SERIES} series x {SECONDS} s in {} windows: {raw} bytes raw, {used} on the uplink: 1/{:.0}",
        size.0,
        raw as f64 / used as f64
    );
    raw as f64 / used as f64
}

#[test]
fn minutes_cost_less_than_a_150th_of_the_readings() {
    assert!(ratio(("1m", 60_000)) >= 150.0);
}

#[test]
fn ten_seconds_cost_less_than_a_30th_of_the_readings() {
    assert!(ratio(("10s", 10_000)) >= 30.0);
}
