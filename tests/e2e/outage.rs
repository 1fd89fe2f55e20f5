//! Exactness through an outage: 20 series at two gateways, two of them shared, disorder of
//! seconds, some data very late, and the link cut for a third of the time.

use crate::link::{Link, State};
use crate::plant::{Role, consume, free_port, publish_all_as};
use crate::truth::{Held, Truth};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SIZES: [(&str, i64); 2] = [("1s", 1_000), ("10s", 10_000)];

fn gateway(dir: &Path, name: &str, cloud: u16) -> (PathBuf, PathBuf) {
    let (config, data) = (dir.join(format!("{name}.toml")), dir.join(name));
    let text = format!(
        "gateway = \"{name}\"\ndata_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{cloud}\"\nevery = \"1s\"\n[windows]\nsizes = [\"1s\", \"10s\"]\ngrace = \"1s\"\n",
        data.display().to_string()
    );
    std::fs::write(&config, text).unwrap();
    (config, data)
}

/// Readings of one gateway's series: a second apart in plant time, shuffled by some seconds,
/// one in twenty held back to the end, an hour or a day old by then.
fn readings(rng: &mut StdRng, series: &[String], base_ms: i64, truth: &mut Truth) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for second in 0..150i64 {
        for name in series {
            let late = rng.random_ratio(1, 20);
            let time =
                base_ms + second * 1_000 + rng.random_range(0..1_000) - if late { rng.random_range(3_600_000..90_000_000) } else { 0 };
            let value = f64::from(rng.random_range(-50_000..150_000)) / 1_000.0;
            truth.add(&SIZES, name, time, value);
            let order = if late { 1_000_000 } else { second * 1_000 + rng.random_range(0..4_000) };
            all.push((order, format!("sensors/{name}"), format!("{{\"value\":{value},\"ts\":{time}}}")));
        }
    }
    all.sort();
    all.into_iter().map(|(_, topic, payload)| (topic, payload)).collect()
}

#[test]
fn every_merged_window_equals_the_truth_after_an_outage() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("TIDEGATE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let cloud_config = dir.path().join("cloud.toml");
    let text = format!(
        "data_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:{port}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
        dir.path().join("cloud").display().to_string()
    );
    std::fs::write(&cloud_config, text).unwrap();
    let mut cloud = Role::start("cloud", &cloud_config, &dir.path().join("cloud"));
    let received = consume(port, &["merged/#"]);

    let mut truth = Truth::default();
    let base_ms = 1_700_000_000_000;
    let mut plants = Vec::new();
    for name in ["plant-a", "plant-b"] {
        let link = Link::to(port);
        let (config, data) = gateway(dir.path(), name, link.port);
        let role = Role::start("edge", &config, &data);
        let series: Vec<String> = (0..11).map(|i| if i < 2 { format!("shared/s{i}") } else { format!("{name}/line/s{i}") }).collect();
        let messages = readings(&mut rng, &series, base_ms, &mut truth);
        let sent = messages.len();
        let publisher = publish_all_as(name, role.mqtt, messages, Duration::from_millis(5));
        plants.push((role, link, publisher, sent));
    }
    // About nine seconds of load: the link is gone for the middle third, then deaf for a moment.
    let begun = Instant::now();
    for (at_s, state) in [(3, State::Cut), (6, State::Up), (7, State::Deaf), (8, State::Up)] {
        std::thread::sleep(Duration::from_secs(at_s).saturating_sub(begun.elapsed()));
        plants.iter().for_each(|(_, link, ..)| link.set(state));
    }
    let mut roles = Vec::new();
    for (role, link, publisher, sent) in plants {
        assert_eq!(publisher.join().unwrap(), sent, "every reading is acknowledged");
        roles.push((role, link));
    }
    let mut held = Held::default();
    held.settle(&received, &truth, Duration::from_secs(120));
    let shared =
        held.windows.iter().filter(|((_, series, _), v)| series.starts_with("shared/") && v["gateways"].as_object().unwrap().len() == 2);
    assert!(shared.count() > 0, "shared series have readings of both gateways");
    for (role, _) in &mut roles {
        assert_eq!(role.stop(), Some(0));
    }
    assert_eq!(cloud.stop(), Some(0));
}
