//! Processes and clients of a test's plant.

use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS, SubscribeFilter};
use serde_json::Value;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What a slow, busy machine may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where ports of roles are looked for: below those that the system gives to outgoing connections and to whoever
/// binds port 0, so that nobody takes the port of a role before it starts or while it is dead.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A role that runs until it is killed or dropped.
pub struct Role {
    child: Child,
    pub mqtt: u16,
    pub http: u16,
}

impl Role {
    /// Starts a role and waits until it is ready.
    pub fn start(role: &str, config: &Path, data: &Path) -> Role {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_tidegate")), role, config, data)
    }

    /// The same by a command of the caller's, which names the program and as whom it runs.
    pub fn start_as(mut program: Command, role: &str, config: &Path, data: &Path) -> Role {
        let child = program.args([role, "--config"]).arg(config).env("RUST_LOG", "warn").stdin(Stdio::null()).spawn().unwrap();
        // Owned from here on, so that it ends with the test whatever happens.
        let mut started = Role { child, mqtt: 0, http: 0 };
        let pid = u64::from(started.child.id());
        let run = data.join("run.json");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = std::fs::read(&run).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
            if let Some(v) = found.filter(|v| v["pid"] == pid) {
                let port = |key: &str| v[key].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
                (started.mqtt, started.http) = (port("mqtt"), port("http"));
                return started;
            }
            assert!(Instant::now() < deadline, "{role} is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process id, for signals.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// SIGSTOP: its connections stand, and it does nothing until [`Role::thaw`].
    pub fn freeze(&self) {
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), libc::SIGSTOP) }, 0);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), libc::SIGCONT) }, 0);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        self.child.wait().unwrap().code()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Writes a config with a fixed MQTT port, so that a role that comes back is found again.
pub fn configs(dir: &Path, mqtt: u16, cloud_mqtt: u16) -> (PathBuf, PathBuf) {
    let edge = dir.join("edge.toml");
    let cloud = dir.join("cloud.toml");
    let d = dir.display();
    std::fs::write(
        &edge,
        format!(
            "gateway = \"plant-a\"\ndata_dir = \"{d}/edge\"\n[mqtt]\nlisten = \"127.0.0.1:{mqtt}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [cloud]\nurl = \"mqtt://127.0.0.1:{cloud_mqtt}\"\nevery = \"1s\"\n[windows]\nsizes = [\"1s\", \"10s\"]\ngrace = \"1s\"\n\
         [[limit]]\nseries = \"**/temperature\"\nhigh_high = 95.0\n"
        ),
    )
    .unwrap();
    std::fs::write(
        &cloud,
        format!("data_dir = \"{d}/cloud\"\n[mqtt]\nlisten = \"127.0.0.1:{cloud_mqtt}\"\n[http]\nlisten = \"127.0.0.1:0\"\n"),
    )
    .unwrap();
    (edge, cloud)
}

/// A port that is free, and stays so until its role binds it: this process gives it to nobody else.
pub fn free_port() -> u16 {
    let span = u32::from(PORTS.end - PORTS.start);
    // Another process looks elsewhere first.
    let first = std::process::id().wrapping_mul(1_009) % span;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from((first + step) % span).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// Publishes at QoS 1 from a client with a persistent session and waits for every PUBACK,
/// through restarts of the gateway.
pub fn publish_all(port: u16, messages: Vec<(String, String)>) -> std::thread::JoinHandle<usize> {
    publish_all_as("press", port, messages, Duration::from_micros(1_900))
}

/// The same, as a client of that name, so long apart.
pub fn publish_all_as(client: &'static str, port: u16, messages: Vec<(String, String)>, apart: Duration) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut options = MqttOptions::new(client, "127.0.0.1", port);
        options.set_clean_session(false).set_keep_alive(Duration::from_secs(5)).set_inflight(100);
        let (client, mut connection) = Client::new(options, 100);
        let total = messages.len();
        let sender = std::thread::spawn(move || {
            for (topic, payload) in messages {
                client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
                if !apart.is_zero() {
                    std::thread::sleep(apart);
                }
            }
            client
        });
        let mut acked = 0;
        let mut deadline = Instant::now() + PATIENCE;
        while acked < total && Instant::now() < deadline {
            match connection.recv_timeout(Duration::from_secs(1)) {
                Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => {
                    acked += 1;
                    deadline = Instant::now() + PATIENCE;
                }
                Ok(Ok(Event::Outgoing(Outgoing::Disconnect))) => break,
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(_)) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        drop(sender.join().unwrap());
        acked
    })
}

/// A consumer's messages, and how often all that it asked for was granted.
pub struct Consumer {
    received: Receiver<(String, Value)>,
    granted: Arc<AtomicUsize>,
}

impl Deref for Consumer {
    type Target = Receiver<(String, Value)>;

    fn deref(&self) -> &Self::Target {
        &self.received
    }
}

impl Consumer {
    /// Waits until it is subscribed on its connection number `connection`, the first being 1:
    /// what is published from then on reaches it.
    pub fn until_subscribed(&self, connection: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.granted.load(Ordering::SeqCst) < connection {
            assert!(Instant::now() < deadline, "the consumer's subscription {connection} is not granted");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Everything a consumer receives, through restarts of the bridge; subscribed when this returns.
pub fn consume(port: u16, filters: &'static [&'static str]) -> Consumer {
    let (send, received) = channel();
    let consumer = Consumer { received, granted: Arc::default() };
    let granted = consumer.granted.clone();
    std::thread::spawn(move || {
        let mut options = MqttOptions::new("consumer", "127.0.0.1", port);
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 100);
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let wanted = filters.iter().map(|f| SubscribeFilter::new((*f).to_owned(), QoS::AtLeastOnce));
                    client.try_subscribe_many(wanted).unwrap();
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => drop(granted.fetch_add(1, Ordering::SeqCst)),
                Ok(Event::Incoming(Packet::Publish(p))) => {
                    // What is cleared has no payload.
                    let value = if p.payload.is_empty() { Value::Null } else { serde_json::from_slice(&p.payload).unwrap() };
                    if send.send((p.topic, value)).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    });
    consumer.until_subscribed(1);
    consumer
}
