//! A TCP link between two ends that can be cut, made deaf or slow, and restored; it counts its bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How the link is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Bytes pass.
    Up,
    /// Connections end and new ones are closed at once.
    Cut,
    /// Connections stand, and nothing comes out at the other end.
    Deaf,
    /// Bytes pass slowly.
    Slow(Slow),
}

/// A line that all connections share, first come, first served; each way has its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// Bytes a second, each way.
    pub rate: u64,
    /// What every byte takes beside.
    pub delay: Duration,
    /// How long what waits before the line may take to pass it; then no more is read.
    pub queue: Duration,
}

impl Slow {
    /// What a message of so many bytes takes at the longest, if nobody but the line holds it up.
    pub fn longest(&self, bytes: u64) -> Duration {
        self.queue + self.delay + Duration::from_millis((bytes + 3 * CHUNK as u64) * 1_000 / self.rate)
    }
}

/// Bytes that pass a slow line at once, as packets do.
const CHUNK: usize = 1_400;

/// The link; it ends with the test's process.
pub struct Link {
    pub port: u16,
    line: Arc<Line>,
}

struct Line {
    state: Mutex<State>,
    /// Up, to the port, and down.
    ways: [Way; 2],
}

struct Way {
    bytes: AtomicU64,
    /// When all that waits has passed.
    free: Mutex<Instant>,
}

impl Link {
    /// A link to a port, up.
    pub fn to(port: u16) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = || Way { bytes: AtomicU64::new(0), free: Mutex::new(Instant::now()) };
        let line = Arc::new(Line { state: Mutex::new(State::Up), ways: [way(), way()] });
        let link = Link { port: listener.local_addr().unwrap().port(), line: line.clone() };
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                if line.state() == State::Cut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (way, from, to) in [(0, &near, &far), (1, &far, &near)] {
                    let (from, to, line) = (from.try_clone().unwrap(), to.try_clone().unwrap(), line.clone());
                    std::thread::spawn(move || line.pump(way, from, to));
                }
            }
        });
        link
    }

    pub fn set(&self, state: State) {
        *self.line.state.lock().unwrap() = state;
    }

    /// Bytes that came in at either end.
    pub fn bytes(&self) -> u64 {
        self.line.ways.iter().map(|way| way.bytes.load(Ordering::SeqCst)).sum()
    }

    /// Those that came in from whoever connected.
    pub fn bytes_up(&self) -> u64 {
        self.line.ways[0].bytes.load(Ordering::SeqCst)
    }

    /// Those that came in from the port.
    pub fn bytes_down(&self) -> u64 {
        self.line.ways[1].bytes.load(Ordering::SeqCst)
    }
}

impl Line {
    fn state(&self) -> State {
        *self.state.lock().unwrap()
    }

    /// Moves bytes one way until an end closes or the link is cut.
    fn pump(self: Arc<Self>, way: usize, mut from: TcpStream, to: TcpStream) {
        from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // What is under way on a slow line: the bytes, and when they come out.
        let (send, under_way) = sync_channel(4_096);
        let (out, line) = (to.try_clone().unwrap(), self.clone());
        let writer = std::thread::spawn(move || line.deliver(&under_way, out));
        let mut buffer = [0; 16 * 1024];
        loop {
            let now = self.state();
            if now == State::Cut {
                break;
            }
            let most = if matches!(now, State::Slow(_)) { CHUNK } else { buffer.len() };
            match from.read(&mut buffer[..most]) {
                Ok(0) => break,
                Ok(_) if now == State::Deaf => {}
                Ok(n) => {
                    self.ways[way].bytes.fetch_add(n as u64, Ordering::SeqCst);
                    if send.send((self.ways[way].pass(now, n), buffer[..n].to_vec())).is_err() {
                        break;
                    }
                }
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        drop(send);
        writer.join().unwrap();
        // The other direction sees the end of the same sockets; either may be closed already.
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    }

    /// Writes what comes out of the line, in order.
    fn deliver(&self, under_way: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
        for (at, bytes) in under_way {
            while self.state() != State::Cut && Instant::now() < at {
                std::thread::sleep(at.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)));
            }
            if self.state() == State::Cut || to.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

impl Way {
    /// When so many bytes come out; waits while too much is before them.
    fn pass(&self, state: State, bytes: usize) -> Instant {
        let State::Slow(slow) = state else { return Instant::now() };
        loop {
            let now = Instant::now();
            let mut free = self.free.lock().unwrap();
            let ahead = free.saturating_duration_since(now);
            if ahead <= slow.queue {
                *free = now + ahead + Duration::from_micros(bytes as u64 * 1_000_000 / slow.rate);
                return *free + slow.delay;
            }
            drop(free);
            std::thread::sleep((ahead - slow.queue).min(Duration::from_millis(20)));
        }
    }
}
