//! What must hold of alarms: both ends come to the same whatever reached them in which order,
//! and people's acts mean what they say.

mod load;

use super::board::{ALARMS_MAX, FORGOTTEN_MS, PENDING_MAX};
use super::flood::SERIES;
use super::*;
use proptest::prelude::*;

const START_MS: i64 = 1_700_000_000_000;

fn alert(seq: u64, state: u8, severity: u8, series: &str) -> AlertBody {
    AlertBody {
        boot: 7,
        seq,
        ordinal: 0,
        series: series.into(),
        severity,
        kind: "high".into(),
        state,
        time_ms: START_MS + seq as i64,
        value: 1.0,
        limit: Some(0.5),
        unit: None,
        message: "1 is above 0.5".into(),
        score: None,
        baseline: None,
        alarm: None,
        contributors: Vec::new(),
    }
}

fn noted(seq: u64, state: u8, flags: u32) -> AlertBody {
    let note = AlarmNote { at_ms: START_MS + seq as i64, held: 0, count: seq, flags, group: None };
    AlertBody { alarm: Some(note), ..alert(seq, state, 1, "a/b") }
}

fn act(id: u64, verb: Verb, time: i64, seen: u64, for_ms: i64) -> Act {
    let seen = if seen == 0 { AlertKey::default() } else { AlertKey { at_ms: START_MS + seen as i64, boot: 7, seq: seen, ordinal: 0 } };
    Act {
        id,
        verb: verb as u8,
        series: "a/b".into(),
        kind: "high".into(),
        time_ms: START_MS + time,
        by: "jo".into(),
        reason: String::new(),
        until_ms: if verb == Verb::Shelve { START_MS + time + for_ms } else { 0 },
        seen,
    }
}

fn request(verb: Verb, id: u64) -> Request<'static> {
    Request { id, verb, series: "a/b", kind: "high", by: "jo", reason: "", for_ms: 60_000 }
}

/// What reached an end: an alert or an act.
#[derive(Debug, Clone)]
enum Item {
    Alert(AlertBody),
    Act(Act),
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let verbs = prop::sample::select(Verb::PEOPLE.to_vec());
    let act = (any::<u64>(), verbs, 0..40i64, 0..20u64, 1..50i64)
        .prop_map(|(id, verb, time, seen, long)| Item::Act(act(id, verb, time, seen, long)));
    let alert = (1..20u64, any::<bool>(), 0..2u32).prop_map(|(seq, ended, flags)| Item::Alert(noted(seq, u8::from(ended), flags)));
    prop::collection::vec(prop_oneof![act, alert], 0..30)
}

fn join(board: &mut Board, items: &[Item]) {
    for item in items {
        match item {
            Item::Alert(alert) => board.alert(START_MS, alert, true),
            Item::Act(act) => board.join(START_MS, act),
        }
    }
}

proptest! {
    /// Whatever the order, and however often each comes: the same registers, the same standing.
    #[test]
    fn both_ends_converge(items in items(), order in any::<prop::sample::Index>(), again in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let (mut here, mut there) = (Board::default(), Board::default());
        join(&mut here, &items);
        let mut other = items.clone();
        if !other.is_empty() {
            let turn = order.index(other.len());
            other.rotate_left(turn);
            other.reverse();
            for repeat in again {
                // Of alerts each id comes once: whoever dedups them stands before the board.
                if let Item::Act(act) = &items[repeat.index(items.len())] {
                    other.insert(repeat.index(other.len()), Item::Act(act.clone()));
                }
            }
        }
        join(&mut there, &other);
        let (a, b) = (here.get("a/b", "high"), there.get("a/b", "high"));
        prop_assert_eq!(a.map(|x| &x.acts), b.map(|x| &x.acts));
        // Two alerts of one key differ here by chance only in state and flags; each state keeps its own.
        let keys = |x: Option<&Alarm>| x.map(|x| (x.raised.as_ref().map(|t| t.key), x.cleared.as_ref().map(|t| t.key)));
        prop_assert_eq!(keys(a), keys(b));
    }

    /// What was done at the cloud and is still on its way counts there as if it had arrived.
    #[test]
    fn what_is_pending_counts_already(items in items(), verb in prop::sample::select(Verb::PEOPLE.to_vec()), clock in 0..60i64) {
        let mut board = Board::default();
        join(&mut board, &items);
        prop_assume!(board.get("a/b", "high").is_some());
        let clock_ms = START_MS + clock;
        let done = board.resolve(clock_ms, &request(verb, 1)).unwrap();
        let mut joined = board.clone();
        joined.join(clock_ms, &done);
        prop_assert!(board.pend(clock_ms, done.clone()));
        let standing = |board: &Board| board.get("a/b", "high").unwrap().standing(clock_ms);
        prop_assert_eq!(standing(&board), standing(&joined));
        let mut refused = board.clone();
        refused.withdraw(clock_ms, &("a/b".into(), "high".into()), 1);
        prop_assert!(refused.pending().next().is_none());
        board.join(clock_ms, &done);
        prop_assert!(board.pending().next().is_none());
        prop_assert_eq!(board.get("a/b", "high").map(|x| &x.acts), joined.get("a/b", "high").map(|x| &x.acts));
    }

    /// An answer beats what it answers, however wrong the clock of who answers.
    #[test]
    fn who_knew_the_other_act_is_later(ahead in 0..1_000_000i64) {
        let mut board = Board::default();
        board.alert(START_MS, &noted(1, 0, 0), true);
        let shelved = board.resolve(START_MS + ahead, &request(Verb::Shelve, 1)).unwrap();
        board.join(START_MS, &shelved);
        let answer = board.resolve(START_MS, &request(Verb::Unshelve, 2)).unwrap();
        board.join(START_MS, &answer);
        prop_assert_eq!(board.get("a/b", "high").unwrap().standing(START_MS), Standing::Unacknowledged);
    }

    /// A board stored and restored at any point goes on as if it never was.
    #[test]
    fn a_restored_annunciator_goes_on_the_same(steps in prop::collection::vec((0..40_000i64, 0..3u8, 0..4usize, any::<bool>()), 1..80), cut in any::<prop::sample::Index>()) {
        let settings = Settings { latch: Latch::Critical, flood: 3 };
        let (mut whole, mut clock_ms) = (Annunciator::default(), START_MS);
        let mut cut_one = whole.clone();
        for (n, (wait, severity, series, ended)) in steps.iter().enumerate() {
            clock_ms += wait;
            let one = alert(n as u64 + 1, u8::from(*ended), *severity, ["m/a", "m/b", "n/a", "x"][*series]);
            if n == cut.index(steps.len()) {
                let bytes = schemas::cbor::to_vec(&whole);
                cut_one = schemas::cbor::from_slice(&bytes, 1 << 20).unwrap();
            }
            let mut told = Vec::new();
            for each in [&mut whole, &mut cut_one] {
                let mut body = one.clone();
                each.advance(Some(&settings), clock_ms);
                each.alert(Some(&settings), clock_ms, true, &mut body);
                told.push((body, each.take_summaries(), each.due_ms(Some(&settings))));
            }
            if n >= cut.index(steps.len()) {
                prop_assert_eq!(&told[0], &told[1]);
            }
        }
        whole.board.take_changed();
        cut_one.board.take_changed();
        prop_assert_eq!(whole, cut_one);
    }
}

fn board_of(alerts: &[AlertBody], acts: &[Act]) -> Board {
    let mut board = Board::default();
    alerts.iter().for_each(|alert| board.alert(START_MS, alert, true));
    acts.iter().for_each(|act| board.join(START_MS, act));
    board
}

#[test]
fn an_alarm_goes_through_its_life() {
    let standing = |alerts: &[&AlertBody], acts: &[&Act], at: i64| {
        let mut board = Board::default();
        alerts.iter().for_each(|alert| board.alert(START_MS, alert, true));
        acts.iter().for_each(|act| board.join(START_MS, act));
        board.get("a/b", "high").unwrap().standing(START_MS + at)
    };
    let (up, down) = (noted(1, 0, 0), noted(2, 1, 0));
    let seen_up = act(1, Verb::Acknowledge, 5, 1, 0);
    let seen_down = act(2, Verb::Acknowledge, 6, 2, 0);
    assert_eq!(standing(&[&up], &[], 9), Standing::Unacknowledged);
    assert_eq!(standing(&[&up], &[&seen_up], 9), Standing::Acknowledged);
    assert_eq!(standing(&[&up, &down], &[], 9), Standing::Returned);
    assert_eq!(standing(&[&up, &down], &[&seen_up], 9), Standing::Normal);
    // Raised anew: the acknowledgement was of the time before.
    assert_eq!(standing(&[&up, &down, &noted(3, 0, 0)], &[&seen_down], 9), Standing::Unacknowledged);

    let (up, down) = (noted(1, 0, LATCHES), noted(2, 1, LATCHES));
    assert_eq!(standing(&[&up, &down], &[&seen_up], 9), Standing::Latched);
    assert_eq!(standing(&[&up, &down], &[&seen_down], 9), Standing::Normal);

    let shelf = act(3, Verb::Shelve, 0, 1, 10);
    assert_eq!(standing(&[&up], &[&shelf], 9), Standing::Shelved);
    assert_eq!(standing(&[&up], &[&shelf], 10), Standing::Unacknowledged);
    assert_eq!(standing(&[&up], &[&shelf, &act(4, Verb::Unshelve, 1, 1, 0)], 5), Standing::Unacknowledged);
    let out = act(5, Verb::OutOfService, 2, 1, 0);
    assert_eq!(standing(&[&up], &[&shelf, &out], 5), Standing::OutOfService);
    assert_eq!(standing(&[&up], &[&shelf, &out, &act(6, Verb::Return, 3, 1, 0)], 5), Standing::Shelved);
    assert_eq!(standing(&[&up], &[&act(7, Verb::Suppress, 0, 0, 0)], 5), Standing::Suppressed);
    assert_eq!(standing(&[&up], &[&act(7, Verb::Suppress, 0, 0, 0), &act(8, Verb::Release, 1, 0, 0)], 5), Standing::Unacknowledged);
}

#[test]
fn of_two_who_saw_the_same_the_first_has_acknowledged() {
    let (early, late) = (act(9, Verb::Acknowledge, 5, 1, 0), act(1, Verb::Acknowledge, 6, 1, 0));
    let blind = act(2, Verb::Acknowledge, 99, 0, 0);
    for order in [[&early, &late, &blind], [&blind, &late, &early]] {
        let mut acts = Acts::default();
        for act in order {
            acts.join(act);
        }
        assert_eq!(acts.acknowledged.as_ref(), Some(&early));
    }
}

#[test]
fn what_comes_off_the_shelf_is_told_at_its_time() {
    let mut board = board_of(&[noted(1, 0, 0)], &[act(1, Verb::Shelve, 0, 1, 1_000)]);
    board.take_changed();
    assert_eq!(board.due_ms(), Some(START_MS + 1_000));
    board.advance(START_MS + 999);
    assert!(board.take_changed().is_empty());
    board.advance(START_MS + 1_000);
    assert_eq!(board.take_changed().len(), 1);
    assert_eq!(board.due_ms(), None);
}

#[test]
fn of_many_shelves_of_one_alarm_the_one_that_counts_is_waited_for() {
    let mut board = board_of(&[noted(1, 0, 0)], &[]);
    for id in 1..1_000 {
        board.join(START_MS, &act(id, Verb::Shelve, id as i64, 1, 1_000));
    }
    board.take_changed();
    assert_eq!(board.due_ms(), Some(START_MS + 999 + 1_000));
    board.join(START_MS, &act(1_000, Verb::Unshelve, 1_000, 1, 0));
    assert_eq!(board.due_ms(), None);
}

#[test]
fn memory_is_bounded_and_what_is_in_trouble_stays() {
    let mut board = Board::default();
    for n in 0..ALARMS_MAX as u64 + 5 {
        board.alert(START_MS + n as i64, &alert(n + 1, 0, 1, &format!("s/{n}")), true);
    }
    assert_eq!((board.len(), board.refused), (ALARMS_MAX, 5));
    // One of them is over and acknowledged: it makes room.
    board.alert(START_MS, &alert(90_000, 1, 1, "s/7"), true);
    let done = board.resolve(START_MS, &Request { series: "s/7", ..request(Verb::Acknowledge, 1) }).unwrap();
    board.join(START_MS, &done);
    board.alert(START_MS, &alert(90_001, 0, 1, "s/new"), true);
    assert!(board.get("s/7", "high").is_none() && board.get("s/new", "high").is_some());
    assert_eq!((board.len(), board.refused), (ALARMS_MAX, 5));
    for id in 0..PENDING_MAX as u64 + 1 {
        let one = Act { id, series: "s/new".into(), ..act(0, Verb::Shelve, 0, 1, 5) };
        assert_eq!(board.pend(START_MS, one), id < PENDING_MAX as u64);
    }
    let mut old = board_of(&[noted(1, 0, 0), noted(2, 1, 0)], &[act(1, Verb::Acknowledge, 0, 2, 0)]);
    old.sweep(START_MS + FORGOTTEN_MS - 1);
    assert_eq!(old.len(), 1);
    old.sweep(START_MS + FORGOTTEN_MS);
    assert!(old.is_empty());
}

#[test]
fn only_what_waits_for_the_gateway_puts_aside_at_the_cloud() {
    let mut board = Board::default();
    board.alert(START_MS, &noted(1, 0, 0), true);
    let aside = |board: &Board, at_ms: i64| board.get("a/b", "high").unwrap().is_put_aside_here(START_MS + at_ms);
    // What the gateway did, it has judged its alerts by.
    board.join(START_MS, &Act { by: "configuration".into(), ..act(1, Verb::Suppress, 1, 1, 0) });
    assert!(!aside(&board, 5));
    // Not even when something waits for it that puts nothing aside.
    board.pend(START_MS, act(2, Verb::Acknowledge, 2, 1, 0));
    assert!(!aside(&board, 5));
    board.pend(START_MS, act(3, Verb::Shelve, 3, 1, 40));
    assert_eq!([aside(&board, 5), aside(&board, 42), aside(&board, 43)], [true, true, false]);
    // The gateway has it.
    board.join(START_MS, &act(3, Verb::Shelve, 3, 1, 40));
    assert!(!aside(&board, 5));
    board.pend(START_MS, act(4, Verb::OutOfService, 4, 1, 0));
    assert!(aside(&board, 99));
    board.pend(START_MS, act(5, Verb::Return, 5, 1, 0));
    assert!(!aside(&board, 99));
}

#[test]
fn what_waits_for_the_gateway_and_counts_for_nothing_is_news_when_it_comes_back() {
    let mut board = Board::default();
    board.alert(START_MS, &noted(1, 0, 0), true);
    board.join(START_MS, &act(1, Verb::Acknowledge, 1, 1, 0));
    let second = act(2, Verb::Acknowledge, 2, 1, 0);
    assert!(board.knows(&second), "the first counts");
    board.pend(START_MS, second.clone());
    assert!(!board.knows(&second));
    board.join(START_MS, &second);
    assert_eq!((board.pending().count(), board.knows(&second)), (0, true));
}

#[test]
fn the_first_of_a_group_is_marked() {
    let mut one = Annunciator::default();
    let mut raise = |seq: u64, at: i64, series: &str| {
        let mut body = alert(seq, 0, 1, series);
        one.alert(None, START_MS + at, true, &mut body);
        body.alarm.unwrap().group
    };
    assert_eq!(raise(1, 0, "line1/press3/pressure"), None);
    assert_eq!(raise(2, 5_000, "line1/press3/temperature"), Some((7, 1, 0)));
    assert_eq!(raise(3, 30_000, "line1/press4/temperature"), None, "another machine");
    assert_eq!(raise(4, 34_000, "line1/press3/speed"), Some((7, 1, 0)));
    assert_eq!(raise(5, 64_001, "line1/press3/speed"), None, "too late to be a consequence");
    assert_eq!(raise(6, 64_002, "alone"), None);
    assert_eq!(raise(7, 64_003, "alone"), None);
    assert_eq!(raise(8, 65_000, "line1/press3/speed/x"), None, "a part of the machine is a machine");
    one.board.take_changed();
    let mut body = alert(9, 0, 1, "line1/press3/oil");
    one.alert(None, START_MS + 70_000, true, &mut body);
    let name = |series: &str| (series.to_owned(), "high".to_owned());
    assert_eq!(one.board.take_changed().into_iter().collect::<Vec<_>>(), [name("line1/press3/oil"), name("line1/press3/speed")]);
    assert_eq!(one.board.consequences(&name("line1/press3/speed")), 1);
    assert_eq!(one.board.consequences(&name("line1/press3/oil")), 0);
}

#[test]
fn chattering_and_fleeting_alarms_are_marked() {
    let mut one = Annunciator::default();
    let mut flags = Vec::new();
    for (seq, at, state) in [(1, 0, 0), (2, 5_000, 1), (3, 20_000, 0), (4, 26_000, 1), (5, 60_000, 0), (6, 61_000, 1), (7, 200_000, 0)] {
        let mut body = alert(seq, state, 1, "a/b");
        one.alert(None, START_MS + at, true, &mut body);
        flags.push(body.alarm.unwrap().flags);
    }
    assert_eq!(flags, [0, FLEETING, 0, 0, CHATTERS, CHATTERS | FLEETING, 0]);
    let alarm = one.board.get("a/b", "high").unwrap();
    assert_eq!((alarm.fleeting, alarm.raised.as_ref().unwrap().note.count), (2, 4));
}

/// Alarms of a machine, looked for among all.
fn scan<'a>(board: &'a Board, series: &str, kind: &str) -> impl Iterator<Item = (&'a Name, &'a Alarm)> {
    let machine = machine(series, kind).map(str::to_owned);
    board.iter().filter(move |(name, _)| machine.as_ref().is_some_and(|machine| name.0.starts_with(machine.as_str())))
}

proptest! {
    /// What is looked up is what a look at all alarms finds, whatever happened, also behind a restore.
    #[test]
    fn what_is_looked_up_is_what_there_is(
        steps in prop::collection::vec((0..7u8, 0..8usize, 1..40u64, prop::option::of(0..40u64), any::<u64>()), 0..60),
        restore in any::<prop::sample::Index>(),
    ) {
        let names = ["a/b", "a/b/c", "a/b2", "a/bb/x", "d", "d/e", "a", "d/f"];
        let mut board = Board::default();
        let restore = restore.index(61);
        for (at, (what, which, seq, group, id)) in steps.into_iter().enumerate() {
            let name = (names[which].to_owned(), if what == 6 { "group" } else { "high" }.to_owned());
            let note = AlarmNote { at_ms: START_MS + seq as i64, held: 0, count: 1, flags: 0, group: group.map(|seq| (7, seq, 0)) };
            let body = AlertBody { alarm: Some(note), kind: name.1.clone(), ..alert(seq, u8::from(what == 1), 1, &name.0) };
            let clock_ms = START_MS + at as i64;
            let act = Act { series: name.0.clone(), ..act(id, Verb::PEOPLE[seq as usize % Verb::PEOPLE.len()], at as i64, 39, 30) };
            match what {
                0 | 1 | 6 => board.alert(clock_ms, &body, true),
                2 => board.join(clock_ms, &act),
                3 => _ = board.pend(clock_ms, act),
                4 => board.withdraw(clock_ms, &name, id),
                _ if id % 3 == 0 => board.forget(&name),
                _ => board.sweep(clock_ms + FORGOTTEN_MS - 20),
            }
            if at == restore {
                let bytes = schemas::cbor::to_vec(&board);
                let again: Board = schemas::cbor::from_slice(&bytes, bytes.len()).unwrap();
                prop_assert_eq!(schemas::cbor::to_vec(&again), bytes);
                board = again;
            }
            for (name, alarm) in board.iter() {
                let id = alarm.leads_as();
                let followers = scan(&board, &name.0, &name.1).filter(|(_, alarm)| id.is_some() && alarm.follows() == id).count();
                prop_assert_eq!(board.consequences(name), followers);
                for seq in 0..40 {
                    let first = scan(&board, &name.0, &name.1).find(|(_, alarm)| alarm.leads_as() == Some((7, seq, 0)));
                    prop_assert_eq!(board.leader(&name.0, &name.1, (7, seq, 0)), first.map(|(name, _)| name));
                }
            }
        }
    }
}

#[test]
fn where_there_is_no_room_a_more_severe_one_takes_the_place_of_the_least_severe_raised_longest_ago() {
    let mut board = Board::default();
    let note = |seq: u64| AlarmNote { at_ms: START_MS + seq as i64, held: 0, count: 1, flags: 0, group: None };
    let raise = |board: &mut Board, seq: u64, severity: u8, series: &str| {
        board.alert(START_MS, &AlertBody { alarm: Some(note(seq)), ..alert(seq, 0, severity, series) }, true);
    };
    // Two are good to know, of which one came late; the others are warnings.
    for n in 1..=ALARMS_MAX as u64 {
        raise(&mut board, n, if n == 5 || n == 5_000 { 2 } else { 1 }, &format!("s/{n}"));
    }
    raise(&mut board, 20_000, 2, "t/info");
    assert_eq!((board.refused, board.get("t/info", "high")), (1, None), "no more severe than any");
    board.take_changed();
    let gone = |board: &Board, series: &str| board.get(series, "high").is_none();
    for (seq, severity, least) in [(20_001, 1, "s/5"), (20_002, 0, "s/5000"), (20_003, 0, "s/1")] {
        raise(&mut board, seq, severity, &format!("t/{seq}"));
        assert!(gone(&board, least) && !gone(&board, &format!("t/{seq}")), "{least}");
        assert!(board.take_changed().contains(&(least.to_owned(), "high".to_owned())), "its place at the broker is empty");
    }
    assert_eq!((board.len(), board.refused, gone(&board, "s/2")), (ALARMS_MAX, 4, false));
    // Once there is room, what found none is taken up with its next alert.
    board.alert(START_MS, &alert(30_000, 1, 1, "s/9"), true);
    board.join(START_MS, &Act { series: "s/9".into(), ..act(1, Verb::Acknowledge, 9, 30_000, 0) });
    raise(&mut board, 30_001, 2, "t/info");
    assert!(!gone(&board, "t/info") && gone(&board, "s/9"));
}

/// What is not shown takes the slow way: what is told of an alarm later may be at the cloud before it.
#[test]
fn an_alarm_leads_its_group_in_whatever_order_its_alerts_come() {
    let note = |seq: u64, group| AlarmNote { at_ms: START_MS + seq as i64, held: 0, count: seq, flags: 0, group };
    let first = AlertBody { alarm: Some(note(1, None)), ..alert(1, 0, 1, "m/a") };
    let again = AlertBody { alarm: Some(note(2, Some((7, 1, 0)))), ..alert(2, 0, 1, "m/a") };
    let other = AlertBody { alarm: Some(note(3, Some((7, 1, 0)))), ..alert(3, 0, 1, "m/b") };
    let anew = AlertBody { alarm: Some(note(4, None)), ..alert(4, 0, 1, "m/a") };
    let name = |series: &str| (series.to_owned(), "high".to_owned());
    let seen = |alerts: &[&AlertBody]| {
        let mut board = Board::default();
        alerts.iter().for_each(|alert| board.alert(START_MS, alert, true));
        let changed = board.take_changed();
        let alarm = board.get("m/a", "high").unwrap().clone();
        assert_eq!(changed.len(), board.len());
        (alarm.leads_as(), alarm.follows(), board.consequences(&name("m/a")), alarm.raised.map(|told| told.id()))
    };
    assert_eq!(seen(&[&first, &again, &other]), (Some((7, 1, 0)), None, 1, Some((7, 2, 0))));
    for order in [[&again, &first, &other], [&other, &again, &first], [&again, &other, &first]] {
        assert_eq!(seen(&order), seen(&[&first, &again, &other]), "{order:?}");
    }
    assert_eq!(seen(&[&first, &again, &anew]), seen(&[&anew, &again, &first]));
    // Who follows is shown anew when what came first is known at last.
    let mut board = Board::default();
    board.alert(START_MS, &other, true);
    board.take_changed();
    board.alert(START_MS, &first, true);
    assert_eq!(board.take_changed().into_iter().collect::<Vec<_>>(), [name("m/a"), name("m/b")]);
}

#[test]
fn where_there_is_no_room_the_one_in_peace_for_the_longest_goes() {
    let mut board = Board::default();
    // Raised one after the other, ended the other way around, and acknowledged: the last is in peace first.
    let series = |i: u64| format!("s/{i}");
    for i in 0..ALARMS_MAX as u64 {
        board.alert(START_MS, &alert(1 + i, 0, 1, &series(i)), true);
    }
    board.alert(START_MS, &alert(1, 0, 1, "s/new"), true);
    assert_eq!((board.refused, board.len()), (1, ALARMS_MAX), "none is in peace");
    for (at, i) in [9u64, 5, 7, 2].into_iter().enumerate() {
        let seen = AlertKey { at_ms: START_MS + 1 + i as i64, boot: 7, seq: 1 + i, ordinal: 0 };
        board.alert(START_MS + at as i64, &alert(20_000 + i, 1, 1, &series(i)), true);
        board.join(START_MS + at as i64, &Act { series: series(i), seen, ..act(i, Verb::Acknowledge, 9, 0, 0) });
    }
    // One of them is on the shelf.
    board.join(START_MS + 1, &Act { series: series(5), ..act(99, Verb::Shelve, 1, 0, 100) });
    for (new, gone) in [9, 7, 2].into_iter().enumerate() {
        board.alert(START_MS + 50, &alert(1, 0, 1, &format!("t/{new}")), true);
        assert!(board.get(&series(gone), "high").is_none() && board.len() == ALARMS_MAX, "{gone}");
    }
    board.alert(START_MS + 50, &alert(1, 0, 1, "t/3"), true);
    assert_eq!(board.refused, 2);
    board.alert(START_MS + 500, &alert(1, 0, 1, "t/3"), true);
    assert!(board.get(&series(5), "high").is_none(), "off the shelf it is in peace too");
}
