//! A plant of 500 series at 1 Hz: memory over ten minutes with a bridge, by connections; then without
//! one in reach memory, disk, and the start after it.

use crate::client::Client;
use crate::gateway;
use crate::measure::Usage;
use crate::role::{Role, free_port};
use std::time::{Duration, Instant};

const SERIES: usize = 500;
/// Plant time with a bridge, and how much faster than real time it goes by.
const LINKED_S: u64 = 600;
const LINKED_TIMES: u64 = 60;
/// Readings that arrive one by one, each acknowledged before the next.
const ONE_BY_ONE_S: u64 = 10;
/// Plant time whose readings come as fast as they are taken: a million of them.
const BACKLOG_S: u64 = 2_000;

/// Prints the figures.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    for connections in [1, 50, 500] {
        linked(connections)?;
    }
    let mut gateway = gateway::start()?;
    let mut client = Client::connect(gateway.port, 0, true, SERIES)?;
    let before = Usage::of(gateway.pid())?;
    let sent = client.plant(ONE_BY_ONE_S, 1, true)?;
    let used = Usage::of(gateway.pid())?.since(&before);
    line(&format!("{SERIES} series x 1 Hz one by one"), sent, &used, "");

    let before = Usage::of(gateway.pid())?;
    let backlog = client.plant(BACKLOG_S, 1_000, false)?;
    settle(&gateway)?;
    let used = Usage::of(gateway.pid())?.since(&before);
    line("a million unsent", backlog, &used, "");
    drop(client);

    gateway.kill()?;
    let begun = Instant::now();
    gateway.restart()?;
    let took = begun.elapsed();
    let counted = gateway.figure("accepted")?;
    if counted != sent + backlog {
        return Err(format!("{} readings were acknowledged, the ledger has {counted} after kill -9", sent + backlog).into());
    }
    let used = Usage::of(gateway.pid())?;
    line("start after kill -9", counted, &used, &format!(", ready after {} ms", took.as_millis()));
    Ok(())
}

/// Ten minutes of plant time over so many connections with durable sessions, as sensors have them.
fn linked(connections: usize) -> Result<(), Box<dyn std::error::Error>> {
    let port = free_port()?;
    let _bridge = Role::start("cloud", &format!("[mqtt]\nlisten = \"127.0.0.1:{port}\"\n"))?;
    let gateway = gateway::start_linked(&format!("url = \"mqtt://127.0.0.1:{port}\""), "")?;
    let before = Usage::of(gateway.pid())?;
    let sent: std::io::Result<u64> = std::thread::scope(|scope| {
        let client = |number| {
            let mut client = Client::connect(gateway.port, number, true, SERIES / connections)?;
            client.lively = true;
            client.paced(LINKED_S, LINKED_TIMES)
        };
        let clients: Vec<_> = (0..connections).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().map(|c| c.join().unwrap_or_else(|_| Err(std::io::Error::other("a client panicked")))).sum()
    });
    let used = Usage::of(gateway.pid())?.since(&before);
    line(&format!("{LINKED_S} s over {connections} connections"), sent?, &used, "");
    Ok(())
}

/// Waits until the windows are sealed and the log is quiet.
fn settle(gateway: &Role) -> Result<(), Box<dyn std::error::Error>> {
    let until = Instant::now() + Duration::from_secs(70);
    let mut last = u64::MAX;
    while Instant::now() < until {
        let written = Usage::of(gateway.pid())?.written_bytes;
        if written == last {
            break;
        }
        last = written;
        std::thread::sleep(Duration::from_secs(5));
    }
    Ok(())
}

fn line(name: &str, readings: u64, used: &Usage, more: &str) {
    println!(
        "{name:<28} {readings:>9} readings, peak {:.1} MiB, now {:.1} MiB, {:.1} B written a reading, CPU {:.2} s{more}",
        used.peak_bytes as f64 / f64::from(1 << 20),
        used.now_bytes as f64 / f64::from(1 << 20),
        used.written_bytes as f64 / readings as f64,
        used.cpu.as_secs_f64(),
    );
}
