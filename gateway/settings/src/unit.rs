//! Durations and sizes as people write them: a whole number and a unit, nothing between.

use serde::Serializer;
use std::time::Duration;

/// Duration units and their milliseconds, smallest first.
const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Size units and their bytes, smallest first.
const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Milliseconds of a duration such as `250ms`, `5s`, `1m`, `15m`, `1h` or `7d`.
///
/// # Errors
/// A sentence that says what is wrong with the text and how to write it.
pub fn duration_ms(text: &str) -> Result<i64, String> {
    let value = quantity(text, &DURATIONS, "duration", "5s or 250ms")?;
    i64::try_from(value).map_err(|_| format!("\"{text}\" is too long a duration"))
}

/// Bytes of a size such as `256KiB` or `2GiB`.
///
/// # Errors
/// A sentence that says what is wrong with the text and how to write it.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    quantity(text, &SIZES, "size", "256KiB or 2GiB")
}

/// Bytes of a size for each `per` (`s` or `day`), such as `64KiB/s` or `20GiB/day`.
///
/// # Errors
/// A sentence that says what is wrong with the text and how to write it.
pub fn rate_bytes(text: &str, per: &str) -> Result<u64, String> {
    match text.split_once('/') {
        Some((size, unit)) if unit == per => size_bytes(size),
        found => {
            let hint = match found.map_or(text, |(size, _)| size) {
                size if size_bytes(size).is_ok() => format!("; did you mean {size}/{per}?"),
                _ => String::new(),
            };
            Err(format!("\"{text}\" is no rate; write a size for each {per}, such as 64KiB/{per}{hint}"))
        }
    }
}

/// The shortest text that [`duration_ms`] reads back as the same value.
pub fn duration_text(ms: i64) -> String {
    let text = quantity_text(ms.unsigned_abs(), &DURATIONS);
    if ms < 0 { format!("-{text}") } else { text }
}

/// The shortest text that [`size_bytes`] reads back as the same value.
pub fn size_text(bytes: u64) -> String {
    quantity_text(bytes, &SIZES)
}

/// For `#[serde(serialize_with)]`: milliseconds as a duration text.
pub fn serialize_ms<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration_text(*ms))
}

/// For `#[serde(serialize_with)]`: a list of milliseconds as duration texts.
pub fn serialize_ms_list<S: Serializer>(list: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|ms| duration_text(*ms)))
}

/// For `#[serde(serialize_with)]`: a duration as a duration text, cut to the millisecond.
pub fn serialize_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration_text(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
}

/// For `#[serde(serialize_with)]`: bytes as a size text.
pub fn serialize_bytes<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&size_text(*bytes))
}

/// For `#[serde(serialize_with)]`: bytes a day as a rate text.
pub fn serialize_bytes_per_day<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}/day", size_text(*bytes)))
}

/// For `#[serde(serialize_with)]`: bytes a second as a rate text, or nothing.
pub fn serialize_bytes_per_s<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => serializer.collect_str(&format_args!("{}/s", size_text(*bytes))),
        None => serializer.serialize_none(),
    }
}

fn quantity(text: &str, units: &[(&str, u64)], what: &str, example: &str) -> Result<u64, String> {
    let names = units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("\"{text}\" is no {what}; write a whole number and a unit, such as {example}"));
    }
    if unit.is_empty() {
        return Err(format!("\"{text}\" has no unit; write one of {names} directly after the number, such as {example}"));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let near = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit) || is_decimal_of(unit, name));
        let hint = near.map_or(String::new(), |(name, _)| format!("; did you mean {number}{name}?"));
        return Err(format!("\"{text}\" is no {what}: the unit is one of {names}, such as {example}{hint}"));
    };
    let number = number.parse::<u64>().ok();
    number.and_then(|n| n.checked_mul(*factor)).ok_or_else(|| format!("\"{text}\" is larger than a {what} can be"))
}

/// `KB` or `kb` for `KiB`: people mean the binary unit, but it is written so that nobody has to guess.
fn is_decimal_of(unit: &str, name: &str) -> bool {
    name.len() == 3 && unit.len() == 2 && unit.eq_ignore_ascii_case(&name.replace('i', ""))
}

fn quantity_text(value: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) = match value {
        0 => units[usize::from(units[0].1 == 1 && units[0].0 == "ms")],
        _ => units.iter().rev().copied().find(|(_, factor)| value.is_multiple_of(*factor)).unwrap_or(units[0]),
    };
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_sizes_are_read_as_documented() {
        for (text, ms) in
            [("250ms", 250), ("5s", 5_000), ("1m", 60_000), ("15m", 900_000), ("1h", 3_600_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
            assert_eq!(duration_text(ms), text);
        }
        for (text, bytes) in [("256KiB", 262_144), ("2GiB", 2 << 30), ("0B", 0), ("17B", 17)] {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn a_wrong_unit_is_named_with_the_right_one() {
        assert!(duration_ms("5").unwrap_err().contains("has no unit"));
        assert!(duration_ms("5 s").is_err() && duration_ms("1.5s").is_err() && duration_ms("-5s").is_err());
        assert!(duration_ms("5KiB").unwrap_err().contains("ms, s, m, h, d"));
        assert!(duration_ms("5S").unwrap_err().contains("did you mean 5s?"));
        assert!(size_bytes("256KB").unwrap_err().contains("did you mean 256KiB?"));
        assert!(size_bytes("5s").unwrap_err().contains("KiB"));
        assert_eq!(rate_bytes("20GiB/day", "day"), Ok(20 << 30));
        assert!(rate_bytes("20GiB", "day").unwrap_err().contains("64KiB/day"));
        assert!(rate_bytes("64KiB/sec", "s").unwrap_err().ends_with("did you mean 64KiB/s?"));
        assert!(rate_bytes("20GiB/s", "day").is_err() && rate_bytes("20GB/day", "day").unwrap_err().contains("20GiB"));
        assert!(duration_ms("99999999999999d").unwrap_err().contains("larger"));
        assert!(duration_ms("18446744073709551615ms").unwrap_err().contains("too long"));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in 0..i64::MAX, bytes: u64) {
            prop_assert_eq!(duration_ms(&duration_text(ms)), Ok(ms));
            prop_assert_eq!(size_bytes(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = (duration_ms(&text), size_bytes(&text));
        }
    }
}
