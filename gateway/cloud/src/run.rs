//! Start, stop, and what connects the rooms.

use crate::alarms;
use crate::audience::Audience;
use crate::config::{Config, Mqtt};
use crate::core::Core;
use crate::error::Error;
use crate::event::Event;
use crate::existing;
use crate::http;
use crate::inbound::{Door, wall_ms};
use crate::known::Known;
use crate::limits::{CONNECTIONS_MAX, EVENTS_MAX, FILES_BESIDE, FRAMES_MAX, LOG_RETAIN, PACKET_BYTES_MAX, QUEUE_MAX};
use crate::outbound::{Outbound, Outbox};
use crate::publish;
use crate::recover::{Recovered, recover};
use crate::store::{Save, kernel_boot};
use broker::Broker;
use journal::{Journal, Options, Refused, RunState};
use replica::join::BridgeConfig;
use replica::record::Record;
use settings::BrokerUrl;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;
use web::place::{RunJson, listen};

/// The broker that takes what is published: one that listens, or one that is there.
enum Way<'a> {
    Embedded((TcpListener, SocketAddr)),
    Existing(&'a BrokerUrl),
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { what: what.into(), source }
}

/// Runs a bridge until `shutdown`.
///
/// # Errors
/// When it cannot start, or its log fails.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let started = Instant::now();
    let opened = journal::open(&config.data_dir, Options { retain: LOG_RETAIN, limit_bytes: u64::MAX })?;
    journal::owner::claim(&config.data_dir, "a cloud bridge")?;
    let run_json = RunJson::claim(&config.data_dir).map_err(io("run.json"))?;
    let Recovered { mut bridge, store, unpublished } = recover(&config.data_dir, &opened, &kernel_boot())?;
    // Before the first record: who cannot listen, and tries again and again, logs nothing.
    let (http, http_at) = listen(config.http.listen).await.map_err(io(format!("[http] listen {}", config.http.listen)))?;
    let mqtt = match &config.mqtt {
        Mqtt::Embedded { listen: at, .. } => Way::Embedded(listen(*at).await.map_err(io(format!("[mqtt] listen {at}")))?),
        Mqtt::Existing { broker } => Way::Existing(broker),
    };
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let (frames, mut frame_queue) = mpsc::channel(FRAMES_MAX);
    let end = opened.end();
    let journal = opened.start(Box::new(move |frame| {
        // The core ends only after the journal; before, a full queue holds the log.
        drop(frames.blocking_send(frame));
    }))?;
    let forward = events.clone();
    let forwarding = tokio::spawn(async move {
        while let Some(frame) = frame_queue.recv().await {
            if forward.send(Event::Frame(frame)).await.is_err() {
                return;
            }
        }
    });
    let (horizon_out, horizon) = watch::channel(broker::Horizon { durable: end, failed: false });
    let known = Arc::new(Known::default());
    let boot: u64 = rand::random();
    let door = Arc::new(Door::new(journal.clone(), &bridge, boot, horizon, events.clone(), known.clone()));
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
    let parent = (bridge.boot != 0).then_some((bridge.boot, end));
    let settled = BridgeConfig { retain_ms: config.merged.retain_ms, is_paced: true, is_skewed: true }.encode();
    door.begin(&Record::Boot { boot, parent, config: &settled })?;
    store.resume(save(&journal));

    let mut listening = None;
    let mut embedded = None;
    let (out, mqtt_at) = match mqtt {
        Way::Embedded((listener, at)) => {
            let door_config = broker::Config { max_packet: PACKET_BYTES_MAX, connections_max: CONNECTIONS_MAX, queue_max: QUEUE_MAX };
            let now_ms = wall_ms().max(bridge.clock_ms);
            let stored = role::session::stored(bridge.sessions.by_number.iter(), now_ms, &[], &*door);
            let broker = Broker::new(door_config, door.clone(), stored);
            broker::descriptors::allow(CONNECTIONS_MAX, FILES_BESIDE);
            embedded = Some(broker.clone());
            listening = Some((broker.clone(), listener));
            (Outbound::embedded(broker), at.to_string())
        }
        Way::Existing(broker) => {
            let (client, mqtt) = existing::client(&config.data_dir, broker).map_err(io("the client's identifier"))?;
            let outbox = Arc::new(Outbox::new(client.clone()));
            tokio::spawn(existing::drive(client, mqtt, outbox.clone(), door.clone()));
            (Outbound::Existing(outbox), format!("{}:{}", broker.host, broker.port))
        }
    };
    // Whoever has not spoken to this process is offline. An existing broker kept what it
    // retained, unless it says that it forgot us.
    if let Some(broker) = &embedded {
        bridge.newest(|merged| {
            let (topic, json) = publish::merged(&merged);
            broker.retain(&topic, json.into());
        })?;
        for (name, gateway) in &bridge.gateways {
            broker.retain(
                &publish::status_topic(name),
                publish::status(name, gateway, bridge.crossings.get(name).map(Arc::as_ref), false, 0).to_string().into(),
            );
        }
        alarms::all(&bridge, &known, |topic, payload| broker.retain(&topic, payload.into()));
    } else {
        // Of alarms that changed last, an existing broker may not have heard.
        alarms::all(&bridge, &known, |topic, payload| out.publish(bridge.lsn, topic, payload, true));
    }
    let audience = Audience::of(&config.data_dir, embedded.clone());
    let mut core = Core::new(bridge, door, journal.clone(), out.clone(), store.clone(), known, audience);
    core.want();
    let runtime = tokio::runtime::Handle::current();
    for (lsn, effects) in unpublished {
        core.effects(lsn, effects);
    }
    // Only now: what no broker is known to have taken is shown again.
    core.door.urgent.resume(&core.bridge, core.audience.is_awaited());
    let lane = {
        let (door, horizon, out) = (core.door.clone(), journal.horizon(), out.clone());
        tokio::spawn(async move { door.urgent.run(horizon, out).await })
    };
    let (alive, mut core_ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("join".into())
        .spawn(move || {
            // Dropped with the thread, however it ends.
            let _alive = alive;
            core.run(inbox, &runtime)
        })
        .map_err(io("the join's thread"))?;
    let accepting = listening.map(|(broker, listener)| broker.listen(listener));
    let state = http::State { events: events.clone(), journal: journal.clone(), out, store: store.clone(), started };
    let serving = tokio::spawn(http::serve(http, state));
    run_json.write("cloud", &mqtt_at, http_at, None).map_err(io("run.json"))?;
    info!(mqtt = mqtt_at, http = %http_at, boot = format!("{boot:016x}"), "ready");

    tokio::pin!(relay);
    let failed = tokio::select! {
        () = shutdown => false,
        ended = &mut relay => ended.unwrap_or(true),
        _ = &mut core_ended => true,
    };
    info!("stopping");
    if let Some(broker) = embedded {
        broker.shutdown(Duration::from_secs(2)).await;
    }
    if let Some(accepting) = accepting {
        accepting.abort();
    }
    let (done, finished) = oneshot::channel();
    if events.send(Event::Finish(done)).await.is_ok() {
        // Without an answer the core has ended, and says below why.
        drop(finished.await);
    }
    let stopped = tokio::task::spawn_blocking(move || journal.stop()).await;
    // The log's end ends the forwarding: no frame is overtaken.
    drop(forwarding.await);
    drop(events.send(Event::Stop).await);
    let folded = tokio::task::spawn_blocking(move || thread.join()).await;
    serving.abort();
    lane.abort();
    run_json.remove().map_err(io("run.json"))?;
    match folded {
        Ok(Ok(result)) => result.inspect_err(|_| store.distrust())?,
        _ => {
            store.distrust();
            return Err(Error::LogFailed);
        }
    }
    if failed || stopped.is_err() { Err(Error::LogFailed) } else { Ok(()) }
}

/// Snapshots go to the log; asked without one, it says whether it has one as of that record.
fn save(journal: &Journal) -> Save {
    let journal = journal.clone();
    Arc::new(move |lsn, state| match state {
        Some(state) => {
            journal.snapshot(lsn, state);
            Some(false)
        }
        // A later one does as well.
        None if journal.snapshots().iter().any(|at| *at >= lsn) => Some(true),
        None if journal.append_bookkeeping().is_err_and(|refused| refused == Refused::Stopped) => None,
        None => Some(false),
    })
}
