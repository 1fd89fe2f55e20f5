//! Records ↔ bytes.

use super::{Behind, FLAG_PACKET_ID, KIND_MESSAGE, Numbers, Plain, Readings, Record, Refusal, SessionEvent, asked, put_message_head};
use crate::error::Error;
use crate::limits::{BLOB_BYTES_MAX, TEXT_BYTES_MAX};
use schemas::DecodeError;
use schemas::wire::{self, Reader, cut};

impl<'a> Record<'a> {
    /// Appends the payload: `advance_ms` of the logged clock, then the fields.
    pub fn encode(&self, advance_ms: u64, out: &mut Vec<u8>) {
        wire::put_varint(out, advance_ms);
        match self {
            Record::Tick | Record::Round | Record::Away { leapt_ms: 0 } => {}
            Record::Away { leapt_ms } => wire::put_varint(out, *leapt_ms),
            Record::ClockSet { behind_ms } => wire::put_zigzag(out, *behind_ms),
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
            Record::Quarantined { refusal, reason, topic, payload, session, packet_id } => {
                wire::put_str(out, cut(reason, TEXT_BYTES_MAX));
                wire::put_str(out, cut(topic, TEXT_BYTES_MAX));
                wire::put_bytes(out, &payload[..payload.len().min(BLOB_BYTES_MAX)]);
                wire::put_varint(out, *session);
                wire::put_varint(out, u64::from(*packet_id));
                out.push(*refusal as u8);
            }
            Record::Session { number, event } => {
                wire::put_varint(out, *number);
                event.encode(out);
            }
            Record::Acked { boot, applied, cloud_boot, shed, readings, hash } => {
                wire::put_u64(out, *boot);
                wire::put_varint(out, *applied);
                wire::put_u64(out, *cloud_boot);
                wire::put_varint(out, *shed);
                wire::put_varint(out, *readings);
                wire::put_u64(out, *hash);
            }
            Record::Forked { boot, at, readings } => {
                wire::put_u64(out, *boot);
                wire::put_varint(out, *at);
                wire::put_varint(out, *readings);
            }
            Record::Receipt { boot, seq, ordinal } => {
                wire::put_u64(out, *boot);
                wire::put_varint(out, *seq);
                wire::put_varint(out, u64::from(*ordinal));
            }
            Record::Shed { boot, version: seq } | Record::Offered { boot, born: seq } | Record::Unnamed { boot, born: seq } => {
                wire::put_u64(out, *boot);
                wire::put_varint(out, *seq);
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
            Record::Cursor { lsn } => wire::put_varint(out, *lsn),
            Record::Shown { lsn, unheld, behind } => {
                wire::put_varint(out, *lsn);
                if *unheld > 0 || !behind.numbers.bytes.is_empty() {
                    wire::put_varint(out, *unheld);
                    out.extend_from_slice(behind.numbers.bytes);
                }
            }
            Record::CrossShown { lsn, unheld } => {
                wire::put_varint(out, *lsn);
                if *unheld > 0 {
                    wire::put_varint(out, *unheld);
                }
            }
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
            27 => Record::Away { leapt_ms: if r.is_empty() { 0 } else { r.varint()? } },
            30 => Record::ClockSet { behind_ms: r.zigzag()? },
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
                let reason = refusal(r.u8()?)?;
                Record::Refused { reason, count: r.varint()? }
            }
            8 => {
                // A reason that quotes much was once written as long as it was.
                let reason = cut(r.str(BLOB_BYTES_MAX)?, TEXT_BYTES_MAX);
                let (topic, payload) = (r.str(TEXT_BYTES_MAX)?, r.bytes(BLOB_BYTES_MAX)?);
                let (session, packet_id) = (r.varint()?, packet_id(r.varint()?)?);
                // The first programs counted all of them so.
                let refusal = if r.is_empty() { Refusal::Payload } else { refusal(r.u8()?)? };
                Record::Quarantined { refusal, reason, topic, payload, session, packet_id }
            }
            9 => Record::Session { number: r.varint()?, event: SessionEvent::decode(r)? },
            10 => Record::Acked {
                boot: r.u64()?,
                applied: r.varint()?,
                cloud_boot: r.u64()?,
                shed: r.varint()?,
                readings: r.varint()?,
                // The first programs kept none.
                hash: if r.is_empty() { crate::hash::UNKNOWN } else { r.u64()? },
            },
            26 => Record::Forked { boot: r.u64()?, at: r.varint()?, readings: r.varint()? },
            11 => Record::Receipt { boot: r.u64()?, seq: r.varint()?, ordinal: narrow(r.varint()?)? },
            12 => Record::Shown {
                lsn: r.varint()?,
                // The first programs kept none for anybody.
                unheld: if r.is_empty() { 0 } else { r.varint()? },
                behind: Behind { numbers: Numbers { bytes: r.rest() } },
            },
            13 => Record::Shed { boot: r.u64()?, version: r.varint()? },
            14 => Record::Told { boot: r.u64()?, cloud_boot: r.u64()?, pages: Numbers { bytes: r.rest() } },
            15 => Record::Lost { page: r.varint()? },
            16 => Record::Asked { request: asked::decode(r)? },
            17 => Record::Commanded { bytes: r.bytes(BLOB_BYTES_MAX)? },
            20 => Record::Offered { boot: r.u64()?, born: r.varint()? },
            21 => Record::Unnamed { boot: r.u64()?, born: r.varint()? },
            22 => {
                let (lane, ttl_ms, session, id) = (r.u8()?, r.varint()?, r.varint()?, packet_id(r.varint()?)?);
                Record::Crossed { lane, ttl_ms, message: Plain::decode(r)?, session, packet_id: id }
            }
            23 => Record::CrossAcked { boot: r.u64()?, lane: r.u8()?, applied: r.varint()? },
            24 => Record::CrossReceived { boot: r.u64()?, seq: r.varint()?, message: Plain::decode(r)? },
            25 => Record::CrossShown { lsn: r.varint()?, unheld: if r.is_empty() { 0 } else { r.varint()? } },
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

pub(super) fn narrow(v: u64) -> Result<u32, DecodeError> {
    u32::try_from(v).map_err(|_| DecodeError::Invalid("number beyond 32 bits"))
}

fn refusal(code: u8) -> Result<Refusal, DecodeError> {
    Refusal::ALL.into_iter().find(|reason| *reason as u8 == code).ok_or(DecodeError::Invalid("refusal reason"))
}

pub(super) fn packet_id(v: u64) -> Result<u16, DecodeError> {
    u16::try_from(v).map_err(|_| DecodeError::Invalid("packet id beyond 16 bits"))
}

pub(super) fn put_option_str(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        wire::put_str(out, text);
    }
}

pub(super) fn get_option_str<'a>(r: &mut Reader<'a>) -> Result<Option<&'a str>, DecodeError> {
    Ok(if r.u8()? == 0 { None } else { Some(r.str(TEXT_BYTES_MAX)?) })
}
