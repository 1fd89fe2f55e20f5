//! The small case, without chance: one gateway with two boots, readings of which one is an alert,
//! one bridge. Every interleaving of readings, commits, arrivals in any order, one repeat, any
//! loss, and one crash on each side, by a search over the same worlds and machines as elsewhere.
//! States that differ in nothing that decides how they go on are one ([`canonical`]).
//!
//! What must hold always is checked at every state; and from every state, with all that was
//! under way lost, the world must come to rest with nothing missing. Loss needs no step of its
//! own: a packet that does not arrive was lost, and a state covers those in which fewer packets are
//! under way. Of more than fit under way some are lost, in all ways.

use crate::canonical::{self, Told};
use crate::device::Flying;
use crate::mutation::Mutation;
use crate::network::Weather;
use crate::plan::{Plan, Step};
use crate::world::World;
use std::collections::{HashMap, HashSet};
use std::panic::catch_unwind;
use std::rc::Rc;
use std::time::Instant;

/// What may still happen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Budget {
    readings: usize,
    passes: u8,
    repeats: u8,
    crashes: u8,
    cloud_crashes: u8,
}

#[derive(Clone)]
struct Node {
    world: World,
    budget: Budget,
    path: Vec<Move>,
    told: Parts,
}

/// What was told of a state, as far as most steps do not change it.
#[derive(Clone, Default)]
struct Parts {
    records: Rc<Told>,
    boots: Rc<Told>,
    uplink: Rc<Flying>,
    cloud: Rc<Told>,
    /// Besides, what time it is, and the seqs of readings.
    past: Rc<(Told, Told, Vec<u64>)>,
}

/// How an action of one side ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// It is committed, and what follows is done.
    Done,
    /// The process dies before its commit.
    Lost,
    /// The process dies behind its commit, and has told nobody.
    Kept,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    /// A reading arrives.
    Tell(End),
    /// Time passes: windows are due, and so is what was not answered.
    Pass(End),
    /// The packet arrives; `kept`: it will arrive once more.
    Arrive {
        index: usize,
        kept: bool,
        end: End,
    },
    /// Either side dies while it has nothing to do.
    Crash,
    CloudCrash,
}

/// Series, event time, value: one of another series, and two of one window, the second an alert.
const READINGS: [&[(u32, i64, f64)]; 3] = [&[(1, 50, 30.5)], &[(0, 100, 20.5)], &[(0, 700, 90.5)]];
/// How many of them, the last ones, a plain run is about.
pub const RECORDS: usize = 2;
/// Packets under way at most, up and down.
const UNDER_WAY_MAX: (usize, usize) = (2, 1);

impl Node {
    fn moves(&self) -> Vec<Move> {
        let b = &self.budget;
        let ends = |crashes: u8| if crashes > 0 { &[End::Done, End::Lost, End::Kept][..] } else { &[End::Done] };
        let mut moves = Vec::new();
        if b.readings > 0 {
            moves.extend(ends(b.crashes).iter().map(|end| Move::Tell(*end)));
        }
        if b.passes > 0 {
            moves.extend(ends(b.crashes).iter().map(|end| Move::Pass(*end)));
        }
        let link = &self.world.devices[0].link;
        for index in 0..link.under_way() {
            for &end in ends(if index < link.under_way_up() { b.cloud_crashes } else { b.crashes }) {
                moves.push(Move::Arrive { index, kept: false, end });
                if b.repeats > 0 {
                    moves.push(Move::Arrive { index, kept: true, end });
                }
            }
        }
        if b.crashes > 0 {
            moves.push(Move::Crash);
        }
        if b.cloud_crashes > 0 {
            moves.push(Move::CloudCrash);
        }
        // What spends nothing goes first, being pushed last: who has more left does all that who has
        // less does.
        moves.sort_by_key(|step| std::cmp::Reverse(spends(*step)));
        moves
    }

    fn go(&mut self, step: Move) -> Result<(), String> {
        self.path.push(step);
        let world = &mut self.world;
        match step {
            Move::Tell(end) => {
                let next = READINGS[READINGS.len() - self.budget.readings];
                self.budget.readings -= 1;
                world.devices[0].tell(&mut world.ctx, next);
                self.gateway(end)?;
            }
            Move::Pass(end) => {
                self.budget.passes -= 1;
                world.step(Step::Pass(6_000))?;
                world.step(Step::Think { device: 0 })?;
                self.gateway(end)?;
            }
            Move::Arrive { index, kept, end } => {
                self.budget.repeats -= u8::from(kept);
                let Some((goes_up, packet)) = world.devices[0].link.deliver(index, kept) else { return Ok(()) };
                world.arrive(0, goes_up, &packet)?;
                if goes_up { self.cloud(end)? } else { self.gateway(end)? }
            }
            Move::Crash => self.gateway(End::Lost)?,
            Move::CloudCrash => self.cloud(End::Lost)?,
        }
        self.world.devices[0].link.thin();
        Ok(())
    }

    /// The gateway commits and speaks, until its bookkeeping is committed too; or it dies.
    fn gateway(&mut self, end: End) -> Result<(), String> {
        let (world, device) = (&mut self.world, 0);
        if end != End::Done {
            self.budget.crashes -= 1;
            world.step(Step::Crash { device, kept: end == End::Kept })?;
            world.step(Step::Start { device })?;
            world.step(Step::Connect { device })?;
        }
        for _ in 0..4 {
            world.step(Step::Sync { device })?;
            world.step(Step::Think { device })?;
            if !world.devices[0].waits() {
                break;
            }
        }
        Ok(())
    }

    fn cloud(&mut self, end: End) -> Result<(), String> {
        if end != End::Done {
            self.budget.cloud_crashes -= 1;
            self.world.cloud.crash(end == End::Kept);
            self.world.step(Step::CloudStart)?;
        }
        self.world.step(Step::CloudSync)?;
        self.world.step(Step::CloudThink)
    }

    /// Tells anew what a step of one side may have changed. What follows from a log alone is told
    /// once for each.
    fn tell(&mut self, at_cloud: bool, logs: &mut HashMap<u64, Rc<Told>>) {
        let Self { world, told, .. } = self;
        let device = &mut world.devices[0];
        if at_cloud {
            told.cloud = logs.entry(world.cloud.hash).or_insert_with(|| Rc::new(world.cloud.tell())).clone();
        } else {
            told.records = logs.entry(device.disk.hash).or_insert_with(|| Rc::new(device.tell_records())).clone();
            told.boots = Rc::new(device.tell_boots());
            told.uplink = Rc::new(device.tell_uplink());
        }
        let (past, readings) = world.ctx.oracle.tell();
        let now = Told::of(&[&world.ctx.now_ms, &world.ctx.messages]);
        told.past = Rc::new((past, now, readings));
    }

    /// The state as a hash.
    fn digest(&self) -> u64 {
        let Parts { records, boots, uplink, cloud, past, .. } = &self.told;
        let link = &self.world.devices[0].link;
        let late = uplink.late(link);
        let cloud_boot = self.world.cloud.process.as_ref().map_or(0, |p| p.bridge.boot);
        let mut known = uplink.known(&late);
        let followed = self.world.cloud.followed();
        // Which of them the cloud took last.
        let of_each: Vec<_> =
            followed.iter().map(|number| (known.iter().position(|k| k == number), uplink.whose(*number, &late))).collect();
        let taken = Told::of(&[&known.iter().position(|number| *number == uplink.taken), &of_each]);
        known.extend(followed);
        let (packets, numbers) = link.tell(cloud_boot, known, |number| uplink.whose(number, &late));
        let mut all = vec![&past.0, &past.1, records, boots, cloud, &uplink.told, &numbers, &taken];
        all.extend(late.iter().map(|(_, told)| told).chain(packets));
        canonical::digest(&all, &past.2)
    }
}

/// What a step takes from the budget.
fn spends(step: Move) -> u8 {
    let dies = |end: End| u8::from(end != End::Done);
    match step {
        Move::Tell(end) => dies(end),
        Move::Pass(end) => 1 + dies(end),
        Move::Arrive { kept, end, .. } => u8::from(kept) + dies(end),
        Move::Crash | Move::CloudCrash => 1,
    }
}

impl Budget {
    /// Whether all that may happen with the other may happen with this one.
    fn covers(&self, other: &Self) -> bool {
        self.readings >= other.readings
            && self.passes >= other.passes
            && self.repeats >= other.repeats
            && self.crashes >= other.crashes
            && self.cloud_crashes >= other.cloud_crashes
    }
}

/// Breaks that it must notice with one reading, the alert.
const NOTICED: [Mutation; 7] = [
    Mutation::SensorAckBeforeCommit,
    Mutation::CloudAckBeforeCommit,
    Mutation::SendsUncommitted,
    Mutation::AppliedTooFar,
    Mutation::AlertForgotten,
    Mutation::BootForgotten,
    Mutation::AckOfAnotherBoot,
];

/// Looks at every state of the small case, and that breaks of the protocol are noticed.
///
/// # Errors
/// The way to a state that is wrong, or the breaks that were not noticed.
pub fn run(records: usize) -> Result<(), String> {
    let mut missed = Vec::new();
    for mutation in NOTICED {
        let start = Instant::now();
        match catch_unwind(|| search(mutation, 1)) {
            Ok(Ok(_)) => missed.push(mutation),
            Ok(Err(why)) => println!("{mutation:?}: noticed in {:.1} s: {why}", start.elapsed().as_secs_f64()),
            Err(_) => println!("{mutation:?}: noticed in {:.1} s by a panic", start.elapsed().as_secs_f64()),
        }
    }
    if !missed.is_empty() {
        return Err(format!("breaks that nothing noticed: {missed:?}"));
    }
    let start = Instant::now();
    let (states, steps) = search(Mutation::None, records)?;
    println!("all {states} states of the small case of {records} records, by {steps} steps in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// States seen, and steps taken.
///
/// # Errors
/// A way to a state that is wrong.
fn search(mutation: Mutation, readings: usize) -> Result<(usize, u64), String> {
    let plan = Plan {
        seed: 1,
        gateways: 1,
        sizes_ms: vec![1_000],
        grace_ms: 0,
        every_ms: 0,
        preview: false,
        budget: None,
        interval_bytes: 0,
        weather: Weather::CALM,
        group: false,
        crossing_bytes: 0,
        crossing_ttl_ms: 0,
        unset: false,
        steps: Vec::new(),
    };
    let mut world = World::counted(&plan, mutation)?;
    let device = 0;
    for step in [Step::CloudSync, Step::CloudThink, Step::Sync { device }, Step::Think { device }, Step::Connect { device }] {
        world.step(step)?;
    }
    // What follows publishing is judged at rest.
    world.ctx.publishes = false;
    let budget = Budget { readings, passes: 1, repeats: 1, crashes: 1, cloud_crashes: 1 };
    let mut first = Node { world, budget, path: Vec::new(), told: Parts::default() };
    // They have met.
    first.world.step(Step::Think { device })?;
    while first.world.devices[0].link.under_way() > 0 {
        first.go(Move::Arrive { index: 0, kept: false, end: End::Done })?;
    }
    first.path.clear();
    let mut search = Search::default();
    first.tell(true, &mut search.logs);
    first.tell(false, &mut search.logs);
    search.visit(&mut first)?;
    let mut stack = vec![first];
    while let Some(node) = stack.pop() {
        for step in node.moves() {
            let link = &node.world.devices[0].link;
            let at_cloud = match step {
                Move::Arrive { index, .. } => index < link.under_way_up(),
                Move::CloudCrash => true,
                _ => false,
            };
            let mut after = node.clone();
            let done = after.go(step);
            done.map_err(|why| format!("{why}\nafter {:?}", after.path))?;
            after.tell(at_cloud, &mut search.logs);
            for link in after.world.devices[0].link.losing(UNDER_WAY_MAX, false) {
                after.world.devices[0].link = link;
                if search.visit(&mut after)? {
                    stack.push(after.clone());
                }
            }
        }
    }
    Ok((search.seen.len(), search.steps))
}

/// What was seen.
#[derive(Default)]
struct Search {
    /// States, each with the most that could still happen there.
    seen: HashMap<u64, Vec<Budget>>,
    /// Those without anything under way that came to rest.
    rested: HashSet<u64>,
    /// What follows from a log, by its hash.
    logs: HashMap<u64, Rc<Told>>,
    steps: u64,
}

impl Search {
    /// Notes a state, and those that differ from it in what is lost; whether something may happen
    /// there that could not before.
    fn visit(&mut self, node: &mut Node) -> Result<bool, String> {
        self.steps += 1;
        if !self.note(node.digest(), node.budget) {
            return Ok(false);
        }
        let link = node.world.devices[0].link.clone();
        for fewer in link.losing(UNDER_WAY_MAX, true) {
            node.world.devices[0].link = fewer;
            let digest = node.digest();
            self.note(digest, node.budget);
            if node.world.devices[0].link.under_way() == 0 && self.rested.insert(digest) {
                node.world.clone().rest().map_err(|why| format!("{why}\nafter {:?}", node.path))?;
            }
        }
        node.world.devices[0].link = link;
        Ok(true)
    }

    fn note(&mut self, digest: u64, budget: Budget) -> bool {
        let budgets = self.seen.entry(digest).or_default();
        if budgets.iter().any(|b| b.covers(&budget)) {
            return false;
        }
        budgets.retain(|b| !budget.covers(b));
        budgets.push(budget);
        true
    }
}
