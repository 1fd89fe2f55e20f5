//! A living state that was made of the whole log, a log that is damaged behind it since, and a
//! cloud that lost what it had: nothing is lost but what lay in the damage and was let go of.

use crate::fold::{FOLD_VERSION, Fold, FoldConfig};
use crate::outbox::{BootPart, Telling};
use crate::record::{FLAG_LEAVES, FLAG_UNDATED, Readings, Record, put_reading};

/// Records of a frame, and readings up to it.
type Frame = (u64, u64, Vec<(u8, Vec<u8>)>);

/// A log of frames, and what a gateway makes of all of it.
#[derive(Clone)]
struct Log {
    frames: Vec<Frame>,
    living: Fold,
}

fn encoded(record: &Record<'_>) -> (u8, Vec<u8>) {
    let mut payload = Vec::new();
    record.encode(0, &mut payload);
    (record.kind(), payload)
}

fn reading(time_ms: i64) -> (u8, Vec<u8>) {
    flagged(FLAG_LEAVES, time_ms)
}

fn flagged(flags: u64, time_ms: i64) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    put_reading(&mut bytes, 0, time_ms, 0, 1.0);
    encoded(&Record::Message { flags, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } })
}

impl Log {
    /// Of boot 7: a series, a reading of a second, two readings of other seconds.
    fn new() -> Self {
        let mut log = Self { frames: Vec::new(), living: Fold::default() };
        log.begin(7);
        log.frame(vec![encoded(&Record::Series { number: 0, name: "a", unit: None })], 0);
        log.frame(vec![reading(1_000)], 1);
        log.frame(vec![reading(5_000), reading(9_000)], 2);
        log
    }

    /// A reading without a date, and the clock that gives it one.
    fn undated(&mut self) {
        self.frame(vec![flagged(FLAG_LEAVES | FLAG_UNDATED, 0)], 1);
        self.frame(vec![encoded(&Record::ClockSet { behind_ms: 1_000_000 })], 0);
        self.frame(vec![reading(1_000_000)], 1);
    }

    fn begin(&mut self, boot: u64) {
        let parent = self.living.current().map(|p| (p.boot, p.end));
        let config = FoldConfig { fold_version: FOLD_VERSION, sizes_ms: vec![1_000], ..FoldConfig::default() };
        self.frame(vec![encoded(&Record::Boot { boot, parent, config: &schemas::cbor::to_vec(&config) })], 0);
    }

    fn frame(&mut self, records: Vec<(u8, Vec<u8>)>, readings: u64) {
        let (first, readings) = (self.living.lsn + 1, self.living.totals().0 + readings);
        for (lsn, (kind, payload)) in (first..).zip(&records) {
            self.living.apply(lsn, *kind, payload).unwrap();
        }
        assert_eq!(self.living.totals().0, readings);
        self.frames.push((first, readings, records));
    }

    fn acked(&mut self, boot: u64, applied: u64, readings: u64) {
        self.frame(vec![encoded(&Record::Acked { boot, applied, cloud_boot: 9, shed: 0, readings, hash: 0 })], 0);
    }

    /// The cloud has nothing of these boots any more, and the frames that begin with these records are gone.
    fn healed(mut self, boots: &[u64], damaged: &[u64]) -> Fold {
        let bases: Vec<(u64, u64)> = self.living.boots.iter().map(|p| (p.base, p.boot)).collect();
        for part in self.living.boots.iter_mut().filter(|p| boots.contains(&p.boot)) {
            part.acknowledged(0, 0, 0, 0);
        }
        self.living.heal(Some(Fold::default()));
        while let Some(next) = self.living.heals_with() {
            let mut there = self.frames.iter().filter(|(first, ..)| !damaged.contains(first));
            let Some((first, readings, records)) = there.find(|(first, _, list)| first + list.len() as u64 > next) else { break };
            let (base, boot) = bases.iter().rfind(|(base, _)| base < first).unwrap();
            let numbered = (*first..).zip(records).map(|(lsn, (kind, payload))| (lsn, *kind, &payload[..]));
            self.living.heal_frame(*first, [*readings, 0, *boot, *base], numbered).unwrap();
        }
        self.living
    }
}

/// What the cloud is told of a boot: its end, readings there and how many of them are lost, and those in entries.
fn told(fold: &Fold, part: &BootPart, applied: u64) -> (u64, u64, u64, u64) {
    let (to, before) = fold.complete_to(part);
    let batch = part.entries.oldest(&fold.shelf, applied.max(part.floor()), 0, usize::MAX);
    let entries = batch.entries.iter().filter(|e| e.born <= to);
    (to, before.readings, part.lost_to(to), entries.map(|e| e.aggregate.count()).sum())
}

fn told_again(living: &Fold, boot: u64) -> (u64, u64, u64, u64) {
    let second = living.outbox().unwrap();
    told(second, second.boots.iter().find(|p| p.boot == boot).unwrap(), 0)
}

/// The cloud takes what the second fold tells.
fn take(living: &mut Fold, boot: u64) {
    let (to, readings, lost, _) = told_again(living, boot);
    let part = living.boots.iter_mut().find(|p| p.boot == boot).unwrap();
    part.acknowledged(to, readings, lost, 0);
    living.catch_up();
}

#[test]
fn what_was_never_let_go_of_is_told_by_the_state_that_lives() {
    let mut log = Log::new();
    log.acked(7, 3, 1);
    log.begin(8);
    // The two readings that nobody acknowledged are damaged now.
    let mut living = log.healed(&[7], &[4]);
    assert_eq!(told_again(&living, 7), (3, 1, 0, 1), "as far as it was let go of, and nothing is lost");
    take(&mut living, 7);
    assert!(!living.is_healing());
    assert_eq!(told(&living, &living.boots[0], 3), (6, 3, 0, 2));
}

#[test]
fn an_open_window_goes_as_it_stood_before_the_damage() {
    let mut log = Log::new();
    log.frame(vec![reading(9_500)], 1);
    log.acked(7, 5, 3);
    let mut living = log.healed(&[7], &[6]);
    assert_eq!(told_again(&living, 7), (5, 3, 0, 3));
    take(&mut living, 7);
    let open: Vec<_> = living.series[0].open.iter().map(|o| (o.name.start_ms, o.version, o.aggregate.count())).collect();
    assert!(open.contains(&(9_000, 6, 2)), "the window follows as a later version: {open:?}");
}

#[test]
fn what_was_let_go_of_is_lost_where_it_was() {
    let mut log = Log::new();
    log.acked(7, 3, 1);
    log.begin(8);
    let mut living = log.healed(&[7], &[3]);
    assert_eq!(told_again(&living, 7), (3, 1, 1, 0));
    take(&mut living, 7);
    assert!(!living.is_healing());
    assert_eq!(told(&living, &living.boots[0], 3), (6, 3, 0, 2));
    // In the middle of what was let go of, too.
    let mut log = Log::new();
    log.acked(7, 5, 3);
    log.begin(8);
    let living = log.healed(&[7], &[3]);
    assert_eq!(told_again(&living, 7), (5, 3, 1, 2));
}

#[test]
fn readings_whose_date_is_damaged_are_lost() {
    let mut log = Log::new();
    log.undated();
    log.acked(7, 8, 5);
    log.begin(8);
    let copy = log.clone();
    assert_eq!(told_again(&copy.healed(&[7], &[]), 7), (9, 5, 0, 5), "whole, it is dated again");
    let mut living = log.healed(&[7], &[7]);
    assert_eq!(told_again(&living, 7), (8, 5, 1, 4));
    take(&mut living, 7);
    assert!(!living.is_healing());
}

#[test]
fn readings_without_a_date_that_were_not_let_go_of_are_not_lost() {
    let mut log = Log::new();
    log.acked(7, 5, 3);
    log.undated();
    let living = log.healed(&[7], &[8]);
    assert_eq!(told_again(&living, 7), (7, 4, 0, 3), "the state that lives has it in a window");
}

#[test]
fn a_boot_ends_where_it_ended_though_its_end_is_damaged() {
    let mut log = Log::new();
    log.acked(7, 5, 3);
    log.begin(8);
    log.acked(7, 6, 3);
    log.frame(vec![reading(11_000)], 1);
    log.begin(9);
    log.acked(8, 3, 1);
    for damaged in [&[6][..], &[6, 7], &[4, 6, 7], &[6, 7, 8]] {
        let copy = log.clone();
        let mut living = copy.healed(&[7, 8], damaged);
        let lost = if damaged.contains(&4) { 2 } else { 0 };
        assert_eq!(told_again(&living, 7), (6, 3, lost, 3 - lost), "{damaged:?}");
        assert_eq!(told_again(&living, 8), (3, 1, 0, 1), "{damaged:?}: what lies before its first reading is none");
        take(&mut living, 7);
        assert!(living.is_healing());
        take(&mut living, 8);
        assert!(!living.is_healing());
    }
}

#[test]
fn a_log_whose_beginning_is_damaged_is_told_from_there_on() {
    let mut log = Log::new();
    log.acked(7, 5, 3);
    let copy = log.clone();
    let living = copy.healed(&[7], &[1, 2]);
    assert_eq!(told_again(&living, 7), (5, 3, 0, 3), "names and sizes are known to the state that lives");
    assert_eq!(living.gap_to(7), (0, 0));
    log.living.orphaned = 1;
    let living = log.healed(&[7], &[1, 2]);
    assert_eq!(told_again(&living, 7), (5, 3, 3, 0), "a number whose name that one lost too may be another's by now");
}

#[test]
fn a_loss_that_is_known_only_later_is_told_all_the_same() {
    let mut log = Log::new();
    log.acked(7, 3, 1);
    log.begin(8);
    log.frame(vec![reading(11_000)], 1);
    log.acked(8, 2, 1);
    let mut living = log.healed(&[7], &[4]);
    assert!(living.outbox().unwrap().boots.iter().all(|p| p.boot == 7), "the log is not needed beyond");
    assert_eq!(living.outbox().unwrap().boots[0].telling, Telling::Ends);
    // It lacks the next boot as well.
    living.boots[1].acknowledged(0, 0, 0, 0);
    assert_eq!(living.heals_from(), Some(0), "from the beginning once more");
}
