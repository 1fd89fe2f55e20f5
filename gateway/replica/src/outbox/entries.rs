//! The sealed entries of one boot that `applied` does not cover: the young ones as they are,
//! the others in pages.
//!
//! Invariants: what is in a page is never changed; a page is cut from the youngest entries by a
//! rule that sees nothing but the log; an entry whose version is at or below the floor (what is
//! applied, or given up) counts as gone wherever it still lies.

use super::marks::Mark;
use super::page::{self, Page, name_of};
use super::shelf::Shelf;
use super::{Before, EntryName, Sealed};
use crate::limits::HELD_NAMES_MAX;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use telemetry::entry::Entry;

/// Sealed entries of a boot.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    pub(crate) tail: BTreeMap<EntryName, Sealed>,
    /// By number.
    pub(crate) pages: Vec<Page>,
    /// The boot of the cloud that acknowledged these by name, with their versions. Not part of
    /// the fold: forgotten at a restart.
    held: (u64, HashMap<EntryName, u64>),
}

/// What is held back for now is no part of what the log says.
impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        (&self.tail, &self.pages) == (&other.tail, &other.pages)
    }
}

/// Some of a boot's entries.
#[derive(Debug, Default)]
pub struct Batch {
    /// Entries in order of their birth; all that were born with one of them are there too.
    pub entries: Vec<Entry>,
    /// Births before which an interval can end, with where the log stood there.
    pub steps: BTreeMap<u64, Before>,
    /// There are others, all born later.
    pub more: bool,
    /// Pages that cannot be read: what they hold is not among the entries.
    pub unreadable: Vec<u64>,
}

impl Entries {
    /// Those of pages, by number.
    pub(crate) fn of_pages(pages: Vec<Page>) -> Self {
        Self { pages, ..Self::default() }
    }

    /// Entries, those included that lie in a page some of which is gone.
    pub fn len(&self) -> usize {
        self.tail.len() + self.pages.iter().map(|p| p.entries as usize).sum::<usize>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.pages.is_empty()
    }

    /// Entries of versions beyond `floor` that the cloud of that boot is not known to hold; of a
    /// page that reaches over the floor, its share.
    pub fn waiting(&self, floor: u64, cloud_boot: u64) -> u64 {
        let young = self.tail.values().filter(|sealed| sealed.version > floor).count() as u64;
        let paged = self.pages.iter().filter(|p| p.version.1 > floor).map(|page| {
            let (low, high) = (page.version.0.max(floor + 1), page.version.1);
            let share = u128::from(page.entries) * u128::from(high - low + 1) / u128::from(high - page.version.0 + 1);
            share.max(1) as u64
        });
        let held = if self.held.0 == cloud_boot && cloud_boot != 0 { self.held.1.len() as u64 } else { 0 };
        (young + paged.sum::<u64>()).saturating_sub(held)
    }

    /// The same, less those that any boot of the cloud is known to hold.
    pub fn unheld(&self, floor: u64) -> u64 {
        self.waiting(floor, self.held.0)
    }

    /// Bytes of its pages.
    pub fn bytes(&self) -> u64 {
        self.pages.iter().map(|p| u64::from(p.bytes)).sum()
    }

    /// So many bytes a few of those in no page yet come to on a line, and how many they are; of those in pages, if all are.
    pub fn weighed(&self) -> (u64, u64) {
        let few: Vec<Entry> = self.tail.iter().take(WEIGHED).map(|(name, sealed)| page::entry(*name, sealed.clone())).collect();
        if few.is_empty() {
            return (self.bytes(), self.pages.iter().map(|page| u64::from(page.entries)).sum());
        }
        (schemas::pack::compress(&telemetry::block::encode(&few)).len() as u64, few.len() as u64)
    }

    /// How many are in no page yet.
    pub fn young_len(&self) -> usize {
        self.tail.len()
    }

    /// Its pages, by number.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Those in no page yet.
    pub fn young(&self) -> impl Iterator<Item = (&EntryName, &Sealed)> {
        self.tail.iter()
    }

    /// The cloud of boot `cloud_boot` has these, at these versions.
    pub fn hold(&mut self, cloud_boot: u64, names: impl IntoIterator<Item = (EntryName, u64)>) {
        if self.held.0 != cloud_boot {
            self.held = (cloud_boot, HashMap::new());
        }
        // What is not remembered is sent once more, covered.
        let room = HELD_NAMES_MAX.saturating_sub(self.held.1.len());
        self.held.1.extend(names.into_iter().take(room));
    }

    /// So many more can be remembered as held.
    pub fn held_room(&self) -> usize {
        HELD_NAMES_MAX.saturating_sub(self.held.1.len())
    }

    /// Whether the cloud of that boot is known to have it at that version.
    pub fn is_held(&self, cloud_boot: u64, name: &EntryName, version: u64) -> bool {
        self.held.0 == cloud_boot && cloud_boot != 0 && self.held.1.get(name) == Some(&version)
    }

    /// What the cloud is known to hold, in order: the cloud's boot, names and versions.
    pub fn held_names(&self) -> (u64, BTreeMap<EntryName, u64>) {
        (self.held.0, self.held.1.iter().map(|(name, version)| (*name, *version)).collect())
    }

    pub(crate) fn insert(&mut self, name: EntryName, sealed: Sealed, shelf: &mut Shelf) {
        self.tail.insert(name, sealed);
        while self.tail.len() >= 2 * shelf.page_entries {
            self.cut(shelf);
        }
    }

    /// Puts all into pages: no entry will follow.
    pub(crate) fn finish(&mut self, shelf: &mut Shelf) {
        while !self.tail.is_empty() {
            self.cut(shelf);
        }
    }

    /// Makes a page of the entries born first.
    fn cut(&mut self, shelf: &mut Shelf) {
        let rest = self.tail.keys().nth(shelf.page_entries).copied();
        let rest = rest.map_or_else(BTreeMap::new, |name| self.tail.split_off(&name));
        let cut = std::mem::replace(&mut self.tail, rest);
        let (page, bytes) = page::encode(shelf.last + 1, cut.into_iter().collect());
        shelf.put(page.id, bytes);
        self.pages.push(page);
    }

    /// Lets go of all whose version is at or below `floor`, as far as they need no rewriting.
    pub(crate) fn trim(&mut self, floor: u64, shelf: &mut Shelf) {
        self.tail.retain(|_, entry| entry.version > floor);
        shelf.retain(&mut self.pages, |page| page.version.1 > floor);
    }

    /// Those of versions beyond `floor`, up to `version`, in order of birth, with steps among
    /// them; and the pages that cannot be read.
    pub(crate) fn up_to(&self, shelf: &Shelf, floor: u64, version: u64) -> (Vec<Mark>, BTreeMap<u64, Before>, Vec<u64>) {
        let (mut marks, mut steps, mut unreadable) = (Vec::new(), BTreeMap::new(), Vec::new());
        let wanted = |v: u64| v > floor && v <= version;
        for (name, sealed) in self.tail.iter().filter(|(_, sealed)| wanted(sealed.version)) {
            steps.insert(name.born, sealed.before);
            marks.push(Mark { name: *name, version: sealed.version, count: sealed.aggregate.count() });
        }
        for page in self.pages.iter().filter(|p| p.version.1 > floor && p.version.0 <= version) {
            let Some(content) = shelf.get(page.id).and_then(|bytes| page::decode(page, &bytes).ok()) else {
                unreadable.push(page.id);
                continue;
            };
            steps.extend(content.steps);
            let given_up = content.entries.iter().filter(|e| wanted(e.version));
            marks.extend(given_up.map(|e| Mark { name: name_of(e), version: e.version, count: e.aggregate.count() }));
        }
        marks.sort_unstable_by_key(|mark| mark.name);
        (marks, steps, unreadable)
    }

    /// The page of this number is lost.
    pub(crate) fn lose(&mut self, id: u64, shelf: &mut Shelf) -> Option<Page> {
        shelf.lose(&mut self.pages, id)
    }

    /// Forgets names that `applied` covers.
    pub(crate) fn covered(&mut self, applied: u64) {
        self.held.1.retain(|_, version| *version > applied);
    }

    /// The entries born first, of versions beyond `floor`, less those that `cloud_boot` is known
    /// to hold: some `max` of them, and all that were born with the last.
    pub fn oldest(&self, shelf: &Shelf, floor: u64, cloud_boot: u64, max: usize) -> Batch {
        let mut wanted = max.max(1);
        loop {
            let batch = self.gather(shelf, floor, cloud_boot, wanted);
            if !batch.entries.is_empty() || !batch.more {
                return batch;
            }
            // One record opened more than that.
            wanted *= 2;
        }
    }

    fn gather(&self, shelf: &Shelf, floor: u64, cloud_boot: u64, max: usize) -> Batch {
        let mut batch = Batch::default();
        let mut lowest = Lowest { found: BTreeMap::new(), max, dropped: u64::MAX };
        let wanted = self.tail.iter().filter(|(name, sealed)| sealed.version > floor && !self.is_held(cloud_boot, name, sealed.version));
        for (name, sealed) in wanted {
            if lowest.is_beyond(name.born) {
                batch.more = true;
                break;
            }
            batch.steps.insert(name.born, sealed.before);
            lowest.take(page::entry(*name, sealed.clone()));
        }
        let mut by_birth: Vec<&Page> = self.pages.iter().filter(|p| p.version.1 > floor).collect();
        by_birth.sort_unstable_by_key(|p| (p.born.0, p.id));
        for page in by_birth {
            if lowest.is_beyond(page.born.0) {
                batch.more = true;
                break;
            }
            let Some(content) = shelf.get(page.id).and_then(|bytes| page::decode(page, &bytes).ok()) else {
                batch.unreadable.push(page.id);
                continue;
            };
            batch.steps.extend(content.steps);
            for e in content.entries {
                if e.version > floor && !self.is_held(cloud_boot, &name_of(&e), e.version) {
                    lowest.take(e);
                }
            }
        }
        let Lowest { mut found, dropped, .. } = lowest;
        if dropped != u64::MAX {
            batch.more = true;
            found.retain(|name, _| name.born < dropped);
        }
        batch.entries = found.into_values().collect();
        batch
    }

    /// The youngest entries, less those that `cloud_boot` is known to hold, youngest first.
    pub fn newest(&self, shelf: &Shelf, floor: u64, cloud_boot: u64, max: usize) -> Vec<Entry> {
        let wanted = |name: &EntryName, version: u64| version > floor && !self.is_held(cloud_boot, name, version);
        let tail = self.tail.iter().rev().filter(|(name, sealed)| wanted(name, sealed.version));
        let mut out: Vec<Entry> = tail.take(max).map(|(name, sealed)| page::entry(*name, sealed.clone())).collect();
        for page in self.pages.iter().rev() {
            if out.len() >= max {
                break;
            }
            let Some(content) = shelf.get(page.id).and_then(|bytes| page::decode(page, &bytes).ok()) else { break };
            let mut young: Vec<Entry> = content.entries.into_iter().filter(|e| wanted(&name_of(e), e.version)).collect();
            young.sort_unstable_by_key(|e| std::cmp::Reverse(name_of(e)));
            young.truncate(max - out.len());
            out.append(&mut young);
        }
        out
    }
}

/// So many are weighed.
const WEIGHED: usize = 256;

/// The entries of the lowest names, so many at most.
struct Lowest {
    found: BTreeMap<EntryName, Entry>,
    max: usize,
    /// Lowest birth of those that had no place.
    dropped: u64,
}

impl Lowest {
    /// Whether nothing born at `born` or later can have a place.
    fn is_beyond(&self, born: u64) -> bool {
        self.found.len() >= self.max && self.found.last_key_value().is_some_and(|(last, _)| born > last.born)
    }

    fn take(&mut self, e: Entry) {
        let name = name_of(&e);
        if self.found.len() < self.max {
            self.found.insert(name, e);
            return;
        }
        let beaten = match self.found.last_entry() {
            Some(last) if name < *last.key() => last.remove_entry().0.born,
            _ => {
                self.dropped = self.dropped.min(name.born);
                return;
            }
        };
        self.dropped = self.dropped.min(beaten);
        self.found.insert(name, e);
    }
}
