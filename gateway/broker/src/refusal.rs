//! Why something is not taken, mapped once to what each packet can say.

use crate::codec::reason;

/// Why the application does not take something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A limit is reached.
    QuotaExceeded,
    /// The log has no room, or its disk none.
    NoRoom,
    /// The payload is not of the form that its topic asks for.
    PayloadFormatInvalid,
    /// This client may not do that.
    NotAuthorized,
    /// The topic cannot be used.
    TopicNameInvalid,
    /// Not now: the broker stops reading from this client and offers it again when the
    /// horizon moves.
    Busy,
    /// The application is closing.
    Unavailable,
}

impl Refusal {
    /// The reason code in PUBACK, PUBREC, SUBACK and DISCONNECT of MQTT 5.
    pub const fn code(self) -> u8 {
        match self {
            Self::QuotaExceeded | Self::NoRoom | Self::Busy => reason::QUOTA_EXCEEDED,
            Self::PayloadFormatInvalid => reason::PAYLOAD_FORMAT_INVALID,
            Self::NotAuthorized => reason::NOT_AUTHORIZED,
            Self::TopicNameInvalid => reason::TOPIC_NAME_INVALID,
            Self::Unavailable => reason::IMPLEMENTATION_SPECIFIC,
        }
    }

    /// The reason string in PUBACK and PUBREC of MQTT 5.
    pub const fn why(self) -> &'static str {
        match self {
            Self::QuotaExceeded => "a limit of this gateway is reached",
            Self::NoRoom => "the log has no room",
            Self::PayloadFormatInvalid => "the payload is not of the form that its topic asks for",
            Self::NotAuthorized => "this client may not do that",
            Self::TopicNameInvalid => "the topic cannot be used",
            Self::Busy => "not now",
            Self::Unavailable => "closing",
        }
    }

    /// The reason code in CONNACK of MQTT 5, which knows a few more.
    pub const fn connect_code(self) -> u8 {
        match self {
            Self::Busy => reason::SERVER_BUSY,
            Self::Unavailable => reason::SERVER_UNAVAILABLE,
            other => other.code(),
        }
    }
}
