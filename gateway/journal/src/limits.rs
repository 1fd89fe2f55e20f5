//! Bounds of the log, each with its reason.

/// Bytes of a segment file: large enough that making one is rare, small enough that retention frees often.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of one frame: a batch beyond it is written as it is, and no record may be longer.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that may wait for the next commit; beyond, readings are told to wait.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Share of a segment kept for bookkeeping when there is no room for another.
pub const RESERVE_BYTES: u64 = 1024 * 1024;

/// How often room is looked for again once there was none, in ms.
pub const ROOM_RETRY_MS: u64 = 1_000;

const _: () = assert!(BATCH_BYTES_MAX * 2 <= FRAME_BYTES_MAX && (FRAME_BYTES_MAX as u64) < SEGMENT_BYTES);
