//! What configuration makes of alarms: suppressed in maintenance windows and by other alarms,
//! released when that is over; and alerts of detectors in shadow, which raise none.
//!
//! Suppression is an act like those of people, by "configuration", with its reason: it stands in
//! the list of alarms and travels to the cloud as theirs do.

use crate::fold::Fold;
use detect::alarm::{Name, Request, Verb};
use detect::limits::SHADOW_HELD_MAX;
use schemas::limits::REASON_BYTES_MAX;
use schemas::message::{Act, AlertBody};

/// Who suppresses.
pub(super) const BY: &str = "configuration";

/// Why an alert that was just made is not to be shown by configuration, and until when at the latest.
pub(super) fn of(fold: &Fold, alert: &AlertBody) -> Option<(String, i64)> {
    let detection = &fold.config.detection;
    if detection.maintenance.is_empty() && detection.suppressions.is_empty() {
        return None;
    }
    if let Some((rule, until_ms)) = detection.maintenance_at(detection.maintained(&alert.series), alert.time_ms) {
        return Some((format!("in maintenance ({})", rule.reason), until_ms));
    }
    let active = |series: &str, kind: &str| fold.alarms.board.get(series, kind).is_some_and(|alarm| alarm.is_active());
    let rule =
        detection.suppressions.iter().find(|rule| rule.is_about(&alert.series, &alert.kind) && active(&rule.by, rule.by_kind.as_str()));
    rule.map(|rule| (format!("{} {} is active", rule.by, rule.by_kind.as_str()), i64::MAX))
}

/// The id of an act that configuration does: the same in every replay, another for each alert (splitmix64).
fn id(of: (u64, u64, u32), verb: Verb) -> u64 {
    let mut z = of.0 ^ of.1.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (u64::from(of.2) << 8 | verb as u64);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Fold {
    /// An alarm that was just raised is suppressed; one that people or a design hold already is left as it is.
    pub(super) fn suppress(&mut self, alert: &AlertBody, reason: String, until_ms: i64) {
        let name = (alert.series.clone(), alert.kind.clone());
        let held = self.alarms.board.get(&name.0, &name.1).is_some_and(|alarm| alarm.acts().is_suppressed());
        if let Some(until) = self.alarms.designed.get_mut(&name) {
            *until = (*until).max(until_ms);
            return;
        }
        if held || self.is_full_of_acts() {
            return;
        }
        self.design((alert.boot, alert.seq, alert.ordinal), &name, Verb::Suppress, reason);
        self.alarms.designed.insert(name, until_ms);
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
    /// is in the list of alarms if it lasts.
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
            self.alarms.designed.remove(&name);
            let boot = self.boots.last().map_or(0, |part| part.boot);
            let ordinal = u32::try_from(at).unwrap_or(u32::MAX);
            self.design((boot, self.lsn, ordinal), &name, Verb::Release, "over".to_owned());
        }
    }

    /// The configuration may be another: what it suppresses no longer is released with the next record.
    pub(in crate::fold) fn redesign(&mut self) {
        let detection = &self.config.detection;
        for (name, until_ms) in &mut self.alarms.designed {
            let rests = detection.maintenance_at(detection.maintained(&name.0), self.clock_ms).map(|(_, until_ms)| until_ms);
            let rule = detection.suppressions.iter().any(|rule| rule.is_about(&name.0, &name.1));
            *until_ms = rests.unwrap_or(if rule { i64::MAX } else { self.clock_ms });
        }
    }

    /// When the next maintenance that suppresses an alarm ends.
    pub(crate) fn release_due_ms(&self) -> Option<i64> {
        self.alarms.designed.values().copied().filter(|until| *until < i64::MAX).min()
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
