//! MQTT 5 properties (2.2.2): which may stand where, how often, and what travels on.

use super::cursor::Cursor;
use crate::error::Violation;
use crate::topic::valid_name;

/// Payload format indicator.
pub const PAYLOAD_FORMAT: u8 = 0x01;
/// Message expiry interval, seconds.
pub const MESSAGE_EXPIRY: u8 = 0x02;
/// Content type.
pub const CONTENT_TYPE: u8 = 0x03;
/// Response topic.
pub const RESPONSE_TOPIC: u8 = 0x08;
/// Correlation data.
pub const CORRELATION_DATA: u8 = 0x09;
/// Subscription identifier.
pub const SUBSCRIPTION_ID: u8 = 0x0b;
/// Session expiry interval, seconds.
pub const SESSION_EXPIRY: u8 = 0x11;
/// Client identifier that the server chose.
pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
/// Authentication method.
pub const AUTH_METHOD: u8 = 0x15;
/// Authentication data.
pub const AUTH_DATA: u8 = 0x16;
/// Request problem information.
pub const REQUEST_PROBLEM: u8 = 0x17;
/// Will delay interval, seconds.
pub const WILL_DELAY: u8 = 0x18;
/// Request response information.
pub const REQUEST_RESPONSE: u8 = 0x19;
/// Reason string.
pub const REASON_STRING: u8 = 0x1f;
/// Receive maximum.
pub const RECEIVE_MAXIMUM: u8 = 0x21;
/// Topic alias maximum.
pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
/// Topic alias.
pub const TOPIC_ALIAS: u8 = 0x23;
/// User property.
pub const USER: u8 = 0x26;
/// Maximum packet size, bytes.
pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
/// Shared subscription available.
pub const SHARED_AVAILABLE: u8 = 0x2a;

/// A set of property identifiers, one bit each.
pub type Set = u64;

const fn set(ids: &[u8]) -> Set {
    let mut bits = 0;
    let mut i = 0;
    while i < ids.len() {
        bits |= 1 << ids[i];
        i += 1;
    }
    bits
}

/// What CONNECT may carry.
pub const IN_CONNECT: Set = set(&[
    SESSION_EXPIRY,
    AUTH_METHOD,
    AUTH_DATA,
    REQUEST_PROBLEM,
    REQUEST_RESPONSE,
    RECEIVE_MAXIMUM,
    TOPIC_ALIAS_MAXIMUM,
    USER,
    MAXIMUM_PACKET_SIZE,
]);
/// What a will may carry.
pub const IN_WILL: Set = set(&[WILL_DELAY, PAYLOAD_FORMAT, MESSAGE_EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA, USER]);
/// What a client's PUBLISH may carry, the topic alias included that is refused by its own code.
pub const IN_PUBLISH: Set =
    set(&[PAYLOAD_FORMAT, MESSAGE_EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA, SUBSCRIPTION_ID, TOPIC_ALIAS, USER]);
/// What PUBACK, PUBREC, PUBREL and PUBCOMP may carry.
pub const IN_ACK: Set = set(&[REASON_STRING, USER]);
/// What SUBSCRIBE may carry.
pub const IN_SUBSCRIBE: Set = set(&[SUBSCRIPTION_ID, USER]);
/// What UNSUBSCRIBE may carry.
pub const IN_UNSUBSCRIBE: Set = set(&[USER]);
/// What a client's DISCONNECT may carry.
pub const IN_DISCONNECT: Set = set(&[SESSION_EXPIRY, REASON_STRING, USER]);
/// What of a PUBLISH or will its subscribers get as it came.
const TRAVELS: Set = set(&[PAYLOAD_FORMAT, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA, USER]);

/// One property.
#[derive(Debug, Clone, Copy)]
pub struct Property<'a> {
    /// Its identifier.
    pub id: u8,
    /// Its value if that is a number, else 0.
    pub number: u32,
    /// All of it as it came, identifier included.
    pub raw: &'a [u8],
}

/// Reads one property and checks its value.
fn property<'a>(c: &mut Cursor<'a>) -> Result<Property<'a>, Violation> {
    let before = c.rest();
    let id = c.u8()?;
    let number = match id {
        PAYLOAD_FORMAT | REQUEST_PROBLEM | REQUEST_RESPONSE => match c.u8()? {
            flag @ 0..=1 => u32::from(flag),
            _ => {
                return Err(Violation::protocol("a property that is 0 or 1 has another value"));
            }
        },
        RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS => u32::from(c.u16()?),
        MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | MAXIMUM_PACKET_SIZE => c.u32()?,
        SUBSCRIPTION_ID => c.varint()?,
        CONTENT_TYPE | AUTH_METHOD | REASON_STRING => {
            c.str()?;
            0
        }
        RESPONSE_TOPIC => {
            if !valid_name(c.name()?) {
                return Err(Violation::protocol("a response topic cannot be published to"));
            }
            0
        }
        CORRELATION_DATA | AUTH_DATA => {
            c.binary()?;
            0
        }
        USER => {
            c.str()?;
            c.str()?;
            0
        }
        _ => {
            return Err(Violation::malformed("a property is unknown or not a client's to send"));
        }
    };
    if number == 0 && matches!(id, RECEIVE_MAXIMUM | MAXIMUM_PACKET_SIZE | SUBSCRIPTION_ID) {
        return Err(Violation::protocol("a property that is at least 1 is 0"));
    }
    Ok(Property { id, number, raw: &before[..before.len() - c.rest().len()] })
}

/// Reads a packet's properties, calling `each` for every one, and gives the block's bytes.
///
/// # Errors
/// A property that is malformed, not in `allowed`, or repeated though it may stand only once;
/// or what `each` finds.
pub fn read<'a>(
    c: &mut Cursor<'a>,
    allowed: Set,
    mut each: impl FnMut(Property<'a>) -> Result<(), Violation>,
) -> Result<&'a [u8], Violation> {
    let length = c.varint()?;
    let block = c.take(length as usize)?;
    let mut inside = Cursor::new(block);
    let mut seen: Set = 0;
    while !inside.is_empty() {
        let property = property(&mut inside)?;
        // `property` knows only identifiers below 64.
        let bit = 1 << property.id;
        if allowed & bit == 0 {
            return Err(Violation::malformed("a property does not belong in this packet"));
        }
        if seen & bit != 0 && property.id != USER {
            return Err(Violation::protocol("a property stands twice"));
        }
        seen |= bit;
        each(property)?;
    }
    Ok(block)
}

/// Copies of a checked block what subscribers get as it came.
pub fn travelling(block: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(block.len());
    let mut c = Cursor::new(block);
    while let Ok(property) = property(&mut c) {
        if TRAVELS & (1 << property.id) != 0 {
            kept.extend_from_slice(property.raw);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_on_is_kept_as_it_came() {
        let mut block = vec![MESSAGE_EXPIRY, 0, 0, 0, 9];
        let user = [USER, 0, 1, b'k', 0, 1, b'v'];
        block.extend_from_slice(&user);
        let mut body = vec![block.len() as u8];
        body.extend_from_slice(&block);
        let mut expiry = 0;
        let seen = read(&mut Cursor::new(&body), IN_PUBLISH, |p| {
            if p.id == MESSAGE_EXPIRY {
                expiry = p.number;
            }
            Ok(())
        });
        assert_eq!(seen, Ok(&block[..]));
        assert_eq!(expiry, 9);
        assert_eq!(travelling(&block), user);
    }

    #[test]
    fn a_property_out_of_place_or_repeated_is_refused() {
        let check = |bytes: &[u8], allowed| read(&mut Cursor::new(bytes), allowed, |_| Ok(())).err().map(|v| v.code);
        assert_eq!(check(&[2, PAYLOAD_FORMAT, 1], IN_CONNECT), Some(0x81));
        assert_eq!(check(&[2, PAYLOAD_FORMAT, 2], IN_PUBLISH), Some(0x82));
        assert_eq!(check(&[4, PAYLOAD_FORMAT, 1, PAYLOAD_FORMAT, 1], IN_PUBLISH), Some(0x82));
        assert_eq!(check(&[1, 0x7f], IN_PUBLISH), Some(0x81));
        assert_eq!(check(&[9, PAYLOAD_FORMAT, 1], IN_PUBLISH), Some(0x81));
    }
}
