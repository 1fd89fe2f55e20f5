//! What the store promises through crashes, power cuts and rolling over.

use super::*;
use replica::join::store::Batch;
use replica::join::window::{Held, Published};
use replica::join::{Bridge, BridgeConfig, Merged, Window, WindowKey};
use replica::record::Record;
use schemas::message::{Definition, Delta, FORMAT};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;

type Snapshots = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

const DAY: i64 = 86_400_000;

fn window(i: i64) -> Window {
    let mut w = Window { published: Published { revision: 1, at_ms: i, complete: false }, ..Window::default() };
    w.join(Held { source: 0, born: 1, version: 2, aggregate: Aggregate::new(i, 1.5) });
    w
}

fn put(keeper: &mut Keeper, lsn: u64, keys: &[WindowKey]) {
    let windows = keys.iter().map(|k| (*k, window(k.2))).collect();
    keeper.write(Arc::new(Batch { lsn, windows, state: Box::new(move || format!("state {lsn}").into_bytes()) })).unwrap();
    assert!(keeper.written(true).unwrap());
}

/// sled gives its lock back a moment after it is dropped.
fn reopened(dir: &Path, kernel: &str, end: u64, base: u64) -> (Keeper, Handle, Option<(u64, String)>) {
    const LIMIT: Duration = Duration::from_secs(60);
    let deadline = Instant::now() + LIMIT;
    loop {
        let is_free = lives(&dir.join("windows")).unwrap_or_default().iter().all(|(_, live)| {
            let Ok(file) = File::open(live.join("sled/db")) else { return true };
            use std::os::fd::AsRawFd;
            // SAFETY: a lock on a descriptor that the file keeps open; it ends with the file.
            unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
        });
        if is_free || Instant::now() > deadline {
            break;
        }
        std::thread::yield_now();
    }
    let deadline = Instant::now() + LIMIT;
    let (keeper, handle, found) = loop {
        match open(dir, kernel, (1, end), base) {
            Ok(opened) => break opened,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    };
    (keeper, handle, found.map(|f| (f.lsn, String::from_utf8_lossy(&f.state).into_owned())))
}

#[test]
fn it_is_trusted_after_a_crash_and_not_after_a_power_cut_unless_closed() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [(0, 10_000, 0), (1, 10_000, 5 * DAY)];
    let (mut keeper, handle, found) = reopened(dir.path(), "k1", 0, 0);
    assert_eq!(found, None);
    put(&mut keeper, 7, &keys[..1]);
    put(&mut keeper, 9, &keys[1..]);
    drop((keeper, handle));
    // A crash of the process.
    let (mut keeper, handle, found) = reopened(dir.path(), "k1", 9, 0);
    assert_eq!(found, Some((9, "state 9".into())));
    assert_eq!((keeper.get(keys[0]).unwrap(), keeper.get(keys[1]).unwrap()), (Some(window(0)), Some(window(5 * DAY))));
    handle.close().unwrap();
    drop((keeper, handle));
    // A power cut after it was closed, and one while it was open.
    let (keeper, handle, found) = reopened(dir.path(), "k2", 9, 0);
    assert_eq!(found, Some((9, "state 9".into())));
    drop((keeper, handle));
    let (mut keeper, handle, found) = reopened(dir.path(), "k3", 9, 0);
    assert_eq!((found, keeper.get(keys[0]).unwrap()), (None, None));
    // The log lost records that the store has: its tail was torn.
    put(&mut keeper, 12, &keys);
    drop((keeper, handle));
    let (mut keeper, handle, found) = reopened(dir.path(), "k3", 11, 0);
    assert_eq!((found, keeper.get(keys[0]).unwrap()), (None, None));
    put(&mut keeper, 12, &keys);
    handle.distrust();
    drop((keeper, handle));
    assert_eq!(reopened(dir.path(), "k3", 12, 0).2, None);
}

#[test]
fn damage_costs_a_fold_and_never_a_start() {
    let dir = tempfile::tempdir().unwrap();
    for damage in 0..3 {
        let (mut keeper, handle, _) = reopened(dir.path(), "k", 9, 0);
        put(&mut keeper, 9, &[(0, 10_000, 0)]);
        drop((keeper, handle));
        let live = lives(&dir.path().join("windows")).unwrap().remove(0).1;
        match damage {
            0 => fs::write(live.join("sled/db"), [7; 5_000]).unwrap(),
            1 => fs::write(live.join("state-00000000000000000009"), b"damaged").unwrap(),
            _ => fs::OpenOptions::new().write(true).open(live.join("sled/db")).unwrap().set_len(100).unwrap(),
        }
        let (mut keeper, _, found) = reopened(dir.path(), "k", 9, 0);
        assert_eq!((found, keeper.get((0, 10_000, 0)).unwrap()), (None, None), "damage {damage}");
    }
}

/// A crash in the midst of a write: sled has some of what changed, and the file has it all; or it has not.
#[test]
fn a_write_that_was_cut_short_is_made_again_or_was_never_begun() {
    let keys: Vec<WindowKey> = (0..3_000).map(|i| (i % 7, 10_000, i64::from(i) * 10_000)).collect();
    for (cut, expected) in [("changed-00000000000000000012", 12), ("changed-00000000000000000012.tmp", 9)] {
        let dir = tempfile::tempdir().unwrap();
        let (mut keeper, handle, _) = reopened(dir.path(), "k", 0, 0);
        put(&mut keeper, 9, &keys[..100]);
        drop((keeper, handle));
        let live = lives(&dir.path().join("windows")).unwrap().remove(0).1;
        let windows: Vec<(WindowKey, Window)> = keys.iter().map(|k| (*k, window(k.2 + 1))).collect();
        let mut sorted: Vec<(WindowKey, &Window)> = windows.iter().map(|(k, w)| (*k, w)).collect();
        sorted.sort_unstable_by_key(|(k, _)| *k);
        live::keep_whole(&live.join("changed-00000000000000000012"), &sorted).unwrap();
        fs::rename(live.join("changed-00000000000000000012"), live.join(cut)).unwrap();
        fs::write(live.join("state-00000000000000000012"), [&crc32c::crc32c(b"state 12").to_le_bytes()[..], b"state 12"].concat()).unwrap();
        let (mut keeper, handle, found) = reopened(dir.path(), "k", 12, 0);
        assert_eq!(found, Some((expected, format!("state {expected}"))));
        for (key, changed) in &windows {
            let kept = if keys[..100].contains(key) { Some(window(key.2)) } else { None };
            assert_eq!(keeper.get(*key).unwrap(), if expected == 12 { Some(changed.clone()) } else { kept });
        }
        put(&mut keeper, 15, &keys[..1]);
        drop((keeper, handle));
        let names = fs::read_dir(&live).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = names.filter(|n| n.starts_with("changed") || n.starts_with("state")).collect();
        assert_eq!(left, ["state-00000000000000000015"]);
    }
}

#[test]
fn rolled_over_windows_are_in_runs_by_day_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keeper, handle, _) = reopened(dir.path(), "k", 0, 0);
    let keys: Vec<WindowKey> = (0..100i64).map(|d| (3, 10_000, d * DAY)).collect();
    put(&mut keeper, 5, &keys);
    let saved = Arc::new(AtomicBool::new(false));
    let flag = saved.clone();
    let save: Save = Arc::new(move |lsn, state| {
        assert_eq!(lsn, 5);
        flag.fetch_or(state.is_some_and(|s| s == b"state 5"), Ordering::SeqCst);
        Some(flag.load(Ordering::SeqCst))
    });
    handle.roll(5, b"state 5".to_vec(), save).unwrap();
    // Whether it is on its way or there, a reader finds it.
    for key in &keys {
        assert_eq!(keeper.get(*key).unwrap(), Some(window(key.2)));
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while lives(&dir.path().join("windows")).unwrap().len() > 1 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!((handle.figures().runs.0, handle.figures().runs.1, handle.figures().live_windows), (100, 100, 0));
    put(&mut keeper, 6, &[(3, 10_000, 0)]);
    keeper.forget(90 * DAY + 10_000);
    assert_eq!(handle.figures().runs.0, 10);
    drop((keeper, handle));
    // A power cut: live is gone, runs as of the snapshot stay; a run of a later one does not.
    let (mut keeper, handle, found) = reopened(dir.path(), "other", 6, 5);
    assert_eq!((found, keeper.get(keys[99]).unwrap(), keeper.get(keys[0]).unwrap()), (None, Some(window(99 * DAY)), None));
    drop((keeper, handle));
    let (mut keeper, _, _) = reopened(dir.path(), "third", 6, 4);
    assert_eq!(keeper.get(keys[99]).unwrap(), None, "the log from 4 on gives it again");
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs that cannot be written, as on a full disk, and a snapshot that the log did not get: each comes
/// once it can, by itself.
#[test]
fn rolling_over_that_fails_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let windows = dir.path().join("windows");
    let (mut keeper, handle, _) = reopened(dir.path(), "k", 0, 0);
    let keys = [(3, 10_000, 0), (3, 10_000, DAY)];
    put(&mut keeper, 5, &keys);
    let obstacle = windows.join(format!("run-000001-{:020}.tmp", 5));
    fs::create_dir(&obstacle).unwrap();
    let (asked, puts) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
    let (was_asked, count) = (asked.clone(), puts.clone());
    let save: Save = Arc::new(move |_, state| {
        was_asked.store(true, Ordering::SeqCst);
        *count.lock() += u32::from(state.is_some());
        Some(*count.lock() > 1)
    });
    handle.roll(5, b"state 5".to_vec(), save).unwrap();
    until("it was tried", || asked.load(Ordering::SeqCst));
    assert!(handle.shared.frozen.lock().is_some());
    let names = || fs::read_dir(&windows).unwrap().map(|f| f.unwrap().path()).filter(|p| p.is_file()).count();
    until("what was written of it gives its room back", || names() == 0);
    assert_eq!(keeper.get(keys[1]).unwrap(), Some(window(DAY)));
    fs::remove_dir(&obstacle).unwrap();
    until("the runs are there", || handle.shared.frozen.lock().is_none());
    until("the snapshot is put again", || lives(&windows).unwrap().len() == 1);
    assert_eq!((handle.figures().runs.1, *puts.lock()), (2, 2));
    assert_eq!(keeper.get(keys[1]).unwrap(), Some(window(DAY)));
}

/// A batch asks for as much room as it takes. Without, it waits and nobody waits for it.
#[test]
fn a_batch_waits_for_room_and_a_roll_is_put_off() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keeper, handle, _) = reopened(dir.path(), "k", 0, 0);
    let room = Arc::new(AtomicU64::new(ROOM_MIN + 4_096));
    let free = room.clone();
    *handle.shared.probe.lock() = Box::new(move |_| Ok(free.load(Ordering::SeqCst)));
    assert!(handle.has_room());
    let key = (0, 10_000, 0);
    let batch = |lsn| {
        let windows = [(key, window(0))].into_iter().collect();
        Arc::new(Batch { lsn, windows, state: Box::new(move || vec![lsn as u8; 8_192]) })
    };
    keeper.write(batch(3)).unwrap();
    assert!(!keeper.written(true).unwrap(), "it has no room");
    assert!(!handle.has_room() && handle.is_short());
    room.store(u64::MAX, Ordering::SeqCst);
    until("it is written", || handle.has_room() && handle.figures().live_windows == 1);
    assert!(keeper.written(true).unwrap());
    // A roll that has no room changes nothing.
    room.store(ROOM_MIN, Ordering::SeqCst);
    assert!(handle.roll(3, vec![3; 8_192], Arc::new(|_, _| None)).is_err());
    assert_eq!((lives(&dir.path().join("windows")).unwrap().len(), keeper.get(key).unwrap()), (1, Some(window(0))));
    // Who stops does not wait.
    keeper.write(batch(4)).unwrap();
    drop((keeper, handle));
    let (_, _, found) = reopened(dir.path(), "k", 9, 0);
    assert_eq!(found.map(|f| f.0), Some(3));
}

/// The log was cut behind a snapshot that is damaged now: what cannot be folded again is not thrown away.
#[test]
fn runs_that_the_log_does_not_have_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keeper, handle, _) = reopened(dir.path(), "k", 0, 0);
    put(&mut keeper, 5, &[(3, 10_000, 0)]);
    handle.roll(5, b"state 5".to_vec(), Arc::new(|_, _| Some(true))).unwrap();
    until("it rolls over", || lives(&dir.path().join("windows")).unwrap().len() == 1);
    drop((keeper, handle));
    drop(reopened(dir.path(), "k", 6, 5));
    let (_, handle, found) = open(dir.path(), "other", (6, 9), 0).unwrap();
    assert_eq!((found.is_none(), handle.figures().runs.0, handle.figures().damaged), (true, 0, 1));
    assert!(dir.path().join(format!("windows/run-000000-{:020}.damaged", 5)).exists());
}

/// A cloud's log, random but the same for the same seed.
fn log(seed: u64, records: usize) -> Vec<(u8, Vec<u8>)> {
    let mut state = seed;
    let mut below = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut out = Vec::new();
    let mut push = |advance: u64, record: &Record<'_>| {
        let mut payload = Vec::new();
        record.encode(advance, &mut payload);
        out.push((record.kind(), payload));
    };
    push(1_700_000_000_000, &Record::Boot { boot: 1, parent: None, config: &BridgeConfig::default().encode() });
    let mut applied = [0u64; 3];
    for number in 0..records {
        let g = below(3) as usize;
        if below(3) == 0 {
            push(below(900), &Record::Round);
            continue;
        }
        let from = applied[g];
        applied[g] += 1 + below(40);
        let list: Vec<Entry> = (0..below(6))
            .map(|i| {
                let start_ms = 1_700_000_000_000 + (below(30) as i64 - 20) * 6 * 3_600_000;
                let born = from + 1 + i;
                let aggregate = Aggregate::new(start_ms + 5, below(1_000) as f64 / 3.0);
                Entry { series: below(4) as u32, size_ms: 10_000, start_ms, born, version: born + below(60), aggregate }
            })
            .collect();
        let delta = Delta {
            format: FORMAT,
            boot: 9,
            from,
            to: applied[g],
            number: number as u64,
            frontier_ms: 1_700_000_000_000 + applied[g] as i64,
            readings_to: applied[g],
            accepted: applied[g],
            defs: (0..4).map(|n| Definition { number: n, name: format!("s{n}"), unit: None }).collect(),
            entries: block::encode(&list),
            sizes: vec![10_000, 60_000],
            grace_ms: 1_000,
            ..Delta::default()
        };
        push(below(50), &Record::Interval { gateway: ["a", "b", "c"][g], bytes: &delta.encode() });
    }
    out
}

fn newest(bridge: &mut Bridge) -> Vec<Merged> {
    let mut all = Vec::new();
    bridge.newest(|m| all.push(m)).unwrap();
    all
}

/// Crashes, power cuts, clean stops and rolling over, in any order, at any record: the bridge
/// is the one that never stopped.
#[test]
fn through_all_that_happens_to_it_the_bridge_is_the_same() {
    for seed in 0..6u64 {
        let records = log(seed, 400);
        let mut whole = Bridge::default();
        for (lsn, (kind, payload)) in (1..).zip(&records) {
            whole.apply(lsn, *kind, payload).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let (mut kernel, mut done, mut turn) = (0u32, 0usize, seed);
        let snapshots: Snapshots = Arc::default();
        let mut last = None;
        while done < records.len() {
            let base = snapshots.lock().last().cloned();
            let (keeper, handle, found) = reopened(dir.path(), &kernel.to_string(), done as u64, base.as_ref().map_or(0, |b| b.0));
            let mut bridge = match (found, base) {
                (Some((lsn, _)), _) => {
                    let live = lives(&dir.path().join("windows")).unwrap().pop().unwrap().1;
                    Bridge::restore(&fs::read(live.join(format!("state-{lsn:020}"))).unwrap()[4..], Box::new(keeper)).unwrap()
                }
                (None, Some((_, state))) => Bridge::restore(&state, Box::new(keeper)).unwrap(),
                (None, None) => Bridge::new(Box::new(keeper)),
            };
            let keep = snapshots.clone();
            // Of a snapshot that is given, some are never there.
            let lost = turn % 5 == 4;
            let save: Save = Arc::new(move |lsn, state| {
                if let Some(state) = state.filter(|_| !lost) {
                    keep.lock().push((lsn, state));
                }
                if lost { None } else { Some(keep.lock().iter().any(|(at, _)| *at == lsn)) }
            });
            handle.resume(save.clone());
            let until = (done + 20 + (turn as usize * 7) % 60).min(records.len());
            for (lsn, (kind, payload)) in (1u64..).zip(&records).skip(bridge.lsn as usize).take(until - bridge.lsn as usize) {
                bridge.apply(lsn, *kind, payload).unwrap();
                bridge.settle().unwrap();
                if (lsn + turn).is_multiple_of(17) {
                    bridge.begin_flush().unwrap();
                }
                if (lsn + turn).is_multiple_of(31) && handle.shared.frozen.lock().is_none() {
                    bridge.flush().unwrap();
                    handle.roll(lsn, bridge.save(), save.clone()).unwrap();
                }
            }
            done = until;
            // What writes runs ends with its process; here it ends by itself, and holds `save` until then, as the store does.
            let deadline = Instant::now() + Duration::from_secs(60);
            while Arc::strong_count(&save) > 2 {
                assert!(Instant::now() < deadline, "runs are not written");
                std::thread::yield_now();
            }
            match turn % 3 {
                0 => {
                    bridge.flush().unwrap();
                    handle.close().unwrap();
                    kernel += 1;
                }
                1 => kernel += 1,
                _ => {}
            }
            turn += 1;
            last = Some((bridge, handle));
            if done < records.len() {
                last = None;
            }
        }
        let (mut bridge, _handle) = last.unwrap();
        assert_eq!(newest(&mut bridge), newest(&mut whole), "seed {seed}");
        assert_eq!((bridge.lsn, bridge.rounds_windows), (whole.lsn, whole.rounds_windows));
        assert!(bridge.save() == whole.save(), "seed {seed}");
        for (number, start) in (0..4u32).flat_map(|n| (-20..10i64).map(move |i| (n, 1_700_000_000_000 + i * 6 * 3_600_000))) {
            let key = (number, 60_000, start - start.rem_euclid(60_000));
            assert_eq!(bridge.merged(key).unwrap(), whole.merged(key).unwrap(), "seed {seed} {key:?}");
        }
    }
}
