//! Everything at once, for as long as there is time: sensors that publish without a pause at two
//! gateways, while links are cut, deaf and slow and processes are killed, frozen and stopped. At the end
//! every window is right, every critical alert came, the ledger never was off.
//!
//! `TIDEGATE_SOAK=30m` says how long; `TIDEGATE_SEED` repeats the faults and the readings.

use crate::bridge::until;
use crate::gateway::status_at;
use crate::link::{Link, Slow, State};
use crate::plant::{Consumer, Role, consume, free_port, publish_all_as};
use crate::truth::{Held, Truth};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const BRIEFLY: Duration = Duration::from_secs(45);
const SIZES: [(&str, i64); 2] = [("1s", 1_000), ("10s", 10_000)];
/// A client publishes once in this time.
const APART: Duration = Duration::from_millis(10);
/// Every so many messages the guarded series passes its critical limit, and comes back.
const EXCURSION: u64 = 200;
const CLIENTS: [(&str, usize); 4] = [("press", 0), ("oven", 0), ("saw", 1), ("mill", 1)];
/// A gateway with little to do keeps below this, in KiB; a leak does not.
const RESIDENT_KIB: u64 = 128 * 1024;
const DESCRIPTORS: usize = 128;
const SLOW: Slow = Slow { rate: 4_096, delay: Duration::from_millis(150), queue: Duration::from_secs(1) };

struct Site {
    config: PathBuf,
    data: PathBuf,
    link: Link,
    role: Role,
    accepted: u64,
}

struct Plant {
    sites: Vec<Site>,
    cloud: (PathBuf, PathBuf),
    bridge: Role,
    consumer: Consumer,
    held: Held,
    bridge_deaths: usize,
}

fn signal(role: &Role, signal: i32) {
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(role.pid(), signal) }, 0);
}

fn site(dir: &Path, name: &str, cloud: u16) -> Site {
    let (config, data, link) = (dir.join(format!("{name}.toml")), dir.join(name), Link::to(cloud));
    let text = format!(
        "gateway = \"{name}\"\ndata_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{}\"\nevery = \"1s\"\n[windows]\nsizes = [\"1s\", \"10s\"]\ngrace = \"1s\"\n\
         [[limit]]\nseries = \"*/guard\"\nhigh_high = 95.0\n",
        data.display().to_string(),
        free_port(),
        link.port
    );
    std::fs::write(&config, text).unwrap();
    let role = Role::start("edge", &config, &data);
    Site { config, data, link, role, accepted: 0 }
}

impl Plant {
    fn start(dir: &Path) -> Plant {
        let port = free_port();
        let cloud = (dir.join("cloud.toml"), dir.join("cloud"));
        let text = format!(
            "data_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:{port}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
            cloud.1.display().to_string()
        );
        std::fs::write(&cloud.0, text).unwrap();
        let bridge = Role::start("cloud", &cloud.0, &cloud.1);
        let consumer = consume(port, &["merged/#", "alerts/critical/#"]);
        let sites = ["plant-a", "plant-b"].map(|name| site(dir, name, port)).into();
        // Of a consumer that has just come a bridge that is killed does not know.
        let noted = || std::fs::read_to_string(cloud.1.join("consumers.json")).is_ok_and(|noted| noted.contains("alerts/critical/#"));
        until("the consumer is noted", noted);
        Plant { sites, cloud, bridge, consumer, held: Held::default(), bridge_deaths: 0 }
    }

    /// One fault of some seconds, and its end.
    fn suffer(&mut self, rng: &mut StdRng) -> String {
        let lasting = Duration::from_millis(rng.random_range(50..4_000));
        let at = rng.random_range(0..self.sites.len());
        let wait = || std::thread::sleep(lasting);
        let what = match rng.random_range(0..10) {
            kind @ 0..3 => {
                let (state, name) = [(State::Cut, "cut"), (State::Deaf, "deaf"), (State::Slow(SLOW), "slow")][kind];
                self.sites[at].link.set(state);
                wait();
                self.sites[at].link.set(State::Up);
                format!("link {at} {name}")
            }
            3 => {
                self.sites[at].role.kill();
                wait();
                self.start_gateway(at);
                format!("gateway {at} killed")
            }
            4 => {
                self.bridge.kill();
                wait();
                self.start_bridge();
                "bridge killed".to_owned()
            }
            5 => {
                self.sites.iter_mut().for_each(|site| site.role.kill());
                self.bridge.kill();
                wait();
                (0..self.sites.len()).for_each(|at| self.start_gateway(at));
                self.start_bridge();
                "all killed".to_owned()
            }
            6 => {
                signal(&self.sites[at].role, libc::SIGSTOP);
                wait();
                signal(&self.sites[at].role, libc::SIGCONT);
                format!("gateway {at} frozen")
            }
            7 => {
                signal(&self.bridge, libc::SIGSTOP);
                wait();
                signal(&self.bridge, libc::SIGCONT);
                "bridge frozen".to_owned()
            }
            8 => {
                assert_eq!(self.sites[at].role.stop(), Some(0));
                wait();
                self.start_gateway(at);
                format!("gateway {at} stopped")
            }
            _ => {
                assert_eq!(self.bridge.stop(), Some(0));
                wait();
                self.start_bridge();
                "bridge stopped".to_owned()
            }
        };
        format!("{what}, {lasting:?}")
    }

    fn start_gateway(&mut self, at: usize) {
        let site = &mut self.sites[at];
        site.role = Role::start("edge", &site.config, &site.data);
    }

    fn start_bridge(&mut self) {
        self.bridge_deaths += 1;
        self.bridge = Role::start("cloud", &self.cloud.0, &self.cloud.1);
    }

    /// Takes what the consumer has, and holds the ledgers to what they must be at any moment.
    fn look(&mut self) {
        while let Ok((topic, v)) = self.consumer.try_recv() {
            self.held.take(topic, v);
        }
        for site in &mut self.sites {
            let ledger = status_at(site.role.http)["ledger"].clone();
            let of = |figure: &str| ledger[figure].as_u64().unwrap();
            assert_eq!(of("accepted"), of("delivered") + of("held"), "nothing is shed or local here: {ledger}");
            assert!(of("accepted") >= site.accepted, "{ledger} after {} were accepted", site.accepted);
            site.accepted = of("accepted");
        }
    }
}

fn limit() -> Duration {
    let Some(text) = std::env::var("TIDEGATE_SOAK").ok().filter(|text| !text.is_empty()) else { return BRIEFLY };
    let ms = telemetry::window::parse_size(&text).unwrap_or_else(|| panic!("TIDEGATE_SOAK={text} is no duration such as 90s or 30m"));
    Duration::from_millis(ms.unsigned_abs())
}

/// What a client publishes from now on: disorder of seconds, some data hours late, one series that
/// both sites share, and one that is guarded by a limit. Also when that passes its limit.
fn messages(rng: &mut StdRng, client: &str, site: usize, count: u64, truth: &mut Truth) -> (Vec<(String, String)>, Vec<i64>) {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut excursions = Vec::new();
    let all = (0..count).map(|i| {
        let now = began + i as i64 * APART.as_millis() as i64;
        let (series, time, value) = if i % (EXCURSION / 2) == 7 {
            let high = i % EXCURSION == 7;
            if high {
                excursions.push(now);
            }
            (format!("{client}/guard"), now, if high { 120.0 } else { 60.0 })
        } else {
            let late = if rng.random_ratio(1, 50) { rng.random_range(0..7_200_000) } else { rng.random_range(0..3_000) };
            let series = match rng.random_range(0..5) {
                0 => "shared/s".to_owned(),
                n => format!("{client}/s{n}"),
            };
            (series, now - late, f64::from(rng.random_range(-50_000..150_000)) / 1_000.0)
        };
        truth.add(&SIZES, &series, time, value);
        // The value tells a reading from any other of its time.
        (format!("sensors/{series}"), format!("{{\"value\":{value},\"ts\":{time},\"site\":\"{site}\"}}"))
    });
    (all.collect(), excursions)
}

#[test]
fn a_plant_comes_out_right_through_all_faults_at_once() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("TIDEGATE_SEED={seed}");
    let (mut rng, limit) = (StdRng::seed_from_u64(seed), limit());
    let dir = tempfile::tempdir().unwrap();
    let mut plant = Plant::start(dir.path());
    let (mut truth, mut excursions, mut publishers) = (Truth::default(), BTreeSet::new(), Vec::new());
    let count = (limit.as_millis() / APART.as_millis()) as u64;
    for (client, at) in CLIENTS {
        let (messages, passed) = messages(&mut rng, client, at, count, &mut truth);
        excursions.extend(passed.into_iter().map(|time| (format!("{client}/guard"), time)));
        let sent = messages.len();
        publishers.push((publish_all_as(client, plant.sites[at].role.mqtt, messages, APART), sent));
    }
    let begun = Instant::now();
    while begun.elapsed() < limit {
        println!("{:>6.1} s: {}", begun.elapsed().as_secs_f64(), plant.suffer(&mut rng));
        plant.look();
        std::thread::sleep(Duration::from_millis(rng.random_range(100..2_500)));
    }
    let sent: usize = publishers
        .into_iter()
        .map(|(publisher, sent)| {
            assert_eq!(publisher.join().unwrap(), sent, "every reading is acknowledged");
            sent
        })
        .sum();
    plant.held.settle(&plant.consumer, &truth, Duration::from_secs(120));
    plant.look();
    assert_eq!(plant.sites.iter().map(|site| site.accepted).sum::<u64>(), sent as u64, "each reading counts once");

    let (mut raised, mut often) = (BTreeSet::new(), 0);
    for (times, alert) in plant.held.alerts.values() {
        often = often.max(*times);
        if alert["state"] == "active" {
            assert!(raised.insert((alert["series"].as_str().unwrap().to_owned(), alert["time"].as_i64().unwrap())), "two alerts: {alert}");
        }
    }
    assert_eq!(raised, excursions, "one critical alert each");
    // Before the end, after the start, and once more when all consumers are back.
    assert!(often <= 1 + 2 * plant.bridge_deaths, "an alert came {often} times, with {} ends of the bridge", plant.bridge_deaths);
    for site in &mut plant.sites {
        let proc = PathBuf::from(format!("/proc/{}", site.role.pid()));
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        let descriptors = std::fs::read_dir(proc.join("fd")).unwrap().count();
        println!("{kib} KiB resident, {descriptors} descriptors");
        assert!(kib < RESIDENT_KIB && descriptors < DESCRIPTORS, "{kib} KiB, {descriptors} descriptors");
        assert_eq!(site.role.stop(), Some(0));
    }
    assert_eq!(plant.bridge.stop(), Some(0));
}
