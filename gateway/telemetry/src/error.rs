//! What can be wrong with payloads and sources.

use crate::limits::{DEPTH_MAX, NODES_MAX, QUOTE_BYTES_MAX, SAMPLES_MAX, UNIT_BYTES_MAX};

/// Why a payload is no reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Neither a number nor JSON, SenML or CBOR of a known shape.
    #[error("The payload is no reading: {0}.")]
    Shape(String),
    /// NaN, infinite, or beyond a double.
    #[error("The value is not a finite number that a double holds.")]
    NotFinite,
    /// A time that cannot be read, or lies before 1970.
    #[error("The time {0:?} is neither an RFC 3339 time with a zone nor a Unix time from 1970 on.")]
    Time(String),
    /// More samples than [`SAMPLES_MAX`].
    #[error("The message has more than {SAMPLES_MAX} values; send it in parts.")]
    TooMany,
    /// More nesting than [`DEPTH_MAX`], or more parts than [`NODES_MAX`].
    #[error("The payload nests deeper than {DEPTH_MAX} or has more than {NODES_MAX} parts.")]
    TooComplex,
    /// A unit that is too long.
    #[error("A unit is longer than {UNIT_BYTES_MAX} bytes.")]
    Unit,
}

impl PayloadError {
    /// [`PayloadError::Shape`] for such a reason.
    pub(crate) fn shape(why: &str) -> Self {
        Self::Shape(why.to_owned())
    }

    /// [`PayloadError::Time`] with no more of the text than an operator needs.
    pub(crate) fn time(text: &str) -> Self {
        Self::Time(schemas::wire::cut(text, QUOTE_BYTES_MAX).to_owned())
    }
}

/// Why a `[[source]]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A filter that MQTT does not allow.
    #[error("The source filter {0:?} is no MQTT topic filter: '+' fills a whole level, '#' only the last.")]
    Filter(String),
    /// A template that names what the filter does not match.
    #[error("The series template {template:?} uses {{{name}}}, which filter {filter:?} does not give.")]
    Template {
        /// The template.
        template: String,
        /// The placeholder.
        name: String,
        /// The filter.
        filter: String,
    },
    /// A template that cannot give a valid series name, whatever the topic.
    #[error("The series template {0:?} never gives a series name: 1 to 256 bytes with none of '+', '#', NUL.")]
    Series(String),
}
