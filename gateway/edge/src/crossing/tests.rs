//! What comes from a broker alone: to the log and back, and what of it is not for here.

use super::*;
use crate::client::peer::{Peer, listener};
use crate::config::{Direction, Priority};
use crate::desk::Desk;
use crate::event::Event;
use crate::limits::{CROSS_GIVEN_MAX, CROSS_GIVEN_PAUSE, CROSS_GIVEN_WINDOW};
use journal::{Journal, Options};
use replica::crossing::{Incoming, NEVER_MS, Outgoing};
use rumqttc::{Packet, QoS, SubscribeReasonCode};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// A gateway's side of a connection to a broker that stands alone, and that broker's.
struct Pair {
    crossing: Crossing,
    told: mpsc::Receiver<Event>,
    listener: TcpListener,
    peer: Peer,
    fold: Fold,
    rules: Arc<Rules>,
    dirs: Vec<TempDir>,
}

impl Pair {
    async fn new(filter: &str) -> Self {
        let (listener, port) = listener().await;
        let bridge = PlainBridge {
            filter: filter.into(),
            direction: Direction::Both,
            remote: "plants/{gateway}/{topic}".into(),
            qos: 1,
            priority: Priority::Normal,
            ttl_ms: None,
            delivery: Delivery::Broker,
        };
        let (events, told) = mpsc::channel(64);
        let rules = Arc::new(Rules::new("plant-a", &[bridge]));
        let filters = rules.wanted().into_iter().map(|w| w.filter).collect();
        let link = CrossLink::to_broker("plant-a", ("127.0.0.1", port), filters, events, Arc::default());
        let (mut peer, _) = Peer::accept(&listener, false).await;
        peer.subscribed(SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
        let crossing = Crossing::on(link, rules.clone(), true);
        Self { crossing, told, listener, peer, fold: Fold::default(), rules, dirs: Vec::new() }
    }

    /// A log of its own, and its door.
    fn log(&mut self) -> (Journal, Intake) {
        let dir = tempfile::tempdir().unwrap();
        let opened = journal::open(dir.path(), Options { retain: Duration::MAX, limit_bytes: 1 << 30 }).unwrap();
        let journal = opened.start(Box::new(drop)).unwrap();
        self.dirs.push(dir);
        let sources = telemetry::source::Sources::new("plant-a", vec![telemetry::source::Source::default()]).unwrap();
        let (_, horizon) = watch::channel(broker::Horizon::default());
        let (settings, desk) = (detect::Settings::default(), Arc::new(Desk::new("plant-a")));
        (journal.clone(), Intake::new(journal, &Fold::default(), sources, true, settings, self.rules.clone(), 10, horizon, desk))
    }

    /// The next event, taken by the core; whether it was that a message came.
    async fn step(&mut self, intake: &Intake) -> bool {
        let Some(Event::Cross(event)) = self.told.recv().await else { panic!("nothing more is told") };
        let came = matches!(event, CrossEvent::Plain(..));
        self.crossing.event(event, 0, &self.fold, intake);
        came
    }

    async fn say(&mut self, pkid: u16, topic: &str, payload: Vec<u8>, intake: &Intake) {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = pkid;
        self.peer.send(Packet::Publish(publish)).await;
        while !self.step(intake).await {}
    }

    /// The broker's end of the connection is gone, and the next stands.
    async fn again(&mut self, session_present: bool, intake: &Intake) {
        drop(std::mem::replace(&mut self.peer, Peer::gone().await));
        self.peer = Peer::accept(&self.listener, session_present).await.0;
        if !session_present {
            self.peer.subscribed(SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
        }
        while self.crossing.connected {
            self.step(intake).await;
        }
        while !self.crossing.connected {
            self.step(intake).await;
        }
    }

    /// So much at once, the log takes one after the other.
    async fn until_taken(&mut self, intake: &Intake) {
        for _ in 0..6_000 {
            self.crossing.retry(intake);
            if self.crossing.held.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the log takes no more");
    }

    fn taken(&self) -> Vec<Vec<u8>> {
        self.crossing.unacknowledged.iter().map(|(_, _, p)| p.payload.to_vec()).collect()
    }

    async fn acknowledged(&mut self) -> u16 {
        match self.peer.next().await {
            Some(Packet::PubAck(ack)) => ack.pkid,
            other => panic!("no PUBACK: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_the_log_does_not_take_is_kept_in_order_and_taken_later() {
    let mut pair = Pair::new("cmd/#").await;
    let (closed, refusing) = pair.log();
    closed.close();
    let (_journal, taking) = pair.log();
    pair.say(1, "plants/plant-a/cmd/x", b"1".to_vec(), &refusing).await;
    pair.crossing.retry(&refusing);
    // The log is back, but the first comes first.
    pair.say(2, "plants/plant-a/cmd/x", b"2".to_vec(), &taking).await;
    assert_eq!((pair.crossing.held.len(), pair.crossing.held_bytes, pair.crossing.unacknowledged.len()), (2, 2, 0));
    pair.crossing.retry(&taking);
    assert_eq!((pair.crossing.held.len(), pair.crossing.held_bytes), (0, 0));
    let payloads: Vec<_> = pair.crossing.unacknowledged.iter().map(|(_, _, p)| p.payload.to_vec()).collect();
    assert_eq!(payloads, [b"1", b"2"]);
    for (_, generation, publish) in pair.crossing.unacknowledged.drain(..) {
        pair.crossing.link.acknowledge(generation, &publish);
    }
    assert_eq!([pair.acknowledged().await, pair.acknowledged().await], [1, 2]);
}

#[tokio::test]
async fn more_than_can_be_kept_ends_the_connection_and_comes_again() {
    let mut pair = Pair::new("cmd/#").await;
    let (closed, refusing) = pair.log();
    closed.close();
    for pkid in 1..=6 {
        pair.say(pkid, "plants/plant-a/cmd/x", vec![7; 3 << 20], &refusing).await;
    }
    assert!(pair.peer.next().await.is_none(), "given up");
    while pair.crossing.connected {
        pair.step(&refusing).await;
    }
    pair.peer = Peer::accept(&pair.listener, true).await.0;
    while !pair.crossing.connected {
        pair.step(&refusing).await;
    }
    let (_journal, taking) = pair.log();
    pair.until_taken(&taking).await;
    assert_eq!((pair.crossing.unacknowledged.len(), pair.crossing.held_bytes), (5, 0), "what was held is not lost with the connection");
    pair.say(9, "plants/plant-a/cmd/x", b"1".to_vec(), &taking).await;
    pair.until_taken(&taking).await;
    assert_eq!(pair.crossing.unacknowledged.len(), 6, "what comes with the next connection is taken");
}

/// The broker alone restarts, while the log takes nothing: what it had sent, it sends never again.
#[tokio::test]
async fn what_is_held_outlives_the_session_that_it_came_by() {
    let mut pair = Pair::new("cmd/#").await;
    let (closed, refusing) = pair.log();
    closed.close();
    pair.step(&refusing).await;
    pair.say(1, "plants/plant-a/cmd/x", b"same".to_vec(), &refusing).await;
    pair.again(false, &refusing).await;
    // Another message of a session that begins its numbers again, and is kept from here on.
    pair.say(1, "plants/plant-a/cmd/x", b"same".to_vec(), &refusing).await;
    pair.say(2, "plants/plant-a/cmd/x", b"2".to_vec(), &refusing).await;
    assert_eq!(pair.crossing.held.len(), 3);
    pair.again(true, &refusing).await;
    for (pkid, payload) in [(1, "same"), (2, "2")] {
        let mut publish = Publish::new("plants/plant-a/cmd/x", QoS::AtLeastOnce, payload);
        (publish.pkid, publish.dup) = (pkid, true);
        pair.peer.send(Packet::Publish(publish)).await;
        while !pair.step(&refusing).await {}
    }
    assert_eq!((pair.crossing.held.len(), pair.crossing.held_bytes), (3, 9), "what is sent again is not held twice");
    let (_journal, taking) = pair.log();
    pair.crossing.retry(&taking);
    assert_eq!(pair.taken(), [&b"same"[..], b"same", b"2"]);
    for (_, generation, publish) in pair.crossing.unacknowledged.drain(..) {
        pair.crossing.link.acknowledge(generation, &publish);
    }
    assert_eq!([pair.acknowledged().await, pair.acknowledged().await], [1, 2], "and acknowledged where it was sent last");
}

/// What was to come back by a session that is lost does not: another's that says the same does.
#[tokio::test]
async fn an_echo_is_not_awaited_beyond_its_session() {
    let mut pair = Pair::new("sw/#").await;
    let (_journal, intake) = pair.log();
    pair.step(&intake).await;
    let crossed = Crossed { boot: 1, seq: 1, topic: "plants/plant-a/sw/lamp".into(), payload: b"ON".to_vec(), qos: 1, retain: false };
    pair.fold.crossing.take(1, 1, Outgoing { crossed, expires_ms: NEVER_MS }, u64::MAX);
    assert!(pair.crossing.speak(0, 0, 1 << 20, &pair.fold).is_some());
    let Some(Packet::Publish(publish)) = pair.peer.next().await else { panic!("no PUBLISH") };
    pair.peer.send(Packet::PubAck(rumqttc::PubAck::new(publish.pkid))).await;
    while pair.crossing.flight.is_some() {
        pair.step(&intake).await;
    }
    pair.again(false, &intake).await;
    pair.say(1, "plants/plant-a/sw/lamp", b"ON".to_vec(), &intake).await;
    assert_eq!(pair.crossing.unacknowledged.len(), 1);
}

/// However long the line takes for it: what is still being written does not go again.
#[tokio::test]
async fn a_batch_goes_again_only_once_it_has_left_and_has_no_answer() {
    let mut pair = Pair::new("sw/#").await;
    let (_journal, intake) = pair.log();
    let (events, mut told) = mpsc::channel(64);
    let port = pair.listener.local_addr().unwrap().port();
    pair.crossing =
        Crossing::on(CrossLink::to_bridge("plant-a", 7, ("127.0.0.1", port), events, Arc::default()), pair.rules.clone(), false);
    std::mem::swap(&mut pair.told, &mut told);
    loop {
        let (peer, name) = Peer::accept(&pair.listener, false).await;
        pair.peer = peer;
        if name == "tidegate-plant-a-0000000000000007-cross" {
            break;
        }
    }
    pair.peer.subscribed(SubscribeReasonCode::Success(QoS::AtMostOnce)).await;
    pair.step(&intake).await;
    let crossed = Crossed { boot: 1, seq: 1, topic: "sw/lamp".into(), payload: vec![7; 2 << 20], qos: 1, retain: false };
    pair.fold.crossing.take(1, 1, Outgoing { crossed, expires_ms: NEVER_MS }, u64::MAX);
    assert!(pair.crossing.speak(0, 0, 1 << 20, &pair.fold).is_some());
    assert!(pair.crossing.speak(200_000, 0, 1 << 20, &pair.fold).is_none(), "it is being written");
    assert!(matches!(pair.peer.next().await, Some(Packet::Publish(_))));
    let Some(Event::Cross(left @ CrossEvent::Left(1))) = pair.told.recv().await else { panic!("it has not left") };
    pair.crossing.event(left, 200_000, &pair.fold, &intake);
    let due_ms = pair.crossing.next_timeout_ms(&pair.fold).unwrap();
    assert!(due_ms >= 205_000, "{due_ms}");
    assert!(pair.crossing.speak(due_ms - 1, 0, 1 << 20, &pair.fold).is_none());
    assert!(pair.crossing.speak(due_ms, 0, 1 << 20, &pair.fold).is_some(), "there was no answer");
}

/// Our own message never got there, so it does not come back; another's that says the same does.
#[tokio::test]
async fn an_equal_message_of_others_is_not_taken_for_our_own_that_was_lost() {
    let mut pair = Pair::new("sw/#").await;
    let (_journal, intake) = pair.log();
    pair.step(&intake).await;
    assert!(pair.crossing.connected);
    let crossed = Crossed { boot: 1, seq: 1, topic: "plants/plant-a/sw/lamp".into(), payload: b"ON".to_vec(), qos: 1, retain: false };
    pair.fold.crossing.take(1, 1, Outgoing { crossed, expires_ms: NEVER_MS }, u64::MAX);
    assert!(pair.crossing.speak(0, 0, 1 << 20, &pair.fold).is_some());
    assert!(matches!(pair.peer.next().await, Some(Packet::Publish(_))));
    // The connection ends without an answer.
    drop(std::mem::replace(&mut pair.peer, Peer::gone().await));
    pair.peer = Peer::accept(&pair.listener, true).await.0;
    while pair.crossing.connected {
        pair.step(&intake).await;
    }
    while !pair.crossing.connected {
        pair.step(&intake).await;
    }
    pair.say(1, "plants/plant-a/sw/lamp", b"ON".to_vec(), &intake).await;
    assert_eq!(pair.crossing.unacknowledged.len(), 1, "another's message is taken");
    // And what did get there comes back once, and is passed over.
    assert!(pair.crossing.speak(0, 0, 1 << 20, &pair.fold).is_some());
    pair.say(2, "plants/plant-a/sw/lamp", b"ON".to_vec(), &intake).await;
    assert_eq!(pair.crossing.unacknowledged.len(), 1);
    assert!(matches!(pair.peer.next().await, Some(Packet::Publish(_))));
    assert_eq!(pair.acknowledged().await, 2);
}

#[tokio::test]
async fn what_is_not_for_here_is_acknowledged_and_counted() {
    let mut pair = Pair::new("#").await;
    let (_journal, intake) = pair.log();
    let topics = ["alerts/critical/plant-a/x", "alarms/plant-a/x/high", "gateways/plant-a/status", "merged/10s/x"];
    for (pkid, topic) in (1..).zip(topics) {
        pair.say(pkid, &format!("plants/plant-a/{topic}"), b"{}".to_vec(), &intake).await;
        assert_eq!(pair.acknowledged().await, pkid, "{topic}");
    }
    pair.say(5, "plants/plant-a/x", vec![7; (3 << 20) + 1], &intake).await;
    assert_eq!(pair.acknowledged().await, 5);
    assert_eq!((pair.crossing.refused, pair.crossing.unacknowledged.len()), (5, 0));
    pair.say(6, "plants/plant-a/x", b"1".to_vec(), &intake).await;
    assert_eq!((pair.crossing.refused, pair.crossing.unacknowledged.len()), (5, 1));
}

/// A subscriber that is away for long holds up neither the others nor the log, and what it may miss is counted.
#[tokio::test]
async fn what_comes_in_is_kept_until_subscribers_have_it_within_bounds() {
    let mut pair = Pair::new("cmd/#").await;
    let (_journal, intake) = pair.log();
    let (_journal, door) = pair.log();
    let session = broker::StoredSession {
        number: 1,
        client_id: "away".into(),
        expiry_s: u32::MAX,
        version: broker::Version::V5,
        subscriptions: vec![("cmd/#".into(), 1, None)],
        received: Vec::new(),
        will: None,
    };
    let config = broker::Config { max_packet: 1 << 10, connections_max: 1, queue_max: 10_000 };
    let broker = Broker::new(config, Arc::new(door), vec![session]);
    let came = |fold: &mut Fold, topic: &str, count: u64| {
        for _ in 0..count {
            fold.lsn += 1;
            let message = Incoming { lsn: fold.lsn, topic: topic.into(), payload: b"1".to_vec(), qos: 1, retain: false };
            fold.crossing.receive(0, 0, message);
        }
    };
    // Nobody subscribes to it: it is over at once.
    came(&mut pair.fold, "other", 2_000);
    pair.crossing.show(&pair.fold, &intake, &broker);
    assert!(pair.crossing.settle_wait_ms().is_none() && !pair.crossing.holds_back);
    pair.fold.crossing.shown(2_000, 0);
    // So much may be before a subscriber; the rest waits in the log, and where it came from what comes next.
    came(&mut pair.fold, "cmd/x", 2_000);
    pair.crossing.done = Some((4_000, 7, 4_000));
    pair.crossing.show(&pair.fold, &intake, &broker);
    assert_eq!((pair.crossing.shown, pair.crossing.holds_back), (2_000 + CROSS_GIVEN_WINDOW as u64, true));
    assert!(pair.crossing.done.is_some() && pair.crossing.settle_wait_ms() == Some(CROSS_SETTLE_MS.0));
    assert_eq!(broker.stats().queued_bytes, CROSS_GIVEN_WINDOW * (5 + 1 + 96));
    // It stays away, and is waited for no longer.
    tokio::time::sleep(CROSS_GIVEN_PAUSE).await;
    came(&mut pair.fold, "cmd/x", CROSS_GIVEN_MAX as u64 - 2_000 + 5);
    pair.crossing.show(&pair.fold, &intake, &broker);
    assert!(!pair.crossing.holds_back && pair.crossing.done.is_none());
    assert_eq!(pair.crossing.given.settled(), 2_000 + 5, "the five oldest are kept no longer");
}
