//! How both roles read their config: one file, then the environment, then `--set`.
//!
//! The crate merges the three (crate `config`), remembers for every key where it was written, and hands
//! out values by key: a [`Table`] is read field by field, each wrong value is noted with file, line and
//! key, and at the end every key that nobody asked for is an unknown key. All problems come at once, so
//! that one look at the message is enough to put a config right.
//!
//! It refuses to know any section or key: those are `edge::config` and `cloud::config`, one function each
//! from a [`Table`] to a typed config that cannot be wrong.
//!
//! | file | subject |
//! |---|---|
//! | `table.rs` | reading a section key by key, collecting what is wrong |
//! | `layers.rs` | file, environment and `--set` merged into one tree |
//! | `places.rs` | key path → line of the file, or the override that set it |
//! | `unit.rs` | durations (`5s`) and sizes (`256KiB`), both ways |
//! | `address.rs` | listen addresses, broker URLs, topic filters |
//! | `nearest.rs` | the known name nearest to a misspelt one |
//! | `limits.rs` | bounds, each with its reason |
//! | `error.rs` | problems and their collection |

#![forbid(unsafe_code)]

pub mod address;
pub mod error;
mod layers;
pub mod limits;
pub mod nearest;
mod places;
mod table;
pub mod unit;

pub use address::BrokerUrl;
pub use error::{ConfigErrors, Place, Problem};
pub use table::Table;
