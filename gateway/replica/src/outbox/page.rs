//! Sealed entries as pages: what never changes any more is kept as short as it is sent.
//!
//! Layout of a page: length of the block (varint), the block of its entries, then the steps,
//! packed: how many (varint), and for each the differences to the one before: birth, readings
//! (varints), clock (zigzag, ms); then the running hash of each (8 bytes).

use super::shelf::Paged;
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
const STEP_BYTES_MAX: usize = 40;

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

impl Page {
    fn blank(id: u64, entries: usize) -> Self {
        Self { id, entries: entries as u32, bytes: 0, readings: 0, born: (u64::MAX, 0), version: (u64::MAX, 0) }
    }

    /// With one of its entries.
    fn with(mut self, born: u64, version: u64, readings: u64) -> Self {
        self.readings = self.readings.saturating_add(readings);
        self.born = (self.born.0.min(born), self.born.1.max(born));
        self.version = (self.version.0.min(version), self.version.1.max(version));
        self
    }
}

impl Paged for Page {
    fn id(&self) -> u64 {
        self.id
    }
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
    let mut page = Page::blank(id, sealed.len());
    let (mut steps, mut next): (Vec<(u64, Before)>, usize) = (Vec::new(), 0);
    for (i, (name, sealed)) in sealed.iter().enumerate() {
        page = page.with(name.born, sealed.version, sealed.aggregate.count());
        if i >= next && steps.last().is_none_or(|(born, _)| *born != name.born) {
            steps.push((name.born, sealed.before));
            next = i + STEP_ENTRIES;
        }
    }
    let entries: Vec<Entry> = sealed.into_iter().map(|(name, sealed)| entry(name, sealed)).collect();
    let block = block::encode(&entries);
    let mut plain = Vec::new();
    put_steps(&mut plain, steps.into_iter());
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
    let found = entries.iter().fold(Page { bytes: bytes.len() as u32, ..Page::blank(page.id, entries.len()) }, |found, e| {
        found.with(e.born, e.version, e.aggregate.count())
    });
    if found != *page {
        return Err(DecodeError::Invalid("another page"));
    }
    let plain = pack::decompress(r.rest(), STEP_BYTES_MAX * (entries.len() + 1))?;
    let steps = get_steps(&mut Reader::new(&plain), entries.len())?;
    Ok(Content { entries, steps })
}

/// Appends steps, in order of birth.
pub(super) fn put_steps(out: &mut Vec<u8>, steps: impl Iterator<Item = (u64, Before)>) {
    let (mut bytes, mut hashes, mut count, mut last) = (Vec::new(), Vec::new(), 0, (0u64, Before::default()));
    for (born, before) in steps {
        wire::put_varint(&mut bytes, born - last.0);
        wire::put_varint(&mut bytes, before.readings.wrapping_sub(last.1.readings));
        wire::put_zigzag(&mut bytes, before.clock_ms.wrapping_sub(last.1.clock_ms));
        hashes.push(before.hash);
        (count, last) = (count + 1, (born, before));
    }
    wire::put_varint(out, count);
    out.extend_from_slice(&bytes);
    hashes.iter().for_each(|hash| wire::put_u64(out, *hash));
}

/// Reads at most `max` steps.
pub(super) fn get_steps(r: &mut Reader<'_>, max: usize) -> Result<Vec<(u64, Before)>, DecodeError> {
    let count = r.varint()?;
    if count > max as u64 {
        return Err(DecodeError::Invalid("more steps than entries"));
    }
    let mut steps = Vec::with_capacity(count as usize);
    let mut last = (0u64, Before::default());
    for _ in 0..count {
        last.0 = last.0.wrapping_add(r.varint()?);
        last.1.readings = last.1.readings.wrapping_add(r.varint()?);
        last.1.clock_ms = last.1.clock_ms.wrapping_add(r.zigzag()?);
        steps.push(last);
    }
    // The first programs kept none.
    if !r.is_empty() {
        for (_, before) in &mut steps {
            before.hash = r.u64()?;
        }
    }
    Ok(steps)
}
