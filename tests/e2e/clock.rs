//! A device whose clock was never set: what comes meanwhile gets its date once the clock is set.

use crate::bridge::until;
use crate::gateway::status_at;
use crate::plant::{Role, configs, consume, free_port, publish_all};
use crate::wire::Wire;
use broker::Version::V5;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// libfaketime, which gives one process another wall clock.
pub fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(|e| Some(e.ok()?.path().join("faketime")));
    let found = folders.chain([PathBuf::from("/usr/lib/faketime")]).map(|f| f.join("libfaketimeMT.so.1")).find(|f| f.is_file());
    if found.is_none() {
        eprintln!("skipped: libfaketime is not installed");
    }
    found
}

/// A gateway whose wall clock is what the file `clock` says.
pub fn start(library: &Path, clock: &Path, config: &Path, data: &Path) -> Role {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let settings = [("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("FAKETIME_NO_CACHE", "1")];
    program.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock).envs(settings);
    Role::start_as(program, "edge", config, data)
}

#[test]
fn readings_before_the_clock_is_set_get_their_date_once_it_is() {
    let Some(library) = faketime() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (port, cloud_port) = (free_port(), free_port());
    let (edge, cloud) = configs(dir.path(), port, cloud_port);
    let clock = dir.path().join("clock");
    std::fs::write(&clock, "@1970-01-01 00:00:10").unwrap();
    let mut bridge = Role::start("cloud", &cloud, &dir.path().join("cloud"));
    let merged = consume(cloud_port, &["merged/1s/#"]);
    let mut gateway = start(&library, &clock, &edge, &dir.path().join("edge"));
    assert_eq!(status_at(gateway.http)["clock"], "unset");

    let began_ms = now_ms();
    let messages = (0..20).flat_map(|i| {
        let own_ms = began_ms - 60_000 + i * 500;
        let timed = format!("{{\"value\":{i},\"ts\":{own_ms}}}");
        // A minute before it came, as SenML says it.
        let relative = format!("[{{\"n\":\"x\",\"v\":{i},\"t\":-60}}]");
        [
            ("sensors/timed".to_owned(), timed),
            ("sensors/untimed".to_owned(), format!("{{\"value\":{i}}}")),
            ("sensors/relative".to_owned(), relative),
        ]
    });
    publish_all(port, messages.collect()).join().unwrap();
    let sent_ms = now_ms();
    until("all of them wait", || status_at(gateway.http)["undated"] == 60);
    assert_eq!(status_at(gateway.http)["ledger"]["held"], 60, "what waits is acknowledged, and held");

    std::fs::write(&clock, "+0").unwrap();
    until("none waits", || status_at(gateway.http)["undated"] == 0);
    let mut windows: BTreeMap<(String, i64), u64> = BTreeMap::new();
    until("all of it is at the cloud", || {
        while let Ok((_, v)) = merged.recv_timeout(Duration::from_millis(100)) {
            let key = (v["series"].as_str().unwrap().to_owned(), v["start"].as_i64().unwrap());
            windows.insert(key, v["count"].as_u64().unwrap());
        }
        windows.values().sum::<u64>() >= 60
    });
    let mut truth: BTreeMap<i64, u64> = BTreeMap::new();
    (0..20).for_each(|i| *truth.entry((began_ms - 60_000 + i * 500).div_euclid(1_000) * 1_000).or_default() += 1);
    let of = |series: &str| {
        windows.iter().filter(|((s, _), _)| s == series).map(|((_, start), count)| (*start, *count)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(of("timed"), truth);
    let untimed = of("untimed");
    assert_eq!(untimed.values().sum::<u64>(), 20);
    // The wall clock of the gateway is its own, set in whole seconds.
    let near = |start: &i64| (began_ms - 1_010..=sent_ms).contains(start);
    assert!(untimed.keys().all(near), "{untimed:?}, sent from {began_ms} to {sent_ms}");
    let relative = of("relative/x");
    assert_eq!(relative.values().sum::<u64>(), 20);
    assert!(relative.keys().all(|start| near(&(start + 60_000))), "{relative:?}, sent from {began_ms} to {sent_ms}");
    assert_eq!((gateway.stop(), bridge.stop()), (Some(0), Some(0)));
}

/// Of more than can wait, one that says a time of its own is moved to its arrival, and that is counted for good.
#[test]
fn what_has_no_room_to_wait_for_the_clock_is_counted_as_moved() {
    let Some(library) = faketime() else { return };
    let dir = tempfile::tempdir().unwrap();
    // Nobody is at the cloud.
    let (port, data) = (free_port(), dir.path().join("edge"));
    let (edge, _) = configs(dir.path(), port, free_port());
    let clock = dir.path().join("clock");
    std::fs::write(&clock, "@1970-01-01 00:00:10").unwrap();
    let mut gateway = start(&library, &clock, &edge, &data);
    let own_ms = now_ms();
    let thousand = |n: i64| {
        let readings: Vec<String> = (0..1_000).map(|i| format!("{{\"value\":{i},\"ts\":{}}}", own_ms - n * 1_000 + i)).collect();
        format!("[{}]", readings.join(","))
    };
    let mut sensor = Wire::clean(SocketAddr::from(([127, 0, 0, 1], port)), V5, "sensor");
    (0..132).for_each(|n| assert_eq!(sensor.say("sensors/a", &thousand(n)), 0));
    until("as many wait as may", || status_at(gateway.http)["undated"] == 131_072);
    let told = |http: u16| {
        let status = status_at(http);
        (status["clamped"].as_u64().unwrap(), status["ledger"]["held"].as_u64().unwrap())
    };
    assert_eq!(told(gateway.http), (132_000 - 131_072, 132_000));
    gateway.kill();
    gateway = start(&library, &clock, &edge, &data);
    assert_eq!(told(gateway.http), (132_000 - 131_072, 132_000));
    // What is said of a clock that is set.
    std::fs::write(&clock, "+0").unwrap();
    until("the clock is set", || status_at(gateway.http)["clock"] != "unset");
    let ahead = format!("[{{\"value\":1,\"ts\":{}}},{{\"value\":1,\"ts\":{own_ms}}}]", now_ms() + 3_600_000);
    publish_all(port, vec![("sensors/a".to_owned(), ahead)]).join().unwrap();
    assert_eq!(told(gateway.http), (132_000 - 131_072 + 1, 132_002));
    assert_eq!(gateway.stop(), Some(0));
}
