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
//! | 22 | [`Record::Crossed`] | gateway |
//! | 23 | [`Record::CrossAcked`] | gateway |
//! | 24 | [`Record::CrossReceived`] | gateway |
//! | 25 | [`Record::CrossShown`] | gateway |
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

mod asked;

use crate::error::Error;
use crate::limits::{BLOB_BYTES_MAX, TEXT_BYTES_MAX};
use detect::alarm::Request;
use schemas::DecodeError;
use schemas::wire::{self, Reader};

/// A message's readings may leave the site; without this flag they stay (`local`).
pub const FLAG_LEAVES: u64 = 1;
/// The message carries an MQTT packet id: without [`FLAG_TIMED`] one of QoS 2, which the session
/// has now received.
pub const FLAG_PACKET_ID: u64 = 2;
/// A message whose readings carry a time of their own, so that a redelivery of them can be told:
/// the session remembers them, with the packet id.
pub const FLAG_TIMED: u64 = 4;
/// Beside [`FLAG_TIMED`]: the message came at QoS 2, the session has received its packet id.
pub const FLAG_RECEIVED: u64 = 8;

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
        /// [`FLAG_LEAVES`], [`FLAG_PACKET_ID`], [`FLAG_TIMED`], [`FLAG_RECEIVED`].
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
        /// Why it is no reading.
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
    /// Alerts up to this log record were shown at the gateway's own broker.
    Shown {
        /// The record.
        lsn: u64,
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
    /// Those brought by records up to this one were shown at the gateway's own broker.
    CrossShown {
        /// The record.
        lsn: u64,
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
    /// A page of what is held cannot be read any more.
    Lost {
        /// Its number.
        page: u64,
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

/// An ordinary message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// 0 to 2.
    pub qos: u8,
    /// The retain flag.
    pub retain: bool,
}

impl<'a> Plain<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.qos << 1 | u8::from(self.retain));
        wire::put_str(out, self.topic);
        wire::put_bytes(out, self.payload);
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let flags = r.u8()?;
        if flags > 5 {
            return Err(DecodeError::Invalid("message flags"));
        }
        Ok(Self { topic: r.str(TEXT_BYTES_MAX)?, payload: r.bytes(BLOB_BYTES_MAX)?, qos: flags >> 1, retain: flags & 1 == 1 })
    }
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

/// What happened to an MQTT session (MQTT 5, 4.1 Session State).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent<'a> {
    /// A new durable session.
    Opened {
        /// The client identifier.
        client_id: &'a str,
        /// Session expiry interval in seconds, `u32::MAX` for never.
        expiry_s: u32,
        /// 4 for MQTT 3.1.1, 5 for MQTT 5.
        version: u8,
    },
    /// Its client came back.
    Resumed {
        /// The expiry it now asks for.
        expiry_s: u32,
    },
    /// Its client is gone; the expiry runs from here.
    Disconnected {
        /// The expiry that holds from now on.
        expiry_s: u32,
    },
    /// It is over: expired, or replaced by a clean start.
    Ended,
    /// A subscription.
    Subscribed {
        /// The topic filter.
        filter: &'a str,
        /// Subscription options byte (MQTT 5, 3.8.3.1).
        options: u8,
        /// Subscription identifier.
        identifier: Option<u32>,
    },
    /// No longer subscribed.
    Unsubscribed {
        /// The topic filter.
        filter: &'a str,
    },
    /// A QoS 2 PUBLISH of an ordinary topic was received.
    Qos2Received {
        /// Its packet id.
        packet_id: u16,
    },
    /// Its PUBREL came: the id is free again.
    Qos2Released {
        /// The packet id.
        packet_id: u16,
    },
}

impl<'a> Record<'a> {
    /// The kind byte under which the journal keeps it.
    pub fn kind(&self) -> u8 {
        match self {
            Record::Boot { .. } => 1,
            Record::Tick => 2,
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
            Record::Crossed { .. } => 22,
            Record::CrossAcked { .. } => 23,
            Record::CrossReceived { .. } => 24,
            Record::CrossShown { .. } => 25,
            Record::CrossUp { .. } => 41,
            Record::CrossIn { .. } => 42,
            Record::CrossDone { .. } => 43,
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

    /// Appends the payload: `advance_ms` of the logged clock, then the fields.
    pub fn encode(&self, advance_ms: u64, out: &mut Vec<u8>) {
        wire::put_varint(out, advance_ms);
        match self {
            Record::Tick | Record::Round => {}
            Record::Boot { boot, parent, config } => {
                wire::put_u64(out, *boot);
                match parent {
                    None => wire::put_varint(out, 0),
                    Some((parent, end)) => {
                        wire::put_varint(out, 1);
                        wire::put_u64(out, *parent);
                        wire::put_varint(out, *end);
                    }
                }
                wire::put_bytes(out, config);
            }
            Record::Series { number, name, unit } => {
                wire::put_varint(out, u64::from(*number));
                wire::put_str(out, name);
                put_option_str(out, *unit);
            }
            Record::Unit { number, unit } => {
                wire::put_varint(out, u64::from(*number));
                wire::put_str(out, unit);
            }
            Record::Message { flags, session, packet_id, readings } => {
                put_message_head(out, *flags, *session, *packet_id);
                out.extend_from_slice(readings.bytes);
            }
            Record::Duplicate { session, count, packet_id } => {
                wire::put_varint(out, *session);
                wire::put_varint(out, *count);
                wire::put_varint(out, u64::from(*packet_id));
            }
            Record::Refused { reason, count } => {
                out.push(*reason as u8);
                wire::put_varint(out, *count);
            }
            Record::Quarantined { reason, topic, payload, session, packet_id } => {
                wire::put_str(out, reason);
                wire::put_str(out, topic);
                wire::put_bytes(out, payload);
                wire::put_varint(out, *session);
                wire::put_varint(out, u64::from(*packet_id));
            }
            Record::Session { number, event } => {
                wire::put_varint(out, *number);
                event.encode(out);
            }
            Record::Acked { boot, applied, cloud_boot, shed, readings } => {
                wire::put_u64(out, *boot);
                wire::put_varint(out, *applied);
                wire::put_u64(out, *cloud_boot);
                wire::put_varint(out, *shed);
                wire::put_varint(out, *readings);
            }
            Record::Receipt { boot, seq, ordinal } => {
                wire::put_u64(out, *boot);
                wire::put_varint(out, *seq);
                wire::put_varint(out, u64::from(*ordinal));
            }
            Record::Shed { boot, version } => {
                wire::put_u64(out, *boot);
                wire::put_varint(out, *version);
            }
            Record::Told { boot, cloud_boot, pages } => {
                wire::put_u64(out, *boot);
                wire::put_u64(out, *cloud_boot);
                out.extend_from_slice(pages.bytes);
            }
            Record::Lost { page } => wire::put_varint(out, *page),
            Record::Asked { request } => asked::encode(request, out),
            Record::AskedAt { gateway, request } => {
                wire::put_str(out, gateway);
                asked::encode(request, out);
            }
            Record::Commanded { bytes } => wire::put_bytes(out, bytes),
            Record::Crossed { lane, ttl_ms, message, session, packet_id } => {
                out.push(*lane);
                wire::put_varint(out, *ttl_ms);
                wire::put_varint(out, *session);
                wire::put_varint(out, u64::from(*packet_id));
                message.encode(out);
            }
            Record::CrossAcked { boot, lane, applied } => {
                wire::put_u64(out, *boot);
                out.push(*lane);
                wire::put_varint(out, *applied);
            }
            Record::CrossReceived { boot, seq, message } => {
                wire::put_u64(out, *boot);
                wire::put_varint(out, *seq);
                message.encode(out);
            }
            Record::CrossIn { message, session, packet_id } => {
                wire::put_varint(out, *session);
                wire::put_varint(out, u64::from(*packet_id));
                message.encode(out);
            }
            Record::CrossDone { gateway, boot, seq } => {
                wire::put_str(out, gateway);
                wire::put_u64(out, *boot);
                wire::put_varint(out, *seq);
            }
            Record::Shown { lsn } | Record::CrossShown { lsn } | Record::Cursor { lsn } => wire::put_varint(out, *lsn),
            Record::Unheard { count, oldest: (boot, seq, ordinal) } => {
                wire::put_varint(out, *count);
                wire::put_u64(out, *boot);
                wire::put_varint(out, *seq);
                wire::put_varint(out, u64::from(*ordinal));
            }
            Record::Interval { gateway, bytes }
            | Record::AlertUp { gateway, bytes }
            | Record::Hello { gateway, bytes }
            | Record::CommandUp { gateway, bytes }
            | Record::CrossUp { gateway, bytes } => {
                wire::put_str(out, gateway);
                wire::put_bytes(out, bytes);
            }
        }
    }

    /// Reads a payload back: the clock's advance in ms, and the record.
    ///
    /// # Errors
    /// [`Error::UnknownKind`] for a newer kind, [`Error::Record`] for bytes that do not decode.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<(u64, Record<'a>), Error> {
        let mut r = Reader::new(payload);
        let parsed = (|| {
            let advance = r.varint()?;
            Ok(Self::decode_fields(kind, &mut r)?.map(|record| (advance, record)))
        })();
        match parsed {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Error::UnknownKind(kind)),
            Err(source) => Err(Error::Record { kind, source }),
        }
    }

    fn decode_fields(kind: u8, r: &mut Reader<'a>) -> Result<Option<Record<'a>>, DecodeError> {
        Ok(Some(match kind {
            1 => Record::Boot {
                boot: r.u64()?,
                parent: if r.varint()? == 0 { None } else { Some((r.u64()?, r.varint()?)) },
                config: r.bytes(BLOB_BYTES_MAX)?,
            },
            2 => Record::Tick,
            3 => Record::Series { number: narrow(r.varint()?)?, name: r.str(TEXT_BYTES_MAX)?, unit: get_option_str(r)? },
            4 => Record::Unit { number: narrow(r.varint()?)?, unit: r.str(TEXT_BYTES_MAX)? },
            KIND_MESSAGE => {
                let flags = r.varint()?;
                let session = r.varint()?;
                let packet_id = if flags & FLAG_PACKET_ID != 0 { packet_id(r.varint()?)? } else { 0 };
                Record::Message { flags, session, packet_id, readings: Readings { bytes: r.rest() } }
            }
            6 => Record::Duplicate { session: r.varint()?, count: r.varint()?, packet_id: packet_id(r.varint()?)? },
            7 => {
                let code = r.u8()?;
                let reason = Refusal::ALL.into_iter().find(|x| *x as u8 == code).ok_or(DecodeError::Invalid("refusal reason"))?;
                Record::Refused { reason, count: r.varint()? }
            }
            8 => Record::Quarantined {
                reason: r.str(TEXT_BYTES_MAX)?,
                topic: r.str(TEXT_BYTES_MAX)?,
                payload: r.bytes(BLOB_BYTES_MAX)?,
                session: r.varint()?,
                packet_id: packet_id(r.varint()?)?,
            },
            9 => Record::Session { number: r.varint()?, event: SessionEvent::decode(r)? },
            10 => Record::Acked { boot: r.u64()?, applied: r.varint()?, cloud_boot: r.u64()?, shed: r.varint()?, readings: r.varint()? },
            11 => Record::Receipt { boot: r.u64()?, seq: r.varint()?, ordinal: narrow(r.varint()?)? },
            12 => Record::Shown { lsn: r.varint()? },
            13 => Record::Shed { boot: r.u64()?, version: r.varint()? },
            14 => Record::Told { boot: r.u64()?, cloud_boot: r.u64()?, pages: Numbers { bytes: r.rest() } },
            15 => Record::Lost { page: r.varint()? },
            16 => Record::Asked { request: asked::decode(r)? },
            17 => Record::Commanded { bytes: r.bytes(BLOB_BYTES_MAX)? },
            22 => {
                let (lane, ttl_ms, session, id) = (r.u8()?, r.varint()?, r.varint()?, packet_id(r.varint()?)?);
                Record::Crossed { lane, ttl_ms, message: Plain::decode(r)?, session, packet_id: id }
            }
            23 => Record::CrossAcked { boot: r.u64()?, lane: r.u8()?, applied: r.varint()? },
            24 => Record::CrossReceived { boot: r.u64()?, seq: r.varint()?, message: Plain::decode(r)? },
            25 => Record::CrossShown { lsn: r.varint()? },
            41 => Record::CrossUp { gateway: r.str(TEXT_BYTES_MAX)?, bytes: r.bytes(BLOB_BYTES_MAX)? },
            42 => {
                let (session, id) = (r.varint()?, packet_id(r.varint()?)?);
                Record::CrossIn { message: Plain::decode(r)?, session, packet_id: id }
            }
            43 => Record::CrossDone { gateway: r.str(TEXT_BYTES_MAX)?, boot: r.u64()?, seq: r.varint()? },
            31 => Record::Unheard { count: r.varint()?, oldest: (r.u64()?, r.varint()?, narrow(r.varint()?)?) },
            32 => Record::Interval { gateway: r.str(TEXT_BYTES_MAX)?, bytes: r.bytes(BLOB_BYTES_MAX)? },
            33 => Record::AlertUp { gateway: r.str(TEXT_BYTES_MAX)?, bytes: r.bytes(BLOB_BYTES_MAX)? },
            34 => Record::Hello { gateway: r.str(TEXT_BYTES_MAX)?, bytes: r.bytes(BLOB_BYTES_MAX)? },
            35 => Record::Round,
            36 => Record::Cursor { lsn: r.varint()? },
            37 => Record::AskedAt { gateway: r.str(TEXT_BYTES_MAX)?, request: asked::decode(r)? },
            38 => Record::CommandUp { gateway: r.str(TEXT_BYTES_MAX)?, bytes: r.bytes(BLOB_BYTES_MAX)? },
            _ => return Ok(None),
        }))
    }
}

impl<'a> SessionEvent<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            SessionEvent::Opened { client_id, expiry_s, version } => {
                out.push(0);
                wire::put_str(out, client_id);
                wire::put_varint(out, u64::from(*expiry_s));
                out.push(*version);
            }
            SessionEvent::Resumed { expiry_s } => {
                out.push(1);
                wire::put_varint(out, u64::from(*expiry_s));
            }
            SessionEvent::Disconnected { expiry_s } => {
                out.push(2);
                wire::put_varint(out, u64::from(*expiry_s));
            }
            SessionEvent::Ended => out.push(3),
            SessionEvent::Subscribed { filter, options, identifier } => {
                out.push(4);
                wire::put_str(out, filter);
                out.push(*options);
                wire::put_varint(out, identifier.map_or(0, u64::from));
            }
            SessionEvent::Unsubscribed { filter } => {
                out.push(5);
                wire::put_str(out, filter);
            }
            SessionEvent::Qos2Received { packet_id } => {
                out.push(6);
                wire::put_varint(out, u64::from(*packet_id));
            }
            SessionEvent::Qos2Released { packet_id } => {
                out.push(7);
                wire::put_varint(out, u64::from(*packet_id));
            }
        }
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match r.u8()? {
            0 => SessionEvent::Opened { client_id: r.str(TEXT_BYTES_MAX)?, expiry_s: narrow(r.varint()?)?, version: r.u8()? },
            1 => SessionEvent::Resumed { expiry_s: narrow(r.varint()?)? },
            2 => SessionEvent::Disconnected { expiry_s: narrow(r.varint()?)? },
            3 => SessionEvent::Ended,
            4 => SessionEvent::Subscribed {
                filter: r.str(TEXT_BYTES_MAX)?,
                options: r.u8()?,
                identifier: Some(narrow(r.varint()?)?).filter(|id| *id != 0),
            },
            5 => SessionEvent::Unsubscribed { filter: r.str(TEXT_BYTES_MAX)? },
            6 => SessionEvent::Qos2Received { packet_id: packet_id(r.varint()?)? },
            7 => SessionEvent::Qos2Released { packet_id: packet_id(r.varint()?)? },
            _ => return Err(DecodeError::Invalid("session event")),
        })
    }
}

/// The kind byte of [`Record::Message`], which the hot path writes without building a record.
pub const KIND_MESSAGE: u8 = 5;

/// Writes all of a message's payload but its readings; [`put_reading`] appends those.
pub fn put_message_head(out: &mut Vec<u8>, flags: u64, session: u64, packet_id: u16) {
    wire::put_varint(out, flags);
    wire::put_varint(out, session);
    if flags & FLAG_PACKET_ID != 0 {
        wire::put_varint(out, u64::from(packet_id));
    }
}

const SCALES: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Tag of a value that is no short decimal: eight bytes follow.
const RAW: u64 = 15;
/// A decimal longer than this is no shorter than its eight bytes.
const MANTISSA_MAX: f64 = (1u64 << 42) as f64;

/// Appends one reading: series and scale, event time relative to the logged clock, value.
///
/// A value m / 10^scale is kept as that decimal when it reads back bit for bit; most
/// sensors' values take two or three bytes so.
pub fn put_reading(out: &mut Vec<u8>, series: u32, time_ms: i64, clock_ms: i64, value: f64) {
    for (scale, factor) in SCALES.iter().enumerate() {
        // Adding zero turns -0.0, which no integer tells from 0, into what does not read back.
        let m = (value * factor).round_ties_even() + 0.0;
        if m.is_nan() || m.abs() >= MANTISSA_MAX {
            break;
        }
        if (m / factor).to_bits() == value.to_bits() {
            wire::put_varint(out, u64::from(series) << 4 | scale as u64);
            wire::put_zigzag(out, time_ms.wrapping_sub(clock_ms));
            wire::put_zigzag(out, m as i64);
            return;
        }
    }
    wire::put_varint(out, u64::from(series) << 4 | RAW);
    wire::put_zigzag(out, time_ms.wrapping_sub(clock_ms));
    wire::put_f64(out, value);
}

/// Numbers, each as a varint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The encoded readings of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readings<'a> {
    /// As [`put_reading`] writes them, one after the other.
    pub bytes: &'a [u8],
}

impl<'a> Readings<'a> {
    /// Calls `each` with series, event time in ms and value, in order; gives their number.
    ///
    /// # Errors
    /// The decoder's, at the first reading that does not decode.
    #[inline]
    pub fn for_each(&self, clock_ms: i64, mut each: impl FnMut(u32, i64, f64)) -> Result<u64, DecodeError> {
        let mut r = Reader::new(self.bytes);
        let mut count = 0;
        while !r.is_empty() {
            let head = r.varint()?;
            let time = clock_ms.wrapping_add(r.zigzag()?);
            let value = match head & 15 {
                scale @ 0..=9 => r.zigzag()? as f64 / SCALES[scale as usize],
                RAW => r.f64()?,
                _ => return Err(DecodeError::Invalid("value scale")),
            };
            each(narrow(head >> 4)?, time, value);
            count += 1;
        }
        Ok(count)
    }
}

fn narrow(v: u64) -> Result<u32, DecodeError> {
    u32::try_from(v).map_err(|_| DecodeError::Invalid("number beyond 32 bits"))
}

fn packet_id(v: u64) -> Result<u16, DecodeError> {
    u16::try_from(v).map_err(|_| DecodeError::Invalid("packet id beyond 16 bits"))
}

fn put_option_str(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        wire::put_str(out, text);
    }
}

fn get_option_str<'a>(r: &mut Reader<'a>) -> Result<Option<&'a str>, DecodeError> {
    Ok(if r.u8()? == 0 { None } else { Some(r.str(TEXT_BYTES_MAX)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_reading_reads_back_bit_for_bit(series: u32, time in -1i64<<50..1<<50, clock in 0i64..1<<50, bits: u64) {
            let value = f64::from_bits(bits);
            let mut out = Vec::new();
            put_reading(&mut out, series, time, clock, value);
            let mut back = Vec::new();
            Readings { bytes: &out }.for_each(clock, |s, t, v| back.push((s, t, v.to_bits()))).unwrap();
            prop_assert_eq!(back, vec![(series, time, value.to_bits())]);
        }

        #[test]
        fn a_decimal_is_short(m in -100_000i64..100_000, scale in 0usize..4) {
            let value = m as f64 / SCALES[scale];
            let mut out = Vec::new();
            put_reading(&mut out, 3, 0, 0, value);
            prop_assert!(out.len() <= 5);
        }

        #[test]
        fn arbitrary_bytes_never_panic(kind: u8, bytes: Vec<u8>) {
            if let Ok((_, Record::Message { readings, .. })) = Record::decode(kind, &bytes) {
                let _ = readings.for_each(0, |_, _, _| ());
            }
        }
    }

    const PLAIN: Plain<'static> = Plain { topic: "t/x", payload: b"p", qos: 2, retain: true };

    #[test]
    fn every_kind_reads_back() {
        let request =
            Request { id: 7, verb: detect::alarm::Verb::Shelve, series: "a/b", kind: "high", by: "jo", reason: "why", for_ms: 60_000 };
        let records = [
            Record::Boot { boot: 7, parent: Some((6, 99)), config: b"c" },
            Record::Tick,
            Record::Series { number: 1, name: "a/b", unit: Some("°C") },
            Record::Unit { number: 1, unit: "bar" },
            Record::Message { flags: FLAG_PACKET_ID | FLAG_LEAVES, session: 4, packet_id: 9, readings: Readings { bytes: &[16, 0, 2] } },
            Record::Duplicate { session: 1, count: 2, packet_id: 3 },
            Record::Refused { reason: Refusal::Series, count: 5 },
            Record::Quarantined { reason: "r", topic: "t", payload: b"x", session: 1, packet_id: 0 },
            Record::Session { number: 2, event: SessionEvent::Subscribed { filter: "a/#", options: 1, identifier: Some(3) } },
            Record::Acked { boot: 1, applied: 2, cloud_boot: 3, shed: 4, readings: 5 },
            Record::Receipt { boot: 1, seq: 2, ordinal: 3 },
            Record::Unheard { count: 4, oldest: (1, 2, 3) },
            Record::Shown { lsn: 8 },
            Record::Shed { boot: 4, version: 5 },
            Record::Told { boot: 4, cloud_boot: 5, pages: Numbers { bytes: &[1, 2] } },
            Record::Lost { page: 6 },
            Record::Interval { gateway: "g", bytes: b"b" },
            Record::Crossed { lane: 1, ttl_ms: 60_000, message: PLAIN, session: 3, packet_id: 9 },
            Record::CrossAcked { boot: 7, lane: 2, applied: 300 },
            Record::CrossReceived { boot: 7, seq: 8, message: PLAIN },
            Record::CrossShown { lsn: 4 },
            Record::CrossUp { gateway: "g", bytes: b"b" },
            Record::CrossIn { message: PLAIN, session: 0, packet_id: 0 },
            Record::CrossDone { gateway: "g", boot: 7, seq: 8 },
            Record::Round,
            Record::Cursor { lsn: 3 },
            Record::Asked { request },
            Record::Commanded { bytes: b"c" },
            Record::AskedAt { gateway: "g", request },
            Record::CommandUp { gateway: "g", bytes: b"b" },
        ];
        for record in records {
            let mut out = Vec::new();
            record.encode(5, &mut out);
            assert_eq!(Record::decode(record.kind(), &out).unwrap(), (5, record));
        }
    }
}
