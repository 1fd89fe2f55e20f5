//! The same on real files, with a reader beside the writer.

use super::*;
use crate::{Reader, open};
use std::sync::atomic::{AtomicBool, Ordering};

fn options() -> Options {
    Options { retain: Duration::from_secs(3600), limit_bytes: 1 << 20 }
}

#[test]
fn what_is_durable_is_found_again_and_a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("var").join("plant");
    let log = Log::start(open(&data, options()).unwrap());
    for lsn in 1..=20 {
        assert_eq!(log.write_soon(), lsn);
    }
    assert!(matches!(open(&data, options()), Err(Error::Locked(_))));
    log.journal.snapshot(10, state(10));
    let stats = log.journal.stats();
    assert_eq!((stats.durable, stats.syncs, stats.segments), (20, 20, 1));
    assert!(stats.room.unwrap() > 0);
    log.journal.stop();

    let opened = open(&data, options()).unwrap();
    assert_eq!((opened.first(), opened.end(), opened.marks()), (1, 20, marks(20)));
    assert_eq!(opened.snapshot(), Some((10, state(10))));
    assert_eq!(opened.report, crate::RecoveryReport::default());
    assert_eq!(read(&opened, 0), (1..=20).collect::<Vec<_>>());
    assert_eq!(read(&opened, 15), (16..=20).collect::<Vec<_>>());
}

#[test]
fn a_reader_beside_the_writer_sees_no_damage_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::start(open(dir.path(), options()).unwrap());
    log.write_soon();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = &ends;
        let writer = scope.spawn(move || {
            for _ in 0..400 {
                let lsn = log.write_soon();
                if lsn.is_multiple_of(50) {
                    log.journal.snapshot(lsn, state(lsn));
                }
            }
            ends.store(true, Ordering::Release);
            log.journal.stop();
        });
        while !ends.load(Ordering::Acquire) && !writer.is_finished() {
            let reader = Reader::open(dir.path()).unwrap();
            let seen = reader.frames(|_| ControlFlow::Continue(())).unwrap();
            assert_eq!(seen.damage, Vec::<String>::new());
        }
    });
    let seen = Reader::open(dir.path()).unwrap().frames(|_| ControlFlow::Continue(())).unwrap();
    assert_eq!((seen.records, seen.range), (401, Some((1, 401))));
}

#[test]
fn a_reader_says_where_the_damage_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::start(open(dir.path(), options()).unwrap());
    for _ in 0..5 {
        log.write_soon();
    }
    log.journal.stop();
    let path = Reader::open(dir.path()).unwrap().segments()[0].path.clone();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[32 + 10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let seen = Reader::open(dir.path()).unwrap().frames(|_| ControlFlow::Continue(())).unwrap();
    assert_eq!(seen.records, 4);
    assert!(seen.damage.iter().any(|d| d.contains("at byte 32") && d.contains("records 1 to 1")), "{:?}", seen.damage);
}

#[test]
fn the_past_of_a_running_log_is_gone_through_from_a_state_and_stays_while_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is kept for its age: what stays is held, or needed.
    let options = Options { retain: Duration::ZERO, limit_bytes: 4 << 20 };
    let tuning = Tuning { segment_bytes: 16 << 10, ..Tuning::default() };
    let log = Log::start(open_on(Arc::new(crate::disk::RealDisk), dir.path(), options, tuning).unwrap());
    let save = |lsn: Lsn| {
        log.journal.snapshot(lsn, state(lsn));
        let begun = Instant::now();
        while log.journal.snapshots().first() != Some(&lsn) {
            assert!(begun.elapsed() < SAFETY);
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut history = log.journal.history();
    (1..=40).for_each(|lsn| assert_eq!(log.write_soon(), lsn));
    assert_eq!(history.begin(7), Some(crate::Beginning::Log), "nothing was cut yet");
    save(20);
    save(30);
    assert_eq!(history.begin(25), Some(crate::Beginning::State(20, state(20))));
    let read = |history: &mut crate::History, from: Lsn| {
        let (mut next, mut seen) = (from, Vec::new());
        while let Some(frame) = history.frame(next) {
            seen.extend(frame.records().map(|(lsn, ..)| lsn).filter(|lsn| *lsn >= next));
            next = frame.last() + 1;
        }
        seen
    };
    assert_eq!(read(&mut history, 21), (21..=40).collect::<Vec<_>>());
    // It follows the writer, over the segments' ends, and the state that it began with stays.
    for round in 0..30 {
        (0..100).for_each(|_| assert!(log.write_soon() > 40));
        save(log.journal.stats().durable - round % 3);
    }
    let durable = log.journal.stats().durable;
    assert!(read(&mut history, 41).into_iter().eq(41..=durable));
    assert!(log.journal.stats().segments > 10, "what is read stays, whatever its age");
    assert!(log.journal.snapshots().contains(&20));
    drop(history);
    // Nobody reads it any more: those that are saved let it go, as soon as the log behind it is gone.
    let begun = Instant::now();
    while log.journal.snapshots().contains(&20) {
        assert!(begun.elapsed() < SAFETY, "it is kept");
        log.write_soon();
        save(log.journal.stats().durable);
    }
    log.journal.stop();
}
