//! What a PUBLISH costs at the front door: `cargo bench -p tidegate-broker`.
//!
//! The codec alone, beside `rumqttc`'s on the same bytes; then the whole door over loopback with
//! an application that only counts and a log that is durable every 300 µs. CPU is that of the one
//! thread that serves all connections, system calls included, so it does not depend on what
//! else the machine does; once more with a subscriber of another topic, as a dashboard is.
//! `-- --messages N` sets how many are sent.

use broker::codec::read::{Frame, Packet, frame, packet};
use broker::{Application, Broker, Client, Config, Horizon, OpenSession, Opened, Publish, Refusal, SessionEvent, Ticket, Verdict, Version};
use bytes::BytesMut;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

const TOPIC: &str = "sensors/line0001/s017";
/// 64 bytes.
const PAYLOAD: &str = r#"{"value":21.523,"ts":1700000000000,"unit":"C","seq":12345678901}"#;
const COMMIT_EVERY: Duration = Duration::from_micros(300);
const DECODED: u64 = 5_000_000;

fn publish(id: u16, v5: bool) -> Vec<u8> {
    let mut body = vec![0, TOPIC.len() as u8];
    body.extend(TOPIC.as_bytes());
    body.extend(id.to_be_bytes());
    body.extend(vec![0; usize::from(v5)]);
    body.extend(PAYLOAD.as_bytes());
    [vec![0x32, body.len() as u8], body].concat()
}

fn nanoseconds(what: &str, mut once: impl FnMut()) {
    let begun = Instant::now();
    (0..DECODED).for_each(|_| once());
    println!("{what:<44} {:>8.1} ns", begun.elapsed().as_nanos() as f64 / DECODED as f64);
}

fn codec() {
    for (version, v5) in [(Version::V3, false), (Version::V5, true)] {
        let bytes = publish(7, v5);
        nanoseconds(&format!("a PUBLISH read in place, {version:?}"), || {
            let Ok(Frame::Whole(head, body)) = frame(black_box(&bytes), 1 << 18) else { unreachable!("it is whole") };
            let Ok(Packet::Publish(publish)) = packet(version, head, &bytes[body]) else { unreachable!("it is valid") };
            black_box(publish);
        });
    }
    let bytes = publish(7, false);
    nanoseconds("the same by rumqttc's codec, V3", || {
        let mut input = BytesMut::from(black_box(&bytes[..]));
        drop(black_box(rumqttc::mqttbytes::v4::Packet::read(&mut input, 1 << 18)));
    });
    let bytes = publish(7, true);
    nanoseconds("the same by rumqttc's codec, V5", || {
        let mut input = BytesMut::from(black_box(&bytes[..]));
        drop(black_box(rumqttc::v5::mqttbytes::v5::Packet::read(&mut input, None)));
    });
}

/// Takes everything; durable when the clock says so.
struct Counting {
    taken: AtomicU64,
    horizon: watch::Sender<Horizon>,
}

impl Application for Counting {
    fn publish(&self, _: &Client, batch: &[Publish<'_>], verdicts: &mut Vec<Verdict>) {
        let first = self.taken.fetch_add(batch.len() as u64, Ordering::Relaxed);
        verdicts.extend((1..=batch.len() as u64).map(|n| Verdict::After { ticket: first + n, route: true }));
    }

    fn open_session(&self, _: &OpenSession<'_>) -> Result<Opened, Refusal> {
        Err(Refusal::Unavailable)
    }

    fn session(&self, _: u64, _: SessionEvent<'_>) -> Result<Ticket, Refusal> {
        Err(Refusal::Unavailable)
    }

    fn horizon(&self) -> watch::Receiver<Horizon> {
        self.horizon.subscribe()
    }
}

fn connected(at: SocketAddr, id: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(at)?;
    socket.set_nodelay(true)?;
    let mut connect = vec![0x10, 12 + id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, id.len() as u8];
    connect.extend(id.as_bytes());
    socket.write_all(&connect)?;
    socket.read_exact(&mut [0; 4])?;
    Ok(socket)
}

/// Sends bursts of `inflight` and waits for half of their acknowledgements before the next half.
fn load(at: SocketAddr, number: usize, messages: u64, inflight: u64) -> io::Result<()> {
    let mut socket = connected(at, &format!("c{number}"))?;
    let (mut sent, mut acknowledged) = (0, 0);
    let mut acks = vec![0; 4 * inflight as usize];
    while acknowledged < messages {
        let more = (messages - sent).min(inflight - (sent - acknowledged));
        let burst: Vec<u8> = (0..more).flat_map(|n| publish(((sent + n) % 60_000) as u16 + 1, false)).collect();
        socket.write_all(&burst)?;
        sent += more;
        let due = (sent - acknowledged).div_ceil(2);
        socket.read_exact(&mut acks[..4 * due as usize])?;
        acknowledged += due;
    }
    Ok(())
}

/// Nanoseconds that this thread has run.
fn thread_cpu() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    text.split(' ').next().and_then(|ns| ns.parse().ok()).ok_or_else(|| io::Error::other("schedstat is not as expected"))
}

fn door(messages: u64, connections: u64, inflight: u64, watched: bool) -> io::Result<()> {
    let application = Arc::new(Counting { taken: AtomicU64::new(0), horizon: watch::channel(Horizon::default()).0 });
    let (tell, at) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let shared = application.clone();
    let serving = std::thread::spawn(move || -> io::Result<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            // Who asks waits for it.
            let _ = tell.send(listener.local_addr()?);
            let broker = Broker::new(Config { max_packet: 256 << 10, connections_max: 1_000, queue_max: 10_000 }, shared, Vec::new());
            let listening = broker.listen(listener);
            drop(stopped.await);
            listening.abort();
            thread_cpu()
        })
    });
    let at = at.recv().map_err(io::Error::other)?;
    let committing = Arc::new(AtomicBool::new(true));
    let (log, going) = (application.clone(), committing.clone());
    let commits = std::thread::spawn(move || {
        while going.load(Ordering::Relaxed) {
            std::thread::sleep(COMMIT_EVERY);
            let durable = log.taken.load(Ordering::Relaxed);
            if log.horizon.borrow().durable < durable {
                log.horizon.send_modify(|h| h.durable = durable);
            }
        }
    });
    let watcher = watched.then(|| -> io::Result<TcpStream> {
        let mut socket = connected(at, "watcher")?;
        socket.write_all(&[0x82, 8, 0, 1, 0, 3, b'a', b'/', b'#', 0])?;
        socket.read_exact(&mut [0; 5])?;
        Ok(socket)
    });
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..connections as usize).map(|number| scope.spawn(move || load(at, number, messages / connections, inflight))).collect();
        clients.into_iter().try_for_each(|c| c.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked"))))
    })?;
    let elapsed = begun.elapsed();
    drop(watcher.transpose()?);
    let _ = stop.send(());
    let cpu = serving.join().map_err(|_| io::Error::other("the door panicked"))??;
    committing.store(false, Ordering::Relaxed);
    drop(commits.join());
    let shape = format!("{connections}x{inflight}{}", if watched { ", watched" } else { "" });
    let rate = messages as f64 / elapsed.as_secs_f64();
    println!("the whole door, {shape:<28} {:>8.1} ns CPU a PUBLISH, {rate:>9.0}/s", cpu as f64 / messages as f64);
    Ok(())
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let after = words.iter().position(|w| w == "--messages").and_then(|at| words.get(at + 1));
    let messages = after.map_or(Ok(2_000_000), |n| n.parse()).map_err(io::Error::other)?;
    codec();
    for watched in [false, true] {
        door(messages, 10, 100, watched)?;
    }
    door(messages / 4, 1, 100, false)?;
    door(messages / 100, 1, 1, false)
}
