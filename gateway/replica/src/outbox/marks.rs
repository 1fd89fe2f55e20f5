//! Entries that were given up: a mark for each, until the cloud has counted it.
//!
//! Layout of a page of marks, packed: how many, then one column after the other, in order of
//! birth: series, size, start (zigzag, differences to the mark before), birth (varint,
//! difference), version − birth, readings; then the steps, as a page of entries has them.

use super::page::{get_steps, put_steps};
use super::shelf::{Paged, Shelf};
use super::{Before, EntryName};
use schemas::message::ShedMark;
use schemas::wire::{self, Reader};
use schemas::{DecodeError, pack};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Uncompressed bytes of one mark at most, step included.
const MARK_BYTES_MAX: usize = 128;

/// An entry that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub name: EntryName,
    pub version: u64,
    pub count: u64,
}

/// How marks come to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    /// The record, in the numbers of their boot.
    pub shed_seq: u64,
    /// What is applied there.
    pub applied: u64,
    /// The size whose entries count readings.
    pub base_ms: i64,
}

/// What is known of a page of marks without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkPage {
    /// Its number, as pages of entries have one.
    pub id: u64,
    /// Marks in it.
    pub marks: u32,
    /// Bytes that it takes.
    pub bytes: u32,
    /// Readings of entries that the cloud had none of when they were given up.
    pub readings: u64,
    /// Lowest and highest birth.
    pub born: (u64, u64),
    /// The record that gave them up, in the numbers of their boot.
    pub shed_seq: u64,
    /// The boot of the cloud that has counted them, 0 for none.
    pub told: u64,
    /// Highest version. Programs that did not note it kept pages until `shed_seq`, which is higher.
    #[serde(default = "unknown")]
    pub version: u64,
}

fn unknown() -> u64 {
    u64::MAX
}

impl Paged for MarkPage {
    fn id(&self) -> u64 {
        self.id
    }
}

impl MarkPage {
    /// Whether the cloud can have nothing of what these marks stand for.
    pub fn is_unoffered(&self, offered: u64) -> bool {
        self.told == 0 && self.born.0 > offered
    }
}

/// The marks of one boot.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    pub(crate) pages: Vec<MarkPage>,
    /// Pages that a boot of the cloud has counted; the log may not say so yet. Not part of the fold.
    counted: (u64, BTreeSet<u64>),
}

/// What is not logged yet is no part of what the log says.
impl PartialEq for Marks {
    fn eq(&self, other: &Self) -> bool {
        self.pages == other.pages
    }
}

/// What is to become of a page of marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes, in its turn.
    Goes,
    /// It is under way, perhaps in vain: no interval may end beyond its births meanwhile.
    Waits,
    /// It needs no more: it was counted, or what goes next is taken only behind it.
    Done,
}

/// Some of a boot's marks.
#[derive(Debug, Default)]
pub struct MarkBatch {
    /// The pages that they are of.
    pub pages: Vec<u64>,
    /// The marks.
    pub marks: Vec<ShedMark>,
    /// Births before which an interval can end.
    pub steps: BTreeMap<u64, Before>,
    /// Lowest birth of those that are left, if any.
    pub next_born: Option<u64>,
    /// Pages that cannot be read.
    pub unreadable: Vec<u64>,
}

fn encode(id: u64, made: Made, marks: &[Mark], steps: &BTreeMap<u64, Before>) -> (MarkPage, Vec<u8>) {
    let mut page = MarkPage {
        id,
        marks: marks.len() as u32,
        bytes: 0,
        readings: 0,
        born: (u64::MAX, 0),
        shed_seq: made.shed_seq,
        told: 0,
        version: marks.iter().map(|mark| mark.version).max().unwrap_or(0),
    };
    let mut columns: [Vec<u8>; 6] = Default::default();
    let mut last = EntryName { born: 0, series: 0, size_ms: 0, start_ms: 0 };
    for Mark { name, version, count } in marks {
        // Born before `applied` and alive: the cloud has it, and says what it lacks.
        page.readings += if name.born > made.applied && name.size_ms == made.base_ms { *count } else { 0 };
        page.born = (page.born.0.min(name.born), page.born.1.max(name.born));
        wire::put_zigzag(&mut columns[0], i64::from(name.series) - i64::from(last.series));
        wire::put_zigzag(&mut columns[1], name.size_ms.wrapping_sub(last.size_ms));
        wire::put_zigzag(&mut columns[2], name.start_ms.wrapping_sub(last.start_ms));
        wire::put_varint(&mut columns[3], name.born - last.born);
        wire::put_varint(&mut columns[4], version - name.born);
        wire::put_varint(&mut columns[5], *count);
        last = *name;
    }
    let mut plain = Vec::new();
    wire::put_varint(&mut plain, marks.len() as u64);
    columns.iter().for_each(|column| plain.extend_from_slice(column));
    // Entries that are not given up have steps among these, and a page has room for one a mark.
    let within = steps.range(page.born.0..=page.born.1).take(marks.len());
    put_steps(&mut plain, within.map(|(born, before)| (*born, *before)));
    let bytes = pack::compress(&plain);
    page.bytes = bytes.len() as u32;
    (page, bytes)
}

/// What is known of the log just before some births.
type Steps = Vec<(u64, Before)>;

fn decode(page: &MarkPage, bytes: &[u8]) -> Result<(Vec<ShedMark>, Steps), DecodeError> {
    let count = page.marks as usize;
    let plain = pack::decompress(bytes, MARK_BYTES_MAX * (count + 1))?;
    let mut r = Reader::new(&plain);
    if r.varint()? != count as u64 || bytes.len() != page.bytes as usize {
        return Err(DecodeError::Invalid("a page of marks of another length"));
    }
    let blank = ShedMark { series: 0, size_ms: 0, start_ms: 0, born: 0, shed_seq: page.shed_seq, version: 0, count: 0 };
    let mut marks = vec![blank; count];
    let mut last = 0i64;
    for mark in &mut marks {
        last = last.wrapping_add(r.zigzag()?);
        mark.series = u32::try_from(last).map_err(|_| DecodeError::Invalid("a series' number"))?;
    }
    last = 0;
    for mark in &mut marks {
        last = last.wrapping_add(r.zigzag()?);
        mark.size_ms = last;
    }
    last = 0;
    for mark in &mut marks {
        last = last.wrapping_add(r.zigzag()?);
        mark.start_ms = last;
    }
    let mut born = 0u64;
    for mark in &mut marks {
        born = born.wrapping_add(r.varint()?);
        mark.born = born;
    }
    for mark in &mut marks {
        mark.version = mark.born.wrapping_add(r.varint()?);
    }
    for mark in &mut marks {
        mark.count = r.varint()?;
    }
    if (marks.first().map(|m| m.born), marks.last().map(|m| m.born)) != (Some(page.born.0), Some(page.born.1)) {
        return Err(DecodeError::Invalid("another page of marks"));
    }
    let steps = get_steps(&mut r, count)?;
    Ok((marks, steps))
}

impl Marks {
    /// Those of pages, by number.
    pub(crate) fn of_pages(pages: Vec<MarkPage>) -> Self {
        Self { pages, ..Self::default() }
    }

    /// Marks that the cloud is not known to have counted for good.
    pub fn len(&self) -> usize {
        self.pages.iter().map(|p| p.marks as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Its pages, by number.
    pub fn pages(&self) -> &[MarkPage] {
        &self.pages
    }

    /// Bytes of its pages.
    pub fn bytes(&self) -> u64 {
        self.pages.iter().map(|p| u64::from(p.bytes)).sum()
    }

    /// Readings given up that no acknowledgement counts yet.
    pub fn untold(&self) -> u64 {
        self.pages.iter().filter(|p| p.told == 0 && !self.counted.1.contains(&p.id)).map(|p| p.readings).sum()
    }

    /// The cloud of boot `cloud_boot` has counted those of these pages; the log is to say so.
    pub fn count(&mut self, cloud_boot: u64, pages: &[u64]) {
        if self.counted.0 != cloud_boot {
            self.counted = (cloud_boot, BTreeSet::new());
        }
        self.counted.1.extend(pages);
    }

    /// Whether the cloud of that boot has counted those of a page.
    pub fn is_counted(&self, cloud_boot: u64, page: &MarkPage) -> bool {
        cloud_boot != 0 && (page.told == cloud_boot || (self.counted.0 == cloud_boot && self.counted.1.contains(&page.id)))
    }

    /// Pages that were counted, of which the log does not say so.
    pub fn unlogged(&self) -> Vec<u64> {
        self.counted.1.iter().copied().collect()
    }

    /// Takes marks, in order of birth.
    pub(crate) fn add(&mut self, made: Made, marks: &[Mark], steps: &BTreeMap<u64, Before>, shelf: &mut Shelf) {
        for chunk in marks.chunks(shelf.page_marks) {
            let (page, bytes) = encode(shelf.last + 1, made, chunk, steps);
            shelf.put(page.id, bytes);
            self.pages.push(page);
        }
    }

    /// The cloud of boot `cloud_boot` has counted those of these pages.
    pub(crate) fn told(&mut self, cloud_boot: u64, pages: &[u64]) {
        for page in self.pages.iter_mut().filter(|p| pages.contains(&p.id)) {
            page.told = cloud_boot;
            self.counted.1.remove(&page.id);
        }
    }

    /// None of them is known to be counted.
    pub(crate) fn recount(&mut self) {
        self.pages.iter_mut().for_each(|page| page.told = 0);
    }

    /// Lets go of those that the cloud counted, once `applied` has passed all versions in them:
    /// from there on it ignores them, whatever becomes of it.
    pub(crate) fn trim(&mut self, applied: u64, shelf: &mut Shelf) {
        shelf.retain(&mut self.pages, |page| page.told == 0 || page.version.min(page.shed_seq) > applied);
    }

    /// Those that were never `offered`, of pages born up to `born`: they are here no longer.
    pub(crate) fn take_unoffered(&mut self, offered: u64, born: u64, shelf: &mut Shelf) -> Vec<MarkPage> {
        let gone = self.pages.extract_if(.., |page| page.is_unoffered(offered) && page.born.1 <= born);
        gone.inspect(|page| shelf.release(page.id)).collect()
    }

    pub(crate) fn lose(&mut self, id: u64, shelf: &mut Shelf) -> Option<MarkPage> {
        self.counted.1.remove(&id);
        shelf.lose(&mut self.pages, id)
    }

    /// The pages whose marks were born first, of those born at or before `to` that go: as many
    /// as have some `max` marks together, and one at least.
    pub fn oldest(&self, shelf: &Shelf, to: u64, max: usize, fate: impl Fn(&MarkPage) -> Fate) -> MarkBatch {
        let mut batch = MarkBatch::default();
        let mut by_birth: Vec<&MarkPage> = Vec::new();
        for page in self.pages.iter().filter(|p| p.born.0 <= to) {
            match fate(page) {
                Fate::Goes => by_birth.push(page),
                Fate::Waits => batch.next_born = Some(batch.next_born.map_or(page.born.0, |born| born.min(page.born.0))),
                Fate::Done => {}
            }
        }
        by_birth.sort_unstable_by_key(|p| (p.born.0, p.id));
        for page in by_birth {
            if !batch.marks.is_empty() && batch.marks.len() + page.marks as usize > max {
                batch.next_born = Some(batch.next_born.map_or(page.born.0, |born| born.min(page.born.0)));
                break;
            }
            match shelf.get(page.id).and_then(|bytes| decode(page, &bytes).ok()) {
                Some((marks, steps)) => {
                    batch.pages.push(page.id);
                    batch.marks.extend(marks);
                    batch.steps.extend(steps);
                }
                None => batch.unreadable.push(page.id),
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_of_entries_that_stay_spoil_no_page() {
        let mark = |born| Mark { name: EntryName { born, series: 1, size_ms: 10, start_ms: 0 }, version: born, count: 2 };
        let steps: BTreeMap<u64, Before> = (1..=100).map(|born| (born, Before { readings: born, clock_ms: 5, hash: born })).collect();
        let (mut all, mut shelf) = (Marks::default(), Shelf::default());
        all.add(Made { shed_seq: 101, applied: 0, base_ms: 10 }, &[mark(3), mark(90)], &steps, &mut shelf);
        let batch = all.oldest(&shelf, u64::MAX, usize::MAX, |_| Fate::Goes);
        assert_eq!((batch.marks.len(), batch.unreadable.len()), (2, 0));
        assert!(batch.steps.iter().all(|step| steps.get(step.0) == Some(step.1)));
    }

    proptest! {
        #[test]
        fn marks_read_back(
            list in proptest::collection::vec((1u64..1_000, any::<u32>(), prop_oneof![Just(10i64), Just(60)], any::<i64>(), 0u64..5_000, 1u64..1 << 40), 1..60),
            page_entries in 1usize..20,
            applied in 0u64..1_000,
        ) {
            let mut marks: Vec<Mark> = list.into_iter().map(|(born, series, size_ms, start_ms, span, count)| {
                Mark { name: EntryName { born, series, size_ms, start_ms }, version: born + span, count }
            }).collect();
            marks.sort_by_key(|m| m.name);
            let steps: BTreeMap<u64, Before> = marks.iter().map(|m| (m.name.born, Before { readings: m.name.born, clock_ms: -3, hash: 9 })).collect();
            let (mut all, mut shelf) = (Marks::default(), Shelf::default());
            shelf.set_page_entries(page_entries);
            let some = all.oldest(&shelf, 500, 7, |_| Fate::Goes);
            prop_assert!(some.marks.is_empty());
            all.add(Made { shed_seq: 7_000, applied, base_ms: 10 }, &marks, &steps, &mut shelf);
            let batch = all.oldest(&shelf, u64::MAX, usize::MAX, |_| Fate::Goes);
            prop_assert_eq!(&batch.steps, &steps);
            for page in all.pages() {
                let bytes = shelf.get(page.id).unwrap();
                let (low, high) = page.born;
                for other in [(low + 1, high), (low, high + 1)].map(|born| MarkPage { born, ..*page }) {
                    prop_assert!(decode(&other, &bytes).is_err());
                }
                let longer = MarkPage { bytes: page.bytes + 1, ..*page };
                prop_assert!(decode(&longer, &bytes).is_err());
            }
            let back: Vec<Mark> = batch.marks.iter().map(|m| {
                let name = EntryName { born: m.born, series: m.series, size_ms: m.size_ms, start_ms: m.start_ms };
                Mark { name, version: m.version, count: m.count }
            }).collect();
            prop_assert_eq!(back, marks.clone());
            let beyond: u64 = marks.iter().filter(|m| m.name.born > applied && m.name.size_ms == 10).map(|m| m.count).sum();
            prop_assert_eq!(all.untold(), beyond);
            all.trim(9_000, &mut shelf);
            prop_assert_eq!(all.len(), marks.len(), "nothing goes that was not counted");
            all.count(5, &batch.pages);
            prop_assert_eq!(all.untold(), 0, "at once");
            prop_assert!(all.pages().iter().all(|page| all.is_counted(5, page) && !all.is_counted(6, page)));
            prop_assert_eq!(all.unlogged(), batch.pages.clone());
            all.told(5, &batch.pages);
            prop_assert!(all.unlogged().is_empty() && all.untold() == 0 && all.pages().iter().all(|page| all.is_counted(5, page)));
            let last = marks.iter().map(|m| m.version).max().unwrap();
            all.trim(last - 1, &mut shelf);
            prop_assert!(!all.is_empty());
            all.trim(last, &mut shelf);
            prop_assert!(all.is_empty() && shelf.memory_bytes() == 0);
        }
    }
}
