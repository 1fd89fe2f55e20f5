//! Simulated machines: what each sensor reads at each moment, and when it manages to send it. Pure.
//!
//! A value is a function of sensor and moment alone, however late or often the machine asks, so every run of a
//! plan shows the detectors the same series.

use crate::demo::plan::{Fault, PERIOD_MS, Plan, Shape};

/// Series that every gateway has a sensor for: the cloud makes one series of them.
pub const SHARED: &str = "hall/temperature";

/// One reading in so many comes after the next two.
const DISORDER: u64 = 23;
/// One in so many comes long after its window has gone up.
const LATE: u64 = 89;
/// How long that is, in readings: more than the shortest window and its grace.
const LATE_TICKS: i64 = 64;
/// Around a fault readings come in order: when each fault is found is then the same in every run.
const ORDERLY_MS: i64 = 1_000;

/// A machine: one MQTT client with its sensors.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its client identifier.
    pub client: String,
    /// Its sensors.
    pub sensors: Vec<Sensor>,
}

/// One sensor.
#[derive(Debug, Clone)]
pub struct Sensor {
    /// Series it makes.
    pub series: String,
    /// Unit it reads in.
    pub unit: &'static str,
    level: f64,
    noise: f64,
    decimals: usize,
    seed: u64,
    faults: Vec<Fault>,
}

/// The machines of one gateway.
pub fn machines(plan: &Plan, gateway: usize) -> Vec<Machine> {
    let line = gateway + 1;
    let sensor = |name: String, unit, level, noise, decimals| {
        let faults = plan.faults.iter().filter(|f| f.gateway == gateway && f.series == name).cloned().collect();
        let seed = name.bytes().fold(mix(line as u64), |seed, byte| mix(seed ^ u64::from(byte)));
        Sensor { series: name, unit, level, noise, decimals, seed, faults }
    };
    let own = |name: &str| format!("line{line}/{name}");
    let press = vec![
        sensor(own("press1/temperature"), "°C", 68.0, 0.6, 2),
        sensor(own("press1/vibration"), "mm/s", 2.1, 0.15, 3),
        sensor(own("press1/pressure"), "bar", 6.2, 0.03, 3),
        sensor(own("press1/oil"), "bar", 4.1, 0.05, 3),
    ];
    let pump = vec![
        sensor(own("pump2/flow"), "m³/h", 12.4, 0.25, 3),
        sensor(own("pump2/power"), "kW", 5.5, 0.2, 3),
        sensor(own("pump2/temperature"), "°C", 47.0, 0.4, 2),
    ];
    // Two corners of a hall are not equally warm.
    let hall = vec![sensor(SHARED.to_owned(), "°C", 21.5 + gateway as f64 * 0.4, 0.2, 2)];
    [("press1", press), ("pump2", pump), ("hall", hall)]
        .into_iter()
        .map(|(name, sensors)| Machine { client: format!("line{line}-{name}"), sensors })
        .collect()
}

impl Sensor {
    /// What it reads at a tick; nothing while it is dead. As text, because the text is what the gateway gets.
    pub fn reading(&self, tick: i64) -> Option<String> {
        let at_ms = tick * PERIOD_MS;
        let on = || self.faults.iter().filter(|fault| fault.is_on(at_ms));
        if on().any(|fault| fault.shape == Shape::Silent) {
            return None;
        }
        let stuck = on().find(|fault| fault.shape == Shape::Stuck).map(|fault| fault.from_ms / PERIOD_MS);
        let extra = on().map(|fault| match fault.shape {
            Shape::Offset(by) => by,
            Shape::Ramp(by) => by * ((at_ms - fault.from_ms).min(fault.to_ms - at_ms) / PERIOD_MS) as f64,
            Shape::Stuck | Shape::Silent => 0.0,
        });
        let value = self.ordinary(stuck.unwrap_or(tick)) + extra.sum::<f64>();
        Some(format!("{value:.*}", self.decimals))
    }

    /// By how many ticks the reading of a tick is sent late.
    pub fn delay(&self, tick: i64) -> i64 {
        let at_ms = tick * PERIOD_MS;
        // A late reading must not come out of a dead sensor either: it would put its silence off.
        let before_ms = |fault: &Fault| if fault.shape == Shape::Silent { LATE_TICKS * PERIOD_MS } else { ORDERLY_MS };
        if self.faults.iter().any(|f| (f.from_ms - before_ms(f)..f.to_ms.saturating_add(ORDERLY_MS)).contains(&at_ms)) {
            return 0;
        }
        let chance = self.chance(tick, 3);
        match (chance % LATE, chance % DISORDER) {
            (0, _) => LATE_TICKS,
            (_, 0) => 2,
            _ => 0,
        }
    }

    /// Level, a slow swing of 20 s, and noise of triangular distribution, whose ends are certain.
    fn ordinary(&self, tick: i64) -> f64 {
        let swing = (tick as f64 * PERIOD_MS as f64 / 20_000.0 * std::f64::consts::TAU).sin();
        let uniform = |salt| (self.chance(tick, salt) >> 11) as f64 / (1u64 << 53) as f64;
        self.level + self.noise * (0.5 * swing + uniform(1) - uniform(2))
    }

    fn chance(&self, tick: i64, salt: u64) -> u64 {
        mix(self.seed ^ mix(tick.unsigned_abs() ^ (salt << 48)))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::RUN_MIN;
    use crate::demo::plant::edge_config;
    use detect::{Finding, Settings, State};
    use std::path::Path;
    use std::time::Duration;

    /// The limits that a gateway of the demo is given.
    fn limits() -> Settings {
        let config = settings::Table::parse("edge.toml", &edge_config("plant-a", Path::new("data"), 1, 2), &[], &[]).unwrap();
        edge::config::read(config).unwrap().limits
    }

    /// Runs every series of a plan through the product's detectors, in order of time.
    fn findings(plan: &Plan, settings: &Settings) -> Vec<(usize, String, Finding)> {
        let mut all = Vec::new();
        for gateway in 0..plan.gateways.len() {
            for sensor in machines(plan, gateway).into_iter().flat_map(|machine| machine.sensors) {
                let mut watch = settings.watch(&sensor.series, Some(sensor.unit));
                let mut found = Vec::new();
                let end = (plan.run_ms + 20_000) / PERIOD_MS;
                for tick in 0..end {
                    let now = tick * PERIOD_MS;
                    if watch.due().is_some_and(|due| due <= now) {
                        watch.tick(now, &mut found);
                    }
                    if now < plan.run_ms
                        && let Some(text) = sensor.reading(tick)
                    {
                        watch.observe(now, now, text.parse().unwrap(), &mut found);
                    }
                }
                // Whoever stops sending at the end of the run is silent then, and that is right.
                found.retain(|f| f.kind.as_str() != "silence" || f.time_ms < plan.run_ms + 9_000);
                all.extend(found.into_iter().map(|f| (gateway, sensor.series.clone(), f)));
            }
        }
        all
    }

    #[test]
    fn the_detectors_find_every_fault_once_and_nothing_else() {
        for (run, gateways) in [(RUN_MIN, 1), (RUN_MIN, 2), (Duration::from_secs(30), 2), (Duration::from_secs(60), 3)] {
            let plan = Plan::new(run, gateways);
            let mut active = findings(&plan, &limits());
            active.retain(|(_, _, f)| f.state == State::Active);
            for fault in &plan.faults {
                let finds = |(g, s, f): &&(usize, String, Finding)| *g == fault.gateway && fault.is_found_by(s, f.kind.as_str(), f.time_ms);
                // In a short run silence is called after the run, which the filter above cuts off.
                let late = fault.shape == Shape::Silent && fault.from_ms + 10_500 >= plan.run_ms + 9_000;
                assert!(late || active.iter().filter(finds).count() == 1, "{run:?}: {fault:?} in {active:?}");
            }
            let stray = |(g, s, f): &&(usize, String, Finding)| {
                !plan.faults.iter().any(|x| x.gateway == *g && x.is_found_by(s, f.kind.as_str(), f.time_ms))
            };
            assert_eq!(active.iter().filter(stray).collect::<Vec<_>>(), Vec::<&(usize, String, Finding)>::new(), "{run:?}");
        }
    }

    #[test]
    fn some_readings_come_out_of_order_some_late_and_none_is_lost() {
        let plan = Plan::new(Duration::from_secs(30), 2);
        let sensor = machines(&plan, 0).remove(2).sensors.remove(0);
        assert_eq!(sensor.series, SHARED);
        let delays = (0..600).map(|tick| sensor.delay(tick)).collect::<Vec<_>>();
        assert!(delays.contains(&2) && delays.contains(&LATE_TICKS));
        assert!(delays.iter().filter(|delay| **delay > 0).count() < 60);
        assert!((0..600).all(|tick| sensor.reading(tick).is_some()));
        assert_eq!(sensor.reading(17), sensor.reading(17));
        assert_ne!(sensor.reading(17), machines(&plan, 1).remove(2).sensors.remove(0).reading(17));
    }
}
