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
            pair.apply(KIND_MESSAGE, payload);
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
        assert!(sent_marks <= marks + marks / 4, "{sent_marks} of {marks} marks");
        assert!(sent_entries <= entries + entries / 4, "{sent_entries} of {entries} entries");
    }
}

impl Pair {
    /// What `edge::store` does as the log of so many bytes fills.
    fn relieve(&mut self, limit: u64) {
        let marks = |fold: &Fold| fold.boots.iter().map(|p| p.marks.bytes()).sum::<u64>();
        if marks(&self.fold) > limit / 8
            && let Some((boot, born)) = crate::shed::nameless(&self.fold, limit / 16)
        {
            self.log(0, &Record::Unnamed { boot, born });
        }
        let held = self.fold.boots.iter().map(|p| p.entries.bytes()).sum::<u64>() + marks(&self.fold);
        if held > limit
            && let Some((boot, version)) = crate::shed::oldest(&self.fold, held - limit + limit / 32)
        {
            self.log(0, &Record::Shed { boot, version });
        }
    }
}

/// An outage without end, with a short contact now and then or none: what is held stays within
/// its bound, and the ledger with the cloud's count is exact at the end.
#[test]
fn an_outage_without_end_fills_no_log_and_loses_no_count() {
    for (seed, contact) in [(1, None), (2, Some(150)), (3, Some(70))] {
        let mut pair = Pair::new(Settings::default(), clean(20), seed);
        pair.fold.shelf.set_page_entries(32);
        pair.define(10);
        let limit = 6_000;
        let mut most = 0;
        for round in 0..400 {
            for series in 0..10 {
                let value = f64::from(pair.rng.random_range(0..80_000)) / 1_000.0;
                pair.read(series, if series == 0 { SIZE_MS as u64 } else { 0 }, value);
            }
            pair.relieve(limit);
            let held: u64 = pair.fold.boots.iter().map(|p| p.entries.bytes() + p.marks.bytes()).sum();
            most = most.max(held);
            let ledger = pair.fold.ledger();
            assert_eq!(ledger.accepted, (round + 1) * 10);
            assert_eq!(ledger.accepted, ledger.delivered + ledger.held + ledger.shed);
            if contact.is_some_and(|every| round % every == every - 1) {
                pair.connect();
                pair.run(100);
                for lane in [Lane::Intervals, Lane::Alerts] {
                    pair.uplink.disconnected(lane);
                }
                (pair.up, pair.down) = (VecDeque::new(), VecDeque::new());
                pair.run(2_000);
            }
        }
        let lost: u64 = pair.fold.boots.iter().flat_map(|p| &p.damage).map(|(_, readings)| readings).sum();
        println!("{most} bytes held at most, of {limit}; {lost} readings without a name");
        assert!(most < limit + limit / 8 && (contact.is_some() || lost > 400), "{most} bytes, {lost} readings");
        pair.connect();
        pair.log(2 * SIZE_MS as u64, &Record::Tick);
        pair.run_until(60_000, Pair::is_told);
        let mut counts = std::collections::BTreeMap::new();
        for delta in pair.deltas() {
            for block in [&delta.entries, &delta.ahead] {
                for e in telemetry::block::decode(block, 1 << 16).unwrap() {
                    counts.insert(crate::outbox::page::name_of(&e), e.aggregate.count());
                }
            }
        }
        let (ledger, told) = (pair.fold.ledger(), pair.bridge.gateways["a"].totals);
        assert_eq!((ledger.held, ledger.accepted), (0, ledger.delivered + ledger.shed));
        assert_eq!((told.accepted, told.readings, told.shed), (ledger.accepted, ledger.accepted, ledger.shed));
        // What was under way when a contact ended came to nothing; it may have been given up since.
        let sent: u64 = counts.values().sum();
        assert!(contact.is_some() || sent == ledger.delivered, "{sent} readings went, {ledger:?}");
        assert!(sent >= ledger.delivered);
    }
}
