//! `kill -9` seen from outside: what was acknowledged is there once, and clients find their
//! sessions as they left them.

use crate::gateway::{Gateway, tidegate, timed};
use crate::plant::PATIENCE;
use crate::strain::Strain;
use crate::wire::{Connect, PUBACK, PUBREC, Publish, Seen, Wire, packet};
use broker::Version::{V3, V5};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[test]
fn sessions_and_subscriptions_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    for version in [V3, V5] {
        let (mut wire, present) = Wire::durable(gateway.at(), version, "keeps");
        assert!(!present);
        assert_eq!(wire.subscribe(&[("news/+", 1), ("sensors/#", 1), ("gone", 1)]), [1, 1, 1]);
        wire.unsubscribe("gone");
        gateway.kill_and_restart();
        assert_eq!(wire.next(), Seen::Closed);
        let (mut wire, present) = Wire::durable(gateway.at(), version, "keeps");
        assert!(present);
        let mut other = Wire::clean(gateway.at(), version, "other");
        for topic in ["news/a", "sensors/a", "gone"] {
            assert_eq!(other.say(topic, "1"), 0);
        }
        for topic in ["news/a", "sensors/a"] {
            let message = wire.message();
            assert_eq!(message.brief(), (topic, "1", 1, false));
            wire.acknowledge(message.id);
        }
        wire.expect_quiet();
        wire.leave();
        Wire::clean(gateway.at(), version, "keeps").leave();
        let (wire, present) = Wire::durable(gateway.at(), version, "keeps");
        assert!(!present, "a clean start ends a session");
        wire.leave();
        Wire::clean(gateway.at(), version, "keeps").leave();
    }
}

#[test]
fn a_qos_2_reading_counts_once_whenever_the_process_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let mut sent = 0;
    for version in [V3, V5] {
        // Untimed: only the packet identifier can tell.
        let (mut wire, _) = Wire::durable(gateway.at(), version, "careful");
        assert_eq!(wire.send_twice_safe("sensors/a", "21.5", 1, false), 0);
        gateway.kill_and_restart();
        let (mut wire, present) = Wire::durable(gateway.at(), version, "careful");
        assert!(present);
        assert_eq!(wire.send_twice_safe("sensors/a", "21.5", 1, true), 0);
        assert_eq!(wire.release(1), 0);
        sent += 1;
        gateway.has_accepted(sent);
        // Killed while it is under way: it may or may not have been taken, the client cannot tell.
        for id in 2..6 {
            wire.publish(Publish { qos: 2, id, ..Publish::of("sensors/a", "21.5") });
            std::thread::sleep(Duration::from_micros(u64::from(id) * 150));
            gateway.kill_and_restart();
            (wire, _) = Wire::durable(gateway.at(), version, "careful");
            assert_eq!(wire.send_twice_safe("sensors/a", "21.5", id, true), 0);
            assert_eq!(wire.release(id), 0);
            sent += 1;
            gateway.has_accepted(sent);
        }
        // Released before the kill: the identifier is free, the same message is a new one.
        gateway.kill_and_restart();
        (wire, _) = Wire::durable(gateway.at(), version, "careful");
        assert_eq!(wire.send_twice_safe("sensors/a", "21.5", 5, true), 0);
        sent += 1;
        gateway.has_accepted(sent);
        wire.leave();
        Wire::clean(gateway.at(), version, "careful").leave();
    }
    assert_eq!(gateway.ledger("duplicates"), 0, "nothing was offered twice");
}

#[test]
fn a_timed_qos_2_reading_that_was_released_and_comes_anew_is_a_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let (mut sent, mut twice) = (0, 0);
    for version in [V3, V5] {
        for dup in [false, true] {
            let (mut wire, _) = Wire::durable(gateway.at(), version, "forgetful");
            let (reading, other) = (timed(sent + 1), timed(sent + 2));
            assert_eq!(wire.send_twice_safe("sensors/a", &reading, 1, false), 0);
            assert_eq!(wire.release(1), 0);
            gateway.kill_and_restart();
            // The client knows no more that it released it: the identifier is free, the reading known.
            (wire, _) = Wire::durable(gateway.at(), version, "forgetful");
            assert_eq!(wire.send_twice_safe("sensors/a", &reading, 1, dup), 0);
            // Received under this identifier, until it is released, through a crash too.
            gateway.kill_and_restart();
            (wire, _) = Wire::durable(gateway.at(), version, "forgetful");
            assert_eq!(wire.send_twice_safe("sensors/a", &other, 1, true), 0);
            assert_eq!(wire.release(1), 0);
            assert_eq!(wire.send_twice_safe("sensors/a", &other, 1, false), 0);
            assert_eq!(wire.release(1), 0);
            (sent, twice) = (sent + 2, twice + 1);
            gateway.has_accepted(sent);
            gateway.until("duplicates are counted", |g| g.ledger("duplicates") == twice);
            wire.leave();
        }
        Wire::clean(gateway.at(), version, "forgetful").leave();
    }
}

#[test]
fn a_timed_redelivery_is_a_duplicate_and_an_untimed_one_counts_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let (mut sent, mut twice) = (0, 0);
    for version in [V3, V5] {
        let (mut wire, _) = Wire::durable(gateway.at(), version, "sensor");
        for restart in [false, true] {
            let reading = |id: u16, dup| Publish { qos: 1, id, dup, ..Publish::of("sensors/a", "x") };
            let said = |wire: &mut Wire, payload: &str, id: u16, dup| {
                wire.publish(Publish { payload, ..reading(id, dup) });
                wire.expect(PUBACK, &id.to_be_bytes());
            };
            let base = sent * 100;
            said(&mut wire, &timed(base + 1), 1, false);
            said(&mut wire, &timed(base + 2), 2, false);
            said(&mut wire, "7.5", 3, false);
            sent += 3;
            if restart {
                gateway.kill_and_restart();
                let (back, present) = Wire::durable(gateway.at(), version, "sensor");
                assert!(present);
                wire = back;
            }
            said(&mut wire, &timed(base + 1), 1, true);
            said(&mut wire, &timed(base + 2), 2, true);
            twice += 2;
            // Another value at the same time is another reading, marked or not.
            let other = timed(base + 2).replace("\"value\":", "\"value\":1");
            said(&mut wire, &other, 2, true);
            said(&mut wire, "7.5", 3, true);
            sent += 2;
            gateway.has_accepted(sent);
            gateway.until("duplicates are counted", |g| g.ledger("duplicates") == twice);
        }
        wire.leave();
        Wire::clean(gateway.at(), version, "sensor").leave();
    }
}

/// More in flight than a session is remembered to have sent, in messages of one and of many readings,
/// and one by a clock that is ahead.
#[test]
fn all_that_was_in_flight_is_known_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let array = |from: u64, count: u64| format!("[{}]", (from..from + count).map(timed).collect::<Vec<_>>().join(","));
    let mut messages: Vec<String> = (0..1_200).map(timed).collect();
    messages.extend((0..20).map(|n| array(10_000 + n * 60, 60)));
    messages.push(array(20_000, 1_500));
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    messages.push(format!("{{\"value\":1,\"ts\":{}}}", now_ms + 3_600_000));
    let readings = 1_200 + 20 * 60 + 1_500 + 1;
    for (round, version) in [V3, V5].into_iter().enumerate() {
        // MQTT 5 allows fewer at once.
        for dup in [false, true] {
            let (mut wire, _) = Wire::durable(gateway.at(), version, "sensor");
            for chunk in messages.iter().enumerate().collect::<Vec<_>>().chunks(if version == V5 { 1_000 } else { 2_000 }) {
                let publish = |(n, payload): &(usize, &String)| {
                    Publish { qos: 1, id: *n as u16 + 1, dup, ..Publish::of("sensors/a", payload) }.bytes(version)
                };
                wire.send(&chunk.iter().flat_map(publish).collect::<Vec<u8>>());
                for (n, _) in chunk {
                    wire.expect(PUBACK, &(*n as u16 + 1).to_be_bytes());
                }
            }
            gateway.kill_and_restart();
        }
        gateway.has_accepted((round as u64 + 1) * readings);
        gateway.until("duplicates are counted", |g| g.ledger("duplicates") == (round as u64 + 1) * readings);
        Wire::clean(gateway.at(), version, "sensor").leave();
    }
}

/// MQTT 3.1.1 has no receive maximum: acknowledgements that lie unread with a client that is lost are lost with it.
#[test]
fn all_packet_ids_that_3_1_1_has_may_be_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    const COUNT: u64 = 50_000;
    let send = |wire: &mut Wire, from: u64, dup: bool| {
        let publish = |n: u64| Publish { qos: 1, id: n as u16 + 1, dup, ..Publish::of("sensors/a", &timed(n)) }.bytes(V3);
        for first in (from..COUNT).step_by(2_000) {
            wire.send(&(first..first + 2_000).flat_map(publish).collect::<Vec<u8>>());
            for n in first..first + 2_000 {
                wire.expect(PUBACK, &(n as u16 + 1).to_be_bytes());
            }
        }
    };
    // Whether the process ends in between, or the client's connection alone.
    for ends in [true, false] {
        let client = format!("sensor {ends}");
        let (mut wire, _) = Wire::durable(gateway.at(), V3, &client);
        send(&mut wire, 0, false);
        if ends {
            gateway.kill_and_restart();
        }
        let (mut wire, present) = Wire::durable(gateway.at(), V3, &client);
        assert!(present);
        send(&mut wire, 0, true);
    }
    gateway.has_accepted(2 * COUNT);
    gateway.until("duplicates are counted", |g| g.ledger("duplicates") == 2 * COUNT);
}

/// As a client that is started once for each message: same identifier, same second, another message.
#[test]
fn who_left_in_order_sends_a_new_message_under_the_same_identifier() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let mut sent = 0;
    for version in [V3, V5] {
        for restart in [false, true, false] {
            let (mut wire, _) = Wire::durable(gateway.at(), version, "now and then");
            assert_eq!(wire.say("sensors/a", &timed(1)), 0);
            wire.leave();
            sent += 1;
            if restart {
                // What is acknowledged behind it says that the goodbye is durable.
                assert_eq!(Wire::clean(gateway.at(), version, "other").say("sensors/b", "1"), 0);
                sent += 1;
                gateway.kill_and_restart();
            }
        }
    }
    gateway.has_accepted(sent);
    assert_eq!(gateway.ledger("duplicates"), 0);
}

/// A client that publishes as quickly as the window of 100 allows until its connection ends.
struct Flood {
    thread: JoinHandle<()>,
    /// The highest acknowledged reading, from 1 on without a gap.
    acknowledged: Arc<AtomicU64>,
}

impl Flood {
    fn over(mut wire: Wire) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let count = acknowledged.clone();
        let thread = std::thread::spawn(move || {
            let (mut next, mut acknowledged, mut sends) = (1, 0, true);
            let packet_id = |n: u64| (n % 60_000) as u16 + 1;
            loop {
                let mut burst = Vec::new();
                while sends && next <= acknowledged + 100 {
                    burst.extend(Publish { qos: 1, id: packet_id(next), ..Publish::of("sensors/a", &timed(next)) }.bytes(wire.version));
                    next += 1;
                }
                // What was acknowledged before the end may still be unread.
                sends &= wire.try_send(&burst).is_ok();
                match wire.next() {
                    Seen::Packet(PUBACK, body) => {
                        acknowledged += 1;
                        assert_eq!(body, packet_id(acknowledged).to_be_bytes(), "acknowledgements come in order");
                        count.store(acknowledged, Ordering::SeqCst);
                    }
                    Seen::Packet(0xe0, body) => assert_eq!(body[0], 0x8b),
                    Seen::Packet(head, _) => panic!("{head:#x} comes unasked"),
                    Seen::Closed => return,
                }
            }
        });
        Self { thread, acknowledged }
    }

    /// Waits until something is acknowledged.
    fn until_it_runs(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < deadline, "nothing is acknowledged");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end; what was acknowledged.
    fn join(self) -> u64 {
        self.thread.join().unwrap();
        self.acknowledged.load(Ordering::SeqCst)
    }
}

#[test]
fn a_kill_under_load_loses_nothing_and_leaves_a_log_without_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let mut acknowledged = 0;
    for round in 0..4u64 {
        let version = if round % 2 == 0 { V5 } else { V3 };
        let before = gateway.ledger("accepted");
        let floods: Vec<_> = (0..3).map(|n| Flood::over(Wire::clean(gateway.at(), version, &format!("f{n}")))).collect();
        floods.iter().for_each(Flood::until_it_runs);
        std::thread::sleep(Duration::from_millis(300 + round * 70));
        gateway.kill_and_restart();
        let counts: Vec<u64> = floods.into_iter().map(Flood::join).collect();
        acknowledged += counts.iter().sum::<u64>();
        let accepted = gateway.ledger("accepted");
        assert!(accepted >= before + counts.iter().sum::<u64>(), "{accepted} of {before} + {counts:?}");
        // What was under way and not acknowledged may be there: at most the windows.
        assert!(accepted <= before + counts.iter().sum::<u64>() + 3 * 100);
        let verified = gateway.verify_log();
        assert!(verified.status.success(), "{verified:?}");
    }
    assert!(gateway.ledger("accepted") >= acknowledged);
    assert_eq!(gateway.role.stop(), Some(0));
    let verified = gateway.verify_log();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_stop_under_load_acknowledges_what_it_took_and_ends_in_time() {
    let _apart = crate::apart::measuring();
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let floods: Vec<_> = [V3, V5].into_iter().map(|v| Flood::over(Wire::clean(gateway.at(), v, &format!("{v:?}")))).collect();
    let (mut idle, strain) = (Wire::clean(gateway.at(), V5, "idle"), Strain::begin(Some(dir.path())));
    floods.iter().for_each(Flood::until_it_runs);
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    assert_eq!(gateway.role.stop(), Some(0));
    let took = began.elapsed();
    assert!(took < strain.allows(Duration::from_secs(5)), "the stop took {took:?}");
    idle.expect_end(0x8b);
    let acknowledged: u64 = floods.into_iter().map(Flood::join).sum();
    assert!(!gateway.data.join("run.json").exists());
    gateway.role = crate::plant::Role::start("edge", &gateway.config, &gateway.data);
    // Everything that was taken was acknowledged before goodbye was said.
    assert_eq!(gateway.ledger("accepted"), acknowledged);
}

#[test]
fn a_second_process_is_refused_the_data_dir() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), "");
    let run = std::fs::read(gateway.data.join("run.json")).unwrap();
    let second = tidegate(&["edge", "--config", gateway.config.to_str().unwrap(), "--set", "mqtt.listen=\"127.0.0.1:0\""]);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use by another process") && said.contains("data"), "{said}");
    assert_eq!(std::fs::read(gateway.data.join("run.json")).unwrap(), run, "the first one's file is left alone");
    assert_eq!(Wire::clean(gateway.at(), V5, "still").say("sensors/a", "1"), 0);
}

#[test]
fn a_second_connect_inside_a_kill_is_no_way_around_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    // All at once, unanswered: CONNECT, a subscription, readings of all qualities.
    let mut bytes = Connect::durable(V5, "eager").bytes();
    bytes.extend(packet(0x82, &[&[0, 9, 0][..], &crate::wire::string("sensors/#"), &[1]].concat()));
    for qos in [1, 2] {
        bytes.extend(Publish { qos, id: u16::from(qos), ..Publish::of("sensors/a", &timed(u64::from(qos))) }.bytes(V5));
    }
    let mut wire = Wire::open(gateway.at(), V5);
    wire.send(&bytes);
    let mut seen = Vec::new();
    while !seen.contains(&PUBREC) {
        let Seen::Packet(head, _) = wire.next() else { panic!("closed after {seen:x?}") };
        seen.push(head);
    }
    assert_eq!((seen[0], seen[1]), (0x20, 0x90), "{seen:x?}");
    gateway.kill_and_restart();
    let (mut wire, present) = Wire::durable(gateway.at(), V5, "eager");
    assert!(present);
    assert_eq!(wire.send_twice_safe("sensors/a", &timed(2), 2, true), 0);
    gateway.has_accepted(2);
}
