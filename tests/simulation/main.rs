//! Agreement under every fault: the real state machines in worlds made from a seed.
//!
//! `TIDEGATE_SEED=S` runs the world of one seed, `TIDEGATE_SEEDS=N` so many (from that seed on),
//! `TIDEGATE_SOAK=30m` as many as fit into the time. A violation is printed with its seed and
//! the shortest plan found that still shows it. See README.md for what is simulated.
#![allow(missing_docs, reason = "a test")]

mod canonical;
mod cloud;
mod crossed;
mod device;
mod disk;
mod exhaustive;
mod live;
mod mutation;
mod network;
mod oracle;
mod plan;
mod rng;
mod scenarios;
mod shrink;
mod world;

use mutation::Mutation;
use plan::Plan;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 5_000;
/// Plans that one deliberate break may take to be noticed.
const MUTATION_SEEDS: u64 = 6_000;

/// Runs one plan; a panic of the product is a violation like any other.
fn run(plan: &Plan, mutation: Mutation, traced: bool) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| world::World::run(plan, mutation, traced))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("of no text")))
    })
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// `30m`, `90s`, or seconds.
fn duration(text: &str) -> Option<Duration> {
    let ms = telemetry::window::parse_size(text).or_else(|| text.parse::<i64>().ok().map(|s| s * 1_000))?;
    u64::try_from(ms).ok().map(Duration::from_millis)
}

fn schedules() -> Result<u64, String> {
    let first: Option<u64> = setting("TIDEGATE_SEED").and_then(|text| text.parse().ok());
    let soak = setting("TIDEGATE_SOAK").and_then(|text| duration(&text));
    let seeds = setting("TIDEGATE_SEEDS").and_then(|text| text.parse().ok());
    let count = seeds.unwrap_or(if first.is_some() {
        1
    } else if soak.is_some() {
        u64::MAX
    } else {
        SEEDS
    });
    let (start, first) = (Instant::now(), first.unwrap_or(1));
    // Plans know nothing of each other: a thread for each core.
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None::<(u64, String)>));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || soak.is_some_and(|limit| start.elapsed() >= limit) || failed.lock().is_ok_and(|f| f.is_some()) {
                return at;
            }
            if let Err(why) = run(&Plan::of(first.wrapping_add(at)), Mutation::None, false)
                && let Ok(mut failed) = failed.lock()
                && failed.as_ref().is_none_or(|(other, _)| *other > at)
            {
                *failed = Some((at, why));
            }
        }
    };
    let threads = if count == 1 { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let done = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).min().unwrap_or(0)
    });
    if let Ok(Some((at, why))) = failed.into_inner() {
        let plan = Plan::of(first.wrapping_add(at));
        let (short, why_short) = shrink::shrink(&plan, Mutation::None, why.clone());
        if setting("TIDEGATE_TRACE").is_some() {
            drop(run(&short, Mutation::None, true));
        }
        return Err(format!(
            "seed {} fails: {why}\nshortened to {} of {} steps: {why_short}\n{}\nreplay with TIDEGATE_SEED={} cargo test --release --test simulation",
            plan.seed,
            short.steps.len(),
            plan.steps.len(),
            short.story(),
            plan.seed
        ));
    }
    let s = start.elapsed().as_secs_f64();
    println!("{done} schedules in {s:.1} s, {:.0} a second, on {threads} threads", done as f64 / s);
    Ok(done)
}

fn mutations() -> Result<(), String> {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let caught = (1..=MUTATION_SEEDS).find_map(|seed| Some((seed, run(&Plan::of(seed), mutation, false).err()?)));
        match caught {
            Some((seed, why)) => println!("{mutation:?}: caught with seed {seed}: {why}"),
            None => missed.push(mutation),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("breaks that nothing noticed: {missed:?}")) }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    std::panic::set_hook(Box::new(|_| {}));
    let mut failed = false;
    let mut tell = |name: &str, result: Result<(), String>| {
        if let Err(why) = result {
            println!("{name}: {why}");
            failed = true;
        }
    };
    if wants("scenarios") {
        tell("scenarios", scenarios::run_all());
    }
    if wants("exhaustive") {
        let records = setting("TIDEGATE_RECORDS").and_then(|text| text.parse().ok()).unwrap_or(exhaustive::RECORDS);
        tell("exhaustive", exhaustive::run(records));
    }
    if wants("mutations") && setting("TIDEGATE_SEED").is_none() {
        tell("mutations", mutations());
    }
    let mut done = None;
    if wants("schedules") {
        tell("schedules", schedules().map(|n| done = Some(n)));
    }
    if failed {
        return ExitCode::FAILURE;
    }
    if let Some(done) = done {
        println!("simulated {done} schedules, 0 violations");
    }
    ExitCode::SUCCESS
}
