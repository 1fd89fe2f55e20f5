//! How a gateway stands, as `GET /api/v1/status` and `tidegate status` show it.

use crate::alarms;
use crate::clock::Watch;
use crate::intake::Intake;
use crate::wear::Flash;
use journal::Journal;
use replica::alarm::Figures;
use replica::crossing::Crossing;
use replica::fold::Fold;
use replica::limits::ENTRY_WIRE_BYTES_GUESS;
use replica::outbox::BootPart;
use replica::record::Refusal;
use replica::uplink::Drain;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// The ledger as contract §5 writes it, in single values; `refused` in messages.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct LedgerView {
    pub accepted: u64,
    pub delivered: u64,
    pub held: u64,
    pub shed: u64,
    pub local: u64,
    pub duplicates: u64,
    pub refused: BTreeMap<&'static str, u64>,
}

/// Ordinary messages that bridges carry, over the life of the data dir; readings are none of them.
#[derive(Debug, Clone, Serialize)]
pub struct CrossingView {
    /// `once`, or `at-least-once` where no bridge stands behind the cloud's broker.
    pub delivery: &'static str,
    /// Taken from clients here: delivered, waiting, given up or expired.
    pub taken: u64,
    /// Acknowledged by the cloud.
    pub delivered: u64,
    /// Waiting for the cloud.
    pub waiting: u64,
    /// What those take.
    pub waiting_bytes: u64,
    /// Given up for want of room.
    pub given_up: u64,
    /// Too old.
    pub expired: u64,
    /// Taken from the cloud.
    pub received: u64,
    /// Of those, no longer kept for a crash although a subscriber that stayed away, or took too few, might still lack them.
    pub unheld: u64,
    /// Of the cloud, by this process: passed over, as no bridge asks for them, they are too large, or their topics are the gateway's own.
    pub refused: u64,
}

impl CrossingView {
    /// Reads it off the working state; `refused` by this process.
    pub fn of(crossing: &Crossing, delivery: &'static str, refused: u64) -> Self {
        Self {
            delivery,
            taken: crossing.taken,
            delivered: crossing.delivered,
            waiting: crossing.waiting() as u64,
            waiting_bytes: crossing.waiting_bytes,
            given_up: crossing.given_up,
            expired: crossing.expired,
            received: crossing.received,
            unheld: crossing.unheld,
            refused,
        }
    }
}

/// Which of the connections stand, and listen for answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lanes {
    /// That for intervals.
    pub intervals: bool,
    /// That for alerts.
    pub alerts: bool,
}

/// A moment's view of the gateway.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Boot id, 16 hex digits.
    pub boot: String,
    /// Last record folded.
    pub lsn: u64,
    /// Logged clock, ms since the Unix epoch.
    pub clock_ms: i64,
    /// Series defined.
    pub series: usize,
    /// The ledger.
    pub ledger: LedgerView,
    /// Whether the uplink stands, that is its connection for intervals; `None` without `[cloud]`.
    pub connected: Option<bool>,
    /// Both of its connections; `None` without `[cloud]`.
    pub lanes: Option<Lanes>,
    /// Bytes on the uplink by this process, both ways.
    pub uplink_bytes: u64,
    /// What is still to go up, and how it goes; `None` without `[cloud]`.
    pub drain: Option<Drain>,
    /// Entries that the cloud has not acknowledged.
    pub entries_held: usize,
    /// Windows given up for want of room that the cloud has not counted for good.
    pub marks_held: usize,
    /// Bytes of what is held for the cloud: what entries, marks and alerts take in pages on disk, and, of
    /// windows in no page yet, open ones included, an estimate by the mean of what was sent.
    pub held_bytes: u64,
    /// Alerts that no interval has covered yet.
    pub alerts_held: usize,
    /// Alerts kept for a crash until each durable session here has them.
    pub alerts_kept: usize,
    /// How often one is kept no longer, although a session may still lack it.
    pub alerts_unheld: u64,
    /// Alerts that waited for the cloud and were lost with damaged parts of the disk.
    pub alerts_lost: u64,
    /// The wall clock in a word: `ok`, `unset`, `ahead` (the logged clock of it), `jumped` (lately) or
    /// `skewed` (against the cloud's).
    pub clock: &'static str,
    /// By how many ms the logged clock lies ahead of the wall clock.
    pub ahead_ms: i64,
    /// Wall clock less the cloud's at its last answer, in ms.
    pub skew_ms: Option<i64>,
    /// Jumps of the wall clock seen by this process.
    pub clock_jumps: u64,
    /// Readings that wait until the wall clock is set: then they are dated.
    pub undated: usize,
    /// Boots under whose name another spoke, with another log: what of them was given up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forks: Vec<ForkView>,
    /// Ordinary messages; `None` without `[[bridge]]`.
    pub bridge: Option<CrossingView>,
    /// What detectors in shadow would have told, by kind.
    pub shadow: BTreeMap<String, u64>,
    /// Readings stamped with their arrival because their time lay in the future, or seemed to before the clock was set.
    pub clamped: u64,
    /// Readings in a unit other than their series'.
    pub misfits: u64,
    /// Bytes of frames written to the log by this process.
    pub bytes_written: u64,
    /// Syncs by this process.
    pub syncs: u64,
    /// What all of it costs the flash.
    pub flash: Option<Flash>,
    /// Bytes the log takes, and may take.
    pub log_bytes: u64,
    /// Its limit.
    pub log_limit_bytes: u64,
    /// Room left, or why there is none.
    pub room: Result<u64, String>,
    /// Seconds that the room lasts at the present rate, `None` when nothing is written.
    pub room_s: Option<u64>,
    /// The figures of alarms, which the contract writes in their own way.
    #[serde(skip)]
    pub alarms: Figures,
}

/// A boot under whose name another spoke.
#[derive(Debug, Clone, Serialize)]
pub struct ForkView {
    /// The boot, 16 hex digits.
    pub boot: String,
    /// The last record that both are known to have.
    pub at: u64,
    /// Readings beyond it, counted shed.
    pub shed: u64,
}

impl ForkView {
    fn of(part: &BootPart) -> Option<Self> {
        let fork = part.forked?;
        Some(Self { boot: format!("{:016x}", part.boot), at: fork.at, shed: fork.given_up? })
    }
}

impl Status {
    /// Adds how the backlog drains; what it says of the mean of what was sent tells how much the rest takes.
    pub fn drains(&mut self, drain: Drain, fold: &Fold) {
        if let Some(mean) = drain.bytes.checked_div(drain.windows) {
            // Windows that are all alike take less than a byte each.
            self.held_bytes = fold.held_bytes(mean.max(1));
        }
        self.drain = Some(drain);
    }

    /// Reads it off the working state, but for the uplink and what time tells.
    pub fn of(fold: &Fold, intake: &Intake, journal: &Journal, crossing: Option<CrossingView>, clock: &Watch) -> Self {
        let sum = fold.ledger();
        let mut refused: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (reason, beyond) in intake.refused_beyond(fold.lsn) {
            let folded = fold.refused.get(&(reason as u8)).copied().unwrap_or(0);
            refused.insert(Refusal::as_str(reason), folded + beyond);
        }
        let stats = journal.stats();
        Self {
            boot: fold.current().map(|p| format!("{:016x}", p.boot)).unwrap_or_default(),
            lsn: fold.lsn,
            clock_ms: fold.clock_ms,
            series: fold.series.len(),
            ledger: LedgerView {
                accepted: sum.accepted,
                delivered: sum.delivered,
                held: sum.held,
                shed: sum.shed,
                local: sum.local,
                duplicates: fold.duplicates,
                refused,
            },
            connected: None,
            lanes: None,
            uplink_bytes: 0,
            drain: None,
            entries_held: fold.boots.iter().map(|p| p.entries.len()).sum(),
            marks_held: fold.boots.iter().map(|p| p.marks.len()).sum(),
            held_bytes: fold.held_bytes(ENTRY_WIRE_BYTES_GUESS as u64),
            alerts_held: fold.boots.iter().map(|p| p.alerts.len()).sum(),
            alerts_kept: fold.fresh.len(),
            alerts_unheld: fold.alerts_unheld,
            alerts_lost: fold.lost_alerts,
            clock: clock.word(),
            ahead_ms: clock.ahead_ms,
            skew_ms: clock.skew_ms,
            clock_jumps: clock.jumps,
            undated: fold.undated(),
            forks: fold.boots.iter().filter_map(ForkView::of).collect(),
            bridge: crossing,
            shadow: fold.shadowed.clone(),
            clamped: fold.clamped,
            misfits: intake.misfits.load(Ordering::Relaxed),
            bytes_written: stats.bytes_written,
            syncs: stats.syncs,
            flash: None,
            log_bytes: stats.used_bytes,
            log_limit_bytes: stats.limit_bytes,
            room: stats.room,
            room_s: None,
            alarms: alarms::figures(fold),
        }
    }
}
