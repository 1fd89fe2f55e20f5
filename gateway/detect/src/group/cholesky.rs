//! Distances under a correlation, by its Cholesky factor, without a heap.

use crate::limits::GROUP_CHANNELS_MAX;

/// Numbers in a lower triangle of the largest size.
const PACKED_MAX: usize = GROUP_CHANNELS_MAX * (GROUP_CHANNELS_MAX + 1) / 2;

/// The least pivot: clipped updates can leave a matrix that is not quite a correlation.
const PIVOT_MIN: f64 = 1e-3;

/// Place of row `i`, column `j ≤ i` in a lower triangle kept by rows; `packed(n, 0)` is its size.
pub(super) fn packed(i: usize, j: usize) -> usize {
    i * (i + 1) / 2 + j
}

/// The lower factor of a correlation matrix.
pub(super) struct Factor {
    count: usize,
    lower: [f64; PACKED_MAX],
    /// One over the diagonal.
    inverse: [f64; GROUP_CHANNELS_MAX],
}

impl Factor {
    /// Of a matrix with ones on its diagonal; `below` gives what is under it.
    pub(super) fn of(count: usize, below: impl Fn(usize, usize) -> f64) -> Self {
        let mut factor = Self { count, lower: [0.0; PACKED_MAX], inverse: [0.0; GROUP_CHANNELS_MAX] };
        for i in 0..count {
            for j in 0..i {
                let done = (0..j).map(|k| factor.lower[packed(i, k)] * factor.lower[packed(j, k)]).sum::<f64>();
                factor.lower[packed(i, j)] = (below(i, j).clamp(-1.0, 1.0) - done) * factor.inverse[j];
            }
            let row = packed(i, 0)..packed(i, i);
            let mut done = factor.lower[row.clone()].iter().map(|part| part * part).sum::<f64>();
            if done > 1.0 - PIVOT_MIN {
                // What is no correlation becomes one nearby: rows longer than one would grow from each to the next.
                let part = ((1.0 - PIVOT_MIN) / done).sqrt();
                factor.lower[row].iter_mut().for_each(|lower| *lower *= part);
                done = 1.0 - PIVOT_MIN;
            }
            let pivot = (1.0 - done).max(PIVOT_MIN).sqrt();
            factor.lower[packed(i, i)] = pivot;
            factor.inverse[i] = 1.0 / pivot;
        }
        factor
    }

    /// Half way to the solution, and the Mahalanobis distance √(z′R⁻¹z).
    fn forward(&self, z: &[f64]) -> ([f64; GROUP_CHANNELS_MAX], f64) {
        let mut half = [0.0; GROUP_CHANNELS_MAX];
        let mut sum = 0.0;
        for i in 0..self.count {
            let done = (0..i).map(|k| self.lower[packed(i, k)] * half[k]).sum::<f64>();
            half[i] = (z[i] - done) * self.inverse[i];
            sum += half[i] * half[i];
        }
        (half, sum.sqrt())
    }

    /// The Mahalanobis distance.
    pub(super) fn distance(&self, z: &[f64]) -> f64 {
        self.forward(z).1
    }

    /// R⁻¹z: times z, what each channel adds to T².
    pub(super) fn solve(&self, z: &[f64]) -> [f64; GROUP_CHANNELS_MAX] {
        let mut out = self.forward(z).0;
        for i in (0..self.count).rev() {
            let done = (i + 1..self.count).map(|k| self.lower[packed(k, i)] * out[k]).sum::<f64>();
            out[i] = (out[i] - done) * self.inverse[i];
        }
        out
    }

    /// Of each channel, its distance from what all others let expect, and the deviation that this
    /// distance has, both in the channel's own deviations: those of the regression on the others.
    pub(super) fn residuals(&self, z: &[f64]) -> [(f64, f64); GROUP_CHANNELS_MAX] {
        let solved = self.solve(z);
        let mut out = [(0.0, 1.0); GROUP_CHANNELS_MAX];
        for at in 0..self.count {
            // The diagonal of R⁻¹, from a column of the factor's inverse.
            let mut column = [0.0; GROUP_CHANNELS_MAX];
            column[at] = self.inverse[at];
            let mut precision = column[at] * column[at];
            for i in at + 1..self.count {
                let done = (at..i).map(|k| self.lower[packed(i, k)] * column[k]).sum::<f64>();
                column[i] = -done * self.inverse[i];
                precision += column[i] * column[i];
            }
            out[at] = (solved[at] / precision, 1.0 / precision.sqrt());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_solved_gives_the_right_side_again() {
        let r = [[1.0, 0.4, -0.3], [0.4, 1.0, 0.2], [-0.3, 0.2, 1.0]];
        let factor = Factor::of(3, |i, j| r[i][j]);
        let z = [1.0, -2.0, 0.5];
        let x = factor.solve(&z);
        for i in 0..3 {
            let back = (0..3).map(|j| r[i][j] * x[j]).sum::<f64>();
            assert!((back - z[i]).abs() < 1e-12, "{back} {}", z[i]);
        }
        let t2 = (0..3).map(|i| z[i] * x[i]).sum::<f64>();
        assert!((factor.distance(&z).powi(2) - t2).abs() < 1e-12);
    }

    #[test]
    fn a_residual_is_what_a_regression_on_the_others_leaves() {
        // Of two channels, the one is expected at their correlation times the other.
        let factor = Factor::of(2, |_, _| 0.8);
        let [(residual, deviation), (other, _), ..] = factor.residuals(&[1.0, 0.5]);
        assert!((residual - (1.0 - 0.8 * 0.5)).abs() < 1e-12 && (other - (0.5 - 0.8)).abs() < 1e-12);
        assert!((deviation - 0.6).abs() < 1e-12);
    }

    #[test]
    fn a_matrix_that_is_no_correlation_gives_a_number_all_the_same() {
        for count in [3, GROUP_CHANNELS_MAX] {
            let wild = |i: usize, j: usize| if (i + j).is_multiple_of(2) { 1e200 } else { -1.0 };
            let z = (0..count).map(|at| if at % 3 == 0 { -1e9 } else { 1e9 }).collect::<Vec<_>>();
            let factor = Factor::of(count, wild);
            assert!(factor.distance(&z).is_finite());
            assert!(factor.residuals(&z).iter().all(|(residual, deviation)| residual.is_finite() && deviation.is_finite()));
        }
    }
}
