//! Bytes → samples (contract §3).
//!
//! A number as text and a flat JSON object are read in place; everything else goes through
//! serde_json or the CBOR decoder to the same [`tree`] and the same rules.

use crate::error::PayloadError;
use crate::limits::{SAMPLES_MAX, UNIT_BYTES_MAX};
use std::borrow::Cow;

mod fast;
mod senml;
mod tree;

/// One value of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Appended to the source's series behind a '/'.
    pub suffix: Option<Cow<'a, str>>,
    /// Finite.
    pub value: f64,
    /// Event time in ms since the Unix epoch, where the payload gives one.
    pub time_ms: Option<i64>,
    /// Its unit, where the payload gives one.
    pub unit: Option<Cow<'a, str>>,
}

/// Appends a payload's samples to `out`; `arrival_ms` is what SenML's relative times refer to.
///
/// # Errors
/// Why the payload is no reading; `out` may then hold some of its samples, for the caller to cut off.
pub fn parse<'a>(payload: &'a [u8], arrival_ms: i64, out: &mut Vec<Sample<'a>>) -> Result<(), PayloadError> {
    let from = out.len();
    if let Some(sample) = fast::parse(payload) {
        out.push(sample?);
        return Ok(());
    }
    let text = std::str::from_utf8(payload).ok().map(str::trim);
    match text {
        Some("true" | "on" | "ON" | "On" | "TRUE" | "True") => out.push(plain(1.0)),
        Some("false" | "off" | "OFF" | "Off" | "FALSE" | "False") => out.push(plain(0.0)),
        Some(text) if text.starts_with(['{', '[']) => {
            let value = serde_json::from_str(text).map_err(|e| PayloadError::Shape(format!("JSON does not parse: {e}")))?;
            tree::read(&tree::Node::from_json(value, 0)?, arrival_ms, out)?;
        }
        Some(text) if text.parse::<f64>().is_ok() => out.push(plain(finite(text.parse().unwrap_or(f64::NAN))?)),
        _ => {
            let value = schemas::cbor::from_slice(payload, payload.len())
                .map_err(|_| PayloadError::Shape("neither a number, nor JSON, nor CBOR".to_owned()))?;
            tree::read(&tree::Node::from_cbor(value, 0)?, arrival_ms, out)?;
        }
    }
    match out.len() - from {
        0 => Err(PayloadError::Shape("it holds no value".to_owned())),
        n if n > SAMPLES_MAX => Err(PayloadError::TooMany),
        _ => Ok(()),
    }
}

fn plain<'a>(value: f64) -> Sample<'a> {
    Sample { suffix: None, value, time_ms: None, unit: None }
}

fn finite(value: f64) -> Result<f64, PayloadError> {
    if value.is_finite() { Ok(value) } else { Err(PayloadError::NotFinite) }
}

fn unit(text: &str) -> Result<Option<String>, PayloadError> {
    match text.len() {
        0 => Ok(None),
        n if n > UNIT_BYTES_MAX => Err(PayloadError::Unit),
        _ => Ok(Some(text.to_owned())),
    }
}

/// A Unix time by its magnitude (contract §3), in ms.
fn unix_ms(t: f64) -> Result<i64, PayloadError> {
    let ms = match t.abs() {
        x if x < 1e11 => t * 1e3,
        x if x < 1e14 => t,
        x if x < 1e17 => t / 1e3,
        _ => t / 1e6,
    };
    if ms.is_finite() && (0.0..9.2e15).contains(&ms) { Ok(ms.floor() as i64) } else { Err(PayloadError::Time(t.to_string())) }
}

/// A whole Unix time by its magnitude, in ms, without passing through a double.
fn unix_ms_whole(t: i64) -> Result<i64, PayloadError> {
    match t {
        ..0 => Err(PayloadError::Time(t.to_string())),
        0..100_000_000_000 => Ok(t * 1_000),
        100_000_000_000..100_000_000_000_000 => Ok(t),
        100_000_000_000_000..100_000_000_000_000_000 => Ok(t / 1_000),
        _ => Ok(t / 1_000_000),
    }
}

/// RFC 3339 with a zone, in ms.
fn rfc3339_ms(text: &str) -> Result<i64, PayloadError> {
    let stamp: jiff::Timestamp = text.trim().parse().map_err(|_| PayloadError::Time(text.to_owned()))?;
    if stamp.as_nanosecond() < 0 { Err(PayloadError::Time(text.to_owned())) } else { Ok(stamp.as_millisecond()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(payload: &str) -> Result<Vec<(Option<String>, f64, Option<i64>, Option<String>)>, PayloadError> {
        let mut out = Vec::new();
        parse(payload.as_bytes(), 1_700_000_000_500, &mut out)?;
        let own = |c: Cow<'_, str>| c.into_owned();
        Ok(out.into_iter().map(|s| (s.suffix.map(own), s.value, s.time_ms, s.unit.map(own))).collect())
    }

    #[test]
    fn every_form_of_the_contract() {
        assert_eq!(all("21.5"), Ok(vec![(None, 21.5, None, None)]));
        assert_eq!(all(" on\n"), Ok(vec![(None, 1.0, None, None)]));
        assert_eq!(all("true"), Ok(vec![(None, 1.0, None, None)]));
        let timed = Ok(vec![(None, 21.5, Some(1_700_000_000_000), Some("°C".to_owned()))]);
        assert_eq!(all(r#"{"value":21.5,"ts":1700000000000,"unit":"°C"}"#), timed);
        assert_eq!(all(r#"{"v":21.5,"time":1700000000,"unit":"°C"}"#), timed);
        assert_eq!(all(r#"{"unit":"°C","value":21.5,"timestamp":"2023-11-14T22:13:20Z"}"#), timed);
        assert_eq!(all(r#"{"value":21.5,"ts":1700000000.25}"#).unwrap()[0].2, Some(1_700_000_000_250));
        let fields = all(r#"{"a":1,"b":true,"c":"x","ts":1700000000000}"#).unwrap();
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[1], (Some("b".to_owned()), 1.0, Some(1_700_000_000_000), None));
        assert_eq!(all("[1,{\"v\":2}]").unwrap().len(), 2);
        let senml = all(r#"[{"bn":"dev/","bt":1700000000,"bu":"V","n":"u","v":3},{"n":"i","u":"A","v":1,"t":-1}]"#).unwrap();
        assert_eq!(senml[0], (Some("dev/u".to_owned()), 3.0, Some(1_700_000_000_000), Some("V".to_owned())));
        assert_eq!(senml[1].2, Some(1_699_999_999_000));
    }

    #[test]
    fn what_is_no_reading_says_why() {
        for bad in [
            "",
            "NaN",
            "inf",
            "hello",
            "{}",
            r#"{"a":"x"}"#,
            "[1,\"x\"]",
            "1e999",
            r#"{"value":1,"ts":-5}"#,
            r#"{"value":1e400}"#,
            r#"{"value":1,"ts":"yesterday"}"#,
            r#"{"value":null}"#,
            "[[[[[[[[[[1]]]]]]]]]]",
        ] {
            assert!(all(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cbor_of_the_same_shapes() {
        let value: schemas::cbor::Value = schemas::cbor::from_slice(&[0xa1, 0x61, b'v', 0xf9, 0x3c, 0x00], 100).unwrap();
        let bytes = schemas::cbor::to_vec(&value);
        let mut out = Vec::new();
        parse(&bytes, 0, &mut out).unwrap();
        assert_eq!(out[0].value, 1.0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, 0, &mut Vec::new());
        }

        #[test]
        fn the_fast_way_reads_what_the_slow_way_reads(value: f64, ts in 0i64..2_000_000_000_000) {
            prop_assume!(value.is_finite());
            let text = format!(r#"{{"value":{value},"ts":{ts}}}"#);
            let fast = all(&text);
            let slow = all(&format!(r#"{{"x":[],"value":{value},"ts":{ts}}}"#));
            prop_assert_eq!(fast, slow);
        }
    }
}
