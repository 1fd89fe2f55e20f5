//! What configuration suppresses, and what is told of it, second by second.

use super::*;
use crate::fold::{FOLD_VERSION, FoldConfig};
use crate::record::{FLAG_LEAVES, KIND_MESSAGE, Record, put_message_head, put_reading};
use detect::alarm::Standing;
use detect::{LimitRule, Maintenance, Pattern, Settings, Shadow, Suppression};
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
        let mut story = Self { fold: Fold::default(), late_ms: START_MS as u64, clock_ms: START_MS };
        story.boot(7, fold_version, rules);
        story.push(&Record::Series { number: 0, name: "m/power", unit: None });
        story.push(&Record::Series { number: 1, name: "m/flow", unit: Some("l/min") });
        story
    }

    fn boot(&mut self, boot: u64, fold_version: u32, rules: Settings) {
        let low = |series: &str, low: f64| LimitRule { series: Pattern::new(series), low: Some(low), ..LimitRule::default() };
        let detection = Settings { limits: vec![low("m/power", 1.0), low("m/flow", 10.0)], ..rules };
        let alarms = Some(detect::alarm::Settings::default());
        let config = FoldConfig { fold_version, sizes_ms: vec![10_000], detection, alarms, ..FoldConfig::default() };
        self.push(&Record::Boot { boot, parent: None, config: &schemas::cbor::to_vec(&config) });
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
        self.standing_of("m/flow")
    }

    fn standing_of(&self, series: &str) -> Standing {
        self.fold.alarms.board.get(series, "low").unwrap().standing(self.clock_ms)
    }

    /// Why the flow's alarm is suppressed.
    fn why(&self) -> String {
        self.fold.alarms.board.get("m/flow", "low").unwrap().acts.design.as_ref().unwrap().reason.clone()
    }

    /// Stored and restored: it must go on as if it never was.
    fn restart(&mut self) {
        let restored = Fold::restore(&self.fold.save()).unwrap();
        assert_eq!((restored.rests_ms, restored.save()), (self.fold.rests_ms, self.fold.save()));
        self.fold = restored;
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

fn both() -> Settings {
    let each = |by: &str, series: &str| Suppression { by: by.into(), by_kind: Kind::Low, series: Pattern::new(series), kinds: vec![] };
    Settings { suppressions: vec![each("m/power", "m/flow"), each("m/flow", "m/power")], ..Settings::default() }
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

/// Suppressed while it was on the shelf: whichever ends last, it is told then.
#[test]
fn what_two_put_aside_is_told_when_both_are_over() {
    for (for_ms, what) in [(3_000, "in maintenance (oil)"), (8_000, "shelved")] {
        let mut story = Story::new(FOLD_VERSION, maintenance());
        story.second(Some((1, 2.0)));
        let request = Request { id: 5, verb: Verb::Shelve, series: "m/flow", kind: "low", by: "jo", reason: "", for_ms };
        story.push(&Record::Asked { request });
        let told: Vec<_> = (0..9).flat_map(|_| story.second(None)).collect();
        assert_eq!(held(&told), [("m/flow", 0, detect::alarm::SHOWN)]);
        assert_eq!(told[0].message, format!("2 l/min is below 10 l/min; it lasts, and is told now that this is over: {what}"));
    }
}

#[test]
fn in_the_boot_of_an_older_program_what_outlasts_its_shelf_is_not_told() {
    for (version, told) in [(back::TOLD_SINCE - 1, 0), (FOLD_VERSION, 1)] {
        let mut story = Story::new(version, Settings::default());
        story.second(Some((1, 2.0)));
        story.second(Some((1, 20.0)));
        let request = Request { id: 5, verb: Verb::Shelve, series: "m/flow", kind: "low", by: "jo", reason: "", for_ms: 3_000 };
        story.push(&Record::Asked { request });
        assert_eq!(held(&story.second(Some((1, 2.0)))), [("m/flow", 0, detect::alarm::HELD_SHELVED)]);
        assert_eq!((0..9).flat_map(|_| story.second(None)).count(), told);
        assert_eq!(story.standing(), Standing::Unacknowledged, "it stands in the list");
    }
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
    let mut story = Story::new(TOLD_SINCE - 1, maintenance());
    story.second(Some((1, 2.0)));
    assert_eq!((0..9).flat_map(|_| story.second(None)).collect::<Vec<_>>(), []);
    assert_eq!(story.standing(), Standing::Unacknowledged, "it stands in the list");
}

#[test]
fn an_alarm_that_stands_is_suppressed_when_the_one_that_suppresses_it_is_raised() {
    let mut story = Story::new(FOLD_VERSION, suppression());
    assert_eq!(held(&story.second(Some((1, 2.0)))), [("m/flow", 0, detect::alarm::SHOWN)]);
    assert_eq!(held(&story.second(Some((0, 0.0)))), [("m/power", 0, detect::alarm::SHOWN)]);
    assert_eq!((story.standing(), story.why()), (Standing::Suppressed, "m/power low is active".to_owned()));
    assert_eq!(story.standing_of("m/power"), Standing::Unacknowledged, "not by itself");
    story.restart();
    // Those who were told of it need not be told again: it stands in the list once more.
    assert_eq!(held(&story.second(Some((0, 5.0)))), [("m/power", 1, detect::alarm::SHOWN)]);
    assert_eq!(story.standing(), Standing::Unacknowledged);
    assert_eq!(held(&story.second(Some((1, 20.0)))), [("m/flow", 1, detect::alarm::SHOWN)]);
    let acts = &story.fold.boots.last().unwrap().acts;
    assert_eq!(acts.iter().map(|(_, act, _)| act.verb).collect::<Vec<_>>(), [Verb::Suppress as u8, Verb::Release as u8]);
}

#[test]
fn an_alarm_that_stands_is_suppressed_while_a_window_lasts_each_time_it_comes() {
    let (from_ms, until_ms) = (START_MS + 3_000, START_MS + 5_500);
    let window = Maintenance { series: Pattern::new("**"), from_ms, until_ms, every_ms: Some(10_000), reason: "oil".into() };
    let mut story = Story::new(FOLD_VERSION, Settings { maintenance: vec![window], ..Settings::default() });
    assert_eq!(story.fold.design_due_ms(), None, "nothing waits for it");
    assert_eq!(held(&story.second(Some((1, 2.0)))), [("m/flow", 0, detect::alarm::SHOWN)]);
    assert_eq!(story.fold.design_due_ms(), Some(from_ms), "a tick is logged then");
    let mut seen = Vec::new();
    for _ in 1..16 {
        assert_eq!(story.second(None), []);
        story.restart();
        seen.push(story.standing() == Standing::Suppressed);
    }
    let expected = (2..17).map(|second| (3..6).contains(&(second % 10)));
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

#[test]
fn a_start_with_other_rules_suppresses_what_stands_and_releases_what_they_do_not_know() {
    let mut story = Story::new(FOLD_VERSION, Settings::default());
    story.second(Some((1, 2.0)));
    story.boot(
        8,
        FOLD_VERSION,
        Settings {
            maintenance: vec![Maintenance { until_ms: 2 * START_MS, ..maintenance().maintenance.remove(0) }],
            ..Settings::default()
        },
    );
    assert_eq!((story.standing(), story.why()), (Standing::Suppressed, "in maintenance (oil)".to_owned()));
    story.boot(9, FOLD_VERSION, Settings::default());
    assert_eq!(story.second(None), []);
    assert_eq!(story.standing(), Standing::Unacknowledged);
}

#[test]
fn what_one_reason_suppressed_another_may_go_on_to() {
    let mut story = Story::new(FOLD_VERSION, Settings { maintenance: maintenance().maintenance, ..suppression() });
    story.fold.config.detection.maintenance[0].series = Pattern::new("m/flow");
    for series in story.fold.series.iter_mut().filter(|series| series.name == "m/power") {
        series.maintained = 0;
    }
    story.second(Some((0, 0.0)));
    assert_eq!(held(&story.second(Some((1, 2.0)))), [("m/flow", 0, HELD_SUPPRESSED)]);
    assert_eq!(story.why(), "in maintenance (oil)");
    assert_eq!((0..6).flat_map(|_| story.second(None)).collect::<Vec<_>>(), [], "the window is over, the power still away");
    assert_eq!((story.standing(), story.why()), (Standing::Suppressed, "m/power low is active".to_owned()));
    let told = story.second(Some((0, 5.0)));
    assert_eq!(held(&told), [("m/power", 1, detect::alarm::SHOWN), ("m/flow", 0, detect::alarm::SHOWN)]);
    assert_eq!(told[1].message, "2 l/min is below 10 l/min; it lasts, and is told now that this is over: m/power low is active");
}

#[test]
fn of_two_alarms_that_suppress_each_other_one_is_seen() {
    let mut story = Story::new(FOLD_VERSION, both());
    story.second(Some((0, 0.0)));
    story.second(Some((1, 2.0)));
    assert_eq!([story.standing_of("m/power"), story.standing()], [Standing::Unacknowledged, Standing::Suppressed]);
    // Also of two that stand when the rules come.
    let mut story = Story::new(FOLD_VERSION, Settings::default());
    story.second(Some((0, 0.0)));
    story.second(Some((1, 2.0)));
    story.boot(8, FOLD_VERSION, both());
    assert_eq!([story.standing_of("m/power"), story.standing()], [Standing::Unacknowledged, Standing::Suppressed]);
}

/// What a hidden alarm suppresses is hidden as well.
#[test]
fn what_follows_from_a_consequence_is_hidden_with_it() {
    let each = |by: &str, series: &str| Suppression { by: by.into(), by_kind: Kind::Low, series: Pattern::new(series), kinds: vec![] };
    let mut story = Story::new(
        FOLD_VERSION,
        Settings { suppressions: vec![each("m/power", "m/flow"), each("m/flow", "m/oil")], ..Settings::default() },
    );
    story.second(Some((0, 0.0)));
    story.second(Some((1, 2.0)));
    assert_eq!([story.standing_of("m/power"), story.standing()], [Standing::Unacknowledged, Standing::Suppressed]);
    assert!(story.fold.may_hold(("m/oil", "low"), i64::MAX));
}

/// The flow was in maintenance when the power failed, which it therefore hid.
#[test]
fn when_maintenance_ends_one_of_two_that_suppress_each_other_is_seen() {
    let window = Maintenance { series: Pattern::new("m/flow"), ..maintenance().maintenance[0].clone() };
    let mut story = Story::new(FOLD_VERSION, Settings { maintenance: vec![window], ..both() });
    assert_eq!(story.fold.series.iter().filter(|series| series.maintained != 0).count(), 1);
    story.second(Some((1, 2.0)));
    story.second(Some((0, 0.0)));
    let told: Vec<_> = (0..9).flat_map(|_| story.second(None)).collect();
    let hidden = ["m/power", "m/flow"].iter().filter(|series| story.standing_of(series) == Standing::Suppressed).count();
    assert_eq!((hidden, told.iter().filter(|alert| alert.alarm.as_ref().unwrap().held == detect::alarm::SHOWN).count()), (1, 1));
}

#[test]
fn what_the_gateway_says_of_itself_is_never_suppressed() {
    let window = Maintenance { series: Pattern::new("**"), until_ms: 2 * START_MS, ..maintenance().maintenance.remove(0) };
    let by = Suppression { series: Pattern::new("**"), ..suppression().suppressions.remove(0) };
    for rules in [Settings { maintenance: vec![window], ..Settings::default() }, Settings { suppressions: vec![by], ..Settings::default() }]
    {
        let mut story = Story::new(FOLD_VERSION, rules);
        story.push(&Record::Unheard { count: 3, oldest: (7, 1, 0) });
        let told = story.second(Some((0, 0.0)));
        assert_eq!(held(&told)[0], ("tidegate/uplink", 0, detect::alarm::SHOWN));
        let uplink = |story: &Story| story.fold.alarms.board.get("tidegate/uplink", "uplink").unwrap().standing(story.clock_ms);
        assert_eq!(uplink(&story), Standing::Unacknowledged, "nor when it stands");
        story.push(&Record::Unheard { count: 0, oldest: (0, 0, 0) });
        story.push(&Record::Unheard { count: 4, oldest: (7, 1, 0) });
        assert_eq!(held(&story.second(None)), [("tidegate/uplink", 1, detect::alarm::SHOWN), ("tidegate/uplink", 0, detect::alarm::SHOWN)]);
    }
}

#[test]
fn in_the_boot_of_an_older_program_what_stands_is_left_as_it_is() {
    let mut story = Story::new(STANDING_SINCE - 1, suppression());
    story.second(Some((1, 2.0)));
    story.second(Some((0, 0.0)));
    assert_eq!(story.standing(), Standing::Unacknowledged);
}

#[test]
fn an_alarm_of_before_its_detector_was_tried_ends_and_is_not_raised_again() {
    let mut story = Story::new(FOLD_VERSION, Settings::default());
    assert_eq!(held(&story.second(Some((1, 2.0)))), [("m/flow", 0, detect::alarm::SHOWN)]);
    let tried = Shadow { series: Pattern::new("**"), kinds: vec![Kind::Low] };
    story.boot(8, FOLD_VERSION, Settings { shadows: vec![tried], ..Settings::default() });
    assert_eq!(held(&story.second(Some((1, 20.0)))), [("m/flow", 1, detect::alarm::SHOWN)]);
    assert_eq!((story.second(Some((1, 2.0))), story.second(Some((1, 20.0)))), (vec![], vec![]));
    assert_eq!(story.fold.fresh_shadow.iter().map(|(_, alert)| alert.state).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(story.standing(), Standing::Returned);
}
