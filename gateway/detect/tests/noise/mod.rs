//! Noise for generated series, the same on every run.

/// Deterministic noise, roughly normal, with a variance of 1.
pub struct Noise(pub u64);

impl Noise {
    /// From 0 to below 1 (Knuth's MMIX generator).
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The sum of twelve such, less its mean.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}
