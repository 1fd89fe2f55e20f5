//! What of the fold leaves its memory: snapshots, and the pages that they name. See README.md
//! for what is kept where, and why pages are not in sled.

use crate::limits::{
    LINK_CHANCE, MARKS_BYTES_MAX, MARKS_SHARE, PAGES_BYTES_MAX, ROOM_SEGMENTS, SHED_SHARE, SNAPSHOT_AGE, SNAPSHOT_PAUSE,
    SNAPSHOT_PAUSE_PRESSED, SNAPSHOT_RECORDS, SNAPSHOT_SHARE,
};
use journal::{Journal, Parts, Stats};
use replica::fold::Fold;
use replica::outbox::Pages;
use replica::record::Record;
use replica::shed;
use std::sync::Arc;
use std::time::Instant;
use tracing::{info, warn};

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
    began: Instant,
    /// The record that gave up last.
    shed_lsn: u64,
    /// Readings are refused at the limit since this record, or since more was given up for it.
    refused_lsn: Option<u64>,
    /// The last record of [`Snapshots::eased`], and how many of them followed each other.
    eased: (u64, u8),
    /// That windows are given up was said, and goes on.
    said: bool,
}

impl Snapshots {
    /// For a log whose newest snapshot is as of record `lsn`.
    pub fn new(journal: Journal, lsn: u64) -> Self {
        let now = Instant::now();
        Self {
            parts: journal.parts(),
            journal,
            lsn,
            bytes: 0,
            at: now,
            began: now,
            shed_lsn: 0,
            refused_lsn: None,
            eased: (0, 0),
            said: false,
        }
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
        if fold.lsn == self.lsn || self.at.elapsed() < SNAPSHOT_PAUSE_PRESSED {
            return false;
        }
        let stats = self.journal.stats();
        // On a full disk a snapshot may fail as well: not so often then. At the limit one surely frees
        // something where there is a segment behind the one under way.
        if is_pressed(&stats) && (stats.room.is_ok() || (stats.is_short && stats.segments > 1)) {
            return true;
        }
        if self.at.elapsed() < SNAPSHOT_PAUSE {
            return false;
        }
        is_pressed(&stats)
            || self.at.elapsed() >= SNAPSHOT_AGE
            || fold.shelf.memory_bytes() > PAGES_BYTES_MAX
            || stats.bytes_written - self.bytes > stats.limit_bytes / SNAPSHOT_SHARE
    }

    /// Whether readings are refused at the limit although what was held has gone, and nothing comes that a snapshot could be
    /// of: the newest two are still those of before, and stay until a record lets others take their place. Where two
    /// records did not help, no third is wanted.
    pub fn is_stale(&self, fold: &Fold) -> bool {
        // One that is under way is not folded yet.
        if fold.lsn != self.lsn
            || self.eased.0 > fold.lsn
            || self.at.elapsed() < SNAPSHOT_PAUSE
            || (self.eased.0 == fold.lsn && self.eased.1 >= 2)
        {
            return false;
        }
        let stats = self.journal.stats();
        stats.room.is_err() && stats.is_short && fold.held_bytes(0) + ROOM_SEGMENTS * stats.segment_bytes <= stats.limit_bytes
    }

    /// What [`Snapshots::is_stale`] asked for is the record `lsn`.
    pub fn eased(&mut self, lsn: u64) {
        self.eased = (lsn, if lsn == self.eased.0 + 1 { self.eased.1 + 1 } else { 1 });
    }

    /// Hands one over to be written.
    pub fn save(&mut self, fold: &Fold) {
        self.at = Instant::now();
        self.lsn = fold.lsn;
        self.bytes = self.journal.stats().bytes_written;
        let new = fold.shelf.in_memory().map(|(id, bytes)| (id, bytes.clone())).collect();
        self.journal.snapshot_with(fold.lsn, fold.save(), new, fold.pages());
    }

    /// What must be given up so that the log has room for what comes (protocol §4): nothing as
    /// long as raw log can go instead, which only takes a snapshot. A link that is back may drain what
    /// a process finds at its start, unless what comes meanwhile has no room.
    pub fn relieve(&mut self, fold: &Fold) -> Option<Record<'static>> {
        if fold.lsn < self.shed_lsn {
            return None;
        }
        let stats = self.journal.stats();
        let marks: u64 = fold.boots.iter().map(|p| p.marks.bytes()).sum();
        let marks_max = (stats.limit_bytes / MARKS_SHARE).min(MARKS_BYTES_MAX);
        if marks > marks_max
            && let Some((boot, born)) = shed::nameless(fold, marks_max / 2)
        {
            info!(boot = format!("{boot:016x}"), born, "windows given up long ago are counted together from here on");
            return Some(Record::Unnamed { boot, born });
        }
        let held = fold.held_bytes(0);
        let snapshots = stats.snapshots_bytes + stats.next_bytes;
        let needed = held + stats.waste_bytes + snapshots + ROOM_SEGMENTS * stats.segment_bytes;
        // Whatever takes the room, two snapshots have let go of all that could go.
        let refuses = stats.is_short && stats.room.is_err();
        self.refused_lsn = refuses.then(|| self.refused_lsn.unwrap_or(fold.lsn));
        let is_stuck = self.refused_lsn.is_some_and(|lsn| self.journal.snapshots().get(1).is_some_and(|second| *second > lsn));
        if needed <= stats.limit_bytes && !is_stuck {
            // Said again when it begins again, not each time that a little more is given up.
            self.said &= needed > stats.limit_bytes / 2;
            return None;
        }
        if self.began.elapsed() < LINK_CHANCE && !is_pressed(&stats) {
            return None;
        }
        let excess = needed.saturating_sub(stats.limit_bytes) + stats.limit_bytes / SHED_SHARE;
        let (boot, version) = shed::oldest(fold, excess)?;
        if !std::mem::replace(&mut self.said, true) {
            warn!(
                limit_bytes = stats.limit_bytes,
                held_bytes = held,
                "[log] limit is reached: the oldest windows are given up, counted shed"
            );
        }
        info!(boot = format!("{boot:016x}"), version, "windows given up");
        Some(Record::Shed { boot, version })
    }

    /// What [`Snapshots::relieve`] asked for is the record `lsn`.
    pub fn relieved(&mut self, lsn: u64) {
        self.shed_lsn = lsn;
        self.refused_lsn = None;
    }

    /// Pages that are durable leave the memory; for the others the log keeps room.
    pub fn settle(&self, fold: &mut Fold) {
        let oldest = |fold: &Fold| fold.shelf.in_memory().next().filter(|(id, page)| self.parts.has(*id, page)).map(|(id, _)| id);
        while let Some(id) = oldest(fold) {
            fold.shelf.release(id);
        }
        self.journal.foresee(fold.shelf.memory_bytes() as u64);
    }
}

/// Whether the log has little room left, all counted that the newest snapshot allows to free.
fn is_pressed(stats: &Stats) -> bool {
    stats.room.as_ref().map_or(true, |room| *room < 2 * stats.segment_bytes)
}
