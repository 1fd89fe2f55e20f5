//! Alarms of all gateways at the cloud: alerts and acts as gateways tell them, and what was done
//! here on its way down.
//!
//! What is done here counts here at once, as pending, and is passed on until the gateway has it:
//! it comes back among the gateway's acts, and is joined. What the gateway refuses as too late is
//! taken back. So both ends come to the same, whoever did what while the link was down.
//!
//! All of a gateway's alarms go by the gateway's logged clock, as its intervals show it: so a shelf ends at both ends at
//! once, and of two acts that did not know of each other the later counts, however far the clocks are apart.
//!
//! A gateway whose disk was lost or restored has forgotten what was done meanwhile: all that counts here is
//! passed on to it once more. What it has comes back and changes nothing; an alarm that it has not is forgotten here.

use crate::limits::{SKEW_MS, SKEW_STANDS_MS};
use detect::alarm::board::{SWEEP_MS, not_after_ms};
use detect::alarm::{Board, Name, Request, SHOWN};
use schemas::message::{Act, AlertBody, Answer, Command, FORMAT};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Alarms of all gateways. One more is counted as refused; its alerts are shown all the same.
const ALARMS_MAX: usize = 1 << 18;
/// Commands for one gateway in one go; the rest follows when these are answered.
const COMMANDS_MAX: usize = 64;
/// [`Answer::outcome`]: it came too late.
pub const TOO_LATE: u8 = 1;
/// [`Answer::outcome`]: the gateway knows no such alarm.
pub const UNKNOWN: u8 = 2;
/// How long after its time a command that was never answered is taken back, in ms.
const UNANSWERED_MS: i64 = 86_400_000;

/// Alarms by gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Alarms {
    boards: BTreeMap<String, Arc<Board>>,
    #[serde(skip)]
    changed: Vec<(String, Name)>,
    /// Gateways that may have something to take.
    #[serde(skip)]
    waiting: BTreeSet<String>,
    swept_ms: i64,
    /// When the first board has something to show, by the cloud's clock; known anew after each change.
    #[serde(skip)]
    due_ms: i64,
    /// Gateways' clocks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    skews: BTreeMap<String, Skew>,
}

/// A gateway's logged clock against the cloud's.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Skew {
    /// By how many ms it is ahead; 0 within [`SKEW_MS`].
    ms: i64,
    /// When a message last bore that out, by the cloud's clock.
    at_ms: i64,
}

fn skew_ms(skews: &BTreeMap<String, Skew>, gateway: &str) -> i64 {
    skews.get(gateway).map_or(0, |skew| skew.ms)
}

impl Alarms {
    /// A gateway's alarms.
    pub fn board(&self, gateway: &str) -> Option<&Board> {
        self.boards.get(gateway).map(Arc::as_ref)
    }

    /// All gateways that ever had one.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Board)> {
        self.boards.iter().map(|(name, board)| (name, &**board))
    }

    /// A gateway's logged clock, as far as it is known, at a time of the cloud's.
    pub fn clock_ms(&self, gateway: &str, clock_ms: i64) -> i64 {
        clock_ms.saturating_add(skew_ms(&self.skews, gateway)).max(0)
    }

    /// A gateway sent something at a time of its logged clock. It came later: one that shows that clock further ahead
    /// than it was thought to be is right.
    pub fn heard(&mut self, clock_ms: i64, gateway: &str, sent_ms: i64) {
        let skew = self.skews.entry(gateway.to_owned()).or_default();
        let told_ms = sent_ms.saturating_sub(clock_ms);
        let is_near = told_ms.abs_diff(skew.ms) <= SKEW_MS.unsigned_abs();
        if !is_near && told_ms < skew.ms && clock_ms.saturating_sub(skew.at_ms) < SKEW_STANDS_MS {
            return;
        }
        skew.at_ms = clock_ms;
        if is_near {
            return;
        }
        skew.ms = if told_ms.unsigned_abs() <= SKEW_MS.unsigned_abs() { 0 } else { told_ms };
        let clock_ms = self.clock_ms(gateway, clock_ms);
        if let Some(board) = self.boards.get_mut(gateway).map(Arc::make_mut) {
            board.set_clock(clock_ms);
        }
        self.collect(gateway);
    }

    /// Alarms that changed since this was last asked.
    pub fn take_changed(&mut self) -> Vec<(String, Name)> {
        std::mem::take(&mut self.changed)
    }

    /// The board for an alarm, unless it is new and there is no room.
    fn place(&mut self, gateway: &str, series: &str, kind: &str) -> Option<&mut Board> {
        let is_known = self.boards.get(gateway).is_some_and(|board| board.get(series, kind).is_some());
        let is_full = !is_known && self.boards.values().map(|board| board.len()).sum::<usize>() >= ALARMS_MAX;
        let board = Arc::make_mut(self.boards.entry(gateway.to_owned()).or_default());
        if is_full {
            board.refused += 1;
            return None;
        }
        Some(board)
    }

    fn collect(&mut self, gateway: &str) {
        if let Some(board) = self.boards.get_mut(gateway).map(Arc::make_mut) {
            let skew_ms = skew_ms(&self.skews, gateway);
            self.due_ms = self.due_ms.min(board.due_ms().map_or(i64::MAX, |at| at.saturating_sub(skew_ms)));
            self.changed.extend(board.take_changed().into_iter().map(|name| (gateway.to_owned(), name)));
        }
    }

    /// An alert, for the first time: whether it is to be shown.
    pub fn alert(&mut self, clock_ms: i64, gateway: &str, alert: &AlertBody) -> bool {
        let clock_ms = self.clock_ms(gateway, clock_ms);
        let is_held = alert.alarm.as_ref().is_some_and(|note| note.held != SHOWN);
        let Some(board) = self.place(gateway, &alert.series, &alert.kind) else { return !is_held };
        // Put aside here, while the gateway has not heard of it yet.
        let is_aside = board.get(&alert.series, &alert.kind).is_some_and(|alarm| alarm.is_put_aside_here(clock_ms));
        board.alert(clock_ms, alert, true);
        self.collect(gateway);
        !is_held && !is_aside
    }

    /// An act that the gateway has.
    pub fn join(&mut self, clock_ms: i64, gateway: &str, act: &Act) {
        let clock_ms = self.clock_ms(gateway, clock_ms);
        if let Some(board) = self.place(gateway, &act.series, &act.kind) {
            board.join(clock_ms, act);
        }
        self.collect(gateway);
    }

    /// Somebody asked for something here: what is to be passed on.
    pub fn asked(&mut self, clock_ms: i64, gateway: &str, request: &Request<'_>) -> Option<Command> {
        let clock_ms = self.clock_ms(gateway, clock_ms);
        let board = self.boards.get_mut(gateway).map(Arc::make_mut)?;
        let act = board.resolve(clock_ms, request)?;
        let is_taken = board.pend(clock_ms, act.clone());
        self.waiting.insert(gateway.to_owned());
        self.collect(gateway);
        is_taken.then(|| command(not_after_ms(&act), act, clock_ms))
    }

    /// The gateway may have forgotten what was done: it is told once more.
    pub fn again(&mut self, clock_ms: i64, gateway: &str) {
        let clock_ms = self.clock_ms(gateway, clock_ms);
        let Some(board) = self.boards.get_mut(gateway).map(Arc::make_mut) else { return };
        board.pend_again(clock_ms);
        self.waiting.insert(gateway.to_owned());
        self.collect(gateway);
    }

    /// The gateway did not take a command.
    pub fn answered(&mut self, clock_ms: i64, gateway: &str, answer: &Answer) {
        let clock_ms = self.clock_ms(gateway, clock_ms);
        let Some(board) = self.boards.get_mut(gateway).map(Arc::make_mut) else { return };
        let found = board.pending().find(|(act, _)| act.id == answer.id).map(|(act, _)| (act.series.clone(), act.kind.clone()));
        let Some(name) = found else { return };
        match answer.outcome {
            TOO_LATE => board.withdraw(clock_ms, &name, answer.id),
            UNKNOWN => board.forget(&name),
            _ => {}
        }
        self.collect(gateway);
    }

    /// Gateways that may be still to be told something.
    pub fn waiting(&self) -> Vec<String> {
        self.waiting.iter().cloned().collect()
    }

    /// What a gateway is still to be told, at a time of the cloud's clock. What counts already it had itself, by its own
    /// clock.
    pub fn commands(&mut self, clock_ms: i64, gateway: &str) -> Vec<Command> {
        let clock_ms = self.clock_ms(gateway, clock_ms);
        let waiting = self.boards.get(gateway).into_iter().flat_map(|board| board.pending().map(move |pending| (board, pending)));
        let commands = waiting.take(COMMANDS_MAX).map(|(board, (act, not_after_ms))| {
            let sent_ms = if board.counting(act).is_some() { 0 } else { clock_ms };
            command(not_after_ms, act.clone(), sent_ms)
        });
        let commands: Vec<Command> = commands.collect();
        if commands.is_empty() {
            self.waiting.remove(gateway);
        }
        commands
    }

    /// Behind a restore: what is derived is made anew.
    pub(super) fn resume(&mut self) {
        self.waiting = self.boards.keys().cloned().collect();
    }

    /// The clock went on: what comes off the shelf is shown, what was never answered is void.
    pub fn advance(&mut self, clock_ms: i64) {
        let sweeps = clock_ms.saturating_sub(self.swept_ms) >= SWEEP_MS;
        if !sweeps && self.due_ms > clock_ms {
            return;
        }
        if sweeps {
            self.swept_ms = clock_ms;
        }
        self.due_ms = i64::MAX;
        for (gateway, board) in &mut self.boards {
            let board = Arc::make_mut(board);
            let skew_ms = skew_ms(&self.skews, gateway);
            let clock_ms = clock_ms.saturating_add(skew_ms).max(0);
            board.advance(clock_ms);
            if sweeps {
                let void = board.pending().filter(|(_, last_ms)| last_ms.saturating_add(UNANSWERED_MS) < clock_ms);
                let void: Vec<(Name, u64)> = void.map(|(act, _)| ((act.series.clone(), act.kind.clone()), act.id)).collect();
                void.iter().for_each(|(name, id)| board.withdraw(clock_ms, name, *id));
                let known: Vec<Name> = board.iter().map(|(name, _)| name.clone()).collect();
                board.sweep(clock_ms);
                // Whoever keeps their names lets go of them.
                let gone = known.into_iter().filter(|(series, kind)| board.get(series, kind).is_none());
                self.changed.extend(gone.map(|name| (gateway.clone(), name)));
            }
            self.due_ms = self.due_ms.min(board.due_ms().map_or(i64::MAX, |at| at.saturating_sub(skew_ms)));
            self.changed.extend(board.take_changed().into_iter().map(|name| (gateway.clone(), name)));
        }
    }

    /// When [`Alarms::advance`] has something to show.
    pub fn due_ms(&self) -> Option<i64> {
        (self.due_ms < i64::MAX && !self.boards.is_empty()).then_some(self.due_ms)
    }
}

fn command(not_after_ms: i64, act: Act, sent_ms: i64) -> Command {
    Command { format: FORMAT, not_after_ms, act, sent_ms }
}
