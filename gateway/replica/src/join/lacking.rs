//! Windows of which a gateway gave readings up: they are never said to be complete (contract §4).
//!
//! A gateway without room gives up its oldest windows, and names them. They are many and lie one
//! behind the other, so spans of them are kept, for each gateway, series and size.

use super::window::WindowKey;
use crate::limits::LACKING_SPANS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use telemetry::window as tumbling;

/// Spans of time, by gateway, series and size.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lacking(BTreeMap<(u32, u32, i64), Vec<(i64, i64)>>);

impl Lacking {
    /// A window of a gateway lacks readings for good.
    pub fn add(&mut self, gateway: u32, (series, size_ms, start_ms): WindowKey) {
        let (from, to) = (start_ms, start_ms.saturating_add(size_ms));
        let spans = self.0.entry((gateway, series, size_ms)).or_default();
        let first = spans.partition_point(|span| span.1 < from);
        let last = spans.partition_point(|span| span.0 <= to);
        let joined = spans[first..last].iter().fold((from, to), |all, span| (all.0.min(span.0), all.1.max(span.1)));
        spans.splice(first..last, [joined]);
        if spans.len() > LACKING_SPANS_MAX {
            // Better a whole window too many that is not said to be complete.
            let gap = |at: &usize| spans[*at].0.saturating_sub(spans[at - 1].1);
            if let Some(at) = (1..spans.len()).min_by_key(gap) {
                spans[at - 1].1 = spans[at].1;
                spans.remove(at);
            }
        }
    }

    /// Whether a window, or one that it is added up from, lacks readings of a gateway. Of the sizes that divide it,
    /// those count of which `is_base` says that it is added up from them.
    pub fn has(&self, gateway: u32, (series, size_ms, start_ms): WindowKey, is_base: impl Fn(i64) -> bool) -> bool {
        let end_ms = start_ms.saturating_add(size_ms);
        let lacks = |spans: &[(i64, i64)]| spans.get(spans.partition_point(|span| span.1 <= start_ms)).is_some_and(|span| span.0 < end_ms);
        let mut sizes = self.0.range((gateway, series, 0)..=(gateway, series, size_ms));
        sizes.any(|((.., base_ms), spans)| tumbling::divides(*base_ms, size_ms) && lacks(spans) && is_base(*base_ms))
    }

    /// What is known of a gateway: series, size, and spans from a start to an end.
    pub fn of(&self, gateway: u32) -> impl Iterator<Item = (u32, i64, &[(i64, i64)])> {
        let its = self.0.range((gateway, 0, 0)..=(gateway, u32::MAX, i64::MAX));
        its.map(|(&(_, series, size_ms), spans)| (series, size_ms, spans.as_slice()))
    }

    /// Whether it knows of windows that ended before.
    pub fn reaches(&self, before_ms: i64) -> bool {
        self.0.values().any(|spans| spans.first().is_none_or(|span| span.1 < before_ms))
    }

    /// Windows that ended before are not kept any more.
    pub fn forget(&mut self, before_ms: i64) {
        self.0.retain(|_, spans| {
            spans.retain(|span| span.1 >= before_ms);
            !spans.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_are_one_span_and_many_spans_are_joined() {
        let mut lacking = Lacking::default();
        [30, 10, 20, 20].iter().for_each(|start| lacking.add(1, (4, 10, *start)));
        assert_eq!(lacking.0[&(1, 4, 10)], [(10, 40)]);
        (0..LACKING_SPANS_MAX as i64 + 5).for_each(|n| lacking.add(1, (4, 10, n * 100)));
        assert_eq!(lacking.0[&(1, 4, 10)].len(), LACKING_SPANS_MAX);
        lacking.forget(i64::MAX);
        assert_eq!(lacking, Lacking::default());
    }

    proptest! {
        #[test]
        fn what_lacks_is_known(windows in prop::collection::vec((0u32..2, 0u32..2, prop::sample::select(vec![10i64, 60, 25]), -20i64..20), 0..60)) {
            let mut lacking = Lacking::default();
            let all: Vec<(u32, WindowKey)> = windows.iter().map(|(gateway, series, size, n)| (*gateway, (*series, *size, n * size))).collect();
            all.iter().for_each(|(gateway, key)| lacking.add(*gateway, *key));
            for (gateway, series, size, n) in windows {
                for size in [size, 60, 120] {
                    let key = (series, size, n * size);
                    let meets = |(g, (s, base, start)): &(u32, WindowKey)| {
                        (*g, *s) == (gateway, series) && size % base == 0 && start + base > key.2 && *start < key.2 + size
                    };
                    prop_assert_eq!(lacking.has(gateway, key, |_| true), all.iter().any(meets), "{:?}", key);
                    let of_ten = all.iter().any(|window| window.1.1 == 10 && meets(window));
                    prop_assert_eq!(lacking.has(gateway, key, |base_ms| base_ms == 10), of_ten, "{:?}", key);
                }
            }
        }
    }
}
