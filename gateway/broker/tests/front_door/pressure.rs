//! Back pressure: a busy application, a disk that stands still, subscribers that do not read.

use crate::application::{BOTH, Door};
use crate::strain::Strain;
use crate::wire::{Connect, PUBACK, PUBREC, Publish, Seen, Wire};
use broker::Version::{V3, V5};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn a_busy_application_gets_every_message_once_and_in_order() {
    let door = Door::open();
    for version in BOTH {
        let before = door.log.taken().len();
        let mut wire = Wire::clean(door.at, version, "patient");
        door.log.busy.store(true, Ordering::SeqCst);
        let mut bytes = vec![];
        for n in 1..=9u16 {
            let topic = if n % 3 == 0 { "log/busy" } else { "log/a" };
            let payload = n.to_string();
            bytes.extend(Publish { qos: if n == 6 { 2 } else { 1 }, id: n, ..Publish::of(topic, &payload) }.bytes(version));
        }
        wire.send(&bytes);
        wire.expect(PUBACK, &[0, 1]);
        wire.expect(PUBACK, &[0, 2]);
        let asked = door.log.asked.load(Ordering::SeqCst);
        door.until("it is asked again", |d| d.log.asked.load(Ordering::SeqCst) > asked + 1);
        assert_eq!(door.log.taken().len(), before + 2, "nothing behind the one that waits is taken");
        door.log.busy.store(false, Ordering::SeqCst);
        for n in 3..=9 {
            wire.expect(if n == 6 { PUBREC } else { PUBACK }, &[0, n]);
        }
        let payloads = door.log.payloads().split_off(before);
        assert_eq!(payloads, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        wire.leave();
    }
}

#[test]
fn who_is_held_back_for_half_a_keep_alive_is_told_and_nobody_earlier() {
    let strain = Strain::begin(None);
    let door = Door::open();
    door.log.busy.store(true, Ordering::SeqCst);
    for version in BOTH {
        let (mut wire, _) = Wire::with(door.at, &Connect { keep_alive_s: 2, ..Connect::of(version) });
        let began = Instant::now();
        wire.publish(Publish { qos: 1, id: 1, ..Publish::of("log/busy", "1") });
        wire.expect_end(0x97);
        let waited = began.elapsed();
        let latest = strain.allows(Duration::from_secs(3));
        assert!(waited >= Duration::from_millis(950) && waited < latest, "closed after {waited:?}");
    }
    assert!(door.log.taken().is_empty());
}

#[test]
fn who_is_not_read_because_the_disk_stands_still_is_told_too() {
    let strain = Strain::begin(None);
    let door = Door::open();
    let (mut wire, _) = Wire::with(door.at, &Connect { keep_alive_s: 2, ..Connect::of(V3) });
    door.log.hold();
    let began = Instant::now();
    for n in 1..=3_000u16 {
        wire.publish(Publish { qos: 1, id: n, ..Publish::of("log/a", "1") });
    }
    // Behind what is taken but not durable, a PINGREQ cannot be heard.
    wire.send(&[0xc0, 0]);
    assert_eq!(wire.next(), Seen::Closed);
    let waited = began.elapsed();
    let latest = strain.allows(Duration::from_secs(3));
    assert!(waited >= Duration::from_millis(950) && waited < latest, "closed after {waited:?}");
    let taken = door.log.taken().len();
    assert!((1..3_000).contains(&taken), "{taken} are taken");
    // A session that waits for the disk is turned away in the same way.
    let (mut wire, answer) = Wire::with(door.at, &Connect { keep_alive_s: 2, ..Connect::durable(V5, "d") });
    assert_eq!(answer, (false, 0x97));
    assert_eq!(wire.next(), Seen::Closed);
}

#[test]
fn time_stands_still_for_a_client_while_it_is_not_read() {
    let door = Door::open();
    let was_punctual = (0..20).any(|_| {
        door.log.busy.store(true, Ordering::SeqCst);
        let (mut wire, _) = Wire::with(door.at, &Connect { keep_alive_s: 4, ..Connect::of(V5) });
        // Heard a second before its time is over, and then held back for less than half of it.
        if !sleeps(5_000) {
            return false;
        }
        wire.publish(Publish { qos: 1, id: 1, ..Publish::of("log/busy", "1") });
        let in_time = sleeps(1_400);
        door.log.busy.store(false, Ordering::SeqCst);
        if !in_time {
            return false;
        }
        wire.expect(PUBACK, &[0, 1]);
        if !sleeps(5_000) {
            return false;
        }
        wire.expect_quiet();
        true
    });
    assert!(was_punctual, "nobody sleeps so well here");
}

/// Sleeps for so many milliseconds; false if it took much longer.
fn sleeps(ms: u64) -> bool {
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(ms));
    began.elapsed() < Duration::from_millis(ms + 200)
}

#[test]
fn while_it_is_read_a_client_is_answered_whatever_the_disk_does() {
    let door = Door::open();
    let (mut wire, _) = Wire::with(door.at, &Connect { keep_alive_s: 1, ..Connect::of(V5) });
    door.log.hold();
    wire.publish(Publish { qos: 1, id: 1, ..Publish::of("log/a", "1") });
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(500));
        wire.expect_quiet();
    }
    door.log.commit();
    wire.expect(PUBACK, &[0, 1]);
}

#[test]
fn who_waits_too_long_for_an_answer_is_told_so() {
    let door = Door::open();
    let mut waiting = Wire::clean(door.at, V5, "waiting");
    door.log.hold();
    waiting.publish(Publish { qos: 1, id: 1, ..Publish::of("log/a", "1") });
    let began = Instant::now();
    waiting.wait_at_most(Duration::from_secs(40));
    // Pings are answered meanwhile, and change nothing.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(4));
        waiting.expect_quiet();
    }
    waiting.expect_end(0x97);
    assert!(began.elapsed() >= Duration::from_secs(19), "closed after {:?}", began.elapsed());
}

#[test]
fn a_slow_subscriber_is_bounded_and_what_it_misses_is_counted() {
    let door = Door::open();
    let (mut slow, _) = Wire::durable(door.at, V5, "slow");
    slow.subscribe(&[("t", 1)]);
    let mut quick = Wire::clean(door.at, V5, "quick");
    quick.subscribe(&[("t", 0)]);
    let mut writer = Wire::clean(door.at, V3, "writer");
    let total = 20_000u32;
    let reading = std::thread::spawn(move || {
        (0..total).for_each(|n| assert_eq!(quick.message().payload, n.to_string()));
    });
    for n in 0..total {
        writer.publish(Publish::of("t", &n.to_string()));
        if n % 500 == 0 {
            // In step with the quick one, which must miss nothing.
            writer.expect_quiet();
        }
    }
    writer.expect_quiet();
    reading.join().unwrap();
    let stats = door.broker.stats();
    assert_eq!(stats.dropped, 0, "QoS 0 goes into the socket as long as that takes it");
    // At QoS 1 the window of 512 and a queue of 10,000 are all there is.
    for n in 0..total {
        writer.publish(Publish { qos: 1, id: (n % 60_000) as u16 + 1, ..Publish::of("t", &n.to_string()) });
        assert!(matches!(writer.next(), Seen::Packet(PUBACK, _)));
        match n {
            5_000 => assert!(!door.broker.is_behind()),
            // The window is full, and half the queue.
            6_000 => assert!(door.broker.is_behind()),
            _ => {}
        }
    }
    let missed = door.broker.stats().dropped;
    assert_eq!(missed, u64::from(total) - 512 - 10_000);
    slow_reads(&mut slow, total);
    let mut got = 0;
    while got < total - missed as u32 {
        let message = slow.message();
        if message.qos == 1 {
            assert_eq!(message.payload, got.to_string(), "the oldest are kept, in order");
            slow.acknowledge(message.id);
            got += 1;
        }
    }
    slow.expect_quiet();
    door.until("the queue is empty", |d| d.broker.stats().queued_bytes == 0);
    assert!(!door.broker.is_behind());
}

/// Takes the QoS 0 messages that the socket held.
fn slow_reads(slow: &mut Wire, count: u32) {
    for n in 0..count {
        let message = slow.message();
        assert_eq!((message.qos, message.payload), (0, n.to_string()));
    }
}

#[test]
fn a_client_that_takes_no_bytes_is_not_read() {
    let door = Door::open();
    let mut wire = Wire::clean(door.at, V5, "deaf");
    // Every PUBREC asks for a PUBREL of five bytes; nobody reads them.
    let flood = [0x50, 2, 0, 1].repeat(64 << 10);
    wire.write_timeout(Duration::from_millis(500));
    let sent = (0..200).take_while(|_| wire.try_send(&flood).is_ok()).count();
    assert!(sent < 200, "the server took {} bytes and kept their answers", sent * flood.len());
    Wire::clean(door.at, V5, "other").expect_quiet();
}

#[test]
fn it_is_known_of_each_durable_session_what_it_has_before_it() {
    let door = Door::open();
    let clients = [("prompt", 1), ("away", 1), ("listens", 0)].map(|(id, qos)| {
        let (mut wire, _) = Wire::durable(door.at, V5, id);
        wire.subscribe(&[("alerts/#", qos)]);
        wire
    });
    let [mut prompt, away, mut listens] = clients;
    away.leave();
    let mut clean = Wire::clean(door.at, V5, "clean");
    clean.subscribe(&[("alerts/#", 1)]);
    let given = door.broker.publish_apart("alerts/a", "0".into(), 1, |_| true);
    let numbers: Vec<u64> = given.iter().map(|(session, _)| *session).collect();
    assert!(numbers.len() == 2 && !numbers.contains(&0), "{numbers:?}: what has no session, or QoS 0, is not waited for");
    for wire in [&mut prompt, &mut listens, &mut clean] {
        let message = wire.message();
        assert_eq!(message.payload, "0");
        if message.qos > 0 {
            wire.acknowledge(message.id);
        }
    }
    door.until("one of them has it", |_| given[0].1.is_done());
    assert!(!given[1].1.is_done(), "the other was away");
    // It is told to that one alone.
    let again = door.broker.publish_apart("alerts/a", "1".into(), 1, |session| session == numbers[1]);
    assert_eq!(again.iter().map(|(session, _)| *session).collect::<Vec<_>>(), numbers[1..]);
    let (mut away, present) = Wire::durable(door.at, V5, "away");
    assert!(present);
    for payload in ["0", "1"] {
        let message = away.message();
        assert_eq!(message.payload, payload);
        away.acknowledge(message.id);
    }
    door.until("it has both", |_| given.iter().chain(&again).all(|(_, watched)| watched.is_done()));
    for wire in [&mut prompt, &mut listens, &mut clean] {
        wire.expect_quiet();
    }
}

#[test]
fn what_is_urgent_waits_for_no_backlog_and_keeps_its_own_order() {
    for version in BOTH {
        let door = Door::open();
        let (mut slow, _) = Wire::durable(door.at, version, "slow");
        slow.subscribe(&[("#", 1)]);
        slow.leave();
        // More than an absent subscriber has room for.
        for n in 0..10_010 {
            door.broker.publish("bulk", n.to_string().into(), 1, false);
        }
        let urgent = ["0", "1"].map(|n| door.broker.publish_urgent("alerts", n.into(), 1));
        assert_eq!(door.broker.stats().dropped, 10, "the backlog takes no room from what is urgent");
        let (mut slow, present) = Wire::durable(door.at, version, "slow");
        assert!(present && urgent.iter().all(|u| !u.is_done()));
        for brief in [("alerts", "0"), ("alerts", "1"), ("bulk", "0"), ("bulk", "1")] {
            let message = slow.message();
            assert_eq!((message.topic.as_str(), message.payload.as_str()), brief);
            slow.acknowledge(message.id);
        }
        door.until("both are acknowledged", |_| urgent.iter().all(broker::Watched::is_done));
    }
}
