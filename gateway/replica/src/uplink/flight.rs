//! Intervals under way: how many and how large they may be, and what a lost one takes with it.

use super::pieces::Piece;
use super::rtt::Rtt;
use crate::hash;
use crate::limits::{
    DEAF_MS_MAX, FLIGHT_BYTES_MAX, FLIGHTS_MAX, INTERVAL_BYTES_AIM, INTERVAL_BYTES_FIRST, INTERVAL_BYTES_LEAST, LATE_FLIGHTS_MAX, QUEUE_MS,
};
use crate::outbox::{BootPart, EntryName};
use std::collections::VecDeque;

/// The low bits of an interval's number count; the others are of the running hash of the log, so
/// that no answer to another who speaks under the same boot passes for one to ours.
const COUNT: u64 = (1 << 40) - 1;

/// The number of the interval counted `count`, made from a log of that hash.
pub(super) fn number(count: u64, hash: u64) -> u64 {
    count & COUNT | hash & !COUNT
}

/// How many intervals after `first` the one of that number was; numbers go around.
pub(super) fn count_from(first: u64, number: u64) -> u64 {
    number.wrapping_sub(first) & COUNT
}

/// An interval under way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) number: u64,
    pub(super) boot: u64,
    pub(super) cloud_boot: u64,
    /// It only asks how far the cloud is.
    pub(super) asks: bool,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Readings at or below `to`.
    pub(super) readings: u64,
    /// The running hash of the boot's log at `to`.
    pub(super) hash: u64,
    /// Entries with the version they were sent at: one that is open may since have grown. By name.
    pub(super) names: Vec<(EntryName, u64)>,
    pub(super) ahead: Vec<(EntryName, u64)>,
    /// Pages of marks.
    pub(super) mark_pages: Vec<u64>,
    pub(super) definitions: Vec<u32>,
    /// It carries a part of what one record made.
    pub(super) piece: Option<Piece>,
    pub(super) sent_ms: i64,
    /// On the line.
    pub(super) bytes: usize,
}

impl Flight {
    fn carries(&self, name: &EntryName, version: u64) -> bool {
        [&self.names, &self.ahead]
            .iter()
            .any(|list| list.binary_search_by_key(name, |(n, _)| *n).is_ok_and(|at| list.get(at).is_some_and(|(_, v)| *v == version)))
    }
}

/// All of them, in the order in which they went.
#[derive(Debug, Clone)]
pub(super) struct Flights {
    list: VecDeque<Flight>,
    /// Taken for lost, oldest first. An answer may still come: what it says counts.
    late: VecDeque<Flight>,
    /// How many may be under way.
    window: usize,
    /// Below it the window grows with each answer, beyond with each round of them: it was too wide before.
    gentle: usize,
    /// Answers since the window grew.
    answers: usize,
    /// Uncompressed bytes that the next one aims at.
    pub(super) aim: usize,
    aim_max: usize,
    pub(super) rtt: Rtt,
    /// Since when an answer is owed and nothing is heard.
    since_ms: Option<i64>,
    /// When an interval was last answered or given up: the next is waited for from then on.
    turn_ms: i64,
    /// How often in a row the connection was given up.
    given_up: u32,
}

impl Flights {
    /// None, each of which is to have `bytes` at most; 0: as many as the protocol says.
    pub(super) fn new(bytes: usize) -> Self {
        let aim_max = if bytes == 0 { INTERVAL_BYTES_AIM } else { bytes.min(INTERVAL_BYTES_AIM) };
        Self {
            list: VecDeque::new(),
            late: VecDeque::new(),
            window: 1,
            gentle: FLIGHTS_MAX,
            answers: 0,
            aim: INTERVAL_BYTES_FIRST.min(aim_max),
            aim_max,
            rtt: Rtt::default(),
            since_ms: None,
            turn_ms: i64::MIN,
            given_up: 0,
        }
    }

    /// A new connection: it is tried out with little.
    pub(super) fn connected(&mut self) {
        self.lost_all();
        (self.window, self.gentle, self.answers) = (1, FLIGHTS_MAX, 0);
        self.aim = self.aim.min(INTERVAL_BYTES_FIRST);
    }

    /// The connection is gone, and what was under way perhaps with it.
    pub(super) fn lost_all(&mut self) {
        if !self.list.is_empty() {
            self.narrow();
        }
        self.list.clear();
        self.late.clear();
        self.since_ms = None;
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether one more may go.
    pub(super) fn has_room(&self) -> bool {
        self.list.len() < self.window && self.list.iter().map(|f| f.bytes).sum::<usize>() < FLIGHT_BYTES_MAX
    }

    /// How far a boot is told, with what is under way; readings up to there, and the hash there.
    pub(super) fn told(&self, part: &BootPart) -> (u64, u64, u64) {
        let told = self.list.iter().filter(|f| f.boot == part.boot && !f.asks).map(|f| (f.to, f.readings, f.hash)).max_by_key(|f| f.0);
        told.filter(|(to, ..)| *to > part.applied).unwrap_or((part.applied, part.readings_applied, part.hash_applied))
    }

    /// The running hash of a boot's log at `seq`, if something that is under way, or was, ends there.
    pub(super) fn hash_at(&self, boot: u64, seq: u64) -> Option<u64> {
        let all = self.list.iter().chain(&self.late);
        all.filter(|f| f.boot == boot && f.to == seq && !f.asks).map(|f| f.hash).find(|hash| *hash != hash::UNKNOWN)
    }

    /// Number of the last interval of a boot that is under way.
    pub(super) fn last(&self, boot: u64) -> Option<u64> {
        self.list.iter().rev().find(|f| f.boot == boot && !f.asks).map(|f| f.number)
    }

    /// Nothing more is said of a boot, and no answer waited for.
    pub(super) fn forsake(&mut self, boot: u64) {
        self.list.retain(|f| f.boot != boot);
        self.late.retain(|f| f.boot != boot);
        self.since_ms = self.since_ms.filter(|_| !self.list.is_empty());
    }

    /// Whether the cloud is being asked how far it is in a boot.
    pub(super) fn asks(&self, boot: u64) -> bool {
        self.list.iter().any(|f| f.asks && f.boot == boot)
    }

    /// Whether an entry is under way at that version.
    pub(super) fn carries(&self, boot: u64, name: &EntryName, version: u64) -> bool {
        self.list.iter().any(|f| f.boot == boot && f.carries(name, version))
    }

    /// Whether a part of what one record of a boot made is under way.
    pub(super) fn carries_piece(&self, boot: u64) -> bool {
        self.list.iter().any(|f| f.boot == boot && f.piece.is_some())
    }

    /// Whether a page of marks is under way.
    pub(super) fn carries_marks(&self, boot: u64, page: u64) -> bool {
        self.list.iter().any(|f| f.boot == boot && f.mark_pages.contains(&page))
    }

    /// Whether a page of marks, the first of them born at `born`, is under way so that what goes
    /// on from there is not taken without it.
    pub(super) fn marks_go_before(&self, boot: u64, page: u64, born: u64, applied: u64) -> bool {
        self.list.iter().any(|f| f.boot == boot && !f.asks && f.to > applied && f.to >= born && f.mark_pages.contains(&page))
    }

    /// Entries of a boot under way whose version lies beyond `told`.
    pub(super) fn beyond(&self, boot: u64, told: u64) -> usize {
        let all = self.list.iter().filter(|f| f.boot == boot).flat_map(|f| f.names.iter().chain(&f.ahead));
        all.filter(|(_, version)| *version > told).count()
    }

    /// Whether a series of that boot is defined by something under way.
    pub(super) fn defines(&self, boot: u64, series: u32) -> bool {
        self.list.iter().any(|f| f.boot == boot && f.definitions.binary_search(&series).is_ok())
    }

    pub(super) fn push(&mut self, flight: Flight) {
        self.since_ms = self.since_ms.or(Some(flight.sent_ms));
        self.list.push_back(flight);
    }

    /// What the last one took on the line is known.
    pub(super) fn weigh(&mut self, number: u64, bytes: usize) -> Option<&Flight> {
        let flight = self.list.iter_mut().rev().find(|f| f.number == number)?;
        flight.bytes = bytes;
        Some(flight)
    }

    /// An answer was heard; the interval that it names, and whether that had been taken for lost.
    pub(super) fn answered(&mut self, now_ms: i64, number: u64, boot: u64) -> Option<(Flight, bool)> {
        self.given_up = 0;
        self.turn_ms = now_ms;
        let find = |list: &VecDeque<Flight>| list.iter().position(|f| f.number == number && f.boot == boot);
        let flight = match find(&self.list) {
            Some(at) => self.list.remove(at).map(|flight| (flight, false)),
            None => find(&self.late).and_then(|at| self.late.remove(at)).map(|flight| (flight, true)),
        };
        self.since_ms = (!self.list.is_empty()).then_some(now_ms);
        if let Some((flight, _)) = &flight {
            // Each answer names its message, so that of one that was waited for too briefly counts most of all.
            self.rtt.sample(now_ms - flight.sent_ms, flight.bytes);
        }
        flight
    }

    /// The cloud is at `applied` of a boot: answers to what went before and ends there were lost.
    pub(super) fn passed(&mut self, number: u64, boot: u64, applied: u64) {
        // Those of the half behind it came before.
        let before = |n: u64| (1..=COUNT / 2).contains(&count_from(n, number));
        self.lose(|f| f.boot == boot && f.to <= applied && before(f.number));
    }

    /// Takes some for lost.
    fn lose(&mut self, is_lost: impl Fn(&Flight) -> bool) {
        let (lost, stay) = std::mem::take(&mut self.list).into_iter().partition(is_lost);
        self.list = stay;
        self.late.extend::<VecDeque<Flight>>(lost);
        let excess = self.late.len().saturating_sub(LATE_FLIGHTS_MAX);
        self.late.drain(..excess);
    }

    /// An interval was taken: more may be under way, as long as nothing queues. One that had been
    /// taken for lost says that something does.
    pub(super) fn widen(&mut self, rtt_ms: i64, is_late: bool) {
        let queued = self.rtt.queued(rtt_ms);
        if is_late {
            self.answers = 0;
        } else if queued <= QUEUE_MS.0 {
            self.aim = (self.aim * 2).min(self.aim_max);
            self.answers += 1;
            if self.window < self.gentle || self.answers >= self.window {
                self.window = (self.window + 1).min(FLIGHTS_MAX);
                self.answers = 0;
            }
        } else if queued > QUEUE_MS.1 {
            self.narrow();
        }
    }

    /// Something was lost, or queues: less may be under way.
    pub(super) fn narrow(&mut self) {
        self.answers = 0;
        if self.window > 1 {
            self.window /= 2;
            self.gentle = self.window;
        } else {
            self.aim = (self.aim / 2).max(INTERVAL_BYTES_LEAST).min(self.aim_max);
        }
    }

    /// The cloud turned one down, being at `applied` of that boot: what builds on more is turned down too.
    pub(super) fn turned_down(&mut self, boot: u64, applied: u64) {
        self.list.retain(|f| f.boot != boot || f.from <= applied);
        self.late.retain(|f| f.boot != boot || f.from <= applied);
    }

    /// The cloud is another: all that is under way believes in the one before.
    pub(super) fn forget(&mut self, cloud_boot: u64) {
        self.list.retain(|f| f.cloud_boot == cloud_boot);
        self.late.retain(|f| f.cloud_boot == cloud_boot);
    }

    /// When the first one is taken for lost. They are answered in turn, so each is waited for from
    /// its sending or the last answer on, whichever was later (RFC 6298, 5.3).
    pub(super) fn deadline_ms(&self) -> Option<i64> {
        let first = self.list.front()?;
        Some(first.sent_ms.max(self.turn_ms).saturating_add(self.rtt.wait(first.bytes)))
    }

    /// Takes all for lost, as the first was not answered in time and the others come behind it.
    /// One goes on alone until there is an answer: what is only slow is not made slower.
    pub(super) fn expire(&mut self, now_ms: i64) {
        if self.deadline_ms().is_none_or(|at| at > now_ms) {
            return;
        }
        self.lose(|_| true);
        self.turn_ms = now_ms;
        self.rtt.missed();
        self.narrow();
        if self.window > 1 {
            (self.gentle, self.window) = (self.window, 1);
        }
    }

    /// When the connection is to be given up.
    pub(super) fn deaf_at_ms(&self) -> Option<i64> {
        let patience = (self.rtt.patience() << self.given_up).min(DEAF_MS_MAX);
        self.since_ms.map(|since| since.saturating_add(patience))
    }

    /// The connection was given up.
    pub(super) fn give_up(&mut self) {
        self.given_up = (self.given_up + 1).min(8);
        self.lost_all();
    }
}
