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
