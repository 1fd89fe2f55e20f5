//! All that can happen, as bytes in the log.
//!
//! The journal keeps `(lsn, kind, payload)`; a payload begins with a varint: by how many
//! milliseconds the logged clock advanced since the record before. The logged clock so
//! never goes back, and costs one byte in most records.
//!
//! | kind | record | written by |
//! |---|---|---|
//! | 1 | [`Record::Boot`] | both |
//! | 2 | [`Record::Tick`] | both |
//! | 3 | [`Record::Series`] | gateway |
//! | 4 | [`Record::Unit`] | gateway |
//! | 5 | [`Record::Message`] | gateway |
//! | 6 | [`Record::Duplicate`] | gateway |
//! | 7 | [`Record::Refused`] | gateway |
//! | 8 | [`Record::Quarantined`] | gateway |
//! | 9 | [`Record::Session`] | both |
//! | 10 | [`Record::Acked`] | gateway |
//! | 11 | [`Record::Receipt`] | gateway |
//! | 12 | [`Record::Shown`] | gateway |
//! | 13 | [`Record::Shed`] | gateway |
//! | 14 | [`Record::Told`] | gateway |
//! | 15 | [`Record::Lost`] | gateway |
//! | 16 | [`Record::Asked`] | gateway |
//! | 17 | [`Record::Commanded`] | gateway |
//! | 20 | [`Record::Offered`] | gateway |
//! | 21 | [`Record::Unnamed`] | gateway |
//! | 22 | [`Record::Crossed`] | gateway |
//! | 23 | [`Record::CrossAcked`] | gateway |
//! | 24 | [`Record::CrossReceived`] | gateway |
//! | 25 | [`Record::CrossShown`] | gateway |
//! | 26 | [`Record::Forked`] | gateway |
//! | 27 | [`Record::Away`] | gateway |
//! | 30 | [`Record::ClockSet`] | gateway |
//! | 31 | [`Record::Unheard`] | gateway |
//! | 32 | [`Record::Interval`] | cloud |
//! | 33 | [`Record::AlertUp`] | cloud |
//! | 34 | [`Record::Hello`] | cloud |
//! | 35 | [`Record::Round`] | cloud |
//! | 36 | [`Record::Cursor`] | cloud |
//! | 37 | [`Record::AskedAt`] | cloud |
//! | 38 | [`Record::CommandUp`] | cloud |
//! | 41 | [`Record::CrossUp`] | cloud |
//! | 42 | [`Record::CrossIn`] | cloud |
//! | 43 | [`Record::CrossDone`] | cloud |
//!
//! | file | subject |
//! |---|---|
//! | [`asked`] | what somebody asks for about an alarm |
//! | [`codec`] | records ↔ bytes |
//! | [`plain`] | ordinary messages that cross the link |
//! | [`readings`] | a message's readings, with its flags |
//! | [`session`] | what happens to an MQTT session |

mod asked;
mod codec;
mod plain;
mod readings;
mod session;
#[cfg(test)]
mod tests;

use detect::alarm::Request;
pub use plain::Plain;
pub use readings::{
    FLAG_AHEAD, FLAG_LEAVES, FLAG_PACKET_ID, FLAG_RECEIVED, FLAG_RELATIVE, FLAG_TIMED, FLAG_UNDATED, KIND_MESSAGE, Readings,
    put_message_head, put_reading,
};
use schemas::DecodeError;
use schemas::wire::{self, Reader};
pub use session::{LastWill, SessionEvent};
use std::collections::BTreeMap;

/// One record, borrowed from the log's bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// A process start: from here on records belong to this boot.
    Boot {
        /// Random 64-bit name of the boot (protocol §2).
        boot: u64,
        /// The boot before it in this log, with that boot's last seq.
        parent: Option<(u64, u64)>,
        /// The effective settings of the fold ([`crate::fold::FoldConfig`] as CBOR; empty at the cloud).
        config: &'a [u8],
    },
    /// Time passed; nothing else.
    Tick,
    /// The gateway took nothing for a while, which ends here: its process stood still, or its clock
    /// leapt ahead.
    Away {
        /// How much of it its clock leapt, in ms: nothing waited so long.
        leapt_ms: u64,
    },
    /// The wall clock, which was not set when the process began, now is.
    ClockSet {
        /// By how much the logged clock was behind it, in ms.
        behind_ms: i64,
    },
    /// A series gets its number.
    Series {
        /// The number, dense from 0.
        number: u32,
        /// The series' name.
        name: &'a str,
        /// Its unit, where the first reading named one.
        unit: Option<&'a str>,
    },
    /// A series that had no unit is given one.
    Unit {
        /// The series' number.
        number: u32,
        /// The unit that now owns it.
        unit: &'a str,
    },
    /// One accepted message with its readings.
    Message {
        /// [`FLAG_LEAVES`], [`FLAG_PACKET_ID`], [`FLAG_TIMED`], [`FLAG_RECEIVED`], [`FLAG_UNDATED`],
        /// [`FLAG_AHEAD`], [`FLAG_RELATIVE`].
        flags: u64,
        /// The durable session that sent it, 0 for none.
        session: u64,
        /// The packet id, 0 without [`FLAG_PACKET_ID`].
        packet_id: u16,
        /// The encoded readings; see [`Readings`].
        readings: Readings<'a>,
    },
    /// Readings that were a redelivery: acknowledged, not counted again.
    Duplicate {
        /// The session that sent them.
        session: u64,
        /// How many values.
        count: u64,
        /// The QoS 2 packet id, 0 for none.
        packet_id: u16,
    },
    /// Messages that were refused, by reason, since the last such record.
    Refused {
        /// Reason code as in [`Refusal`].
        reason: Refusal,
        /// How many messages.
        count: u64,
    },
    /// A payload that is no reading, acknowledged in MQTT 3.1.1 and kept.
    Quarantined {
        /// Why it is no reading, as it is counted.
        refusal: Refusal,
        /// The same in words.
        reason: &'a str,
        /// Its topic.
        topic: &'a str,
        /// Its bytes, cut at the quarantine's own bound.
        payload: &'a [u8],
        /// The durable session that sent it, 0 for none.
        session: u64,
        /// The QoS 2 packet id, 0 for none.
        packet_id: u16,
    },
    /// Something happened to an MQTT session.
    Session {
        /// The session's number, from 1, never used again.
        number: u64,
        /// What happened.
        event: SessionEvent<'a>,
    },
    /// The cloud's answer to intervals.
    Acked {
        /// The boot that it is about.
        boot: u64,
        /// Every record of that boot up to here is durable at the cloud.
        applied: u64,
        /// The cloud's own boot.
        cloud_boot: u64,
        /// Readings of that boot given up for good, as the cloud counts them.
        shed: u64,
        /// Readings of that boot at or below `applied`.
        readings: u64,
        /// The running hash of that boot's log at `applied`, 0 when it is not known.
        hash: u64,
    },
    /// Another speaks under the name of that boot, with another log: nothing more is told of it,
    /// and what it has beyond a record is given up.
    Forked {
        /// The boot.
        boot: u64,
        /// The last record that both are known to have.
        at: u64,
        /// Readings of that boot at or below it that may leave.
        readings: u64,
    },
    /// The cloud's receipt for an alert of the urgent lane.
    Receipt {
        /// The alert's boot.
        boot: u64,
        /// The alert's seq.
        seq: u64,
        /// The alert's ordinal.
        ordinal: u32,
    },
    /// Alerts up to this log record were shown at the gateway's own broker, and need not be again but to sessions
    /// that are behind.
    Shown {
        /// The record.
        lsn: u64,
        /// How often, since the last such record, one is kept no longer for a session that may still lack it.
        unheld: u64,
        /// Durable sessions that lack some of them, see [`Behind`].
        behind: Behind<'a>,
    },
    /// Somebody asked here for something about an alarm.
    Asked {
        /// What.
        request: Request<'a>,
    },
    /// The gateway took what was done at the cloud.
    Commanded {
        /// The encoded [`schemas::message::Command`].
        bytes: &'a [u8],
    },
    /// A client's ordinary message that a bridge carries up.
    Crossed {
        /// 0 urgent, 1 normal, 2 bulk.
        lane: u8,
        /// Logged time for which it may wait, in ms; 0 for as long as there is room.
        ttl_ms: u64,
        /// The message, its topic as the cloud's broker gets it.
        message: Plain<'a>,
        /// The durable session that sent it, 0 for none.
        session: u64,
        /// The QoS 2 packet id, 0 for none.
        packet_id: u16,
    },
    /// The cloud has the ordinary messages of a boot and lane up to here.
    CrossAcked {
        /// The boot.
        boot: u64,
        /// The lane.
        lane: u8,
        /// The last one's seq.
        applied: u64,
    },
    /// An ordinary message came from the cloud.
    CrossReceived {
        /// The cloud's boot in its name, 0 for a broker that names none.
        boot: u64,
        /// Its number there.
        seq: u64,
        /// The message, its topic as the gateway's broker gets it.
        message: Plain<'a>,
    },
    /// Those brought by records up to this one need not be shown any more at the gateway's own broker:
    /// its subscribers have them, or are not waited for any longer.
    CrossShown {
        /// The record.
        lsn: u64,
        /// Messages among them, since the last such record, that subscribers who are not waited for may still lack.
        unheld: u64,
    },
    /// The cloud accepted ordinary messages of a gateway.
    CrossUp {
        /// The gateway.
        gateway: &'a str,
        /// The encoded [`schemas::message::CrossUp`].
        bytes: &'a [u8],
    },
    /// A message was published at the cloud that a gateway wants.
    CrossIn {
        /// The message.
        message: Plain<'a>,
        /// The durable session that sent it, 0 for none.
        session: u64,
        /// The QoS 2 packet id, 0 for none.
        packet_id: u16,
    },
    /// A gateway has the ordinary messages up to that name.
    CrossDone {
        /// The gateway.
        gateway: &'a str,
        /// The cloud's boot in the name.
        boot: u64,
        /// The number.
        seq: u64,
    },
    /// Alerts that the cloud has not receipted in time.
    Unheard {
        /// How many; 0: all have been heard.
        count: u64,
        /// The one that has waited longest: its boot, seq and ordinal.
        oldest: (u64, u64, u32),
    },
    /// For want of room, all undelivered entries of a boot up to this version are given up.
    Shed {
        /// The boot.
        boot: u64,
        /// The version.
        version: u64,
    },
    /// The cloud has counted the marks of these pages.
    Told {
        /// The boot that they are about.
        boot: u64,
        /// The cloud's own boot.
        cloud_boot: u64,
        /// The pages' numbers, each as a varint.
        pages: Numbers<'a>,
    },
    /// A page of what is held for the cloud, entries, marks or alerts, cannot be read any more.
    Lost {
        /// Its number.
        page: u64,
    },
    /// From here on, what was born up to there may go to the cloud: what was born later cannot
    /// have, whatever becomes of this process.
    Offered {
        /// The boot.
        boot: u64,
        /// The birth.
        born: u64,
    },
    /// For want of room, marks that were never offered lose their names: their readings are
    /// counted lost, all together.
    Unnamed {
        /// The boot.
        boot: u64,
        /// Those of pages born up to here.
        born: u64,
    },
    /// The cloud accepted an interval.
    Interval {
        /// The gateway that sent it.
        gateway: &'a str,
        /// The encoded [`schemas::message::Delta`].
        bytes: &'a [u8],
    },
    /// The cloud accepted an alert from the urgent lane.
    AlertUp {
        /// The gateway that sent it.
        gateway: &'a str,
        /// The encoded [`schemas::message::AlertUp`].
        bytes: &'a [u8],
    },
    /// A gateway introduced itself.
    Hello {
        /// The gateway.
        gateway: &'a str,
        /// The encoded [`schemas::message::Hello`].
        bytes: &'a [u8],
    },
    /// Somebody asked at the cloud for something about an alarm of a gateway.
    AskedAt {
        /// The gateway.
        gateway: &'a str,
        /// What.
        request: Request<'a>,
    },
    /// What a gateway said at once about alarms.
    CommandUp {
        /// The gateway that sent it.
        gateway: &'a str,
        /// The encoded [`schemas::message::CommandUp`].
        bytes: &'a [u8],
    },
    /// The cloud publishes what has changed.
    Round,
    /// Messages made by records up to this one were taken by the broker.
    Cursor {
        /// The record.
        lsn: u64,
    },
}

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// The payload is no reading.
    Payload = 0,
    /// The topic makes no valid series name.
    Series = 1,
    /// The limit of series is reached.
    Quota = 2,
    /// The log has no room.
    Room = 3,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Refusal; 4] = [Self::Payload, Self::Series, Self::Quota, Self::Room];

    /// The name in the ledger's `refused` object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::Series => "series",
            Self::Quota => "quota",
            Self::Room => "room",
        }
    }
}

impl Record<'_> {
    /// The kind byte under which the journal keeps it.
    pub const fn kind(&self) -> u8 {
        match self {
            Record::Boot { .. } => 1,
            Record::Tick => 2,
            Record::Away { .. } => 27,
            Record::Series { .. } => 3,
            Record::Unit { .. } => 4,
            Record::Message { .. } => KIND_MESSAGE,
            Record::Duplicate { .. } => 6,
            Record::Refused { .. } => 7,
            Record::Quarantined { .. } => 8,
            Record::Session { .. } => 9,
            Record::Acked { .. } => 10,
            Record::Receipt { .. } => 11,
            Record::Shown { .. } => 12,
            Record::Shed { .. } => 13,
            Record::Told { .. } => 14,
            Record::Lost { .. } => 15,
            Record::Asked { .. } => 16,
            Record::Commanded { .. } => 17,
            Record::Offered { .. } => 20,
            Record::Unnamed { .. } => 21,
            Record::Forked { .. } => 26,
            Record::Crossed { .. } => 22,
            Record::CrossAcked { .. } => 23,
            Record::CrossReceived { .. } => 24,
            Record::CrossShown { .. } => 25,
            Record::CrossUp { .. } => 41,
            Record::CrossIn { .. } => 42,
            Record::CrossDone { .. } => 43,
            Record::ClockSet { .. } => 30,
            Record::Unheard { .. } => 31,
            Record::Interval { .. } => 32,
            Record::AlertUp { .. } => 33,
            Record::Hello { .. } => 34,
            Record::Round => 35,
            Record::Cursor { .. } => 36,
            Record::AskedAt { .. } => 37,
            Record::CommandUp { .. } => 38,
        }
    }
}

/// Durable sessions, each with the record up to which it has all alerts: of these the distance to that of
/// [`Record::Shown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behind<'a> {
    /// Number and distance, one after the other.
    pub numbers: Numbers<'a>,
}

impl Behind<'_> {
    /// As bytes.
    pub fn encode(lsn: u64, sessions: &BTreeMap<u64, u64>) -> Vec<u8> {
        let numbers: Vec<u64> = sessions.iter().flat_map(|(session, has)| [*session, lsn.saturating_sub(*has)]).collect();
        Numbers::encode(&numbers)
    }

    /// By number, up to which record each has them.
    ///
    /// # Errors
    /// The decoder's.
    pub fn sessions(&self, lsn: u64) -> Result<BTreeMap<u64, u64>, DecodeError> {
        let numbers = self.numbers.list()?;
        Ok(numbers.chunks_exact(2).map(|pair| (pair[0], lsn.saturating_sub(pair[1]))).collect())
    }
}

/// Numbers, each as a varint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers<'a> {
    /// One after the other.
    pub bytes: &'a [u8],
}

impl Numbers<'_> {
    /// As bytes.
    pub fn encode(numbers: &[u64]) -> Vec<u8> {
        let mut out = Vec::with_capacity(numbers.len() * 3);
        numbers.iter().for_each(|n| wire::put_varint(&mut out, *n));
        out
    }

    /// The numbers.
    ///
    /// # Errors
    /// The decoder's.
    pub fn list(&self) -> Result<Vec<u64>, DecodeError> {
        let (mut r, mut out) = (Reader::new(self.bytes), Vec::new());
        while !r.is_empty() {
            out.push(r.varint()?);
        }
        Ok(out)
    }
}
