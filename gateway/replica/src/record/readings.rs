//! A message's readings, as bytes of a record.
//!
//! A reading takes some six bytes: its series with the number of its value's decimals, its event
//! time relative to the logged clock, and the value as an integer of these decimals.

use super::codec::narrow;
use schemas::DecodeError;
use schemas::wire::{self, Reader};

/// A message's readings may leave the site; without this flag they stay (`local`).
pub const FLAG_LEAVES: u64 = 1;
/// The message carries an MQTT packet id: without [`FLAG_TIMED`] one of QoS 2, which the session
/// has now received.
pub const FLAG_PACKET_ID: u64 = 2;
/// A message whose readings carry a time of their own, so that a redelivery of them can be told:
/// the session remembers them, with the packet id.
pub const FLAG_TIMED: u64 = 4;
/// Beside [`FLAG_TIMED`]: the message came at QoS 2, the session has received its packet id.
pub const FLAG_RECEIVED: u64 = 8;
/// The wall clock was not set when the message came: what has no time of its own, or one that the
/// clock cannot judge, waits for its date.
pub const FLAG_UNDATED: u64 = 16;

/// Times more than [`FUTURE_MS_MAX`](crate::limits::FUTURE_MS_MAX) ahead of the clock are as the sensor
/// sent them, so that it is known when it sends them again; the readings count at their arrival.
pub const FLAG_AHEAD: u64 = 32;
/// Beside [`FLAG_UNDATED`]: the times are relative to the arrival, and move with its date.
pub const FLAG_RELATIVE: u64 = 64;

/// The kind byte of [`Record::Message`], which the hot path writes without building a record.
pub const KIND_MESSAGE: u8 = 5;

/// Writes all of a message's payload but its readings; [`put_reading`] appends those.
pub fn put_message_head(out: &mut Vec<u8>, flags: u64, session: u64, packet_id: u16) {
    wire::put_varint(out, flags);
    wire::put_varint(out, session);
    if flags & FLAG_PACKET_ID != 0 {
        wire::put_varint(out, u64::from(packet_id));
    }
}

pub(super) const SCALES: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Tag of a value that is no short decimal: eight bytes follow.
const RAW: u64 = 15;
/// A decimal longer than this is no shorter than its eight bytes.
const MANTISSA_MAX: f64 = (1u64 << 42) as f64;

/// Appends one reading: series and scale, event time relative to the logged clock, value.
///
/// A value m / 10^scale is kept as that decimal when it reads back bit for bit; most
/// sensors' values take two or three bytes so.
pub fn put_reading(out: &mut Vec<u8>, series: u32, time_ms: i64, clock_ms: i64, value: f64) {
    for (scale, factor) in SCALES.iter().enumerate() {
        // Adding zero turns -0.0, which no integer tells from 0, into what does not read back.
        let m = (value * factor).round_ties_even() + 0.0;
        if m.is_nan() || m.abs() >= MANTISSA_MAX {
            break;
        }
        if (m / factor).to_bits() == value.to_bits() {
            wire::put_varint(out, u64::from(series) << 4 | scale as u64);
            wire::put_zigzag(out, time_ms.wrapping_sub(clock_ms));
            wire::put_zigzag(out, m as i64);
            return;
        }
    }
    wire::put_varint(out, u64::from(series) << 4 | RAW);
    wire::put_zigzag(out, time_ms.wrapping_sub(clock_ms));
    wire::put_f64(out, value);
}

/// The encoded readings of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readings<'a> {
    /// As [`put_reading`] writes them, one after the other.
    pub bytes: &'a [u8],
}

impl<'a> Readings<'a> {
    /// Calls `each` with series, event time in ms and value, in order; gives their number.
    ///
    /// # Errors
    /// The decoder's, at the first reading that does not decode.
    #[inline]
    pub fn for_each(&self, clock_ms: i64, mut each: impl FnMut(u32, i64, f64)) -> Result<u64, DecodeError> {
        let mut r = Reader::new(self.bytes);
        let mut count = 0;
        while !r.is_empty() {
            let head = r.varint()?;
            let time = clock_ms.wrapping_add(r.zigzag()?);
            let value = match head & 15 {
                scale @ 0..=9 => r.zigzag()? as f64 / SCALES[scale as usize],
                RAW => r.f64()?,
                _ => return Err(DecodeError::Invalid("value scale")),
            };
            each(narrow(head >> 4)?, time, value);
            count += 1;
        }
        Ok(count)
    }
}
