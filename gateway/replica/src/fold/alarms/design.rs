//! What configuration makes of alarms: suppressed in maintenance windows and by other alarms,
//! released when that is over; and alerts of detectors in shadow, which raise none.
//!
//! Suppression is an act like those of people, by "configuration", with its reason: it stands in
//! the list of alarms and travels to the cloud as theirs do. What still lasts when it is over, and
//! was not shown so far, is told then, by an alert with an id of its own (ISA-18.2: it returns as
//! unacknowledged).

use crate::fold::{FOLD_VERSION, Fold};
use detect::alarm::{HELD_SUPPRESSED, Name, Request, Standing, Verb};
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

/// What the message of an alert that is not shown ends with.
pub(super) fn not_shown(why: &str) -> String {
    format!("; not shown: {why}")
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
            self.alarms.designed.remove(&name);
            let boot = self.boots.last().map_or(0, |part| part.boot);
            let ordinal = u32::try_from(at).unwrap_or(u32::MAX);
            let why = self.alarms.board.get(&name.0, &name.1).and_then(|alarm| alarm.acts.design.as_ref()).map(|act| act.reason.clone());
            self.design((boot, self.lsn, ordinal), &name, Verb::Release, "over".to_owned());
            self.resurface(&name, &why.unwrap_or_default());
        }
    }

    /// An alarm that was suppressed no longer is: if it lasts and nobody was told, they are now.
    fn resurface(&mut self, name: &Name, why: &str) {
        // What an older program did not tell was not told.
        if self.config.fold_version < FOLD_VERSION {
            return;
        }
        let Some(part) = self.boots.last() else { return };
        let Some(alarm) = self.alarms.board.get(&name.0, &name.1) else { return };
        let leaves = alarm.leaves;
        let Some(raised) = alarm.raised.as_ref().filter(|raised| raised.note.held == HELD_SUPPRESSED) else { return };
        if alarm.standing(self.clock_ms) != Standing::Unacknowledged {
            return;
        }
        let message = raised.message.strip_suffix(&not_shown(why)).unwrap_or(&raised.message);
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
            message: format!("{message}; it lasts, and is told now that this is over: {why}"),
            score: None,
            baseline: None,
            alarm: None,
            contributors: Vec::new(),
        };
        self.ordinal += 1;
        self.tell(alert, leaves);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::FoldConfig;
    use crate::record::{FLAG_LEAVES, KIND_MESSAGE, Record, put_message_head, put_reading};
    use detect::{Kind, LimitRule, Maintenance, Pattern, Settings, Suppression};
    use schemas::wire;

    const START_MS: i64 = 1_700_000_000_000;

    /// A gateway, told what happens second by second.
    struct Story {
        fold: Fold,
        late_ms: u64,
        clock_ms: i64,
    }

    impl Story {
        /// Series m/power and m/flow; the flow must stay above 10, the power above 1.
        fn new(fold_version: u32, rules: Settings) -> Self {
            let low = |series: &str, low: f64| LimitRule { series: Pattern::new(series), low: Some(low), ..LimitRule::default() };
            let detection = Settings { limits: vec![low("m/power", 1.0), low("m/flow", 10.0)], ..rules };
            let alarms = Some(detect::alarm::Settings::default());
            let config = FoldConfig { fold_version, sizes_ms: vec![10_000], detection, alarms, ..FoldConfig::default() };
            let mut story = Self { fold: Fold::default(), late_ms: START_MS as u64, clock_ms: START_MS };
            story.push(&Record::Boot { boot: 7, parent: None, config: &schemas::cbor::to_vec(&config) });
            story.push(&Record::Series { number: 0, name: "m/power", unit: None });
            story.push(&Record::Series { number: 1, name: "m/flow", unit: Some("l/min") });
            story
        }

        fn push(&mut self, record: &Record<'_>) {
            let mut payload = Vec::new();
            record.encode(std::mem::take(&mut self.late_ms), &mut payload);
            self.fold.apply(self.fold.lsn + 1, record.kind(), &payload).unwrap();
        }

        /// A second passes, with a reading or none; what was told, shown or not.
        fn second(&mut self, reading: Option<(u32, f64)>) -> Vec<AlertBody> {
            (self.late_ms, self.clock_ms) = (self.late_ms + 1_000, self.clock_ms + 1_000);
            match reading {
                None => self.push(&Record::Tick),
                Some((series, value)) => {
                    let mut payload = Vec::new();
                    wire::put_varint(&mut payload, std::mem::take(&mut self.late_ms));
                    put_message_head(&mut payload, FLAG_LEAVES, 0, 0);
                    put_reading(&mut payload, series, self.clock_ms, self.clock_ms, value);
                    self.fold.apply(self.fold.lsn + 1, KIND_MESSAGE, &payload).unwrap();
                }
            }
            self.fold.fresh.drain(..).map(|(_, alert)| alert).collect()
        }

        fn standing(&self) -> Standing {
            self.fold.alarms.board.get("m/flow", "low").unwrap().standing(self.clock_ms)
        }
    }

    fn held(alerts: &[AlertBody]) -> Vec<(&str, u8, u8)> {
        alerts.iter().map(|alert| (alert.series.as_str(), alert.state, alert.alarm.as_ref().unwrap().held)).collect()
    }

    fn maintenance() -> Settings {
        let (from_ms, until_ms) = (START_MS, START_MS + 5_500);
        let window = Maintenance { series: Pattern::new("m/*"), from_ms, until_ms, every_ms: None, reason: "oil".into() };
        Settings { maintenance: vec![window], ..Settings::default() }
    }

    fn suppression() -> Settings {
        let rule = Suppression { by: "m/power".into(), by_kind: Kind::Low, series: Pattern::new("m/*"), kinds: vec![] };
        Settings { suppressions: vec![rule], ..Settings::default() }
    }

    #[test]
    fn an_alarm_that_outlasts_maintenance_is_told_once_then_with_an_id_of_its_own() {
        let mut story = Story::new(FOLD_VERSION, maintenance());
        let first = story.second(Some((1, 2.0)));
        assert_eq!(held(&first), [("m/flow", 0, HELD_SUPPRESSED)]);
        assert!(first[0].message.ends_with("; not shown: in maintenance (oil)"), "{}", first[0].message);
        assert_eq!((0..4).flat_map(|_| story.second(None)).collect::<Vec<_>>(), []);
        assert_eq!(story.standing(), Standing::Suppressed);
        let then = story.second(None);
        assert_eq!(held(&then), [("m/flow", 0, detect::alarm::SHOWN)]);
        assert_eq!(then[0].message, "2 l/min is below 10 l/min; it lasts, and is told now that this is over: in maintenance (oil)");
        assert_eq!((then[0].value, then[0].limit, then[0].severity, then[0].time_ms), (2.0, Some(10.0), 1, story.clock_ms));
        assert_ne!((then[0].seq, then[0].ordinal), (first[0].seq, first[0].ordinal));
        assert_eq!(story.standing(), Standing::Unacknowledged);
        let waiting = &story.fold.boots.last().unwrap().alerts;
        assert_eq!(waiting.len(), 2, "it goes to the cloud as well");
        // Restored from a snapshot, it is not told again; its end is told to those who heard of it.
        story.fold = Fold::restore(&story.fold.save()).unwrap();
        assert_eq!(story.second(None), []);
        assert_eq!(held(&story.second(Some((1, 20.0)))), [("m/flow", 1, detect::alarm::SHOWN)]);
    }

    #[test]
    fn what_ended_or_was_acknowledged_in_the_meantime_is_not_told() {
        let mut story = Story::new(FOLD_VERSION, maintenance());
        story.second(Some((1, 2.0)));
        assert_eq!(held(&story.second(Some((1, 20.0)))), [("m/flow", 1, HELD_SUPPRESSED)]);
        assert_eq!((0..9).flat_map(|_| story.second(None)).collect::<Vec<_>>(), []);
        let mut story = Story::new(FOLD_VERSION, maintenance());
        story.second(Some((1, 2.0)));
        let request = Request { id: 5, verb: Verb::Acknowledge, series: "m/flow", kind: "low", by: "jo", reason: "", for_ms: 0 };
        story.push(&Record::Asked { request });
        assert_eq!((0..9).flat_map(|_| story.second(None)).collect::<Vec<_>>(), []);
        assert_eq!(story.standing(), Standing::Acknowledged);
    }

    #[test]
    fn an_alarm_that_outlasts_the_one_that_suppressed_it_is_told_with_its_end() {
        let mut story = Story::new(FOLD_VERSION, suppression());
        assert_eq!(held(&story.second(Some((0, 0.0)))), [("m/power", 0, detect::alarm::SHOWN)]);
        assert_eq!(held(&story.second(Some((1, 2.0)))), [("m/flow", 0, HELD_SUPPRESSED)]);
        assert_eq!(story.second(None), []);
        let told = story.second(Some((0, 5.0)));
        assert_eq!(held(&told), [("m/power", 1, detect::alarm::SHOWN), ("m/flow", 0, detect::alarm::SHOWN)]);
        assert_ne!(told[0].ordinal, told[1].ordinal, "two alerts of one record");
        assert!(told[1].message.ends_with("told now that this is over: m/power low is active"), "{}", told[1].message);
    }

    #[test]
    fn in_the_boot_of_an_older_program_nothing_is_told_that_it_did_not_tell() {
        let mut story = Story::new(FOLD_VERSION - 1, maintenance());
        story.second(Some((1, 2.0)));
        assert_eq!((0..9).flat_map(|_| story.second(None)).collect::<Vec<_>>(), []);
        assert_eq!(story.standing(), Standing::Unacknowledged, "it stands in the list");
    }
}
