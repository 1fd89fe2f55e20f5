//! Bounds of the log, each with its reason and what happens there.

/// Bytes of a segment file: large enough that making one is rare, small enough that retention
/// frees often. A smaller `[log] limit` makes smaller segments, so that there are always several.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of the smallest segment: a page, below which headers would outweigh records.
pub const SEGMENT_BYTES_MIN: u64 = 4 * 1024;

/// Segments that the limit is divided into at least: one is written, one is spare, and the
/// others are what retention has to choose from.
pub const SEGMENTS_MIN: u64 = 8;

/// Bytes that may wait for the next commit. At 40 MB/s (500,000 readings of 80 bytes a second)
/// that is 25 ms, several syncs of a good disk; beyond, readings are told to wait.
pub const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one record; a longer one is a mistake of the owner, whose packets are bounded.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one frame's records: what the four bytes of its length field can tell.
pub const FRAME_BYTES_MAX: usize = u32::MAX as usize;

/// Bytes at a segment's end that only bookkeeping may use once there is no room for another
/// segment: what says that space can be freed must itself find space.
pub const RESERVE_BYTES: u64 = 1024 * 1024;

/// How often room is looked for again once there was none, in ms: soon for a person, rarely
/// enough for a disk that is in trouble.
pub const ROOM_RETRY_MS: u64 = 1_000;

/// Records that one hole may plausibly hide. A frame that claims to lie further on is no frame.
pub const GAP_RECORDS_MAX: u64 = 1 << 32;

/// Bytes of the shortest record: one of length, one of kind. Says how many a lost segment held
/// at most.
pub const RECORD_BYTES_MIN: u64 = 2;

/// Damaged files kept aside as evidence; beyond, the oldest goes, as damage must not fill a disk.
pub const QUARANTINE_FILES_MAX: usize = 8;

/// Snapshots that stay whatever room they take: the newest may turn out unreadable, and nothing is lost.
pub const SNAPSHOTS_LEAST: usize = 2;

/// Snapshots kept in all: the newest two, the one that the oldest kept segment needs, and some
/// between.
pub const SNAPSHOTS_MAX: usize = 8;

/// The part of the limit that snapshots beyond the newest two and the oldest needed may take.
pub const SNAPSHOT_SHARE: u64 = 4;

/// The part of the limit that pages which nobody needs may take in parts that are kept for others; beyond, those
/// that are needed are written anew, so that their parts go.
pub const WASTE_SHARE: u64 = 32;

/// Bytes of pages that are written anew with one snapshot, one part's at least: they are in memory meanwhile.
pub const ANEW_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A snapshot may be larger than the one before by this part of it, for all that is foreseen.
pub const GROWTH_SHARE: u64 = 8;

/// Bytes read at once where a whole read fails: what a disk loses with one bad sector.
pub const SALVAGE_BYTES: usize = 4 * 1024;

/// Bytes of a segment that a start holds at a time, unless one frame is longer: as large as reading
/// in pieces takes to be no slower.
pub const PIECE_BYTES: usize = 256 * 1024;

/// How often a reader looks again at what a running writer may just be writing.
pub const REREADS_MAX: u32 = 3;

const _: () = assert!(PIECE_BYTES.is_multiple_of(SALVAGE_BYTES));
const _: () = assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES);
const _: () = assert!(RECORD_BYTES_MAX + QUEUE_BYTES_MAX * 2 < FRAME_BYTES_MAX);
const _: () = assert!(RESERVE_BYTES + 4 * (QUEUE_BYTES_MAX as u64) < SEGMENT_BYTES);

/// A page of flash, as file systems and most devices write it: what a small commit costs.
pub const PAGE_BYTES: u64 = 4_096;

/// What may be written beyond a flash budget's rate before commits are spaced: a morning's
/// trickle, so that only what goes on for long is slowed.
pub const FLASH_BURST_BYTES: u64 = 1 << 30;

/// A commit waits no longer than this for company, in ms: an acknowledgement's latency then.
pub const SPACING_MS: u64 = 100;
