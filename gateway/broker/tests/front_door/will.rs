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
