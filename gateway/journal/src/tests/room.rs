//! No room is a refusal, never a loss, and passes.

use super::*;
use crate::limits::PAGE_BYTES;

/// For what is done at once.
const PATIENCE: Duration = Duration::from_secs(10);

fn fill(log: &Log) -> (Lsn, Refused) {
    let mut last = 0;
    loop {
        match log.write() {
            Ok(lsn) => last = lsn.unwrap(),
            Err(Refused::Full) => std::thread::yield_now(),
            Err(refused) => return (last, refused),
        }
    }
}

#[test]
fn at_the_limit_readings_are_refused_and_bookkeeping_is_not() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    let (last, refused) = fill(&log);
    assert!(matches!(&refused, Refused::NoRoom(why) if why.contains("limit")), "{refused}");
    assert!(log.journal.stats().room.is_err());
    {
        let mut append = log.journal.append_bookkeeping().unwrap();
        let lsn = append.next();
        *append.marks() = marks(lsn);
        append.push(kind(lsn), |out| out.extend(payload(lsn)));
    }
    assert_eq!(log.frames.recv_timeout(SAFETY).unwrap().last(), last + 1);
    assert!(segments(&disk).iter().map(|s| s.bytes).sum::<u64>() <= LIMIT);

    log.snapshot(last + 1, &disk);
    assert_eq!(log.write_soon(), last + 2);
    assert!(log.journal.stats().room.is_ok());
    log.journal.stop();
    let opened = try_open(&disk).unwrap();
    assert_eq!(opened.snapshot(), Some((last + 1, state(last + 1))));
    assert_eq!(read(&opened, last + 1), vec![last + 2]);
}

#[test]
fn snapshots_as_large_as_the_limit_end_neither_bookkeeping_nor_the_log() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    let (mut last, _) = fill(&log);
    let bookkeeping = || {
        let begun = Instant::now();
        let mut append = loop {
            match log.journal.append_bookkeeping() {
                Ok(append) => break append,
                // The segments behind a snapshot are about to be freed.
                Err(refused) => assert!(begun.elapsed() < PATIENCE, "{refused}"),
            }
            std::thread::yield_now();
        };
        let lsn = append.next();
        *append.marks() = marks(lsn);
        append.push(kind(lsn), |out| out.extend(payload(lsn)));
        drop(append);
        while log.frames.recv_timeout(SAFETY).unwrap().last() < lsn {}
        lsn
    };
    let saved = |at, bytes| {
        log.journal.snapshot(at, vec![7; bytes]);
        let begun = Instant::now();
        while !log.journal.shared.snapshots.lock().iter().any(|saved| saved.at == at) {
            std::thread::yield_now();
            assert!(begun.elapsed() < SAFETY);
        }
    };
    for at in 1..=100 {
        last = bookkeeping();
        if at % 5 == 1 {
            saved(last, LIMIT as usize * 2 / 3);
        }
    }
    assert!(matches!(log.journal.append().err(), Some(Refused::NoRoom(_))), "what has no room is refused still");
    assert!(segments(&disk).iter().map(|s| s.bytes).sum::<u64>() <= LIMIT);
    assert!(snapshots(&disk).len() <= 3);
    for _ in 0..3 {
        last = bookkeeping();
        saved(last, 10);
    }
    assert_eq!(log.write_soon(), last + 1);
}

#[test]
fn parts_stay_as_long_as_a_snapshot_names_them() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    for lsn in 1..=60 {
        assert_eq!(log.write_soon(), lsn);
        if lsn % 3 == 0 {
            log.snapshot(lsn, &disk);
        }
    }
    log.journal.stop();
    let opened = try_open(&disk).unwrap();
    let kept = snapshot::list(&disk, &log_dir()).unwrap();
    assert!(kept.len() > 2);
    let mut named: Vec<Lsn> = kept.iter().flat_map(|saved| saved.parts.clone()).collect();
    named.sort_unstable();
    named.dedup();
    assert_eq!(parts::list(&disk, &log_dir()).unwrap(), named, "what no snapshot names is gone");
    for saved in &kept {
        for id in pages(saved.at) {
            assert_eq!(opened.parts().read(id), Some(page(id)), "page {id} of {}", saved.at);
        }
    }
    assert!(!opened.parts().has(1, &page(1)) && opened.parts().has(60, &page(60)) && opened.parts().read(1).is_none());
    for lsn in named {
        assert_eq!(parts::verify(&disk, &log_dir(), lsn).map(|pages| pages > 0), Ok(true));
    }
}

/// Bytes of all files of the log.
fn bytes_on(disk: &LyingDisk) -> u64 {
    disk.list(&log_dir()).unwrap().iter().filter_map(|name| disk.size(&log_dir().join(name)).ok()).sum()
}

fn counts(log: &Log, at: Lsn) {
    let begun = Instant::now();
    while !log.journal.shared.snapshots.lock().iter().any(|saved| saved.at == at) {
        std::thread::yield_now();
        assert!(begun.elapsed() < SAFETY, "no snapshot was written");
    }
}

/// With each snapshot comes a page that stays, and some that go soon: as marks and windows do in an outage.
#[test]
fn parts_that_are_kept_for_little_are_written_anew() {
    let disk = written(40);
    let log = Log::open(&disk).unwrap();
    let bytes = |id: u64| vec![id as u8; if id.is_multiple_of(10) { 20 } else { 100 }];
    let mut needed = Vec::new();
    for at in 1..=40 {
        needed.retain(|id| id % 10 == 0);
        let new: Vec<u64> = (at * 10..at * 10 + 5).collect();
        needed.extend(&new);
        log.journal.snapshot_with(at, state(at), new.iter().map(|id| (*id, bytes(*id).into())).collect(), needed.clone());
        counts(&log, at);
        let stats = log.journal.stats();
        assert!(stats.waste_bytes <= LIMIT / crate::limits::WASTE_SHARE, "{stats:?}");
    }
    let named = log.journal.shared.snapshots.lock().first().map(|saved| saved.parts.len()).unwrap();
    assert!(named < 15, "{named} parts");
    log.journal.stop();
    let opened = try_open(&disk).unwrap();
    for id in needed {
        assert_eq!(opened.parts().read(id), Some(bytes(id)), "page {id}");
    }
}

#[test]
fn a_copy_whose_snapshot_was_never_written_goes_and_the_page_stays() {
    let disk = written(1);
    let parts = parts::Parts::open(Arc::new(disk), &log_dir(), [1].into()).unwrap();
    let page = |id: u64| (id, Arc::from(vec![id as u8; 50]));
    parts.write(1, &[page(7), page(8)], &[]).unwrap();
    parts.write(2, &[page(9)], &[page(7)]).unwrap();
    assert!(parts.holding(&[7]) == [2] && parts.holding(&[8]) == [1]);
    parts.retain(&[1].into());
    let found = [7, 8, 9].map(|id| parts.read(id).is_some());
    assert_eq!((found, parts.holding(&[7, 8])), ([true, true, false], vec![1]));
}

#[test]
fn readings_leave_room_for_the_next_snapshot() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    let mut last = log.write_soon();
    for _ in 0..6 {
        log.journal.snapshot(last, vec![7; 2_500]);
        counts(&log, last);
        log.journal.foresee(300);
        last = log.write_soon();
        last = last.max(fill(&log).0);
        let bytes = bytes_on(&disk);
        assert!(bytes + 2_800 <= LIMIT, "{bytes}");
    }
}

/// What is kept between for a cloud that lost its disk goes, and with it the parts that it names.
#[test]
fn where_room_is_short_the_newest_two_snapshots_stay() {
    let disk = written(5);
    let log = Log::open(&disk).unwrap();
    (1..=5).for_each(|at| log.snapshot(at, &disk));
    assert_eq!(log.journal.snapshots().len(), 5);
    fill(&log);
    let begun = Instant::now();
    while log.journal.snapshots() != [5, 4] {
        assert!(begun.elapsed() < PATIENCE, "{:?} stay", log.journal.snapshots());
        std::thread::yield_now();
    }
    assert!(log.journal.stats().is_short);
}

/// Asks for a snapshot that names one page, and waits until it counts.
fn save_page(log: &Log, at: Lsn, id: u64, page: &[u8]) {
    log.journal.snapshot_with(at, state(at), vec![(id, page.into())], vec![id]);
    let begun = Instant::now();
    while !log.journal.shared.snapshots.lock().iter().any(|saved| saved.at == at) {
        std::thread::yield_now();
        assert!(begun.elapsed() < SAFETY);
    }
}

/// Frames, snapshots and parts alike wear the flash.
#[test]
fn whatever_is_written_counts_by_the_page() {
    let disk = written(6);
    let log = Log::open(&disk).unwrap();
    assert_eq!(log.journal.stats().disk_bytes, 0);
    save_page(&log, 5, 1, &[7; 5_000]);
    let of = |path: std::path::PathBuf| disk.size(&path).unwrap().next_multiple_of(PAGE_BYTES);
    let saved = of(parts::path_of(&log_dir(), 5)) + of(snapshot::path_of(&log_dir(), 5));
    assert_eq!((log.journal.stats().disk_bytes, saved >= 3 * PAGE_BYTES), (saved, true));
    log.write().unwrap();
    let frame = log.journal.stats().disk_bytes - saved;
    assert!(frame == PAGE_BYTES || frame == 2 * PAGE_BYTES, "{frame}");
    save_page(&log, 7, 1, &[7; 5_000]);
    assert_eq!(log.journal.stats().disk_bytes - saved - frame, of(snapshot::path_of(&log_dir(), 7)), "the page is there already");
}

/// The disk lost the end of the log and the snapshot there, and kept the part that the snapshot named.
/// What comes next comes under the numbers of what is gone.
#[test]
fn a_part_of_what_was_lost_is_no_place_for_what_comes_next() {
    let disk = written(6);
    let log = Log::open(&disk).unwrap();
    save_page(&log, 5, 1, b"of both");
    log.journal.stop();
    let later = disk.killed();
    let log = Log::open(&later).unwrap();
    save_page(&log, 6, 2, b"gone");
    log.journal.stop();
    let orphan = parts::path_of(&log_dir(), 6);
    let file = disk.create(&orphan).unwrap();
    file.write_at(&later.read(&orphan, 0, usize::MAX).unwrap(), 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(&log_dir()).unwrap();

    let opened = try_open(&disk).unwrap();
    let found = opened.parts();
    assert_eq!((found.read(1).as_deref(), found.read(2)), (Some(&b"of both"[..]), None));
    assert!(!found.has(2, b"gone") && !found.has(2, b"kept"), "who has it keeps it");
    assert!(found.bytes() > disk.size(&parts::path_of(&log_dir(), 5)).unwrap(), "it takes room until it goes");
    let log = Log::start(opened);
    assert_eq!(log.write_soon(), 7);
    save_page(&log, 7, 2, b"kept");
    log.journal.stop();
    let found = try_open(&disk).unwrap().parts();
    assert_eq!(found.read(2).as_deref(), Some(&b"kept"[..]));
    assert_eq!(parts::list(&disk, &log_dir()).unwrap(), [5, 7], "what no snapshot names is gone");
}

#[test]
fn a_page_is_known_by_its_bytes_and_not_by_its_number() {
    let disk = written(6);
    let log = Log::open(&disk).unwrap();
    save_page(&log, 5, 1, b"one");
    let parts = log.journal.parts();
    assert!(parts.has(1, b"one") && !parts.has(1, b"two") && !parts.has(1, b"three"));
    save_page(&log, 6, 1, b"two");
    log.journal.stop();
    assert_eq!(parts.read(1).as_deref(), Some(&b"two"[..]));
    assert_eq!(try_open(&disk).unwrap().parts().read(1).as_deref(), Some(&b"two"[..]));
}

#[test]
fn a_damaged_page_is_told_and_the_others_are_there() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    (1..=20).for_each(|lsn| assert_eq!(log.write_soon(), lsn));
    log.snapshot(20, &disk);
    log.journal.stop();
    let path = parts::path_of(&log_dir(), 20);
    disk.damage(&path, |bytes| bytes.iter_mut().rev().take(1).for_each(|b| *b ^= 1)).unwrap();
    let opened = try_open(&disk).unwrap();
    assert_eq!((opened.parts().read(20), opened.parts().read(19)), (None, Some(page(19))));
    assert!(parts::verify(&disk, &log_dir(), 20).is_err());
    assert_eq!(opened.snapshot(), Some((20, state(20))), "the state itself is whole");
}

#[test]
fn a_full_disk_is_found_before_it_is_written_and_recovers() {
    let disk = LyingDisk::default();
    disk.set_capacity(Some(3 * SEGMENT));
    let log = Log::open(&disk).unwrap();
    let (last, refused) = fill(&log);
    assert!(matches!(refused, Refused::NoRoom(_)), "{refused}");
    assert_eq!(log.journal.horizon().borrow().state, RunState::Running);
    log.journal.stop();

    // A start on the full disk: it reads, and refuses.
    let log = Log::open(&disk).unwrap();
    let begun = Instant::now();
    while log.journal.append().is_ok() {
        assert!(begun.elapsed() < SAFETY);
        std::thread::yield_now();
    }
    assert!(log.journal.append_bookkeeping().is_ok());
    disk.set_capacity(None);
    assert_eq!(log.write_soon(), last + 1);
    log.journal.stop();
    assert_eq!(records_of(&disk), (1..=last + 1).collect::<Vec<_>>());
}

#[test]
fn an_empty_log_starts_on_a_full_disk() {
    let disk = LyingDisk::default();
    disk.set_capacity(Some(0));
    let log = Log::open(&disk).unwrap();
    let begun = Instant::now();
    while log.journal.refusing().is_none() {
        assert!(begun.elapsed() < SAFETY);
        std::thread::yield_now();
    }
    disk.set_capacity(None);
    assert_eq!(log.write_soon(), 1);
}

#[test]
fn a_disk_that_turns_read_only_holds_commits_until_it_can_be_written() {
    let disk = written(3);
    let log = Log::open(&disk).unwrap();
    assert_eq!(log.write_soon(), 4);
    disk.set_read_only(true);
    assert_eq!(log.push(), Ok(5));
    let begun = Instant::now();
    while log.journal.refusing() != Some(Refused::ReadOnly) {
        assert!(begun.elapsed() < SAFETY);
        std::thread::yield_now();
    }
    assert_eq!(log.journal.append().err(), Some(Refused::ReadOnly));
    assert_eq!(log.journal.horizon().borrow().durable, 4);
    disk.set_read_only(false);
    assert_eq!(log.frames.recv_timeout(SAFETY).unwrap().last(), 5);
    assert_eq!(log.write_soon(), 6);
    log.journal.stop();
    assert_eq!(records_of(&disk), (1..=6).collect::<Vec<_>>());
}

#[test]
fn a_start_on_a_read_only_disk_reads_and_refuses() {
    let disk = written(9);
    disk.set_read_only(true);
    let opened = try_open(&disk).unwrap();
    assert_eq!(read(&opened, 0), (1..=9).collect::<Vec<_>>());
    let log = Log::start(opened);
    let begun = Instant::now();
    while log.journal.append().err() != Some(Refused::ReadOnly) {
        assert!(begun.elapsed() < SAFETY);
        std::thread::yield_now();
    }
    disk.set_read_only(false);
    assert_eq!(log.write_soon(), 10);
}

#[test]
fn a_slow_sink_holds_the_writers_back() {
    let disk = LyingDisk::default();
    let (open, gate) = channel::<()>();
    let journal = try_open(&disk).unwrap().start(Box::new(move |_| while gate.recv().is_ok() {})).unwrap();
    let begun = Instant::now();
    let mut pushed = 0;
    loop {
        match journal.append() {
            Ok(mut append) => pushed = append.push(1, |out| out.extend([0; 100])),
            Err(refused) => {
                assert_eq!(refused, Refused::Full);
                break;
            }
        }
        assert!(begun.elapsed() < SAFETY);
    }
    drop(open);
    journal.stop();
    assert_eq!(journal.horizon().borrow().durable, pushed);
}

#[test]
fn age_frees_only_behind_two_snapshots_and_the_oldest_kept_stays_foldable() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    for lsn in 1..=30 {
        assert_eq!(log.write_soon(), lsn);
    }
    log.snapshot(20, &disk);
    disk.set_age(Duration::from_secs(7200));
    log.write_soon();
    assert_eq!(segments(&disk)[0].first, 1, "one snapshot may turn out unreadable");
    log.snapshot(29, &disk);
    let begun = Instant::now();
    while segments(&disk)[0].first == 1 {
        log.write_soon();
        assert!(begun.elapsed() < SAFETY);
    }
    assert!(segments(&disk)[0].first <= 21);
    assert_eq!(snapshots(&disk), vec![29, 20]);
    log.journal.stop();
    let opened = try_open(&disk).unwrap();
    assert_eq!(opened.snapshot_at_or_before(28), Some((20, state(20))));
    assert_eq!(read(&opened, 20).first(), Some(&21));
}

#[test]
fn a_record_that_panics_while_it_is_made_leaves_no_trace() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut append = log.journal.append().unwrap();
        append.push(9, |out| {
            out.extend([1; 300]);
            panic!("the owner is wrong");
        });
    }));
    assert!(made.is_err());
    assert_eq!(log.write_soon(), 1);
    log.journal.stop();
    assert_eq!(records_of(&disk), vec![1]);
}

#[test]
fn a_sink_that_panics_fails_the_log_instead_of_hanging_it() {
    let disk = LyingDisk::default();
    let journal = try_open(&disk).unwrap().start(Box::new(|_| panic!("the sink is wrong"))).unwrap();
    journal.append().unwrap().push(1, |_| {});
    let begun = Instant::now();
    while journal.horizon().borrow().state == RunState::Running {
        assert!(begun.elapsed() < SAFETY);
        std::thread::yield_now();
    }
    assert_eq!(journal.append().err(), Some(Refused::Stopped));
}

#[test]
fn the_last_handle_that_goes_commits_and_releases_the_lock() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    log.push().unwrap();
    assert!(matches!(try_open(&disk), Err(Error::Locked(_))));
    drop(log);
    let begun = Instant::now();
    while try_open(&disk).is_err() {
        assert!(begun.elapsed() < SAFETY);
        std::thread::yield_now();
    }
    assert_eq!(records_of(&disk), vec![1]);
}
