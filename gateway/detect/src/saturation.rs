//! Saturation: the sensor's range ends, and many readings are one and the same largest (or
//! smallest) value. Of each 64 readings, those equal to their extreme are counted; a share far
//! above what the series ever had is told. Readings that are all equal are [`crate::flatline`]'s.

use crate::chart::{Chart, Rule, Tell, Verdict};
use crate::finding::{Finding, Kind, Severity, State, amount, number};
use serde::{Deserialize, Serialize};

/// Readings looked at together.
const BLOCK: u8 = 64;
/// In blocks: half an hour at 1 Hz teaches; a quarter of the readings is much, and 1.5 times the record.
/// Blocks do not overlap, so the record may grow fast: that of a coarse sensor's first half hour is
/// passed by chance for days.
const RULE: Rule = Rule { fit: 2, warm: 30, least: 0.25, times: 1.5, grow: 0.2, enter: 2, calm: 3, lasts: 120 };

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "share of {BLOCK} readings that equal their largest or smallest: told beyond {} and {} times the largest share known, in {} \
         blocks in a row",
        RULE.least, RULE.times, RULE.enter
    )
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Saturation {
    high: f64,
    low: f64,
    highs: u8,
    lows: u8,
    readings: u8,
    /// Largest share was at the upper end.
    upper: bool,
    chart: Chart,
    /// The series went to another level, or came from one, within the block.
    #[serde(default)]
    moved: bool,
    /// Within the block it rose, and fell.
    #[serde(default)]
    rose: bool,
    #[serde(default)]
    fell: bool,
}

impl Saturation {
    /// Counts one value, which follows another; judges with the last of a block, unless the series `moves` within it: of a
    /// machine that stops, one level's readings are the smallest, and none is cut off.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn observe(
        &mut self,
        time_ms: i64,
        value: f64,
        before: f64,
        unit: Option<&str>,
        mute: bool,
        moves: bool,
        findings: &mut Vec<Finding>,
    ) {
        if self.readings == 0 {
            (self.high, self.low, self.highs, self.lows, self.moved) = (value, value, 0, 0, false);
            (self.rose, self.fell) = (false, false);
        } else {
            (self.rose, self.fell) = (self.rose | (value > before), self.fell | (value < before));
        }
        self.moved |= moves;
        if value > self.high {
            (self.high, self.highs) = (value, 0);
        }
        if value < self.low {
            (self.low, self.lows) = (value, 0);
        }
        self.highs += u8::from(value == self.high);
        self.lows += u8::from(value == self.low);
        self.readings += 1;
        if self.readings == BLOCK {
            self.readings = 0;
            self.judge(time_ms, value, unit, mute, findings);
        }
    }

    fn judge(&mut self, time_ms: i64, value: f64, unit: Option<&str>, mute: bool, findings: &mut Vec<Finding>) {
        // All equal: stuck, not cut off; a share of nothing would teach that all is usual. And what only
        // rises, or falls, has not come to that end before: a counter that rests, a tank that runs out.
        if !(self.rose && self.fell) || self.moved {
            return;
        }
        self.upper = self.highs >= self.lows;
        let share = f64::from(self.highs.max(self.lows)) / f64::from(BLOCK);
        let verdict = self.chart.observe(&RULE, share, if mute { Tell::Never } else { Tell::Now });
        if !matches!(verdict, Verdict::Usual | Verdict::Goes | Verdict::Stays) {
            findings.push(self.finding(verdict, share, time_ms, value, unit));
        }
    }

    #[cold]
    fn finding(&self, verdict: Verdict, share: f64, time_ms: i64, value: f64, unit: Option<&str>) -> Finding {
        let (end, name) = if self.upper { (self.high, "above") } else { (self.low, "below") };
        let (end, percent) = (amount(end, unit), number((100.0 * share).round()));
        let limit = self.chart.limit(&RULE);
        let message = match verdict {
            Verdict::Begins => {
                format!(
                    "cut off at {end}: {percent} % of the last {BLOCK} readings are exactly that and none {name}; {} % would be much",
                    number((100.0 * limit).round())
                )
            }
            Verdict::Ends => format!("no longer cut off: {percent} % of the last {BLOCK} readings are at {end}"),
            _ => format!("{percent} % of the readings at {end} are usual from now on"),
        };
        Finding {
            kind: Kind::Saturation,
            severity: Severity::Warning,
            state: if verdict == Verdict::Begins { State::Active } else { State::Cleared },
            time_ms,
            value,
            limit: None,
            score: Some(share / limit),
            baseline: None,
            message,
            contributors: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers with a standard deviation of one: of each, a quarter of the readings and more.
    fn coarse(series: u64) -> impl FnMut() -> f64 {
        let mut state = series.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        move || {
            let uniform = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            ((0..12).map(uniform).sum::<f64>() - 6.0).round()
        }
    }

    fn tell(saturation: &mut Saturation, values: impl Iterator<Item = f64>) -> Vec<Finding> {
        let (mut out, mut before) = (Vec::new(), 0.0);
        for (at, value) in (0..).zip(values) {
            saturation.observe(at * 1_000, value, before, None, false, false, &mut out);
            before = value;
        }
        out
    }

    #[test]
    fn a_counter_that_rests_and_a_value_that_runs_out_are_not_cut_off() {
        // A reading each 5 s; at rest for eight hours of each night.
        let works = |at: i64| at % 17_280 > 5_760;
        let (mut count, mut flow) = (0.0, 30.0);
        let counter = (0..4 * 17_280).map(|at| {
            count += if works(at) && at % 3 > 0 { 1.0 } else { 0.0 };
            count
        });
        assert_eq!(tell(&mut Saturation::default(), counter), []);
        let flow = (0..4 * 17_280).map(|at| {
            flow = if works(at) { 30.0 + (at * 7_919 % 100) as f64 / 100.0 } else { flow * 0.96 };
            (flow * 100.0).round() / 100.0
        });
        assert_eq!(tell(&mut Saturation::default(), flow), []);
    }

    #[test]
    fn a_coarse_sensor_is_not_cut_off_by_chance_and_one_that_is_cut_off_is_told() {
        let (mut alerts, mut found) = (0, 0);
        for series in 0..20 {
            let (mut saturation, mut value) = (Saturation::default(), coarse(series));
            let out = tell(&mut saturation, (0..2 * 86_400).map(|_| value()));
            alerts += out.iter().filter(|finding| finding.state == State::Active).count();
            let out = tell(&mut saturation, (0..900).map(|_| value().min(0.0)));
            found += usize::from(out.iter().any(|finding| finding.state == State::Active));
        }
        assert!(alerts == 0 && found == 20, "{alerts} alerts in 40 days, {found} found");
    }
}
