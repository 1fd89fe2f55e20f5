//! A client made by hand: bytes in, bytes out, nothing decided for the test.

use broker::Version::{self, V3, V5};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub const CONNACK: u8 = 0x20;
pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x62;
pub const PUBCOMP: u8 = 0x70;
pub const SUBACK: u8 = 0x90;
pub const UNSUBACK: u8 = 0xb0;
pub const PINGRESP: u8 = 0xd0;
pub const DISCONNECT: u8 = 0xe0;

/// How long an answer is waited for, unless the test says otherwise.
const WAIT: Duration = Duration::from_secs(60);

/// What a client sees next on its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// First byte and body of a packet.
    Packet(u8, Vec<u8>),
    /// The server closed.
    Closed,
}

pub struct Wire {
    stream: TcpStream,
    pub version: Version,
}

impl Wire {
    /// Only the socket.
    pub fn open(at: SocketAddr, version: Version) -> Self {
        Self::over(TcpStream::connect(at).unwrap(), version)
    }

    /// Over a socket that is there.
    pub fn over(stream: TcpStream, version: Version) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        Self { stream, version }
    }

    /// Connected with a clean session.
    pub fn clean(at: SocketAddr, version: Version, id: &str) -> Self {
        let wire = Self::with(at, &Connect { id, ..Connect::of(version) });
        assert_eq!(wire.1, (false, 0), "CONNACK of {id}");
        wire.0
    }

    /// Connected with a session that never ends; whether it was there.
    pub fn durable(at: SocketAddr, version: Version, id: &str) -> (Self, bool) {
        let (wire, (present, code)) = Self::with(at, &Connect::durable(version, id));
        assert_eq!(code, 0, "CONNACK of {id}");
        (wire, present)
    }

    /// Sends a CONNECT; with session present and reason of its CONNACK.
    pub fn with(at: SocketAddr, connect: &Connect<'_>) -> (Self, (bool, u8)) {
        let mut wire = Self::open(at, connect.version);
        wire.send(&connect.bytes());
        let Seen::Packet(CONNACK, body) = wire.next() else { panic!("no CONNACK") };
        (wire, (body[0] == 1, body[1]))
    }

    /// Bytes, which the server may have stopped reading.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Sends these bytes one by one, so far apart, from now on.
    pub fn dribble(&self, bytes: Vec<u8>, apart: Duration) {
        let mut stream = self.stream.try_clone().unwrap();
        std::thread::spawn(move || {
            for byte in bytes {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(apart);
            }
        });
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn wait_at_most(&mut self, wait: Duration) {
        self.stream.set_read_timeout(Some(wait)).unwrap();
    }

    pub fn write_timeout(&mut self, wait: Duration) {
        self.stream.set_write_timeout(Some(wait)).unwrap();
    }

    /// The next packet, or the end.
    pub fn next(&mut self) -> Seen {
        self.try_next().expect("the server says nothing")
    }

    fn byte(&mut self) -> Option<std::io::Result<u8>> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(Ok(byte[0])),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// The same; nothing if the server says nothing in time.
    pub fn try_next(&mut self) -> Option<Seen> {
        let head = match self.byte() {
            None => return Some(Seen::Closed),
            Some(Ok(head)) => head,
            Some(Err(error)) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                return None;
            }
        };
        let mut length = 0usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte().unwrap().unwrap();
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        Some(Seen::Packet(head, body))
    }

    /// The same within another time.
    pub fn try_next_within(&mut self, wait: Duration) -> Option<Seen> {
        self.wait_at_most(wait);
        let seen = self.try_next();
        self.wait_at_most(WAIT);
        seen
    }

    /// The next packet must be this one.
    #[track_caller]
    pub fn expect(&mut self, head: u8, body: &[u8]) {
        assert_eq!(self.next(), Seen::Packet(head, body.to_vec()));
    }

    /// Nothing but the end comes, in MQTT 5 after a DISCONNECT with this reason.
    #[track_caller]
    pub fn expect_end(&mut self, reason: u8) {
        if self.version == V5 {
            self.expect(DISCONNECT, &[reason, 0]);
        }
        assert_eq!(self.next(), Seen::Closed);
    }

    /// The server has nothing to say: it answers a PINGREQ first.
    #[track_caller]
    pub fn expect_quiet(&mut self) {
        self.send(&[0xc0, 0]);
        self.expect(PINGRESP, &[]);
    }

    /// The next packet must be a PUBLISH.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        match self.next() {
            Seen::Packet(head, body) if head >> 4 == 3 => Message::read(self.version, head, &body),
            other => panic!("no PUBLISH but {other:?}"),
        }
    }

    pub fn publish(&mut self, p: Publish<'_>) {
        let bytes = p.bytes(self.version);
        self.send(&bytes);
    }

    /// Publishes at QoS 1 and waits for PUBACK; its reason.
    #[track_caller]
    pub fn say(&mut self, topic: &str, payload: &str) -> u8 {
        self.publish(Publish { qos: 1, id: 9_999, ..Publish::of(topic, payload) });
        match self.next() {
            Seen::Packet(PUBACK, body) if body[..2] == 9_999u16.to_be_bytes() => body.get(2).copied().unwrap_or(0),
            other => panic!("no PUBACK but {other:?}"),
        }
    }

    /// Subscribes and waits for SUBACK; its reasons.
    #[track_caller]
    pub fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.subscribe_as(filters, None)
    }

    #[track_caller]
    pub fn subscribe_as(&mut self, filters: &[(&str, u8)], identifier: Option<u32>) -> Vec<u8> {
        let mut body = vec![0x12, 0x34];
        let properties = identifier.map_or(vec![], |id| [vec![0x0b], varint(id as usize)].concat());
        body.extend(block(self.version, &properties));
        for (filter, options) in filters {
            body.extend(string(filter));
            body.push(*options);
        }
        self.send(&packet(0x82, &body));
        match self.next() {
            Seen::Packet(SUBACK, body) if body[..2] == [0x12, 0x34] => body[if self.version == V5 { 3 } else { 2 }..].to_vec(),
            other => panic!("no SUBACK but {other:?}"),
        }
    }

    /// Unsubscribes and waits for UNSUBACK; its reasons.
    #[track_caller]
    pub fn unsubscribe(&mut self, filter: &str) -> Vec<u8> {
        self.send(&packet(0xa2, &[&[0x12, 0x35][..], &block(self.version, &[]), &string(filter)].concat()));
        match self.next() {
            Seen::Packet(UNSUBACK, body) if body[..2] == [0x12, 0x35] => body[if self.version == V5 { 3 } else { 2 }..].to_vec(),
            other => panic!("no UNSUBACK but {other:?}"),
        }
    }

    /// A QoS 2 handshake's first half: PUBLISH and PUBREC; its reason.
    #[track_caller]
    pub fn send_twice_safe(&mut self, topic: &str, payload: &str, id: u16, dup: bool) -> u8 {
        self.publish(Publish { qos: 2, id, dup, ..Publish::of(topic, payload) });
        match self.next() {
            Seen::Packet(PUBREC, body) if body[..2] == id.to_be_bytes() => body.get(2).copied().unwrap_or(0),
            other => panic!("no PUBREC but {other:?}"),
        }
    }

    /// Its second half: PUBREL and PUBCOMP; its reason.
    #[track_caller]
    pub fn release(&mut self, id: u16) -> u8 {
        self.send(&packet(PUBREL, &id.to_be_bytes()));
        match self.next() {
            Seen::Packet(PUBCOMP, body) if body[..2] == id.to_be_bytes() => body.get(2).copied().unwrap_or(0),
            other => panic!("no PUBCOMP but {other:?}"),
        }
    }

    pub fn acknowledge(&mut self, id: u16) {
        self.send(&packet(PUBACK, &id.to_be_bytes()));
    }

    /// DISCONNECT as a client that means it.
    pub fn leave(mut self) {
        self.send(&[0xe0, 0]);
        assert_eq!(self.next(), Seen::Closed);
    }

    /// Gone without a word; waits until the server has noticed.
    pub fn vanish(mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while self.next() != Seen::Closed {}
    }
}

/// A CONNECT to be made.
#[derive(Clone)]
pub struct Connect<'a> {
    pub version: Version,
    pub id: &'a str,
    pub clean: bool,
    pub keep_alive_s: u16,
    /// MQTT 5 properties, encoded, without their length.
    pub properties: Vec<u8>,
    pub will: Option<Will<'a>>,
}

#[derive(Clone)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a str,
    pub qos: u8,
    pub retain: bool,
    pub properties: Vec<u8>,
}

impl<'a> Will<'a> {
    pub fn of(topic: &'a str, payload: &'a str) -> Self {
        Self { topic, payload, qos: 1, retain: false, properties: vec![] }
    }
}

impl<'a> Connect<'a> {
    pub fn of(version: Version) -> Self {
        Self { version, id: "client", clean: true, keep_alive_s: 0, properties: vec![], will: None }
    }

    /// With a session that never ends.
    pub fn durable(version: Version, id: &'a str) -> Self {
        Self { id, clean: false, properties: expiry(u32::MAX), ..Self::of(version) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let will = self.will.as_ref();
        let mut flags = if self.clean { 2 } else { 0 };
        flags |= will.map_or(0, |w| 4 | w.qos << 3 | u8::from(w.retain) << 5);
        let level = if self.version == V5 { 5 } else { 4 };
        let mut body = [string("MQTT"), vec![level, flags], self.keep_alive_s.to_be_bytes().to_vec()].concat();
        body.extend(block(self.version, &self.properties));
        body.extend(string(self.id));
        if let Some(w) = will {
            body.extend(block(self.version, &w.properties));
            body.extend(string(w.topic));
            body.extend(string(w.payload));
        }
        packet(0x10, &body)
    }
}

/// A PUBLISH to be made.
#[derive(Clone)]
pub struct Publish<'a> {
    pub topic: &'a str,
    pub payload: &'a str,
    pub qos: u8,
    pub id: u16,
    pub retain: bool,
    pub dup: bool,
    pub properties: Vec<u8>,
}

impl<'a> Publish<'a> {
    pub fn of(topic: &'a str, payload: &'a str) -> Self {
        Self { topic, payload, qos: 0, id: 0, retain: false, dup: false, properties: vec![] }
    }

    pub fn bytes(&self, version: Version) -> Vec<u8> {
        let head = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = string(self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        body.extend(block(version, &self.properties));
        body.extend(self.payload.as_bytes());
        packet(head, &body)
    }
}

/// A PUBLISH that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub id: u16,
    pub properties: Vec<u8>,
}

impl Message {
    pub fn read(version: Version, head: u8, body: &[u8]) -> Self {
        let (length, rest) = body.split_at(2);
        let (topic, mut rest) = rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
        let qos = head >> 1 & 3;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut properties = vec![];
        if version == V5 {
            assert!(rest[0] < 0x80, "test messages have few properties");
            let (block, payload) = rest[1..].split_at(usize::from(rest[0]));
            (properties, rest) = (block.to_vec(), payload);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { topic: text(topic), payload: text(rest), qos, retain: head & 1 == 1, dup: head & 8 != 0, id, properties }
    }

    /// What most tests ask for.
    pub fn brief(&self) -> (&str, &str, u8, bool) {
        (&self.topic, &self.payload, self.qos, self.retain)
    }
}

pub fn varint(mut value: usize) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

pub fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

pub fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    [vec![head], varint(body.len()), body.to_vec()].concat()
}

/// Properties with their length, which MQTT 3.1.1 does not have.
pub fn block(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        V3 => vec![],
        V5 => [varint(properties.len()), properties.to_vec()].concat(),
    }
}

/// Session expiry interval.
pub fn expiry(seconds: u32) -> Vec<u8> {
    [vec![0x11], seconds.to_be_bytes().to_vec()].concat()
}

/// A user property.
pub fn user(key: &str, value: &str) -> Vec<u8> {
    [vec![0x26], string(key), string(value)].concat()
}
