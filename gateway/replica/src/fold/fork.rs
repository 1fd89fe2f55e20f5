//! Another speaks under the name of a boot ([`crate::outbox::Fork`]): its part of it ends.

use super::Fold;
use crate::alert;
use crate::outbox::Fork;
use schemas::message::AlertBody;

impl Fold {
    /// Another has the boot's name; up to `at` the logs are the same. The living boot ends with
    /// the process.
    pub(super) fn forked(&mut self, boot: u64, at: u64, readings: u64) {
        if let Some(part) = self.boots.iter_mut().find(|p| p.boot == boot && p.forked.is_none()) {
            part.forked = Some(Fork { at: at.min(part.end), readings: readings.min(part.readings), given_up: None });
        }
        self.cut_forks();
    }

    /// The parts of boots that are over end at their forks; the living boot tells what is left of them.
    pub(crate) fn cut_forks(&mut self) {
        let seq = self.lsn - self.boots.last().map_or(0, |part| part.base);
        let (mut told, mut lost) = (Vec::new(), 0);
        let before = self.boots.last().map(|part| self.before(part)).unwrap_or_default();
        if let Some((living, old)) = self.boots.split_last_mut() {
            for part in old {
                let Some(behind) = part.cut(&mut self.shelf) else { continue };
                told.push((part.boot, behind.fork));
                lost += living.inherit(behind, seq, &mut self.ordinal, before, &mut self.shelf);
            }
        }
        for (boot, fork) in told {
            self.tell_event(|name, clock_ms, state| alert::forked(name, clock_ms, state, boot, &fork));
        }
        self.alerts_lost(lost);
    }

    /// Alerts that waited for the cloud are lost with the pages that they were in.
    pub(super) fn alerts_lost(&mut self, count: u64) {
        self.lost_alerts += count;
        if count > 0 {
            self.tell_event(|name, clock_ms, state| alert::lost(name, clock_ms, state, count));
        }
    }

    /// An event: the alarm that it makes is over at once, and stays until somebody has seen it.
    fn tell_event(&mut self, make: impl Fn((u64, u64, u32), i64, u8) -> AlertBody) {
        for state in [0, 1] {
            let Some(living) = self.boots.last() else { return };
            let alert = make((living.boot, self.lsn - living.base, self.ordinal), self.clock_ms, state);
            self.ordinal += 1;
            self.tell(alert, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fold::{FOLD_VERSION, Fold, FoldConfig};
    use crate::record::{FLAG_LEAVES, Readings, Record, put_reading};

    fn encoded(record: &Record<'_>) -> (u8, Vec<u8>) {
        let mut payload = Vec::new();
        record.encode(1_000, &mut payload);
        (record.kind(), payload)
    }

    fn begins(boot: u64) -> (u8, Vec<u8>) {
        let config = FoldConfig { fold_version: FOLD_VERSION, sizes_ms: vec![1_000], grace_ms: 0, ..FoldConfig::default() };
        encoded(&Record::Boot { boot, parent: None, config: &schemas::cbor::to_vec(&config) })
    }

    fn reading(value: f64) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        put_reading(&mut bytes, 0, 5_000, 5_000, value);
        encoded(&Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings: Readings { bytes: &bytes } })
    }

    /// A log of one boot with five readings, two of them acknowledged, and found to be shared.
    fn forked() -> Vec<(u8, Vec<u8>)> {
        let mut log = vec![begins(1), encoded(&Record::Series { number: 0, name: "a", unit: None })];
        log.extend((0..5).map(|n| reading(f64::from(n))));
        log.push(encoded(&Record::Acked { boot: 1, applied: 4, cloud_boot: 9, shed: 0, readings: 2, hash: 0 }));
        log.push(encoded(&Record::Forked { boot: 1, at: 4, readings: 2 }));
        log
    }

    #[test]
    fn what_lies_beyond_a_fork_is_shed_by_the_next_boot() {
        let mut fold = Fold::default();
        let mut log = forked();
        log.push(reading(9.0));
        let apply = |fold: &mut Fold, log: &[(u8, Vec<u8>)], from: u64| {
            log.iter().zip(from..).for_each(|((kind, payload), lsn)| fold.apply(lsn, *kind, payload).unwrap());
        };
        apply(&mut fold, &log, 1);
        // The process still lives under the name.
        assert_eq!((fold.ledger().held, fold.ledger().shed, fold.boots[0].forked.unwrap().given_up), (4, 0, None));
        apply(&mut fold, &[begins(2)], 11);
        let ledger = fold.ledger();
        assert_eq!((ledger.accepted, ledger.delivered, ledger.held, ledger.shed), (6, 2, 0, 4));
        let [old, living] = &fold.boots[..] else { panic!("{:?}", fold.boots) };
        assert_eq!((old.end, old.readings, old.forked.unwrap().given_up), (4, 2, Some(4)));
        assert!(old.entries.is_empty());
        assert_eq!((living.readings, living.lost_to(1)), (4, 4));
        let told: Vec<_> =
            living.alerts.tail.iter().map(|(alert, _)| (alert.kind.as_str(), alert.state, alert.seq, alert.ordinal)).collect();
        assert_eq!(told, [("conflict", 0, 1, 0), ("conflict", 1, 1, 1)]);
        // Nobody finds it again.
        apply(&mut fold, &[encoded(&Record::Forked { boot: 1, at: 4, readings: 2 })], 12);
        assert_eq!((fold.ledger(), fold.boots[1].alerts.len()), (ledger, 2));
    }

    #[test]
    fn a_boot_whose_first_record_is_damaged_sheds_it_all_the_same() {
        let mut fold = Fold::default();
        for (lsn, (kind, payload)) in (1..).zip(forked()) {
            fold.apply(lsn, kind, &payload).unwrap();
        }
        // Records 10 and 11 are missing: the first of boot 2, and a reading.
        let (kind, payload) = reading(3.0);
        fold.frame(12, [7, 0, 2, 9], std::iter::once((12, kind, payload.as_slice()))).unwrap();
        assert_eq!(fold.boots[0].forked.unwrap().given_up, Some(3));
        let ledger = fold.ledger();
        assert_eq!((ledger.accepted, ledger.delivered, ledger.held, ledger.shed), (7, 2, 1, 4));
        assert_eq!(fold.boots[1].alerts.len(), 2);
    }
}
