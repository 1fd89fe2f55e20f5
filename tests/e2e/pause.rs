//! A bridge with too much to do asks gateways to pause: they do, and nothing is lost.

use crate::gateway::status_at;
use crate::plant::consume;
use crate::uplink::{PATIENCE, Plant, plant};
use crate::wire::{Seen, Wire, varint};
use broker::Version::V3;
use schemas::message::{Ack, Definition, Delta, FORMAT};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;

/// What a gateway may say while it pauses: signs of life, some 30 bytes each 5 s, and pings.
const IDLE_BYTES: u64 = 400;

/// The answers to a gateway's intervals, as they pass the bridge's broker.
struct Answers(Wire);

impl Answers {
    fn of(plant: &Plant) -> Self {
        let mut wire = Wire::clean(SocketAddr::from(([127, 0, 0, 1], plant.cloud_port)), V3, "tap");
        assert_eq!(wire.subscribe(&[("bridge/v1/plant-a/down/ack", 0)]), [0]);
        Self(wire)
    }

    fn next(&mut self, within: Duration) -> Option<Ack> {
        let Seen::Packet(_, body) = self.0.try_next_within(within)? else { panic!("the bridge closed the connection") };
        let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
        Some(Ack::decode(&body[2 + topic..]).unwrap())
    }

    /// The next one that asks for a pause.
    fn pause(&mut self) -> Duration {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nobody asks for a pause");
            if let Some(ms) = self.next(Duration::from_secs(1)).and_then(|ack| ack.retry_after_ms) {
                return Duration::from_millis(ms);
            }
        }
    }
}

/// Looks at pauses: from the answer on, but for what was under way, nothing goes up for so long.
fn obeys(plant: &Plant, answers: &mut Answers, times: usize) {
    for _ in 0..times {
        let pause = answers.pause();
        let heard = Instant::now();
        // It reaches the gateway, and other answers that were on their way do.
        std::thread::sleep(Duration::from_millis(300));
        let before = plant.link.bytes_up();
        let mut asked = pause;
        while let Some(ack) = answers.next(asked.saturating_sub(heard.elapsed() + Duration::from_millis(200))) {
            // Of several answers the last one says when.
            let Some(ms) = ack.retry_after_ms else { break };
            asked = asked.min(heard.elapsed() + Duration::from_millis(ms));
        }
        let sent = plant.link.bytes_up() - before;
        println!("{sent} bytes within {:?} of {pause:?}", heard.elapsed());
        assert!(
            sent < IDLE_BYTES || heard.elapsed() + Duration::from_millis(250) > pause,
            "{sent} bytes {:?} into a pause of {pause:?}",
            heard.elapsed()
        );
    }
}

/// All that the gateway took is at the cloud, once.
fn whole(plant: &Plant, received: &crate::plant::Consumer, readings: u64) {
    let told = plant.until("drained", |told| told["ledger"]["held"] == 0);
    assert_eq!((told["ledger"]["delivered"].as_u64(), told["ledger"]["shed"].as_u64()), (Some(readings), Some(0)));
    let mut windows = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while windows.values().sum::<u64>() < readings {
        assert!(Instant::now() < deadline, "{} of {readings} readings", windows.values().sum::<u64>());
        std::thread::sleep(Duration::from_millis(100));
        for (topic, v) in received.try_iter() {
            windows.insert((topic, v["start"].as_i64().unwrap()), v["count"].as_u64().unwrap());
        }
    }
    assert_eq!(windows.values().sum::<u64>(), readings);
}

/// An interval of a gateway that says far more than any plant does: so many windows, none told before.
fn crowd(step: u64) -> Vec<u8> {
    const WINDOWS: u64 = 2_000;
    let (from, start_ms) = (step * WINDOWS, 1_700_000_000_000 + step as i64 * 1_000);
    let entries = (0..WINDOWS).map(|i| {
        let born = from + i + 1;
        let aggregate = Aggregate::new(start_ms, i as f64 / 8.0);
        Entry {
            series: (i % 200) as u32,
            size_ms: 1_000,
            start_ms: start_ms + (i / 200) as i64 * 3_600_000,
            born,
            version: born,
            aggregate,
        }
    });
    Delta {
        format: FORMAT,
        boot: 7,
        to: from + WINDOWS,
        number: step + 1,
        readings_to: from + WINDOWS,
        accepted: from + WINDOWS,
        defs: (0..200).map(|number| Definition { number, name: format!("crowd/{number}"), unit: None }).collect(),
        entries: block::encode(&entries.collect::<Vec<_>>()),
        sizes: vec![1_000],
        ..Delta::default()
    }
    .encode()
}

/// Another gateway, which keeps so many intervals under way as no gateway does, whatever it is asked.
struct Crowd {
    wire: Wire,
    step: u64,
    answered: u64,
}

impl Crowd {
    fn at(port: u16) -> Self {
        let mut wire = Wire::clean(SocketAddr::from(([127, 0, 0, 1], port)), V3, "crowd");
        assert_eq!(wire.subscribe(&[("bridge/v1/crowd/down/ack", 0)]), [0]);
        Self { wire, step: 0, answered: 0 }
    }

    /// Sends one more once fewer than so many are under way.
    fn tell(&mut self, under_way: u64) {
        while self.step >= self.answered + under_way {
            self.wire.next();
            self.answered += 1;
        }
        let (topic, bytes) = ("bridge/v1/crowd/up/delta", crowd(self.step));
        let length = varint(2 + topic.len() + bytes.len());
        self.wire.send(&[&[0x30][..], &length, &(topic.len() as u16).to_be_bytes(), topic.as_bytes(), &bytes].concat());
        self.step += 1;
    }
}

#[test]
fn a_bridge_with_too_much_to_do_asks_for_a_pause_and_gets_everything_later() {
    let plant = plant("");
    let bridge = plant.bridge();
    let received = consume(plant.cloud_port, &["merged/+/line/#"]);
    let mut answers = Answers::of(&plant);
    let mut readings = plant.readings(0, 1);
    plant.until("drained", |told| told["ledger"]["held"] == 0);
    let (mut others, over) = (Crowd::at(plant.cloud_port), Arc::new(AtomicBool::new(false)));
    let is_over = over.clone();
    let flood = std::thread::spawn(move || {
        while !is_over.load(Ordering::SeqCst) {
            others.tell(40);
        }
    });
    std::thread::sleep(Duration::from_secs(1));
    readings += plant.readings(1, 3);
    obeys(&plant, &mut answers, 1);
    over.store(true, Ordering::SeqCst);
    flood.join().unwrap();
    assert!(status_at(bridge.http)["gateways"]["crowd"]["ledger"]["accepted"].as_u64() > Some(0));
    whole(&plant, &received, readings);
    drop(bridge);
}
