//! Alerts at a gateway's own broker for subscribers with a session, over its restarts: each gets what it lacks.

use crate::gateway::{Gateway, logged};
use crate::wire::{Connect, Wire, expiry};
use broker::Version::{self, V3, V5};
use serde_json::Value;
use std::time::Duration;

/// None of these many makes a flood, which is an alert, too.
const LIMIT: &str = "[alarms]\nflood = 1000\n[[limit]]\nseries = \"**\"\nhigh_high = 85.0\n";

fn subscribed(gateway: &Gateway, version: Version, id: &str) -> Wire {
    let (mut wire, present) = Wire::durable(gateway.at(), version, id);
    assert!(!present);
    assert_eq!(wire.subscribe(&[("alerts/#", 1)]), [1]);
    wire
}

fn back(gateway: &Gateway, version: Version, id: &str) -> Wire {
    let (wire, present) = Wire::durable(gateway.at(), version, id);
    assert!(present, "{id}");
    wire
}

/// A sensor whose readings are beyond the limit, each of a series of its own.
fn raise(gateway: &Gateway, names: &[&str]) {
    let mut sensor = Wire::clean(gateway.at(), V5, "sensor");
    for name in names {
        assert_eq!(sensor.say(&format!("sensors/{name}"), "97"), 0);
    }
    sensor.leave();
}

/// The next alert: its series, and the packet that brought it.
fn alert(wire: &mut Wire) -> (String, u16) {
    let message = wire.message();
    let alert: Value = serde_json::from_str(&message.payload).unwrap();
    (alert["series"].as_str().unwrap().to_owned(), message.id)
}

/// The next alerts are those, once each, and are acknowledged.
#[track_caller]
fn takes(wire: &mut Wire, names: &[&str]) {
    for name in names {
        let (series, id) = alert(wire);
        assert_eq!(series, *name);
        wire.acknowledge(id);
    }
}

/// Waits until the log knows that all but so many sessions have every alert.
fn until_told(gateway: &Gateway, behind: usize) {
    gateway.until("the log knows who has what", |g| {
        let records = logged(&g.data);
        let last = |kind: &str| records.iter().rposition(|record| record["kind"] == kind);
        let Some(at) = last("shown").filter(|at| Some(*at) > last("message")) else { return false };
        records[at]["behind"].as_object().map_or(0, serde_json::Map::len) == behind
    });
}

#[test]
fn who_was_away_or_did_not_acknowledge_is_told_after_a_kill_and_nobody_else() {
    for version in [V3, V5] {
        let dir = tempfile::tempdir().unwrap();
        let mut gateway = Gateway::start(dir.path(), LIMIT);
        let [away, mut mute, mut prompt] = ["away", "mute", "prompt"].map(|id| subscribed(&gateway, version, id));
        away.leave();
        raise(&gateway, &["m0", "m1"]);
        takes(&mut prompt, &["m0", "m1"]);
        // Who acknowledges the second alone lacks the first.
        let (_first, second) = (alert(&mut mute), alert(&mut mute));
        mute.acknowledge(second.1);
        until_told(&gateway, 2);
        assert_eq!(gateway.status()["alerts_kept"], 2);
        gateway.kill_and_restart();
        raise(&gateway, &["m2"]);
        for id in ["away", "mute"] {
            let mut wire = back(&gateway, version, id);
            takes(&mut wire, &["m0", "m1", "m2"]);
            wire.expect_quiet();
            wire.leave();
        }
        let mut prompt = back(&gateway, version, "prompt");
        takes(&mut prompt, &["m2"]);
        prompt.expect_quiet();
        prompt.leave();
        // What all have is told to nobody again.
        gateway.until("nothing is kept", |g| g.status()["alerts_kept"] == 0);
        gateway.kill_and_restart();
        for id in ["away", "mute", "prompt"] {
            let mut wire = back(&gateway, version, id);
            wire.expect_quiet();
            wire.leave();
        }
        assert_eq!(gateway.status()["alerts_unheld"], 0);
        assert!(gateway.verify_log().status.success());
    }
}

#[test]
fn who_is_away_is_told_after_a_stop_and_a_session_that_is_over_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), LIMIT);
    subscribed(&gateway, V5, "away").leave();
    let brief = Connect { properties: expiry(1), ..Connect::durable(V5, "brief") };
    let (mut wire, _) = Wire::with(gateway.at(), &brief);
    wire.subscribe(&[("alerts/#", 1)]);
    wire.leave();
    raise(&gateway, &["m0", "m1"]);
    for restart in 0..2 {
        std::thread::sleep(Duration::from_millis(1_100));
        gateway.stop_and_restart();
        assert_eq!(gateway.status()["alerts_kept"], 2, "start {restart}: through snapshots, too");
    }
    let (mut wire, (present, _)) = Wire::with(gateway.at(), &brief);
    assert!(!present);
    wire.expect_quiet();
    let mut away = back(&gateway, V5, "away");
    takes(&mut away, &["m0", "m1"]);
    // A stop notes at once what was taken.
    away.expect_quiet();
    away.leave();
    gateway.stop_and_restart();
    let mut away = back(&gateway, V5, "away");
    away.expect_quiet();
    away.leave();
    // One that ends lacks nothing.
    raise(&gateway, &["m2"]);
    gateway.until("an alert is kept", |g| g.status()["alerts_kept"] == 1);
    Wire::clean(gateway.at(), V5, "away").leave();
    gateway.until("it is kept for nobody", |g| g.status()["alerts_kept"] == 0);
}

#[test]
fn every_alert_comes_in_order_however_often_the_gateway_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), LIMIT);
    subscribed(&gateway, V5, "operator").leave();
    let names: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    let mut seen: Vec<String> = Vec::new();
    for (round, batch) in names.chunks(8).enumerate() {
        raise(&gateway, &batch.iter().map(String::as_str).collect::<Vec<_>>());
        let mut operator = back(&gateway, V5, "operator");
        for n in 0..=round {
            let (series, id) = alert(&mut operator);
            // The last one comes, and is not acknowledged.
            if n < round {
                operator.acknowledge(id);
            }
            seen.extend((!seen.contains(&series)).then_some(series));
        }
        std::thread::sleep(Duration::from_millis(round as u64 * 400));
        gateway.kill_and_restart();
    }
    let mut operator = back(&gateway, V5, "operator");
    while seen.len() < names.len() {
        let (series, id) = alert(&mut operator);
        operator.acknowledge(id);
        seen.extend((!seen.contains(&series)).then_some(series));
    }
    assert_eq!(seen, names);
    operator.expect_quiet();
}
