//! Bounds of messages, each with its reason.

/// Bytes of one encoded message: an interval aims at 256 KiB before compression; sixteen times that is a stranger's.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Nesting of CBOR values; ours nest four deep. The decoder's stack stays small.
pub const CBOR_DEPTH_MAX: usize = 32;
