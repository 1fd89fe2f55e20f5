//! A first pass over CBOR that allocates nothing: is it one well-formed item (RFC 8949 §3)
//! within our nesting, and does no length claim more than is there?
//!
//! The library behind [`crate::cbor`] accepts nesting of 128 and believes lengths within
//! reason; it only ever sees what passed here.

use crate::error::DecodeError;
use crate::limits::CBOR_DEPTH_MAX;
use crate::wire::Reader;

const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// `0xff`, the end of an item of indefinite length.
const BREAK: u8 = 0xff;

/// What the first bytes of an item say.
struct Head {
    /// Bits 7 to 5 of the first byte.
    major: u8,
    /// The argument; `None` for an indefinite length.
    argument: Option<u64>,
}

/// Checks that `bytes` are exactly one item, and counts it with all the items within it:
/// elements, keys and values alike.
///
/// # Errors
/// [`DecodeError::Short`] and [`DecodeError::TooLong`] for lengths beyond the bytes that are
/// there, [`DecodeError::TooDeep`] beyond [`CBOR_DEPTH_MAX`], [`DecodeError::Trailing`] when
/// bytes follow, [`DecodeError::Invalid`] for what RFC 8949 reserves.
pub fn one_item(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(bytes);
    let first = reader.u8()?;
    let count = item(&mut reader, first, CBOR_DEPTH_MAX)?;
    reader.finish()?;
    Ok(count)
}

/// The item that begins with `first`, with at most `depth` levels below it; how many items.
/// Recursion is bounded by `depth`, the work by the bytes: each call consumes at least one.
fn item(reader: &mut Reader<'_>, first: u8, depth: usize) -> Result<usize, DecodeError> {
    let Head { major, argument } = head(reader, first)?;
    let within = match major {
        BYTES | TEXT => {
            match argument {
                Some(length) => skip(reader, length)?,
                None => chunks(reader, major)?,
            }
            0
        }
        ARRAY | MAP | TAG => {
            let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep { max: CBOR_DEPTH_MAX })?;
            let per_element = if major == MAP { 2 } else { 1 };
            match argument {
                // A tag's argument is its name; one item follows.
                Some(_) if major == TAG => items(reader, 1, depth)?,
                Some(count) => items(reader, claimed(reader, count, per_element)?, depth)?,
                None => until_break(reader, per_element, depth)?,
            }
        }
        // Integers and simple values, floats among them, are their head.
        _ => 0,
    };
    Ok(1 + within)
}

fn head(reader: &mut Reader<'_>, first: u8) -> Result<Head, DecodeError> {
    let major = first >> 5;
    let argument = match first & 0x1f {
        small @ 0..=23 => Some(u64::from(small)),
        size @ 24..=27 => {
            let bytes = reader.take(1 << (size - 24))?;
            Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        }
        31 if matches!(major, BYTES | TEXT | ARRAY | MAP) => None,
        31 if first == BREAK => {
            return Err(DecodeError::Invalid("a CBOR break outside of an item"));
        }
        _ => return Err(DecodeError::Invalid("a reserved CBOR head")),
    };
    Ok(Head { major, argument })
}

/// How many items `count` elements are. Each takes a byte at least, so more than there are
/// bytes is a lie, told before anyone makes room for it.
fn claimed(reader: &Reader<'_>, count: u64, per_element: u64) -> Result<u64, DecodeError> {
    let max = reader.remaining();
    match count.checked_mul(per_element) {
        Some(items) if items <= max as u64 => Ok(items),
        _ => Err(DecodeError::TooLong { length: count, max }),
    }
}

fn items(reader: &mut Reader<'_>, count: u64, depth: usize) -> Result<usize, DecodeError> {
    let mut total = 0;
    for _ in 0..count {
        let first = reader.u8()?;
        total += item(reader, first, depth)?;
    }
    Ok(total)
}

fn until_break(reader: &mut Reader<'_>, per_element: u64, depth: usize) -> Result<usize, DecodeError> {
    let mut total = 0;
    loop {
        let first = reader.u8()?;
        if first == BREAK {
            return Ok(total);
        }
        total += item(reader, first, depth)?;
        total += items(reader, per_element - 1, depth)?;
    }
}

/// The chunks of a string of indefinite length: definite strings of the same kind.
fn chunks(reader: &mut Reader<'_>, major: u8) -> Result<(), DecodeError> {
    loop {
        let first = reader.u8()?;
        if first == BREAK {
            return Ok(());
        }
        match head(reader, first)? {
            Head { major: same, argument: Some(length) } if same == major => skip(reader, length)?,
            _ => {
                return Err(DecodeError::Invalid("a CBOR string with a chunk of another kind"));
            }
        }
    }
}

fn skip(reader: &mut Reader<'_>, length: u64) -> Result<(), DecodeError> {
    let max = reader.remaining();
    let n = usize::try_from(length).map_err(|_| DecodeError::TooLong { length, max })?;
    reader.take(n).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_every_kind_pass_and_are_counted() {
        for (bytes, count) in [
            (&[0x00][..], 1),
            (&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1),
            (&[0x20], 1),
            (&[0x42, 1, 2], 1),
            (&[0x5f, 0x41, 1, 0x40, 0xff], 1),
            (&[0x61, b'v'], 1),
            (&[0x7f, 0x61, b'v', 0xff], 1),
            (&[0x82, 0x01, 0x80], 3),
            (&[0x9f, 0x01, 0x9f, 0xff, 0xff], 3),
            (&[0xa1, 0x00, 0xf6], 3),
            (&[0xbf, 0x00, 0xf5, 0xff], 3),
            (&[0xc1, 0x00], 2),
            (&[0xf9, 0x3c, 0x00], 1),
            (&[0xf8, 0xff], 1),
        ] {
            assert_eq!(one_item(bytes), Ok(count), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        let huge = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(one_item(&huge), Err(DecodeError::TooLong { length: u64::MAX, max: 0 }));
        assert_eq!(one_item(&[0xa2, 0, 0, 0]), Err(DecodeError::TooLong { length: 2, max: 3 }));
        assert_eq!(one_item(&[]), Err(DecodeError::Short { wanted: 1, left: 0 }));
        assert_eq!(one_item(&[0x43, 1]), Err(DecodeError::Short { wanted: 2, left: 1 }));
        assert_eq!(one_item(&[0x00, 0x00]), Err(DecodeError::Trailing(1)));
        for bytes in [&[0xff][..], &[0x1f], &[0x1c], &[0xdf], &[0x5f, 0x61, b'v', 0xff], &[0x82, 0xff, 0x00], &[0xbf, 0x00, 0xff]] {
            assert!(matches!(one_item(bytes), Err(DecodeError::Invalid(_))), "{bytes:02x?}");
        }
    }

    #[test]
    fn nesting_ends_at_its_bound() {
        let nested = |levels: usize| [vec![0x81; levels], vec![0x00]].concat();
        assert_eq!(one_item(&nested(CBOR_DEPTH_MAX)), Ok(CBOR_DEPTH_MAX + 1));
        assert_eq!(one_item(&nested(CBOR_DEPTH_MAX + 1)), Err(DecodeError::TooDeep { max: CBOR_DEPTH_MAX }));
        assert_eq!(one_item(&vec![0xbf; 1 << 20]), Err(DecodeError::TooDeep { max: CBOR_DEPTH_MAX }));
        assert_eq!(one_item(&vec![0xc1; 1 << 20]), Err(DecodeError::TooDeep { max: CBOR_DEPTH_MAX }));
    }
}
