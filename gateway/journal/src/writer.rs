//! The one thread that makes records durable: take all that waits, write it as one frame,
//! sync once, tell.
//!
//! A failed sync is final: what the kernel then holds is unknown, so nothing is acknowledged
//! any more and the process must end and recover. Room is looked for before it is needed, by
//! keeping a spare segment; without one, readings are refused while there is still space for
//! the owner's own records.

use crate::append::{Batch, Horizon, Refused, RunState, Shared};
use crate::format::{Frame, SEGMENT_HEADER};
use crate::limits::{BATCH_BYTES_MAX, RESERVE_BYTES, ROOM_RETRY_MS};
use crate::segment::{self, Segment};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub dir: PathBuf,
    pub retain: Duration,
    /// All segments, oldest first; the last is written, when there is a file.
    pub segments: Vec<Segment>,
    pub file: Option<File>,
    /// Where the next frame goes.
    pub offset: u64,
    pub sink: Box<dyn FnMut(Frame) + Send>,
}

impl Writer {
    pub(crate) fn run(mut self) {
        self.look_for_room();
        let mut looked = Instant::now();
        loop {
            let frame = match self.take() {
                Next::Frame(frame) => frame,
                Next::Idle => {
                    self.look_for_room();
                    looked = Instant::now();
                    continue;
                }
                Next::End => return,
            };
            if let Err(error) = self.commit(&frame) {
                tracing::error!(%error, "the log cannot be written; nothing more is acknowledged");
                self.shared.batch.lock().stopped = true;
                self.shared.horizon.send_modify(|h| h.state = RunState::Failed);
                return;
            }
            let durable = frame.last();
            self.shared.horizon.send_replace(Horizon { durable, state: RunState::Running });
            (self.sink)(frame);
            let refusing = self.shared.batch.lock().refusing.is_some();
            if self.left() < self.shared.segment_bytes / 2 || refusing || looked.elapsed() > Duration::from_millis(ROOM_RETRY_MS) {
                self.look_for_room();
                looked = Instant::now();
            }
        }
    }

    fn take(&mut self) -> Next {
        let mut batch = self.shared.batch.lock();
        while batch.count == 0 {
            if batch.stopped {
                return Next::End;
            }
            let timed_out = self.shared.wake.wait_for(&mut batch, Duration::from_millis(ROOM_RETRY_MS)).timed_out();
            if timed_out && batch.count == 0 && !batch.stopped {
                return Next::Idle;
            }
        }
        let bytes = std::mem::replace(&mut batch.bytes, Batch::blank());
        let (first, count, marks) = (batch.first, batch.count, batch.marks);
        batch.first += u64::from(count);
        batch.count = 0;
        drop(batch);
        Next::Frame(Frame::seal(bytes, first, count, marks))
    }

    fn commit(&mut self, frame: &Frame) -> io::Result<()> {
        let length = frame.bytes.len() as u64;
        if self.file.is_none() || self.offset + length > self.shared.segment_bytes {
            segment::prepare(&self.dir, self.shared.segment_bytes.max(length + SEGMENT_HEADER as u64))?;
            self.file = Some(segment::begin(&self.dir, frame.first)?);
            self.segments.push(Segment { first: frame.first, path: segment::path_of(&self.dir, frame.first) });
            self.offset = SEGMENT_HEADER as u64;
        }
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("no segment"))?;
        file.write_all_at(&frame.bytes, self.offset)?;
        file.sync_data()?;
        self.offset += length;
        self.shared.counters.bytes_written.fetch_add(length, Ordering::Relaxed);
        self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes left in the segment under way.
    fn left(&self) -> u64 {
        if self.file.is_some() { self.shared.segment_bytes.saturating_sub(self.offset) } else { 0 }
    }

    /// Frees what retention allows, prepares the spare, and says whether readings can be taken.
    fn look_for_room(&mut self) {
        self.free();
        let bytes = self.shared.segment_bytes;
        let within = (self.segments.len() as u64 + 1) * bytes <= self.shared.limit_bytes;
        let refused = if within {
            segment::prepare(&self.dir, bytes).err().map(|error| match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem => Refused::ReadOnly,
                _ => Refused::NoRoom(format!("{}: {error}", self.dir.display())),
            })
        } else {
            Some(Refused::NoRoom(format!("[log] limit of {} bytes is reached", self.shared.limit_bytes)))
        };
        let reserve = RESERVE_BYTES.min(bytes / 4);
        let watermark = (BATCH_BYTES_MAX as u64 * 2).min(bytes / 4) + reserve;
        let left = self.left();
        let mut batch = self.shared.batch.lock();
        let refusing = refused.filter(|_| left < watermark);
        if refusing.is_some() != batch.refusing.is_some() {
            match &refusing {
                Some(refused) => tracing::warn!(%refused, "readings are refused"),
                None => tracing::info!("the log has room again"),
            }
        }
        batch.refusing_bookkeeping = refusing.is_some() && left < reserve / 2;
        batch.refusing = refusing;
        let c = &self.shared.counters;
        c.segment_left.store(left, Ordering::Relaxed);
        c.segments.store(self.segments.len() as u64, Ordering::Relaxed);
        c.first.store(self.segments.first().map_or(0, |s| s.first), Ordering::Relaxed);
    }

    /// Lets segments go that lie wholly behind a snapshot, and are old or too many.
    fn free(&mut self) {
        let snapshot = self.shared.snapshot_lsn.load(Ordering::Acquire);
        while let [oldest, next, ..] = self.segments.as_slice() {
            let too_many = (self.segments.len() as u64 + 1) * self.shared.segment_bytes > self.shared.limit_bytes;
            let old = oldest
                .path
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > self.retain));
            if next.first > snapshot + 1 || !(too_many || old) {
                return;
            }
            if let Err(error) = segment::recycle(&self.dir, oldest) {
                tracing::warn!(%error, "a segment cannot be freed");
                return;
            }
            self.segments.remove(0);
        }
    }
}

enum Next {
    Frame(Frame),
    Idle,
    End,
}
