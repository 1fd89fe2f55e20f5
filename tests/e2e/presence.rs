//! Who is online, as a consumer sees it: killed, frozen, thawed, and after a restart of the bridge.

use crate::gateway::status_at;
use crate::plant::{PATIENCE, Role, configs, consume, free_port, publish_all_as};
use crate::strain::Strain;
use serde_json::Value;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Within this time of losing a gateway its status says so (contract §4).
const LOST: Duration = Duration::from_secs(15);

/// Waits for a status that says so; how long it took.
fn until(received: &Receiver<(String, Value)>, online: bool) -> Duration {
    let began = Instant::now();
    loop {
        let left = PATIENCE.checked_sub(began.elapsed()).unwrap_or_else(|| panic!("not seen: online = {online}"));
        let Ok((topic, v)) = received.recv_timeout(left) else { continue };
        assert_eq!((topic.as_str(), &v["gateway"]), ("gateways/plant-a/status", &Value::from("plant-a")));
        for key in ["accepted", "delivered", "held", "shed", "local", "frontier", "seen"] {
            assert!(v[key].is_number(), "{key} in {v}");
        }
        assert_eq!(v["boot"].as_str().map(str::len), Some(16));
        if v["online"] == online {
            return began.elapsed();
        }
    }
}

#[test]
fn a_gateway_is_offline_soon_after_it_is_lost_however_it_is_lost() {
    let _apart = crate::apart::measuring();
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let (edge_config, cloud_config) = configs(dir.path(), edge_port, cloud_port);
    let (edge_data, cloud_data) = (dir.path().join("edge"), dir.path().join("cloud"));
    let mut cloud = Role::start("cloud", &cloud_config, &cloud_data);
    let mut edge = Role::start("edge", &edge_config, &edge_data);
    let received = consume(cloud_port, &["gateways/#"]);
    until(&received, true);

    // Frozen: its connections stand, and nobody says goodbye.
    let strain = Strain::begin(Some(dir.path()));
    edge.freeze();
    let took = until(&received, false);
    assert!(took <= strain.allows(LOST), "frozen, and seen only after {took:?}");
    edge.thaw();
    until(&received, true);

    // Quiet is not lost: nothing is measured here at all, and it stays online.
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(13) {
        if let Ok((_, v)) = received.recv_timeout(Duration::from_millis(200)) {
            assert_eq!(v["online"], true, "{v}");
        }
    }

    edge.kill();
    let took = until(&received, false);
    assert!(took <= strain.allows(LOST), "killed, and seen only after {took:?}");
    edge = Role::start("edge", &edge_config, &edge_data);
    until(&received, true);

    // A bridge that starts knows nobody until they speak.
    edge.kill();
    cloud.kill();
    cloud = Role::start("cloud", &cloud_config, &cloud_data);
    until(&received, false);
    edge = Role::start("edge", &edge_config, &edge_data);
    until(&received, true);
    assert_eq!((edge.stop(), cloud.stop()), (Some(0), Some(0)));
}

/// A device that was cloned, or a name given twice: no reading is lost, and it is told.
#[test]
fn two_processes_under_one_name_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let (edge_config, cloud_config) = configs(dir.path(), edge_port, cloud_port);
    let mut cloud = Role::start("cloud", &cloud_config, &dir.path().join("cloud"));
    let mut edge = Role::start("edge", &edge_config, &dir.path().join("edge"));
    let text = std::fs::read_to_string(&edge_config).unwrap();
    let (other_config, other_data) = (dir.path().join("other.toml"), dir.path().join("other"));
    let text = text.replace(&dir.path().join("edge").display().to_string(), &other_data.display().to_string());
    std::fs::write(&other_config, text.replace(&edge_port.to_string(), "0")).unwrap();
    let mut other = Role::start("edge", &other_config, &other_data);
    let received = consume(cloud_port, &["gateways/plant-a/status"]);
    let (began, mut accepted) = (Instant::now(), 0);
    loop {
        for (port, client) in [(edge.mqtt, "here"), (other.mqtt, "there")] {
            let reading = (format!("sensors/{client}"), format!("{{\"value\":{accepted},\"ts\":{}}}", 1_700_000_000_000u64 + accepted));
            assert_eq!(publish_all_as(client, port, vec![reading], Duration::ZERO).join().unwrap(), 1);
            accepted += 1;
        }
        let told = received.try_iter().last().map(|(_, v)| v["conflict"].clone());
        if told.is_some_and(|boots| boots.as_array().is_some_and(|boots| boots.len() == 2)) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it is not told");
        std::thread::sleep(Duration::from_millis(700));
    }
    let deadline = Instant::now() + PATIENCE;
    while status_at(cloud.http)["gateways"]["plant-a"]["delivered"] != accepted {
        assert!(Instant::now() < deadline, "{}", status_at(cloud.http));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((edge.stop(), other.stop(), cloud.stop()), (Some(0), Some(0), Some(0)));
}
