//! What a gateway must bear: messages that nobody expects, more than it can fold, and starts that
//! come to nothing.

use crate::gateway::{Gateway, get_at, status_at, tidegate, timed};
use crate::plant::{PATIENCE, Role, configs, free_port};
use crate::strain::Strain;
use crate::wire::{PUBACK, Publish, Wire};
use broker::Version::{V3, V5};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn no_topic_is_too_long_to_be_told_about() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let mut wire = Wire::clean(gateway.at(), V3, "sensor");
    // MQTT's longest, and characters that take many bytes to quote.
    for series in ["a".repeat(65_527), "\u{7f}".repeat(65_527), "\u{10ffff}".repeat(16_000)] {
        wire.publish(Publish { qos: 1, id: 1, ..Publish::of(&format!("sensors/{series}"), "1") });
        wire.expect(PUBACK, &[0, 1]);
    }
    for n in 0..3 {
        assert_eq!(wire.say("sensors/a", &timed(n)), 0);
    }
    gateway.has_accepted(3);
    assert_eq!(gateway.refused(), 3);
    gateway.kill_and_restart();
    gateway.has_accepted(3);
    assert_eq!(gateway.refused(), 3);
    assert!(gateway.verify_log().status.success());
}

#[test]
fn a_flood_holds_up_neither_the_link_nor_snapshots_nor_alerts() {
    const LASTS: Duration = Duration::from_secs(8);
    let _apart = crate::apart::loading();
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let (edge_config, cloud_config) = configs(dir.path(), edge_port, cloud_port);
    let _cloud = Role::start("cloud", &cloud_config, &dir.path().join("cloud"));
    let mut edge = Role::start("edge", &edge_config, &dir.path().join("edge"));
    let at = SocketAddr::from(([127, 0, 0, 1], edge_port));
    let strain = Strain::begin(Some(dir.path()));
    let (began, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let floods: Vec<_> = (0..2)
        .map(|client| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut wire = Wire::clean(at, V3, &format!("flood{client}"));
                let one = |n: usize| Publish { qos: 0, ..Publish::of(&format!("sensors/flood{client}/{}", n % 50), "1.5") }.bytes(V3);
                let many: Vec<u8> = (0..4_096).flat_map(one).collect();
                wire.write_timeout(PATIENCE);
                while !over.load(Ordering::SeqCst) {
                    wire.send(&many);
                }
            })
        })
        .collect();
    std::thread::sleep(LASTS / 4);
    let mut consumer = Wire::clean(at, V5, "operator");
    consumer.subscribe(&[("alerts/critical/#", 1)]);
    let (mut sensor, sent) = (Wire::clean(at, V5, "sensor"), Instant::now());
    assert_eq!(sensor.say("sensors/press/temperature", "120"), 0);
    let acked = sent.elapsed();
    let message = consumer.message();
    assert!(message.topic.ends_with("/press/temperature"), "{}", message.topic);
    let told = sent.elapsed();
    let asked = Instant::now();
    status_at(edge.http);
    let answered = asked.elapsed();
    println!("acknowledged after {acked:?}, the alert after {told:?}, a status after {answered:?}");
    let bound = strain.allows(Duration::from_secs(3));
    assert!(told < bound && answered < bound, "more than {bound:?}");
    let is_going = || get_at(_cloud.http, "/api/v1/status").1.contains("\"plant-a\"");
    let snapshots =
        || std::fs::read_dir(dir.path().join("edge/log")).unwrap().any(|e| e.unwrap().file_name().to_str().unwrap().starts_with("snap-"));
    while !(is_going() && snapshots()) {
        assert!(began.elapsed() < PATIENCE, "the cloud hears of it: {}; a snapshot is there: {}", is_going(), snapshots());
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(LASTS.saturating_sub(began.elapsed()));
    over.store(true, Ordering::SeqCst);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    let stopping = Instant::now();
    assert_eq!(edge.stop(), Some(0));
    let took = stopping.elapsed();
    assert!(took < strain.allows(Duration::from_secs(5)), "the stop took {took:?}");
}

#[test]
fn starts_that_find_their_port_taken_leave_nothing_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let port = gateway.role.mqtt;
    assert_eq!(gateway.role.stop(), Some(0));
    let shown = || {
        let shown = tidegate(&["log", "show", "--data-dir", gateway.data.to_str().unwrap()]);
        String::from_utf8(shown.stdout).unwrap()
    };
    let before = shown();
    assert!(before.contains("boot"));
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for _ in 0..3 {
        let refused = tidegate(&["edge", "--config", gateway.config.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && told.contains("[mqtt] listen"), "{told}");
        assert!(!told.contains("panicked"), "{told}");
    }
    assert_eq!(shown(), before);
    drop(taken);
    gateway.role = Role::start("edge", &gateway.config, &gateway.data);
    assert_eq!(gateway.role.stop(), Some(0));
}

#[test]
fn a_start_after_a_stop_has_nothing_to_fold() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let mut wire = Wire::clean(gateway.at(), V5, "sensor");
    for n in 0..100 {
        assert_eq!(wire.say("sensors/a", &timed(n)), 0);
    }
    assert_eq!(gateway.role.stop(), Some(0));
    let log = gateway.data.join("log");
    let snapshots = std::fs::read_dir(log).unwrap().filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("snap-"));
    assert_eq!(snapshots.count(), 1);
    gateway.role = Role::start("edge", &gateway.config, &gateway.data);
    gateway.has_accepted(100);
    assert_eq!(gateway.role.stop(), Some(0));
}

/// Where something is mounted, until this is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// A process, until this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Kept from writing to its data dir as by a read-only file system that is mounted so.
#[test]
fn a_start_where_nothing_can_be_written_serves_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = Gateway::configure(dir.path(), "");
    let http = free_port();
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("[http]\nlisten = \"127.0.0.1:0\"", &format!("[http]\nlisten = \"127.0.0.1:{http}\""));
    std::fs::write(&config, text).unwrap();
    let role = Role::start("edge", &config, &data);
    let mut gateway = Gateway { config, data, role };
    let mut wire = Wire::clean(gateway.at(), V5, "sensor");
    assert_eq!(wire.say("sensors/a", &timed(1)), 0);
    gateway.role.kill();
    let mounted = |arguments: &[&str]| Command::new("mount").args(arguments).arg(&gateway.data).output().is_ok_and(|o| o.status.success());
    let place = gateway.data.to_str().unwrap().to_owned();
    let bound = mounted(&["--bind", &place]).then(|| Mounted(gateway.data.clone()));
    if bound.is_none() || !mounted(&["-o", "remount,ro,bind"]) {
        println!("skipped: nothing can be mounted here, which takes root");
        return;
    }
    let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["edge", "--config"])
        .arg(&gateway.config)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let deadline = Instant::now() + PATIENCE;
    let ready = loop {
        if let Ok(Some(ended)) = child.0.try_wait() {
            break format!("it ended: {ended}");
        }
        if std::net::TcpStream::connect(("127.0.0.1", http)).is_ok() && get_at(http, "/readyz").0 == 503 {
            break get_at(http, "/readyz").1;
        }
        if Instant::now() > deadline {
            break "it does not answer".to_owned();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let ledger = ready.contains("read-only").then(|| status_at(http)["ledger"]["accepted"].clone());
    assert_eq!(ledger, Some(1.into()), "{ready}");
}
