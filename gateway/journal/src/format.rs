//! Layout of the log's files. All numbers are little-endian.
//!
//! Segment `NNNNNNNNNNNNNNNNNNNN.seg`, named by its first record:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `TGLOG\0\0\0` |
//! | 8 | 4 | format version |
//! | 12 | 8 | number of the first record |
//! | 20 | 4 | CRC-32C of the 20 bytes before |
//!
//! then frames, one per commit, back to back:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of all that follows in the frame |
//! | 4 | 4 | length of the records in bytes |
//! | 8 | 8 | number of the first record |
//! | 16 | 4 | how many records |
//! | 20 | 32 | four cumulative marks of the owner |
//! | 52 | … | records: varint length, kind, payload |
//!
//! What a recycled file held before is told from frames by the record number, which only
//! grows. Invariant: a frame begins with the record after the last of the frame before.

use crate::Lsn;

/// Version of this layout.
pub const VERSION: u32 = 1;
/// First bytes of a segment.
pub const MAGIC: [u8; 8] = *b"TGLOG\0\0\0";
/// Bytes of a segment's header.
pub const SEGMENT_HEADER: usize = 24;
/// Bytes of a frame's header.
pub const FRAME_HEADER: usize = 52;

/// A segment's header.
pub fn segment_header(first: Lsn) -> [u8; SEGMENT_HEADER] {
    let mut out = [0; SEGMENT_HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..20].copy_from_slice(&first.to_le_bytes());
    let crc = crc32c::crc32c(&out[..20]);
    out[20..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Version and first record of a segment; `None` for what is no header.
pub fn read_segment_header(bytes: &[u8]) -> Option<(u32, Lsn)> {
    let head = bytes.get(..SEGMENT_HEADER)?;
    let whole = head[..8] == MAGIC && u32_at(head, 20) == crc32c::crc32c(&head[..20]);
    whole.then(|| (u32_at(head, 8), u64_at(head, 12)))
}

/// One commit's records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Number of its first record.
    pub first: Lsn,
    /// How many records.
    pub count: u32,
    /// Cumulative marks of the owner as of its last record.
    pub marks: [u64; 4],
    /// Header and records, as on disk.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Number of its last record.
    pub fn last(&self) -> Lsn {
        self.first + u64::from(self.count) - 1
    }

    /// Its records: number, kind, payload.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, u8, &[u8])> {
        let mut rest = self.bytes.get(FRAME_HEADER..).unwrap_or_default();
        let mut lsn = self.first;
        std::iter::from_fn(move || {
            let (length, used) = varint(rest)?;
            let record = rest.get(used..used.checked_add(length)?)?;
            rest = &rest[used + length..];
            let (kind, payload) = record.split_first()?;
            lsn += 1;
            Some((lsn - 1, *kind, payload))
        })
    }

    /// Seals a batch whose first [`FRAME_HEADER`] bytes are still blank.
    pub(crate) fn seal(mut bytes: Vec<u8>, first: Lsn, count: u32, marks: [u64; 4]) -> Frame {
        assert!(bytes.len() > FRAME_HEADER && count > 0, "a frame has records");
        let length = (bytes.len() - FRAME_HEADER) as u32;
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8..16].copy_from_slice(&first.to_le_bytes());
        bytes[16..20].copy_from_slice(&count.to_le_bytes());
        for (i, mark) in marks.iter().enumerate() {
            bytes[20 + i * 8..28 + i * 8].copy_from_slice(&mark.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        Frame { first, count, marks, bytes }
    }

    /// The frame at the beginning of `bytes`, if there is a whole one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Frame> {
        let head = bytes.get(..FRAME_HEADER)?;
        let length = u32_at(head, 4) as usize;
        let whole = bytes.get(..FRAME_HEADER.checked_add(length)?)?;
        if length == 0 || crc32c::crc32c(&whole[4..]) != u32_at(head, 0) {
            return None;
        }
        let mut marks = [0; 4];
        for (i, mark) in marks.iter_mut().enumerate() {
            *mark = u64_at(head, 20 + i * 8);
        }
        let count = u32_at(head, 16);
        (count > 0).then(|| Frame { first: u64_at(head, 8), count, marks, bytes: whole.to_vec() })
    }
}

/// Appends a record; its length is patched in front once the payload is known.
pub(crate) fn put_record(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    out.push(kind);
    write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    let mut v = length;
    while v >= 0x80 {
        prefix.push(v as u8 | 0x80);
        v >>= 7;
    }
    prefix.push(v as u8);
    out.splice(at..=at, prefix);
}

fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut v = 0usize;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        v |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((v, i + 1));
        }
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut fixed = [0; 4];
    fixed.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(fixed)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut fixed = [0; 8];
    fixed.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(fixed)
}
