//! Several faults in one series, and in one machine: what was met before must not hide what comes
//! hours later, be it far smaller.
//!
//! Each begins with nothing, with a single wild reading (a sensor's -999), or with faults five times as
//! large; then come those of the usual size, in any order.

use super::plant::{BASELINES, Baseline, Chance, FAULTS, Fault, Injected};
use super::{AFTER, BEFORE, Series, share};
use crate::outcome::{Failure, print};
use detect::{Group, State};

const SEED: u64 = 200_000;
/// What sensors tell that have no value.
const WILD: f64 = -999.0;
/// Times the usual size that large faults have.
const LARGE: f64 = 5.0;
/// Channels of a machine: two loads, and four channels of each.
const CHANNELS: usize = 8;
/// Rows that a machine's fault lasts.
const MACHINE_FAULT: usize = 900;
/// Standard deviations of a channel's shift.
const SHIFT: f64 = 3.0;

/// What was met before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    Nothing,
    /// One reading, or as many.
    Wild(usize),
    Large,
}

const PASTS: [Past; 4] = [Past::Nothing, Past::Wild(1), Past::Wild(3), Past::Large];

impl Past {
    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Wild(1) => format!("one {WILD}"),
            Self::Wild(count) => format!("{count} of {WILD}"),
            Self::Large => "large faults".to_owned(),
        }
    }
}

/// In any order.
fn shuffled<T: Copy>(mut of: Vec<T>, chance: &mut Chance) -> Vec<T> {
    for at in (1..of.len()).rev() {
        of.swap(at, (chance.uniform() * (at + 1) as f64) as usize);
    }
    of
}

/// Which faults are found in one series, and how many alerts came besides.
fn series(past: Past, baseline: Baseline, sigma: f64, seed: u64) -> (Vec<(Fault, bool)>, usize) {
    let mut chance = Chance::new(seed ^ 0x5E);
    let mut series = Series::new(baseline, seed);
    let (mut found, mut besides) = (Vec::new(), 0);
    let mut wait = |series: &mut Series, chance: &mut Chance| {
        (0..BEFORE + (chance.uniform() * 1_800.0) as usize).for_each(|_| series.pass(None));
        besides += series.out.drain(..).filter(|finding| finding.state == State::Active).count();
    };
    let meet = |series: &mut Series, fault: Fault, size: f64, seed: u64| {
        let mut injected = Injected::new(fault, baseline, size, seed);
        (0..fault.readings() + AFTER).for_each(|at| series.pass((at < fault.readings()).then_some((at, &mut injected))));
        series.out.drain(..).any(|finding| finding.state == State::Active)
    };
    wait(&mut series, &mut chance);
    match past {
        Past::Nothing => {}
        Past::Wild(count) => {
            (0..count).for_each(|_| series.tell(WILD));
            (0..AFTER).for_each(|_| series.pass(None));
            series.out.clear();
        }
        Past::Large => {
            for (fault, nth) in [Fault::Spike, Fault::Noise].into_iter().zip(1..) {
                meet(&mut series, fault, LARGE * sigma, seed + 7_000 * nth);
                wait(&mut series, &mut chance);
            }
        }
    }
    for (fault, nth) in shuffled(FAULTS.to_vec(), &mut chance).into_iter().zip(1..) {
        wait(&mut series, &mut chance);
        found.push((fault, meet(&mut series, fault, sigma, seed + 1_000 * nth)));
    }
    (found, besides)
}

/// What goes wrong with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// A channel follows a load of its own, of the same size.
    OwnWay,
    /// A channel is elsewhere.
    Shift,
}

/// Eight channels of two loads, one row a second, and their detector.
struct Machine {
    chance: Chance,
    loads: [f64; 3],
    group: Group,
    second: i64,
    told: usize,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let mut group = Group::default();
        (0..CHANNELS).for_each(|_| _ = group.join());
        Self { chance: Chance::new(seed), loads: [0.0; 3], group, second: 0, told: 0 }
    }

    /// One row, with what a fault makes of a channel's value, given the load of its own.
    fn pass(&mut self, fault: impl Fn(usize, f64, f64) -> f64) {
        self.second += 1;
        self.loads.iter_mut().for_each(|load| *load = 0.98 * *load + 0.2 * self.chance.normal());
        for at in 0..CHANNELS {
            let noise = 0.3 * self.chance.normal();
            let value = fault(at, self.loads[at % 2] + noise, self.loads[2] + noise);
            let change = self.group.observe(at as u16, self.second * 1_000, 20.0 + 2.0 * value);
            self.told += usize::from(change.is_some_and(|change| change.state == State::Active));
        }
    }

    fn wait(&mut self) -> usize {
        (0..BEFORE).for_each(|_| self.pass(|_, value, _| value));
        std::mem::take(&mut self.told)
    }

    fn meet(&mut self, trouble: Trouble, channel: usize, size: f64) -> bool {
        for at in 0..MACHINE_FAULT + AFTER {
            self.pass(|other, value, own| match trouble {
                _ if other != channel || at >= MACHINE_FAULT => value,
                Trouble::OwnWay => own,
                Trouble::Shift => value + size,
            });
        }
        std::mem::take(&mut self.told) > 0
    }
}

/// The same of one machine: each fault in another channel.
fn machine(past: Past, seed: u64) -> (Vec<(Trouble, bool)>, usize) {
    let mut machine = Machine::new(seed);
    let mut chance = Chance::new(seed ^ 0x5E);
    let channels = shuffled((0..CHANNELS).collect(), &mut chance);
    let mut besides = machine.wait();
    match past {
        Past::Nothing => {}
        Past::Wild(count) => {
            (0..count).for_each(|_| machine.pass(|at, value, _| if at == channels[0] { WILD } else { value }));
            (0..AFTER).for_each(|_| machine.pass(|_, value, _| value));
            machine.told = 0;
        }
        Past::Large => drop(machine.meet(Trouble::Shift, channels[0], LARGE * SHIFT)),
    }
    let mut found = Vec::new();
    for (trouble, channel) in shuffled(vec![Trouble::OwnWay, Trouble::Shift], &mut chance).into_iter().zip(&channels[1..]) {
        besides += machine.wait();
        found.push((trouble, machine.meet(trouble, *channel, SHIFT)));
    }
    (found, besides)
}

/// Prints what is found after what.
pub fn run(sigma: f64, trials: u64) -> Result<(), Failure> {
    let count = BASELINES.len() as u64 * trials;
    print(&format!(
        "\nall seven in one of {count} series, in any order, two hours and more apart: found, %; alerts besides; by what came before"
    ))?;
    print(&FAULTS.iter().fold(format!("{:14}", ""), |line, fault| line + &format!(" {:>10}", fault.name())))?;
    for past in PASTS {
        let (mut found, mut besides) = ([0; FAULTS.len()], 0);
        for (baseline, trial) in BASELINES.into_iter().flat_map(|baseline| (0..trials).map(move |trial| (baseline, trial))) {
            let (told, more) = series(past, baseline, sigma, SEED + trial);
            besides += more;
            for (fault, _) in told.into_iter().filter(|(_, told)| *told) {
                found[FAULTS.iter().position(|other| *other == fault).unwrap_or(0)] += 1;
            }
        }
        let line = found.iter().fold(format!("{:14}", past.name()), |line, found| line + &format!(" {:>10.1}", share(*found, count)));
        print(&format!("{line} {besides:6}"))?;
    }
    print(&format!(
        "\ntwo faults in each of {trials} machines of {CHANNELS} channels, two hours apart: found, %; alerts besides; by what came before"
    ))?;
    print(&format!("{:14} {:>10} {:>10}", "", "own way", "shift"))?;
    for past in PASTS {
        let (mut found, mut besides) = ([0; 2], 0);
        for trial in 0..trials {
            let (told, more) = machine(past, SEED + trial);
            besides += more;
            told.into_iter().filter(|(_, told)| *told).for_each(|(trouble, _)| found[usize::from(trouble == Trouble::Shift)] += 1);
        }
        let [own, shift] = found.map(|found| share(found, trials));
        print(&format!("{:14} {own:>10.0} {shift:>10.0} {besides:6}", past.name()))?;
    }
    Ok(())
}
