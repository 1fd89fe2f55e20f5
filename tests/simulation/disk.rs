//! A disk that holds a log of frames and snapshots: what was synced stays, unless it is lost,
//! restored from a backup, damaged, or cut behind a snapshot. The real journal has
//! power cuts of its own (`gateway/journal/src/tests/power_cut.rs`); this one is for speed.

use crate::crossed;
use replica::frame::Marks;
use replica::limits::{FUTURE_MS_MAX, UNSET_FUTURE_MS_MAX};
use replica::outbox::Pages;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

/// Kind of the record that begins a boot.
pub const BOOT: u8 = 1;

/// Pages by number. Shared by nobody: what a process holds of its disk it holds as of a moment.
#[derive(Debug, Clone, Default)]
pub struct Kept(pub BTreeMap<u64, Arc<[u8]>>);

impl Pages for Kept {
    fn read(&self, id: u64) -> Option<Arc<[u8]>> {
        self.0.get(&id).cloned()
    }
}

/// The state as of a record, and the pages that it names.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub lsn: u64,
    pub state: Rc<Vec<u8>>,
    pub pages: Rc<Vec<u64>>,
    /// The log up to there said which windows there are.
    pub is_configured: bool,
}

/// A reading in the log, as the oracle knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub boot: u64,
    pub seq: u64,
    pub message: u64,
    pub series: u32,
    pub time_ms: i64,
    pub value: f64,
    pub leaves: bool,
    /// The logged clock when it came.
    pub arrival_ms: i64,
    /// It came before the clock was set and waits for its date, or waited; `time_ms` is what is known now.
    pub undated: Option<Undated>,
}

/// What is to date a reading once the clock is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Undated {
    /// So long behind its arrival.
    Relative(i64),
    /// Its own time, if that does not lie in the future.
    Own(i64),
}

impl Fact {
    /// Its date if the logged clock was so far behind; 0: if nobody ever said.
    pub fn date(&self, behind_ms: i64) -> i64 {
        let arrival_ms = self.arrival_ms + behind_ms;
        let latest_ms = if behind_ms == 0 { UNSET_FUTURE_MS_MAX } else { arrival_ms + FUTURE_MS_MAX };
        let said_ms = match self.undated {
            None => return self.time_ms,
            Some(Undated::Relative(after_ms)) => arrival_ms + after_ms,
            Some(Undated::Own(time_ms)) => time_ms,
        };
        if (0..=latest_ms).contains(&said_ms) { said_ms } else { arrival_ms }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub first: u64,
    pub marks: [u64; 4],
    pub records: Vec<(u8, Vec<u8>)>,
    pub facts: Vec<Fact>,
    /// The clock came to be set: by which record, and how far the logged one had been behind.
    pub set: Option<(u64, i64)>,
    /// Ordinary messages of its clients, and of the cloud by their names there.
    pub crossed: Vec<crossed::Fact>,
    pub received: Vec<(u64, u64)>,
}

impl Frame {
    pub fn last(&self) -> u64 {
        self.first + self.records.len() as u64 - 1
    }

    /// Whether a boot begins in it, which says which windows there are.
    pub fn begins(&self) -> bool {
        self.records.iter().any(|(kind, _)| *kind == BOOT)
    }

    pub fn records(&self) -> impl Iterator<Item = (u64, u8, &[u8])> {
        self.records.iter().enumerate().map(|(i, (kind, payload))| (self.first + i as u64, *kind, payload.as_slice()))
    }
}

#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub frames: Vec<Rc<Frame>>,
    /// Last durable record.
    pub end: u64,
    pub marks: [u64; 4],
    /// Oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Those that a snapshot names.
    pub pages: Kept,
    /// Boots whose records it holds, or held behind its snapshots, and up to which seq.
    pub lineage: BTreeMap<u64, u64>,
    /// Of all records that it was given: who has the same folded the same.
    pub hash: u64,
    /// Of each record, the hash of its boot's log up to there, as the oracle has it.
    pub boots: Rc<Vec<(u64, u64)>>,
    /// It takes nothing more.
    pub full: bool,
    /// Part of the log was lost to damage.
    pub damaged: bool,
    /// It was cut behind a snapshot.
    pub is_cut: bool,
    /// Of the copy of a machine that went on as well: what the oracle calls its records of a boot.
    pub alias: Option<Alias>,
}

/// What two machines that share a boot have apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    pub boot: u64,
    /// The last record that both have.
    pub at: u64,
    /// The name of the copy's part behind it.
    pub name: u64,
}

/// The hash of a log by one more frame.
pub fn chained(before: u64, records: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, records).hash(&mut hasher);
    hasher.finish()
}

impl Disk {
    pub fn append(&mut self, frame: Rc<Frame>) {
        assert!(frame.first > self.end, "frames follow one another");
        self.hash = chained(self.hash, &frame.records);
        let boots = Rc::make_mut(&mut self.boots);
        for (lsn, kind, payload) in frame.records() {
            let before = boots.last().filter(|_| kind != BOOT).map_or(0, |(_, hash)| *hash);
            boots.push((lsn, chained(before, &[(kind, payload)])));
        }
        self.end = frame.last();
        self.marks = frame.marks;
        let Marks { boot, base, .. } = Marks::of(frame.marks);
        if boot != 0 {
            let alias = self.alias.filter(|alias| alias.boot == boot);
            self.lineage.insert(alias.map_or(boot, |alias| alias.name), self.end - base);
        }
        self.frames.push(frame);
    }

    /// The hash of a boot's log up to a record.
    pub fn hash_at(&self, lsn: u64) -> Option<u64> {
        self.boots.binary_search_by_key(&lsn, |(at, _)| *at).ok().map(|at| self.boots[at].1)
    }

    /// What the oracle calls a boot whose records are here, or the boot of one of them.
    pub fn name(&self, boot: u64, seq: u64) -> u64 {
        self.alias.filter(|alias| alias.boot == boot && seq > alias.at).map_or(boot, |alias| alias.name)
    }

    /// Cuts what the oldest kept snapshot makes unnecessary; keeps the `keep` newest snapshots.
    pub fn trim(&mut self, keep: usize) {
        if self.snapshots.len() > keep {
            self.snapshots.drain(..self.snapshots.len() - keep);
        }
        if let Some(lsn) = self.snapshots.first().map(|s| s.lsn) {
            let kept = self.frames.len();
            self.frames.retain(|frame| frame.last() > lsn);
            self.is_cut |= self.frames.len() < kept;
        }
        self.tidy();
    }

    /// Pages go that no snapshot names.
    pub fn tidy(&mut self) {
        let Self { snapshots, pages, .. } = self;
        pages.0.retain(|id, _| snapshots.iter().any(|s| s.pages.binary_search(id).is_ok()));
    }

    /// Whether what is kept up to a record says which windows there are.
    pub fn is_configured(&self, lsn: u64) -> bool {
        self.snapshots.last().is_some_and(|saved| saved.is_configured)
            || self.frames.iter().any(|frame| frame.first <= lsn && frame.begins())
    }

    /// Loses the frame at `index` if it lies in the middle; gives its records' facts.
    pub fn damage(&mut self, index: usize) -> Option<Rc<Frame>> {
        if index + 1 >= self.frames.len() {
            return None;
        }
        self.damaged = true;
        Some(self.frames.remove(index))
    }
}
