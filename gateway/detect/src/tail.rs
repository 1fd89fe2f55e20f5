//! How rare a size is, by the tail of the sizes before: peaks over a threshold.
//!
//! The threshold is a high quantile, followed by stochastic approximation; what lies above it
//! is taken as exponential in the size's logarithm, which is a power law in the size itself:
//! the fatter the tail that a series shows, the larger a value must be to surprise.

use crate::logarithm::ln;
use serde::{Deserialize, Serialize};

/// Where the tail begins.
const QUANTILE: f64 = 0.98;
/// Weight of a size in the quantile.
const WEIGHT: f64 = 0.005;
/// Weight of an exceedance in the tail's scale.
const EXCESS_WEIGHT: f64 = 0.025;
/// Exceedances before the tail's scale is believed; until then it is at least [`YOUNG`].
const EXCEEDANCES_MIN: u32 = 10;
const YOUNG: f64 = 0.1;
/// The least scale: a tail of equal sizes would make any other infinitely rare.
const SCALE_MIN: f64 = 1e-3;
/// Sizes before it speaks.
const WARM: u32 = 20;
/// Natural logarithm of 10.
const LN_10: f64 = std::f64::consts::LN_10;
/// Surprise at the threshold: −log₁₀ of the part beyond it.
const AT_THRESHOLD: f64 = 1.698_970_004_336_019;

/// The tail of one kind of size.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Tail {
    /// The high quantile, as a logarithm like all of these.
    quantile: f64,
    /// Mean excess above it, and how many were seen.
    excess: f64,
    exceedances: u32,
    /// Mean size: what the quantile's steps are measured by.
    mean: f64,
}

impl Tail {
    /// How rare a size (0 or more, finite) is, in powers of ten; 0 below the threshold. `seen`
    /// counts from 1.
    pub(crate) fn observe(&mut self, seen: u32, size: f64) -> f64 {
        let size = ln(1.0 + size);
        let over = size - self.quantile;
        let mut surprise = 0.0;
        if seen > WARM && over > 0.0 {
            let young = YOUNG * f64::from(EXCEEDANCES_MIN.saturating_sub(self.exceedances)) / f64::from(EXCEEDANCES_MIN);
            surprise = AT_THRESHOLD + over / self.excess.max(SCALE_MIN).max(young) / LN_10;
        }
        let weight = WEIGHT.max(1.0 / f64::from(seen.max(1)));
        self.mean += weight * (size - self.mean);
        let step = 2.0 * weight * self.mean.max(1e-9);
        if over > 0.0 {
            self.exceedances = self.exceedances.saturating_add(1);
            self.excess += EXCESS_WEIGHT.max(1.0 / f64::from(self.exceedances)) * (over - self.excess);
            self.quantile += step * QUANTILE;
        } else {
            self.quantile = (self.quantile - step * (1.0 - QUANTILE)).max(0.0);
        }
        surprise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_sizes_surprise_by_how_rare_they_are() {
        // A power law: one size in ten is ten times larger.
        let mut tail = Tail::default();
        let size = |at: u32| 1.0 / (f64::from(at.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24)).max(1e-4);
        let mut beyond = [0; 4];
        for at in 1..200_000 {
            let surprise = tail.observe(at, size(at));
            (0..4).filter(|power| surprise > *power as f64).for_each(|power| beyond[power] += 1);
        }
        // Beyond 2: one in a hundred; beyond 3: one in a thousand.
        assert!((1_000..4_000).contains(&beyond[2]) && (100..500).contains(&beyond[3]), "{beyond:?}");
        assert!(tail.observe(200_000, 1e7) > 5.0);
    }
}
