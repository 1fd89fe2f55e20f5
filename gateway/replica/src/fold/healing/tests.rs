//! Whatever a cloud lost, the second fold holds exactly what a gateway would hold that nobody
//! ever acknowledged anything to: same names, same entries, same alerts.

use crate::fold::{FOLD_VERSION, Fold, FoldConfig};
use crate::outbox::shelf::Kept;
use crate::record::{FLAG_LEAVES, Readings, Record, put_reading};
use detect::LimitRule;
use detect::pattern::Pattern;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use telemetry::entry::Entry;

/// Kinds of [`Record::Acked`] and [`Record::Shed`].
const ACKED: u8 = 10;
const SHED: u8 = 13;

#[derive(Debug, Clone)]
enum Step {
    /// A reading of a series, so long after and so late.
    Sense(u32, u64, i64),
    Tick(u64),
    /// Acknowledged up to a part of what there is, in percent.
    Acked(u64),
    Shed(u64),
    Boot,
    Save,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u32..3, 0u64..3_000, 0i64..20_000).prop_map(|(s, after, late)| Step::Sense(s, after, late)),
        3 => (1u64..20_000).prop_map(Step::Tick),
        3 => (0u64..=100).prop_map(Step::Acked),
        1 => (1u64..400).prop_map(Step::Shed),
        1 => Just(Step::Boot),
        2 => Just(Step::Save),
    ]
}

fn new_fold() -> Fold {
    let mut fold = Fold::default();
    fold.shelf.set_page_entries(3);
    fold
}

fn config() -> Vec<u8> {
    let rule = LimitRule { series: Pattern::new("**"), high_high: Some(8.0), ..LimitRule::default() };
    schemas::cbor::to_vec(&FoldConfig {
        fold_version: FOLD_VERSION,
        sizes_ms: vec![1_000, 1_500],
        grace_ms: 500,
        detection: detect::Settings { limits: vec![rule], ..detect::Settings::default() },
        page_alerts: 2,
        ..FoldConfig::default()
    })
}

fn encoded(record: &Record<'_>, advance: u64) -> (u8, Vec<u8>) {
    let mut payload = Vec::new();
    record.encode(advance, &mut payload);
    (record.kind(), payload)
}

/// Entries, and the seq and ordinal of alerts.
type Owed = (Vec<Entry>, Vec<(u64, u32)>);

/// What is to be told of each boot beyond `applied`.
fn owed(fold: &Fold, applied: &BTreeMap<u64, u64>) -> BTreeMap<u64, Owed> {
    let of = |part: &crate::outbox::BootPart| {
        let applied = applied.get(&part.boot).copied().unwrap_or(0);
        let batch = part.entries.oldest(&fold.shelf, applied.max(part.floor()), 0, usize::MAX);
        assert!(batch.unreadable.is_empty());
        let mut unreadable = Vec::new();
        let alerts = part.alerts.beyond(&fold.shelf, applied, &mut unreadable).map(|(a, _)| (a.seq, a.ordinal)).collect();
        assert!(unreadable.is_empty());
        (part.boot, (batch.entries, alerts))
    };
    fold.boots.iter().map(of).collect()
}

proptest! {
    #[test]
    fn the_second_fold_holds_what_was_let_go_of(
        steps in proptest::collection::vec(step(), 1..120),
        lost in proptest::collection::vec(0u64..=100, 121),
    ) {
        let (mut living, mut never) = (new_fold(), new_fold());
        let mut log: Vec<(u8, Vec<u8>)> = Vec::new();
        let (mut states, mut kept) = (Vec::<(u64, Vec<u8>)>::new(), Kept::default());
        let (mut clock_ms, mut boots, config) = (0i64, 1u64, config());
        let mut todo = vec![encoded(&Record::Boot { boot: 1, parent: None, config: &config }, 0)];
        let names = ["s0", "s1", "s2"];
        todo.extend((0..3u32).map(|number| encoded(&Record::Series { number, name: names[number as usize], unit: None }, 0)));
        // R(seq) of each boot, as the cloud's acks tell it.
        let mut counts: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for step in std::iter::once(None).chain(steps.into_iter().map(Some)) {
            match step {
                None => {}
                Some(Step::Sense(series, after, late)) => {
                    clock_ms += after as i64;
                    let mut readings = Vec::new();
                    put_reading(&mut readings, series, clock_ms - late, clock_ms, late as f64 / 2_000.0);
                    todo.push(encoded(&Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings: Readings { bytes: &readings } }, after));
                }
                Some(Step::Tick(after)) => {
                    clock_ms += after as i64;
                    todo.push(encoded(&Record::Tick, after));
                }
                Some(Step::Acked(percent)) => {
                    let part = living.boots.iter().find(|p| p.applied < p.end);
                    if let Some(part) = part {
                        let most = living.complete_to(part).0.max(part.applied);
                        let applied = part.applied + (most - part.applied) * percent / 100;
                        let readings = counts[&part.boot].get(applied as usize).copied().unwrap_or(0);
                        todo.push(encoded(&Record::Acked { boot: part.boot, applied, cloud_boot: 9, shed: 0, readings, hash: 0 }, 0));
                    }
                }
                Some(Step::Shed(bytes)) => {
                    if let Some((boot, version)) = crate::shed::oldest(&living, bytes) {
                        todo.push(encoded(&Record::Shed { boot, version }, 0));
                    }
                }
                Some(Step::Boot) => {
                    boots += 1;
                    todo.push(encoded(&Record::Boot { boot: boots, parent: None, config: &config }, 0));
                }
                Some(Step::Save) => {
                    kept.0.extend(living.shelf.in_memory().map(|(id, bytes)| (id, bytes.clone())));
                    states.push((living.lsn, living.save()));
                }
            }
            for (kind, payload) in todo.drain(..) {
                let lsn = log.len() as u64 + 1;
                living.apply(lsn, kind, &payload).unwrap();
                // Nobody ever acknowledged anything, and there was always room.
                if [ACKED, SHED].contains(&kind) {
                    never.apply(lsn, Record::Tick.kind(), &[0]).unwrap();
                } else {
                    never.apply(lsn, kind, &payload).unwrap();
                }
                log.push((kind, payload));
                for part in &living.boots {
                    let seen = counts.entry(part.boot).or_default();
                    seen.resize(part.end as usize, *seen.last().unwrap_or(&0));
                    seen.push(part.readings);
                    seen.truncate(part.end as usize + 1);
                }
            }
        }
        let mut applied = BTreeMap::new();
        for (part, percent) in living.boots.iter_mut().zip(&lost) {
            let back = part.applied * percent / 100;
            part.acknowledged(back, counts[&part.boot][back as usize], 0, 0);
            applied.insert(part.boot, back);
        }
        let Some(from) = living.heals_from() else {
            prop_assert!(living.boots.iter().all(|p| p.applied >= p.complete_from));
            return Ok(());
        };
        prop_assert!(living.outbox().is_none(), "nothing is said before the second fold begins");
        let mut state = match states.iter().rev().find(|(lsn, _)| *lsn <= from) {
            Some((_, state)) => Fold::restore(state).unwrap(),
            None => Fold::default(),
        };
        state.shelf.set_page_entries(3);
        state.shelf.keep_in(Arc::new(kept));
        living.heal(Some(state));
        while let Some(next) = living.heals_with() {
            let (kind, payload) = &log[next as usize - 1];
            living.heal_frame(next, [0; 4], std::iter::once((next, *kind, payload.as_slice()))).unwrap();
        }
        prop_assert!(living.is_healing() && living.heals_from().is_none());
        let outbox = living.outbox().unwrap();
        let given_up: u64 = outbox.boots.iter().map(|p| p.shed_to).sum();
        if given_up == 0 {
            prop_assert_eq!(owed(outbox, &applied), owed(&never, &applied));
        }
        for part in &outbox.boots {
            prop_assert!(living.gap_to(part.boot).0 <= applied[&part.boot], "no gap is told");
        }
        // Once the cloud has it all, nothing is left of it.
        for part in &mut living.boots {
            part.acknowledged(part.end, part.readings, 0, 0);
        }
        living.catch_up();
        prop_assert!(!living.is_healing());
    }
}
