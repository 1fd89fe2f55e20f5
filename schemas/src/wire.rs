//! Varints, strings, and a reader that cannot overrun.
//!
//! Varints are LEB128, at most ten bytes; signed values are zigzag varints (as in
//! Protocol Buffers); fixed-width values are little-endian.

use crate::error::DecodeError;

/// Appends an unsigned varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Appends a signed varint.
#[inline]
pub fn put_zigzag(out: &mut Vec<u8>, v: i64) {
    put_varint(out, ((v << 1) ^ (v >> 63)) as u64);
}

/// Appends bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends text behind its length in bytes.
pub fn put_str(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// The first bytes of a text, whole characters only: what is written must be read again.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=text.len().min(bytes_max)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Appends a double, eight bytes.
pub fn put_f64(out: &mut Vec<u8>, v: f64) {
    put_u64(out, v.to_bits());
}

/// Appends a 64-bit number, eight bytes.
pub fn put_u64(out: &mut Vec<u8>, v: u64) {
    out.extend_from_slice(&v.to_le_bytes());
}

/// Reads what the writers above wrote; every read says what is wrong instead of overrunning.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(DecodeError::Short { wanted: n - self.rest.len(), left: self.rest.len() }),
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&first, tail) = self.rest.split_first().ok_or(DecodeError::Short { wanted: 1, left: 0 })?;
        self.rest = tail;
        Ok(first)
    }

    /// An unsigned varint.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Varint`].
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut v = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Varint);
            }
            v |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(v);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A signed varint.
    ///
    /// # Errors
    /// As [`Reader::varint`].
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        let v = self.varint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// A double.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.u64().map(f64::from_bits)
    }

    /// A 64-bit number of fixed width.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let mut fixed = [0; 8];
        fixed.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(fixed))
    }

    /// Bytes behind their length, at most `max`.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`], [`DecodeError::Short`].
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(n) if n <= max => self.take(n),
            _ => Err(DecodeError::TooLong { length, max }),
        }
    }

    /// Text behind its length, at most `max` bytes.
    ///
    /// # Errors
    /// As [`Reader::bytes`], and [`DecodeError::Utf8`].
    pub fn str(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_| DecodeError::Utf8)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(a: u64, b: i64, c: u64, text in ".{0,40}") {
            let mut out = Vec::new();
            put_varint(&mut out, a);
            put_zigzag(&mut out, b);
            put_u64(&mut out, c);
            put_str(&mut out, &text);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.varint().unwrap(), a);
            prop_assert_eq!(r.zigzag().unwrap(), b);
            prop_assert_eq!(r.u64().unwrap(), c);
            prop_assert_eq!(r.str(200).unwrap(), text);
            r.finish().unwrap();
        }

        #[test]
        fn arbitrary_bytes_never_overrun(bytes: Vec<u8>) {
            let mut r = Reader::new(&bytes);
            while r.varint().is_ok() {}
            let _ = Reader::new(&bytes).str(10);
        }
    }
}
