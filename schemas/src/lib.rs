//! Messages on the wire and on disk, and their bounded decoding.
//!
//! Knows bytes, and nothing of what they mean. Every decoder takes bytes from strangers:
//! each length, count and depth has a bound, nothing panics, nothing allocates more than
//! the bytes that are there.
//!
//! | file | subject |
//! |---|---|
//! | [`wire`] | varints, strings, a reader that cannot overrun |
//! | [`pack`] | bounded compression |
//! | [`cbor`] | CBOR with integer keys; the one file that knows which library does it |
//! | [`message`] | what gateway and cloud say to each other (`bridge.cddl`) |
pub mod cbor;
pub mod error;
pub mod limits;
pub mod message;
pub mod pack;
pub mod wire;

pub use error::DecodeError;
