//! SenML (RFC 8428), JSON and CBOR: base fields, relative times, base values and units.

use super::tree::{Key, Node};
use super::{Form, Sample, Samples, unit};
use crate::error::PayloadError;
use crate::limits::SERIES_BYTES_MAX;
use crate::reading::{finite, seconds_ms};

/// A field by its JSON name and CBOR label (RFC 8428, table 4).
struct Field(&'static str, i64);

const BASE_VERSION: Field = Field("bver", -1);
const BASE_NAME: Field = Field("bn", -2);
const BASE_TIME: Field = Field("bt", -3);
const BASE_UNIT: Field = Field("bu", -4);
const BASE_VALUE: Field = Field("bv", -5);
const NAME: Field = Field("n", 0);
const UNIT: Field = Field("u", 1);
const VALUE: Field = Field("v", 2);
const BOOLEAN: Field = Field("vb", 4);
const TIME: Field = Field("t", 6);

/// The version of RFC 8428; a newer pack may mean something else.
const VERSION_MAX: f64 = 10.0;
/// Times below 2^28 seconds are relative to now (RFC 8428, 4.5.3).
const RELATIVE_BELOW_S: f64 = 268_435_456.0;

/// Whether a list is a SenML pack: its first record has a base or own name of SenML's.
pub(super) fn is_pack(list: &[Node]) -> bool {
    list.first().is_some_and(|first| [BASE_NAME, NAME].iter().any(|name| matches!(get(first, name), Some(Node::Text(_)))))
}

/// Nothing arrives after 2100 (as the gateway's clock has it, which may not be set).
const ARRIVAL_BELOW_S: f64 = 4_102_444_800.0;

/// What earlier records of a pack give to later ones.
#[derive(Default)]
struct Base<'n> {
    name: &'n str,
    time_s: f64,
    unit: Option<&'n str>,
    value: Option<f64>,
}

/// Reads a pack. Records of texts, data or sums alone are no readings and are passed over;
/// they count for the base fields all the same.
pub(super) fn read(list: &[Node], form: Form, out: &mut Samples<'_, '_>) -> Result<(), PayloadError> {
    let mut base = Base::default();
    let mut any = false;
    for record in list {
        check(record)?;
        let number = |field: &Field| get(record, field).map(|node| number(node, form)).transpose();
        base.name = text(record, &BASE_NAME)?.unwrap_or(base.name);
        base.time_s = number(&BASE_TIME)?.unwrap_or(base.time_s);
        base.unit = text(record, &BASE_UNIT)?.or(base.unit);
        base.value = number(&BASE_VALUE)?.or(base.value);
        if number(&BASE_VERSION)?.is_some_and(|version| version > VERSION_MAX) {
            return Err(PayloadError::shape("its SenML version is newer than 10"));
        }
        let value = match (number(&VALUE)?, get(record, &BOOLEAN)) {
            (Some(value), None) => value + base.value.unwrap_or(0.0),
            (None, Some(Node::Bool(flag))) => f64::from(u8::from(*flag)),
            (None, None) => continue,
            (Some(_), Some(_)) => return Err(PayloadError::shape("a SenML record has two values")),
            (None, Some(_)) => return Err(PayloadError::shape("vb of a SenML record is no boolean")),
        };
        let own = text(record, &NAME)?.unwrap_or("");
        match base.name.len() + own.len() {
            0 => return Err(PayloadError::shape("a SenML record has no name")),
            // A long base name in front of many records would be copied for each.
            n if n > SERIES_BYTES_MAX => {
                return Err(PayloadError::shape("a SenML name is longer than a series name may be"));
            }
            _ => {}
        }
        let (time_ms, after_ms) = time(base.time_s + number(&TIME)?.unwrap_or(0.0))?;
        let unit = text(record, &UNIT)?.or(base.unit).map(unit).transpose()?.flatten();
        let suffix = Some(format!("{}{own}", base.name).into());
        out.add(Sample { suffix, value: finite(value)?, time_ms, after_ms, unit: unit.map(Into::into) })?;
        any = true;
    }
    if any { Ok(()) } else { Err(PayloadError::shape("the SenML pack holds no value")) }
}

/// Refuses what must be understood but is not (RFC 8428, 4.4).
fn check(record: &Node) -> Result<(), PayloadError> {
    let Node::Map(fields) = record else {
        return Err(PayloadError::shape("a SenML record is no map"));
    };
    let obliging = fields.iter().find_map(|(key, _)| match key {
        Key::Text(name) if name.ends_with('_') => Some(name),
        _ => None,
    });
    match obliging {
        Some(_) => Err(PayloadError::shape("a SenML field ends in '_', so it must be understood, but is not known")),
        None => Ok(()),
    }
}

fn get<'n>(record: &'n Node, field: &Field) -> Option<&'n Node> {
    let Node::Map(fields) = record else {
        return None;
    };
    let is = |key: &Key| match key {
        Key::Text(name) => name == field.0,
        Key::Label(label) => *label == field.1,
        Key::Other => false,
    };
    fields.iter().find(|(key, _)| is(key)).map(|(_, node)| node)
}

fn text<'n>(record: &'n Node, field: &Field) -> Result<Option<&'n str>, PayloadError> {
    match get(record, field) {
        None => Ok(None),
        Some(Node::Text(text)) => Ok(Some(text)),
        Some(_) => Err(PayloadError::shape("a name or unit of a SenML record is no text")),
    }
}

/// A number; in CBOR also a decimal fraction (RFC 8428, 6), which arrives as exponent and
/// mantissa, since no field of a record may otherwise be a list.
fn number(node: &Node, form: Form) -> Result<f64, PayloadError> {
    let value = match (node, form) {
        (Node::Number(value), _) => *value,
        (Node::Whole(value), _) => *value as f64,
        (Node::List(parts), Form::Cbor) => match parts[..] {
            // Through text, because that rounds correctly.
            [Node::Whole(exponent), Node::Whole(mantissa)] => {
                format!("{mantissa}e{exponent}").parse().map_err(|_| PayloadError::NotFinite)?
            }
            _ => return Err(PayloadError::shape("a number of a SenML record is a list")),
        },
        _ => return Err(PayloadError::shape("a field of a SenML record is no number")),
    };
    finite(value)
}

/// SenML's own rule for times: 0 is now, small ones are relative to now, others are absolute.
/// The time, or how long after now.
fn time(seconds: f64) -> Result<(Option<i64>, i64), PayloadError> {
    match seconds {
        // Before 1970 whenever it arrives.
        s if s <= -ARRIVAL_BELOW_S => Err(PayloadError::time(&seconds.to_string())),
        s if s < RELATIVE_BELOW_S => Ok((None, seconds_ms(s))),
        // Beyond this a double has no milliseconds, and no calendar the year.
        s if s < 1e11 => Ok((Some(seconds_ms(s)), 0)),
        _ => Err(PayloadError::time(&seconds.to_string())),
    }
}
