//! Where merged windows are kept: the trait, one in memory, and the write-back cache before it.
//!
//! A store is working state as of a record, never the truth: what [`Windows`] writes, it
//! writes whole, all that changed up to one record, so that what is found again is exactly
//! the fold as of that record.

use super::window::{Window, WindowKey};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::BTreeMap;

/// What a store says when it cannot go on; the process then ends and folds again.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// A keeper of windows.
pub trait Store: Send {
    /// A window as it was written last.
    ///
    /// # Errors
    /// The store's.
    fn get(&mut self, key: WindowKey) -> Result<Option<Window>, StoreError>;

    /// Keeps windows, sorted by key, and the bridge's other state, all as of record `lsn`:
    /// found again together or not at all.
    ///
    /// # Errors
    /// The store's.
    fn write(&mut self, lsn: u64, state: &dyn Fn() -> Vec<u8>, changed: &[(WindowKey, &Window)]) -> Result<(), StoreError>;

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

    fn write(&mut self, lsn: u64, state: &dyn Fn() -> Vec<u8>, changed: &[(WindowKey, &Window)]) -> Result<(), StoreError> {
        self.windows.extend(changed.iter().map(|(key, window)| (*key, (*window).clone())));
        self.state = Some((lsn, state()));
        Ok(())
    }

    fn forget(&mut self, before_ms: i64) {
        self.windows.retain(|(_, size, start), _| start.saturating_add(*size) >= before_ms);
    }
}

#[derive(Default)]
struct Cached {
    window: Window,
    changed: bool,
    /// Logged clock when it was last asked for.
    used_ms: i64,
}

/// Windows with a write-back cache before their store.
pub struct Windows {
    store: Box<dyn Store>,
    cache: HashMap<WindowKey, Cached>,
    changed: usize,
}

impl Default for Windows {
    fn default() -> Self {
        Self::new(Box::new(Memory::default()))
    }
}

impl Windows {
    /// Windows of a store.
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { store, cache: HashMap::new(), changed: 0 }
    }

    /// Windows in memory that the store does not have as they are.
    pub fn changed(&self) -> usize {
        self.changed
    }

    /// Windows in memory.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// Brings a window into memory, where it stays until the next [`Windows::flush`].
    ///
    /// # Errors
    /// The store's.
    pub fn load(&mut self, key: WindowKey, now_ms: i64) -> Result<&Window, StoreError> {
        Ok(&self.slot(key, now_ms)?.window)
    }

    fn slot(&mut self, key: WindowKey, now_ms: i64) -> Result<&mut Cached, StoreError> {
        let slot = match self.cache.entry(key) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                // What is nowhere is remembered as empty, and never written unless it changes.
                place.insert(Cached { window: self.store.get(key)?.unwrap_or_default(), changed: false, used_ms: 0 })
            }
        };
        slot.used_ms = now_ms;
        Ok(slot)
    }

    /// A window that is in memory.
    pub fn peek(&self, key: WindowKey) -> Option<&Window> {
        self.cache.get(&key).map(|c| &c.window)
    }

    /// Changes a window, unless `change` says that it did not.
    ///
    /// # Errors
    /// The store's.
    pub fn change(&mut self, key: WindowKey, now_ms: i64, change: impl FnOnce(&mut Window) -> bool) -> Result<bool, StoreError> {
        let slot = self.slot(key, now_ms)?;
        let is_new = change(&mut slot.window);
        if is_new && !std::mem::replace(&mut slot.changed, true) {
            self.changed += 1;
        }
        Ok(is_new)
    }

    /// Writes what changed, as of `lsn`, and lets go of what nobody asked for since `idle_ms`.
    ///
    /// # Errors
    /// The store's; nothing is let go of then.
    pub fn flush(&mut self, lsn: u64, state: &dyn Fn() -> Vec<u8>, idle_ms: i64, keep_max: usize) -> Result<(), StoreError> {
        let mut changed: Vec<(WindowKey, &Window)> = self.cache.iter().filter(|(_, c)| c.changed).map(|(k, c)| (*k, &c.window)).collect();
        changed.sort_unstable_by_key(|(key, _)| *key);
        self.store.write(lsn, state, &changed)?;
        self.changed = 0;
        self.cache.retain(|_, c| {
            c.changed = false;
            c.used_ms >= idle_ms
        });
        if self.cache.len() > keep_max {
            self.cache = HashMap::new();
        }
        self.cache.shrink_to(self.cache.len() * 2);
        Ok(())
    }

    /// Lets go of what the store has anyway, once more than `keep_max` windows are in memory.
    pub fn trim(&mut self, keep_max: usize) {
        if self.cache.len() > keep_max.max(self.changed * 2) {
            self.cache.retain(|_, c| c.changed);
        }
    }

    /// Windows that ended before this time are not asked for again.
    pub fn forget(&mut self, before_ms: i64) {
        let mut gone = 0;
        self.cache.retain(|(_, size, start), c| {
            let stays = start.saturating_add(*size) >= before_ms;
            gone += usize::from(!stays && c.changed);
            stays
        });
        self.changed -= gone;
        self.store.forget(before_ms);
    }
}
