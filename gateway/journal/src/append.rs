//! The open batch: where records enter, under one short lock.

use crate::Lsn;
use crate::disk::Disk;
use crate::format::{FRAME_HEADER, Frame, put_record};
use crate::limits::{ANEW_BYTES_MAX, FRAME_BYTES_MAX, GROWTH_SHARE, PAGE_BYTES, RECORD_BYTES_MAX, SNAPSHOTS_LEAST, WASTE_SHARE};
use crate::parts::Parts;
use crate::snapshot::{Desk, Saved, State};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// How far the log is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Every record up to here has been synced.
    pub durable: Lsn,
    /// Whether it will go on.
    pub state: RunState,
}

/// Whether commits go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// They do.
    Running,
    /// A sync or write failed: final for this process.
    Failed,
}

/// Why a record is not taken now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The disk or the configured limit leaves no room.
    #[error("the log has no room: {0}")]
    NoRoom(String),
    /// The disk cannot be written.
    #[error("the log's disk is read-only")]
    ReadOnly,
    /// Enough waits for the next commit; ask again when the horizon moves.
    #[error("the log is behind; wait for its next commit")]
    Full,
    /// The log is closed, or failed.
    #[error("the log is closed")]
    Stopped,
}

/// Figures of the running log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of frames written by this process, headers included.
    pub bytes_written: u64,
    /// Bytes of the pages that frames, snapshots and their parts touched: what the disk wrote for them.
    pub disk_bytes: u64,
    /// Commits that waited for company, for the flash budget's sake.
    pub spaced: u64,
    /// Syncs by this process.
    pub syncs: u64,
    /// Segment files that hold records.
    pub segments: u64,
    /// Bytes that they, the spare, the snapshots and their parts take.
    pub used_bytes: u64,
    /// Those of the parts among them: pages of snapshots.
    pub parts_bytes: u64,
    /// Those of the newest two snapshots among them; older ones go before room runs out.
    pub snapshots_bytes: u64,
    /// What the next snapshot may take for a while beside them, new pages not counted.
    pub next_bytes: u64,
    /// Bytes of pages that nobody needs, in parts that are kept for others.
    pub waste_bytes: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes that they may take.
    pub limit_bytes: u64,
    /// The limit leaves no room for another segment.
    pub is_short: bool,
    /// Oldest record kept.
    pub first: Lsn,
    /// Newest durable record.
    pub durable: Lsn,
    /// Bytes that can still be written, or why none: to the limit or the disk's end, with
    /// what a snapshot already allows to free.
    pub room: Result<u64, String>,
}

pub(crate) struct Batch {
    pub bytes: Vec<u8>,
    pub first: Lsn,
    pub count: u32,
    pub marks: [u64; 4],
    pub refusing: Option<Refused>,
    pub refusing_bookkeeping: bool,
    pub stopped: bool,
    /// The writer waits for company; who fills a page, or cannot wait, wakes it.
    pub spaced: bool,
    /// A record of this batch cannot wait.
    pub urgent: bool,
}

impl Batch {
    pub fn new(first: Lsn, marks: [u64; 4]) -> Self {
        Self {
            bytes: Self::blank(0),
            first,
            count: 0,
            marks,
            refusing: None,
            refusing_bookkeeping: false,
            stopped: false,
            spaced: false,
            urgent: false,
        }
    }

    /// Bytes for the next batch, about as many as the last had: at a steady rate, one allocation
    /// for each commit and none for each record.
    pub fn blank(like: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(like.max(512).next_power_of_two());
        bytes.resize(FRAME_HEADER, 0);
        bytes
    }

    /// Takes all that waits; its marks are those of its last record.
    pub fn take(&mut self) -> Frame {
        let next = Self::blank(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, next);
        let frame = Frame::of_batch(bytes, self.first, self.count, self.marks);
        self.first += u64::from(self.count);
        self.count = 0;
        (self.spaced, self.urgent) = (false, false);
        frame
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub bytes_written: AtomicU64,
    pub disk_bytes: AtomicU64,
    pub spaced: AtomicU64,
    pub syncs: AtomicU64,
    pub segments: AtomicU64,
    pub used_bytes: AtomicU64,
    pub first: AtomicU64,
}

pub(crate) struct Shared {
    /// Held for the time of a memcpy, never across a sync: so a plain mutex.
    pub batch: Mutex<Batch>,
    pub wake: Condvar,
    pub horizon: watch::Sender<Horizon>,
    pub counters: Counters,
    pub room: Mutex<Result<u64, String>>,
    pub limit_bytes: u64,
    pub queue_bytes_max: usize,
    /// Those that count, newest first.
    pub snapshots: Mutex<Vec<Saved>>,
    /// Bytes of pages that the next one brings, as the owner says.
    pub foreseen: AtomicU64,
    /// The limit leaves no room for another segment.
    pub is_short: AtomicBool,
    /// Set when there is one more, for the writer to see what it may free.
    pub snapshots_changed: AtomicBool,
    pub segment_bytes: u64,
    pub parts: Arc<Parts>,
    pub disk: Arc<dyn Disk>,
    /// Of segments and snapshots.
    pub dir: PathBuf,
    /// A reader of the past needs the records from here on, and the state as of this one.
    pub held: AtomicU64,
    pub held_state: AtomicU64,
}

impl Shared {
    /// What the next snapshot may take beside those that are there, new pages not counted: itself, some more than
    /// before, and pages that it writes anew.
    pub fn next_bytes(&self) -> u64 {
        let state = self.snapshots.lock().iter().take(SNAPSHOTS_LEAST).map(|saved| saved.bytes).max().unwrap_or(0);
        let anew = (self.limit_bytes / WASTE_SHARE).min(ANEW_BYTES_MAX).min(self.parts.bytes());
        state + state / GROWTH_SHARE + anew
    }
}

/// Ends the threads when the last handle goes.
pub(crate) struct Owner {
    pub shared: Arc<Shared>,
    pub desk: Arc<Desk>,
    pub writing: Mutex<Option<JoinHandle<()>>>,
    pub saving: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    fn close(&self) {
        self.shared.batch.lock().stopped = true;
        self.shared.wake.notify_all();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
        self.desk.stop();
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    // A sink that stops its own log cannot wait for itself.
    let other = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
    if other.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread of the log panicked");
    }
}

/// A handle on the running log. When the last one is dropped, what waits is still committed.
#[derive(Clone)]
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    pub(crate) owner: Arc<Owner>,
}

/// The open batch, locked: hold it for as long as records are pushed, and no longer.
pub struct Append<'a> {
    batch: MutexGuard<'a, Batch>,
    wake: &'a Condvar,
}

impl Journal {
    /// Locks the open batch for readings.
    ///
    /// # Errors
    /// [`Refused`], with what to do.
    pub fn append(&self) -> Result<Append<'_>, Refused> {
        let batch = self.shared.batch.lock();
        if batch.stopped {
            return Err(Refused::Stopped);
        }
        if let Some(refused) = &batch.refusing {
            return Err(refused.clone());
        }
        if batch.bytes.len() > self.shared.queue_bytes_max {
            return Err(Refused::Full);
        }
        Ok(Append { batch, wake: &self.shared.wake })
    }

    /// Locks it for the owner's own records, which may use what is kept in reserve.
    ///
    /// # Errors
    /// [`Refused`] when even that is used up.
    pub fn append_bookkeeping(&self) -> Result<Append<'_>, Refused> {
        let batch = self.shared.batch.lock();
        if batch.stopped {
            return Err(Refused::Stopped);
        }
        if batch.refusing_bookkeeping {
            return Err(batch.refusing.clone().unwrap_or(Refused::Full));
        }
        if batch.bytes.len() > self.shared.queue_bytes_max * 3 / 2 {
            return Err(Refused::Full);
        }
        Ok(Append { batch, wake: &self.shared.wake })
    }

    /// Locks it for the record that a process begins with. It waits until the disk takes it, also
    /// where it is known by now that the disk takes nothing: what is there can be read meanwhile.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub fn append_beginning(&self) -> Result<Append<'_>, Refused> {
        let batch = self.shared.batch.lock();
        if batch.stopped { Err(Refused::Stopped) } else { Ok(Append { batch, wake: &self.shared.wake }) }
    }

    /// Tells whenever more is durable.
    pub fn horizon(&self) -> watch::Receiver<Horizon> {
        self.shared.horizon.subscribe()
    }

    /// Keeps the owner's state as of the durable record `at`; older log may go once the snapshot
    /// is durable too. Returns at once; a snapshot that was not begun yet gives way to this one.
    pub fn snapshot(&self, at: Lsn, bytes: Vec<u8>) {
        self.snapshot_with(at, bytes, Vec::new(), Vec::new());
    }

    /// The same for a state that names pages: `pages` are all their numbers, `new` those that
    /// no part may have yet. They are kept as long as a snapshot that names them is.
    pub fn snapshot_with(&self, at: Lsn, bytes: Vec<u8>, new: Vec<(u64, Arc<[u8]>)>, pages: Vec<u64>) {
        self.owner.desk.put(State { at, bytes, new, pages });
    }

    /// The pages that snapshots name.
    pub fn parts(&self) -> Arc<Parts> {
        self.shared.parts.clone()
    }

    /// The next snapshot brings so many bytes of new pages: room for them is kept.
    pub fn foresee(&self, bytes: u64) {
        self.shared.foreseen.store(bytes, Ordering::Release);
    }

    /// Records as of which there is a durable snapshot, newest first.
    pub fn snapshots(&self) -> Vec<Lsn> {
        self.shared.snapshots.lock().iter().map(|saved| saved.at).collect()
    }

    /// Why readings are refused at present.
    pub fn refusing(&self) -> Option<Refused> {
        self.shared.batch.lock().refusing.clone()
    }

    /// Why nothing can be committed at present; none when it can.
    pub fn unready(&self) -> Option<String> {
        match self.horizon().borrow().state {
            RunState::Failed => Some("the log failed".to_owned()),
            _ => self.refusing().map(|refused| refused.to_string()),
        }
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        let c = &self.shared.counters;
        let refusing = self.refusing().map(|refused| refused.to_string());
        let snapshots_bytes = self.shared.snapshots.lock().iter().take(SNAPSHOTS_LEAST).map(|s| s.bytes).sum();
        Stats {
            bytes_written: c.bytes_written.load(Ordering::Relaxed),
            disk_bytes: c.disk_bytes.load(Ordering::Relaxed),
            spaced: c.spaced.load(Ordering::Relaxed),
            syncs: c.syncs.load(Ordering::Relaxed),
            segments: c.segments.load(Ordering::Relaxed),
            used_bytes: c.used_bytes.load(Ordering::Relaxed),
            parts_bytes: self.shared.parts.bytes(),
            snapshots_bytes,
            next_bytes: self.shared.next_bytes(),
            waste_bytes: self.shared.parts.waste(),
            segment_bytes: self.shared.segment_bytes,
            limit_bytes: self.shared.limit_bytes,
            is_short: self.shared.is_short.load(Ordering::Acquire),
            first: c.first.load(Ordering::Relaxed),
            durable: self.shared.horizon.borrow().durable,
            room: refusing.map_or_else(|| self.shared.room.lock().clone(), Err),
        }
    }

    /// Takes no more records, and commits what waits; snapshots are still written.
    pub fn close(&self) {
        self.owner.close();
        let thread = self.owner.writing.lock().take();
        join(thread);
    }

    /// The same; then writes the snapshot that waits, and ends.
    pub fn stop(&self) {
        self.close();
        self.owner.desk.stop();
        let thread = self.owner.saving.lock().take();
        join(thread);
    }
}

impl Append<'_> {
    /// Number that the next record gets.
    pub fn next(&self) -> Lsn {
        self.batch.first + u64::from(self.batch.count)
    }

    /// Appends a record whose payload `write` appends; gives its number.
    ///
    /// # Panics
    /// When the payload is beyond [`RECORD_BYTES_MAX`]: the owner bounds its packets far below.
    /// The batch is then as if it had not been called, also when `write` panics.
    pub fn push(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Lsn {
        let lsn = self.next();
        let from = self.batch.bytes.len();
        let mut undo = Undo { batch: &mut self.batch, from };
        put_record(&mut undo.batch.bytes, kind, write);
        let end = undo.batch.bytes.len();
        assert!(end >= from && end - from <= RECORD_BYTES_MAX && end <= FRAME_BYTES_MAX, "a record is bounded");
        undo.from = end;
        drop(undo);
        self.batch.count += 1;
        if self.batch.count == 1 || (self.batch.spaced && self.batch.bytes.len() as u64 >= PAGE_BYTES) {
            // Who is busy with the commit before looks again by itself: no call to the system.
            self.wake.notify_one();
        }
        lsn
    }

    /// What is pushed now is committed without waiting for company.
    pub fn hurry(&mut self) {
        if !std::mem::replace(&mut self.batch.urgent, true) && self.batch.spaced {
            self.wake.notify_one();
        }
    }

    /// The owner's cumulative marks, as of the last record pushed.
    pub fn marks(&mut self) -> &mut [u64; 4] {
        &mut self.batch.marks
    }
}

/// Cuts half a record off when its making panics: everybody's next commit is behind it.
struct Undo<'a> {
    batch: &'a mut Batch,
    from: usize,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.batch.bytes.truncate(self.from);
    }
}
