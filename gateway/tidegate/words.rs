//! Numbers, times and names as a person reads them.

use serde_json::Value;

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

/// A length of time given in seconds, in two units.
pub fn lasts(s: u64) -> String {
    let (days, rest) = (s / 86_400, s % 86_400);
    let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (1..=3_650, _, _) => format!("{days} d {hours} h"),
        _ => "more than 10 years".to_owned(),
    }
}

/// A text as a terminal may show it: what would move its cursor, begin a line of its own or turn the
/// direction of writing is written out. Names and reasons come from whoever may publish.
pub fn harmless(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        // The last of them are line ends and what turns the direction (Unicode, UAX #9).
        if c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// The same of all texts of a JSON value, for who shows them to a person.
pub fn harmless_json(value: Value) -> Value {
    match value {
        Value::String(text) => harmless(&text).into(),
        Value::Array(all) => all.into_iter().map(harmless_json).collect(),
        Value::Object(all) => all.into_iter().map(|(key, value)| (harmless(&key), harmless_json(value))).collect(),
        other => other,
    }
}

/// So many bytes.
pub fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let (mut size, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// A count with its thousands apart.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_have_the_digits_that_count() {
        let texts = [29.161_428_434_726_17, 95.0, -1_234_567.891, 0.0, 1e12, 1e-7].map(super::number);
        assert_eq!(texts, ["29.1614", "95", "-1234570", "0", "1e12", "1e-7"]);
        assert_eq!([0, 61, 90_061, 1 << 40].map(super::lasts), ["0 s", "1 min 1 s", "1 d 1 h", "more than 10 years"]);
        assert_eq!([29, 3 << 20, 1 << 31].map(super::size), ["29 B", "3.0 MiB", "2.0 GiB"]);
        assert_eq!([0, 999, 1_000, 12_345_678].map(super::count), ["0", "999", "1,000", "12,345,678"]);
        let evil = serde_json::json!({"a\nb": ["x\u{1b}[31m", 7, "\u{202e}é\u{7f}\u{9b}"]});
        assert_eq!(super::harmless_json(evil), serde_json::json!({"a\\nb": ["x\\u{1b}[31m", 7, "\\u{202e}é\\u{7f}\\u{9b}"]}));
        assert_eq!(super::moment(1_700_000_000_000), "2023-11-14T22:13:20Z");
    }
}
