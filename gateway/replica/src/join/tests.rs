//! The promises of the cloud's fold, record by record.

mod again;

use super::store::{Batch, Memory, Store, StoreError};
use super::*;
use crate::limits::BLOCK_ENTRIES_MAX;
use crate::record::{Record, SessionEvent};
use proptest::prelude::*;
use schemas::message::{Act, AlertKey, Answer, Definition, Delta, FORMAT, ShedMark, Tally};
use std::sync::{Arc, Mutex};
use telemetry::aggregate::Aggregate;
use telemetry::block;
use telemetry::entry::Entry;

/// A batch that is being written, and how often it was asked for.
type OnItsWay = Option<(u8, Arc<Batch>)>;

/// A store whose contents outlive the bridge, as a disk's do, and that takes its time.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Memory>>, Arc<Mutex<OnItsWay>>);

impl Disk {
    /// As a new process finds it: what was not written is gone.
    fn again(&self) -> Self {
        Self(self.0.clone(), Arc::default())
    }
}

impl Store for Disk {
    fn get(&mut self, key: WindowKey) -> Result<Option<Window>, StoreError> {
        assert!(self.1.lock().unwrap().as_ref().is_none_or(|(_, batch)| !batch.windows.contains_key(&key)), "{key:?} is on its way");
        self.0.lock().unwrap().get(key)
    }

    fn write(&mut self, batch: Arc<Batch>) -> Result<(), StoreError> {
        assert!(self.1.lock().unwrap().replace((0, batch)).is_none(), "one batch at a time");
        Ok(())
    }

    fn written(&mut self, wait: bool) -> Result<bool, StoreError> {
        let mut on_its_way = self.1.lock().unwrap();
        if let Some((asked, batch)) = on_its_way.take() {
            if asked < 3 && !wait {
                *on_its_way = Some((asked + 1, batch));
                return Ok(false);
            }
            self.0.lock().unwrap().write(batch)?;
        }
        Ok(true)
    }

    fn forget(&mut self, before_ms: i64) {
        self.0.lock().unwrap().forget(before_ms);
    }
}

/// A cloud's log as it grows, and its fold.
#[derive(Default)]
struct World {
    bridge: Bridge,
    log: Vec<(u8, Vec<u8>)>,
}

const START_MS: i64 = 1_700_000_000_000;

impl World {
    fn new(retain_ms: Option<i64>) -> Self {
        let mut world = Self::default();
        world.log(
            START_MS as u64,
            &Record::Boot { boot: 77, parent: None, config: &BridgeConfig { retain_ms, is_paced: true, is_skewed: true }.encode() },
        );
        world
    }

    fn log(&mut self, advance: u64, record: &Record<'_>) -> Effects {
        let mut payload = Vec::new();
        record.encode(advance, &mut payload);
        self.log.push((record.kind(), payload));
        let (kind, payload) = &self.log[self.log.len() - 1];
        self.bridge.apply(self.log.len() as u64, *kind, payload).unwrap()
    }

    fn round(&mut self, advance: u64) -> Vec<Merged> {
        self.log(advance, &Record::Round).merged
    }

    fn send(&mut self, gateway: &str, delta: &Delta) -> Effects {
        self.log(0, &Record::Interval { gateway, bytes: &delta.encode() })
    }
}

/// An interval of boot `boot` with the entries (start in s, born, version, value).
fn delta(boot: u64, from: u64, to: u64, frontier_s: i64, entries: &[(i64, u64, u64, f64)]) -> Delta {
    let list: Vec<Entry> = entries
        .iter()
        .map(|(start_s, born, version, value)| Entry {
            series: 4,
            size_ms: 10_000,
            start_ms: START_MS + start_s * 1_000,
            born: *born,
            version: *version,
            aggregate: Aggregate::new(START_MS + start_s * 1_000 + 1, *value),
        })
        .collect();
    Delta {
        format: FORMAT,
        boot,
        from,
        to,
        number: to,
        frontier_ms: START_MS + frontier_s * 1_000,
        readings_to: to,
        accepted: to + 1,
        local: 2,
        defs: vec![Definition { number: 4, name: "line/t".into(), unit: Some("°C".into()) }],
        entries: block::encode(&list),
        sizes: vec![10_000, 60_000],
        grace_ms: 2_000,
        ..Delta::default()
    }
}

fn alert(seq: u64, series: &str, value: f64) -> AlertBody {
    AlertBody {
        boot: 1,
        seq,
        ordinal: 0,
        series: series.into(),
        severity: 0,
        kind: "high".into(),
        state: 0,
        time_ms: START_MS,
        value,
        limit: None,
        unit: None,
        message: "m".into(),
        score: None,
        baseline: None,
        alarm: None,
        contributors: Vec::new(),
    }
}

fn hello(boot: u64, parent: Option<(u64, u64)>) -> Hello {
    Hello {
        format: FORMAT,
        gateway: "a".into(),
        boot,
        parent,
        sizes: vec![10_000, 60_000],
        grace_ms: 2_000,
        every_ms: 5_000,
        clock_ms: START_MS,
        version: "1".into(),
        group: None,
        wanted: Vec::new(),
    }
}

fn brief(merged: &[Merged]) -> Vec<(i64, i64, u64, u64, bool, bool)> {
    merged
        .iter()
        .map(|m| (m.size_ms / 1_000, (m.start_ms - START_MS) / 1_000, m.aggregate.count(), m.revision, m.complete, m.newest))
        .collect()
}

// START_MS is 20 s past a minute.
#[test]
fn a_window_is_complete_once_every_gateway_that_had_the_series_is_past_it() {
    let mut w = World::new(None);
    w.send("a", &delta(1, 0, 5, 12, &[(0, 1, 3, 1.0)]));
    w.send("b", &delta(2, 0, 5, 11, &[(0, 1, 3, 2.0)]));
    let first = w.round(0);
    assert_eq!(brief(&first), [(10, 0, 2, 1, false, true), (60, -20, 2, 1, false, true)]);
    assert_eq!(first[0].gateways, BTreeMap::from([("a".into(), 1), ("b".into(), 1)]));
    // b's clock passes the end and its grace; the window may be published again after a second.
    w.send("b", &delta(2, 5, 6, 12, &[]));
    assert!(w.round(999).is_empty());
    assert_eq!(brief(&w.round(1)), [(10, 0, 2, 2, true, true)]);
    // A late reading makes a revision of the old window, which stays complete and is not the newest.
    w.send("b", &delta(2, 6, 9, 40, &[(20, 7, 8, 4.0)]));
    w.send("a", &delta(1, 5, 9, 13, &[(0, 7, 8, 9.0)]));
    let later = w.round(1_000);
    assert!(
        brief(&later).contains(&(10, 0, 3, 3, true, false)) && brief(&later).contains(&(10, 20, 1, 1, false, true)),
        "{:?}",
        brief(&later)
    );
}

#[test]
fn a_boot_that_ended_does_not_hold_its_successor_back() {
    let mut w = World::new(None);
    w.send("a", &delta(1, 0, 5, 5, &[(0, 1, 3, 1.0)]));
    w.send("a", &delta(2, 0, 4, 60, &[(10, 1, 3, 1.0)]));
    assert_eq!(brief(&w.round(0)).iter().filter(|m| m.4).count(), 0, "the old boot may still have something");
    let hello = hello(2, Some((1, 5)));
    assert!(!w.bridge.knows("a", &hello));
    w.log(0, &Record::Hello { gateway: "a", bytes: &hello.encode() });
    assert!(w.bridge.knows("a", &hello), "the same again is only a sign of life");
    let complete = brief(&w.round(1_000));
    assert_eq!(complete, [(10, 0, 1, 2, true, false), (10, 10, 1, 2, true, true), (60, -20, 2, 2, true, true)]);
    // A clone of the old boot's disk goes on after all.
    w.send("a", &delta(1, 5, 9, 20, &[(20, 6, 7, 1.0)]));
    assert_eq!(brief(&w.round(1_000))[0], (10, 20, 1, 1, false, true));
}

#[test]
fn windows_that_ended_too_long_ago_are_counted_and_leave_the_store() {
    let mut w = World::new(Some(3 * DAY_MS));
    let day = 86_400;
    let mut first = delta(1, 0, 5, 0, &[(0, 1, 3, 1.0), (-3 * day - 20, 2, 3, 1.0)]);
    let effects = w.send("a", &first);
    assert_eq!(effects.ack.map(|(_, a)| a.applied), Some(5), "it is delivered, however old");
    assert_eq!(w.bridge.gateways["a"].expired, (1, 1));
    assert_eq!(brief(&w.round(0)).len(), 2);
    let effects = w.log(4 * 86_400_000, &Record::Tick);
    assert_eq!(effects.cleared, [("line/t".to_owned(), 10_000), ("line/t".to_owned(), 60_000)]);
    assert_eq!(w.bridge.windows.cached(), 0);
    // Ahead is not counted: it comes again.
    first = delta(1, 5, 5, 0, &[(0, 6, 7, 1.0)]);
    std::mem::swap(&mut first.entries, &mut first.ahead);
    w.send("a", &first);
    w.send("a", &delta(1, 5, 9, 0, &[(0, 6, 7, 1.0)]));
    assert_eq!((w.bridge.gateways["a"].expired, w.round(1_000)), ((2, 2), vec![]));
}

#[test]
fn what_strangers_send_never_stops_the_fold() {
    let mut w = World::new(None);
    for bytes in [&b""[..], b"\xff\xff", b"\xa1\x00\x01"] {
        w.log(0, &Record::Interval { gateway: "a", bytes });
        w.log(0, &Record::Hello { gateway: "a", bytes });
        w.log(0, &Record::AlertUp { gateway: "a", bytes });
    }
    assert_eq!(w.bridge.spoilt, 9);
    let mut bad = delta(1, 0, 5, 5, &[(0, 1, 3, 1.0)]);
    bad.entries = b"no block".to_vec();
    w.send("a", &bad);
    assert!(w.send("../a", &delta(1, 0, 5, 5, &[(0, 1, 3, 1.0)])).ack.is_none());
    assert_eq!((w.bridge.spoilt, w.bridge.gateways.len()), (11, 0));
    // A name that cannot be a topic, extreme windows, alerts that cannot be messages: the interval is taken.
    let mut odd = delta(1, 0, 5, i64::MAX / 1_000 - START_MS / 1_000, &[(0, 1, 3, 1.0)]);
    odd.defs[0].name = "a/#".into();
    odd.alerts = vec![alert(2, "x/+", 1.0), alert(3, "x", f64::NAN), alert(4, "x", f64::INFINITY)];
    let effects = w.send("a", &odd);
    assert_eq!((effects.ack.map(|a| a.1.applied), effects.alerts.len(), w.bridge.gateways["a"].refused), (Some(5), 1, 4));
    for sizes in [vec![1, i64::MAX], vec![i64::MAX]] {
        let mut odd = delta(2, 0, 5, 5, &[]);
        odd.sizes = sizes;
        let extreme = |start_ms: i64, size_ms: i64, born: u64| Entry {
            series: 4,
            size_ms,
            start_ms,
            born,
            version: born,
            aggregate: Aggregate::new(start_ms, 1.0),
        };
        odd.entries = block::encode(&[extreme(i64::MIN, 1, 1), extreme(0, i64::MAX, 2), extreme(i64::MAX - 1, 1, 3)]);
        w.send("a", &odd);
        w.round(1_000);
    }
}

#[test]
fn a_shed_entry_counts_what_the_cloud_does_not_hold_of_it_once() {
    let mut w = World::new(None);
    let mut ahead = delta(1, 0, 1, 0, &[(0, 5, 6, 1.0)]);
    std::mem::swap(&mut ahead.entries, &mut ahead.ahead);
    w.send("a", &ahead);
    let mut shed = delta(1, 1, 8, 0, &[]);
    let mark = |start_s: i64, born| ShedMark {
        series: 4,
        size_ms: 10_000,
        start_ms: START_MS + start_s * 1_000,
        born,
        shed_seq: 20,
        version: 9,
        count: 10,
    };
    shed.marks = vec![mark(0, 5), mark(10, 7)];
    assert_eq!(w.send("a", &shed).ack.map(|a| a.1.shed), Some(19), "one of the ten is here");
    // Repeated until `applied` has passed the record that gave them up.
    (shed.from, shed.to) = (8, 21);
    assert_eq!(w.send("a", &shed).ack.map(|a| a.1.shed), Some(19));
    assert_eq!(w.bridge.gateways["a"].totals.shed, 19);
}

/// All of a window's readings that were given up are missing in it for good.
#[test]
fn a_window_of_which_readings_were_given_up_is_never_complete() {
    let mut w = World::new(None);
    let mut shed = delta(1, 0, 21, 60, &[(0, 5, 6, 1.0), (10, 7, 8, 1.0), (40, 9, 10, 2.0)]);
    shed.marks = vec![ShedMark { series: 4, size_ms: 10_000, start_ms: START_MS + 10_000, born: 11, shed_seq: 20, version: 12, count: 3 }];
    w.send("a", &shed);
    let complete =
        |told: Vec<Merged>| -> Vec<_> { told.iter().map(|m| (m.size_ms / 1_000, (m.start_ms - START_MS) / 1_000, m.complete)).collect() };
    let first = complete(w.round(0));
    assert_eq!(first, [(10, 0, true), (10, 10, false), (10, 40, true), (60, -20, false), (60, 40, false)]);
    w.send("a", &delta(1, 21, 30, 200, &[]));
    assert_eq!(complete(w.round(2_000)), [(60, 40, true)]);
}

/// A minute is added up from ten seconds, whatever becomes of its quarters.
#[test]
fn a_window_of_which_another_size_was_given_up_is_complete() {
    let mut w = World::new(None);
    let mut shed = delta(1, 0, 20, 200, &[(0, 1, 1, 1.0)]);
    shed.sizes = vec![10_000, 15_000, 60_000];
    let mark = |size_ms, start_s: i64| ShedMark {
        series: 4,
        size_ms,
        start_ms: START_MS + start_s * 1_000,
        born: 1,
        shed_seq: 20,
        version: 9,
        count: 1,
    };
    shed.marks = vec![mark(15_000, -5)];
    w.send("a", &shed);
    assert_eq!(brief(&w.round(0)), [(10, 0, 1, 1, true, true), (60, -20, 1, 1, true, true)]);
    // One of which a part is gone is not.
    shed.entries = block::encode(&[]);
    (shed.from, shed.to, shed.marks) = (20, 30, vec![ShedMark { version: 25, ..mark(10_000, 50) }]);
    w.send("a", &shed);
    let mut next = delta(1, 30, 40, 200, &[(40, 31, 31, 1.0)]);
    next.sizes.clone_from(&shed.sizes);
    w.send("a", &next);
    assert_eq!(brief(&w.round(0)), [(10, 40, 1, 1, true, true), (60, 40, 1, 1, false, true)]);
}

/// Record 4 is damaged: what it began is begun by record 7 when the log is folded again.
#[test]
fn what_was_told_before_damage_counts_once_and_keeps_its_sizes() {
    for (reaches, shed) in [(9, 1), (11, 2)] {
        let mut w = World::new(None);
        w.send("a", &delta(1, 0, 5, 12, &[(0, 4, 9, 1.0)]));
        let again = delta(1, 5, 12, 30, &[(0, 7, reaches, 1.0), (10, 10, 11, 2.0)]);
        w.send("a", &Delta { holed: true, ended: true, lost: 1, sizes: Vec::new(), ..again });
        let told = w.round(0);
        let counts: Vec<_> = brief(&told).into_iter().map(|m| (m.0, m.1, m.2)).collect();
        assert_eq!(counts, [(10, 0, 1), (10, 10, 1), (60, -20, 2)]);
        assert_eq!(w.bridge.gateways["a"].totals.shed, shed, "and what of record 7 on may be missing");
    }
}

/// A stranger's marks of versions that never come take a bounded place.
#[test]
fn marks_without_end_are_not_taken() {
    let mut w = World::new(None);
    let mut flood = delta(1, 0, 0, 0, &[]);
    let mark = |born| ShedMark { series: 4, size_ms: 10_000, start_ms: START_MS, born, shed_seq: 20, version: u64::MAX, count: 1 };
    let mut taken = 0;
    for round in 0..6u64 {
        flood.marks = (0..50_000).map(|n| mark(round * 50_000 + n + 1)).collect();
        let ack = w.send("a", &flood).ack.map(|a| a.1).unwrap();
        assert_eq!(ack.ahead, ack.retry_after_ms.is_none());
        taken += u64::from(ack.ahead) * 50_000;
        assert_eq!(ack.shed, taken);
    }
    assert_eq!(taken, 250_000);
}

#[test]
fn an_alert_shows_once_however_it_comes() {
    let mut w = World::new(None);
    let up = AlertUp { format: FORMAT, alert: alert(3, "x", 1.0) }.encode();
    let first = w.log(0, &Record::AlertUp { gateway: "a", bytes: &up });
    let again = w.log(0, &Record::AlertUp { gateway: "a", bytes: &up });
    assert_eq!((first.alerts.len(), again.alerts.len(), again.receipt.is_some()), (1, 0, true));
    let mut covering = delta(1, 0, 5, 0, &[]);
    covering.alerts = vec![alert(3, "x", 1.0), alert(4, "x", 1.0)];
    assert_eq!(w.send("a", &covering).alerts.len(), 1);
    let late = w.log(0, &Record::AlertUp { gateway: "a", bytes: &up });
    assert_eq!((late.alerts.len(), late.receipt.is_some()), (0, true));
    let body = |gateway: &str, a| w.bridge.can_take(gateway, &a);
    assert!(body("a", alert(9, "x", 1.0)) && !body("a", alert(9, "x/#", 1.0)) && !body("A", alert(9, "x", 1.0)));
}

#[test]
fn the_newest_interval_says_what_a_gateway_did_not_take() {
    let mut w = World::new(None);
    let told = |from, to, duplicates| {
        let tally = Some(Tally { duplicates, refused: vec![1, 2] });
        Delta { tally, ..delta(1, from, to, 5, &[]) }
    };
    let known = |w: &World| w.bridge.gateways["a"].tally.as_ref().map(|t| t.duplicates);
    w.send("a", &delta(1, 0, 5, 5, &[]));
    assert_eq!(known(&w), None);
    w.send("a", &told(5, 9, 3));
    w.send("a", &delta(1, 9, 12, 5, &[]));
    assert_eq!(known(&w), Some(3), "one that says nothing takes nothing back");
    w.send("a", &told(5, 10, 2));
    assert_eq!(known(&w), Some(3), "an older one came late");
    let restored = Bridge::restore(&w.bridge.save(), Box::new(Disk::default())).unwrap();
    assert_eq!(restored.gateways["a"].tally, Some(Tally { duplicates: 3, refused: vec![1, 2] }));
}

/// The interval of a member of group `cell`, whose entries carry digests.
fn of_group(mut delta: Delta) -> Delta {
    let digested = |e: Entry| Entry { aggregate: Aggregate::digested(e.aggregate.first().0, e.aggregate.first().1), ..e };
    let entries = block::decode(&delta.entries, BLOCK_ENTRIES_MAX).unwrap();
    delta.entries = block::encode(&entries.into_iter().map(digested).collect::<Vec<_>>());
    delta.group = Some("cell".into());
    delta
}

#[test]
fn a_group_counts_as_its_fullest_member_for_each_published_window() {
    let mut w = World::new(None);
    // a and b hear the same sensors; c is another's.
    w.send("a", &of_group(delta(1, 0, 9, 60, &[(0, 1, 1, 1.0), (0, 2, 2, 2.0), (10, 3, 3, 3.0)])));
    let effects = w.round(0);
    assert_eq!(brief(&effects), [(10, 0, 2, 1, true, false), (10, 10, 1, 1, true, true), (60, -20, 3, 1, true, true)]);
    assert!(effects.iter().all(|m| m.agree == Some(false)), "nobody to agree with");
    w.send("b", &of_group(delta(2, 0, 9, 0, &[(0, 1, 1, 1.0), (0, 2, 2, 2.0), (10, 3, 3, 3.0), (10, 4, 4, 3.5)])));
    w.send("c", &delta(3, 0, 9, 60, &[(0, 1, 1, 7.0)]));
    let merged = w.round(1_000);
    // a heard 2 and 1, b 2 and 2, in one minute 3 and 4. b's clock is behind, but complete stays.
    assert_eq!(brief(&merged), [(10, 0, 3, 2, true, false), (10, 10, 2, 2, true, true), (60, -20, 5, 2, true, true)]);
    assert_eq!(merged.iter().map(|m| m.agree).collect::<Vec<_>>(), [Some(true), Some(false), Some(false)]);
    assert_eq!(merged[2].gateways, BTreeMap::from([("a".into(), 3), ("b".into(), 4), ("c".into(), 1)]));
    // What a hears now completes without b, as it is as full; what b has more of waits for b.
    w.send("a", &of_group(delta(1, 9, 20, 90, &[(30, 10, 10, 1.0), (40, 11, 11, 1.0)])));
    w.send("b", &of_group(delta(2, 9, 20, 1, &[(30, 10, 10, 1.0), (40, 11, 11, 1.0), (40, 12, 12, 1.0)])));
    let merged = w.round(1_000);
    assert_eq!(brief(&merged)[..2], [(10, 30, 1, 1, true, false), (10, 40, 2, 1, false, true)]);
    w.send("b", &of_group(delta(2, 20, 21, 90, &[])));
    assert_eq!(brief(&w.round(1_000))[0], (10, 40, 2, 2, true, true));
    // A bridge that was restored knows the groups.
    let disk = Disk::default();
    let mut other = Bridge::new(Box::new(disk.clone()));
    for (lsn, (kind, payload)) in w.log.iter().enumerate() {
        other.apply(lsn as u64 + 1, *kind, payload).unwrap();
    }
    other.flush().unwrap();
    let state = disk.0.lock().unwrap().state.clone().unwrap();
    let mut restored = Bridge::restore(&state.1, Box::new(disk)).unwrap();
    assert_eq!(restored.groups, w.bridge.groups);
    let key = (0, 60_000, START_MS - 20_000);
    assert_eq!(restored.merged(key).unwrap(), w.bridge.merged(key).unwrap());
    assert_eq!(restored.merged(key).unwrap().map(|m| m.aggregate.count()), Some(6));
}

/// A day is added up from what came of it, and published as any other window.
#[test]
fn a_window_of_many_parts_is_published_each_second_and_is_the_sum_of_those_that_came() {
    let mut w = World::new(None);
    let day_ms = 86_400_000;
    let send = |w: &mut World, gateway, sizes: &[i64], (from, to, frontier_s, start_s)| {
        let mut delta = delta(1, from, to, frontier_s, &[(start_s, from + 1, to, 1.0)]);
        delta.sizes = sizes.to_vec();
        w.send(gateway, &delta);
    };
    let sizes = |merged: Vec<Merged>| merged.iter().map(|m| (m.size_ms, m.aggregate.count(), m.complete)).collect::<Vec<_>>();
    let own = [10_000, day_ms];
    send(&mut w, "a", &own, (0, 5, 5, 0));
    assert_eq!(sizes(w.round(0)), [(10_000, 1, false), (day_ms, 1, false)]);
    send(&mut w, "a", &own, (5, 6, 6, 0));
    assert_eq!(sizes(w.round(999)), []);
    assert_eq!(sizes(w.round(1)), [(10_000, 2, false), (day_ms, 2, false)]);
    // It changes, and the gateway gets past its end.
    send(&mut w, "a", &own, (6, 7, 7, -3_000));
    send(&mut w, "a", &own, (7, 8, 6_402, 6_390));
    let merged = sizes(w.round(1_000));
    assert!(merged.contains(&(day_ms, 4, true)) && merged.contains(&(10_000, 1, true)), "{merged:?}");
    assert_eq!(w.bridge.spans.count((0, day_ms, START_MS - START_MS.rem_euclid(day_ms)), &own), 940);
    // An hour that another gateway publishes has parts that came before anyone knew of it.
    send(&mut w, "b", &[10_000, 3_600_000], (0, 5, 5, 20));
    assert!(sizes(w.round(1_000)).contains(&(3_600_000, 3, false)));
}

/// Of members that are equally full any may be the one that gets past a window: the first is dead.
#[test]
fn a_window_is_complete_by_whichever_of_the_fullest_members_gets_past_it() {
    let mut w = World::new(None);
    w.send("a", &of_group(delta(1, 0, 9, 5, &[(0, 1, 1, 1.0)])));
    w.send("b", &of_group(delta(2, 0, 9, 5, &[(0, 1, 1, 1.0)])));
    assert_eq!(brief(&w.round(0)), [(10, 0, 1, 1, false, true), (60, -20, 1, 1, false, true)]);
    assert_eq!(w.bridge.rounds.waiting(), 4, "each waits for both");
    w.send("b", &of_group(delta(2, 9, 10, 60, &[])));
    assert_eq!(brief(&w.round(1_000)), [(10, 0, 1, 2, true, true), (60, -20, 1, 2, true, true)]);
    assert_eq!(w.bridge.rounds.waiting(), 0, "and no longer for the one that is dead");
    w.send("a", &of_group(delta(1, 9, 10, 60, &[])));
    assert!(w.round(1_000).is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Send(usize, u64, u64, Vec<(i64, u64, u64, u8)>, bool),
    Round(u64),
    Restart,
    Session,
    /// What changed begins to be written, and little stays in memory.
    Flush,
    /// As a restart, but as of what was written by chance.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let entry = (-4i64..12, 1u64..8, 0u64..6, 0u8..20).prop_map(|(at, born, more, v)| (at * 10, born, born + more, v));
    prop_oneof![
        4 => (0usize..3, 1u64..4, 1u64..30, prop::collection::vec(entry, 0..5), prop::bool::weighted(0.1)).prop_map(|(g, b, to, e, x)| Step::Send(g, b, to, e, x)),
        3 => (0u64..1_500).prop_map(Step::Round),
        1 => Just(Step::Restart),
        1 => Just(Step::Session),
        2 => Just(Step::Flush),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    /// Written to its store at any record, closed, and folded on from there, a bridge does
    /// what one that never stopped does, message for message.
    #[test]
    fn a_bridge_restored_as_of_any_record_goes_on_exactly(steps in prop::collection::vec(step(), 1..60)) {
        let mut w = World::new(Some(40_000));
        let mut disk = Disk::default();
        let mut other = Bridge::new(Box::new(disk.clone()));
        let mut applied = 0;
        for step in steps {
            let effects = match step {
                Step::Send(g, boot, to, mut entries, ended) => {
                    let gateway = ["a", "b", "c"][g];
                    let from = w.bridge.gateways.get(gateway).and_then(|k| k.boots.get(&boot)).map_or(0, |p| p.applied);
                    entries.sort_by_key(|e| (e.0, e.1));
                    entries.dedup_by_key(|e| (e.0, e.1));
                    let list: Vec<_> = entries.iter().map(|e| (e.0, from + e.1, from + e.2, f64::from(e.3) / 3.0)).collect();
                    let mut delta = delta(boot, from, from + to, from as i64, &list);
                    delta.ended = ended;
                    if boot == 2 {
                        delta = of_group(delta);
                    }
                    if boot == 3 {
                        delta.sizes.push(3_000_000);
                    }
                    w.send(gateway, &delta)
                }
                Step::Round(advance) => w.log(advance, &Record::Round),
                Step::Session => w.log(1, &Record::Session { number: 1, event: SessionEvent::Opened { client_id: "c", expiry_s: 5, version: 5 } }),
                Step::Restart => {
                    other.flush().unwrap();
                    let state = disk.0.lock().unwrap().state.clone().unwrap();
                    prop_assert_eq!(state.0, applied as u64);
                    other = Bridge::restore(&state.1, Box::new(disk.clone())).unwrap();
                    continue;
                }
                Step::Flush => {
                    other.begin_flush().unwrap();
                    other.windows.forget_clean();
                    continue;
                }
                Step::Crash => {
                    disk = disk.again();
                    let (lsn, state) = disk.0.lock().unwrap().state.clone().unwrap_or_else(|| (0, Bridge::default().save()));
                    other = Bridge::restore(&state, Box::new(disk.clone())).unwrap();
                    applied = lsn as usize;
                    continue;
                }
            };
            // The other one folds the log from where it stands.
            let mut last = Effects::default();
            while applied < w.log.len() {
                let (kind, payload) = &w.log[applied];
                applied += 1;
                last = other.apply(applied as u64, *kind, payload).unwrap();
                other.settle().unwrap();
            }
            prop_assert_eq!(&last.merged, &effects.merged);
            prop_assert_eq!(last.ack, effects.ack);
        }
        // Where nothing but restarts happened, the boot's own record is still to be folded.
        for (kind, payload) in &w.log[applied..] {
            applied += 1;
            other.apply(applied as u64, *kind, payload).unwrap();
        }
        prop_assert_eq!(&w.bridge.gateways, &other.gateways);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        w.bridge.newest(|m| ours.push(m)).unwrap();
        other.newest(|m| theirs.push(m)).unwrap();
        prop_assert_eq!(&ours, &theirs);
        let messages = |all: Vec<(u64, Effects)>| all.into_iter().map(|(lsn, e)| (lsn, e.merged, e.alerts)).collect::<Vec<_>>();
        prop_assert_eq!(messages(w.bridge.unpublished().unwrap()), messages(other.unpublished().unwrap()));
        prop_assert_eq!(w.bridge.save(), other.save());
        // What is added up from parts that are known to have come is what all of them give.
        (w.bridge.spans, theirs) = (Spans::default(), Vec::new());
        w.bridge.newest(|m| theirs.push(m)).unwrap();
        prop_assert_eq!(ours, theirs);
    }
}
