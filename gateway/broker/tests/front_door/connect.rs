//! CONNECT: who is let in, who is turned away and with which word.

use crate::application::{BOTH, Door};
use crate::wire::{CONNACK, Connect, DISCONNECT, PINGRESP, PUBACK, Publish, Seen, Will, Wire, block, expiry, packet, string, user};
use broker::Version::{V3, V5};
use std::time::{Duration, Instant};

/// What answers a CONNECT's body, and whether the connection then closes.
fn answer(door: &Door, head: u8, body: &[u8]) -> Option<Vec<u8>> {
    let mut wire = Wire::open(door.at, V3);
    wire.send(&packet(head, body));
    match wire.next() {
        Seen::Packet(CONNACK, body) => {
            assert_eq!(wire.next(), Seen::Closed);
            Some(body)
        }
        Seen::Packet(head, _) => panic!("{head:#x} answers a CONNECT"),
        Seen::Closed => None,
    }
}

fn header(name: &str, level: u8, flags: u8) -> Vec<u8> {
    [string(name), vec![level, flags, 0, 60]].concat()
}

#[test]
fn other_protocols_and_versions_are_turned_away_in_their_own_words() {
    let door = Door::open();
    let id = string("x");
    assert_eq!(answer(&door, 0x10, &[header("MQIsdp", 3, 2), id.clone()].concat()), Some(vec![0, 1]));
    assert_eq!(answer(&door, 0x10, &[header("MQTT", 3, 2), id.clone()].concat()), Some(vec![0, 1]));
    assert_eq!(answer(&door, 0x10, &[header("mqtt", 4, 2), id.clone()].concat()), Some(vec![0, 1]));
    assert_eq!(answer(&door, 0x10, &[header("MQTT", 6, 2), vec![0], id.clone()].concat()), Some(vec![0, 0x84, 0]));
    assert_eq!(answer(&door, 0x10, &[header("HTTP", 5, 2), vec![0], id].concat()), Some(vec![0, 0x84, 0]));
}

#[test]
fn a_connect_that_breaks_the_layout_is_turned_away() {
    let door = Door::open();
    let v5 = |flags: u8, rest: &[u8]| answer(&door, 0x10, &[&header("MQTT", 5, flags)[..], rest].concat());
    let malformed = Some(vec![0, 0x81, 0]);
    let id = [vec![0], string("x")].concat();
    assert_eq!(v5(3, &id), malformed, "the reserved flag");
    assert_eq!(v5(2 | 0x18, &id), malformed, "will QoS without a will");
    assert_eq!(v5(2 | 0x20, &id), malformed, "will retain without a will");
    assert_eq!(v5(2 | 4 | 0x18, &[&id[..], &[0], &string("w"), &string("")].concat()), malformed, "will QoS 3");
    assert_eq!(v5(2, &[&id[..], &[9]].concat()), malformed, "more than its fields");
    assert_eq!(v5(2, &[0]), malformed, "no client identifier");
    assert_eq!(v5(2, &[0, 0, 2, 0xc3, 0x28]), malformed, "no UTF-8");
    assert_eq!(v5(2, &[0, 0, 2, b'a', 0]), malformed, "NUL");
    assert_eq!(v5(2 | 4, &[&id[..], &[0], &string("a/#"), &string("")].concat()), Some(vec![0, 0x90, 0]), "a will's topic");
    assert_eq!(v5(2, &[vec![3, 0x21, 0, 0], string("x")].concat()), Some(vec![0, 0x82, 0]), "receive maximum 0");
    assert_eq!(v5(2, &[vec![5, 0x27, 0, 0, 0, 0], string("x")].concat()), Some(vec![0, 0x82, 0]), "maximum packet size 0");
    assert_eq!(v5(2, &[vec![4, 0x19, 1, 0x19, 1], string("x")].concat()), Some(vec![0, 0x82, 0]), "twice");
    assert_eq!(v5(2, &[vec![2, 0x19, 2], string("x")].concat()), Some(vec![0, 0x82, 0]), "neither 0 nor 1");
    assert_eq!(v5(2, &[vec![2, 0x01, 1], string("x")].concat()), malformed, "a property of another packet");
    assert_eq!(v5(2, &[vec![2, 0x7e, 1], string("x")].concat()), malformed, "a property that does not exist");
    assert_eq!(v5(2, &[vec![4, 0x15, 0, 1, b'k'], string("x")].concat()), Some(vec![0, 0x8c, 0]), "an authentication method");
    // MQTT 3.1.1 has few words.
    let v3 = |flags: u8, rest: &[u8]| answer(&door, 0x10, &[&header("MQTT", 4, flags)[..], rest].concat());
    assert_eq!(v3(0, &string("")), Some(vec![0, 2]), "no identifier and no clean session");
    // MQTT-3.1.4-1: closed without a CONNACK.
    assert_eq!(v3(2 | 0x40, &[string("x"), string("p")].concat()), None, "a password without a user");
    assert_eq!(v3(3, &string("x")), None, "the reserved flag");
    assert_eq!(v3(2, &[0, 2, 0xc3, 0x28]), None, "no UTF-8");
    assert_eq!(v3(2 | 4, &[string("x"), string("a/#"), string("")].concat()), None, "a will's topic");
    assert_eq!(answer(&door, 0x11, &[header("MQTT", 4, 2), string("x")].concat()), None, "reserved flags of the packet");
    assert_eq!(door.broker.stats().sessions, 0);
}

#[test]
fn users_and_passwords_pass_while_nobody_is_configured() {
    let door = Door::open();
    for version in BOTH {
        let level = if version == V5 { 5 } else { 4 };
        let mut wire = Wire::open(door.at, version);
        wire.send(&packet(0x10, &[header("MQTT", level, 0xc2), block(version, &[]), string("u"), string("me"), string("secret")].concat()));
        assert!(matches!(wire.next(), Seen::Packet(CONNACK, body) if body[..2] == [0, 0]));
        wire.leave();
    }
}

#[test]
fn an_empty_identifier_is_replaced_and_told_in_mqtt_5() {
    let door = Door::open();
    let (_wire, (present, code)) = Wire::with(door.at, &Connect { id: "", ..Connect::of(V3) });
    assert_eq!((present, code), (false, 0));
    let mut ids = vec![];
    for clean in [true, false] {
        let mut wire = Wire::open(door.at, V5);
        wire.send(&Connect { id: "", clean, ..Connect::of(V5) }.bytes());
        let Seen::Packet(CONNACK, body) = wire.next() else { panic!("no CONNACK") };
        let at = body.iter().rposition(|b| *b == 0x12).expect("an assigned identifier");
        ids.push(String::from_utf8(body[at + 3..].to_vec()).unwrap());
        assert_eq!(usize::from(body[at + 2]), ids.last().unwrap().len());
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn connack_of_mqtt_5_says_what_is_offered() {
    let door = Door::with(|c| c.max_packet = 4_096);
    let mut wire = Wire::open(door.at, V5);
    wire.send(&Connect::of(V5).bytes());
    let offers = [0x21, 4, 0, 0x27, 0, 0, 0x10, 0, 0x22, 0, 0, 0x2a, 0];
    let body = [&[0, 0, offers.len() as u8], &offers[..]].concat();
    wire.expect(CONNACK, &body);
}

#[test]
fn unknown_wishes_in_connect_do_no_harm() {
    let door = Door::open();
    let properties = [vec![0x19, 1, 0x17, 0, 0x22, 0, 10], user("a", "b"), user("a", "b")].concat();
    let (mut wire, answer) = Wire::with(door.at, &Connect { properties, ..Connect::of(V5) });
    assert_eq!(answer, (false, 0));
    wire.expect_quiet();
}

#[test]
fn the_first_packet_is_connect_and_no_other_is() {
    let door = Door::open();
    for first in [&[0xc0, 0][..], &[0x30, 3, 0, 1, b'a'], b"GET / HTTP/1.1\r\n\r\n", &[0x00], &[0xff; 64]] {
        let mut wire = Wire::open(door.at, V3);
        wire.send(first);
        assert_eq!(wire.next(), Seen::Closed);
    }
    for version in BOTH {
        let mut wire = Wire::clean(door.at, version, "one");
        wire.send(&Connect { id: "one", ..Connect::of(version) }.bytes());
        wire.expect_end(0x82);
    }
}

#[test]
fn whoever_has_the_identifier_last_has_the_session() {
    let door = Door::open();
    for version in BOTH {
        let (mut first, _) = Wire::durable(door.at, version, "twin");
        first.subscribe(&[("a", 1)]);
        let (mut second, present) = Wire::durable(door.at, version, "twin");
        assert!(present);
        first.expect_end(0x8e);
        second.publish(Publish { qos: 1, id: 1, ..Publish::of("a", "mine") });
        let got = [second.next(), second.next()];
        assert!(got.iter().any(|p| matches!(p, Seen::Packet(head, _) if head >> 4 == 3)), "the subscription came along: {got:?}");
        second.leave();
        let mut third = Wire::clean(door.at, version, "twin");
        third.expect_quiet();
        third.leave();
    }
    door.until("nobody is left", |d| d.broker.stats().sessions == 0);
}

#[test]
fn connack_comes_before_every_other_answer() {
    let door = Door::open();
    door.log.hold();
    for version in BOTH {
        let mut wire = Wire::open(door.at, version);
        let mut bytes = Connect::durable(version, "eager").bytes();
        bytes.extend([0xc0, 0]);
        bytes.extend(Publish { qos: 1, id: 7, ..Publish::of("log/a", "1") }.bytes(version));
        let before = door.log.appended();
        wire.send(&bytes);
        door.until("its session is logged", |d| d.log.appended() > before);
        assert_eq!(wire.try_next_within(Duration::from_millis(300)), None, "the session is not durable yet");
        door.log.commit();
        assert!(matches!(wire.next(), Seen::Packet(CONNACK, _)));
        wire.expect(PINGRESP, &[]);
        door.until("the message is taken", |d| d.log.taken().len() == if version == V3 { 1 } else { 2 });
        door.log.commit();
        wire.expect(0x40, &[0, 7]);
        wire.vanish();
        door.until("it is gone", |d| d.broker.stats().connections == 0);
        door.log.commit();
    }
}

#[test]
fn silence_beyond_one_and_a_half_keep_alives_ends_the_connection() {
    let door = Door::open();
    let mut watcher = Wire::clean(door.at, V5, "watcher");
    watcher.subscribe(&[("wills/#", 1)]);
    for version in BOTH {
        let will = Some(Will::of("wills/late", "gone"));
        let began = Instant::now();
        let (mut wire, _) = Wire::with(door.at, &Connect { keep_alive_s: 3, will, ..Connect::of(version) });
        // What is heard counts, whatever it is: of 4.5 s one half each, and a little.
        std::thread::sleep(Duration::from_millis(2_300));
        wire.expect_quiet();
        std::thread::sleep(Duration::from_millis(2_300));
        let heard = Instant::now();
        assert_eq!(wire.say("log/a", "1"), 0);
        wire.expect_end(0x8d);
        assert!(heard.elapsed() >= Duration::from_millis(4_450), "closed after {:?}", heard.elapsed());
        assert!(began.elapsed() >= Duration::from_millis(9_000));
        assert_eq!(watcher.message().payload, "gone");
    }
}

/// It is packets that count: one that never gets whole holds no place, and a large one on a slow line has its time.
#[test]
fn an_unfinished_packet_is_a_sign_of_life_only_while_it_makes_progress() {
    let door = Door::open();
    let payload = "x".repeat(60 << 10);
    for version in BOTH {
        let packet = Publish { qos: 1, id: 1, ..Publish::of("a", &payload) }.bytes(version);
        let began = Instant::now();
        let (mut wire, _) = Wire::with(door.at, &Connect { keep_alive_s: 1, ..Connect::of(version) });
        for piece in packet.chunks(5 << 10) {
            wire.send(piece);
            std::thread::sleep(Duration::from_millis(200));
        }
        wire.expect(PUBACK, &[0, 1]);
        assert!(began.elapsed() > Duration::from_millis(2_000), "longer than the keep-alive allows without it");
        let began = Instant::now();
        wire.dribble(packet[..100].to_vec(), Duration::from_millis(300));
        wire.expect_end(0x8d);
        assert!(began.elapsed() < Duration::from_secs(20), "while its bytes still came");
    }
}

#[test]
fn keep_alive_zero_is_none() {
    let door = Door::open();
    let (mut never, _) = Wire::with(door.at, &Connect { id: "never", keep_alive_s: 0, ..Connect::of(V5) });
    let (mut soon, _) = Wire::with(door.at, &Connect { id: "soon", keep_alive_s: 1, ..Connect::of(V5) });
    soon.expect_end(0x8d);
    std::thread::sleep(Duration::from_millis(500));
    never.expect_quiet();
}

#[test]
fn a_connect_that_does_not_come_is_not_waited_for() {
    let door = Door::open();
    let began = Instant::now();
    let mut silent = Wire::open(door.at, V3);
    let mut half = Wire::open(door.at, V3);
    let connect = Connect::of(V3).bytes();
    half.send(&connect[..connect.len() - 3]);
    // One byte after the other, and never the last: only the whole packet counts.
    let mut slow = Wire::open(door.at, V3);
    let slow = std::thread::spawn(move || {
        let huge = packet(0x10, &[&header("MQTT", 4, 2)[..], &string(&"x".repeat(1_000))].concat());
        for byte in &huge {
            if slow.try_send(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        slow.next()
    });
    assert_eq!(silent.next(), Seen::Closed);
    assert_eq!(half.next(), Seen::Closed);
    assert_eq!(slow.join().unwrap(), Seen::Closed);
    assert!(began.elapsed() >= Duration::from_secs(9));
    door.until("nobody is left", |d| d.broker.stats().connections == 0);
}

#[test]
fn one_connection_too_many_is_told_so() {
    let door = Door::with(|c| c.connections_max = 2);
    let (_a, _b) = (Wire::clean(door.at, V3, "a"), Wire::clean(door.at, V5, "b"));
    let refused = |version| Wire::with(door.at, &Connect { id: "c", ..Connect::of(version) });
    let ((mut v3, third), (mut v5, fifth)) = (refused(V3), refused(V5));
    assert_eq!((third, fifth), ((false, 3), (false, 0x97)));
    assert_eq!((v3.next(), v5.next()), (Seen::Closed, Seen::Closed));
    assert_eq!(door.broker.stats().turned_away, 2);
    // Who comes again takes its own place: the old connection may be half dead.
    let mut old = _a;
    let _a = Wire::clean(door.at, V3, "a");
    assert_eq!((old.next(), door.broker.stats().turned_away), (Seen::Closed, 2));
    drop(_a);
    door.until("there is room", |d| d.broker.stats().connections == 1);
    drop(Wire::clean(door.at, V3, "c"));
}

#[test]
fn identifiers_have_a_bound() {
    let door = Door::open();
    let long = "x".repeat(1_025);
    let (_wire, answer) = Wire::with(door.at, &Connect { id: &long, ..Connect::of(V5) });
    assert_eq!(answer, (false, 0x85));
    let (_wire, answer) = Wire::with(door.at, &Connect { id: &long, ..Connect::of(V3) });
    assert_eq!(answer, (false, 2));
    drop(Wire::clean(door.at, V5, &long[..1_024]));
}

#[test]
fn an_expiry_of_zero_ends_the_session_with_its_connection() {
    let door = Door::open();
    for (properties, at_end) in [(expiry(0), None), (vec![], None), (expiry(60), Some(0)), (expiry(60), Some(60))] {
        let (mut wire, _) = Wire::with(door.at, &Connect { id: "e", clean: false, properties, ..Connect::of(V5) });
        wire.subscribe(&[("a", 1)]);
        match at_end {
            // A new expiry comes with DISCONNECT.
            Some(seconds) => wire.send(&packet(DISCONNECT, &[vec![0], block(V5, &expiry(seconds))].concat())),
            None => wire.send(&[0xe0, 0]),
        }
        assert_eq!(wire.next(), Seen::Closed);
        let kept = at_end == Some(60);
        door.until("the session is given back", |d| d.broker.stats().connections == 0);
        assert_eq!(door.broker.stats().sessions, usize::from(kept));
        assert_eq!(door.log.sessions().len(), usize::from(kept));
    }
    // One that ends with its connection cannot be made durable on leaving.
    let mut wire = Wire::clean(door.at, V5, "f");
    wire.send(&packet(DISCONNECT, &[vec![0], block(V5, &expiry(60))].concat()));
    wire.expect_end(0x82);
}

#[test]
fn no_answer_is_larger_than_the_client_takes() {
    let door = Door::open();
    let at_most = |bytes: u8| Connect { properties: vec![0x27, 0, 0, 0, bytes], ..Connect::of(V5) };
    let (mut wire, answer) = Wire::with(door.at, &at_most(17));
    assert_eq!(answer, (false, 0x95), "what is offered does not fit");
    assert_eq!(wire.next(), Seen::Closed);
    let mut wire = Wire::open(door.at, V5);
    wire.send(&at_most(4).bytes());
    assert_eq!(wire.next(), Seen::Closed, "nor does any word");
    let (mut wire, answer) = Wire::with(door.at, &at_most(18));
    assert_eq!(answer, (false, 0));
    assert_eq!(wire.subscribe(&[("a", 0); 13]), [0; 13]);
    let filters: Vec<u8> = [string("a"), vec![0]].concat().repeat(14);
    wire.send(&packet(0x82, &[vec![0, 1, 0], filters].concat()));
    wire.expect_end(0x95);
    assert_eq!(door.broker.stats().sessions, 0);
}

#[test]
fn what_a_client_said_before_another_connection_replaced_it_counts() {
    let door = Door::open();
    let mut watcher = Wire::clean(door.at, V5, "watcher");
    watcher.subscribe(&[("#", 1)]);
    for n in 0..200 {
        let version = BOTH[n % 2];
        let will = Some(Will::of("w", "left in order, so never published"));
        let (mut wire, _) = Wire::with(door.at, &Connect { id: "restless", will, ..Connect::of(version) });
        wire.publish(Publish::of("t", &n.to_string()));
        wire.send(&[0xe0, 0]);
        // At once, as a script that calls a client program for each reading does.
        Wire::clean(door.at, version, "restless").leave();
        assert_eq!(watcher.message().brief(), ("t", &*n.to_string(), 0, false));
    }
    watcher.expect_quiet();
}

/// Bridges of mosquitto ask so first, by default, and fall back when they are told in MQTT 3.1.1.
#[test]
fn a_private_level_is_turned_away_in_the_words_of_3_1_1() {
    let door = Door::open();
    let mut wire = Wire::open(door.at, V3);
    wire.send(&packet(0x10, &[header("MQTT", 0x84, 2), string("bridge")].concat()));
    wire.expect(0x20, &[0, 1]);
    assert_eq!(wire.next(), Seen::Closed);
}
