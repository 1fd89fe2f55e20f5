//! Level shift: the last ten readings lie away from the last thousand, by more than their
//! distance ever was (an EWMA chart on the series' own record). Smaller than what
//! [`crate::spike`] sees in single readings, and lasting.

use crate::chart::{Rule, Tell, Verdict};
use crate::departure::{Departure, Pace};
use crate::finding::{Finding, Kind, Severity, State, amount, number};
use crate::limits::SCORE_MAX;

/// A mean of ten against one of a thousand readings; half an hour at 1 Hz is the new level.
const SHIFT: Pace = Pace {
    few: 2.0 / 11.0,
    usual: 1e-3,
    rule: Rule { fit: 100, warm: 1_800, least: 6.0, times: 1.5, grow: 5e-3, enter: 5, calm: 30, lasts: 1_800 },
};

/// A mean of two hundred against one of five thousand readings: slow enough that what creeps is
/// still far from where it was.
const DRIFT: Pace = Pace {
    few: 2.0 / 201.0,
    usual: 2e-4,
    rule: Rule { fit: 600, warm: 5_400, least: 6.0, times: 1.5, grow: 5e-4, enter: 30, calm: 60, lasts: 3_600 },
};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// Within seconds: a shift.
    Short,
    /// Within an hour: a drift.
    Long,
}

impl Span {
    fn pace(self) -> &'static Pace {
        match self {
            Span::Short => &SHIFT,
            Span::Long => &DRIFT,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Span::Short => Kind::Shift,
            Span::Long => Kind::Drift,
        }
    }
}

/// This detector in a sentence.
pub(crate) fn about(span: Span) -> String {
    let Pace { few, usual, rule } = span.pace();
    let readings = |weight: f64| (1.0 / weight).round();
    format!(
        "mean of the last {} readings against that of the last {}: told beyond {} usual distances and {} times the largest known, for \
         {} readings in a row; over after {} calm ones, or {}, which are then usual",
        readings(few / 2.0) - 1.0,
        readings(*usual),
        rule.least,
        rule.times,
        rule.enter,
        rule.calm,
        rule.lasts
    )
}

/// One value through one of the two; whether the level has changed for good.
#[inline]
#[allow(clippy::too_many_arguments)]
pub(crate) fn observe(
    span: Span,
    of: &mut Departure,
    time_ms: i64,
    value: f64,
    quantum: f64,
    unit: Option<&str>,
    tell: Tell,
    findings: &mut Vec<Finding>,
) -> bool {
    let usual = of.mean;
    let verdict = of.observe(span.pace(), value, quantum, tell);
    if !matches!(verdict, Verdict::Usual | Verdict::Goes | Verdict::Stays) {
        findings.push(finding(span, of, verdict, time_ms, value, usual, quantum, unit));
    }
    matches!(verdict, Verdict::Lasts | Verdict::Stays)
}

/// The series is elsewhere from now on.
#[cold]
pub(crate) fn restart(
    span: Span,
    of: &mut Departure,
    time_ms: i64,
    value: f64,
    quantum: f64,
    unit: Option<&str>,
    findings: &mut Vec<Finding>,
) {
    if of.restart(value) {
        let usual = of.mean;
        findings.push(finding(span, of, Verdict::Lasts, time_ms, value, usual, quantum, unit));
    }
}

#[cold]
#[allow(clippy::too_many_arguments)]
fn finding(
    span: Span,
    of: &Departure,
    verdict: Verdict,
    time_ms: i64,
    value: f64,
    usual: f64,
    quantum: f64,
    unit: Option<&str>,
) -> Finding {
    let (now, level, sigma) = (amount(of.few, unit), amount(usual, unit), of.sigma(quantum));
    let away = number(((of.few - usual).abs() / sigma * 10.0).round() / 10.0);
    let message = match (verdict, span) {
        (Verdict::Begins, Span::Short) => format!("shifted from the usual {level} to {now}, {away} times as far as it usually strays"),
        (Verdict::Begins, Span::Long) => format!("drifted from the usual {level} to {now}, {away} times as far as it usually strays"),
        (Verdict::Ends, _) => format!("{now} is near the usual {level} again"),
        _ => format!("{now} is the new level"),
    };
    Finding {
        kind: span.kind(),
        severity: Severity::Warning,
        state: if verdict == Verdict::Begins { State::Active } else { State::Cleared },
        time_ms,
        value,
        limit: None,
        score: Some(of.score(span.pace(), quantum).min(SCORE_MAX)),
        baseline: Some(usual),
        message,
        contributors: Vec::new(),
    }
}
