//! Bytes → samples (contract §3).
//!
//! A number as text and a flat JSON object are read in place; everything else goes through
//! serde_json or the CBOR decoder to the same tree and the same rules.
//!
//! | file | subject |
//! |---|---|
//! | `fast` | the common shapes, in place |
//! | `number` | one JSON number, rounded correctly |
//! | `tree` | JSON and CBOR as a bounded tree |
//! | `shape` | which trees are readings |
//! | `senml` | SenML packs |
//!
//! Text comes first: what is printable ASCII is never CBOR, so a bare CBOR integer that
//! happens to be printable, such as 0x20 for -1, has to come in a list, a map or as a float.

use crate::error::PayloadError;
use crate::limits::{SAMPLES_MAX, UNIT_BYTES_MAX};
use crate::reading::finite;
use std::borrow::Cow;

mod fast;
mod number;
mod senml;
mod shape;
mod tree;

/// One value of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Appended to the source's series behind a '/'; whether that makes a valid name is
    /// [`crate::source::valid_series`]'s to say.
    pub suffix: Option<Cow<'a, str>>,
    /// Finite.
    pub value: f64,
    /// Event time in ms since the Unix epoch, where the payload gives one: from 0 on, and
    /// possibly in the future, which is the caller's to clamp.
    pub time_ms: Option<i64>,
    /// Where it gives none: how long after its arrival, in ms (SenML; mostly before, so negative).
    pub after_ms: i64,
    /// Its unit, where the payload gives one: 1 to [`crate::limits::UNIT_BYTES_MAX`] bytes.
    pub unit: Option<Cow<'a, str>>,
}

impl Sample<'_> {
    fn of(value: f64) -> Self {
        Self { suffix: None, value, time_ms: None, after_ms: 0, unit: None }
    }
}

/// Appends a payload's samples to `out`: at least one, at most [`SAMPLES_MAX`].
/// One bad element refuses the message.
///
/// # Errors
/// Why the payload is no reading; `out` is then as it was.
pub fn parse<'a>(payload: &'a [u8], out: &mut Vec<Sample<'a>>) -> Result<(), PayloadError> {
    if fast::parse(payload.trim_ascii(), out).is_some() {
        return Ok(());
    }
    let from = out.len();
    let read = any_form(payload, &mut Samples { from, list: out });
    if read.is_err() {
        out.truncate(from);
    }
    debug_assert_eq!(read.is_ok(), out.len() > from, "a message that is taken has a sample");
    read
}

/// The slow way, which takes every form.
fn any_form(payload: &[u8], out: &mut Samples<'_, '_>) -> Result<(), PayloadError> {
    if let Ok(text) = std::str::from_utf8(payload) {
        let text = text.trim();
        if text.starts_with(['{', '[']) {
            return shape::read(tree::Node::from_json(text)?, Form::Json, out);
        }
        if let Some(value) = plain(text) {
            return out.push(None, finite(value)?, None, None);
        }
    }
    if payload.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        return Err(PayloadError::shape("the text is neither a number nor true, false, on, off, nor JSON"));
    }
    let node = tree::Node::from_cbor(payload).map_err(|error| match error {
        PayloadError::Shape(_) => PayloadError::shape("it is neither a number, nor JSON, nor CBOR"),
        other => other,
    })?;
    shape::read(node, Form::Cbor, out)
}

/// A unit; an empty one is none.
fn unit(text: &str) -> Result<Option<String>, PayloadError> {
    match text.len() {
        0 => Ok(None),
        n if n > UNIT_BYTES_MAX => Err(PayloadError::Unit),
        _ => Ok(Some(text.to_owned())),
    }
}

/// A number or a switch position as text; switches in any case.
fn plain(text: &str) -> Option<f64> {
    if ["true", "on"].iter().any(|on| text.eq_ignore_ascii_case(on)) {
        Some(1.0)
    } else if ["false", "off"].iter().any(|off| text.eq_ignore_ascii_case(off)) {
        Some(0.0)
    } else {
        text.parse().ok()
    }
}

/// Where a tree came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Cbor,
}

/// The samples of one message, behind those of earlier ones.
struct Samples<'o, 'a> {
    from: usize,
    list: &'o mut Vec<Sample<'a>>,
}

impl Samples<'_, '_> {
    /// Adds one, within the bound of a message.
    fn push(&mut self, suffix: Option<String>, value: f64, time_ms: Option<i64>, unit: Option<String>) -> Result<(), PayloadError> {
        self.add(Sample { suffix: suffix.map(Cow::Owned), value, time_ms, after_ms: 0, unit: unit.map(Cow::Owned) })
    }

    fn add(&mut self, sample: Sample<'static>) -> Result<(), PayloadError> {
        if self.list.len() - self.from == SAMPLES_MAX {
            return Err(PayloadError::TooMany);
        }
        self.list.push(sample);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
