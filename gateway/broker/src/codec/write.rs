//! Packets to a client, appended to the connection's write buffer.

use super::{properties, reason};
use crate::codec::connect::Version;
use crate::limits::RECEIVE_MAX;
use crate::message::Delivery;

/// First byte of PUBACK.
pub const PUBACK: u8 = 0x40;
/// First byte of PUBREC.
pub const PUBREC: u8 = 0x50;
/// First byte of PUBREL.
pub const PUBREL: u8 = 0x62;
/// First byte of PUBCOMP.
pub const PUBCOMP: u8 = 0x70;
/// First byte of SUBACK.
pub const SUBACK: u8 = 0x90;
/// First byte of UNSUBACK.
pub const UNSUBACK: u8 = 0xb0;

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Callers pass topics and identifiers that arrived behind a two-byte length, or are checked.
fn string(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

/// CONNACK that takes the client, in MQTT 5 with what this server offers.
pub fn welcome(out: &mut Vec<u8>, version: Version, present: bool, packet_max: usize, assigned: Option<&str>) {
    if version == Version::V3 {
        out.extend_from_slice(&[0x20, 2, u8::from(present), 0]);
        return;
    }
    let mut offers = vec![properties::RECEIVE_MAXIMUM];
    offers.extend_from_slice(&RECEIVE_MAX.to_be_bytes());
    offers.push(properties::MAXIMUM_PACKET_SIZE);
    offers.extend_from_slice(&u32::try_from(packet_max).unwrap_or(u32::MAX).to_be_bytes());
    offers.extend_from_slice(&[properties::TOPIC_ALIAS_MAXIMUM, 0, 0]);
    offers.extend_from_slice(&[properties::SHARED_AVAILABLE, 0]);
    if let Some(id) = assigned {
        offers.push(properties::ASSIGNED_CLIENT_ID);
        string(&mut offers, id);
    }
    out.push(0x20);
    varint(out, 2 + varint_len(offers.len()) + offers.len());
    out.extend_from_slice(&[u8::from(present), reason::SUCCESS]);
    varint(out, offers.len());
    out.extend_from_slice(&offers);
}

/// CONNACK that turns the client away. In MQTT 3.1.1 a CONNECT that breaks the layout is closed
/// without one (MQTT-3.1.4-1), so nothing is written then.
pub fn turn_away(out: &mut Vec<u8>, version: Version, code: u8) {
    match version {
        Version::V5 => {
            // CONNACK knows neither of these; the client is to come again.
            let code = match code {
                reason::SERVER_SHUTTING_DOWN | reason::SESSION_TAKEN_OVER => reason::SERVER_UNAVAILABLE,
                code => code,
            };
            out.extend_from_slice(&[0x20, 3, 0, code, 0]);
        }
        Version::V3 => {
            let code = match code {
                reason::UNSUPPORTED_VERSION => 1,
                reason::CLIENT_ID_INVALID => 2,
                reason::NOT_AUTHORIZED | reason::BAD_AUTHENTICATION_METHOD => 5,
                reason::MALFORMED_PACKET | reason::PROTOCOL_ERROR | reason::TOPIC_NAME_INVALID => return,
                _ => 3,
            };
            out.extend_from_slice(&[0x20, 2, 0, code]);
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP; a reason only in MQTT 5, and only when it is not success.
pub fn ack(out: &mut Vec<u8>, version: Version, head: u8, packet_id: u16, code: u8) {
    let [high, low] = packet_id.to_be_bytes();
    if version == Version::V5 && code != reason::SUCCESS {
        out.extend_from_slice(&[head, 3, high, low, code]);
    } else {
        out.extend_from_slice(&[head, 2, high, low]);
    }
}

/// Bytes of the longest PUBACK or PUBREC that says why.
pub const REFUSAL_BYTES_MAX: usize = 128;

/// PUBACK or PUBREC of MQTT 5 with a reason that is not success, in words too; they are short.
pub fn refusal(out: &mut Vec<u8>, head: u8, packet_id: u16, code: u8, why: &str) {
    let [high, low] = packet_id.to_be_bytes();
    let text = why.get(..why.len().min(REFUSAL_BYTES_MAX - 9)).unwrap_or_default();
    let length = text.len() as u8;
    out.extend_from_slice(&[head, length + 7, high, low, code, length + 3, properties::REASON_STRING, 0, length]);
    out.extend_from_slice(text.as_bytes());
}

/// SUBACK or UNSUBACK, one code for each filter (UNSUBACK of MQTT 3.1.1 has none).
pub fn suback(out: &mut Vec<u8>, version: Version, head: u8, packet_id: u16, codes: &[u8]) {
    let v5 = version == Version::V5;
    let codes = if head == UNSUBACK && !v5 { &[] } else { codes };
    out.push(head);
    varint(out, 2 + usize::from(v5) + codes.len());
    out.extend_from_slice(&packet_id.to_be_bytes());
    if v5 {
        out.push(0);
    }
    out.extend_from_slice(codes);
}

/// PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// DISCONNECT of MQTT 5; in MQTT 3.1.1 the server just closes.
pub fn disconnect(out: &mut Vec<u8>, version: Version, code: u8) {
    if version == Version::V5 {
        // The length of no properties may be left out, but some clients miss it.
        out.extend_from_slice(&[0xe0, 2, code, 0]);
    }
}

/// A PUBLISH to a subscriber; nothing, and false, where it is larger than the client takes.
pub(crate) fn publish(out: &mut Vec<u8>, version: Version, d: &Delivery, packet_id: u16, dup: bool, packet_max: u32) -> bool {
    let message = &*d.message;
    let v5 = version == Version::V5;
    let identifiers = d.identifiers.as_deref().unwrap_or(&[]);
    let expiry_s = if v5 { message.expiry_s() } else { None };
    let mut block = 0;
    if v5 {
        block = message.properties.len() + if expiry_s.is_some() { 5 } else { 0 };
        block += identifiers.iter().map(|id| 1 + varint_len(*id as usize)).sum::<usize>();
    }
    let mut length = 2 + message.topic.len() + message.payload.len();
    length += if d.qos > 0 { 2 } else { 0 };
    length += if v5 { varint_len(block) + block } else { 0 };
    // 268,435,455 is the largest remaining length there is.
    if 1 + varint_len(length) + length > packet_max as usize || length > 0x0fff_ffff {
        return false;
    }
    out.reserve(5 + length);
    out.push(0x30 | u8::from(dup) << 3 | d.qos << 1 | u8::from(d.retain));
    varint(out, length);
    string(out, &message.topic);
    if d.qos > 0 {
        out.extend_from_slice(&packet_id.to_be_bytes());
    }
    if v5 {
        varint(out, block);
        if let Some(seconds) = expiry_s {
            out.push(properties::MESSAGE_EXPIRY);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        out.extend_from_slice(&message.properties);
        // Last: some clients lose count of what stands behind them.
        for id in identifiers {
            out.push(properties::SUBSCRIPTION_ID);
            varint(out, *id as usize);
        }
    }
    out.extend_from_slice(&message.payload);
    true
}
