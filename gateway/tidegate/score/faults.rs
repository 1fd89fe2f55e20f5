//! `tidegate score faults`: known faults in generated series, through the detectors of a series
//! with their defaults: how many are found, how fast, and how often series without a fault alarm.

mod calendar;
mod plant;
mod rest;
mod several;

use crate::outcome::{Failure, print};
use calendar::CALENDARS;
use detect::{Finding, Settings, State, Watch};
use plant::{BASELINES, Baseline, FAULTS, Fault, Injected, Source};
use std::collections::BTreeMap;

/// Readings before a fault: detectors may learn for so long.
const BEFORE: usize = 7_200;
/// Readings after its end that still count as its own: an event's alert may come at its end.
const AFTER: usize = 30;
/// Readings that a range's end must cut off to show: two blocks of what detectors look at.
const CHANGED_MIN: usize = 128;
/// Seeds begin here; those of the quiet series are others.
const SEED: u64 = 1_000;
const QUIET_SEED: u64 = 900_000;
const CALENDAR_SEED: u64 = 600_000;

/// `[--sigma 6] [--trials 20] [--days 25]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Size of a fault, in standard deviations of its series.
    #[arg(long, default_value_t = 6.0)]
    sigma: f64,

    /// Faults of each class in each kind of series.
    #[arg(long, default_value_t = 20)]
    trials: u64,

    /// Days without a fault, each of another series of each kind.
    #[arg(long, default_value_t = 25)]
    days: u64,
}

/// One kind of series under one class of fault.
#[derive(Default)]
struct Found {
    found: u64,
    trials: u64,
    /// The same, of those faults that show.
    found_shown: u64,
    shown: u64,
    /// Which detectors spoke first, and how often.
    by: BTreeMap<&'static str, u64>,
    delays: Vec<usize>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut header = format!("{:14}", "");
    FAULTS.iter().for_each(|fault| header += &format!(" {:>10}", fault.name()));
    print(&format!("faults of {} standard deviations: found, %", arguments.sigma))?;
    print(&header)?;
    let mut classes: Vec<Found> = FAULTS.iter().map(|_| Found::default()).collect();
    for baseline in BASELINES {
        let mut line = format!("{:14}", baseline.name());
        for (fault, class) in FAULTS.into_iter().zip(&mut classes) {
            let mut found = 0;
            for trial in 0..arguments.trials {
                let (told, shows) = first(baseline, fault, arguments.sigma, SEED + trial);
                class.shown += u64::from(shows);
                class.found_shown += u64::from(shows && told.is_some());
                if let Some((at, kind)) = told {
                    found += 1;
                    class.delays.push(at);
                    *class.by.entry(kind).or_default() += 1;
                }
            }
            class.found += found;
            class.trials += arguments.trials;
            line += &format!(" {:>10.0}", share(found, arguments.trials));
        }
        print(&line)?;
    }
    let line = |name: &str, cell: &dyn Fn(&Found) -> String| {
        classes.iter().fold(format!("{name:14}"), |line, class| line + &format!(" {:>10}", cell(class)))
    };
    print(&line("all", &|class| format!("{:.1}", share(class.found, class.trials))))?;
    print(&line("that show", &|class| format!("{:.1}", share(class.found_shown, class.shown))))?;
    print(&line("  how many", &|class| class.shown.to_string()))?;
    print(&line("readings to it", &|class| median(&class.delays).map_or("-".to_owned(), |at| at.to_string())))?;
    for (fault, class) in FAULTS.iter().zip(&classes) {
        print(&format!("  {:10} first told by {}", fault.name(), list(&class.by)))?;
    }
    let (found, trials) = classes.iter().fold((0, 0), |(found, trials), class| (found + class.found, trials + class.trials));
    print(&format!("found in all: {:.1} % of {trials}", share(found, trials)))?;
    quiet(arguments.days)?;
    calendars(arguments.days.div_ceil(CALENDARS.len() as u64))?;
    rest::run(arguments.sigma, arguments.trials, arguments.days)?;
    several::run(arguments.sigma, arguments.trials)
}

/// Alerts on machines that rest at night and at the weekend, and that do the same again and
/// again: while that is seen for the first time, and from then on.
fn calendars(each: u64) -> Result<(), Failure> {
    print(&format!("\nwhat comes back, {each} series each: alerts while it is first seen (a week, a day), and after, by whom"))?;
    for calendar in CALENDARS {
        let mut by: [BTreeMap<&'static str, u64>; 2] = Default::default();
        for seed in 0..each {
            let mut watch = Settings::default().watch("line/machine/series", None);
            let mut out = Vec::new();
            for (now_ms, day, value) in calendar::readings(calendar, CALENDAR_SEED + seed) {
                if let Some(due) = watch.due().filter(|due| *due <= now_ms) {
                    watch.tick(due, &mut out);
                }
                watch.observe(now_ms, now_ms, value, &mut out);
                for finding in out.drain(..).filter(|finding| finding.state == State::Active) {
                    *by[usize::from(day >= calendar.seen_days())].entry(finding.kind.as_str()).or_default() += 1;
                }
            }
        }
        let [first, after] = &by;
        let count = |by: &BTreeMap<_, u64>| by.values().sum::<u64>();
        print(&format!("{:14} {:6} {:6}  {}; {}", calendar.name(), count(first), count(after), list(first), list(after)))?;
    }
    Ok(())
}

fn list(by: &BTreeMap<&'static str, u64>) -> String {
    by.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

/// Alerts on series without a fault: on their first day, when everything is seen for the first
/// time, and on the day after.
fn quiet(days: u64) -> Result<(), Failure> {
    print(&format!("\nwithout faults, {days} sensor-days each: alerts on the first day, on the second, by whom"))?;
    let mut total = [0; 2];
    for baseline in BASELINES {
        let mut count = [0; 2];
        let mut by: [BTreeMap<&'static str, u64>; 2] = Default::default();
        for seed in 0..days {
            let mut series = Series::new(baseline, QUIET_SEED + seed);
            for (count, by) in count.iter_mut().zip(&mut by) {
                series.out.clear();
                (0..86_400_000 / baseline.cadence_ms()).for_each(|_| series.pass(None));
                for finding in series.out.iter().filter(|finding| finding.state == State::Active) {
                    *count += 1;
                    *by.entry(finding.kind.as_str()).or_default() += 1;
                }
            }
        }
        let [first, second] = by.map(|by| list(&by));
        print(&format!("{:14} {:6} {:6}  {first}; {second}", baseline.name(), count[0], count[1]))?;
        (0..2).for_each(|day| total[day] += count[day]);
    }
    let sensor_days = days * BASELINES.len() as u64;
    let rate = |count| share(count, sensor_days);
    print(&format!("false alerts for each 100 sensor-days: {:.2} on first days, {:.2} after", rate(total[0]), rate(total[1])))
}

/// When and by whom a fault was first told: readings after it began, and the detector's name.
/// And whether it shows at all: a spike, a shift or a drift that stays within what the series
/// did in the two hours before, or a range that ends where no value would have gone, is none
/// that anyone could tell.
fn first(baseline: Baseline, fault: Fault, sigma: f64, seed: u64) -> (Option<(usize, &'static str)>, bool) {
    let mut series = Series::new(baseline, seed);
    // Not at the same moment of every series.
    let before = BEFORE + (seed as usize * 7_919) % 1_800;
    for _ in 0..before {
        series.pass(None);
    }
    series.out.clear();
    let mut injected = Injected::new(fault, baseline, sigma, seed);
    let range = series.range;
    let mut told = None;
    for at in 0..fault.readings() + AFTER {
        series.pass((at < fault.readings()).then_some((at, &mut injected)));
        if let Some(finding) = series.out.iter().find(|finding| finding.state == State::Active) {
            told = told.or(Some((at, finding.kind.as_str())));
        }
    }
    let shows = match fault {
        Fault::Spike | Fault::Shift | Fault::Drift => series.range != range,
        Fault::Saturation => series.changed >= CHANGED_MIN,
        Fault::Stuck | Fault::Noise | Fault::Silence => true,
    };
    (told, shows)
}

/// A generated series and its detectors.
struct Series {
    source: Source,
    /// Smallest and largest value that the sensor told, with or without a fault.
    range: (f64, f64),
    /// Readings that a fault changed.
    changed: usize,
    watch: Watch,
    out: Vec<Finding>,
}

impl Series {
    fn new(baseline: Baseline, seed: u64) -> Self {
        Self {
            source: Source::new(baseline, seed),
            range: (f64::MAX, f64::MIN),
            changed: 0,
            watch: Settings::default().watch("line/machine/series", None),
            out: Vec::new(),
        }
    }

    /// One reading's time passes; with a fault, `at` readings after it began.
    fn pass(&mut self, fault: Option<(usize, &mut Injected)>) {
        let (now_ms, value) = self.source.next();
        if self.watch.due().is_some_and(|due| due <= now_ms) {
            // A gateway's clock ticks when something is due.
            let due = self.watch.due().unwrap_or(now_ms);
            self.watch.tick(due, &mut self.out);
        }
        let faulty = match fault {
            Some((at, injected)) => injected.apply(at, value),
            None => Some(value),
        };
        if let Some(faulty) = faulty {
            let seen = self.source.rounded(faulty);
            self.range = (self.range.0.min(seen), self.range.1.max(seen));
            self.changed += usize::from(faulty != value);
            self.watch.observe(now_ms, now_ms, seen, &mut self.out);
        }
    }

    /// One reading that has nothing to do with the series.
    fn tell(&mut self, value: f64) {
        let (now_ms, _) = self.source.next();
        self.watch.observe(now_ms, now_ms, value, &mut self.out);
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn median(of: &[usize]) -> Option<usize> {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_series_and_a_fault_changes_only_what_it_is_about() {
        let values = |seed| {
            let mut source = Source::new(Baseline::SetPoints, seed);
            (0..500).map(|_| source.next()).collect::<Vec<_>>()
        };
        assert_eq!(values(1), values(1));
        assert_ne!(values(1), values(2));
        let mut stuck = Injected::new(Fault::Stuck, Baseline::Steady, 6.0, 1);
        assert_eq!([stuck.apply(0, 3.0), stuck.apply(1, 4.0)], [Some(3.0), Some(3.0)]);
        let mut silence = Injected::new(Fault::Silence, Baseline::Steady, 6.0, 1);
        assert_eq!(silence.apply(0, 3.0), None);
        let mut drift = Injected::new(Fault::Drift, Baseline::Steady, 6.0, 1);
        assert_eq!(drift.apply(0, 3.0), Some(3.0));
        assert!((drift.apply(2_399, 3.0).unwrap() - 3.0).abs() > 1.7);
    }

    #[test]
    fn the_size_that_faults_are_measured_by_is_that_of_the_series() {
        for baseline in BASELINES {
            let mut source = Source::new(baseline, 5);
            // A week, so that days, tanks and set points are seen whole.
            let count = 7 * 86_400_000 / baseline.cadence_ms();
            let values = (0..count).map(|_| source.next().1).collect::<Vec<_>>();
            let mean = values.iter().sum::<f64>() / count as f64;
            let sigma = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64).sqrt();
            assert!((0.8..1.25).contains(&(sigma / baseline.sigma())), "{}: {sigma} {}", baseline.name(), baseline.sigma());
        }
    }
}
