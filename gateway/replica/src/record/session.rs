//! What happens to an MQTT session, as bytes of a record.

use super::Plain;
use super::codec::{narrow, packet_id};
use crate::limits::{BLOB_BYTES_MAX, TEXT_BYTES_MAX};
use schemas::DecodeError;
use schemas::wire::{self, Reader};

/// A last will (MQTT 5, 3.1.3.2 on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastWill<'a> {
    /// What is published; its QoS is as it was asked for.
    pub message: Plain<'a>,
    /// Seconds for which the client's return is waited for.
    pub delay_s: u32,
    /// Message expiry interval in seconds.
    pub expiry_s: Option<u32>,
    /// MQTT 5 properties that travel with it, encoded.
    pub properties: &'a [u8],
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
        /// It said goodbye, with an answer to all that it had sent.
        settled: bool,
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
    /// Its client, which has just come, leaves a last will.
    Will(LastWill<'a>),
    /// That will is published, or withdrawn.
    WillOver {
        /// The record that brought it.
        lsn: u64,
    },
}

impl<'a> SessionEvent<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
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
            SessionEvent::Disconnected { expiry_s, settled } => {
                out.push(if *settled { 8 } else { 2 });
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
            SessionEvent::Will(will) => {
                out.push(9);
                will.message.encode(out);
                wire::put_varint(out, u64::from(will.delay_s));
                wire::put_varint(out, will.expiry_s.map_or(0, |s| u64::from(s) + 1));
                wire::put_bytes(out, will.properties);
            }
            SessionEvent::WillOver { lsn } => {
                out.push(10);
                wire::put_varint(out, *lsn);
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match r.u8()? {
            0 => SessionEvent::Opened { client_id: r.str(TEXT_BYTES_MAX)?, expiry_s: narrow(r.varint()?)?, version: r.u8()? },
            1 => SessionEvent::Resumed { expiry_s: narrow(r.varint()?)? },
            tag @ (2 | 8) => SessionEvent::Disconnected { expiry_s: narrow(r.varint()?)?, settled: tag == 8 },
            3 => SessionEvent::Ended,
            4 => SessionEvent::Subscribed {
                filter: r.str(TEXT_BYTES_MAX)?,
                options: r.u8()?,
                identifier: Some(narrow(r.varint()?)?).filter(|id| *id != 0),
            },
            5 => SessionEvent::Unsubscribed { filter: r.str(TEXT_BYTES_MAX)? },
            6 => SessionEvent::Qos2Received { packet_id: packet_id(r.varint()?)? },
            7 => SessionEvent::Qos2Released { packet_id: packet_id(r.varint()?)? },
            9 => SessionEvent::Will(LastWill {
                message: Plain::decode(r)?,
                delay_s: narrow(r.varint()?)?,
                expiry_s: r.varint()?.checked_sub(1).map(narrow).transpose()?,
                properties: r.bytes(BLOB_BYTES_MAX)?,
            }),
            10 => SessionEvent::WillOver { lsn: r.varint()? },
            _ => return Err(DecodeError::Invalid("session event")),
        })
    }
}
