//! What a detector says.

use serde::{Deserialize, Serialize};

/// What kind of trouble (contract §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Kind {
    HighHigh,
    High,
    Low,
    LowLow,
    Rate,
    Spike,
    Flatline,
    Silence,
}

impl Kind {
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
        }
    }
}

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Severity {
    Critical = 0,
    Warning = 1,
    Info = 2,
}

/// Whether it began or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum State {
    Active = 0,
    Cleared = 1,
}

/// One change of one detector's mind.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// Began or ended.
    pub state: State,
    /// Event time in ms since the Unix epoch.
    pub time_ms: i64,
    /// The value that decided.
    pub value: f64,
    /// The limit passed, where there is one.
    pub limit: Option<f64>,
    /// How far from usual, in robust standard deviations, where the detector says.
    pub score: Option<f64>,
    /// What was expected, where the detector says.
    pub baseline: Option<f64>,
    /// One sentence, with numbers and units.
    pub message: String,
}

/// A number for a sentence: at most five significant digits.
pub(crate) fn number(v: f64) -> String {
    if v == 0.0 || (1e-3..1e7).contains(&v.abs()) {
        let decimals = if v == 0.0 { 0 } else { (4 - v.abs().log10().floor() as i32).clamp(0, 7) };
        let text = format!("{v:.*}", decimals as usize);
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return text.to_owned();
    }
    format!("{v:.4e}")
}

/// A number with its unit.
pub(crate) fn amount(v: f64, unit: Option<&str>) -> String {
    match unit {
        Some(unit) => format!("{} {unit}", number(v)),
        None => number(v),
    }
}

/// A duration for a sentence.
pub(crate) fn duration(ms: i64) -> String {
    match ms {
        ..10_000 => format!("{} s", number(ms as f64 / 1e3)),
        10_000..600_000 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    }
}
