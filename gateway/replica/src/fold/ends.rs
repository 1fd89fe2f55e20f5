//! When larger windows are over that the cloud adds up from sealed ones.
//!
//! A window is complete once the cloud knows that the clock has passed its end by `grace`. For
//! windows that are kept, sealing says so. The others may end long after their last part was
//! sealed: a gateway that has become idle then still owes the cloud its clock, once for each size.
//! Not part of the state: after a restart it is told with the idle gateway's next sign of life.

use telemetry::window;

/// By size that is not kept: when the newest window of it with anything in it is over, grace passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends(Vec<(i64, i64)>);

impl Ends {
    /// A window of `base_ms` from `start_ms` was sealed.
    pub(super) fn sealed(&mut self, sizes_ms: &[i64], kept_ms: &[i64], base_ms: i64, start_ms: i64, grace_ms: i64) {
        for &size_ms in sizes_ms.iter().filter(|size| !kept_ms.contains(size)) {
            if window::base_for(kept_ms, size_ms) != Some(base_ms) {
                continue;
            }
            let at_ms = window::start_of(start_ms, size_ms).saturating_add(size_ms).saturating_add(grace_ms);
            match self.0.iter_mut().find(|(size, _)| *size == size_ms) {
                Some((_, newest)) => *newest = at_ms.max(*newest),
                None => self.0.push((size_ms, at_ms)),
            }
        }
    }

    /// When the next of them is over.
    pub(super) fn next_ms(&self, clock_ms: i64) -> Option<i64> {
        self.0.iter().map(|(_, at_ms)| *at_ms).filter(|at_ms| *at_ms > clock_ms).min()
    }

    /// Whether one of them has ended since the cloud was told the clock.
    pub(crate) fn passed(&self, told_ms: i64, clock_ms: i64) -> bool {
        self.0.iter().any(|(_, at_ms)| told_ms < *at_ms && *at_ms <= clock_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_owed_once_for_each_size_that_is_added_up() {
        let (sizes, kept, mut ends) = ([1_000, 7_000, 10_000, 60_000], [1_000, 7_000], Ends::default());
        ends.sealed(&sizes, &kept, 7_000, 0, 500);
        assert_eq!(ends.next_ms(0), None, "7 s adds up to nothing that is asked for");
        ends.sealed(&sizes, &kept, 1_000, 3_000, 500);
        ends.sealed(&sizes, &kept, 1_000, 2_000, 500);
        assert_eq!((ends.next_ms(5_000), ends.next_ms(10_500), ends.next_ms(60_500)), (Some(10_500), Some(60_500), None));
        assert!(!ends.passed(5_000, 10_499) && ends.passed(5_000, 10_500) && !ends.passed(10_500, 60_499) && ends.passed(20_000, 99_000));
    }
}
