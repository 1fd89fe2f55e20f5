//! Bounds of this crate, each with its reason.

/// Samples of one message: a SenML pack of a minute at 50 Hz. More is refused.
pub const SAMPLES_MAX: usize = 4_096;

/// Nesting of JSON and CBOR payloads: an array of objects of values is three deep; the rest
/// is for fields that are ignored. Deeper is refused.
pub const DEPTH_MAX: usize = 16;

/// Values and keys of one JSON or CBOR payload, ignored ones too: [`SAMPLES_MAX`] SenML
/// records of 15 fields each. More is refused, so that a payload of commas does not become
/// many times its size in memory.
pub const NODES_MAX: usize = 32 * SAMPLES_MAX;

/// Fields of an object that is read in place, where keys are compared pair by pair. Larger
/// objects are read all the same, but with allocations.
pub const FIELDS_IN_PLACE_MAX: usize = 12;

/// Bytes of a payload that an error quotes; the rest is cut off.
pub const QUOTE_BYTES_MAX: usize = 64;

/// Bytes of a series name (contract §3).
pub const SERIES_BYTES_MAX: usize = 256;

/// Bytes of a unit; the longest of UCUM in use are below 20.
pub const UNIT_BYTES_MAX: usize = 64;

/// Series of one log, whatever the configuration says.
pub const SERIES_MAX: usize = 1 << 24;

/// Buckets of a sketch: 2,048 span 10^17 in value; beyond, the smallest lose accuracy.
pub const SKETCH_BUCKETS_MAX: usize = 2_048;

/// Readings of an entry: 50 kHz for eight months. A block that claims more is refused, so that
/// counts can be added up without a thought of overflow.
pub const ENTRY_READINGS_MAX: u64 = 1 << 40;

/// Uncompressed bytes of one entry in a block: [`SKETCH_BUCKETS_MAX`] buckets of at most eight
/// bytes, and some 200 for the rest. A block of more for each entry asked for is refused.
pub const ENTRY_BYTES_MAX: usize = SKETCH_BUCKETS_MAX * 8 + 512;

/// Uncompressed bytes of a block, however many entries are asked for: 4,096 of the largest
/// size fit. A longer one is refused.
pub const BLOCK_BYTES_MAX: usize = 68 * 1024 * 1024;

const _: () = assert!(BLOCK_BYTES_MAX >= 4_096 * ENTRY_BYTES_MAX);

const _: () = assert!(NODES_MAX >= SAMPLES_MAX * (1 + 2 * 15));
const _: () = assert!(UNIT_BYTES_MAX < SERIES_BYTES_MAX);

/// Windows that one window is added up from: a day of seconds. Longer ones are kept beside.
pub const BASES_MAX: i64 = 86_400;
