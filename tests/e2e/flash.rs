//! What readings cost the flash: what the gateway says of it is what the system counted.

use crate::gateway::{Gateway, tidegate, timed};
use crate::wire::Wire;
use broker::Version::V5;

const READINGS: u64 = 400;

/// Bytes of pages that a process had written to disks.
fn written(pid: i32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap()
}

#[test]
fn what_a_reading_costs_the_flash_is_told_as_the_system_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), "[log]\nflash_budget = \"12GiB/day\"\n");
    let pid = gateway.role.pid();
    let before = (written(pid), gateway.status()["flash"]["bytes"].as_u64().unwrap());
    let mut sensor = Wire::clean(gateway.at(), V5, "sensor");
    for n in 0..READINGS {
        assert_eq!(sensor.say("sensors/a", &timed(n)), 0);
    }
    gateway.until("the last second's readings are looked at", |g| {
        g.status()["flash"]["bytes_per_reading"].as_f64().is_some_and(|bytes| bytes < 2.0 * 4_096.0)
    });
    let flash = gateway.status()["flash"].clone();
    let counted = flash["bytes"].as_u64().unwrap() - before.1;
    assert!(counted >= READINGS * 4_096, "each waited for a page of its own: {counted}");
    assert!(flash["bytes_per_reading"].as_f64().unwrap() >= 4_000.0, "{flash}");
    assert!(flash["bytes_per_day"].as_u64().unwrap() > counted, "{flash}");
    assert_eq!((flash["budget_bytes_per_day"].as_u64(), flash["spaced_commits"].as_u64()), (Some(12 << 30), Some(0)));
    match written(pid) - before.0 {
        0 => eprintln!("not compared with the system: it counts nothing for this file system"),
        // Beside the log there is the store of what is looked up.
        system => assert!((counted..=counted * 13 / 10).contains(&system), "{counted} told, {system} written"),
    }
    let metrics = gateway.get("/metrics").1;
    for name in ["disk_written_bytes_total", "disk_written_bytes_per_day", "disk_written_bytes_per_reading", "commits_spaced_total"] {
        assert!(metrics.lines().any(|line| line.starts_with(&format!("tidegate_{name} "))), "{name}: {metrics}");
    }
    let port = gateway.role.http.to_string();
    let shown = tidegate(&["status", "--url", &format!("http://127.0.0.1:{port}")]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = shown.lines().find(|line| line.trim_start().starts_with("flash")).unwrap();
    assert!(line.contains("bytes a reading") && line.contains("of 12.0 GiB"), "{line}");
}
