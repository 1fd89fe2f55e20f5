//! Entries in pages are the same entries.

use super::page::{decode, encode, name_of};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries of a few series and starts, with births and versions that overlap.
fn sealed() -> impl Strategy<Value = Vec<(EntryName, Sealed)>> {
    let one = (1u64..400, 0u32..6, prop_oneof![Just(10_000i64), Just(60_000)], 0i64..50, 0u64..300, -1_000i64..1_000);
    proptest::collection::vec(one, 0..300).prop_map(|all| {
        let entries = all.into_iter().map(|(born, series, size_ms, start, span, value)| {
            let name = EntryName { born, series, size_ms, start_ms: start * size_ms };
            let before = Before { readings: born * 3, clock_ms: born as i64 * 7, hash: born * 11 };
            (name, Sealed { version: born + span, before, aggregate: Aggregate::new(start * size_ms + 1, value as f64 / 10.0) })
        });
        entries.collect::<BTreeMap<_, _>>().into_iter().collect()
    })
}

#[derive(Default)]
struct Kept(BTreeMap<u64, Arc<[u8]>>);

impl Pages for Kept {
    fn read(&self, id: u64) -> Option<Arc<[u8]>> {
        self.0.get(&id).cloned()
    }
}

/// Those entries with small pages, half of the pages out of memory.
fn paged(all: &[(EntryName, Sealed)], page_entries: usize) -> (Entries, Shelf) {
    let (mut entries, mut shelf) = (Entries::default(), Shelf::default());
    shelf.set_page_entries(page_entries);
    for (name, sealed) in all {
        entries.insert(*name, sealed.clone(), &mut shelf);
    }
    let out: BTreeMap<u64, Arc<[u8]>> = shelf.in_memory().filter(|(id, _)| id % 2 == 0).map(|(id, b)| (id, b.clone())).collect();
    out.keys().for_each(|id| shelf.release(*id));
    shelf.keep_in(Arc::new(Kept(out)));
    (entries, shelf)
}

proptest! {
    #[test]
    fn a_page_reads_back_with_its_steps(all in sealed()) {
        prop_assume!(!all.is_empty());
        let (page, bytes) = encode(7, all.clone());
        let content = decode(&page, &bytes).unwrap();
        let back: BTreeMap<EntryName, (u64, Aggregate)> = content.entries.iter().map(|e| (name_of(e), (e.version, e.aggregate.clone()))).collect();
        let wanted: BTreeMap<EntryName, (u64, Aggregate)> = all.iter().map(|(n, s)| (*n, (s.version, s.aggregate.clone()))).collect();
        prop_assert_eq!(back, wanted);
        prop_assert_eq!(content.steps.first().map(|s| s.0), Some(all[0].0.born));
        for (born, before) in content.steps {
            prop_assert!(all.iter().any(|(n, s)| n.born == born && s.before == before));
        }
        prop_assert_eq!(page.readings, all.iter().map(|(_, s)| s.aggregate.count()).sum::<u64>());
        // The bytes of a page with as many entries are those of another page still.
        let (born, version) = ((page.born.0, page.born.1 + 1), (page.version.0 + 1, page.version.1));
        let others = [Page { born, ..page }, Page { version, ..page }, Page { readings: page.readings + 1, ..page }];
        for other in others.into_iter().chain([Page { bytes: page.bytes + 1, ..page }]) {
            prop_assert!(decode(&other, &bytes).is_err());
        }
    }

    #[test]
    fn the_oldest_are_found_whatever_lies_in_which_page(
        mut all in sealed(), page_entries in 1usize..20, floor in 0u64..500, max in 1usize..50, order in any::<u64>()
    ) {
        // Sealed in any order.
        all.sort_by_key(|(name, _)| name.born.wrapping_mul(order | 1).wrapping_add(u64::from(name.series)));
        let (entries, shelf) = paged(&all, page_entries);
        let mut living: Vec<EntryName> = all.iter().filter(|(_, s)| s.version > floor).map(|(n, _)| *n).collect();
        living.sort_unstable();
        let batch = entries.oldest(&shelf, floor, 0, max);
        let found: Vec<EntryName> = batch.entries.iter().map(name_of).collect();
        prop_assert_eq!(&living[..found.len()], &found[..]);
        prop_assert!(batch.unreadable.is_empty());
        prop_assert_eq!(batch.more, found.len() < living.len());
        if let (Some(last), Some(next)) = (found.last(), living.get(found.len())) {
            prop_assert!(last.born < next.born, "those born together are there together");
        }
        prop_assert!(found.len() >= max.min(living.len()) || batch.more);
        prop_assert!(!found.is_empty() || living.is_empty());
    }

    #[test]
    fn what_is_trimmed_is_gone_and_the_rest_is_not(all in sealed(), page_entries in 1usize..20, floor in 0u64..700) {
        let (mut entries, mut shelf) = paged(&all, page_entries);
        entries.trim(floor, &mut shelf);
        let wanted: Vec<EntryName> = all.iter().filter(|(_, s)| s.version > floor).map(|(n, _)| *n).collect();
        let found: Vec<EntryName> = entries.oldest(&shelf, floor, 0, usize::MAX / 4).entries.iter().map(name_of).collect();
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(shelf.memory_bytes(), shelf.in_memory().map(|(_, b)| b.len()).sum::<usize>());
    }

    #[test]
    fn what_the_cloud_holds_is_left_out_for_that_boot_of_the_cloud(all in sealed(), page_entries in 1usize..20) {
        let (mut entries, shelf) = paged(&all, page_entries);
        entries.hold(9, all.iter().step_by(2).map(|(n, s)| (*n, s.version)));
        let count = |cloud_boot| entries.oldest(&shelf, 0, cloud_boot, usize::MAX / 4).entries.len();
        prop_assert_eq!((count(9), count(8), count(0)), (all.len() / 2, all.len(), all.len()));
        let newest = entries.newest(&shelf, 0, 9, 10);
        prop_assert_eq!(newest.len(), 10.min(all.len() / 2));
    }

    #[test]
    fn strangers_bytes_are_no_page(bytes: Vec<u8>, entries in 0u32..50) {
        let page = Page { id: 1, entries, bytes: bytes.len() as u32, readings: 0, born: (0, 0), version: (0, 0) };
        drop(decode(&page, &bytes));
    }
}

#[test]
fn a_page_that_is_gone_is_told() {
    let entry = |born| {
        let name = EntryName { born, series: 0, size_ms: 10, start_ms: 0 };
        (name, Sealed { version: born, before: Before::default(), aggregate: Aggregate::new(1, 2.0) })
    };
    let all: Vec<_> = (1..40).map(entry).collect();
    let (entries, mut shelf) = paged(&all, 4);
    shelf.keep_in(Arc::new(Kept::default()));
    let batch = entries.oldest(&shelf, 0, 0, 100);
    assert!(!batch.unreadable.is_empty() && batch.unreadable.iter().all(|id| id % 2 == 0));
}
