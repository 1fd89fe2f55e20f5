//! Acknowledged is durable: the power goes at every step, and nothing told is lost.

use super::*;

/// Writes with snapshots until the disk dies or `count` records are there; gives the last
/// acknowledged record.
fn work(disk: &LyingDisk, count: Lsn) -> Lsn {
    let Ok(log) = Log::open(disk) else { return 0 };
    let mut acknowledged = 0;
    for i in 1..=count {
        match log.write() {
            Ok(Some(lsn)) => acknowledged = lsn,
            Ok(None) | Err(Refused::Stopped) => break,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
        if i % 4 == 0 && acknowledged > 0 {
            log.snapshot(acknowledged, disk);
        }
    }
    log.journal.stop();
    acknowledged
}

/// All that was acknowledged is there, whole and in order, and nothing looks damaged.
fn check(disk: &LyingDisk, acknowledged: Lsn, context: &str) -> Lsn {
    let opened = try_open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(opened.end() >= acknowledged, "{context}: {} of {acknowledged}", opened.end());
    assert_eq!(opened.report.damage, vec![], "{context}");
    assert_eq!(quarantine(disk), Vec::<String>::new(), "{context}");
    let from = match opened.snapshot() {
        Some((at, found)) => {
            assert_eq!(found, state(at), "{context}");
            for id in pages(at) {
                assert_eq!(opened.parts().read(id), Some(page(id)), "{context}: page {id}");
            }
            at
        }
        None => 0,
    };
    assert!(opened.first() <= from + 1, "{context}: freed what no snapshot covers");
    assert_eq!(read(&opened, from), (from + 1..=opened.end()).collect::<Vec<_>>(), "{context}");
    if opened.end() > 0 {
        assert_eq!(opened.marks(), marks(opened.end()), "{context}");
    }
    opened.end()
}

#[test]
fn the_power_may_go_at_every_step() {
    const COUNT: Lsn = 64;
    let whole = LyingDisk::default();
    assert_eq!(work(&whole, COUNT), COUNT);
    let freed = segments(&whole)[0].first > 1;
    assert!(freed, "the run must be long enough to recycle segments");
    let steps = whole.steps();
    let cuts: u64 = match std::env::var("TIDEGATE_CUTS").ok().filter(|text| !text.is_empty()) {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("TIDEGATE_CUTS={text} is no number")),
        None => 3 * steps,
    };
    for step in 1..=steps.min(cuts) {
        let disk = LyingDisk::default();
        disk.die_at(step);
        let acknowledged = work(&disk, COUNT);
        for seed in 0..cuts / steps + u64::from(step <= cuts % steps) {
            let context = format!("power cut at step {step} of {steps}, seed {seed}");
            let cut = disk.cut(step * 1_000 + seed);
            // Again, while it recovers and goes on.
            cut.die_at(1 + (step + seed) % 12);
            let acknowledged = acknowledged.max(work(&cut, 3));
            let again = cut.cut(seed);
            let end = check(&again, acknowledged, &context);
            let log = Log::open(&again).unwrap();
            assert_eq!(log.write_soon(), end + 1, "{context}");
            log.journal.stop();
            check(&again, end + 1, &context);
        }
    }
    println!("{cuts} power cuts, each with another during recovery, over {steps} steps");
}

#[test]
fn a_failed_sync_is_final_and_what_it_showed_is_not_believed() {
    for kept in [0, 1, 5, 20] {
        let disk = written(kept);
        let log = Log::open(&disk).unwrap();
        disk.fail_syncs(1);
        assert_eq!(log.write(), Ok(None));
        assert_eq!(log.journal.append().err(), Some(Refused::Stopped));
        assert_eq!(log.journal.append_bookkeeping().err(), Some(Refused::Stopped));
        assert_eq!(log.journal.horizon().borrow().durable, kept);
        let steps = disk.steps();
        log.journal.stop();
        assert_eq!(disk.steps(), steps, "nothing is written after a failed sync");
        // The next start sees the frame in the cache. What it then tells must survive a cut.
        let restarted = disk.killed();
        let end = try_open(&restarted).unwrap().end();
        for seed in 0..8 {
            check(&restarted.cut(seed), end, &format!("seed {seed}"));
        }
    }
}

#[test]
fn a_killed_process_leaves_nothing_that_a_later_cut_can_take_back() {
    for step in 1..60 {
        let disk = LyingDisk::default();
        disk.die_at(step);
        work(&disk, 10);
        let restarted = disk.killed();
        let end = try_open(&restarted).unwrap().end();
        check(&restarted.cut(step), end, &format!("step {step}"));
    }
}

#[test]
fn a_tail_torn_at_every_byte_is_cut_and_nothing_else() {
    let disk = written(4);
    let segment = segments(&disk).pop().unwrap();
    let bytes = disk.read(&segment.path, 0, usize::MAX).unwrap();
    let mut frames = crate::segment::Frames::new(&bytes, segment.first).unwrap();
    let mut last = 0..0;
    while let Some(head) = frames.next() {
        last = frames.offset - head.bytes..frames.offset;
    }
    for at in last.clone() {
        for flip in [false, true] {
            let torn = disk.cut(0);
            let change = |bytes: &mut Vec<u8>| {
                if flip { bytes[at] ^= 0x10 } else { bytes[at..last.end].fill(0) }
            };
            torn.damage(&segment.path, change).unwrap();
            if torn.read(&segment.path, 0, usize::MAX).unwrap() == bytes {
                continue;
            }
            let opened = try_open(&torn).unwrap();
            assert_eq!((opened.end(), opened.report.damage.len()), (3, 0), "torn at {at}");
            assert_eq!(opened.marks(), marks(3));
            drop(opened);
            assert_eq!(try_open(&torn).unwrap().report.torn_bytes, 0, "cut once, at {at}");
            let log = Log::open(&torn).unwrap();
            assert_eq!(log.write_soon(), 4);
            log.journal.stop();
            assert_eq!(records_of(&torn), vec![1, 2, 3, 4]);
        }
    }
}
