//! What gateway and cloud say to each other (protocol §6, `bridge.cddl`).

use crate::cbor;
use crate::error::DecodeError;
use crate::limits::MESSAGE_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A series' number within one boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The number.
    pub number: u32,
    /// The series' name.
    pub name: String,
    /// Its unit.
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
    /// The series' name.
    pub series: String,
    /// 0 critical, 1 warning, 2 info.
    pub severity: u8,
    /// What kind, as in contract §4.
    pub kind: String,
    /// 0 active, 1 cleared.
    pub state: u8,
    /// Event time, ms since the Unix epoch.
    pub time_ms: i64,
    /// The value that made it.
    pub value: f64,
    /// The limit passed, where there is one.
    pub limit: Option<f64>,
    /// The series' unit.
    pub unit: Option<String>,
    /// One sentence, with numbers and units.
    pub message: String,
    /// How unusual, where the detector says.
    pub score: Option<f64>,
    /// What was expected, where the detector says.
    pub baseline: Option<f64>,
}

/// A gateway introduces its boot, first on each connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The gateway's name.
    pub gateway: String,
    /// The living boot.
    pub boot: u64,
    /// The boot before it, with its last seq.
    pub parent: Option<(u64, u64)>,
    /// Window sizes as configured, in ms.
    pub sizes: Vec<i64>,
    /// Grace after a window's end, in ms.
    pub grace_ms: i64,
    /// How often intervals go, in ms.
    pub every_ms: i64,
    /// The logged clock, ms since the Unix epoch.
    pub clock_ms: i64,
    /// The program's version.
    pub version: String,
}

/// An interval `(from, to]` of one boot (protocol §4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Series that the cloud may not know.
    pub defs: Vec<Definition>,
    /// Entries born at or before `to`, as a block.
    #[serde(with = "cbor::bytes")]
    pub entries: Vec<u8>,
    /// Entries born later, as a block.
    #[serde(with = "cbor::bytes")]
    pub ahead: Vec<u8>,
    /// Alerts with a seq in `(from, to]`.
    pub alerts: Vec<AlertBody>,
    /// Entries given up.
    pub marks: Vec<ShedMark>,
    /// Window sizes of the boot, in ms.
    pub sizes: Vec<i64>,
    /// Grace of the boot, in ms.
    pub grace_ms: i64,
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
}

macro_rules! message {
    ($($name:ident),*) => {$(
        impl $name {
            /// As bytes.
            pub fn encode(&self) -> Vec<u8> {
                cbor::to_vec(self)
            }

            /// From bytes.
            ///
            /// # Errors
            /// Bytes beyond [`MESSAGE_BYTES_MAX`], of another shape, or of a newer format.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                let message: Self = cbor::from_slice(bytes, MESSAGE_BYTES_MAX)?;
                if message.format == 0 || message.format > FORMAT {
                    return Err(DecodeError::Format(message.format));
                }
                Ok(message)
            }
        }
    )*};
}
message!(Hello, Delta, AlertUp, Receipt, Bye, Ack);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Delta::decode(&bytes);
            let _ = Hello::decode(&bytes);
            let _ = AlertUp::decode(&bytes);
        }
    }

    #[test]
    fn an_ack_reads_back_and_a_newer_format_is_refused() {
        let mut ack = Ack { format: 1, boot: u64::MAX, number: 2, applied: 3, cloud_boot: 4, ahead: true, shed: 0, need_defs: false, readings: 9 };
        assert_eq!(Ack::decode(&ack.encode()).unwrap(), ack);
        ack.format = 2;
        assert_eq!(Ack::decode(&ack.encode()), Err(DecodeError::Format(2)));
    }
}
