//! Outages with very many alerts: they wait in pages, and whatever becomes of those, all the others
//! arrive once and in order.

use super::pieces::Made;
use super::*;
use crate::limits::ALERTS_WAITING_MAX;
use std::collections::BTreeSet;

/// All alerts that wait, in order.
fn waiting(fold: &Fold) -> Vec<AlertBody> {
    let (mut all, mut unreadable) = (Vec::new(), Vec::new());
    for part in &fold.boots {
        all.extend(part.alerts.beyond(&fold.shelf, 0, &mut unreadable).map(|(alert, _)| alert));
    }
    assert!(unreadable.is_empty());
    all
}

fn id_of(alert: &AlertBody) -> AlertId {
    (alert.boot, alert.seq, alert.ordinal)
}

#[test]
fn more_alerts_than_the_urgent_lane_knows_take_little_and_all_arrive_once() {
    let mut pair = Pair::new(Settings::default(), clean(20), 11);
    let (records, each) = (700, 100);
    let mut known = Urgent::default();
    for _ in 0..records {
        pair.tick(&Made { alerts: each, critical: 1, ..Made::default() });
    }
    let all = waiting(&pair.fold);
    assert_eq!(all.len(), (records * each) as usize);
    assert!(all.len() > ALERTS_WAITING_MAX);
    // Nothing but the names of pages is in memory and in a snapshot, and the young ones.
    assert!(pair.fold.boots[0].alerts.tail.len() < 600);
    assert!(pair.fold.save().len() < 60_000, "{} bytes", pair.fold.save().len());
    // Whether it heard of them one by one, or begins with all of them.
    all.iter().for_each(|alert| known.add(pair.now_ms, alert));
    assert_eq!(known.len(), ALERTS_WAITING_MAX);
    let critical = known.waiting.keys().filter(|(severity, _)| *severity == 0).count();
    assert_eq!(critical, records as usize, "those stay");
    let newest = all.last().map(id_of).unwrap();
    assert!(known.waiting.contains_key(&(1, newest)) && !known.waiting.contains_key(&(1, id_of(&all[1]))));
    assert_eq!(pair.uplink.poll(pair.now_ms, &pair.fold), None);
    assert_eq!(pair.uplink.urgent.len(), ALERTS_WAITING_MAX);
    pair.run(UNHEARD_MS + 100);
    assert!(pair.fold.unheard);
    // That the rest is not heard is known all the same.
    known = pair.uplink.urgent.clone();
    known.waiting.clear();
    assert!(!known.is_all_heard());
    pair.connect();
    pair.ends_well(all.len(), 600_000);
    assert_eq!(pair.shown.iter().collect::<BTreeSet<_>>().len(), all.len());
    pair.run(1_000);
    assert!(!pair.fold.unheard, "the cloud has all");
    assert!(pair.fold.shelf.memory_bytes() == 0 && pair.fold.pages().is_empty());
}

#[test]
fn alerts_of_pages_arrive_in_order() {
    for (seed, page_alerts) in [(12, 1), (13, 7), (14, 300), (15, 0)] {
        let mut pair = Pair::new(Settings::default(), Line { lost: 10, ..clean(20) }, seed);
        pair.fold.shelf.set_page_alerts(page_alerts);
        for _ in 0..60 {
            let alerts = [0, 1, 5, 90][pair.rng.random_range(0..4)];
            pair.tick(&Made { alerts, acts: 1, text: 50, ..Made::default() });
        }
        let all: Vec<AlertId> = waiting(&pair.fold).iter().map(id_of).collect();
        pair.uplink.connected(pair.now_ms, Lane::Intervals);
        pair.ends_well(all.len(), 200_000);
        assert_eq!(pair.shown, all, "with pages of {page_alerts}");
    }
}

#[test]
fn an_unreadable_page_is_reported_and_holds_up_nothing() {
    let mut missed = 0;
    for seed in 20..28 {
        let mut pair = Pair::new(Settings { interval_bytes: 20_000, ..Settings::default() }, clean(20), seed);
        pair.commit_ms = 30;
        pair.fold.shelf.set_page_alerts(40);
        for alerts in [10, 900, 3, 200] {
            pair.tick(&Made { alerts, acts: 30, text: 100, ..Made::default() });
        }
        let all: BTreeSet<AlertId> = waiting(&pair.fold).iter().map(id_of).collect();
        let acts: BTreeSet<u64> = pair.fold.boots[0].acts.iter().map(|(_, act, _)| act.id).collect();
        pair.uplink.connected(pair.now_ms, Lane::Intervals);
        // Some of the second record may have been told by then: places in it change.
        let told = pair.rng.random_range(0..900);
        pair.run_until(60_000, |p| p.shown.len() >= told);
        let pages = pair.fold.boots[0].alerts.pages().to_vec();
        let lost: Vec<_> = pages.into_iter().filter(|_| pair.rng.random_ratio(1, 5)).collect();
        lost.iter().for_each(|page| pair.fold.shelf.release(page.id));
        pair.run_until(120_000, Pair::is_all_told);
        let shown: BTreeSet<AlertId> = pair.shown.iter().copied().collect();
        assert_eq!(shown.len(), pair.shown.len(), "each once");
        for (_, seq, ordinal) in all.difference(&shown) {
            assert!(lost.iter().any(|page| (page.first..=page.last).contains(&(*seq, *ordinal))), "{seq}/{ordinal} was readable");
        }
        let reported: Vec<f64> = pair.fold.fresh.iter().filter(|(_, a)| a.kind == "lost" && a.state == 0).map(|(_, a)| a.value).collect();
        assert_eq!(reported.iter().sum::<f64>() as u64, pair.fold.lost_alerts);
        assert_eq!(shown.difference(&all).count(), 2 * reported.len(), "the loss is told to the cloud: {reported:?}");
        let sent: BTreeSet<u64> = pair.deltas().flat_map(|d| d.acts.iter().map(|act| act.id)).collect();
        assert_eq!(sent, acts);
        let missing = all.difference(&shown).count() as u64;
        assert!(pair.fold.lost_alerts >= missing, "{missing} are missing, {} are said to be lost", pair.fold.lost_alerts);
        missed += missing;
    }
    assert!(missed > 0, "no page was lost in time");
}

#[test]
fn what_a_program_without_pages_left_waiting_is_put_into_pages_by_the_next_boot() {
    let mut pair = Pair::new(Settings { boot: 8, ..Settings::default() }, clean(20), 30);
    pair.fold.config.page_alerts = 0;
    pair.fold.shelf.set_page_alerts(0);
    for _ in 0..30 {
        pair.tick(&Made { alerts: 20, ..Made::default() });
    }
    let all = waiting(&pair.fold);
    assert_eq!((pair.fold.boots[0].alerts.tail.len(), pair.fold.pages().len()), (600, 0));
    pair.fold = Fold::restore(&pair.fold.save()).unwrap();
    // The numbers of its pages stay what they were as long as its boot goes on.
    pair.tick(&Made { alerts: 20, ..Made::default() });
    assert_eq!(pair.fold.shelf.last, 0);
    let config = FoldConfig { page_alerts: 64, ..pair.fold.config.clone() };
    let end = pair.fold.current().unwrap().end;
    pair.log(0, &Record::Boot { boot: 8, parent: Some((7, end)), config: &schemas::cbor::to_vec(&config) });
    assert_eq!((pair.fold.boots[0].alerts.tail.len(), pair.fold.pages().len()), (0, 10));
    assert_eq!(waiting(&pair.fold)[..600], all);
}

#[test]
fn alerts_that_were_left_and_got_other_names_behind_a_fork_are_waited_for_no_more() {
    let mut pair = Pair::new(Settings { boot: 8, ..Settings::default() }, clean(20), 31);
    for _ in 0..5 {
        pair.tick(&Made { alerts: 20, ..Made::default() });
    }
    let end = pair.fold.current().unwrap().end;
    pair.uplink.urgent.leave(7, end);
    let config = schemas::cbor::to_vec(&pair.fold.config);
    pair.log(0, &Record::Boot { boot: 8, parent: Some((7, end)), config: &config });
    pair.uplink.urgent.follow(&pair.fold);
    assert!(!pair.uplink.urgent.is_all_heard(), "they are still to be told");
    pair.log(0, &Record::Forked { boot: 7, at: end - 1, readings: 0 });
    assert_eq!((pair.fold.boots[0].end, pair.fold.boots[0].alerts.len()), (end - 1, 0));
    pair.uplink.urgent.follow(&pair.fold);
    assert!(pair.uplink.urgent.is_all_heard());
}
