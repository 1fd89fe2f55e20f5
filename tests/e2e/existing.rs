//! The bridge against a broker that is already there and away for a while: rumqttd, and those of
//! the distribution where they are installed.

use crate::foreign;
use crate::gateway::{get_at, status_at};
use crate::plant::{PATIENCE, Role, configs, consume, free_port, publish_all};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A way to the broker that can be cut: the broker itself lives on.
struct Way {
    port: u16,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Self { port: listener.local_addr().unwrap().port(), cut: Arc::default(), open: Arc::default() };
        let (cut, open) = (way.cut.clone(), way.open.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) else { continue };
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || carry(client, server));
                std::thread::spawn(move || carry(pair.1, pair.0));
            }
        });
        way
    }

    fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            // It may have ended already.
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16_384];
    while let Ok(read) = from.read(&mut buffer)
        && read > 0
        && to.write_all(&buffer[..read]).is_ok()
    {}
    drop(to.shutdown(std::net::Shutdown::Both));
}

fn is_ready(port: u16, ready: bool) {
    let deadline = Instant::now() + PATIENCE;
    while (get_at(port, "/readyz").0 == 200) != ready {
        assert!(Instant::now() < deadline, "readyz should be {ready}: {:?}", get_at(port, "/readyz"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_bridge_works_at_an_existing_broker_through_an_outage_and_a_kill() {
    a_bridge_works_at(foreign::rumqttd());
}

#[test]
fn a_bridge_works_at_mosquitto() {
    if let Some(mosquitto) = foreign::mosquitto() {
        a_bridge_works_at(mosquitto.port);
    }
}

#[test]
fn a_bridge_works_at_nats() {
    if let Some(nats) = foreign::nats() {
        a_bridge_works_at(nats.port);
    }
}

fn a_bridge_works_at(broker: u16) {
    let dir = tempfile::tempdir().unwrap();
    let way = Way::to(broker);
    let edge_port = free_port();
    let (edge_config, cloud_config) = configs(dir.path(), edge_port, broker);
    let (edge_data, cloud_data) = (dir.path().join("edge"), dir.path().join("cloud"));
    std::fs::write(
        &cloud_config,
        format!(
            "data_dir = \"{}\"\n[mqtt]\nbroker = \"mqtt://127.0.0.1:{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
            cloud_data.display(),
            way.port
        ),
    )
    .unwrap();
    let mut cloud = Role::start("cloud", &cloud_config, &cloud_data);
    is_ready(cloud.http, true);
    let received = consume(broker, &["merged/1s/#", "alerts/#", "gateways/#"]);
    let mut edge = Role::start("edge", &edge_config, &edge_data);

    let base = 1_700_000_000_000i64;
    let mut truth: BTreeMap<(String, i64), u64> = BTreeMap::new();
    let mut messages = Vec::new();
    for i in 0..4_000i64 {
        let series = format!("line/m{}/temperature", i % 10);
        let value = if i == 3_999 { 97.2 } else { 20.0 + (i % 100) as f64 / 10.0 };
        let time = base + (i / 10) * 333;
        *truth.entry((series.clone(), time - time.rem_euclid(1_000))).or_insert(0) += 1;
        messages.push((format!("sensors/{series}"), format!("{{\"value\":{value},\"ts\":{time}}}")));
    }
    let publisher = publish_all(edge_port, messages);
    std::thread::sleep(Duration::from_millis(700));
    way.cut(true);
    is_ready(cloud.http, false);
    assert!(get_at(cloud.http, "/readyz").1.contains("broker"));
    way.cut(false);
    is_ready(cloud.http, true);
    cloud.kill();
    cloud = Role::start("cloud", &cloud_config, &cloud_data);
    publisher.join().unwrap();

    let mut merged: BTreeMap<(String, i64), u64> = BTreeMap::new();
    let (mut alerts, mut online) = (0, false);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !(merged == truth && alerts > 0 && online) {
        let Ok((topic, v)) = received.recv_timeout(Duration::from_secs(1)) else { continue };
        match topic.split('/').next() {
            Some("alerts") => alerts += 1,
            Some("gateways") => online = v["online"] == true,
            // A newer revision never comes before an older one, from one process.
            _ => {
                let key = (v["series"].as_str().unwrap().to_owned(), v["start"].as_i64().unwrap());
                merged.insert(key, v["count"].as_u64().unwrap());
            }
        }
    }
    let wrong: Vec<_> = truth.iter().filter(|(k, count)| merged.get(*k) != Some(count)).take(5).collect();
    assert!(wrong.is_empty(), "{} of {} windows are there; wrong: {wrong:?}", merged.len(), truth.len());
    assert!(alerts > 0 && online, "alerts {alerts}, online {online}");

    // All was acknowledged by the broker: the cursor says so, and a clean start repeats nothing.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status_at(cloud.http);
        let ledger = &status["gateways"]["plant-a"]["ledger"];
        if status["records_unpublished"] == 0 && ledger["delivered"] == 4_000 {
            assert_eq!((&ledger["held"], &ledger["accepted"], &status["broker_connected"]), (&0.into(), &4_000.into(), &true.into()));
            break;
        }
        assert!(Instant::now() < deadline, "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(edge.stop(), Some(0));
    assert_eq!(cloud.stop(), Some(0));
    while received.recv_timeout(Duration::from_secs(3)).is_ok() {}
    cloud = Role::start("cloud", &cloud_config, &cloud_data);
    is_ready(cloud.http, true);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut statuses = 0;
    while statuses == 0 && Instant::now() < deadline {
        if let Ok((topic, v)) = received.recv_timeout(Duration::from_millis(500)) {
            assert!(topic.starts_with("gateways/"), "{topic} is repeated after a clean stop");
            assert_eq!(v["online"], false);
            statuses += 1;
        }
    }
    assert_eq!(statuses, 1, "whoever has not spoken to this process is offline");
    assert_eq!(cloud.stop(), Some(0));
}
