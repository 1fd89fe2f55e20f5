//! Layout of the log's files. All numbers are little-endian.
//!
//! Segment `NNNNNNNNNNNNNNNNNNNN.seg`, named by its first record:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `TGLOG\0\0\0` |
//! | 8 | 4 | format version |
//! | 12 | 8 | id: drawn at random whenever a file becomes a segment |
//! | 20 | 8 | number of the first record |
//! | 28 | 4 | CRC-32C of the 28 bytes before |
//!
//! then frames, one per commit, back to back:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `TGFR` |
//! | 4 | 4 | CRC-32C of all that follows in the frame |
//! | 8 | 4 | length of the records in bytes |
//! | 12 | 4 | how many records |
//! | 16 | 8 | the segment's id |
//! | 24 | 8 | number of the first record |
//! | 32 | 32 | four cumulative marks of the owner, as of the frame's last record |
//! | 64 | … | records: varint length of kind and payload, kind, payload |
//!
//! Invariants:
//! - a segment's header is synced before the file gets its name, so a bad header is damage;
//! - a frame begins with the record after the last of the frame before;
//! - a frame is synced before the next is written, so at most the last can be torn;
//! - the id tells frames from what a recycled file held before, and from a payload that a
//!   stranger made to look like one: it is known to nobody outside.

use crate::Lsn;
use crate::limits::FRAME_BYTES_MAX;

/// Version of this layout.
pub const VERSION: u32 = 1;
/// First bytes of a segment.
pub const MAGIC: [u8; 8] = *b"TGLOG\0\0\0";
/// First bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"TGFR";
/// Bytes of a segment's header.
pub const SEGMENT_HEADER: usize = 32;
/// Bytes of a frame's header.
pub const FRAME_HEADER: usize = 64;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Layout of what follows.
    pub version: u32,
    /// Repeated in each of its frames.
    pub id: u64,
    /// Number of its first record.
    pub first: Lsn,
}

impl SegmentHeader {
    /// As on disk.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[12..20].copy_from_slice(&self.id.to_le_bytes());
        out[20..28].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32c::crc32c(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// From the beginning of a file; `None` for what is no whole header.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..SEGMENT_HEADER)?;
        let whole = head[..8] == MAGIC && u32_at(head, 28) == crc32c::crc32c(&head[..28]);
        whole.then(|| Self { version: u32_at(head, 8), id: u64_at(head, 12), first: u64_at(head, 20) })
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub id: u64,
    pub first: Lsn,
    pub count: u32,
    pub marks: [u64; 4],
    /// Bytes of the whole frame.
    pub bytes: usize,
}

impl Head {
    /// What the beginning of `bytes` says, its checksum not looked at.
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..FRAME_HEADER)?;
        if head[..4] != FRAME_MAGIC {
            return None;
        }
        let (length, count) = (u32_at(head, 8) as usize, u32_at(head, 12));
        let (id, first) = (u64_at(head, 16), u64_at(head, 24));
        if length == 0 || count == 0 || first == 0 || first.checked_add(u64::from(count)).is_none() {
            return None;
        }
        let mut marks = [0; 4];
        for (i, mark) in marks.iter_mut().enumerate() {
            *mark = u64_at(head, 32 + i * 8);
        }
        Some(Self { id, first, count, marks, bytes: FRAME_HEADER.checked_add(length)? })
    }

    /// Whether the frame that [`Head::peek`] saw is whole.
    pub fn is_whole(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.bytes).is_some_and(|whole| crc32c::crc32c(&whole[8..]) == u32_at(whole, 4))
    }

    /// Whether a frame of segment `id` that begins with `next` was begun here, whole or not.
    pub fn begun(bytes: &[u8], id: u64, next: Lsn) -> bool {
        bytes.get(..FRAME_HEADER).is_some_and(|head| head[..4] == FRAME_MAGIC && u64_at(head, 16) == id && u64_at(head, 24) == next)
    }

    pub fn last(&self) -> Lsn {
        self.first + u64::from(self.count) - 1
    }
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
        (self.first + u64::from(self.count)).saturating_sub(1)
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

    pub(crate) fn of(head: &Head, bytes: &[u8]) -> Self {
        Self { first: head.first, count: head.count, marks: head.marks, bytes: bytes.to_vec() }
    }

    /// Makes a frame of a batch whose first [`FRAME_HEADER`] bytes are still blank. The segment
    /// it goes to, and so its checksum, is only known when it is written: see [`Frame::seal`].
    pub(crate) fn of_batch(mut bytes: Vec<u8>, first: Lsn, count: u32, marks: [u64; 4]) -> Self {
        let length = bytes.len().saturating_sub(FRAME_HEADER);
        assert!(length > 0 && length <= FRAME_BYTES_MAX && count > 0, "a frame has records, of bounded size");
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[8..12].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&count.to_le_bytes());
        bytes[24..32].copy_from_slice(&first.to_le_bytes());
        for (i, mark) in marks.iter().enumerate() {
            bytes[32 + i * 8..40 + i * 8].copy_from_slice(&mark.to_le_bytes());
        }
        Self { first, count, marks, bytes }
    }

    /// Makes it a frame of segment `id`.
    pub(crate) fn seal(&mut self, id: u64) {
        self.bytes[16..24].copy_from_slice(&id.to_le_bytes());
        let crc = crc32c::crc32c(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
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
    let (mut prefix, mut used, mut v) = ([0u8; 10], 0, length);
    while v >= 0x80 {
        prefix[used] = v as u8 | 0x80;
        used += 1;
        v >>= 7;
    }
    prefix[used] = v as u8;
    out.splice(at..=at, prefix[..=used].iter().copied());
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

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut fixed = [0; 4];
    fixed.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(fixed)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut fixed = [0; 8];
    fixed.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(first: Lsn, payloads: &[Vec<u8>]) -> Frame {
        let mut bytes = vec![0; FRAME_HEADER];
        for payload in payloads {
            put_record(&mut bytes, 3, |out| out.extend_from_slice(payload));
        }
        let mut frame = Frame::of_batch(bytes, first, payloads.len() as u32, [1, 2, 3, u64::MAX]);
        frame.seal(99);
        frame
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_went_in(
            first in 1u64..u64::MAX / 2,
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
        ) {
            let made = frame(first, &payloads);
            let head = parse(&made.bytes).unwrap();
            prop_assert_eq!(&Frame::of(&head, &made.bytes), &made);
            prop_assert_eq!((head.id, head.last()), (99, made.last()));
            let back: Vec<_> = made.records().map(|(lsn, kind, p)| (lsn, kind, p.to_vec())).collect();
            let sent: Vec<_> =
                payloads.into_iter().enumerate().map(|(i, p)| (first + i as u64, 3, p)).collect();
            prop_assert_eq!(back, sent);
        }

        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(parse(&bytes), None);
            prop_assert_eq!(SegmentHeader::decode(&bytes), None);
            let loose = Frame { first: 1, count: 1, marks: [0; 4], bytes };
            prop_assert!(loose.records().count() <= 200);
        }

        #[test]
        fn one_flipped_bit_is_found(at in 0usize..100 * 8) {
            let mut made = frame(5, &[vec![7; 34]]).bytes;
            prop_assert_eq!(made.len(), 100);
            made[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(parse(&made), None);
        }
    }

    fn parse(bytes: &[u8]) -> Option<Head> {
        Head::peek(bytes).filter(|head| head.is_whole(bytes))
    }

    #[test]
    fn a_segment_header_is_what_the_table_says() {
        let header = SegmentHeader { version: VERSION, id: 0x1122, first: 7 };
        let bytes = header.encode();
        assert_eq!(&bytes[..12], b"TGLOG\0\0\0\x01\0\0\0");
        assert_eq!((u64_at(&bytes, 12), u64_at(&bytes, 20)), (0x1122, 7));
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
    }
}
