//! Where pages are: those that are young in memory, the others with their keeper.
//!
//! The fold makes pages in an order that the log alone decides, so a page's number stands for
//! the same bytes whenever the same log is folded again. Where the log's end was lost, other pages get
//! the numbers of those that went with it: their keeper must not have kept these, and bytes that are
//! not what a page says of itself are no page of this log.

use crate::limits::{PAGE_ENTRIES, PAGE_MARKS};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Who keeps pages that have left the fold's memory.
pub trait Pages: Send + Sync {
    /// A page's bytes as they were made; `None` where it has none, or only damaged ones.
    fn read(&self, id: u64) -> Option<Arc<[u8]>>;
}

/// What is known of a page of some kind without reading it.
pub(crate) trait Paged {
    /// Its number.
    fn id(&self) -> u64;
}

/// All pages of a fold, by number.
#[derive(Clone)]
pub struct Shelf {
    /// Number of the last page made.
    pub(crate) last: u64,
    /// Entries of a page.
    pub(crate) page_entries: usize,
    /// Marks of a page.
    pub(crate) page_marks: usize,
    /// Alerts of a page, as the living boot's record says; 0: there are none.
    pub(crate) page_alerts: usize,
    memory: BTreeMap<u64, Arc<[u8]>>,
    memory_bytes: usize,
    keeper: Option<Arc<dyn Pages>>,
}

impl Default for Shelf {
    fn default() -> Self {
        let (page_entries, page_marks) = (PAGE_ENTRIES, PAGE_MARKS);
        Self { last: 0, page_entries, page_marks, page_alerts: 0, memory: BTreeMap::new(), memory_bytes: 0, keeper: None }
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("last", &self.last).field("memory", &self.memory.keys()).finish_non_exhaustive()
    }
}

impl Shelf {
    /// Pages that leave the memory are found again here.
    pub fn keep_in(&mut self, keeper: Arc<dyn Pages>) {
        self.keeper = Some(keeper);
    }

    /// Pages have so many entries, or marks, from here on; they are the same for the same number only.
    pub fn set_page_entries(&mut self, entries: usize) {
        self.page_entries = entries.clamp(1, PAGE_ENTRIES);
        self.page_marks = self.page_entries.min(PAGE_MARKS);
    }

    /// Pages have so many alerts from here on; 0: there are none.
    pub(crate) fn set_page_alerts(&mut self, alerts: u64) {
        self.page_alerts = usize::try_from(alerts).unwrap_or(usize::MAX);
    }

    pub(crate) fn put(&mut self, id: u64, bytes: Vec<u8>) {
        self.last = self.last.max(id);
        self.memory_bytes += bytes.len();
        self.memory.insert(id, bytes.into());
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<[u8]>> {
        self.memory.get(&id).cloned().or_else(|| self.keeper.as_ref()?.read(id))
    }

    /// A page that nobody needs, or that its keeper now has, leaves the memory.
    pub fn release(&mut self, id: u64) {
        if let Some(bytes) = self.memory.remove(&id) {
            self.memory_bytes -= bytes.len();
        }
    }

    /// Lets go of all pages but those that stay.
    pub(crate) fn retain<P: Paged>(&mut self, pages: &mut Vec<P>, stays: impl Fn(&P) -> bool) {
        pages.extract_if(.., |page| !stays(page)).for_each(|page| self.release(page.id()));
    }

    /// The page of this number is lost.
    pub(crate) fn lose<P: Paged>(&mut self, pages: &mut Vec<P>, id: u64) -> Option<P> {
        let at = pages.iter().position(|page| page.id() == id)?;
        self.release(id);
        Some(pages.remove(at))
    }

    /// Pages in memory, oldest first.
    pub fn in_memory(&self) -> impl Iterator<Item = (u64, &Arc<[u8]>)> {
        self.memory.iter().map(|(id, bytes)| (*id, bytes))
    }

    /// Bytes of the pages in memory.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

/// Pages kept in memory, for tests.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Kept(pub BTreeMap<u64, Arc<[u8]>>);

#[cfg(test)]
impl Pages for Kept {
    fn read(&self, id: u64) -> Option<Arc<[u8]>> {
        self.0.get(&id).cloned()
    }
}
