//! Start, stop, and what connects the rooms.

use crate::alarms::Alarms;
use crate::alerts::Alerts;
use crate::clock::Watch;
use crate::config::{Config, Delivery};
use crate::core::{Core, End, fold_frame};
use crate::crossing::Crossing;
use crate::crossing::rules::Rules;
use crate::desk::Desk;
use crate::event::Event;
use crate::healing::Healing;
use crate::http;
use crate::ingest;
use crate::intake::Intake;
use crate::limits::{CROSS_BYTES_MAX, CROSS_SHARE, EVENTS_MAX, FILES_BESIDE, FRAMES_BYTES_MAX, LEFT_WAIT, QUEUE_MAX, SNAPSHOT_WAIT};
use crate::link::Link;
use crate::store::{Snapshots, Store};
use crate::wear::Wear;
use broker::{Broker, StoredSession};
use journal::disk::RealDisk;
use journal::rate::Rate;
use journal::{Opened, Options, RunState, Tuning};
use replica::fold::{Fold, FoldConfig};
use replica::record::Record;
use replica::uplink::{Settings, Uplink};
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{info, warn};
use web::place::{RunJson, listen};

/// Why a gateway cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// A record or snapshot.
    #[error(transparent)]
    Replica(#[from] replica::Error),
    /// The sources.
    #[error(transparent)]
    Source(#[from] telemetry::SourceError),
    /// The log refuses the gateway's own records.
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
    #[error("the log could not be written; acknowledged readings are safe, the process ends so that it can recover")]
    LogFailed,
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { what: what.into(), source }
}

/// Runs a gateway until `shutdown`. Where another speaks under its boot, all its rooms are closed
/// and opened again, as a stop and a start would.
///
/// # Errors
/// When it cannot start, or its log fails.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let started = Instant::now();
    tokio::pin!(shutdown);
    while boot(config.clone(), started, shutdown.as_mut()).await? == End::Forked {
        warn!("the gateway begins again, under a boot of its own");
    }
    Ok(())
}

/// One boot, from the log's recovery to its stop.
async fn boot(config: Config, started: Instant, shutdown: impl Future<Output = ()>) -> Result<End, Error> {
    let opened = {
        let options = Options { retain: config.log.retain, limit_bytes: config.log.limit };
        let tuning = Tuning { flash_bytes_per_day: Some(config.log.flash_budget), ..Tuning::default() };
        journal::open_on(Arc::new(RealDisk), &config.data_dir, options, tuning)?
    };
    journal::owner::claim(&config.data_dir, &format!("gateway {}", config.gateway))?;
    let run_json = RunJson::claim(&config.data_dir).map_err(io("run.json"))?;
    let mut fold = newest(&opened);
    fold.shelf.keep_in(Arc::new(Store(opened.parts())));
    let saved_lsn = fold.lsn;
    let missing = |fold: &Fold| fold.boots.iter().map(|part| part.damaged).sum::<u64>().saturating_sub(fold.orphaned);
    let (mut lost, orphaned) = (0, fold.orphaned);
    let mut failed = None;
    opened.replay(fold.lsn, &mut |frame| {
        let before = (frame.first > fold.lsn + 1).then(|| missing(&fold));
        if let Err(error) = fold_frame(&mut fold, frame) {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        lost += before.map_or(0, |before| missing(&fold).saturating_sub(before));
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    for (from, to) in &opened.report.gaps {
        warn!(from, to, "records are lost to damage; their readings are counted shed");
    }
    let orphaned = fold.orphaned - orphaned;
    if lost > 0 || orphaned > 0 {
        warn!(
            missing = lost,
            nameless = orphaned,
            "readings are counted shed, for damage: missing ones, and those whose series or windows nothing names"
        );
    }
    // Before the first record: who cannot listen, and tries again and again, logs nothing.
    let (mqtt, mqtt_at) = listen(config.mqtt.listen).await.map_err(io(format!("[mqtt] listen {}", config.mqtt.listen)))?;
    let (http, http_at) = listen(config.http.listen).await.map_err(io(format!("[http] listen {}", config.http.listen)))?;
    let runtime = tokio::runtime::Handle::current();
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let end = opened.end();
    let journal = {
        let (frames, room, runtime) = (events.clone(), Arc::new(Semaphore::new(FRAMES_BYTES_MAX)), runtime.clone());
        opened.start(Box::new(move |frame| {
            let bytes = u32::try_from(frame.bytes.len().min(FRAMES_BYTES_MAX)).unwrap_or(u32::MAX);
            // The core ends only after the journal; before, what waits for it holds the log.
            if let Ok(room) = runtime.block_on(room.clone().acquire_many_owned(bytes)) {
                drop(frames.blocking_send(Event::Frame(frame, room)));
            }
        }))?
    };

    let sources = telemetry::source::Sources::new(&config.gateway, config.sources.clone())?;
    let (horizon_out, horizon) = watch::channel(broker::Horizon { durable: end, failed: false });
    let desk = Arc::new(Desk::new(&config.gateway));
    let rules = Arc::new(Rules::new(&config.gateway, &config.bridges));
    let readers = ingest::client_ids(&config.gateway, &config.ingest);
    let intake = Intake::new(
        journal.clone(),
        &fold,
        sources,
        config.cloud.is_some(),
        config.limits.clone(),
        rules.clone(),
        config.bounds.series,
        horizon,
        desk.clone(),
    );
    let intake = Arc::new(intake.without(readers.clone()));
    let mut progress = journal.horizon();
    let relay = tokio::spawn(async move {
        loop {
            let now = *progress.borrow_and_update();
            horizon_out.send_replace(broker::Horizon { durable: now.durable, failed: now.state == RunState::Failed });
            if progress.changed().await.is_err() || now.state == RunState::Failed {
                return now.state == RunState::Failed;
            }
        }
    });

    let boot: u64 = rand::random();
    let parent = fold.current().map(|p| (p.boot, p.end));
    let settings = FoldConfig {
        crossing_bytes: (config.log.limit / CROSS_SHARE).min(CROSS_BYTES_MAX),
        // A broker alone is asked by the connection itself.
        wanted: if config.bridges.iter().any(|b| b.delivery == Delivery::Bridge) { rules.wanted() } else { Vec::new() },
        ..config.fold()
    };
    {
        let encoded = schemas::cbor::to_vec(&settings);
        intake.begin(boot, &Record::Boot { boot, parent, config: &encoded }, fold.totals())?;
    }

    let plants = ingest::sessions(&fold, &intake, &config.ingest);
    broker::descriptors::allow(config.bounds.connections, FILES_BESIDE);
    let stored = stored_sessions(&fold, &intake, &readers);
    let door =
        broker::Config { max_packet: config.mqtt.max_packet as usize, connections_max: config.bounds.connections, queue_max: QUEUE_MAX };
    let broker = Broker::new(door, intake.clone(), stored);

    let uplink = config.cloud.as_ref().map(|cloud| {
        let machine = Uplink::new(Settings {
            gateway: config.gateway.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot,
            every_ms: cloud.every_ms,
            preview: cloud.preview,
            budget: cloud.budget,
            interval_bytes: 0,
            seed: rand::random(),
        });
        (machine, Link::start(&config.gateway, boot, &cloud.host, cloud.port, &events))
    });
    let alarms = Alarms::new(&config.gateway, desk, &mut fold, &broker);
    let alerts = Alerts::new(&config.gateway, &fold, &broker);
    // Nobody was there to see them.
    fold.fresh_shadow.clear();
    let crossing = config
        .cloud
        .as_ref()
        .zip(uplink.as_ref())
        .and_then(|(cloud, (_, link))| Crossing::start(&config.gateway, boot, cloud, &config.bridges, rules, &events, link.counter()));
    let core = Core {
        alarms,
        alerts,
        fold,
        journal: journal.clone(),
        intake: intake.clone(),
        broker: broker.clone(),
        gateway: config.gateway.clone(),
        uplink,
        snapshots: Snapshots::new(journal.clone(), saved_lsn),
        healing: Healing::new(journal.clone()),
        crossing,
        clock: Watch::default(),
        began: Instant::now(),
        looked_ms: (0, 0),
        ticked_ms: 0,
        asked: Vec::new(),
        speaks_on: false,
        unlogged: BTreeMap::new(),
        rate: Rate::default(),
        wear: Wear::new(config.log.flash_budget),
    };
    let (alive, mut core_ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("fold".into())
        .spawn(move || {
            // Dropped with the thread, however it ends.
            let _alive = alive;
            core.run(inbox, &runtime)
        })
        .map_err(io("the fold's thread"))?;

    let listening = broker.listen(mqtt);
    let serving = tokio::spawn(http::serve(
        http,
        http::State { events: events.clone(), journal: journal.clone(), broker: broker.clone(), gateway: config.gateway.clone(), started },
    ));
    let ingests: Vec<_> = config
        .ingest
        .iter()
        .zip(plants)
        .map(|(i, session)| tokio::spawn(ingest::run(config.gateway.clone(), i.clone(), session, intake.clone(), broker.clone())))
        .collect();
    let announced = run_json.write("edge", &mqtt_at.to_string(), http_at, Some(&config.gateway)).map_err(io("run.json"));
    info!(gateway = config.gateway, mqtt = %mqtt_at, http = %http_at, boot = format!("{boot:016x}"), "ready");

    let flushing = {
        let intake = intake.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                intake.flush_refused();
            }
        })
    };
    tokio::pin!(relay);
    let (is_asked, failed) = tokio::select! {
        () = shutdown => (true, false),
        ended = &mut relay => (false, ended.unwrap_or(true)),
        // How it ended, the thread says.
        _ = &mut core_ended => (false, false),
        // Nobody would find it: it ends, in order.
        () = std::future::ready(()), if announced.is_err() => (true, false),
    };
    info!("stopping");
    ingests.iter().for_each(tokio::task::JoinHandle::abort);
    flushing.abort();
    intake.flush_refused();
    broker.shutdown(Duration::from_secs(2)).await;
    let (left, is_noted) = oneshot::channel();
    drop(tokio::time::timeout(LEFT_WAIT, async { events.send(Event::Left(left)).await.is_ok() && is_noted.await.is_ok() }).await);
    listening.abort();
    let closing = journal.clone();
    let stopped = tokio::task::spawn_blocking(move || closing.close()).await;
    drop(events.send(Event::Stop).await);
    let folded = tokio::task::spawn_blocking(move || thread.join()).await;
    // The core's last snapshot, so that the next start replays nothing. One that takes too long is
    // left as it is: then it replays what lies behind the one before.
    drop(tokio::time::timeout(SNAPSHOT_WAIT, tokio::task::spawn_blocking(move || journal.stop())).await);
    serving.abort();
    run_json.remove().map_err(io("run.json"))?;
    announced?;
    let end = match folded {
        Ok(Ok(end)) => end?,
        _ => return Err(Error::LogFailed),
    };
    if failed || stopped.is_err() {
        return Err(Error::LogFailed);
    }
    // Who is asked to stop begins nothing more.
    Ok(if is_asked { End::Stopped } else { end })
}

/// The state of the newest snapshot that can be read.
fn newest(opened: &Opened) -> Fold {
    let mut before = journal::Lsn::MAX;
    while let Some((at, state)) = opened.snapshot_at_or_before(before) {
        match Fold::restore(&state) {
            Ok(fold) => return fold,
            Err(error) => warn!(%error, at, "a snapshot is passed over; the log is folded from an earlier one"),
        }
        before = at.saturating_sub(1);
    }
    Fold::default()
}

/// Sessions that an earlier process left, but for our own elsewhere.
fn stored_sessions(fold: &Fold, intake: &Intake, readers: &[String]) -> Vec<StoredSession> {
    let clients = fold.sessions.by_number.iter().filter(|(_, s)| !ingest::is_ours(&s.client_id));
    role::session::stored(clients, crate::clock::wall_ms().max(fold.clock_ms), readers, intake)
}
