//! Bounds of this crate, each with its reason and what happens there.
//!
//! A decoder refuses what is beyond a bound with [`crate::DecodeError`]. A refused message
//! changes nothing at its receiver and would come again unchanged, so a writer keeps below.

/// Bytes of one encoded message. An interval aims at 256 KiB before compression; the rest is
/// room for one record that cannot be divided, and for the names of very many series.
/// Bytes of a longer one are not looked at.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Levels of arrays, maps and tags in CBOR. Our own nest four deep, a snapshot of a gateway
/// less than ten; the decoder recurses once per level, so its stack stays small.
pub const CBOR_DEPTH_MAX: usize = 32;

/// Definitions in one interval: the 100,000 series that a gateway holds by default, rounded up.
pub const DEFINITIONS_MAX: usize = 1 << 17;

/// Alerts in one interval: one tick of the clock can silence very many series at once.
pub const ALERTS_MAX: usize = 1 << 14;

/// Shed marks in one interval: as many as fit in [`MESSAGE_BYTES_MAX`] at their usual 40 bytes, nearly.
pub const MARKS_MAX: usize = 1 << 16;

/// Reasons for which messages are refused; there are four.
pub const REASONS_MAX: usize = 32;

/// Window sizes of a boot; a config has at most 16.
pub const SIZES_MAX: usize = 64;

/// Bytes of a gateway's name (contract §2).
pub const GATEWAY_BYTES_MAX: usize = 64;

/// Bytes of a series name: 256 of the topic (contract §3), and `@unit` behind it.
pub const SERIES_BYTES_MAX: usize = 512;

/// Bytes of a unit; the longest in use are below 20.
pub const UNIT_BYTES_MAX: usize = 128;

/// Bytes of an alert's kind, a level of a topic.
pub const KIND_BYTES_MAX: usize = 64;

/// Series that one alert names: more nobody reads.
pub const CONTRIBUTORS_MAX: usize = 8;

/// Bytes of an alert's sentence.
pub const SENTENCE_BYTES_MAX: usize = 4_096;

/// Acts of people on alarms in one message; a gateway holds fewer that the cloud does not have.
pub const ACTS_MAX: usize = 1 << 11;

/// Bytes of who did something: a name, or an address.
pub const WHO_BYTES_MAX: usize = 128;

/// Bytes of why: a sentence or two.
pub const REASON_BYTES_MAX: usize = 512;

/// Bytes of an ordinary message's topic: MQTT's own bound.
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Ordinary messages in one message of the link; a batch is bounded by bytes first.
pub const CROSSED_MAX: usize = 1 << 10;

/// Filters that a gateway wants ordinary messages of; a config has a handful.
pub const WANTED_MAX: usize = 64;

/// Bytes of a program's version.
pub const VERSION_BYTES_MAX: usize = 128;

// An element takes a byte at least, so a count beyond the bytes would bound nothing.
const _: () = assert!(DEFINITIONS_MAX < MESSAGE_BYTES_MAX && ALERTS_MAX < MESSAGE_BYTES_MAX && MARKS_MAX < MESSAGE_BYTES_MAX);
// Acts with all their texts at their bounds fit in a message beside an interval's entries.
const _: () = assert!(ACTS_MAX * (SERIES_BYTES_MAX + KIND_BYTES_MAX + WHO_BYTES_MAX + REASON_BYTES_MAX + 128) < MESSAGE_BYTES_MAX);
// One alert with all its texts at their bounds fits in a message of its own.
const _: () = assert!(
    (1 + CONTRIBUTORS_MAX) * (SERIES_BYTES_MAX + 64) + KIND_BYTES_MAX + UNIT_BYTES_MAX + SENTENCE_BYTES_MAX + 256 < MESSAGE_BYTES_MAX
);
