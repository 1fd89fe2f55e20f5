//! Killed behind any record, restored from the snapshot and folded on, a gateway says the same
//! as one that never stopped: windows, alerts, detectors and alarms, bit for bit.

use crate::crossing::Crossing;
use crate::fold::{FOLD_VERSION, Fold, FoldConfig};
use crate::outbox::Pages;
use crate::record::{Behind, FLAG_LEAVES, FLAG_TIMED, Numbers, Readings, Record, SessionEvent, put_reading};
use detect::LimitRule;
use detect::alarm::{Request, Verb};
use detect::pattern::Pattern;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const EPOCH_MS: i64 = 1_700_000_000_000;
/// A machine, and a series of its own.
const NAMES: [&str; 3] = ["press/force", "press/flow", "level"];
/// Readings of a message, a second apart.
const READINGS: i64 = 30;

#[derive(Clone, Default)]
struct Kept(BTreeMap<u64, Arc<[u8]>>);

impl Pages for Kept {
    fn read(&self, id: u64) -> Option<Arc<[u8]>> {
        self.0.get(&id).cloned()
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// About normal, of deviation 1.
    fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.below(1_000) as f64 / 1_000.0).sum::<f64>() - 6.0
    }
}

fn config() -> Vec<u8> {
    let rule = LimitRule {
        series: Pattern::new("press/*"),
        high_high: Some(150.0),
        high: Some(130.0),
        deadband: 1.0,
        on_delay_ms: 2_000,
        off_delay_ms: 5_000,
        ..LimitRule::default()
    };
    schemas::cbor::to_vec(&FoldConfig {
        fold_version: FOLD_VERSION,
        sizes_ms: vec![10_000, 15_000, 60_000],
        grace_ms: 2_000,
        detection: detect::Settings { limits: vec![rule], ..detect::Settings::default() },
        alarms: Some(detect::alarm::Settings { flood: 3, ..detect::alarm::Settings::default() }),
        page_alerts: 3,
        ..FoldConfig::default()
    })
}

/// A plant's log: usual noise, in which each fault class comes; people who do something about
/// it; restarts of the process, acknowledgements of a cloud.
fn log(chance: &mut Chance, messages: u64) -> Vec<(u8, Vec<u8>)> {
    let (mut out, config) = (Vec::new(), config());
    let mut put = |advance: u64, record: &Record<'_>| {
        let mut payload = Vec::new();
        record.encode(advance, &mut payload);
        out.push((record.kind(), payload));
        out.len() as u64
    };
    put(EPOCH_MS as u64, &Record::Boot { boot: 1, parent: None, config: &config });
    put(0, &Record::Session { number: 1, event: SessionEvent::Opened { client_id: "c", expiry_s: u32::MAX, version: 5 } });
    for (number, name) in (0u32..).zip(NAMES) {
        put(0, &Record::Series { number, name, unit: Some("bar") });
    }
    let (mut clock_ms, mut boot, mut base, mut shift) = (EPOCH_MS, 1, 0, [0.0; NAMES.len()]);
    for n in 0..messages {
        clock_ms += READINGS * 1_000;
        let mut bytes = Vec::new();
        for (series, shift) in (0u32..).zip(&mut shift) {
            let fault = if n > messages / 2 { chance.below(30) } else { 99 };
            // Silence.
            if fault == 0 {
                continue;
            }
            // A new level; what is stuck; a spike; more noise; beyond a limit.
            *shift += if fault == 1 { 15.0 } else { 0.0 };
            for i in 0..READINGS {
                let usual = 100.0 + *shift + chance.noise() * if fault == 4 { 8.0 } else { 1.0 };
                let value = match fault {
                    2 => 99.5,
                    3 if i == 7 => usual + 60.0,
                    5 => usual + 70.0,
                    _ => usual,
                };
                let time_ms = clock_ms - (READINGS - i) * 1_000 - if chance.below(50) == 0 { 70_000 } else { 0 };
                put_reading(&mut bytes, series, time_ms, clock_ms, (value * 100.0).round() / 100.0);
            }
        }
        let readings = Readings { bytes: &bytes };
        let last = put(READINGS as u64 * 1_000, &Record::Message { flags: FLAG_LEAVES | FLAG_TIMED, session: 1, packet_id: 0, readings });
        match chance.below(16) {
            0 => drop(put(0, &Record::Acked { boot, applied: (last - base) / 2, cloud_boot: 9, shed: 0, readings: 0, hash: 0 })),
            1 => {
                let verb = [Verb::Acknowledge, Verb::Shelve, Verb::Unshelve, Verb::OutOfService, Verb::Return][chance.below(5) as usize];
                let kind = ["high-high", "high", "shift", "spike", "group"][chance.below(5) as usize];
                let series = NAMES[chance.below(NAMES.len() as u64) as usize];
                let request = Request { id: chance.below(u64::MAX), verb, series, kind, by: "jo", reason: "", for_ms: 90_000 };
                put(0, &Record::Asked { request });
            }
            2 => {
                (boot, base) = (boot + 1, last);
                put(0, &Record::Boot { boot, parent: None, config: &config });
            }
            3 => {
                clock_ms += 45_000;
                put(45_000, &Record::Tick);
            }
            4 => {
                let behind = [(1, last - chance.below(20).min(last))].into_iter().take(chance.below(2) as usize).collect();
                let numbers = Numbers { bytes: &Behind::encode(last, &behind) };
                put(0, &Record::Shown { lsn: last, unheld: chance.below(2), behind: Behind { numbers } });
            }
            _ => {}
        }
    }
    out
}

fn new_fold() -> Fold {
    let mut fold = Fold::default();
    fold.shelf.set_page_entries(16);
    fold
}

/// Pages by number, as far as they can be read.
type Shelved = BTreeMap<u64, Option<Arc<[u8]>>>;

/// All that a fold holds, pages included.
fn whole(fold: &Fold) -> (Vec<u8>, Shelved) {
    (fold.save(), fold.pages().into_iter().map(|id| (id, fold.shelf.get(id))).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]
    #[test]
    fn killed_behind_any_record_it_goes_on_bit_for_bit(seed: u64) {
        let log = log(&mut Chance(seed), 160);
        let mut fold = new_fold();
        let (mut states, mut kept, mut kinds) = (Vec::new(), Kept::default(), BTreeSet::new());
        for (lsn, (kind, payload)) in (1u64..).zip(&log) {
            fold.apply(lsn, *kind, payload).unwrap();
            kept.0.extend(fold.shelf.in_memory().map(|(id, bytes)| (id, bytes.clone())));
            states.push(fold.save());
            kinds.extend(fold.fresh.last().map(|(_, alert)| alert.kind.clone()));
        }
        let wanted = whole(&fold);
        prop_assert!(fold.boots.iter().any(|part| part.alerts.pages().len() > 1), "too few alerts wait for pages of them");
        let is_limit = |kind: &&String| ["high-high", "high"].contains(&kind.as_str());
        prop_assert!(kinds.iter().any(|k| is_limit(&k)) && kinds.iter().filter(|k| !is_limit(k)).count() > 1, "too little happens: {kinds:?}");
        let keeper = Arc::new(kept);
        for (cut, state) in (1u64..).zip(&states) {
            let mut again = Fold::restore(state).unwrap();
            again.shelf.keep_in(keeper.clone());
            for (lsn, (kind, payload)) in (1u64..).zip(&log).skip(cut as usize) {
                again.apply(lsn, *kind, payload).unwrap();
            }
            prop_assert_eq!(&again.fresh, &fold.fresh, "alerts after a crash behind record {}", cut);
            prop_assert!(whole(&again) == wanted, "the state after a crash behind record {cut}");
        }
    }
}

/// A state with something in every field that a gateway may lack, as a program of before left it. CBOR's keys are places: who puts a
/// field between others shifts them, and a gateway that cannot read its state begins anew.
#[test]
fn a_state_of_before_is_restored() {
    let fold = Fold::restore(include_bytes!("before.snapshot")).unwrap();
    let Crossing { taken, unheld, fresh, .. } = &fold.crossing;
    assert_eq!((*taken, *unheld, fresh.len()), (1, 2, 1));
    assert_eq!((fold.clamped, fold.lost_alerts, fold.shadowed.get("spike"), fold.undated.len()), (5, 3, Some(&7), 1));
    let session = &fold.sessions.by_number[&1];
    assert_eq!(session.will.as_ref().map(|will| (will.topic.as_str(), will.delay_s)), Some(("lost", 4)));
    let names: Vec<&str> = fold.series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, NAMES);
    let (ledger, alarms) = (fold.ledger(), fold.alarms.board.iter().count());
    assert_eq!((fold.lsn, fold.boots.len(), ledger.accepted, ledger.held, fold.fresh.len(), alarms), (59, 2, 3_601, 3_601, 22, 8));
}
