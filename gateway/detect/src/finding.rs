//! What a detector says.

use schemas::message::Contributor;
use serde::{Deserialize, Serialize};

/// What kind of trouble (contract §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Above the upper critical limit.
    HighHigh,
    /// Above the upper warning limit.
    High,
    /// Below the lower warning limit.
    Low,
    /// Below the lower critical limit.
    LowLow,
    /// Rises or falls much faster than usual.
    Rate,
    /// Suddenly far from the usual level.
    Spike,
    /// Does not move any more.
    Flatline,
    /// Readings do not come any more.
    Silence,
    /// Lies elsewhere than before.
    Shift,
    /// Creeps away from where it was.
    Drift,
    /// Jumps about more than usual.
    Noise,
    /// Cut off at the end of its range.
    Saturation,
    /// A machine's channels, one or together, far from what is usual.
    Group,
    /// Unlike anything that the series showed before.
    Novelty,
    /// Readings come, but fewer than usual.
    Cadence,
    /// Event time runs backwards, or leaps.
    Clock,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 16] = [
        Kind::HighHigh,
        Kind::High,
        Kind::Low,
        Kind::LowLow,
        Kind::Rate,
        Kind::Spike,
        Kind::Flatline,
        Kind::Silence,
        Kind::Shift,
        Kind::Drift,
        Kind::Noise,
        Kind::Saturation,
        Kind::Group,
        Kind::Novelty,
        Kind::Cadence,
        Kind::Clock,
    ];

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether a configured limit says it, not what was learnt.
    pub fn is_limit(self) -> bool {
        matches!(self, Kind::HighHigh | Kind::High | Kind::Low | Kind::LowLow)
    }

    /// Its name in topics and alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::HighHigh => "high-high",
            Kind::High => "high",
            Kind::Low => "low",
            Kind::LowLow => "low-low",
            Kind::Rate => "rate",
            Kind::Spike => "spike",
            Kind::Flatline => "flatline",
            Kind::Silence => "silence",
            Kind::Shift => "shift",
            Kind::Drift => "drift",
            Kind::Noise => "noise",
            Kind::Saturation => "saturation",
            Kind::Group => "group",
            Kind::Novelty => "novelty",
            Kind::Cadence => "cadence",
            Kind::Clock => "clock",
        }
    }
}

/// How bad; the number is the one on the wire (`AlertBody::severity`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Someone must act now.
    Critical = 0,
    /// Someone should look.
    Warning = 1,
    /// Good to know.
    Info = 2,
}

impl Severity {
    /// Its name in topics.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// Whether it began or ended; the number is the one on the wire (`AlertBody::state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// It began.
    Active = 0,
    /// It ended.
    Cleared = 1,
}

impl State {
    /// Its name in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Cleared => "cleared",
        }
    }
}

/// One change of one detector's mind. For each series and kind they alternate: active,
/// cleared, active, …
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// Began or ended.
    pub state: State,
    /// Event time in ms since the Unix epoch; for silence the logged clock.
    pub time_ms: i64,
    /// The value that decided, in the series' unit; the last one where none came.
    pub value: f64,
    /// The limit passed, in the series' unit, where there is one.
    pub limit: Option<f64>,
    /// How unusual, in times the usual (robust standard deviations, or the usual run or gap),
    /// where the detector says; at most [`crate::limits::SCORE_MAX`].
    pub score: Option<f64>,
    /// What was expected, where the detector says: the usual level (spike), rate per second
    /// (rate), run of equal values (flatline), gap in seconds (silence, cadence).
    pub baseline: Option<f64>,
    /// One plain sentence with numbers and unit.
    pub message: String,
    /// Series that contribute most, most first, where several were watched together.
    #[serde(default)]
    pub contributors: Vec<Contributor>,
}

/// A number for a sentence, rounded to six significant digits; the same text on every platform.
pub(crate) fn number(value: f64) -> String {
    // Rust's own decimal conversion rounds exactly; a logarithm could differ between platforms.
    let rounded = format!("{value:.5e}").parse().unwrap_or(value);
    plain(rounded)
}

/// A number of which the size matters, and no more: two significant digits.
pub(crate) fn brief(value: f64) -> String {
    plain(format!("{value:.1e}").parse().unwrap_or(value))
}

fn plain(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if (1e-4..1e9).contains(&size) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

/// Two numbers that a sentence compares: never the same text for different numbers.
pub(crate) fn compared(a: f64, b: f64) -> (String, String) {
    let (short_a, short_b) = (number(a), number(b));
    if short_a == short_b && a != b {
        return (plain(a), plain(b));
    }
    (short_a, short_b)
}

/// A number's text with its unit.
pub(crate) fn with_unit(number: &str, unit: Option<&str>) -> String {
    match unit {
        Some(unit) => format!("{number} {unit}"),
        None => number.to_owned(),
    }
}

/// A number of which no more digits matter than its deviation has, with its unit.
pub(crate) fn roughly(value: f64, deviation: f64, unit: Option<&str>) -> String {
    // Below, and above, the six digits of any number are few enough.
    if !(1e-6..1.0).contains(&deviation) {
        return amount(value, unit);
    }
    let mut steps = 1.0;
    while steps * deviation < 1.0 {
        steps *= 10.0;
    }
    let rounded = (value * steps).round() / steps;
    amount(if rounded.is_finite() { rounded } else { value }, unit)
}

/// A number with its unit.
pub(crate) fn amount(value: f64, unit: Option<&str>) -> String {
    with_unit(&number(value), unit)
}

/// A duration for a sentence: at most three digits of the unit that suits it.
pub(crate) fn duration(ms: i64) -> String {
    let tenths = |unit_ms: i64, name: &str| {
        let tenths = ms / (unit_ms / 10);
        match tenths % 10 {
            part if part == 0 || tenths >= 1_000 => format!("{} {name}", tenths / 10),
            part => format!("{}.{part} {name}", tenths / 10),
        }
    };
    match ms {
        ..1_000 => format!("{} ms", ms.max(0)),
        1_000..120_000 => tenths(1_000, "s"),
        120_000..7_200_000 => tenths(60_000, "min"),
        7_200_000..172_800_000 => tenths(3_600_000, "h"),
        _ => tenths(86_400_000, "days"),
    }
}

/// The time of day (UTC) of a moment, for a sentence.
pub(crate) fn time_of_day(ms: i64) -> String {
    let second = ms.rem_euclid(86_400_000) / 1_000;
    format!("{:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_a_person_would_write_them() {
        let texts = [97.2, 95.0, 0.1 + 0.2, -1234567.891, 1e12, 0.0, -0.0, 1e-7, 5e-324, 1e308];
        let texts = texts.map(number);
        let expected = ["97.2", "95", "0.3", "-1234570", "1e12", "0", "0", "1e-7", "5e-324", "1e308"];
        assert_eq!(texts, expected);
        assert_eq!(compared(95.000_000_1, 95.0), ("95.0000001".into(), "95".into()));
        assert_eq!(amount(97.2, Some("°C")), "97.2 °C");
        assert_eq!([0.3, 1.0, 0.03, 5.0].map(|deviation| roughly(21.5172, deviation, None)), ["21.5", "21.5172", "21.52", "21.5172"]);
    }

    #[test]
    fn durations_have_a_unit_that_suits_them() {
        let texts = [-5, 250, 1_000, 1_500, 61_234, 300_000, 9_000_000, 864_000_000];
        let texts = texts.map(duration);
        let expected = ["0 ms", "250 ms", "1 s", "1.5 s", "61.2 s", "5 min", "2.5 h", "10 days"];
        assert_eq!(texts, expected);
        assert!(!duration(i64::MAX).is_empty());
        assert_eq!([0, 1_700_000_000_000, -1].map(time_of_day), ["00:00:00 UTC", "22:13:20 UTC", "23:59:59 UTC"]);
    }
}
