//! A bridge that lost its disk, or was restored from a copy, is told again what it had
//! acknowledged: every window is right again, and no reading is counted twice.

use crate::gateway::status_at;
use crate::plant::{Consumer, Role, configs, consume, free_port, publish_all};
use crate::truth::{Held, Truth};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SIZES: [(&str, i64); 2] = [("1s", 1_000), ("10s", 10_000)];
const LIMIT: Duration = Duration::from_secs(120);

struct Plant {
    dir: tempfile::TempDir,
    files: (PathBuf, PathBuf),
    mqtt: (u16, u16),
    edge: Role,
    cloud: Role,
}

impl Plant {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mqtt = (free_port(), free_port());
        let files = configs(dir.path(), mqtt.0, mqtt.1);
        let cloud = Role::start("cloud", &files.1, &dir.path().join("cloud"));
        let edge = Role::start("edge", &files.0, &dir.path().join("edge"));
        Self { dir, files, mqtt, edge, cloud }
    }

    /// Half a minute of three series, in windows that no other part has.
    fn publish(&self, part: i64) -> Truth {
        let (mut truth, mut messages) = (Truth::default(), Vec::new());
        for i in 0..300 {
            for series in ["a/temperature", "a/pressure", "b/temperature"] {
                let (time, value) = (1_700_000_000_000 + part * 100_000 + i * 100, (i * 7 + part) as f64 / 100.0);
                truth.add(&SIZES, series, time, value);
                messages.push((format!("sensors/{series}"), format!("{{\"value\":{value},\"ts\":{time}}}")));
            }
        }
        let count = messages.len();
        assert_eq!(publish_all(self.mqtt.0, messages).join().unwrap(), count);
        truth
    }

    /// The bridge comes back, and nobody tells it anything before the consumer listens again,
    /// on its connection of that number.
    fn restart_cloud(&mut self, received: &Consumer, connection: usize) {
        self.edge.freeze();
        self.cloud = Role::start("cloud", &self.files.1, &self.dir.path().join("cloud"));
        received.until_subscribed(connection);
        self.edge.thaw();
    }

    /// Everything is delivered, and nothing is missing for good.
    fn balances(&self) {
        let begun = Instant::now();
        loop {
            let ledger = status_at(self.edge.http)["ledger"].clone();
            if ledger["delivered"] == ledger["accepted"] && ledger["held"] == 0 {
                assert_eq!(ledger["shed"], 0, "{ledger}");
                return;
            }
            assert!(begun.elapsed() < LIMIT, "{ledger}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A folder with all in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_bridge_whose_disk_is_gone_has_all_windows_again() {
    let mut plant = Plant::start();
    let (received, mut held) = (consume(plant.mqtt.1, &["merged/#"]), Held::default());
    let mut truth = plant.publish(1);
    held.settle(&received, &truth, LIMIT);
    // A boot that is over: nothing of it is left to say.
    plant.edge.kill();
    plant.edge = Role::start("edge", &plant.files.0, &plant.dir.path().join("edge"));
    truth.windows.extend(plant.publish(2).windows);
    held.settle(&received, &truth, LIMIT);
    plant.balances();

    plant.cloud.kill();
    std::fs::remove_dir_all(plant.dir.path().join("cloud")).unwrap();
    while received.try_recv().is_ok() {}
    let mut held = Held::default();
    plant.restart_cloud(&received, 2);
    held.settle(&received, &truth, LIMIT);
    plant.balances();
    // Both ends go on as if nothing had been.
    truth.windows.extend(plant.publish(3).windows);
    held.settle(&received, &truth, LIMIT);
    plant.balances();
}

#[test]
fn a_bridge_restored_from_a_copy_has_all_windows_again() {
    let mut plant = Plant::start();
    let (data, kept) = (plant.dir.path().join("cloud"), plant.dir.path().join("copy"));
    let (received, mut held) = (consume(plant.mqtt.1, &["merged/#"]), Held::default());
    let first = plant.publish(1);
    held.settle(&received, &first, LIMIT);
    assert_eq!(plant.cloud.stop(), Some(0));
    copy(&data, &kept);
    plant.restart_cloud(&received, 2);
    let mut truth = first.clone();
    truth.windows.extend(plant.publish(2).windows);
    held.settle(&received, &truth, LIMIT);
    plant.balances();

    plant.cloud.kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    // What was published before the copy was made is not published once more.
    held.windows.retain(|key, _| first.windows.contains_key(key));
    plant.restart_cloud(&received, 3);
    truth.windows.extend(plant.publish(3).windows);
    held.settle(&received, &truth, LIMIT);
    plant.balances();
}
