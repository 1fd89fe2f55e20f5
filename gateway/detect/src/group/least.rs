//! The least that a record can be: what noise alone reaches in as many rows.
//!
//! A record is measured in the scales of its time. Those fall, for hours, when the first rows were
//! of a machine that was running down; what was a small record then is soon exceeded by noise. The
//! largest of n independent normal numbers stays below √(2 ln n), the largest length of n vectors
//! of p below √p + √(2 ln n) (a length is a Lipschitz function: Borell, Tsirelson).

use crate::logarithm::ln;

/// Rows that count as an independent one: smoothing makes twenty alike, and an event takes more
/// than one that is beyond.
const ALIKE: f64 = 50.0;

/// Deviation that noise reaches in so many rows of so many channels.
pub(super) fn of_noise(rows: u32, channels: u16) -> f64 {
    let independent = (f64::from(rows) / ALIKE).max(1.0) * f64::from(channels.max(1));
    (2.0 * ln(independent)).sqrt().max(1.0)
}

/// Distance that noise of so many channels reaches in so many rows.
pub(super) fn of_distance(rows: u32, channels: u16) -> f64 {
    f64::from(channels).sqrt() + of_noise(rows, 1)
}
