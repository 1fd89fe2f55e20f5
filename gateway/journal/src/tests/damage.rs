//! Damage is told and kept, and the log goes on around it.

use super::*;
use crate::format::{SegmentHeader, VERSION};
use crate::segment::Frames;

/// Offsets of a segment's frames.
fn frames(disk: &LyingDisk, path: &Path, first: Lsn) -> Vec<(usize, Lsn)> {
    let bytes = disk.read(path, 0, usize::MAX).unwrap();
    let mut frames = Frames::new(&bytes, first).unwrap();
    let mut found = Vec::new();
    while let Some(head) = frames.next() {
        found.push((frames.offset - head.bytes, head.first));
    }
    found
}

fn goes_on(disk: &LyingDisk, end: Lsn) {
    let log = Log::open(disk).unwrap();
    assert_eq!(log.write_soon(), end + 1);
    log.journal.stop();
    assert_eq!(records_of(disk).last(), Some(&(end + 1)));
}

#[test]
fn a_frame_damaged_in_the_middle_is_a_gap_and_the_others_stay() {
    let disk = written(30);
    for segment in segments(&disk) {
        let all = frames(&disk, &segment.path, segment.first);
        for (i, (offset, lsn)) in all.iter().enumerate() {
            if *lsn == 30 {
                continue;
            }
            let damaged = disk.cut(0);
            damaged.damage(&segment.path, |bytes| bytes[offset + 50] ^= 1).unwrap();
            let opened = try_open(&damaged).unwrap();
            let gap = opened.report.damage[0];
            assert_eq!((gap.first, gap.last, opened.report.damage.len()), (*lsn, *lsn, 1));
            assert_eq!(opened.report.gaps, vec![(*lsn, *lsn)]);
            assert_eq!(gap.marks_before, if *lsn == 1 { [0; 4] } else { marks(lsn - 1) });
            assert_eq!(gap.marks_after, marks(lsn + 1));
            assert_eq!(read(&opened, 0), (1..=30).filter(|l| l != lsn).collect::<Vec<_>>());
            assert_eq!(opened.replay(0, &mut |_| ControlFlow::Continue(())).unwrap().len(), usize::from(*lsn > 1));
            drop(opened);
            assert_eq!(quarantine(&damaged).len(), 1, "frame {i} of {}", segment.first);
            goes_on(&damaged, 30);
            assert_eq!(try_open(&damaged).unwrap().report.gaps, vec![(*lsn, *lsn)], "told until a snapshot covers it");
        }
    }
}

#[test]
fn a_damaged_header_loses_no_frame() {
    let disk = written(30);
    for segment in segments(&disk) {
        let damaged = disk.cut(0);
        damaged.damage(&segment.path, |bytes| bytes[13] ^= 1).unwrap();
        assert_eq!(records_of(&damaged), (1..=30).collect::<Vec<_>>());
        assert_eq!(quarantine(&damaged).len(), 1);
        goes_on(&damaged, 30);
    }
}

#[test]
fn a_segment_of_zeros_is_set_aside_and_its_numbers_do_not_come_again() {
    let disk = written(30);
    let all = segments(&disk);
    for (i, segment) in all.iter().enumerate() {
        let damaged = disk.cut(0);
        damaged.damage(&segment.path, |bytes| bytes.fill(0)).unwrap();
        let opened = try_open(&damaged).unwrap();
        let gap = opened.report.damage[0];
        assert_eq!(gap.first, segment.first);
        match all.get(i + 1) {
            Some(next) => assert_eq!((gap.last, opened.end()), (next.first - 1, 30)),
            None => assert!(gap.last > 30 && opened.end() == gap.last),
        }
        let end = opened.end();
        drop(opened);
        assert_eq!(quarantine(&damaged).len(), 1 + usize::from(0 < i && i + 1 < all.len()));
        goes_on(&damaged, end);
    }
}

#[test]
fn a_sector_that_cannot_be_read_costs_only_its_frames() {
    let disk = written(30);
    let segment = &segments(&disk)[1];
    let (offset, lsn) = frames(&disk, &segment.path, segment.first)[0];
    disk.set_unreadable(&segment.path, offset as u64, offset as u64 + 1);
    let opened = try_open(&disk).unwrap();
    assert_eq!(opened.report.damage[0].first, lsn);
    assert_eq!(opened.end(), 30);
    drop(opened);
    goes_on(&disk, 30);
}

#[test]
fn a_missing_segment_is_a_gap() {
    let disk = written(30);
    let all = segments(&disk);
    for (i, segment) in all.iter().enumerate().take(all.len() - 1) {
        let damaged = disk.cut(0);
        damaged.remove(&segment.path).unwrap();
        let opened = try_open(&damaged).unwrap();
        assert_eq!(opened.report.gaps, vec![(segment.first, all[i + 1].first - 1)]);
        assert_eq!(opened.end(), 30);
    }
}

#[test]
fn what_a_snapshot_covers_is_no_loss_and_no_number_comes_twice() {
    let disk = written(12);
    let log = Log::open(&disk).unwrap();
    log.snapshot(12, &disk);
    log.journal.stop();
    for segment in segments(&disk) {
        disk.remove(&segment.path).unwrap();
    }
    let opened = try_open(&disk).unwrap();
    assert_eq!((opened.end(), opened.snapshot()), (12, Some((12, state(12)))));
    assert_eq!(opened.report.gaps, vec![]);
    drop(opened);
    goes_on(&disk, 12);
}

#[test]
fn a_damaged_snapshot_gives_way_to_the_one_before() {
    let disk = written(12);
    let log = Log::open(&disk).unwrap();
    log.snapshot(5, &disk);
    log.snapshot(9, &disk);
    log.journal.stop();
    disk.damage(&snapshot::path_of(&log_dir(), 9), |bytes| bytes[40] ^= 1).unwrap();
    let opened = try_open(&disk).unwrap();
    assert_eq!(opened.snapshot(), Some((5, state(5))));
    assert_eq!(read(&opened, 5), (6..=12).collect::<Vec<_>>());
    assert_eq!(quarantine(&disk).len(), 1);
}

#[test]
fn a_newer_log_or_snapshot_is_refused_untouched() {
    let disk = written(3);
    let segment = segments(&disk).pop().unwrap();
    let header = SegmentHeader { version: VERSION + 1, id: 1, first: segment.first };
    disk.damage(&segment.path, |bytes| bytes[..32].copy_from_slice(&header.encode())).unwrap();
    let steps = disk.steps();
    assert!(matches!(try_open(&disk), Err(Error::Newer { found: 2, known: 1, .. })));
    assert_eq!(disk.steps(), steps);

    let disk = written(3);
    let log = Log::open(&disk).unwrap();
    log.snapshot(2, &disk);
    log.journal.stop();
    disk.damage(&snapshot::path_of(&log_dir(), 2), |bytes| bytes[8] = snapshot::VERSION as u8 + 1).unwrap();
    assert!(matches!(try_open(&disk), Err(Error::Newer { .. })));
}

#[test]
fn a_payload_that_looks_like_a_frame_is_none() {
    let disk = LyingDisk::default();
    let log = Log::open(&disk).unwrap();
    let mut forged = crate::append::Batch::new(900, [5; 4]);
    crate::format::put_record(&mut forged.bytes, 1, |out| out.extend(b"forged"));
    forged.count = 1;
    let mut forged = forged.take();
    forged.seal(12_345);
    log.journal.append().unwrap().push(1, |out| out.extend(&forged.bytes));
    assert_eq!(log.frames.recv_timeout(SAFETY).unwrap().last(), 1);
    log.journal.stop();
    let segment = segments(&disk).pop().unwrap();
    // The frame around it is torn; what it carried must not be found in its place.
    disk.damage(&segment.path, |bytes| bytes[40] ^= 1).unwrap();
    let opened = try_open(&disk).unwrap();
    assert_eq!((opened.end(), opened.report.damage.len()), (0, 0));
}

#[test]
fn damage_does_not_fill_the_disk() {
    let disk = LyingDisk::default();
    for _ in 0..20 {
        let log = Log::open(&disk).unwrap();
        let last = log.write_soon();
        log.snapshot(last, &disk);
        log.journal.stop();
        let segment = segments(&disk).pop().unwrap();
        disk.damage(&segment.path, |bytes| bytes.fill(0)).unwrap();
    }
    assert!(try_open(&disk).is_ok());
    assert!(quarantine(&disk).len() <= crate::limits::QUARANTINE_FILES_MAX);
}
