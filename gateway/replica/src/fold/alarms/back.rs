//! Alarms that come back: off the shelf, into service, out of what suppressed them. What still lasts
//! then, and that nobody was told of or acknowledged, is told, by an alert with an id of its own.

use crate::fold::Fold;
use detect::alarm::{Alarm, Name, Standing, Verb};
use schemas::message::{Act, AlertBody, AlertKey};

/// What the message of an alert that is not shown says before the reason.
pub(super) const NOT_SHOWN: &str = "; not shown: ";

/// Version of the fold since which it is told of what people had put aside.
pub(super) const TOLD_SINCE: u32 = 8;

/// The same, since which what is told again is no new raise.
const AGAIN_SINCE: u32 = 10;

/// What the message says before what is over.
const LASTS: &str = "; it lasts, and is told now that this is over: ";
const SHELVED: &str = "shelved";
const OUT_OF_SERVICE: &str = "out of service";

/// What an act ends that put an alarm aside.
pub(super) struct Ends {
    what: &'static str,
    /// The newest alert that its person had seen.
    seen: AlertKey,
}

impl Ends {
    /// What `act` ends at a time, if it counts, for an alarm as it is before.
    pub(super) fn of(clock_ms: i64, alarm: Option<&Alarm>, act: &Act) -> Option<Self> {
        let (acts, verb) = (&alarm?.acts, Verb::of(act.verb)?);
        let (what, aside) = match verb {
            Verb::Unshelve => (SHELVED, acts.shelf.as_ref().filter(|_| acts.shelved_until().is_some_and(|until| until > clock_ms))),
            Verb::Return => (OUT_OF_SERVICE, acts.service.as_ref().filter(|_| acts.is_out_of_service())),
            _ => return None,
        };
        aside.map(|aside| Self { what, seen: aside.seen })
    }
}

impl Fold {
    /// Somebody took an alarm off the shelf, or into service.
    pub(super) fn returned(&mut self, name: &Name, ends: &Ends) {
        if self.config.fold_version >= TOLD_SINCE {
            self.resurface(name, ends.what, Some(ends.seen));
        }
    }

    /// An alarm's time on the shelf is over.
    pub(super) fn unshelved(&mut self, name: &Name) {
        let Some(alarm) = self.alarms.board.get(&name.0, &name.1) else { return };
        // What was raised behind its end was never put aside by it.
        let within = |until_ms: i64| alarm.raised.as_ref().is_some_and(|raised| raised.key.at_ms < until_ms);
        let seen = alarm.acts.shelf.as_ref().filter(|shelf| within(shelf.until_ms)).map(|shelf| shelf.seen);
        if self.config.fold_version >= TOLD_SINCE {
            self.resurface(name, SHELVED, seen);
        }
    }

    /// What put an alarm aside is over: if it lasts and nobody was told, they are now. Whoever put it aside at the
    /// cloud without having seen what was raised before the gateway knew of that kept it from being shown there.
    pub(super) fn resurface(&mut self, name: &Name, why: &str, seen: Option<AlertKey>) {
        let Some(part) = self.boots.last() else { return };
        let Some(alarm) = self.alarms.board.get(&name.0, &name.1) else { return };
        let leaves = alarm.leaves;
        let untold = alarm.standing(self.clock_ms) == Standing::Unacknowledged && alarm.is_untold(seen);
        let Some(raised) = alarm.raised.as_ref().filter(|_| untold) else { return };
        let end = [NOT_SHOWN, LASTS].into_iter().filter_map(|mark| raised.message.find(mark)).min();
        let message = &raised.message[..end.unwrap_or(raised.message.len())];
        let alert = AlertBody {
            boot: part.boot,
            seq: self.lsn - part.base,
            ordinal: self.ordinal,
            series: name.0.clone(),
            severity: raised.severity,
            kind: name.1.clone(),
            state: 0,
            time_ms: self.clock_ms,
            value: raised.value,
            limit: raised.limit,
            unit: raised.unit.clone(),
            message: format!("{message}{LASTS}{why}"),
            score: None,
            baseline: None,
            alarm: None,
            contributors: Vec::new(),
        };
        self.ordinal += 1;
        self.tell_as(alert, leaves, self.config.fold_version >= AGAIN_SINCE);
    }
}
