//! Bounds of this crate, each with its reason.

/// Samples of one message: a SenML pack of a minute at 50 Hz. More is refused.
pub const SAMPLES_MAX: usize = 4_096;

/// Nesting of JSON and CBOR payloads: an array of objects of values is three deep.
pub const DEPTH_MAX: usize = 8;

/// Bytes of a series name (contract §3).
pub const SERIES_BYTES_MAX: usize = 256;

/// Bytes of a unit; the longest of UCUM in use are below 20.
pub const UNIT_BYTES_MAX: usize = 64;

/// Series of one log, whatever the configuration says.
pub const SERIES_MAX: usize = 1 << 24;

/// Buckets of a sketch: 2,048 span 10^17 in value; beyond, the smallest lose accuracy.
pub const SKETCH_BUCKETS_MAX: usize = 2_048;

/// Uncompressed bytes of a block: [`SKETCH_BUCKETS_MAX`] buckets in each of many entries are rare.
pub const BLOCK_BYTES_MAX: usize = 64 * 1024 * 1024;
