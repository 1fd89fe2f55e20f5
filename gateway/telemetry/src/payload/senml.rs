//! SenML (RFC 8428), JSON and CBOR: base fields, relative times, base values and units.

use super::tree::{Key, Node};
use super::{Sample, finite, unit};
use crate::error::PayloadError;
use crate::limits::SAMPLES_MAX;
use std::borrow::Cow;

/// JSON names and CBOR labels of RFC 8428, table 4.
const NAMES: [(&str, i64); 14] = [
    ("bver", -1),
    ("bn", -2),
    ("bt", -3),
    ("bu", -4),
    ("bv", -5),
    ("bs", -6),
    ("n", 0),
    ("u", 1),
    ("v", 2),
    ("vs", 3),
    ("vb", 4),
    ("s", 5),
    ("t", 6),
    ("vd", 8),
];
/// Times below 2^28 seconds are relative to now (RFC 8428, 4.5.3).
const RELATIVE_BELOW: f64 = 268_435_456.0;

fn get<'n>(fields: &'n [(Key, Node)], name: &str) -> Option<&'n Node> {
    let label = NAMES.iter().find(|(n, _)| *n == name).map(|(_, l)| *l);
    fields.iter().find(|(k, _)| matches!(k, Key::Text(t) if t == name) || matches!(k, Key::Label(l) if Some(*l) == label)).map(|(_, v)| v)
}

/// Whether a list is a SenML pack: its first record has a base or own name of SenML's.
pub(super) fn is_pack(list: &[Node]) -> bool {
    list.first().is_some_and(|n| matches!(n, Node::Map(f) if get(f, "bn").is_some() || get(f, "n").is_some()))
}

pub(super) fn read<'a>(list: &[Node], arrival_ms: i64, out: &mut Vec<Sample<'a>>) -> Result<(), PayloadError> {
    if list.len() > SAMPLES_MAX {
        return Err(PayloadError::TooMany);
    }
    let shape = |what: &str| PayloadError::Shape(format!("SenML: {what}"));
    let (mut base_name, mut base_time, mut base_unit, mut base_value) = (String::new(), 0.0, None, 0.0);
    for node in list {
        let Node::Map(fields) = node else { return Err(shape("a record is no map")) };
        let number = |name: &str| get(fields, name).map(|n| n.value().ok_or_else(|| shape("a field is no number"))?).transpose();
        let text = |name: &str| match get(fields, name) {
            None => Ok(None),
            Some(Node::Text(t)) => Ok(Some(t.as_str())),
            Some(_) => Err(shape("a name or unit is no text")),
        };
        if fields.iter().any(|(k, _)| matches!(k, Key::Text(t) if t.ends_with('_'))) {
            return Err(shape("a field ends in '_' and must be understood, but is not"));
        }
        base_name = text("bn")?.map_or(base_name, str::to_owned);
        base_time = number("bt")?.unwrap_or(base_time);
        base_unit = text("bu")?.map_or(base_unit, |u| Some(u.to_owned()));
        base_value = number("bv")?.unwrap_or(base_value);
        let value = match (number("v")?, get(fields, "vb")) {
            (Some(v), _) => base_value + v,
            (None, Some(flag)) => flag.value().ok_or_else(|| shape("vb is no boolean"))??,
            // Texts and data are no readings; a record of base fields alone is a header.
            (None, None) => continue,
        };
        let name = format!("{base_name}{}", text("n")?.unwrap_or(""));
        if name.is_empty() {
            return Err(shape("a record has no name"));
        }
        let seconds = base_time + number("t")?.unwrap_or(0.0);
        let time_ms = match seconds {
            0.0 => None,
            s if s < RELATIVE_BELOW => Some(arrival_ms.saturating_add((s * 1e3).floor() as i64)),
            s => Some((finite(s * 1e3)?).floor() as i64),
        };
        if time_ms.is_some_and(|t| t < 0) {
            return Err(PayloadError::Time(seconds.to_string()));
        }
        let own = text("u")?.or(base_unit.as_deref()).map(unit).transpose()?.flatten();
        out.push(Sample { suffix: Some(Cow::Owned(name)), value: finite(value)?, time_ms, unit: own.map(Cow::Owned) });
    }
    Ok(())
}
