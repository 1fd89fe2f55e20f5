//! Bytes → packets.

use super::{Violation, malformed, protocol};
use crate::application::Version;
use crate::topic::{valid_filter, valid_name};
use std::ops::Range;

/// A packet from a client; positions are in the packet's own bytes.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Packet<'a> {
    Publish(PublishIn),
    Puback(u16),
    Pubrec(u16),
    Pubrel(u16),
    Pubcomp(u16),
    Subscribe { packet_id: u16, identifier: Option<u32>, filters: Vec<(&'a str, u8, bool)> },
    Unsubscribe { packet_id: u16, filters: Vec<(&'a str, bool)> },
    Pingreq,
    Disconnect { code: u8, expiry_s: Option<u32> },
}

/// A PUBLISH as positions, so that a batch of them can be kept while the buffer stays.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct PublishIn {
    pub topic: Range<usize>,
    pub payload: Range<usize>,
    /// Properties that travel on, encoded, without length.
    pub properties: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub packet_id: u16,
    pub topic_ok: bool,
}

/// A CONNECT.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Connect {
    pub version: Version,
    pub clean: bool,
    pub keep_alive_s: u16,
    pub client_id: String,
    pub expiry_s: u32,
    pub receive_max: u16,
    pub packet_max: u32,
    pub will: Option<Will>,
}

/// A last will.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub delay_s: u32,
}

/// The first packet in a buffer: its first byte, where its body lies, where it ends.
/// `None`: not all there yet.
///
/// # Errors
/// A length that is malformed or beyond `max`, as soon as it can be told.
pub fn frame(bytes: &[u8], max: usize) -> Result<Option<(u8, Range<usize>)>, Violation> {
    let Some(&head) = bytes.first() else { return Ok(None) };
    let mut length = 0usize;
    for i in 0..4 {
        let Some(&byte) = bytes.get(1 + i) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let start = 2 + i;
            if start + length > max {
                return Err(Violation { code: 0x95, why: "the packet is larger than this server takes" });
            }
            return Ok((bytes.len() >= start + length).then_some((head, start..start + length)));
        }
    }
    Err(malformed("the remaining length is malformed"))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn u8(&mut self) -> Result<u8, Violation> {
        let byte = *self.bytes.get(self.at).ok_or(malformed("the packet ends early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn u16(&mut self) -> Result<u16, Violation> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn u32(&mut self) -> Result<u32, Violation> {
        Ok(u32::from_be_bytes([self.u8()?, self.u8()?, self.u8()?, self.u8()?]))
    }

    fn packet_id(&mut self) -> Result<u16, Violation> {
        match self.u16()? {
            0 => Err(protocol("a packet id is 0")),
            id => Ok(id),
        }
    }

    fn span(&mut self) -> Result<Range<usize>, Violation> {
        let length = usize::from(self.u16()?);
        let span = self.at..self.at + length;
        if span.end > self.bytes.len() {
            return Err(malformed("a string or binary field ends early"));
        }
        self.at = span.end;
        Ok(span)
    }

    fn str(&mut self) -> Result<&'a str, Violation> {
        let span = self.span()?;
        std::str::from_utf8(&self.bytes[span]).map_err(|_| malformed("text is not UTF-8"))
    }

    fn varint(&mut self) -> Result<usize, Violation> {
        let mut v = 0;
        for i in 0..4 {
            let byte = self.u8()?;
            v |= usize::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(v);
            }
        }
        Err(malformed("a variable byte integer is malformed"))
    }

    fn rest(&self) -> bool {
        self.at < self.bytes.len()
    }

    /// Calls `each` with every property's identifier, number (0 for others) and bytes.
    fn properties(&mut self, mut each: impl FnMut(u8, u32, Range<usize>) -> Result<(), Violation>) -> Result<(), Violation> {
        let length = self.varint()?;
        let end = self.at + length;
        if end > self.bytes.len() {
            return Err(malformed("properties end early"));
        }
        while self.at < end {
            let start = self.at;
            let id = self.u8()?;
            let mut number = 0;
            match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => number = u32::from(self.u8()?),
                0x13 | 0x21 | 0x22 | 0x23 => number = u32::from(self.u16()?),
                0x02 | 0x11 | 0x18 | 0x27 => number = self.u32()?,
                0x0b => number = u32::try_from(self.varint()?).unwrap_or(u32::MAX),
                0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => drop(self.str()?),
                0x09 | 0x16 => drop(self.span()?),
                0x26 => {
                    self.str()?;
                    self.str()?;
                }
                _ => return Err(malformed("an unknown property")),
            }
            each(id, number, start..self.at)?;
        }
        if self.at == end { Ok(()) } else { Err(malformed("properties are longer than they say")) }
    }
}

/// Reads a CONNECT's body.
///
/// # Errors
/// What is wrong; the first packet's version may not be known then.
pub fn connect(body: &[u8]) -> Result<Connect, Violation> {
    let mut c = Cursor { bytes: body, at: 0 };
    if c.str()? != "MQTT" {
        return Err(Violation { code: 0x84, why: "the protocol is not MQTT" });
    }
    let version = match c.u8()? {
        4 => Version::V3,
        5 => Version::V5,
        _ => return Err(Violation { code: 0x84, why: "only MQTT 3.1.1 and 5 are spoken" }),
    };
    let flags = c.u8()?;
    if flags & 1 != 0 {
        return Err(malformed("a reserved connect flag is set"));
    }
    let keep_alive_s = c.u16()?;
    let clean = flags & 2 != 0;
    let mut expiry_s = if version == Version::V3 && !clean { u32::MAX } else { 0 };
    let (mut receive_max, mut packet_max) = (u16::MAX, u32::MAX);
    if version == Version::V5 {
        c.properties(|id, n, _| {
            match id {
                0x11 => expiry_s = n,
                0x21 if n == 0 => return Err(protocol("receive maximum is 0")),
                0x21 => receive_max = n as u16,
                0x27 if n == 0 => return Err(protocol("maximum packet size is 0")),
                0x27 => packet_max = n,
                0x15 | 0x16 => return Err(Violation { code: 0x8c, why: "no authentication method is known" }),
                0x17 | 0x19 | 0x22 | 0x26 => {}
                _ => return Err(malformed("a property that CONNECT does not have")),
            }
            Ok(())
        })?;
    }
    let client_id = c.str()?.to_owned();
    let mut will = None;
    if flags & 4 != 0 {
        let mut delay_s = 0;
        if version == Version::V5 {
            c.properties(|id, n, _| {
                if id == 0x18 {
                    delay_s = n;
                }
                Ok(())
            })?;
        }
        let topic = c.str()?.to_owned();
        let span = c.span()?;
        let qos = flags >> 3 & 3;
        if qos == 3 || !valid_name(&topic) {
            return Err(malformed("the will's QoS or topic is not valid"));
        }
        will = Some(Will { topic, payload: body[span].to_vec(), qos, retain: flags & 0x20 != 0, delay_s });
    } else if flags & 0x38 != 0 {
        return Err(malformed("will flags without a will"));
    }
    if flags & 0x80 != 0 {
        c.str()?;
    }
    if flags & 0x40 != 0 {
        c.span()?;
    }
    if c.rest() {
        return Err(malformed("bytes behind CONNECT"));
    }
    Ok(Connect { version, clean, keep_alive_s, client_id, expiry_s, receive_max, packet_max, will })
}

/// Reads any packet but CONNECT.
///
/// # Errors
/// What is wrong.
pub fn packet(version: Version, head: u8, body: &[u8]) -> Result<Packet<'_>, Violation> {
    let v5 = version == Version::V5;
    let mut c = Cursor { bytes: body, at: 0 };
    let kind = head >> 4;
    let flags = head & 15;
    if kind != 3 && flags != if matches!(kind, 6 | 8 | 10) { 2 } else { 0 } {
        return Err(malformed("reserved flags are set"));
    }
    Ok(match kind {
        3 => Packet::Publish(publish(v5, flags, &mut c)?),
        4..=7 => {
            let id = c.packet_id()?;
            match kind {
                4 => Packet::Puback(id),
                5 => Packet::Pubrec(id),
                6 => Packet::Pubrel(id),
                _ => Packet::Pubcomp(id),
            }
        }
        8 => {
            let packet_id = c.packet_id()?;
            let mut identifier = None;
            if v5 {
                c.properties(|id, n, _| {
                    match id {
                        0x0b if n == 0 => return Err(protocol("a subscription identifier is 0")),
                        0x0b => identifier = Some(n),
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            let mut filters = Vec::new();
            while c.rest() {
                let filter = c.str()?;
                let options = c.u8()?;
                if options & 3 == 3 || options & 0xc0 != 0 || (!v5 && options & 0xfc != 0) {
                    return Err(malformed("subscription options are not valid"));
                }
                filters.push((filter, options, valid_filter(filter)));
            }
            if filters.is_empty() {
                return Err(protocol("SUBSCRIBE without a filter"));
            }
            Packet::Subscribe { packet_id, identifier, filters }
        }
        10 => {
            let packet_id = c.packet_id()?;
            if v5 {
                c.properties(|_, _, _| Ok(()))?;
            }
            let mut filters = Vec::new();
            while c.rest() {
                let filter = c.str()?;
                filters.push((filter, valid_filter(filter)));
            }
            if filters.is_empty() {
                return Err(protocol("UNSUBSCRIBE without a filter"));
            }
            Packet::Unsubscribe { packet_id, filters }
        }
        12 => Packet::Pingreq,
        14 => {
            let (mut code, mut expiry_s) = (0, None);
            if v5 && c.rest() {
                code = c.u8()?;
                if c.rest() {
                    c.properties(|id, n, _| {
                        if id == 0x11 {
                            expiry_s = Some(n);
                        }
                        Ok(())
                    })?;
                }
            }
            Packet::Disconnect { code, expiry_s }
        }
        1 => return Err(protocol("a second CONNECT")),
        _ => return Err(protocol("a packet that clients do not send")),
    })
}

fn publish(v5: bool, flags: u8, c: &mut Cursor<'_>) -> Result<PublishIn, Violation> {
    let qos = flags >> 1 & 3;
    if qos == 3 || (qos == 0 && flags & 8 != 0) {
        return Err(malformed("QoS 3, or DUP at QoS 0"));
    }
    let topic = c.span()?;
    let name = std::str::from_utf8(&c.bytes[topic.clone()]).map_err(|_| malformed("a topic is not UTF-8"))?;
    let packet_id = if qos > 0 { c.packet_id()? } else { 0 };
    let mut properties = Vec::new();
    if v5 {
        let bytes = c.bytes;
        c.properties(|id, _, span| {
            match id {
                0x23 => return Err(Violation { code: 0x94, why: "topic aliases are not offered" }),
                0x0b => return Err(protocol("a client does not send subscription identifiers")),
                0x01 | 0x02 | 0x03 | 0x08 | 0x09 | 0x26 => properties.extend_from_slice(&bytes[span]),
                _ => return Err(malformed("a property that PUBLISH does not have")),
            }
            Ok(())
        })?;
    }
    let topic_ok = valid_name(name);
    Ok(PublishIn { topic, payload: c.at..c.bytes.len(), properties, qos, retain: flags & 1 != 0, dup: flags & 8 != 0, packet_id, topic_ok })
}
