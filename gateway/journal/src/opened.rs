//! A log that is found and locked: read it back, then start it.

use crate::Lsn;
use crate::append::{Batch, Counters, Horizon, Journal, Owner, RunState, Shared};
use crate::disk::{Disk, RealDisk};
use crate::error::{Error, at};
use crate::format::Frame;
use crate::history::NOTHING;
use crate::keeper;
use crate::limits::{QUEUE_BYTES_MAX, SEGMENT_BYTES, SEGMENT_BYTES_MIN, SEGMENTS_MIN};
use crate::pace::Pace;
use crate::parts::Parts;
use crate::recovery::{Found, Gap, RecoveryReport, recover};
use crate::segment::Frames;
use crate::snapshot;
use crate::writer::Writer;
use parking_lot::{Condvar, Mutex};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;
use tokio::sync::watch;

/// How the log is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long records behind a snapshot stay.
    pub retain: Duration,
    /// Bytes of segments, snapshots and parts in all, the next snapshot included. Exceeded for the owner's own
    /// records, where snapshots alone leave no room for them, and by what a snapshot has grown beyond all that was foreseen.
    pub limit_bytes: u64,
}

/// Sizes that hardly anybody needs to change.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Bytes of a segment file, at most; a small limit makes it smaller.
    pub segment_bytes: u64,
    /// Bytes that may wait for the next commit.
    pub queue_bytes_max: usize,
    /// Bytes a day that small commits should cause at most; see [`crate::pace`]. None: no spacing.
    pub flash_bytes_per_day: Option<u64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, queue_bytes_max: QUEUE_BYTES_MAX, flash_bytes_per_day: None }
    }
}

/// A log that is found and locked, and not yet running.
pub struct Opened {
    /// What recovery met.
    pub report: RecoveryReport,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    tuning: Tuning,
    found: Found,
    parts: Arc<Parts>,
    lock: Arc<dyn Send + Sync>,
}

/// Finds and locks the log of a data dir, making it if there is none.
///
/// # Errors
/// [`Error::Locked`], [`Error::Newer`], or what the system says.
pub fn open(data_dir: &Path, options: Options) -> Result<Opened, Error> {
    open_on(Arc::new(RealDisk), data_dir, options, Tuning::default())
}

/// The same on any disk.
///
/// # Errors
/// [`Error::Locked`], [`Error::Newer`], or what the disk says.
pub fn open_on(disk: Arc<dyn Disk>, data_dir: &Path, options: Options, tuning: Tuning) -> Result<Opened, Error> {
    disk.create_dir(data_dir).map_err(at(data_dir))?;
    let lock_path = data_dir.join("lock");
    let lock = disk.lock(&lock_path).map_err(at(&lock_path))?;
    let lock = lock.ok_or_else(|| Error::Locked(data_dir.to_owned()))?;
    let dir = data_dir.join("log");
    disk.create_dir(&dir).map_err(at(&dir))?;
    let mut found = recover(&*disk, &dir)?;
    let named = found.snapshots.iter().flat_map(|saved| saved.parts.iter().copied()).collect();
    let parts = Parts::open(disk.clone(), &dir, named)?;
    let largest = (options.limit_bytes / SEGMENTS_MIN).max(SEGMENT_BYTES_MIN);
    let segment_bytes = tuning.segment_bytes.clamp(SEGMENT_BYTES_MIN, largest);
    let queue_bytes_max = tuning.queue_bytes_max.min(segment_bytes as usize / 16);
    Ok(Opened {
        report: std::mem::take(&mut found.report),
        disk,
        dir,
        options,
        tuning: Tuning { segment_bytes, queue_bytes_max, ..tuning },
        found,
        parts: Arc::new(parts),
        lock: lock.into(),
    })
}

impl Opened {
    /// Last durable record, 0 for none.
    pub fn end(&self) -> Lsn {
        self.found.end
    }

    /// Oldest record kept, 0 for none.
    pub fn first(&self) -> Lsn {
        self.found.segments.first().map_or(0, |s| s.first)
    }

    /// The owner's marks as of the last record.
    pub fn marks(&self) -> [u64; 4] {
        self.found.marks
    }

    /// The newest snapshot that is whole.
    pub fn snapshot(&self) -> Option<(Lsn, Vec<u8>)> {
        self.snapshot_at_or_before(Lsn::MAX)
    }

    /// The newest whole snapshot as of `lsn` or a record before it.
    pub fn snapshot_at_or_before(&self, lsn: Lsn) -> Option<(Lsn, Vec<u8>)> {
        let found = self.found.snapshots.iter().filter(|saved| saved.at <= lsn);
        found.into_iter().find_map(|saved| snapshot::read(&*self.disk, &self.dir, saved.at).map(|state| (saved.at, state)))
    }

    /// The pages that snapshots name.
    pub fn parts(&self) -> Arc<Parts> {
        self.parts.clone()
    }

    /// Calls `each` with every frame that has a record beyond `from`, in order, until it breaks
    /// off. The first frame may begin with records up to `from`: they are the caller's to pass
    /// over. Gives the holes met on the way.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn replay(&self, from: Lsn, each: &mut dyn FnMut(&Frame) -> ControlFlow<()>) -> Result<Vec<Gap>, Error> {
        let mut gaps = Vec::new();
        let mut before: Option<(Lsn, [u64; 4])> = None;
        for (i, found) in self.found.segments.iter().enumerate() {
            if self.found.segments.get(i + 1).is_some_and(|next| next.first <= from + 1) {
                continue;
            }
            let Some(mut frames) = Frames::read(&*self.disk, found).map_err(at(&found.path))? else { continue };
            while let Some(head) = frames.next() {
                if let Some((next, marks_before)) = before.filter(|(next, _)| *next < head.first) {
                    let (last, marks_after) = (head.first - 1, head.marks);
                    gaps.push(Gap { first: next, last, marks_before, marks_after });
                }
                before = Some((head.last() + 1, head.marks));
                if head.last() > from && each(&frames.frame(&head)).is_break() {
                    return Ok(gaps);
                }
            }
            frames.failed().map_or(Ok(()), Err).map_err(at(&found.path))?;
        }
        Ok(gaps)
    }

    /// Starts the log's threads; `sink` is called with each frame once it is durable, and may
    /// block: that holds the log, and through it whoever writes.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(self, sink: Box<dyn FnMut(Frame) + Send>) -> Result<Journal, Error> {
        let Self { disk, dir, options, tuning, found, parts, lock, .. } = self;
        let desk = Arc::new(snapshot::Desk::default());
        let shared = Arc::new(Shared {
            batch: Mutex::new(Batch::new(found.end + 1, found.marks)),
            wake: Condvar::new(),
            horizon: watch::channel(Horizon { durable: found.end, state: RunState::Running }).0,
            counters: Counters::default(),
            room: Mutex::new(Ok(0)),
            limit_bytes: options.limit_bytes,
            queue_bytes_max: tuning.queue_bytes_max,
            snapshots: Mutex::new(found.snapshots),
            foreseen: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
            snapshots_changed: AtomicBool::new(false),
            segment_bytes: tuning.segment_bytes,
            parts: parts.clone(),
            disk: disk.clone(),
            dir: dir.clone(),
            held: AtomicU64::new(NOTHING),
            held_state: AtomicU64::new(NOTHING),
        });
        let writer = Writer {
            shared: shared.clone(),
            desk: desk.clone(),
            disk: disk.clone(),
            dir: dir.clone(),
            retain: options.retain,
            segment_bytes: tuning.segment_bytes,
            segments: found.segments,
            resume: found.tail,
            current: None,
            has_spare: false,
            is_overdrawn: false,
            pace: tuning.flash_bytes_per_day.map(|bytes| Pace::new(bytes, std::time::Instant::now())),
            sink,
        };
        let spawn =
            |name: &str, work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(at(&dir));
        // The dir is owned as long as either thread writes to it.
        let (held, held_too) = (lock.clone(), lock);
        let (slot, weak, place) = (desk.clone(), Arc::downgrade(&shared), dir.clone());
        let saving = spawn(
            "snapshots",
            Box::new(move || {
                let _held = held;
                keeper::run(&*disk, &place, &slot, &parts, options.limit_bytes, &weak);
            }),
        )?;
        let writing = spawn(
            "journal",
            Box::new(move || {
                let _held = held_too;
                writer.run();
            }),
        );
        // From here on the owner ends both threads, also when the second could not be started.
        let owner = Owner { shared: shared.clone(), desk, writing: Mutex::new(None), saving: Mutex::new(Some(saving)) };
        *owner.writing.lock() = Some(writing?);
        Ok(Journal { shared, owner: Arc::new(owner) })
    }
}
