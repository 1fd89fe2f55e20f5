//! The natural logarithm from additions, multiplications and divisions alone: the same bits on
//! every platform, which the system's own does not promise.

/// ln(2), in two parts: the first is exact in so few bits that its multiples are too.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// The natural logarithm of an ordinary positive number; what is smaller, or no number, counts
/// as the smallest ordinary one. Within 1e-14 of the truth.
#[inline]
pub(crate) fn ln(x: f64) -> f64 {
    let x = x.clamp(f64::MIN_POSITIVE, f64::MAX);
    let x = if x.is_nan() { f64::MIN_POSITIVE } else { x };
    let bits = x.to_bits();
    // Mantissa between √½ and √2, so that the series is short.
    let low = bits & 0x000f_ffff_ffff_ffff;
    let above = low > 0x0006_a09e_667f_3bcd;
    let exponent = (bits >> 52) as i64 - 1_023 + i64::from(above);
    let mantissa = f64::from_bits(low | if above { 0x3fe0_0000_0000_0000 } else { 0x3ff0_0000_0000_0000 });
    // 2·artanh((m−1)/(m+1)); the argument is below 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let s2 = s * s;
    let series = (1..=9).rev().fold(0.0, |sum, k| (sum + 1.0 / f64::from(2 * k + 1)) * s2);
    let exponent = exponent as f64;
    2.0 * s + (2.0 * s * series + exponent * LN_2_LOW) + exponent * LN_2_HIGH
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn it_agrees_with_the_systems_own() {
        let mut x = 1e-300;
        while x < 1e300 {
            assert!((ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1.0), "{x}: {} {}", ln(x), x.ln());
            x *= 1.013_7;
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(f64::NAN).is_finite() && ln(0.0).is_finite() && ln(f64::INFINITY).is_finite());
    }
}
