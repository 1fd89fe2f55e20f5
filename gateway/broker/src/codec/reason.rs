//! Reason codes of MQTT 5 (2.4) that this server uses.

/// It worked; also a normal DISCONNECT.
pub const SUCCESS: u8 = 0x00;
/// Nothing to unsubscribe from.
pub const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
/// Any failure, the only one that SUBACK of MQTT 3.1.1 knows.
pub const UNSPECIFIED: u8 = 0x80;
/// Bytes that do not follow the layout.
pub const MALFORMED_PACKET: u8 = 0x81;
/// A packet out of place.
pub const PROTOCOL_ERROR: u8 = 0x82;
/// Understood and not taken, for a reason of this server's.
pub const IMPLEMENTATION_SPECIFIC: u8 = 0x83;
/// A protocol version that is not spoken.
pub const UNSUPPORTED_VERSION: u8 = 0x84;
/// A client identifier that cannot be used.
pub const CLIENT_ID_INVALID: u8 = 0x85;
/// Not allowed.
pub const NOT_AUTHORIZED: u8 = 0x87;
/// Closing or not able to work.
pub const SERVER_UNAVAILABLE: u8 = 0x88;
/// Try again.
pub const SERVER_BUSY: u8 = 0x89;
/// The server stops.
pub const SERVER_SHUTTING_DOWN: u8 = 0x8b;
/// No such authentication method.
pub const BAD_AUTHENTICATION_METHOD: u8 = 0x8c;
/// Nothing heard for one and a half keep-alives.
pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
/// Another connection with this identifier has the session now.
pub const SESSION_TAKEN_OVER: u8 = 0x8e;
/// A filter that cannot be subscribed to.
pub const TOPIC_FILTER_INVALID: u8 = 0x8f;
/// A topic that cannot be published to.
pub const TOPIC_NAME_INVALID: u8 = 0x90;
/// An acknowledgement for nothing.
pub const PACKET_ID_NOT_FOUND: u8 = 0x92;
/// More unacknowledged than announced.
pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
/// Topic aliases are not offered.
pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
/// Larger than announced.
pub const PACKET_TOO_LARGE: u8 = 0x95;
/// A limit is reached.
pub const QUOTA_EXCEEDED: u8 = 0x97;
/// The payload is not what its topic asks for.
pub const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
/// Shared subscriptions are not offered.
pub const SHARED_NOT_SUPPORTED: u8 = 0x9e;
