//! Records that made more than an interval carries, and series whose windows take much: whatever
//! it is, every interval decodes, and all arrives, once.

use super::*;
use crate::limits::{ALERTS_AHEAD_MAX, INTERVAL_BYTES_MAX, INTERVAL_ENTRIES_MAX};
use crate::outbox::Before;
use schemas::limits::{ACTS_MAX, ALERTS_MAX, MESSAGE_BYTES_MAX, REASON_BYTES_MAX, SENTENCE_BYTES_MAX};
use schemas::message::{Act, AlertKey, Contributor};

/// How much one record makes.
#[derive(Default)]
pub(super) struct Made {
    pub(super) alerts: u32,
    /// Of these, the first so many are critical.
    pub(super) critical: u32,
    pub(super) acts: u64,
    /// Bytes of each sentence and reason, at most.
    pub(super) text: usize,
}

impl Pair {
    /// A tick that makes so many alerts and acts.
    pub(super) fn tick(&mut self, made: &Made) {
        let part = self.fold.boots.last().unwrap();
        let stood = Before { readings: part.readings, clock_ms: part.clock_ms, hash: part.hash };
        self.log(1_000, &Record::Tick);
        let part = self.fold.boots.last_mut().unwrap();
        for ordinal in 0..made.alerts {
            let text = self.rng.random_range(0..=made.text);
            let one = Contributor { series: format!("line/{ordinal}"), value: 1.0, usual: 2.0, sigma: 0.5 };
            part.alerts.push(
                AlertBody {
                    boot: part.boot,
                    seq: part.end,
                    ordinal,
                    series: format!("line/{ordinal}"),
                    severity: u8::from(ordinal >= made.critical),
                    kind: "silence".into(),
                    state: 0,
                    time_ms: part.clock_ms,
                    value: f64::from(ordinal),
                    limit: None,
                    unit: None,
                    message: "x".repeat(text.min(SENTENCE_BYTES_MAX)),
                    score: None,
                    baseline: None,
                    alarm: None,
                    contributors: vec![one; self.rng.random_range(0..8)],
                },
                stood,
                &mut self.fold.shelf,
            );
        }
        for id in 0..made.acts {
            let text = self.rng.random_range(0..=made.text);
            let act = Act {
                id: self.lsn << 32 | id,
                verb: 6,
                series: format!("line/{id}"),
                kind: "high".into(),
                time_ms: part.clock_ms,
                by: "configuration".into(),
                reason: "y".repeat(text.min(REASON_BYTES_MAX)),
                until_ms: 0,
                seen: AlertKey::default(),
            };
            part.acts.push_back((part.end, act, stood));
        }
    }

    pub(super) fn is_all_told(&self) -> bool {
        self.fold.boots.iter().all(|p| p.applied == p.end || (p.alerts.is_empty() && p.acts.is_empty()))
    }

    /// Everything that was made is at the cloud, alerts once, and no interval was too long.
    pub(super) fn ends_well(&mut self, alerts: usize, ms: i64) {
        self.run_until(ms, Self::is_all_told);
        assert_eq!(self.shown.len(), alerts, "each once");
        for delta in self.deltas() {
            let bytes = delta.encode();
            assert!(
                bytes.len() < MESSAGE_BYTES_MAX && delta.alerts.len() + delta.named.len() <= ALERTS_MAX && delta.acts.len() <= ACTS_MAX
            );
            assert_eq!(Interval::decode(&bytes).map(|i| i.delta.to), Ok(delta.to));
        }
    }
}

#[test]
fn all_alarms_that_one_record_releases_are_told_and_told_once() {
    for acts in [513, 600, 3_000] {
        let mut pair = Pair::new(Settings::default(), clean(20), 1);
        pair.tick(&Made { acts, ..Made::default() });
        pair.connect();
        pair.ends_well(0, 20_000);
        let sent: usize = pair.deltas().map(|d| d.acts.len()).sum();
        assert_eq!(sent as u64, acts, "each went once");
    }
}

#[test]
fn a_tick_that_silences_all_series_is_told_in_pieces() {
    let alerts = ALERTS_MAX as u32 + 4_000;
    let mut pair = Pair::new(Settings::default(), clean(20), 2);
    pair.tick(&Made { alerts, text: 100, ..Made::default() });
    pair.uplink.connected(pair.now_ms, Lane::Intervals);
    pair.ends_well(alerts as usize, 60_000);
    let sent: usize = pair.deltas().map(|d| d.alerts.len()).sum();
    assert_eq!(sent, alerts as usize, "each went once");
}

#[test]
fn what_the_urgent_lane_brought_of_one_record_is_named_in_pieces() {
    let alerts = ALERTS_MAX as u32 + 100;
    let mut pair = Pair::new(Settings::default(), clean(20), 3);
    pair.uplink.connected(pair.now_ms, Lane::Intervals);
    pair.run(1_000);
    pair.tick(&Made { alerts, ..Made::default() });
    for (alert, _) in pair.fold.boots[0].alerts.beyond(&pair.fold.shelf, 0, &mut Vec::new()) {
        pair.bridge
            .apply(pair.cloud_lsn + 1, Record::AlertUp { gateway: "a", bytes: &[] }.kind(), &{
                let up = AlertUp { format: FORMAT, alert: alert.clone() }.encode();
                let mut payload = Vec::new();
                Record::AlertUp { gateway: "a", bytes: &up }.encode(0, &mut payload);
                payload
            })
            .unwrap();
        pair.cloud_lsn += 1;
        let receipt = Receipt { format: FORMAT, boot: 7, seq: alert.seq, ordinal: alert.ordinal, cloud_boot: 9 };
        pair.uplink.receipted(pair.now_ms, &receipt);
    }
    assert!((alerts as usize) < ALERTS_AHEAD_MAX);
    pair.ends_well(0, 20_000);
    let (named, told) = pair.deltas().fold((0, 0), |(n, t), d| (n + d.named.len(), t + d.alerts.len()));
    assert_eq!((named, told), (alerts as usize, 0));
}

/// Whatever records hold, on whatever line, to whichever cloud, with restarts of it.
#[test]
fn whatever_a_record_holds_every_interval_decodes_and_all_arrives() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let line = Line { lost: [0, 10, 30][rng.random_range(0..3)], ..clean(rng.random_range(0..200)) };
        let interval_bytes = [0, 0, 3_000, 20_000][rng.random_range(0..4)];
        let mut pair = Pair::new(Settings { interval_bytes, ..Settings::default() }, line, seed);
        pair.is_old = rng.random();
        pair.define(20);
        let mut alerts = 0;
        for _ in 0..rng.random_range(1..5) {
            for _ in 0..rng.random_range(0..30) {
                let number = rng.random_range(0..20);
                pair.read(number, rng.random_range(0..SIZE_MS as u64), 1.5);
            }
            let scale = if interval_bytes == 0 { 1 } else { 20 };
            let made = Made {
                critical: 0,
                alerts: [0, 1, 700, 5_000, 20_000][rng.random_range(0..5)] / scale,
                acts: [0, 1, 600, 3_000][rng.random_range(0..4)] / u64::from(scale),
                text: [0, 100, 10_000][rng.random_range(0..3)],
            };
            pair.tick(&made);
            alerts += made.alerts as usize;
        }
        pair.windows(20, 2);
        pair.uplink.connected(pair.now_ms, Lane::Intervals);
        if rng.random() {
            // Another boot of the cloud has all that was joined, and is believed to have nothing.
            pair.run(rng.random_range(0..3_000));
            pair.cloud_log(&Record::Boot { boot: 10, parent: None, config: &[] });
        }
        pair.ends_well(alerts, 3_600_000);
    }
}

#[test]
fn open_windows_of_very_many_series_are_shown_in_turn() {
    let series = 70_000;
    let mut pair = Pair::new(Settings { preview: true, ..Settings::default() }, clean(20), 4);
    pair.define(series);
    for number in 0..series {
        pair.read(number, 0, 1.5);
    }
    pair.connect();
    pair.run_until(60_000, |p| p.uplink.previewed.len() == series as usize);
    pair.ends_well(0, 60_000);
    let shown: usize = pair.deltas().map(|d| block_len(&d.ahead)).sum();
    // Those that went before it was known which boot of the cloud listens go again.
    assert!((shown - series as usize) < INTERVAL_ENTRIES_MAX, "each once, as none changed, and not {shown}");
}

#[test]
fn wide_sketches_and_long_names_fit() {
    let series = 600;
    let mut pair = Pair::new(Settings::default(), clean(20), 5);
    for number in 0..series {
        pair.log(0, &Record::Series { number, name: &format!("{}/{number}", "n".repeat(200)), unit: None });
    }
    let mut x = 1u64;
    for number in 0..series {
        let mut payload = Vec::new();
        schemas::wire::put_varint(&mut payload, 0);
        put_message_head(&mut payload, FLAG_LEAVES, 0, 0);
        for _ in 0..4_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = -f64::from_bits(((x >> 32) % 60 + 1_000) << 52 | x >> 12);
            put_reading(&mut payload, number, pair.fold.clock_ms, pair.fold.clock_ms, value);
        }
        pair.lsn += 1;
        pair.fold.apply(pair.lsn, KIND_MESSAGE, &payload).unwrap();
    }
    pair.log(2 * SIZE_MS as u64, &Record::Tick);
    // What the line bore so far was short.
    pair.uplink.flights.aim = crate::limits::INTERVAL_BYTES_AIM;
    pair.connect();
    pair.uplink.flights.aim = crate::limits::INTERVAL_BYTES_AIM;
    pair.run_until(60_000, Pair::is_drained);
    let most = pair.deltas().map(|d| d.encode().len()).max().unwrap();
    println!("{most} bytes");
    assert!(most <= INTERVAL_BYTES_MAX + 4_096, "{most}");
}

#[test]
fn more_windows_of_one_message_than_a_block_takes_go_ahead_of_it() {
    let count = crate::limits::BLOCK_ENTRIES_MAX as i64 + 4_000;
    let mut pair = Pair::new(Settings::default(), clean(20), 6);
    pair.define(1);
    let mut payload = Vec::new();
    schemas::wire::put_varint(&mut payload, 0);
    put_message_head(&mut payload, FLAG_LEAVES, 0, 0);
    for window in 0..count {
        put_reading(&mut payload, 0, pair.fold.clock_ms - window * SIZE_MS, pair.fold.clock_ms, 1.0);
    }
    pair.lsn += 1;
    pair.fold.apply(pair.lsn, KIND_MESSAGE, &payload).unwrap();
    pair.log(3 * SIZE_MS as u64, &Record::Tick);
    pair.connect();
    pair.run_until(120_000, |p| p.fold.boots[0].applied >= 2);
    assert_eq!((pair.fold.ledger().held, pair.fold.ledger().delivered), (0, count as u64));
}
