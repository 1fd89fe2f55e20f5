//! What merged windows must be, computed apart from the program, and what a consumer holds.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Window name, series, start in ms.
pub type Key = (String, String, i64);

/// One window by the plainest means: all its values.
#[derive(Debug, Default, Clone)]
pub struct Truth {
    pub windows: BTreeMap<Key, Vec<f64>>,
}

impl Truth {
    /// Counts a reading into its windows of each size (name, ms).
    pub fn add(&mut self, sizes: &[(&str, i64)], series: &str, time_ms: i64, value: f64) {
        for (name, size) in sizes {
            self.windows.entry(((*name).to_owned(), series.to_owned(), time_ms - time_ms.rem_euclid(*size))).or_default().push(value);
        }
    }
}

/// The highest revision of each window that a consumer got.
#[derive(Default)]
pub struct Held {
    pub windows: BTreeMap<Key, Value>,
    /// How often each alert came, by id.
    pub alerts: BTreeMap<String, (usize, Value)>,
    pub others: Vec<(String, Value)>,
}

impl Held {
    /// Takes one message.
    pub fn take(&mut self, topic: String, v: Value) {
        if topic.starts_with("merged/") {
            let key = (v["window"].as_str().unwrap().to_owned(), v["series"].as_str().unwrap().to_owned(), v["start"].as_i64().unwrap());
            assert_eq!(topic, format!("merged/{}/{}", key.0, key.1));
            let held = self.windows.entry(key).or_insert_with(|| v.clone());
            if v["revision"].as_u64() >= held["revision"].as_u64() {
                *held = v;
            }
        } else if topic.starts_with("alerts/") {
            self.alerts.entry(v["id"].as_str().unwrap().to_owned()).or_insert((0, v)).0 += 1;
        } else {
            self.others.push((topic, v));
        }
    }

    /// What differs from the truth, some of it.
    pub fn wrong(&self, truth: &Truth) -> Vec<String> {
        let known: BTreeSet<&Key> = truth.windows.keys().collect();
        let strange = self.windows.keys().filter(|k| !known.contains(k)).map(|k| format!("{k:?} has no readings"));
        let wrong = truth.windows.iter().filter_map(|(key, values)| {
            let Some(held) = self.windows.get(key) else { return Some(format!("{key:?} is missing")) };
            let sum: f64 = values.iter().sum();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let near =
                |name: &str, wanted: f64, error: f64| (held[name].as_f64().unwrap() - wanted).abs() <= error * wanted.abs().max(1e-300);
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let at = |q: f64| sorted[(q * (sorted.len() - 1) as f64).floor() as usize];
            let right = held["count"].as_u64() == Some(values.len() as u64)
                && held["min"].as_f64() == Some(least)
                && held["max"].as_f64() == Some(most)
                && near("sum", sum, 1e-9)
                && near("mean", sum / values.len() as f64, 1e-9)
                && [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)].iter().all(|(name, q)| near(name, at(*q), 0.01 + 1e-9));
            (!right).then(|| format!("{key:?} is {held}, of {} values, sum {sum}", values.len()))
        });
        wrong.chain(strange).take(5).collect()
    }

    /// Takes what comes until everything is right, or the time is over; then says what is not.
    pub fn settle(&mut self, received: &Receiver<(String, Value)>, truth: &Truth, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            match received.recv_timeout(Duration::from_secs(1)) {
                Ok((topic, v)) => {
                    self.take(topic, v);
                    while let Ok((topic, v)) = received.try_recv() {
                        self.take(topic, v);
                    }
                }
                Err(_) if Instant::now() > deadline => break,
                Err(_) => {}
            }
            if self.windows.len() >= truth.windows.len() && self.wrong(truth).is_empty() {
                return;
            }
            if Instant::now() > deadline {
                break;
            }
        }
        panic!("{} of {} windows after {limit:?}; wrong: {:#?}", self.windows.len(), truth.windows.len(), self.wrong(truth));
    }
}
