//! A link without promises: what is sent may be lost, repeated, overtaken, or come long after
//! either end has died. Whoever is connected to whom is kept apart from what is under way.

use crate::canonical::Told;
use crate::rng::Rng;
use replica::uplink::Lane;
use schemas::message::{Ack, AlertUp, Delta, Receipt};
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;

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
    pub bytes: Rc<Vec<u8>>,
    told: OnceCell<Rc<Content>>,
}

/// What a packet says.
#[derive(Debug)]
struct Content {
    /// Of an interval, or of its answer.
    number: Option<u64>,
    /// Of the interval that it follows, or that the cloud took last.
    other: u64,
    /// The rest.
    told: Told,
    /// Of an interval that believes in a boot of the cloud: that boot, and all that is left of what it
    /// says once there is another.
    believes: Option<(u64, Told)>,
}

impl Packet {
    fn new(what: &'static str, bytes: Vec<u8>) -> Self {
        Self { what, bytes: Rc::new(bytes), told: OnceCell::new() }
    }

    fn content(&self) -> &Content {
        self.told.get_or_init(|| {
            Rc::new(self.decode().unwrap_or_else(|_| Content { number: None, other: 0, told: Told::of(&[&self.bytes]), believes: None }))
        })
    }

    fn decode(&self) -> Result<Content, schemas::DecodeError> {
        let bytes = &self.bytes;
        Ok(match self.what {
            "delta" => {
                let mut delta = Delta::decode(bytes)?;
                let blocks = [std::mem::take(&mut delta.entries), std::mem::take(&mut delta.ahead)];
                let entries = blocks.map(|block| telemetry::block::decode(&block, 1 << 16));
                let believes = (delta.cloud_boot != 0).then(|| (delta.cloud_boot, Told::of(&[&"another", &delta.boot])));
                Content { number: Some(delta.number), other: delta.after, told: Told::of(&[&delta, &entries]), believes }
            }
            "ack" => {
                let mut ack = Ack::decode(bytes)?;
                let other = std::mem::take(&mut ack.last);
                Content { number: Some(ack.number), other, told: Told::of(&[&ack]), believes: None }
            }
            "alert" => Content { number: None, other: 0, told: Told::of(&[&AlertUp::decode(bytes)?]), believes: None },
            _ => Content { number: None, other: 0, told: Told::of(&[&Receipt::decode(bytes)?]), believes: None },
        })
    }
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
            push(&mut self.up, Packet::new(what, bytes));
        }
    }

    /// To the gateway's topic: whoever listens there when it arrives.
    pub fn send_down(&mut self, what: &'static str, bytes: Vec<u8>) {
        push(&mut self.down, Packet::new(what, bytes));
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

    /// Packets that only say who is there are lost.
    pub fn thin(&mut self) {
        self.up.retain(|p| p.what != "hello");
    }

    /// All ways to lose some, so that `most` are left of each lane at most; with `fewer`, all ways to lose any.
    pub fn losing(&self, most: (usize, usize), fewer: bool) -> Vec<Self> {
        let kept = |lane: usize, most: usize| {
            let wanted = lane.min(most);
            (0u32..1 << lane).filter(move |mask| {
                let count = mask.count_ones() as usize;
                count == wanted || (fewer && count < wanted)
            })
        };
        let pick = |lane: &VecDeque<Packet>, mask: u32| {
            lane.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, p)| p.clone()).collect()
        };
        let ups = kept(self.up.len(), most.0);
        ups.flat_map(|up| kept(self.down.len(), most.1).map(move |down| (up, down)))
            .map(|(up, down)| Self { up: pick(&self.up, up), down: pick(&self.down, down), ..*self })
            .collect()
    }

    /// Acks of intervals with these numbers are lost.
    pub fn drop_acks(&mut self, numbered: impl Fn(u64) -> bool) {
        self.down.retain(|p| p.content().number.is_none_or(|number| !numbered(number)));
    }

    /// Whether the interval of that number or its answer is under way.
    pub fn carries(&self, number: u64) -> bool {
        self.up.iter().chain(&self.down).any(|p| p.content().number == Some(number))
    }

    /// What is under way to a cloud of that boot, in no order; of a number, `whose` says what it names,
    /// and all that is told besides is which ones are the same. `known` are those that either side
    /// remembers.
    /// An interval that believes in an earlier boot of the cloud is turned down, whatever it says.
    pub fn tell(&self, cloud_boot: u64, mut known: Vec<u64>, whose: impl Fn(u64) -> usize) -> (Vec<&Told>, Told) {
        fn said(p: &Packet, cloud_boot: u64) -> &Told {
            match &p.content().believes {
                Some((boot, rest)) if *boot != cloud_boot => rest,
                _ => &p.content().told,
            }
        }
        let (mut packets, mut numbers) = (Vec::new(), Vec::new());
        for lane in [&self.up, &self.down] {
            let name = |number: u64| (whose(number), known.iter().position(|known| *known == number));
            let mut content: Vec<_> = lane
                .iter()
                .map(|p| (said(p, cloud_boot), p.content().number.map(name), name(p.content().other), p.content()))
                .map(|(told, number, other, content)| ((told, number, other), content))
                .collect();
            content.sort_unstable_by_key(|(told, _)| *told);
            packets.extend(content.iter().map(|((told, ..), _)| *told));
            for (_, content) in content {
                let names = [content.number.unwrap_or(0), content.other].map(|number| {
                    let place = known.iter().position(|known| *known == number).unwrap_or(known.len());
                    if place == known.len() {
                        known.push(number);
                    }
                    (whose(number), place)
                });
                numbers.push((content.number.is_some(), names));
            }
            numbers.push((false, [(0, 0); 2]));
        }
        (packets, Told::of(&[&self.state, &self.alerts, &numbers]))
    }

    /// What is under way is gone.
    pub fn clear(&mut self) {
        self.up.clear();
        self.down.clear();
    }
}

fn push(lane: &mut VecDeque<Packet>, packet: Packet) {
    if lane.len() == UNDER_WAY_MAX {
        lane.pop_front();
    }
    lane.push_back(packet);
}
