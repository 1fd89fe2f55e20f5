//! Bytes ↔ packets (MQTT 3.1.1 and 5), in place over the read buffer, sizes checked first.

pub mod read;
pub mod write;

/// Why a connection must end: a reason code of MQTT 5 and a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why} (reason {code:#04x})")]
pub struct Violation {
    /// MQTT 5 reason code.
    pub code: u8,
    /// What was wrong.
    pub why: &'static str,
}

pub(crate) const fn malformed(why: &'static str) -> Violation {
    Violation { code: 0x81, why }
}

pub(crate) const fn protocol(why: &'static str) -> Violation {
    Violation { code: 0x82, why }
}
