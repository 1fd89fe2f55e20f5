//! Ordinary messages that a `[[bridge]]` carries: the gateway's part of the fold.
//!
//! Invariants: a message waits from its record until the cloud has acknowledged its lane up to
//! it, its time to live has ended by the logged clock, or room was needed; each of the three is
//! counted. What waits is within the bound of the boot's config: beyond, the oldest bulk
//! message is given up, then the oldest normal one, then the oldest urgent one. A message from
//! the cloud comes once by its name there, and stays until the gateway's subscribers have it.

pub mod echo;
pub mod pace;

use crate::limits::{CROSS_BATCH_BYTES, CROSS_SOURCES_MAX};
use schemas::cbor;
use schemas::limits::CROSSED_MAX;
use schemas::message::{Crossed, LANES};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Time of a message that may wait for ever.
pub const NEVER_MS: i64 = i64::MAX;

/// A message that waits for the cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// As it goes.
    pub crossed: Crossed,
    /// Logged clock at which it is too old, [`NEVER_MS`] for never.
    pub expires_ms: i64,
}

impl Outgoing {
    fn bytes(&self) -> u64 {
        bytes(&self.crossed)
    }
}

/// What a message takes, with what surrounds it.
pub fn bytes(crossed: &Crossed) -> u64 {
    (crossed.topic.len() + crossed.payload.len() + 128) as u64
}

/// A message from the cloud that subscribers may lack: the record that brought it, and where it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incoming {
    /// The record.
    pub lsn: u64,
    /// The topic here.
    pub topic: String,
    /// The payload.
    #[serde(with = "cbor::bytes")]
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// The retain flag.
    pub retain: bool,
}

/// Messages under way, and what became of the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// By lane, by record.
    lanes: [BTreeMap<u64, Outgoing>; LANES],
    /// What they take.
    pub waiting_bytes: u64,
    /// When the first of them expire: time, lane, record.
    expiries: BTreeSet<(i64, u8, u64)>,
    /// Taken from clients here.
    pub taken: u64,
    /// Acknowledged by the cloud.
    pub delivered: u64,
    /// Given up for want of room.
    pub given_up: u64,
    /// Expired.
    pub expired: u64,
    /// Taken from the cloud.
    pub received: u64,
    /// The last message of each boot of the cloud, the boot that began last at the end.
    sources: VecDeque<(u64, u64)>,
    /// From the cloud, not shown yet, or shown to subscribers that may not have them yet.
    pub fresh: VecDeque<Incoming>,
    /// Of those, let go of while a subscriber might still lack them.
    #[serde(default)]
    pub unheld: u64,
}

/// What a batch may take of the room for all that wait: each lane has a place for one that is never given up.
pub fn share(bytes_max: u64) -> u64 {
    CROSS_BATCH_BYTES.min(bytes_max / LANES as u64)
}

impl Crossing {
    /// Whether nothing ever crossed.
    pub fn is_unused(&self) -> bool {
        *self == Self::default()
    }

    /// A client's message, from record `lsn`.
    pub fn take(&mut self, lsn: u64, lane: u8, message: Outgoing, bytes_max: u64) {
        let Some(place) = self.lanes.get_mut(usize::from(lane)) else { return };
        self.taken += 1;
        if message.bytes() > bytes_max {
            self.given_up += 1;
            return;
        }
        self.waiting_bytes += message.bytes();
        if message.expires_ms != NEVER_MS {
            self.expiries.insert((message.expires_ms, lane, lsn));
        }
        place.insert(lsn, message);
        while self.waiting_bytes > bytes_max {
            let Some((lane, lsn)) = (0..LANES).rev().find_map(|lane| Some((lane, self.oldest_behind_batch(lane, share(bytes_max))?)))
            else {
                return;
            };
            self.drop_one(lane as u8, lsn);
            self.given_up += 1;
        }
    }

    /// The oldest of a lane that no batch of `share` bytes can have taken along: what may be at the cloud by now is
    /// not given up. What is longer goes alone, and has no such place.
    fn oldest_behind_batch(&self, lane: usize, share: u64) -> Option<u64> {
        let mut size = 0;
        let behind = self.lanes[lane].iter().enumerate().find(|(at, (_, message))| {
            size += message.bytes();
            size > share || *at == CROSSED_MAX
        });
        behind.map(|(_, (lsn, _))| *lsn)
    }

    fn drop_one(&mut self, lane: u8, lsn: u64) {
        let Some(gone) = self.lanes.get_mut(usize::from(lane)).and_then(|l| l.remove(&lsn)) else { return };
        self.waiting_bytes -= gone.bytes();
        self.expiries.remove(&(gone.expires_ms, lane, lsn));
    }

    /// Lets go of what is too old at `clock_ms`.
    pub fn expire(&mut self, clock_ms: i64) {
        while let Some(&(at_ms, lane, lsn)) = self.expiries.first().filter(|(at, ..)| *at <= clock_ms) {
            self.expiries.remove(&(at_ms, lane, lsn));
            self.drop_one(lane, lsn);
            self.expired += 1;
        }
    }

    /// The clock by which they expire leapt ahead, and nothing waited so long.
    pub fn leapt(&mut self, by_ms: i64) {
        for (at_ms, lane, lsn) in std::mem::take(&mut self.expiries) {
            let until_ms = at_ms.saturating_add(by_ms).min(NEVER_MS - 1);
            if let Some(waiting) = self.lanes.get_mut(usize::from(lane)).and_then(|lane| lane.get_mut(&lsn)) {
                waiting.expires_ms = until_ms;
                self.expiries.insert((until_ms, lane, lsn));
            }
        }
    }

    /// When the next one is too old.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.expiries.first().map(|(at, ..)| *at)
    }

    /// The cloud has the lane's messages of a boot up to `applied`.
    pub fn acknowledged(&mut self, boot: u64, lane: u8, applied: u64) {
        let Some(waiting) = self.lanes.get(usize::from(lane)) else { return };
        let covered = waiting.iter().filter(|(_, m)| m.crossed.boot == boot && m.crossed.seq <= applied).map(|(lsn, _)| *lsn);
        for lsn in covered.collect::<Vec<_>>() {
            self.drop_one(lane, lsn);
            self.delivered += 1;
        }
    }

    /// What goes next: the first lane that has something, from its oldest on, of one boot, some
    /// `bytes_max`. One that is too old at `now_ms` holds back what is behind it until the
    /// log says so: a process that left it out, and died, would be followed by one that takes the
    /// acknowledgement of the next for its own.
    pub fn next_up(&self, now_ms: i64, bytes_max: u64) -> Option<(u8, Vec<Crossed>)> {
        (0..LANES).find_map(|lane| {
            let mut batch: Vec<Crossed> = Vec::new();
            let mut size = 0;
            for message in self.lanes[lane].values().take_while(|m| m.expires_ms > now_ms) {
                let full = size + message.bytes() > bytes_max || batch.len() == CROSSED_MAX;
                if batch.first().is_some_and(|first| full || first.boot != message.crossed.boot) {
                    break;
                }
                size += message.bytes();
                batch.push(message.crossed.clone());
            }
            (!batch.is_empty()).then_some((lane as u8, batch))
        })
    }

    /// Messages that wait.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(BTreeMap::len).sum()
    }

    /// Whether a message of the cloud, by its boot and number there, is known already.
    pub fn knows(&self, boot: u64, seq: u64) -> bool {
        self.sources.iter().any(|(b, last)| *b == boot && seq <= *last)
    }

    /// A message of the cloud; boot 0 for a broker that gives none a name.
    pub fn receive(&mut self, boot: u64, seq: u64, message: Incoming) {
        if boot != 0 {
            if self.knows(boot, seq) {
                return;
            }
            match self.sources.iter_mut().find(|(b, _)| *b == boot) {
                Some((_, last)) => *last = seq,
                None => self.sources.push_back((boot, seq)),
            }
            if self.sources.len() > CROSS_SOURCES_MAX {
                self.sources.pop_front();
            }
        }
        self.received += 1;
        self.fresh.push_back(message);
    }

    /// What was brought by records up to here is shown; so many of it subscribers may still lack.
    pub fn shown(&mut self, lsn: u64, unheld: u64) {
        self.unheld = self.unheld.saturating_add(unheld);
        while self.fresh.front().is_some_and(|m| m.lsn <= lsn) {
            self.fresh.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(boot: u64, seq: u64, bytes: usize, expires_ms: i64) -> Outgoing {
        let crossed = Crossed { boot, seq, topic: "t".into(), payload: vec![7; bytes], qos: 1, retain: false };
        Outgoing { crossed, expires_ms }
    }

    fn seqs(c: &Crossing, now_ms: i64) -> Option<(u8, Vec<u64>)> {
        c.next_up(now_ms, 1 << 18).map(|(lane, batch)| (lane, batch.iter().map(|m| m.seq).collect()))
    }

    #[test]
    fn lanes_go_by_priority_in_order_and_boot_by_boot() {
        let mut c = Crossing::default();
        for (lsn, lane, boot, seq) in [(1, 1, 9, 1), (2, 2, 9, 2), (3, 1, 9, 3), (7, 1, 4, 1), (8, 0, 4, 2)] {
            c.take(lsn, lane, message(boot, seq, 10, NEVER_MS), 1 << 20);
        }
        assert_eq!(seqs(&c, 0), Some((0, vec![2])));
        c.acknowledged(4, 0, 2);
        assert_eq!(seqs(&c, 0), Some((1, vec![1, 3])), "the older boot alone");
        c.acknowledged(9, 1, 1);
        c.acknowledged(9, 2, 1);
        assert_eq!(seqs(&c, 0), Some((1, vec![3])));
        c.acknowledged(9, 1, 99);
        assert_eq!(seqs(&c, 0), Some((1, vec![1])));
        c.acknowledged(4, 1, 1);
        c.acknowledged(9, 2, 2);
        assert_eq!((seqs(&c, 0), c.delivered, c.waiting_bytes, c.waiting()), (None, 5, 0, 0));
    }

    #[test]
    fn what_is_too_old_or_too_much_is_counted() {
        let mut c = Crossing::default();
        let long = CROSS_BATCH_BYTES / 2 + 1;
        for lsn in 1..=7u64 {
            // Room for four of them; bulk goes first, then the oldest normal one behind that on its way.
            c.take(lsn, if lsn == 3 || lsn == 5 { 2 } else { 1 }, message(1, lsn, long as usize - 129, lsn as i64 * 100), 4 * long);
        }
        assert_eq!((c.given_up, c.waiting()), (3, 4));
        assert_eq!(c.lanes.each_ref().map(|lane| lane.keys().copied().collect::<Vec<_>>()), [vec![], vec![1, 6, 7], vec![3]]);
        assert_eq!((seqs(&c, 450), c.next_expiry_ms()), (None, Some(100)));
        c.expire(450);
        assert_eq!(seqs(&c, 450), Some((1, vec![6])));
        c.expire(600);
        assert_eq!((c.expired, c.waiting(), c.next_expiry_ms(), c.waiting_bytes), (3, 1, Some(700), long));
        assert_eq!(c.taken, c.delivered + c.given_up + c.expired + c.waiting() as u64);
    }

    #[test]
    fn a_leap_of_the_clock_makes_nothing_older() {
        let mut c = Crossing::default();
        c.take(1, 0, message(1, 1, 10, 5_000), 1 << 20);
        c.take(2, 1, message(1, 2, 10, NEVER_MS), 1 << 20);
        c.leapt(1_000_000);
        c.expire(1_004_999);
        assert_eq!((c.waiting(), c.next_expiry_ms(), c.expired), (2, Some(1_005_000), 0));
        c.leapt(i64::MAX);
        c.expire(NEVER_MS - 2);
        assert_eq!(c.waiting(), 2);
        c.acknowledged(1, 0, 1);
        assert_eq!((c.waiting(), c.next_expiry_ms()), (1, None));
    }

    #[test]
    fn what_may_be_at_the_cloud_is_not_given_up() {
        let mut c = Crossing::default();
        let bytes_max = 2 * CROSS_BATCH_BYTES;
        let mut lsn = 0;
        let mut fill = |c: &mut Crossing, bytes: usize, times: u64| {
            for _ in 0..times {
                lsn += 1;
                c.take(lsn, 1, message(1, lsn, bytes, NEVER_MS), bytes_max);
            }
        };
        fill(&mut c, 1_000, 200);
        let (lane, on_its_way) = c.next_up(0, share(bytes_max)).unwrap();
        fill(&mut c, 1_000, 800);
        assert!(c.given_up > 0 && c.waiting_bytes <= bytes_max);
        let last = on_its_way.last().unwrap().seq;
        c.acknowledged(1, lane, last);
        assert_eq!((c.delivered, c.taken), (on_its_way.len() as u64, c.delivered + c.given_up + c.waiting() as u64));
        // One that is longer than all room never waits.
        let mut c = Crossing::default();
        c.take(1, 1, message(1, 1, 2 * bytes_max as usize, NEVER_MS), bytes_max);
        c.take(2, 1, message(1, 2, 10, NEVER_MS), bytes_max);
        assert_eq!((c.given_up, c.waiting(), seqs(&c, 0)), (1, 1, Some((1, vec![2]))));
    }

    #[test]
    fn the_room_holds_however_it_is_filled() {
        let (mut c, mut lsn) = (Crossing::default(), 0);
        // A long one of bulk first, then as much of each lane as there is room for in all.
        let bytes_max = 40_000;
        let lanes = [(2, 30_000, 1), (0, 300, 300), (1, 3_000, 30), (2, 9_000, 9), (0, 39_000, 1), (0, 300, 300)];
        for (lane, bytes, times) in lanes {
            for _ in 0..times {
                lsn += 1;
                c.take(lsn, lane, message(1, lsn, bytes, NEVER_MS), bytes_max);
                assert!(c.waiting_bytes <= bytes_max, "{lsn}");
            }
        }
        assert_eq!(c.taken, c.given_up + c.waiting() as u64);
    }

    #[test]
    fn a_message_of_the_cloud_comes_once_by_its_name() {
        let mut c = Crossing::default();
        let message = |lsn| Incoming { lsn, topic: "t".into(), payload: vec![], qos: 1, retain: false };
        for (lsn, boot, seq) in [(1, 5, 10), (2, 5, 10), (3, 5, 9), (4, 6, 3), (5, 0, 0), (6, 0, 0), (7, 5, 11)] {
            c.receive(boot, seq, message(lsn));
        }
        assert_eq!(c.fresh.iter().map(|m| m.lsn).collect::<Vec<_>>(), [1, 4, 5, 6, 7]);
        c.shown(4, 0);
        c.shown(5, 1);
        assert_eq!((c.fresh.len(), c.received, c.unheld), (2, 5, 1));
        for boot in 100..100 + CROSS_SOURCES_MAX as u64 {
            c.receive(boot, 1, message(boot));
        }
        assert!(!c.knows(5, 1) && c.knows(100, 1), "bounded");
    }

    #[test]
    fn it_reads_back_from_a_snapshot() {
        let mut c = Crossing::default();
        c.take(1, 1, message(1, 1, 8, 99), 1_000);
        c.receive(5, 1, Incoming { lsn: 2, topic: "t".into(), payload: vec![1, 2], qos: 1, retain: true });
        let back: Crossing = cbor::from_slice(&cbor::to_vec(&c), 10_000).unwrap();
        assert_eq!(back, c);
    }
}
