//! Ordinary messages that cross the link, as bytes of a record.

use crate::limits::{BLOB_BYTES_MAX, TEXT_BYTES_MAX};
use schemas::DecodeError;
use schemas::wire::{self, Reader};

/// An ordinary message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// 0 to 2.
    pub qos: u8,
    /// The retain flag.
    pub retain: bool,
}

impl<'a> Plain<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.qos << 1 | u8::from(self.retain));
        wire::put_str(out, self.topic);
        wire::put_bytes(out, self.payload);
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let flags = r.u8()?;
        if flags > 5 {
            return Err(DecodeError::Invalid("message flags"));
        }
        Ok(Self { topic: r.str(TEXT_BYTES_MAX)?, payload: r.bytes(BLOB_BYTES_MAX)?, qos: flags >> 1, retain: flags & 1 == 1 })
    }
}
