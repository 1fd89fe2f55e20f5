//! Version skew: the present program goes on with logs that the first format's program left, and
//! with the snapshots of that time.
//!
//! `tests/golden/v1` was written by that program: the log of a gateway that was killed with 130
//! readings undelivered, behind an orderly boot; the log of its bridge, and that bridge's state;
//! the state of a gateway's fold. Files of a released version are never edited.

use crate::gateway::status_at;
use crate::plant::{PATIENCE, Role, consume, free_port};
use crate::truth::Held;
use replica::fold::Fold;
use replica::join::Bridge;
use replica::join::store::Memory;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name)).unwrap()
}

/// A data dir with that log, as long as it was: zeros behind what was written.
fn data_dir(dir: &Path, role: &str, bytes: usize) -> PathBuf {
    let data = dir.join(role);
    fs::create_dir_all(data.join("log")).unwrap();
    let mut log = golden(&format!("{role}.log"));
    log.resize(bytes, 0);
    fs::write(data.join("log/00000000000000000001.seg"), log).unwrap();
    data
}

#[test]
fn a_plant_of_the_first_format_goes_on_with_all_that_it_held() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let (edge_data, cloud_data) = (data_dir(dir.path(), "edge", 128 * 1024), data_dir(dir.path(), "cloud", 16 << 20));
    let (edge_config, cloud_config) = (dir.path().join("edge.toml"), dir.path().join("cloud.toml"));
    let http = "[http]\nlisten = \"127.0.0.1:0\"\n";
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    fs::write(&cloud_config, format!("data_dir = {}\n[mqtt]\nlisten = \"127.0.0.1:{port}\"\n{http}", quoted(&cloud_data))).unwrap();
    let text = format!(
        "gateway = \"plant-a\"\ndata_dir = {}\n[mqtt]\nlisten = \"127.0.0.1:0\"\n{http}[cloud]\nurl = \"mqtt://127.0.0.1:{port}\"\n\
         every = \"1s\"\n[windows]\nsizes = [\"10s\", \"1m\"]\ngrace = \"1s\"\n[log]\nlimit = \"1MiB\"\n",
        quoted(&edge_data)
    );
    fs::write(&edge_config, text).unwrap();
    let mut cloud = Role::start("cloud", &cloud_config, &cloud_data);
    let received = consume(port, &["merged/#"]);
    let mut edge = Role::start("edge", &edge_config, &edge_data);

    // 125 seconds of two series, of which a minute was delivered by the program of that time.
    let mut truth: BTreeMap<i64, u64> = BTreeMap::new();
    (0..125).for_each(|second| *truth.entry(1_700_000_000_000 + second / 10 * 10_000).or_default() += 1);
    let newest = *truth.keys().last().unwrap();
    let mut held = Held::default();
    let deadline = Instant::now() + PATIENCE;
    let is_whole = |held: &Held| {
        // What was merged and published in those days is retained only where it is the newest.
        let expected = truth.range(1_700_000_060_000..=newest);
        expected.into_iter().all(|(start, count)| {
            ["line1/t", "line2/p"].iter().all(|series| {
                let key = ("10s".to_owned(), (*series).to_owned(), *start);
                held.windows.get(&key).is_some_and(|v| v["count"] == *count && v["complete"] == true)
            })
        })
    };
    while !is_whole(&held) {
        assert!(Instant::now() < deadline, "{:#?}", held.windows);
        let Ok((topic, v)) = received.recv_timeout(Duration::from_secs(1)) else { continue };
        held.take(topic, v);
    }
    // The clocks of one machine agree, and both ends say so.
    let (at_edge, at_cloud) = (status_at(edge.http), status_at(cloud.http)["gateways"]["plant-a"].clone());
    for told in [&at_edge, &at_cloud] {
        assert_eq!(told["clock"], "ok", "{told}");
        assert!(told["skew_ms"].as_i64().is_some_and(|skew| skew.abs() < 5_000), "{told}");
    }
    assert_eq!((edge.stop(), cloud.stop()), (Some(0), Some(0)));
    for data in [&edge_data, &cloud_data] {
        let verified = crate::gateway::tidegate(&["log", "verify", "--data-dir", data.to_str().unwrap()]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}

#[test]
fn states_of_the_first_format_are_restored() {
    let bridge = Bridge::restore(&golden("cloud.state"), Box::new(Memory::default())).unwrap();
    let known = &bridge.gateways["plant-a"];
    assert_eq!((known.totals.readings, known.totals.accepted, bridge.series()), (120, 120, 2));
    let fold = Fold::restore(&golden("gateway.snapshot")).unwrap();
    let ledger = fold.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.held, ledger.shed, ledger.local), (121, 30, 90, 0, 1));
    let names: Vec<_> = fold.series.iter().map(|s| (s.name.as_str(), s.unit.as_deref())).collect();
    assert_eq!(names, [("line1/t", Some("°C")), ("line2/p", None)]);
    assert_eq!((fold.boots.len(), fold.sessions.by_number.len(), fold.crossing.waiting()), (2, 1, 0));
    // And what is saved of it now is read back the same.
    let again = Fold::restore(&fold.save()).unwrap();
    assert_eq!((again.lsn, again.clock_ms, again.ledger()), (fold.lsn, fold.clock_ms, ledger));
}
