//! Recorded plant data through the two roles: `tidegate replay` of a SKAB file, the merged
//! windows compared with a direct computation from the CSV.

use crate::plant::{PATIENCE, Role, configs, consume, free_port};
use crate::truth::{Held, Truth};
use std::path::PathBuf;
use std::process::Command;

/// The recordings lie beside the repository, or where `TIDEGATE_DATA` says.
fn recording() -> Option<PathBuf> {
    let dir =
        std::env::var_os("TIDEGATE_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    Some(dir.join("skab/valve1/1.csv")).filter(|file| file.is_file())
}

#[test]
fn a_recording_arrives_as_it_was_recorded() {
    let Some(file) = recording() else {
        println!("skipped: no recorded data (skab/valve1/1.csv) beside the repository or in TIDEGATE_DATA");
        return;
    };
    let mut truth = Truth::default();
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(';').collect();
    let mut readings = 0;
    for line in lines {
        let mut cells = line.split(';');
        let time: jiff::civil::DateTime = cells.next().unwrap().parse().unwrap();
        let time_ms = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond();
        for (name, cell) in names[1..].iter().zip(cells) {
            truth.add(&[("1s", 1_000), ("10s", 10_000)], &format!("skab/{name}"), time_ms, cell.parse().unwrap());
            readings += 1;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (edge_port, cloud_port) = (free_port(), free_port());
    let (edge_config, cloud_config) = configs(dir.path(), edge_port, cloud_port);
    let mut cloud = Role::start("cloud", &cloud_config, &dir.path().join("cloud"));
    let mut edge = Role::start("edge", &edge_config, &dir.path().join("edge"));
    let received = consume(cloud_port, &["merged/#"]);
    let replay = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["replay"])
        .arg(&file)
        .args(["--url", &format!("mqtt://127.0.0.1:{edge_port}"), "--topic", "sensors/skab/{column}", "--delimiter", ";", "--speed", "max"])
        .output()
        .unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    assert_eq!(String::from_utf8_lossy(&replay.stdout).trim(), format!("published {readings} acknowledged {readings}"));
    Held::default().settle(&received, &truth, PATIENCE);
    assert_eq!((edge.stop(), cloud.stop()), (Some(0), Some(0)));
}
