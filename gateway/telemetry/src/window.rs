//! Tumbling windows by event time, aligned to the Unix epoch, `[start, end)`.

use crate::limits::BASES_MAX;

/// Start of the window of `size_ms` (above zero) that `time_ms` falls into, ms since the Unix epoch.
#[inline]
pub fn start_of(time_ms: i64, size_ms: i64) -> i64 {
    time_ms.saturating_sub(time_ms.rem_euclid(size_ms))
}

/// Those sizes (ms), smallest first, that no smaller one [`divides`]: windows of the
/// other sizes are sums of theirs. Sizes that are not above zero are left out.
pub fn kept(sizes_ms: &[i64]) -> Vec<i64> {
    let mut sorted: Vec<i64> = sizes_ms.iter().copied().filter(|s| *s > 0).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut kept: Vec<i64> = Vec::new();
    for size in sorted {
        if !kept.iter().any(|k| divides(*k, size)) {
            kept.push(size);
        }
    }
    kept
}

/// Whether windows of `size_ms` are summed from those of `base_ms`: they are a multiple, of at
/// most [`BASES_MAX`] windows.
pub fn divides(base_ms: i64, size_ms: i64) -> bool {
    base_ms > 0 && size_ms % base_ms == 0 && size_ms / base_ms <= BASES_MAX
}

/// The kept size that windows of `size_ms` are summed from: the smallest that [`divides`] it.
pub fn base_for(kept_ms: &[i64], size_ms: i64) -> Option<i64> {
    kept_ms.iter().copied().filter(|k| divides(*k, size_ms)).min()
}

const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `"10s"`, `"1m"`, … in ms; `None` for what is no positive duration.
pub fn parse_size(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<i64>().ok()?.checked_mul(factor).filter(|ms| *ms > 0)
}

/// A size as topics write it, in the largest unit that divides it.
pub fn size_name(size_ms: i64) -> String {
    let (name, factor) = UNITS.iter().find(|(_, factor)| size_ms % factor == 0).unwrap_or(&UNITS[4]);
    format!("{}{name}", size_ms / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_lies_in_its_window(time_ms in -1i64 << 60..1 << 60, size_ms in 1i64..1 << 40) {
            let start = start_of(time_ms, size_ms);
            prop_assert!(start <= time_ms && time_ms < start + size_ms && start % size_ms == 0);
        }

        #[test]
        fn names_read_back(size_ms in 1i64..1 << 50) {
            prop_assert_eq!(parse_size(&size_name(size_ms)), Some(size_ms));
        }

        #[test]
        fn every_size_has_a_kept_base(sizes in prop::collection::vec(1i64..1_000, 1..10)) {
            let kept = kept(&sizes);
            prop_assert!(sizes.iter().all(|s| base_for(&kept, *s).is_some()));
        }
    }

    #[test]
    fn sizes_have_names_and_bases() {
        assert_eq!(parse_size("10s"), Some(10_000));
        assert_eq!([10_000, 60_000, 90_000, 1_500].map(size_name), ["10s", "1m", "90s", "1500ms"]);
        assert_eq!(kept(&[60_000, 10_000, 15_000]), vec![10_000, 15_000]);
        assert_eq!(base_for(&[10_000, 15_000], 60_000), Some(10_000));
        // A day of seconds is added up; a day of anything shorter is kept beside it.
        assert_eq!(kept(&[1_000, 86_400_000]), [1_000]);
        assert_eq!(kept(&[250, 1_000, 86_400_000]), [250, 86_400_000]);
        assert_eq!(base_for(&[250, 86_400_000], 86_400_000), Some(86_400_000));
        for wrong in ["", "10", "s", "0s", "-1s", "1.5s", "10 s", "10S", "9223372036854775807d"] {
            assert_eq!(parse_size(wrong), None, "{wrong:?}");
        }
        assert_eq!(start_of(-1, 10), -10);
        assert_eq!(start_of(i64::MIN, 1_000_000), i64::MIN);
    }
}
