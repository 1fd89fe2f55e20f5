//! The common shapes, in place: a number, or a flat object of value, time and unit.

use super::{Sample, plain, unix_ms, unix_ms_whole};
use crate::error::PayloadError;
use crate::limits::UNIT_BYTES_MAX;
use std::borrow::Cow;

/// A sample where the payload has one of these shapes; `None` leaves it to the slow way.
pub(super) fn parse(payload: &[u8]) -> Option<Result<Sample<'_>, PayloadError>> {
    let first = *payload.first()?;
    if first != b'{' {
        let mut at = 0;
        let value = number(payload, &mut at)?.value;
        return (at == payload.len()).then(|| finite(value));
    }
    let mut at = 1;
    let (mut value, mut time, mut unit) = (None, None, None);
    loop {
        blanks(payload, &mut at);
        let key = string(payload, &mut at)?;
        blanks(payload, &mut at);
        (payload.get(at) == Some(&b':')).then_some(())?;
        at += 1;
        blanks(payload, &mut at);
        // A key that comes twice, and any other key, is for the slow way to judge.
        match key {
            b"value" | b"v" if value.is_none() => value = Some(number(payload, &mut at)?.value),
            b"ts" | b"time" | b"timestamp" if time.is_none() => time = Some(number(payload, &mut at)?),
            b"unit" if unit.is_none() => unit = Some(std::str::from_utf8(string(payload, &mut at)?).ok()?),
            _ => return None,
        }
        blanks(payload, &mut at);
        at += 1;
        match payload.get(at - 1)? {
            b',' => {}
            b'}' if at == payload.len() => break,
            _ => return None,
        }
    }
    let value = value?;
    if unit.is_some_and(|u: &str| u.len() > UNIT_BYTES_MAX) {
        return None;
    }
    let time_ms = match time.map(|t| t.whole.map_or_else(|| unix_ms(t.value), unix_ms_whole)).transpose() {
        Ok(time_ms) => time_ms,
        Err(error) => return Some(Err(error)),
    };
    let unit = unit.filter(|u| !u.is_empty()).map(Cow::Borrowed);
    Some(finite(value).map(|s| Sample { time_ms, unit, ..s }))
}

fn finite<'a>(value: f64) -> Result<Sample<'a>, PayloadError> {
    if value.is_finite() { Ok(plain(value)) } else { Err(PayloadError::NotFinite) }
}

fn blanks(bytes: &[u8], at: &mut usize) {
    while matches!(bytes.get(*at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        *at += 1;
    }
}

/// A string without escapes.
fn string<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    (bytes.get(*at) == Some(&b'"')).then_some(())?;
    let rest = &bytes[*at + 1..];
    let end = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
    (rest[end] == b'"').then_some(())?;
    *at += end + 2;
    Some(&rest[..end])
}

struct Number {
    value: f64,
    /// The number itself, where it was written as a short whole one.
    whole: Option<i64>,
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// A JSON number. With a mantissa below 2^53 and a small exponent one division rounds
/// correctly (Clinger 1990); the rest is left to the standard library.
fn number(bytes: &[u8], at: &mut usize) -> Option<Number> {
    let start = *at;
    let negative = bytes.get(*at) == Some(&b'-');
    *at += usize::from(negative);
    let mut mantissa = 0u64;
    let mut digits = 0;
    let leading = *at;
    while let Some(d) = bytes.get(*at).filter(|b| b.is_ascii_digit()) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(d - b'0'));
        digits += 1;
        *at += 1;
    }
    let whole_digits = digits;
    if whole_digits == 0 || (whole_digits > 1 && bytes[leading] == b'0') {
        return None;
    }
    let mut decimals = 0;
    if bytes.get(*at) == Some(&b'.') {
        *at += 1;
        while let Some(d) = bytes.get(*at).filter(|b| b.is_ascii_digit()) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(d - b'0'));
            digits += 1;
            decimals += 1;
            *at += 1;
        }
        if decimals == 0 {
            return None;
        }
    }
    let exponent = matches!(bytes.get(*at), Some(b'e' | b'E'));
    if exponent {
        *at += 1;
        *at += usize::from(matches!(bytes.get(*at), Some(b'+' | b'-')));
        let from = *at;
        while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
            *at += 1;
        }
        if *at == from {
            return None;
        }
    }
    let sign = if negative { -1.0 } else { 1.0 };
    if !exponent && digits <= 18 && mantissa < 1 << 53 {
        let whole = (decimals == 0 && !negative).then_some(mantissa as i64);
        return Some(Number { value: sign * (mantissa as f64 / POWERS[decimals]), whole });
    }
    let whole = (decimals == 0 && !exponent && !negative && digits <= 18).then_some(mantissa as i64);
    let value = std::str::from_utf8(&bytes[start..*at]).ok()?.parse().ok()?;
    Some(Number { value, whole })
}
