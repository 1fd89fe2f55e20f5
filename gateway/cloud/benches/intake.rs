//! Intake of the bridge: intervals of many gateways → log → join → merged messages, without sockets.
//!
//! `cargo bench -p tidegate-cloud [--bench intake] [-- GATEWAYS [SERIES [SECONDS]]]`, by default 2,000 gateways of
//! 50 series for 120 s of plant time: windows of 10 s, published at 10 s and 1 m, sent every 10 s.
//! Times are CPU of this process, all threads, so that a busy machine does not count.

use broker::{Broker, Config};
use cloud::inbound::Door;
use cloud::publish;
use cloud::store::{self, Save};
use journal::Options;
use replica::join::{Bridge, BridgeConfig, Interval};
use replica::record::Record;
use schemas::message::{Definition, Delta, FORMAT};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;
use tokio::sync::watch;

const SIZE_MS: i64 = 10_000;
const READINGS: i64 = 10;

fn cpu() -> Duration {
    // SAFETY: getrusage fills the struct, for which all zeros is a valid value.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut used), 0);
        used
    };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1_000);
    of(used.ru_utime) + of(used.ru_stime)
}

fn memory_mib(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024
}

fn interval(gateway: u64, series: u32, step: i64, base_ms: i64) -> Vec<u8> {
    let start_ms = base_ms + step * SIZE_MS;
    let from = step as u64 * u64::from(series) * READINGS as u64;
    let list: Vec<Entry> = (0..series)
        .map(|s| {
            let level = 20.0 + f64::from(s) + ((gateway as i64 * 31 + step * 7) % 100) as f64 / 10.0;
            let value = |i: i64| ((level + ((i * 7 + step + i64::from(s)) % 13) as f64 / 10.0) * 10.0).round() / 10.0;
            let mut aggregate = Aggregate::new(start_ms, value(0));
            (1..READINGS).for_each(|i| aggregate.add(start_ms + i * 1_000, value(i)));
            let born = from + 1 + u64::from(s);
            Entry { series: s, size_ms: SIZE_MS, start_ms, born, version: born + u64::from(series) * (READINGS as u64 - 1), aggregate }
        })
        .collect();
    let to = from + u64::from(series) * READINGS as u64;
    let defs = if step > 0 {
        Vec::new()
    } else {
        (0..series)
            .map(|n| Definition { number: n, name: format!("plant{gateway}/line{}/sensor{n}", n % 5), unit: Some("°C".into()) })
            .collect()
    };
    let delta = Delta {
        format: FORMAT,
        boot: gateway + 1,
        from,
        to,
        number: step as u64,
        frontier_ms: start_ms + SIZE_MS + 2_000,
        readings_to: to,
        accepted: to,
        defs,
        entries: block::encode(&list),
        sizes: vec![SIZE_MS, 60_000],
        grace_ms: 2_000,
        ..Delta::default()
    };
    delta.encode()
}

#[derive(Default)]
struct Spent {
    decode: Duration,
    log: Duration,
    join: Duration,
    round: Duration,
    json: Duration,
    store: Duration,
}

/// CPU since the last call goes to one account.
fn account(since: &mut Duration, to: &mut Duration) {
    let now = cpu();
    *to += now - *since;
    *since = now;
}

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let arg = |i: usize, default: u64| args.get(i).copied().unwrap_or(default);
    let (gateways, series, seconds) = (arg(0, 2_000), arg(1, 50) as u32, arg(2, 120) as i64);
    let dir = tempfile::tempdir().expect("a temporary dir");
    let opened = journal::open(dir.path(), Options { retain: Duration::MAX, limit_bytes: u64::MAX }).expect("a log");
    let (frames, durable) = mpsc::channel();
    let journal = opened.start(Box::new(move |frame| drop(frames.send(frame)))).expect("a running log");
    let (_horizon, horizon) = watch::channel(broker::Horizon::default());
    let (events, _inbox) = tokio::sync::mpsc::channel(1);
    let (keeper, handle, _) = store::open(dir.path(), &store::kernel_boot(), (0, 0), 0).expect("a store");
    let mut bridge = Bridge::new(Box::new(keeper));
    let door = Arc::new(Door::new(journal.clone(), &bridge, 1, horizon, events, Arc::default()));
    let broker = Broker::new(Config { max_packet: 1 << 20, connections_max: 1, queue_max: 10_000 }, door.clone(), Vec::new());
    let snapshots = journal.clone();
    let save: Save = Arc::new(move |lsn, state| {
        state.map_or_else(
            || Some(snapshots.snapshots().contains(&lsn)),
            |state| {
                snapshots.snapshot(lsn, state);
                Some(false)
            },
        )
    });
    handle.resume(save.clone());
    let base_ms = cloud::inbound::wall_ms().div_euclid(60_000) * 60_000 - seconds * 1_000;
    door.log(&Record::Boot { boot: 1, parent: None, config: &BridgeConfig::default().encode() }).expect("room");

    let mut spent = Spent::default();
    let (mut windows, mut published, mut json_bytes, mut wire_bytes) = (0u64, 0u64, 0u64, 0u64);
    let began = Instant::now();
    let mut made = Duration::ZERO;
    for step in 0..seconds * 1_000 / SIZE_MS {
        let making = Instant::now();
        let batch: Vec<(String, Vec<u8>)> = (0..gateways).map(|g| (format!("gw-{g}"), interval(g, series, step, base_ms))).collect();
        made += making.elapsed();
        let mut since = cpu();
        for chunk in batch.chunks(64) {
            let mut decoded = Vec::with_capacity(chunk.len());
            let intervals: Vec<Interval> = chunk.iter().map(|(_, bytes)| Interval::decode(bytes).expect("our own")).collect();
            account(&mut since, &mut spent.decode);
            for ((gateway, bytes), interval) in chunk.iter().zip(intervals) {
                wire_bytes += bytes.len() as u64;
                windows += u64::from(series);
                loop {
                    match door.log(&Record::Interval { gateway, bytes }) {
                        Ok(lsn) => break decoded.push((lsn, interval)),
                        Err(_) => std::thread::yield_now(),
                    }
                }
            }
            if bridge.lsn > 0 {
                door.log(&Record::Cursor { lsn: bridge.lsn }).expect("room");
            }
            let last = loop {
                match door.log(&Record::Round) {
                    Ok(lsn) => break lsn,
                    Err(_) => std::thread::yield_now(),
                }
            };
            account(&mut since, &mut spent.log);
            let mut ready = decoded.into_iter().peekable();
            while bridge.lsn < last {
                let frame = durable.recv().expect("the log goes on");
                account(&mut since, &mut spent.log);
                for (lsn, kind, payload) in frame.records() {
                    let interval = ready.next_if(|(at, _)| *at == lsn).map(|(_, interval)| interval);
                    let effects = bridge.apply_decoded(lsn, kind, payload, interval).expect("it folds");
                    account(&mut since, if effects.merged.is_empty() { &mut spent.join } else { &mut spent.round });
                    for merged in &effects.merged {
                        let (topic, json) = publish::merged(merged);
                        json_bytes += json.len() as u64;
                        published += 1;
                        broker.publish(&topic, json.into(), 1, merged.newest);
                    }
                    account(&mut since, &mut spent.json);
                }
                if bridge.is_full() || handle.is_full(bridge.lsn) {
                    bridge.flush().expect("the store goes on");
                    account(&mut since, &mut spent.store);
                }
            }
        }
    }
    let wall = began.elapsed() - made;
    let mut since = cpu();
    bridge.flush().expect("the store goes on");
    handle.close().expect("the store closes");
    account(&mut since, &mut spent.store);
    let per = |d: Duration| d.as_secs_f64() * 1e6 / windows as f64;
    let total = spent.decode + spent.log + spent.join + spent.round + spent.json + spent.store;
    println!("{gateways} gateways of {series} series, {seconds} s of plant time: {windows} windows in, {published} messages out");
    println!(
        "CPU {:.2} s, {:.0} windows/s on one core; wall {:.2} s",
        total.as_secs_f64(),
        windows as f64 / total.as_secs_f64(),
        wall.as_secs_f64()
    );
    println!(
        "µs of CPU per window: decode {:.2}, log {:.2}, join {:.2}, rounds {:.2}, JSON and routing {:.2}, store {:.2}",
        per(spent.decode),
        per(spent.log),
        per(spent.join),
        per(spent.round),
        per(spent.json),
        per(spent.store)
    );
    let stats = journal.stats();
    println!(
        "bytes per window: {:.1} on the wire, {:.1} in the log; {:.0} per message; memory {} MiB, at most {} MiB; in memory {:?}",
        wire_bytes as f64 / windows as f64,
        stats.bytes_written as f64 / windows as f64,
        json_bytes as f64 / published as f64,
        memory_mib("VmRSS"),
        memory_mib("VmHWM"),
        bridge.sizes()
    );
    let disk = |name: &str| size_of(&dir.path().join("windows").join(name));
    let live = disk("");
    let mut since = cpu();
    let rolling = Instant::now();
    handle.roll(bridge.lsn, bridge.save(), save.clone()).expect("the store goes on");
    while !journal.snapshots().contains(&bridge.lsn) && rolling.elapsed() < Duration::from_secs(600) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut rolled = Duration::ZERO;
    account(&mut since, &mut rolled);
    let figures = handle.figures();
    println!(
        "rolled over: {} windows to {} runs of {:.1} bytes each, {:.2} µs of CPU each; live took {:.0} bytes each",
        figures.runs.1,
        figures.runs.0,
        figures.runs.2 as f64 / figures.runs.1.max(1) as f64,
        per(rolled),
        live as f64 / figures.runs.1.max(1) as f64
    );
    handle.close().expect("the store closes");
    drop(bridge);
    let starting = cpu();
    let again = Instant::now();
    journal.stop();
    drop((journal, door, broker, save, handle));
    let opened = journal::open(dir.path(), Options { retain: Duration::MAX, limit_bytes: u64::MAX }).expect("the log again");
    let found = cloud::recover::recover(dir.path(), &opened, &store::kernel_boot()).expect("the bridge again");
    println!(
        "start after a clean stop: {:.2} s ({:.2} s CPU) to record {}",
        again.elapsed().as_secs_f64(),
        (cpu() - starting).as_secs_f64(),
        found.bridge.lsn
    );
    drop(found);
    // What a power cut would cost had nothing been rolled over yet.
    let (starting, again) = (cpu(), Instant::now());
    let mut whole = Bridge::default();
    whole.quiet = u64::MAX;
    let replayed = opened.replay(0, &mut |frame| {
        for (lsn, kind, payload) in frame.records() {
            whole.apply(lsn, kind, payload).expect("it folds");
        }
        std::ops::ControlFlow::Continue(())
    });
    assert!(replayed.is_ok_and(|gaps| gaps.is_empty()), "the log is whole");
    let took = (cpu() - starting).as_secs_f64();
    println!(
        "folding the whole log, without a store: {:.2} s ({took:.2} s CPU, {:.0} windows/s)",
        again.elapsed().as_secs_f64(),
        windows as f64 / took
    );
}

fn size_of(path: &std::path::Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(list) => list.flatten().map(|entry| size_of(&entry.path())).sum(),
        Err(_) => path.metadata().map_or(0, |m| m.len()),
    }
}
