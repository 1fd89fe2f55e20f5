//! The small case, without chance: one gateway with two boots, three readings (one of them an
//! alert), one bridge. Every interleaving of readings, commits, arrivals in any order, one
//! repeat, any loss, and one crash on each side, by breadth-first search over the same worlds
//! and machines as elsewhere.
//!
//! What must hold always is checked at every state; and from every state, with all that was
//! under way lost, the world must come to rest with nothing missing. Loss needs no step of its
//! own: a packet that does not arrive, and is gone at rest, was lost.

use crate::mutation::Mutation;
use crate::network::Weather;
use crate::plan::{Plan, Step};
use crate::world::World;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What may still happen.
#[derive(Clone, Copy, Hash)]
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

/// Series, event time, value: two of one window, the second an alert, and one of a later window.
const READINGS: [&[(u32, i64, f64)]; 3] = [&[(0, 100, 20.5)], &[(0, 700, 90.5)], &[(1, 1_300, 30.5)]];
/// Packets under way, up and down; the oldest beyond is lost.
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
        self.world.devices[0].link.thin(UNDER_WAY_MAX);
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

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.budget.hash(&mut hasher);
        self.world.ctx.now_ms.hash(&mut hasher);
        self.world.devices[0].digest(&mut hasher);
        self.world.cloud.digest(&mut hasher);
        hasher.finish()
    }

    /// Whether the world comes to rest from here, all that is under way being lost.
    fn rests(&self) -> Result<(), String> {
        let mut world = self.world.clone();
        world.devices[0].link.clear();
        world.rest()
    }
}

/// States visited.
///
/// # Errors
/// The shortest way to a state that is wrong.
pub fn search(mutation: Mutation, readings: usize) -> Result<usize, String> {
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
        steps: Vec::new(),
    };
    let mut world = World::counted(&plan, mutation)?;
    let device = 0;
    for step in [Step::CloudSync, Step::CloudThink, Step::Sync { device }, Step::Think { device }, Step::Connect { device }] {
        world.step(step)?;
    }
    world.devices[0].link.clear();
    // What follows publishing is judged at rest.
    world.ctx.publishes = false;
    let budget = Budget { readings, passes: 1, repeats: 1, crashes: 1, cloud_crashes: 1 };
    let mut seen = HashSet::new();
    let mut level = vec![Node { world, budget, path: Vec::new() }];
    seen.insert(level[0].digest());
    while !level.is_empty() {
        let mut next = Vec::new();
        for node in &level {
            for step in node.moves() {
                let mut after = node.clone();
                let done = after.go(step);
                let told = |why: String| format!("{why}\nafter {:?}", after.path);
                done.map_err(told)?;
                if seen.insert(after.digest()) {
                    after.rests().map_err(told)?;
                    next.push(after);
                }
            }
        }
        level = next;
    }
    Ok(seen.len())
}
