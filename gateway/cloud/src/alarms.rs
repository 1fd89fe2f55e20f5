//! Alarms at the cloud: what people ask for on its way to the log, and what is shown of it.

use crate::inbound::{Door, wall_ms};
use crate::known::{Known, Standing};
use crate::outbound::Outbound;
use replica::alarm::{self, Body, Figures, Name, PENDING_MAX, Target};
use replica::join::Bridge;
use replica::limits::COMMAND_WAIT_MS;
use replica::record::Record;
use role::alarms::{Ask, Refused, Waiting, named, path};
use role::limits::KPI_MS;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The core's part.
#[derive(Default)]
pub struct Alarms {
    waiting: Waiting,
    /// Figures as they were shown last, by gateway, and when.
    kpi: BTreeMap<String, String>,
    kpi_ms: i64,
    /// When gateways were last told what is still to be taken.
    told_ms: BTreeMap<String, i64>,
}

/// The clock by which a gateway's alarms are looked at, its own: the logged one is behind while nothing happens.
fn now_ms(bridge: &Bridge, gateway: &str) -> i64 {
    bridge.alarms.clock_ms(gateway, bridge.clock_ms.max(wall_ms()))
}

/// The same as of the last record.
fn logged_ms(bridge: &Bridge, gateway: &str) -> i64 {
    bridge.alarms.clock_ms(gateway, bridge.clock_ms)
}

/// All alarms as they stand, those in peace as nothing, for the broker to retain.
pub fn all(bridge: &Bridge, known: &Known, mut each: impl FnMut(String, String)) {
    let mut paths = known.write();
    for (gateway, board) in bridge.alarms.iter() {
        let (clock_ms, logged_ms) = (now_ms(bridge, gateway), logged_ms(bridge, gateway));
        for (name, alarm) in board.iter() {
            paths.insert(path(gateway, name), Standing::of(alarm, logged_ms));
            each(alarm::topic(gateway, name), alarm::retained(gateway, board, name, clock_ms));
        }
    }
}

fn one(bridge: &Bridge, path: &str) -> Option<Value> {
    let (gateway, name) = named(path)?;
    let board = bridge.alarms.board(gateway)?;
    board.get(&name.0, &name.1).map(|found| alarm::json(gateway, board, &name, found, now_ms(bridge, gateway)))
}

/// The figures of a gateway.
pub fn figures(bridge: &Bridge) -> impl Iterator<Item = (&String, Figures)> {
    bridge.alarms.iter().map(|(gateway, board)| (gateway, Figures::of(board, now_ms(bridge, gateway))))
}

/// The alarm that something is asked for, if its gateway may still be told more.
///
/// # Errors
/// Why it is not to be done.
pub fn target<'a>(path: &'a str, bridge: &Bridge) -> Result<Target<'a>, Refused> {
    let target = Target::of(path).ok_or(Refused::Unknown)?;
    let board = bridge.alarms.board(target.gateway).ok_or(Refused::Unknown)?;
    let found = board.get(target.series, target.kind).ok_or(Refused::Unknown)?;
    if found.pending.len() >= PENDING_MAX {
        return Err(Refused::Busy("too much waits for the gateway; ask again when it is online".into()));
    }
    Ok(target)
}

fn log(path: &str, body: &Body, bridge: &Bridge, door: &Door) -> Result<u64, Refused> {
    let target = target(path, bridge)?;
    let request = target.request(rand::random(), body);
    door.log(&Record::AskedAt { gateway: target.gateway, request }).map_err(|refused| Refused::Busy(refused.to_string()))
}

impl Alarms {
    /// Alarms changed with a record: they are shown as they stand.
    pub fn changed(&mut self, lsn: u64, changed: &[(String, Name)], bridge: &Bridge, known: &Known, out: &Outbound) {
        for (gateway, name) in changed {
            let Some(board) = bridge.alarms.board(gateway) else { continue };
            let clock_ms = logged_ms(bridge, gateway);
            out.publish(lsn, alarm::topic(gateway, name), alarm::retained(gateway, board, name, clock_ms), true);
            let path = path(gateway, name);
            match board.get(&name.0, &name.1) {
                Some(alarm) => known.write().insert(path, Standing::of(alarm, clock_ms)),
                None => known.write().remove(&path),
            };
        }
    }

    /// Records up to `lsn` are folded: who waits for them is answered.
    pub fn folded(&mut self, lsn: u64, bridge: &Bridge) {
        self.waiting.folded(lsn, |path| one(bridge, path));
    }

    /// Answers, or logs what is to be done and answers later.
    pub fn ask(&mut self, ask: Ask, bridge: &Bridge, door: &Door) {
        match ask {
            Ask::List(filter, reply) => {
                let mut list = Vec::new();
                bridge.alarms.iter().for_each(|(gateway, board)| filter.list(gateway, board, now_ms(bridge, gateway), &mut list));
                drop(reply.send(list));
            }
            Ask::One(path, reply) => drop(reply.send(one(bridge, &path))),
            Ask::Kpi(reply) => {
                let list = figures(bridge).map(|(gateway, figures)| alarm::kpi_json(gateway, &figures));
                drop(reply.send(list.collect()));
            }
            Ask::Series(name, reply) => drop(reply.send(bridge.has_series(&name).then(|| json!({ "series": name })))),
            Ask::Do(path, body, reply) => self.waiting.ask(&path, reply, || log(&path, &body, bridge, door)),
        }
    }

    /// Passes on what gateways that are online have not taken yet, at a time of the logged clock.
    pub fn pass_on(&mut self, clock_ms: i64, bridge: &mut Bridge, out: &Outbound, is_online: impl Fn(&str) -> bool) {
        let now = wall_ms();
        for gateway in bridge.alarms.waiting().into_iter().filter(|gateway| is_online(gateway)) {
            let told_ms = self.told_ms.entry(gateway.clone()).or_default();
            if (0..COMMAND_WAIT_MS).contains(&(now - *told_ms)) {
                continue;
            }
            *told_ms = now;
            for command in bridge.alarms.commands(clock_ms, &gateway) {
                out.answer(format!("bridge/v1/{gateway}/down/command"), command.encode());
            }
        }
    }

    /// Shows figures, from time to time, when they changed.
    pub fn show_kpi(&mut self, bridge: &Bridge, out: &Outbound) {
        let now = wall_ms();
        if (0..KPI_MS).contains(&(now - self.kpi_ms)) {
            return;
        }
        self.kpi_ms = now;
        for (gateway, figures) in figures(bridge) {
            let json = alarm::kpi_json(gateway, &figures).to_string();
            if self.kpi.get(gateway) != Some(&json) {
                out.publish(bridge.lsn, alarm::kpi_topic(gateway), json.clone(), true);
                self.kpi.insert(gateway.clone(), json);
            }
        }
    }
}
