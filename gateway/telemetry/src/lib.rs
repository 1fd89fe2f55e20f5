//! What a reading is, and what windows of readings come to.
//!
//! Pure: bytes and times in, values out. Knows no clock, no file, no socket.
//!
//! | file | subject |
//! |---|---|
//! | [`reading`] | series, time, value; what times and values may be |
//! | [`payload`] | bytes → samples: text, JSON, SenML, CBOR |
//! | [`source`] | topic → series: filters, templates, first match wins |
//! | [`window`] | tumbling windows by event time |
//! | [`aggregate`] | count, sum, min, max, second moment, first, last; merge and its laws |
//! | [`digest`] | which readings, as one number: whether redundant gateways saw the same |
//! | [`sketch`] | quantiles within 1 % |
//! | [`entry`] | one boot's aggregate of one window, by its name in the protocol |
//! | [`block`] | entries ↔ columns |
//! | [`error`] | why a payload or a source is refused |
//! | [`limits`] | every bound, with its reason |

pub mod aggregate;
pub mod block;
pub mod digest;
pub mod entry;
pub mod error;
pub mod limits;
pub mod payload;
pub mod reading;
pub mod sketch;
pub mod source;
pub mod window;

pub use error::{PayloadError, SourceError};
pub use reading::Reading;
