//! Framing, and every packet of a client but CONNECT.

use super::cursor::Cursor;
use super::properties::{self, Set};
use super::reason;
use crate::codec::connect::Version;
use crate::error::Violation;
use crate::topic::valid_name;
use std::ops::Range;

/// A packet from a client, borrowed from the read buffer.
#[derive(Debug)]
pub enum Packet<'a> {
    /// A message.
    Publish(PublishIn<'a>),
    /// A QoS 1 message of ours has arrived.
    Puback(u16),
    /// First answer to a QoS 2 message, which this server never sends.
    Pubrec(u16),
    /// A QoS 2 message's identifier is free again.
    Pubrel(u16),
    /// Last answer to a QoS 2 message.
    Pubcomp(u16),
    /// Subscriptions.
    Subscribe {
        /// To be answered with it.
        packet_id: u16,
        /// Comes back with every message that a filter of this packet matches.
        identifier: Option<u32>,
        /// Filters, not checked yet, with their options byte.
        filters: Vec<(&'a str, u8)>,
    },
    /// Their end.
    Unsubscribe {
        /// To be answered with it.
        packet_id: u16,
        /// Filters, not checked.
        filters: Vec<&'a str>,
    },
    /// Is anybody there?
    Pingreq,
    /// The client leaves.
    Disconnect {
        /// Why; 0 in MQTT 3.1.1.
        code: u8,
        /// A new session expiry, in seconds.
        expiry_s: Option<u32>,
    },
}

/// A PUBLISH in place.
#[derive(Debug, Clone, Copy)]
pub struct PublishIn<'a> {
    /// Topic name, valid.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// Properties as they came, checked, without their length.
    pub properties: &'a [u8],
    /// Message expiry interval in seconds.
    pub expiry_s: Option<u32>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Retain flag.
    pub retain: bool,
    /// Duplicate flag.
    pub dup: bool,
    /// Packet identifier, 0 at QoS 0.
    pub packet_id: u16,
}

/// A packet's frame: what its first bytes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// First byte, and where its body lies.
    Whole(u8, Range<usize>),
    /// This many bytes more are needed at least.
    Needs(usize),
}

/// The first packet in a buffer.
///
/// # Errors
/// A length that is malformed, or a packet of more than `max` bytes, as soon as it can be told.
pub fn frame(bytes: &[u8], max: usize) -> Result<Frame, Violation> {
    let Some(&head) = bytes.first() else {
        return Ok(Frame::Needs(2));
    };
    let mut length = 0;
    for i in 0..4 {
        let Some(&byte) = bytes.get(1 + i) else {
            return Ok(Frame::Needs(1));
        };
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let start = 2 + i;
            let end = start + length;
            if end > max {
                let why = "a packet is larger than this server takes";
                return Err(Violation { code: reason::PACKET_TOO_LARGE, why });
            }
            return Ok(if bytes.len() >= end { Frame::Whole(head, start..end) } else { Frame::Needs(end - bytes.len()) });
        }
    }
    Err(Violation::malformed("a remaining length has more than four bytes"))
}

/// Reads any packet but CONNECT; `head` is its first byte.
///
/// # Errors
/// What is wrong with it.
pub fn packet(version: Version, head: u8, body: &[u8]) -> Result<Packet<'_>, Violation> {
    let v5 = version == Version::V5;
    let (kind, flags) = (head >> 4, head & 15);
    let mut c = Cursor::new(body);
    if kind == 3 {
        return Ok(Packet::Publish(publish(v5, flags, c)?));
    }
    if flags != if matches!(kind, 6 | 8 | 10) { 2 } else { 0 } {
        return Err(Violation::malformed("reserved flags of a packet are not as they must be"));
    }
    let packet = match kind {
        1 => return Err(Violation::protocol("a client says CONNECT twice")),
        4 => Packet::Puback(ack(v5, &mut c)?),
        5 => Packet::Pubrec(ack(v5, &mut c)?),
        6 => Packet::Pubrel(ack(v5, &mut c)?),
        7 => Packet::Pubcomp(ack(v5, &mut c)?),
        8 => subscribe(v5, &mut c)?,
        10 => unsubscribe(v5, &mut c)?,
        12 => Packet::Pingreq,
        14 => disconnect(v5, &mut c)?,
        _ => return Err(Violation::protocol("a packet is not a client's to send")),
    };
    if !c.is_empty() {
        return Err(Violation::malformed("a packet is longer than its fields"));
    }
    Ok(packet)
}

fn skip(c: &mut Cursor<'_>, allowed: Set) -> Result<(), Violation> {
    properties::read(c, allowed, |_| Ok(())).map(|_| ())
}

fn publish<'a>(v5: bool, flags: u8, mut c: Cursor<'a>) -> Result<PublishIn<'a>, Violation> {
    let (qos, dup) = (flags >> 1 & 3, flags & 8 != 0);
    if qos == 3 {
        return Err(Violation::malformed("a PUBLISH has QoS 3"));
    }
    if qos == 0 && dup {
        return Err(Violation::malformed("a PUBLISH of QoS 0 is marked as duplicate"));
    }
    let topic = c.name()?;
    let packet_id = if qos > 0 { c.packet_id()? } else { 0 };
    let mut expiry_s = None;
    let mut block: &[u8] = &[];
    if v5 {
        block = properties::read(&mut c, properties::IN_PUBLISH, |p| {
            match p.id {
                properties::MESSAGE_EXPIRY => expiry_s = Some(p.number),
                properties::TOPIC_ALIAS => {
                    return Err(Violation { code: reason::TOPIC_ALIAS_INVALID, why: "topic aliases are not offered" });
                }
                properties::SUBSCRIPTION_ID => {
                    return Err(Violation::protocol("a client's PUBLISH has a subscription identifier"));
                }
                _ => {}
            }
            Ok(())
        })?;
    }
    if !valid_name(topic) {
        let why = "a topic is empty or has a wildcard or NUL in it";
        return Err(Violation { code: reason::TOPIC_NAME_INVALID, why });
    }
    let retain = flags & 1 != 0;
    Ok(PublishIn { topic, payload: c.rest(), properties: block, expiry_s, qos, retain, dup, packet_id })
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP: in MQTT 5 a reason code and properties may follow.
fn ack(v5: bool, c: &mut Cursor<'_>) -> Result<u16, Violation> {
    let packet_id = c.packet_id()?;
    if v5 && !c.is_empty() {
        c.u8()?;
        if !c.is_empty() {
            skip(c, properties::IN_ACK)?;
        }
    }
    Ok(packet_id)
}

fn subscribe<'a>(v5: bool, c: &mut Cursor<'a>) -> Result<Packet<'a>, Violation> {
    let packet_id = c.packet_id()?;
    let mut identifier = None;
    if v5 {
        properties::read(c, properties::IN_SUBSCRIBE, |p| {
            if p.id == properties::SUBSCRIPTION_ID {
                identifier = Some(p.number);
            }
            Ok(())
        })?;
    }
    let mut filters = Vec::new();
    while !c.is_empty() {
        let filter = c.str()?;
        let options = c.u8()?;
        let reserved = if v5 { 0xc0 } else { 0xfc };
        if options & reserved != 0 {
            return Err(Violation::malformed("reserved bits of subscription options are set"));
        }
        if options & 3 == 3 || options >> 4 & 3 == 3 {
            return Err(Violation::protocol("QoS or retain handling of a subscription is 3"));
        }
        filters.push((filter, options));
    }
    if filters.is_empty() {
        return Err(Violation::protocol("a SUBSCRIBE has no filter"));
    }
    Ok(Packet::Subscribe { packet_id, identifier, filters })
}

fn unsubscribe<'a>(v5: bool, c: &mut Cursor<'a>) -> Result<Packet<'a>, Violation> {
    let packet_id = c.packet_id()?;
    if v5 {
        skip(c, properties::IN_UNSUBSCRIBE)?;
    }
    let mut filters = Vec::new();
    while !c.is_empty() {
        filters.push(c.str()?);
    }
    if filters.is_empty() {
        return Err(Violation::protocol("an UNSUBSCRIBE has no filter"));
    }
    Ok(Packet::Unsubscribe { packet_id, filters })
}

fn disconnect<'a>(v5: bool, c: &mut Cursor<'a>) -> Result<Packet<'a>, Violation> {
    let (mut code, mut expiry_s) = (reason::SUCCESS, None);
    if v5 && !c.is_empty() {
        code = c.u8()?;
        if !c.is_empty() {
            properties::read(c, properties::IN_DISCONNECT, |p| {
                if p.id == properties::SESSION_EXPIRY {
                    expiry_s = Some(p.number);
                }
                Ok(())
            })?;
        }
    }
    Ok(Packet::Disconnect { code, expiry_s })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_is_judged_before_its_bytes_arrive() {
        assert_eq!(frame(&[], 100), Ok(Frame::Needs(2)));
        assert_eq!(frame(&[0x30, 0x80], 1000), Ok(Frame::Needs(1)));
        assert_eq!(frame(&[0x30, 5, 0], 100), Ok(Frame::Needs(4)));
        assert_eq!(frame(&[0xc0, 0, 9], 100), Ok(Frame::Whole(0xc0, 2..2)));
        assert_eq!(frame(&[0x30, 0xff, 0x7f], 100).map_err(|v| v.code), Err(0x95));
        assert_eq!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff], 100).map_err(|v| v.code), Err(0x81));
    }

    #[test]
    fn a_publish_is_read_in_place() {
        let body = [0, 3, b'a', b'/', b'b', 0, 7, 5, 2, 0, 0, 0, 60, b'x'];
        let Ok(Packet::Publish(p)) = packet(Version::V5, 0x3b, &body) else { panic!("not a PUBLISH") };
        assert_eq!((p.topic, p.payload, p.qos, p.packet_id), ("a/b", &b"x"[..], 1, 7));
        assert_eq!((p.dup, p.retain, p.expiry_s), (true, true, Some(60)));
    }

    #[test]
    fn what_a_client_may_not_send_has_its_code() {
        let code = |version, head, body: &[u8]| packet(version, head, body).map(|_| ()).map_err(|v| v.code);
        assert_eq!(code(Version::V3, 0x36, &[0, 1, b'a', 0, 1]), Err(0x81));
        assert_eq!(code(Version::V3, 0x32, &[0, 1, b'a', 0, 0]), Err(0x82));
        assert_eq!(code(Version::V3, 0x30, &[0, 1, b'#']), Err(0x90));
        assert_eq!(code(Version::V5, 0x30, &[0, 1, b'a', 3, 0x23, 0, 1]), Err(0x94));
        assert_eq!(code(Version::V5, 0x82, &[0, 1, 0]), Err(0x82));
        assert_eq!(code(Version::V5, 0x80, &[0, 1, 0, 0, 1, b'a', 0]), Err(0x81));
        assert_eq!(code(Version::V3, 0x10, &[]), Err(0x82));
        assert_eq!(code(Version::V3, 0xc0, &[1]), Err(0x81));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(head: u8, body: Vec<u8>, v5: bool) {
            let version = if v5 { Version::V5 } else { Version::V3 };
            drop(packet(version, head, &body));
            drop(super::super::connect::read(&body));
            drop(frame(&body, 1000));
        }

        #[test]
        fn a_publish_cut_short_is_malformed_or_shorter(cut in 0usize..14) {
            let body = [0, 3, b'a', b'/', b'b', 0, 7, 5, 2, 0, 0, 0, 60, b'x'];
            if let Ok(Packet::Publish(p)) = packet(Version::V5, 0x32, &body[..cut]) {
                prop_assert!(p.payload.is_empty() && cut == 13);
            }
        }
    }
}
