//! Where pages are: those that are young in memory, the others with their keeper.
//!
//! The fold makes pages in an order that the log alone decides, so a page's number stands for
//! the same bytes whenever the log is folded again.

use crate::limits::{PAGE_ENTRIES, PAGE_MARKS};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Who keeps pages that have left the fold's memory.
pub trait Pages: Send + Sync {
    /// A page's bytes as they were made; `None` where it has none, or only damaged ones.
    fn read(&self, id: u64) -> Option<Arc<[u8]>>;
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
    memory: BTreeMap<u64, Arc<[u8]>>,
    memory_bytes: usize,
    keeper: Option<Arc<dyn Pages>>,
}

impl Default for Shelf {
    fn default() -> Self {
        let (page_entries, page_marks) = (PAGE_ENTRIES, PAGE_MARKS);
        Self { last: 0, page_entries, page_marks, memory: BTreeMap::new(), memory_bytes: 0, keeper: None }
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
