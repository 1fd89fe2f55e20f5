//! The gateway under load, as a process of its own.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running gateway, ended when dropped.
pub struct Gateway {
    child: Child,
    pub port: u16,
    http: u16,
    dir: tempfile::TempDir,
}

impl Gateway {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Starts it again on the same data, and waits until it is ready.
    pub fn restart(&mut self) -> io::Result<()> {
        self.child = spawn(&self.dir)?;
        self.ready()
    }

    fn ready(&mut self) -> io::Result<()> {
        let pid = format!("\"pid\":{},", self.child.id());
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            let run = std::fs::read_to_string(self.dir.path().join("data/run.json")).unwrap_or_default();
            let port = |name: &str| run.split_once(&format!("\"{name}\":\"127.0.0.1:"))?.1.split('"').next()?.parse().ok();
            if let (true, Some(mqtt), Some(http)) = (run.contains(&pid), port("mqtt"), port("http")) {
                (self.port, self.http) = (mqtt, http);
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the gateway ended with {status}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(io::Error::other("the gateway is not ready after 60 s"))
    }

    /// Readings that its ledger counts as accepted.
    pub fn accepted(&self) -> io::Result<u64> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.http))?;
        socket.write_all(b"GET /api/v1/status HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let count = answer.split_once("\"accepted\":").and_then(|(_, rest)| rest.split([',', '}']).next()?.parse().ok());
        count.ok_or_else(|| io::Error::other(format!("no ledger in {answer}")))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts `tidegate edge` with default windows and detectors, and an uplink that nobody answers,
/// so that it holds everything.
pub fn start() -> io::Result<Gateway> {
    start_with("")
}

/// The same with more at the end of its config.
pub fn start_with(more: &str) -> io::Result<Gateway> {
    let dir = tempfile::tempdir()?;
    let text = format!(
        "gateway = \"load\"\ndata_dir = {:?}\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:1\"\n[log]\nlimit = \"8GiB\"\n{more}",
        dir.path().join("data").display().to_string()
    );
    std::fs::write(dir.path().join("edge.toml"), text)?;
    let mut gateway = Gateway { child: spawn(&dir)?, port: 0, http: 0, dir };
    gateway.ready()?;
    Ok(gateway)
}

fn spawn(dir: &tempfile::TempDir) -> io::Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["edge", "--config"]).arg(dir.path().join("edge.toml")).env("RUST_LOG", "error").stdin(Stdio::null()).spawn()
}
