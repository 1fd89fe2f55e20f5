//! What of the fold leaves its memory: snapshots, and the pages that they name. See README.md
//! for what is kept where.

use crate::limits::{PAGES_BYTES_MAX, SNAPSHOT_PAUSE, SNAPSHOT_RECORDS, SNAPSHOT_SHARE};
use journal::{Journal, Parts};
use replica::fold::Fold;
use replica::outbox::Pages;
use std::sync::Arc;
use std::time::Instant;

/// The pages of a log.
pub struct Store(pub Arc<Parts>);

impl Pages for Store {
    fn read(&self, id: u64) -> Option<Arc<[u8]>> {
        self.0.read(id).map(Arc::from)
    }
}

/// When snapshots are written, and what may leave the memory for them.
pub struct Snapshots {
    journal: Journal,
    parts: Arc<Parts>,
    /// Record of the last one asked for.
    lsn: u64,
    /// Bytes that this process had written to the log by then.
    bytes: u64,
    at: Instant,
}

impl Snapshots {
    /// For a log whose newest snapshot is as of record `lsn`.
    pub fn new(journal: Journal, lsn: u64) -> Self {
        Self { parts: journal.parts(), journal, lsn, bytes: 0, at: Instant::now() }
    }

    /// Record of the last snapshot asked for.
    pub fn last(&self) -> u64 {
        self.lsn
    }

    /// Whether one is due: so that a start replays little, the log can be cut in time, and
    /// pages leave the memory.
    pub fn is_due(&self, fold: &Fold) -> bool {
        if fold.lsn >= self.lsn + SNAPSHOT_RECORDS {
            return true;
        }
        if fold.lsn == self.lsn || self.at.elapsed() < SNAPSHOT_PAUSE {
            return false;
        }
        let stats = self.journal.stats();
        fold.shelf.memory_bytes() > PAGES_BYTES_MAX || stats.bytes_written - self.bytes > stats.limit_bytes / SNAPSHOT_SHARE
    }

    /// Hands one over to be written.
    pub fn save(&mut self, fold: &Fold) {
        self.at = Instant::now();
        self.lsn = fold.lsn;
        self.bytes = self.journal.stats().bytes_written;
        let new = fold.shelf.in_memory().map(|(id, bytes)| (id, bytes.clone())).collect();
        self.journal.snapshot_with(fold.lsn, fold.save(), new, fold.pages());
    }

    /// Pages that are durable leave the memory.
    pub fn settle(&self, fold: &mut Fold) {
        let oldest = |fold: &Fold| fold.shelf.in_memory().map(|(id, _)| id).next();
        while let Some(id) = oldest(fold).filter(|id| self.parts.has(*id)) {
            fold.shelf.release(id);
        }
    }
}
