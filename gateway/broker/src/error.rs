//! What a client did wrong, and the reason code it hears.

use crate::codec::reason;

/// A breach of the protocol: the connection ends, in MQTT 5 with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client broke the protocol: {why} (reason code {code:#04x})")]
pub struct Violation {
    /// Reason code of MQTT 5 (2.4), from [`reason`].
    pub code: u8,
    /// What was wrong, as a clause.
    pub why: &'static str,
}

impl Violation {
    /// Bytes that do not follow the packet's layout (0x81).
    pub const fn malformed(why: &'static str) -> Self {
        Self { code: reason::MALFORMED_PACKET, why }
    }

    /// A packet that is well formed and out of place (0x82).
    pub const fn protocol(why: &'static str) -> Self {
        Self { code: reason::PROTOCOL_ERROR, why }
    }
}
