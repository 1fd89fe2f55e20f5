//! Windows that still grow: when each is sealed, and how many there may be.

use super::undated::{Undated, is_owed};
use super::{Due, Fold};
use crate::limits::OPEN_WINDOWS_MAX;
use crate::outbox::{Before, EntryName, Sealed};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use telemetry::aggregate::Aggregate;
use telemetry::window;

/// The first fold version that bounds the open windows of a series.
const BOUNDED_SINCE: u32 = 3;
/// The first in which no entry is sealed that another reading of the record that opened it may belong to: the
/// reading would open another of the same name, which takes the place of the first.
pub(super) const WHOLE_SINCE: u32 = 10;

/// A window that still grows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Open {
    pub(crate) name: EntryName,
    pub(crate) version: u64,
    pub(crate) before: Before,
    /// Logged clock at birth and at the last change.
    pub(crate) birth_ms: i64,
    pub(crate) change_ms: i64,
    pub(crate) aggregate: Aggregate,
}

/// Open windows of a series that a record opened beyond those that there may be: found without looking at each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd {
    /// So many lie before them.
    first: usize,
    /// By size and start, where they lie.
    later: HashMap<(i64, i64), usize>,
}

impl Crowd {
    fn find(&self, open: &[Open], key: (i64, i64), fits: impl Fn(&Open) -> bool) -> Option<usize> {
        open[..self.first].iter().position(fits).or_else(|| self.later.get(&key).copied())
    }
}

impl Open {
    /// When it is sealed if it stays quiet (protocol §3).
    pub(super) fn due(&self, grace_ms: i64) -> i64 {
        let end = self.name.start_ms.saturating_add(self.name.size_ms);
        let quiet = end.max(self.change_ms).saturating_add(grace_ms);
        quiet.min(end.max(self.birth_ms).saturating_add(self.name.size_ms))
    }

    pub(super) fn sealed(self) -> Sealed {
        Sealed { version: self.version, before: self.before, aggregate: self.aggregate }
    }
}

impl Fold {
    /// Bytes of what is held for the cloud: pages as they are on disk, and what is in none yet,
    /// open windows that leave the site included, at `each` bytes a window.
    pub fn held_bytes(&self, each: u64) -> u64 {
        let paged = self.boots.iter().map(|part| part.entries.bytes() + part.marks.bytes() + part.alerts.bytes()).sum::<u64>();
        let young = self.boots.iter().map(|part| part.entries.young_len()).sum::<usize>();
        let open = self.series.iter().filter(|series| series.leaves).map(|series| series.open.len()).sum::<usize>();
        paged + each.saturating_mul((young + open) as u64)
    }

    /// Puts a reading of the record `seq` into its windows, by the record `version`: the same,
    /// unless it waited for its date, as `waited` did: then only into those that were born with one of them.
    #[inline]
    pub(super) fn place(
        &mut self,
        (seq, version): (u64, u64),
        waited: Option<&[Undated]>,
        before: Before,
        number: u32,
        time_ms: i64,
        value: f64,
    ) {
        let clock_ms = self.clock_ms;
        let is_whole = self.config.fold_version >= WHOLE_SINCE;
        let Some(series) = self.series.get_mut(number as usize) else { return };
        let mut crowd = if self.crowded.is_empty() { None } else { self.crowded.get_mut(&number) };
        for &size_ms in &self.kept_ms {
            let start_ms = window::start_of(time_ms, size_ms);
            // One that was born later may be claimed by less than `seq` (protocol §4).
            let fits = |o: &Open| {
                let is_early = o.name.start_ms == start_ms && o.name.size_ms == size_ms && o.name.born <= seq;
                is_early && waited.is_none_or(|waited| is_owed(waited, number, o.name.born))
            };
            let at = match &crowd {
                None => series.open.iter().position(fits),
                Some(crowd) => crowd.find(&series.open, (size_ms, start_ms), fits),
            };
            if let Some(open) = at.and_then(|at| series.open.get_mut(at)) {
                open.aggregate.add(time_ms, value);
                open.version = version;
                open.change_ms = clock_ms;
                continue;
            }
            if self.config.fold_version >= BOUNDED_SINCE
                && !is_whole
                && let Some(at) = one_too_many(&series.open, size_ms)
            {
                let open = series.open.swap_remove(at);
                born_less(&mut self.births, open.name.born);
                if let Some(part) = self.boots.last_mut() {
                    part.entries.insert(open.name, open.sealed(), &mut self.shelf);
                }
            }
            let name = EntryName { born: seq, series: number, size_ms, start_ms };
            let new = if self.config.group.is_some() { Aggregate::digested } else { Aggregate::new };
            let aggregate = new(time_ms, value);
            let open = Open { name, version, before, birth_ms: clock_ms, change_ms: clock_ms, aggregate };
            let at_ms = open.due(self.config.grace_ms);
            self.dues.push(Reverse(Due { at_ms, series: number, size_ms, start_ms, born: seq }));
            series.open.push(open);
            self.births.entry(seq).or_insert((0, before)).0 += 1;
            if let Some(crowd) = &mut crowd {
                crowd.later.insert((size_ms, start_ms), series.open.len() - 1);
            } else if is_whole && series.open.iter().filter(|o| o.name.size_ms == size_ms).nth(OPEN_WINDOWS_MAX).is_some() {
                crowd = Some(self.crowded.entry(number).or_insert(Crowd { first: series.open.len(), later: HashMap::new() }));
            }
        }
    }
}

/// Which window of that size is sealed before its time, where one more would be too many: the one
/// that changed least lately. A reading that it misses opens another beside it, as any late one.
fn one_too_many(open: &[Open], size_ms: i64) -> Option<usize> {
    let of_size = || open.iter().enumerate().filter(|(_, o)| o.name.size_ms == size_ms);
    of_size().nth(OPEN_WINDOWS_MAX - 1)?;
    of_size().min_by_key(|(_, o)| (o.version, o.name)).map(|(at, _)| at)
}

/// An open entry less was born with that record.
pub(super) fn born_less(births: &mut BTreeMap<u64, (u32, Before)>, born: u64) {
    if let Some((count, _)) = births.get_mut(&born) {
        *count -= 1;
        if *count == 0 {
            births.remove(&born);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::{Fold, FoldConfig};
    use crate::record::{FLAG_LEAVES, Readings, Record, put_reading};
    use crate::rehearse::Rehearsal;

    fn sealed_and_open(fold: &Fold, size_ms: i64) -> (usize, u64) {
        let sealed = fold.boots.iter().flat_map(|p| p.entries.young()).map(|(n, s)| (n.size_ms, s.aggregate.count()));
        let open = fold.series[0].open.iter().map(|o| (o.name.size_ms, o.aggregate.count()));
        let all = sealed.chain(open).filter(|(size, _)| *size == size_ms);
        all.fold((0, 0), |(entries, readings), (_, count)| (entries + 1, readings + count))
    }

    #[test]
    fn a_message_of_more_windows_than_may_be_open_counts_each_reading() {
        let config = FoldConfig { sizes_ms: vec![1_000, 1_500], grace_ms: 60_000, ..FoldConfig::default() };
        let mut r = Rehearsal::new(0, config).unwrap();
        let series = r.series("a", None).unwrap();
        let far = 3 * OPEN_WINDOWS_MAX as i64;
        for _ in 0..2 {
            let mut bytes = Vec::new();
            for step in (0..far).chain(0..far) {
                put_reading(&mut bytes, series, step * 1_500, r.fold.clock_ms, 1.5);
            }
            let message = Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } };
            r.record(0, &message).unwrap();
            let open = |size_ms: i64| r.fold.series[0].open.iter().filter(|o| o.name.size_ms == size_ms).count();
            assert_eq!((open(1_000), open(1_500)), (OPEN_WINDOWS_MAX, OPEN_WINDOWS_MAX));
        }
        assert!(r.fold.crowded.is_empty());
        for size_ms in [1_000, 1_500] {
            let (entries, readings) = sealed_and_open(&r.fold, size_ms);
            assert_eq!(readings, 4 * far as u64);
            // What was sealed after the first message is there once more after the second.
            assert!((far as usize..=2 * far as usize).contains(&entries), "{entries}");
        }
    }

    #[test]
    fn a_mad_clock_opens_so_many_windows_and_no_more() {
        let config = FoldConfig { sizes_ms: vec![1_000, 1_500], grace_ms: 60_000, ..FoldConfig::default() };
        let mut r = Rehearsal::new(0, config).unwrap();
        let series = r.series("a", None).unwrap();
        let mut whole: Option<Fold> = None;
        // There and back: the windows sealed before their time get a late reading each.
        for step in (0..500i64).chain((0..500).rev()) {
            let mut bytes = Vec::new();
            put_reading(&mut bytes, series, step * 1_000, r.fold.clock_ms, 1.5);
            let message = Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } };
            r.record(0, &message).unwrap();
            let open = &r.fold.series[0].open;
            for size_ms in [1_000, 1_500] {
                assert!(open.iter().filter(|o| o.name.size_ms == size_ms).count() <= OPEN_WINDOWS_MAX);
            }
            if step == 250 {
                // A snapshot in the middle changes nothing.
                whole.get_or_insert_with(|| Fold::restore(&r.fold.save()).unwrap());
            }
        }
        let part = r.fold.current().unwrap();
        let counts = |size_ms: i64| {
            let sealed = part.entries.young().filter(|(n, _)| n.size_ms == size_ms).map(|(_, s)| s.aggregate.count()).sum::<u64>();
            let open = r.fold.series[0].open.iter().filter(|o| o.name.size_ms == size_ms).map(|o| o.aggregate.count()).sum::<u64>();
            sealed + open
        };
        assert_eq!((counts(1_000), counts(1_500)), (1_000, 1_000), "each reading is in one entry of each size");
        let births: u32 = r.fold.births.values().map(|(count, _)| count).sum();
        assert_eq!(births as usize, r.fold.series[0].open.len());
        assert!(whole.unwrap().series[0].open.len() == 2 * OPEN_WINDOWS_MAX);
    }
}
