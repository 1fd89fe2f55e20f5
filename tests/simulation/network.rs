//! A link without promises: what is sent may be lost, repeated, overtaken, or come long after
//! either end has died. Whoever is connected to whom is kept apart from what is under way.

use crate::rng::Rng;
use replica::uplink::Lane;
use schemas::message::{Ack, Delta};
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// More than this under way, and the oldest is lost.
const UNDER_WAY_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The gateway has no connection.
    Down,
    /// It has one that works.
    Up,
    /// It believes to have one; what is sent vanishes.
    Stalled,
}

#[derive(Debug, Clone)]
pub struct Packet {
    pub what: &'static str,
    pub bytes: Vec<u8>,
}

/// How bad a link is, in percent of what is under way.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub lost: u64,
    pub repeated: u64,
    pub overtaken: u64,
    /// Of the times at which something could move, those at which nothing does.
    pub slow: u64,
}

impl Weather {
    pub const CALM: Self = Self { lost: 0, repeated: 0, overtaken: 0, slow: 0 };
}

#[derive(Debug, Clone)]
pub struct Link {
    /// Of the connection for intervals.
    pub state: State,
    /// Of that for alerts.
    pub alerts: State,
    up: VecDeque<Packet>,
    down: VecDeque<Packet>,
}

impl Link {
    pub fn new() -> Self {
        Self { state: State::Down, alerts: State::Down, up: VecDeque::new(), down: VecDeque::new() }
    }

    pub fn lane(&mut self, lane: Lane) -> &mut State {
        match lane {
            Lane::Intervals => &mut self.state,
            Lane::Alerts => &mut self.alerts,
        }
    }

    pub fn send_up(&mut self, lane: Lane, what: &'static str, bytes: Vec<u8>) {
        if *self.lane(lane) == State::Up {
            push(&mut self.up, Packet { what, bytes });
        }
    }

    /// To the gateway's topic: whoever listens there when it arrives.
    pub fn send_down(&mut self, what: &'static str, bytes: Vec<u8>) {
        push(&mut self.down, Packet { what, bytes });
    }

    pub fn under_way(&self) -> usize {
        self.up.len() + self.down.len()
    }

    pub fn under_way_up(&self) -> usize {
        self.up.len()
    }

    /// One thing happens to one packet: what arrives, and whether it went up.
    pub fn step(&mut self, weather: Weather, rng: &mut Rng) -> Option<(bool, Packet)> {
        let total = self.under_way();
        if total == 0 {
            return None;
        }
        if weather.slow > 0 && rng.percent(weather.slow) {
            return None;
        }
        let goes_up = rng.index(total) < self.up.len();
        let lane = if goes_up { &mut self.up } else { &mut self.down };
        let index = if rng.percent(weather.overtaken) { rng.index(lane.len()) } else { 0 };
        if rng.percent(weather.lost) {
            lane.remove(index);
            return None;
        }
        let packet = if rng.percent(weather.repeated) { lane.get(index).cloned() } else { lane.remove(index) }?;
        Some((goes_up, packet))
    }

    /// The packet at `index` of those under way arrives; `kept`: it will arrive once more.
    pub fn deliver(&mut self, index: usize, kept: bool) -> Option<(bool, Packet)> {
        let goes_up = index < self.up.len();
        let (lane, at) = if goes_up { (&mut self.up, index) } else { (&mut self.down, index - self.up.len()) };
        let packet = if kept { lane.get(at).cloned() } else { lane.remove(at) }?;
        Some((goes_up, packet))
    }

    /// Packets that only say who is there are lost, and all but the newest `most` of each lane.
    pub fn thin(&mut self, most: (usize, usize)) {
        for (lane, most) in [(&mut self.up, most.0), (&mut self.down, most.1)] {
            lane.retain(|p| p.what != "hello");
            lane.drain(..lane.len().saturating_sub(most));
        }
    }

    /// What is under way, in no order.
    pub fn digest(&self, hasher: &mut impl Hasher, place: &dyn Fn(u64) -> Option<usize>) {
        for lane in [&self.up, &self.down] {
            let mut packets: Vec<_> = lane.iter().map(|p| unnumbered(p, place)).collect();
            packets.sort_unstable();
            packets.hash(hasher);
        }
        (self.state as u8, self.alerts as u8).hash(hasher);
    }

    /// What is under way is gone.
    pub fn clear(&mut self) {
        self.up.clear();
        self.down.clear();
    }
}

/// A packet with its number apart: as its place among the intervals under way.
fn unnumbered(packet: &Packet, place: &dyn Fn(u64) -> Option<usize>) -> (&'static str, Option<usize>, Vec<u8>) {
    match packet.what {
        "delta" => {
            if let Ok(delta) = Delta::decode(&packet.bytes) {
                return ("delta", place(delta.number), Delta { number: 0, ..delta }.encode());
            }
        }
        "ack" => {
            if let Ok(ack) = Ack::decode(&packet.bytes) {
                return ("ack", place(ack.number), Ack { number: 0, ..ack }.encode());
            }
        }
        _ => {}
    }
    (packet.what, None, packet.bytes.clone())
}

fn push(lane: &mut VecDeque<Packet>, packet: Packet) {
    if lane.len() == UNDER_WAY_MAX {
        lane.pop_front();
    }
    lane.push_back(packet);
}
