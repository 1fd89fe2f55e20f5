//! Other people's brokers: rumqttd in this process, mosquitto and NATS where they are installed.

use crate::plant::{PATIENCE, free_port};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A broker as a process, until it is dropped.
pub struct Foreign {
    child: Child,
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts rumqttd on a free port, for as long as this process lives.
pub fn rumqttd() -> u16 {
    let port = free_port();
    let connections = ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: 4 << 20,
        max_inflight_count: 500,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], port));
    let server = ServerSettings { name: "v4".into(), listen, tls: None, next_connection_delay_ms: 1, connections };
    let router = RouterConfig {
        max_connections: 100,
        max_outgoing_packet_count: 500,
        max_segment_size: 10 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let config = Config { router, v4: Some(HashMap::from([("1".to_owned(), server)])), ..Config::default() };
    std::thread::spawn(move || drop(Broker::new(config).start()));
    until_it_listens(port, "rumqttd");
    port
}

/// Mosquitto on a free port; none, with a word why, where it is not installed.
pub fn mosquitto() -> Option<Foreign> {
    let config = |port: u16, _: &str| format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
    start("mosquitto", &["-c"], config)
}

/// The same, with a bridge of its own as people set it up, which sends all that is published there to
/// the broker on `port`.
pub fn mosquitto_bridged_to(port: u16) -> Option<Foreign> {
    let config = |own: u16, _: &str| {
        format!(
            "listener {own} 127.0.0.1\nallow_anonymous true\n\
             connection tidegate\naddress 127.0.0.1:{port}\ntopic # out 1\nrestart_timeout 1\n"
        )
    };
    start("mosquitto", &["-c"], config)
}

/// NATS with its MQTT door on a free port; none, with a word why, where it is not installed.
pub fn nats() -> Option<Foreign> {
    let config = |port: u16, dir: &str| {
        format!(
            "server_name: plant\nlisten: \"127.0.0.1:-1\"\njetstream {{ store_dir: \"{dir}\" }}\n\
             mqtt {{ listen: \"127.0.0.1:{port}\", max_ack_pending: 1000 }}\n"
        )
    };
    start("nats-server", &["-c"], config)
}

fn start(program: &str, options: &[&str], config: impl Fn(u16, &str) -> String) -> Option<Foreign> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")]);
    let Some(found) = folders.map(|folder| folder.join(program)).find(|file| file.is_file()) else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let file = dir.path().join("broker.conf");
    std::fs::write(&file, config(port, &dir.path().display().to_string())).unwrap();
    let mut command = Command::new(found);
    command.args(options).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let foreign = Foreign { child: command.spawn().unwrap(), port, _dir: dir };
    until_it_listens(port, program);
    Some(foreign)
}

fn until_it_listens(port: u16, program: &str) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{program} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
}
