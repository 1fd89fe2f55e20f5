//! Reading the log beside a running process: no lock, nothing changed.

use crate::error::Error;
use crate::format::{FRAME_HEADER, Frame, SEGMENT_HEADER};
use crate::segment::{self, Segment};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A log to be read.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    segments: Vec<Segment>,
}

/// What reading met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Segments read.
    pub segments: u64,
    /// Whole frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// First and last record.
    pub range: Option<(u64, u64)>,
    /// Damage before the log's end: where, in words.
    pub damage: Vec<String>,
}

impl Reader {
    /// Lists the segments of a data dir.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let dir = data_dir.join("log");
        Ok(Self { segments: segment::list(&dir)?, dir })
    }

    /// The segments' dir.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Calls `each` with every whole frame in order, and says what else it met.
    ///
    /// # Errors
    /// When a file cannot be read, or a newer program wrote it.
    pub fn frames(&self, mut each: impl FnMut(&Frame) -> ControlFlow<()>) -> Result<Verified, Error> {
        let mut seen = Verified::default();
        for (i, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(i + 1).map(|s| s.first);
            seen.segments += 1;
            let Some(bytes) = segment::read(segment)? else {
                seen.damage.push(format!("{}: the header is damaged", segment.path.display()));
                continue;
            };
            let end = walk(&bytes, segment.first, |frame| {
                seen.frames += 1;
                seen.records += u64::from(frame.count);
                seen.bytes += frame.bytes.len() as u64;
                seen.range = Some((seen.range.map_or(frame.first, |r| r.0), frame.last()));
                each(frame)
            });
            let Some(end) = end else { return Ok(seen) };
            if let Some(next) = next.filter(|next| *next != end.next) {
                seen.damage.push(format!(
                    "{} at byte {}: records {} to {} are damaged",
                    segment.path.display(),
                    end.offset + SEGMENT_HEADER,
                    end.next,
                    next - 1
                ));
            }
        }
        Ok(seen)
    }
}

/// Where a segment's whole frames end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Behind the header, in bytes.
    pub offset: usize,
    /// The record that would come next.
    pub next: u64,
}

/// Calls `each` with the frames of a segment's bytes; `None` when it breaks off.
pub(crate) fn walk(bytes: &[u8], first: u64, mut each: impl FnMut(&Frame) -> ControlFlow<()>) -> Option<End> {
    let mut end = End { offset: 0, next: first };
    while let Some(frame) = bytes.get(end.offset..).and_then(Frame::parse).filter(|f| f.first == end.next) {
        end = End { offset: end.offset + frame.bytes.len(), next: frame.last() + 1 };
        if each(&frame).is_break() {
            return None;
        }
    }
    Some(end)
}

/// Whether a whole frame of a record from `next` on lies anywhere behind `from`: then what is
/// before it is damage, not a torn tail.
pub(crate) fn whole_frame_behind(bytes: &[u8], from: usize, next: u64) -> bool {
    let span = bytes.get(from..).unwrap_or_default();
    (1..span.len().saturating_sub(FRAME_HEADER)).any(|i| {
        let head = &span[i..];
        let first = u64::from_le_bytes(head[8..16].try_into().unwrap_or_default());
        // Cheap look first: a later record's number, not too far on.
        first > next && first - next < 1 << 32 && Frame::parse(head).is_some()
    })
}
