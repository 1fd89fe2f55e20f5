//! After an outage that the log had no room for: marks and entries go once, and arrive.

use super::*;

/// A log that a crash ended: `messages` of each of 20 series, every reading of them in a window
/// of its own, and about half of all windows given up.
fn given_up(line: Line, seed: u64, messages: u32) -> Pair {
    let settings = Settings { boot: 8, ..Settings::default() };
    let mut pair = Pair::new(settings, line, seed);
    pair.define(20);
    for message in 0..messages {
        for series in 0..20 {
            let mut payload = Vec::new();
            schemas::wire::put_varint(&mut payload, 4);
            put_message_head(&mut payload, FLAG_LEAVES, 0, 0);
            let clock_ms = pair.fold.clock_ms + 4;
            for reading in 0..100 {
                let time_ms = EPOCH_MS - SIZE_MS * i64::from(1_000_000 - message * 100 - reading);
                let value = f64::from(pair.rng.random_range(0..500_000)) / 1_000.0;
                put_reading(&mut payload, series, time_ms, clock_ms, value);
            }
            pair.lsn += 1;
            pair.fold.apply(pair.lsn, KIND_MESSAGE, &payload).unwrap();
        }
        let held: u64 = pair.fold.boots.iter().map(|p| p.entries.bytes()).sum();
        if message >= messages / 2
            && let Some((boot, version)) = crate::shed::oldest(&pair.fold, held / u64::from(message))
        {
            pair.log(0, &Record::Shed { boot, version });
        }
    }
    pair.fold.fresh.clear();
    pair.log(SIZE_MS as u64, &Record::Tick);
    let config = schemas::cbor::to_vec(&pair.fold.config);
    pair.log(0, &Record::Boot { boot: 8, parent: Some((7, pair.lsn)), config: &config });
    pair
}

impl Pair {
    fn is_told(&self) -> bool {
        self.fold.boots.iter().all(|p| p.marks.is_empty() && p.readings_applied == p.readings)
    }
}

#[test]
fn marks_and_entries_go_once_however_slow_the_cloud_is() {
    for (cost_us, commit_ms) in [(0, 0), (10, 20), (300, 200), (2_000, 1_000)] {
        let mut pair = given_up(clean(50), 11, 16);
        (pair.cost_us, pair.commit_ms) = (cost_us, commit_ms);
        let marks: usize = pair.fold.boots.iter().map(|p| p.marks.len()).sum();
        let entries: usize = pair.fold.boots.iter().map(|p| p.entries.len()).sum();
        pair.connect();
        let items = (marks + entries) as i64;
        let before = pair.fold.ledger();
        let took = pair.run_until(60_000 + 2 * items * cost_us / 1_000, Pair::is_told);
        let (sent_marks, sent_entries) =
            pair.deltas().fold((0, 0), |(m, e), d| (m + d.marks.len(), e + block_len(&d.entries) + block_len(&d.ahead)));
        println!("{cost_us} us: {marks} marks, {entries} entries; sent {sent_marks}, {sent_entries}; {} bytes, {took} ms", pair.bytes());
        let after = pair.fold.ledger();
        assert_eq!((after.held, after.shed, after.delivered), (0, before.shed, before.held));
        assert!(sent_marks <= marks + marks / 20, "{sent_marks} of {marks} marks");
        assert!(sent_entries <= entries + entries / 10, "{sent_entries} of {entries} entries");
    }
}
