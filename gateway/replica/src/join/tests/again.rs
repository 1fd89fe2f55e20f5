//! What is told again: by a bridge that ended before it was taken, and to a gateway whose disk is not what it was.

use super::*;

#[test]
fn what_was_not_taken_is_published_again_though_the_store_is_further() {
    let mut w = World::new(None);
    let disk = Disk::default();
    w.bridge = Bridge::new(Box::new(disk.clone()));
    let up = AlertUp { format: FORMAT, alert: alert(30, "x", 1.0) }.encode();
    w.send("a", &delta(1, 0, 5, 5, &[(0, 1, 3, 1.0)]));
    assert_eq!(w.round(0).len(), 2);
    w.log(0, &Record::Cursor { lsn: 2 });
    w.send("a", &delta(1, 5, 9, 5, &[(0, 6, 7, 2.0), (10, 8, 8, 2.0)]));
    w.log(0, &Record::AlertUp { gateway: "a", bytes: &up });
    let published = w.round(2_000);
    w.bridge.flush().unwrap();
    let state = disk.0.lock().unwrap().state.clone().unwrap();
    let mut restored = Bridge::restore(&state.1, Box::new(disk)).unwrap();
    let again = restored.unpublished().unwrap();
    let lsns: Vec<u64> = again.iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!((lsns, again[0].1.alerts.len()), (vec![6, 7], 1));
    assert_eq!(again[1].1.merged, published, "once each, with the last revision");
    let end = restored.lsn + 1;
    let mut payload = Vec::new();
    Record::Cursor { lsn: 7 }.encode(0, &mut payload);
    restored.apply(end, Record::Cursor { lsn: 7 }.kind(), &payload).unwrap();
    assert!(restored.unpublished().unwrap().is_empty());
}

/// Whoever has a durable session hears of an alarm's change, though the bridge died over it.
#[test]
fn alarms_that_changed_and_were_not_taken_are_told_again() {
    let mut w = World::new(None);
    let raised = |seq, series| AlertUp { format: FORMAT, alert: alert(seq, series, 1.0) }.encode();
    let first = w.log(0, &Record::AlertUp { gateway: "a", bytes: &raised(3, "x") });
    assert_eq!(first.alarms, [("a".to_owned(), ("x".to_owned(), "high".to_owned()))]);
    w.log(0, &Record::Cursor { lsn: 2 });
    w.log(0, &Record::AlertUp { gateway: "a", bytes: &raised(4, "y") });
    w.log(0, &Record::AlertUp { gateway: "a", bytes: &raised(5, "y") });
    let mut restored = Bridge::restore(&w.bridge.save(), Box::new(Disk::default())).unwrap();
    let again = restored.unpublished().unwrap();
    let told: Vec<_> =
        again.iter().flat_map(|(_, effects)| &effects.alarms).map(|(gateway, name)| (gateway.as_str(), name.0.as_str())).collect();
    assert_eq!(told, [("a", "y")], "once, as it stands");
    // What somebody did to one goes out without an alert, and the cursor passes it.
    assert!(Effects { alarms: first.alarms, ..Effects::default() }.publishes());
}

/// What counts of all that was done is passed on once more where a log does not go on from what was told, and never else.
#[test]
fn a_gateway_that_lost_its_disk_or_was_restored_is_told_once_more_what_was_done() {
    let mut w = World::new(None);
    let act = |id, verb, series: &str, until_ms| Act {
        id,
        verb,
        series: series.into(),
        kind: "high".into(),
        time_ms: START_MS,
        by: "jo".into(),
        reason: String::new(),
        until_ms,
        seen: AlertKey { at_ms: START_MS, boot: 1, seq: 3, ordinal: 0 },
    };
    let acts = vec![act(1, 0, "x", 0), act(2, 1, "x", START_MS + 1_000), act(3, 3, "y", 0)];
    let say = |w: &mut World, acts: Vec<Act>, answers: Vec<Answer>| {
        let up = CommandUp { format: FORMAT, boot: 1, acts, answers };
        w.log(0, &Record::CommandUp { gateway: "a", bytes: &up.encode() });
    };
    let begins = |w: &mut World, boot, parent| {
        let hello = hello(boot, parent);
        if !w.bridge.knows("a", &hello) {
            w.log(0, &Record::Hello { gateway: "a", bytes: &hello.encode() });
        }
        let restored = Bridge::restore(&w.bridge.save(), Box::new(Disk::default())).unwrap();
        assert!(restored.knows("a", &hello) && restored.alarms.iter().eq(w.bridge.alarms.iter()));
        w.bridge
            .alarms
            .commands(w.bridge.clock_ms, "a")
            .into_iter()
            .map(|command| (command.act.id, command.not_after_ms))
            .collect::<Vec<_>>()
    };
    begins(&mut w, 1, None);
    for (seq, series) in [(3, "x"), (4, "y"), (5, "z")] {
        w.log(0, &Record::AlertUp { gateway: "a", bytes: &AlertUp { format: FORMAT, alert: alert(seq, series, 1.0) }.encode() });
    }
    say(&mut w, acts.clone(), Vec::new());
    w.send("a", &delta(1, 0, 9, 20, &[]));
    let none = Vec::new();
    assert_eq!([begins(&mut w, 2, Some((1, 9))), begins(&mut w, 2, Some((1, 9))), begins(&mut w, 1, None)], [(); 3].map(|()| none.clone()));
    // A week later, on the disk of before the second boot: what counted is not too late, and counts meanwhile.
    w.log(7 * DAY_MS as u64 + 60_000, &Record::Tick);
    let late_ms = w.bridge.clock_ms + 7 * DAY_MS;
    assert_eq!(begins(&mut w, 3, Some((1, 9))), [(1, late_ms), (2, late_ms), (3, late_ms)]);
    let x = w.bridge.alarms.board("a").unwrap().get("x", "high").unwrap();
    assert!(x.is_acknowledged() && !x.is_put_aside_here(w.bridge.clock_ms), "its shelf is over");
    assert!(w.bridge.alarms.board("a").unwrap().get("y", "high").unwrap().is_put_aside_here(w.bridge.clock_ms));
    say(&mut w, acts.clone(), Vec::new());
    assert_eq!([begins(&mut w, 3, Some((1, 9))), begins(&mut w, 2, Some((1, 9)))], [(); 2].map(|()| none.clone()), "once");
    // A copy of the last boot's disk that lacks its end.
    w.send("a", &delta(3, 0, 9, 20, &[]));
    assert_eq!(begins(&mut w, 4, Some((3, 8))).len(), 3);
    say(&mut w, acts.clone(), Vec::new());
    // An empty disk: what it does not know goes, and what nobody did anything about stays to be seen.
    assert_eq!(begins(&mut w, 5, None).len(), 3);
    let unknown = acts.iter().map(|act| Answer { id: act.id, outcome: alarms::UNKNOWN }).collect();
    say(&mut w, Vec::new(), unknown);
    let left = w.bridge.alarms.board("a").unwrap().iter().map(|(name, _)| name.0.clone()).collect::<Vec<_>>();
    assert_eq!((left, w.bridge.alarms.commands(w.bridge.clock_ms, "a").len()), (vec!["z".to_owned()], 0));
}
