//! JSON and CBOR alike: a tree, and the rules by which it is readings.

use super::{Sample, finite, rfc3339_ms, senml, unit, unix_ms, unix_ms_whole};
use crate::error::PayloadError;
use crate::limits::{DEPTH_MAX, SAMPLES_MAX};
use schemas::cbor::Value as Cbor;
use serde_json::Value as Json;
use std::borrow::Cow;

/// What matters of a payload.
pub(super) enum Node {
    Number(f64),
    Whole(i64),
    Bool(bool),
    Text(String),
    List(Vec<Node>),
    /// Key as text, or as the number that SenML's CBOR uses.
    Map(Vec<(Key, Node)>),
    Other,
}

#[derive(PartialEq)]
pub(super) enum Key {
    Text(String),
    Label(i64),
}

impl Node {
    pub(super) fn from_json(value: Json, depth: usize) -> Result<Node, PayloadError> {
        check_depth(depth)?;
        Ok(match value {
            Json::Null => Node::Other,
            Json::Bool(b) => Node::Bool(b),
            Json::Number(n) => match n.as_i64() {
                Some(whole) => Node::Whole(whole),
                None => Node::Number(n.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(s) => Node::Text(s),
            Json::Array(list) => Node::List(list.into_iter().map(|v| Node::from_json(v, depth + 1)).collect::<Result<_, _>>()?),
            Json::Object(map) => {
                let field = |(k, v)| Ok((Key::Text(k), Node::from_json(v, depth + 1)?));
                Node::Map(map.into_iter().map(field).collect::<Result<_, _>>()?)
            }
        })
    }

    pub(super) fn from_cbor(value: Cbor, depth: usize) -> Result<Node, PayloadError> {
        check_depth(depth)?;
        Ok(match value {
            Cbor::Bool(b) => Node::Bool(b),
            Cbor::Integer(n) => i64::try_from(n).map_or(Node::Number(n as f64), Node::Whole),
            Cbor::Float(f) => Node::Number(f),
            Cbor::Text(s) => Node::Text(s),
            Cbor::Array(list) => Node::List(list.into_iter().map(|v| Node::from_cbor(v, depth + 1)).collect::<Result<_, _>>()?),
            Cbor::Map(map) => {
                let mut fields = Vec::new();
                for (k, v) in map {
                    let key = match k {
                        Cbor::Text(s) => Key::Text(s),
                        Cbor::Integer(n) => Key::Label(i64::try_from(n).unwrap_or(i64::MAX)),
                        _ => continue,
                    };
                    fields.push((key, Node::from_cbor(v, depth + 1)?));
                }
                Node::Map(fields)
            }
            _ => Node::Other,
        })
    }

    /// A number or boolean as a value.
    pub(super) fn value(&self) -> Option<Result<f64, PayloadError>> {
        match self {
            Node::Number(f) => Some(finite(*f)),
            Node::Whole(n) => Some(Ok(*n as f64)),
            Node::Bool(b) => Some(Ok(f64::from(u8::from(*b)))),
            _ => None,
        }
    }

    fn time_ms(&self) -> Result<i64, PayloadError> {
        match self {
            Node::Number(f) => unix_ms(*f),
            Node::Whole(n) => unix_ms_whole(*n),
            Node::Text(s) => rfc3339_ms(s),
            _ => Err(PayloadError::Time("of another type".to_owned())),
        }
    }
}

fn check_depth(depth: usize) -> Result<(), PayloadError> {
    if depth > DEPTH_MAX { Err(PayloadError::Shape(format!("it nests deeper than {DEPTH_MAX}"))) } else { Ok(()) }
}

/// Reads a whole payload.
pub(super) fn read<'a>(node: &Node, arrival_ms: i64, out: &mut Vec<Sample<'a>>) -> Result<(), PayloadError> {
    match node {
        Node::List(list) if senml::is_pack(list) => senml::read(list, arrival_ms, out),
        Node::List(list) => {
            if list.len() > SAMPLES_MAX {
                return Err(PayloadError::TooMany);
            }
            list.iter().try_for_each(|element| match element {
                Node::List(_) => Err(PayloadError::Shape("a list within a list".to_owned())),
                _ => one(element, out),
            })
        }
        _ => one(node, out),
    }
}

fn one<'a>(node: &Node, out: &mut Vec<Sample<'a>>) -> Result<(), PayloadError> {
    let Node::Map(fields) = node else {
        let value = node.value().ok_or_else(|| PayloadError::Shape("an element is no number, boolean or object".to_owned()))??;
        out.push(Sample { suffix: None, value, time_ms: None, unit: None });
        return Ok(());
    };
    let field =
        |names: &[&str]| names.iter().find_map(|n| fields.iter().find(|(k, _)| matches!(k, Key::Text(t) if t == n)).map(|(_, v)| v));
    const TIMES: [&str; 3] = ["ts", "time", "timestamp"];
    let time_ms = field(&TIMES).map(Node::time_ms).transpose()?;
    let unit = match field(&["unit"]) {
        Some(Node::Text(text)) => unit(text)?,
        _ => None,
    };
    if let Some(value) = field(&["value", "v"]) {
        let value = value.value().ok_or_else(|| PayloadError::Shape("its value is no number or boolean".to_owned()))??;
        out.push(Sample { suffix: None, value, time_ms, unit: unit.map(Cow::Owned) });
        return Ok(());
    }
    let before = out.len();
    for (key, node) in fields {
        let Key::Text(name) = key else { continue };
        if TIMES.contains(&name.as_str()) {
            continue;
        }
        if let Some(value) = node.value() {
            if out.len() - before >= SAMPLES_MAX {
                return Err(PayloadError::TooMany);
            }
            out.push(Sample { suffix: Some(Cow::Owned(name.clone())), value: value?, time_ms, unit: None });
        }
    }
    if out.len() == before {
        return Err(PayloadError::Shape("the object holds no number or boolean".to_owned()));
    }
    Ok(())
}
