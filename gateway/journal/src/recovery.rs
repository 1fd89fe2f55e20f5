//! What is found at start.
//!
//! A torn tail, the frame that was being written when the power went, is cut: it was never
//! acknowledged. Damage before the tail is something else: the segment is set aside, the whole
//! frames around the damage stay readable, and the hole is reported with what the owner's marks
//! were on both sides. A log always opens, unless another process has it, a newer program wrote
//! it, or the disk fails a sync.
//!
//! Only what lies beyond the second newest snapshot is read: nobody replays the rest at a
//! start. A number once given is never given again, whatever was lost.

use crate::Lsn;
use crate::disk::Disk;
use crate::error::{Error, Trouble, at, trouble};
use crate::format::{FRAME_HEADER, SEGMENT_HEADER};
use crate::limits::{QUARANTINE_FILES_MAX, RECORD_BYTES_MIN};
use crate::segment::{self, Frames, Segment};
use crate::snapshot::{self, Saved};
use std::io;
use std::path::{Path, PathBuf};

/// Where damaged files are kept, inside the log's dir.
const QUARANTINE: &str = "quarantine";

/// Records that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First of them.
    pub first: Lsn,
    /// Last of them.
    pub last: Lsn,
    /// The owner's marks as of the frame before.
    pub marks_before: [u64; 4],
    /// The owner's marks as of the end of the frame behind (so with what that frame's own
    /// records did to them); as before, where there is none.
    pub marks_after: [u64; 4],
}

/// What recovery met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of a torn tail that were cut, its frame's header and records.
    pub torn_bytes: u64,
    /// Records missing by damage, from and to, that no snapshot covers.
    pub gaps: Vec<(Lsn, Lsn)>,
    /// All holes met, with the marks around them.
    pub damage: Vec<Gap>,
    /// Damaged files kept aside.
    pub quarantined: Vec<PathBuf>,
}

/// Where writing goes on.
#[derive(Debug)]
pub(crate) struct Tail {
    pub path: PathBuf,
    pub id: u64,
    pub offset: u64,
    pub bytes: u64,
    /// The last frame, and where it is.
    last: Option<(u64, Vec<u8>)>,
    torn: bool,
}

#[derive(Debug)]
pub(crate) struct Found {
    pub report: RecoveryReport,
    pub segments: Vec<Segment>,
    pub snapshots: Vec<Saved>,
    pub end: Lsn,
    pub marks: [u64; 4],
    /// `None`: in a new segment.
    pub tail: Option<Tail>,
}

/// Finds out what a dir holds, and makes sure that it is durable.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Found, Error> {
    let segments = segment::list(disk, dir)?;
    let mut snapshots = snapshot::list(disk, dir)?;
    // All versions first: a newer program's log is left as it is.
    for segment in &segments {
        segment::check_version(disk, segment)?;
    }
    for saved in &snapshots {
        snapshot::check_version(disk, dir, saved.at)?;
    }
    let mut scan = Scan { disk, dir, report: RecoveryReport::default(), marks: [0; 4], next: 1, kept: vec![], tail: None };
    let mut whole = 0;
    snapshots.retain(|saved| {
        // The newest two are what a start builds on.
        let usable = whole >= 2 || snapshot::read(disk, dir, saved.at).is_some();
        if usable {
            whole += 1;
        } else {
            scan.set_aside(&snapshot::path_of(dir, saved.at), false);
        }
        usable
    });
    let newest = snapshots.first().map_or(0, |saved| saved.at);
    let verified_from = if snapshots.len() > 1 { snapshots[1].at } else { 0 };
    if !scan.all(&segments, newest, verified_from) {
        // The newest segments have no frame to tell the marks.
        (scan.kept, scan.report.damage) = (vec![], vec![]);
        scan.all(&segments, newest, 0);
    }
    scan.pass_over_quarantined();
    let Scan { mut report, marks, next, kept, mut tail, .. } = scan;
    let mut end = next - 1;
    if newest > end {
        tracing::warn!(end, newest, "the log ends before its newest snapshot, which covers what is missing");
        (end, tail) = (newest, None);
    }
    report.gaps = report.damage.iter().filter(|gap| gap.last > newest).map(|gap| (gap.first, gap.last)).collect();
    if let Some(tail) = &tail {
        if tail.torn {
            tracing::info!(
                bytes = report.torn_bytes,
                "a torn commit is cut off the log; unless the disk lost what it had synced, it was never acknowledged"
            );
        }
        tail.make_durable(disk)?;
    }
    match disk.sync_dir(dir) {
        Err(error) if trouble(&error) == Trouble::Final => return Err(at(dir)(error)),
        _ => {}
    }
    Ok(Found { report, segments: kept, snapshots, end, marks, tail })
}

impl Tail {
    /// A process that was killed leaves a last frame that is written and perhaps not synced;
    /// one whose sync failed, a frame that the cache shows and the disk never got. So the last
    /// frame is written again before anybody builds on it, and a torn one's header is wiped.
    fn make_durable(&self, disk: &dyn Disk) -> Result<(), Error> {
        let done = (|| {
            let file = disk.open(&self.path)?;
            if let Some((offset, bytes)) = &self.last {
                file.write_at(bytes, *offset)?;
            }
            if self.torn {
                file.write_at(&[0; FRAME_HEADER], self.offset)?;
            }
            Ok(file)
        })();
        match done {
            Ok(file) => file.sync().map_err(at(&self.path)),
            // Nothing is written to such a disk, so nothing can be half written.
            Err(error) if trouble(&error) != Trouble::Final => Ok(()),
            Err(error) => Err(at(&self.path)(error)),
        }
    }
}

/// The first number that no record of a lost segment can have had.
fn past(segment: &Segment) -> Lsn {
    segment.first.saturating_add(segment.bytes / RECORD_BYTES_MIN)
}

/// What a segment was found to be.
struct Read {
    frames: u64,
    damaged: bool,
    tail: Option<Tail>,
    torn_bytes: Option<u64>,
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    report: RecoveryReport,
    marks: [u64; 4],
    /// The record that comes next.
    next: Lsn,
    kept: Vec<Segment>,
    tail: Option<Tail>,
}

impl Scan<'_> {
    /// Whether the marks are known.
    fn all(&mut self, segments: &[Segment], newest: Lsn, verified_from: Lsn) -> bool {
        let (mut skipped, mut frames) = (false, 0);
        // What is not behind a snapshot must be there from the first record on.
        self.next = segments.first().map_or(newest + 1, |s| s.first.min(newest + 1));
        for (i, segment) in segments.iter().enumerate() {
            match segments.get(i + 1) {
                Some(behind) if behind.first <= verified_from + 1 => {
                    skipped = true;
                    self.kept.push(segment.clone());
                    self.next = behind.first;
                }
                behind => frames += self.one(segment.clone(), behind.is_none()),
            }
        }
        frames > 0 || !skipped
    }

    /// Reads a segment; gives how many frames it has.
    fn one(&mut self, segment: Segment, is_last: bool) -> u64 {
        let before = (self.marks, self.next, self.report.damage.len());
        let disk = self.disk;
        let read = match Frames::read(disk, &segment) {
            Ok(Some(frames)) if segment.first >= self.next => self.frames(frames, &segment, is_last),
            Ok(_) => Ok(None),
            Err(error) => Err(error),
        };
        let read = read.unwrap_or_else(|error| {
            tracing::error!(segment = %segment.path.display(), %error, "a segment cannot be read");
            (self.marks, self.next) = (before.0, before.1);
            self.report.damage.truncate(before.2);
            None
        });
        let Some(Read { frames, damaged, tail, torn_bytes }) = read else {
            self.set_aside(&segment.path, false);
            if is_last && segment.first >= self.next {
                // How many records it held is not known, and none of their numbers may come
                // again: the most that fit are counted as lost.
                self.lose(past(&segment), self.marks);
            }
            return 0;
        };
        if segment.first > before.1 {
            // What is missing is the end of the segment before, or a whole one.
            if let Some(before) = self.kept.last().map(|s| s.path.clone()) {
                self.set_aside(&before, true);
                self.kept.last_mut().into_iter().for_each(|s| s.damaged = true);
            }
        }
        if damaged {
            self.set_aside(&segment.path, true);
        }
        self.report.torn_bytes = torn_bytes.unwrap_or(self.report.torn_bytes);
        self.tail = tail;
        self.kept.push(Segment { damaged: segment.damaged || damaged, ..segment });
        frames
    }

    /// Goes through a segment's frames, and says what is lost between them.
    fn frames(&mut self, mut frames: Frames<'_>, segment: &Segment, is_last: bool) -> io::Result<Option<Read>> {
        let (mut count, mut last) = (0, None);
        let mut copy = Vec::new();
        while let Some(head) = frames.next() {
            if head.first > self.next {
                self.lose(head.first, head.marks);
            }
            (self.marks, self.next) = (head.marks, frames.next);
            if is_last {
                copy.clear();
                copy.extend_from_slice(frames.bytes(&head));
                last = Some(frames.offset - head.bytes);
            }
            count += 1;
        }
        if count == 0 && segment.first > self.next {
            self.lose(segment.first, self.marks);
        }
        let torn = if is_last && !frames.damaged { frames.torn() } else { None };
        // A segment's first frame takes the header with it.
        let again = last.map(|offset| match offset {
            SEGMENT_HEADER => (0, [frames.header(), &copy].concat()),
            _ => (offset as u64, copy),
        });
        if let Some(error) = frames.failed() {
            return Err(error);
        }
        let tail = (is_last && !frames.damaged).then(|| Tail {
            path: segment.path.clone(),
            id: frames.id,
            offset: frames.offset as u64,
            bytes: segment.bytes,
            last: again,
            torn: torn.is_some(),
        });
        Ok(Some(Read { frames: count, damaged: frames.damaged, tail, torn_bytes: torn.map(|bytes| bytes as u64) }))
    }

    /// A last segment that was set aside whole is no longer there to say that its numbers are
    /// taken, until a later one is written: the quarantine says it.
    fn pass_over_quarantined(&mut self) {
        let aside = segment::list(self.disk, &self.dir.join(QUARANTINE)).unwrap_or_default();
        for segment in aside.iter().filter(|s| s.first >= self.next).cloned().collect::<Vec<_>>() {
            self.lose(past(&segment), self.marks);
            self.tail = None;
        }
    }

    fn lose(&mut self, to: Lsn, marks_after: [u64; 4]) {
        if to > self.next {
            let gap = Gap { first: self.next, last: to - 1, marks_before: self.marks, marks_after };
            tracing::error!(?gap, "records are missing from the log");
            self.report.damage.push(gap);
            self.next = to;
        }
    }

    /// Keeps a damaged file in the quarantine: under a second name while the log still reads
    /// what is whole in it, else moved there. A disk that cannot do even that keeps it where
    /// it is: a log always opens.
    fn set_aside(&mut self, path: &Path, is_readable: bool) {
        let quarantine = self.dir.join(QUARANTINE);
        let Some(name) = path.file_name() else { return };
        let copy = quarantine.join(name);
        let there = is_readable && self.disk.size(&copy).is_ok();
        let done = self.disk.create_dir(&quarantine).and_then(|()| match (is_readable, there) {
            (true, true) => Ok(()),
            (true, false) => self.disk.link(path, &copy),
            (false, _) => self.disk.rename(path, &copy),
        });
        match done {
            Ok(()) if there => {}
            Ok(()) => {
                tracing::error!(file = %path.display(), kept = %copy.display(), "a file of the log is damaged")
            }
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "a damaged file of the log cannot be set aside");
                return;
            }
        }
        if !self.report.quarantined.contains(&copy) {
            self.report.quarantined.push(copy);
        }
        if let Err(error) = self.bound(&quarantine) {
            tracing::warn!(%error, "the quarantine cannot be tidied");
        }
    }

    fn bound(&self, quarantine: &Path) -> io::Result<()> {
        let mut names = self.disk.list(quarantine)?;
        names.sort();
        for name in names.iter().take(names.len().saturating_sub(QUARANTINE_FILES_MAX)) {
            self.disk.remove(&quarantine.join(name))?;
        }
        self.disk.sync_dir(quarantine)
    }
}
