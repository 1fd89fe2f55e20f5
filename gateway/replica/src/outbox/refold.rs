//! Folded again from any snapshot, with its pages read back from where they were kept, the
//! state is the same, bit for bit, pages included.

use super::shelf::Kept;
use crate::fold::{FOLD_VERSION, Fold, FoldConfig};
use crate::record::{FLAG_LEAVES, Numbers, Readings, Record, put_reading};
use detect::LimitRule;
use detect::pattern::Pattern;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone)]
enum Step {
    /// Readings of a series, so long after and so late.
    Sense(u32, u64, i64),
    Tick(u64),
    /// Acknowledged up to a part of what there is, in percent.
    Acked(u64),
    Shed(u64),
    Told,
    /// Marks lose their names but for so many bytes.
    Unname(u64),
    Offer,
    Boot,
    /// Another speaks under one of the boots.
    Fork(usize),
    /// A page cannot be read.
    Lose(usize),
    /// The second fold is saved and restored here.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u32..4, 0u64..3_000, 0i64..40_000).prop_map(|(s, after, late)| Step::Sense(s, after, late)),
        3 => (1u64..20_000).prop_map(Step::Tick),
        2 => (0u64..=100).prop_map(Step::Acked),
        1 => (1u64..400).prop_map(Step::Shed),
        1 => Just(Step::Told),
        1 => (0u64..300).prop_map(Step::Unname),
        1 => Just(Step::Offer),
        1 => Just(Step::Boot),
        1 => (0usize..3).prop_map(Step::Fork),
        1 => (0usize..20).prop_map(Step::Lose),
        2 => Just(Step::Restart),
    ]
}

/// About every other reading of a series passes its limit, or comes back.
fn alarming() -> detect::Settings {
    let rule = LimitRule { series: Pattern::new("**"), high_high: Some(3_000.0), ..LimitRule::default() };
    detect::Settings { limits: vec![rule], ..detect::Settings::default() }
}

fn new_fold() -> Fold {
    let mut fold = Fold::default();
    fold.shelf.set_page_entries(3);
    fold
}

/// All living pages of a fold, by number.
fn all_pages(fold: &Fold) -> BTreeMap<u64, Option<Arc<[u8]>>> {
    fold.pages().into_iter().map(|id| (id, fold.shelf.get(id))).collect()
}

proptest! {
    #[test]
    fn a_fold_restored_at_any_record_goes_on_bit_for_bit(steps in proptest::collection::vec(step(), 1..120)) {
        let config = FoldConfig { fold_version: FOLD_VERSION, sizes_ms: vec![1_000, 1_500], grace_ms: 500, offers: true, detection: alarming(), page_alerts: 2, ..FoldConfig::default() };
        let config = schemas::cbor::to_vec(&config);
        let (mut one, mut two) = (new_fold(), new_fold());
        let mut kept = Kept::default();
        let (mut lsn, mut boot, mut clock_ms) = (0u64, 0u64, 0i64);
        let mut sent: Vec<(u8, Vec<u8>)> = Vec::new();
        let log = |record: &Record<'_>, advance: u64, sent: &mut Vec<(u8, Vec<u8>)>| {
            let mut payload = Vec::new();
            record.encode(advance, &mut payload);
            sent.push((record.kind(), payload));
        };
        log(&Record::Boot { boot: 1, parent: None, config: &config }, 0, &mut sent);
        for number in 0..4u32 {
            log(&Record::Series { number, name: &format!("s{number}"), unit: None }, 0, &mut sent);
        }
        for step in steps {
            match step {
                Step::Sense(series, after, late) => {
                    clock_ms += after as i64;
                    let mut readings = Vec::new();
                    put_reading(&mut readings, series, clock_ms - late, clock_ms, late as f64 / 7.0);
                    log(&Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings: Readings { bytes: &readings } }, after, &mut sent);
                }
                Step::Tick(after) => {
                    clock_ms += after as i64;
                    log(&Record::Tick, after, &mut sent);
                }
                Step::Acked(percent) => {
                    if let Some(part) = one.boots.iter().find(|p| p.logged.applied < p.end) {
                        let applied = part.logged.applied + (part.end - part.logged.applied) * percent / 100;
                        let readings = part.readings_applied + (part.readings - part.readings_applied) * percent / 100;
                        // Nothing is acknowledged that was not offered.
                        log(&Record::Offered { boot: part.boot, born: part.end }, 0, &mut sent);
                        log(&Record::Acked { boot: part.boot, applied, cloud_boot: 9, shed: 0, readings, hash: 0 }, 0, &mut sent);
                    }
                }
                Step::Shed(bytes) => {
                    if let Some((boot, version)) = crate::shed::oldest(&one, bytes) {
                        log(&Record::Shed { boot, version }, 0, &mut sent);
                    }
                }
                Step::Told => {
                    if let Some(part) = one.boots.iter().find(|p| !p.marks.is_empty()) {
                        let pages = Numbers::encode(&[part.marks.pages()[0].id]);
                        log(&Record::Told { boot: part.boot, cloud_boot: 9, pages: Numbers { bytes: &pages } }, 0, &mut sent);
                    }
                }
                Step::Unname(keep) => {
                    if let Some((boot, born)) = crate::shed::nameless(&one, keep) {
                        let before = one.ledger();
                        log(&Record::Unnamed { boot, born }, 0, &mut sent);
                        let mut payload = Vec::new();
                        Record::Unnamed { boot, born }.encode(0, &mut payload);
                        let mut probe = one.clone();
                        probe.apply(lsn + 1, 21, &payload).unwrap();
                        prop_assert_eq!(probe.ledger().shed, before.shed);
                        let marks = |fold: &Fold| fold.boots.iter().map(|p| p.marks.len()).sum::<usize>();
                        prop_assert!(marks(&probe) < marks(&one));
                    }
                }
                Step::Offer => {
                    if let Some(part) = one.boots.last() {
                        log(&Record::Offered { boot: part.boot, born: part.end + 1 }, 0, &mut sent);
                    }
                }
                Step::Boot => {
                    boot += 1;
                    log(&Record::Boot { boot: boot + 1, parent: None, config: &config }, 0, &mut sent);
                }
                Step::Fork(index) => {
                    if let Some(part) = one.boots.get(index) {
                        log(&Record::Forked { boot: part.boot, at: part.applied, readings: part.readings_applied }, 0, &mut sent);
                    }
                }
                Step::Lose(index) => {
                    if let Some(page) = one.pages().get(index) {
                        log(&Record::Lost { page: *page }, 0, &mut sent);
                    }
                }
                Step::Restart => {
                    kept.0.extend(two.shelf.in_memory().map(|(id, bytes)| (id, bytes.clone())));
                    two = Fold::restore(&two.save()).unwrap();
                    two.shelf.keep_in(Arc::new(kept.clone()));
                }
            }
            for (kind, payload) in sent.drain(..) {
                lsn += 1;
                one.apply(lsn, kind, &payload).unwrap();
                two.apply(lsn, kind, &payload).unwrap();
            }
            let ledger = one.ledger();
            prop_assert_eq!(ledger, two.ledger());
            prop_assert_eq!(ledger.accepted, ledger.delivered + ledger.held + ledger.shed + ledger.local);
        }
        prop_assert_eq!(one.save(), two.save());
        let pages = all_pages(&one);
        prop_assert!(pages.values().all(Option::is_some));
        prop_assert_eq!(pages, all_pages(&two));
    }
}
