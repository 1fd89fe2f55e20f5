//! What can be wrong with a rule.

use crate::limits::PATTERN_BYTES_MAX;

/// Why a text is no pattern of series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing is written.
    #[error("the pattern is empty; write ** for every series")]
    Empty,
    /// Longer than any series' name.
    #[error("the pattern has {bytes} bytes, but a series' name has at most {PATTERN_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A wildcard of MQTT, or NUL, which no series' name has.
    #[error("the pattern has {character:?}, which no series' name has; * stands for one level, ** for zero or more")]
    Character {
        /// The character.
        character: char,
    },
    /// A star that shares its level with other characters.
    #[error("the level {level:?} mixes * with other characters; * stands for one whole level, ** for zero or more")]
    Mixed {
        /// The level.
        level: String,
    },
}

/// Why a rule cannot be followed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// A number that is not finite.
    #[error("{key} is {value}, which is not a finite number")]
    NotFinite {
        /// Which key.
        key: &'static str,
        /// The number.
        value: f64,
    },
    /// Limits out of order.
    #[error("{lower_key} ({lower}) must be below {upper_key} ({upper})")]
    Order {
        /// The key that must be lower.
        lower_key: &'static str,
        /// Its limit.
        lower: f64,
        /// The key that must be higher.
        upper_key: &'static str,
        /// Its limit.
        upper: f64,
    },
    /// No limit at all.
    #[error("the rule has no limit; write at least one of low_low, low, high, high_high")]
    NoLimit,
    /// A deadband or delay below zero.
    #[error("{key} must not be negative")]
    Negative {
        /// Which key.
        key: &'static str,
    },
    /// A deadband that leaves no value to return to.
    #[error("a deadband of {deadband} leaves no value between low ({low}) and high ({high}) at which both clear")]
    Deadband {
        /// The deadband.
        deadband: f64,
        /// The highest of the lower limits.
        low: f64,
        /// The lowest of the upper limits.
        high: f64,
    },
    /// The same of dynamic limits.
    #[error("a deadband of {deadband} leaves no value from {below} below to {above} above what is usual at which both clear")]
    DeadbandUsual {
        /// The deadband.
        deadband: f64,
        /// How far above is too much.
        above: f64,
        /// How far below.
        below: f64,
    },
}
