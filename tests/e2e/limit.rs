//! A log at its limit: what is held for the cloud leaves no room, and once it is there the gateway takes readings again.

use crate::gateway::{get_at, status_at};
use crate::plant::{PATIENCE, Role, free_port};
use crate::wire::Wire;
use broker::Version::V5;
use std::path::Path;
use std::time::{Duration, Instant};

const SERIES: usize = 50;
const READINGS: usize = 100;

/// Configs of a gateway with a small log and of its bridge, on a port that is free.
fn write_configs(dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let port = free_port();
    let (edge, cloud) = (dir.join("edge.toml"), dir.join("cloud.toml"));
    let d = dir.display();
    let text = format!(
        "gateway = \"plant-a\"\ndata_dir = \"{d}/edge\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{port}\"\nevery = \"1s\"\n[windows]\nsizes = [\"10s\"]\ngrace = \"0s\"\n[log]\nlimit = \"1MiB\"\n\
         [[limit]]\nseries = \"**\"\nhigh = 50.0\ndeadband = 0.0\non_delay = \"0s\"\noff_delay = \"0s\"\n"
    );
    std::fs::write(&edge, text).unwrap();
    let text = format!("data_dir = \"{d}/cloud\"\n[mqtt]\nlisten = \"127.0.0.1:{port}\"\n[http]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(&cloud, text).unwrap();
    (edge, cloud)
}

/// Alerts, which are never given up, until the log takes no more.
fn fill(gateway: &Role) {
    let mut sensor = Wire::clean(([127, 0, 0, 1], gateway.mqtt).into(), V5, "sensor");
    for message in 0..100_000 {
        let first = 1_700_000_000_000 + (message / SERIES * READINGS) as i64 * 100;
        let readings = (0..READINGS).map(|n| format!("{{\"value\":{},\"ts\":{}}}", n % 2 * 100, first + n as i64 * 100));
        let payload = format!("[{}]", readings.collect::<Vec<_>>().join(","));
        match sensor.say(&format!("sensors/m{}", message % SERIES), &payload) {
            0 => {}
            0x97 => return,
            other => panic!("{other:x}"),
        }
    }
    panic!("the log is never full");
}

/// Kept are the newest two snapshots, and the last but one is of when all was held: the next record would come with the
/// gateway's sign of life, after half a minute.
#[test]
fn once_the_cloud_has_all_a_log_at_its_limit_is_ready_and_no_sensor_need_speak() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, cloud) = write_configs(dir.path());
    let gateway = Role::start("edge", &edge, &dir.path().join("edge"));
    let is_ready = || get_at(gateway.http, "/readyz").0 == 200;
    // What snapshots let go at once is filled up, too.
    while is_ready() {
        fill(&gateway);
        std::thread::sleep(Duration::from_secs(3));
    }
    let _bridge = Role::start("cloud", &cloud, &dir.path().join("cloud"));
    let drained = until("all is there", || {
        let told = status_at(gateway.http);
        (told["alerts_held"] == 0 && told["ledger"]["held"] == 0).then(Instant::now)
    });
    until("it is ready", || is_ready().then_some(()));
    assert!(drained.elapsed() < Duration::from_secs(25), "{:?}", drained.elapsed());
    let mut sensor = Wire::clean(([127, 0, 0, 1], gateway.mqtt).into(), V5, "sensor");
    assert_eq!(sensor.say("sensors/m0", "1"), 0);
}

/// A start ends the windows that were open, and so adds to what is held: there is room for that, and the link is back.
#[test]
fn a_start_at_the_limit_gives_nothing_up_that_the_cloud_is_there_to_take() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, cloud) = write_configs(dir.path());
    let text = std::fs::read_to_string(&edge).unwrap();
    let text = text[..text.find("[[limit]]").unwrap()].replace("\"10s\"", "\"1s\"").replace("1MiB", "4MiB");
    std::fs::write(&edge, text).unwrap();
    let mut gateway = Role::start("edge", &edge, &dir.path().join("edge"));
    let mut sensor = Wire::clean(([127, 0, 0, 1], gateway.mqtt).into(), V5, "sensor");
    let mut second = 1_700_000_000;
    let (mut x, mut ledger) = (1u64, status_at(gateway.http)["ledger"].clone());
    while ledger["shed"] == 0 {
        for _ in 0..20 {
            second += 1;
            for machine in 0..10 {
                let readings = (0..100).map(|n| {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let value = (x >> 11) as f64 / (1u64 << 53) as f64 * 500.0;
                    format!("{{\"n\":\"s{n}\",\"v\":{value},\"t\":{second}}}")
                });
                let payload = format!("[{}]", readings.collect::<Vec<_>>().join(","));
                // Faster than windows are given up, some are refused for a moment (0x97).
                let (topic, began) = (format!("sensors/m{machine}"), Instant::now());
                while sensor.say(&topic, &payload) != 0 {
                    assert!(began.elapsed() < Duration::from_secs(5), "refused for so long");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        ledger = status_at(gateway.http)["ledger"].clone();
    }
    std::thread::sleep(Duration::from_secs(3));
    let before = status_at(gateway.http)["ledger"].clone();
    gateway.kill();
    let _bridge = Role::start("cloud", &cloud, &dir.path().join("cloud"));
    let gateway = Role::start("edge", &edge, &dir.path().join("edge"));
    let after = until("all is there", || {
        let ledger = status_at(gateway.http)["ledger"].clone();
        (ledger["held"] == 0).then_some(ledger)
    });
    assert_eq!((&after["accepted"], &after["shed"]), (&before["accepted"], &before["shed"]));
}

fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
