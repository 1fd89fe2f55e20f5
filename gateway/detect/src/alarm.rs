//! The life cycle of an alarm (ISA-18.2, IEC 62682): what alerts and people make of it.
//!
//! An alarm is a series and a kind. Both ends of the link hold the same [`Alarm`]: alerts and
//! acts are joined into registers, each of which keeps the greatest by an order of its own. So
//! it does not matter in which order they come, nor how often ([`Acts`] says which order).
//! Its [`Standing`] is a function of the registers and the clock.
//!
//! ```text
//!            raised                    acknowledged
//!  normal ──────────▶ unacknowledged ──────────────▶ acknowledged
//!    ▲                     │ cleared                     │ cleared
//!    │   acknowledged      ▼                             ▼
//!    ├──────────────── returned                (latches) latched ── acknowledged again ─▶ normal
//!    └───────────────────────────────────────────────────┘ (does not latch)
//! ```
//! Above all of them, in this order: out of service, suppressed by design, shelved.
//!
//! | file | subject |
//! |---|---|
//! | `act.rs` | what people do, and which of two acts counts |
//! | [`board`] | the alarms of one gateway, at either end |
//! | [`annunciator`] | at the gateway: what is shown, what is held back, what belongs together |
//! | `flood.rs`, `group.rs` | too many alarms; alarms of one machine, and which came first |
//! | `index.rs` | what of a board is looked up |
//! | [`figures`], [`kpi`] | the standard's figures, and what they are made of |

mod act;
pub mod annunciator;
pub mod board;
pub mod figures;
mod flood;
mod group;
mod index;
pub mod kpi;
#[cfg(test)]
mod tests;

pub use act::{Acts, Verb};
pub use annunciator::{Annunciator, Latch, Settings, Summary, Way};
pub use board::{Board, Request};
pub use figures::Figures;
pub use flood::SERIES;
pub use group::{AlertId, machine};

use kpi::Hours;
use schemas::message::{Act, AlarmNote, AlertBody, AlertKey, Contributor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// An alarm's series and kind.
pub type Name = (String, String);

/// [`AlarmNote::flags`]: the alarm stays until it is acknowledged after its end.
pub const LATCHES: u32 = 1;
/// [`AlarmNote::flags`]: the alarm was raised three times within [`CHATTER_MS`].
pub const CHATTERS: u32 = 2;
/// [`AlarmNote::flags`]: it ended within [`FLEETING_MS`], before anyone could act.
pub const FLEETING: u32 = 4;
/// [`AlarmNote::flags`]: the alert tells again what stands already, and is no new raise.
pub const AGAIN: u32 = 8;

/// Three raises within so long make an alarm chatter, in ms (ISA-18.2: three in a minute).
pub const CHATTER_MS: i64 = 60_000;
/// An alarm that lasts no longer is fleeting, in ms.
pub const FLEETING_MS: i64 = 5_000;
/// An alarm that has been active for so long is stale, in ms (ISA-18.2: a day).
pub const STALE_MS: i64 = 86_400_000;

/// Where an alarm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// All is well, and people know.
    Normal,
    /// Active, and nobody has said that they know.
    Unacknowledged,
    /// Active, and somebody knows.
    Acknowledged,
    /// Over, and nobody has said that they knew.
    Returned,
    /// Over and acknowledged before, to be acknowledged once more because it latches.
    Latched,
    /// Put aside for a time.
    Shelved,
    /// Of no meaning in the present state of the plant, by configuration.
    Suppressed,
    /// Taken out of service, until returned.
    OutOfService,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 8] = [
        Self::Normal,
        Self::Unacknowledged,
        Self::Acknowledged,
        Self::Returned,
        Self::Latched,
        Self::Shelved,
        Self::Suppressed,
        Self::OutOfService,
    ];

    /// Its name in topics and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Unacknowledged => "unacknowledged",
            Self::Acknowledged => "acknowledged",
            Self::Returned => "returned",
            Self::Latched => "latched",
            Self::Shelved => "shelved",
            Self::Suppressed => "suppressed",
            Self::OutOfService => "out-of-service",
        }
    }

    /// Whether alerts of the alarm are not to be shown, and why (`AlarmNote::held`).
    pub fn holds(self) -> Option<u8> {
        match self {
            Self::Shelved => Some(HELD_SHELVED),
            Self::OutOfService => Some(HELD_OUT_OF_SERVICE),
            Self::Suppressed => Some(HELD_SUPPRESSED),
            _ => None,
        }
    }
}

/// [`AlarmNote::held`]: it is shown.
pub const SHOWN: u8 = 0;
/// [`AlarmNote::held`]: there are too many.
pub const HELD_FLOOD: u8 = 1;
/// [`AlarmNote::held`]: its alarm is shelved.
pub const HELD_SHELVED: u8 = 2;
/// [`AlarmNote::held`]: its alarm is out of service.
pub const HELD_OUT_OF_SERVICE: u8 = 3;
/// [`AlarmNote::held`]: its alarm is suppressed by design.
pub const HELD_SUPPRESSED: u8 = 4;

/// Whether people are told of an alarm raised so: shown, or in a flood by its summary and in the
/// list. What was put aside, by them or by design, is not (ISA-18.2: not annunciated), and no
/// load on anybody.
pub fn is_annunciated(held: u8) -> bool {
    matches!(held, SHOWN | HELD_FLOOD)
}

/// Names of the reasons, by their number.
pub const HELD: [&str; 5] = ["shown", "flood", "shelved", "out-of-service", "suppressed"];

/// An alert as an alarm remembers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Its place among those of its gateway.
    pub key: AlertKey,
    /// 0 critical, 1 warning, 2 info.
    pub severity: u8,
    /// Event time, ms since the Unix epoch.
    pub time_ms: i64,
    /// The value that decided.
    pub value: f64,
    /// The limit passed, where there is one.
    pub limit: Option<f64>,
    /// The series' unit.
    pub unit: Option<String>,
    /// One sentence.
    pub message: String,
    /// What the gateway's alarm list made of it; all zero from a gateway without one.
    pub note: AlarmNote,
    /// How unusual, where the detector said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// What was expected, where the detector said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// Series that contributed most, where several were watched together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contributors: Vec<Contributor>,
}

impl Told {
    /// Boot, seq and ordinal of the alert.
    pub fn id(&self) -> AlertId {
        (self.key.boot, self.key.seq, self.key.ordinal)
    }

    /// Whether it raised its alarm, and did not tell again what stood already.
    pub(crate) fn is_new(&self) -> bool {
        self.note.flags & AGAIN == 0
    }

    fn of(alert: &AlertBody) -> Self {
        let silent = AlarmNote { at_ms: alert.time_ms, held: SHOWN, count: 0, flags: 0, group: None };
        let note = alert.alarm.clone().unwrap_or(silent);
        Self {
            key: AlertKey { at_ms: note.at_ms, boot: alert.boot, seq: alert.seq, ordinal: alert.ordinal },
            severity: alert.severity,
            time_ms: alert.time_ms,
            value: alert.value,
            limit: alert.limit,
            unit: alert.unit.clone(),
            message: alert.message.clone(),
            note,
            score: alert.score,
            baseline: alert.baseline,
            contributors: alert.contributors.clone(),
        }
    }
}

/// One alarm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Alarm {
    /// The newest alert that raised it.
    pub raised: Option<Told>,
    /// The newest alert that cleared it.
    pub cleared: Option<Told>,
    /// What people did.
    pub acts: Acts,
    /// At the cloud: what was done there and the gateway has not answered yet.
    pub pending: Vec<Act>,
    /// The holder's logged clock when it last changed, ms since the Unix epoch.
    pub touched_ms: i64,
    /// How often it was raised, by hour.
    pub hours: Hours,
    /// How often it was fleeting.
    pub fleeting: u64,
    /// How often its alerts were not shown.
    pub held: u64,
    /// Logged clock of the last raises, the newest first; 0 for none.
    recent: (i64, i64),
    /// At the gateway: it may be told to the cloud.
    pub leaves: bool,
    /// Its newest raise that followed no other alarm: what followed that names it, also when this
    /// alarm was raised anew since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    led: Option<AlertId>,
    /// How many of `hours` nobody was told of.
    #[serde(default, skip_serializing_if = "Hours::is_empty")]
    aside: Hours,
    /// The logged clock of `led`: alerts come in any order.
    #[serde(default, skip_serializing_if = "is_zero")]
    led_ms: i64,
}

fn is_zero(ms: &i64) -> bool {
    *ms == 0
}

impl Alarm {
    /// How often people were told that it was raised, in the day before a time.
    pub fn annunciated(&self, clock_ms: i64) -> u64 {
        self.hours.sum(clock_ms).saturating_sub(self.aside.sum(clock_ms))
    }

    /// The newest alert about it.
    pub fn newest(&self) -> Option<&Told> {
        self.raised.iter().chain(&self.cleared).max_by_key(|told| told.key)
    }

    /// Whether what it is about lasts.
    pub fn is_active(&self) -> bool {
        let raised = self.raised.as_ref().map(|told| told.key);
        raised.is_some() && raised > self.cleared.as_ref().map(|told| told.key)
    }

    /// What people did, with what is still to be confirmed.
    pub fn acts(&self) -> Cow<'_, Acts> {
        if self.pending.is_empty() {
            return Cow::Borrowed(&self.acts);
        }
        let mut acts = self.acts.clone();
        for act in &self.pending {
            acts.join(act);
        }
        Cow::Owned(acts)
    }

    /// At the cloud: whether what was done there, and the gateway has not answered, puts it aside
    /// at a time. What the gateway knows it has judged each alert by ([`AlarmNote::held`]); and it
    /// may know more than its acts, which travel behind its alerts.
    pub fn is_put_aside_here(&self, clock_ms: i64) -> bool {
        let waits = |act: &Option<Act>| act.as_ref().is_some_and(|act| self.pending.iter().any(|pending| pending.id == act.id));
        let acts = self.acts();
        let shelved = acts.shelved_until().is_some_and(|until| until > clock_ms);
        acts.is_out_of_service() && waits(&acts.service) || shelved && waits(&acts.shelf)
    }

    /// The alert by which alarms that followed this one name it.
    pub fn leads_as(&self) -> Option<AlertId> {
        self.led.or_else(|| self.raised.as_ref().map(Told::id))
    }

    /// The alert that came first in its group; none for the alarm that came first, whether or not
    /// it was raised anew since.
    pub fn follows(&self) -> Option<AlertId> {
        let first = self.raised.as_ref()?.note.group?;
        (Some(first) != self.led).then_some(first)
    }

    /// Logged clock of the raise before its last: with one now, they are three.
    pub(crate) fn raise_before_last(&self) -> Option<i64> {
        (self.recent.1 > 0).then_some(self.recent.1)
    }

    /// An alert raised it that followed no other.
    fn leads(&mut self, told: &Told) {
        let (boot, seq, ordinal) = self.led.unwrap_or_default();
        if self.led.is_none() || told.key > (AlertKey { at_ms: self.led_ms, boot, seq, ordinal }) {
            (self.led, self.led_ms) = (Some(told.id()), told.key.at_ms);
        }
    }

    /// Whether nobody was told of what lasts: it was put aside when it was raised, or, by an act of
    /// somebody who had seen no newer alert than `seen`, at the other end.
    pub fn is_untold(&self, seen: Option<AlertKey>) -> bool {
        let raised = self.raised.as_ref().filter(|_| self.is_active());
        raised.is_some_and(|raised| !is_annunciated(raised.note.held) || seen.is_some_and(|seen| raised.key > seen))
    }

    /// At the gateway: the logged clock of its last raise, which its newest alert may only tell again.
    pub(crate) fn last_raise(&self) -> Option<i64> {
        (self.recent.0 > 0).then_some(self.recent.0)
    }

    fn raised_at(&mut self, at_ms: i64) {
        self.recent = (at_ms, self.recent.0);
    }

    /// Whether its newest raise was acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        let acts = self.acts();
        let seen = acts.acknowledged.as_ref().map(|act| act.seen);
        self.raised.as_ref().is_none_or(|raised| seen >= Some(raised.key))
    }

    /// Whether it is over and was not acknowledged since, and has to be.
    pub(crate) fn is_latched(&self) -> bool {
        let seen = self.acts().acknowledged.as_ref().map(|act| act.seen);
        let latches = self.raised.as_ref().is_some_and(|raised| raised.note.flags & LATCHES != 0);
        latches && !self.is_active() && seen < self.cleared.as_ref().map(|told| told.key)
    }

    /// Where it stands at a time, ms since the Unix epoch.
    pub fn standing(&self, clock_ms: i64) -> Standing {
        let acts = self.acts();
        if acts.is_out_of_service() {
            return Standing::OutOfService;
        }
        if acts.is_suppressed() {
            return Standing::Suppressed;
        }
        if acts.shelved_until().is_some_and(|until| until > clock_ms) {
            return Standing::Shelved;
        }
        let Some(raised) = &self.raised else { return Standing::Normal };
        let seen = acts.acknowledged.as_ref().map(|act| act.seen);
        match (self.is_active(), seen >= Some(raised.key)) {
            (true, false) => Standing::Unacknowledged,
            (true, true) => Standing::Acknowledged,
            (false, false) => Standing::Returned,
            (false, true) if self.is_latched() => Standing::Latched,
            (false, true) => Standing::Normal,
        }
    }

    /// Since when it stands so, as far as is known, ms since the Unix epoch.
    pub fn since_ms(&self, clock_ms: i64) -> i64 {
        let acts = self.acts();
        let time = |told: &Option<Told>| told.as_ref().map(|told| told.time_ms);
        let done = |act: &Option<Act>| act.as_ref().map(|act| act.time_ms);
        let (raised, cleared) = (time(&self.raised), time(&self.cleared));
        let since = match self.standing(clock_ms) {
            Standing::OutOfService => done(&acts.service),
            Standing::Suppressed => done(&acts.design),
            Standing::Shelved => done(&acts.shelf),
            Standing::Unacknowledged => raised,
            Standing::Acknowledged | Standing::Normal => done(&acts.acknowledged).max(cleared),
            Standing::Returned | Standing::Latched => cleared,
        };
        since.or(raised).unwrap_or(self.touched_ms)
    }
}
