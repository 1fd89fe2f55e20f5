//! The common shapes, in place and without allocation: a number, or a flat JSON object.
//!
//! What this file reads it reads exactly as the slow way does; everything it is not sure of,
//! errors included, it leaves to that.

use super::{Sample, number};
use crate::limits::{FIELDS_IN_PLACE_MAX, UNIT_BYTES_MAX};
use crate::reading;
use std::borrow::Cow;

/// Appends the samples of a payload without blanks around it; `None`, with `out` as it was,
/// leaves it to the slow way.
pub(super) fn parse<'a>(payload: &'a [u8], out: &mut Vec<Sample<'a>>) -> Option<()> {
    match payload.first()? {
        b'{' => {
            let from = out.len();
            let read = object(payload, out);
            if read.is_none() {
                out.truncate(from);
            }
            read
        }
        b'-' | b'0'..=b'9' => {
            let mut at = 0;
            let value = finite(payload, &mut at)?;
            (at == payload.len()).then(|| out.push(Sample::of(value)))
        }
        _ => None,
    }
}

/// An object without nesting and escapes.
fn object<'a>(bytes: &'a [u8], out: &mut Vec<Sample<'a>>) -> Option<()> {
    let from = out.len();
    let mut at = 1;
    let mut keys: [&[u8]; FIELDS_IN_PLACE_MAX] = [&[]; FIELDS_IN_PLACE_MAX];
    let mut count = 0;
    let (mut value, mut unit, mut timed, mut time_ms) = (None, None, false, None);
    loop {
        blanks(bytes, &mut at);
        let key = string(bytes, &mut at)?;
        // Of a key that comes twice the last counts, which is for the slow way.
        if count == FIELDS_IN_PLACE_MAX || keys[..count].contains(&key) {
            return None;
        }
        keys[count] = key;
        count += 1;
        blanks(bytes, &mut at);
        byte(bytes, &mut at, b':')?;
        blanks(bytes, &mut at);
        match key {
            b"value" | b"v" if value.is_none() => value = Some(scalar(bytes, &mut at)?),
            b"ts" | b"time" | b"timestamp" if !timed => {
                timed = true;
                time_ms = time(bytes, &mut at)?;
            }
            // Two names of one thing: which counts is for the slow way.
            b"value" | b"v" | b"ts" | b"time" | b"timestamp" => return None,
            _ => {
                let name = std::str::from_utf8(key).ok()?;
                match bytes.get(at)? {
                    b'"' => {
                        let text = std::str::from_utf8(string(bytes, &mut at)?).ok()?;
                        if name == "unit" {
                            unit = Some(text);
                        }
                    }
                    b'n' => literal(bytes, &mut at, b"null")?,
                    _ => {
                        let value = scalar(bytes, &mut at)?;
                        out.push(Sample { suffix: Some(Cow::Borrowed(name)), ..Sample::of(value) });
                    }
                }
            }
        }
        blanks(bytes, &mut at);
        match bytes.get(at)? {
            b',' => at += 1,
            b'}' if at + 1 == bytes.len() => break,
            _ => return None,
        }
    }
    match value {
        Some(value) => {
            if unit.is_some_and(|u| u.len() > UNIT_BYTES_MAX) {
                return None;
            }
            out.truncate(from);
            out.push(Sample { time_ms, unit: unit.filter(|u| !u.is_empty()).map(Cow::Borrowed), ..Sample::of(value) });
        }
        None if out.len() == from => return None,
        None => out[from..].iter_mut().for_each(|s| s.time_ms = time_ms),
    }
    Some(())
}

/// A finite number or a boolean.
fn scalar(bytes: &[u8], at: &mut usize) -> Option<f64> {
    match bytes.get(*at)? {
        b't' => literal(bytes, at, b"true").map(|()| 1.0),
        b'f' => literal(bytes, at, b"false").map(|()| 0.0),
        _ => finite(bytes, at),
    }
}

fn finite(bytes: &[u8], at: &mut usize) -> Option<f64> {
    number::scan(bytes, at).map(|n| n.value).filter(|v| v.is_finite())
}

/// A valid time; the inner `None` is a null, which is as good as no time.
fn time(bytes: &[u8], at: &mut usize) -> Option<Option<i64>> {
    let time_ms = match bytes.get(*at)? {
        b'n' => return literal(bytes, at, b"null").map(|()| None),
        b'"' => reading::rfc3339_ms(std::str::from_utf8(string(bytes, at)?).ok()?),
        _ => {
            let number = number::scan(bytes, at)?;
            number.whole.map_or_else(|| reading::unix_ms(number.value), reading::unix_ms_whole)
        }
    };
    time_ms.ok().map(Some)
}

/// What JSON allows between its parts.
fn blanks(bytes: &[u8], at: &mut usize) {
    while matches!(bytes.get(*at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        *at += 1;
    }
}

fn byte(bytes: &[u8], at: &mut usize, expected: u8) -> Option<()> {
    (bytes.get(*at) == Some(&expected)).then(|| *at += 1)
}

fn literal(bytes: &[u8], at: &mut usize, expected: &[u8]) -> Option<()> {
    bytes[*at..].starts_with(expected).then(|| *at += expected.len())
}

/// A string without escapes; whether it is UTF-8 is the caller's to check.
fn string<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    byte(bytes, at, b'"')?;
    let rest = &bytes[*at..];
    let end = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
    *at += end;
    byte(bytes, at, b'"')?;
    Some(&rest[..end])
}
