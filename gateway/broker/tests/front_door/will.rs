//! Last wills: when they are published, and when they are not.

use crate::application::{BOTH, Door};
use crate::wire::{Connect, DISCONNECT, Seen, Will, Wire, expiry, packet, user};
use broker::Version::{self, V3, V5};
use std::time::{Duration, Instant};

fn watcher(door: &Door) -> Wire {
    let mut wire = Wire::clean(door.at, V5, "watcher");
    wire.subscribe(&[("#", 1)]);
    wire
}

fn with_will(door: &Door, version: Version, will: Will<'_>) -> Wire {
    let (wire, answer) = Wire::with(door.at, &Connect { id: "mortal", will: Some(will), ..Connect::of(version) });
    assert_eq!(answer, (false, 0));
    wire
}

fn delay(seconds: u8) -> Vec<u8> {
    vec![0x18, 0, 0, 0, seconds]
}

#[test]
fn a_will_is_published_when_its_client_is_lost_and_not_when_it_leaves() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    for version in BOTH {
        with_will(&door, version, Will::of("w", "never")).leave();
        with_will(&door, version, Will::of("w", "lost")).vanish();
        assert_eq!(watcher.message().payload, "lost");
        // A breach of the protocol is no way to leave.
        let mut wire = with_will(&door, version, Will::of("w", "breach"));
        wire.send(&[0x00, 0]);
        assert_eq!(watcher.message().payload, "breach");
        // Nor is being replaced.
        let mut wire = with_will(&door, version, Will::of("w", "replaced"));
        Wire::clean(door.at, version, "mortal").leave();
        wire.expect_end(0x8e);
        assert_eq!(watcher.message().payload, "replaced");
    }
    // MQTT 5: leaving, but with the will.
    let mut wire = with_will(&door, V5, Will::of("w", "asked for"));
    wire.send(&packet(DISCONNECT, &[0x04]));
    assert_eq!(watcher.message().payload, "asked for");
    assert_eq!(wire.next(), Seen::Closed);
    watcher.expect_quiet();
}

#[test]
fn a_will_has_its_quality_its_properties_and_may_be_retained() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    for (version, qos) in [(V3, 0), (V5, 1), (V5, 2)] {
        let properties = if version == V5 { [vec![0x01, 1], user("k", "v")].concat() } else { vec![] };
        let will = Will { topic: "w", payload: "x", qos, retain: true, properties: properties.clone() };
        with_will(&door, version, will).vanish();
        let message = watcher.message();
        assert_eq!(message.brief(), ("w", "x", qos.min(1), false));
        assert_eq!(message.properties, properties);
        if qos > 0 {
            watcher.acknowledge(message.id);
        }
        let mut late = Wire::clean(door.at, V5, "late");
        late.subscribe(&[("w", 0)]);
        assert_eq!(late.message().brief(), ("w", "x", 0, true));
        assert_eq!(late.unsubscribe("w"), [0]);
    }
    // An empty one clears.
    with_will(&door, V3, Will { retain: true, ..Will::of("w", "") }).vanish();
    assert_eq!(watcher.message().payload, "");
    assert_eq!(door.broker.stats().retained, 0);
}

#[test]
fn a_delayed_will_waits_for_the_clients_return() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    let connect = |clean, will| Connect { id: "mortal", clean, properties: expiry(60), will, ..Connect::of(V5) };
    let will = Some(Will { properties: delay(2), ..Will::of("w", "too late") });
    let (wire, _) = Wire::with(door.at, &connect(true, will.clone()));
    wire.vanish();
    // Back in time: not published, then or later.
    let (wire, (present, _)) = Wire::with(door.at, &connect(false, will));
    assert!(present);
    let began = Instant::now();
    wire.vanish();
    let message = watcher.message();
    assert_eq!(message.payload, "too late");
    assert!(began.elapsed() >= Duration::from_millis(1_900), "after {:?}", began.elapsed());
    watcher.acknowledge(message.id);
    // The session's end comes first: its will goes then.
    let will = Some(Will { properties: delay(100), ..Will::of("w", "session over") });
    let (wire, _) = Wire::with(door.at, &Connect { properties: expiry(1), ..connect(true, will.clone()) });
    wire.vanish();
    assert_eq!(watcher.message().payload, "session over");
    let (wire, _) = Wire::with(door.at, &connect(true, will.clone()));
    wire.vanish();
    Wire::clean(door.at, V5, "mortal").leave();
    assert_eq!(watcher.message().payload, "session over");
    // Without a session to wait for, at once.
    let (wire, _) = Wire::with(door.at, &Connect { properties: vec![], ..connect(true, will) });
    wire.vanish();
    assert_eq!(watcher.message().payload, "session over");
    watcher.expect_quiet();
}

#[test]
fn a_will_that_is_a_reading_counts_and_is_seen_after_its_commit() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    door.log.hold();
    with_will(&door, V3, Will::of("log/a", "21.5")).vanish();
    door.until("the will is taken", |d| d.log.taken().len() == 1);
    watcher.expect_quiet();
    assert!(door.log.taken()[0].will);
    assert_eq!(door.log.taken()[0].session, 0);
    door.log.commit();
    assert_eq!(watcher.message().brief(), ("log/a", "21.5", 1, false));
    // One that is refused is counted and not shown.
    with_will(&door, V5, Will::of("log/bad", "x")).vanish();
    door.until("it is refused", |d| d.broker.stats().refused == 1);
    watcher.expect_quiet();
}

/// The process dies, or stops, with its clients: the next one publishes the wills of those that do not come back.
#[test]
fn a_will_outlives_the_process() {
    for stops in [false, true] {
        let mut door = Door::open();
        let will = |id, payload| Connect { id, will: Some(Will::of(id, payload)), ..Connect::of(V3) };
        let durable = |id, payload| Connect {
            clean: false,
            properties: expiry(60),
            ..Connect { id, will: Some(Will::of(id, payload)), ..Connect::of(V5) }
        };
        let (watcher, _) = Wire::with(door.at, &Connect { id: "watcher", clean: false, properties: expiry(60), ..Connect::of(V5) });
        let mut watcher = watcher;
        watcher.subscribe(&[("#", 1)]);
        let connects = [will("passing", "lost"), durable("staying", "lost"), will("again", "not lost"), durable("back", "not lost")];
        let wires: Vec<Wire> = connects.iter().map(|connect| Wire::with(door.at, connect).0).collect();
        Wire::with(door.at, &will("left", "left")).0.leave();
        Wire::with(door.at, &durable("gone", "gone")).0.leave();
        let delayed = Connect { will: Some(Will { properties: delay(8), ..Will::of("slow", "late") }), ..durable("slow", "") };
        let slow = Wire::with(door.at, &delayed).0;
        // One that is over is over for good.
        Wire::with(door.at, &will("before", "published")).0.vanish();
        assert_eq!(watcher.message().payload, "published");
        door.until("five wills are kept", |d| d.log.sessions().iter().filter(|s| s.will.is_some()).count() == 5);
        if stops {
            door.shutdown(Duration::from_secs(1));
        }
        door = door.reopen();
        let began = Instant::now();
        drop((wires, slow));
        let (mut watcher, (present, _)) =
            Wire::with(door.at, &Connect { id: "watcher", clean: false, properties: expiry(60), ..Connect::of(V5) });
        assert!(present);
        let (_again, (present, _)) = Wire::with(door.at, &Connect { clean: false, properties: vec![], ..will("again", "not lost") });
        assert!(!present, "a session of before ended with its process");
        let (_back, (present, _)) = Wire::with(door.at, &durable("back", "not lost"));
        assert!(present);
        let mut lost: Vec<String> = (0..2).map(|_| watcher.message().topic).collect();
        lost.sort();
        assert_eq!(lost, ["passing", "staying"]);
        assert_eq!(watcher.message().payload, "late");
        assert!(began.elapsed() >= Duration::from_secs(8), "{:?}", began.elapsed());
        watcher.expect_quiet();
        let sessions = door.log.sessions();
        let mut kept: Vec<&str> = sessions.iter().filter(|s| s.will.is_some()).map(|s| s.client_id.as_str()).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["again", "back"], "of those who are there");
        assert!(!door.log.sessions().iter().any(|s| s.client_id == "passing"));
    }
}
