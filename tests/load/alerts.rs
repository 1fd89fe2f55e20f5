//! How soon a critical alert is at the cloud: from a sensor's PUBLISH to a consumer, while nothing
//! else happens and while a backlog drains.

use crate::client::{self, Listener};
use crate::gateway;
use crate::measure::percentile;
use crate::role::{Role, free_port};
use std::time::{Duration, Instant};

/// Alerts in a measurement, and how far apart.
const ALERTS: usize = 300;
const APART: Duration = Duration::from_millis(20);

/// Prints the figures.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    println!("{ALERTS} critical alerts {} ms apart, from a sensor's PUBLISH to a consumer at the cloud", APART.as_millis());
    for (name, series, readings, apart_ms) in [
        ("idle", 0, 0, 0),
        ("30,000 readings drain", 30, 1_000, 1_000),
        ("300,000 windows drain", 60, 5_000, 10_000),
        ("1,000,000 windows drain", 200, 5_000, 10_000),
    ] {
        measure(name, series, readings, apart_ms)?;
    }
    Ok(())
}

fn measure(name: &str, series: usize, readings: u64, apart_ms: u64) -> Result<(), Box<dyn std::error::Error>> {
    let port = free_port()?;
    let gateway = gateway::start_linked(
        &format!("url = \"mqtt://127.0.0.1:{port}\"\nevery = \"1s\""),
        "[windows]\nsizes = [\"10s\", \"1m\"]\ngrace = \"1s\"\n[[limit]]\nseries = \"hot/**\"\nhigh_high = 95.0\n",
    )?;
    let mut sensor = client::connect(gateway.port, "sensor")?;
    if series > 0 {
        let mut bulk = client::Client::connect(gateway.port, 0, true, series)?;
        bulk.history(readings, apart_ms, 1_000)?;
    }
    // Nobody listened until now: everything waits at the gateway.
    let bridge = Role::start("cloud", &format!("[mqtt]\nlisten = \"127.0.0.1:{port}\"\n"))?;
    let mut consumer = Listener::subscribe(bridge.port, "consumer", "alerts/#")?;
    // The first that arrives shows that the link stands.
    let until = Instant::now() + Duration::from_secs(60);
    sensor.publish("sensors/hot/first", 1)?;
    while consumer.next_before(Instant::now() + Duration::from_millis(100))?.is_none() {
        if Instant::now() > until {
            return Err("no alert came".into());
        }
    }
    let before = gateway.figure("held")?;
    let mut sent = Vec::with_capacity(ALERTS);
    let mut took = vec![None; ALERTS];
    let began = Instant::now();
    while took.iter().any(Option::is_none) && began.elapsed() < APART * ALERTS as u32 + Duration::from_secs(30) {
        let next = began + APART * sent.len() as u32;
        if sent.len() < ALERTS && Instant::now() >= next {
            sent.push(Instant::now());
            sensor.publish(&format!("sensors/hot/a{}", sent.len() - 1), (sent.len() % 60_000) as u16 + 1)?;
            continue;
        }
        let wait = if sent.len() < ALERTS { next } else { Instant::now() + Duration::from_secs(1) };
        if let Some((topic, at)) = consumer.next_before(wait)?
            && let Some(number) = topic.rsplit_once("/hot/a").and_then(|(_, number)| number.parse::<usize>().ok())
            && let (Some(since), Some(place)) = (sent.get(number), took.get_mut(number))
        {
            place.get_or_insert((at - *since).as_micros() as u32);
        }
    }
    let held = gateway.figure("held")?;
    let mut came: Vec<u32> = took.into_iter().flatten().collect();
    let ms = |q: f64, came: &mut Vec<u32>| f64::from(percentile(came, q)) / 1e3;
    println!(
        "{name:<24} {} of {ALERTS} came, p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, most {:.2} ms; readings held {before} before, {held} after",
        came.len(),
        ms(0.5, &mut came),
        ms(0.95, &mut came),
        ms(0.99, &mut came),
        ms(1.0, &mut came),
    );
    if came.len() == ALERTS { Ok(()) } else { Err("alerts are missing".into()) }
}
