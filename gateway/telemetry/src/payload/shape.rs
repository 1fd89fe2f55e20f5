//! Which trees are readings, and which they are (contract §3).

use super::senml;
use super::tree::{Key, Node};
use super::{Form, Samples, unit};
use crate::error::PayloadError;
use crate::reading::{finite, rfc3339_ms, unix_ms, unix_ms_whole};

/// Names of the value, the first that is there counts.
const VALUES: [&str; 2] = ["value", "v"];
/// Names of the event time, likewise.
const TIMES: [&str; 3] = ["ts", "time", "timestamp"];

/// Reads a whole payload.
pub(super) fn read(node: Node, form: Form, out: &mut Samples<'_, '_>) -> Result<(), PayloadError> {
    match node {
        Node::List(list) if senml::is_pack(&list) => senml::read(&list, form, out),
        Node::List(list) if list.is_empty() => Err(PayloadError::shape("the list is empty")),
        Node::List(list) => list.into_iter().try_for_each(|element| one(element, out)),
        node => one(node, out),
    }
}

/// One number, boolean or object.
fn one(node: Node, out: &mut Samples<'_, '_>) -> Result<(), PayloadError> {
    let Node::Map(fields) = node else {
        let value = value(&node).ok_or_else(|| PayloadError::shape("an element is no number, boolean or object"))?;
        return out.push(None, value?, None, None);
    };
    let node = Node::Map(fields);
    let time_ms = TIMES.iter().find_map(|n| node.field(n)).map(time).transpose()?.flatten();
    if let Some(named) = VALUES.iter().find_map(|n| node.field(n)) {
        let value = value(named).ok_or_else(|| PayloadError::shape("its value is no number or boolean"))??;
        let unit = match node.field("unit") {
            Some(Node::Text(text)) => unit(text)?,
            _ => None,
        };
        return out.push(None, value, time_ms, unit);
    }
    let Node::Map(fields) = node else {
        return Ok(());
    };
    let mut any = false;
    for (key, node) in fields {
        let Key::Text(name) = key else { continue };
        if TIMES.contains(&name.as_str()) {
            continue;
        }
        if let Some(value) = value(&node) {
            out.push(Some(name), value?, time_ms, None)?;
            any = true;
        }
    }
    if any { Ok(()) } else { Err(PayloadError::shape("an object holds no number or boolean")) }
}

/// A number or boolean as a value.
pub(super) fn value(node: &Node) -> Option<Result<f64, PayloadError>> {
    match node {
        Node::Number(f) => Some(finite(*f)),
        Node::Whole(n) => Some(Ok(*n as f64)),
        Node::Bool(b) => Some(Ok(f64::from(u8::from(*b)))),
        _ => None,
    }
}

/// A time; null is as good as none.
fn time(node: &Node) -> Result<Option<i64>, PayloadError> {
    match node {
        Node::Number(f) => unix_ms(*f).map(Some),
        Node::Whole(n) => unix_ms_whole(*n).map(Some),
        Node::Text(s) => rfc3339_ms(s).map(Some),
        Node::Other => Ok(None),
        Node::Bool(_) | Node::List(_) | Node::Map(_) => Err(PayloadError::shape("its time is neither text nor number")),
    }
}
