//! The one thread behind the cloud's log: what arrives is judged, logged, and joined once it
//! is durable; only then is it acknowledged and published.

use crate::inbound::{Door, wall_ms};
use crate::outbound::Outbound;
use crate::publish;
use journal::Frame;
use replica::join::{Bridge, Effects};
use replica::record::Record;
use schemas::message::{AlertUp, Bye, Delta, Hello};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// Least time between two rounds, in ms: a first window waits no longer.
const ROUND_MS: i64 = 100;
/// How often a gateway's status may be published, in ms.
const STATUS_MS: i64 = 1_000;

/// What happens to the core.
pub enum Event {
    /// A message of a gateway.
    Wire {
        /// Its name.
        gateway: String,
        /// Last level of the topic.
        what: String,
        /// Its payload.
        bytes: Vec<u8>,
    },
    /// A frame is durable.
    Frame(Frame),
    /// Somebody asks how things stand.
    Status(oneshot::Sender<Value>),
    /// No more frames will come.
    Stop,
}

/// The way to the core.
pub type Events = mpsc::Sender<Event>;

/// The bridge's thinking part, on a thread of its own.
pub struct Core {
    /// The folded log.
    pub bridge: Bridge,
    /// The door of the log.
    pub door: Arc<Door>,
    /// Where messages go.
    pub out: Outbound,
    /// Gateways that are online.
    pub online: BTreeMap<String, bool>,
    /// Statuses to be published again, and when the last was.
    pub changed: BTreeMap<String, i64>,
    /// A round is logged and not yet folded.
    pub round_logged: bool,
    /// Clock of the last round.
    pub round_ms: i64,
    /// Record whose messages were taken last, and the last such record logged.
    pub taken: (u64, u64),
}

impl Core {
    /// Runs until [`Event::Stop`].
    ///
    /// # Errors
    /// For a record that cannot be folded.
    pub fn run(mut self, mut events: mpsc::Receiver<Event>, runtime: &tokio::runtime::Handle) -> Result<(), replica::Error> {
        loop {
            let wait = if self.bridge.is_dirty() || !self.changed.is_empty() { 50 } else { 1_000 };
            let event = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(wait), events.recv()).await });
            match event {
                Ok(None | Some(Event::Stop)) => return Ok(()),
                Ok(Some(Event::Frame(frame))) => runtime.block_on(self.frame(&frame))?,
                Ok(Some(Event::Wire { gateway, what, bytes })) => runtime.block_on(self.wire(&gateway, &what, &bytes)),
                Ok(Some(Event::Status(reply))) => drop(reply.send(self.status())),
                Err(_) => {}
            }
            self.round();
            runtime.block_on(self.show_statuses());
        }
    }

    /// A message from a gateway: logged when it is admitted, answered at once when it is not.
    async fn wire(&mut self, gateway: &str, what: &str, bytes: &[u8]) {
        let valid = (1..=64).contains(&gateway.len()) && gateway.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !valid {
            warn!(gateway, "a message of a gateway with an impossible name is ignored");
            return;
        }
        let record = match what {
            "hello" => Hello::decode(bytes).map(|_| Some(Record::Hello { gateway, bytes })),
            "alert" => AlertUp::decode(bytes).map(|_| Some(Record::AlertUp { gateway, bytes })),
            "delta" => match Delta::decode(bytes) {
                Ok(delta) => match self.bridge.admit(gateway, &delta) {
                    Ok(()) => Ok(Some(Record::Interval { gateway, bytes })),
                    Err(ack) => {
                        self.out.publish(&format!("bridge/v1/{gateway}/down/ack"), ack.encode(), 0, false).await;
                        Ok(None)
                    }
                },
                Err(error) => Err(error),
            },
            "bye" => Bye::decode(bytes).map(|bye| {
                if self.bridge.gateways.get(gateway).is_some_and(|g| g.boot == bye.boot) {
                    self.online.insert(gateway.to_owned(), false);
                    self.changed.entry(gateway.to_owned()).or_insert(0);
                }
                None
            }),
            _ => Ok(None),
        };
        match record {
            Ok(Some(record)) => {
                if self.online.insert(gateway.to_owned(), true) != Some(true) {
                    info!(gateway, "online");
                }
                self.changed.entry(gateway.to_owned()).or_insert(0);
                if let Err(refused) = self.door.log(&record) {
                    warn!(%refused, gateway, "not taken; the gateway sends it again");
                }
            }
            Ok(None) => {}
            Err(error) => warn!(%error, gateway, what, "a message does not decode and is ignored"),
        }
    }

    async fn frame(&mut self, frame: &Frame) -> Result<(), replica::Error> {
        for (lsn, kind, payload) in frame.records() {
            if kind == Record::Round.kind() {
                self.round_logged = false;
            }
            // A message that decoded when it was logged and does not now is skipped, not fatal.
            let effects = self.bridge.apply(lsn, kind, payload)?;
            self.effects(lsn, effects).await;
        }
        Ok(())
    }

    /// What follows from a durable record.
    pub async fn effects(&mut self, lsn: u64, effects: Effects) {
        if let Some((gateway, receipt)) = effects.receipt {
            self.out.publish(&format!("bridge/v1/{gateway}/down/receipt"), receipt.encode(), 0, false).await;
        }
        for (gateway, body) in &effects.alerts {
            let (topic, json) = publish::alert(gateway, body);
            self.out.publish(&topic, json.into_bytes(), 1, false).await;
        }
        if let Some((gateway, ack)) = effects.ack {
            self.out.publish(&format!("bridge/v1/{gateway}/down/ack"), ack.encode(), 0, false).await;
        }
        if let Some(gateway) = effects.gateway {
            self.changed.entry(gateway).or_insert(0);
        }
        for merged in &effects.merged {
            let (topic, json) = publish::merged(merged);
            self.out.publish(&topic, json.into_bytes(), 1, merged.newest).await;
        }
        if !effects.alerts.is_empty() || !effects.merged.is_empty() {
            self.taken.0 = lsn;
        }
    }

    /// Logs a round when there is something to publish, and the cursor behind the last one.
    fn round(&mut self) {
        let now_ms = wall_ms();
        if now_ms - self.round_ms < ROUND_MS || self.round_logged {
            return;
        }
        if self.bridge.is_dirty() && self.bridge.round_due(now_ms) {
            self.round_ms = now_ms;
            self.round_logged = self.door.log(&Record::Round).is_ok();
        }
        if self.taken.0 > self.taken.1 && self.door.log(&Record::Cursor { lsn: self.taken.0 }).is_ok() {
            self.taken.1 = self.taken.0;
            self.round_ms = now_ms;
        }
    }

    async fn show_statuses(&mut self) {
        let now_ms = wall_ms();
        let due: Vec<String> = self.changed.iter().filter(|(_, at)| now_ms - **at >= STATUS_MS).map(|(g, _)| g.clone()).collect();
        for name in due {
            let Some(gateway) = self.bridge.gateways.get(&name) else { continue };
            let online = self.online.get(&name).copied().unwrap_or(false);
            let json = publish::status(&name, gateway, online).to_string();
            self.out.publish(&format!("gateways/{name}/status"), json.into_bytes(), 1, true).await;
            self.changed.remove(&name);
        }
    }

    fn status(&self) -> Value {
        let gateways = self.bridge.gateways.iter().map(|(name, g)| {
            let mut status = publish::status(name, g, self.online.get(name).copied().unwrap_or(false));
            let ledger: serde_json::Map<String, Value> =
                ["accepted", "delivered", "held", "shed", "local"].iter().map(|k| ((*k).to_owned(), status[*k].clone())).collect();
            status["ledger"] = Value::Object(ledger);
            (name.clone(), status)
        });
        let gateways: serde_json::Map<String, Value> = gateways.collect();
        serde_json::json!({ "role": "cloud", "boot": format!("{:016x}", self.bridge.boot), "lsn": self.bridge.lsn, "gateways": gateways })
    }
}
