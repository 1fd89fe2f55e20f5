//! The load generator: plain sockets and ready-made packets, so that it costs little beside
//! what it measures.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Connections, and PUBLISHes that each keeps unacknowledged.
#[derive(Clone, Copy)]
pub struct Shape {
    pub connections: usize,
    pub inflight: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('x').and_then(|(c, i)| Some((c.parse().ok()?, i.parse().ok()?)));
        let Some((connections @ 1..=1_000, inflight @ 1..=10_000)) = parts else {
            return Err(format!("{text:?} is no shape: write CONNECTIONSxINFLIGHT, as 10x100"));
        };
        Ok(Self { connections, inflight })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.connections, self.inflight)
    }
}

/// What is to be sent.
#[derive(Clone, Copy)]
pub struct Load {
    pub shape: Shape,
    pub time: Duration,
    /// With sessions that outlive the connection.
    pub durable: bool,
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    pub acknowledged: u64,
    pub elapsed: Duration,
    /// A sample of them: from the write of a PUBLISH to the read of its PUBACK.
    pub latencies_us: Vec<u32>,
}

/// One acknowledgement in so many is timed.
const SAMPLE: u64 = 16;
const SERIES: usize = 50;

impl Load {
    /// Sends for as long as asked, and waits for the acknowledgements of all.
    pub fn run(&self, port: u16) -> io::Result<Outcome> {
        let begun = Instant::now();
        let parts: Vec<io::Result<Outcome>> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.shape.connections)
                .map(|number| scope.spawn(move || Client::connect(port, number, self.durable, SERIES)?.run(self)))
                .collect();
            clients.into_iter().map(|c| c.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked")))).collect()
        });
        let mut sum = Outcome { elapsed: begun.elapsed(), ..Outcome::default() };
        for part in parts {
            let part = part?;
            sum.acknowledged += part.acknowledged;
            sum.latencies_us.extend(part.latencies_us);
        }
        Ok(sum)
    }
}

/// One connection.
pub struct Client {
    socket: TcpStream,
    /// One PUBLISH a series, with blanks at the places below.
    packets: Vec<Vec<u8>>,
    /// Values are as a sensor's, not as cheap as they can be.
    pub lively: bool,
    id_at: usize,
    time_at: usize,
    value_at: usize,
}

impl Client {
    /// Connects as client `number` with topics for `series` series.
    pub fn connect(port: u16, number: usize, durable: bool, series: usize) -> io::Result<Self> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        let id = format!("load-{number:04}");
        let mut connect =
            vec![0x10, 12 + id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, if durable { 0 } else { 2 }, 0, 0, 0, id.len() as u8];
        connect.extend(id.as_bytes());
        socket.write_all(&connect)?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer)?;
        if answer[0] != 0x20 || answer[3] != 0 {
            return Err(io::Error::other(format!("CONNECT is answered {answer:x?}")));
        }
        let topics = (0..series).map(|series| format!("sensors/line{number:04}/s{series:03}"));
        let packets: Vec<Vec<u8>> = topics.map(|topic| packet(&topic)).collect();
        let topic_bytes = packets[0][3] as usize;
        let payload = 4 + topic_bytes + 2;
        Ok(Self { socket, packets, lively: false, id_at: 4 + topic_bytes, value_at: payload + 9, time_at: payload + 20 })
    }

    /// Sends `seconds` of plant time, every series once a second, ending now: as fast as the
    /// acknowledgements of `inflight` come, or in real time with one at a time.
    pub fn plant(&mut self, seconds: u64, inflight: u64, real_time: bool) -> io::Result<u64> {
        self.readings(seconds, 1_000, inflight, real_time)
    }

    /// Sends `seconds` of plant time, every series once a second, ending now, at so many times the pace
    /// of real time; each second's readings once those of the one before are acknowledged.
    pub fn paced(&mut self, seconds: u64, times: u64) -> io::Result<u64> {
        let series = self.packets.len() as u64;
        let (begun, from_ms) = (Instant::now(), now_ms() - seconds * 1_000);
        let (mut output, mut input) = (Vec::new(), vec![0u8; 4 * series as usize]);
        for second in 0..seconds {
            std::thread::sleep(Duration::from_micros(second * 1_000_000 / times).saturating_sub(begun.elapsed()));
            output.clear();
            (second * series..(second + 1) * series).for_each(|number| self.put(&mut output, number, from_ms + second * 1_000));
            self.socket.write_all(&output)?;
            self.acknowledged(second * series, &mut input)?;
        }
        Ok(seconds * series)
    }

    /// Reads acknowledgements from that of `number` on, as many as there is room for.
    fn acknowledged(&mut self, number: u64, room: &mut [u8]) -> io::Result<()> {
        self.socket.read_exact(room)?;
        for (ack, number) in room.chunks_exact(4).zip(number..) {
            if ack != [[0x40, 2], packet_id(number).to_be_bytes()].concat() {
                return Err(io::Error::other(format!("PUBACK of {} expected, got {ack:x?}", packet_id(number))));
            }
        }
        Ok(())
    }

    /// Sends so many readings of every series, `apart_ms` apart, ending now, as fast as the
    /// acknowledgements of `inflight` come.
    pub fn history(&mut self, readings: u64, apart_ms: u64, inflight: u64) -> io::Result<u64> {
        self.readings(readings, apart_ms, inflight, false)
    }

    fn readings(&mut self, each: u64, apart_ms: u64, inflight: u64, real_time: bool) -> io::Result<u64> {
        let series = self.packets.len() as u64;
        let total = each * series;
        let begun = Instant::now();
        let from_ms = now_ms() - if real_time { 0 } else { each * apart_ms };
        let (mut sent, mut acknowledged) = (0, 0);
        let mut output = Vec::new();
        let mut input = vec![0u8; 4 * inflight as usize];
        while acknowledged < total {
            output.clear();
            while sent < total && sent - acknowledged < inflight {
                self.put(&mut output, sent, from_ms + sent * apart_ms / series);
                sent += 1;
            }
            if real_time {
                std::thread::sleep(Duration::from_micros((sent - 1) * 1_000_000 / series).saturating_sub(begun.elapsed()));
            }
            self.socket.write_all(&output)?;
            let due = if sent < total { (sent - acknowledged).div_ceil(2) } else { sent - acknowledged };
            self.acknowledged(acknowledged, &mut input[..4 * due as usize])?;
            acknowledged += due;
        }
        Ok(acknowledged)
    }

    /// One reading now, with other digits before its decimal point where given; in how many µs
    /// its acknowledgement came.
    pub fn one(&mut self, number: u64, digits: Option<&[u8]>) -> io::Result<u32> {
        let (mut output, mut ack) = (Vec::new(), [0; 4]);
        let at = Instant::now();
        self.put(&mut output, number, now_ms());
        if let Some(digits) = digits {
            output[self.value_at..self.value_at + digits.len()].copy_from_slice(digits);
        }
        self.socket.write_all(&output)?;
        self.socket.read_exact(&mut ack)?;
        if ack[..2] != [0x40, 2] || ack[2..] != packet_id(number).to_be_bytes() {
            return Err(io::Error::other(format!("PUBACK of {} expected, got {ack:x?}", packet_id(number))));
        }
        Ok(at.elapsed().as_micros() as u32)
    }

    fn run(mut self, load: &Load) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let until = Instant::now() + load.time;
        let mut sent = 0u64;
        let mut sent_at = vec![Instant::now(); load.shape.inflight.div_ceil(SAMPLE as usize) + 1];
        let mut output = Vec::new();
        let mut input = vec![0u8; 4 * load.shape.inflight];
        let mut have = 0;
        loop {
            let going = Instant::now() < until;
            if going && sent - outcome.acknowledged < load.shape.inflight as u64 {
                output.clear();
                let now_ms = now_ms();
                while sent - outcome.acknowledged < load.shape.inflight as u64 {
                    self.put(&mut output, sent, now_ms);
                    if sent.is_multiple_of(SAMPLE) {
                        let slots = sent_at.len() as u64;
                        sent_at[(sent / SAMPLE % slots) as usize] = Instant::now();
                    }
                    sent += 1;
                }
                self.socket.write_all(&output)?;
            }
            if outcome.acknowledged == sent {
                return Ok(outcome);
            }
            let n = self.socket.read(&mut input[have..])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            have += n;
            for ack in input[..have - have % 4].chunks_exact(4) {
                if ack[..2] != [0x40, 2] || ack[2..] != (packet_id(outcome.acknowledged)).to_be_bytes() {
                    return Err(io::Error::other(format!("PUBACK of {} expected, got {ack:x?}", packet_id(outcome.acknowledged))));
                }
                if outcome.acknowledged.is_multiple_of(SAMPLE) {
                    let slots = sent_at.len() as u64;
                    let took = sent_at[(outcome.acknowledged / SAMPLE % slots) as usize].elapsed();
                    outcome.latencies_us.push(took.as_micros() as u32);
                }
                outcome.acknowledged += 1;
            }
            input.copy_within(have - have % 4..have, 0);
            have %= 4;
        }
    }

    /// A packet with its id, time and value filled in.
    fn put(&mut self, output: &mut Vec<u8>, number: u64, now_ms: u64) {
        let series = self.packets.len();
        let packet = &mut self.packets[number as usize % series];
        packet[self.id_at..self.id_at + 2].copy_from_slice(&packet_id(number).to_be_bytes());
        digits(&mut packet[self.time_at..self.time_at + 13], now_ms);
        let value = if self.lively { lively(number, series as u64) } else { number.wrapping_mul(7_919) % 100 };
        digits(&mut packet[self.value_at + 3..self.value_at + 5], value);
        output.extend_from_slice(packet);
    }
}

/// Hundredths of a sensor that drifts and is noisy: what repeats would cost nothing on a line.
fn lively(number: u64, series: u64) -> u64 {
    let mut noise = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    noise = (noise ^ (noise >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    noise ^= noise >> 27;
    (noise >> 40) % 20 + (number / series / 30 + number % series * 7) % 80
}

/// Connects with nothing but an identifier, as MQTT 3.1.1 with a clean session.
pub fn connect(port: u16, id: &str) -> io::Result<Sensor> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    let mut connect = vec![0x10, 12 + id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, id.len() as u8];
    connect.extend(id.as_bytes());
    socket.write_all(&connect)?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer)?;
    if answer[0] != 0x20 || answer[3] != 0 {
        return Err(io::Error::other(format!("CONNECT is answered {answer:x?}")));
    }
    Ok(Sensor { socket })
}

/// A sensor that says one thing at a time.
pub struct Sensor {
    socket: TcpStream,
}

impl Sensor {
    /// A reading of now, far beyond any limit, at QoS 1; waits for its acknowledgement.
    pub fn publish(&mut self, topic: &str, packet_id: u16) -> io::Result<()> {
        let payload = format!("{{\"value\":97.2,\"ts\":{}}}", now_ms());
        let mut packet = vec![0x32, (2 + topic.len() + 2 + payload.len()) as u8, 0, topic.len() as u8];
        packet.extend(topic.as_bytes());
        packet.extend(packet_id.to_be_bytes());
        packet.extend(payload.as_bytes());
        self.socket.write_all(&packet)?;
        let mut answer = [0; 4];
        self.socket.read_exact(&mut answer)?;
        if answer[..2] == [0x40, 2] { Ok(()) } else { Err(io::Error::other(format!("PUBLISH is answered {answer:x?}"))) }
    }
}

/// A consumer that takes what comes at QoS 0, with the time when it came.
pub struct Listener {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Listener {
    /// Connects and subscribes.
    pub fn subscribe(port: u16, id: &str, filter: &str) -> io::Result<Self> {
        let Sensor { mut socket } = connect(port, id)?;
        let mut packet = vec![0x82, 5 + filter.len() as u8, 0, 1, 0, filter.len() as u8];
        packet.extend(filter.as_bytes());
        packet.push(0);
        socket.write_all(&packet)?;
        let mut answer = [0; 5];
        socket.read_exact(&mut answer)?;
        Ok(Self { socket, input: Vec::new() })
    }

    /// The next topic, and when its message came; none by then.
    pub fn next_before(&mut self, until: Instant) -> io::Result<Option<(String, Instant)>> {
        loop {
            if let Some(topic) = self.take() {
                return Ok(Some((topic, Instant::now())));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left < Duration::from_micros(1) {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let mut bytes = [0; 16 << 10];
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.input.extend_from_slice(&bytes[..n]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self) -> Option<String> {
        let (mut length, mut at) = (0usize, 1);
        loop {
            let byte = *self.input.get(at)?;
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if byte < 0x80 {
                break;
            }
        }
        let body = self.input.get(at..at + length)?;
        let topic_bytes = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
        let topic = String::from_utf8_lossy(body.get(2..2 + topic_bytes)?).into_owned();
        self.input.drain(..at + length);
        Some(topic)
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

fn packet_id(number: u64) -> u16 {
    (number % 65_535 + 1) as u16
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// PUBLISH at QoS 1 with 64 bytes of payload.
fn packet(topic: &str) -> Vec<u8> {
    let payload = br#"{"value":21.57,"ts":1700000000000,"unit":"degC","site":"m-01" }"#;
    let mut body = vec![0, topic.len() as u8];
    body.extend(topic.as_bytes());
    body.extend([0, 0]);
    body.extend(payload);
    let mut packet = vec![0x32, body.len() as u8];
    packet.extend(body);
    packet
}
