//! A slow line with a long backlog: critical alerts and the newest windows do not wait for it, how
//! far it is can be seen, and a budget binds all but critical alerts.

use crate::gateway::get_at;
use crate::link::{Slow, State};
use crate::plant::{Consumer, PATIENCE, consume, publish_all_as};
use crate::strain::Strain;
use crate::truth::Held;
use crate::uplink::{noise, plant};
use crate::wire::Wire;
use broker::Version::V5;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const GUARD: &str = "[[limit]]\nseries = \"guard\"\nhigh_high = 95.0\n";
/// The gateway's `every`, and the size of its windows.
const EVERY: Duration = Duration::from_secs(1);
const SIZE_MS: i64 = 1_000;
/// What a machine with more to do takes beside; the backlog takes a minute.
const BUSY: Duration = Duration::from_secs(4);

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// What a consumer sees of a gateway whose plant goes on.
#[derive(Default)]
struct Seen {
    held: Held,
    /// When each alert was caused, by its reading's time, and how long it took to the consumer.
    caused: BTreeMap<i64, Instant>,
    alerts: BTreeMap<i64, Duration>,
    /// End of each live series' newest window.
    newest: BTreeMap<String, i64>,
}

impl Seen {
    fn take(&mut self, topic: String, v: Value) {
        if v["state"] == "active" && v["kind"] == "high-high" {
            let time = v["time"].as_i64().unwrap();
            let caused = self.caused.get(&time).unwrap_or_else(|| panic!("an alert out of nothing: {v}"));
            self.alerts.entry(time).or_insert_with(|| caused.elapsed());
        }
        if let Some(series) = topic.strip_prefix("merged/1s/live/") {
            let end = self.newest.entry(series.to_owned()).or_default();
            *end = (*end).max(v["end"].as_i64().unwrap());
        }
        self.held.take(topic, v);
    }
}

/// A figure of `/metrics`.
fn metric(http: u16, name: &str) -> Option<f64> {
    let (code, body) = get_at(http, "/metrics");
    assert_eq!(code, 200);
    body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn over_a_slow_line_alerts_and_newest_windows_overtake_the_backlog() {
    let _apart = crate::apart::measuring();
    let plant = plant(GUARD);
    let mut backlog = plant.readings(0, 40);
    plant.until("sealed", |told| told["drain"]["windows"].as_u64() >= Some(backlog - 40));
    let slow = Slow { rate: 4_096, delay: Duration::from_millis(150), queue: Duration::from_secs(1) };
    // Nothing is published before somebody listens.
    plant.link.set(State::Cut);
    let mut bridge = plant.bridge();
    let received = consume(plant.cloud_port, &["merged/#", "alerts/#"]);
    plant.link.set(State::Slow(slow));
    plant.until("connected", |told| told["connected"] == true);
    let mut sensor = Wire::clean(SocketAddr::from(([127, 0, 0, 1], plant.gateway.mqtt)), V5, "live");

    let (mut seen, began, strain) = (Seen::default(), Instant::now(), Strain::begin(Some(plant.dir.path())));
    let (mut oldest, mut looks) = (Duration::ZERO, Vec::new());
    // The first windows find the line full of what was there before them: what is measured is behind them.
    let mut measured_from = None;
    for turn in 0.. {
        if measured_from.is_some_and(|from: Instant| from.elapsed() > Duration::from_secs(14)) {
            break;
        }
        let (now, turn_ends) = (now_ms(), Instant::now() + Duration::from_millis(250));
        for series in 0..5 {
            assert_eq!(sensor.say(&format!("sensors/live/{series}"), &format!("{{\"value\":{turn},\"ts\":{now}}}")), 0);
            backlog += 1;
        }
        if turn % 4 == 0 {
            seen.caused.insert(now, Instant::now());
            for (value, ts) in [(120.0, now), (50.0, now + 1)] {
                assert_eq!(sensor.say("sensors/guard", &format!("{{\"value\":{value},\"ts\":{ts}}}")), 0);
                backlog += 1;
            }
        }
        while let Some(left) = turn_ends.checked_duration_since(Instant::now()) {
            if let Ok((topic, v)) = received.recv_timeout(left) {
                seen.take(topic, v);
            }
        }
        if measured_from.is_none() && seen.newest.len() == 5 {
            measured_from = Some((began + Duration::from_secs(8)).max(Instant::now() + Duration::from_secs(2)));
        }
        assert!(measured_from.is_some() || began.elapsed() < PATIENCE, "live series at the cloud: {:?}", seen.newest);
        if measured_from.is_some_and(|from| Instant::now() > from) {
            let end = *seen.newest.values().min().unwrap();
            oldest = oldest.max(Duration::from_millis((now_ms() - end).max(0) as u64));
        }
        if began.elapsed() > Duration::from_secs(2 * looks.len() as u64) {
            let told = plant.status();
            let figure = |name: &str| told["drain"][name].as_u64().unwrap_or_default();
            looks.push((figure("windows"), figure("bytes"), figure("eta_s"), told["ledger"]["held"].as_u64().unwrap()));
        }
    }
    println!("(windows, bytes, eta, held): {looks:?}; newest window at most {oldest:?} old; alerts: {:?}", seen.alerts.values());
    let (first, last) = (looks[looks.len() / 3], *looks.last().unwrap());
    assert!(last.0 > 0, "the line was too fast for this test: {looks:?}");
    assert!(last.0 < first.0 && last.1 < first.1 && last.2 > 0, "it drains, and says so: {looks:?}");
    let told = plant.status();
    let windows = metric(plant.gateway.http, "tidegate_drain_windows").unwrap();
    // Windows of the live series may be sealed between the two.
    assert!(windows <= told["drain"]["windows"].as_f64().unwrap() + 6.0 && windows > 0.0, "{windows} of {told}");
    assert!(metric(plant.gateway.http, "tidegate_drain_remaining_seconds") > Some(0.0));
    // A window is new until the next one ends; then it is sealed, waits for its turn, and goes.
    let current = strain.allows(Duration::from_millis(SIZE_MS as u64) + EVERY + slow.longest(1_000) + BUSY);
    assert!(oldest < current, "the newest window was {oldest:?} old, more than {current:?}");
    received.try_iter().for_each(|(topic, v)| seen.take(topic, v));
    let soon = strain.allows(slow.longest(500) + BUSY);
    let late = seen.alerts.values().max().copied().unwrap_or_default();
    assert!(late < soon, "an alert took {late:?}, more than {soon:?}");
    let missing = seen.caused.iter().filter(|(time, caused)| caused.elapsed() > soon && !seen.alerts.contains_key(time)).count();
    assert_eq!(missing, 0, "{} alerts of {}", seen.alerts.len(), seen.caused.len());

    plant.link.set(State::Up);
    let told = plant.until("drained", |told| told["ledger"]["held"] == 0);
    assert_eq!(told["ledger"]["delivered"], backlog);
    let deadline = Instant::now() + PATIENCE;
    let count = |held: &Held| held.windows.values().map(|v| v["count"].as_u64().unwrap()).sum::<u64>();
    while count(&seen.held) < backlog || seen.alerts.len() < seen.caused.len() {
        std::thread::sleep(Duration::from_millis(200));
        received.try_iter().for_each(|(topic, v)| seen.take(topic, v));
        assert!(Instant::now() < deadline, "{} readings of {backlog}", count(&seen.held));
    }
    assert_eq!(count(&seen.held), backlog);
    assert!(seen.held.alerts.values().all(|(times, _)| *times == 1), "each alert once");
    drop((plant.gateway, bridge.stop()));
}

const EVENTS: &str = "[[bridge]]\nfilter = \"events/#\"\npriority = \"bulk\"\n";

/// Ordinary messages of a kilobyte each.
fn events(port: u16, from: u64, to: u64) {
    let text = |i: u64| format!("\"{i:06}{}\"", (0..60).map(|n| format!("{:016x}", noise((i * 60 + n) as i64) << 40)).collect::<String>());
    let all: Vec<_> = (from..to).map(|i| ("events/line".to_owned(), text(i))).collect();
    let sent = all.len();
    assert_eq!(publish_all_as("office", port, all, Duration::ZERO).join().unwrap(), sent);
}

/// A consumer of critical alerts and of ordinary messages, whose numbers it keeps in order of arrival.
struct Listener {
    from: Consumer,
    got: Vec<u64>,
}

impl Listener {
    fn at(port: u16) -> Self {
        Self { from: consume(port, &["alerts/#", "plants/#"]), got: Vec::new() }
    }

    /// Takes one message; whether it is a critical alert.
    fn take(&mut self, v: &Value) -> bool {
        if let Some(text) = v.as_str() {
            self.got.push(text[..6].parse().unwrap());
        }
        v["kind"] == "high-high" && v["state"] == "active"
    }

    fn take_all(&mut self) {
        let all: Vec<_> = self.from.try_iter().collect();
        for (_, v) in &all {
            self.take(v);
        }
    }

    /// Raises a critical alert, and how long it takes to come.
    fn alert(&mut self, sensor: &mut Wire) -> Duration {
        let caused = Instant::now();
        for value in [120, 50] {
            assert_eq!(sensor.say("sensors/guard", &value.to_string()), 0);
        }
        loop {
            let (_, v) = self.from.recv_timeout(PATIENCE).unwrap();
            if self.take(&v) {
                return caused.elapsed();
            }
        }
    }
}

#[test]
fn a_budget_binds_windows_and_ordinary_messages_and_no_critical_alert() {
    let _apart = crate::apart::measuring();
    let rate = 16_384;
    let plant = plant(&format!("budget = \"16KiB/s\"\n{GUARD}{EVENTS}"));
    let readings = plant.readings(0, 10);
    events(plant.gateway.mqtt, 0, 200);
    plant.until("sealed", |told| told["drain"]["windows"].as_u64() >= Some(readings - 40));
    // Nothing is published before somebody listens.
    plant.link.set(State::Cut);
    let bridge = plant.bridge();
    let mut listener = Listener::at(plant.cloud_port);
    let strain = Strain::begin(Some(plant.dir.path()));
    plant.link.set(State::Up);
    plant.until("connected", |told| told["connected"] == true);
    let mut sensor = Wire::clean(SocketAddr::from(([127, 0, 0, 1], plant.gateway.mqtt)), V5, "guard");
    let (began, from) = (Instant::now(), plant.link.bytes());
    let (mut heard, mut latest, mut most, mut both) = (0, Duration::ZERO, 0.0f64, false);
    let mut told = plant.status();
    // The sensor of the alerts goes on: what it said last may still be held.
    while told["ledger"]["delivered"].as_u64() < Some(readings) || told["bridge"]["waiting"] != 0 {
        assert!(began.elapsed() < PATIENCE, "{told}");
        (heard, latest) = (heard + 1, latest.max(listener.alert(&mut sensor)));
        std::thread::sleep(Duration::from_millis(500));
        let (bytes, seconds) = ((plant.link.bytes() - from) as f64, began.elapsed().as_secs_f64());
        // The bucket, a slice, three connections; of a short time, its very ends; and of each alert it,
        // its receipt and acknowledgements.
        most = most.max((bytes - 10_000.0 - f64::from(rate) / 4.0 - f64::from(heard) * 1_500.0) / seconds);
        listener.take_all();
        told = plant.status();
        both |= told["ledger"]["delivered"].as_u64() > Some(readings / 4)
            && told["bridge"]["delivered"].as_u64() > Some(10)
            && listener.got.len() < 190;
    }
    println!("{most:.0} bytes/s at most, {heard} alerts, {latest:?} at most, {:?}", began.elapsed());
    assert!(most < 1.1 * f64::from(rate), "{most} bytes a second of {rate}");
    assert!(latest < strain.allows(BUSY), "a critical alert waited {latest:?}");
    assert!(both, "windows and messages share what there is");
    assert!(told["uplink_bytes"].as_u64() > Some(200_000), "{told}");
    let deadline = Instant::now() + PATIENCE;
    while listener.got.len() < 200 {
        assert!(Instant::now() < deadline, "{} messages", listener.got.len());
        std::thread::sleep(Duration::from_millis(50));
        listener.take_all();
    }
    assert!(listener.got.iter().copied().eq(0..200), "once each, in order: {:?}", listener.got);
    drop(bridge);
}

#[test]
fn ordinary_messages_pass_a_slow_line_and_alerts_overtake_them() {
    let _apart = crate::apart::measuring();
    let plant = plant(&format!("{GUARD}{EVENTS}"));
    events(plant.gateway.mqtt, 0, 300);
    let slow = Slow { rate: 8_192, delay: Duration::from_millis(100), queue: Duration::from_secs(1) };
    // Nothing is published before somebody listens.
    plant.link.set(State::Cut);
    let bridge = plant.bridge();
    let mut listener = Listener::at(plant.cloud_port);
    let strain = Strain::begin(Some(plant.dir.path()));
    plant.link.set(State::Slow(slow));
    plant.until("connected", |told| told["connected"] == true);
    let mut sensor = Wire::clean(SocketAddr::from(([127, 0, 0, 1], plant.gateway.mqtt)), V5, "guard");
    let (began, from) = (Instant::now(), plant.link.bytes_up());
    let mut latest = Duration::ZERO;
    while listener.got.len() < 300 {
        assert!(began.elapsed() < PATIENCE, "{} messages: {}", listener.got.len(), plant.status());
        latest = latest.max(listener.alert(&mut sensor));
        std::thread::sleep(Duration::from_secs(2));
        listener.take_all();
    }
    let sent = plant.link.bytes_up() - from;
    println!("{:?}, {sent} bytes up, alerts {latest:?} at most", began.elapsed());
    assert!(listener.got.iter().copied().eq(0..300), "once each, in order: {:?}", listener.got);
    assert!(sent < 2 * 300 * 1_100, "{sent} bytes: they go once, not again and again");
    assert!(latest < strain.allows(slow.longest(500) + BUSY), "an alert waited {latest:?}");
    drop(bridge);
}
