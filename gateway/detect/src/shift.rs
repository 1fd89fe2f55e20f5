//! Level shift: the last ten readings lie away from the last thousand, by more than their
//! distance ever was (an EWMA chart on the series' own record). Smaller than what
//! [`crate::spike`] sees in single readings, and lasting.

use crate::chart::{Rule, Tell, Verdict};
use crate::departure::{Departure, NEAR_PART, Pace, Young};
use crate::finding::{Finding, Kind, Severity, State, amount, duration, number, roughly, time_of_day};
use crate::limits::SCORE_MAX;
use crate::spike::Spike;

/// A mean of ten against one of a thousand readings; half an hour at 1 Hz is the new level.
const SHIFT: Pace = Pace {
    few: 2.0 / 11.0,
    usual: 1e-3,
    rule: Rule { fit: 50, warm: 1_800, least: 6.0, times: 1.5, grow: 5e-3, enter: 5, calm: 30, lasts: 1_800 },
};

/// A mean of two hundred against one of five thousand readings: slow enough that what creeps is
/// still far from where it was.
const DRIFT: Pace = Pace {
    few: 2.0 / 201.0,
    usual: 2e-4,
    rule: Rule { fit: 600, warm: 5_400, least: 6.0, times: 1.5, grow: 5e-4, enter: 30, calm: 60, lasts: 3_600 },
};

/// Independent readings at which twice the limit is asked of a young series.
const YOUNG: f64 = 15.0;
/// Times the limit that is asked at least: the first hours of a day are steeper than its average.
const YOUNG_TIMES: f64 = 1.25;
/// Readings before it speaks at all.
const YOUNG_MIN: u32 = 60;

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
    let jump = match span {
        Span::Short => {
            "; or five readings in a row far beyond all known levels; or a spike of a series that was at one level so far, \
             which stays for five readings, and then until it is back"
        }
        Span::Long => "",
    };
    format!(
        "mean of the last {} readings against that of the last {}: told beyond {} usual distances and {} times the largest known, for \
         {} readings in a row; over after {} calm ones, or {}, which are then usual{jump}",
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
    young: Option<Young>,
    still: bool,
    findings: &mut Vec<Finding>,
) -> bool {
    let (usual, departed, worst) = (of.mean, of.has_departed(), of.worst());
    let verdict = of.observe(span.pace(), value, quantum, tell, young, still);
    if !matches!(verdict, Verdict::Usual | Verdict::Goes | Verdict::Stays) {
        let mut told = finding(span, of, verdict, time_ms, value, usual, quantum, unit);
        if verdict == Verdict::Ends && (of.few - usual).abs() > NEAR_PART * worst * of.sigma(0.0) {
            // Its record of distances let it end. The sensor's step, which counts in those, may have changed since: without
            // it the way that it was away is at least so long.
            let [now, level] = [of.few, usual].map(|value| roughly(value, of.sigma(quantum), unit));
            told.message = format!("{now} is no longer unusually far from {level}");
        }
        findings.push(if departed && verdict == Verdict::Ends { back(told, unit) } else { told });
    }
    matches!(verdict, Verdict::Lasts | Verdict::Stays)
}

/// What was one value so far changes for the first time.
#[cold]
pub(crate) fn begin_anew(of: &mut Departure) {
    of.begin_anew();
}

/// What a shift is judged by before half an hour has shown what is usual: single readings'
/// deviation, of so many that do not depend on each other.
#[inline]
pub(crate) fn young(of: &Departure, by: &Spike, deviation: f64) -> Option<Young> {
    let young = of.is_warming(&SHIFT) && by.seen() >= YOUNG_MIN;
    young.then(|| Young { deviation, times: YOUNG_TIMES + YOUNG / by.independent().max(1.0) })
}

/// A change of level that single readings showed.
pub(crate) struct Jump {
    /// The level before, and how long the series was there, in ms, where that can be said.
    pub(crate) from: f64,
    pub(crate) stayed_ms: Option<i64>,
    /// Event time of the first reading away.
    pub(crate) began_ms: i64,
    /// In usual deviations of a reading.
    pub(crate) times: f64,
}

/// A change of level that single readings showed is told, instead of one under way.
#[cold]
pub(crate) fn begin(
    of: &mut Departure,
    jump: &Jump,
    time_ms: i64,
    value: f64,
    quantum: f64,
    unit: Option<&str>,
    findings: &mut Vec<Finding>,
) {
    restart(Span::Short, of, time_ms, value, quantum, unit, findings);
    of.begin(jump.from, value, quantum);
    let deviation = (value - jump.from).abs() / jump.times.max(1.0);
    let stayed = jump.stayed_ms.map_or(String::new(), |ms| format!(" for {}", duration(ms)));
    let (from, to) = (roughly(jump.from, deviation, unit), amount(value, unit));
    let score = jump.times.min(SCORE_MAX);
    let (since, times) = (time_of_day(jump.began_ms), number((score * 10.0).round() / 10.0));
    findings.push(Finding {
        kind: Kind::Shift,
        severity: Severity::Warning,
        state: State::Active,
        time_ms: jump.began_ms,
        value,
        limit: None,
        score: Some(score),
        baseline: Some(jump.from),
        message: format!("was {from}{stayed}, now {to}, away since {since}: {times} times the usual deviation"),
        contributors: Vec::new(),
    });
}

/// The last readings are beyond all that the series is known for, `from` and `to`, by `least` or more.
#[cold]
#[allow(clippy::too_many_arguments)]
pub(crate) fn depart(
    of: &mut Departure,
    (low, high, least): (f64, f64, f64),
    time_ms: i64,
    value: f64,
    quantum: f64,
    unit: Option<&str>,
    mute: bool,
    findings: &mut Vec<Finding>,
) {
    if of.depart(least, quantum, mute) {
        let mut told = finding(Span::Short, of, Verdict::Begins, time_ms, value, of.mean, quantum, unit);
        let [now, from, to] = [value, low, high].map(|value| roughly(value, (0.1 * least).min(0.99), unit));
        told.message = format!("{now} is far beyond all that it was, which is {from} to {to}");
        findings.push(told);
    }
}

/// The series is back where it was before the shift that was told.
#[cold]
pub(crate) fn end(of: &mut Departure, time_ms: i64, value: f64, quantum: f64, unit: Option<&str>, findings: &mut Vec<Finding>) {
    let (usual, departed) = (of.mean, of.has_departed());
    if of.restart(value) {
        let told = finding(Span::Short, of, Verdict::Ends, time_ms, value, usual, quantum, unit);
        findings.push(if departed { back(told, unit) } else { told });
    }
}

/// The same of an event that began by [`depart`]: it need not have begun at the usual level.
#[cold]
fn back(mut told: Finding, unit: Option<&str>) -> Finding {
    told.message = format!("{} is no longer far beyond all that it was", amount(told.value, unit));
    told
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
    let sigma = of.sigma(quantum);
    let (now, level) = (roughly(of.few, sigma, unit), roughly(usual, sigma, unit));
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
