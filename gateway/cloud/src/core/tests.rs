//! What the core takes, what it leaves where it came from, and what it looks at.

use super::*;
use crate::existing;
use crate::limits::CARRY_AT_ONCE_MAX;
use crate::outbound::Outbox;
use crate::recover::{Recovered, recover};
use crate::urgent::tests::alert;
use broker::{Application, Client, Refusal, Verdict, Version};
use journal::Options;
use parking_lot::Mutex;
use replica::alarm::{Body, PENDING_MAX};
use replica::limits::CROSS_UP_PENDING_BYTES_MAX;
use rumqttc::{AsyncClient, EventLoop, MqttOptions, Publish, QoS, Request};
use schemas::message::{AlertUp, Beat, CommandUp, CrossDone, CrossUp, Crossed, Delta, FORMAT, Hello, Wanted};
use std::sync::mpsc as std_mpsc;
use tempfile::TempDir;
use tokio::sync::watch;

/// A core at an existing broker that is there and says nothing, and its log, which waits for the test to take its frames.
struct Bench {
    /// Before the core, whose log waits for them.
    frames: std_mpsc::Receiver<Frame>,
    core: Core,
    outbox: Arc<Outbox>,
    mqtt: EventLoop,
    runtime: tokio::runtime::Runtime,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opened = journal::open(dir.path(), Options { retain: Duration::MAX, limit_bytes: u64::MAX }).unwrap();
        let Recovered { bridge, store, .. } = recover(dir.path(), &opened, "test").unwrap();
        let (taken, frames) = std_mpsc::sync_channel(1);
        let journal = opened.start(Box::new(move |frame| drop(taken.send(frame)))).unwrap();
        let (events, _) = mpsc::channel(8);
        let (_, horizon) = watch::channel(broker::Horizon::default());
        let known = Arc::new(Known::default());
        let door = Arc::new(Door::new(journal.clone(), &bridge, 1, horizon, events, known.clone()));
        door.begin(&Record::Boot { boot: 1, parent: None, config: &[] }).unwrap();
        let (client, mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 10_000);
        let outbox = Arc::new(Outbox::new(client));
        outbox.connected(true);
        let audience = Audience::of(dir.path(), None);
        let core = Core::new(bridge, door, journal, Outbound::Existing(outbox.clone()), store, known, audience);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        Self { frames, core, outbox, mqtt, runtime, _dir: dir }
    }

    fn wire(&mut self, gateway: &str, what: &str, bytes: &[u8]) {
        self.core.wire(gateway, what, bytes, Instant::now(), &self.runtime.handle().clone());
    }

    fn plain(&mut self, generation: u64, publish: Publish) {
        self.core.plain(generation, publish, &self.runtime.handle().clone());
    }

    fn asked(&mut self, generation: u64, publish: Publish, path: &str) {
        self.core.asked(generation, publish, path, &Body::default(), &self.runtime.handle().clone());
    }

    /// Folds all that the log was given.
    fn fold(&mut self) {
        let end = self.core.journal.append_beginning().unwrap().next() - 1;
        while self.core.bridge.lsn < end {
            let frame = self.frames.recv_timeout(Duration::from_secs(10)).unwrap();
            self.core.frame(&frame).unwrap();
        }
    }

    /// More than the log takes before its frames are taken.
    fn fill(&mut self) {
        self.fold();
        let hello = Record::Hello { gateway: "", bytes: &[0; 1 << 18] };
        // One frame lies ready and the next one holds the writer up: whatever the disk, no room comes from here on.
        for _ in 0..2 {
            let end = self.core.door.log(&hello).unwrap();
            let mut horizon = self.core.journal.horizon();
            self.runtime.block_on(horizon.wait_for(|horizon| horizon.durable >= end)).unwrap();
        }
        assert!((0..100).any(|_| self.core.door.log(&hello).is_err()));
    }

    /// Identifiers of what was acknowledged at the broker since this was last asked.
    fn acknowledged(&mut self) -> Vec<u16> {
        self.mqtt.clean();
        let requests = self.mqtt.pending.drain(..);
        requests.filter_map(|request| if let Request::PubRec(ack) = request { Some(ack.pkid) } else { None }).collect()
    }
}

/// At QoS 2, whose acknowledgements the client keeps where a test finds them.
fn publish(id: u16, topic: &str, bytes: usize) -> Publish {
    Publish { pkid: id, ..Publish::new(topic, QoS::ExactlyOnce, vec![7; bytes]) }
}

fn hello(gateway: &str, wanted: &[&str]) -> Vec<u8> {
    let wanted = wanted.iter().map(|filter| Wanted { filter: (*filter).to_owned(), ttl_ms: 0 }).collect();
    Hello {
        format: FORMAT,
        gateway: gateway.into(),
        boot: 7,
        parent: None,
        sizes: vec![1_000],
        grace_ms: 0,
        every_ms: 5_000,
        clock_ms: 0,
        version: String::new(),
        group: None,
        wanted,
    }
    .encode()
}

#[test]
fn a_message_for_a_gateway_waits_for_a_log_that_is_behind() {
    let mut b = Bench::new();
    b.fill();
    let frames = std::mem::replace(&mut b.frames, std_mpsc::sync_channel(1).1);
    let taking = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        let mut taken = Vec::new();
        while let Ok(frame) = frames.recv_timeout(Duration::from_millis(500)) {
            taken.push(frame);
        }
        (frames, taken)
    });
    b.plain(1, publish(1, "cmd/x", 10));
    assert!(b.core.out.is_open(1));
    assert_eq!((b.core.unacknowledged.len(), b.acknowledged()), (1, vec![]), "logged, not durable yet");
    let (frames, taken) = taking.join().unwrap();
    b.frames = frames;
    taken.iter().for_each(|frame| b.core.frame(frame).unwrap());
    b.fold();
    assert_eq!(b.acknowledged(), [1]);
}

/// Nothing overtakes what was not taken, and the broker sends it all again by itself.
#[test]
fn a_message_for_a_gateway_that_the_log_does_not_take_comes_again_with_all_behind_it() {
    let mut b = Bench::new();
    b.fill();
    b.plain(1, publish(1, "cmd/x", 10));
    assert!(!b.core.out.is_open(1));
    b.fold();
    b.plain(1, publish(2, "cmd/x", 10));
    b.asked(1, publish(3, "alarms/a/s/high/ack", 0), "a/s/high/ack");
    assert_eq!((b.core.unacknowledged.len(), b.acknowledged()), (0, vec![]));
    b.outbox.disconnected(&mut b.mqtt);
    b.outbox.connected(true);
    [1, 2].into_iter().for_each(|id| b.plain(2, publish(id, "cmd/x", 10)));
    b.fold();
    assert_eq!(b.acknowledged(), [1, 2]);
}

#[test]
fn what_is_asked_about_an_alarm_is_acknowledged_once_it_is_folded_or_refused_for_good() {
    let mut b = Bench::new();
    b.asked(1, publish(1, "alarms/plant-a/s/high/ack", 0), "plant-a/s/high/ack");
    assert_eq!((b.acknowledged(), b.core.refused), (vec![1], 1), "there is no such alarm, and that is told");
    b.wire("plant-a", "alert", &AlertUp { format: FORMAT, alert: alert(1) }.encode());
    b.fold();
    b.asked(1, publish(2, "alarms/plant-a/s/high/ack", 0), "plant-a/s/high/ack");
    assert!(b.acknowledged().is_empty());
    b.fold();
    assert_eq!((b.acknowledged(), b.core.refused), (vec![2], 1));
    assert_eq!(b.core.bridge.alarms.board("plant-a").unwrap().get("s", "high").unwrap().pending.len(), 1);
    // Where the log has no room now, it comes again.
    b.fill();
    b.asked(1, publish(3, "alarms/plant-a/s/high/ack", 0), "plant-a/s/high/ack");
    assert_eq!((b.acknowledged(), b.core.out.is_open(1)), (vec![], false));
}

/// Acknowledged, it would be lost: the alarm has no room for it before its gateway has taken what waits.
#[test]
fn what_is_asked_at_the_door_while_too_much_waits_for_the_gateway_is_refused() {
    let mut b = Bench::new();
    b.wire("plant-a", "alert", &AlertUp { format: FORMAT, alert: alert(1) }.encode());
    b.fold();
    let client = Client { client_id: "c".into(), session: 0, version: Version::V5, connection: 1, memory: Mutex::new(None) };
    let (topic, payload) = ("alarms/plant-a/s/high/ack", br#"{"by":"jo"}"#);
    let publish = broker::Publish { topic, payload, qos: 1, retain: false, dup: false, packet_id: 1, will: false };
    let mut verdicts = Vec::new();
    for _ in 0..=PENDING_MAX {
        b.core.door.publish(&client, &[publish], &mut verdicts);
        b.fold();
    }
    assert!(verdicts[..PENDING_MAX].iter().all(|verdict| matches!(verdict, Verdict::After { .. })));
    assert_eq!(verdicts[PENDING_MAX], Verdict::Refuse(Refusal::QuotaExceeded));
}

/// Payloads of messages on their way to the core are bounded with those of gateways.
#[test]
fn what_comes_of_an_existing_broker_counts_until_the_core_has_it() {
    let b = Bench::new();
    b.core.out.want(["cmd/#".to_owned()].into());
    for (topic, counts) in [("cmd/x", true), ("alarms/a/s/high/ack", true), ("bridge/v1/a/up/beat", true), ("other", false)] {
        let message = Publish { payload: "{\"by\": \"me\"}".into(), ..publish(1, topic, 0) };
        let event = existing::arrived(message, &b.outbox, &b.core.door);
        assert_eq!(event.is_some(), counts, "{topic}");
    }
    // What its broker had kept of what people asked for once is no news, however often it is subscribed to.
    let kept = Publish { payload: "{\"by\": \"me\"}".into(), retain: true, ..publish(1, "alarms/a/s/high/ack", 0) };
    assert!(existing::arrived(kept, &b.outbox, &b.core.door).is_none());
    for _ in 0..20 {
        assert!(!b.core.door.is_full());
        existing::arrived(publish(1, "cmd/x", 2 << 20), &b.outbox, &b.core.door);
        if b.core.door.is_full() {
            return;
        }
    }
    panic!("never full");
}

#[test]
fn names_that_strangers_invent_leave_nothing_behind() {
    let mut b = Bench::new();
    for n in 0..10 {
        let name = format!("x{n}");
        b.wire(&name, "cross-done", &CrossDone { format: FORMAT, boot: 1, seq: 1 }.encode());
        b.wire(&name, "command", &CommandUp { format: FORMAT, boot: 1, acts: vec![], answers: vec![] }.encode());
        b.wire(&name, "beat", &Beat { format: FORMAT, living: Some(7) }.encode());
        let delta = Delta { format: FORMAT, boot: 7, from: 5, to: 6, sent_ms: 1, ..Delta::default() }.encode();
        assert!(Interval::decode(&delta).is_ok());
        b.wire(&name, "delta", &delta);
        b.wire(&name, "hello", &hello(&name, &[]));
        assert!(!b.core.presence.knows(&name));
    }
    assert_eq!((b.core.presence.online(), b.core.changed.len(), b.core.clocks.len(), b.core.refused), (0, 0, 0, 20));
    assert_eq!(format!("{:?}", b.core.speakers), "Speakers({})");
}

/// The first that is heard of a gateway is its hello.
#[test]
fn a_gateway_is_online_as_soon_as_it_is_known() {
    let mut b = Bench::new();
    b.wire("plant-a", "hello", &hello("plant-a", &[]));
    assert!(!b.core.presence.knows("plant-a"));
    b.fold();
    assert!(b.core.presence.of("plant-a").0 && b.core.changed.contains_key("plant-a"));
    b.wire("plant-a", "hello", &hello("plant-a", &[]));
    assert!(format!("{:?}", b.core.speakers).contains("plant-a"));
}

fn up(seq: u64, bytes: usize) -> Vec<u8> {
    up_on("t", seq, bytes)
}

fn up_on(topic: &str, seq: u64, bytes: usize) -> Vec<u8> {
    let message = Crossed { boot: 7, seq, topic: topic.into(), payload: vec![7; bytes], qos: 1, retain: false };
    CrossUp { format: FORMAT, lane: 1, messages: vec![message], given_up: 0, expired: 0 }.encode()
}

/// What is retained there has no bound, as nobody else publishes there.
#[test]
fn no_gateway_says_what_the_bridge_alone_says() {
    let mut b = Bench::new();
    b.wire("plant-a", "cross", &up_on("merged/10s/a", 1, 10));
    assert_eq!((b.core.crossing_up.len(), b.core.refused), (0, 1));
    b.wire("plant-a", "cross", &up(1, 10));
    assert_eq!((b.core.crossing_up.len(), b.core.crossing_up_bytes, b.core.refused), (1, up(1, 10).len() as u64, 1));
}

/// They are in the state, which must be read again; a gateway keeps what is not taken.
#[test]
fn what_brokers_do_not_take_is_bounded() {
    let mut b = Bench::new();
    b.fold();
    let before = b.core.bridge.lsn;
    let bytes = 3 << 20;
    let most = CROSS_UP_PENDING_BYTES_MAX / bytes as u64 + 1;
    for seq in 1..=most {
        let mut payload = Vec::new();
        let record = Record::CrossUp { gateway: "plant-a", bytes: &up(seq, bytes) };
        record.encode(0, &mut payload);
        b.core.bridge.apply(before, record.kind(), &payload).unwrap();
    }
    b.wire("plant-a", "cross", &up(most + 1, 10));
    assert!(b.core.crossing_up.is_empty(), "not taken");
    let mut payload = Vec::new();
    Record::Cursor { lsn: before }.encode(0, &mut payload);
    b.core.bridge.apply(before, Record::Cursor { lsn: 0 }.kind(), &payload).unwrap();
    b.wire("plant-a", "cross", &up(most + 1, 10));
    assert_eq!(b.core.crossing_up.len(), 1);
    b.fold();
    assert_eq!((b.core.crossing_up.len(), b.core.crossing_up_bytes), (0, 0));
}

/// Thousands of gateways for which nothing waits cost the others nothing.
#[test]
fn only_gateways_that_something_waits_for_are_looked_at() {
    let mut b = Bench::new();
    let names: Vec<String> = (0..2_000).map(|n| format!("g{n}")).collect();
    for name in &names {
        b.wire(name, "hello", &hello(name, &[&format!("cmd/{name}/#"), "all"]));
    }
    b.fold();
    assert_eq!(b.core.presence.online(), names.len());
    b.core.carry();
    assert!(b.core.carried.is_empty());
    b.plain(1, publish(1, "cmd/g7/x", 10));
    b.fold();
    b.core.carry();
    let is_sent = |core: &Core, name: &str| core.carried.get(name).is_some_and(|(pace, _)| pace.due_ms().is_some());
    assert!(is_sent(&b.core, "g7") && b.core.carried.len() == 1 && !b.core.is_carry_due);
    let (boot, seq) = b.core.bridge.crossings["g7"].next_down(0, 1).first().map(|m| (m.boot, m.seq)).unwrap();
    b.wire("g7", "cross-done", &CrossDone { format: FORMAT, boot, seq }.encode());
    b.fold();
    b.core.carry();
    assert!(b.core.bridge.laden.is_empty() && !is_sent(&b.core, "g7"));
    // What is for all goes at once, too; then they are looked at from time to time.
    std::thread::sleep(Duration::from_millis(60));
    b.plain(1, publish(2, "all", 10));
    b.fold();
    b.core.carry();
    assert!(names.len() > CARRY_AT_ONCE_MAX && names.iter().all(|name| is_sent(&b.core, name)));
    b.core.carried_at_ms = b.core.clock_ms();
    b.core.carry();
    assert!(b.core.is_carry_due);
}
