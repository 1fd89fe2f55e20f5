//! What the machine gives without a gateway: a listener that finds PUBLISHes, commits their
//! bytes through the same journal and acknowledges; and the same without the commit.

use journal::{Journal, Options, Refused};
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Environment variable that makes this program the peer.
pub const MODE: &str = "TIDEGATE_LOAD_PEER";
pub const COMMIT: &str = "bare listener + commit";
pub const SOCKET: &str = "socket alone";

/// A peer in a process of its own, ended when dropped.
pub struct Peer {
    child: Child,
    pub port: u16,
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts this program again as a peer.
pub fn start(mode: &str) -> io::Result<Peer> {
    let mut child = Command::new(std::env::current_exe()?).env(MODE, mode).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take();
    let mut peer = Peer { child, port: 0 };
    let mut line = String::new();
    if let Some(out) = out {
        BufReader::new(out).read_line(&mut line)?;
    }
    peer.port = line.trim().parse().map_err(|_| io::Error::other("the peer names no port"))?;
    Ok(peer)
}

/// Serves until killed.
pub fn serve(mode: &str) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let journal = match mode {
        COMMIT => {
            let options = Options { retain: Duration::from_secs(3_600), limit_bytes: 8 << 30 };
            Some(journal::open(dir.path(), options)?.start(Box::new(drop))?)
        }
        _ => None,
    };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (socket, _) = listener.accept().await?;
            tokio::spawn(client(socket, journal.clone()));
        }
    })
}

/// One client: read, append what is whole, wait for the commit, acknowledge.
async fn client(mut socket: TcpStream, journal: Option<Journal>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut input = vec![0; 64 * 1024];
    let mut have = 0;
    let mut output = Vec::new();
    loop {
        let n = socket.read(&mut input[have..]).await?;
        if n == 0 {
            return Ok(());
        }
        have += n;
        let mut at = 0;
        let mut last = 0;
        output.clear();
        while have - at >= 2 && have - at >= 2 + usize::from(input[at + 1]) {
            let end = at + 2 + usize::from(input[at + 1]);
            let packet = &input[at..end];
            if packet[0] == 0x10 {
                output.extend([0x20, 2, 0, 0]);
            } else {
                let topic = usize::from(packet[3]);
                output.extend([0x40, 2, packet[4 + topic], packet[5 + topic]]);
                if let Some(journal) = &journal {
                    last = append(journal, packet).await?;
                }
            }
            at = end;
        }
        input.copy_within(at..have, 0);
        have -= at;
        if let Some(journal) = journal.as_ref().filter(|_| last > 0) {
            journal.horizon().wait_for(|h| h.durable >= last).await.map_err(io::Error::other)?;
        }
        socket.write_all(&output).await?;
    }
}

async fn append(journal: &Journal, packet: &[u8]) -> io::Result<u64> {
    loop {
        match journal.append() {
            Ok(mut append) => return Ok(append.push(1, |out| out.extend_from_slice(packet))),
            Err(Refused::Full) => {}
            Err(refused) => return Err(io::Error::other(refused)),
        }
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
}
