//! Ordinary messages between gateways and the cloud's broker: the cloud's part of the fold.
//!
//! What a gateway brings up is published once by (boot, seq) of its lane, which is in order; what
//! was published for a gateway waits until the gateway has it, is too old, or takes too much:
//! both are counted. A message never goes back to the gateway that it came from.

use super::{Bridge, Effects};
use crate::crossing::{NEVER_MS, Outgoing, bytes};
use crate::limits::CROSS_DOWN_BYTES_MAX;
use schemas::limits::CROSSED_MAX;
use schemas::message::{CrossAck, CrossUp, Crossed, FORMAT, LANES, Wanted};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use telemetry::source::matches;

/// What crosses between the cloud and one gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// What the gateway wants.
    pub wanted: Vec<Wanted>,
    /// The last message of each of its boots, by lane.
    applied: BTreeMap<u64, [u64; LANES]>,
    /// For the gateway, in order.
    queue: VecDeque<Outgoing>,
    /// What they take.
    pub waiting_bytes: u64,
    /// Messages of the gateway that were taken.
    pub up: u64,
    /// Messages that the gateway has taken.
    pub down: u64,
    /// Messages for the gateway given up for want of room.
    pub given_up: u64,
    /// Messages for the gateway that were too old.
    pub expired: u64,
    /// What the gateway itself gave up, and what was too old there, as it said last.
    pub lost_there: (u64, u64),
}

impl Crossing {
    /// The last message of a boot and lane that is durable.
    pub fn applied(&self, boot: u64, lane: u8) -> u64 {
        self.applied.get(&boot).and_then(|lanes| lanes.get(usize::from(lane))).copied().unwrap_or(0)
    }

    /// The messages of a batch that are new, from here on known.
    pub fn fresh(&mut self, lane: u8, messages: Vec<Crossed>) -> Vec<Crossed> {
        let Some(last) = messages.last().map(|m| (m.boot, m.seq)) else { return messages };
        let known = self.applied(last.0, lane);
        if let Some(applied) = self.applied.entry(last.0).or_default().get_mut(usize::from(lane)) {
            *applied = known.max(last.1);
        }
        let fresh: Vec<Crossed> = messages.into_iter().filter(|m| m.seq > known).collect();
        self.up += fresh.len() as u64;
        fresh
    }

    /// How long a message on `topic` may wait for the gateway, if it wants that.
    fn wants(&self, topic: &str) -> Option<i64> {
        self.wanted.iter().find(|w| matches(&w.filter, topic)).map(|w| w.ttl_ms)
    }

    /// A message was published at the cloud; it waits for the gateway if that wants it.
    pub fn offer(&mut self, clock_ms: i64, message: &Crossed) {
        let Some(ttl_ms) = self.wants(&message.topic) else { return };
        let expires_ms = if ttl_ms == 0 { NEVER_MS } else { clock_ms.saturating_add(ttl_ms) };
        self.waiting_bytes += bytes(message);
        self.queue.push_back(Outgoing { crossed: message.clone(), expires_ms });
        self.expire(clock_ms);
        while self.waiting_bytes > CROSS_DOWN_BYTES_MAX {
            let Some(gone) = self.queue.pop_front() else { return };
            self.waiting_bytes -= bytes(&gone.crossed);
            self.given_up += 1;
        }
    }

    /// The gateway has everything up to that message, but for what was too old to go: what is by
    /// now is counted so, be it that it went just in time.
    pub fn done(&mut self, clock_ms: i64, boot: u64, seq: u64) {
        let Some(at) = self.queue.iter().position(|m| (m.crossed.boot, m.crossed.seq) == (boot, seq)) else { return };
        for gone in self.queue.drain(..=at) {
            self.waiting_bytes -= bytes(&gone.crossed);
            *(if gone.expires_ms > clock_ms { &mut self.down } else { &mut self.expired }) += 1;
        }
    }

    fn expire(&mut self, clock_ms: i64) {
        let (waiting, expired) = (&mut self.waiting_bytes, &mut self.expired);
        self.queue.retain(|m| {
            let stays = m.expires_ms > clock_ms;
            if !stays {
                *waiting -= bytes(&m.crossed);
                *expired += 1;
            }
            stays
        });
    }

    /// What goes to the gateway next, some `bytes_max` of it.
    pub fn next_down(&self, now_ms: i64, bytes_max: u64) -> Vec<Crossed> {
        let mut batch: Vec<Crossed> = Vec::new();
        let mut size = 0;
        for message in self.queue.iter().filter(|m| m.expires_ms > now_ms) {
            let more = bytes(&message.crossed);
            if !batch.is_empty() && (size + more > bytes_max || batch.len() == CROSSED_MAX) {
                break;
            }
            size += more;
            batch.push(message.crossed.clone());
        }
        batch
    }

    /// How many wait for the gateway, what they take, and how many were too old, at `now_ms`: what the
    /// log says with the next message that comes, a person is told at once.
    pub fn standing(&self, now_ms: i64) -> (u64, u64, u64) {
        let late = self.queue.iter().filter(|m| m.expires_ms <= now_ms);
        let (count, size) = late.fold((0, 0), |(count, size), m| (count + 1, size + bytes(&m.crossed)));
        (self.queue.len() as u64 - count, self.waiting_bytes.saturating_sub(size), self.expired + count)
    }

    /// Messages in the queue for the gateway.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl Bridge {
    /// Ordinary messages of a gateway: published once, and offered to the other gateways.
    pub(super) fn crossed(&mut self, gateway: &str, up: CrossUp, effects: &mut Effects) {
        let Some((boot, last)) = up.messages.last().map(|m| (m.boot, m.seq)) else { return };
        if !self.has_room(gateway, boot) || !self.open(gateway, boot) {
            self.spoilt += 1;
            return;
        }
        let crossing = Arc::make_mut(self.crossings.entry(gateway.to_owned()).or_default());
        crossing.lost_there = (up.given_up, up.expired);
        effects.crossed = crossing.fresh(up.lane, up.messages);
        let applied = crossing.applied(boot, up.lane).max(last);
        effects.cross_ack = Some((gateway.to_owned(), CrossAck { format: FORMAT, boot, lane: up.lane, applied }));
        effects.gateway = Some(gateway.to_owned());
        for (nth, message) in effects.crossed.iter().enumerate() {
            // A name of its own at the cloud: the record, and which of its messages.
            let seq = self.lsn.saturating_mul(CROSSED_MAX as u64).saturating_add(nth as u64);
            self.offer(Some(gateway), &Crossed { boot: self.boot, seq, ..message.clone() });
        }
    }

    /// Offers a message to every gateway but the one that it came from.
    pub(super) fn offer(&mut self, from: Option<&str>, message: &Crossed) {
        let clock_ms = self.clock_ms;
        for (_, crossing) in self.crossings.iter_mut().filter(|(name, _)| from != Some(name.as_str())) {
            Arc::make_mut(crossing).offer(clock_ms, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(boot: u64, seq: u64, bytes: usize) -> Crossed {
        Crossed { boot, seq, topic: "a/b".into(), payload: vec![0; bytes], qos: 1, retain: false }
    }

    fn wants(filter: &str, ttl_ms: i64) -> Crossing {
        Crossing { wanted: vec![Wanted { filter: filter.into(), ttl_ms }], ..Crossing::default() }
    }

    #[test]
    fn a_message_of_a_gateway_is_new_once_in_its_lane() {
        let mut c = Crossing::default();
        let fresh = |c: &mut Crossing, lane, seqs: &[u64]| {
            c.fresh(lane, seqs.iter().map(|s| message(7, *s, 1)).collect()).iter().map(|m| m.seq).collect::<Vec<_>>()
        };
        assert_eq!(fresh(&mut c, 1, &[2, 5]), [2, 5]);
        assert_eq!(fresh(&mut c, 1, &[2, 5, 9]), [9]);
        assert!(fresh(&mut c, 1, &[5]).is_empty());
        assert_eq!(fresh(&mut c, 0, &[1]), [1], "another lane");
        assert_eq!((c.applied(7, 1), c.applied(7, 0), c.applied(8, 1), c.up), (9, 1, 0, 4));
    }

    #[test]
    fn what_a_gateway_wants_waits_for_it_within_bounds() {
        let mut c = wants("a/b", 1_000);
        for seq in 1..=4 {
            c.offer(seq as i64 * 300, &message(1, seq, 10));
        }
        c.offer(1_200, &Crossed { topic: "other".into(), ..message(1, 5, 1) });
        assert_eq!(c.next_down(1_299, 1 << 18).iter().map(|m| m.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(c.next_down(1_300, 1 << 18).iter().map(|m| m.seq).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(c.standing(1_300), (3, 3 * bytes(&message(1, 2, 10)), 1));
        assert_eq!(c.standing(9_000), (0, 0, 4), "whether or not anything comes any more");
        c.done(1_300, 1, 3);
        c.done(1_300, 1, 3);
        c.done(1_300, 9, 4);
        assert_eq!((c.down, c.waiting(), c.expired), (2, 1, 1), "one was too old to go");
        c.offer(9_000, &message(1, 6, 10));
        assert_eq!((c.waiting(), c.expired), (1, 2));
        let mut c = wants("#", 0);
        for seq in 0..40 {
            c.offer(0, &message(1, seq, 1 << 20));
        }
        assert!(c.waiting_bytes <= CROSS_DOWN_BYTES_MAX && c.given_up > 0 && c.next_down(i64::MAX - 1, 1 << 18).len() == 1);
        assert_eq!(c.given_up + c.waiting() as u64, 40);
    }
}
