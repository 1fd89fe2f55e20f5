//! A time as people write it → milliseconds since the Unix epoch.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Reads RFC 3339, the same without a zone (then it is UTC) or with a space, a date alone, or a number since
/// the epoch whose magnitude tells its unit: below 10^11 seconds, below 10^14 milliseconds, below 10^17
/// microseconds, else nanoseconds. What is finer than a millisecond is cut off.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(ms) = number(text) {
        return Some(ms);
    }
    // With a zone first: the civil parser would read past an offset.
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<DateTime>().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })?;
    Some(time.as_nanosecond().div_euclid(1_000_000)).and_then(|ms| i64::try_from(ms).ok())
}

fn number(text: &str) -> Option<i64> {
    if let Ok(whole) = text.parse::<i128>() {
        let ms = match whole.unsigned_abs() {
            0..100_000_000_000 => whole * 1_000,
            100_000_000_000..100_000_000_000_000 => whole,
            100_000_000_000_000..100_000_000_000_000_000 => whole.div_euclid(1_000),
            _ => whole.div_euclid(1_000_000),
        };
        return i64::try_from(ms).ok();
    }
    let decimal = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
    let ms = match decimal.abs() {
        size if size < 1e11 => decimal * 1e3,
        size if size < 1e14 => decimal,
        size if size < 1e17 => decimal / 1e3,
        _ => decimal / 1e6,
    };
    // A decimal of seconds is rarely a whole number of milliseconds in binary; the nearest is meant.
    let nearest = ms.round();
    #[expect(clippy::cast_possible_truncation, reason = "the bound is checked in the same line")]
    (nearest.abs() < 9e15).then_some(nearest as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_common_ways_of_writing_a_time_are_read() {
        for (text, ms) in [
            ("2020-03-09 10:14:33", 1_583_748_873_000),
            ("2020-03-09T10:14:33Z", 1_583_748_873_000),
            ("2020-03-09T11:14:33+01:00", 1_583_748_873_000),
            ("2020-03-09 10:14:33.1239", 1_583_748_873_123),
            ("2020-03-09", 1_583_712_000_000),
            ("1583748873", 1_583_748_873_000),
            ("1583748873.123", 1_583_748_873_123),
            ("1583748873123", 1_583_748_873_123),
            ("1583748873123456", 1_583_748_873_123),
            ("1583748873123456789", 1_583_748_873_123),
            (" 0 ", 0),
        ] {
            assert_eq!(parse(text), Some(ms), "{text}");
        }
        for bad in ["", "noon", "2020-13-01", "nan", "inf", "10:14:33", "1e300"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9TZ:+. eE-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
