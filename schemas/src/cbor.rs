//! CBOR (RFC 8949): structs as maps whose integer keys are the positions of the fields.
//!
//! The one file that knows `serde_cbor`, which is no longer maintained, so that it can go.
//!
//! A struct evolves by appending fields with `#[serde(default)]`, an enum by appending
//! variants; fields are never removed, reordered or given another meaning. Unknown keys are
//! skipped, so an older program reads a newer struct. Doubles that a float32 holds exactly
//! are written as one; NaN loses its payload, every other double comes back bit for bit.

use crate::error::DecodeError;
use crate::scan;
use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

pub use serde_cbor::Value;

/// Encodes a value.
///
/// # Panics
/// If the value's own `Serialize` fails. Derived ones, as all of ours are, do not: memory
/// takes any length, and CBOR any key.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    serde_cbor::ser::to_vec_packed(value).expect("a derived Serialize into memory does not fail")
}

/// Decodes a value from at most `max_len` bytes, with nothing left over and at most
/// [`crate::limits::CBOR_DEPTH_MAX`] levels. Memory is in proportion to the bytes that are
/// there, not to what they claim.
///
/// # Errors
/// [`DecodeError::TooLong`] beyond `max_len`, those of [`scan::one_item`] for malformed
/// bytes, [`DecodeError::Cbor`] for another shape than that of `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], max_len: usize) -> Result<T, DecodeError> {
    if bytes.len() > max_len {
        return Err(DecodeError::TooLong { length: bytes.len() as u64, max: max_len });
    }
    scan::one_item(bytes)?;
    serde_cbor::from_slice(bytes).map_err(|e| DecodeError::Cbor(e.to_string()))
}

/// Decodes a value of no known shape that has at most `items_max` items: elements, keys and
/// values at every level. A map of one entry, three bytes, takes some 700 in memory, so the
/// length of the bytes alone would be a weak bound.
///
/// # Errors
/// As [`from_slice`], and [`DecodeError::TooLong`] beyond `items_max`.
pub fn value(bytes: &[u8], items_max: usize) -> Result<Value, DecodeError> {
    let items = scan::one_item(bytes)?;
    if items > items_max {
        return Err(DecodeError::TooLong { length: items as u64, max: items_max });
    }
    serde_cbor::from_slice(bytes).map_err(|e| DecodeError::Cbor(e.to_string()))
}

/// `#[serde(deserialize_with = "cbor::list::<_, _, MAX>")]`: a list of at most `MAX` elements.
/// A `Vec` alone would grow with whatever the bytes hold; small elements become many times
/// their size in memory.
///
/// # Errors
/// The deserializer's, and one that names the bound.
pub fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    struct List<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: serde::Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut out = Vec::new();
            while let Some(element) = seq.next_element()? {
                if out.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                out.push(element);
            }
            Ok(out)
        }
    }
    deserializer.deserialize_seq(List::<T, MAX>(PhantomData))
}

/// `#[serde(deserialize_with = "cbor::whole_or_nothing")]`: a whole number within 64 bits; whatever
/// else stands under the key is passed over and reads as 0.
///
/// # Errors
/// The deserializer's, for bytes that are no CBOR.
pub fn whole_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Whole;
    impl<'de> Visitor<'de> for Whole {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number")
        }
        fn visit_i64<E: Error>(self, v: i64) -> Result<i64, E> {
            Ok(v)
        }
        fn visit_u64<E: Error>(self, v: u64) -> Result<i64, E> {
            Ok(i64::try_from(v).unwrap_or(0))
        }
        fn visit_bool<E: Error>(self, _: bool) -> Result<i64, E> {
            Ok(0)
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<i64, E> {
            Ok(0)
        }
        fn visit_str<E: Error>(self, _: &str) -> Result<i64, E> {
            Ok(0)
        }
        fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<i64, E> {
            Ok(0)
        }
        fn visit_unit<E: Error>(self) -> Result<i64, E> {
            Ok(0)
        }
        fn visit_none<E: Error>(self) -> Result<i64, E> {
            Ok(0)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<i64, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(0)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<i64, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(0)
        }
    }
    deserializer.deserialize_any(Whole)
}

/// `#[serde(with = "schemas::cbor::bytes")]`: a byte string instead of an array of numbers.
pub mod bytes {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    /// Writes a byte string.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    /// Reads a byte string; an array of numbers is refused.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<Vec<u8>, E> {
                Ok(v.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, v: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(v)
            }
        }
        d.deserialize_byte_buf(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        a: u64,
        b: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Plain,
        Sized(u32),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        a: u64,
        b: Option<String>,
        #[serde(default)]
        c: Vec<Kind>,
        #[serde(with = "bytes", default)]
        d: Vec<u8>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Bounded {
        #[serde(deserialize_with = "list::<_, _, 3>")]
        few: Vec<u8>,
    }

    #[test]
    fn old_and_new_programs_read_each_other() {
        let old = Old { a: 7, b: Some("x".into()) };
        let new: New = from_slice(&to_vec(&old), 100).unwrap();
        assert_eq!(new, New { a: 7, b: Some("x".into()), c: vec![], d: vec![] });

        let new = New { a: 7, b: None, c: vec![Kind::Plain, Kind::Sized(9)], d: vec![1, 2] };
        let bytes = to_vec(&new);
        assert_eq!(from_slice::<New>(&bytes, 100).unwrap(), new);
        assert_eq!(from_slice::<Old>(&bytes, 100).unwrap(), Old { a: 7, b: None });
    }

    #[test]
    fn keys_are_positions_and_bytes_are_bytes() {
        let new = New { a: 1, b: None, c: vec![], d: vec![5] };
        assert_eq!(to_vec(&new), [0xa4, 0, 1, 1, 0xf6, 2, 0x80, 3, 0x41, 5]);
        let array_for_bytes = [0xa2, 0, 1, 3, 0x81, 5];
        assert!(matches!(from_slice::<New>(&array_for_bytes, 100), Err(DecodeError::Cbor(_))));
    }

    #[test]
    fn bounds_hold() {
        let bytes = to_vec(&Bounded { few: vec![1, 2, 3] });
        assert_eq!(from_slice::<Bounded>(&bytes, bytes.len()).unwrap().few, [1, 2, 3]);
        let short = bytes.len() - 1;
        assert_eq!(from_slice::<Bounded>(&bytes, short), Err(DecodeError::TooLong { length: bytes.len() as u64, max: short }));
        let four = from_slice::<Bounded>(&to_vec(&Bounded { few: vec![0; 4] }), 100);
        assert!(matches!(&four, Err(DecodeError::Cbor(why)) if why.contains("at most 3 elements")), "{four:?}");
    }

    #[test]
    fn items_of_a_value_are_bounded() {
        let three = [0xa1, 0x61, b'v', 0x01];
        assert!(matches!(value(&three, 3), Ok(Value::Map(_))));
        assert_eq!(value(&three, 2), Err(DecodeError::TooLong { length: 3, max: 2 }));
    }

    proptest! {
        #[test]
        fn doubles_come_back_bit_for_bit(bits: u64) {
            let v = f64::from_bits(bits);
            let back: f64 = from_slice(&to_vec(&v), 9).unwrap();
            prop_assert!(back.to_bits() == bits || (v.is_nan() && back.is_nan()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = from_slice::<Value>(&bytes, 1_000);
        }

        /// The first pass and the library agree on what is well-formed, or the pass is stricter.
        #[test]
        fn the_scan_lets_all_of_ours_through(a: u64, b: Option<String>, d: Vec<u8>) {
            let new = New { a, b, c: vec![Kind::Sized(1)], d };
            prop_assert_eq!(from_slice::<New>(&to_vec(&new), 10_000).unwrap(), new);
        }
    }
}
