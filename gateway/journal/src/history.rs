//! The past of a running log, for its owner: states as of earlier records, and the log from
//! there on. What is being read stays, unless room runs out: then there is a hole.

use crate::Lsn;
use crate::append::{Journal, Shared};
use crate::format::Frame;
use crate::segment::{self, Frames};
use crate::snapshot;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Nothing is held.
pub(crate) const NOTHING: Lsn = Lsn::MAX;

/// A reader of the past. What it holds is free again when it goes.
pub struct History {
    shared: Arc<Shared>,
    segment: Option<Loaded>,
}

/// A segment as it was when it was read.
struct Loaded {
    first: Lsn,
    bytes: Vec<u8>,
    /// Where the next frame begins, and with which record.
    offset: usize,
    next: Lsn,
    /// What was durable when it was read.
    durable: Lsn,
}

/// Where the past can be gone through from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// The log's first record: it was never cut.
    Log,
    /// A state as of that record.
    State(Lsn, Vec<u8>),
}

impl Journal {
    /// The past of this log. One reader at a time holds what it reads.
    pub fn history(&self) -> History {
        History { shared: self.shared.clone(), segment: None }
    }
}

impl History {
    /// The newest whole state as of `lsn` or before, else the log's beginning, else the oldest
    /// whole state that there is; held from now on, with the log behind it.
    pub fn begin(&mut self, lsn: Lsn) -> Option<Beginning> {
        self.segment = None;
        let shared = self.shared.clone();
        let kept: Vec<Lsn> = shared.snapshots.lock().iter().map(|saved| saved.at).collect();
        let state = |at: Lsn| {
            // Held first: what is removed while it is read is not there, and passed over.
            shared.held_state.store(at, Ordering::Release);
            shared.held.store(at + 1, Ordering::Release);
            snapshot::read(&*shared.disk, &shared.dir, at).map(|bytes| Beginning::State(at, bytes))
        };
        let before = kept.iter().filter(|at| **at <= lsn).find_map(|at| state(*at));
        let found = before.or_else(|| {
            let first = shared.counters.first.load(Ordering::Relaxed);
            if first <= 1 {
                shared.held.store(1, Ordering::Release);
                return Some(Beginning::Log);
            }
            kept.iter().rev().find_map(|at| state(*at))
        });
        if found.is_none() {
            self.release();
        }
        found
    }

    /// The first durable frame with record `lsn` or a later one; none while there is none.
    pub fn frame(&mut self, lsn: Lsn) -> Option<Frame> {
        self.shared.held.store(lsn, Ordering::Release);
        let durable = self.shared.horizon.borrow().durable;
        if lsn > durable {
            return None;
        }
        if let Some(frame) = self.segment.as_mut().and_then(|loaded| loaded.frame(lsn)) {
            return Some(frame);
        }
        let segments = segment::list(&*self.shared.disk, &self.shared.dir).ok()?;
        let from = segments.iter().rposition(|s| s.first <= lsn).unwrap_or(0);
        for found in &segments[from..] {
            // Nothing is new in what was read to its end.
            if self.segment.as_ref().is_some_and(|s| s.first == found.first && s.durable == durable) {
                continue;
            }
            let Ok(bytes) = segment::read(&*self.shared.disk, found) else { continue };
            let mut loaded = Loaded { first: found.first, bytes, offset: 0, next: found.first, durable };
            let frame = loaded.frame(lsn);
            self.segment = Some(loaded);
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    fn release(&self) {
        self.shared.held.store(NOTHING, Ordering::Release);
        self.shared.held_state.store(NOTHING, Ordering::Release);
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.release();
    }
}

impl Loaded {
    /// The next frame with a record from `lsn` on that was durable when this was read.
    fn frame(&mut self, lsn: Lsn) -> Option<Frame> {
        let (frames, at) = (Frames::new(&self.bytes, self.first)?, (self.offset, self.next));
        let mut frames = frames.from(at.0, at.1);
        let head = loop {
            let head = frames.next()?;
            if head.last() >= lsn {
                break head;
            }
        };
        if head.last() > self.durable {
            return None;
        }
        let frame = frames.frame(&head);
        (self.offset, self.next) = (frames.offset, frames.next);
        Some(frame)
    }
}
