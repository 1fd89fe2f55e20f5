//! Alarms in the fold: what alerts and people make of them, and what the gateway says about
//! there being too many.

mod back;
mod design;
#[cfg(test)]
mod tests;

use super::Fold;
use crate::limits::{ACTS_HELD_MAX, SKEW_MS};
use crate::outbox::LastRead;
use detect::Kind;
use detect::alarm::SERIES;
use detect::alarm::{Request, Summary, Verb, Way};
use schemas::message::{Act, AlertBody, Command};

/// What becomes of a command of the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It is to be logged.
    Taken,
    /// It counts already: its act is told again.
    Known,
    /// Its time is over.
    TooLate,
    /// There is no such alarm.
    Unknown,
    /// So much waits for the cloud that it is to come again.
    Full,
}

/// A command as the gateway's logged clock has it. Where the cloud took that to be another one, what it says of times to
/// come is as far off: a shelf lasts as long as somebody asked for. When it was done stays, as it says what came before what.
pub fn by_clock(command: &Command, clock_ms: i64) -> Command {
    let mut command = command.clone();
    let off_ms = clock_ms.saturating_sub(command.sent_ms);
    if command.sent_ms != 0 && off_ms.unsigned_abs() > SKEW_MS.unsigned_abs() {
        command.sent_ms = clock_ms;
        command.not_after_ms = command.not_after_ms.saturating_add(off_ms);
        if command.act.until_ms != 0 {
            command.act.until_ms = command.act.until_ms.saturating_add(off_ms).max(1);
        }
    }
    command
}

impl Fold {
    /// What becomes of a command of the cloud at a time of the gateway's clock, ms since the
    /// Unix epoch.
    pub fn judge(&self, clock_ms: i64, command: &Command) -> Judged {
        let board = &self.alarms.board;
        let act = &command.act;
        match () {
            () if board.get(&act.series, &act.kind).is_none() => Judged::Unknown,
            () if board.knows(act) => Judged::Known,
            () if clock_ms > command.not_after_ms => Judged::TooLate,
            // Half of the room is for those who do something here.
            () if self.acts_held() >= ACTS_HELD_MAX / 2 => Judged::Full,
            () => Judged::Taken,
        }
    }

    /// The cloud does not hear alerts, or hears them again: an alarm of this gateway alone, as no
    /// cloud would hear of it.
    pub(super) fn unheard(&mut self, count: u64, oldest: (u64, u64, u32)) {
        let Some(part) = self.boots.last() else { return };
        self.unheard = count > 0;
        let name = (part.boot, self.lsn - part.base, self.ordinal);
        self.ordinal += 1;
        self.tell(crate::alert::unheard(name, self.clock_ms, count, oldest), false);
    }

    /// An alert was made: its alarm takes it in, then it goes its ways.
    pub(super) fn tell(&mut self, alert: AlertBody, leaves: bool) {
        self.tell_as(alert, leaves, false);
    }

    /// The same; `again` says that it tells what stands already.
    fn tell_as(&mut self, mut alert: AlertBody, leaves: bool, again: bool) {
        let kind = Kind::named(&alert.kind);
        // The end of an alarm that was there before its detector was tried is told to those who know it.
        let ends = alert.state != 0 && self.alarms.board.get(&alert.series, &alert.kind).is_some_and(|alarm| alarm.is_active());
        if !ends && self.config.detection.shadows.iter().any(|shadow| kind.is_some_and(|kind| shadow.is_about(&alert.series, kind))) {
            return self.shadow(alert);
        }
        let begins = alert.state == 0;
        let design = if begins { design::of(self, &alert.series, &alert.kind, alert.time_ms) } else { None };
        let design = design.filter(|(_, until_ms)| self.may_hold((&alert.series, &alert.kind), *until_ms));
        if let Some((reason, _)) = &design {
            alert.message += &design::not_shown(reason);
        }
        let way = Way { designed: design.is_some(), again };
        self.alarms.alert_by(self.config.alarms.as_ref(), self.clock_ms, leaves, way, &mut alert);
        let suppresses = begins && design.is_none() && design::suppresses(self, &alert);
        if let Some((reason, until_ms)) = design {
            let name = (alert.series.clone(), alert.kind.clone());
            self.suppress((alert.boot, alert.seq, alert.ordinal), name, reason, until_ms);
        }
        self.fresh.push((self.lsn, alert.clone()));
        let before = self.boots.last().map(|part| self.before(part)).unwrap_or_default();
        if let Some(part) = self.boots.last_mut()
            && leaves
        {
            part.alerts.push(alert, before, &mut self.shelf);
        }
        if suppresses {
            self.suppress_standing();
        }
    }

    /// Whether an alert is still to be told: it may leave, and `applied` of its boot does not cover it.
    pub fn owes(&self, alert: &AlertBody, last: &mut LastRead) -> bool {
        self.boots.iter().any(|part| part.owes(alert, &self.shelf, last))
    }

    /// Somebody asked for something here.
    pub(super) fn asked(&mut self, request: &Request<'_>) {
        if let Some(act) = self.alarms.board.resolve(self.clock_ms, request) {
            self.done(act);
        }
    }

    /// The cloud passed on what was done there. One that is not read is of a newer program, and
    /// was answered as not taken.
    pub(super) fn commanded(&mut self, bytes: &[u8]) {
        let Ok(Command { act, .. }) = Command::decode(bytes) else { return };
        let design = matches!(Verb::of(act.verb), Some(Verb::Suppress | Verb::Release)).then(|| (act.series.clone(), act.kind.clone()));
        self.done(act);
        if let Some(name) = design {
            self.judge_design(name);
        }
    }

    pub(super) fn done(&mut self, act: Act) {
        let board = &mut self.alarms.board;
        let ends = back::Ends::of(self.clock_ms, board.get(&act.series, &act.kind), &act);
        board.join(self.clock_ms, &act);
        let leaves = self.alarms.board.get(&act.series, &act.kind).is_some_and(|alarm| alarm.leaves);
        let before = self.boots.last().map(|part| self.before(part)).unwrap_or_default();
        if let Some(part) = self.boots.last_mut()
            && leaves
        {
            part.acts.push_back((self.lsn - part.base, act.clone(), before));
            self.fresh_acts.push(act.clone());
        }
        if let Some(ends) = ends {
            self.returned(&(act.series, act.kind), &ends);
        }
    }

    /// Whether so much was done that the cloud does not have that no more is taken for now.
    pub fn is_full_of_acts(&self) -> bool {
        self.acts_held() >= ACTS_HELD_MAX
    }

    fn acts_held(&self) -> usize {
        self.boots.iter().map(|part| part.acts.len()).sum()
    }

    /// Behind each record: what the clock ends, and what is to be said about all of them.
    pub(super) fn settle_alarms(&mut self) {
        self.rest();
        self.release();
        for name in self.alarms.advance(self.config.alarms.as_ref(), self.clock_ms) {
            self.unshelved(&name);
        }
        for summary in self.alarms.take_summaries() {
            self.summarize(summary);
        }
    }

    fn summarize(&mut self, summary: Summary) {
        let Some(part) = self.boots.last() else { return };
        let alert = AlertBody {
            boot: part.boot,
            seq: self.lsn - part.base,
            ordinal: self.ordinal,
            series: SERIES.to_owned(),
            severity: 1,
            kind: summary.kind.to_owned(),
            state: u8::from(summary.ended),
            time_ms: self.clock_ms,
            value: summary.value,
            limit: Some(summary.limit),
            unit: None,
            message: summary.message,
            score: None,
            baseline: None,
            alarm: None,
            contributors: Vec::new(),
        };
        self.ordinal += 1;
        let leaves = self.alarms.leaves;
        self.tell(alert, leaves);
    }
}
