//! How fast a gateway takes readings durably, beside the machine's own limits in the same run.
//!
//! `cargo bench --bench load -- [--seconds 5] [--shape 10x100]... [--durable]`
//! `cargo bench --bench load -- --plant`: memory, disk and start with a million unsent readings.
//! `cargo bench --bench load -- --flash`: what is written for readings that arrive one by one.
//! `cargo bench --bench load -- --alerts`: how soon a critical alert is at the cloud, idle and while backlogs drain.
//! `cargo bench --bench load -- --gateways 2000 [--seconds 30]`: a bridge with so many gateways, then flooded by them.
//! `cargo bench --bench load -- --drain [--lost 5]`: an hour's outage drained, at 0, 5 and 20 % loss of messages.
//! `cargo bench --bench load -- --bytes`: what readings cost on the uplink, against the same readings raw.
//!
//! For each shape (connections × in flight) it runs, one after the other on loopback with the
//! load generator on the same cores: the gateway as a process of its own; a bare listener that
//! only finds the packets, commits them through the same journal and acknowledges; and the same
//! listener without the commit (the socket alone). Payloads are 64 bytes of JSON at QoS 1, 50
//! series a connection. At the end `fdatasync` alone.

mod alerts;
mod bare;
mod bytes;
mod client;
mod drain;
mod flash;
mod gateway;
mod gateways;
mod lossy;
mod measure;
mod plant;
mod role;

use client::{Load, Shape};
use measure::{Usage, cpu_by_work, percentile};
use std::collections::BTreeMap;
use std::time::Duration;

struct Options {
    seconds: u64,
    shapes: Vec<Shape>,
    durable: bool,
    plant: bool,
    flash: bool,
    alerts: bool,
    gateways: Option<u64>,
    drain: bool,
    bytes: bool,
    lost: Option<u32>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seconds: 5,
        shapes: Vec::new(),
        durable: false,
        plant: false,
        flash: false,
        alerts: false,
        gateways: None,
        drain: false,
        bytes: false,
        lost: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seconds" => options.seconds = value()?.parse().map_err(|_| "--seconds takes a whole number".to_owned())?,
            "--shape" => options.shapes.push(value()?.parse()?),
            "--durable" => options.durable = true,
            "--plant" => options.plant = true,
            "--flash" => options.flash = true,
            "--alerts" => options.alerts = true,
            "--drain" => options.drain = true,
            "--bytes" => options.bytes = true,
            "--lost" => options.lost = Some(value()?.parse().map_err(|_| "--lost takes a whole number of percent".to_owned())?),
            "--gateways" => options.gateways = Some(value()?.parse().map_err(|_| "--gateways takes a whole number".to_owned())?),
            // Cargo says so to every bench.
            "--bench" => {}
            other => {
                return Err(format!(
                    "{other} is not known: --seconds N, --shape CONNECTIONSxINFLIGHT, --durable, --plant, --flash, --alerts, --gateways N, --drain, --lost N, --bytes"
                ));
            }
        }
    }
    if options.shapes.is_empty() {
        options.shapes = [(10, 100), (1, 100), (1, 1)].map(|(connections, inflight)| Shape { connections, inflight }).into();
    }
    Ok(options)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Children of this very program: the peers, so that their CPU is their own.
    if let Ok(mode) = std::env::var(bare::MODE) {
        return bare::serve(&mode);
    }
    let options = options()?;
    if options.plant {
        return plant::run();
    }
    if options.flash {
        return flash::run(options.seconds);
    }
    if let Some(gateways) = options.gateways {
        return gateways::run(gateways, options.seconds);
    }
    if options.bytes {
        return bytes::run();
    }
    if options.drain {
        return drain::run(options.lost);
    }
    if options.alerts {
        return alerts::run();
    }
    println!(
        "{:<22} {:>9} {:>10} {:>8} {:>8} {:>8} {:>9} {:>8} {:>10}",
        "", "shape", "readings/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU s/1M", "MiB peak", "disk B/rdg"
    );
    for shape in &options.shapes {
        let load = Load { shape: *shape, time: Duration::from_secs(options.seconds), durable: options.durable };
        let gateway = gateway::start()?;
        let before = cpu_by_work(gateway.pid())?;
        let sent = report("gateway", &load, gateway.port, gateway.pid())?;
        tell_work(&before, &cpu_by_work(gateway.pid())?, sent);
        let counted = gateway.figure("accepted")?;
        if counted != sent {
            return Err(format!("{sent} readings were acknowledged, the gateway's ledger has {counted}").into());
        }
        drop(gateway);
        for mode in [bare::COMMIT, bare::SOCKET] {
            let peer = bare::start(mode)?;
            report(mode, &load, peer.port, peer.pid())?;
        }
    }
    println!("{}", measure::fdatasync_alone()?);
    Ok(())
}

/// Where a gateway's CPU went: `clients` read, parse, number, stamp and answer; `journal` checks, writes and
/// syncs; `fold` makes windows and watches.
fn tell_work(before: &BTreeMap<String, Duration>, after: &BTreeMap<String, Duration>, readings: u64) {
    let since = |(work, cpu): (&String, &Duration)| {
        let seconds = cpu.saturating_sub(before.get(work).copied().unwrap_or_default()).as_secs_f64();
        (seconds > 0.0).then(|| format!("{work} {:.2}", seconds * 1e6 / readings as f64))
    };
    println!("{:<22} CPU s/1M: {}", "", after.iter().filter_map(since).collect::<Vec<_>>().join(", "));
}

fn report(name: &str, load: &Load, port: u16, pid: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let before = Usage::of(pid)?;
    let mut result = load.run(port)?;
    let used = Usage::of(pid)?.since(&before);
    let millions = result.acknowledged as f64 / 1e6;
    println!(
        "{name:<22} {:>9} {:>10.0} {:>8} {:>8} {:>8} {:>9.2} {:>8.1} {:>10.1}",
        load.shape.to_string(),
        result.acknowledged as f64 / result.elapsed.as_secs_f64(),
        percentile(&mut result.latencies_us, 0.5),
        percentile(&mut result.latencies_us, 0.99),
        percentile(&mut result.latencies_us, 0.999),
        used.cpu.as_secs_f64() / millions,
        used.peak_bytes as f64 / f64::from(1 << 20),
        used.written_bytes as f64 / result.acknowledged as f64,
    );
    Ok(result.acknowledged)
}
