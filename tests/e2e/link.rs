//! A TCP link between two ends that can be cut, made deaf, and restored; it counts its bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How the link is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Bytes pass.
    Up = 0,
    /// Connections end and new ones are closed at once.
    Cut = 1,
    /// Connections stand, and nothing comes out at the other end.
    Deaf = 2,
}

/// The link; it ends with the test's process.
pub struct Link {
    pub port: u16,
    state: Arc<AtomicU8>,
    bytes: Arc<AtomicU64>,
}

impl Link {
    /// A link to a port, up.
    pub fn to(port: u16) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link { port: listener.local_addr().unwrap().port(), state: Arc::default(), bytes: Arc::default() };
        let (state, bytes) = (link.state.clone(), link.bytes.clone());
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                if state.load(Ordering::SeqCst) == State::Cut as u8 {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (state, bytes) = (state.clone(), bytes.clone());
                    std::thread::spawn(move || pump(from, to, &state, &bytes));
                }
            }
        });
        link
    }

    pub fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    /// Bytes that came in at either end.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// Moves bytes one way until an end closes or the link is cut.
fn pump(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8, bytes: &AtomicU64) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 16 * 1024];
    loop {
        let now = state.load(Ordering::SeqCst);
        if now == State::Cut as u8 {
            break;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) if now == State::Deaf as u8 => {}
            Ok(n) => {
                bytes.fetch_add(n as u64, Ordering::SeqCst);
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    // The other direction sees the end of the same sockets; either may be closed already.
    drop(from.shutdown(std::net::Shutdown::Both));
    drop(to.shutdown(std::net::Shutdown::Both));
}
