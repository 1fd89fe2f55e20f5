//! Readings that came before the wall clock of a device was set: they wait for their date.
//!
//! A device without a battery for its clock starts at 1970, or where its log ended. Until a
//! time service sets the clock, the logged clock goes on with the monotonic one, so how far
//! apart readings came is known, and their date is not. [`Record::ClockSet`](crate::record::Record)
//! says by how much the logged clock was behind; then each reading is dated by its arrival plus that
//! much, or by its own time if the clock, now known, lets that pass.
//!
//! Invariants: a reading that waits holds back what intervals may claim (protocol §4) as an open
//! window born with its record does, and is put into a window that was born no later, with a record of which a
//! reading waits: only these stay open in every log that goes on from there, a copy's too, until the date is known.
//! Windows that its record opened for others stay open for it, since it would open one of the same name; nothing waits
//! for ever: where the boot ends unset, more than [`UNDATED_READINGS_MAX`] wait, or too many windows of the series
//! are open, the logged clock's date stands.
//!
//! Of readings of one millisecond in a window where some waited, any may be its first and its last:
//! which record came first is not kept with a window.

use super::{Fold, open};
use crate::limits::{FUTURE_MS_MAX, OPEN_WINDOWS_MAX, UNDATED_READINGS_MAX, UNSET_FUTURE_MS_MAX};
use crate::outbox::Before;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The first fold version in which readings wait for their date.
const SINCE: u32 = 3;

/// The first in which they join no window of readings that did not wait: a copy of the log may have sealed it.
const APART_SINCE: u32 = 11;

/// A reading that waits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Undated {
    /// Its record, and where the log stood before it.
    seq: u64,
    before: Before,
    series: u32,
    /// The logged clock then.
    arrival_ms: i64,
    /// The time that came with it, else `arrival_ms`.
    time_ms: i64,
    value: f64,
    /// `time_ms` is relative to `arrival_ms`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    relative: bool,
}

/// What a message's times are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dating {
    /// The clock was set when it came.
    Known,
    /// It was not: what has no time of its own, or a doubtful one, waits.
    Waits,
    /// The same, and its times are relative to the arrival.
    WaitsRelative,
}

/// Whether a reading of a series that came with the record `born` is among those that wait, in the order of their records.
pub(super) fn is_owed(waiting: &[Undated], series: u32, born: u64) -> bool {
    let of_record = &waiting[waiting.partition_point(|u| u.seq < born)..];
    of_record.iter().take_while(|u| u.seq == born).any(|u| u.series == series)
}

impl Fold {
    /// Whether a reading waits: for want of a time, or because the clock cannot say whether its
    /// time is in the future.
    pub(super) fn waits(&self, dating: Dating, number: u32, time_ms: i64) -> bool {
        let doubtful = dating == Dating::WaitsRelative || time_ms == self.clock_ms || time_ms > self.clock_ms.saturating_add(FUTURE_MS_MAX);
        // Those that would stay open for it are bounded.
        let open = self.series.get(number as usize).map_or(0, |series| series.open.len());
        let has_room = self.config.fold_version < open::WHOLE_SINCE || open < OPEN_WINDOWS_MAX * self.kept_ms.len().max(1);
        doubtful && has_room && self.config.fold_version >= SINCE && self.undated.len() < UNDATED_READINGS_MAX
    }

    pub(super) fn wait(&mut self, seq: u64, before: Before, dating: Dating, series: u32, time_ms: i64, value: f64) {
        self.births.entry(seq).or_insert((0, before)).0 += 1;
        let relative = dating == Dating::WaitsRelative;
        self.undated.push(Undated { seq, before, series, arrival_ms: self.clock_ms, time_ms, value, relative });
    }

    /// The time of a reading that does not wait although the clock is not set.
    pub(super) fn unset_time(&mut self, time_ms: i64) -> i64 {
        self.clamp(time_ms, self.clock_ms.saturating_add(FUTURE_MS_MAX), self.clock_ms)
    }

    /// That time, if it lies between 1970 and `latest_ms`; else that of its arrival, which is counted.
    fn clamp(&mut self, time_ms: i64, latest_ms: i64, arrival_ms: i64) -> i64 {
        if (0..=latest_ms).contains(&time_ms) {
            return time_ms;
        }
        self.clamped += 1;
        arrival_ms
    }

    /// The logged clock was `behind_ms` behind: all that waits is put into its window, by the record `version`.
    pub(super) fn date(&mut self, behind_ms: i64, version: u64) {
        let undated = std::mem::take(&mut self.undated);
        let is_whole = self.config.fold_version >= open::WHOLE_SINCE;
        let waited = (self.config.fold_version >= APART_SINCE).then_some(undated.as_slice());
        let mut rest = undated.as_slice();
        while let Some(first) = rest.first() {
            let (of_record, later) = rest.split_at(rest.partition_point(|u| u.seq == first.seq));
            self.date_those(of_record, waited, behind_ms, version);
            self.thin_out_but(later);
            let series: BTreeSet<u32> = of_record.iter().filter(|_| is_whole).map(|u| u.series).collect();
            series.into_iter().for_each(|series| self.due_again(series, first.seq));
            rest = later;
        }
    }

    fn date_those(&mut self, those: &[Undated], waited: Option<&[Undated]>, behind_ms: i64, version: u64) {
        for u in those {
            let arrival_ms = u.arrival_ms.saturating_add(behind_ms);
            // Where nobody knows the clock, any time of this century is better than none.
            let latest_ms = if behind_ms == 0 { UNSET_FUTURE_MS_MAX } else { arrival_ms.saturating_add(FUTURE_MS_MAX) };
            let time_ms = match u.time_ms {
                sent_ms if u.relative => sent_ms.saturating_add(behind_ms),
                none if none == u.arrival_ms => arrival_ms,
                sent_ms => sent_ms,
            };
            // What would lie before 1970 is a relative time on a clock that was never set.
            let time_ms = self.clamp(time_ms, latest_ms, arrival_ms);
            self.place((u.seq, version), waited, u.before, u.series, time_ms, u.value);
            open::born_less(&mut self.births, u.seq);
        }
    }

    /// Nothing waits any more; how many did that came up to `seq`.
    pub(super) fn forget_undated(&mut self, seq: u64) -> u64 {
        self.undated.drain(..).filter(|u| u.seq <= seq).count() as u64
    }

    /// After a snapshot: what waits holds intervals back again.
    pub(super) fn undated_births(&mut self) {
        for u in &self.undated {
            self.births.entry(u.seq).or_insert((0, u.before)).0 += 1;
        }
    }

    /// Series of which readings wait. Where the boot ends, they are put into windows as of its last record, which
    /// may have changed these windows before: such a version is not to be shown.
    pub(crate) fn undated_series(&self) -> BTreeSet<u32> {
        self.undated.iter().map(|u| u.series).collect()
    }

    /// Readings that wait until the clock is set.
    pub fn undated(&self) -> usize {
        self.undated.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::FoldConfig;
    use crate::outbox::page::name_of;
    use crate::outbox::{BootPart, EntryName};
    use crate::record::{FLAG_LEAVES, FLAG_UNDATED, Readings, Record, put_reading};
    use crate::rehearse::Rehearsal;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const SIZE_MS: i64 = 1_000;
    const DAY_MS: i64 = 86_400_000;

    fn gateway() -> Rehearsal {
        let config = FoldConfig { sizes_ms: vec![SIZE_MS], grace_ms: 500, ..FoldConfig::default() };
        let mut r = Rehearsal::new(0, config).unwrap();
        r.series("a", None).unwrap();
        r.series("b", None).unwrap();
        r
    }

    fn send(r: &mut Rehearsal, clock_ms: i64, flags: u64, series: u32, time_ms: Option<i64>) {
        let (mut bytes, clock_ms) = (Vec::new(), clock_ms.max(r.fold.clock_ms));
        put_reading(&mut bytes, series, time_ms.unwrap_or(clock_ms), clock_ms, 1.5);
        let record = Record::Message { flags: FLAG_LEAVES | flags, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } };
        r.record(clock_ms, &record).unwrap();
    }

    /// Readings by series and window, sealed and open.
    fn windows(fold: &Fold) -> BTreeMap<(u32, i64), u64> {
        let mut sum = BTreeMap::new();
        let open = fold.series.iter().flat_map(|s| &s.open).map(|o| (o.name, o.aggregate.count()));
        let sealed = fold.boots.iter().flat_map(|p| p.entries.young()).map(|(name, s)| (*name, s.aggregate.count()));
        open.chain(sealed).for_each(|(name, count)| *sum.entry((name.series, name.start_ms)).or_default() += count);
        sum
    }

    proptest! {
        #[test]
        fn readings_get_the_date_that_a_set_clock_would_have_given_them(
            steps in proptest::collection::vec((0i64..900, 0u32..2, proptest::option::of(-5_000i64..400_000)), 1..60),
            cut in 0usize..60,
            behind_ms in 1_000_000i64..20_000 * DAY_MS,
        ) {
            let mut r = gateway();
            let mut clock_ms = 0;
            let mut truth: BTreeMap<(u32, i64), u64> = BTreeMap::new();
            for (n, (passed, series, own)) in steps.into_iter().enumerate() {
                clock_ms += passed;
                // A sensor's own time, of which the gateway cannot know that it is right.
                let time_ms = own.map(|own| clock_ms + behind_ms + own);
                send(&mut r, clock_ms, FLAG_UNDATED, series, time_ms);
                let dated = match own {
                    Some(own) if own <= FUTURE_MS_MAX => clock_ms + behind_ms + own,
                    _ => clock_ms + behind_ms,
                };
                *truth.entry((series, dated.div_euclid(SIZE_MS) * SIZE_MS)).or_default() += 1;
                if n == cut {
                    r = Rehearsal::resume(Fold::restore(&r.fold.save()).unwrap());
                }
                let part = r.fold.current().unwrap();
                prop_assert!(r.fold.complete_to(part).0 < 4, "nothing that waits is claimed");
            }
            r.record(clock_ms + behind_ms, &Record::ClockSet { behind_ms }).unwrap();
            prop_assert_eq!(r.fold.undated(), 0);
            prop_assert_eq!(windows(&r.fold), truth.clone());
            // What comes now goes into its window as ever; then all is sealed and nothing held back.
            send(&mut r, clock_ms + behind_ms, 0, 1, None);
            *truth.entry((1, (clock_ms + behind_ms).div_euclid(SIZE_MS) * SIZE_MS)).or_default() += 1;
            r.record(clock_ms + behind_ms + FUTURE_MS_MAX + 10 * SIZE_MS, &Record::Tick).unwrap();
            prop_assert_eq!(windows(&r.fold), truth);
            prop_assert!(r.fold.births.is_empty());
            let part = r.fold.current().unwrap();
            prop_assert_eq!(r.fold.complete_to(part).0, part.end);
        }
    }

    /// One message; readings without a time are not relative to anything.
    fn send_all(r: &mut Rehearsal, clock_ms: i64, readings: &[(u32, Option<i64>)]) {
        let (mut bytes, clock_ms) = (Vec::new(), clock_ms.max(r.fold.clock_ms));
        for (series, own) in readings {
            put_reading(&mut bytes, *series, own.map_or(clock_ms, |own| clock_ms + own), clock_ms, 1.5);
        }
        let flags = FLAG_LEAVES | FLAG_UNDATED;
        r.record(clock_ms, &Record::Message { flags, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } }).unwrap();
    }

    /// Of what stands in the fold: each name and version, with its count.
    fn named(fold: &Fold) -> Vec<(u64, EntryName, u64, u64)> {
        let waits = fold.undated_series();
        let boot = fold.current().map_or(0, |p| p.boot);
        let open = fold.series.iter().flat_map(|s| &s.open).filter(|o| !waits.contains(&o.name.series));
        let open = open.map(|o| (boot, o.name, o.version, o.aggregate.count()));
        let entries = |p: &BootPart| p.entries.oldest(&fold.shelf, 0, 0, usize::MAX).entries;
        let sealed = fold.boots.iter().flat_map(|p| entries(p).into_iter().map(|e| (p.boot, name_of(&e), e.version, e.aggregate.count())));
        open.chain(sealed).collect()
    }

    proptest! {
        #[test]
        fn of_a_message_some_readings_may_wait_and_all_count(
            steps in proptest::collection::vec((0i64..2_500, proptest::collection::vec((0u32..2, proptest::option::of(-3_000i64..2_000)), 1..5)), 1..40),
            cut in 0usize..40,
            ends in 0usize..40,
            behind_ms in prop_oneof![0i64..5_000, 1_000_000i64..20_000 * DAY_MS],
        ) {
            let mut r = gateway();
            let (mut clock_ms, mut total) = (10_000, 0);
            let mut shown: BTreeMap<(u64, EntryName, u64), u64> = BTreeMap::new();
            for (n, (passed, readings)) in steps.iter().enumerate() {
                clock_ms += passed;
                send_all(&mut r, clock_ms, readings);
                total += readings.len() as u64;
                for (boot, name, version, count) in named(&r.fold) {
                    let known = *shown.entry((boot, name, version)).or_insert(count);
                    prop_assert_eq!(known, count, "{:?} of boot {} at {} is another", name, boot, version);
                }
                // A state does not hold the pages that the end of a boot makes.
                if n == cut.min(ends) {
                    r = Rehearsal::resume(Fold::restore(&r.fold.save()).unwrap());
                }
                if n == ends {
                    r.boot(clock_ms, 2, FoldConfig { sizes_ms: vec![SIZE_MS], grace_ms: 500, ..FoldConfig::default() }).unwrap();
                }
            }
            r.record(clock_ms + behind_ms, &Record::ClockSet { behind_ms }).unwrap();
            for _ in 0..2 {
                r.record(clock_ms + behind_ms + FUTURE_MS_MAX + 10 * SIZE_MS, &Record::Tick).unwrap();
            }
            prop_assert!(r.fold.births.is_empty() && r.fold.series.iter().all(|s| s.open.is_empty()), "all is sealed");
            let all = named(&r.fold);
            prop_assert_eq!(all.iter().map(|(.., count)| count).sum::<u64>(), total);
            for (boot, name, version, count) in all {
                prop_assert_eq!(*shown.entry((boot, name, version)).or_insert(count), count);
            }
        }
    }

    proptest! {
        #[test]
        fn a_copy_that_ends_earlier_tells_nothing_twice(
            steps in proptest::collection::vec((0i64..2_500, proptest::collection::vec((0u32..2, proptest::option::of(-3_000i64..2_000)), 1..5)), 2..30),
            cut in 0usize..29,
        ) {
            let end = |r: &mut Rehearsal, clock_ms| r.boot(clock_ms, 2, FoldConfig { sizes_ms: vec![SIZE_MS], ..FoldConfig::default() });
            let (mut r, mut copy) = (gateway(), None);
            let (mut clock_ms, mut total) = (10_000, 0);
            for (n, (passed, readings)) in steps.iter().enumerate() {
                clock_ms += passed;
                send_all(&mut r, clock_ms, readings);
                total += readings.len() as u64;
                if n == cut {
                    let mut cut = Rehearsal::resume(Fold::restore(&r.fold.save()).unwrap());
                    end(&mut cut, clock_ms).unwrap();
                    copy = Some(cut);
                }
            }
            end(&mut r, clock_ms).unwrap();
            // As the cloud joins them.
            let mut joined: BTreeMap<(u64, EntryName), (u64, u64)> = BTreeMap::new();
            for (boot, name, version, count) in copy.iter().chain([&r]).flat_map(|r| named(&r.fold)) {
                let told = joined.entry((boot, name)).or_default();
                *told = (*told).max((version, count));
            }
            prop_assert_eq!(joined.values().map(|(_, count)| count).sum::<u64>(), total);
        }
    }

    #[test]
    fn a_window_stays_open_for_what_its_record_has_waiting() {
        let mut r = gateway();
        // The second waits, and belongs to the window of the first.
        send_all(&mut r, 10_400, &[(0, Some(-200)), (0, None)]);
        send(&mut r, 20_000, FLAG_UNDATED, 1, None);
        assert_eq!((r.fold.series[0].open.len(), r.fold.undated()), (1, 2));
        r.record(20_100, &Record::ClockSet { behind_ms: 100 }).unwrap();
        assert_eq!(windows(&r.fold), BTreeMap::from([((0, 10_000), 2), ((1, 20_000), 1)]));
        assert_eq!(r.fold.series[0].open.len(), 1);
        r.record(20_200, &Record::Tick).unwrap();
        assert!(r.fold.series[0].open.is_empty(), "it was due long ago");
        assert_eq!(windows(&r.fold)[&(0, 10_000)], 2);
    }

    #[test]
    fn what_ends_unset_or_is_too_much_keeps_the_date_of_the_log() {
        let mut r = gateway();
        send(&mut r, 5_000, FLAG_UNDATED, 0, None);
        send(&mut r, 6_000, FLAG_UNDATED, 0, Some(20_000 * DAY_MS));
        send(&mut r, 7_000, FLAG_UNDATED, 0, Some(i64::MAX - 1));
        assert_eq!(r.fold.undated(), 3);
        r.boot(8_000, 2, FoldConfig { sizes_ms: vec![SIZE_MS], ..FoldConfig::default() }).unwrap();
        assert_eq!(r.fold.undated(), 0);
        let old = &r.fold.boots[0];
        assert_eq!(r.fold.complete_to(old).0, old.end);
        let shelf = &r.fold.shelf;
        let mut starts: Vec<i64> = old.entries.oldest(shelf, 0, 0, 10).entries.iter().map(|e| e.start_ms).collect();
        starts.sort_unstable();
        assert_eq!(starts, [5_000, 7_000, 20_000 * DAY_MS]);
        assert_eq!(r.fold.clamped, 1, "the last alone says a time that cannot be");

        for n in 0..UNDATED_READINGS_MAX as i64 + 5 {
            send(&mut r, 9_000 + n, FLAG_UNDATED, 1, None);
        }
        assert_eq!((r.fold.undated(), r.fold.clamped), (UNDATED_READINGS_MAX, 1));
        // Of those beyond, who says a time of this century is moved to 1970.
        (0..3).for_each(|n| send(&mut r, 9_000 + n, FLAG_UNDATED, 0, Some(20_000 * DAY_MS)));
        assert_eq!((r.fold.undated(), r.fold.clamped), (UNDATED_READINGS_MAX, 4));
        r.record(0, &Record::ClockSet { behind_ms: DAY_MS }).unwrap();
        let last = 9_000 + UNDATED_READINGS_MAX as i64;
        assert!(windows(&r.fold).contains_key(&(1, last / SIZE_MS * SIZE_MS)), "beyond the bound the log's date stands");
    }
}
