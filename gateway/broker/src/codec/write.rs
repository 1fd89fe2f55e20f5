//! Packets → bytes, appended to the connection's write buffer.

use crate::application::Version;
use crate::router::Delivery;

fn varint(out: &mut Vec<u8>, mut v: usize) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// CONNACK of MQTT 5 with what this server offers, or of 3.1.1.
pub fn connack(out: &mut Vec<u8>, version: Version, present: bool, code: u8, packet_max: usize, assigned: Option<&str>) {
    if version == Version::V3 {
        let code = match code {
            0 => 0,
            0x84 => 1,
            0x85 => 2,
            0x86 | 0x87 => 5,
            _ => 3,
        };
        out.extend_from_slice(&[0x20, 2, u8::from(present), code]);
        return;
    }
    let mut body = vec![u8::from(present), code];
    let mut properties = Vec::new();
    if code == 0 {
        properties.push(0x21);
        properties.extend_from_slice(&crate::limits::RECEIVE_MAX.to_be_bytes());
        properties.push(0x27);
        properties.extend_from_slice(&(packet_max as u32).to_be_bytes());
        // Shared subscriptions are not offered.
        properties.extend_from_slice(&[0x2a, 0]);
        if let Some(id) = assigned {
            properties.push(0x12);
            string(&mut properties, id);
        }
    }
    varint(&mut body, properties.len());
    body.extend_from_slice(&properties);
    out.push(0x20);
    varint(out, body.len());
    out.extend_from_slice(&body);
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP (`head` their first byte); a reason only in MQTT 5 and only when it is not success.
pub fn ack(out: &mut Vec<u8>, version: Version, head: u8, packet_id: u16, code: u8) {
    let [high, low] = packet_id.to_be_bytes();
    if version == Version::V5 && code != 0 {
        out.extend_from_slice(&[head, 3, high, low, code]);
    } else {
        out.extend_from_slice(&[head, 2, high, low]);
    }
}

/// SUBACK (0x90) or UNSUBACK (0xb0).
pub fn suback(out: &mut Vec<u8>, version: Version, head: u8, packet_id: u16, codes: &[u8]) {
    out.push(head);
    let v5 = version == Version::V5;
    let codes = if head == 0xb0 && !v5 { &[] } else { codes };
    varint(out, 2 + usize::from(v5) + codes.len());
    out.extend_from_slice(&packet_id.to_be_bytes());
    if v5 {
        out.push(0);
    }
    out.extend_from_slice(codes);
}

/// DISCONNECT of MQTT 5; 3.1.1 has none from the server.
pub fn disconnect(out: &mut Vec<u8>, version: Version, code: u8) {
    if version == Version::V5 {
        out.extend_from_slice(&[0xe0, 1, code]);
    }
}

/// A PUBLISH to a subscriber; nothing, and false, where it is larger than the client takes.
pub fn publish(out: &mut Vec<u8>, version: Version, d: &Delivery, packet_id: u16, packet_max: u32) -> bool {
    let mut properties = Vec::new();
    if version == Version::V5 {
        for id in &d.identifiers {
            properties.push(0x0b);
            varint(&mut properties, *id as usize);
        }
        let mut length = Vec::new();
        varint(&mut length, properties.len() + d.message.properties.len());
        properties.splice(0..0, length);
        properties.extend_from_slice(&d.message.properties);
    }
    let length = 2 + d.message.topic.len() + if d.qos > 0 { 2 } else { 0 } + properties.len() + d.message.payload.len();
    if length + 5 > packet_max as usize {
        return false;
    }
    out.push(0x30 | d.qos << 1 | u8::from(d.retain));
    varint(out, length);
    string(out, &d.message.topic);
    if d.qos > 0 {
        out.extend_from_slice(&packet_id.to_be_bytes());
    }
    out.extend_from_slice(&properties);
    out.extend_from_slice(&d.message.payload);
    true
}
