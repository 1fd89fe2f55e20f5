//! One value of one series at one moment, and what its value and time may be.

use crate::error::PayloadError;

/// A reading as windows and detectors see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Series number within the boot's log, below [`crate::limits::SERIES_MAX`].
    pub series: u32,
    /// Event time in ms since the Unix epoch, from 0 on.
    pub time_ms: i64,
    /// Finite; its unit is the series' own.
    pub value: f64,
}

/// Refuses NaN and infinities.
pub(crate) fn finite(value: f64) -> Result<f64, PayloadError> {
    if value.is_finite() { Ok(value) } else { Err(PayloadError::NotFinite) }
}

/// Seconds with decimals, in ms, cut off behind the ms.
///
/// Until 2106 a double resolves half a microsecond or better; rounding to one first keeps
/// `1700000000.123`, which a double holds as a little less, from losing a whole millisecond.
pub(crate) fn seconds_ms(seconds: f64) -> i64 {
    ((seconds * 1e6).round() as i64).div_euclid(1_000)
}

/// A Unix time by its magnitude (contract §3), in ms.
pub(crate) fn unix_ms(t: f64) -> Result<i64, PayloadError> {
    match t {
        0.0..1e11 => Ok(seconds_ms(t)),
        // Decimals matter for seconds only, and below 2^63 the whole part is exact.
        1e11..9.2e18 => unix_ms_whole(t as i64),
        _ => Err(PayloadError::time(&t.to_string())),
    }
}

/// A whole Unix time by its magnitude, in ms. Apart from [`unix_ms`] because nanoseconds do
/// not fit a double.
pub(crate) fn unix_ms_whole(t: i64) -> Result<i64, PayloadError> {
    match t {
        ..0 => Err(PayloadError::time(&t.to_string())),
        0..100_000_000_000 => Ok(t * 1_000),
        100_000_000_000..100_000_000_000_000 => Ok(t),
        100_000_000_000_000..100_000_000_000_000_000 => Ok(t / 1_000),
        100_000_000_000_000_000.. => Ok(t / 1_000_000),
    }
}

/// RFC 3339 with a zone, in ms since the Unix epoch.
///
/// # Errors
/// [`PayloadError`] for a text that is none, or lies before 1970.
pub fn rfc3339_ms(text: &str) -> Result<i64, PayloadError> {
    match text.trim().parse::<jiff::Timestamp>() {
        Ok(stamp) if stamp >= jiff::Timestamp::UNIX_EPOCH => Ok(stamp.as_millisecond()),
        _ => Err(PayloadError::time(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_a_time_by_its_magnitude() {
        let ms = 1_700_000_000_123;
        assert_eq!(unix_ms(1_700_000_000.123), Ok(ms));
        assert_eq!(unix_ms_whole(1_700_000_000), Ok(1_700_000_000_000));
        assert_eq!(unix_ms_whole(ms), Ok(ms));
        assert_eq!(unix_ms_whole(1_700_000_000_123_999), Ok(ms));
        assert_eq!(unix_ms_whole(1_700_000_000_123_999_999), Ok(ms));
        assert_eq!(unix_ms_whole(99_999_999_999), Ok(99_999_999_999_000));
        assert_eq!(unix_ms_whole(100_000_000_000), Ok(100_000_000_000));
        assert_eq!(unix_ms_whole(99_999_999_999_999), Ok(99_999_999_999_999));
        assert_eq!(unix_ms_whole(100_000_000_000_000), Ok(100_000_000_000));
        assert_eq!(unix_ms_whole(100_000_000_000_000_000), Ok(100_000_000_000));
        assert_eq!((unix_ms_whole(0), unix_ms(-0.0)), (Ok(0), Ok(0)));
        for bad in [-1.0, -0.001, -1e300, 1e19, f64::NAN, f64::INFINITY] {
            assert!(unix_ms(bad).is_err(), "{bad}");
        }
        assert!(unix_ms_whole(-1).is_err() && unix_ms_whole(i64::MAX).is_ok());
    }

    #[test]
    fn a_text_is_a_time_with_a_zone() {
        for same in ["2023-11-14T22:13:20.123Z", "2023-11-14T22:13:20.123999Z", "2023-11-14T23:13:20.123+01:00", "2023-11-14t22:13:20.123z"]
        {
            assert_eq!(rfc3339_ms(same), Ok(1_700_000_000_123), "{same}");
        }
        assert_eq!(rfc3339_ms("1970-01-01T00:00:00Z"), Ok(0));
        let long = "9".repeat(100_000);
        for bad in ["", "2023-11-14T22:13:20", "1969-12-31T23:59:59.999Z", "2023-13-01T00:00:00Z", &long] {
            let error = rfc3339_ms(bad).unwrap_err();
            assert!(error.to_string().len() < 300, "{error}");
        }
    }

    proptest! {
        #[test]
        fn decimals_of_a_second_are_milliseconds(ms in 0i64..4_000_000_000_000) {
            let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
            prop_assert_eq!(unix_ms(text.parse().unwrap()), Ok(ms));
        }

        #[test]
        fn doubles_and_whole_numbers_agree(t in 0i64..(1 << 53)) {
            prop_assert_eq!(unix_ms(t as f64), unix_ms_whole(t));
        }
    }
}
