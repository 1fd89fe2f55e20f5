//! Reading the log beside a running process: no lock, nothing changed.

use crate::Lsn;
use crate::disk::{Disk, RealDisk};
use crate::error::{Error, at};
use crate::format::Frame;
use crate::limits::REREADS_MAX;
use crate::segment::{self, Frames, Segment};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A log to be read.
pub struct Reader {
    disk: Box<dyn Disk>,
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
    pub range: Option<(Lsn, Lsn)>,
    /// Damage before the log's end: where, in words.
    pub damage: Vec<String>,
}

impl Reader {
    /// Lists the segments of a data dir.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        Self::open_on(Box::new(RealDisk), data_dir)
    }

    /// The same on any disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open_on(disk: Box<dyn Disk>, data_dir: &Path) -> Result<Self, Error> {
        let dir = data_dir.join("log");
        let segments = segment::list(&*disk, &dir)?;
        Ok(Self { disk, dir, segments })
    }

    /// The segments' dir.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The segments, oldest first, as they were when it was opened.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Calls `each` with every whole frame in order, and says what else it met. Segments that
    /// are freed meanwhile are passed over.
    ///
    /// # Errors
    /// When a file cannot be read, or a newer program wrote it.
    pub fn frames(&self, mut each: impl FnMut(&Frame) -> ControlFlow<()>) -> Result<Verified, Error> {
        let mut seen = Verified::default();
        let mut next = None;
        for (i, found) in self.segments.iter().enumerate() {
            let Some(bytes) = self.read(found, i + 1 == self.segments.len())? else {
                // Freed, not damaged: what is kept begins behind it.
                next = None;
                continue;
            };
            let name = found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            seen.segments += 1;
            let Some(mut frames) = Frames::new(&bytes, found.first) else {
                seen.damage.push(format!("{name}: the header is damaged, and no frame is whole"));
                continue;
            };
            if frames.damaged {
                seen.damage.push(format!("{name}: the header is damaged"));
            }
            loop {
                let offset = frames.offset;
                let Some(head) = frames.next() else {
                    break;
                };
                let expected = next.unwrap_or(found.first);
                if head.first > expected {
                    let last = head.first - 1;
                    seen.damage.push(format!("{name} at byte {offset}: records {expected} to {last} are missing"));
                }
                next = Some(frames.next);
                seen.frames += 1;
                seen.records += u64::from(head.count);
                seen.bytes += head.bytes as u64;
                seen.range = Some((seen.range.map_or(head.first, |range| range.0), head.last()));
                if each(&frames.frame(&head)).is_break() {
                    return Ok(seen);
                }
            }
        }
        Ok(seen)
    }

    /// A segment's bytes; `None` when it was freed since it was listed.
    fn read(&self, found: &Segment, is_last: bool) -> Result<Option<Vec<u8>>, Error> {
        for attempt in 0.. {
            let bytes = match segment::check_version(&*self.disk, found)
                .and_then(|()| segment::read(&*self.disk, found).map_err(at(&found.path)))
            {
                Ok(bytes) => bytes,
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let looks_damaged = Frames::new(&bytes, found.first).is_none_or(|mut frames| {
                while frames.next().is_some() {}
                frames.damaged
            });
            if !looks_damaged || attempt == REREADS_MAX {
                return Ok(Some(bytes));
            }
            // Recycled between being listed and being read; or a commit was under way while
            // the bytes before it were read already, and is behind them now.
            if self.disk.size(&found.path).is_err() {
                return Ok(None);
            }
            if !is_last {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
