//! What a session sent lately, so that what it sends again is told (contract §3).
//!
//! A message is remembered as one hash of its readings (series, time as it was sent, value), with
//! the packet id that brought it; what came in one message with others also by itself, so that
//! some of them in another message are known too. Some eight bytes for each.
//!
//! Kept are the last [`REDELIVERY_MESSAGES_LEAST`] messages, and those of the last
//! [`REDELIVERY_MS`] up to [`messages_max`], which is more than a client has in flight. The session's own time counts,
//! which stands still while it sends nothing.

use super::kept::Kept;
use crate::limits::{
    REDELIVERY_MESSAGES_ALL, REDELIVERY_MESSAGES_LEAST, REDELIVERY_MESSAGES_MAX, REDELIVERY_MESSAGES_SHARE_LEAST, REDELIVERY_MS,
    REDELIVERY_READINGS_MAX,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;

/// The most messages that a session is remembered by, of so many sessions.
pub fn messages_max(sessions: usize) -> usize {
    (REDELIVERY_MESSAGES_ALL / sessions.max(1)).clamp(REDELIVERY_MESSAGES_SHARE_LEAST, REDELIVERY_MESSAGES_MAX)
}

/// A session's messages and readings, bounded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Redelivery {
    /// Readings that came with others in a message; in logs of the first programs all of them.
    recent: Kept,
    /// With packet id 0 what its client knows to be acknowledged.
    messages: Kept,
    /// So many of the messages came before `turn_ms`.
    old: u64,
    /// Logged clock at which the younger messages begin.
    turn_ms: i64,
}

/// A memory as snapshots have it.
#[derive(Serialize, Deserialize)]
struct Saved {
    recent: Vec<(u64, u16)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    messages: Vec<u64>,
    /// Their packet ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ids: Vec<u16>,
    #[serde(default)]
    old: u64,
    #[serde(default)]
    turn_ms: i64,
}

impl Serialize for Redelivery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { recent, messages, old, turn_ms } = self;
        let (hashes, ids) = messages.pairs().unzip();
        Saved { recent: recent.pairs().collect(), messages: hashes, ids, old: *old, turn_ms: *turn_ms }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Redelivery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Saved { recent, messages, ids, old, turn_ms } = Saved::deserialize(deserializer)?;
        Ok(Self { recent: recent.into_iter().collect(), messages: messages.into_iter().zip(ids).collect(), old, turn_ms })
    }
}

/// A message's hash, reading by reading.
#[derive(Debug, Clone, Copy, Default)]
pub struct Digest {
    hash: u64,
    first: u64,
    count: u64,
}

impl Digest {
    /// Of a whole message.
    pub fn of(readings: impl IntoIterator<Item = (u32, i64, f64)>) -> Self {
        let mut digest = Self::default();
        for (series, time_ms, value) in readings {
            digest.add(series, time_ms, value);
        }
        digest
    }

    /// The next reading; its own hash.
    fn add(&mut self, series: u32, time_ms: i64, value: f64) -> u64 {
        let one = fingerprint(series, time_ms, value);
        self.count += 1;
        if self.count == 1 {
            (self.hash, self.first) = (one, one);
        } else {
            self.hash = mix(self.hash.wrapping_add(self.count) ^ one);
        }
        one
    }
}

impl Redelivery {
    /// The next reading of a message that is to be remembered.
    pub fn reading(&mut self, digest: &mut Digest, packet_id: u16, series: u32, time_ms: i64, value: f64) {
        let one = digest.add(series, time_ms, value);
        if digest.count == 2 {
            self.keep(digest.first, packet_id);
        }
        if digest.count > 1 {
            self.keep(one, packet_id);
        }
    }

    fn keep(&mut self, one: u64, packet_id: u16) {
        if self.recent.len() >= REDELIVERY_READINGS_MAX {
            self.recent.forget(1);
        }
        self.recent.push(one, packet_id);
    }

    /// The message whose readings were given is whole; `clock_ms`: the logged clock; `max`: of [`messages_max`].
    pub fn message(&mut self, digest: &Digest, packet_id: u16, clock_ms: i64, max: usize) {
        if digest.count == 0 {
            return;
        }
        if clock_ms.saturating_sub(self.turn_ms) >= REDELIVERY_MS {
            let least = self.messages.len().saturating_sub(REDELIVERY_MESSAGES_LEAST);
            self.forget(least.min(usize::try_from(self.old).unwrap_or(usize::MAX)));
            (self.old, self.turn_ms) = (self.messages.len() as u64, clock_ms);
        }
        self.forget((self.messages.len() + 1).saturating_sub(max));
        self.messages.push(digest.hash, packet_id);
    }

    fn forget(&mut self, count: usize) {
        self.messages.forget(count);
        self.old = self.old.saturating_sub(count as u64);
    }

    /// Remembers a whole message.
    pub fn remember(&mut self, packet_id: u16, clock_ms: i64, max: usize, readings: impl IntoIterator<Item = (u32, i64, f64)>) {
        let mut digest = Digest::default();
        readings.into_iter().for_each(|(series, time_ms, value)| self.reading(&mut digest, packet_id, series, time_ms, value));
        self.message(&digest, packet_id, clock_ms, max);
    }

    /// Whether a message is known: as a whole, or each of its readings by itself. `near`: the place where it is looked
    /// for first; then the one behind it.
    pub fn knows(&self, near: &mut usize, readings: impl IntoIterator<Item = (u32, i64, f64)> + Clone) -> bool {
        if let Some(place) = self.messages.find(Digest::of(readings.clone()).hash, *near) {
            *near = place + 1;
            return true;
        }
        self.is_among(readings, || self.messages.hashes().chain(self.recent.hashes()))
    }

    /// The same, of what came under this packet id.
    pub fn knows_under(&self, packet_id: u16, readings: impl IntoIterator<Item = (u32, i64, f64)> + Clone) -> bool {
        self.is_among(readings, || self.messages.under(packet_id).chain(self.recent.under(packet_id)))
    }

    fn is_among<I: Iterator<Item = u64>>(
        &self,
        readings: impl IntoIterator<Item = (u32, i64, f64)> + Clone,
        known: impl Fn() -> I,
    ) -> bool {
        let digest = Digest::of(readings.clone());
        if known().any(|hash| hash == digest.hash) {
            return true;
        }
        let mut ones = readings.into_iter().map(|(series, time_ms, value)| fingerprint(series, time_ms, value));
        if digest.count <= 16 {
            return ones.all(|one| known().any(|hash| hash == one));
        }
        // So that a long message costs no more than its length.
        let known: HashSet<u64> = known().collect();
        ones.all(|one| known.contains(&one))
    }

    /// The packet ids of what is remembered and may still be unacknowledged for its client.
    pub fn packet_ids(&self) -> impl Iterator<Item = u16> + '_ {
        self.messages.ids().chain(self.recent.ids()).filter(|id| *id != 0)
    }

    /// The client left in order, with an answer to all that it had sent: its packet ids say
    /// nothing of what they bring next.
    pub fn settle(&mut self) {
        self.messages.clear_ids();
        self.recent.clear_ids();
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fingerprint(series: u32, time_ms: i64, value: f64) -> u64 {
    mix(mix(mix(u64::from(series).wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ time_ms as u64) ^ value.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = REDELIVERY_MESSAGES_SHARE_LEAST;

    fn single(n: i64) -> [(u32, i64, f64); 1] {
        [(1, n, 1.0)]
    }

    fn many(from: i64, count: i64) -> Vec<(u32, i64, f64)> {
        (from..from + count).map(|n| (2, n, 1.0)).collect()
    }

    #[test]
    fn all_that_can_be_in_flight_is_known_when_it_comes_again() {
        for size in [1, 60, 1_500] {
            let mut memory = Redelivery::default();
            let messages = if size == 1 { REDELIVERY_MESSAGES_MAX as i64 } else { 20 };
            for n in 0..messages {
                memory.remember(n as u16 + 1, 5, REDELIVERY_MESSAGES_MAX, many(n * size, size));
            }
            let mut near = 0;
            for n in 0..messages {
                assert!(memory.knows(&mut near, many(n * size, size)), "{n} of {size}");
                assert!(memory.knows_under(n as u16 + 1, many(n * size, size)), "{n} of {size}");
                assert!(!memory.knows_under((n as u16).wrapping_add(2), many(n * size, size)), "{n} of {size}");
            }
            assert!(!memory.knows(&mut 0, many(messages * size, size)));
        }
    }

    #[test]
    fn what_is_old_goes_down_to_the_least_and_the_bound_holds() {
        let mut memory = Redelivery::default();
        for n in 0..10_000 {
            memory.remember(1, 0, MAX, single(n));
        }
        assert_eq!(memory.messages.len(), MAX);
        assert!(!memory.knows(&mut 0, single(10_000 - MAX as i64 - 1)));
        // A day of silence is none of its own time: all is known until more of that has passed.
        memory.remember(1, 86_400_000, MAX, single(10_000));
        assert!(memory.knows(&mut 0, single(9_000)));
        memory.remember(1, 86_400_000 + REDELIVERY_MS, MAX, single(10_001));
        assert_eq!(memory.messages.len(), REDELIVERY_MESSAGES_LEAST + 1);
        for n in 10_002..20_000 {
            memory.remember(1, 86_400_000 + REDELIVERY_MS * (n - 10_000), MAX, single(n));
            assert!(memory.messages.len() <= REDELIVERY_MESSAGES_LEAST + 1);
        }
    }

    #[test]
    fn parts_of_arrays_and_other_orders_are_known_by_themselves() {
        let mut memory = Redelivery::default();
        memory.remember(7, 0, MAX, many(0, 10));
        memory.remember(8, 0, MAX, single(1));
        assert!(memory.knows(&mut 0, many(3, 4)) && memory.knows(&mut 0, many(0, 10).into_iter().rev()));
        assert!(memory.knows(&mut 0, [(2, 9, 1.0), (1, 1, 1.0)]));
        assert!(!memory.knows(&mut 0, many(5, 10)), "one of them is new");
        assert!(!memory.knows(&mut 0, [(2, 9, 1.5)]));
        memory.settle();
        assert!(memory.knows(&mut 0, many(0, 10)) && !memory.knows_under(7, many(0, 10)) && memory.packet_ids().next().is_none());
    }

    #[test]
    fn few_sessions_are_remembered_by_all_their_packet_ids_and_many_share() {
        assert_eq!([0, 1, 4, 8, 64, 500].map(messages_max), [65_535, 65_535, 65_535, 32_768, 4_096, 4_096]);
        let mut memory = Redelivery::default();
        for n in 0..30_000 {
            memory.remember(n as u16, 0, messages_max(1), single(n));
        }
        assert_eq!(memory.messages.len(), 30_000);
        memory.remember(1, 0, messages_max(16), single(30_000));
        assert_eq!(memory.messages.len(), 16_384, "others came");
        let mut near = 0;
        assert!((0..30_001).all(|n| memory.knows(&mut near, single(n)) == (n > 30_000 - 16_384)));
    }

    #[test]
    fn what_the_first_programs_kept_is_read() {
        #[derive(Serialize)]
        struct Old {
            recent: Vec<(u64, u16)>,
        }
        let old = Old { recent: (0..10).map(|n| (fingerprint(2, n, 1.0), 3)).collect() };
        let bytes = schemas::cbor::to_vec(&old);
        let memory: Redelivery = schemas::cbor::from_slice(&bytes, bytes.len()).unwrap();
        assert!(memory.knows(&mut 0, many(0, 1)) && memory.knows(&mut 0, many(2, 8)) && memory.knows_under(3, many(2, 8)));
        let bytes = schemas::cbor::to_vec(&memory);
        assert_eq!(schemas::cbor::from_slice::<Redelivery>(&bytes, bytes.len()).unwrap(), memory);
    }
}
