//! What a person and a Prometheus read of running roles while the link is down and when a gateway is gone.

use crate::gateway::{get_at, status_at, tidegate};
use crate::link::{Link, State};
use crate::plant::{PATIENCE, Role, configs, free_port};
use crate::wire::Wire;
use broker::Version::V5;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn text(arguments: &[&str], role: &Role) -> String {
    let url = format!("http://127.0.0.1:{}", role.http);
    let out = tidegate(&[arguments, &["--url", &url]].concat());
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn until(what: &str, mut seen: impl FnMut() -> Option<String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Some(seen) = seen() {
        assert!(Instant::now() < deadline, "not {what}: {seen}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until a page holds all of these.
fn until_read(page: impl Fn() -> String, parts: &[&str]) {
    until(&parts.join(", "), || {
        let page = page();
        (!parts.iter().all(|part| page.contains(part))).then_some(page)
    });
}

#[test]
fn what_is_held_refused_and_gone_is_read_in_status_figures_and_alarms() {
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let link = Link::to(cloud_port);
    let (edge_config, _) = configs(dir.path(), edge_port, link.port);
    let cloud_dir = dir.path().join("c");
    std::fs::create_dir_all(&cloud_dir).unwrap();
    let (_, cloud_config) = configs(&cloud_dir, edge_port, cloud_port);
    let cloud = Role::start("cloud", &cloud_config, &cloud_dir.join("cloud"));
    let mut edge = Role::start("edge", &edge_config, &dir.path().join("edge"));
    let mut sensor = Wire::clean(SocketAddr::from(([127, 0, 0, 1], edge_port)), V5, "sensor");
    assert_eq!(sensor.say("sensors/m10/temperature", "97"), 0);
    until_read(|| text(&["alarms"], &cloud), &["1 alarm: 1 active, 1 unacknowledged", "m10/temperature/high-high"]);

    link.set(State::Cut);
    for second in 0..200 {
        assert_eq!(sensor.say("sensors/m10/flow", &format!("{{\"value\":1,\"ts\":{}}}", 1_700_000_000_000_i64 + second * 1_000)), 0);
    }
    assert_eq!(sensor.say("sensors/m10/flow", "no reading"), 0x99);
    let metrics = |role: &Role| get_at(role.http, "/metrics").1;
    let refused = "tidegate_messages_refused_total{reason=\"payload\"} 1\n";
    let held = status_at(edge.http)["ledger"]["held"].as_u64().unwrap();
    assert!(held >= 200, "{held}");
    let figure = format!("tidegate_readings_held {held}\n");
    until_read(|| metrics(&edge), &[&figure, refused, "tidegate_build_info{version=\"", "tidegate_uplink_connected 0\n"]);
    // 200 windows of a second, all alike.
    let bytes = status_at(edge.http)["held_bytes"].as_u64().unwrap();
    assert!((200..100_000).contains(&bytes), "{bytes}");
    let page = text(&["status"], &edge);
    assert!(page.starts_with("gateway plant-a, version ") && page.lines().next().unwrap().ends_with(": ready"), "{page}");
    for part in ["  held       20", "refused    messages: 1 payload", "DOWN; ", "1 unacknowledged"] {
        assert!(page.contains(part), "{part}: {page}");
    }

    // The gateway is gone: the bridge's list says of when it is.
    edge.kill();
    until_read(|| text(&["alarms"], &cloud), &["plant-a is offline: its alarms are stale since 20", "m10/temperature/high-high"]);
    let figures = ["tidegate_gateway_online{gateway=\"plant-a\"} 0\n", "tidegate_gateway_readings_delivered_total{gateway=\"plant-a\"} "];
    until_read(|| metrics(&cloud), &figures);
    until_read(|| text(&["status"], &cloud), &["cloud bridge, version ", "gateways: 1, 0 online", "plant-a  OFFLINE", "merged windows"]);
    let json: Value = serde_json::from_str(&text(&["status", "--json"], &cloud)).unwrap();
    assert!(json["uptime_s"].is_u64() && json["gateways"]["plant-a"]["ledger"]["accepted"].is_u64(), "{json}");
}
