//! A disk without room, or that cannot be written: refused and said so, reads go on, nothing
//! acknowledged is lost, and readings are taken again once there is room.

use crate::gateway::{Gateway, tidegate, timed};
use crate::plant::{Role, configs, free_port};
use crate::wire::{PUBACK, Publish, Seen, Wire};
use broker::Version::{V3, V5};
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A small file system in memory, unmounted with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this process may not mount.
    fn mount(at: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            other => {
                eprintln!("skipped: a small disk cannot be mounted here, which takes root: {other:?}");
                None
            }
        }
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[1; 4_096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Readings of one message, each with a time of its own.
const READINGS: u64 = 200;

fn array(first: u64) -> String {
    let each = |n: u64| format!("{{\"value\":{n},\"ts\":{}}}", 1_700_000_000_000 + n);
    format!("[{}]", (first..first + READINGS).map(each).collect::<Vec<_>>().join(","))
}

/// Publishes until it is told that there is no room, or is told nothing by a gateway that says so
/// elsewhere; the next reading, and whether its message still waits.
fn publish_until_refused(gateway: &Gateway, wire: &mut Wire, mut next: u64) -> (u64, bool) {
    loop {
        wire.publish(Publish { qos: 1, id: 1, ..Publish::of("sensors/a", &array(next)) });
        // Whether the gateway had said that it takes nothing before the answer was waited for.
        let mut refuses = false;
        loop {
            match wire.try_next_within(Duration::from_secs(2)) {
                Some(Seen::Packet(PUBACK, body)) if body == [0, 1] => break,
                Some(Seen::Packet(PUBACK, body)) if body.starts_with(&[0, 1, 0x97]) => return (next, false),
                None if refuses => return (next, true),
                None => refuses = gateway.get("/readyz").0 == 503,
                other => panic!("{other:x?} after {next} readings"),
            }
        }
        next += READINGS;
        assert!(next < 10_000_000, "the disk is never full");
    }
}

/// What holds while there is no room.
fn check_refusing(gateway: &Gateway, reason: &str) {
    gateway.until("it says so", |g| g.get("/readyz").0 == 503);
    assert!(gateway.get("/readyz").1.contains(reason), "{}", gateway.get("/readyz").1);
    assert_eq!(gateway.get("/healthz").0, 200);
    assert_eq!(gateway.get("/metrics").0, 200);
    let room = || gateway.status()["ledger"]["refused"]["room"].as_u64().unwrap();
    let before = room();
    // MQTT 3.1.1 has no word for it: closed, not acknowledged.
    let mut three = Wire::clean(gateway.at(), V3, "three");
    three.publish(Publish { qos: 1, id: 1, ..Publish::of("sensors/a", "1") });
    assert_eq!(three.next(), Seen::Closed);
    // Counted, also where nothing can be logged.
    assert_eq!(room(), before + 1);
    let counted = format!("\ntidegate_messages_refused_total{{reason=\"room\"}} {}\n", before + 1);
    assert!(gateway.get("/metrics").1.contains(&counted), "{counted}");
    // Reads go on, and so does what needs no log.
    let mut reader = Wire::clean(gateway.at(), V5, "reader");
    assert_eq!(reader.subscribe(&[("chat", 0)]), [0]);
    let mut writer = Wire::clean(gateway.at(), V3, "writer");
    writer.publish(Publish { qos: 1, id: 2, ..Publish::of("chat", "still here") });
    writer.expect(PUBACK, &[0, 2]);
    assert_eq!(reader.message().payload, "still here");
}

#[test]
fn a_full_disk_refuses_says_so_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), 12 << 20) else { return };
    let (config, _) = Gateway::configure(dir.path(), "[log]\nlimit = \"16MiB\"\n");
    let data = disk.0.join("data");
    let text = std::fs::read_to_string(&config).unwrap().replace(dir.path().join("data").to_str().unwrap(), data.to_str().unwrap());
    std::fs::write(&config, text).unwrap();
    let role = Role::start("edge", &config, &data);
    let mut gateway = Gateway { config, data, role };
    let mut wire = Wire::clean(gateway.at(), V5, "sensor");
    assert_eq!(wire.say("sensors/a", &array(0)), 0);
    let filler = disk.fill();
    let (mut accepted, waits) = publish_until_refused(&gateway, &mut wire, READINGS);
    assert!(!waits, "room is looked for before it is needed");
    check_refusing(&gateway, "no room");
    gateway.has_accepted(accepted);
    // A start on a full disk is possible, and everything acknowledged is there.
    gateway.kill_and_restart();
    gateway.has_accepted(accepted);
    wire = Wire::clean(gateway.at(), V5, "sensor");
    gateway.until("it refuses again", |g| g.get("/readyz").0 == 503);
    assert_eq!(wire.say("sensors/a", "1"), 0x97);
    check_refusing(&gateway, "no room");
    std::fs::remove_file(filler).unwrap();
    gateway.until("there is room again", |g| g.get("/readyz").0 == 200);
    for _ in 0..10 {
        assert_eq!(wire.say("sensors/a", &array(accepted)), 0);
        accepted += READINGS;
    }
    gateway.kill_and_restart();
    gateway.has_accepted(accepted);
    assert!(gateway.verify_log().status.success());
    assert_eq!(gateway.role.stop(), Some(0));
}

/// Behind a clean stop nothing is left that would make room for the smallest file.
#[test]
fn a_role_starts_on_a_disk_without_any_room_and_can_be_found_once_there_is_some() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), 160 << 20) else { return };
    let mqtt = free_port();
    let (edge, cloud) = configs(&disk.0, mqtt, free_port());
    for (role, config) in [("edge", edge), ("cloud", cloud)] {
        let data = disk.0.join(role);
        let mut first = Role::start(role, &config, &data);
        if role == "edge" {
            let mut wire = Wire::clean(([127, 0, 0, 1], first.mqtt).into(), V5, "sensor");
            assert_eq!(wire.say("sensors/a", &array(0)), 0);
        }
        assert_eq!(first.stop(), Some(0));
        let (filler, run_json) = (disk.fill(), data.join("run.json"));
        let room = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(3));
            let was_there = run_json.exists();
            std::fs::remove_file(filler).unwrap();
            was_there
        });
        // This waits for the file that says where it is.
        let mut second = Role::start(role, &config, &data);
        // A bridge makes a little room itself, when it opens its store.
        let found_at_once = room.join().unwrap();
        assert!(role == "cloud" || !found_at_once, "the disk had room after all");
        assert_eq!(crate::gateway::get_at(second.http, "/healthz").0, 200);
        if role == "edge" {
            assert_eq!(crate::gateway::status_at(second.http)["ledger"]["accepted"], READINGS);
        }
        assert_eq!(second.stop(), Some(0));
        assert!(!data.join("run.json").exists());
    }
}

#[test]
fn a_disk_that_cannot_be_written_refuses_says_so_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = Gateway::configure(dir.path(), "[log]\nlimit = \"16MiB\"\n");
    // Root may write anywhere, so the gateway runs as nobody.
    let program = dir.path().join("tidegate");
    // By another process: while this one has it open to write, a child of another test would keep it so,
    // and nobody could start it.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_tidegate")).arg(&program).status().unwrap().success());
    std::fs::create_dir(&data).unwrap();
    let mut command = Command::new(&program);
    if chown(&data, Some(65_534), Some(65_534)).is_ok() {
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        command.uid(65_534).gid(65_534);
    }
    let role = Role::start_as(command, "edge", &config, &data);
    let mut gateway = Gateway { config, data, role };
    let mut wire = Wire::clean(gateway.at(), V5, "sensor");
    assert_eq!(wire.say("sensors/a", &array(0)), 0);
    let log = gateway.data.join("log");
    std::fs::set_permissions(&log, Permissions::from_mode(0o555)).unwrap();
    let (mut accepted, waits) = publish_until_refused(&gateway, &mut wire, READINGS);
    check_refusing(&gateway, "read-only");
    gateway.has_accepted(accepted);
    // Nothing is said about the message that found out: it is neither durable nor refused.
    wire.expect_quiet();
    std::fs::set_permissions(&log, Permissions::from_mode(0o755)).unwrap();
    gateway.until("it can be written again", |g| g.get("/readyz").0 == 200);
    if waits {
        wire.expect(PUBACK, &[0, 1]);
        accepted += READINGS;
    }
    assert_eq!(wire.say("sensors/a", &array(accepted)), 0);
    accepted += READINGS;
    gateway.has_accepted(accepted);
    gateway.role.kill();
    assert!(gateway.verify_log().status.success());
}

#[test]
fn whoever_reads_a_damaged_log_is_told_and_gets_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let mut wire = Wire::clean(gateway.at(), V5, "sensor");
    for n in 0..20 {
        assert_eq!(wire.say("sensors/a", &array(n * READINGS)), 0);
    }
    assert_eq!(gateway.role.stop(), Some(0));
    let data = gateway.data.to_str().unwrap();
    let read = |what: &str| crate::gateway::tidegate(&["log", what, "--data-dir", data]);
    for what in ["verify", "stat", "show"] {
        assert!(read(what).status.success(), "{what}: {:?}", read(what));
    }
    // A byte in the middle of what is there.
    let segments = std::fs::read_dir(gateway.data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segments.filter(|path| path.extension().is_some_and(|e| e == "seg")).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 2] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    for what in ["verify", "stat", "show"] {
        let output = read(what);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
        assert!(told.contains("is damaged in 1 places") && !output.stdout.is_empty(), "{what}: {told}");
    }
    let shown = read("show");
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.lines().count() >= 20, "all but the damaged frame is shown: {shown}");
}

#[test]
fn a_data_dir_serves_one_gateway_or_one_bridge_for_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let mut wire = Wire::clean(gateway.at(), V5, "sensor");
    assert_eq!(wire.say("sensors/a", &timed(1)), 0);
    assert_eq!(gateway.role.stop(), Some(0));
    let (edge, cloud, data) = (gateway.config.to_str().unwrap(), dir.path().join("cloud.toml"), gateway.data.display().to_string());
    std::fs::write(&cloud, format!("data_dir = \"{data}\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
    for arguments in [&["edge", "--config", edge, "--set", "gateway=plant-b"][..], &["cloud", "--config", cloud.to_str().unwrap()]] {
        let refused = tidegate(arguments);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains("holds the data of gateway plant-a") && told.contains("another"), "{told}");
    }
    gateway.role = Role::start("edge", &gateway.config, &gateway.data);
    gateway.has_accepted(1);
    assert!(gateway.verify_log().status.success());
}
