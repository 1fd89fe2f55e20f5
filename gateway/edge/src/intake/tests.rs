//! The bound of series, and what a busy log does to a batch, without sockets.

mod again;

use super::*;
use crate::config::{Delivery, Direction, PlainBridge, Priority};
use journal::Options;
use replica::fold::FoldConfig;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use telemetry::source::Source;

/// A door of a gateway that takes so many series.
fn door(dir: &std::path::Path, series_max: usize) -> (Journal, Intake) {
    door_of(open(dir), &Fold::default(), series_max)
}

fn open(dir: &std::path::Path) -> journal::Opened {
    journal::open(dir, Options { retain: Duration::MAX, limit_bytes: 1 << 30 }).unwrap()
}

fn door_of(opened: journal::Opened, fold: &Fold, series_max: usize) -> (Journal, Intake) {
    let journal = opened.start(Box::new(drop)).unwrap();
    let intake = intake_of(&journal, fold, vec![Source::default()], &[], series_max);
    (journal, intake)
}

fn intake_of(journal: &Journal, fold: &Fold, sources: Vec<Source>, bridges: &[PlainBridge], series_max: usize) -> Intake {
    let sources = Sources::new("plant-a", sources).unwrap();
    let (_, horizon) = watch::channel(broker::Horizon::default());
    let (desk, rules) = (Arc::new(Desk::new("plant-a")), Arc::new(Rules::new("plant-a", bridges)));
    Intake::new(journal.clone(), fold, sources, true, Settings::default(), rules, series_max, horizon, desk)
}

fn client(version: Version) -> Client {
    Client { client_id: "c".into(), session: 0, version, connection: 1, memory: parking_lot::Mutex::default() }
}

/// What becomes of one message; while the log is behind it is offered again, as the broker does.
fn say(intake: &Intake, client: &Client, topic: &str, payload: &str) -> Verdict {
    offer(intake, client, Publish { topic, payload: payload.as_bytes(), qos: 1, retain: false, dup: false, packet_id: 1, will: false })
}

fn offer(intake: &Intake, client: &Client, publish: Publish<'_>) -> Verdict {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let mut verdicts = Vec::new();
        intake.take(client, &[publish], &mut verdicts);
        if verdicts != [Verdict::Refuse(broker::Refusal::Busy)] {
            return verdicts[0];
        }
        assert!(Instant::now() < until, "the log does not go on");
        std::thread::yield_now();
    }
}

fn is_taken(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::After { .. })
}

/// The fold as of the log's end.
fn folded(opened: &journal::Opened) -> Fold {
    let mut fold = opened.snapshot().map_or_else(Fold::default, |(_, state)| Fold::restore(&state).unwrap());
    let from = fold.lsn;
    let mut each = |frame: &journal::Frame| {
        fold.frame(frame.first, frame.marks, frame.records()).unwrap();
        ControlFlow::Continue(())
    };
    opened.replay(from, &mut each).unwrap();
    fold
}

const QUOTA: Verdict = Verdict::Refuse(broker::Refusal::QuotaExceeded);

/// An `[[ingest]]` that leads back here by a name nobody could tell is not let in: each reading would
/// come again without end.
#[test]
fn our_own_readers_elsewhere_are_not_let_in_here() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 10);
    let intake = intake.without(vec!["tidegate-plant-a-0a1b2c3d".into()]);
    let open = |client_id| broker::Application::open_session(&intake, &OpenSession { client_id, expiry_s: u32::MAX, version: Version::V3 });
    assert_eq!(open("tidegate-plant-a-0a1b2c3d").unwrap_err(), broker::Refusal::NotAuthorized);
    assert!(open("tidegate-plant-b-0a1b2c3d").is_ok(), "another gateway may read from this one");
}

#[test]
fn what_may_not_leave_the_site_does_not_cross_either() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).start(Box::new(drop)).unwrap();
    let source = |filter: &str, share| Source { filter: filter.into(), share, on_invalid: OnInvalid::Pass, ..Source::default() };
    let sources = vec![source("secret/#", Share::None), source("shared/#", Share::Aggregates)];
    let bridge = PlainBridge {
        filter: "#".into(),
        direction: Direction::Out,
        remote: "{topic}".into(),
        qos: 1,
        priority: Priority::Normal,
        ttl_ms: None,
        delivery: Delivery::default(),
    };
    let intake = intake_of(&journal, &Fold::default(), sources, &[bridge], 10);
    for payload in ["no reading", ""] {
        for (topic, crosses) in [("secret/recipe", false), ("shared/status", true), ("other", true)] {
            let publish = Publish { topic, payload: payload.as_bytes(), qos: 1, retain: false, dup: false, packet_id: 1, will: false };
            let what = intake.read(&mut Connection::default(), &publish, &mut Vec::new());
            assert_eq!(matches!(what, Some(What::Crossing(Ok(_)))), crosses, "{topic} {payload}");
        }
    }
}

/// As many as the config's default and its upper bound allow, and as many again: each of those is
/// refused, nothing is remembered of it, and those that are known go on.
#[test]
fn a_hundred_thousand_series_are_taken_and_as_many_more_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 100_000);
    let five = client(Version::V5);
    for n in 0..100_000 {
        assert!(is_taken(say(&intake, &five, &format!("sensors/line{}/s{n}", n % 7), "1.5")), "{n}");
    }
    for n in 0..100_000 {
        assert_eq!(say(&intake, &five, &format!("sensors/more/s{n}"), "1.5"), QUOTA);
        if n % 1_000 == 0 {
            assert!(is_taken(say(&intake, &five, &format!("sensors/line{}/s{n}", n % 7), "2.5")));
        }
    }
    let refused: Vec<(Refusal, u64)> = intake.refused_beyond(0).filter(|(_, count)| *count > 0).collect();
    assert_eq!(refused, [(Refusal::Quota, 100_000)]);
    let state = intake.state.lock();
    assert_eq!((state.numbers.len(), state.units.len(), state.critical.len()), (100_000, 100_000, 100_000));
    drop(state);
    let memory = five.memory.lock();
    let remembered = memory.as_ref().and_then(|m| m.downcast_ref::<Connection>()).unwrap();
    assert!(remembered.topics.len() <= TOPICS_CACHED_MAX && remembered.routes.len() <= TOPICS_CACHED_MAX);
}

#[test]
fn a_message_is_taken_whole_or_defines_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 5);
    let (five, three) = (client(Version::V5), client(Version::V3));
    let defined = || intake.state.lock().numbers.len();
    assert!(is_taken(say(&intake, &five, "sensors/a", "{\"x\":1,\"y\":2}")));
    // One of them is known, three are new, and there is room for three.
    let fits = "[{\"x\":1},{\"p\":1},{\"q\":1},{\"r\":1}]";
    let long = "[{\"x\":1},{\"p\":1},{\"q\":1},{\"r\":1},{\"s\":1}]";
    for client in [&five, &three] {
        assert_eq!(say(&intake, client, "sensors/a", long), QUOTA);
    }
    // A name that no series can have, behind one that could be.
    let field = "x".repeat(257);
    assert_eq!(
        say(&intake, &five, "sensors/a", &format!("[{{\"p\":1}},{{\"{field}\":1}}]")),
        Verdict::Refuse(broker::Refusal::TopicNameInvalid)
    );
    // Units count too: the first owns the series, each other one needs a series of its own.
    assert_eq!(
        say(
            &intake,
            &five,
            "sensors/b",
            "[{\"v\":1,\"unit\":\"K\"},{\"v\":2,\"unit\":\"C\"},{\"v\":3,\"unit\":\"F\"},{\"v\":4,\"unit\":\"R\"}]"
        ),
        QUOTA
    );
    assert_eq!(defined(), 2, "what is refused defines nothing");
    assert!(is_taken(say(&intake, &five, "sensors/a", fits)));
    assert_eq!(defined(), 5);
    // Full: what is known goes on, also in a unit of its own once that is known; all else is refused.
    for known in ["{\"x\":7}", fits, "[{\"p\":1},{\"p\":2}]"] {
        assert!(is_taken(say(&intake, &three, "sensors/a", known)), "{known}");
    }
    assert_eq!(say(&intake, &five, "sensors/a", "{\"s\":1}"), QUOTA);
    assert_eq!(say(&intake, &five, "sensors/b", "1"), QUOTA);
    assert_eq!(defined(), 5);
    let counted = intake.refused_beyond(0).map(|(_, count)| count).collect::<Vec<_>>();
    assert_eq!(counted, [0, 1, 5, 0]);
}

#[test]
fn units_are_given_and_told_apart_within_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 3);
    let five = client(Version::V5);
    assert!(is_taken(say(&intake, &five, "sensors/b", "1")));
    // The series is known without a unit: the first here owns it from now on.
    let units = "[{\"v\":1,\"unit\":\"K\"},{\"v\":2,\"unit\":\"C\"},{\"v\":3,\"unit\":\"K\"},{\"v\":4,\"unit\":\"C\"}]";
    assert!(is_taken(say(&intake, &five, "sensors/b", units)));
    let state = intake.state.lock();
    let mut names: Vec<&str> = state.numbers.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!((names, state.units[0].as_deref(), state.units[1].as_deref()), (vec!["b", "b@C"], Some("K"), Some("C")));
    assert_eq!(intake.misfits.load(Ordering::Relaxed), 2);
}

#[test]
fn topics_that_make_no_series_or_are_long_are_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 10);
    let five = client(Version::V5);
    let long = "x".repeat(65_000);
    for n in 0..2_000 {
        let verdict = say(&intake, &five, &format!("sensors/{n}{long}"), "1");
        assert_eq!(verdict, Verdict::Refuse(broker::Refusal::TopicNameInvalid));
        assert_eq!(say(&intake, &five, &format!("other/{n}{long}"), "1"), Verdict::Route);
    }
    assert!(is_taken(say(&intake, &five, "sensors/a", "1")));
    let memory = five.memory.lock();
    let remembered = memory.as_ref().and_then(|m| m.downcast_ref::<Connection>()).unwrap();
    assert_eq!((remembered.topics.len(), remembered.topics_bytes), (1, "sensors/a".len()));
    assert!(remembered.routes.iter().flatten().all(|r| r.series.as_ref().map_or_else(String::len, |s| s.len()) <= 256));
}

const ASK: &str = "alarms/plant-a/a/high/ack";

fn ask<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { topic, payload: payload.as_bytes(), qos: 1, retain: false, dup: false, packet_id: 1, will: false }
}

#[test]
fn a_request_that_cannot_be_is_told_in_mqtt_5_and_kept_aside_in_3() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 10);
    intake.desk.known.write().insert(("a".into(), "high".into()));
    let (three, five) = (client(Version::V3), client(Version::V5));
    let (by, none) = ("{\"by\":\"ann\"}", "alarms/plant-a/none/high/ack");
    for (topic, body, refusal) in [(none, by, broker::Refusal::TopicNameInvalid), (ASK, "no json", broker::Refusal::PayloadFormatInvalid)] {
        assert_eq!(offer(&intake, &five, ask(topic, body)), Verdict::Refuse(refusal));
        assert!(is_taken(offer(&intake, &three, ask(topic, body))), "closing would only make it send this again");
    }
    assert!(is_taken(offer(&intake, &five, ask(ASK, by))));
    let counted = intake.refused_beyond(0).map(|(_, count)| count).collect::<Vec<_>>();
    assert_eq!(counted, [1, 1, 0, 0], "those of MQTT 3.1.1 are in the log");
    assert_eq!(intake.state.lock().quarantined, (by.len() + "no json".len()) as u64);
}

#[test]
fn while_the_log_is_behind_nothing_of_a_batch_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 10);
    intake.desk.known.write().insert(("a".into(), "high".into()));
    let five = client(Version::V5);
    let busy = Verdict::Refuse(broker::Refusal::Busy);
    let (payload, mut were_busy) = (vec![b'x'; 1 << 20], 0);
    let until = Instant::now() + Duration::from_secs(60);
    while were_busy < 20 {
        assert!(Instant::now() < until, "the log is never behind");
        let kept = Record::Quarantined { refusal: Refusal::Payload, reason: "", topic: "t", payload: &payload, session: 0, packet_id: 0 };
        while intake.log(&kept).is_ok() && intake.journal.append().is_ok() {}
        let mut verdicts = Vec::new();
        let by = "{\"by\":\"ann\"}";
        intake.take(&five, &[ask("sensors/a", "1"), ask(ASK, by), ask("sensors/b", "1"), ask(ASK, by)], &mut verdicts);
        let count = verdicts.iter().filter(|v| **v == busy).count();
        assert!([0, 4].contains(&count), "{verdicts:?}");
        were_busy += usize::from(count == 4);
    }
}

/// A boot as a process begins it on the log that it finds, with so many readings, each a frame of its own.
fn live(dir: &std::path::Path, boot: u64, readings: u64, save: bool) {
    let opened = open(dir);
    let fold = folded(&opened);
    let (journal, intake) = door_of(opened, &fold, 10);
    if save {
        journal.snapshot(fold.lsn, fold.save());
    }
    let config = schemas::cbor::to_vec(&FoldConfig { sizes_ms: vec![1_000], ..FoldConfig::default() });
    let parent = fold.current().map(|part| (part.boot, part.end));
    intake.begin(boot, &Record::Boot { boot, parent, config: &config }, fold.totals()).unwrap();
    let five = client(Version::V5);
    for n in 0..readings {
        assert!(is_taken(say(&intake, &five, "sensors/a", &n.to_string())));
        let until = Instant::now() + Duration::from_secs(60);
        while journal.horizon().borrow().durable + 1 < journal.append().unwrap().next() {
            assert!(Instant::now() < until, "the log does not go on");
            std::thread::yield_now();
        }
    }
    drop(intake);
    journal.stop();
}

/// Loses what lies between two parts in twelve of the newest segment's used bytes.
fn lose(dir: &std::path::Path, from: usize, to: usize) {
    let files = std::fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let newest: PathBuf = files.filter(|path| path.extension().is_some_and(|e| e == "seg")).max().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[used * from / 12..used * to / 12].fill(0);
    std::fs::write(&newest, bytes).unwrap();
}

/// The marks of the frames that are left say less than the snapshot knows: no reading that damage
/// takes later may leave the ledger for that.
#[test]
fn what_damage_takes_is_counted_also_where_the_end_of_the_log_was_lost_before() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), 1, 40, false);
    live(dir.path(), 2, 0, true);
    lose(dir.path(), 6, 12);
    assert_eq!(folded(&open(dir.path())).ledger().accepted, 40, "the snapshot has them all");
    live(dir.path(), 3, 40, false);
    lose(dir.path(), 4, 8);
    let opened = open(dir.path());
    assert!(!opened.report.gaps.is_empty());
    let ledger = folded(&opened).ledger();
    assert_eq!(ledger.accepted, 80);
    assert!(ledger.shed >= 10, "{ledger:?}");
}
