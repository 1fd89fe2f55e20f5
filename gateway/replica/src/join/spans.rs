//! Which of its parts a window of many parts has: of a day of windows of one second mostly few,
//! and 86,400 would be looked for.
//!
//! Of each size that it is added up from, the first and the last part that ever came. That is known
//! only of windows that are watched from their first part on; of others all are looked for.

use super::window::WindowKey;
use crate::limits::SPANS_MAX;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use telemetry::window as tumbling;

/// A window's parts: of each size, the starts of the first and the last.
pub type Span = (WindowKey, Vec<(i64, i64, i64)>);

/// Spans of windows.
#[derive(Debug, Default)]
pub struct Spans {
    of: HashMap<WindowKey, Vec<(i64, i64, i64)>>,
    /// By the window's end: those that end last stay.
    ends: BTreeSet<(i64, WindowKey)>,
}

fn end((_, size_ms, start_ms): WindowKey) -> i64 {
    start_ms.saturating_add(size_ms)
}

impl Spans {
    /// What [`Spans::list`] gave.
    pub fn new(list: Vec<Span>) -> Self {
        Self { ends: list.iter().map(|(key, _)| (end(*key), *key)).collect(), of: list.into_iter().collect() }
    }

    /// All, in order.
    pub fn list(&self) -> Vec<Span> {
        let mut list: Vec<Span> = self.of.iter().map(|(key, span)| (*key, span.clone())).collect();
        list.sort_unstable();
        list
    }

    /// A part came, of this size and start; a window of many parts is watched from then on if it
    /// `is_first`, the window's first.
    pub fn add(&mut self, key: WindowKey, base_ms: i64, start_ms: i64, is_first: bool) {
        // A stranger's may begin anywhere; those of the others are met all the same.
        let start_ms = tumbling::start_of(start_ms, base_ms);
        if let Some(span) = self.of.get_mut(&key) {
            match span.iter_mut().find(|(base, ..)| *base == base_ms) {
                Some((_, first, last)) => (*first, *last) = ((*first).min(start_ms), (*last).max(start_ms)),
                None => span.push((base_ms, start_ms, start_ms)),
            }
        } else if is_first {
            self.of.insert(key, vec![(base_ms, start_ms, start_ms)]);
            self.ends.insert((end(key), key));
            if self.ends.len() > SPANS_MAX
                && let Some((_, oldest)) = self.ends.pop_first()
            {
                self.of.remove(&oldest);
            }
        }
    }

    /// The parts that a window may have, where the series' gateways have these `sizes`.
    pub fn parts<'a>(&'a self, key: WindowKey, sizes: &'a [i64]) -> impl Iterator<Item = WindowKey> + 'a {
        let (number, size_ms, start_ms) = key;
        let known = self.of.get(&key);
        let all = sizes.iter().filter(move |base| known.is_none() && tumbling::divides(**base, size_ms));
        let all = all.map(move |base| (*base, start_ms, start_ms.saturating_add(size_ms - base)));
        let spans = known.into_iter().flatten().copied().chain(all);
        spans.flat_map(move |(base, first, last)| (0..=(last - first) / base).map(move |i| (number, base, first.saturating_add(i * base))))
    }

    /// How many that are.
    pub fn count(&self, key: WindowKey, sizes: &[i64]) -> i64 {
        match self.of.get(&key) {
            Some(span) => span.iter().map(|(base, first, last)| (last - first) / base + 1).sum(),
            None => sizes.iter().filter(|base| tumbling::divides(**base, key.1)).map(|base| key.1 / base).sum(),
        }
    }

    /// Forgets windows that ended before this time.
    pub fn forget(&mut self, before_ms: i64) {
        while let Some((_, key)) = self.ends.first().copied().filter(|(end, _)| *end < before_ms) {
            self.ends.pop_first();
            self.of.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: WindowKey = (3, 86_400_000, 0);

    #[test]
    fn a_window_watched_from_its_first_part_on_is_added_up_from_those_that_came() {
        let (mut spans, sizes) = (Spans::default(), [1_000, 10_000, 86_400_000]);
        spans.add(DAY, 1_000, 7_000, false);
        assert_eq!(spans.count(DAY, &sizes), 86_400 + 8_640 + 1, "it has parts that were not seen");
        assert_eq!(spans.parts(DAY, &sizes).count(), 86_400 + 8_640 + 1);
        for (base, start) in [(1_000, 7_000), (1_000, 9_000), (10_000, 20_000), (1_000, 6_003)] {
            spans.add(DAY, base, start, true);
        }
        let parts: Vec<_> = spans.parts(DAY, &sizes).collect();
        assert_eq!(parts, [(3, 1_000, 6_000), (3, 1_000, 7_000), (3, 1_000, 8_000), (3, 1_000, 9_000), (3, 10_000, 20_000)]);
        assert_eq!(spans.count(DAY, &sizes), 5);
        let again = Spans::new(spans.list());
        assert_eq!(again.list(), spans.list());
        spans.forget(86_400_001);
        assert_eq!(spans.list(), []);
    }

    #[test]
    fn those_that_end_last_stay() {
        let mut spans = Spans::default();
        for n in 0..SPANS_MAX as i64 + 10 {
            spans.add((0, 1_000_000, n * 1_000_000), 1_000, n * 1_000_000, true);
        }
        assert_eq!((spans.of.len(), spans.ends.len()), (SPANS_MAX, SPANS_MAX));
        assert_eq!(spans.count((0, 1_000_000, 9_000_000), &[1_000]), 1_000);
        assert_eq!(spans.count((0, 1_000_000, 10_000_000), &[1_000]), 1);
    }
}
