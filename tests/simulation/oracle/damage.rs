//! What damage in the middle of logs may cost: what lay in the damaged part, counted as given up,
//! and nothing else.

use super::{AlertId, Boot, Window, number, series_number};
use crate::disk::{Disk, Fact, Frame};
use replica::frame::Marks;
use replica::record::{Record, SessionEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use telemetry::window;

/// What was damaged so far.
#[derive(Debug, Clone, Default)]
pub struct Damage {
    /// Records that are gone.
    lost: BTreeSet<(Boot, u64)>,
    /// Series whose definition is gone, with the boots that knew no other.
    undefined: BTreeSet<(Boot, u8)>,
    /// Boots that nobody can tell the window sizes of.
    unconfigured: BTreeSet<Boot>,
    /// Windows of boots some readings of which are gone.
    torn: BTreeSet<(Boot, Window)>,
    /// From that seq on what was shown may not be made again: it may have followed from what is gone.
    unsure: BTreeMap<Boot, u64>,
    /// Boots of which records are gone, and those that went on behind them: what is counted of one may
    /// be counted of the next.
    reached: BTreeSet<Boot>,
    /// By gateway, how often.
    gateways: BTreeMap<u8, u64>,
    /// Gateways that forgot who spoke to them.
    forgetful: BTreeSet<u8>,
    /// Boots in which readings waited for their date.
    undated: BTreeSet<Boot>,
    /// What lies behind a snapshot is missed only by a gateway that folds its past again.
    covered: Vec<Hole>,
}

/// A frame that is gone.
#[derive(Debug, Clone)]
pub struct Hole {
    pub(super) gateway: u8,
    pub(super) frame: Rc<Frame>,
    /// Boots that went on behind it.
    later: BTreeSet<u64>,
    /// Boots of which no record and no snapshot says any more which windows there are.
    unconfigured: BTreeSet<u64>,
}

impl Hole {
    /// Of a gateway's log, which had this frame before the one that is at `index` now.
    pub fn new(gateway: &str, frame: Rc<Frame>, disk: &Disk, index: usize) -> Self {
        let boot = frame.marks[2];
        let later = disk.frames[index..].iter().map(|frame| frame.marks[2]).filter(|other| *other != boot).collect();
        let is_known = disk.snapshots.iter().any(|saved| saved.is_configured);
        let headless = disk.frames.iter().take_while(|frame| !is_known && !frame.begins());
        let unconfigured = headless.map(|frame| frame.marks[2]).collect();
        Self { gateway: number(gateway), frame, later, unconfigured }
    }
}

impl Damage {
    /// A frame is gone that a start of the gateway misses, or `is_covered`.
    pub fn add(&mut self, hole: Hole, is_covered: bool, sizes_ms: &[i64]) {
        if is_covered {
            self.covered.push(hole);
        } else {
            self.miss(hole, sizes_ms);
        }
    }

    /// A cloud lost what it had: all of the past counts.
    pub fn uncover(&mut self, sizes_ms: &[i64]) {
        for hole in std::mem::take(&mut self.covered) {
            self.miss(hole, sizes_ms);
        }
    }

    fn miss(&mut self, Hole { gateway, frame, later, unconfigured }: Hole, sizes_ms: &[i64]) {
        *self.gateways.entry(gateway).or_default() += 1;
        let Marks { boot, base, .. } = Marks::of(frame.marks);
        let name = (gateway, boot);
        self.reached.extend(later.iter().chain([&boot]).map(|boot| (gateway, *boot)));
        self.lost.extend((frame.first..=frame.last()).map(|lsn| (name, lsn - base)));
        self.unsure.entry(name).and_modify(|seq| *seq = (*seq).min(frame.first - base)).or_insert(frame.first - base);
        self.unsure.extend(later.iter().map(|boot| ((gateway, *boot), 0)));
        for fact in &frame.facts {
            let start = |size: i64| (fact.series as u8, size, window::start_of(fact.time_ms, size));
            self.torn.extend(sizes_ms.iter().map(|size| (name, start(*size))));
        }
        self.unconfigured.extend(unconfigured.into_iter().map(|boot| (gateway, boot)));
        for (_, kind, payload) in frame.records() {
            match Record::decode(kind, payload) {
                Ok((_, Record::Series { name, .. })) => {
                    self.undefined.extend(later.iter().chain([&boot]).map(|boot| ((gateway, *boot), series_number(name))));
                }
                Ok((_, Record::Session { event: SessionEvent::Opened { .. }, .. })) => _ = self.forgetful.insert(gateway),
                _ => {}
            }
        }
    }

    /// A boot begins. What damage took from one whose end the cloud had been told of is given up with the boot
    /// that is under way when that is acknowledged, which may have begun behind the damage.
    pub fn begun(&mut self, boot: Boot) {
        if self.times(boot.0) > 0 {
            self.reached.insert(boot);
        }
    }

    /// In a boot, readings wait for their date.
    pub fn undated(&mut self, boot: Boot) {
        self.undated.insert(boot);
    }

    /// Whether readings waited for their date in a log that was damaged.
    pub fn hides_dates(&self, gateway: u8) -> bool {
        self.times(gateway) > 0 && self.undated.iter().any(|boot| boot.0 == gateway)
    }

    /// How often a log of that gateway was damaged.
    pub fn times(&self, gateway: u8) -> u64 {
        self.gateways.get(&gateway).copied().unwrap_or(0)
    }

    /// Whether a boot's readings may be counted otherwise than they were logged.
    pub fn reaches(&self, boot: Boot) -> bool {
        self.reached.contains(&boot)
    }

    /// Whether a reading is gone with its record.
    pub fn is_lost(&self, gateway: u8, boot: u64, seq: u64) -> bool {
        self.lost.contains(&((gateway, boot), seq))
    }

    /// Whether a reading is gone with its record, with its series' name, or with what says which windows there are.
    pub fn takes(&self, gateway: u8, fact: &Fact) -> bool {
        let boot = (gateway, fact.boot);
        self.is_lost(gateway, fact.boot, fact.seq)
            || self.undefined.contains(&(boot, fact.series as u8))
            || self.unconfigured.contains(&boot)
    }

    /// Whether a reading may be missing from its window of that size, or be counted as given up although
    /// the cloud has it: it is gone here, or others of that window are, and its entry is not as it was.
    pub fn may_shed(&self, gateway: u8, fact: &Fact, size_ms: i64) -> bool {
        let key = (fact.series as u8, size_ms, window::start_of(fact.time_ms, size_ms));
        let is_undated = || self.times(gateway) > 0 && self.undated.contains(&(gateway, fact.boot));
        self.takes(gateway, fact) || is_undated() || self.torn.contains(&((gateway, fact.boot), key))
    }

    /// Whether a gateway may take a redelivery for something new.
    pub fn forgets(&self, gateway: u8) -> bool {
        self.forgetful.contains(&gateway)
    }

    /// Whether an alert may be another one now, or none.
    pub fn is_unsure(&self, id: &AlertId) -> bool {
        self.unsure.get(&(id.0, id.1)).is_some_and(|from| id.2 >= *from)
    }
}
