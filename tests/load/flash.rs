//! What a trickle of readings costs the flash, before and after the budget spaces its commits.
//!
//! Every connection is a sensor that waits for its acknowledgement, as most do; their readings
//! arrive one by one, evenly spread. A reading beyond a critical limit is timed apart: it must not
//! wait for the spacing.

use crate::client::Client;
use crate::gateway;
use crate::measure::{Usage, percentile};
use crate::role::Role;
use std::io;
use std::time::{Duration, Instant};

/// Readings a second in all, and the sensors that send them.
const RATES: [(u64, u64); 4] = [(1, 1), (50, 50), (500, 500), (5_000, 500)];
const DAY_S: f64 = 86_400.0;
/// Beyond the limit below, so critical.
const CRITICAL: &[u8] = b"99";
const LIMIT: &str = "[[limit]]\nseries = \"**\"\nhigh_high = 90.0\n";

/// Prints the table: `seconds` for each rate.
pub fn run(seconds: u64) -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:<10} {:>10} {:>12} {:>10} {:>9} {:>9} {:>12}",
        "", "readings/s", "B a reading", "GiB a day", "p50 ms", "p99 ms", "critical p50"
    );
    let mut gateway = gateway::start_with(LIMIT)?;
    // All of it is within the burst of the budget, so that no commit waits.
    for (rate, sensors) in RATES {
        line("at once", &gateway, rate, sensors, seconds)?;
    }
    gateway.kill()?;
    let gateway = gateway::start_with(LIMIT)?;
    spend(&gateway)?;
    for (rate, sensors) in RATES {
        line("spaced", &gateway, rate, sensors, seconds)?;
    }
    Ok(())
}

/// Uses the burst of the budget up, with commits of one reading each, until they are spaced: a minute
/// on a disk that syncs in 0.2 ms.
fn spend(gateway: &Role) -> io::Result<()> {
    let mut client = Client::connect(gateway.port, 9_999, false, 500)?;
    loop {
        let began = Instant::now();
        client.plant(1, 1, false)?;
        if began.elapsed() > Duration::from_secs(3) {
            return Ok(());
        }
    }
}

fn line(name: &str, gateway: &Role, rate: u64, sensors: u64, seconds: u64) -> io::Result<()> {
    let port = gateway.port;
    let begun = Instant::now();
    let before = Usage::of(gateway.pid())?;
    let mut latencies = trickle(port, rate, sensors, Duration::from_secs(seconds))?;
    let (took, used) = (begun.elapsed().as_secs_f64(), Usage::of(gateway.pid())?.since(&before));
    let readings = latencies.len() as f64;
    let mut critical = std::thread::scope(|scope| {
        let beside = scope.spawn(|| trickle(port, rate, sensors, Duration::from_secs(3)));
        let timed = critical(port);
        beside.join().map_err(|_| io::Error::other("a sensor panicked"))??;
        timed
    })?;
    println!(
        "{name:<10} {:>10.0} {:>12.0} {:>10.2} {:>9.2} {:>9.2} {:>12.2}",
        readings / took,
        used.written_bytes as f64 / readings,
        used.written_bytes as f64 / took * DAY_S / f64::from(1 << 30),
        f64::from(percentile(&mut latencies, 0.5)) / 1e3,
        f64::from(percentile(&mut latencies, 0.99)) / 1e3,
        f64::from(percentile(&mut critical, 0.5)) / 1e3,
    );
    Ok(())
}

/// `sensors` that send `rate` readings a second between them, each waiting for its
/// acknowledgement: how long that took, in µs.
fn trickle(port: u16, rate: u64, sensors: u64, time: Duration) -> io::Result<Vec<u32>> {
    let clients = (0..sensors).map(|n| Client::connect(port, n as usize, false, 1)).collect::<io::Result<Vec<_>>>()?;
    let every = Duration::from_secs(sensors) / rate as u32;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(clients)
            .map(|(n, mut client)| {
                let first = every * n / sensors as u32;
                scope.spawn(move || -> io::Result<Vec<u32>> {
                    let mut took = Vec::new();
                    for turn in 0u32.. {
                        let due = first + every * turn;
                        if due >= time {
                            break;
                        }
                        std::thread::sleep(due.saturating_sub(begun.elapsed()));
                        took.push(client.one(u64::from(turn), None)?);
                    }
                    Ok(took)
                })
            })
            .collect();
        let parts = threads.into_iter().map(|t| t.join().map_err(|_| io::Error::other("a sensor panicked"))?);
        Ok(parts.collect::<io::Result<Vec<_>>>()?.concat())
    })
}

/// Readings beyond a critical limit, now and then: how long their acknowledgements took, in µs.
fn critical(port: u16) -> io::Result<Vec<u32>> {
    let mut client = Client::connect(port, 9_998, false, 1)?;
    (0..20)
        .map(|number| {
            std::thread::sleep(Duration::from_millis(137));
            client.one(number, Some(CRITICAL))
        })
        .collect()
}
