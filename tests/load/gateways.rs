//! Many gateways at one bridge: every one with its two connections, as a process of its own would
//! have them, telling an interval each 5 s; then as fast as they are acknowledged.

use crate::measure::{Usage, percentile};
use crate::role::Role;
use schemas::message::{Ack, Definition, Delta, FORMAT, Hello};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Series of each gateway; every one has a window of 10 s, told with every other interval.
const SERIES: u32 = 50;
const SIZE_MS: i64 = 10_000;
const EVERY: Duration = Duration::from_secs(5);
const READINGS: i64 = 10;
/// Windows in an interval.
const WINDOWS: u64 = SERIES as u64 / 2;
/// A gateway with nothing else to say on its second connection says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// Before the figures count: connections, names of series, the first windows.
const WARM_UP: Duration = Duration::from_secs(15);

/// What all gateways come to.
#[derive(Default)]
struct Sum {
    connected: AtomicU64,
    acknowledged: AtomicU64,
    published: AtomicU64,
    latencies_us: Mutex<Vec<u32>>,
    /// From here on nobody waits for the next 5 s.
    flood: AtomicBool,
    stop: AtomicBool,
}

/// Prints the figures of `gateways` gateways, for `seconds` at their pace and 10 s in a flood.
pub fn run(gateways: u64, seconds: u64) -> Result<(), Box<dyn std::error::Error>> {
    broker::descriptors::allow(2 * gateways as usize, 64);
    let bridge = Role::start("cloud", "[mqtt]\nlisten = \"127.0.0.1:0\"\n")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let sum = Arc::new(Sum::default());
    let port = bridge.port;
    let base_ms = now_ms().div_euclid(SIZE_MS) * SIZE_MS - SIZE_MS;
    runtime.spawn(consumer(port, sum.clone()));
    let room = Arc::new(Semaphore::new(64));
    for number in 0..gateways {
        let (sum, room) = (sum.clone(), room.clone());
        runtime.spawn(async move {
            if let Err(error) = gateway(number, gateways, port, base_ms, &sum, &room).await {
                eprintln!("gateway {number}: {error}");
            }
        });
    }
    let until = Instant::now() + Duration::from_secs(60);
    while sum.connected.load(Ordering::Relaxed) < 2 * gateways {
        if Instant::now() > until {
            return Err(format!("{} of {} connections stand", sum.connected.load(Ordering::Relaxed), 2 * gateways).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{gateways} gateways of {SERIES} series, {} connections", 2 * gateways);
    std::thread::sleep(WARM_UP);
    phase("an interval each 5 s", &sum, &bridge, Duration::from_secs(seconds))?;
    sum.flood.store(true, Ordering::Relaxed);
    // Everybody waits for the present interval's turn once more.
    std::thread::sleep(EVERY);
    phase("as fast as acknowledged", &sum, &bridge, Duration::from_secs(10))?;
    sum.stop.store(true, Ordering::Relaxed);
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(())
}

fn phase(name: &str, sum: &Sum, bridge: &Role, time: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let counts = || [&sum.acknowledged, &sum.published].map(|count| count.load(Ordering::Relaxed));
    sum.latencies_us.lock().map_err(|_| "a gateway panicked")?.clear();
    let (before, begun, [acks, messages]) = (Usage::of(bridge.pid())?, Instant::now(), counts());
    std::thread::sleep(time);
    let took = begun.elapsed().as_secs_f64();
    let (used, [acks_now, messages_now]) = (Usage::of(bridge.pid())?.since(&before), counts());
    let mut latencies = std::mem::take(&mut *sum.latencies_us.lock().map_err(|_| "a gateway panicked")?);
    let windows = (acks_now - acks) * WINDOWS;
    println!(
        "{name:<24} {:.0} intervals/s, {:.0} windows/s durable, {:.0} messages/s published; ack p50 {:.1} ms, p99 {:.1} ms; \
         bridge: {:.0} % of a core ({:.1} µs a window), {:.1} MiB now, {:.1} MiB at most",
        (acks_now - acks) as f64 / took,
        windows as f64 / took,
        (messages_now - messages) as f64 / took,
        f64::from(percentile(&mut latencies, 0.5)) / 1e3,
        f64::from(percentile(&mut latencies, 0.99)) / 1e3,
        used.cpu.as_secs_f64() / took * 100.0,
        used.cpu.as_secs_f64() * 1e6 / windows.max(1) as f64,
        used.now_bytes as f64 / f64::from(1 << 20),
        used.peak_bytes as f64 / f64::from(1 << 20),
    );
    Ok(())
}

/// One gateway, for as long as the bench runs.
async fn gateway(number: u64, gateways: u64, port: u16, base_ms: i64, sum: &Arc<Sum>, room: &Semaphore) -> io::Result<()> {
    let name = format!("gw-{number}");
    let hello = Hello {
        format: FORMAT,
        gateway: name.clone(),
        boot: number + 1,
        parent: None,
        sizes: vec![SIZE_MS],
        grace_ms: 2_000,
        every_ms: EVERY.as_millis() as i64,
        clock_ms: base_ms,
        version: String::new(),
        group: None,
        wanted: Vec::new(),
    };
    let hello = publish(&format!("bridge/v1/{name}/up/hello"), &hello.encode());
    let (mut deltas, mut alerts) = {
        let _place = room.acquire().await.map_err(io::Error::other)?;
        let deltas = connect(port, &format!("{name}-deltas"), &format!("bridge/v1/{name}/down/ack")).await?;
        (deltas, connect(port, &format!("{name}-alerts"), &format!("bridge/v1/{name}/down/receipt")).await?)
    };
    sum.connected.fetch_add(2, Ordering::Relaxed);
    deltas.socket.write_all(&hello).await?;
    let (of_all, beat) = (sum.clone(), hello.clone());
    tokio::spawn(async move {
        while !of_all.stop.load(Ordering::Relaxed) && alerts.socket.write_all(&beat).await.is_ok() {
            tokio::time::sleep(HEARTBEAT).await;
        }
    });
    let topic = format!("bridge/v1/{name}/up/delta");
    let begun = tokio::time::Instant::now();
    // Gateways do not speak in step.
    let offset = EVERY.mul_f64(number as f64 / gateways as f64);
    for step in 0.. {
        if !sum.flood.load(Ordering::Relaxed) {
            tokio::time::sleep_until(begun + offset + EVERY * step).await;
        }
        if sum.stop.load(Ordering::Relaxed) {
            break;
        }
        let packet = publish(&topic, &delta(number, u64::from(step), base_ms));
        let sent = Instant::now();
        deltas.socket.write_all(&packet).await?;
        let to = (u64::from(step) + 1) * WINDOWS * READINGS as u64;
        loop {
            let ack = Ack::decode(&deltas.next().await?).map_err(io::Error::other)?;
            if ack.applied >= to {
                break;
            }
            if ack.need_defs || ack.retry_after_ms.is_some() {
                return Err(io::Error::other(format!("not taken: {ack:?}")));
            }
        }
        sum.acknowledged.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut latencies) = sum.latencies_us.lock() {
            latencies.push(sent.elapsed().as_micros() as u32);
        }
    }
    Ok(())
}

/// Half the series' windows, in turn.
fn delta(gateway: u64, step: u64, base_ms: i64) -> Vec<u8> {
    let start_ms = base_ms + (step / 2) as i64 * SIZE_MS;
    let from = step * WINDOWS * READINGS as u64;
    let to = from + WINDOWS * READINGS as u64;
    let series = (0..SERIES).filter(|s| u64::from(*s) % 2 == step % 2);
    let entries = series.enumerate().map(|(i, s)| {
        let value = |n: i64| ((20.0 + f64::from(s) + ((n * 7 + step as i64 + gateway as i64) % 13) as f64 / 10.0) * 10.0).round() / 10.0;
        let mut aggregate = Aggregate::new(start_ms, value(0));
        (1..READINGS).for_each(|n| aggregate.add(start_ms + n * 1_000, value(n)));
        let born = from + 1 + i as u64;
        Entry { series: s, size_ms: SIZE_MS, start_ms, born, version: born + WINDOWS * (READINGS as u64 - 1), aggregate }
    });
    let define =
        |number| Definition { number, name: format!("plant{gateway}/line{}/sensor{number}", number % 5), unit: Some("°C".into()) };
    Delta {
        format: FORMAT,
        boot: gateway + 1,
        from,
        to,
        number: step,
        frontier_ms: start_ms + SIZE_MS + 2_000,
        readings_to: to,
        accepted: to,
        defs: if step == 0 { (0..SERIES).map(define).collect() } else { Vec::new() },
        entries: block::encode(&entries.collect::<Vec<_>>()),
        sizes: vec![SIZE_MS],
        grace_ms: 2_000,
        ..Delta::default()
    }
    .encode()
}

/// Everybody's merged windows, counted.
async fn consumer(port: u16, sum: Arc<Sum>) {
    let Ok(mut consumer) = connect(port, "consumer", "merged/#").await else { return };
    while consumer.next().await.is_ok() {
        sum.published.fetch_add(1, Ordering::Relaxed);
    }
}

/// An MQTT 3.1.1 connection that takes what comes at QoS 0.
struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    at: usize,
}

async fn connect(port: u16, id: &str, filter: &str) -> io::Result<Connection> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    let mut packets = vec![0x10, 12 + id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, id.len() as u8];
    packets.extend(id.as_bytes());
    packets.extend([0x82, 5 + filter.len() as u8, 0, 1, 0, filter.len() as u8]);
    packets.extend(filter.as_bytes());
    packets.push(0);
    socket.write_all(&packets).await?;
    let mut answers = [0; 9];
    socket.read_exact(&mut answers).await?;
    if answers[0] != 0x20 || answers[3] != 0 || answers[8] == 0x80 {
        return Err(io::Error::other(format!("CONNECT and SUBSCRIBE are answered {answers:x?}")));
    }
    Ok(Connection { socket, input: Vec::new(), at: 0 })
}

impl Connection {
    /// The payload of the next message.
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((payload, end)) = message(&self.input[self.at..]) {
                let payload = payload.to_vec();
                self.at += end;
                return Ok(payload);
            }
            self.input.drain(..std::mem::take(&mut self.at));
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The payload of a PUBLISH at QoS 0, and where it ends.
fn message(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (mut length, mut at) = (0usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 {
            break;
        }
    }
    let body = bytes.get(at..at + length)?;
    let topic = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    Some((body.get(2 + topic..)?, at + length))
}

/// A PUBLISH at QoS 0.
fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut left = 2 + topic.len() + payload.len();
    loop {
        packet.push((left & 0x7f) as u8 | if left > 0x7f { 0x80 } else { 0 });
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    packet.extend((topic.len() as u16).to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend(payload);
    packet
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
