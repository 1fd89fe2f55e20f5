//! The open batch: where records enter, under one short lock.

use crate::Lsn;
use crate::format::{FRAME_HEADER, put_record};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Bytes of frames written by this process.
    pub bytes_written: u64,
    /// Syncs by this process.
    pub syncs: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes that they take.
    pub used_bytes: u64,
    /// Bytes that they may take.
    pub limit_bytes: u64,
    /// Oldest record kept.
    pub first: Lsn,
    /// Newest durable record.
    pub durable: Lsn,
    /// Bytes that can still be written, or why none.
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
}

impl Batch {
    pub fn blank() -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 * 1024);
        bytes.resize(FRAME_HEADER, 0);
        bytes
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub bytes_written: AtomicU64,
    pub syncs: AtomicU64,
    pub segments: AtomicU64,
    pub first: AtomicU64,
    pub segment_left: AtomicU64,
}

pub(crate) struct Shared {
    pub batch: Mutex<Batch>,
    pub wake: Condvar,
    pub horizon: watch::Sender<Horizon>,
    pub counters: Counters,
    pub segment_bytes: u64,
    pub limit_bytes: u64,
    pub batch_bytes_max: usize,
    pub snapshots: std::sync::mpsc::Sender<(Lsn, Vec<u8>)>,
    pub snapshot_lsn: AtomicU64,
    pub threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A handle on the running log.
#[derive(Clone)]
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
}

/// The open batch, locked.
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
        if batch.bytes.len() > self.shared.batch_bytes_max {
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
        if batch.bytes.len() > self.shared.batch_bytes_max * 3 / 2 {
            return Err(Refused::Full);
        }
        Ok(Append { batch, wake: &self.shared.wake })
    }

    /// Tells whenever more is durable.
    pub fn horizon(&self) -> watch::Receiver<Horizon> {
        self.shared.horizon.subscribe()
    }

    /// Keeps the owner's state as of record `at`; older log may go once it is durable.
    pub fn snapshot(&self, at: Lsn, bytes: Vec<u8>) {
        // The thread ends only with the journal; then nobody needs the snapshot.
        drop(self.shared.snapshots.send((at, bytes)));
    }

    /// Why readings are refused at present.
    pub fn refusing(&self) -> Option<Refused> {
        self.shared.batch.lock().refusing.clone()
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        let c = &self.shared.counters;
        let segments = c.segments.load(Ordering::Relaxed);
        let used_bytes = segments * self.shared.segment_bytes;
        let left = self.shared.limit_bytes.saturating_sub(used_bytes) + c.segment_left.load(Ordering::Relaxed);
        Stats {
            bytes_written: c.bytes_written.load(Ordering::Relaxed),
            syncs: c.syncs.load(Ordering::Relaxed),
            segments,
            used_bytes,
            limit_bytes: self.shared.limit_bytes,
            first: c.first.load(Ordering::Relaxed),
            durable: self.shared.horizon.borrow().durable,
            room: self.refusing().map_or(Ok(left), |refused| Err(refused.to_string())),
        }
    }

    /// Commits what waits, takes nothing more, and ends the log's threads.
    pub fn stop(&self) {
        self.shared.batch.lock().stopped = true;
        self.shared.wake.notify_all();
        let threads: Vec<_> = std::mem::take(&mut *self.shared.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Append<'_> {
    /// Number that the next record gets.
    pub fn next(&self) -> Lsn {
        self.batch.first + u64::from(self.batch.count)
    }

    /// Appends a record whose payload `write` appends; gives its number.
    pub fn push(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Lsn {
        let lsn = self.next();
        put_record(&mut self.batch.bytes, kind, write);
        self.batch.count += 1;
        if self.batch.count == 1 {
            self.wake.notify_one();
        }
        lsn
    }

    /// The owner's cumulative marks, as of the last record pushed.
    pub fn marks(&mut self) -> &mut [u64; 4] {
        &mut self.batch.marks
    }
}
