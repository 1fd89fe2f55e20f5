//! What is wrong with a series: streaming detectors, one pass, bounded state, no look-ahead.
//!
//! Pure: times and values in, findings out. The same readings give the same findings on every
//! platform, and a stored and restored [`Watch`] goes on as if it never was; the fold over
//! the log relies on both. It refuses to know clocks, files, sockets, names of gateways, how
//! findings become alerts, and who is told.
//!
//! | file | subject |
//! |---|---|
//! | [`watch`] | all detectors of one series, behind four calls |
//! | `limit.rs` | fixed limits with deadband and delays |
//! | `spike.rs` | a value suddenly far from where the series usually is |
//! | `rate.rs` | a climb or fall much faster than usual |
//! | `flatline.rs` | a value that no longer moves |
//! | `silence.rs` | readings that no longer come |
//! | `cadence.rs` | readings that come, but fewer than usual |
//! | `leap.rs` | event times that run backwards, or leap |
//! | `season.rs` | values that a series has at this hour of the day |
//! | [`maintenance`], [`suppress`] | what is not shown by configuration, and why |
//! | [`novelty`] | how new a reading is to its series, as one score |
//! | `novel.rs` | that score as a detector of a series |
//! | [`group`] | a machine's channels together; `group/`: rows, algebra, sentences |
//! | `regime.rs` | levels that a series is known for |
//! | `tail.rs`, `regular.rs` | how rare a size is; events that come at regular intervals |
//! | `mark.rs` | a moment that may not have come yet |
//! | `logarithm.rs` | ln, the same on every platform |
//! | `shift.rs` | a level that shifted, or drifted |
//! | `stay.rs` | how long it was where it was before |
//! | `noise.rs` | readings that jump about more than usual |
//! | `saturation.rs` | readings cut off at the end of a range |
//! | `chart.rs`, `departure.rs` | unusual by the series' own record; how far it is from where it usually is |
//! | `scale.rs` | what size is usual, and what events are known |
//! | [`about`] | each detector in a sentence |
//! | [`alarm`] | the life cycle of alarms: people, floods, groups, figures; `alarm/` |
//! | [`finding`] | what a detector says |
//! | [`settings`], [`rule`] | what detection depends on; a limit as configured |
//! | [`pattern`] | which series a rule is for |
//! | [`limits`] | bounds, with reasons |
//! | [`error`] | what can be wrong with a rule |

pub mod about;
pub mod alarm;
mod cadence;
mod chart;
mod departure;
pub mod error;
pub mod finding;
mod flatline;
pub mod group;
mod leap;
mod limit;
pub mod limits;
mod logarithm;
pub mod maintenance;
mod mark;
mod noise;
mod novel;
pub mod novelty;
pub mod pattern;
mod rate;
mod regime;
mod regular;
pub mod rule;
mod saturation;
mod scale;
mod season;
pub mod settings;
mod shift;
mod silence;
mod spell;
mod spike;
mod stay;
pub mod suppress;
mod tail;
#[cfg(test)]
mod tests;
pub mod watch;

pub use error::{PatternError, RuleError};
pub use finding::{Finding, Kind, Severity, State};
pub use group::Group;
pub use maintenance::Maintenance;
pub use novelty::Novelty;
pub use pattern::Pattern;
pub use rule::{Critical, LimitRule};
pub use settings::Settings;
pub use suppress::{GroupRule, Shadow, Suppression};
pub use watch::Watch;
