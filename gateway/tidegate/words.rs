//! Numbers and times as a person reads them.

/// A number with six significant digits: what a sensor measures has no more.
pub fn number(value: f64) -> String {
    let value: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    let size = value.abs();
    if size == 0.0 || (1e-4..1e9).contains(&size) { value.to_string() } else { format!("{value:e}") }
}

/// A time, to what precision it has.
pub fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_have_the_digits_that_count() {
        let texts = [29.161_428_434_726_17, 95.0, -1_234_567.891, 0.0, 1e12, 1e-7].map(super::number);
        assert_eq!(texts, ["29.1614", "95", "-1234570", "0", "1e12", "1e-7"]);
        assert_eq!(super::moment(1_700_000_000_000), "2023-11-14T22:13:20Z");
    }
}
