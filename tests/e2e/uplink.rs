//! The uplink through a link that is bounded, deaf, frozen or slow, with real processes.

use crate::gateway::status_at;
use crate::link::{Link, State};
use crate::plant::{PATIENCE, Role, consume, free_port, publish_all_as};
use serde_json::Value;
use std::time::{Duration, Instant};

pub struct Plant {
    // Removed when dropped.
    pub dir: tempfile::TempDir,
    pub link: Link,
    pub gateway: Role,
    pub cloud_port: u16,
}

/// A gateway whose cloud lies behind a link; `more` stands in its `[cloud]`.
pub fn plant(more: &str) -> Plant {
    let port = free_port();
    plant_of(more, port, &format!("listen = \"127.0.0.1:{port}\""))
}

/// The same with a bridge at a broker that is already there.
pub fn plant_at(broker: u16) -> Plant {
    plant_of("", broker, &format!("broker = \"mqtt://127.0.0.1:{broker}\""))
}

fn plant_of(more: &str, cloud_port: u16, broker: &str) -> Plant {
    let dir = tempfile::tempdir().unwrap();
    let link = Link::to(cloud_port);
    let d = dir.path().display();
    let text = format!(
        "gateway = \"plant-a\"\ndata_dir = \"{d}/edge\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{}\"\nevery = \"1s\"\n{more}\n[windows]\nsizes = [\"1s\"]\ngrace = \"0s\"\n",
        link.port
    );
    std::fs::write(dir.path().join("edge.toml"), text).unwrap();
    let text = format!("data_dir = \"{d}/cloud\"\n[mqtt]\n{broker}\n[http]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(dir.path().join("cloud.toml"), text).unwrap();
    let gateway = Role::start("edge", &dir.path().join("edge.toml"), &dir.path().join("edge"));
    Plant { dir, link, gateway, cloud_port }
}

impl Plant {
    pub fn bridge(&self) -> Role {
        Role::start("cloud", &self.dir.path().join("cloud.toml"), &self.dir.path().join("cloud"))
    }

    pub fn status(&self) -> Value {
        status_at(self.gateway.http)
    }

    /// Waits until the gateway's status says so.
    pub fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.status();
            if holds(&told) {
                return told;
            }
            assert!(Instant::now() < deadline, "never {what}: {told}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Readings of 20 series, each in a window of its own, acknowledged: those of the messages
    /// from `from` to `to`.
    pub fn readings(&self, from: i64, to: i64) -> u64 {
        let all = (from..to).flat_map(|m| {
            (0..20).map(move |s| {
                let readings = (0..50).map(|r| {
                    let ts = 1_700_000_000_000 + (m * 50 + r) * 1_000;
                    format!("{{\"value\":{},\"ts\":{ts}}}", noise(ts + s))
                });
                (format!("sensors/line/s{s}"), format!("[{}]", readings.collect::<Vec<_>>().join(",")))
            })
        });
        let all: Vec<_> = all.collect();
        let sent = all.len();
        assert_eq!(publish_all_as("press", self.gateway.mqtt, all, Duration::ZERO).join().unwrap(), sent);
        sent as u64 * 50
    }
}

/// Anything up to 100,000: what repeats would take no bytes on the line.
pub fn noise(seed: i64) -> u64 {
    let x = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ (x >> 31)) % 100_003
}

#[test]
fn a_budget_is_kept_on_the_line_and_the_drain_is_told() {
    let _apart = crate::apart::measuring();
    let rate = 16 * 1024;
    let plant = plant("budget = \"16KiB/s\"");
    let readings = plant.readings(0, 12);
    let held = plant.until("sealed", |told| told["drain"]["windows"].as_u64() >= Some(readings - 40));
    assert_eq!((held["connected"].as_bool(), held["drain"]["eta_s"].is_null()), (Some(false), true), "{held}");
    assert!(held["drain"]["bytes"].as_u64() > Some(readings), "{held}");
    let bridge = plant.bridge();
    plant.until("connected", |told| told["connected"] == true);
    let (began, from) = (Instant::now(), plant.link.bytes());
    let mut most = 0.0f64;
    let mut told_rate = false;
    while began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(500));
        let told = plant.status();
        let (bytes, seconds) = ((plant.link.bytes() - from) as f64, began.elapsed().as_secs_f64());
        // What the bucket holds, a slice, and what a connection costs are not the rate; nor is, of a
        // short time, what the budget let through at its very ends.
        most = most.max((bytes - 8_192.0 - f64::from(rate) / 4.0) / seconds);
        let drain = &told["drain"];
        told_rate |=
            drain["readings_per_s"].as_u64() > Some(0) && drain["eta_s"].as_u64() > Some(0) && drain["bytes_per_s"].as_u64() > Some(0);
        if told["ledger"]["held"] == 0 {
            assert_eq!((&drain["windows"], &drain["eta_s"]), (&Value::from(0), &Value::from(0)), "{told}");
            break;
        }
    }
    let told = plant.until("drained", |told| told["ledger"]["held"] == 0);
    assert_eq!(told["ledger"]["delivered"], readings);
    assert!(told_rate, "the rates of the drain were never told");
    assert!(most < 1.1 * f64::from(rate), "{most} bytes a second of {rate}");
    drop(bridge);
}

#[test]
fn a_deaf_link_is_found_and_left_and_nothing_is_lost_or_sent_without_end() {
    let plant = plant("");
    let bridge = plant.bridge();
    plant.until("connected", |told| told["connected"] == true);
    plant.link.set(State::Deaf);
    let readings = plant.readings(0, 2);
    // It accepts, and never answers: given up by the missing answers.
    plant.until("given up", |told| told["connected"] == false);
    let before = plant.status()["uplink_bytes"].as_u64().unwrap();
    assert!(before < readings * 40 * 8, "{before} bytes into a line that hears nothing");
    plant.link.set(State::Up);
    let told = plant.until("drained", |told| told["ledger"]["held"] == 0 && told["connected"] == true);
    assert_eq!(told["ledger"]["delivered"], readings);
    drop(bridge);
}

/// The bridge rests for longer than a silent connection is kept.
#[test]
fn a_bridge_that_is_frozen_for_a_while_does_not_make_the_gateways_status_flap() {
    let plant = plant("");
    let bridge = plant.bridge();
    let statuses = consume(plant.cloud_port, &["gateways/#"]);
    statuses.until_subscribed(1);
    plant.until("connected", |told| told["connected"] == true);
    let mut readings = plant.readings(0, 1);
    plant.until("drained", |told| told["ledger"]["held"] == 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, status) = statuses.recv_timeout(PATIENCE).unwrap();
        if status["online"] == true && status["delivered"] == readings {
            break;
        }
        assert!(Instant::now() < deadline, "{status}");
    }
    let before = plant.link.bytes();
    bridge.freeze();
    readings += plant.readings(1, 3);
    std::thread::sleep(Duration::from_secs(14));
    let sent = plant.link.bytes() - before;
    bridge.thaw();
    assert!(sent < readings * 40 * 3, "{sent} bytes to a bridge that does not answer");
    plant.until("drained", |told| told["ledger"]["held"] == 0 && told["ledger"]["delivered"] == readings);
    loop {
        let (_, status) = statuses.recv_timeout(PATIENCE).unwrap();
        assert_eq!(status["online"], true, "{status}");
        if status["delivered"] == readings {
            break;
        }
    }
}
