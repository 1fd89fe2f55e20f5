//! What can be wrong with bytes that claim to be ours.

/// A record, snapshot or message that this program cannot take.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes that do not decode.
    #[error("record of kind {kind} does not decode: {source}")]
    Record {
        /// The record's kind byte.
        kind: u8,
        /// What the decoder met.
        source: schemas::DecodeError,
    },
    /// A kind that this version does not know.
    #[error("record kind {0} is unknown to this version; a newer program wrote this log")]
    UnknownKind(u8),
    /// A reading of a series that was never defined.
    #[error("record {lsn} names series {series}, which no record before it defines")]
    UndefinedSeries {
        /// The record's number in the log.
        lsn: u64,
        /// The series number it names.
        series: u32,
    },
    /// A snapshot that does not decode.
    #[error("snapshot does not decode: {0}")]
    Snapshot(schemas::DecodeError),
    /// The merged windows' store.
    #[error("the store of merged windows cannot go on: {0}")]
    Store(String),
}
