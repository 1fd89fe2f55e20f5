//! A bridge with too much to do asks gateways to pause: they do, and nothing is lost.

use crate::gateway::{get_at, status_at};
use crate::plant::{PATIENCE, consume};
use crate::strain::Strain;
use crate::uplink::{Plant, plant};
use crate::wire::{Seen, Wire, varint};
use broker::Version::V3;
use schemas::message::{Ack, Definition, Delta, FORMAT};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;

/// As many intervals as are under way at once at most.
const CROWD_MAX: u64 = 320;

/// What a gateway may say while it pauses: signs of life, some 30 bytes each 5 s, and pings.
const IDLE_BYTES: u64 = 400;

/// The answers to a gateway's intervals, and when they passed the bridge's broker.
struct Answers(Receiver<(Instant, Ack)>);

impl Answers {
    fn of(plant: &Plant) -> Self {
        let mut wire = Wire::clean(SocketAddr::from(([127, 0, 0, 1], plant.cloud_port)), V3, "tap");
        assert_eq!(wire.subscribe(&[("bridge/v1/plant-a/down/ack", 0)]), [0]);
        wire.wait_at_most(PATIENCE);
        let (send, answers) = channel();
        std::thread::spawn(move || {
            loop {
                match wire.try_next() {
                    Some(Seen::Packet(_, body)) => {
                        let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                        if send.send((Instant::now(), Ack::decode(&body[2 + topic..]).unwrap())).is_err() {
                            return;
                        }
                    }
                    Some(Seen::Closed) => return,
                    None => {}
                }
            }
        });
        Self(answers)
    }

    /// One that asks for a pause and came just now; without one within a time, whether others came.
    fn pause(&self, within: Duration) -> Result<(Instant, Duration), bool> {
        let (deadline, mut is_answered) = (Instant::now() + within, false);
        loop {
            let Ok((came, ack)) = self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                return Err(is_answered);
            };
            if let Some(ms) = ack.retry_after_ms.filter(|_| came.elapsed() < LOOK) {
                return Ok((came, Duration::from_millis(ms)));
            }
            is_answered = true;
        }
    }
}

/// Between two looks at the line.
const LOOK: Duration = Duration::from_millis(50);

/// Looks at a pause: from the answer on, but for what was under way, nothing goes up for so long.
/// False where too little of it is left to tell.
fn obeys(plant: &Plant, answers: &Answers, strain: &Strain, (heard, pause): (Instant, Duration)) -> bool {
    let (mut until, mut looks) = (pause, Vec::new());
    loop {
        let bytes = plant.link.bytes_up();
        looks.push((heard.elapsed(), bytes));
        // Of several answers the last one says when; one that asks for none ends it.
        for (came, ack) in answers.0.try_iter() {
            until = until.min(came.saturating_duration_since(heard) + Duration::from_millis(ack.retry_after_ms.unwrap_or(0)));
        }
        if heard.elapsed() >= until {
            break;
        }
        std::thread::sleep(LOOK);
    }
    // The gateway may have heard the first answer earlier than this, and the last one.
    let until = until.saturating_sub(strain.allows(Duration::from_millis(300)));
    looks.retain(|(at, _)| *at <= until);
    // What was under way has come in once nothing came for a while, in the first half of it at the latest.
    let is_still = |from: usize| {
        let (at, bytes) = looks[from];
        looks[from..].iter().take_while(|(_, now)| *now == bytes).any(|(now, _)| *now >= at + 4 * LOOK)
    };
    let Some(from) = (0..looks.len()).find(|from| looks[*from].0 >= pause / 2 || is_still(*from)) else { return false };
    let (began, before) = looks[from];
    let (ended, after) = looks[looks.len() - 1];
    println!("{} bytes from {began:?} to {ended:?} of a pause of {pause:?}", after - before);
    assert!(after - before < IDLE_BYTES, "{} bytes from {began:?} to {ended:?} of a pause of {pause:?}: {looks:?}", after - before);
    ended - began >= 6 * LOOK
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
        wire.wait_at_most(PATIENCE);
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
    let _apart = crate::apart::loading();
    let plant = plant("");
    let bridge = plant.bridge();
    let received = consume(plant.cloud_port, &["merged/+/line/#"]);
    let answers = Answers::of(&plant);
    let mut readings = plant.readings(0, 1);
    plant.until("drained", |told| told["ledger"]["held"] == 0);
    let (mut others, under_way) = (Crowd::at(plant.cloud_port), Arc::new(AtomicU64::new(40)));
    let wanted = under_way.clone();
    let flood = std::thread::spawn(move || {
        loop {
            match wanted.load(Ordering::SeqCst) {
                0 => return,
                under_way => others.tell(under_way),
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    for part in 0.. {
        assert!(Instant::now() < deadline, "no pause was seen whole, with {} intervals under way", under_way.load(Ordering::SeqCst));
        let strain = Strain::begin(Some(plant.dir.path()));
        // Who says something is answered; and who pauses has something more to say.
        readings += plant.readings(2 * part + 1, 2 * part + 2);
        match answers.pause(Duration::from_secs(3)) {
            Ok(pause) => {
                readings += plant.readings(2 * part + 2, 2 * part + 3);
                if plant.status()["ledger"]["held"] != 0 && obeys(&plant, &answers, &strain, pause) {
                    break;
                }
            }
            // It has so much to do that it does not come to answer.
            Err(false) => continue,
            Err(true) => {}
        }
        // It has not enough to do on this machine.
        under_way.store((2 * under_way.load(Ordering::SeqCst)).min(CROWD_MAX), Ordering::SeqCst);
    }
    under_way.store(0, Ordering::SeqCst);
    flood.join().unwrap();
    // It answers once it has worked off what the crowd left under way: far more than any plant says.
    let deadline = Instant::now() + 6 * PATIENCE;
    while get_at(bridge.http, "/api/v1/status").0 == 503 {
        assert!(Instant::now() < deadline, "the crowd is not worked off");
        std::thread::sleep(LOOK);
    }
    assert!(status_at(bridge.http)["gateways"]["crowd"]["ledger"]["accepted"].as_u64() > Some(0));
    whole(&plant, &received, readings);
    drop(bridge);
}
