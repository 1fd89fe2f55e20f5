//! Tumbling windows by event time, aligned to the Unix epoch, `[start, end)`.

/// Start of the window of `size_ms` that `time_ms` falls into.
#[inline]
pub fn start_of(time_ms: i64, size_ms: i64) -> i64 {
    time_ms - time_ms.rem_euclid(size_ms)
}

/// Those sizes that are no multiple of a smaller configured one: the others are sums of them.
pub fn kept(sizes_ms: &[i64]) -> Vec<i64> {
    let mut sorted: Vec<i64> = sizes_ms.iter().copied().filter(|s| *s > 0).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut kept: Vec<i64> = Vec::new();
    for size in sorted {
        if kept.iter().all(|k| size % k != 0) {
            kept.push(size);
        }
    }
    kept
}

/// The kept size that windows of `size_ms` are summed from: the smallest that divides it.
pub fn base_for(kept_ms: &[i64], size_ms: i64) -> Option<i64> {
    kept_ms.iter().copied().filter(|k| *k > 0 && size_ms % k == 0).min()
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

    #[test]
    fn sizes_have_names_and_bases() {
        assert_eq!(parse_size("10s"), Some(10_000));
        assert_eq!((size_name(10_000), size_name(60_000), size_name(90_000)), ("10s".into(), "1m".into(), "90s".into()));
        assert_eq!(kept(&[60_000, 10_000, 15_000]), vec![10_000, 15_000]);
        assert_eq!(base_for(&[10_000, 15_000], 60_000), Some(10_000));
        assert_eq!((parse_size("10"), parse_size("s"), parse_size("0s")), (None, None, None));
        assert_eq!(start_of(-1, 10), -10);
    }
}
