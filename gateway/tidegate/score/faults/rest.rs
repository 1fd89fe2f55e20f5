//! Machines whose sensor tells one and the same value while they rest, as most do that are off:
//! exactly zero. Neither may their stops and starts raise alerts again and again, nor may a time
//! without any scale make detectors blind.
//!
//! Beside the nine kinds of series, with seeds of its own; as fixed as those.

use super::plant::{Baseline, Chance, FAULTS, Fault, Injected};
use super::{AFTER, share};
use crate::outcome::{Failure, print};
use detect::{Finding, Settings, State, Watch};
use std::collections::BTreeMap;

const SEED: u64 = 300_000;
const QUIET_SEED: u64 = 400_000;
/// Readings before a fault, one a second: more than a day, so that the machine's states are known.
const BEFORE: usize = 90_000;
/// And since the machine works.
const WORKED: u32 = 120;
const DAY: usize = 86_400;

/// How a machine rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// For 20 to 90 s, between 20 and 60 min of work.
    Pauses,
    /// For 10 to 60 min, between 30 and 120 min of work.
    Stops,
    /// Once: the series begins with 10 s to 60 min of one value, and the machine works from then on.
    Begins,
}

const RESTS: [Rest; 3] = [Rest::Pauses, Rest::Stops, Rest::Begins];

impl Rest {
    fn name(self) -> &'static str {
        match self {
            Self::Pauses => "pauses",
            Self::Stops => "stops",
            Self::Begins => "begins at rest",
        }
    }

    /// How long one lasts, in s.
    fn lasts(self, chance: &mut Chance) -> f64 {
        match self {
            Self::Pauses => chance.between(20.0, 90.0),
            Self::Stops => chance.between(600.0, 3_600.0),
            Self::Begins => chance.between(1.0, 8.19).exp2().mul_add(12.33, -14.66),
        }
    }

    /// How long the work between two lasts, in s.
    fn apart(self, chance: &mut Chance) -> f64 {
        match self {
            Self::Pauses => chance.between(1_200.0, 3_600.0),
            Self::Stops => chance.between(1_800.0, 7_200.0),
            Self::Begins => f64::MAX,
        }
    }
}

/// A current of 12 with a deviation of 0.4 while the machine works, and what its detectors say.
struct Machine {
    rest: Rest,
    chance: Chance,
    watch: Watch,
    out: Vec<Finding>,
    now_ms: i64,
    works: bool,
    /// Readings since it works.
    worked: u32,
    /// Readings until it does the other.
    left: f64,
    /// What its sensor tells while it rests.
    at_rest: f64,
}

impl Machine {
    fn new(rest: Rest, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let now_ms = 1_700_000_000_000 + chance.between(0.0, 86_400_000.0) as i64;
        let works = rest != Rest::Begins && chance.uniform() < 0.5;
        // A series may also begin with what it was last.
        let at_rest = if rest == Rest::Begins && chance.uniform() < 0.5 { 12.0 } else { 0.0 };
        let left = if works { rest.apart(&mut chance) } else { rest.lasts(&mut chance) };
        let watch = Settings::default().watch("line/machine/series", None);
        Self { rest, chance, watch, out: Vec::new(), now_ms, works, worked: 0, left, at_rest }
    }

    /// One reading, with a fault `at` readings after it began.
    fn pass(&mut self, fault: Option<(usize, &mut Injected)>) {
        self.now_ms += 1_000;
        self.left -= 1.0;
        if self.left < 0.0 {
            self.works = !self.works;
            self.left = if self.works { self.rest.apart(&mut self.chance) } else { self.rest.lasts(&mut self.chance) };
        }
        self.worked = if self.works { self.worked + 1 } else { 0 };
        if let Some(due) = self.watch.due().filter(|due| *due <= self.now_ms) {
            self.watch.tick(due, &mut self.out);
        }
        let value = if self.works { 12.0 + 0.4 * self.chance.normal() } else { self.at_rest };
        let seen = match fault {
            Some((at, injected)) => injected.apply(at, value),
            None => Some(value),
        };
        if let Some(seen) = seen {
            self.watch.observe(self.now_ms, self.now_ms, (seen * 100.0).round() / 100.0, &mut self.out);
        }
    }
}

/// Whether a fault is told that begins while the machine works.
fn told(rest: Rest, fault: Fault, sigma: f64, seed: u64) -> bool {
    let mut machine = Machine::new(rest, seed);
    (0..BEFORE + (seed as usize * 7_919) % 1_800).for_each(|_| machine.pass(None));
    while machine.worked < WORKED {
        machine.pass(None);
    }
    machine.out.clear();
    // As large as those of the machine that is on and off with some noise.
    let mut injected = Injected::new(fault, Baseline::OnOff, sigma, seed);
    for at in 0..fault.readings() + AFTER {
        machine.pass((at < fault.readings()).then_some((at, &mut injected)));
    }
    machine.out.iter().any(|finding| finding.state == State::Active)
}

/// Alerts of a machine without a fault on its first and on its second day, by whom.
fn quiet(rest: Rest, seed: u64, by: &mut [BTreeMap<&'static str, u64>; 2]) {
    let mut machine = Machine::new(rest, seed);
    for by in by {
        (0..DAY).for_each(|_| machine.pass(None));
        for finding in machine.out.drain(..).filter(|finding| finding.state == State::Active) {
            *by.entry(finding.kind.as_str()).or_default() += 1;
        }
    }
}

/// Prints what is found, and what is told without a fault on first and on second days.
pub fn run(sigma: f64, trials: u64, days: u64) -> Result<(), Failure> {
    print(&format!("\none and the same value at rest: found, %; alerts of {days} series without faults, first and second day, by whom"))?;
    print(&FAULTS.iter().fold(format!("{:14}", ""), |line, fault| line + &format!(" {:>10}", fault.name())))?;
    for rest in RESTS {
        let mut line = format!("{:14}", rest.name());
        for fault in FAULTS {
            let found = (0..trials).filter(|trial| told(rest, fault, sigma, SEED + trial)).count();
            line += &format!(" {:>10.0}", share(found as u64, trials));
        }
        let mut by: [BTreeMap<&'static str, u64>; 2] = Default::default();
        (0..days).for_each(|seed| quiet(rest, QUIET_SEED + seed, &mut by));
        let [first, second] = &by;
        let count = |by: &BTreeMap<_, u64>| by.values().sum::<u64>();
        print(&format!("{line} {:6} {:6}  {}; {}", count(first), count(second), super::list(first), super::list(second)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_at_rest_tells_one_value_and_its_rests_are_as_long_as_said() {
        let mut chance = Chance::new(1);
        for (rest, range) in [(Rest::Pauses, 20.0..90.0), (Rest::Stops, 600.0..3_600.0), (Rest::Begins, 9.9..3_601.0)] {
            assert!((0..1_000).all(|_| range.contains(&rest.lasts(&mut chance))), "{rest:?}");
        }
        let mut machine = Machine::new(Rest::Begins, 2);
        machine.left = 50.0;
        (0..50).for_each(|_| machine.pass(None));
        assert!(!machine.works);
        (0..5_000).for_each(|_| machine.pass(None));
        assert!(machine.works);
    }
}
