//! Sealed entries as pages: what never changes any more is kept as short as it is sent.
//!
//! Layout of a page: length of the block (varint), the block of its entries, then the steps,
//! packed: how many (varint), and for each the differences to the one before: birth, readings
//! (varints), clock (zigzag, ms).

use super::{Before, EntryName, Sealed};
use schemas::wire::{self, Reader};
use schemas::{DecodeError, pack};
use serde::{Deserialize, Serialize};
use telemetry::block;
use telemetry::entry::Entry;

/// Births between two steps of a page, in entries: an interval may end before each step only,
/// because where the log stood there takes room that does not compress.
const STEP_ENTRIES: usize = 128;

/// Steps of a page, uncompressed bytes of each at most.
const STEP_BYTES_MAX: usize = 32;

/// What is known of a page without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its number, from 1 over the life of the log.
    pub id: u64,
    /// Entries in it.
    pub entries: u32,
    /// Bytes that it takes.
    pub bytes: u32,
    /// Readings of its entries.
    pub readings: u64,
    /// Lowest and highest birth.
    pub born: (u64, u64),
    /// Lowest and highest version.
    pub version: (u64, u64),
}

/// A page that was read.
#[derive(Debug, Default)]
pub struct Content {
    /// Its entries, by series, size, start and birth.
    pub entries: Vec<Entry>,
    /// Some births, the lowest among them, with where the log stood before each.
    pub steps: Vec<(u64, Before)>,
}

/// An entry as blocks carry it.
pub fn entry(name: EntryName, sealed: Sealed) -> Entry {
    let EntryName { born, series, size_ms, start_ms } = name;
    Entry { series, size_ms, start_ms, born, version: sealed.version, aggregate: sealed.aggregate }
}

/// An entry's name within its boot.
pub fn name_of(e: &Entry) -> EntryName {
    EntryName { born: e.born, series: e.series, size_ms: e.size_ms, start_ms: e.start_ms }
}

/// Makes a page of entries in order of their births; at least one.
pub fn encode(id: u64, sealed: Vec<(EntryName, Sealed)>) -> (Page, Vec<u8>) {
    let mut page = Page { id, entries: sealed.len() as u32, bytes: 0, readings: 0, born: (u64::MAX, 0), version: (u64::MAX, 0) };
    let mut steps = Vec::new();
    let (mut count, mut last, mut next) = (0u64, (0, Before::default()), 0);
    for (i, (name, sealed)) in sealed.iter().enumerate() {
        page.readings += sealed.aggregate.count();
        page.born = (page.born.0.min(name.born), page.born.1.max(name.born));
        page.version = (page.version.0.min(sealed.version), page.version.1.max(sealed.version));
        if i >= next && (count == 0 || name.born != last.0) {
            let (born, before) = last;
            wire::put_varint(&mut steps, name.born - born);
            wire::put_varint(&mut steps, sealed.before.readings.wrapping_sub(before.readings));
            wire::put_zigzag(&mut steps, sealed.before.clock_ms.wrapping_sub(before.clock_ms));
            (count, last, next) = (count + 1, (name.born, sealed.before), i + STEP_ENTRIES);
        }
    }
    let entries: Vec<Entry> = sealed.into_iter().map(|(name, sealed)| entry(name, sealed)).collect();
    let block = block::encode(&entries);
    let mut plain = Vec::with_capacity(steps.len() + 4);
    wire::put_varint(&mut plain, count);
    plain.extend_from_slice(&steps);
    let mut out = Vec::with_capacity(block.len() + plain.len() + 8);
    wire::put_bytes(&mut out, &block);
    out.extend_from_slice(&pack::compress(&plain));
    page.bytes = out.len() as u32;
    (page, out)
}

/// The content of a page, as [`encode`] wrote it.
///
/// # Errors
/// For bytes that it did not write, and for those of another page.
pub fn decode(page: &Page, bytes: &[u8]) -> Result<Content, DecodeError> {
    let mut r = Reader::new(bytes);
    let entries = block::decode(r.bytes(bytes.len())?, page.entries as usize)?;
    if entries.len() != page.entries as usize {
        return Err(DecodeError::Invalid("a page of another length"));
    }
    let plain = pack::decompress(r.rest(), STEP_BYTES_MAX * (entries.len() + 1))?;
    let mut r = Reader::new(&plain);
    let count = r.varint()?;
    let mut steps = Vec::new();
    let mut last = (0u64, Before::default());
    for _ in 0..count.min(u64::from(page.entries)) {
        last.0 = last.0.wrapping_add(r.varint()?);
        last.1.readings = last.1.readings.wrapping_add(r.varint()?);
        last.1.clock_ms = last.1.clock_ms.wrapping_add(r.zigzag()?);
        steps.push(last);
    }
    Ok(Content { entries, steps })
}
