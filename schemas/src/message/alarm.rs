//! What gateway and cloud say to each other about alarms: what people did, and what the
//! gateway's alarm list makes of an alert.

use super::{Check, ensure, is_nothing, level, series, text};
use crate::cbor;
use crate::error::DecodeError;
use crate::limits::{ACTS_MAX, KIND_BYTES_MAX, REASON_BYTES_MAX, WHO_BYTES_MAX};
use serde::{Deserialize, Serialize};

/// An alert's place among those of its gateway: by the logged clock, so that boots follow each
/// other as they lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct AlertKey {
    /// The gateway's logged clock at its record, ms since the Unix epoch.
    pub at_ms: i64,
    /// Its boot.
    pub boot: u64,
    /// Its record's seq.
    pub seq: u64,
    /// Which of that record's alerts.
    pub ordinal: u32,
}

/// What the gateway's alarm list made of an alert when it was raised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmNote {
    /// The gateway's logged clock at the alert's record, ms since the Unix epoch.
    pub at_ms: i64,
    /// Why it is not shown at `alerts/#`: 0 it is, 1 a flood, 2 shelved, 3 out of service,
    /// 4 suppressed by design. A number that is not known counts as not shown.
    pub held: u8,
    /// How often its alarm was raised, this time included unless it only tells that again.
    pub count: u64,
    /// 1 it latches, 2 its alarm chatters, 4 it was fleeting, 8 it tells again what stands already, and counts as no
    /// raise. Others are to come.
    pub flags: u32,
    /// Boot, seq and ordinal of the alert that came first in its group; none when it came first.
    pub group: Option<(u64, u64, u32)>,
}

/// Something that a person did to an alarm; the same id is the same act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// Drawn at random where it was done.
    pub id: u64,
    /// 0 acknowledged, 1 shelved, 2 unshelved, 3 taken out of service, 4 returned to service,
    /// 5 suppressed by design, 6 no longer so. One that is not known is passed over.
    pub verb: u8,
    /// The alarm's series.
    pub series: String,
    /// The alarm's kind.
    pub kind: String,
    /// When, ms since the Unix epoch, by the gateway's logged clock, or what the cloud takes that to be; later
    /// than any act on this alarm that was known where it was done.
    pub time_ms: i64,
    /// Who, at most [`WHO_BYTES_MAX`] bytes.
    pub by: String,
    /// Why, at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// Until when it is shelved, ms since the Unix epoch; 0 for other verbs.
    pub until_ms: i64,
    /// The newest alert of the alarm that was known where it was done: what is acknowledged.
    pub seen: AlertKey,
}

/// The cloud passes on what was done there, until the gateway has it on stable storage; to a gateway whose
/// disk was lost or restored, all that counts, whoever did it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// [`super::FORMAT`] of the writer.
    pub format: u32,
    /// After this time, by the gateway's clock, it is refused as too late.
    pub not_after_ms: i64,
    /// What was done; its id names the command.
    pub act: Act,
    /// What the cloud took the gateway's logged clock to be when it was sent, ms since the Unix epoch: where it is another,
    /// `not_after_ms` and the act's `until_ms` are moved by the difference. 0: they stand as they are.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub sent_ms: i64,
}

/// Why a gateway did not take a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The command's id.
    pub id: u64,
    /// 1 it came too late, 2 the gateway knows no such alarm. Others are to come.
    pub outcome: u8,
}

/// What the gateway says about alarms at once; the interval that covers it repeats it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandUp {
    /// [`super::FORMAT`] of the writer.
    pub format: u32,
    /// The boot that speaks.
    pub boot: u64,
    /// What was done there, or was taken from the cloud; at most [`ACTS_MAX`].
    #[serde(deserialize_with = "cbor::list::<_, _, ACTS_MAX>")]
    pub acts: Vec<Act>,
    /// Commands that were not taken; at most [`ACTS_MAX`].
    #[serde(deserialize_with = "cbor::list::<_, _, ACTS_MAX>")]
    pub answers: Vec<Answer>,
}

impl Check for Act {
    fn check(&self) -> Result<(), DecodeError> {
        series(&self.series, None)?;
        text(&self.kind, KIND_BYTES_MAX)?;
        level(&self.kind, "an alarm's kind")?;
        text(&self.by, WHO_BYTES_MAX)?;
        text(&self.reason, REASON_BYTES_MAX)?;
        ensure(self.time_ms >= 0 && self.until_ms >= 0, "an act before 1970")
    }
}

impl Check for Command {
    fn check(&self) -> Result<(), DecodeError> {
        self.act.check()
    }
}

impl Check for CommandUp {
    fn check(&self) -> Result<(), DecodeError> {
        self.acts.iter().try_for_each(Act::check)
    }
}
