//! The line between a gateway and the cloud: a TCP proxy that can be cut and restored, and that counts bytes.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes copied at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A line that stands until it is cut; gone with its owner.
#[derive(Debug)]
pub struct Link {
    /// Where the gateway connects to.
    pub port: u16,
    up: watch::Sender<bool>,
    bytes: Arc<Bytes>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Bytes {
    out: AtomicU64,
    back: AtomicU64,
}

impl Link {
    /// A line to a broker on this machine.
    pub async fn to(broker: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (up, state) = watch::channel(true);
        let bytes = Arc::new(Bytes::default());
        let accepting = tokio::spawn(accept(listener, broker, state, bytes.clone()));
        Ok(Self { port, up, bytes, accepting })
    }

    /// Breaks all connections and lets none through.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.up.send_replace(true);
    }

    /// Bytes that went towards the cloud, and back.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes.out.load(Ordering::Relaxed), self.bytes.back.load(Ordering::Relaxed))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, broker: u16, state: watch::Receiver<bool>, bytes: Arc<Bytes>) {
    loop {
        let near = match listener.accept().await {
            Ok((near, _)) => near,
            Err(error) => {
                tracing::debug!(%error, "the link takes no connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        // While the line is down, whoever comes is let go of at once.
        if *state.borrow() {
            tokio::spawn(carry(near, broker, state.clone(), bytes.clone()));
        }
    }
}

/// Carries one connection until either end closes it or the line is cut.
async fn carry(near: TcpStream, broker: u16, mut state: watch::Receiver<bool>, bytes: Arc<Bytes>) {
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await else { return };
    // Else small packets would wait for acknowledgements, which no real line between brokers does.
    drop((near.set_nodelay(true), far.set_nodelay(true)));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = copy(near_read, far_write, &bytes.out) => {}
        _ = copy(far_read, near_write, &bytes.back) => {}
        _ = state.wait_for(|up| !up) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, count: &AtomicU64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        count.fetch_add(read as u64, Ordering::Relaxed);
        to.write_all(&chunk[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_breaks_what_stands_and_refuses_what_comes_until_it_is_restored() {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let link = Link::to(broker.local_addr().unwrap().port()).await.unwrap();
        let echo = tokio::spawn(async move {
            loop {
                let (mut stream, _) = broker.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    drop(tokio::io::copy(&mut read, &mut write).await);
                });
            }
        });
        let mut answer = [0; 4];
        let mut first = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port)).await.unwrap();
        first.write_all(b"ping").await.unwrap();
        first.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, link.bytes()), (b"ping", (4, 4)));
        link.cut();
        assert!(!matches!(first.read(&mut answer).await, Ok(1..)), "the connection is broken");
        let mut second = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port)).await.unwrap();
        assert!(!matches!(second.read(&mut answer).await, Ok(1..)), "no other is let through");
        link.restore();
        let mut third = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port)).await.unwrap();
        third.write_all(b"pong").await.unwrap();
        third.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"pong");
        echo.abort();
    }
}
