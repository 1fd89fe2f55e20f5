//! What is wrong with a series: streaming detectors, one pass, bounded state, no look-ahead.
//!
//! Pure: times and values in, findings out. Knows no clock, no file, no socket.
//!
//! | file | subject |
//! |---|---|
//! | [`pattern`] | which series a rule is for |
//! | [`settings`] | limits as configured, and the detectors' defaults |
//! | [`watch`] | all detectors of one series |
//! | [`limit`] | fixed limits with deadband and delays |
//! | [`rate`] | rate of change |
//! | [`spike`] | a value far from where the series usually is |
//! | [`flatline`] | a value that no longer moves |
//! | [`silence`] | readings that no longer come |
//! | [`finding`] | what a detector says |
pub mod finding;
pub mod flatline;
pub mod limit;
pub mod pattern;
pub mod rate;
pub mod settings;
pub mod silence;
pub mod spike;
pub mod watch;

pub use finding::{Finding, Kind, Severity, State};
pub use pattern::Pattern;
pub use settings::{Critical, LimitRule, Settings};
pub use watch::Watch;
