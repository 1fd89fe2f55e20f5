//! Alerts at the gateway's own broker: shown as they are made, and kept for durable sessions until these have them.
//!
//! What waits for a subscriber is in the broker's memory alone. So the fold keeps an alert until each durable session
//! that was given it is done with it. At most once a second the log is told up to which alert all were shown, and which
//! sessions are behind, each by how far. The next process tells each of those what it lacks, and nobody else; what was
//! not told to the log by then goes to every durable session that is subscribed.

use crate::intake::Intake;
use crate::limits::{ALERTS_KEPT_MAX, ALERTS_TOLD_EVERY, ALERTS_TOLD_SESSIONS};
use broker::{Broker, Watched};
use replica::alert::topic_and_json;
use replica::fold::Fold;
use replica::record::{Behind, Numbers, Record};
use schemas::message::AlertBody;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;
use tracing::debug;

/// The core's hand on alerts.
pub struct Alerts {
    gateway: String,
    /// Shown up to this record.
    shown: u64,
    /// What durable sessions were given, in the order of the records, from the first on that one is not done with.
    given: BTreeMap<u64, VecDeque<(u64, Watched)>>,
    /// How often one was let go of for a session that was not done with it, not told to the log yet.
    unheld: u64,
    /// What the log was told last: up to where all were shown, and which sessions were behind.
    told: (u64, BTreeMap<u64, u64>),
    looked: Instant,
}

/// Whether the list of alarms holds it back: it goes up with its interval, and stands in that list.
pub fn is_held(alert: &AlertBody) -> bool {
    alert.alarm.as_ref().is_some_and(|note| note.held != detect::alarm::SHOWN)
}

impl Alerts {
    /// Before the door opens: sessions that an earlier process left are told what they lack.
    pub fn new(gateway: &str, fold: &Fold, broker: &Broker) -> Self {
        let mut alerts = Self {
            gateway: gateway.to_owned(),
            shown: fold.shown,
            given: BTreeMap::new(),
            unheld: 0,
            told: (fold.shown, fold.behind.clone()),
            looked: Instant::now(),
        };
        for (lsn, alert) in &fold.fresh {
            let lacks = |session| *lsn > fold.shown || fold.behind.get(&session).is_some_and(|has| lsn > has);
            alerts.give(*lsn, alert, broker, |session| session != 0 && lacks(session));
        }
        alerts
    }

    /// Those that were not shown yet.
    pub fn fresh<'a>(&self, fold: &'a Fold) -> &'a [(u64, AlertBody)] {
        &fold.fresh[fold.fresh.partition_point(|(lsn, _)| *lsn <= self.shown)..]
    }

    /// Shows one to all who subscribed.
    pub fn show(&mut self, lsn: u64, alert: &AlertBody, broker: &Broker) {
        self.give(lsn, alert, broker, |_| true);
    }

    fn give(&mut self, lsn: u64, alert: &AlertBody, broker: &Broker, wanted: impl Fn(u64) -> bool) {
        self.shown = self.shown.max(lsn);
        if is_held(alert) {
            return;
        }
        let (topic, json) = topic_and_json(&self.gateway, alert);
        for (session, watched) in broker.publish_apart(&topic, json.into(), 1, wanted) {
            self.given.entry(session).or_default().push_back((lsn, watched));
        }
    }

    /// Whether it is time for [`Alerts::tell`].
    pub fn is_due(&self) -> bool {
        let many = u32::try_from(self.told.1.len() / ALERTS_TOLD_SESSIONS).unwrap_or(u32::MAX);
        self.looked.elapsed() >= ALERTS_TOLD_EVERY.saturating_mul(many.saturating_add(1))
    }

    /// Tells the log who has what, if that has changed.
    pub fn tell(&mut self, fold: &Fold, intake: &Intake) {
        self.looked = Instant::now();
        self.let_go(fold);
        let (lsn, behind) = (self.shown, self.behind());
        if self.unheld == 0 && (self.told.0, &self.told.1) == (lsn, &behind) {
            return;
        }
        let numbers = Numbers { bytes: &Behind::encode(lsn, &behind) };
        match intake.log(&Record::Shown { lsn, unheld: self.unheld, behind: Behind { numbers } }) {
            Ok(_) => (self.told, self.unheld) = ((lsn, behind), 0),
            Err(refused) => debug!(%refused, "alerts shown may be shown again after a crash"),
        }
    }

    /// Beyond what the fold may keep, the oldest are kept for nobody.
    fn let_go(&mut self, fold: &Fold) {
        let Some(last) = fold.fresh.len().checked_sub(ALERTS_KEPT_MAX + 1).map(|at| fold.fresh[at].0) else { return };
        for given in self.given.values_mut() {
            while given.front().is_some_and(|(lsn, _)| *lsn <= last) {
                self.unheld += given.pop_front().map_or(0, |(_, watched)| u64::from(!watched.is_done()));
            }
        }
    }

    /// Up to which record those sessions have all alerts that lack some.
    fn behind(&mut self) -> BTreeMap<u64, u64> {
        self.given.retain(|_, given| {
            while given.front().is_some_and(|(_, watched)| watched.is_done()) {
                given.pop_front();
            }
            !given.is_empty()
        });
        self.given.iter().filter_map(|(session, given)| Some((*session, given.front()?.0 - 1))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crossing::rules::Rules;
    use crate::desk::Desk;
    use broker::{StoredSession, Version};
    use journal::{Journal, Options};
    use schemas::message::AlarmNote;
    use std::ops::ControlFlow;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::watch;

    fn opened(dir: &Path) -> journal::Opened {
        journal::open(dir, Options { retain: Duration::MAX, limit_bytes: 1 << 30 }).unwrap()
    }

    fn intake(journal: &Journal) -> Intake {
        let sources = telemetry::source::Sources::new("g", vec![telemetry::source::Source::default()]).unwrap();
        let (_, horizon) = watch::channel(broker::Horizon::default());
        let (settings, desk) = (detect::Settings::default(), Arc::new(Desk::new("g")));
        Intake::new(journal.clone(), &Fold::default(), sources, false, settings, Arc::new(Rules::new("g", &[])), 10, horizon, desk)
    }

    /// A broker whose absent clients have these sessions.
    fn broker(door: Intake, filters: &[&str]) -> Broker {
        let stored = (1..).zip(filters).map(|(number, filter)| StoredSession {
            number,
            client_id: number.to_string(),
            expiry_s: u32::MAX,
            version: Version::V5,
            subscriptions: vec![((*filter).to_owned(), 1, None)],
            received: Vec::new(),
            will: None,
        });
        let config = broker::Config { max_packet: 1 << 10, connections_max: 1, queue_max: 10 };
        Broker::new(config, Arc::new(door), stored.collect())
    }

    fn alert(lsn: u64) -> (u64, AlertBody) {
        let (boot, seq, series, kind) = (1, lsn, format!("m{lsn}"), "high".to_owned());
        let message = "too much".to_owned();
        let (value, limit, unit, score, baseline) = (1.0, None, None, None, None);
        let (ordinal, severity, state, time_ms, alarm, contributors) = (0, 0, 0, 1, None, Vec::new());
        let alert = AlertBody {
            boot,
            seq,
            ordinal,
            series,
            severity,
            kind,
            state,
            time_ms,
            value,
            limit,
            unit,
            message,
            score,
            baseline,
            alarm,
            contributors,
        };
        (lsn, alert)
    }

    #[test]
    fn what_is_beyond_the_bound_is_kept_for_nobody_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let journal = opened(dir.path()).start(Box::new(drop)).unwrap();
        let broker = broker(intake(&journal), &["alerts/#", "alerts/+/g/m1", "other"]);
        let mut fold = Fold::default();
        fold.sessions.by_number = (1..=3).map(|number| (number, replica::session::Session::default())).collect();
        let mut alerts = Alerts::new("g", &fold, &broker);
        let door = intake(&journal);
        let most = ALERTS_KEPT_MAX as u64;
        for lsn in 1..=most + 5 {
            fold.fresh.push(alert(lsn));
            alerts.show(lsn, &alert(lsn).1, &broker);
            if lsn == most {
                alerts.tell(&fold, &door);
            }
        }
        assert!(alerts.fresh(&fold).is_empty());
        alerts.tell(&fold, &door);
        assert_eq!((alerts.told.clone(), alerts.unheld), ((most + 5, [(1, 5)].into()), 0));
        alerts.tell(&fold, &door);
        journal.close();
        let (mut told, mut lsn) = (Vec::new(), most + 5);
        drop((alerts, broker, door));
        journal.stop();
        drop(journal);
        opened(dir.path())
            .replay(0, &mut |frame| {
                for (_, kind, payload) in frame.records() {
                    lsn += 1;
                    fold.apply(lsn, kind, payload).unwrap();
                    told.push((fold.shown, fold.behind.clone(), fold.alerts_unheld, fold.fresh.len()));
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        let wanted = [(most, [(1, 0), (2, 0)].into(), 0, ALERTS_KEPT_MAX + 5), (most + 5, [(1, 5)].into(), 5 + 1, ALERTS_KEPT_MAX)];
        assert_eq!(told, wanted, "the second time nothing had changed");
    }

    #[test]
    fn each_session_is_told_what_it_lacks_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let journal = opened(dir.path()).start(Box::new(drop)).unwrap();
        let mut fold = Fold::default();
        (fold.shown, fold.behind, fold.fresh) = (4, [(1, 0), (2, 2), (9, 0)].into(), (1..=6).map(alert).collect());
        // What the list of alarms holds back is shown to nobody.
        let (at_ms, held, count, flags, group) = (1, detect::alarm::SHOWN + 1, 1, 0, None);
        fold.fresh[3].1.alarm = Some(AlarmNote { at_ms, held, count, flags, group });
        let broker = broker(intake(&journal), &["alerts/#", "alerts/critical/g/+", "alerts/#", "alarms/#"]);
        let alerts = Alerts::new("g", &fold, &broker);
        let given: BTreeMap<u64, Vec<u64>> =
            alerts.given.iter().map(|(session, given)| (*session, given.iter().map(|(lsn, _)| *lsn).collect())).collect();
        assert_eq!(given, [(1, vec![1, 2, 3, 5, 6]), (2, vec![3, 5, 6]), (3, vec![5, 6])].into());
        assert!(alerts.fresh(&fold).is_empty() && alerts.told.0 == 4, "the log knows when it is told");
    }
}
