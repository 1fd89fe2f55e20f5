//! `[[ingest]]`: readings from the plant's existing broker, acknowledged there only after our
//! commit. That broker is `rumqttd` in this process, or made by hand where its timing matters.

use crate::foreign;
use crate::gateway::{Gateway, timed};
use crate::plant::PATIENCE;
use crate::wire::{Publish, Seen, Wire, packet, string};
use broker::Version::V3;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A cable that can be cut, and plugged in elsewhere.
struct Cable {
    port: u16,
    to: Arc<AtomicU16>,
    is_cut: Arc<AtomicBool>,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cable = Self {
            port: listener.local_addr().unwrap().port(),
            to: Arc::new(AtomicU16::new(port)),
            is_cut: Arc::default(),
            ends: Arc::default(),
        };
        let (to, is_cut, ends) = (cable.to.clone(), cable.is_cut.clone(), cable.ends.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(("127.0.0.1", to.load(Ordering::SeqCst)));
                let (false, Ok(far)) = (is_cut.load(Ordering::SeqCst), far) else { continue };
                ends.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (mut from, mut into) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    std::thread::spawn(move || {
                        // A copy ends with its connection, in whatever way.
                        drop(std::io::copy(&mut from, &mut into));
                        drop(into.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        cable
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.ends.lock().unwrap().drain(..).for_each(|end| drop(end.shutdown(Shutdown::Both)));
    }

    fn plug(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn with_ingest(dir: &std::path::Path, port: u16, filter: &str) -> Gateway {
    Gateway::start(dir, &format!("[[ingest]]\nurl = \"mqtt://127.0.0.1:{port}\"\nfilter = \"{filter}\"\n"))
}

/// Publishes at QoS 1 to the plant's broker and waits until it has them all.
fn publish(port: u16, messages: Vec<(String, String)>) {
    // A client of its own each time: under one name the next would end the one before.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut options = MqttOptions::new(format!("plc-{}", NUMBER.fetch_add(1, Ordering::Relaxed)), "127.0.0.1", port);
    options.set_inflight(50);
    let (client, mut connection) = Client::new(options, 100);
    let total = messages.len();
    std::thread::spawn(move || {
        for (topic, payload) in messages {
            client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        }
        // Kept until the connection has taken all of it.
        std::thread::sleep(Duration::from_secs(60));
    });
    let acknowledged = connection.iter().map(Result::unwrap).filter(|e| matches!(e, Event::Incoming(Packet::PubAck(_))));
    assert_eq!(acknowledged.take(total).count(), total);
}

fn readings(numbers: std::ops::Range<u64>) -> Vec<(String, String)> {
    numbers.map(|n| (format!("sensors/m{}", n % 7), timed(n))).collect()
}

/// Waits until the gateway has subscribed: what is published before is nobody's.
fn until_subscribed(gateway: &Gateway, port: u16) {
    let before = gateway.ledger("accepted");
    let mut watcher = Wire::clean(gateway.at(), V3, "prober");
    watcher.subscribe(&[("sensors/probe", 0)]);
    gateway.until("the subscription stands", |g| {
        publish(port, vec![("sensors/probe".into(), "1".into())]);
        std::thread::sleep(Duration::from_millis(50));
        g.ledger("accepted") > before
    });
    // Behind the last one no other comes late.
    publish(port, vec![("sensors/probe".into(), "2".into())]);
    while watcher.message().payload != "2" {}
    watcher.leave();
}

#[test]
fn readings_of_the_plants_broker_count_and_other_messages_are_routed() {
    let plant = foreign::rumqttd();
    let dir = tempfile::tempdir().unwrap();
    let gateway = with_ingest(dir.path(), plant, "#");
    until_subscribed(&gateway, plant);
    let before = gateway.ledger("accepted");
    let mut watcher = Wire::clean(gateway.at(), V3, "watcher");
    watcher.subscribe(&[("#", 0)]);
    let mut messages = readings(0..500);
    messages.push(("chat/hello".into(), "not a reading, and nobody's source".into()));
    messages.push(("sensors/m1".into(), "no reading".into()));
    messages.extend(readings(500..1_000));
    publish(plant, messages.clone());
    gateway.until_accepted(before + 1_000);
    assert_eq!(gateway.refused(), 1);
    for (topic, payload) in messages.into_iter().filter(|(_, payload)| payload != "no reading") {
        assert_eq!(watcher.message().brief(), (topic.as_str(), payload.as_str(), 0, false));
    }
    watcher.expect_quiet();
}

#[test]
fn what_was_not_acknowledged_there_comes_again_after_a_kill() {
    let plant = foreign::rumqttd();
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = with_ingest(dir.path(), plant, "sensors/#");
    until_subscribed(&gateway, plant);
    let before = gateway.ledger("accepted");
    let sending = std::thread::spawn(move || {
        for n in 0..30 {
            publish(plant, readings(n * 200..(n + 1) * 200));
        }
    });
    for n in 0..4 {
        std::thread::sleep(Duration::from_millis(150 + n * 60));
        gateway.kill_and_restart();
    }
    sending.join().unwrap();
    gateway.until("all of them are there", |g| g.ledger("accepted") >= before + 6_000);
    // Another while, in which a redelivery could be counted again.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(gateway.ledger("accepted"), before + 6_000);
}

#[test]
fn a_cut_cable_and_another_broker_at_its_end_are_survived() {
    let (first, second) = (foreign::rumqttd(), foreign::rumqttd());
    let cable = Cable::to(first);
    let dir = tempfile::tempdir().unwrap();
    let gateway = with_ingest(dir.path(), cable.port, "sensors/#");
    until_subscribed(&gateway, first);
    let before = gateway.ledger("accepted");
    // Cut while readings flow: what the broker keeps for us comes when the cable is whole.
    let sending = std::thread::spawn(move || publish(first, readings(0..2_000)));
    std::thread::sleep(Duration::from_millis(20));
    cable.cut();
    sending.join().unwrap();
    cable.plug(first);
    gateway.until("all of them are there", |g| g.ledger("accepted") >= before + 2_000);
    // The plant's broker is new and knows nothing of us: we subscribe again.
    cable.cut();
    cable.plug(second);
    until_subscribed(&gateway, second);
    let before = gateway.ledger("accepted");
    publish(second, readings(5_000..5_100));
    gateway.until_accepted(before + 100);
}

/// A plant's broker made by hand: takes CONNECT and SUBSCRIBE, then does as the test says.
struct HandMade {
    listener: TcpListener,
    wire: Option<Wire>,
}

impl HandMade {
    fn new() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (Self { listener, wire: None }, port)
    }

    /// Waits for the gateway's CONNECT.
    fn called(&mut self) -> Wire {
        // Others may knock too: a connection that ends without CONNECT is none.
        loop {
            let mut wire = Wire::over(self.listener.accept().unwrap().0, V3);
            if let Seen::Packet(0x10, body) = wire.next() {
                assert_eq!(body[7] & 2, 0, "it asks for its session");
                return wire;
            }
        }
    }

    /// Waits for the gateway, and sees it subscribe, or not.
    fn welcome(&mut self, session_present: bool, subscribes: bool) {
        let mut wire = self.called();
        wire.send(&[0x20, 2, u8::from(session_present), 0]);
        match wire.try_next_within(if subscribes { PATIENCE } else { Duration::from_millis(700) }) {
            Some(Seen::Packet(0x82, body)) if subscribes => wire.send(&[0x90, 3, body[0], body[1], 1]),
            None if !subscribes => {}
            other => panic!("{other:?}"),
        }
        self.wire = Some(wire);
    }

    fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().unwrap()
    }

    fn deliver(&mut self, id: u16, payload: &str, dup: bool) {
        let p = Publish { qos: 1, id, dup, ..Publish::of("sensors/a", payload) };
        self.wire().publish(p);
    }
}

#[test]
fn many_are_under_way_at_once_and_acknowledged_in_order_after_their_commit() {
    let (mut plant, port) = HandMade::new();
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = with_ingest(dir.path(), port, "sensors/#");
    plant.welcome(false, true);
    for id in 1..=500 {
        plant.deliver(id, &timed(u64::from(id)), false);
    }
    for id in 1..=500u16 {
        plant.wire().expect(0x40, &id.to_be_bytes());
    }
    // Acknowledged is durable: a kill right behind the last one takes nothing.
    gateway.kill_and_restart();
    gateway.until_accepted(500);
    // The session there was kept, and has the subscription.
    plant.welcome(true, false);
    // Unacknowledged as far as the broker could tell: sent again, with and without the mark.
    plant.deliver(500, &timed(500), true);
    plant.deliver(499, &timed(499), false);
    plant.deliver(501, "21.5", false);
    plant.deliver(502, &timed(502), false);
    for id in [500u16, 499, 501, 502] {
        plant.wire().expect(0x40, &id.to_be_bytes());
    }
    gateway.until_accepted(502);
    assert_eq!(gateway.ledger("duplicates"), 2);
    // One without a time counts again.
    plant.deliver(501, "21.5", true);
    plant.wire().expect(0x40, &[1, 245]);
    gateway.until_accepted(503);
    // Nor need the same process subscribe again on a new connection, unless its session is gone.
    plant.wire = None;
    plant.welcome(true, false);
    plant.deliver(1, &timed(600), false);
    plant.wire().expect(0x40, &[0, 1]);
    plant.wire = None;
    plant.welcome(false, true);
    gateway.until_accepted(504);
    // Retained readings come again with every new subscription.
    let retained = [&[0x33][..], &[13 + timed(600).len() as u8], &string("sensors/a"), &[0, 7], timed(600).as_bytes()].concat();
    plant.wire().send(&retained);
    plant.wire().expect(0x40, &[0, 7]);
    gateway.until("it is known", |g| g.ledger("duplicates") == 3);
    assert_eq!(gateway.ledger("accepted"), 504);
    // Nobody takes its session by using its name.
    assert!(gateway.status()["sessions"].as_u64() == Some(0));
    plant.wire().send(&packet(0xd0, &[]));
}

#[test]
fn a_killed_gateway_has_acknowledged_nothing_that_it_has_not() {
    let (mut plant, port) = HandMade::new();
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = with_ingest(dir.path(), port, "sensors/#");
    let mut present = false;
    let mut acknowledged = 0;
    for round in 0..5u64 {
        plant.welcome(present, !present);
        present = true;
        for n in 0..900 {
            plant.deliver((n + 1) as u16, &timed(round * 1_000 + n), false);
        }
        // Killed with some acknowledged and others under way.
        let mut here = 0;
        while here <= round * 100 {
            assert!(matches!(plant.wire().next(), Seen::Packet(0x40, _)));
            here += 1;
        }
        gateway.role.kill();
        while let Seen::Packet(0x40, _) = plant.wire().next() {
            here += 1;
        }
        acknowledged += here;
        gateway.role = crate::plant::Role::start("edge", &gateway.config, &gateway.data);
        assert!(gateway.ledger("accepted") >= acknowledged, "{acknowledged} acknowledged");
    }
}

/// Brokers send what they retain with every subscription, and a reading without a time counts again each time.
#[test]
fn who_is_subscribed_does_not_subscribe_again_however_often_it_starts() {
    let (mut plant, port) = HandMade::new();
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = with_ingest(dir.path(), port, "sensors/#");
    plant.welcome(false, true);
    for id in 1..=3u16 {
        plant.deliver(id, "21.5", false);
        plant.wire().expect(0x40, &id.to_be_bytes());
        gateway.until_accepted(u64::from(id));
        if id == 2 {
            assert_eq!(gateway.role.stop(), Some(0));
            gateway.role = crate::plant::Role::start("edge", &gateway.config, &gateway.data);
        } else {
            gateway.kill_and_restart();
        }
        plant.welcome(true, false);
    }
    // That broker has lost it.
    plant.wire = None;
    plant.welcome(false, true);
}

/// A session that begins with a CONNECT whose answer nobody heard has no subscription, and is present from then on.
#[test]
fn who_missed_the_answer_to_connect_subscribes_again_also_as_another_process() {
    let (mut plant, port) = HandMade::new();
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = with_ingest(dir.path(), port, "sensors/#");
    plant.welcome(false, true);
    plant.deliver(1, &timed(1), false);
    plant.wire().expect(0x40, &[0, 1]);
    plant.wire = None;
    drop(plant.called());
    plant.welcome(true, true);
    plant.deliver(2, &timed(2), false);
    plant.wire().expect(0x40, &[0, 2]);
    plant.wire = None;
    let unanswered = plant.called();
    gateway.kill_and_restart();
    drop(unanswered);
    plant.welcome(true, true);
    // Asked, and killed before the answer.
    plant.wire = None;
    let mut wire = plant.called();
    wire.send(&[0x20, 2, 0, 0]);
    assert!(matches!(wire.next(), Seen::Packet(0x82, _)));
    gateway.kill_and_restart();
    drop(wire);
    plant.welcome(true, true);
    plant.deliver(3, &timed(3), false);
    plant.wire().expect(0x40, &[0, 3]);
    // A broker that is down has begun no session.
    let HandMade { listener, wire } = plant;
    let at = listener.local_addr().unwrap();
    drop(listener);
    drop(wire);
    std::thread::sleep(Duration::from_secs(2));
    gateway.kill_and_restart();
    std::thread::sleep(Duration::from_millis(200));
    let mut plant = HandMade { listener: TcpListener::bind(at).unwrap(), wire: None };
    plant.welcome(true, false);
}

#[test]
fn a_bridge_of_mosquitto_as_it_is_by_default_brings_readings() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), "");
    let Some(mosquitto) = foreign::mosquitto_bridged_to(gateway.role.mqtt) else { return };
    let bridged = || gateway.status()["sessions"].as_u64() == Some(1);
    gateway.until("the bridge is there", |_| bridged());
    publish(mosquitto.port, (0..10).map(|n| ("sensors/a".to_owned(), timed(n))).collect());
    gateway.until_accepted(10);
}
