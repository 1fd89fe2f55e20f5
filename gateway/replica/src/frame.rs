//! One committed frame of the log → the fold, minding what is missing before it.
//!
//! A frame's four marks say what a fold behind a damaged part cannot know otherwise. Three of them
//! are counts, and far below 2^48: above them stand 16 bits each of the logged clock, as records
//! only say by how much it advanced, and readings are dated by it. A log whose marks have none
//! there was written by an earlier program.

use crate::error::Error;
use crate::fold::Fold;
use crate::hash;
use crate::limits::OFFER_RECORDS;
use crate::record::{FLAG_LEAVES, Record};

/// Bits of a count.
const COUNT_BITS: u32 = 48;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// The marks that are counts, with the place of their part of the clock.
const CLOCKED: [(usize, u32); 3] = [(0, 0), (1, 16), (3, 32)];

/// What a frame's marks say, as of its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Readings that may leave, over the life of the log.
    pub readings: u64,
    /// Readings that stay.
    pub local: u64,
    /// The boot.
    pub boot: u64,
    /// The record before that boot's first.
    pub base: u64,
    /// The logged clock, ms since the Unix epoch; none in a log of an earlier program.
    pub clock_ms: Option<i64>,
}

impl Marks {
    /// From the four numbers of a frame.
    pub fn of(marks: [u64; 4]) -> Self {
        let clock = CLOCKED.iter().fold(0, |clock, (at, shift)| clock | (marks[*at] >> COUNT_BITS) << shift);
        let [readings, local, boot, base] = marks;
        let clock_ms = i64::try_from(clock).ok().filter(|ms| *ms > 0);
        Self { readings: readings & COUNT, local: local & COUNT, boot, base: base & COUNT, clock_ms }
    }

    /// Notes the logged clock in the numbers of the next frame; one beyond the year 10,000 is none.
    pub fn set_clock(marks: &mut [u64; 4], clock_ms: i64) {
        let clock = u64::try_from(clock_ms).ok().filter(|ms| *ms <= COUNT).unwrap_or(0);
        for (at, shift) in CLOCKED {
            marks[at] = marks[at] & COUNT | (clock >> shift & 0xffff) << COUNT_BITS;
        }
    }
}

impl Fold {
    /// Folds a frame that begins with record `first`, with its [`Marks`]. Records already folded are
    /// passed over.
    ///
    /// # Errors
    /// As [`Fold::apply`].
    pub fn frame<'a>(&mut self, first: u64, marks: [u64; 4], records: impl Iterator<Item = (u64, u8, &'a [u8])>) -> Result<(), Error> {
        // Before the first record there was nothing: without a snapshot, a log that was cut lacks
        // what lay before.
        if first > self.lsn + 1 {
            return self.frame_behind_gap(first, Marks::of(marks), &records.collect::<Vec<_>>());
        }
        for (lsn, kind, payload) in records {
            if lsn > self.lsn {
                self.apply(lsn, kind, payload)?;
            }
        }
        Ok(())
    }

    fn frame_behind_gap(&mut self, first: u64, marks: Marks, records: &[(u64, u8, &[u8])]) -> Result<(), Error> {
        let mut nobodys = self.bridge(first, marks, records)?;
        for (lsn, kind, payload) in records {
            self.apply(*lsn, *kind, payload)?;
            self.miss(std::mem::take(&mut nobodys));
        }
        // A boot whose first record is missing may be the one that others' forks waited for.
        self.cut_forks();
        Ok(())
    }

    /// Steps over a damaged part of the log, up to the frame of these `records` that begins with `first`. What is
    /// missing is counted as accepted and given up where it was: in the boot under way, or in the one
    /// that ended there. Answers what is of neither, that may leave and that stays: it is told with
    /// the boot that the frame begins.
    pub(crate) fn bridge(&mut self, first: u64, marks: Marks, records: &[(u64, u8, &[u8])]) -> Result<(u64, u64), Error> {
        let Marks { readings, local, boot, base, clock_ms } = marks;
        let (mut advanced, mut within) = (0u64, (0u64, 0u64));
        let mut parent = None;
        for (at, (_, kind, payload)) in records.iter().enumerate() {
            let (advance, record) = Record::decode(*kind, payload)?;
            advanced = advanced.saturating_add(advance);
            match record {
                Record::Message { flags, readings, .. } => {
                    let count = readings.for_each(0, |_, _, _| {}).map_err(|source| Error::Record { kind: *kind, source })?;
                    *(if flags & FLAG_LEAVES != 0 { &mut within.0 } else { &mut within.1 }) += count;
                }
                Record::Boot { parent: named, .. } if at == 0 => parent = named,
                _ => {}
            }
        }
        if let Some(end_ms) = clock_ms {
            // What is missing advanced the clock, too.
            self.clock_ms = self.clock_ms.max(end_ms.saturating_sub_unsigned(advanced));
        }
        let is_under_way = boot != 0 && base + 1 < first;
        if is_under_way && self.boots.last().is_none_or(|p| p.boot != boot) {
            self.begin_boot(boot, None, base);
        }
        let had = self.totals();
        let missing = (readings.saturating_sub(within.0).saturating_sub(had.0), local.saturating_sub(within.1).saturating_sub(had.1));
        self.lsn = first - 1;
        let Some(part) = self.boots.last_mut() else { return Ok(missing) };
        // What the log was is not known any more, nor what was made of it and told.
        part.hash = hash::UNKNOWN;
        part.holed = true;
        part.offered = part.offered.max(first.saturating_sub(part.base).saturating_add(OFFER_RECORDS));
        let end = if is_under_way { Some(self.lsn - base) } else { parent.filter(|(named, _)| *named == part.boot).map(|(_, end)| end) };
        let Some(end) = end else { return Ok(missing) };
        part.end = part.end.max(end);
        self.miss(missing);
        Ok((0, 0))
    }

    /// Readings that damage took, that may leave and that stay, at the end of the boot under way.
    pub(crate) fn miss(&mut self, (readings, local): (u64, u64)) {
        if let Some(part) = self.boots.last_mut() {
            part.readings += readings;
            part.damaged_at(part.end, readings);
            part.local += local;
        }
    }

    /// Readings that damage took from a boot whose end the cloud had been told of before: no
    /// interval of it goes any more, so they are given up with the boot under way.
    pub(crate) fn miss_late(&mut self, boot: u64) {
        let Some((living, ended)) = self.boots.split_last_mut() else { return };
        let Some(part) = ended.iter_mut().find(|p| p.boot == boot && p.damaged > 0 && p.forked.is_none()) else { return };
        let late = part.readings - part.readings_applied;
        if part.ended && part.applied == part.end && late > 0 {
            part.readings -= late;
            part.damaged = part.damaged.saturating_sub(late);
            living.readings += late;
            living.damaged_at(living.end, late);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::FoldConfig;
    use crate::record::{Readings, put_reading};

    const TIME_MS: i64 = 1_700_000_000_000;

    fn encoded(record: &Record<'_>) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        record.encode(1_000, &mut out);
        (record.kind(), out)
    }

    fn boot(boot: u64) -> (u8, Vec<u8>) {
        let config = schemas::cbor::to_vec(&FoldConfig { sizes_ms: vec![1_000], ..FoldConfig::default() });
        encoded(&Record::Boot { boot, parent: None, config: &config })
    }

    fn reading(series: u32, value: f64) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        put_reading(&mut bytes, series, TIME_MS, TIME_MS, value);
        encoded(&Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } })
    }

    fn frame(fold: &mut Fold, first: u64, marks: [u64; 4], records: &[(u8, Vec<u8>)]) {
        let numbered = records.iter().enumerate().map(|(at, (kind, payload))| (first + at as u64, *kind, &payload[..]));
        fold.frame(first, marks, numbered).unwrap();
    }

    fn counts(fold: &Fold) -> Vec<(u64, u64, u64)> {
        fold.boots.iter().map(|p| (p.boot, p.readings, p.damaged)).collect()
    }

    #[test]
    fn a_cut_log_without_a_snapshot_is_counted_as_given_up() {
        let mut fold = Fold::default();
        frame(&mut fold, 50, [40, 0, 7, 3], &[reading(0, 1.0), reading(1, 2.0)]);
        assert_eq!(counts(&fold), [(7, 40, 40)], "nobody knows what series they were of");
        frame(&mut fold, 52, [41, 0, 7, 3], &[reading(0, 1.0)]);
        assert_eq!(counts(&fold), [(7, 41, 41)]);
        let series = encoded(&Record::Series { number: 0, name: "s", unit: None });
        frame(&mut fold, 53, [42, 0, 8, 52], &[boot(8), series, reading(0, 1.0)]);
        assert_eq!(counts(&fold), [(7, 41, 41), (8, 1, 0)]);
    }

    #[test]
    fn a_boot_that_begins_behind_a_gap_begins_once() {
        let mut fold = Fold::default();
        frame(&mut fold, 1, [1, 0, 7, 0], &[boot(7), encoded(&Record::Series { number: 0, name: "s", unit: None }), reading(0, 1.0)]);
        frame(&mut fold, 10, [5, 0, 8, 9], &[boot(8), reading(0, 1.0)]);
        assert_eq!(counts(&fold), [(7, 1, 0), (8, 4, 3)]);
        // One that began within the gap goes on under its own name.
        frame(&mut fold, 20, [9, 0, 9, 14], &[reading(0, 1.0)]);
        assert_eq!(counts(&fold), [(7, 1, 0), (8, 4, 3), (9, 4, 3)]);
    }

    #[test]
    fn what_damage_takes_of_a_boots_end_counts_under_that_boot() {
        let mut fold = Fold::default();
        frame(&mut fold, 1, [1, 0, 7, 0], &[boot(7), encoded(&Record::Series { number: 0, name: "s", unit: None }), reading(0, 1.0)]);
        let config = schemas::cbor::to_vec(&FoldConfig { sizes_ms: vec![1_000], ..FoldConfig::default() });
        let next = encoded(&Record::Boot { boot: 8, parent: Some((7, 9)), config: &config });
        frame(&mut fold, 10, [5, 0, 8, 9], &[next, reading(0, 1.0)]);
        assert_eq!(counts(&fold), [(7, 4, 3), (8, 1, 0)]);
        let part = &fold.boots[0];
        assert_eq!((part.end, part.lost_to(8), part.lost_to(9)), (9, 0, 3), "it ends where it ended");
    }

    #[test]
    fn what_damage_takes_in_the_middle_counts_before_what_follows() {
        let mut fold = Fold::default();
        frame(&mut fold, 1, [1, 0, 7, 0], &[boot(7), encoded(&Record::Series { number: 0, name: "s", unit: None }), reading(0, 1.0)]);
        let mut bytes = Vec::new();
        put_reading(&mut bytes, 0, TIME_MS + 5_000, TIME_MS, 2.0);
        let late = encoded(&Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } });
        frame(&mut fold, 10, [5, 0, 7, 0], &[late, reading(0, 1.0)]);
        let part = &fold.boots[0];
        assert_eq!((part.readings, part.lost_to(8), part.lost_to(9)), (5, 0, 2));
        let befores: Vec<u64> = fold.series[0].open.iter().filter(|o| o.name.born == 10).map(|o| o.before.readings).collect();
        assert_eq!(befores, [3], "an interval that ends there says so");
    }

    #[test]
    fn what_damage_takes_from_a_boot_that_was_told_is_given_up_with_the_next() {
        let mut fold = Fold::default();
        frame(&mut fold, 50, [40, 0, 7, 3], &[reading(0, 1.0), reading(1, 2.0)]);
        let told = encoded(&Record::Acked { boot: 7, applied: 48, cloud_boot: 9, shed: 38, readings: 38, hash: 0 });
        frame(&mut fold, 52, [40, 0, 8, 51], &[boot(8), told.clone()]);
        assert_eq!(counts(&fold), [(7, 38, 38), (8, 2, 2)]);
        let ledger = fold.ledger();
        assert_eq!((ledger.accepted, ledger.held, ledger.shed), (40, 0, 40));
        frame(&mut fold, 54, [40, 0, 8, 51], &[told]);
        assert_eq!(counts(&fold), [(7, 38, 38), (8, 2, 2)], "once");
    }

    #[test]
    fn marks_keep_counts_and_clock_apart() {
        let mut marks = [0, 0, u64::MAX, 0];
        assert_eq!(Marks::of(marks).clock_ms, None);
        for (readings, local, base, clock_ms) in [(7, 8, 9, TIME_MS), (COUNT, COUNT, COUNT, COUNT as i64), (0, 0, 0, 1)] {
            (marks[0], marks[1], marks[3]) = (readings, local, base);
            Marks::set_clock(&mut marks, 5);
            Marks::set_clock(&mut marks, clock_ms);
            assert_eq!(Marks::of(marks), Marks { readings, local, boot: u64::MAX, base, clock_ms: Some(clock_ms) });
        }
        marks[0] += 3;
        assert_eq!((Marks::of(marks).readings, Marks::of(marks).clock_ms), (3, Some(1)), "counting leaves it");
        Marks::set_clock(&mut marks, i64::MAX);
        assert_eq!(Marks::of(marks).clock_ms, None);
    }

    #[test]
    fn behind_a_damaged_part_readings_keep_their_time() {
        // Each record advances the clock by a second; a reading says how far from it it is.
        let near = |value| {
            let mut bytes = Vec::new();
            put_reading(&mut bytes, 0, -3, 0, value);
            encoded(&Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } })
        };
        let series = encoded(&Record::Series { number: 0, name: "s", unit: None });
        let all = [(1, vec![boot(7), series, near(1.0)]), (4, vec![near(2.0), near(3.0)]), (6, vec![near(4.0), near(5.0)])];
        let folded = |missing: usize| {
            let mut fold = Fold::default();
            for (_, (first, records)) in all.iter().enumerate().filter(|(at, _)| *at != missing) {
                let last = first + records.len() as u64 - 1;
                let mut marks = [last - 2, 0, 7, 0];
                Marks::set_clock(&mut marks, last as i64 * 1_000);
                frame(&mut fold, *first, marks, records);
            }
            fold
        };
        let (whole, fold) = (folded(9), folded(1));
        assert_eq!((fold.clock_ms, fold.series[0].last), (whole.clock_ms, whole.series[0].last));
        assert_eq!((fold.clock_ms, fold.series[0].last), (7_000, Some((6_997, 5.0))));
        let ledger = fold.ledger();
        assert_eq!((ledger.accepted, ledger.held, ledger.shed), (5, 3, 2));
        // Marks of an earlier program say nothing of the clock.
        let mut old = folded(9);
        frame(&mut old, 20, [9, 0, 7, 0], &[near(6.0)]);
        assert_eq!(old.clock_ms, 8_000);
    }
}
