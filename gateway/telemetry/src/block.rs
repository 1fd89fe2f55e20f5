//! Entries ↔ columns of varints, compressed: what an interval carries.
//!
//! Layout, after unpacking: the number of entries, then one column after the other, each in the
//! entries' order (series, size, start, born). Columns hold no lengths; where one holds a value
//! for some entries only, those before it say for which.
//!
//! | column | value | of entries |
//! |---|---|---|
//! | series | varint, difference to the entry before | all |
//! | size, start | zigzag, ms, difference to the entry before | all |
//! | born, version − born | zigzag, difference to the entry before | all |
//! | count | varint, − 1 | all |
//! | shape | byte: scale 0–9, or 13, 14: doubles; + 16: one reading; + 32: sketch in full; + 64: with a digest | all |
//! | zeros | byte: low bits that are zero in all numbers of the next two rows, and not in them | doubles |
//! | first | zigzag, number's difference to that of the series' entry before | all |
//! | min, max, last | distance to first: varint, varint, zigzag | many readings |
//! | Σd | zigzag, d = m − first | at a scale, many readings |
//! | Σd² | varint, less ⌊(Σd)² / count⌋, which it cannot be below | at a scale, many readings |
//! | sum's zeros | byte | shape 13, many readings |
//! | sum | zigzag | the same |
//! | its low part | zigzag number, zigzag exponent | the same |
//! | mean, m2 | zigzag | the same |
//! | wide | scale, Σm, Σm² as a byte and 16 bytes each: integers too long for varints | shape 14, many readings |
//! | first time | zigzag, ms from the window's start | all |
//! | last time | zigzag, ms to the window's end | many readings |
//! | buckets | varint, how many, − 2 | many readings, min and max of different keys |
//! | gaps | varint, − 1, between the keys; the first (min's) and the last (max's) are known | the same |
//! | counts | varint, − 1, all but the last, which follows from the entry's | the same |
//! | full | varint, how many buckets; zigzag key difference and varint count of each | sketch in full |
//! | digest | eight bytes | with a digest, many readings |
//!
//! A number is a mantissa, an integer m with value = m / 10^scale; of doubles it is the double's
//! place among the doubles ([`double`]), where what is told of moments is said, too. A sketch is
//! in full where it does not begin at min's key, end at max's and count every reading: after a
//! collapse at its bound only.

use crate::entry::Entry;
use schemas::DecodeError;

mod double;
mod read;
mod write;

/// Moments are doubles.
const FLOAT: u8 = 13;
/// Moments are integers too long for the columns.
const WIDE: u8 = 14;
/// Added to a shape: the entry has one reading, and all follows from its time and value.
const SINGLE: u8 = 16;
/// Added to a shape: the sketch is written in full.
const FULL_SKETCH: u8 = 32;

/// Added to a shape: the entry has a digest. Who does not know that refuses the block, and so
/// sums nothing that redundant gateways both heard.
const DIGEST: u8 = 64;

/// The entry before, to which columns are differences.
#[derive(Default)]
struct Before {
    series: u32,
    size_ms: i64,
    start_ms: i64,
    born: u64,
    span: u64,
}

/// The first number of a series' entry before, to which the next one's is a difference.
#[derive(Default)]
struct Level {
    series: u32,
    /// None of doubles.
    scale: Option<u8>,
    number: i64,
}

impl Level {
    /// What is expected at a scale, or of doubles; zero at the begin of a series.
    fn expected(&self, series: u32, scale: Option<u8>) -> i64 {
        if series != self.series {
            return 0;
        }
        let factor = |finer: u8, coarser: u8| 10i64.pow(u32::from(finer - coarser));
        match (scale, self.scale) {
            (Some(scale), Some(before)) if scale >= before => self.number.wrapping_mul(factor(scale, before)),
            (Some(scale), Some(before)) => self.number / factor(before, scale),
            (None, None) => self.number,
            _ => 0,
        }
    }
}

/// Encodes entries, in any order; none is no bytes.
///
/// [`decode`] takes as many as 4,096 of any content back, and any number of usual ones up to
/// [`crate::limits::BLOCK_BYTES_MAX`].
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    write::block(entries)
}

/// Decodes at most `entries_max` entries, sorted by (series, size, start, born): bit for bit
/// what was encoded.
///
/// # Errors
/// For bytes that [`encode`] does not write, and for more than `entries_max` entries. Memory
/// stays within a small multiple of the smaller of `entries_max` × [`crate::limits::ENTRY_BYTES_MAX`]
/// and [`crate::limits::BLOCK_BYTES_MAX`].
pub fn decode(bytes: &[u8], entries_max: usize) -> Result<Vec<Entry>, DecodeError> {
    read::block(bytes, entries_max)
}

#[cfg(test)]
mod tests;
