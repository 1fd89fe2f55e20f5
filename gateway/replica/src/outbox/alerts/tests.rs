//! Alerts in pages are the same alerts, in the same order.

use super::*;
use crate::outbox::shelf::Kept;
use proptest::prelude::*;
use std::sync::Arc;

fn alert((seq, ordinal): Place) -> Waiting {
    let alert = AlertBody {
        boot: 7,
        seq,
        ordinal,
        series: format!("line/{}", seq % 3),
        severity: (seq % 2) as u8,
        kind: "high".to_owned(),
        state: (ordinal % 2) as u8,
        time_ms: seq as i64 * 10,
        value: f64::from(ordinal) / 3.0,
        limit: Some(5.0),
        unit: (seq % 5 == 0).then(|| "bar".to_owned()),
        message: format!("{seq} is above 5"),
        score: None,
        baseline: None,
        alarm: None,
        contributors: Vec::new(),
    };
    (alert, Before { readings: seq * 2, clock_ms: seq as i64, hash: seq * 3 })
}

/// Places in order: records of one to forty alerts, with gaps.
fn places() -> impl Strategy<Value = Vec<Place>> {
    proptest::collection::vec((1u64..4, prop_oneof![4 => 1u32..3, 1 => 1u32..40], 0u32..3), 0..40).prop_map(|records| {
        let mut seq = 0;
        let mut all = Vec::new();
        for (after, count, first) in records {
            seq += after;
            all.extend((first..first + count).map(|ordinal| (seq, ordinal)));
        }
        all
    })
}

/// Those alerts, half of the pages out of memory.
fn paged(all: &[Place], page_alerts: u64) -> (Alerts, Shelf) {
    let (mut alerts, mut shelf) = (Alerts::default(), Shelf::default());
    shelf.set_page_alerts(page_alerts);
    for (alert, before) in all.iter().copied().map(alert) {
        alerts.push(alert, before, &mut shelf);
    }
    let out = Kept(shelf.in_memory().filter(|(id, _)| id % 2 == 0).map(|(id, bytes)| (id, bytes.clone())).collect());
    out.0.keys().for_each(|id| shelf.release(*id));
    shelf.keep_in(Arc::new(out));
    (alerts, shelf)
}

fn beyond(alerts: &Alerts, shelf: &Shelf, seq: u64) -> (Vec<Waiting>, Vec<u64>) {
    let mut unreadable = Vec::new();
    let found = alerts.beyond(shelf, seq, &mut unreadable).collect();
    (found, unreadable)
}

proptest! {
    #[test]
    fn what_was_taken_is_found_again_whatever_lies_in_which_page(
        all in places(), page_alerts in 0u64..20, finished: bool, from in 0u64..120, span in 0u64..60
    ) {
        let (mut alerts, mut shelf) = paged(&all, page_alerts);
        if finished {
            alerts.finish(&mut shelf);
        }
        prop_assert_eq!(alerts.len(), all.len());
        prop_assert_eq!(alerts.is_empty(), all.is_empty());
        let young = if finished && page_alerts > 0 { 0 } else if page_alerts > 0 { 2 * page_alerts as usize - 1 } else { all.len() };
        prop_assert!(alerts.tail.len() <= young, "{} in no page", alerts.tail.len());
        let wanted: Vec<Waiting> = all.iter().filter(|(seq, _)| *seq > from).copied().map(alert).collect();
        prop_assert_eq!(beyond(&alerts, &shelf, from), (wanted.clone(), vec![]));
        let mut newest: Vec<AlertBody> = alerts.newest(&shelf, from).collect();
        newest.reverse();
        prop_assert_eq!(newest, wanted.iter().map(|(alert, _)| alert.clone()).collect::<Vec<_>>());
        let mut last = LastRead::default();
        for wanted in &all {
            prop_assert_eq!(alerts.find(&shelf, *wanted, &mut last), Some(alert(*wanted).0));
            let next = (wanted.0, wanted.1 + 1);
            prop_assert_eq!(alerts.find(&shelf, next, &mut last).is_some(), all.contains(&next));
        }
        let has = all.iter().any(|(seq, _)| *seq > from && *seq <= from + span);
        let around = alerts.pages().iter().any(|page| page.first.0 <= from && page.last.0 > from + span);
        prop_assert!(alerts.has(from, from + span) == has || (around && span > 0));
        prop_assert!(!alerts.has(from, from));
        alerts.trim(from, &mut shelf);
        prop_assert_eq!(beyond(&alerts, &shelf, from), (wanted, vec![]));
        prop_assert!(alerts.tail.iter().all(|(a, _)| a.seq > from) && alerts.pages().iter().all(|page| page.last.0 > from));
        alerts.trim(u64::MAX, &mut shelf);
        prop_assert!(alerts.is_empty() && shelf.memory_bytes() == 0);
    }

    #[test]
    fn a_page_that_is_gone_is_told_and_takes_only_its_own_with_it(all in places(), page_alerts in 1u64..20, from in 0u64..120) {
        let (mut alerts, mut shelf) = paged(&all, page_alerts);
        shelf.keep_in(Arc::new(Kept::default()));
        let gone: Vec<AlertPage> = alerts.pages().iter().filter(|page| page.id % 2 == 0).copied().collect();
        let is_there = |wanted: &Place| gone.iter().all(|page| *wanted < page.first || *wanted > page.last);
        let wanted: Vec<Waiting> = all.iter().filter(|at| at.0 > from && is_there(at)).copied().map(alert).collect();
        let unreadable: Vec<u64> = gone.iter().filter(|page| page.last.0 > from).map(|page| page.id).collect();
        prop_assert_eq!(beyond(&alerts, &shelf, from), (wanted.clone(), unreadable));
        let mut last = LastRead::default();
        prop_assert!(all.iter().all(|at| alerts.find(&shelf, *at, &mut last).is_some() == is_there(at)));
        let (mut handed, mut lost) = (Vec::new(), 0);
        alerts.clone().hand_on(from, &mut shelf.clone(), |_, alert| match alert {
            Ok(alert) => handed.push(alert),
            Err(count) => lost += count,
        });
        prop_assert_eq!(&handed, &wanted.iter().map(|(alert, _)| alert.clone()).collect::<Vec<_>>());
        prop_assert_eq!(lost, gone.iter().filter(|page| page.last.0 > from).map(|page| page.alerts).sum::<u32>());
        for page in &gone {
            prop_assert_eq!(alerts.lose(page.id, &mut shelf), Some(*page));
            prop_assert_eq!(alerts.lose(page.id, &mut shelf), None);
        }
        prop_assert_eq!(beyond(&alerts, &shelf, from), (wanted, vec![]));
    }

    #[test]
    fn strangers_bytes_are_no_page(bytes: Vec<u8>, alerts in 0u32..9, plain_bytes in 0u32..1_000) {
        let page = AlertPage { id: 1, alerts, bytes: bytes.len() as u32, plain_bytes, first: (1, 0), last: (2, 0) };
        let mut shelf = Shelf::default();
        shelf.put(1, bytes);
        prop_assert_eq!(read(&page, &shelf), None);
    }
}

#[test]
fn the_bytes_of_another_page_are_not_taken_for_it() {
    let (alerts, mut shelf) = paged(&(1..20).map(|seq| (seq, 0)).collect::<Vec<_>>(), 4);
    let bytes = shelf.get(1).unwrap();
    shelf.put(3, bytes.to_vec());
    assert_eq!(read(&alerts.pages()[2], &shelf), None);
    let longer = AlertPage { bytes: alerts.pages()[0].bytes + 1, ..alerts.pages()[0] };
    assert_eq!(read(&longer, &shelf), None);
    assert_eq!(read(&alerts.pages()[0], &shelf).map(|alerts| alerts.len()), Some(4));
}
