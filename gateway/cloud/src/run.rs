//! Start, stop, and what connects the rooms.

use crate::config::{Config, Mqtt};
use crate::core::{Core, Event, Events};
use crate::http;
use crate::inbound::{Door, wire};
use crate::outbound::Outbound;
use crate::publish;
use broker::{Broker, StoredSession, Version};
use journal::{Options, RunState};
use replica::join::{Bridge, Effects};
use replica::record::Record;
use rumqttc::{AsyncClient, EventLoop, MqttOptions, Packet, QoS};
use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

/// Events waiting for the core; a full queue holds the gateways.
const EVENTS_MAX: usize = 256;
/// Largest packet from a gateway or client.
const PACKET_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Connections of gateways and consumers.
const CONNECTIONS_MAX: usize = 10_000;

/// Why a bridge cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// A record.
    #[error(transparent)]
    Replica(#[from] replica::Error),
    /// The log refuses the bridge's own records.
    #[error("the log takes no records at start: {0}")]
    Refused(#[from] journal::Refused),
    /// A socket or file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A sync failed: final for this process.
    #[error("the log could not be written; what was acknowledged is safe, the process ends so that it can recover")]
    LogFailed,
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { what: what.into(), source }
}

/// Runs a bridge until `shutdown`.
///
/// # Errors
/// When it cannot start, or its log fails.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    // All is kept: the log is the merged windows' only truth.
    let opened = journal::open(&config.data_dir, Options { retain: Duration::MAX, limit_bytes: u64::MAX })?;
    let run_json = config.data_dir.join("run.json");
    if run_json.exists() {
        fs::remove_file(&run_json).map_err(io(run_json.display().to_string()))?;
    }
    let mut bridge = Bridge::default();
    let mut unpublished: Vec<(u64, Effects)> = Vec::new();
    let mut failed = None;
    opened.replay(0, &mut |frame| {
        for (lsn, kind, payload) in frame.records() {
            match bridge.apply(lsn, kind, payload) {
                Ok(effects) => {
                    if !effects.alerts.is_empty() || !effects.merged.is_empty() {
                        unpublished.push((lsn, Effects { ack: None, receipt: None, ..effects }));
                    }
                    let cursor = bridge.cursor;
                    unpublished.retain(|(lsn, _)| *lsn > cursor);
                }
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let (frames, mut frame_queue) = mpsc::channel(EVENTS_MAX);
    let end = opened.end();
    let journal = opened.start(Box::new(move |frame| {
        // The core ends only after the journal; before, a full queue holds the log.
        drop(frames.blocking_send(frame));
    }))?;
    let forward = events.clone();
    tokio::spawn(async move {
        while let Some(frame) = frame_queue.recv().await {
            if forward.send(Event::Frame(frame)).await.is_err() {
                return;
            }
        }
    });
    let (horizon_out, horizon) = watch::channel(broker::Horizon { durable: end, failed: false });
    let door = Arc::new(Door::new(journal.clone(), bridge.clock_ms, bridge.sessions.last, horizon, events.clone()));
    let mut progress = journal.horizon();
    let relay = tokio::spawn(async move {
        loop {
            let now = *progress.borrow_and_update();
            let failed = now.state == RunState::Failed;
            horizon_out.send_replace(broker::Horizon { durable: now.durable, failed });
            if failed || progress.changed().await.is_err() {
                return failed;
            }
        }
    });
    let boot: u64 = rand::random();
    let parent = (bridge.boot != 0).then_some((bridge.boot, end));
    door.log(&Record::Boot { boot, parent, config: &[] })?;

    let web = TcpListener::bind(config.http.listen).await.map_err(io(format!("[http] listen {}", config.http.listen)))?;
    let http_at = web.local_addr().map_err(io("[http] listen"))?;
    let mut listening = None;
    let mut embedded = None;
    let (out, mqtt_at) = match &config.mqtt {
        Mqtt::Embedded { listen, .. } => {
            let door_config = broker::Config { max_packet: PACKET_BYTES_MAX, connections_max: CONNECTIONS_MAX };
            let broker = Broker::new(door_config, door.clone(), stored_sessions(&bridge));
            let listener = TcpListener::bind(listen).await.map_err(io(format!("[mqtt] listen {listen}")))?;
            let at = listener.local_addr().map_err(io("[mqtt] listen"))?.to_string();
            embedded = Some(broker.clone());
            listening = Some((broker.clone(), listener));
            (Outbound::Embedded(broker), at)
        }
        Mqtt::Existing { broker } => {
            let mut options = MqttOptions::new(format!("tidegate-cloud-{boot:016x}"), broker.host.clone(), broker.port);
            options.set_keep_alive(Duration::from_secs(10)).set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
            let (client, mqtt) = AsyncClient::new(options, 10_000);
            tokio::spawn(existing(client.clone(), mqtt, events.clone()));
            (Outbound::Existing(client), format!("{}:{}", broker.host, broker.port))
        }
    };
    for merged in bridge.newest() {
        let (topic, json) = publish::merged(&merged);
        out.retain(&topic, json);
    }
    let mut changed = BTreeMap::new();
    for (name, gateway) in &bridge.gateways {
        out.retain(&format!("gateways/{name}/status"), publish::status(name, gateway, false).to_string());
        changed.insert(name.clone(), crate::inbound::wall_ms() + 15_000);
    }
    let mut core = Core {
        taken: (bridge.cursor, bridge.cursor),
        bridge,
        door,
        out,
        online: BTreeMap::new(),
        changed,
        round_logged: false,
        round_ms: 0,
    };
    let runtime = tokio::runtime::Handle::current();
    for (lsn, effects) in unpublished {
        core.effects(lsn, effects).await;
    }
    let thread =
        std::thread::Builder::new().name("join".into()).spawn(move || core.run(inbox, &runtime)).map_err(io("the join's thread"))?;
    let accepting = listening.map(|(broker, listener)| broker.listen(listener));
    let serving = tokio::spawn(http::serve(web, http::State { events: events.clone(), journal: journal.clone() }));
    let text = format!("{{\"role\":\"cloud\",\"pid\":{},\"mqtt\":\"{mqtt_at}\",\"http\":\"{http_at}\"}}\n", std::process::id());
    let temporary = run_json.with_extension("tmp");
    fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &run_json)).map_err(io(run_json.display().to_string()))?;
    info!(mqtt = mqtt_at, http = %http_at, boot = format!("{boot:016x}"), "ready");

    tokio::pin!(relay);
    let failed = tokio::select! {
        () = shutdown => false,
        ended = &mut relay => ended.unwrap_or(true),
    };
    info!("stopping");
    if let Some(broker) = embedded {
        broker.shutdown(Duration::from_secs(2)).await;
    }
    if let Some(accepting) = accepting {
        accepting.abort();
    }
    let stopped = tokio::task::spawn_blocking(move || journal.stop()).await;
    stop(&events).await;
    let folded = tokio::task::spawn_blocking(move || thread.join()).await;
    serving.abort();
    fs::remove_file(&run_json).map_err(io(run_json.display().to_string()))?;
    match folded {
        Ok(Ok(result)) => result?,
        _ => return Err(Error::LogFailed),
    }
    if failed || stopped.is_err() { Err(Error::LogFailed) } else { Ok(()) }
}

async fn stop(events: &Events) {
    drop(events.send(Event::Stop).await);
}

fn stored_sessions(bridge: &Bridge) -> Vec<StoredSession> {
    let now = crate::inbound::wall_ms().max(bridge.clock_ms);
    let alive = bridge.sessions.by_number.iter().filter(|(_, s)| !s.expired(now));
    alive
        .map(|(number, s)| StoredSession {
            number: *number,
            client_id: s.client_id.clone(),
            expiry_s: s.expiry_s,
            version: if s.version == 5 { Version::V5 } else { Version::V3 },
            subscriptions: s.subscriptions.iter().map(|(f, (o, i))| (f.clone(), *o, *i)).collect(),
            received: s.received.iter().copied().collect(),
        })
        .collect()
}

/// Listens at an existing broker for as long as the process lives.
async fn existing(client: AsyncClient, mut mqtt: EventLoop, events: Events) {
    loop {
        match mqtt.poll().await {
            Ok(rumqttc::Event::Incoming(Packet::ConnAck(_))) => {
                if client.subscribe("bridge/v1/+/up/#", QoS::AtLeastOnce).await.is_err() {
                    return;
                }
            }
            Ok(rumqttc::Event::Incoming(Packet::Publish(p))) => {
                if let Some((gateway, what)) = wire(&p.topic) {
                    let event = Event::Wire { gateway: gateway.to_owned(), what: what.to_owned(), bytes: p.payload.to_vec() };
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
            Ok(_) => {}
            Err(error) => {
                warn!(%error, "the existing broker is not reached");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
