//! SUBSCRIBE and what follows from it: matching, options, identifiers, retained messages.

use crate::application::{BOTH, Door};
use crate::wire::{Publish, SUBACK, Seen, Wire, block, packet, string, user};
use broker::Version::{V3, V5};

/// Options byte: no local.
const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
/// Retain handling: only for a new subscription; never.
const ONLY_NEW: u8 = 0x10;
const NEVER: u8 = 0x20;

fn retain<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { qos: 1, id: 1, retain: true, ..Publish::of(topic, payload) }
}

fn set(wire: &mut Wire, publish: Publish<'_>) {
    wire.publish(publish);
    assert!(matches!(wire.next(), Seen::Packet(0x40, _)));
}

#[test]
fn wildcards_match_as_the_standard_says() {
    let door = Door::open();
    let cases: [(&str, &[&str]); 9] = [
        ("#", &["a", "a/b", "/a", "a//b", "a/b/c"]),
        ("a/#", &["a", "a/b", "a//b", "a/b/c"]),
        ("+", &["a"]),
        ("+/+", &["a/b", "/a"]),
        ("/+", &["/a"]),
        ("a/+/b", &["a//b"]),
        ("+/#", &["a", "a/b", "/a", "a//b", "a/b/c"]),
        ("$own/#", &["$own/x"]),
        ("a/b", &["a/b"]),
    ];
    for version in BOTH {
        let mut writer = Wire::clean(door.at, version, "writer");
        for (filter, matching) in cases {
            let mut reader = Wire::clean(door.at, version, "reader");
            assert_eq!(reader.subscribe(&[(filter, 0)]), [0]);
            for topic in ["a", "a/b", "/a", "a//b", "a/b/c", "$own/x"] {
                writer.say(topic, topic);
            }
            for topic in matching {
                assert_eq!(reader.message().topic, *topic, "{filter}");
            }
            reader.expect_quiet();
            reader.leave();
        }
    }
}

#[test]
fn suback_answers_each_filter_for_itself() {
    let door = Door::open();
    let mut five = Wire::clean(door.at, V5, "five");
    let filters = [("a", 0), ("a/#/b", 1), ("b", 2), ("$share/g/a", 1), ("a+", 0), ("", 0), ("c", 1)];
    assert_eq!(five.subscribe(&filters), [0, 0x8f, 1, 0x9e, 0x8f, 0x8f, 1]);
    let mut three = Wire::clean(door.at, V3, "three");
    assert_eq!(three.subscribe(&filters), [0, 0x80, 1, 0x80, 0x80, 0x80, 1]);
    assert_eq!(door.subscriptions(), 6);
    let many: Vec<String> = (0..1_000).map(|n| format!("n/{n}")).collect();
    let many: Vec<(&str, u8)> = many.iter().map(|f| (f.as_str(), 0)).collect();
    let codes = five.subscribe(&many);
    assert_eq!(codes.iter().filter(|c| **c == 0x97).count(), 3, "a session has a thousand at most");
    // One that is there can be changed even so.
    assert_eq!(five.subscribe(&[("a", 1)]), [1]);
    three.leave();
    assert_eq!(door.subscriptions(), 1_000);
    five.leave();
    assert_eq!(door.subscriptions(), 0);
}

#[test]
fn what_is_no_valid_subscribe_ends_the_connection() {
    let door = Door::open();
    for version in BOTH {
        let none = block(version, &[]);
        let wrong = |head: u8, rest: Vec<u8>| packet(head, &[vec![0, 1], none.clone(), rest].concat());
        let cases = [
            (wrong(0x82, vec![]), 0x82),
            (wrong(0xa2, vec![]), 0x82),
            (wrong(0x80, [string("a"), vec![0]].concat()), 0x81),
            (wrong(0xa0, string("a")), 0x81),
            (wrong(0x82, [string("a"), vec![3]].concat()), 0x82),
            (wrong(0x82, [string("a"), vec![0x40]].concat()), 0x81),
            (wrong(0x82, [string("a"), vec![0x30]].concat()), 0x82),
            (wrong(0x82, string("a")), 0x81),
            (wrong(0x82, [string("a\0"), vec![0]].concat()), 0x81),
            (wrong(0xa2, string("a\0")), 0x81),
        ];
        for (bytes, reason) in cases {
            let mut wire = Wire::clean(door.at, version, "wrong");
            wire.send(&bytes);
            wire.expect_end(reason);
        }
    }
    for (identifier, reason) in [(vec![0x0b, 0], 0x82), (vec![0x0b, 1, 0x0b, 2], 0x82), (vec![0x0b, 0xff, 0xff, 0xff, 0xff, 1], 0x81)] {
        let mut wire = Wire::clean(door.at, V5, "wrong");
        wire.send(&packet(0x82, &[vec![0, 1], block(V5, &identifier), string("a"), vec![0]].concat()));
        wire.expect_end(reason);
    }
}

#[test]
fn overlapping_subscriptions_are_one_delivery() {
    let door = Door::open();
    for version in BOTH {
        let mut reader = Wire::clean(door.at, version, "reader");
        reader.subscribe(&[("a/#", 0), ("a/+", 2), ("+/b", 0)]);
        let mut writer = Wire::clean(door.at, version, "writer");
        writer.say("a/b", "once");
        assert_eq!(reader.message().brief(), ("a/b", "once", 1, false));
        reader.expect_quiet();
        reader.leave();
    }
}

#[test]
fn a_message_has_the_lower_of_both_qualities() {
    let door = Door::open();
    for version in BOTH {
        let mut reader = Wire::clean(door.at, version, "reader");
        assert_eq!(reader.subscribe(&[("q/0", 0), ("q/1", 1), ("q/2", 2)]), [0, 1, 1]);
        let mut writer = Wire::clean(door.at, version, "writer");
        for (topic, qos) in [("q/0", 1), ("q/1", 0), ("q/1", 2), ("q/2", 2), ("q/2", 0)] {
            writer.publish(Publish { qos, id: 1, ..Publish::of(topic, "x") });
            match qos {
                0 => {}
                1 => assert!(matches!(writer.next(), Seen::Packet(0x40, _))),
                _ => {
                    assert!(matches!(writer.next(), Seen::Packet(0x50, _)));
                    assert_eq!(writer.release(1), 0);
                }
            }
            let expected = qos.min(if topic == "q/0" { 0 } else { 1 });
            let message = reader.message();
            assert_eq!((message.topic.as_str(), message.qos), (topic, expected));
            if message.qos > 0 {
                reader.acknowledge(message.id);
            }
        }
    }
}

#[test]
fn unsubscribing_ends_what_was_there_and_says_what_was_not() {
    let door = Door::open();
    let mut five = Wire::clean(door.at, V5, "five");
    five.subscribe(&[("a/#", 1)]);
    assert_eq!(five.unsubscribe("a/b"), [0x11]);
    assert_eq!(five.unsubscribe("a/#/b"), [0x8f]);
    assert_eq!(five.unsubscribe("a/#"), [0]);
    assert_eq!(five.unsubscribe("a/#"), [0x11]);
    let mut three = Wire::clean(door.at, V3, "three");
    assert_eq!(three.unsubscribe("nothing"), []);
    three.say("a/b", "x");
    five.expect_quiet();
}

#[test]
fn subscription_identifiers_come_back_all_of_them() {
    let door = Door::open();
    let mut reader = Wire::clean(door.at, V5, "reader");
    reader.subscribe_as(&[("a/#", 0), ("b", 0)], Some(3));
    reader.subscribe_as(&[("a/+", 0)], Some(268_435_455));
    reader.subscribe(&[("c", 0)]);
    let mut writer = Wire::clean(door.at, V5, "writer");
    for topic in ["a/b", "b", "c"] {
        writer.say(topic, "x");
    }
    let mut both = reader.message().properties;
    both.sort_unstable();
    let mut expected = vec![0x0b, 3, 0x0b, 0xff, 0xff, 0xff, 0x7f];
    expected.sort_unstable();
    assert_eq!(both, expected);
    assert_eq!(reader.message().properties, [0x0b, 3]);
    assert_eq!(reader.message().properties, []);
    // Replaced with the subscription, and there on retained messages too.
    reader.subscribe_as(&[("b", 0)], Some(4));
    set(&mut writer, retain("b", "kept"));
    assert_eq!(reader.message().properties, [0x0b, 4]);
    reader.send(&packet(0x82, &[vec![0, 9], block(V5, &[0x0b, 5]), string("b"), vec![0]].concat()));
    reader.expect(SUBACK, &[0, 9, 0, 0]);
    assert_eq!(reader.message().properties, [0x0b, 5]);
}

#[test]
fn no_local_keeps_a_client_from_its_own_messages() {
    let door = Door::open();
    let mut wire = Wire::clean(door.at, V5, "self");
    wire.subscribe(&[("a", NO_LOCAL), ("b", 0)]);
    wire.publish(Publish::of("a", "mine"));
    wire.publish(Publish::of("b", "mine"));
    assert_eq!(wire.message().topic, "b");
    wire.expect_quiet();
    Wire::clean(door.at, V5, "other").say("a", "theirs");
    assert_eq!(wire.message().payload, "theirs");
}

#[test]
fn a_retained_message_greets_new_subscribers_until_it_is_cleared() {
    let door = Door::open();
    for version in BOTH {
        let mut writer = Wire::clean(door.at, version, "writer");
        let mut present = Wire::clean(door.at, version, "present");
        present.subscribe(&[("r/#", 1)]);
        set(&mut writer, retain("r/a", "old"));
        set(&mut writer, retain("r/a", "new"));
        set(&mut writer, Publish { retain: true, ..Publish { qos: 1, id: 2, ..Publish::of("r/b", "other") } });
        // To those who were there it is news, not memory.
        for payload in ["old", "new", "other"] {
            let message = present.message();
            assert_eq!((message.payload.as_str(), message.retain), (payload, false));
            present.acknowledge(message.id);
        }
        let mut late = Wire::clean(door.at, version, "late");
        late.subscribe(&[("r/+", 0)]);
        assert_eq!(late.message().brief(), ("r/a", "new", 0, true));
        assert_eq!(late.message().brief(), ("r/b", "other", 0, true));
        late.expect_quiet();
        set(&mut writer, retain("r/a", ""));
        assert_eq!(late.message().brief(), ("r/a", "", 0, false));
        late.subscribe(&[("r/a", 0)]);
        late.expect_quiet();
        set(&mut writer, retain("r/b", ""));
        assert_eq!(door.broker.stats().retained, 0);
    }
}

#[test]
fn what_a_client_published_before_it_subscribed_is_not_news_to_it() {
    let door = Door::open();
    for version in BOTH {
        let mut wire = Wire::clean(door.at, version, "both");
        // In one go, and at QoS 0: nothing is waited for in between.
        let mut bytes = Publish { retain: true, ..Publish::of("kept", "1") }.bytes(version);
        bytes.extend(Publish::of("passing", "2").bytes(version));
        wire.send(&bytes);
        assert_eq!(wire.subscribe(&[("kept", 0), ("passing", 0)]), [0, 0]);
        assert_eq!(wire.message().brief(), ("kept", "1", 0, true));
        wire.expect_quiet();
    }
}

#[test]
fn retain_handling_and_retain_as_published_are_obeyed() {
    let door = Door::open();
    let mut writer = Wire::clean(door.at, V5, "writer");
    set(&mut writer, retain("r", "kept"));
    let mut reader = Wire::clean(door.at, V5, "reader");
    reader.subscribe(&[("r", ONLY_NEW)]);
    assert_eq!(reader.message().payload, "kept");
    reader.subscribe(&[("r", ONLY_NEW)]);
    reader.expect_quiet();
    reader.subscribe(&[("r", 0)]);
    assert_eq!(reader.message().payload, "kept");
    reader.unsubscribe("r");
    reader.subscribe(&[("r", NEVER)]);
    reader.expect_quiet();
    set(&mut writer, retain("r", "news"));
    assert!(!reader.message().retain);
    reader.subscribe(&[("r", NEVER | RETAIN_AS_PUBLISHED)]);
    set(&mut writer, retain("r", "news"));
    assert!(reader.message().retain);
    writer.say("r", "plain");
    assert!(!reader.message().retain);
}

#[test]
fn properties_travel_with_a_message() {
    let door = Door::open();
    let mut reader = Wire::clean(door.at, V5, "reader");
    reader.subscribe(&[("a", 1)]);
    let mut old = Wire::clean(door.at, V3, "old");
    old.subscribe(&[("a", 1)]);
    let kept = [
        vec![0x01, 1],
        [vec![0x03], string("text/plain")].concat(),
        [vec![0x08], string("reply/here")].concat(),
        [vec![0x09], string("42")].concat(),
        user("b", "2"),
        user("a", "1"),
        user("b", "3"),
    ]
    .concat();
    let mut writer = Wire::clean(door.at, V5, "writer");
    let properties = [vec![0x02, 0, 0, 0, 60], kept.clone()].concat();
    set(&mut writer, Publish { qos: 1, id: 1, properties, ..Publish::of("a", "x") });
    let message = reader.message();
    // What is left of the expiry comes first, then the rest as it came.
    assert_eq!(message.properties, [vec![0x02, 0, 0, 0, 60], kept].concat());
    assert_eq!(old.message().brief(), ("a", "x", 1, false));
}

#[test]
fn a_retained_message_expires() {
    let door = Door::open();
    let mut writer = Wire::clean(door.at, V5, "writer");
    set(&mut writer, Publish { properties: vec![0x02, 0, 0, 0, 1], ..retain("short", "x") });
    set(&mut writer, Publish { properties: vec![0x02, 0, 0, 0, 90], ..retain("long", "x") });
    std::thread::sleep(std::time::Duration::from_millis(1_300));
    let mut reader = Wire::clean(door.at, V5, "reader");
    reader.subscribe(&[("#", 0)]);
    let message = reader.message();
    assert_eq!(message.topic, "long");
    assert!((86..=89).contains(&message.properties[4]), "{:?}", message.properties);
    reader.expect_quiet();
}

#[test]
fn equal_filters_of_one_packet_find_what_is_retained_once() {
    let door = Door::open();
    let mut writer = Wire::clean(door.at, V5, "writer");
    for topic in ["r/1", "r/2"] {
        set(&mut writer, retain(topic, "kept"));
    }
    for version in BOTH {
        let mut reader = Wire::clean(door.at, version, "reader");
        assert_eq!(reader.subscribe(&[("r/#", 1); 100]), [1; 100]);
        for topic in ["r/1", "r/2"] {
            let message = reader.message();
            assert_eq!(message.brief(), (topic, "kept", 1, true));
            reader.acknowledge(message.id);
        }
        reader.expect_quiet();
        // Another packet asks for it again.
        reader.subscribe(&[("r/2", 0)]);
        assert_eq!(reader.message().brief(), ("r/2", "kept", 0, true));
        reader.expect_quiet();
        reader.leave();
    }
}

#[test]
fn filters_of_a_session_are_bounded_in_bytes() {
    let door = Door::open();
    let long = |n: usize| format!("{n}/{}", "x".repeat(60_000));
    for (version, refused) in [(V3, 0x80), (V5, 0x97)] {
        let mut wire = Wire::clean(door.at, version, "long");
        for n in 0..4 {
            assert_eq!(wire.subscribe(&[(&long(n), 0)]), [0]);
        }
        assert_eq!(wire.subscribe(&[(&long(4), 0)]), [refused]);
        assert_eq!(wire.subscribe(&[(&long(3), 1), ("short", 0)]), [1, 0], "one that it has is only changed");
        wire.unsubscribe(&long(0));
        assert_eq!(wire.subscribe(&[(&long(4), 0)]), [0]);
        wire.leave();
    }
}
