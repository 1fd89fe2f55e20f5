//! Alarms at the gateway: what people ask for on its way to the log, what is retained at the
//! gateway's own broker, and what goes to and fro between gateway and cloud.

use crate::clock::wall_ms;
use crate::desk::Desk;
use crate::intake::Intake;
use broker::Broker;
use replica::alarm::{self, Board, Body, Figures, Target};
use replica::fold::alarms::{Judged, by_clock};
use replica::fold::{Fold, Start};
use replica::join::alarms::{TOO_LATE, UNKNOWN};
use replica::limits::INTERVAL_ACTS_MAX;
use replica::machine::is_of;
use replica::record::Record;
use role::alarms::{Ask, Refused, Waiting, named};
use role::limits::KPI_MS;
use schemas::message::{Act, Answer, Command, CommandUp, FORMAT};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::warn;

/// The core's part.
pub struct Alarms {
    gateway: String,
    desk: Arc<Desk>,
    waiting: Waiting,
    /// The figures as they were shown last, and when.
    kpi: (i64, String),
    /// When what was done is told to the cloud once more, after a connect.
    again_ms: Option<i64>,
    /// Alarms without room as of the last look, and when that was told.
    refused: (u64, Option<i64>),
}

/// So often it is told that alarms find no room, in ms.
const NO_ROOM_TOLD_MS: i64 = 3_600_000;

/// The clock by which alarms are looked at: the logged one is behind while nothing happens.
fn now_ms(fold: &Fold) -> i64 {
    fold.clock_ms.max(wall_ms())
}

/// The figures as of now.
pub fn figures(fold: &Fold) -> Figures {
    Figures::of(&fold.alarms.board, now_ms(fold))
}

fn one(gateway: &str, fold: &Fold, path: &str) -> Option<Value> {
    let (_, name) = named(path).filter(|(named, _)| *named == gateway)?;
    let board = &fold.alarms.board;
    board.get(&name.0, &name.1).map(|found| alarm::json(gateway, board, &name, found, now_ms(fold)))
}

/// What a series, or a machine, is watched by, and the starts of the gateway that may have changed that.
fn series(fold: &Fold, name: &str) -> Option<Value> {
    fold.series.iter().any(|series| is_of(&series.name, name)).then(|| {
        let start = |start: &Start| json!({ "time": start.clock_ms, "boot": format!("{:016x}", start.boot), "changed": start.changed });
        json!({
            "series": name, "limit": fold.config.detection.rule(name).map(ToString::to_string),
            "starts": fold.starts.iter().map(start).collect::<Vec<_>>(),
        })
    })
}

fn log(desk: &Desk, path: &str, body: &Body, intake: &Intake) -> Result<u64, Refused> {
    let target = Target::of(path).ok_or(Refused::Unknown)?;
    desk.admit(&target)?;
    let logged = intake.log(&Record::Asked { request: target.request(rand::random(), body) });
    logged.map_err(|refused| Refused::Busy(refused.to_string()))
}

impl Alarms {
    /// For a gateway whose fold is as it was left; what stands is retained again.
    pub fn new(gateway: &str, desk: Arc<Desk>, fold: &mut Fold, broker: &Broker) -> Self {
        let clock_ms = now_ms(fold);
        fold.alarms.board.take_changed();
        fold.fresh_acts.clear();
        for (name, _) in fold.alarms.board.iter() {
            let payload = alarm::retained(gateway, &fold.alarms.board, name, clock_ms);
            broker.retain(&alarm::topic(gateway, name), payload.into());
        }
        *desk.known.write() = fold.alarms.board.iter().map(|(name, _)| name.clone()).collect();
        Self {
            gateway: gateway.to_owned(),
            desk,
            waiting: Waiting::default(),
            kpi: (0, String::new()),
            again_ms: None,
            refused: (fold.alarms.board.refused, None),
        }
    }

    /// A frame was folded: alarms that changed are shown, requests answered. Gives what the
    /// cloud is to be told at once.
    pub fn folded(&mut self, fold: &mut Fold, broker: &Broker) -> Vec<Act> {
        let changed = fold.alarms.board.take_changed();
        if !changed.is_empty() {
            let mut known = self.desk.known.write();
            for name in &changed {
                let payload = alarm::retained(&self.gateway, &fold.alarms.board, name, fold.clock_ms);
                broker.publish(&alarm::topic(&self.gateway, name), payload.into(), 1, true);
                known.insert(name.clone());
            }
            if known.len() > fold.alarms.board.len() {
                *known = fold.alarms.board.iter().map(|(name, _)| name.clone()).collect();
            }
        }
        self.waiting.folded(fold.lsn, |path| one(&self.gateway, fold, path));
        self.note_refused(&fold.alarms.board);
        self.desk.full.store(fold.is_full_of_acts(), Ordering::Relaxed);
        std::mem::take(&mut fold.fresh_acts)
    }

    fn note_refused(&mut self, board: &Board) {
        let before = std::mem::replace(&mut self.refused.0, board.refused);
        let told_ms = self.refused.1;
        let now = wall_ms();
        if board.refused > before && told_ms.is_none_or(|at| !(0..NO_ROOM_TOLD_MS).contains(&(now - at))) {
            self.refused.1 = Some(now);
            warn!(
                alarms = board.len(),
                without = board.refused,
                "the list of alarms is full: alarms without room are shown as alerts alone, and cannot be acknowledged; acknowledge what is over"
            );
        }
    }

    /// Answers, or logs what is to be done and answers later.
    pub fn ask(&mut self, ask: Ask, fold: &Fold, intake: &Intake) {
        match ask {
            Ask::List(filter, reply) => {
                let mut list = Vec::new();
                filter.list(&self.gateway, &fold.alarms.board, now_ms(fold), &mut list);
                drop(reply.send(list));
            }
            Ask::One(path, reply) => drop(reply.send(one(&self.gateway, fold, &path))),
            Ask::Kpi(reply) => drop(reply.send(vec![alarm::kpi_json(&self.gateway, &figures(fold))])),
            Ask::Series(name, reply) => drop(reply.send(series(fold, &name))),
            Ask::Do(path, body, reply) => self.waiting.ask(&path, reply, || log(&self.desk, &path, &body, intake)),
        }
    }

    /// Shows the figures, from time to time, when they changed.
    pub fn show_kpi(&mut self, fold: &Fold, broker: &Broker) {
        let now = wall_ms();
        if (0..KPI_MS).contains(&(now - self.kpi.0)) {
            return;
        }
        let json = alarm::kpi_json(&self.gateway, &figures(fold)).to_string();
        if json != self.kpi.1 && !fold.alarms.board.is_empty() {
            broker.publish(&alarm::kpi_topic(&self.gateway), json.clone().into(), 1, true);
        }
        self.kpi = (now, json);
    }

    /// The cloud passes on what was done there: taken into the log, or the answer why not. What is
    /// known already is told again.
    pub fn command(&self, command: &Command, fold: &Fold, intake: &Intake) -> Option<CommandUp> {
        let clock_ms = intake.now_ms();
        let command = by_clock(command, clock_ms);
        let act = &command.act;
        let boot = fold.current().map_or(0, |part| part.boot);
        let up = |acts, answers| Some(CommandUp { format: FORMAT, boot, acts, answers });
        let refuse = |outcome| up(Vec::new(), vec![Answer { id: act.id, outcome }]);
        match fold.judge(clock_ms, &command) {
            Judged::Known => up(vec![fold.alarms.board.counting(act).unwrap_or(act).clone()], Vec::new()),
            Judged::TooLate => refuse(TOO_LATE),
            Judged::Unknown => refuse(UNKNOWN),
            Judged::Full => None,
            Judged::Taken => {
                if let Err(refused) = intake.log(&Record::Commanded { bytes: &command.encode() }) {
                    warn!(%refused, "a command of the cloud is not taken; it comes again");
                }
                None
            }
        }
    }

    /// The link stands: all that the cloud may not have, now and once more in a moment.
    pub fn connected(&mut self, fold: &Fold) -> Option<CommandUp> {
        self.again_ms = Some(wall_ms() + replica::limits::COMMAND_WAIT_MS);
        owed(fold)
    }

    /// What is to be told once more.
    pub fn overdue(&mut self, fold: &Fold) -> Option<CommandUp> {
        self.again_ms.take_if(|at| *at <= wall_ms())?;
        owed(fold)
    }
}

fn owed(fold: &Fold) -> Option<CommandUp> {
    let acts: Vec<Act> = fold.boots.iter().flat_map(|part| &part.acts).map(|(_, act, _)| act.clone()).take(INTERVAL_ACTS_MAX).collect();
    told(fold, acts)
}

/// Acts for the urgent lane, if there are any.
pub fn told(fold: &Fold, acts: Vec<Act>) -> Option<CommandUp> {
    let boot = fold.current().map_or(0, |part| part.boot);
    (!acts.is_empty()).then_some(CommandUp { format: FORMAT, boot, acts, answers: Vec::new() })
}
