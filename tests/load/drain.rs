//! An hour's outage of 500 series at 1 Hz, and its end: how soon the cloud has it all, what it
//! costs on the line when messages are lost, and in memory.
//!
//! That the gateway tries again is up to its backoff, and so to chance; what the drain takes is
//! counted from the first byte on.
//!
//! The hour is plant time: its readings come as fast as the gateway takes them. Between gateway
//! and bridge stands a link that loses whole MQTT messages, intervals and answers alike.

use crate::client::Client;
use crate::gateway;
use crate::lossy::Lossy;
use crate::measure::Usage;
use crate::role::{Role, free_port};
use std::time::{Duration, Instant};

const SERIES: usize = 500;
const OUTAGE_S: u64 = 3_600;
/// How long a drain may take before the measurement fails.
const PATIENCE: Duration = Duration::from_secs(600);

/// Prints the figures.
pub fn run(lost: Option<u32>) -> Result<(), Box<dyn std::error::Error>> {
    println!("{SERIES} series x 1 Hz x {OUTAGE_S} s held back, windows of 10 s and 1 min, then drained");
    println!(
        "{:>6} {:>10} {:>9} {:>9} {:>11} {:>9} {:>8} {:>10} {:>13} {:>12}",
        "lost", "readings", "backoff s", "drained s", "readings/s", "up MB", "down MB", "bytes/rdg", "gateway MiB", "bridge MiB"
    );
    lost.map_or(vec![0, 5, 20], |lost| vec![lost]).into_iter().try_for_each(measure)
}

fn measure(lost: u32) -> Result<(), Box<dyn std::error::Error>> {
    let port = free_port()?;
    let link = Lossy::to(port, lost)?;
    let gateway = gateway::start_linked(
        &format!("url = \"mqtt://127.0.0.1:{}\"\nevery = \"5s\"", link.port),
        "[windows]\nsizes = [\"10s\", \"1m\"]\ngrace = \"2s\"\n",
    )?;
    let mut plant = Client::connect(gateway.port, 0, true, SERIES)?;
    plant.lively = true;
    let readings = plant.plant(OUTAGE_S, 1_000, false)?;
    drop(plant);
    // The last windows are sealed, so that what is measured is the link alone.
    std::thread::sleep(Duration::from_secs(3));
    let bridge = Role::start("cloud", &format!("[mqtt]\nlisten = \"127.0.0.1:{port}\"\n"))?;
    let back = Instant::now();
    while link.bytes().0 == 0 {
        if back.elapsed() > PATIENCE {
            return Err(format!("nothing was tried in {} s", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let waited = back.elapsed().as_secs_f64();
    let began = Instant::now();
    // The last interval only tells the clock: nothing that counts waits for it.
    while gateway.figure("held")? > 0 {
        if began.elapsed() > PATIENCE {
            return Err(format!("{} readings are held after {} s", gateway.figure("held")?, PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = began.elapsed().as_secs_f64();
    let delivered = gateway.figure("delivered")?;
    if delivered != readings {
        return Err(format!("{readings} readings were sent, {delivered} are delivered").into());
    }
    let (up, down) = link.bytes();
    let mib = |pid: u32| Ok::<f64, std::io::Error>(Usage::of(pid)?.peak_bytes as f64 / f64::from(1 << 20));
    println!(
        "{:>4} % {readings:>10} {waited:>9.1} {took:>9.1} {:>11.0} {:>9.2} {:>8.2} {:>10.2} {:>13.1} {:>12.1}",
        lost,
        readings as f64 / took,
        up as f64 / 1e6,
        down as f64 / 1e6,
        (up + down) as f64 / readings as f64,
        mib(gateway.pid())?,
        mib(bridge.pid())?,
    );
    Ok(())
}
