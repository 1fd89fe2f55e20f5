//! Where merged windows are kept: the trait, one in memory, and the layers before it.
//!
//! A store is working state as of a record, never the truth: what [`Windows`] gives it, it
//! keeps whole, all that changed up to one record, so that what is found again is exactly
//! the fold as of that record. It does so beside the work: what is being written is read where it
//! lies meanwhile, and what changes then is part of the next write.
//!
//! Layers, the newest first: windows that changed since the last write began; those that are being
//! written; generations of those that the store has as they are. A window is what the first
//! layer that has it says, else what the store says.

use super::window::{Window, WindowKey};
use crate::limits::{CLEAN_WINDOWS_MAX, GENERATION_WINDOWS};
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a store says when it cannot go on; the process then ends and folds again.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Makes bytes of what was taken off the bridge: beside the work, as it may take long.
pub type Save = Box<dyn Fn() -> Vec<u8> + Send + Sync>;

/// All that changed up to a record, and the bridge's other state then: found again together or
/// not at all.
pub struct Batch {
    /// The record.
    pub lsn: u64,
    /// Windows that changed, as they are.
    pub windows: HashMap<WindowKey, Window>,
    /// All else, as bytes.
    pub state: Save,
}

impl Batch {
    /// The windows in the order of their keys.
    pub fn sorted(&self) -> Vec<(WindowKey, &Window)> {
        let mut sorted: Vec<(WindowKey, &Window)> = self.windows.iter().map(|(key, window)| (*key, window)).collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        sorted
    }
}

/// A keeper of windows.
pub trait Store: Send {
    /// A window as it was written last; not asked for those of a batch that is being written.
    ///
    /// # Errors
    /// The store's.
    fn get(&mut self, key: WindowKey) -> Result<Option<Window>, StoreError>;

    /// Begins to keep a batch; the one before is [`Store::written`].
    ///
    /// # Errors
    /// The store's.
    fn write(&mut self, batch: Arc<Batch>) -> Result<(), StoreError>;

    /// Whether the last batch is kept; with `wait` it is, once this returns.
    ///
    /// # Errors
    /// The store's.
    fn written(&mut self, wait: bool) -> Result<bool, StoreError>;

    /// Windows that ended before this time are not asked for again and may go.
    fn forget(&mut self, before_ms: i64);
}

/// A store in memory, for tests and simulation.
#[derive(Debug, Default)]
pub struct Memory {
    /// The windows.
    pub windows: BTreeMap<WindowKey, Window>,
    /// Record as of which they are, and the bridge's other state then.
    pub state: Option<(u64, Vec<u8>)>,
}

impl Store for Memory {
    fn get(&mut self, key: WindowKey) -> Result<Option<Window>, StoreError> {
        Ok(self.windows.get(&key).cloned())
    }

    fn write(&mut self, batch: Arc<Batch>) -> Result<(), StoreError> {
        self.windows.extend(batch.windows.iter().map(|(key, window)| (*key, window.clone())));
        self.state = Some((batch.lsn, (batch.state)()));
        Ok(())
    }

    fn written(&mut self, _wait: bool) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn forget(&mut self, before_ms: i64) {
        self.windows.retain(|(_, size, start), _| start.saturating_add(*size) >= before_ms);
    }
}

/// Windows, in the layers before their store and in it.
pub struct Windows {
    store: Box<dyn Store>,
    /// Changed since the last write began.
    young: HashMap<WindowKey, Window>,
    writing: Option<Arc<Batch>>,
    /// The newest first. What was nowhere is there as empty.
    clean: VecDeque<HashMap<WindowKey, Window>>,
}

impl Default for Windows {
    fn default() -> Self {
        Self::new(Box::new(Memory::default()))
    }
}

impl Windows {
    /// Windows of a store.
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { store, young: HashMap::new(), writing: None, clean: VecDeque::new() }
    }

    /// Windows in memory that no write has begun for.
    pub fn changed(&self) -> usize {
        self.young.len()
    }

    /// Windows in memory.
    pub fn cached(&self) -> usize {
        let writing = self.writing.as_ref().map_or(0, |batch| batch.windows.len());
        self.young.len() + writing + self.clean.iter().map(HashMap::len).sum::<usize>()
    }

    /// Brings a window into memory, where it stays until the next [`Windows::trim`] or write.
    ///
    /// # Errors
    /// The store's.
    pub fn load(&mut self, key: WindowKey) -> Result<&Window, StoreError> {
        if self.peek(key).is_none() {
            let window = self.store.get(key)?.unwrap_or_default();
            self.keep(key, window);
        }
        self.peek(key).ok_or_else(|| "a window that was loaded is not there".into())
    }

    /// A window that is in memory.
    pub fn peek(&self, key: WindowKey) -> Option<&Window> {
        let writing = || self.writing.as_ref().and_then(|batch| batch.windows.get(&key));
        let clean = || self.clean.iter().find_map(|generation| generation.get(&key));
        self.young.get(&key).or_else(writing).or_else(clean)
    }

    /// Keeps a window that the store has, or will have, as it is.
    fn keep(&mut self, key: WindowKey, window: Window) {
        match self.clean.front_mut() {
            Some(newest) if newest.len() < GENERATION_WINDOWS => drop(newest.insert(key, window)),
            _ => self.clean.push_front(HashMap::from([(key, window)])),
        }
    }

    /// Changes a window, unless `change` says that it did not.
    ///
    /// # Errors
    /// The store's.
    pub fn change(&mut self, key: WindowKey, change: impl FnOnce(&mut Window) -> bool) -> Result<bool, StoreError> {
        if let Some(window) = self.young.get_mut(&key) {
            return Ok(change(window));
        }
        let written = self.writing.as_ref().and_then(|batch| batch.windows.get(&key)).cloned();
        let known = written.or_else(|| self.clean.iter_mut().find_map(|generation| generation.remove(&key)));
        let mut window = match known {
            Some(window) => window,
            None => self.store.get(key)?.unwrap_or_default(),
        };
        let is_new = change(&mut window);
        if is_new {
            self.young.insert(key, window);
        } else {
            self.keep(key, window);
        }
        Ok(is_new)
    }

    /// Begins to write what changed, as of a record, once the write before is over; whether it did.
    ///
    /// # Errors
    /// The store's.
    pub fn write(&mut self, lsn: u64, state: Save) -> Result<bool, StoreError> {
        if !self.settle(true)? {
            return Ok(false);
        }
        let batch = Arc::new(Batch { lsn, windows: std::mem::take(&mut self.young), state });
        self.writing = Some(batch.clone());
        self.store.write(batch).map(|()| true)
    }

    /// Looks whether a write has ended, or waits for it. Whether none is under way.
    ///
    /// # Errors
    /// The store's.
    pub fn settle(&mut self, wait: bool) -> Result<bool, StoreError> {
        if self.writing.is_some() && self.store.written(wait)? {
            // What was written is the newest of what the store has.
            if let Some(batch) = self.writing.take().and_then(Arc::into_inner) {
                self.clean.push_front(batch.windows);
                self.trim();
            }
        }
        Ok(self.writing.is_none())
    }

    /// Lets go of what the store has anyway, beyond a bound.
    pub fn trim(&mut self) {
        let mut clean: usize = self.clean.iter().map(HashMap::len).sum();
        while clean > CLEAN_WINDOWS_MAX
            && let Some(oldest) = self.clean.pop_back()
        {
            clean -= oldest.len();
        }
    }

    /// As if others had been asked for meanwhile.
    #[cfg(test)]
    pub fn forget_clean(&mut self) {
        self.clean.clear();
    }

    /// Windows that ended before this time are not asked for again.
    pub fn forget(&mut self, before_ms: i64) {
        let stays = |key: &WindowKey| key.2.saturating_add(key.1) >= before_ms;
        self.young.retain(|key, _| stays(key));
        self.clean.iter_mut().for_each(|generation| generation.retain(|key, _| stays(key)));
        self.store.forget(before_ms);
    }
}
