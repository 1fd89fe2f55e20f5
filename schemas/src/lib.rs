//! Messages on the wire and on disk, and their bounded decoding.
//!
//! Knows bytes, and nothing of what they mean: no windows, no detectors, no protocol; also
//! no clocks, files or sockets. Every decoder takes bytes from strangers: each length,
//! count and depth has a bound, nothing panics, and nothing makes room for more than the
//! bytes that are there or the bound that the caller gives.
//!
//! | file | subject |
//! |---|---|
//! | [`wire`] | varints, strings, a reader that cannot overrun |
//! | [`pack`] | bounded compression |
//! | [`cbor`] | CBOR with integer keys; the one file that knows which library does it |
//! | [`scan`] | the first pass over CBOR: depth and lengths, before anything is allocated |
//! | [`message`] | what gateway and cloud say to each other (`bridge.cddl`) |
//! | [`limits`], [`error`] | bounds with their reasons; what can be wrong |
//!
//! Beside `src/`: `bridge.cddl` writes the messages down for other implementations,
//! `vectors/v1/` holds their bytes for good, `json/` the schemas of what the cloud publishes.
pub mod cbor;
pub mod error;
pub mod limits;
pub mod message;
pub mod pack;
pub mod scan;
pub mod wire;

pub use error::DecodeError;
