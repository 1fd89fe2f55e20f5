//! PUBLISH in: acknowledgements after the log, the QoS 2 handshake, flow control, and what is
//! no valid PUBLISH.

use crate::application::{BOTH, Door};
use crate::wire::{Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, Seen, Wire, expiry, packet, string};
use broker::Version::{V3, V5};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn id(n: u16) -> [u8; 2] {
    n.to_be_bytes()
}

#[test]
fn acknowledgements_wait_for_the_log_and_leave_in_order_of_arrival() {
    let door = Door::open();
    for version in BOTH {
        let mut wire = Wire::clean(door.at, version, "sensor");
        door.log.hold();
        let before = door.log.taken().len();
        let mut bytes = vec![];
        for n in 1..=5 {
            // An ordinary message between readings is not quicker than they are.
            let topic = if n % 2 == 1 { "log/a" } else { "other" };
            bytes.extend(Publish { qos: if n == 3 { 2 } else { 1 }, id: n, ..Publish::of(topic, "1") }.bytes(version));
        }
        wire.send(&bytes);
        door.until("they are taken", |d| d.log.taken().len() == before + 3);
        wire.expect_quiet();
        door.log.commit();
        for n in 1..=5 {
            wire.expect(if n == 3 { PUBREC } else { PUBACK }, &id(n));
        }
        assert_eq!(wire.send_twice_safe("log/a", "x", 3, true), 0, "received before, not released");
        wire.send(&packet(PUBREL, &id(3)));
        wire.expect(PUBCOMP, &id(3));
        wire.leave();
        door.log.commit();
    }
    assert_eq!(door.log.taken().len(), 6);
}

#[test]
fn a_qos_2_message_counts_once_until_it_is_released() {
    let door = Door::open();
    for version in BOTH {
        for topic in ["log/a", "plain"] {
            let mut watcher = Wire::clean(door.at, version, "watcher");
            watcher.subscribe(&[("#", 0)]);
            let (mut wire, _) = Wire::durable(door.at, version, "careful");
            assert_eq!(wire.send_twice_safe(topic, "one", 7, false), 0);
            assert_eq!(wire.send_twice_safe(topic, "one", 7, true), 0);
            // The mark alone does not make a new one old, nor its absence an old one new.
            assert_eq!(wire.send_twice_safe(topic, "one", 7, false), 0);
            wire.vanish();
            let (mut wire, present) = Wire::durable(door.at, version, "careful");
            assert!(present);
            assert_eq!(wire.send_twice_safe(topic, "one", 7, true), 0);
            assert_eq!(wire.release(7), 0);
            assert_eq!(wire.send_twice_safe(topic, "two", 7, true), 0);
            assert_eq!(wire.release(7), 0);
            assert_eq!([watcher.message().payload, watcher.message().payload], ["one", "two"]);
            watcher.expect_quiet();
            wire.leave();
            watcher.leave();
            drop(Wire::clean(door.at, version, "careful"));
        }
    }
    assert_eq!(door.log.payloads(), ["one", "two", "one", "two"]);
}

#[test]
fn received_ids_of_readings_and_messages_outlive_the_process() {
    let mut door = Door::open();
    for version in BOTH {
        let (mut wire, _) = Wire::durable(door.at, version, "careful");
        assert_eq!(wire.send_twice_safe("log/a", "reading", 1, false), 0);
        assert_eq!(wire.send_twice_safe("plain", "message", 2, false), 0);
        assert_eq!(wire.send_twice_safe("log/a", "released", 3, false), 0);
        assert_eq!(wire.release(3), 0);
        let before = door.log.taken().len();
        door = door.reopen();
        assert!(matches!(wire.next(), Seen::Closed));
        let mut watcher = Wire::clean(door.at, version, "watcher");
        watcher.subscribe(&[("plain", 0)]);
        let (mut wire, present) = Wire::durable(door.at, version, "careful");
        assert!(present);
        assert_eq!(wire.send_twice_safe("log/a", "reading", 1, true), 0);
        assert_eq!(wire.send_twice_safe("plain", "message", 2, true), 0);
        assert_eq!((wire.release(1), wire.release(2)), (0, 0));
        watcher.expect_quiet();
        assert_eq!(door.log.taken().len(), before);
        wire.leave();
        drop(Wire::clean(door.at, version, "careful"));
    }
}

#[test]
fn who_wants_to_know_is_told_why_in_words() {
    let door = Door::open();
    let why = "the payload is not of the form that its topic asks for";
    let no_words = vec![0x17, 0];
    let small = [&[0x27][..], &100u32.to_be_bytes()].concat();
    for (properties, words) in [(vec![], true), (vec![0x17, 1], true), (no_words, false), (small, false)] {
        let (mut wire, _) = Wire::with(door.at, &Connect { properties, ..Connect::of(V5) });
        for (qos, head) in [(1, PUBACK), (2, PUBREC)] {
            wire.publish(Publish { qos, id: 4, ..Publish::of("log/bad", "x") });
            let mut expected = vec![0, 4, 0x99];
            if words {
                expected.extend([why.len() as u8 + 3, 0x1f]);
                expected.extend(string(why));
            }
            wire.expect(head, &expected);
        }
    }
}

#[test]
fn a_pubrec_answers_for_its_own_message_only() {
    let door = Door::open();
    door.log.busy.store(true, Ordering::SeqCst);
    let mut wire = Wire::clean(door.at, V5, "twice");
    // The same identifier twice in one read: the first is refused, so the second is no repetition of it.
    let mut bytes = Publish { qos: 2, id: 4, ..Publish::of("log/bad", "x") }.bytes(V5);
    bytes.extend(Publish { qos: 2, id: 4, ..Publish::of("log/a", "good") }.bytes(V5));
    bytes.extend(Publish { qos: 2, id: 4, ..Publish::of("log/a", "good") }.bytes(V5));
    wire.send(&bytes);
    assert!(matches!(wire.next(), Seen::Packet(PUBREC, body) if body.starts_with(&[0, 4, 0x99])));
    wire.expect(PUBREC, &[0, 4]);
    wire.expect(PUBREC, &[0, 4]);
    assert_eq!(wire.release(4), 0);
    assert_eq!(door.log.payloads(), ["good"]);
}

#[test]
fn handshakes_about_unknown_identifiers_are_answered_truthfully() {
    let door = Door::open();
    let mut wire = Wire::clean(door.at, V5, "lost");
    assert_eq!(wire.release(5), 0x92);
    wire.send(&packet(PUBREC, &id(5)));
    wire.expect(PUBREL, &[0, 5, 0x92]);
    wire.send(&packet(PUBCOMP, &id(5)));
    wire.acknowledge(5);
    wire.expect_quiet();
    // With a reason and properties, as MQTT 5 allows.
    wire.send(&packet(PUBREL, &[0, 5, 0x92, 0]));
    wire.expect(PUBCOMP, &[0, 5, 0x92]);
    wire.leave();
    let mut wire = Wire::clean(door.at, V3, "lost");
    assert_eq!(wire.release(5), 0);
    wire.send(&packet(PUBREC, &id(5)));
    wire.expect(PUBREL, &id(5));
    wire.send(&packet(PUBCOMP, &id(5)));
    wire.acknowledge(5);
    wire.expect_quiet();
}

#[test]
fn identifier_zero_is_a_breach() {
    let door = Door::open();
    for version in BOTH {
        let none = if version == V5 { vec![0] } else { vec![] };
        let publish = |qos: u8| packet(0x30 | qos << 1, &[string("a"), vec![0, 0], none.clone()].concat());
        let subscribe = packet(0x82, &[vec![0, 0], none.clone(), string("a"), vec![0]].concat());
        let unsubscribe = packet(0xa2, &[vec![0, 0], none.clone(), string("a")].concat());
        for bytes in [publish(1), publish(2), subscribe, unsubscribe, packet(PUBACK, &[0, 0]), packet(PUBREL, &[0, 0])] {
            let mut wire = Wire::clean(door.at, version, "zero");
            wire.send(&bytes);
            wire.expect_end(0x82);
        }
    }
}

#[test]
fn a_client_is_held_to_receive_maximum() {
    let door = Door::open();
    for qos in [1, 2] {
        let mut wire = Wire::clean(door.at, V5, "flood");
        door.log.hold();
        for n in 1..=1_024 {
            wire.publish(Publish { qos, id: n, ..Publish::of("log/a", "1") });
        }
        wire.expect_quiet();
        wire.publish(Publish { qos, id: 1_025, ..Publish::of("log/a", "1") });
        wire.expect_end(0x93);
        door.log.commit();
    }
    // What is acknowledged, or refused, makes room again.
    let mut wire = Wire::clean(door.at, V5, "steady");
    for n in 1..=3_000u16 {
        assert_eq!(wire.send_twice_safe("log/bad", "1", n, false), 0x99);
        door.log.commit();
    }
    // MQTT 3.1.1 has no such bound; the socket waits instead.
    let taken = door.log.taken().len();
    let mut wire = Wire::clean(door.at, V3, "flood");
    for n in 1..=5_000u16 {
        wire.publish(Publish { qos: 1, id: n, ..Publish::of("log/a", "1") });
    }
    for n in 1..=5_000u16 {
        door.log.commit();
        while wire.try_next_within(Duration::from_millis(20)) != Some(Seen::Packet(PUBACK, id(n).to_vec())) {
            door.log.commit();
        }
    }
    assert_eq!(door.log.taken().len(), taken + 5_000);
}

#[test]
fn unreleased_qos_2_messages_have_a_bound() {
    let door = Door::open();
    let (mut wire, _) = Wire::durable(door.at, V3, "hoarder");
    for n in 1..=4_096 {
        assert_eq!(wire.send_twice_safe("log/a", "1", n, false), 0);
    }
    wire.publish(Publish { qos: 2, id: 5_000, ..Publish::of("log/a", "1") });
    assert_eq!(wire.next(), Seen::Closed);
    let (mut wire, _) = Wire::durable(door.at, V3, "hoarder");
    assert_eq!(wire.send_twice_safe("log/a", "1", 4_096, true), 0);
    assert_eq!(wire.release(1), 0);
    assert_eq!(wire.send_twice_safe("log/a", "1", 5_000, true), 0);
    assert_eq!(door.log.taken().len(), 4_097);
}

#[test]
fn what_is_no_valid_publish_ends_the_connection_with_its_reason() {
    let door = Door::open();
    let alias = |n: u8| Publish { properties: vec![0x23, 0, n], ..Publish::of("a", "") };
    let with = |properties: Vec<u8>| Publish { properties, ..Publish::of("a", "") };
    let both = [
        (Publish::of("a/+", ""), 0x90),
        (Publish::of("a/#", ""), 0x90),
        (Publish::of("", ""), 0x90),
        (Publish::of("a\0", ""), 0x90),
        (Publish { qos: 3, id: 1, ..Publish::of("a", "") }, 0x81),
        (Publish { dup: true, ..Publish::of("a", "") }, 0x81),
    ];
    let five = [
        (alias(1), 0x94),
        (alias(0), 0x94),
        (Publish { topic: "", ..alias(1) }, 0x94),
        (with(vec![0x0b, 1]), 0x82),
        (with(vec![0x01, 2]), 0x82),
        (with(vec![0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1]), 0x82),
        (with([vec![0x08], string("a/+")].concat()), 0x82),
        (with(expiry(5)), 0x81),
        (with(vec![0x26, 0, 1, b'k']), 0x81),
        (with(vec![0x09, 0, 9]), 0x81),
    ];
    for version in BOTH {
        for (publish, reason) in both.iter().chain(if version == V5 { &five[..] } else { &[] }) {
            let mut wire = Wire::clean(door.at, version, "wrong");
            wire.publish(publish.clone());
            wire.expect_end(*reason);
        }
        let broken: [&[u8]; 6] = [
            // A topic that is longer than its packet; no UTF-8; a surrogate; an over-long form; a length of five bytes.
            &[0x30, 3, 0, 9, b'a'],
            &[0x30, 4, 0, 2, 0xc3, 0x28],
            &[0x30, 5, 0, 3, 0xed, 0xa0, 0x80],
            &[0x30, 4, 0, 2, 0xc0, 0x80],
            &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x32, 4, 0, 1, b'a', 0],
        ];
        for bytes in broken {
            let mut wire = Wire::clean(door.at, version, "wrong");
            wire.send(bytes);
            wire.expect_end(0x81);
        }
        let elsewhere: [(&[u8], u8); 7] = [
            (&[0x20, 2, 0, 0], 0x82),
            (&[0x90, 3, 0, 1, 0], 0x82),
            (&[0xb0, 2, 0, 1], 0x82),
            (&[0xd0, 0], 0x82),
            (&[0x00, 0], 0x82),
            (&[0x60, 2, 0, 1], 0x81),
            (&[0xc0, 1, 0], 0x81),
        ];
        for (bytes, reason) in elsewhere {
            let mut wire = Wire::clean(door.at, version, "wrong");
            wire.send(bytes);
            wire.expect_end(reason);
        }
        let mut wire = Wire::clean(door.at, version, "auth");
        wire.send(&[0xf0, 0]);
        wire.expect_end(0x82);
    }
    assert!(door.log.taken().is_empty());
}

#[test]
fn what_came_before_a_breach_counts() {
    let door = Door::open();
    let mut wire = Wire::clean(door.at, V5, "stumbles");
    let mut bytes = Publish { qos: 1, id: 1, ..Publish::of("log/a", "good") }.bytes(V5);
    bytes.extend(Publish::of("a/#", "").bytes(V5));
    wire.send(&bytes);
    wire.expect(PUBACK, &id(1));
    wire.expect_end(0x90);
    assert_eq!(door.log.payloads(), ["good"]);
}

#[test]
fn a_packet_has_the_size_that_was_announced_and_no_more() {
    let door = Door::with(|c| c.max_packet = 2_048);
    for version in BOTH {
        let mut wire = Wire::clean(door.at, version, "large");
        let room = 2_048 - 3 - 2 - 5 - 2 - if version == V5 { 1 } else { 0 };
        assert_eq!(wire.say("log/a", &"x".repeat(room)), 0);
        // Judged by its length alone, before its bytes are there.
        wire.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
        wire.expect_end(0x95);
        let mut wire = Wire::clean(door.at, version, "large");
        wire.publish(Publish { qos: 1, id: 1, ..Publish::of("log/a", &"x".repeat(room + 1)) });
        wire.expect_end(0x95);
    }
    assert_eq!(door.log.taken().len(), 2);
}

#[test]
fn a_refusal_is_told_in_mqtt_5_and_closes_in_3() {
    let door = Door::open();
    let mut wire = Wire::clean(door.at, V5, "five");
    assert_eq!(wire.say("log/bad", "x"), 0x99);
    assert_eq!(wire.say("log/full", "1"), 0x97);
    assert_eq!(wire.say("log/long", "1"), 0x90);
    assert_eq!(wire.send_twice_safe("log/bad", "x", 5, false), 0x99);
    // PUBREC with an error frees the identifier.
    assert_eq!(wire.send_twice_safe("log/a", "1", 5, false), 0);
    assert_eq!(wire.release(5), 0);
    wire.publish(Publish::of("log/bad", "x"));
    wire.expect_quiet();
    let mut wire = Wire::clean(door.at, V3, "three");
    wire.publish(Publish::of("log/bad", "x"));
    wire.expect_quiet();
    for qos in [1, 2] {
        let mut wire = Wire::clean(door.at, V3, "three");
        wire.publish(Publish { qos, id: 1, ..Publish::of("log/full", "1") });
        assert_eq!(wire.next(), Seen::Closed);
    }
    assert_eq!(door.broker.stats().refused, 8);
}

#[test]
fn what_a_client_may_not_publish_is_told_in_mqtt_5_and_dropped_in_3() {
    let door = Door::open();
    let mut watcher = Wire::clean(door.at, V5, "watcher");
    watcher.subscribe(&[("#", 1)]);
    for (version, code) in [(V5, 0x87), (V3, 0)] {
        let mut wire = Wire::clean(door.at, version, "stranger");
        wire.publish(Publish { retain: true, ..Publish::of("log/mine", "x") });
        assert_eq!(wire.say("log/mine", "x"), code);
        assert_eq!(wire.send_twice_safe("log/mine", "x", 5, false), code);
        if version == V3 {
            assert_eq!(wire.release(5), 0);
        }
        // It goes on, and its identifier is free again.
        assert_eq!(wire.send_twice_safe("log/a", "1", 5, false), 0);
    }
    for _ in 0..2 {
        assert_eq!(watcher.message().brief().0, "log/a");
    }
    watcher.expect_quiet();
    assert_eq!((door.broker.stats().refused, door.broker.stats().retained), (6, 0));
}

#[test]
fn what_was_taken_around_a_refusal_is_acknowledged_before_mqtt_3_is_closed() {
    let door = Door::open();
    let (mut wire, _) = Wire::durable(door.at, V3, "three");
    let mut bytes = vec![];
    for (n, topic) in [(1, "log/a"), (2, "log/full"), (3, "log/b"), (4, "log/c")] {
        bytes.extend(Publish { qos: 2, id: n, ..Publish::of(topic, topic) }.bytes(V3));
    }
    wire.send(&bytes);
    for n in [1, 3, 4] {
        wire.expect(PUBREC, &id(n));
    }
    assert_eq!(wire.next(), Seen::Closed);
    let (mut wire, _) = Wire::durable(door.at, V3, "three");
    for (n, topic) in [(1, "log/a"), (2, "log/d"), (3, "log/b"), (4, "log/c")] {
        assert_eq!(wire.send_twice_safe(topic, topic, n, true), 0);
    }
    assert_eq!(door.log.payloads(), ["log/a", "log/b", "log/c", "log/d"]);
}

#[test]
fn bytes_may_come_one_by_one() {
    let door = Door::open();
    for version in BOTH {
        let mut wire = Wire::open(door.at, version);
        let mut bytes = Connect::of(version).bytes();
        for n in 1..=3 {
            bytes.extend(Publish { qos: 1, id: n, ..Publish::of("log/a", "a reading, one by one") }.bytes(version));
        }
        for byte in &bytes {
            wire.send(&[*byte]);
            std::thread::sleep(Duration::from_micros(200));
        }
        assert!(matches!(wire.next(), Seen::Packet(0x20, _)));
        for n in 1..=3 {
            wire.expect(PUBACK, &id(n));
        }
    }
    assert_eq!(door.log.taken().len(), 6);
}

#[test]
fn an_empty_payload_is_routed_not_logged() {
    let door = Door::open();
    let mut watcher = Wire::clean(door.at, V5, "watcher");
    watcher.subscribe(&[("log/#", 1)]);
    let mut wire = Wire::clean(door.at, V5, "sensor");
    assert_eq!(wire.say("log/a", ""), 0);
    let message = watcher.message();
    assert_eq!(message.brief(), ("log/a", "", 1, false));
    assert!(door.log.taken().is_empty());
}

#[test]
fn what_never_will_be_taken_is_told_in_mqtt_5_and_acknowledged_in_3() {
    let door = Door::open();
    for (version, code) in [(V3, 0), (V5, 0x99)] {
        let mut wire = Wire::clean(door.at, version, "asks");
        assert_eq!(wire.say("log/never", "x"), code);
        assert_eq!(wire.say("log/a", "1"), 0, "and goes on");
    }
    assert_eq!(door.broker.stats().refused, 2);
}
