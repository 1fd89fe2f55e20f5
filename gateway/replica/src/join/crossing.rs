//! Ordinary messages between gateways and the cloud's broker: the cloud's part of the fold.
//!
//! What a gateway brings up is published once by (boot, seq) of its lane, which is in order; what
//! was published for a gateway waits until the gateway has it, is too old, or takes too much:
//! both are counted. A message never goes back to the gateway that it came from.

use super::{Bridge, Effects};
use crate::crossing::{NEVER_MS, bytes};
use crate::limits::{CROSS_DOWN_ALL_BYTES_MAX, CROSS_DOWN_BYTES_MAX};
use schemas::limits::CROSSED_MAX;
use schemas::message::{CrossAck, CrossUp, Crossed, FORMAT, LANES, Wanted};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use telemetry::source::matches;

/// A message that waits for a gateway; of one that waits for many, one copy is in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Waiting {
    crossed: Arc<Crossed>,
    /// Logged clock at which it is too old, [`NEVER_MS`] for never.
    expires_ms: i64,
}

/// Messages in order; as bytes, their list.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Vec<Waiting>")]
struct Queue {
    by_number: BTreeMap<u64, Waiting>,
    /// When each expires, but for those that never do, and its number.
    expiries: BTreeSet<(i64, u64)>,
    /// Number of the next.
    next: u64,
}

impl Serialize for Queue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.by_number.values())
    }
}

impl From<Vec<Waiting>> for Queue {
    fn from(messages: Vec<Waiting>) -> Self {
        let mut queue = Self::default();
        messages.into_iter().for_each(|message| queue.push(message));
        queue
    }
}

impl Queue {
    fn push(&mut self, message: Waiting) {
        if message.expires_ms != NEVER_MS {
            self.expiries.insert((message.expires_ms, self.next));
        }
        self.by_number.insert(self.next, message);
        self.next += 1;
    }

    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let gone = self.by_number.remove(&number)?;
        self.expiries.remove(&(gone.expires_ms, number));
        Some(gone)
    }

    /// The number of the oldest.
    fn first(&self) -> Option<u64> {
        self.by_number.keys().next().copied()
    }

    /// The number of a message by its name. Those of one boot are in the order of their names.
    fn find(&self, boot: u64, seq: u64) -> Option<u64> {
        let before = self.by_number.iter().take_while(|(_, m)| m.crossed.boot != boot || m.crossed.seq <= seq);
        before.filter(|(_, m)| (m.crossed.boot, m.crossed.seq) == (boot, seq)).map(|(number, _)| *number).last()
    }
}

/// What crosses between the cloud and one gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// What the gateway wants.
    pub wanted: Vec<Wanted>,
    /// The last message of each of its boots, by lane.
    applied: BTreeMap<u64, [u64; LANES]>,
    /// For the gateway, in order.
    queue: Queue,
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
    pub fn offer(&mut self, clock_ms: i64, message: &Arc<Crossed>) {
        let Some(ttl_ms) = self.wants(&message.topic) else { return };
        let expires_ms = if ttl_ms == 0 { NEVER_MS } else { clock_ms.saturating_add(ttl_ms) };
        self.waiting_bytes += bytes(message);
        self.queue.push(Waiting { crossed: message.clone(), expires_ms });
        self.expire(clock_ms);
        self.fit(CROSS_DOWN_BYTES_MAX);
    }

    /// Gives up the oldest until no more than so many bytes wait.
    fn fit(&mut self, bytes_max: u64) {
        while self.waiting_bytes > bytes_max
            && let Some(oldest) = self.queue.first()
        {
            self.take(oldest);
            self.given_up += 1;
        }
    }

    fn take(&mut self, number: u64) -> Option<Waiting> {
        let gone = self.queue.remove(number)?;
        self.waiting_bytes -= bytes(&gone.crossed);
        Some(gone)
    }

    /// The gateway has everything up to that message, but for what was too old to go: what is by
    /// now is counted so, be it that it went just in time.
    pub fn done(&mut self, clock_ms: i64, boot: u64, seq: u64) {
        let Some(last) = self.queue.find(boot, seq) else { return };
        while let Some(gone) = self.queue.first().filter(|number| *number <= last).and_then(|number| self.take(number)) {
            *(if gone.expires_ms > clock_ms { &mut self.down } else { &mut self.expired }) += 1;
        }
    }

    /// Lets go of what is too old at `clock_ms`.
    pub fn expire(&mut self, clock_ms: i64) {
        while let Some(&(_, number)) = self.queue.expiries.first().filter(|(at, _)| *at <= clock_ms) {
            self.take(number);
            self.expired += 1;
        }
    }

    /// When the first of them is too old.
    pub fn due_ms(&self) -> Option<i64> {
        self.queue.expiries.first().map(|(at, _)| *at)
    }

    /// What goes to the gateway next, some `bytes_max` of it.
    pub fn next_down(&self, now_ms: i64, bytes_max: u64) -> Vec<Crossed> {
        let mut batch: Vec<Crossed> = Vec::new();
        let mut size = 0;
        for message in self.queue.by_number.values().filter(|m| m.expires_ms > now_ms) {
            let more = bytes(&message.crossed);
            if !batch.is_empty() && (size + more > bytes_max || batch.len() == CROSSED_MAX) {
                break;
            }
            size += more;
            batch.push((*message.crossed).clone());
        }
        batch
    }

    /// How many wait for the gateway, what they take, and how many were too old, at `now_ms`: what the
    /// log says with the next message that comes, a person is told at once.
    pub fn standing(&self, now_ms: i64) -> (u64, u64, u64) {
        let late =
            self.queue.expiries.iter().take_while(|(at, _)| *at <= now_ms).filter_map(|(_, number)| self.queue.by_number.get(number));
        let (count, size) = late.fold((0, 0), |(count, size), m| (count + 1, size + bytes(&m.crossed)));
        (self.waiting() as u64 - count, self.waiting_bytes.saturating_sub(size), self.expired + count)
    }

    /// Messages in the queue for the gateway.
    pub fn waiting(&self) -> usize {
        self.queue.by_number.len()
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
            self.offer(Some(gateway), Crossed { boot: self.boot, seq, ..message.clone() });
        }
    }

    /// Offers a message to every gateway but the one that it came from.
    pub(super) fn offer(&mut self, from: Option<&str>, message: Crossed) {
        let (clock_ms, message) = (self.clock_ms, Arc::new(message));
        let mut all_bytes = 0;
        for (name, crossing) in &mut self.crossings {
            if from != Some(name.as_str()) && crossing.wants(&message.topic).is_some() {
                let crossing = Arc::make_mut(crossing);
                crossing.offer(clock_ms, &message);
                if crossing.waiting() > 0 && !self.laden.contains(name) {
                    self.laden.insert(name.clone());
                }
                self.crossings_due_ms = self.crossings_due_ms.min(crossing.due_ms().unwrap_or(i64::MAX));
            }
            all_bytes += crossing.waiting_bytes;
        }
        if all_bytes > CROSS_DOWN_ALL_BYTES_MAX {
            self.level();
        }
    }

    /// More waits than may: of the gateways for which most waits, the oldest is given up, down to what
    /// then waits for each of them. An eighth below the bound, so that it is not for each message.
    fn level(&mut self) {
        let mut sizes: Vec<u64> = self.crossings.values().map(|c| c.waiting_bytes).collect();
        sizes.sort_unstable();
        let mut left = CROSS_DOWN_ALL_BYTES_MAX - CROSS_DOWN_ALL_BYTES_MAX / 8;
        let mut share = u64::MAX;
        for (nth, bytes) in sizes.iter().enumerate() {
            share = left / (sizes.len() - nth) as u64;
            if *bytes > share {
                break;
            }
            left -= bytes;
        }
        for crossing in self.crossings.values_mut().filter(|c| c.waiting_bytes > share) {
            Arc::make_mut(crossing).fit(share);
        }
    }

    /// Lets go of messages for gateways that are too old.
    pub(super) fn expire_crossings(&mut self) {
        let clock_ms = self.clock_ms;
        for crossing in self.crossings.values_mut().filter(|c| c.due_ms().is_some_and(|at| at <= clock_ms)) {
            Arc::make_mut(crossing).expire(clock_ms);
        }
        self.crossings_due_ms = due_ms(&self.crossings);
    }
}

/// When the first message for a gateway is too old; never the greatest time.
pub(super) fn due_ms(crossings: &BTreeMap<String, Arc<Crossing>>) -> i64 {
    crossings.values().filter_map(|c| c.due_ms()).min().unwrap_or(i64::MAX)
}

/// Gateways that messages wait for.
pub(super) fn laden(crossings: &BTreeMap<String, Arc<Crossing>>) -> BTreeSet<String> {
    crossings.iter().filter(|(_, c)| c.waiting() > 0).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Pending;
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
            c.offer(seq as i64 * 300, &Arc::new(message(1, seq, 10)));
        }
        c.offer(1_200, &Arc::new(Crossed { topic: "other".into(), ..message(1, 5, 1) }));
        assert_eq!(c.next_down(1_299, 1 << 18).iter().map(|m| m.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(c.next_down(1_300, 1 << 18).iter().map(|m| m.seq).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(c.standing(1_300), (3, 3 * bytes(&message(1, 2, 10)), 1));
        assert_eq!(c.standing(9_000), (0, 0, 4), "whether or not anything comes any more");
        c.done(1_300, 1, 3);
        c.done(1_300, 1, 3);
        c.done(1_300, 9, 4);
        assert_eq!((c.down, c.waiting(), c.expired), (2, 1, 1), "one was too old to go");
        c.offer(9_000, &Arc::new(message(1, 6, 10)));
        assert_eq!((c.waiting(), c.expired), (1, 2));
        let mut c = wants("#", 0);
        for seq in 0..40 {
            c.offer(0, &Arc::new(message(1, seq, 1 << 20)));
        }
        assert!(c.waiting_bytes <= CROSS_DOWN_BYTES_MAX && c.given_up > 0 && c.next_down(i64::MAX - 1, 1 << 18).len() == 1);
        assert_eq!(c.given_up + c.waiting() as u64, 40);
    }

    /// As many gateways as there are: what waits for all of them together is bounded.
    #[test]
    fn what_waits_for_all_gateways_is_bounded_and_the_rest_is_given_up() {
        let mut bridge = Bridge::default();
        for n in 0..30 {
            bridge.crossings.insert(format!("p{n}"), Arc::new(wants("#", 0)));
        }
        // For one of them little waits.
        Arc::make_mut(bridge.crossings.get_mut("p7").unwrap()).wanted[0].filter = "a/+".into();
        bridge.offer(None, message(1, 0, 1_000));
        Arc::make_mut(bridge.crossings.get_mut("p7").unwrap()).wanted[0].filter = "none".into();
        for seq in 1..=12 {
            bridge.offer(None, message(1, seq, 600_000));
        }
        let all: u64 = bridge.crossings.values().map(|c| c.waiting_bytes).sum();
        assert!((CROSS_DOWN_ALL_BYTES_MAX / 2..=CROSS_DOWN_ALL_BYTES_MAX).contains(&all), "{all}");
        for (name, c) in &bridge.crossings {
            let offered = if name == "p7" { 1 } else { 13 };
            assert_eq!(c.given_up + c.waiting() as u64, offered, "{name}");
        }
        let c = &bridge.crossings["p0"];
        assert!(c.given_up > 0 && c.waiting() > 0 && bridge.crossings["p7"].waiting() == 1);
        assert_eq!(c.next_down(0, 1 << 18).first().map(|m| m.seq), Some(c.given_up), "the oldest goes first");
        let copies = bridge.crossings.values().filter_map(|c| c.queue.by_number.values().next_back()).filter(|m| m.crossed.seq == 12);
        assert!(copies.clone().count() == 29 && copies.clone().all(|m| Arc::strong_count(&m.crossed) == 29), "one copy for all");
    }

    /// Messages expire by the logged clock, whether or not another one comes.
    #[test]
    fn what_is_too_old_goes_with_the_clock_and_the_rest_reads_back() {
        use crate::record::Record;
        let mut bridge = Bridge::default();
        bridge.crossings.insert("a".into(), Arc::new(wants("#", 1_500)));
        let tick = |bridge: &mut Bridge, advance: u64| {
            let mut payload = Vec::new();
            Record::Tick.encode(advance, &mut payload);
            bridge.apply(bridge.lsn + 1, Record::Tick.kind(), &payload).unwrap();
        };
        for seq in 1..=3 {
            bridge.offer(None, message(1, seq, 10));
            tick(&mut bridge, 1_000);
        }
        assert_eq!((bridge.crossings_due_ms(), bridge.crossings["a"].waiting(), bridge.crossings["a"].expired), (3_500, 1, 2));
        let mut restored = Bridge::restore(&bridge.save(), Box::new(crate::join::store::Memory::default())).unwrap();
        for bridge in [&mut bridge, &mut restored] {
            assert_eq!(bridge.crossings_due_ms(), 3_500);
            tick(bridge, 1_000);
            assert_eq!((bridge.crossings_due_ms(), bridge.crossings["a"].waiting(), bridge.crossings["a"].expired), (i64::MAX, 0, 3));
        }
        assert_eq!(bridge.save(), restored.save());
    }

    /// A broker that does not take them, or a subscriber that is away, must not make a state that cannot be read again.
    #[test]
    fn what_brokers_have_not_taken_is_measured_and_shared_with_the_state() {
        use crate::record::Record;
        let mut bridge = Bridge::default();
        let tell = |bridge: &mut Bridge, record: Record<'_>| {
            let mut payload = Vec::new();
            record.encode(0, &mut payload);
            bridge.apply(bridge.lsn + 1, record.kind(), &payload).unwrap()
        };
        for seq in 1..=3 {
            let up = CrossUp { format: FORMAT, lane: 1, messages: vec![message(7, seq, 1_000)], given_up: 0, expired: 0 };
            assert_eq!(tell(&mut bridge, Record::CrossUp { gateway: "a", bytes: &up.encode() }).crossed.len(), 1);
        }
        let each = bytes(&message(7, 1, 1_000));
        assert!(each > 1_000);
        let state = bridge.state();
        let shared = bridge.pending.iter().filter(|(_, p)| matches!(p, Pending::Crossed(m) if Arc::strong_count(m) == 2)).count();
        assert_eq!((bridge.pending_bytes(), shared), (3 * each, 3));
        let mut restored = Bridge::restore(&state.encode(), Box::new(crate::join::store::Memory::default())).unwrap();
        for bridge in [&mut bridge, &mut restored] {
            assert_eq!(bridge.pending_bytes(), 3 * each);
            tell(bridge, Record::Cursor { lsn: 2 });
            assert_eq!(bridge.pending_bytes(), each);
            tell(bridge, Record::Cursor { lsn: 3 });
            assert_eq!(bridge.pending_bytes(), 0);
        }
    }

    /// Who looks for what is to be carried looks nowhere else.
    #[test]
    fn gateways_that_something_waits_for_are_known_without_looking_at_all() {
        let mut bridge = Bridge::default();
        for (name, filter) in [("a", "a/b"), ("b", "none")] {
            bridge.crossings.insert(name.into(), Arc::new(wants(filter, 0)));
        }
        assert!(bridge.laden.is_empty());
        bridge.offer(None, message(1, 1, 10));
        assert!(bridge.laden.iter().eq(["a"]));
        let restored = Bridge::restore(&bridge.save(), Box::new(crate::join::store::Memory::default())).unwrap();
        assert_eq!(restored.laden, bridge.laden);
    }

    #[test]
    fn a_queue_reads_as_the_list_that_earlier_programs_wrote() {
        let old = vec![crate::crossing::Outgoing { crossed: message(1, 5, 3), expires_ms: 9 }];
        let queue: Queue = schemas::cbor::from_slice(&schemas::cbor::to_vec(&old), 1_000).unwrap();
        assert_eq!(schemas::cbor::to_vec(&queue), schemas::cbor::to_vec(&old));
        assert_eq!((queue.find(1, 5), queue.find(1, 4), queue.expiries.len()), (Some(0), None, 1));
    }
}
