//! A bridge with too much to do asks gateways to pause: they do, and nothing is lost.

use crate::foreign;
use crate::gateway::{get_at, status_at};
use crate::plant::{PATIENCE, consume};
use crate::uplink::{Plant, plant, plant_at};
use crate::wire::{Connect, Seen, Wire, varint};
use broker::Version::V3;
use schemas::message::{Ack, Definition, Delta, FORMAT};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;

/// As many intervals as are under way at once at most.
const CROWD_MAX: u64 = 1_280;

/// What a gateway may say while it pauses: signs of life, some 30 bytes each 5 s, and pings.
const IDLE_BYTES: u64 = 400;

/// Between two looks at the line.
const LOOK: Duration = Duration::from_millis(50);

/// What the bridge last answered a gateway that has nothing more to say.
fn last(tap: &mut Wire, mut ack: Option<Ack>) -> Option<Ack> {
    while let Some(Seen::Packet(0x30, body)) = tap.try_next_within(Duration::from_secs(1)) {
        ack = Some(answer(&body));
    }
    ack
}

/// The answer in a message's body.
fn answer(body: &[u8]) -> Ack {
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    Ack::decode(&body[2 + topic..]).unwrap()
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

/// Another gateway, which keeps so many intervals under way as no gateway does, and does not pause.
struct Crowd {
    wire: Wire,
    step: u64,
    answered: u64,
    is_asked: bool,
}

impl Crowd {
    fn at(port: u16) -> Self {
        let mut wire = Wire::clean(SocketAddr::from(([127, 0, 0, 1], port)), V3, "crowd");
        assert_eq!(wire.subscribe(&[("bridge/v1/crowd/down/ack", 0)]), [0]);
        wire.wait_at_most(PATIENCE);
        Self { wire, step: 0, answered: 0, is_asked: false }
    }

    /// Sends one more once fewer than so many are under way.
    fn tell(&mut self, under_way: u64) {
        while self.step >= self.answered + under_way {
            match self.wire.next() {
                Seen::Packet(_, body) => self.is_asked |= answer(&body).retry_after_ms.is_some(),
                Seen::Closed => panic!("the bridge let go of the crowd"),
            }
            self.answered += 1;
        }
        self.wire.send(&message("bridge/v1/crowd/up/delta", &crowd(self.step)));
        self.step += 1;
    }
}

/// A message of QoS 0.
fn message(topic: &str, payload: &[u8]) -> Vec<u8> {
    let length = varint(2 + topic.len() + payload.len());
    [&[0x30][..], &length, &(topic.len() as u16).to_be_bytes(), topic.as_bytes(), payload].concat()
}

#[test]
fn a_bridge_with_too_much_to_do_asks_for_a_pause_and_gets_everything_later() {
    let _apart = crate::apart::loading();
    let plant = plant("");
    let bridge = plant.bridge();
    let received = consume(plant.cloud_port, &["merged/+/line/#"]);
    let mut readings = plant.readings(0, 1);
    plant.until("drained", |told| told["ledger"]["held"] == 0);
    let mut others = Crowd::at(plant.cloud_port);
    let deadline = Instant::now() + PATIENCE;
    let mut under_way = 20;
    while !others.is_asked {
        // As many as this machine does not get done in a second.
        under_way = (2 * under_way).min(CROWD_MAX);
        for _ in 0..under_way {
            assert!(Instant::now() < deadline, "nobody is asked to pause, with {under_way} intervals under way");
            others.tell(under_way);
        }
    }
    readings += plant.readings(1, 3);
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

/// The answer that asks is the bridge's last one, said again at a broker that lets anybody: a
/// gateway cannot tell.
#[test]
fn a_gateway_that_is_asked_to_pause_says_next_to_nothing_for_so_long() {
    let _apart = crate::apart::measuring();
    let plant = plant_at(foreign::rumqttd());
    let bridge = plant.bridge();
    let received = consume(plant.cloud_port, &["merged/+/line/#"]);
    let at = SocketAddr::from(([127, 0, 0, 1], plant.cloud_port));
    let (mut tap, _) = Wire::with(at, &Connect { id: "tap", keep_alive_s: 600, ..Connect::of(V3) });
    let topic = "bridge/v1/plant-a/down/ack";
    assert_eq!(tap.subscribe(&[(topic, 0)]), [0]);
    let (mut readings, mut ack) = (plant.readings(0, 1), None);
    for (part, pause) in (1..).zip([8, 16, 32, 64].map(Duration::from_secs)) {
        plant.until("drained", |told| told["ledger"]["held"] == 0);
        ack = last(&mut tap, ack);
        let (asked, down) = (Instant::now(), plant.link.bytes_down());
        let asks = Ack { retry_after_ms: Some(pause.as_millis() as u64), ..ack.clone().unwrap() }.encode();
        tap.send(&message(topic, &asks));
        while plant.link.bytes_down() < down + asks.len() as u64 {
            assert!(asked.elapsed() < PATIENCE, "what asks never came");
            std::thread::sleep(LOOK);
        }
        std::thread::sleep(Duration::from_millis(500));
        let before = plant.link.bytes_up();
        readings += plant.readings(part, part + 1);
        // What the gateway is asked for begins after this moment.
        if asked.elapsed() + Duration::from_secs(4) > pause {
            continue;
        }
        let mut said = 0;
        loop {
            let bytes = plant.link.bytes_up() - before;
            // Held up itself, it looks too late.
            if asked.elapsed() >= pause {
                break;
            }
            said = bytes;
            std::thread::sleep(LOOK);
        }
        assert!(said <= IDLE_BYTES, "{said} bytes in a pause of {pause:?}");
        whole(&plant, &received, readings);
        drop(bridge);
        return;
    }
    panic!("no pause was long enough for this machine");
}
