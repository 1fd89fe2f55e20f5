//! Bounded compression: a tag byte, then the bytes stored (0) or as zstd (1), whichever is shorter.

use crate::error::DecodeError;

/// Level 3 of zstd: beyond it, columns of a few kilobytes gain a percent or two.
const LEVEL: i32 = 3;

/// Compresses; never more than one byte longer than the input.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![1];
    match zstd::bulk::compress(bytes, LEVEL) {
        Ok(packed) if packed.len() < bytes.len() => out.extend_from_slice(&packed),
        _ => {
            out[0] = 0;
            out.extend_from_slice(bytes);
        }
    }
    out
}

/// The bytes again, at most `max` of them.
///
/// # Errors
/// [`DecodeError::TooLong`] beyond `max`, [`DecodeError::Pack`] for damage.
pub fn decompress(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecodeError> {
    match bytes.split_first() {
        Some((0, stored)) if stored.len() <= max => Ok(stored.to_vec()),
        Some((0, stored)) => Err(DecodeError::TooLong { length: stored.len() as u64, max }),
        Some((1, packed)) => {
            let claimed = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
            let claimed = claimed.ok_or(DecodeError::Invalid("compressed size"))?;
            match usize::try_from(claimed) {
                Ok(n) if n <= max => zstd::bulk::decompress(packed, n).map_err(|e| DecodeError::Pack(e.to_string())),
                _ => Err(DecodeError::TooLong { length: claimed, max }),
            }
        }
        _ => Err(DecodeError::Invalid("packing tag")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(bytes: Vec<u8>) {
            prop_assert_eq!(decompress(&compress(&bytes), bytes.len()).unwrap(), bytes);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decompress(&bytes, 1_000);
        }
    }
}
