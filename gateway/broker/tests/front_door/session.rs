//! Sessions: present or not, how long they last, what they keep, through restarts too.

use crate::application::{BOTH, Door};
use crate::wire::{Connect, DISCONNECT, Publish, Seen, Wire, block, expiry, packet};
use broker::Version::{V3, V5};
use std::time::Duration;

#[test]
fn a_session_is_present_until_a_clean_start() {
    let door = Door::open();
    for version in BOTH {
        let (wire, present) = Wire::durable(door.at, version, "s");
        assert!(!present);
        wire.leave();
        let (wire, present) = Wire::durable(door.at, version, "s");
        assert!(present);
        wire.vanish();
        let (wire, present) = Wire::durable(door.at, version, "s");
        assert!(present);
        wire.leave();
        // A clean start says "not present" and means it, also for what comes after.
        Wire::clean(door.at, version, "s").leave();
        let (wire, present) = Wire::durable(door.at, version, "s");
        assert!(!present);
        wire.leave();
        Wire::clean(door.at, version, "s").leave();
    }
    door.until("no session is left", |d| d.broker.stats().sessions == 0 && d.log.sessions().is_empty());
}

#[test]
fn a_session_expires_and_another_begins() {
    let door = Door::open();
    let connect = |seconds| Connect { id: "s", clean: false, properties: expiry(seconds), ..Connect::of(V5) };
    let (mut wire, _) = Wire::with(door.at, &connect(1));
    wire.subscribe(&[("a", 1)]);
    // While the client is there no time runs.
    std::thread::sleep(Duration::from_millis(2_200));
    wire.expect_quiet();
    // It leaves with time enough to come back.
    wire.send(&packet(DISCONNECT, &[vec![0], block(V5, &expiry(20))].concat()));
    assert_eq!(wire.next(), Seen::Closed);
    let (wire, (present, _)) = Wire::with(door.at, &connect(1));
    assert!(present);
    wire.leave();
    door.until("the session expires", |d| d.broker.stats().sessions == 0 && d.log.sessions().is_empty());
    assert_eq!(door.subscriptions(), 0);
    let (wire, (present, _)) = Wire::with(door.at, &connect(1));
    assert!(!present);
    wire.leave();
}

#[test]
fn sessions_and_subscriptions_outlive_the_process() {
    let mut door = Door::open();
    for version in BOTH {
        let (mut wire, _) = Wire::durable(door.at, version, "keeps");
        assert_eq!(wire.subscribe(&[("a/+", 1), ("b/#", 0), ("c", 1)]), [1, 0, 1]);
        wire.unsubscribe("c");
        Wire::with(door.at, &Connect { id: "passing", ..Connect::of(version) }).0.subscribe(&[("#", 0)]);
        door = door.reopen();
        let (mut wire, present) = Wire::durable(door.at, version, "keeps");
        assert!(present);
        let mut other = Wire::clean(door.at, version, "other");
        for topic in ["a/b", "b/c/d", "c"] {
            assert_eq!(other.say(topic, "x"), 0);
        }
        let first = wire.message();
        assert_eq!(first.brief(), ("a/b", "x", 1, false));
        wire.acknowledge(first.id);
        assert_eq!(wire.message().brief(), ("b/c/d", "x", 0, false));
        wire.expect_quiet();
        // One that was not durable is not there.
        let (_passing, (present, _)) = Wire::with(door.at, &Connect { id: "passing", clean: false, ..Connect::of(version) });
        assert!(!present);
        wire.leave();
        Wire::clean(door.at, version, "keeps").leave();
    }
}

#[test]
fn the_unacknowledged_comes_again_marked_and_before_anything_new() {
    let door = Door::open();
    for version in BOTH {
        let (mut reader, _) = Wire::durable(door.at, version, "reader");
        reader.subscribe(&[("t", 1)]);
        let mut writer = Wire::clean(door.at, version, "writer");
        for n in ["1", "2", "3"] {
            writer.say("t", n);
        }
        let got = [reader.message(), reader.message(), reader.message()];
        reader.acknowledge(got[1].id);
        reader.expect_quiet();
        reader.vanish();
        writer.say("t", "4");
        let (mut reader, present) = Wire::durable(door.at, version, "reader");
        assert!(present);
        let again = [reader.message(), reader.message(), reader.message()];
        assert_eq!([&*again[0].payload, &again[1].payload, &again[2].payload], ["1", "3", "4"]);
        assert_eq!([again[0].dup, again[1].dup, again[2].dup], [true, true, false]);
        assert_eq!((again[0].id, again[1].id), (got[0].id, got[2].id));
        for message in again {
            reader.acknowledge(message.id);
        }
        reader.expect_quiet();
        reader.leave();
        Wire::clean(door.at, version, "reader").leave();
    }
}

#[test]
fn a_subscriber_is_sent_no_more_than_it_asked_for() {
    let door = Door::open();
    let connect = Connect { id: "narrow", properties: [vec![0x21, 0, 2], vec![0x27, 0, 0, 0, 40]].concat(), ..Connect::of(V5) };
    let (mut reader, _) = Wire::with(door.at, &connect);
    reader.subscribe(&[("t", 1), ("u", 0)]);
    let mut writer = Wire::clean(door.at, V3, "writer");
    for n in 0..5 {
        writer.say("t", &n.to_string());
    }
    let (first, second) = (reader.message(), reader.message());
    reader.expect_quiet();
    reader.acknowledge(second.id);
    let third = reader.message();
    assert_eq!(third.payload, "2");
    reader.expect_quiet();
    reader.acknowledge(first.id);
    reader.acknowledge(third.id);
    let rest = [reader.message(), reader.message()];
    assert_eq!([&*rest[0].payload, &rest[1].payload], ["3", "4"]);
    rest.iter().for_each(|m| reader.acknowledge(m.id));
    // One that is larger than it takes is left out, counted, and stands in nobody's way.
    writer.say("t", &"x".repeat(60));
    writer.say("u", &"x".repeat(60));
    writer.say("t", "small");
    assert_eq!(reader.message().payload, "small");
    assert_eq!(door.broker.stats().dropped, 2);
}

#[test]
fn a_publisher_that_leaves_takes_nothing_along() {
    let door = Door::open();
    let mut reader = Wire::clean(door.at, V5, "reader");
    reader.subscribe(&[("log/#", 1)]);
    door.log.hold();
    let mut writer = Wire::clean(door.at, V5, "writer");
    writer.publish(Publish { qos: 0, ..Publish::of("log/a", "1") });
    writer.publish(Publish { qos: 1, id: 1, ..Publish::of("log/a", "2") });
    door.until("both are taken", |d| d.log.taken().len() == 2);
    writer.leave();
    // Subscribers see a reading after its commit, whether or not its sender is still there.
    reader.expect_quiet();
    door.log.commit();
    assert_eq!([reader.message().payload, reader.message().payload], ["1", "2"]);
}
