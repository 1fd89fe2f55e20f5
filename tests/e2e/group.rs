//! Two gateways of a redundancy group hear the same sensors, one at a time is dead for a while,
//! and a third gateway is in no group: never more than the truth, and all of it in the end.

use crate::plant::{Role, consume, free_port, publish_all_as};
use crate::truth::{Held, Truth};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SIZES: [(&str, i64); 2] = [("1s", 1_000), ("10s", 10_000)];
const BASE_MS: i64 = 1_700_000_000_000;
/// Plant time of one act; windows of ten seconds do not reach over its end.
const ACT_S: i64 = 20;

type Messages = Vec<(String, String)>;

fn gateway(dir: &Path, name: &str, cloud: u16, more: &str) -> (PathBuf, PathBuf) {
    let (config, data) = (dir.join(format!("{name}.toml")), dir.join(name));
    let text = format!(
        "gateway = \"{name}\"\ndata_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{cloud}\"\nevery = \"1s\"\n[windows]\nsizes = [\"1s\", \"10s\"]\ngrace = \"1s\"\n{more}",
        data.display().to_string()
    );
    std::fs::write(&config, text).unwrap();
    (config, data)
}

/// What the sensors say in an act, five series of which the last is heard by the third gateway, too.
fn act(rng: &mut StdRng, number: i64, truth: &mut Truth) -> (Messages, Messages) {
    let (mut cell, mut other) = (Vec::new(), Vec::new());
    for second in 0..ACT_S {
        for series in 0..5 {
            let time = BASE_MS + (number * ACT_S + second) * 1_000 + rng.random_range(0..1_000);
            let mut say = |list: &mut Messages, name: &str| {
                let value = f64::from(rng.random_range(-50_000..150_000)) / 1_000.0;
                truth.add(&SIZES, name, time, value);
                list.push((format!("sensors/{name}"), format!("{{\"value\":{value},\"ts\":{time}}}")));
            };
            say(&mut cell, &format!("cell/s{series}"));
            if series == 4 {
                say(&mut other, "cell/s4");
                say(&mut other, "hall/s");
            }
        }
    }
    (cell, other)
}

fn publish(client: &'static str, role: &Role, messages: &Messages) {
    assert_eq!(publish_all_as(client, role.mqtt, messages.clone(), Duration::ZERO).join().unwrap(), messages.len());
}

#[test]
fn a_group_counts_once_and_whoever_lives_takes_over() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("TIDEGATE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let (cloud_config, cloud_data) = (dir.path().join("cloud.toml"), dir.path().join("cloud"));
    let text = format!(
        "data_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:{port}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
        cloud_data.display().to_string()
    );
    std::fs::write(&cloud_config, text).unwrap();
    let mut cloud = Role::start("cloud", &cloud_config, &cloud_data);
    let received = consume(port, &["merged/#"]);
    let group = "[redundancy]\ngroup = \"cell-4\"\n";
    let [a, b, c] = [("cell-a", group), ("cell-b", group), ("hall", "")].map(|(name, more)| gateway(dir.path(), name, port, more));
    let start = |(config, data): &(PathBuf, PathBuf)| Role::start("edge", config, data);
    let (mut cell_a, mut cell_b, mut hall) = (start(&a), start(&b), start(&c));

    let mut truth = Truth::default();
    // Who hears: both, a alone, b alone, both.
    for (number, (hears_a, hears_b)) in [(true, true), (true, false), (false, true), (true, true)].into_iter().enumerate() {
        let (cell, other) = act(&mut rng, number as i64, &mut truth);
        if !hears_a {
            cell_a.kill();
        }
        if !hears_b {
            cell_b.kill();
        }
        if hears_a {
            publish("press", &cell_a, &cell);
        }
        if hears_b {
            publish("press", &cell_b, &cell);
        }
        publish("hall", &hall, &other);
        if !hears_a {
            cell_a = start(&a);
        }
        if !hears_b {
            cell_b = start(&b);
        }
    }
    let mut held = Held::default();
    let is_known = |held: &Held| held.windows.len() == truth.windows.len() && held.wrong(&truth).is_empty();
    let of_cell = |series: &str| series.starts_with("cell/");
    // Acts 0 and 3 were heard by both.
    let by_both = |start: i64| [0, 3].contains(&((start - BASE_MS) / (ACT_S * 1_000)));
    let settled = |held: &Held| {
        held.windows.iter().all(|((_, series, start), v)| {
            v["complete"] == true && v.get("agree").and_then(|a| a.as_bool()) == of_cell(series).then(|| by_both(*start))
        })
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    while !(is_known(&held) && settled(&held)) {
        let unsettled = || held.windows.values().filter(|v| v["complete"] != true || v.get("agree").is_some()).take(3).collect::<Vec<_>>();
        assert!(Instant::now() < deadline, "wrong: {:#?}; perhaps: {:#?}", held.wrong(&truth), unsettled());
        let Ok((topic, v)) = received.recv_timeout(Duration::from_secs(1)) else { continue };
        let key = (v["window"].as_str().unwrap().to_owned(), v["series"].as_str().unwrap().to_owned(), v["start"].as_i64().unwrap());
        assert!(v["count"].as_u64().unwrap() <= truth.windows[&key].len() as u64, "never more than there was: {v}");
        held.take(topic, v);
    }
    for ((_, series, start), v) in &held.windows {
        let members = v["gateways"].as_object().unwrap();
        let expected = if of_cell(series) && by_both(*start) { 2 } else { 1 } + usize::from(series == "cell/s4");
        assert_eq!(members.len(), expected, "{v}");
    }
    assert_eq!((cell_a.stop(), cell_b.stop(), hall.stop(), cloud.stop()), (Some(0), Some(0), Some(0), Some(0)));
}
