//! One committed frame of the log → the fold, minding what is missing before it.

use crate::error::Error;
use crate::fold::Fold;
use crate::hash;

impl Fold {
    /// Folds a frame that begins with record `first`. Its marks are the owner's, as of its last
    /// record: readings that may leave and those that stay, over the life of the log; the boot
    /// and the record before that boot's first. Records already folded are passed over.
    ///
    /// # Errors
    /// As [`Fold::apply`].
    pub fn frame<'a>(&mut self, first: u64, marks: [u64; 4], records: impl Iterator<Item = (u64, u8, &'a [u8])>) -> Result<(), Error> {
        let [readings, local, boot, base] = marks;
        // Before the first record there was nothing: without a snapshot, a log that was cut lacks
        // what lay before.
        let gap = first > self.lsn + 1;
        let is_under_way = boot != 0 && base + 1 < first;
        if gap && is_under_way && self.boots.last().is_none_or(|p| p.boot != boot) {
            self.begin_boot(boot, None, base);
        }
        if gap && let Some(part) = self.boots.last_mut() {
            // What the log was is not known any more.
            part.hash = hash::UNKNOWN;
        }
        for (lsn, kind, payload) in records {
            if lsn > self.lsn {
                self.apply(lsn, kind, payload)?;
            }
        }
        if gap {
            self.gap(readings, local);
            // A boot whose first record is missing may be the one that others' forks waited for.
            self.cut_forks();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::FoldConfig;
    use crate::record::{FLAG_LEAVES, Readings, Record, put_reading};

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
}
