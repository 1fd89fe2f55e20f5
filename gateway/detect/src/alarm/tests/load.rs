//! How much people are told: floods, and the figures of the standard.

use super::*;

/// Raises at one alarm a second, of series s/0 … s/n-1; how many of each severity were shown.
fn storm(annunciator: &mut Annunciator, settings: &Settings, from: u64, count: u64, severity: u8) -> (usize, Vec<Summary>) {
    let mut shown = 0;
    let mut told = Vec::new();
    for n in from..from + count {
        let clock_ms = START_MS + n as i64 * 1_000;
        annunciator.advance(Some(settings), clock_ms);
        let mut body = alert(n + 1, 0, severity, &format!("s/{n}"));
        annunciator.alert(Some(settings), clock_ms, true, &mut body);
        shown += usize::from(body.alarm.unwrap().held == SHOWN);
        told.extend(annunciator.take_summaries());
    }
    (shown, told)
}

/// A plant that trips, and its gateway with it: nobody worked on alarms while it was off.
#[test]
fn a_flood_lasts_no_longer_than_its_alarms_reach_whoever_says_when_it_ended() {
    let settings = Settings::default();
    let mut one = Annunciator::default();
    assert_eq!(storm(&mut one, &settings, 0, 12, 1).1.len(), 1);
    let told = |seq, state| AlertBody { kind: "flood".into(), ..alert(seq, state, 1, SERIES) };
    one.alert(Some(&settings), START_MS + 12, true, &mut told(20, 0));
    let off_ms = START_MS + 36_000_000;
    // Nobody was there to say that it was over: as long as alarms reach.
    let figures = Figures::of(&one.board, off_ms);
    assert!(figures.in_flood && (600_000..620_000).contains(&figures.flood_ms), "{}", figures.flood_ms);
    one.advance(Some(&settings), off_ms);
    assert_eq!(one.take_summaries().len(), 1);
    one.alert(Some(&settings), off_ms, true, &mut told(21, 1));
    let figures = Figures::of(&one.board, off_ms);
    assert!(!figures.in_flood && figures.floods == 1 && (600_000..620_000).contains(&figures.flood_ms), "{}", figures.flood_ms);
}

#[test]
fn a_flood_is_told_once_and_critical_alerts_are_always_shown() {
    let settings = Settings::default();
    let mut one = Annunciator::default();
    // Ten are no flood; the eleventh begins it, and info alerts are held back from then on.
    let (shown, told) = storm(&mut one, &settings, 0, 10, 2);
    assert_eq!((shown, told.len()), (10, 0));
    let (shown, told) = storm(&mut one, &settings, 10, 20, 2);
    assert_eq!((shown, told.len(), told[0].kind, told[0].ended), (0, 1, "flood", false));
    let (shown, told) = storm(&mut one, &settings, 30, 70, 1);
    assert_eq!((shown, told.len()), (70, 0), "warnings are shown in a flood");
    let (shown, told) = storm(&mut one, &settings, 100, 50, 1);
    assert_eq!((shown, told.len(), told[0].kind), (0, 1, "storm"), "and held back in a storm");
    assert_eq!(storm(&mut one, &settings, 150, 50, 0).0, 50, "critical ones never");
    let figures = Figures::of(&one.board, START_MS + 200_000);
    assert_eq!((figures.held[&HELD_FLOOD], figures.total, figures.peak), (70, 200, 200));

    // Both end by the clock alone, each once, and say what was held back.
    let mut told = Vec::new();
    while let Some(due) = one.due_ms(Some(&settings)) {
        one.advance(Some(&settings), due);
        told.extend(one.take_summaries());
    }
    assert_eq!(told.iter().map(|s| (s.kind, s.ended)).collect::<Vec<_>>(), [("storm", true), ("flood", true)]);
    assert!(told[1].message.contains("held back: 50 warning and 20 info alerts"), "{}", told[1].message);
}

#[test]
fn what_was_not_shown_does_not_end_in_public() {
    let settings = Settings { flood: 1, ..Settings::default() };
    let mut one = Annunciator::default();
    storm(&mut one, &settings, 0, 5, 2);
    let mut end = alert(90, 1, 2, "s/4");
    one.alert(Some(&settings), START_MS + 9_000, true, &mut end);
    assert_eq!(end.alarm.unwrap().held, HELD_FLOOD);
    let mut end = alert(91, 1, 2, "s/0");
    one.alert(Some(&settings), START_MS + 9_000, true, &mut end);
    assert_eq!(end.alarm.unwrap().held, SHOWN);
    // On the shelf it is quiet, whatever its severity.
    let shelve = one.board.resolve(START_MS, &Request { series: "s/0", ..request(Verb::Shelve, 1) }).unwrap();
    one.board.join(START_MS, &shelve);
    let mut again = alert(92, 0, 0, "s/0");
    one.alert(Some(&settings), START_MS + 10_000, true, &mut again);
    assert_eq!(again.alarm.unwrap().held, HELD_SHELVED);
}

#[test]
fn figures_count_what_people_were_told_of() {
    let settings = Settings { flood: 1, ..Settings::default() };
    let mut one = Annunciator::default();
    storm(&mut one, &settings, 0, 3, 2);
    let told = |one: &Annunciator| {
        let figures = Figures::of(&one.board, START_MS + 10_000);
        (figures.total, figures.raised, figures.peak, figures.top.iter().map(|(_, often)| *often).sum::<u64>())
    };
    assert_eq!(told(&one), (3, 3, 3, 3), "what a flood holds back is told of in its summary");
    let shelve = one.board.resolve(START_MS, &Request { series: "s/0", ..request(Verb::Shelve, 1) }).unwrap();
    one.board.join(START_MS, &shelve);
    for again in 0..4 {
        let at_ms = START_MS + 3_000 + again as i64 * 10;
        one.alert(Some(&settings), at_ms, true, &mut alert(80 + again, 0, 0, "s/0"));
        one.alert_by(Some(&settings), at_ms, true, Way { designed: true, again: false }, &mut alert(90 + again, 0, 0, "s/1"));
    }
    assert_eq!(told(&one), (3, 3, 3, 3), "on the shelf, and suppressed by design");
    let figures = Figures::of(&one.board, START_MS + 10_000);
    assert_eq!((figures.held[&HELD_SHELVED], figures.held[&HELD_SUPPRESSED], figures.chattering.len()), (4, 4, 0));
    assert_eq!(one.board.get("s/0", "high").unwrap().hours.sum(START_MS + 10_000), 5, "the alarm itself counts all");
    // A day later nobody is told that what lies on the shelf is stale.
    let service = one.board.resolve(START_MS, &Request { series: "s/0", ..request(Verb::OutOfService, 2) }).unwrap();
    one.board.join(START_MS, &service);
    let stale = Figures::of(&one.board, START_MS + 2 * STALE_MS).stale;
    assert_eq!(stale.iter().map(|(series, _)| series.as_str()).collect::<Vec<_>>(), ["s/1", "s/2"]);
}

#[test]
fn figures_are_those_of_the_standard() {
    let mut one = Annunciator::default();
    let settings = Settings { flood: 5, ..Settings::default() };
    storm(&mut one, &settings, 0, 12, 1);
    for n in 0..3 {
        let mut body = alert(1_000 + n, 0, 1, "s/3");
        one.alert(Some(&settings), START_MS + 20_000 + n as i64, true, &mut body);
    }
    for summary in std::iter::once(("flood", 0u8, 5_000)).chain([("flood", 1, 615_000)]) {
        let mut body = AlertBody { kind: summary.0.into(), ..alert(2_000, summary.1, 1, SERIES) };
        one.alert(Some(&settings), START_MS + summary.2, true, &mut body);
    }
    let figures = Figures::of(&one.board, START_MS + 3_600_000);
    assert_eq!((figures.raised, figures.total, figures.floods, figures.flood_ms), (15, 15, 1, 610_000));
    assert!((figures.average - 2.5).abs() < 1e-9 && (figures.flood_share - 610.0 / 3_600.0).abs() < 1e-9, "{figures:?}");
    assert_eq!(figures.top[0], (("s/3".to_owned(), "high".to_owned()), 4));
    assert_eq!((figures.top.len(), figures.chattering.len(), figures.active), (10, 1, 12));
    assert_eq!((figures.standing["unacknowledged"], figures.standing["returned"], figures.stale.len()), (12, 1, 0));
    let later = Figures::of(&one.board, START_MS + 2 * 86_400_000);
    assert_eq!((later.raised, later.top.len(), later.floods, later.stale.len(), later.total), (0, 0, 0, 12, 15));
}
