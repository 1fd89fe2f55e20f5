//! CONNECT (MQTT 3.1.1 and 5, 3.1) and its will.

use super::cursor::Cursor;
use super::properties::{self, travelling};
use super::reason;
use crate::error::Violation;
use crate::limits::CLIENT_ID_BYTES_MAX;
use crate::topic::valid_name;

/// A client's protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

/// A CONNECT.
#[derive(Debug)]
pub struct Connect {
    /// Protocol version.
    pub version: Version,
    /// Clean start (clean session in MQTT 3.1.1).
    pub clean: bool,
    /// Keep-alive in seconds, 0 for none.
    pub keep_alive_s: u16,
    /// Client identifier, empty where the server is to choose.
    pub client_id: String,
    /// Session expiry in seconds, `u32::MAX` for never; what MQTT 3.1.1 means by a session
    /// that is not clean.
    pub expiry_s: u32,
    /// QoS 1 messages that the client takes before it acknowledges one, from 1.
    pub receive_max: u16,
    /// Largest packet that the client takes, in bytes.
    pub packet_max: u32,
    /// Whether it wants to be told why something is not taken.
    pub explains: bool,
    /// Its will.
    pub will: Option<Will>,
}

/// A last will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic, valid.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Seconds to wait for the client's return before it is published.
    pub delay_s: u32,
    /// Message expiry interval in seconds.
    pub expiry_s: Option<u32>,
    /// MQTT 5 properties that travel with it, encoded.
    pub properties: Vec<u8>,
}

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const WILL_FLAGS: u8 = 0x38;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// The version that a CONNECT's body asks for, even if the rest of it is wrong. A level with
/// the highest bit set is how bridges of mosquitto ask for a peer of their own kind first; they
/// come back without it when they are told in MQTT 3.1.1 that there is none.
pub fn version_of(body: &[u8]) -> Version {
    let mut c = Cursor::new(body);
    match c.binary().and_then(|_| c.u8()) {
        Ok(..=4 | 0x80..) => Version::V3,
        _ => Version::V5,
    }
}

/// Reads a CONNECT's body.
///
/// # Errors
/// What is wrong with it.
pub fn read(body: &[u8]) -> Result<Connect, Violation> {
    let mut c = Cursor::new(body);
    let unsupported = |why| Violation { code: reason::UNSUPPORTED_VERSION, why };
    let name = c.str()?;
    let version = match (name, c.u8()?) {
        ("MQTT", 4) => Version::V3,
        ("MQTT", 5) => Version::V5,
        ("MQTT" | "MQIsdp", _) => return Err(unsupported("only MQTT 3.1.1 and 5 are spoken here")),
        _ => return Err(unsupported("the protocol is not MQTT")),
    };
    let flags = c.u8()?;
    if flags & 1 != 0 {
        return Err(Violation::malformed("the reserved connect flag is set"));
    }
    let v3 = version == Version::V3;
    if v3 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(Violation::malformed("a password comes without a user name"));
    }
    let keep_alive_s = c.u16()?;
    let clean = flags & CLEAN != 0;
    let mut connect = Connect {
        version,
        clean,
        keep_alive_s,
        client_id: String::new(),
        expiry_s: if v3 && !clean { u32::MAX } else { 0 },
        receive_max: u16::MAX,
        packet_max: u32::MAX,
        explains: true,
        will: None,
    };
    if !v3 {
        connect_properties(&mut c, &mut connect)?;
    }
    let client_id = c.str()?;
    if client_id.len() > CLIENT_ID_BYTES_MAX {
        return Err(Violation { code: reason::CLIENT_ID_INVALID, why: "the client identifier is too long" });
    }
    client_id.clone_into(&mut connect.client_id);
    if flags & WILL != 0 {
        connect.will = Some(will(version, flags, &mut c)?);
    } else if flags & WILL_FLAGS != 0 {
        return Err(Violation::malformed("will flags are set without a will"));
    }
    if flags & USER_NAME != 0 {
        c.str()?;
    }
    if flags & PASSWORD != 0 {
        c.binary()?;
    }
    if !c.is_empty() {
        return Err(Violation::malformed("CONNECT is longer than its fields"));
    }
    Ok(connect)
}

fn connect_properties(c: &mut Cursor<'_>, connect: &mut Connect) -> Result<(), Violation> {
    properties::read(c, properties::IN_CONNECT, |p| {
        match p.id {
            properties::SESSION_EXPIRY => connect.expiry_s = p.number,
            properties::RECEIVE_MAXIMUM => connect.receive_max = u16::try_from(p.number).unwrap_or(u16::MAX),
            properties::MAXIMUM_PACKET_SIZE => connect.packet_max = p.number,
            properties::REQUEST_PROBLEM => connect.explains = p.number != 0,
            properties::AUTH_METHOD | properties::AUTH_DATA => {
                return Err(Violation { code: reason::BAD_AUTHENTICATION_METHOD, why: "no authentication method is offered" });
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

fn will(version: Version, flags: u8, c: &mut Cursor<'_>) -> Result<Will, Violation> {
    let (mut delay_s, mut expiry_s, mut kept) = (0, None, Vec::new());
    if version == Version::V5 {
        let block = properties::read(c, properties::IN_WILL, |p| {
            match p.id {
                properties::WILL_DELAY => delay_s = p.number,
                properties::MESSAGE_EXPIRY => expiry_s = Some(p.number),
                _ => {}
            }
            Ok(())
        })?;
        kept = travelling(block);
    }
    let topic = c.name()?;
    let payload = c.binary()?;
    let qos = flags >> 3 & 3;
    if qos == 3 {
        return Err(Violation::malformed("the will's QoS is 3"));
    }
    if !valid_name(topic) {
        return Err(Violation { code: reason::TOPIC_NAME_INVALID, why: "the will's topic cannot be published to" });
    }
    Ok(Will {
        topic: topic.to_owned(),
        payload: payload.to_vec(),
        qos,
        retain: flags & WILL_RETAIN != 0,
        delay_s,
        expiry_s,
        properties: kept,
    })
}
