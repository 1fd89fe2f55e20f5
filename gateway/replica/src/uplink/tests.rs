//! The gateway's end and the real cloud's, on virtual time and a line with latency, loss and a
//! width. Every number of chance comes from a seed.

use super::*;
use crate::fold::{FOLD_VERSION, FoldConfig};
use crate::join::{Bridge, Interval, Unfolded};
use crate::limits::{DEAF_MS, UNHEARD_MS, UNHEARD_RETRY_MS};
use crate::outbox::LastRead;
use crate::record::{FLAG_LEAVES, KIND_MESSAGE, Numbers, put_message_head, put_reading};
use detect::LimitRule;
use detect::pattern::Pattern;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;

mod alerts;
mod ended;
mod marks;
mod pieces;

const EPOCH_MS: i64 = 1_700_000_000_000;
const SIZE_MS: i64 = 10_000;

/// A message on the line: when it arrives, which lane, its bytes.
struct Packet {
    at_ms: i64,
    what: &'static str,
    bytes: Vec<u8>,
}

/// How the line is.
#[derive(Default)]
struct Line {
    latency_ms: i64,
    /// Percent of intervals and acks that do not arrive.
    lost: u32,
    /// Bytes a second; 0: no bound.
    width: u64,
    /// Nothing arrives.
    dead: bool,
}

struct Pair {
    now_ms: i64,
    rng: StdRng,
    line: Line,
    fold: Fold,
    lsn: u64,
    /// Kinds and payloads of all records.
    logged: Vec<(u8, Vec<u8>)>,
    uplink: Uplink,
    bridge: Bridge,
    cloud_lsn: u64,
    up: VecDeque<Packet>,
    down: VecDeque<Packet>,
    /// When the line upwards is free again.
    free_ms: i64,
    /// Bytes sent, with their time.
    sent: Vec<(i64, usize)>,
    /// Everything said, in order.
    said: Vec<(i64, Out)>,
    retry_after_ms: Option<u64>,
    receipts: u64,
    /// How long the gateway's own records take to be folded.
    commit_ms: i64,
    committing: VecDeque<(i64, u8, Vec<u8>)>,
    /// What the cloud takes for each entry and mark, in microseconds, and until when it is busy.
    cost_us: i64,
    busy_us: i64,
    /// Alerts that the cloud showed.
    shown: Vec<AlertId>,
    /// The cloud is of the first version.
    is_old: bool,
}

impl Pair {
    fn new(settings: Settings, line: Line, seed: u64) -> Self {
        println!("seed {seed}");
        let mut pair = Self {
            now_ms: 1_000,
            rng: StdRng::seed_from_u64(seed),
            line,
            fold: Fold::default(),
            lsn: 0,
            logged: Vec::new(),
            uplink: Uplink::new(Settings {
                gateway: "a".into(),
                version: "1".into(),
                boot: if settings.boot == 0 { 7 } else { settings.boot },
                every_ms: 5_000,
                seed,
                ..settings
            }),
            bridge: Bridge::default(),
            cloud_lsn: 0,
            up: VecDeque::new(),
            down: VecDeque::new(),
            free_ms: 0,
            sent: Vec::new(),
            said: Vec::new(),
            retry_after_ms: None,
            receipts: 0,
            commit_ms: 0,
            committing: VecDeque::new(),
            cost_us: 0,
            busy_us: 0,
            shown: Vec::new(),
            is_old: false,
        };
        let rule = LimitRule { series: Pattern::new("**"), high_high: Some(100.0), high: Some(90.0), ..LimitRule::default() };
        let config = FoldConfig {
            fold_version: FOLD_VERSION,
            sizes_ms: vec![SIZE_MS],
            grace_ms: 0,
            offers: true,
            page_alerts: 300,
            detection: detect::Settings { limits: vec![rule], ..Default::default() },
            ..FoldConfig::default()
        };
        let config = schemas::cbor::to_vec(&config);
        pair.log(EPOCH_MS as u64, &Record::Boot { boot: 7, parent: None, config: &config });
        pair.cloud_log(&Record::Boot { boot: 9, parent: None, config: &[] });
        pair
    }

    fn log(&mut self, advance_ms: u64, record: &Record<'_>) {
        let mut payload = Vec::new();
        record.encode(advance_ms, &mut payload);
        self.apply(record.kind(), payload);
    }

    fn apply(&mut self, kind: u8, payload: Vec<u8>) {
        self.lsn += 1;
        self.fold.apply(self.lsn, kind, &payload).unwrap();
        self.logged.push((kind, payload));
    }

    fn cloud_log(&mut self, record: &Record<'_>) -> crate::join::Effects {
        let mut payload = Vec::new();
        record.encode(0, &mut payload);
        self.cloud_lsn += 1;
        self.bridge.apply(self.cloud_lsn, record.kind(), &payload).unwrap()
    }

    fn define(&mut self, series: u32) {
        for number in 0..series {
            self.log(0, &Record::Series { number, name: &format!("line/{number}"), unit: None });
        }
    }

    /// A reading, so long after the one before, at the logged clock.
    fn read(&mut self, series: u32, advance_ms: u64, value: f64) {
        let mut payload = Vec::new();
        schemas::wire::put_varint(&mut payload, advance_ms);
        let clock_ms = self.fold.clock_ms + advance_ms as i64;
        put_message_head(&mut payload, FLAG_LEAVES, 0, 0);
        put_reading(&mut payload, series, clock_ms, clock_ms, value);
        self.apply(KIND_MESSAGE, payload);
        self.show();
    }

    fn show(&mut self) {
        let mut last_read = LastRead::default();
        for (_, alert) in std::mem::take(&mut self.fold.fresh) {
            if self.fold.owes(&alert, &mut last_read) {
                self.uplink.urgent(self.now_ms, &alert);
            }
        }
    }

    /// So many windows of all series, two readings in each, as the logged clock goes on.
    fn windows(&mut self, series: u32, count: u32) {
        for _ in 0..2 * count {
            for number in 0..series {
                let value = f64::from(self.rng.random_range(0..80_000)) / 1_000.0;
                self.read(number, if number == 0 { SIZE_MS as u64 / 2 } else { 0 }, value);
            }
        }
        self.log(SIZE_MS as u64, &Record::Tick);
    }

    fn connect(&mut self) {
        self.uplink.connected(self.now_ms, Lane::Intervals);
        self.uplink.connected(self.now_ms, Lane::Alerts);
    }

    fn speak(&mut self) {
        while let Some(out) = self.uplink.poll(self.now_ms, &self.fold) {
            self.said.push((self.now_ms, out.clone()));
            let (what, bytes, number) = match out {
                Out::Delta(delta) => ("delta", delta.encode(), Some(delta.number)),
                Out::Alert(alert) => ("alert", alert.encode(), None),
                Out::Hello(_, hello) => ("hello", hello.encode(), None),
                Out::Beat(beat) => ("beat", beat.encode(), None),
                Out::Offer(boot, born) => {
                    self.commit(&Record::Offered { boot, born });
                    continue;
                }
                Out::Drop(lane) => {
                    self.uplink.disconnected(lane);
                    self.up.clear();
                    self.down.clear();
                    if !self.line.dead {
                        self.uplink.connected(self.now_ms, lane);
                    }
                    continue;
                }
                Out::Prove(mut question) => {
                    let records = self.logged.iter().enumerate();
                    records.for_each(|(at, (kind, payload))| question.read(at as u64 + 1, *kind, payload));
                    let proof = if question.records().1 > self.lsn { Proof::Beyond } else { question.proof() };
                    let outcome = self.uplink.proved(self.now_ms, &question, proof, &mut self.fold);
                    self.settle(outcome);
                    continue;
                }
                Out::Unheard(told) => {
                    let (count, oldest) = told.unwrap_or_default();
                    self.log(0, &Record::Unheard { count, oldest });
                    continue;
                }
            };
            match number {
                Some(number) => self.uplink.weighed(self.now_ms, number, bytes.len()),
                None => self.uplink.paid(self.now_ms, bytes.len()),
            }
            self.sent.push((self.now_ms, bytes.len()));
            let takes = if self.line.width == 0 || what == "alert" { 0 } else { bytes.len() as i64 * 1_000 / self.line.width as i64 };
            self.free_ms = self.free_ms.max(self.now_ms) + takes;
            let at_ms = self.free_ms + self.line.latency_ms;
            let lost = self.line.dead || (what == "delta" && self.rng.random_ratio(self.line.lost, 100));
            if !lost {
                self.up.push_back(Packet { at_ms, what, bytes });
            }
        }
        for page in self.uplink.unreadable() {
            self.commit(&Record::Lost { page });
        }
        let idle = self.uplink.next_timeout_ms().is_some_and(|at| at <= self.now_ms);
        assert!(!idle, "it has nothing to do, and a timer for it");
    }

    fn cloud(&mut self, packet: &Packet) {
        if packet.what == "delta" {
            let interval = Interval::decode(&packet.bytes).unwrap();
            let items = interval.len() + interval.delta.marks.len();
            self.busy_us = self.busy_us.max(self.now_ms * 1_000) + items as i64 * self.cost_us;
        }
        let at_ms = self.now_ms.max(self.busy_us / 1_000) + self.line.latency_ms;
        let effects = match packet.what {
            "delta" => {
                let interval = Interval::decode(&packet.bytes).unwrap();
                match self.bridge.admit("a", &interval.delta, &Unfolded::default()) {
                    Err(ack) => crate::join::Effects { ack: Some(("a".into(), ack)), ..Default::default() },
                    Ok(()) => self.cloud_log(&Record::Interval { gateway: "a", bytes: &packet.bytes }),
                }
            }
            "beat" => return,
            "alert" => self.cloud_log(&Record::AlertUp { gateway: "a", bytes: &packet.bytes }),
            _ => self.cloud_log(&Record::Hello { gateway: "a", bytes: &packet.bytes }),
        };
        self.shown.extend(effects.alerts.iter().map(|(_, alert)| (alert.boot, alert.seq, alert.ordinal)));
        if let Some((_, mut ack)) = effects.ack {
            ack.retry_after_ms = self.retry_after_ms;
            ack.reads = if self.is_old { 0 } else { ack.reads };
            if !self.rng.random_ratio(self.line.lost, 100) {
                self.down.push_back(Packet { at_ms, what: "ack", bytes: ack.encode() });
            }
        }
        if let Some((_, receipt)) = effects.receipt {
            self.down.push_back(Packet { at_ms, what: "receipt", bytes: receipt.encode() });
        }
    }

    /// Logs a record, which is folded once it is durable.
    fn commit(&mut self, record: &Record<'_>) {
        let mut payload = Vec::new();
        record.encode(0, &mut payload);
        self.committing.push_back((self.now_ms + self.commit_ms, record.kind(), payload));
    }

    fn arrive(&mut self) {
        while self.committing.front().is_some_and(|(at, ..)| *at <= self.now_ms) {
            let (_, kind, payload) = self.committing.pop_front().unwrap();
            self.apply(kind, payload);
        }
        while self.up.front().is_some_and(|p| p.at_ms <= self.now_ms) {
            let packet = self.up.pop_front().unwrap();
            self.cloud(&packet);
        }
        while self.down.front().is_some_and(|p| p.at_ms <= self.now_ms) {
            let packet = self.down.pop_front().unwrap();
            self.uplink.paid(self.now_ms, packet.bytes.len());
            self.sent.push((self.now_ms, packet.bytes.len()));
            if packet.what == "receipt" {
                self.receipts += 1;
                self.uplink.receipted(self.now_ms, &Receipt::decode(&packet.bytes).unwrap());
                continue;
            }
            let outcome = self.uplink.acked(self.now_ms, &Ack::decode(&packet.bytes).unwrap(), &mut self.fold);
            self.settle(outcome);
        }
    }

    fn settle(&mut self, outcome: Acknowledged) {
        if let Some((boot, cloud_boot, pages)) = outcome.told {
            let pages = Numbers::encode(&pages);
            self.commit(&Record::Told { boot, cloud_boot, pages: Numbers { bytes: &pages } });
        }
        if let Some(record) = outcome.record {
            self.commit(&record);
            if let Record::Acked { boot, applied, shed, readings, hash, .. } = record {
                self.fold.boots.iter_mut().find(|p| p.boot == boot).unwrap().acknowledged(applied, readings, shed, hash);
            }
        }
        if let Some(record) = outcome.forked {
            self.commit(&record);
        }
    }

    /// Time passes in steps of 10 ms.
    fn run(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.arrive();
            self.speak();
            self.now_ms += 10;
        }
    }

    fn run_until(&mut self, ms: i64, mut done: impl FnMut(&Self) -> bool) -> i64 {
        let from = self.now_ms;
        while !done(self) {
            assert!(self.now_ms - from < ms, "not within {ms} ms: {:?}", self.uplink.drain(self.now_ms, &self.fold));
            self.run(10);
        }
        self.now_ms - from
    }

    fn is_drained(&self) -> bool {
        self.fold.boots.iter().all(|p| p.entries.oldest(&self.fold.shelf, p.floor(), 9, 1).entries.is_empty())
    }

    /// Start of the newest sealed window.
    fn newest(&self) -> i64 {
        self.fold.boots[0].entries.newest(&self.fold.shelf, 0, 0, 1)[0].start_ms
    }

    /// Whether the cloud has the windows of that start, of all series.
    fn has(&self, start_ms: i64) -> bool {
        let part = &self.fold.boots[0];
        let waiting = part.entries.newest(&self.fold.shelf, part.floor(), 9, usize::MAX);
        waiting.iter().all(|e| e.start_ms != start_ms)
    }

    fn bytes(&self) -> usize {
        self.sent.iter().map(|(_, bytes)| bytes).sum()
    }

    fn deltas(&self) -> impl Iterator<Item = &Delta> {
        self.said.iter().filter_map(|(_, out)| if let Out::Delta(delta) = out { Some(delta) } else { None })
    }
}

fn clean(latency_ms: i64) -> Line {
    Line { latency_ms, lost: 0, width: 0, dead: false }
}

fn backlog(settings: Settings, line: Line, seed: u64, series: u32, windows: u32) -> Pair {
    let mut pair = Pair::new(settings, line, seed);
    pair.define(series);
    pair.windows(series, windows);
    pair
}

#[test]
fn intervals_follow_each_other_without_waiting_for_answers() {
    let settings = Settings { interval_bytes: 4_800, ..Settings::default() };
    let mut pair = backlog(settings, clean(200), 1, 50, 200);
    pair.connect();
    let mut most = 0;
    let took = pair.run_until(60_000, |p| {
        most = most.max(p.uplink.flights.len());
        p.is_drained()
    });
    // A hundred intervals one after the other would take forty seconds of round trips.
    assert!(most == crate::limits::FLIGHTS_MAX && took < 12_000, "{most} under way, {took} ms");
    let entries: usize = pair.deltas().map(|d| block_len(&d.entries) + block_len(&d.ahead)).sum();
    // Intervals this short end where they can, not where it is best.
    assert!(entries <= 200 * 50 * 115 / 100, "{entries} entries for {}", 200 * 50);
}

fn block_len(bytes: &[u8]) -> usize {
    telemetry::block::decode(bytes, 1 << 16).unwrap().len()
}

#[test]
fn a_lossy_line_costs_what_was_lost_and_little_more() {
    let cost = |lost: u32| {
        let line = Line { lost, ..clean(100) };
        let mut pair = backlog(Settings { interval_bytes: 9_600, ..Settings::default() }, line, 5, 50, 200);
        pair.connect();
        pair.run_until(600_000, Pair::is_drained);
        pair.bytes() as f64
    };
    let (none, some, much) = (cost(0), cost(5), cost(20));
    println!("bytes at 0, 5 and 20 % loss: {none} {some} {much}");
    assert!(some < 1.6 * none && much < 3.0 * none, "{none} {some} {much}");
}

#[test]
fn a_byte_budget_holds_over_any_ten_seconds_and_is_used() {
    let rate = 8 * 1024;
    let mut pair = backlog(Settings { budget: Some(rate), ..Settings::default() }, clean(50), 3, 100, 250);
    pair.connect();
    pair.run(30_000);
    assert!(!pair.is_drained());
    for (i, (from, _)) in pair.sent.iter().enumerate() {
        let within: usize = pair.sent[i..].iter().take_while(|(at, _)| at - from < 10_000).map(|(_, bytes)| bytes).sum();
        assert!(within as u64 <= rate * 10 * 105 / 100, "{within} bytes in ten seconds from {from}");
    }
    let all = pair.bytes() as u64;
    assert!(all >= rate * 30 * 95 / 100, "{all} bytes of {}", rate * 30);
}

#[test]
fn after_an_outage_the_newest_windows_come_first_and_history_fills_in() {
    let (series, windows) = (100, 360);
    let mut pair = backlog(Settings { budget: Some(4_096), ..Settings::default() }, clean(50), 4, series, windows);
    let newest = pair.newest();
    let expected = pair.uplink.drain(pair.now_ms, &pair.fold).bytes;
    pair.connect();
    let took = pair.run_until(5_000, |p| p.has(newest));
    let applied = pair.fold.boots[0].applied;
    pair.run(5_000);
    assert!(!pair.is_drained() && pair.fold.boots[0].applied > applied, "history goes on");
    // While it does, what becomes new is there at once again.
    pair.windows(series, 1);
    let newest = pair.newest();
    let again = pair.run_until(5_000, |p| p.has(newest));
    println!("newest current after {took} ms, and {again} ms");
    let drain = pair.uplink.drain(pair.now_ms, &pair.fold);
    assert!(drain.windows > 0 && drain.bytes > 0 && drain.windows_per_s.unwrap() > 0 && drain.eta_s.unwrap() > 0, "{drain:?}");
    pair.run_until(600_000, Pair::is_drained);
    assert_eq!(pair.uplink.drain(pair.now_ms, &pair.fold).eta_s, Some(0));
    let all = pair.bytes() as u64;
    assert!(expected < 2 * all && all < 2 * expected, "{expected} bytes were expected before the first contact, {all} it took");
}

#[test]
fn a_line_that_hears_nothing_is_given_up_in_bounded_time() {
    let mut pair = backlog(Settings::default(), clean(20), 6, 10, 5);
    pair.connect();
    pair.run_until(5_000, Pair::is_drained);
    pair.line.dead = true;
    pair.windows(10, 1);
    pair.read(0, 0, 150.0);
    let dropped = |p: &Pair, lane| p.said.iter().any(|(_, out)| *out == Out::Drop(lane));
    let took = pair.run_until(DEAF_MS.0 + 6_000, |p| dropped(p, Lane::Intervals) && dropped(p, Lane::Alerts));
    println!("given up after {took} ms");
    // It is as deaf as before: patience grows, so that a line that is only slow gets its chance.
    pair.said.clear();
    pair.connect();
    let longer = pair.run_until(60_000, |p| dropped(p, Lane::Intervals) && dropped(p, Lane::Alerts));
    assert!(longer > 3 * took / 2, "{longer} after {took}");
    pair.line.dead = false;
    pair.connect();
    pair.run_until(5_000, |p| p.is_drained() && p.receipts > 0);
}

#[test]
fn a_slow_line_is_not_taken_for_a_deaf_one() {
    for width in [400, 2_000, 20_000] {
        let mut pair = backlog(Settings::default(), Line { width, ..clean(300) }, 7, 50, 30);
        pair.connect();
        pair.run_until(600_000, Pair::is_drained);
        assert!(!pair.said.iter().any(|(_, out)| matches!(out, Out::Drop(_))), "at {width} bytes a second");
        let entries: usize = pair.deltas().map(|d| block_len(&d.entries) + block_len(&d.ahead)).sum();
        assert!(entries <= 2 * 30 * 50, "{entries} entries for {} at {width} bytes a second", 30 * 50);
    }
}

#[test]
fn an_alert_without_a_receipt_is_told_at_the_plant_and_so_is_its_end() {
    let mut pair = backlog(Settings::default(), clean(20), 8, 2, 1);
    pair.read(1, 0, 150.0);
    pair.run(UNHEARD_MS + 100);
    let told: Vec<_> = pair.fold.fresh.iter().map(|(_, a)| (a.kind.clone(), a.state, a.value, a.message.clone())).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0.as_str(), told[0].1, told[0].2), ("uplink", 0, 1.0));
    assert!(told[0].3.starts_with("1 alert has no receipt from the cloud after 10 s, the first of them 0000000000000007/"), "{told:?}");
    assert!(!pair.fold.boots[0].alerts.tail.iter().any(|(a, _)| a.kind == "uplink"), "it stays here");
    pair.run(60_000);
    assert_eq!(pair.fold.fresh.len(), 1, "once");
    pair.connect();
    pair.run(1_000);
    assert_eq!(pair.fold.fresh.last().map(|(_, a)| (a.state, a.message.as_str())), Some((1, "the cloud has every alert again")));
    // A process that starts in between knows what the plant was told.
    pair.windows(2, 1);
    pair.run_until(20_000, |p| p.fold.boots[0].alerts.is_empty());
    let mut later = pair.fold.clone();
    later.unheard = true;
    let mut uplink = Uplink::new(Settings { boot: 8, ..Settings::default() });
    assert_eq!(uplink.poll(0, &later), Some(Out::Unheard(None)));
    // A log that refuses is asked again, and not at once.
    uplink.unheard_refused(0);
    assert_ne!(uplink.poll(UNHEARD_RETRY_MS - 1, &later), Some(Out::Unheard(None)));
    assert_eq!(uplink.poll(UNHEARD_RETRY_MS, &later), Some(Out::Unheard(None)));
}

#[test]
fn critical_alerts_go_first_and_wait_for_no_budget_and_no_pause() {
    let settings = Settings { budget: Some(1_024), ..Settings::default() };
    let mut pair = backlog(settings, clean(10), 9, 20, 50);
    pair.connect();
    pair.run(3_000);
    pair.retry_after_ms = Some(20_000);
    pair.run_until(20_000, |p| p.uplink.pause_ms > p.now_ms);
    pair.said.clear();
    // Ten warnings and ten critical ones.
    for number in 0..20 {
        pair.read(number, 0, if number < 10 { 95.0 } else { 150.0 });
    }
    let at = pair.now_ms;
    pair.speak();
    let severities: Vec<u8> =
        pair.said.iter().filter_map(|(_, out)| if let Out::Alert(a) = out { Some(a.alert.severity) } else { None }).collect();
    assert_eq!(severities, [0; 10], "at once, and nothing else");
    pair.run(15_000);
    assert!(pair.said.iter().all(|(_, out)| !matches!(out, Out::Delta(_)) && !matches!(out, Out::Alert(a) if a.alert.severity > 0)));
    assert!(pair.uplink.pause_ms >= at + 17_000 && pair.uplink.pause_ms <= at + 30_000, "{} from {at}", pair.uplink.pause_ms);
    pair.retry_after_ms = None;
    pair.run_until(200_000, |p| p.is_drained() && p.receipts >= 20);
}

#[test]
fn many_gateways_do_not_come_back_at_once() {
    let until = |seed| {
        let mut pair = backlog(Settings::default(), clean(10), seed, 5, 2);
        pair.retry_after_ms = Some(10_000);
        pair.connect();
        pair.run(1_000);
        pair.uplink.pause_ms - pair.now_ms
    };
    let pauses: Vec<i64> = (0..20).map(until).collect();
    assert!(pauses.iter().all(|p| (8_900..15_000).contains(p)), "{pauses:?}");
    assert!(pauses.iter().max().unwrap() - pauses.iter().min().unwrap() > 2_000, "{pauses:?}");
}

#[test]
fn a_quiet_gateway_shows_that_it_lives_and_says_no_more_than_that() {
    let mut pair = backlog(Settings::default(), clean(10), 10, 5, 2);
    pair.connect();
    pair.run_until(5_000, Pair::is_drained);
    pair.run(2_000);
    let (from, bytes) = (pair.said.len(), pair.bytes());
    pair.run(60_000);
    let said = &pair.said[from..];
    assert!((11..=13).contains(&said.len()) && said.iter().all(|(_, out)| matches!(out, Out::Beat(_))), "{said:?}");
    println!("{} bytes a minute for signs of life", pair.bytes() - bytes);
}
