//! PUBLISH → merged topic, through real processes that are killed on the way: a client with a
//! persistent session and timed payloads, ten `kill -9` of gateway and bridge in turn.

use crate::plant::{PATIENCE, Role, configs, consume, free_port, publish_all};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Sent in about 16 s, so that the kills fall into the load.
const READINGS: i64 = 8_000;
const KILLS: usize = 10;
const BETWEEN_KILLS: Duration = Duration::from_millis(1_500);

#[test]
fn every_acknowledged_reading_is_merged_once_through_kills_of_both_roles() {
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let (edge_config, cloud_config) = configs(dir.path(), edge_port, cloud_port);
    let (edge_data, cloud_data) = (dir.path().join("edge"), dir.path().join("cloud"));
    let mut cloud = Role::start("cloud", &cloud_config, &cloud_data);
    let mut edge = Role::start("edge", &edge_config, &edge_data);
    assert_eq!((edge.mqtt, cloud.mqtt), (edge_port, cloud_port));
    assert!(std::net::TcpStream::connect(("127.0.0.1", edge.http)).is_ok());
    let received = consume(cloud_port, &["merged/1s/#", "alerts/#"]);

    // Ten series, three readings a second of plant time, the last of one beyond its limit.
    let base = 1_700_000_000_000i64;
    let mut truth: BTreeMap<(String, i64), (u64, f64)> = BTreeMap::new();
    let mut messages = Vec::new();
    for i in 0..READINGS {
        let series = format!("line/m{}/temperature", i % 10);
        let value = if i == READINGS - 1 { 97.2 } else { 20.0 + ((i * 7_919) % 1_000) as f64 / 100.0 };
        let time = base + (i / 10) * 333;
        let window = truth.entry((series.clone(), time - time.rem_euclid(1_000))).or_insert((0, 0.0));
        window.0 += 1;
        window.1 += value;
        messages.push((format!("sensors/{series}"), format!("{{\"value\":{value},\"ts\":{time}}}")));
    }
    let sent = messages.len();
    let publisher = publish_all(edge_port, messages);
    for kill in 0..KILLS {
        std::thread::sleep(BETWEEN_KILLS);
        if kill % 2 == 0 {
            edge.kill();
            edge = Role::start("edge", &edge_config, &edge_data);
        } else {
            cloud.kill();
            cloud = Role::start("cloud", &cloud_config, &cloud_data);
        }
    }
    assert_eq!(publisher.join().unwrap(), sent, "every reading is acknowledged");

    let mut merged: BTreeMap<(String, i64), (u64, f64, u64)> = BTreeMap::new();
    let mut alerts = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    let right = |merged: &BTreeMap<(String, i64), (u64, f64, u64)>| {
        truth.iter().all(|(k, (count, sum))| merged.get(k).is_some_and(|(c, s, _)| c == count && (s - sum).abs() <= 1e-9 * sum.abs()))
    };
    while Instant::now() < deadline && !(right(&merged) && merged.len() == truth.len() && !alerts.is_empty()) {
        let Ok((topic, v)) = received.recv_timeout(Duration::from_secs(1)) else { continue };
        if topic.starts_with("alerts/critical/") {
            *alerts.entry(v["id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        } else if topic.starts_with("merged/") {
            let key = (v["series"].as_str().unwrap().to_owned(), v["start"].as_i64().unwrap());
            let now = (v["count"].as_u64().unwrap(), v["sum"].as_f64().unwrap(), v["revision"].as_u64().unwrap());
            let before = merged.entry(key).or_insert(now);
            if now.2 >= before.2 {
                *before = now;
            }
        }
    }
    let wrong: Vec<_> =
        truth.iter().filter(|(k, t)| merged.get(*k).is_none_or(|m| m.0 != t.0)).map(|(k, t)| (k, t, merged.get(k))).take(5).collect();
    assert!(right(&merged), "{} of {} windows there; wrong: {wrong:?}", merged.len(), truth.len());
    assert_eq!(alerts.len(), 1, "one critical alert: {alerts:?}");
    assert_eq!(edge.stop(), Some(0));
    assert_eq!(cloud.stop(), Some(0));
}
