//! A role under load, as a process of its own.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running gateway or bridge, ended when dropped.
pub struct Role {
    role: &'static str,
    child: Child,
    pub port: u16,
    http: u16,
    dir: tempfile::TempDir,
}

impl Role {
    /// Starts a role on a config without `data_dir` and `[http]`, and waits until it is ready.
    pub fn start(role: &'static str, config: &str) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data").display().to_string();
        let text = format!("data_dir = {data:?}\n{config}\n[http]\nlisten = \"127.0.0.1:0\"\n");
        std::fs::write(dir.path().join("config.toml"), text)?;
        let mut started = Self { role, child: spawn(role, &dir)?, port: 0, http: 0, dir };
        started.ready()?;
        Ok(started)
    }

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
        self.child = spawn(self.role, &self.dir)?;
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
                return Err(io::Error::other(format!("{} ended with {status}", self.role)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(io::Error::other(format!("{} is not ready after 60 s", self.role)))
    }

    /// A figure of its ledger.
    pub fn figure(&self, name: &str) -> io::Result<u64> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.http))?;
        socket.write_all(b"GET /api/v1/status HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let status = answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<serde_json::Value>(body).ok());
        let count = status.and_then(|status| status["ledger"][name].as_u64());
        count.ok_or_else(|| io::Error::other(format!("no {name} in {answer}")))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(role: &str, dir: &tempfile::TempDir) -> io::Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args([role, "--config"]).arg(dir.path().join("config.toml")).env("RUST_LOG", "error").stdin(Stdio::null()).spawn()
}

/// A port that was free a moment ago.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
