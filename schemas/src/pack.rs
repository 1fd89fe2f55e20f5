//! Bounded compression: a tag byte, then the bytes stored (0) or as one zstd frame (1),
//! whichever is shorter.

use crate::error::DecodeError;
use std::cell::RefCell;

/// The tag of bytes as they are.
const STORED: u8 = 0;

/// The tag of a zstd frame that says its content's size.
const ZSTD: u8 = 1;

/// Level 3 of zstd: beyond it, columns of a few kilobytes gain a percent or two.
const LEVEL: i32 = 3;

thread_local! {
    /// zstd's working memory: to make and clear it anew takes longer than to compress a kilobyte.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

fn zstd(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(bytes),
        None => kept.insert(zstd::bulk::Compressor::new(LEVEL)?).compress(bytes),
    })
}

/// Compresses; the result is never more than one byte longer than the input.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    match zstd(bytes) {
        Ok(packed) if packed.len() < bytes.len() => tagged(ZSTD, &packed),
        _ => tagged(STORED, bytes),
    }
}

fn tagged(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + bytes.len());
    out.push(tag);
    out.extend_from_slice(bytes);
    out
}

/// The bytes again, at most `max` of them. The size that the frame claims is compared with
/// `max` before room is made for it.
///
/// # Errors
/// [`DecodeError::TooLong`] beyond `max`, [`DecodeError::Pack`] for damage,
/// [`DecodeError::Invalid`] for an unknown tag or a frame without its size.
pub fn decompress(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecodeError> {
    let (tag, body) = bytes.split_first().ok_or(DecodeError::Short { wanted: 1, left: 0 })?;
    match *tag {
        STORED if body.len() <= max => Ok(body.to_vec()),
        STORED => Err(DecodeError::TooLong { length: body.len() as u64, max }),
        ZSTD => unpack(body, max),
        _ => Err(DecodeError::Invalid("a packing tag")),
    }
}

fn unpack(frame: &[u8], max: usize) -> Result<Vec<u8>, DecodeError> {
    let claimed = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
    let claimed = claimed.ok_or(DecodeError::Invalid("a compressed frame that does not say its size"))?;
    match usize::try_from(claimed) {
        Ok(size) if size <= max => zstd::bulk::decompress(frame, size).map_err(|e| DecodeError::Pack(e.to_string())),
        _ => Err(DecodeError::TooLong { length: claimed, max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shorter_way_is_taken() {
        assert_eq!(compress(b""), [STORED]);
        assert_eq!(compress(b"ab"), [STORED, b'a', b'b']);
        let packed = compress(&[7; 10_000]);
        assert!(packed[0] == ZSTD && packed.len() < 50, "{} bytes", packed.len());
    }

    #[test]
    fn what_claims_more_than_the_bound_is_refused_before_it_is_unpacked() {
        let packed = compress(&[7; 10_000]);
        assert_eq!(decompress(&packed, 9_999), Err(DecodeError::TooLong { length: 10_000, max: 9_999 }));
        assert_eq!(decompress(&[STORED, 1, 2], 1), Err(DecodeError::TooLong { length: 2, max: 1 }));
        assert_eq!(decompress(&[], 1), Err(DecodeError::Short { wanted: 1, left: 0 }));
        assert_eq!(decompress(&[2, 0], 1), Err(DecodeError::Invalid("a packing tag")));
    }

    proptest! {
        #[test]
        fn reads_back(bytes: Vec<u8>, repeat in 1usize..20) {
            let bytes = bytes.repeat(repeat);
            let packed = compress(&bytes);
            prop_assert!(packed.len() <= bytes.len() + 1);
            prop_assert_eq!(decompress(&packed, bytes.len()).unwrap(), bytes);
        }

        #[test]
        fn damage_is_an_error_or_within_the_bound(text in "[ab]{200,400}", at: prop::sample::Index, flip in 1u8..) {
            let mut packed = compress(text.as_bytes());
            let at = at.index(packed.len());
            packed[at] ^= flip;
            if let Ok(bytes) = decompress(&packed, 500) {
                prop_assert!(bytes.len() <= 500);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(tag in 0u8..3, mut bytes: Vec<u8>) {
            bytes.insert(0, tag);
            let _ = decompress(&bytes, 1_000);
        }
    }
}
