//! Integers, strings and binary fields of one packet (MQTT 5, 1.5).

use crate::error::Violation;

/// What is left of a packet's body.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Begins at a body's first byte.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// What is left, in place.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Violation::malformed("a packet ends inside a field"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Violation::malformed("a packet ends inside a field"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// The packet ends here.
    pub fn u8(&mut self) -> Result<u8, Violation> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, big endian.
    ///
    /// # Errors
    /// The packet ends here.
    pub fn u16(&mut self) -> Result<u16, Violation> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes, big endian.
    ///
    /// # Errors
    /// The packet ends here.
    pub fn u32(&mut self) -> Result<u32, Violation> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A packet identifier, which is never 0.
    ///
    /// # Errors
    /// It is 0, or the packet ends here.
    pub fn packet_id(&mut self) -> Result<u16, Violation> {
        match self.u16()? {
            0 => Err(Violation::protocol("a packet identifier is 0")),
            id => Ok(id),
        }
    }

    /// A variable byte integer, at most 268,435,455.
    ///
    /// # Errors
    /// More than four bytes, or the packet ends here.
    pub fn varint(&mut self) -> Result<u32, Violation> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Violation::malformed("a variable byte integer has more than four bytes"))
    }

    /// Binary data with a two-byte length.
    ///
    /// # Errors
    /// It is longer than the packet.
    pub fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A string with a two-byte length: UTF-8 without NUL.
    ///
    /// # Errors
    /// It is longer than the packet, or no such text.
    pub fn str(&mut self) -> Result<&'a str, Violation> {
        let text = self.name()?;
        if text.as_bytes().contains(&0) {
            return Err(Violation::malformed("a string contains NUL"));
        }
        Ok(text)
    }

    /// A string whose characters the caller checks.
    ///
    /// # Errors
    /// It is longer than the packet, or not UTF-8.
    pub fn name(&mut self) -> Result<&'a str, Violation> {
        std::str::from_utf8(self.binary()?).map_err(|_| Violation::malformed("a string is not UTF-8"))
    }
}
