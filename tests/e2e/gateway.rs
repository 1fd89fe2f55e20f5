//! A gateway alone: its config, its process, and what it says about itself.

use crate::plant::{PATIENCE, Role, free_port};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Status code and body of a GET at a role's HTTP port.
pub fn get_at(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// What a role says of itself.
pub fn status_at(port: u16) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, body) = get_at(port, "/api/v1/status");
        if code == 200 {
            return serde_json::from_str(&body).unwrap();
        }
        // One with too much to do says so instead.
        assert!(code == 503 && Instant::now() < deadline, "{code}: {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub struct Gateway {
    pub config: PathBuf,
    pub data: PathBuf,
    pub role: Role,
}

impl Gateway {
    /// Starts a gateway without a cloud, its data below `dir`; `more` is added to its config.
    pub fn start(dir: &Path, more: &str) -> Self {
        let (config, data) = Self::configure(dir, more);
        let role = Role::start("edge", &config, &data);
        Self { config, data, role }
    }

    /// Writes the config that [`Gateway::start`] starts with.
    pub fn configure(dir: &Path, more: &str) -> (PathBuf, PathBuf) {
        let (config, data) = (dir.join("edge.toml"), dir.join("data"));
        let text = format!(
            "gateway = \"plant-a\"\ndata_dir = \"{}\"\n[mqtt]\nlisten = \"127.0.0.1:{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{more}\n",
            data.display(),
            free_port()
        );
        std::fs::write(&config, text).unwrap();
        (config, data)
    }

    /// Where sensors connect.
    pub fn at(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.role.mqtt))
    }

    /// `kill -9`, and a new process over the same data.
    pub fn kill_and_restart(&mut self) {
        self.role.kill();
        self.role = Role::start("edge", &self.config, &self.data);
    }

    /// SIGTERM, and a new process over the same data.
    pub fn stop_and_restart(&mut self) {
        assert_eq!(self.role.stop(), Some(0));
        self.role = Role::start("edge", &self.config, &self.data);
    }

    /// Status code and body of a GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        get_at(self.role.http, path)
    }

    pub fn status(&self) -> Value {
        status_at(self.role.http)
    }

    /// One figure of the ledger.
    pub fn ledger(&self, figure: &str) -> u64 {
        self.status()["ledger"][figure].as_u64().unwrap()
    }

    /// How many messages were refused, whatever the reason.
    pub fn refused(&self) -> u64 {
        self.status()["ledger"]["refused"].as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum()
    }

    /// Waits until what the gateway says of itself is so.
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "it did not come to this: {what}; {}", self.status());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many readings count, whose acknowledgements went to another broker.
    pub fn until_accepted(&self, count: u64) {
        self.until(&format!("{count} readings accepted"), |g| g.ledger("accepted") >= count);
        self.has_accepted(count);
    }

    /// What was acknowledged counts at once.
    #[track_caller]
    pub fn has_accepted(&self, count: u64) {
        assert_eq!(self.ledger("accepted"), count);
    }

    /// Waits until the log says of so many messages that they were refused.
    pub fn until_refusals_are_logged(&self, count: u64) {
        self.until(&format!("{count} refusals in the log"), |g| {
            let records = logged(&g.data);
            let refused = records.iter().filter(|record| record["kind"] == "refused");
            refused.map(|record| record["messages"].as_u64().unwrap()).sum::<u64>() == count
        });
    }

    /// `tidegate log verify`, beside a running process or after it.
    pub fn verify_log(&self) -> Output {
        tidegate(&["log", "verify", "--data-dir", self.data.to_str().unwrap()])
    }
}

/// The records of a data dir's log, also of a running process.
pub fn logged(data: &Path) -> Vec<Value> {
    let shown = tidegate(&["log", "show", "--json", "--data-dir", data.to_str().unwrap()]);
    String::from_utf8(shown.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a command of the program to its end.
pub fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).env("RUST_LOG", "warn").output().unwrap()
}

/// A reading with a time of its own.
pub fn timed(value: u64) -> String {
    format!("{{\"value\":{value},\"ts\":{}}}", 1_700_000_000_000 + value)
}
