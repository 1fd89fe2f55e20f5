//! What configuration makes of alarms: suppressed in maintenance windows and by other alarms,
//! released when that is over; and alerts of detectors in shadow, which raise none.
//!
//! Suppressed are alarms that are raised meanwhile, and those that stand when a window begins or
//! the alarm that suppresses them is raised. What the gateway says of itself (a flood, its link) is
//! of no machine, and never suppressed.
//!
//! Suppression is an act like those of people, by "configuration", with its reason: it stands in
//! the list of alarms and travels to the cloud as theirs do. What still lasts when it is over, and
//! was not shown so far, is told then, by an alert with an id of its own (ISA-18.2: it returns as
//! unacknowledged).

#[cfg(test)]
mod tests;

use super::back::{self, NOT_SHOWN};
use crate::fold::Fold;
use detect::Kind;
use detect::alarm::{AlertId, HELD_SUPPRESSED, Name, Request, Verb};
use detect::limits::SHADOW_HELD_MAX;
use schemas::limits::REASON_BYTES_MAX;
use schemas::message::{Act, AlertBody};
use std::collections::BTreeSet;

/// Version of the fold since which what lasts is told when its suppression is over.
const TOLD_SINCE: u32 = 5;
/// The same, since which alarms that stand are suppressed as well.
const STANDING_SINCE: u32 = 6;
/// Version of the fold since which a reason does not name what stays on site.
const LOCAL_SINCE: u32 = 9;

/// Who suppresses.
pub(super) const BY: &str = "configuration";

/// Why an alarm is suppressed by configuration at a time, and until when at the latest.
pub(super) fn of(fold: &Fold, series: &str, kind: &str, at_ms: i64) -> Option<(String, i64)> {
    let detection = &fold.config.detection;
    if detection.maintenance.is_empty() && detection.suppressions.is_empty() {
        return None;
    }
    // No detector says what the gateway says of itself.
    if Kind::named(kind).is_none() && fold.config.fold_version >= STANDING_SINCE {
        return None;
    }
    if let Some((rule, until_ms)) = detection.maintenance_at(detection.maintained(series), at_ms) {
        return Some((format!("in maintenance ({})", rule.reason), until_ms));
    }
    let active = |series: &str, kind: &str| fold.alarms.board.get(series, kind).is_some_and(|alarm| alarm.is_active());
    let rule = detection.suppressions.iter().find(|rule| rule.is_about(series, kind) && active(&rule.by, rule.by_kind.as_str()));
    let leaves = |series: &str, kind: &str| fold.alarms.board.get(series, kind).is_some_and(|alarm| alarm.leaves);
    rule.map(|rule| {
        let by = (rule.by.as_str(), rule.by_kind.as_str());
        // What stays on site is not told elsewhere as a reason either.
        let is_local = !leaves(by.0, by.1) && fold.config.fold_version >= LOCAL_SINCE;
        (if is_local { "another alarm is active".to_owned() } else { format!("{} {} is active", by.0, by.1) }, i64::MAX)
    })
}

/// Whether an alert is of an alarm that suppresses others.
pub(super) fn suppresses(fold: &Fold, alert: &AlertBody) -> bool {
    fold.config.detection.suppressions.iter().any(|rule| rule.by == alert.series && rule.by_kind.as_str() == alert.kind)
}

/// What the message of an alert that is not shown ends with.
pub(super) fn not_shown(why: &str) -> String {
    format!("{NOT_SHOWN}{why}")
}

/// The id of an act that configuration does: the same in every replay, another for each alert (splitmix64).
fn id(of: (u64, u64, u32), verb: Verb) -> u64 {
    let mut z = of.0 ^ of.1.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (u64::from(of.2) << 8 | verb as u64);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Fold {
    /// An alarm is suppressed, by the id of an alert or what is as unique; one that a design holds already is left as it is.
    pub(super) fn suppress(&mut self, of: AlertId, name: Name, reason: String, until_ms: i64) {
        let held = self.alarms.board.get(&name.0, &name.1).is_some_and(|alarm| alarm.acts().is_suppressed());
        if let Some(until) = self.alarms.designed.get_mut(&name) {
            *until = (*until).max(until_ms);
            return;
        }
        if held || self.is_full_of_acts() {
            return;
        }
        self.design(of, &name, Verb::Suppress, reason);
        self.alarms.designed.insert(name, until_ms);
    }

    /// A place among the alerts of the record under way, for an act that no alert names.
    fn next_id(&mut self) -> Option<AlertId> {
        let part = self.boots.last()?;
        let id = (part.boot, self.lsn - part.base, self.ordinal);
        self.ordinal += 1;
        Some(id)
    }

    /// Alarms that last, and that something suppresses now which did not before.
    pub(super) fn suppress_standing(&mut self) {
        if self.config.fold_version < STANDING_SINCE {
            return;
        }
        let stands = self.alarms.board.iter().filter(|(name, alarm)| alarm.is_active() && !self.alarms.designed.contains_key(*name));
        let due = stands.filter_map(|(name, _)| Some((name.clone(), of(self, &name.0, &name.1, self.clock_ms)?))).collect::<Vec<_>>();
        for (name, (reason, until_ms)) in due {
            if self.may_hold((&name.0, &name.1), until_ms)
                && let Some(id) = self.next_id()
            {
                self.suppress(id, name, reason, until_ms);
            }
        }
    }

    /// Whether what may suppress an alarm until then does: not an alarm that is hidden by that one
    /// itself, directly or by others. Of alarms that suppress each other one is left to be seen.
    pub(super) fn may_hold(&self, (series, kind): (&str, &str), until_ms: i64) -> bool {
        if until_ms < i64::MAX || self.config.fold_version < STANDING_SINCE {
            return true;
        }
        let (mut met, mut open) = (BTreeSet::new(), vec![(series.to_owned(), kind.to_owned())]);
        while let Some(name) = open.pop() {
            for rule in self.config.detection.suppressions.iter().filter(|rule| rule.is_about(&name.0, &name.1)) {
                let by = (rule.by.clone(), rule.by_kind.as_str().to_owned());
                if !self.alarms.board.get(&by.0, &by.1).is_some_and(|alarm| alarm.is_active()) {
                    continue;
                }
                match self.alarms.designed.get(&by) {
                    Some(&i64::MAX) if met.insert(by.clone()) => open.push(by),
                    Some(&i64::MAX) => {}
                    _ if (&*by.0, &*by.1) == (series, kind) => {}
                    _ => return true,
                }
            }
            met.insert(name);
        }
        false
    }

    /// Behind each record: what is in a maintenance window that has begun by the clock is suppressed.
    pub(super) fn rest(&mut self) {
        if self.rests_ms.is_some_and(|at| at <= self.clock_ms) {
            self.rests_ms = self.config.detection.maintenance_after(self.clock_ms);
            self.suppress_standing();
        }
    }

    fn design(&mut self, of: (u64, u64, u32), name: &Name, verb: Verb, mut reason: String) {
        while reason.len() > REASON_BYTES_MAX {
            reason.pop();
        }
        let request = Request { id: id(of, verb), verb, series: &name.0, kind: &name.1, by: BY, reason: &reason, for_ms: 0 };
        let act: Option<Act> = self.alarms.board.resolve(self.clock_ms, &request);
        if let Some(act) = act {
            self.done(act);
        }
    }

    /// Behind each record: what is suppressed no longer is released. It stands as it is then, and
    /// is told if it lasts.
    pub(super) fn release(&mut self) {
        // Alarms end with alerts of this record, maintenance with the clock.
        let due = self.ordinal > 0 || self.release_due_ms().is_some_and(|at| at <= self.clock_ms);
        if self.alarms.designed.is_empty() || !due || self.is_full_of_acts() {
            return;
        }
        let over = |(name, until_ms): (&Name, &i64)| {
            let active = |series: &str, kind: &str| self.alarms.board.get(series, kind).is_some_and(|alarm| alarm.is_active());
            let mut rules = self.config.detection.suppressions.iter().filter(|rule| rule.is_about(&name.0, &name.1));
            let lasts = match *until_ms {
                i64::MAX => rules.any(|rule| active(&rule.by, rule.by_kind.as_str())),
                until_ms => self.clock_ms < until_ms,
            };
            (!lasts).then(|| name.clone())
        };
        let over = self.alarms.designed.iter().filter_map(over).collect::<Vec<_>>();
        for (at, name) in over.into_iter().enumerate() {
            // What one reason suppressed, another may go on to.
            let other = of(self, &name.0, &name.1, self.clock_ms)
                .filter(|(_, until_ms)| self.config.fold_version >= STANDING_SINCE && self.may_hold((&name.0, &name.1), *until_ms));
            if let Some((reason, until_ms)) = other {
                if let Some(id) = self.next_id() {
                    self.design(id, &name, Verb::Suppress, reason);
                }
                self.alarms.designed.insert(name, until_ms);
                continue;
            }
            self.alarms.designed.remove(&name);
            let boot = self.boots.last().map_or(0, |part| part.boot);
            let ordinal = u32::try_from(at).unwrap_or(u32::MAX);
            let why = self.alarms.board.get(&name.0, &name.1).and_then(|alarm| alarm.acts.design.as_ref()).map(|act| act.reason.clone());
            self.design((boot, self.lsn, ordinal), &name, Verb::Release, "over".to_owned());
            self.released(&name, &why.unwrap_or_default());
        }
    }

    /// An alarm that was suppressed no longer is.
    fn released(&mut self, name: &Name, why: &str) {
        let held = self.alarms.board.get(&name.0, &name.1).and_then(|alarm| alarm.raised.as_ref()).map(|raised| raised.note.held);
        // What an older program did not tell was not told.
        let told_since = if held == Some(HELD_SUPPRESSED) { TOLD_SINCE } else { back::TOLD_SINCE };
        if self.config.fold_version >= told_since {
            self.resurface(name, why, None);
        }
    }

    /// The configuration may be another: what it suppresses no longer is released with the next
    /// record, and what stands and it suppresses now is.
    pub(in crate::fold) fn redesign(&mut self) {
        for name in self.alarms.designed.keys().cloned().collect::<Vec<_>>() {
            let holds = |until_ms: &i64| self.may_hold((&name.0, &name.1), *until_ms);
            let until_ms = of(self, &name.0, &name.1, self.clock_ms).map(|(_, until_ms)| until_ms).filter(holds).unwrap_or(self.clock_ms);
            self.alarms.designed.insert(name, until_ms);
        }
        self.rests_ms = self.config.detection.maintenance_after(self.clock_ms);
        self.suppress_standing();
    }

    /// An alarm was suppressed or released in a time that this log does not know, as the cloud tells: what the
    /// configuration says now holds, from this record on.
    pub(super) fn judge_design(&mut self, name: Name) {
        self.alarms.designed.remove(&name);
        if self.alarms.board.get(&name.0, &name.1).is_some_and(|alarm| alarm.acts().is_suppressed()) {
            let holds = |until_ms: &i64| self.may_hold((&name.0, &name.1), *until_ms);
            let until_ms = of(self, &name.0, &name.1, self.clock_ms).map(|(_, until_ms)| until_ms).filter(holds).unwrap_or(self.clock_ms);
            self.alarms.designed.insert(name, until_ms);
        } else {
            self.suppress_standing();
        }
    }

    /// When the next maintenance that suppresses an alarm ends.
    fn release_due_ms(&self) -> Option<i64> {
        self.alarms.designed.values().copied().filter(|until| *until < i64::MAX).min()
    }

    /// When maintenance begins or ends for an alarm.
    pub(crate) fn design_due_ms(&self) -> Option<i64> {
        let begins = self.rests_ms.filter(|_| !self.alarms.board.is_empty());
        begins.into_iter().chain(self.release_due_ms()).min()
    }

    /// A detector in shadow spoke.
    #[cold]
    pub(in crate::fold) fn shadow(&mut self, alert: AlertBody) {
        if alert.state == 0 {
            *self.shadowed.entry(alert.kind.clone()).or_default() += 1;
        }
        if self.fresh_shadow.len() < SHADOW_HELD_MAX {
            self.fresh_shadow.push((self.lsn, alert));
        }
    }
}
