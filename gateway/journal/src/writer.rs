//! The one thread that makes records durable: take all that waits, write it as one frame,
//! sync once, tell.
//!
//! A failed sync is final: what the kernel then holds is unknown, so nothing more is written
//! and the process must end and recover. No room or a read-only disk, found before the sync,
//! is not: the frame is kept and tried again. Room is looked for before it is needed, by
//! keeping a spare segment; without one, readings are refused while there is still space for
//! the owner's own records.

use crate::append::{Horizon, Refused, RunState, Shared};
use crate::disk::Disk;
use crate::error::{Trouble, trouble};
use crate::format::{Frame, SEGMENT_HEADER};
use crate::limits::{RESERVE_BYTES, ROOM_RETRY_MS};
use crate::pace::{Pace, pages_bytes};
use crate::recovery::Tail;
use crate::retention;
use crate::segment::{self, BeginError, Current, Segment};
use crate::snapshot::Desk;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const ROOM_RETRY: Duration = Duration::from_millis(ROOM_RETRY_MS);

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub desk: Arc<Desk>,
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub retain: Duration,
    pub segment_bytes: u64,
    /// All segments, oldest first.
    pub segments: Vec<Segment>,
    /// The last segment as recovery left it, until it is opened.
    pub resume: Option<Tail>,
    /// The last segment, open.
    pub current: Option<Current>,
    pub has_spare: bool,
    /// The segment under way was begun beyond the limit, for what is the owner's own alone.
    pub is_overdrawn: bool,
    pub pace: Option<Pace>,
    pub sink: Box<dyn FnMut(Frame) + Send>,
}

/// Why the thread ends.
enum End {
    /// Asked to, with nothing left to commit.
    Stopped,
    /// It cannot go on.
    Failed(io::Error),
}

/// Why a frame was not committed.
enum Uncommitted {
    /// Nothing is lost; try again.
    NotNow(Refused),
    /// Nothing is known.
    Final(io::Error),
}

enum Next {
    Frame(Frame),
    Look,
    End,
}

impl Writer {
    pub fn run(mut self) {
        // Also when the sink panics: whoever waits for the horizon must not wait for ever.
        let mut guard = FailGuard { shared: self.shared.clone(), is_armed: true };
        match self.work() {
            End::Stopped => guard.is_armed = false,
            End::Failed(error) => {
                tracing::error!(%error, "the log cannot be written; nothing more is acknowledged");
            }
        }
    }

    fn work(&mut self) -> End {
        self.look_for_room();
        let mut looked = Instant::now();
        loop {
            match self.take() {
                Next::Frame(mut frame) => {
                    if let Err(error) = self.commit(&mut frame) {
                        return End::Failed(error);
                    }
                    let durable = frame.last();
                    self.shared.horizon.send_replace(Horizon { durable, state: RunState::Running });
                    (self.sink)(frame);
                }
                Next::Look => {}
                Next::End => return End::Stopped,
            }
            let is_low = !self.has_spare && self.left() < self.watermark() * 2;
            let freed = self.shared.snapshots_changed.swap(false, Ordering::AcqRel);
            if is_low || freed || looked.elapsed() >= ROOM_RETRY {
                self.look_for_room();
                looked = Instant::now();
            }
        }
    }

    fn take(&mut self) -> Next {
        let mut batch = self.shared.batch.lock();
        if batch.count == 0 && !batch.stopped {
            self.shared.wake.wait_for(&mut batch, ROOM_RETRY);
        }
        while let Some(pace) = &mut self.pace
            && batch.count > 0
            && !batch.urgent
            && !batch.stopped
            && let Some(wait) = pace.wait(batch.bytes.len() as u64, Instant::now())
        {
            batch.spaced = true;
            self.shared.wake.wait_for(&mut batch, wait);
        }
        if batch.spaced && batch.count > 0 {
            self.shared.counters.spaced.fetch_add(1, Ordering::Relaxed);
        }
        match (batch.count, batch.stopped) {
            (0, true) => Next::End,
            (0, false) => Next::Look,
            _ => Next::Frame(batch.take()),
        }
    }

    /// Writes and syncs a frame, however long room lets it wait.
    fn commit(&mut self, frame: &mut Frame) -> io::Result<()> {
        loop {
            match self.try_commit(frame) {
                Ok(()) => return Ok(()),
                Err(Uncommitted::Final(error)) => return Err(error),
                Err(Uncommitted::NotNow(refused)) => {
                    let mut batch = self.shared.batch.lock();
                    if batch.stopped {
                        return Err(io::Error::other(refused.to_string()));
                    }
                    if batch.refusing.is_none() {
                        tracing::warn!(%refused, "commits wait and readings are refused");
                    }
                    batch.refusing = Some(refused);
                    batch.refusing_bookkeeping = true;
                    self.shared.wake.wait_for(&mut batch, ROOM_RETRY);
                    drop(batch);
                    self.free();
                }
            }
        }
    }

    fn try_commit(&mut self, frame: &mut Frame) -> Result<(), Uncommitted> {
        let length = frame.bytes.len() as u64;
        let current = self.segment_for(frame.first, length)?;
        frame.seal(current.id);
        current.file.write_at(&frame.bytes, current.offset).map_err(not_now)?;
        current.file.sync().map_err(Uncommitted::Final)?;
        let pages = pages_bytes(current.offset, length);
        current.offset += length;
        if let Some(pace) = &mut self.pace {
            pace.spend(pages, Instant::now());
        }
        self.shared.counters.disk_bytes.fetch_add(pages, Ordering::Relaxed);
        self.shared.counters.bytes_written.fetch_add(length, Ordering::Relaxed);
        self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The segment that a frame goes to: the one under way, or a new one.
    fn segment_for(&mut self, first: u64, length: u64) -> Result<&mut Current, Uncommitted> {
        self.open().map_err(not_now)?;
        let fits = |current: &Current| current.offset + length <= current.bytes;
        if !self.current.as_ref().is_some_and(fits) {
            let bytes = self.segment_bytes.max(length + SEGMENT_HEADER as u64);
            if !self.has_spare || bytes > self.segment_bytes {
                segment::prepare(&*self.disk, &self.dir, bytes).map_err(not_now)?;
            }
            self.has_spare = true;
            let begun = segment::begin(&*self.disk, &self.dir, first, bytes).map_err(|error| match error {
                BeginError::Before(error) => not_now(error),
                BeginError::Sync(error) => Uncommitted::Final(error),
            })?;
            self.has_spare = false;
            let path = segment::path_of(&self.dir, first);
            self.segments.push(Segment { first, path, bytes, damaged: false });
            self.current = Some(begun);
            // The record that says what can go has its segment before the next snapshot has its room.
            self.is_overdrawn = self.used_bytes() + self.next_bytes() > self.shared.limit_bytes;
        }
        self.current.as_mut().ok_or_else(|| Uncommitted::Final(io::Error::other("there is no segment")))
    }

    /// Opens the segment that recovery found, once.
    fn open(&mut self) -> io::Result<()> {
        if let Some(tail) = &self.resume {
            let file = self.disk.open(&tail.path)?;
            let Tail { id, offset, bytes, .. } = *tail;
            self.current = Some(Current { file, id, offset, bytes });
            self.resume = None;
        }
        Ok(())
    }

    /// Bytes left in the segment under way.
    fn left(&self) -> u64 {
        let current = self.current.as_ref().map(|current| (current.bytes, current.offset));
        let found = || self.resume.as_ref().map(|tail| (tail.bytes, tail.offset));
        current.or_else(found).map_or(0, |(bytes, offset)| bytes.saturating_sub(offset))
    }

    /// Bytes at a segment's end for bookkeeping only, when there is no spare.
    fn reserve(&self) -> u64 {
        RESERVE_BYTES.min(self.segment_bytes / 4)
    }

    /// Below this many bytes left, and without a spare, readings are refused: beyond the
    /// reserve, it holds the batch being committed and the one that fills meanwhile.
    fn watermark(&self) -> u64 {
        self.reserve() + 4 * self.shared.queue_bytes_max as u64
    }

    fn segments_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    fn used_bytes(&self) -> u64 {
        self.segments_bytes() + self.shared.snapshots.lock().iter().map(|s| s.bytes).sum::<u64>() + self.shared.parts.bytes()
    }

    /// What the next snapshot takes, before it lets anything go.
    fn next_bytes(&self) -> u64 {
        self.shared.next_bytes() + self.shared.foreseen.load(Ordering::Acquire)
    }

    /// Frees what retention allows, prepares the spare, and says whether readings can be taken.
    fn look_for_room(&mut self) {
        self.free();
        let (used, next) = (self.used_bytes(), self.next_bytes());
        let bytes = self.segment_bytes;
        let is_short = used + bytes + next > self.shared.limit_bytes;
        if is_short != self.shared.is_short.swap(is_short, Ordering::AcqRel) && is_short {
            // Older snapshots keep their parts, too.
            self.desk.tidy();
        }
        let refused = match self.open().map_err(not_now) {
            Err(Uncommitted::NotNow(refused)) => Some((refused, 0, true)),
            // Found out for good at the next commit, if there is one.
            Err(Uncommitted::Final(_)) => None,
            Ok(()) if is_short => {
                let limit = self.shared.limit_bytes;
                self.is_overdrawn &= used + next > limit;
                if self.has_spare && used + bytes > limit {
                    self.has_spare = self.disk.remove(&self.dir.join(segment::SPARE)).is_err();
                }
                // Where snapshots take the room, what lets them shrink goes on beside them: its
                // segments are freed by the next one.
                let is_spent = self.segments_bytes() + bytes > limit;
                Some((Refused::NoRoom(format!("[log] limit of {limit} bytes is reached")), self.left(), is_spent))
            }
            Ok(()) => {
                self.is_overdrawn = false;
                self.prepare().err().map(|refused| (refused, self.left(), true))
            }
        };
        let (reserve, watermark) = (self.reserve(), self.watermark());
        let refusing = refused.filter(|(_, left, _)| *left < watermark || self.is_overdrawn);
        let mut batch = self.shared.batch.lock();
        batch.refusing_bookkeeping = refusing.as_ref().is_some_and(|(_, left, is_spent)| *is_spent && *left < reserve / 2);
        let refusing = refusing.map(|(refused, ..)| refused);
        if refusing.is_some() != batch.refusing.is_some() {
            match &refusing {
                Some(refused) => tracing::warn!(%refused, "readings are refused"),
                None => tracing::info!("the log has room again"),
            }
        }
        batch.refusing = refusing;
        drop(batch);
        self.tell(used, next);
    }

    fn prepare(&mut self) -> Result<(), Refused> {
        if !self.has_spare {
            segment::prepare(&*self.disk, &self.dir, self.segment_bytes).map_err(|error| refusal(&error, trouble(&error)))?;
            self.has_spare = true;
        }
        Ok(())
    }

    fn tell(&self, used: u64, next: u64) {
        let spare = if self.has_spare { self.segment_bytes } else { 0 };
        let freeable = retention::freeable(&self.segments, self.shared.snapshots.lock().first());
        // The spare is within the limit, and no longer within what the disk has free.
        let to_limit = self.shared.limit_bytes.saturating_sub(used + next);
        let on_disk = self.disk.free(&self.dir).unwrap_or(to_limit).saturating_add(spare);
        *self.shared.room.lock() = Ok(self.left() + to_limit.min(on_disk) + freeable);
        let c = &self.shared.counters;
        c.used_bytes.store(used + spare, Ordering::Relaxed);
        c.segments.store(self.segments.len() as u64, Ordering::Relaxed);
        c.first.store(self.segments.first().map_or(0, |s| s.first), Ordering::Relaxed);
    }

    /// Lets segments go that lie wholly behind a snapshot, and are old or too many.
    fn free(&mut self) {
        let mut freed = false;
        while let [oldest, next, ..] = self.segments.as_slice() {
            let over_limit = self.used_bytes() + self.segment_bytes + self.next_bytes() > self.shared.limit_bytes;
            let age = self.disk.age(&oldest.path).unwrap_or_default();
            let snapshots = self.shared.snapshots.lock().clone();
            let held = self.shared.held.load(Ordering::Acquire);
            if !retention::may_free(next.first, age, &snapshots, self.retain, over_limit, held) {
                break;
            }
            match self.recycle(&oldest.clone()) {
                Ok(is_spare) => self.has_spare |= is_spare,
                Err(error) => {
                    tracing::warn!(%error, "a segment cannot be freed");
                    break;
                }
            }
            self.segments.remove(0);
            freed = true;
        }
        // Synced, so that no old name comes back with a new segment's contents.
        if freed {
            let first = self.segments.first().map_or(0, |s| s.first);
            self.shared.counters.first.store(first, Ordering::Relaxed);
            self.desk.tidy();
        }
        if freed && let Err(error) = self.disk.sync_dir(&self.dir) {
            tracing::warn!(%error, "freed segments may be there again after a power cut");
            // Not to be written over then.
            self.has_spare = false;
            drop(self.disk.remove(&self.dir.join(segment::SPARE)));
        }
    }

    /// Makes a segment that nobody needs the spare, if there is none and it fits; else removes it.
    fn recycle(&self, segment: &Segment) -> io::Result<bool> {
        let is_spare = !self.has_spare && segment.bytes == self.segment_bytes && !segment.damaged;
        if is_spare {
            self.disk.rename(&segment.path, &self.dir.join(segment::SPARE))?;
        } else {
            self.disk.remove(&segment.path)?;
        }
        Ok(is_spare)
    }
}

fn refusal(error: &io::Error, trouble: Trouble) -> Refused {
    match trouble {
        Trouble::ReadOnly => Refused::ReadOnly,
        _ => Refused::NoRoom(error.to_string()),
    }
}

/// What an error before a sync means.
fn not_now(error: io::Error) -> Uncommitted {
    match trouble(&error) {
        Trouble::Final => Uncommitted::Final(error),
        known => Uncommitted::NotNow(refusal(&error, known)),
    }
}

struct FailGuard {
    shared: Arc<Shared>,
    is_armed: bool,
}

impl Drop for FailGuard {
    fn drop(&mut self) {
        if self.is_armed {
            self.shared.batch.lock().stopped = true;
            self.shared.horizon.send_modify(|horizon| horizon.state = RunState::Failed);
        }
    }
}
