//! What happens when, and which alert must find what was done to a machine. Pure.
//!
//! Times are ms since the first reading. The learning detectors need some 60 readings before they speak, so
//! nothing is wrong before [`LEARNING_MS`]; what follows is spread over the rest of the run.

use std::time::Duration;

/// Between two readings of a sensor: fast enough that detectors have learnt within [`LEARNING_MS`].
pub const PERIOD_MS: i64 = 50;
/// How long machines run as they should: 72 readings, and 60 is what the detectors ask for.
pub const LEARNING_MS: i64 = 3_600;
/// The shortest run: a stuck sensor is told after 60 equal readings, which must fit behind the learning.
pub const RUN_MIN: Duration = Duration::from_secs(8);
/// The longest: the comparison keeps every window in memory.
pub const RUN_MAX: Duration = Duration::from_secs(3_600);
/// Gateways at most: each is a process with a log of its own, and names are letters.
pub const GATEWAYS_MAX: usize = 16;
/// How long a stuck sensor is stuck: 70 readings.
const STUCK_MS: i64 = 3_500;
/// An alert's time may lie so long after the end of its fault: detectors decide a few readings later.
const SLACK_MS: i64 = 1_000;
/// Silence is called after 10 s at the earliest, and after as long again when the machine was too busy to tell.
const SILENCE_SLACK_MS: i64 = 25_000;

/// What a fault does to the values of its sensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Adds this much while it lasts.
    Offset(f64),
    /// Climbs by this much with every reading for half of its time, and comes back.
    Ramp(f64),
    /// Repeats one value.
    Stuck,
    /// Sends nothing any more.
    Silent,
}

/// One fault, and the kind of alert that must find it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Index of the gateway.
    pub gateway: usize,
    /// Series that it happens to.
    pub series: String,
    /// Kind of the alert that must find it.
    pub kind: &'static str,
    /// The kind that may find it instead.
    pub or: Option<&'static str>,
    /// What it does.
    pub shape: Shape,
    /// First moment.
    pub from_ms: i64,
    /// First moment after it.
    pub to_ms: i64,
    /// What happens, for a person.
    pub what: &'static str,
}

impl Fault {
    /// Whether the fault shows in a reading of this moment.
    pub fn is_on(&self, at_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&at_ms)
    }

    /// The kinds of alert that may find it, for a person.
    pub fn expected(&self) -> String {
        self.or.map_or(self.kind.to_owned(), |or| format!("{} or {or}", self.kind))
    }

    /// Whether an alert that began at `at_ms` on `series` finds this fault.
    pub fn is_found_by(&self, series: &str, kind: &str, at_ms: i64) -> bool {
        let slack_ms = if self.shape == Shape::Silent { SILENCE_SLACK_MS } else { SLACK_MS };
        self.series == series && (self.kind == kind || self.or == Some(kind)) && (self.from_ms..=self.to_ms + slack_ms).contains(&at_ms)
    }
}

/// The whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Names of the gateways.
    pub gateways: Vec<String>,
    /// How long machines send.
    pub run_ms: i64,
    /// When the first gateway's link is cut, and when it is restored.
    pub outage_ms: (i64, i64),
    /// When the last gateway is killed, and when it is started again.
    pub kill_ms: (i64, i64),
    /// What goes wrong with the machines, by time.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// A plan for a run of this length; `gateways` from 1 to [`GATEWAYS_MAX`].
    pub fn new(run: Duration, gateways: usize) -> Self {
        let run_ms = i64::try_from(run.as_millis()).unwrap_or(i64::MAX);
        // Whole readings, so that a fault begins with one.
        let at = |percent: i64| (LEARNING_MS + (run_ms - LEARNING_MS) * percent / 100) / PERIOD_MS * PERIOD_MS;
        let outage_ms = (at(22), at(50));
        let killed = at(62);
        let kill_ms = (killed, killed + 500 + (run_ms - LEARNING_MS) / 25);
        let (first, last) = (0, gateways - 1);
        let series = |gateway: usize, name: &str| format!("line{}/{name}", gateway + 1);
        let fault = |gateway, name, kind, shape, from_ms, lasts_ms, what| Fault {
            gateway,
            series: series(gateway, name),
            kind,
            // A climb whose first steps leave all that the series ever did is told as a shift: one event, one alert.
            or: (kind == "rate").then_some("shift"),
            shape,
            from_ms,
            to_ms: from_ms + lasts_ms,
            what,
        };
        let mut faults = vec![
            fault(first, "pump2/flow", "flatline", Shape::Stuck, LEARNING_MS, STUCK_MS, "the flow sensor is stuck at one value"),
            fault(first, "press1/vibration", "spike", Shape::Offset(4.0), at(2), PERIOD_MS, "one single shock of 4 mm/s"),
            fault(last, "pump2/power", "silence", Shape::Silent, at(5), run_ms, "the power meter dies and sends nothing any more"),
            fault(first, "press1/temperature", "high-high", Shape::Offset(28.0), at(6), 500, "the press overheats for half a second"),
            fault(first, "pump2/temperature", "high-high", Shape::Offset(40.0), at(30), 500, "the pump overheats while the link is down"),
            fault(first, "press1/pressure", "rate", Shape::Ramp(0.06), at(36), 2_000, "the hydraulic pressure climbs too fast"),
            fault(
                first,
                "press1/temperature",
                "high-high",
                Shape::Offset(29.0),
                outage_ms.1 + 300,
                500,
                "the press overheats again, just after the link is back",
            ),
            fault(last, "press1/oil", "low-low", Shape::Offset(-3.5), killed + 150, 600, "oil pressure is lost while the gateway is dead"),
            fault(last, "press1/vibration", "spike", Shape::Offset(6.0), at(86), PERIOD_MS, "one single shock of 6 mm/s"),
        ];
        faults.sort_by_key(|fault| fault.from_ms);
        let gateways = (b'a'..=b'z').take(gateways).map(|letter| format!("plant-{}", char::from(letter))).collect();
        Self { gateways, run_ms, outage_ms, kill_ms, faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_fits_into_the_shortest_and_the_longest_run() {
        for (run, gateways) in [(RUN_MIN, 1), (RUN_MIN, 2), (Duration::from_secs(30), 2), (RUN_MAX, GATEWAYS_MAX)] {
            let plan = Plan::new(run, gateways);
            assert_eq!(plan.gateways.len(), gateways);
            assert!(plan.outage_ms.0 < plan.outage_ms.1 && plan.outage_ms.1 < plan.kill_ms.0);
            assert!(plan.kill_ms.0 < plan.kill_ms.1 && plan.kill_ms.1 < plan.run_ms);
            for fault in &plan.faults {
                assert!(fault.from_ms >= LEARNING_MS && fault.from_ms % PERIOD_MS == 0, "{fault:?}");
                assert!(fault.shape == Shape::Silent || fault.to_ms < plan.run_ms, "{fault:?} of {run:?}");
                assert!(fault.gateway < gateways && fault.series.starts_with(&format!("line{}/", fault.gateway + 1)));
            }
            // An alert must tell which fault it found.
            for (i, a) in plan.faults.iter().enumerate() {
                for b in &plan.faults[i + 1..] {
                    assert!(!(a.series == b.series && a.kind == b.kind) || a.to_ms + SLACK_MS < b.from_ms, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn something_goes_wrong_during_the_outage_behind_it_and_while_the_gateway_is_dead() {
        let plan = Plan::new(Duration::from_secs(30), 2);
        let begins_in =
            |from: i64, to: i64, gateway: usize| plan.faults.iter().any(|f| f.gateway == gateway && (from..to).contains(&f.from_ms));
        assert!(begins_in(plan.outage_ms.0, plan.outage_ms.1, 0));
        assert!(begins_in(plan.outage_ms.1, plan.outage_ms.1 + 500, 0));
        assert!(begins_in(plan.kill_ms.0, plan.kill_ms.1, 1));
        assert!(begins_in(plan.kill_ms.1, plan.run_ms, 1));
    }

    #[test]
    fn an_alert_finds_a_fault_only_on_its_series_with_its_kind_and_in_its_time() {
        let plan = Plan::new(Duration::from_secs(30), 2);
        let spike = plan.faults.iter().find(|f| f.kind == "spike").unwrap();
        assert!(spike.is_found_by("line1/press1/vibration", "spike", spike.from_ms));
        assert!(!spike.is_found_by("line2/press1/vibration", "spike", spike.from_ms));
        assert!(!spike.is_found_by("line1/press1/vibration", "shift", spike.from_ms));
        let climb = plan.faults.iter().find(|f| f.kind == "rate").unwrap();
        assert!(["rate", "shift"].iter().all(|kind| climb.is_found_by("line1/press1/pressure", kind, climb.from_ms)));
        assert!(!climb.is_found_by("line1/press1/pressure", "spike", climb.from_ms));
        assert!(!spike.is_found_by("line1/press1/vibration", "spike", spike.from_ms - 1));
        assert!(!spike.is_found_by("line1/press1/vibration", "spike", spike.to_ms + SLACK_MS + 1));
    }
}
