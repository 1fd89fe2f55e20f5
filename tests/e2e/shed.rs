//! Giving up: under an outage that the log has no room for, new readings are taken, the oldest
//! windows are given up, and every reading is in one figure of the ledger.

use crate::gateway::status_at;
use crate::plant::{Consumer, Role, consume, free_port, publish_all_as};
use crate::wire::Wire;
use broker::Version::V5;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SERIES: usize = 20;
/// Messages of a series, and readings of each, every one in a window of its own.
const MESSAGES: i64 = 120;
const READINGS: i64 = 100;

/// From 0 to 500, every bit of it: what repeats would take no room.
fn noise(ts: i64, series: usize) -> f64 {
    let mut x = (ts as u64).wrapping_mul(SERIES as u64).wrapping_add(series as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64 * 500.0
}

/// accepted, delivered, held, shed; they balance.
fn ledger(ledger: &Value) -> [u64; 4] {
    let figures = ["accepted", "delivered", "held", "shed"].map(|name| ledger[name].as_u64().unwrap());
    assert_eq!(figures[0], figures[1] + figures[2] + figures[3] + ledger["local"].as_u64().unwrap(), "{ledger}");
    figures
}

/// Configs of a gateway with a small log and of its bridge, on a port that is free.
fn write_configs(dir: &Path, limit: &str) -> (PathBuf, PathBuf, u16) {
    let port = free_port();
    let (edge, cloud) = (dir.join("edge.toml"), dir.join("cloud.toml"));
    let d = dir.display();
    let text = format!(
        "gateway = \"plant-a\"\ndata_dir = \"{d}/edge\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{port}\"\nevery = \"1s\"\n[windows]\nsizes = [\"1s\"]\ngrace = \"0s\"\n[log]\nlimit = \"{limit}\"\n"
    );
    std::fs::write(&edge, text).unwrap();
    let text = format!("data_dir = \"{d}/cloud\"\n[mqtt]\nlisten = \"127.0.0.1:{port}\"\n[http]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(&cloud, text).unwrap();
    (edge, cloud, port)
}

/// The link is back: what the cloud lacks in the end is what was given up. Gives the readings of each window there, the
/// gateway's figures and its status.
fn drained(gateway: &Role, bridge: &Role, received: &Consumer) -> (HashMap<(String, i64), u64>, [u64; 4], Value) {
    let mut windows: HashMap<(String, i64), u64> = HashMap::new();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let told = status_at(gateway.http);
        let [accepted, delivered, held, shed] = ledger(&told["ledger"]);
        while let Ok((_, v)) = received.recv_timeout(Duration::from_millis(20)) {
            let key = (v["series"].as_str().unwrap().to_owned(), v["start"].as_i64().unwrap());
            windows.insert(key, v["count"].as_u64().unwrap());
        }
        let merged: u64 = windows.values().sum();
        if held == 0 && told["marks_held"] == 0 && merged + shed == accepted {
            assert!(shed > 0 && shed < accepted && delivered == merged);
            let at_cloud = ledger(&status_at(bridge.http)["gateways"]["plant-a"]["ledger"]);
            assert_eq!(at_cloud, [accepted, delivered, 0, shed]);
            return (windows, [accepted, delivered, held, shed], told);
        }
        assert!(Instant::now() < deadline, "{merged} merged; {told}");
    }
}

#[test]
fn an_outage_beyond_the_log_gives_up_the_oldest_windows_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, cloud, port) = write_configs(dir.path(), "2MiB");
    let mut gateway = Role::start("edge", &edge, &dir.path().join("edge"));

    let messages = (0..MESSAGES).flat_map(|m| {
        (0..SERIES).map(move |s| {
            let readings = (0..READINGS).map(|r| {
                let ts = 1_700_000_000_000 + (m * READINGS + r) * 1_000;
                format!("{{\"value\":{},\"ts\":{ts}}}", noise(ts, s))
            });
            (format!("sensors/line/s{s}"), format!("[{}]", readings.collect::<Vec<_>>().join(",")))
        })
    });
    let messages: Vec<_> = messages.collect();
    let sent = messages.len();
    let publisher = publish_all_as("press", gateway.mqtt, messages, Duration::from_millis(4));
    while !publisher.is_finished() {
        ledger(&status_at(gateway.http)["ledger"]);
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(publisher.join().unwrap(), sent, "new readings are taken throughout");
    let all = SERIES as u64 * (MESSAGES * READINGS) as u64;
    let deadline = Instant::now() + Duration::from_secs(120);
    let before = loop {
        let told = status_at(gateway.http);
        let figures = ledger(&told["ledger"]);
        if figures[0] == all && figures[3] > 0 {
            assert!(told["log_bytes"].as_u64() <= told["log_limit_bytes"].as_u64(), "{told}");
            break figures;
        }
        assert!(Instant::now() < deadline, "{told}");
        std::thread::sleep(Duration::from_millis(200));
    };
    // What was given up stays so through a crash.
    gateway.kill();
    let mut gateway = Role::start("edge", &edge, &dir.path().join("edge"));
    let again = ledger(&status_at(gateway.http)["ledger"]);
    assert!(again[0] == all && again[3] >= before[3], "{again:?} after {before:?}");

    // Nothing is published before somebody listens.
    gateway.freeze();
    let mut bridge = Role::start("cloud", &cloud, &dir.path().join("cloud"));
    let received = consume(port, &["merged/#"]);
    gateway.thaw();
    let (windows, [accepted, ..], told) = drained(&gateway, &bridge, &received);
    let oldest = windows.keys().map(|(_, start)| *start).min().unwrap();
    assert!(oldest > 1_700_000_000_000, "the oldest windows went first");
    // Marks and windows take some 40 bytes each, and went once.
    assert!(told["uplink_bytes"].as_u64().unwrap() < 3 * 40 * accepted, "{told}");
    assert_eq!((gateway.stop(), bridge.stop()), (Some(0), Some(0)));
}

/// What marks leave of the parts that windows were in must not fill the log: it is given up and taken for as long as the
/// outage lasts.
#[test]
fn an_outage_that_lasts_ends_in_no_refusal() {
    const MESSAGES: i64 = 3_300;
    const READINGS: i64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let (edge, cloud, port) = write_configs(dir.path(), "2560KiB");
    let mut gateway = Role::start("edge", &edge, &dir.path().join("edge"));
    let mut sensor = Wire::clean(([127, 0, 0, 1], gateway.mqtt).into(), V5, "press");
    for message in 0..MESSAGES {
        let (series, turn) = ((message % 20) as usize, message / 20);
        // Ten in a window: what is given up was a lot, and leaves little.
        let readings = (0..READINGS).map(|r| {
            let ts = 1_700_000_000_000 + (turn * READINGS + r) * 100;
            format!("{{\"value\":{},\"ts\":{ts}}}", noise(ts, series))
        });
        let payload = format!("[{}]", readings.collect::<Vec<_>>().join(","));
        let began = Instant::now();
        while sensor.say(&format!("sensors/line/s{series}"), &payload) != 0 {
            assert!(began.elapsed() < Duration::from_secs(5), "message {message}: {}", status_at(gateway.http));
            std::thread::sleep(Duration::from_millis(20));
        }
        if message % 50 == 0 {
            let told = status_at(gateway.http);
            ledger(&told["ledger"]);
            assert!(told["log_bytes"].as_u64() <= told["log_limit_bytes"].as_u64(), "{told}");
        }
    }
    gateway.freeze();
    let mut bridge = Role::start("cloud", &cloud, &dir.path().join("cloud"));
    let received = consume(port, &["merged/#"]);
    gateway.thaw();
    let (_, [accepted, ..], _) = drained(&gateway, &bridge, &received);
    assert_eq!(accepted, (MESSAGES * READINGS) as u64);
    assert_eq!((gateway.stop(), bridge.stop()), (Some(0), Some(0)));
}
