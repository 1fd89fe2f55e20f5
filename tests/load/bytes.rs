//! What readings cost on the uplink, against the same readings over MQTT at QoS 1, both counted at the
//! socket in both directions in the same run.
//!
//! The way of the readings into the gateway is the raw one: each a PUBLISH of JSON with its time and
//! unit, and its PUBACK. Plant time is compressed, but each window's worth of it is told to the cloud
//! before the next begins, so that no interval is longer than it would be at 1 Hz. What two
//! connections say by themselves is measured apart, and added for the plant time that went by.

use crate::gateway;
use crate::lossy::Lossy;
use crate::role::{Role, free_port};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SERIES: u64 = 200;
/// How long nothing happens, to be measured.
const IDLE: Duration = Duration::from_secs(30);
/// How long a window may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Unacknowledged PUBLISHes.
const INFLIGHT: usize = 500;

/// What sensors measure.
#[derive(Clone, Copy)]
enum Values {
    /// Decimals of so many places, that wander around a level.
    Decimals(usize),
    /// The same in single precision, as doubles.
    Singles,
    /// The same in full precision.
    Doubles,
    /// Decimals of two places, one in twenty of which is anything below 10,000.
    Outliers,
}

impl Values {
    fn text(self, series: u64, rng: &mut StdRng) -> String {
        let near = 20.0 + series as f64 + rng.random_range(-1.0..1.0);
        match self {
            Self::Decimals(places) => format!("{near:.places$}"),
            Self::Singles => format!("{}", f64::from(near as f32)),
            Self::Doubles => format!("{near}"),
            Self::Outliers if rng.random_ratio(1, 20) => format!("{:.2}", rng.random_range(0.0..10_000.0)),
            Self::Outliers => format!("{near:.2}"),
        }
    }
}

/// Prints the table.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    let idle = idle()?;
    println!("idle: {:.1} kB an hour, both ways", idle * 3.6);
    println!("{SERIES} series x 1 Hz");
    println!("{:<10} {:<28} {:>14} {:>14} {:>10} {:>6}", "windows", "values", "raw, bytes", "uplink, bytes", "a window", "ratio");
    let kinds = [
        ("one decimal place", Values::Decimals(1)),
        ("two decimal places", Values::Decimals(2)),
        ("single precision, widened", Values::Singles),
        ("doubles in full", Values::Doubles),
        ("two places, 5 % outliers", Values::Outliers),
    ];
    for (size, seconds, windows) in [("1m", 60, 6), ("10s", 10, 18)] {
        for (name, values) in kinds {
            let (raw, windows_bytes) = measure(size, seconds, windows, values)?;
            let uplink = windows_bytes as f64 + idle * (seconds * windows) as f64;
            println!(
                "{size:<10} {name:<28} {raw:>14} {uplink:>14.0} {:>10.1} {:>6.0}",
                windows_bytes as f64 / (SERIES * windows) as f64,
                raw as f64 / uplink
            );
        }
    }
    Ok(())
}

/// A bridge, a counted link, and a gateway that sends a window 100 ms after its end.
fn pair(size: &str) -> Result<(Role, Lossy, Role), Box<dyn std::error::Error>> {
    let port = free_port()?;
    let bridge = Role::start("cloud", &format!("[mqtt]\nlisten = \"127.0.0.1:{port}\"\n"))?;
    let link = Lossy::to(port, 0)?;
    let gateway = gateway::start_linked(
        &format!("url = \"mqtt://127.0.0.1:{}\"\nevery = \"100ms\"", link.port),
        &format!("[windows]\nsizes = [\"{size}\"]\ngrace = \"100ms\"\n"),
    )?;
    Ok((bridge, link, gateway))
}

/// Bytes a second of a link that has nothing to tell.
fn idle() -> Result<f64, Box<dyn std::error::Error>> {
    let (_bridge, link, _gateway) = pair("1m")?;
    std::thread::sleep(Duration::from_secs(5));
    let bytes = |(up, down): (u64, u64)| up + down;
    let before = bytes(link.bytes());
    std::thread::sleep(IDLE);
    Ok((bytes(link.bytes()) - before) as f64 / IDLE.as_secs_f64())
}

/// Bytes raw, and on the uplink, of so many windows.
fn measure(size: &str, seconds: u64, windows: u64, values: Values) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let (_bridge, link, gateway) = pair(size)?;
    let raw = Lossy::to(gateway.port, 0)?;
    let mut sensors = Sensors::connect(raw.port)?;
    let bytes = |link: &Lossy| link.bytes().0 + link.bytes().1;
    let from_ms = (now_ms() / 60_000 - windows * seconds / 60 - 2) * 60_000;
    let mut rng = StdRng::seed_from_u64(7);
    let (mut raw_bytes, mut uplink) = (0, 0);
    // The first window carries the names of the series, once: it is not counted.
    for window in 0..=windows {
        let (raw_before, before) = (bytes(&raw), bytes(&link));
        let packets: Vec<(String, String)> = (0..seconds)
            .flat_map(|second| (0..SERIES).map(move |series| (second, series)))
            .map(|(second, series)| {
                let time_ms = from_ms + (window * seconds + second) * 1_000 + series;
                let value = values.text(series, &mut rng);
                let topic = format!("sensors/line{}/machine{}/temperature", series % 10, series / 10);
                (topic, format!("{{\"value\":{value},\"ts\":{time_ms},\"unit\":\"°C\"}}"))
            })
            .collect();
        sensors.publish(&packets)?;
        let until = Instant::now() + PATIENCE;
        while gateway.figure("held")? > 0 {
            if Instant::now() > until {
                return Err("a window does not arrive".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if window > 0 {
            raw_bytes += bytes(&raw) - raw_before;
            uplink += bytes(&link) - before;
        }
    }
    Ok((raw_bytes, uplink))
}

/// A client that publishes at QoS 1.
struct Sensors(TcpStream);

impl Sensors {
    fn connect(port: u16) -> io::Result<Self> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b's'])?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer)?;
        if answer != [0x20, 2, 0, 0] {
            return Err(io::Error::other(format!("CONNECT is answered {answer:x?}")));
        }
        Ok(Self(socket))
    }

    /// All of them, acknowledged when this returns.
    fn publish(&mut self, messages: &[(String, String)]) -> io::Result<()> {
        for some in messages.chunks(INFLIGHT) {
            let mut output = Vec::new();
            for ((topic, payload), id) in some.iter().zip(1u16..) {
                let length = 2 + topic.len() + 2 + payload.len();
                output.push(0x32);
                if length > 127 {
                    output.push((length & 0x7f) as u8 | 0x80);
                }
                output.push(if length > 127 { (length >> 7) as u8 } else { length as u8 });
                output.extend((topic.len() as u16).to_be_bytes());
                output.extend(topic.as_bytes());
                output.extend(id.to_be_bytes());
                output.extend(payload.as_bytes());
            }
            self.0.write_all(&output)?;
            self.0.read_exact(&mut vec![0; 4 * some.len()])?;
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
