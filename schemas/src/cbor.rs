//! CBOR (RFC 8949), structs with integer keys by the position of their fields.
//!
//! The one file that knows `serde_cbor`, which is no longer maintained, so that it can go.
//! A struct evolves by appending fields with `#[serde(default)]`; unknown keys are skipped.

use crate::error::DecodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use serde_cbor::Value;

/// Encodes a value.
///
/// # Panics
/// Never for our types: they have no maps with keys that CBOR cannot write, and memory takes any length.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    serde_cbor::ser::to_vec_packed(value).expect("our types encode")
}

/// Decodes a value from at most `max_len` bytes, with nothing left over. Nesting is bounded
/// by the library (128), memory by the bytes that are there.
///
/// # Errors
/// [`DecodeError::TooLong`], [`DecodeError::Cbor`].
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], max_len: usize) -> Result<T, DecodeError> {
    if bytes.len() > max_len {
        return Err(DecodeError::TooLong { length: bytes.len() as u64, max: max_len });
    }
    serde_cbor::from_slice(bytes).map_err(|e| DecodeError::Cbor(e.to_string()))
}

/// `#[serde(with = "schemas::cbor::bytes")]`: a byte string instead of an array of numbers.
pub mod bytes {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    /// Writes a byte string.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    /// Reads a byte string.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<Vec<u8>, E> {
                Ok(v.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, v: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(v)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                let mut out = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    out.push(byte);
                }
                Ok(out)
            }
        }
        d.deserialize_byte_buf(Bytes)
    }
}
