//! Pages: bytes of the owner's that never change, kept by number for as long as a snapshot
//! names them. So a state of any size costs each snapshot only what is new in it.
//!
//! A part holds the pages that were new with one snapshot: `part-NNNNNNNNNNNNNNNNNNNN`, named by
//! its record, written and synced before it. A start knows the pages of parts that a snapshot names,
//! and no others: where the end of a log was lost, a part beyond it may hold other pages under the
//! numbers that come next. Pages whose snapshot was not written yet are made again from the log.
//!
//! Pages of one part go at different times, and a part stays for the last of them. Where what is kept so for
//! others takes too much, those that are needed are copied to the part of the next snapshot.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `TGPART\0\0` |
//! | 8 | 4 | format version |
//! | 12 | 4 | CRC-32C of all that follows, to the pages |
//! | 16 | 8 | the snapshot's record |
//! | 24 | 8 | number of pages |
//! | 32 | 24 each | a page's number (8), offset in the file (8), length (4), CRC-32C (4) |
//! | … | … | the pages |

use crate::Lsn;
use crate::disk::{Disk, put};
use crate::error::{Error, at};
use crate::format::{VERSION, u32_at, u64_at};
use crate::limits::{ANEW_BYTES_MAX, WASTE_SHARE};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// First bytes of a part.
pub const MAGIC: [u8; 8] = *b"TGPART\0\0";
const HEADER: usize = 32;
const SLOT: usize = 24;
/// Name of a part while it is written.
const TEMPORARY: &str = "part.tmp";

/// Where a page lies in its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    id: u64,
    offset: u64,
    bytes: u32,
    crc: u32,
}

/// One part, as its index says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    bytes: u64,
    slots: Vec<Slot>,
}

/// Where the part written with the snapshot as of a record lies.
pub fn path_of(dir: &Path, at: Lsn) -> PathBuf {
    dir.join(format!("part-{at:020}"))
}

/// All pages of a log, to be read by number from any thread.
pub struct Parts {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    index: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    parts: BTreeMap<Lsn, Part>,
    /// Page → its part and its place there.
    pages: BTreeMap<u64, (Lsn, usize)>,
    /// Parts that a durable snapshot names.
    named: HashSet<Lsn>,
    bytes: u64,
    /// Of the parts of the newest snapshot, what it does not need.
    waste: u64,
}

/// A part of which a state needs some pages.
struct Needed {
    lsn: Lsn,
    pages: Vec<u64>,
    /// What these take, and what all takes.
    bytes: u64,
    of: u64,
}

impl Needed {
    fn waste(&self) -> u64 {
        self.of.saturating_sub(self.bytes + HEADER as u64)
    }
}

impl Index {
    fn add(&mut self, at: Lsn, part: Part) {
        self.bytes += part.bytes;
        self.pages.extend(part.slots.iter().enumerate().map(|(place, slot)| (slot.id, (at, place))));
        self.parts.insert(at, part);
    }

    fn remove(&mut self, at: Lsn) {
        let Some(part) = self.parts.remove(&at) else { return };
        self.bytes -= part.bytes;
        for slot in &part.slots {
            if self.pages.get(&slot.id).is_none_or(|(of, _)| *of != at) {
                continue;
            }
            // A copy whose snapshot was never written: what it was copied from is still there.
            let place = |part: &Part| part.slots.binary_search_by_key(&slot.id, |other| other.id).ok();
            match self.parts.iter().rev().find_map(|(lsn, part)| Some((*lsn, place(part)?))) {
                Some(before) => self.pages.insert(slot.id, before),
                None => self.pages.remove(&slot.id),
            };
        }
    }

    /// The parts that hold any of these pages, by record.
    fn needed(&self, pages: &[u64]) -> Vec<Needed> {
        let mut found: BTreeMap<Lsn, Needed> = BTreeMap::new();
        for (id, lsn, slot) in pages.iter().filter_map(|id| self.find(*id).map(|(lsn, slot)| (*id, lsn, slot))) {
            let of = self.parts.get(&lsn).map_or(0, |part| part.bytes);
            let needed = found.entry(lsn).or_insert_with(|| Needed { lsn, pages: Vec::new(), bytes: 0, of });
            needed.pages.push(id);
            needed.bytes += SLOT as u64 + u64::from(slot.bytes);
        }
        found.into_values().collect()
    }

    fn find(&self, id: u64) -> Option<(Lsn, Slot)> {
        let (lsn, place) = *self.pages.get(&id)?;
        Some((lsn, *self.parts.get(&lsn)?.slots.get(place)?))
    }

    /// The part that has a page with these very bytes.
    fn holds(&self, id: u64, page: &[u8]) -> Option<Lsn> {
        let (lsn, slot) = self.find(id)?;
        (slot.bytes as usize == page.len() && slot.crc == crc32c::crc32c(page)).then_some(lsn)
    }
}

/// The records of the parts in a dir, as their names say.
///
/// # Errors
/// The system's.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Lsn>, Error> {
    let names = disk.list(dir).map_err(at(dir))?;
    let mut found: Vec<Lsn> = names.iter().filter_map(|name| name.strip_prefix("part-")?.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

/// Refuses a part that a newer program wrote.
///
/// # Errors
/// [`Error::Newer`].
pub fn check_version(disk: &dyn Disk, dir: &Path, lsn: Lsn) -> Result<(), Error> {
    let path = path_of(dir, lsn);
    let head = disk.read(&path, 0, HEADER).unwrap_or_default();
    if head.len() == HEADER && head[..8] == MAGIC && u32_at(&head, 8) > VERSION {
        return Err(Error::Newer { path, found: u32_at(&head, 8), known: VERSION });
    }
    Ok(())
}

/// Whether a part is whole, every page of it; what is wrong otherwise.
///
/// # Errors
/// In words.
pub fn verify(disk: &dyn Disk, dir: &Path, lsn: Lsn) -> Result<usize, String> {
    let path = path_of(dir, lsn);
    let part = read_index(disk, &path, lsn).map_err(|error| format!("{}: {error}", path.display()))?;
    for slot in &part.slots {
        read_page(disk, &path, slot).map_err(|error| format!("{}: page {}: {error}", path.display(), slot.id))?;
    }
    Ok(part.slots.len())
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read_index(disk: &dyn Disk, path: &Path, lsn: Lsn) -> io::Result<Part> {
    let bytes = disk.size(path)?;
    let head = disk.read(path, 0, HEADER)?;
    if head.len() < HEADER || head[..8] != MAGIC || u64_at(&head, 16) != lsn {
        return Err(damaged("it is no part"));
    }
    let count = usize::try_from(u64_at(&head, 24)).ok().filter(|count| count.saturating_mul(SLOT) as u64 <= bytes);
    let count = count.ok_or_else(|| damaged("its index is longer than the file"))?;
    let index = disk.read(path, HEADER as u64, count * SLOT)?;
    if index.len() < count * SLOT || crc32c::crc32c_append(crc32c::crc32c(&head[16..]), &index) != u32_at(&head, 12) {
        return Err(damaged("the checksum of its index does not match"));
    }
    let slot = |at: usize| Slot {
        id: u64_at(&index, at),
        offset: u64_at(&index, at + 8),
        bytes: u32_at(&index, at + 16),
        crc: u32_at(&index, at + 20),
    };
    Ok(Part { bytes, slots: (0..count).map(|i| slot(i * SLOT)).collect() })
}

fn read_page(disk: &dyn Disk, path: &Path, slot: &Slot) -> io::Result<Vec<u8>> {
    let bytes = disk.read(path, slot.offset, slot.bytes as usize)?;
    if bytes.len() == slot.bytes as usize && crc32c::crc32c(&bytes) == slot.crc {
        Ok(bytes)
    } else {
        Err(damaged("its checksum does not match"))
    }
}

impl Parts {
    /// Finds the parts of a dir. One whose index is damaged is passed over: its pages are told
    /// as missing when they are asked for. One that no snapshot names takes room until there is a
    /// new one, and has no pages.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, named: HashSet<Lsn>) -> Result<Self, Error> {
        let mut index = Index { named, ..Index::default() };
        for lsn in list(&*disk, dir)? {
            check_version(&*disk, dir, lsn)?;
            let path = path_of(dir, lsn);
            match read_index(&*disk, &path, lsn) {
                Ok(part) if index.named.contains(&lsn) => index.add(lsn, part),
                Ok(part) => index.add(lsn, Part { slots: Vec::new(), ..part }),
                Err(error) => tracing::error!(part = %path.display(), %error, "a part is damaged; its pages are lost"),
            }
        }
        Ok(Self { disk, dir: dir.to_owned(), index: Mutex::new(index) })
    }

    /// A page's bytes; `None` where no part has it whole.
    pub fn read(&self, id: u64) -> Option<Vec<u8>> {
        let mut found = self.index.lock().find(id)?;
        loop {
            let (lsn, slot) = found;
            let path = path_of(&self.dir, lsn);
            let error = match read_page(&*self.disk, &path, &slot) {
                Ok(bytes) => return Some(bytes),
                Err(error) => error,
            };
            found = self.index.lock().find(id)?;
            if found == (lsn, slot) {
                tracing::error!(part = %path.display(), page = id, %error, "a page cannot be read");
                return None;
            }
            // It was copied meanwhile, and its part is gone.
        }
    }

    /// Whether a page of these bytes is durable, and named by a durable snapshot: its owner need not
    /// keep it.
    pub fn has(&self, id: u64, page: &[u8]) -> bool {
        let index = self.index.lock();
        index.holds(id, page).is_some_and(|lsn| index.named.contains(&lsn))
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.index.lock().bytes
    }

    /// Of the parts that the newest snapshot written by this process needs, what it does not.
    pub fn waste(&self) -> u64 {
        self.index.lock().waste
    }

    /// Records of the parts that hold any of these pages, which a snapshot needs.
    pub(crate) fn holding(&self, pages: &[u64]) -> Vec<Lsn> {
        let mut index = self.index.lock();
        let needed = index.needed(pages);
        index.waste = needed.iter().map(Needed::waste).sum();
        needed.into_iter().map(|part| part.lsn).collect()
    }

    /// Of the pages that the state as of `lsn` needs, those that are to be written anew, as their parts
    /// are kept for little: of those that waste most of what they take, until the others waste no more than half
    /// of what all may waste.
    pub(crate) fn scattered(&self, lsn: Lsn, pages: &[u64], limit_bytes: u64) -> Vec<(u64, Arc<[u8]>)> {
        let waste_max = limit_bytes / WASTE_SHARE;
        let mut ids = Vec::new();
        {
            let index = self.index.lock();
            let mut needed = index.needed(pages);
            let mut waste: u64 = needed.iter().map(Needed::waste).sum();
            // Where the part of this very record is there, it stays as it is.
            if waste <= waste_max || index.parts.contains_key(&lsn) {
                return Vec::new();
            }
            needed.sort_by_key(|part| std::cmp::Reverse(u128::from(part.waste()) * (1 << 32) / u128::from(part.of.max(1))));
            let mut bytes = 0;
            for part in needed {
                bytes += part.bytes;
                if waste <= waste_max / 2 || (!ids.is_empty() && bytes > waste_max.min(ANEW_BYTES_MAX)) {
                    break;
                }
                waste -= part.waste();
                ids.extend(part.pages);
            }
        }
        // One that cannot be read stays where it is, and is told when its turn comes.
        ids.into_iter().filter_map(|id| Some((id, self.read(id)?.into()))).collect()
    }

    /// Writes those of `pages` that no part has yet, or only with other bytes, and `anew` in any case; they count
    /// once this has returned: so many bytes.
    ///
    /// # Errors
    /// The system's; nothing has changed then.
    pub(crate) fn write(&self, lsn: Lsn, pages: &[(u64, Arc<[u8]>)], anew: &[(u64, Arc<[u8]>)]) -> io::Result<u64> {
        let is_new = |id: u64, page: &[u8]| self.index.lock().holds(id, page).is_none();
        let mut new: Vec<&(u64, Arc<[u8]>)> = pages.iter().filter(|(id, page)| is_new(*id, page)).chain(anew).collect();
        if new.is_empty() {
            return Ok(0);
        }
        // What is young goes first where there are two of a number.
        new.sort_by_key(|(id, _)| *id);
        new.dedup_by_key(|(id, _)| *id);
        let mut offset = (HEADER + new.len() * SLOT) as u64;
        let mut slots = Vec::with_capacity(new.len());
        let mut index = Vec::with_capacity(new.len() * SLOT);
        for (id, page) in &new {
            let bytes = u32::try_from(page.len()).map_err(io::Error::other)?;
            let slot = Slot { id: *id, offset, bytes, crc: crc32c::crc32c(page) };
            index.extend_from_slice(&slot.id.to_le_bytes());
            index.extend_from_slice(&slot.offset.to_le_bytes());
            index.extend_from_slice(&slot.bytes.to_le_bytes());
            index.extend_from_slice(&slot.crc.to_le_bytes());
            slots.push(slot);
            offset += u64::from(bytes);
        }
        let mut head = [0; HEADER];
        head[..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[16..24].copy_from_slice(&lsn.to_le_bytes());
        head[24..].copy_from_slice(&(new.len() as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head[16..]), &index);
        head[12..16].copy_from_slice(&crc.to_le_bytes());
        let pieces: Vec<&[u8]> = [&head[..], &index].into_iter().chain(new.iter().map(|(_, page)| &**page)).collect();
        put(&*self.disk, &self.dir, TEMPORARY, &path_of(&self.dir, lsn), &pieces)?;
        let mut index = self.index.lock();
        // A log that is folded again comes to the same record with the same pages.
        index.remove(lsn);
        index.add(lsn, Part { bytes: offset, slots });
        Ok(offset)
    }

    /// Removes the parts that are not among `named`.
    pub(crate) fn retain(&self, named: &HashSet<Lsn>) {
        self.index.lock().named.clone_from(named);
        let on_disk = list(&*self.disk, &self.dir).unwrap_or_default();
        for lsn in on_disk.into_iter().filter(|lsn| !named.contains(lsn)) {
            match self.disk.remove(&path_of(&self.dir, lsn)) {
                Ok(()) => self.index.lock().remove(lsn),
                Err(error) => tracing::warn!(%error, lsn, "a part that nobody needs cannot be removed"),
            }
        }
    }
}
