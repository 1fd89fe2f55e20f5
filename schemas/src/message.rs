//! What gateway and cloud say to each other (protocol §6, `bridge.cddl`).
//!
//! Decoding checks bounds and what holds of a message by itself. Doubles are taken as they
//! are, infinite ones too: an interval that is refused would come again unchanged, for ever.
//! Whether a series' name can be a topic, and what sequence numbers mean, the receiver judges.

mod alarm;
mod crossing;
mod more;

use crate::cbor;
use crate::error::DecodeError;
use crate::limits::{
    ACTS_MAX, ALERTS_MAX, CONTRIBUTORS_MAX, DEFINITIONS_MAX, GATEWAY_BYTES_MAX, KIND_BYTES_MAX, MARKS_MAX, MESSAGE_BYTES_MAX, REASONS_MAX,
    SENTENCE_BYTES_MAX, SERIES_BYTES_MAX, SIZES_MAX, UNIT_BYTES_MAX, VERSION_BYTES_MAX, WANTED_MAX,
};
pub use alarm::{Act, AlarmNote, AlertKey, Answer, Command, CommandUp};
pub use crossing::{CrossAck, CrossDone, CrossDown, CrossUp, Crossed, LANES, Wanted};
pub use more::READS;
use serde::{Deserialize, Serialize};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A series' number within one boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The number that entries and marks use.
    pub number: u32,
    /// The series' name, 1 to [`SERIES_BYTES_MAX`] bytes.
    pub name: String,
    /// Its unit, at most [`UNIT_BYTES_MAX`] bytes.
    pub unit: Option<String>,
}

/// An entry that retention gave up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShedMark {
    /// Series number.
    pub series: u32,
    /// Window size in ms.
    pub size_ms: i64,
    /// Window start.
    pub start_ms: i64,
    /// Seq of the record that opened it.
    pub born: u64,
    /// Seq of the record that gave it up.
    pub shed_seq: u64,
    /// Its last version.
    pub version: u64,
    /// Its readings.
    pub count: u64,
}

/// An alert, named `gateway/boot/seq/ordinal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertBody {
    /// Boot of the record that made it.
    pub boot: u64,
    /// That record's seq.
    pub seq: u64,
    /// Which of that record's alerts.
    pub ordinal: u32,
    /// The series' name, 1 to [`SERIES_BYTES_MAX`] bytes.
    pub series: String,
    /// 0 critical, 1 warning, 2 info.
    pub severity: u8,
    /// What kind, as in contract §4; at most [`KIND_BYTES_MAX`] bytes of a-z, 0-9 and '-'.
    pub kind: String,
    /// 0 active, 1 cleared.
    pub state: u8,
    /// Event time, ms since the Unix epoch.
    pub time_ms: i64,
    /// The value that made it.
    pub value: f64,
    /// The limit passed, where there is one.
    pub limit: Option<f64>,
    /// The series' unit, at most [`UNIT_BYTES_MAX`] bytes.
    pub unit: Option<String>,
    /// One sentence, with numbers and units, at most [`SENTENCE_BYTES_MAX`] bytes.
    pub message: String,
    /// How unusual, where the detector says.
    pub score: Option<f64>,
    /// What was expected, where the detector says.
    pub baseline: Option<f64>,
    /// What the gateway's alarm list made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<AlarmNote>,
    /// Who contributes most to an alert of several series, most first; at most [`CONTRIBUTORS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "cbor::list::<_, _, CONTRIBUTORS_MAX>")]
    pub contributors: Vec<Contributor>,
}

/// What one series adds to an alert of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contributor {
    /// Its name, 1 to [`SERIES_BYTES_MAX`] bytes.
    pub series: String,
    /// Its value.
    pub value: f64,
    /// Its usual value.
    pub usual: f64,
    /// The usual deviation of its values, lightly smoothed.
    pub sigma: f64,
}

/// A gateway introduces its boot, first on each connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The gateway's name, 1 to 64 of a-z, 0-9 and '-'.
    pub gateway: String,
    /// The living boot.
    pub boot: u64,
    /// The boot before it, with its last seq.
    pub parent: Option<(u64, u64)>,
    /// Window sizes as configured, in ms; at most [`SIZES_MAX`], each above 0.
    #[serde(deserialize_with = "cbor::list::<_, _, SIZES_MAX>")]
    pub sizes: Vec<i64>,
    /// Grace after a window's end, in ms.
    pub grace_ms: i64,
    /// How often intervals go, in ms.
    pub every_ms: i64,
    /// The logged clock, ms since the Unix epoch.
    pub clock_ms: i64,
    /// The program's version, at most [`VERSION_BYTES_MAX`] bytes.
    pub version: String,
    /// The redundancy group, named as gateways are; none for a gateway that has a plant of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Ordinary messages of the cloud's broker that it wants; at most [`WANTED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "cbor::list::<_, _, WANTED_MAX>")]
    pub wanted: Vec<Wanted>,
}

/// An interval `(from, to]` of one boot (protocol §4). The default one names no format, and so is
/// none that a receiver takes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Delta {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The boot that it speaks of.
    pub boot: u64,
    /// What the gateway believes applied.
    pub from: u64,
    /// Every record up to here is in, with those before `from`.
    pub to: u64,
    /// The boot of the cloud that beliefs are about, 0 for none.
    pub cloud_boot: u64,
    /// Names this message in its ack.
    pub number: u64,
    /// The logged clock at `to`.
    pub frontier_ms: i64,
    /// The boot is over and `to` is its end.
    pub ended: bool,
    /// Readings that may leave, at or below `to`.
    pub readings_to: u64,
    /// Readings that may leave, in all.
    pub accepted: u64,
    /// Readings that stay.
    pub local: u64,
    /// Below this the gateway's log is cut; lower is a gap for good.
    pub complete_from: u64,
    /// Series that the cloud may not know; at most [`DEFINITIONS_MAX`].
    #[serde(deserialize_with = "cbor::list::<_, _, DEFINITIONS_MAX>")]
    pub defs: Vec<Definition>,
    /// Entries born at or before `to`, as a block of crate `telemetry`; empty for none.
    #[serde(with = "cbor::bytes")]
    pub entries: Vec<u8>,
    /// Entries born later, or still open, as a block; empty for none.
    #[serde(with = "cbor::bytes")]
    pub ahead: Vec<u8>,
    /// Alerts with a seq in `(from, to]`, less those that went before; or some of the record behind
    /// `to`, where one record made more than an interval carries. At most [`ALERTS_MAX`].
    #[serde(deserialize_with = "cbor::list::<_, _, ALERTS_MAX>")]
    pub alerts: Vec<AlertBody>,
    /// Entries given up; at most [`MARKS_MAX`].
    #[serde(deserialize_with = "cbor::list::<_, _, MARKS_MAX>")]
    pub marks: Vec<ShedMark>,
    /// Window sizes of the boot, in ms; at most [`SIZES_MAX`], each above 0.
    #[serde(deserialize_with = "cbor::list::<_, _, SIZES_MAX>")]
    pub sizes: Vec<i64>,
    /// Grace of the boot, in ms.
    pub grace_ms: i64,
    /// What people did to alarms, as with [`Delta::alerts`]; at most [`ACTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "cbor::list::<_, _, ACTS_MAX>")]
    pub acts: Vec<Act>,
    /// Redundancy group of the boot, named as gateways are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The gateway's, with the living boot; none while nothing is to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Tally>,
    /// The gateway's logged clock when it was sent, ms since the Unix epoch, said with its living boot;
    /// 0 when not said.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub sent_ms: i64,
    /// What the gateway knows of that clock: 0 nothing against it, 1 it was never set, 2 it jumped lately.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub clock: u8,
    /// Readings at or below `to` that were lost with damage and are in no entry, in all.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub lost: u64,
    /// Readings that may leave, at or below `complete_from`.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub readings_from: u64,
    /// Alerts, marks and names of alerts, packed ([`more`]); decoding puts them where they belong.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "cbor::bytes")]
    pub more: Vec<u8>,
    /// The boot is not the living one, and this is not its end: what it told once is told again.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub past: bool,
    /// Running hash of the boot's log at `from`; 0 when it is not known.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub hash_from: u64,
    /// The same at `to`.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub hash_to: u64,
    /// Number of the interval of the living boot that this one follows, however that ended; 0 when not said.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub after: u64,
    /// Part of the boot's log is gone, damaged: entries that span it are not as they once were, and the
    /// cloud may have those of before.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub holed: bool,
    /// A cloud had acknowledged more of the boot than `from`: what it was told is told again.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub again: bool,
    /// Those of [`Delta::alerts`] that the cloud has receipted: seq and ordinal. They go
    /// only where it `packs`.
    #[serde(skip)]
    pub named: Vec<(u64, u32)>,
    /// The receiver reads [`Delta::more`] ([`Ack::reads`]).
    #[serde(skip)]
    pub packs: bool,
}

/// What a gateway did not take as a reading, over the life of its data dir.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Values of redeliveries.
    pub duplicates: u64,
    /// Messages refused, by the number of their reason; at most [`REASONS_MAX`].
    #[serde(deserialize_with = "cbor::list::<_, _, REASONS_MAX>")]
    pub refused: Vec<u64>,
}

/// An alert on the urgent lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertUp {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The alert.
    pub alert: AlertBody,
}

/// The cloud has an alert of the urgent lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The alert's boot.
    pub boot: u64,
    /// Its seq.
    pub seq: u64,
    /// Its ordinal.
    pub ordinal: u32,
    /// The cloud's boot.
    pub cloud_boot: u64,
}

/// A sign of life, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The low 16 bits of the living boot: they tell two processes under one name apart. The
    /// first programs did not say them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub living: Option<u16>,
}

/// The last will: this boot's connection is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bye {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The boot.
    pub boot: u64,
}

/// The cloud's answer to an interval, after its own sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The gateway's boot.
    pub boot: u64,
    /// The message that it answers.
    pub number: u64,
    /// Every record of the boot up to here is durable.
    pub applied: u64,
    /// The cloud's boot.
    pub cloud_boot: u64,
    /// The entries ahead in that message are durable.
    pub ahead: bool,
    /// Readings of the boot given up for good.
    pub shed: u64,
    /// A series number was not known: define all again.
    pub need_defs: bool,
    /// Readings of the boot at or below `applied`.
    #[serde(default)]
    pub readings: u64,
    /// The cloud's own clock when it answered, ms since the Unix epoch; 0 when not said, or when
    /// something else stands there, as in a golden vector of the first version.
    #[serde(default, skip_serializing_if = "is_nothing", deserialize_with = "cbor::whole_or_nothing")]
    pub clock_ms: i64,
    /// The cloud has too much to do: nothing but critical alerts should come for so long, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What the cloud reads beyond the first format ([`READS`]).
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub reads: u32,
    /// Running hash of the boot's log at `applied`, as the interval that ended there said; 0 when it
    /// is not known.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub hash: u64,
    /// Number of the last interval taken that said what it follows; 0 for none.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub last: u64,
}

/// What holds of a message by itself, beyond its shape.
trait Check {
    /// # Errors
    /// [`DecodeError::TooLong`] for texts, [`DecodeError::Invalid`] for values.
    fn check(&self) -> Result<(), DecodeError>;
}

impl Check for Hello {
    fn check(&self) -> Result<(), DecodeError> {
        text(&self.gateway, GATEWAY_BYTES_MAX)?;
        level(&self.gateway, "a gateway's name")?;
        text(&self.version, VERSION_BYTES_MAX)?;
        windows(&self.sizes, self.grace_ms)?;
        group(self.group.as_deref())?;
        self.wanted.iter().try_for_each(Wanted::check)?;
        ensure(self.every_ms >= 0, "how often intervals go")
    }
}

impl Check for Delta {
    fn check(&self) -> Result<(), DecodeError> {
        ensure(self.from <= self.to, "an interval that ends before it begins")?;
        windows(&self.sizes, self.grace_ms)?;
        group(self.group.as_deref())?;
        for definition in &self.defs {
            series(&definition.name, definition.unit.as_deref())?;
        }
        self.marks.iter().try_for_each(|mark| ensure(mark.size_ms > 0, "the window size of a shed mark"))?;
        self.acts.iter().try_for_each(Act::check)?;
        self.alerts.iter().try_for_each(AlertBody::check)
    }
}

impl Check for AlertBody {
    fn check(&self) -> Result<(), DecodeError> {
        series(&self.series, self.unit.as_deref())?;
        text(&self.kind, KIND_BYTES_MAX)?;
        level(&self.kind, "an alert's kind")?;
        text(&self.message, SENTENCE_BYTES_MAX)?;
        self.contributors.iter().try_for_each(|one| series(&one.series, None))?;
        ensure(self.severity <= 2, "an alert's severity")?;
        ensure(self.state <= 1, "an alert's state")
    }
}

impl Check for AlertUp {
    fn check(&self) -> Result<(), DecodeError> {
        self.alert.check()
    }
}

impl Check for Receipt {
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl Check for Beat {
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl Check for Bye {
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl Check for Ack {
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

fn ensure(holds: bool, what: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Invalid(what)) }
}

fn text(text: &str, max: usize) -> Result<(), DecodeError> {
    if text.len() <= max { Ok(()) } else { Err(DecodeError::TooLong { length: text.len() as u64, max }) }
}

/// Gateways and kinds are levels of topics: nothing in them may be `/`, `+`, `#` or NUL.
fn level(name: &str, what: &'static str) -> Result<(), DecodeError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    ensure(!name.is_empty() && name.bytes().all(plain), what)
}

fn is_nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn group(name: Option<&str>) -> Result<(), DecodeError> {
    let Some(name) = name else { return Ok(()) };
    text(name, GATEWAY_BYTES_MAX)?;
    level(name, "a group's name")
}

fn series(name: &str, unit: Option<&str>) -> Result<(), DecodeError> {
    ensure(!name.is_empty(), "an empty series name")?;
    text(name, SERIES_BYTES_MAX)?;
    text(unit.unwrap_or_default(), UNIT_BYTES_MAX)
}

fn windows(sizes: &[i64], grace_ms: i64) -> Result<(), DecodeError> {
    ensure(sizes.iter().all(|size| *size > 0), "a window size")?;
    ensure(grace_ms >= 0, "a grace")
}

impl Delta {
    /// As bytes. Whether they are within [`MESSAGE_BYTES_MAX`] is the writer's to see to.
    pub fn encode(&self) -> Vec<u8> {
        if self.packs { cbor::to_vec(&self.packed()) } else { cbor::to_vec(self) }
    }

    /// From bytes.
    ///
    /// # Errors
    /// As of the other messages.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut message: Self = decode(bytes)?;
        message.unpack()?;
        Ok(message)
    }
}

/// A message of a format that is known, with all its checks.
fn decode<T: Check + Format + serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let message: T = cbor::from_slice(bytes, MESSAGE_BYTES_MAX)?;
    if message.format() == 0 || message.format() > FORMAT {
        return Err(DecodeError::Format(message.format()));
    }
    message.check()?;
    Ok(message)
}

trait Format {
    fn format(&self) -> u32;
}

impl Format for Delta {
    fn format(&self) -> u32 {
        self.format
    }
}

macro_rules! message {
    ($($name:ident),*) => {$(
        impl Format for $name {
            fn format(&self) -> u32 {
                self.format
            }
        }

        impl $name {
            /// As bytes. Whether they are within [`MESSAGE_BYTES_MAX`] is the writer's to see to.
            pub fn encode(&self) -> Vec<u8> {
                cbor::to_vec(self)
            }

            /// From bytes.
            ///
            /// # Errors
            /// Bytes beyond [`MESSAGE_BYTES_MAX`] or of another shape, a format that is not
            /// known, texts, counts and values beyond the bounds at their fields.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                decode(bytes)
            }
        }
    )*};
}
message!(Hello, AlertUp, Receipt, Bye, Beat, Ack, Command, CommandUp, CrossUp, CrossAck, CrossDown, CrossDone);
