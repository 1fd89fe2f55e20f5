//! What can be wrong with payloads and sources.

/// Why a payload is no reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Neither a number nor JSON, SenML or CBOR of a known shape.
    #[error("the payload is no reading: {0}")]
    Shape(String),
    /// NaN, infinite, or beyond a double.
    #[error("the value is not a finite number that a double holds")]
    NotFinite,
    /// A time that cannot be read, or lies before 1970.
    #[error("the time {0:?} is no RFC 3339 time with a zone and no Unix time from 1970 on")]
    Time(String),
    /// More samples than [`crate::limits::SAMPLES_MAX`].
    #[error("the message has more than {max} values; send it in parts", max = crate::limits::SAMPLES_MAX)]
    TooMany,
    /// A unit or name that is too long.
    #[error("a unit is longer than {max} bytes", max = crate::limits::UNIT_BYTES_MAX)]
    Unit,
}

/// Why a `[[source]]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A filter that MQTT does not allow.
    #[error("source filter {0:?} is no MQTT topic filter: '+' fills a whole level, '#' only the last")]
    Filter(String),
    /// A template that names what the filter does not match.
    #[error("series template {template:?} uses {{{name}}}, which filter {filter:?} does not give")]
    Template {
        /// The template.
        template: String,
        /// The placeholder.
        name: String,
        /// The filter.
        filter: String,
    },
}
