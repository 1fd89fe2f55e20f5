//! JSON and CBOR alike as a bounded tree.

use crate::error::PayloadError;
use crate::limits::{DEPTH_MAX, NODES_MAX};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;

/// What matters of a payload.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// With decimals, or beyond an `i64`.
    Number(f64),
    /// Kept apart, because a double does not hold all of them.
    Whole(i64),
    Bool(bool),
    Text(String),
    List(Vec<Node>),
    /// In order; each key once.
    Map(Vec<(Key, Node)>),
    /// Null, bytes: never a reading.
    Other,
}

/// A key as text, or as the number that SenML's CBOR uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Text(String),
    Label(i64),
    Other,
}

impl Node {
    /// Reads JSON.
    pub(super) fn from_json(text: &str) -> Result<Node, PayloadError> {
        serde_json::from_str::<Root>(text).map(|root| root.0).map_err(|e| refusal("JSON", &e.to_string()))
    }

    /// Reads CBOR; tags are ignored.
    pub(super) fn from_cbor(bytes: &[u8]) -> Result<Node, PayloadError> {
        let root: Result<Root, _> = schemas::cbor::from_slice(bytes, bytes.len());
        root.map(|root| root.0).map_err(|e| refusal("CBOR", &e.to_string()))
    }

    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&Node> {
        let Node::Map(fields) = self else { return None };
        fields.iter().find(|(k, _)| matches!(k, Key::Text(t) if t == name)).map(|(_, v)| v)
    }
}

const TOO_COMPLEX: &str = "too complex";

/// The refusals that serde can only carry as text, told apart again.
fn refusal(form: &str, text: &str) -> PayloadError {
    if text.contains(TOO_COMPLEX) || text.contains("recursion limit") {
        PayloadError::TooComplex
    } else if text.starts_with("number out of range") {
        PayloadError::NotFinite
    } else {
        PayloadError::Shape(format!("as {form} it does not parse ({text})"))
    }
}

struct Root(Node);

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let left = Cell::new(NODES_MAX);
        Part { depth: 0, left: &left }.deserialize(deserializer).map(Root)
    }
}

/// Builds one node, within what is left of the bounds.
#[derive(Clone, Copy)]
struct Part<'c> {
    depth: usize,
    left: &'c Cell<usize>,
}

impl Part<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(TOO_COMPLEX));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| D::Error::custom(TOO_COMPLEX))?;
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON or CBOR")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Bool(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Whole(v))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Node, E> {
        Ok(i64::try_from(v).map_or(Node::Number(v as f64), Node::Whole))
    }

    fn visit_i128<E: Error>(self, v: i128) -> Result<Node, E> {
        Ok(i64::try_from(v).map_or(Node::Number(v as f64), Node::Whole))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Node, E> {
        Ok(Node::Number(v))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Text(v.to_owned()))
    }

    fn visit_string<E: Error>(self, v: String) -> Result<Node, E> {
        Ok(Node::Text(v))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let part = self.deeper()?;
        let mut list = Vec::new();
        while let Some(node) = seq.next_element_seed(part)? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let part = self.deeper()?;
        let mut fields = Vec::new();
        while let Some(key) = map.next_key_seed(part)? {
            let key = match key {
                Node::Text(text) => Key::Text(text),
                Node::Whole(label) => Key::Label(label),
                _ => Key::Other,
            };
            fields.push((key, map.next_value_seed(part)?));
        }
        keep_last(&mut fields);
        Ok(Node::Map(fields))
    }
}

/// Of a key that comes several times, keeps the last, as most readers of JSON do.
fn keep_last(fields: &mut Vec<(Key, Node)>) {
    let mut order: Vec<usize> = (0..fields.len()).collect();
    order.sort_by(|a, b| fields[*a].0.cmp(&fields[*b].0).then(a.cmp(b)));
    let mut superseded: Vec<usize> = order.windows(2).filter(|w| fields[w[0]].0 == fields[w[1]].0).map(|w| w[0]).collect();
    superseded.sort_unstable();
    let (mut index, mut next) = (0, superseded.into_iter().peekable());
    fields.retain(|_| {
        index += 1;
        next.next_if_eq(&(index - 1)).is_none()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_a_repeated_key_the_last_counts() {
        let node = Node::from_json(r#"{"a":1,"b":2,"a":3,"c":4,"b":5}"#).unwrap();
        let Node::Map(fields) = &node else { panic!("no map") };
        assert_eq!(fields.len(), 3);
        assert_eq!(node.field("a"), Some(&Node::Whole(3)));
        assert_eq!(node.field("b"), Some(&Node::Whole(5)));
    }

    #[test]
    fn bounds_hold_in_both_forms() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(Node::from_json(&nested(DEPTH_MAX)).is_ok());
        for n in [DEPTH_MAX + 1, 1_000, 100_000] {
            assert_eq!(Node::from_json(&nested(n)), Err(PayloadError::TooComplex), "{n}");
            let mut cbor = vec![0x81; n];
            cbor.push(0);
            assert!(Node::from_cbor(&cbor).is_err(), "{n}");
        }
        let wide = format!("[{}1]", "1,".repeat(NODES_MAX));
        assert_eq!(Node::from_json(&wide), Err(PayloadError::TooComplex));
        assert!(Node::from_cbor(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Node::from_cbor(&bytes);
            let _ = Node::from_json(&String::from_utf8_lossy(&bytes));
        }
    }
}
