//! A merged window as it is kept: the entries it is the sum of, and what was published of it.
//!
//! Windows ↔ bytes: the number of windows; of each its series, size and start as differences,
//! the number of its entries, and what was published; of each entry its source; then all
//! entries as one block of crate `telemetry`. So many neighbours of one series are short.

use schemas::DecodeError;
use schemas::wire::{self, Reader};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;

/// Series, size in ms, start.
pub type WindowKey = (u32, i64, i64);

/// Windows in one piece of bytes.
pub const WINDOWS_MAX: usize = 1 << 12;
/// Entries in one piece: far more sources than any window has.
pub const ENTRIES_MAX: usize = 1 << 16;

/// One boot's entry of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The boot, by its number at the cloud.
    pub source: u32,
    /// Seq of the record that opened it.
    pub born: u64,
    /// Seq of the last record that changed it.
    pub version: u64,
    /// Its readings.
    pub aggregate: Aggregate,
}

/// What was published of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// From 1; 0 when it never was.
    pub revision: u64,
    /// The logged clock then.
    pub at_ms: i64,
    /// Contract §4.
    pub complete: bool,
}

/// A window; of a size that is added up from smaller ones, it has no entries of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    /// Sorted by (born, source).
    pub entries: Vec<Held>,
    /// What was published.
    pub published: Published,
}

impl Window {
    /// Joins an entry: the higher version stays. Whether that changed anything.
    pub fn join(&mut self, new: Held) -> bool {
        match self.entries.binary_search_by_key(&(new.born, new.source), |e| (e.born, e.source)) {
            Ok(at) if self.entries[at].version >= new.version => false,
            Ok(at) => {
                self.entries[at] = new;
                true
            }
            Err(at) => {
                // Most windows have one entry for good: room for more would be most of what they take.
                self.entries.reserve_exact(usize::from(self.entries.is_empty()));
                self.entries.insert(at, new);
                true
            }
        }
    }

    /// Joins an entry of a boot part of whose log is gone. The gateway may have told of it before, when
    /// it still had all, in entries that were born or sealed with other records. Those of one fold never
    /// share a record; so of two that do, the one born first stays, and no reading counts twice.
    /// Whether that changed anything, and which entries gave way: their birth, version, and the
    /// readings that the one that stays may lack, at most.
    pub fn join_holed(&mut self, new: Held) -> (bool, Vec<(u64, u64, u64)>) {
        let meets = |e: &Held| e.source == new.source && e.born != new.born && e.born <= new.version && new.born <= e.version;
        let lacks = |loser: &Held, reach: u64| if loser.version > reach { loser.aggregate.count() } else { 0 };
        let older = self.entries.iter().filter(|e| meets(e) && e.born < new.born).map(|e| e.version).max();
        if let Some(reach) = older {
            return (false, vec![(new.born, new.version, lacks(&new, reach))]);
        }
        let met: Vec<_> = self.entries.iter().filter(|e| meets(e)).map(|e| (e.born, e.version, lacks(e, new.version))).collect();
        let source = new.source;
        if !self.join(new) {
            return (false, Vec::new());
        }
        self.entries.retain(|e| e.source != source || met.iter().all(|(born, ..)| *born != e.born));
        (true, met)
    }

    /// The entry of a name.
    pub fn entry(&self, source: u32, born: u64) -> Option<&Held> {
        let at = self.entries.binary_search_by_key(&(born, source), |e| (e.born, e.source)).ok()?;
        Some(&self.entries[at])
    }
}

/// Windows, sorted by key, as bytes.
pub fn encode<'a>(windows: impl ExactSizeIterator<Item = (WindowKey, &'a Window)>) -> Vec<u8> {
    let mut head = Vec::new();
    let mut sources = Vec::new();
    let mut entries = Vec::new();
    wire::put_varint(&mut head, windows.len() as u64);
    let mut before = (0u32, 0i64, 0i64);
    for (key, window) in windows {
        wire::put_varint(&mut head, u64::from(key.0.wrapping_sub(before.0)));
        wire::put_zigzag(&mut head, key.1.wrapping_sub(before.1));
        wire::put_zigzag(&mut head, key.2.wrapping_sub(before.2));
        wire::put_varint(&mut head, (window.entries.len() as u64) << 1 | u64::from(window.published.complete));
        wire::put_varint(&mut head, window.published.revision);
        if window.published.revision > 0 {
            wire::put_zigzag(&mut head, window.published.at_ms.wrapping_sub(key.2));
        }
        for e in &window.entries {
            wire::put_varint(&mut sources, u64::from(e.source));
            let (series, size_ms, start_ms) = key;
            entries.push(Entry { series, size_ms, start_ms, born: e.born, version: e.version, aggregate: e.aggregate.clone() });
        }
        before = key;
    }
    head.extend_from_slice(&sources);
    head.extend_from_slice(&block::encode(&entries));
    head
}

/// The windows of [`encode`].
///
/// # Errors
/// For bytes that it did not write.
pub fn decode(bytes: &[u8]) -> Result<Vec<(WindowKey, Window)>, DecodeError> {
    let mut r = Reader::new(bytes);
    let count = r.varint()?;
    if count > WINDOWS_MAX as u64 {
        return Err(DecodeError::TooLong { length: count, max: WINDOWS_MAX });
    }
    let mut found: Vec<(WindowKey, Window, usize)> = Vec::with_capacity(count as usize);
    let mut before = (0u32, 0i64, 0i64);
    let mut total = 0usize;
    for _ in 0..count {
        let series = u32::try_from(r.varint()?).map_err(|_| DecodeError::Invalid("series"))?;
        before.0 = before.0.wrapping_add(series);
        before.1 = before.1.wrapping_add(r.zigzag()?);
        before.2 = before.2.wrapping_add(r.zigzag()?);
        let own = r.varint()?;
        let revision = r.varint()?;
        let at_ms = if revision > 0 { before.2.wrapping_add(r.zigzag()?) } else { 0 };
        let published = Published { revision, at_ms, complete: own & 1 == 1 };
        let entries = usize::try_from(own >> 1).unwrap_or(usize::MAX);
        total = total.saturating_add(entries);
        if total > ENTRIES_MAX {
            return Err(DecodeError::TooLong { length: total as u64, max: ENTRIES_MAX });
        }
        found.push((before, Window { entries: Vec::with_capacity(entries), published }, entries));
    }
    let mut sources = Vec::with_capacity(total);
    for _ in 0..total {
        sources.push(u32::try_from(r.varint()?).map_err(|_| DecodeError::Invalid("source"))?);
    }
    let mut entries = block::decode(r.rest(), total.max(1))?.into_iter().zip(sources);
    let mut windows = Vec::with_capacity(found.len());
    for (key, mut window, count) in found {
        for _ in 0..count {
            let Some((e, source)) = entries.next() else { return Err(DecodeError::Invalid("a window without its entries")) };
            if (e.series, e.size_ms, e.start_ms) != key {
                return Err(DecodeError::Invalid("an entry of another window"));
            }
            window.entries.push(Held { source, born: e.born, version: e.version, aggregate: e.aggregate });
        }
        windows.push((key, window));
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(seed: u64) -> Window {
        let mut w = Window::default();
        for i in 0..seed % 4 {
            let mut aggregate = Aggregate::new(seed as i64 + 3, seed as f64 / 7.0);
            aggregate.add(seed as i64 + 5, 21.5);
            w.join(Held { source: (seed % 3) as u32 + i as u32, born: 1 + seed % 2, version: 9 + i, aggregate });
        }
        w.published = Published { revision: seed % 3, at_ms: (seed % 3).min(1) as i64 * seed as i64 * 7, complete: seed % 3 == 2 };
        w
    }

    proptest! {
        #[test]
        fn windows_read_back_bit_for_bit(keys in prop::collection::btree_map((0u32..9, 1i64..4, -50i64..50), 0u64..1_000, 0..40)) {
            let windows: Vec<_> = keys.into_iter().map(|((s, z, t), seed)| ((s, z * 1_000, t * 1_000), window(seed))).collect();
            let bytes = encode(windows.iter().map(|(k, w)| (*k, w)));
            prop_assert_eq!(decode(&bytes).unwrap(), windows);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            drop(decode(&bytes));
        }
    }

    #[test]
    fn of_entries_that_share_a_record_the_one_born_first_stays() {
        let held = |source, born, version, count: u64| {
            let mut aggregate = Aggregate::new(0, 1.0);
            (1..count).for_each(|_| aggregate.add(0, 1.0));
            Held { source, born, version, aggregate }
        };
        let births = |w: &Window| w.entries.iter().map(|e| (e.source, e.born)).collect::<Vec<_>>();
        let (mut w, mut other) = (Window::default(), Window::default());
        // Told before the damage: records 5 to 20. Refolded without 5: 8 to 20, 25 to 30.
        assert_eq!(w.join_holed(held(1, 5, 20, 4)), (true, vec![]));
        assert_eq!(w.join_holed(held(1, 8, 20, 3)), (false, vec![(8, 20, 0)]));
        assert_eq!(w.join_holed(held(1, 25, 30, 2)), (true, vec![]));
        assert_eq!(w.join_holed(held(2, 8, 20, 3)), (true, vec![]), "of another boot");
        // In any order.
        for (born, version, count) in [(25, 30, 2), (8, 20, 3)] {
            assert_eq!(other.join_holed(held(1, born, version, count)), (true, vec![]));
        }
        assert!(other.join_holed(held(2, 8, 20, 3)).0);
        assert_eq!(other.join_holed(held(1, 5, 20, 4)), (true, vec![(8, 20, 0)]));
        assert_eq!((births(&w), &w), (vec![(1, 5), (2, 8), (1, 25)], &other));
        // What goes on beyond the one that stays may be missing.
        assert_eq!(w.join_holed(held(1, 18, 24, 6)), (false, vec![(18, 24, 6)]));
        assert_eq!(w.join_holed(held(1, 5, 26, 7)), (true, vec![(25, 30, 2)]));
        assert_eq!(w.join_holed(held(1, 5, 26, 7)), (false, vec![]));
    }

    #[test]
    fn an_older_version_changes_nothing() {
        let mut w = Window::default();
        let held = |version, value| Held { source: 1, born: 2, version, aggregate: Aggregate::new(0, value) };
        assert!(w.join(held(5, 1.0)) && !w.join(held(5, 2.0)) && !w.join(held(4, 2.0)) && w.join(held(6, 3.0)));
        assert_eq!(w.entry(1, 2).map(|e| e.aggregate.sum()), Some(3.0));
    }
}
