//! A link that loses whole MQTT messages: PUBLISH packets, as a crowded broker would.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Type of a packet that carries a message, in the upper half of its first byte.
const PUBLISH: u8 = 3;

/// The link; it ends with the process.
pub struct Lossy {
    pub port: u16,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
}

impl Lossy {
    /// A link to a port on which so many percent of all messages are lost, either way.
    pub fn to(port: u16, lost: u32) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let link = Self { port: listener.local_addr()?.port(), up: Arc::default(), down: Arc::default() };
        let (up, down) = (link.up.clone(), link.down.clone());
        std::thread::spawn(move || {
            for (number, near) in listener.incoming().enumerate() {
                let Ok(near) = near else { continue };
                // Nobody may be there yet: the gateway tries again.
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (way, from, to, bytes) in [(0, &near, &far, &up), (1, &far, &near, &down)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let (bytes, rng) = (bytes.clone(), StdRng::seed_from_u64(number as u64 * 2 + way));
                    std::thread::spawn(move || {
                        // A connection that ends is ended at both sides.
                        drop(pass(&from, &to, lost, &bytes, rng));
                        drop(from.shutdown(std::net::Shutdown::Both));
                        drop(to.shutdown(std::net::Shutdown::Both));
                    });
                }
            }
        });
        Ok(link)
    }

    /// Bytes that were sent, up and down, those included that were lost.
    pub fn bytes(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

/// Passes packets until an end closes.
fn pass(mut from: &TcpStream, mut to: &TcpStream, lost: u32, bytes: &AtomicU64, mut rng: StdRng) -> io::Result<()> {
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let mut packet = Vec::new();
    loop {
        packet.clear();
        packet.resize(2, 0);
        from.read_exact(&mut packet)?;
        // The length goes on as long as the upper bit is set.
        let mut length = usize::from(packet[1] & 0x7f);
        for shift in [7, 14, 21] {
            if packet.last().is_none_or(|byte| byte & 0x80 == 0) {
                break;
            }
            let mut byte = [0];
            from.read_exact(&mut byte)?;
            packet.push(byte[0]);
            length |= usize::from(byte[0] & 0x7f) << shift;
        }
        let head = packet.len();
        packet.resize(head + length, 0);
        from.read_exact(&mut packet[head..])?;
        bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
        let is_lost = packet[0] >> 4 == PUBLISH && packet[0] & 6 == 0 && rng.random_ratio(lost, 100);
        if !is_lost {
            to.write_all(&packet)?;
        }
    }
}
