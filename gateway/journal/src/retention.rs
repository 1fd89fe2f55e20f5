//! What may go: whole segments behind a snapshot, by age and size; snapshots that nothing kept
//! needs. Thinks only; `writer.rs` and `snapshot.rs` do it.

use crate::Lsn;
use crate::limits::{SNAPSHOT_SHARE, SNAPSHOTS_LEAST, SNAPSHOTS_MAX};
use crate::segment::Segment;
use crate::snapshot::Saved;
use std::time::Duration;

/// Whether the oldest segment may go. `next` is the first record of the one behind it.
///
/// Age alone frees only what lies behind the second newest snapshot, so that the newest may
/// turn out unreadable and nothing is lost; when room runs out, the newest must do. Nor does age
/// free records from `held` on, which somebody reads.
pub fn may_free(next: Lsn, age: Duration, snapshots: &[Saved], retain: Duration, over_limit: bool, held: Lsn) -> bool {
    let behind = |snapshot: Option<&Saved>| snapshot.is_some_and(|saved| next <= saved.at + 1);
    (over_limit && behind(snapshots.first())) || (age > retain && next <= held && behind(snapshots.get(1)))
}

/// Bytes of the segments that could go if room ran out.
pub fn freeable(segments: &[Segment], newest: Option<&Saved>) -> u64 {
    let Some(newest) = newest else { return 0 };
    let behind = segments.windows(2).take_while(|pair| pair[1].first <= newest.at + 1);
    behind.map(|pair| pair[0].bytes).sum()
}

/// Snapshots to remove, of `kept`, newest first, when `first` is the oldest record kept.
///
/// Never the newest two, and never the oldest from which the kept log can be folded on without
/// a hole: it heals a restored cloud as far back as the log reaches. Of those between, the one
/// whose neighbours are closest goes first. The one as of `held` is being read, and stays.
/// `over_limit`, only it and the newest two do: room comes first.
pub fn superfluous(kept: &[Saved], first: Lsn, limit_bytes: u64, held: Lsn, over_limit: bool) -> Vec<Lsn> {
    let mut stay: Vec<&Saved> = kept.iter().collect();
    let mut gone = Vec::new();
    let needed = kept.iter().map(|saved| saved.at).filter(|at| at + 1 >= first).min();
    stay.retain(|saved| {
        let newest = saved.at == held || kept.iter().take(SNAPSHOTS_LEAST).any(|new| new.at == saved.at);
        let usable = saved.at + 1 >= first && !over_limit;
        if !newest && !usable {
            gone.push(saved.at);
        }
        newest || usable
    });
    loop {
        let between: Vec<usize> = (SNAPSHOTS_LEAST..stay.len()).filter(|i| Some(stay[*i].at) != needed && stay[*i].at != held).collect();
        let bytes: u64 = between.iter().map(|i| stay[*i].bytes).sum();
        if stay.len() <= SNAPSHOTS_MAX && bytes <= limit_bytes / SNAPSHOT_SHARE {
            return gone;
        }
        let gap = |i: &usize| stay[i - 1].at - stay.get(i + 1).map_or(0, |older| older.at);
        let Some(closest) = between.into_iter().min_by_key(gap) else {
            return gone;
        };
        gone.push(stay.remove(closest).at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn saved(at: &[Lsn]) -> Vec<Saved> {
        at.iter().map(|at| Saved { at: *at, bytes: 10, parts: vec![] }).collect()
    }

    #[test]
    fn nothing_goes_that_no_snapshot_covers() {
        let (young, old, retain) = (Duration::ZERO, Duration::from_secs(9), Duration::from_secs(5));
        assert!(!may_free(11, old, &[], retain, true, 99));
        assert!(!may_free(12, old, &saved(&[10]), retain, true, 99));
        assert!(may_free(11, young, &saved(&[10]), retain, true, 99));
        assert!(!may_free(11, young, &saved(&[20, 10]), retain, false, 99));
        assert!(!may_free(12, old, &saved(&[20, 10]), retain, false, 99));
        assert!(may_free(11, old, &saved(&[20, 10]), retain, false, 99));
        assert!(!may_free(11, old, &saved(&[20, 10]), retain, false, 10), "somebody reads it");
        assert!(may_free(11, old, &saved(&[20, 10]), retain, true, 10), "room comes first");
    }

    proptest! {
        #[test]
        fn the_newest_two_and_the_one_the_oldest_segment_needs_stay(
            at in proptest::collection::btree_set(1u64..1_000, 1..30),
            first in 1u64..1_000,
            limit in 0u64..1_000,
            held in 0usize..40,
            over_limit: bool,
        ) {
            let kept = saved(&at.iter().rev().copied().collect::<Vec<_>>());
            let held = kept.get(held).map_or(Lsn::MAX, |saved| saved.at);
            let gone = superfluous(&kept, first, limit, held, over_limit);
            prop_assert!(!gone.contains(&held));
            prop_assert!(kept.iter().take(2).all(|s| !gone.contains(&s.at)));
            if let Some(needed) = at.iter().find(|at| **at + 1 >= first).filter(|_| !over_limit) {
                prop_assert!(!gone.contains(needed));
            }
            prop_assert!(!over_limit || kept.len() - gone.len() <= 3);
            prop_assert!(kept.len() - gone.len() <= SNAPSHOTS_MAX + 1);
        }
    }
}
