//! The orderly stop, and a log that fails.

use crate::application::Door;
use crate::strain::Strain;
use crate::wire::Connect;
use crate::wire::{PUBACK, Publish, Seen, Will, Wire, packet};
use broker::Version::{V3, V5};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn a_stop_acknowledges_what_becomes_durable_and_says_goodbye() {
    let strain = Strain::begin(None);
    let door = Door::open();
    let mut watcher = Wire::clean(door.at, V5, "watcher");
    watcher.subscribe(&[("w", 0)]);
    let will = Some(Will::of("w", "not failed"));
    let (mut five, _) = Wire::with(door.at, &Connect { id: "five", will, ..Connect::of(V5) });
    let mut three = Wire::clean(door.at, V3, "three");
    let mut unborn = Wire::open(door.at, V5);
    door.log.hold();
    five.publish(Publish { qos: 1, id: 1, ..Publish::of("log/a", "1") });
    three.publish(Publish { qos: 1, id: 2, ..Publish::of("log/a", "2") });
    door.until("both are taken", |d| d.log.taken().len() == 2);
    let log = door.log.clone();
    let committing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        log.commit();
    });
    let clients = std::thread::spawn(move || {
        five.expect(PUBACK, &[0, 1]);
        five.expect_end(0x8b);
        three.expect(PUBACK, &[0, 2]);
        three.expect_end(0x8b);
        watcher.expect_end(0x8b);
        assert_eq!(unborn.next(), Seen::Closed);
    });
    let took = door.shutdown(Duration::from_secs(3));
    assert!(took < strain.allows(Duration::from_secs(2)), "the stop took {took:?}");
    clients.join().unwrap();
    committing.join().unwrap();
    assert!(TcpStream::connect(door.at).is_err(), "nobody listens any more");
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let strain = Strain::begin(None);
    let door = Door::open();
    let mut wire = Wire::clean(door.at, V5, "five");
    door.log.hold();
    wire.publish(Publish { qos: 1, id: 1, ..Publish::of("log/a", "1") });
    door.until("it is taken", |d| d.log.taken().len() == 1);
    let took = door.shutdown(Duration::from_millis(400));
    assert!(took < strain.allows(Duration::from_secs(2)), "the stop took {took:?}");
    // What is not durable is not acknowledged, not even now.
    wire.expect_end(0x8b);
}

#[test]
fn a_stop_waits_for_what_subscribers_are_about_to_acknowledge() {
    let strain = Strain::begin(None);
    for attempt in 1.. {
        let door = Door::open();
        let mut slow = Wire::clean(door.at, V5, "slow");
        slow.subscribe(&[("t", 1)]);
        let given: Vec<_> = (0..2).map(|n| door.broker.publish_watched("t", format!("{n}").into(), 1, false)).collect();
        let ids = [slow.message().id, slow.message().id];
        let client = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            let begins = Instant::now();
            // Unread where they came too late: the connection may be closed by then.
            ids.into_iter().for_each(|id| drop(slow.try_send(&packet(PUBACK, &id.to_be_bytes()))));
            let acknowledged = Instant::now();
            slow.expect_end(0x8b);
            (begins, acknowledged)
        });
        let began = Instant::now();
        door.shutdown(Duration::from_secs(3));
        let ended = Instant::now();
        let (begins, acknowledged) = client.join().unwrap();
        if begins < began || acknowledged > began + Duration::from_millis(800) {
            // They count in the first second of a stop.
            assert!(attempt < 20, "no client is quick enough");
            continue;
        }
        assert!(ended >= begins, "the stop was over before");
        let late = ended.saturating_duration_since(acknowledged);
        assert!(late < strain.allows(Duration::from_millis(600)), "the stop went on for {late:?}");
        assert!(given.iter().all(broker::Watched::is_done), "what was acknowledged is known to be");
        break;
    }

    // Who never acknowledges holds it up for a second, and has not taken it then; nor what is
    // published afterwards.
    for is_durable in [true, false] {
        let door = Door::open();
        let mut mute = if is_durable { Wire::durable(door.at, V3, "mute").0 } else { Wire::clean(door.at, V3, "mute") };
        mute.subscribe(&[("t", 1)]);
        let given = door.broker.publish_watched("t", "x".into(), 1, false);
        mute.message();
        let took = door.shutdown(Duration::from_secs(3));
        let late = door.broker.publish_watched("t", "y".into(), 1, false);
        assert!(took < strain.allows(Duration::from_secs(2)) && !given.is_done() && !late.is_done(), "the stop took {took:?}");
    }
}

#[test]
fn a_client_that_takes_no_bytes_holds_no_stop_up() {
    let strain = Strain::begin(None);
    let door = Door::open();
    let mut deaf = Wire::clean(door.at, V5, "deaf");
    deaf.subscribe(&[("t", 0)]);
    let mut writer = Wire::clean(door.at, V3, "writer");
    let large = "x".repeat(100 << 10);
    for _ in 0..200 {
        writer.publish(Publish::of("t", &large));
    }
    writer.expect_quiet();
    assert!(door.broker.stats().queued_bytes > 0, "its socket is full");
    let took = door.shutdown(Duration::from_millis(500));
    assert!(took < strain.allows(Duration::from_secs(2)), "the stop took {took:?}");
}

#[test]
fn nothing_is_acknowledged_once_the_log_failed() {
    let door = Door::open();
    let mut wire = Wire::clean(door.at, V3, "three");
    door.log.hold();
    wire.publish(Publish { qos: 1, id: 1, ..Publish::of("log/a", "1") });
    door.until("it is taken", |d| d.log.taken().len() == 1);
    door.log.fail();
    assert_eq!(wire.next(), Seen::Closed);
}
