//! What goes first (protocol §4): the newest windows go ahead while history fills in.

use crate::fold::Fold;
use crate::limits::{LIVE_PER_BACKLOG, LIVE_WINDOWS};
use crate::outbox::page::name_of;
use crate::outbox::{BootPart, EntryName};
use telemetry::entry::Entry;

/// The newest entries of a boot that the cloud of boot `cloud_boot` is not known to hold and
/// that are not `sent`: of the last `windows` births at most, `most` of them.
pub fn newest(
    fold: &Fold,
    part: &BootPart,
    cloud_boot: u64,
    windows: usize,
    most: usize,
    sent: impl Fn(&EntryName, u64) -> bool,
) -> Vec<Entry> {
    let mut newest = part.entries.newest(&fold.shelf, part.floor(), 0, windows);
    newest.retain(|e| {
        let name = name_of(e);
        !part.entries.is_held(cloud_boot, &name, e.version) && !sent(&name, e.version)
    });
    newest.truncate(most);
    newest.reverse();
    newest
}

/// How many births back an entry is newest: so many windows of each size of each series, and
/// those that ended since the last interval.
pub fn windows_of(series: usize, kept_ms: &[i64], every_ms: i64) -> usize {
    let each = kept_ms.iter().map(|size| LIVE_WINDOWS + usize::try_from(every_ms / (*size).max(1)).unwrap_or(0));
    each.sum::<usize>().saturating_mul(series)
}

/// How newest and backlog share a link: in entries, by weight, while both wait.
#[derive(Debug, Clone, Copy, Default)]
pub struct Share {
    newest: u64,
    backlog: u64,
}

impl Share {
    /// Whether the newest go next.
    pub fn is_newest_next(&self) -> bool {
        self.newest <= self.backlog.saturating_mul(LIVE_PER_BACKLOG)
    }

    /// So many went.
    pub fn went(&mut self, newest: bool, entries: usize) {
        *(if newest { &mut self.newest } else { &mut self.backlog }) += entries as u64;
    }

    /// Nothing of the newest waits. What they leave unused is not saved up: nobody waits for it later.
    pub fn newest_rest(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn newest_are_the_last_windows_of_each_size() {
        assert_eq!(windows_of(500, &[10_000, 15_000], 5_000), 500 * 2 * LIVE_WINDOWS);
        assert_eq!(windows_of(500, &[1_000], 5_000), 500 * (5 + LIVE_WINDOWS), "and those that ended since the last interval");
    }

    proptest! {
        #[test]
        fn both_sides_get_their_share_while_both_wait(steps in 100usize..1_000) {
            let (mut share, mut sums) = (Share::default(), [0u64; 2]);
            for _ in 0..steps {
                let newest = share.is_newest_next();
                share.went(newest, 10);
                sums[usize::from(newest)] += 10;
            }
            let ratio = sums[1] as f64 / sums[0] as f64;
            prop_assert!((ratio - LIVE_PER_BACKLOG as f64).abs() < 0.3, "{sums:?}");
        }
    }
}
