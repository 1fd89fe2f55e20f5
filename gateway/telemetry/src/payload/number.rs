//! A JSON number in place, rounded correctly.

/// A number and what comes of it.
pub(super) struct Number {
    /// The nearest double; infinite where it overflows.
    pub(super) value: f64,
    /// The number itself, where it was written without decimals and exponent and fits.
    pub(super) whole: Option<i64>,
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// Digits that always fit a `u64`.
const DIGITS_MAX: usize = 19;

/// Scans a number as JSON writes it (RFC 8259, 6), from `at` on; `None` if there is none.
///
/// With a mantissa below 2^53 and at most 22 decimals, mantissa and power of ten are exact
/// and one division rounds correctly (Clinger 1990); the rest is left to the standard library.
pub(super) fn scan(bytes: &[u8], at: &mut usize) -> Option<Number> {
    let start = *at;
    let negative = bytes.get(*at) == Some(&b'-');
    *at += usize::from(negative);
    let mut mantissa = 0u64;
    let leading = *at;
    digits(bytes, at, &mut mantissa);
    let whole_digits = *at - leading;
    if whole_digits == 0 || (whole_digits > 1 && bytes[leading] == b'0') {
        return None;
    }
    let mut decimals = 0;
    if bytes.get(*at) == Some(&b'.') {
        *at += 1;
        let from = *at;
        digits(bytes, at, &mut mantissa);
        decimals = *at - from;
        if decimals == 0 {
            return None;
        }
    }
    let exponent = matches!(bytes.get(*at), Some(b'e' | b'E'));
    if exponent {
        *at += 1;
        *at += usize::from(matches!(bytes.get(*at), Some(b'+' | b'-')));
        let from = *at;
        digits(bytes, at, &mut 0);
        if *at == from {
            return None;
        }
    }
    // Beyond this the mantissa may have wrapped.
    let fits = !exponent && whole_digits + decimals <= DIGITS_MAX;
    let magnitude = i64::try_from(mantissa).ok().filter(|_| fits && decimals == 0);
    // "-0" is no whole number: the double keeps its sign.
    let whole = if negative { magnitude.filter(|m| *m != 0).map(|m| -m) } else { magnitude };
    let value = if fits && mantissa < 1 << 53 {
        let value = mantissa as f64 / POWERS[decimals];
        if negative { -value } else { value }
    } else {
        std::str::from_utf8(&bytes[start..*at]).ok()?.parse().ok()?
    };
    Some(Number { value, whole })
}

/// Passes digits; beyond [`DIGITS_MAX`] the mantissa wraps.
fn digits(bytes: &[u8], at: &mut usize, mantissa: &mut u64) {
    while let Some(digit) = bytes.get(*at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        *at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What serde_json, which rounds correctly, reads; both or neither.
    fn agrees(text: &str) {
        let mut at = 0;
        let ours = scan(text.as_bytes(), &mut at).filter(|_| at == text.len());
        let ours = ours.filter(|n| n.value.is_finite());
        let theirs: Option<serde_json::Number> = serde_json::from_str(text).ok();
        let bits = |n: &serde_json::Number| n.as_f64().map(f64::to_bits);
        assert_eq!(ours.as_ref().map(|n| n.value.to_bits()), theirs.as_ref().and_then(bits), "{text}");
        let whole = theirs.and_then(|n| n.as_i64());
        assert_eq!(ours.and_then(|n| n.whole), whole, "{text}");
    }

    #[test]
    fn edges_of_the_fast_rounding() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "00",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "1E5",
            "1e-5",
            "0.1",
            "9007199254740991",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.0",
            "900719925474099.3",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775807",
            "18446744073709551615",
            "18446744073709551616",
            "1700000000123999999",
            "0.0000000000000000001",
            "0.00000000000000000001",
            "1.7976931348623157e308",
            "1.7976931348623159e308",
            "1e400",
            "5e-324",
            "2e-324",
            "1e-400",
            "123456789012345678901234567890",
            "0.30000000000000004",
            "8.5e1",
            "1x",
        ] {
            agrees(text);
        }
    }

    proptest! {
        #[test]
        fn any_double_reads_as_serde_json_reads_it(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            agrees(&format!("{value}"));
            agrees(&format!("{value:e}"));
        }

        #[test]
        fn any_digits_read_as_serde_json_reads_them(text in "-?[0-9]{1,22}(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?") {
            agrees(&text);
        }

        #[test]
        fn any_text_stops_without_harm(bytes: Vec<u8>) {
            let mut at = 0;
            let _ = scan(&bytes, &mut at);
            prop_assert!(at <= bytes.len());
        }
    }
}
