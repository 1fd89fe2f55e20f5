//! Segments longer than what is held of them at a time.

use super::*;
use crate::format::{Head, SEGMENT_HEADER, SegmentHeader, VERSION};
use crate::limits::{PIECE_BYTES, SALVAGE_BYTES};
use crate::segment::{Frames, Segment};
use proptest::prelude::*;
use std::collections::BTreeSet;

const FIRST: Lsn = 7;
const SIZE: usize = 4 * PIECE_BYTES;

/// A segment whose frames have so many bytes of records, and where each begins.
fn segment_of(lengths: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = SegmentHeader { version: VERSION, id: 99, first: FIRST }.encode().to_vec();
    let mut starts = Vec::new();
    for (lsn, length) in (FIRST..).zip(lengths) {
        let mut batch = crate::append::Batch::new(lsn, marks(lsn));
        crate::format::put_record(&mut batch.bytes, 1, |out| out.extend((0..*length).map(|i| (i * 7 + lsn as usize) as u8)));
        batch.count = 1;
        let mut frame = batch.take();
        frame.seal(99);
        starts.push(bytes.len());
        bytes.extend(frame.bytes);
    }
    assert!(bytes.len() < SIZE);
    bytes.resize(SIZE, 0);
    (bytes, starts)
}

fn on_disk(bytes: &[u8]) -> (LyingDisk, Segment) {
    let disk = LyingDisk::default();
    let path = crate::segment::path_of(&log_dir(), FIRST);
    disk.create(&path).unwrap().write_at(bytes, 0).unwrap();
    (disk, Segment { first: FIRST, path, bytes: bytes.len() as u64, damaged: false })
}

/// Frames with their bytes; then how far they go, whether there is damage, and where it is torn.
type Told = (Vec<(Head, Vec<u8>)>, usize, bool, Option<usize>);

/// All that is told of a segment.
fn told(frames: Option<Frames<'_>>) -> Option<Told> {
    let mut frames = frames?;
    let mut all = Vec::new();
    while let Some(head) = frames.next() {
        all.push((head, frames.bytes(&head).to_vec()));
    }
    let torn = frames.torn();
    Some((all, frames.offset, frames.damaged, torn))
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![8 => 0usize..9_000, 1 => 0..3 * PIECE_BYTES / 2], 1..40).prop_map(|mut lengths| {
        let mut left = SIZE - SEGMENT_HEADER;
        lengths.retain(|length| {
            let fits = length + 80 < left;
            left -= if fits { length + 80 } else { 0 };
            fits
        });
        lengths
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Damage anywhere, to headers of frames above all, is told as it is of the bytes as a whole.
    #[test]
    fn in_pieces_is_told_what_is_told_of_the_whole(
        lengths in lengths(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..70), 0..4),
        anywhere in proptest::collection::vec(0..SIZE, 0..3),
        cut in proptest::option::of(0..SIZE),
    ) {
        let (mut bytes, starts) = segment_of(&lengths);
        let in_frames = flips.iter().filter(|_| !starts.is_empty()).map(|(frame, at)| starts[frame.index(starts.len())] + at);
        for at in in_frames.chain(anywhere).collect::<BTreeSet<_>>() {
            bytes[at] ^= 0x20;
        }
        if let Some(cut) = cut {
            bytes[cut..].fill(0);
        }
        let (disk, segment) = on_disk(&bytes);
        let whole = told(Frames::new(&bytes, FIRST));
        prop_assert_eq!(told(Frames::read(&disk, &segment).unwrap()), whole);
    }

    /// A sector that cannot be read is as if it were zeros, wherever pieces begin.
    #[test]
    fn an_unreadable_sector_is_zeros(lengths in lengths(), sector in 0..SIZE / SALVAGE_BYTES) {
        let (mut bytes, _) = segment_of(&lengths);
        let (disk, segment) = on_disk(&bytes);
        let (from, to) = (sector * SALVAGE_BYTES, (sector + 1) * SALVAGE_BYTES);
        disk.set_unreadable(&segment.path, from as u64, to as u64);
        bytes[from..to].fill(0);
        prop_assert_eq!(told(Frames::read(&disk, &segment).unwrap()), told(Frames::new(&bytes, FIRST)));
    }
}

#[test]
fn a_start_holds_a_piece_of_a_segment_at_a_time() {
    let disk = LyingDisk::default();
    let options = Options { retain: Duration::from_secs(3600), limit_bytes: 64 << 20 };
    let tuning = Tuning { segment_bytes: 8 << 20, ..Tuning::default() };
    let open = || open_on(Arc::new(disk.clone()), data_dir(), options.clone(), tuning).unwrap();
    let log = Log::start(open());
    for lsn in 1..=100u64 {
        log.journal.append().unwrap().push(kind(lsn), |out| out.extend(vec![lsn as u8; 40_000]));
        while log.frames.recv_timeout(SAFETY).unwrap().last() < lsn {}
    }
    log.journal.stop();
    disk.forget_reads();
    let opened = open();
    let mut records = 0;
    let gaps = opened.replay(0, &mut |frame| {
        records += frame.records().filter(|(lsn, _, bytes)| *bytes == vec![*lsn as u8; 40_000]).count();
        ControlFlow::Continue(())
    });
    assert_eq!((records, gaps.unwrap(), opened.end()), (100, vec![], 100));
    assert!(disk.longest_read() <= PIECE_BYTES, "{} bytes at once", disk.longest_read());
}
