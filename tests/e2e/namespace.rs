//! The link as a network has it: gateway and bridge each in a network namespace of its own, and a
//! cable between them. When that is out, packets vanish, with no word to either end, and what was
//! sent waits in the kernel. Where namespaces cannot be made (not root, no `ip`) this says so and
//! passes.

use crate::gateway::status_at;
use crate::plant::{Consumer, PATIENCE, Role, consume, publish_all_as};
use crate::truth::{Held, Truth};
use serde_json::Value;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

const CLOUD: &str = "10.213.0.2";
const PORT: u16 = 1884;
const SIZES: [(&str, i64); 1] = [("1s", 1_000)];
const BASE_MS: i64 = 1_700_000_000_000;

/// One host of the test's network; it ends with this.
struct Host(String);

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|done| done.status.success())
}

impl Host {
    fn new(name: &str) -> Option<Host> {
        let name = format!("tidegate-{}-{name}", std::process::id());
        let host = ip(&format!("netns add {name}")).then_some(Host(name))?;
        host.ip("link set lo up").then_some(host)
    }

    fn ip(&self, arguments: &str) -> bool {
        ip(&format!("-n {} {arguments}", self.0))
    }

    /// A program that runs there.
    fn program(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, env!("CARGO_BIN_EXE_tidegate")]);
        command
    }

    /// Does something there: a thread's sockets, and those of the threads it starts, belong to the
    /// namespace that it is in.
    fn within<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.0)).unwrap();
        let there = std::thread::spawn(move || {
            // SAFETY: a descriptor of a namespace, for this thread alone.
            assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            work()
        });
        there.join().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

/// A site and a cloud, and their addresses on the cable.
fn network() -> Option<(Host, Host)> {
    let (site, cloud) = (Host::new("site")?, Host::new("cloud")?);
    let cable = format!("link add up0 type veth peer name down0 netns {}", cloud.0);
    let is_laid = site.ip(&cable)
        && site.ip("addr add 10.213.0.1/24 dev up0")
        && cloud.ip(&format!("addr add {CLOUD}/24 dev down0"))
        && site.ip("link set up0 up")
        && cloud.ip("link set down0 up");
    is_laid.then_some((site, cloud))
}

fn readings(from: i64, to: i64, truth: &mut Truth) -> Vec<(String, String)> {
    let all = (from..to).map(|i| {
        let (series, time, value) = (format!("line/m{}/temperature", i % 5), BASE_MS + i * 100, (i * 37 % 1_000) as f64 / 20.0);
        truth.add(&SIZES, &series, time, value);
        (format!("sensors/{series}"), format!("{{\"value\":{value},\"ts\":{time}}}"))
    });
    all.collect()
}

fn publish(site: &Host, port: u16, messages: Vec<(String, String)>) {
    let sent = messages.len();
    assert_eq!(site.within(move || publish_all_as("press", port, messages, Duration::ZERO).join().unwrap()), sent);
}

fn excursion(site: &Host, port: u16, time_ms: i64) {
    let reading = |value: f64, at: i64| ("sensors/guard/temperature".to_owned(), format!("{{\"value\":{value},\"ts\":{at}}}"));
    publish(site, port, vec![reading(120.0, time_ms), reading(50.0, time_ms + 1)]);
}

/// Takes what comes until something holds.
fn until(held: &mut Held, from: &Consumer, what: &str, holds: impl Fn(&Held) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(held) {
        assert!(Instant::now() < deadline, "never {what}");
        if let Ok((topic, v)) = from.recv_timeout(Duration::from_millis(200)) {
            held.take(topic, v);
        }
    }
}

fn excursions(held: &Held) -> usize {
    held.alerts.values().filter(|(_, v)| v["state"] == "active" && v["severity"] == "critical").count()
}

fn is_online(held: &Held) -> Option<bool> {
    held.others.iter().rev().find(|(topic, _)| topic == "gateways/plant-a/status").and_then(|(_, v)| v["online"].as_bool())
}

#[test]
fn a_cable_that_is_out_and_back_loses_nothing() {
    let Some((site, cloud)) = network() else {
        println!("skipped: no network namespaces here (they take root and the command `ip`)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().display();
    let (edge_config, cloud_config) = (dir.path().join("edge.toml"), dir.path().join("cloud.toml"));
    let text = format!(
        "gateway = \"plant-a\"\ndata_dir = \"{d}/edge\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://{CLOUD}:{PORT}\"\nevery = \"1s\"\n[windows]\nsizes = [\"1s\"]\ngrace = \"0s\"\n\
         [[limit]]\nseries = \"guard/temperature\"\nhigh_high = 95.0\n"
    );
    std::fs::write(&edge_config, text).unwrap();
    // No interface of this namespace leads anywhere but to the other one.
    let text = format!(
        "data_dir = \"{d}/cloud\"\n[mqtt]\nlisten = \"0.0.0.0:{PORT}\"\nallow_anonymous = true\n[http]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&cloud_config, text).unwrap();
    let mut bridge = Role::start_as(cloud.program(), "cloud", &cloud_config, &dir.path().join("cloud"));
    let mut gateway = Role::start_as(site.program(), "edge", &edge_config, &dir.path().join("edge"));
    let received = cloud.within(|| consume(PORT, &["merged/#", "alerts/#", "gateways/#"]));
    let (mut held, mut truth) = (Held::default(), Truth::default());
    let (mqtt, http) = (gateway.mqtt, gateway.http);
    let status = || -> Value { site.within(move || status_at(http)) };

    publish(&site, mqtt, readings(0, 500, &mut truth));
    excursion(&site, mqtt, BASE_MS);
    until(&mut held, &received, "the first alert, online", |held| excursions(held) == 1 && is_online(held) == Some(true));

    // Out, without a word: the gateway works on, and each end finds the other gone.
    assert!(site.ip("link set up0 down"));
    publish(&site, mqtt, readings(500, 1_500, &mut truth));
    excursion(&site, mqtt, BASE_MS + 60_000);
    until(&mut held, &received, "offline", |held| is_online(held) == Some(false));
    let ledger = status()["ledger"].clone();
    assert!(ledger["held"].as_u64() >= Some(1_000), "{ledger}");
    assert_eq!(excursions(&held), 1);

    // Back: what waited comes, once, and alerts before the rest is all there.
    assert!(site.ip("link set up0 up"));
    until(&mut held, &received, "the second alert, online", |held| excursions(held) == 2 && is_online(held) == Some(true));
    // A flap that is too short to be noticed costs nothing either.
    for i in 0..3 {
        assert!(site.ip("link set up0 down"));
        publish(&site, mqtt, readings(1_500 + i * 100, 1_600 + i * 100, &mut truth));
        std::thread::sleep(Duration::from_millis(700));
        assert!(site.ip("link set up0 up"));
        std::thread::sleep(Duration::from_millis(700));
    }
    for time in [BASE_MS, BASE_MS + 60_000] {
        for (value, at) in [(120.0, time), (50.0, time + 1)] {
            truth.add(&SIZES, "guard/temperature", at, value);
        }
    }
    held.settle(&received, &truth, PATIENCE);
    assert!(held.alerts.values().all(|(times, _)| *times == 1), "each alert once");
    let deadline = Instant::now() + PATIENCE;
    while status()["ledger"]["held"] != 0 {
        assert!(Instant::now() < deadline, "{}", status()["ledger"]);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((gateway.stop(), bridge.stop()), (Some(0), Some(0)));
}
