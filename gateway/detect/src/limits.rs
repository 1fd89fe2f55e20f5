//! Bounds of this crate, each with its reason.

/// Bytes of a pattern: a series' name has at most 256 (contract §3), so a longer pattern matches none.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Bytes of a unit that messages carry; longer ones are cut at a character. Those of UCUM in
/// use are below 20, and a message must stay one readable line.
pub const UNIT_BYTES_MAX: usize = 64;

/// The largest value that statistics take as it is; beyond, it counts as this. Differences,
/// sums of a few and rates per millisecond of such values still fit a double, so no estimate
/// ever becomes infinite. Fixed limits see the value itself.
pub const VALUE_MAX: f64 = 1e300;

/// The smallest scale of any estimate. Below, doubles lose digits and processors lose speed;
/// a series that lives there raises nothing.
pub const SCALE_MIN: f64 = 1e-290;

/// The smallest scale relative to the level itself: less than a millionth is rounding in the
/// sensor's own arithmetic, not a change of what it measures.
pub const SCALE_RELATIVE_MIN: f64 = 1e-6;

/// The largest score that is reported, in robust standard deviations; beyond, more says no more.
pub const SCORE_MAX: f64 = 1e9;

/// Readings in a row older than the newest, after which the series' clock is believed to have
/// been set back: fewer could be a sensor's late batch.
pub const LATE_READINGS_MAX: u8 = 16;

/// Bytes of one series' state, heap included: 100,000 series (the default bound) stay below 200 MB.
pub const STATE_BYTES_MAX: usize = 2048;

/// The largest value that means and mean squares take as it is: its square stays finite.
pub const DEPARTURE_VALUE_MAX: f64 = 1e150;

/// The largest value that a novelty takes as it is: its square stays finite.
pub const NOVELTY_VALUE_MAX: f64 = 1e150;

/// Channels of one group: its covariance grows with their square; more form another machine.
pub const GROUP_CHANNELS_MAX: usize = 32;

/// Bytes of one group's state, heap included.
pub const GROUP_STATE_BYTES_MAX: usize = 8 * 1024;

/// The largest value that a group takes as it is: products of two deviations stay finite.
pub const GROUP_VALUE_MAX: f64 = 1e150;

/// The smallest standard deviation of a group's channel: its square is still an ordinary number.
pub const GROUP_SIGMA_MIN: f64 = 1e-140;

/// Alerts of detectors in shadow that wait to be shown; beyond, they are only counted.
pub const SHADOW_HELD_MAX: usize = 1_000;

const _: () = assert!(GROUP_CHANNELS_MAX <= u32::BITS as usize);
const _: () = assert!(VALUE_MAX * 2.0 * 1e3 * 8.0 < f64::MAX);
const _: () = assert!(SCALE_MIN > f64::MIN_POSITIVE);
