//! What configuration makes of alarms, through the fold: maintenance, suppression, shadow, groups.

use detect::alarm::Standing;
use detect::{GroupRule, Kind, LimitRule, Maintenance, Pattern, Settings, Shadow, Suppression};
use replica::fold::{Fold, FoldConfig};
use replica::rehearse::Rehearsal;

const START_MS: i64 = 1_700_000_000_000;

fn config(detection: Settings) -> FoldConfig {
    FoldConfig { sizes_ms: vec![10_000], grace_ms: 2_000, alarms: Some(Default::default()), detection, ..FoldConfig::default() }
}

fn limit(high: f64) -> LimitRule {
    LimitRule { series: Pattern::new("**"), high: Some(high), low: Some(-100.0), ..LimitRule::default() }
}

fn standing(fold: &Fold, series: &str, kind: &str) -> Option<Standing> {
    fold.alarms.board.get(series, kind).map(|alarm| alarm.standing(fold.clock_ms))
}

/// Restored from its snapshot, a fold must go on as it was.
fn stored(gateway: Rehearsal) -> Rehearsal {
    let bytes = gateway.fold.save();
    let fold = Fold::restore(&bytes).expect("its fold");
    assert_eq!(fold.save(), bytes);
    Rehearsal::resume(fold)
}

#[test]
fn maintenance_holds_alarms_with_its_reason_and_ends_by_the_clock() {
    let rule = Maintenance {
        series: Pattern::new("press/**"),
        from_ms: START_MS + 10_000,
        until_ms: START_MS + 60_000,
        every_ms: None,
        reason: "gearbox change".to_owned(),
    };
    let detection = Settings { limits: vec![limit(50.0)], maintenance: vec![rule], ..Settings::default() };
    let mut gateway = Rehearsal::new(START_MS, config(detection)).unwrap();
    let (press, other) = (gateway.series("press/temperature", None).unwrap(), gateway.series("pump/flow", None).unwrap());
    for at in 0..20 {
        let clock_ms = START_MS + at * 1_000;
        let value = if at < 15 { 20.0 } else { 80.0 };
        gateway.message(clock_ms, [(press, clock_ms, value), (other, clock_ms, value)]).unwrap();
    }
    let told = std::mem::take(&mut gateway.fold.fresh);
    let held = |series: &str| told.iter().find(|(_, alert)| alert.series == series).map(|(_, alert)| alert.alarm.as_ref().unwrap().held);
    assert_eq!((held("press/temperature"), held("pump/flow")), (Some(detect::alarm::HELD_SUPPRESSED), Some(0)));
    let message = &told.iter().find(|(_, alert)| alert.series == "press/temperature").unwrap().1.message;
    assert_eq!(message, "80 is above 50; not shown: in maintenance (gearbox change)");
    assert_eq!(standing(&gateway.fold, "press/temperature", "high"), Some(Standing::Suppressed));
    let alarm = gateway.fold.alarms.board.get("press/temperature", "high").unwrap();
    let act = alarm.acts().design.clone().unwrap();
    assert_eq!((act.by.as_str(), act.reason.as_str()), ("configuration", "in maintenance (gearbox change)"));
    let mut gateway = stored(gateway);
    gateway.pass(START_MS + 59_000).unwrap();
    assert_eq!(standing(&gateway.fold, "press/temperature", "high"), Some(Standing::Suppressed));
    gateway.pass(START_MS + 61_000).unwrap();
    assert_eq!(standing(&gateway.fold, "press/temperature", "high"), Some(Standing::Unacknowledged), "it lasts, and is in the list again");
    let mut gateway = stored(gateway);
    gateway.message(START_MS + 62_000, [(press, START_MS + 62_000, 20.0)]).unwrap();
    assert_eq!(standing(&gateway.fold, "press/temperature", "high"), Some(Standing::Returned));
}

#[test]
fn an_alarm_suppresses_others_while_it_lasts() {
    let rule = Suppression { by: "m/power".into(), by_kind: Kind::Low, series: Pattern::new("m/**"), kinds: vec![Kind::High] };
    let detection = Settings { limits: vec![limit(50.0)], suppressions: vec![rule.clone()], ..Settings::default() };
    let mut gateway = Rehearsal::new(START_MS, config(detection.clone())).unwrap();
    let (power, flow) = (gateway.series("m/power", None).unwrap(), gateway.series("m/flow", None).unwrap());
    let mut at_ms = START_MS;
    let mut say = |gateway: &mut Rehearsal, series: u32, value: f64| {
        at_ms += 1_000;
        gateway.message(at_ms, [(series, at_ms, value)]).unwrap();
    };
    say(&mut gateway, power, -200.0);
    say(&mut gateway, flow, 80.0);
    assert_eq!(standing(&gateway.fold, "m/power", "low"), Some(Standing::Unacknowledged));
    assert_eq!(standing(&gateway.fold, "m/flow", "high"), Some(Standing::Suppressed));
    let mut gateway = stored(gateway);
    say(&mut gateway, power, 0.0);
    assert_eq!(standing(&gateway.fold, "m/flow", "high"), Some(Standing::Unacknowledged), "the power is back, the flow still too high");
    say(&mut gateway, power, -200.0);
    say(&mut gateway, flow, 20.0);
    say(&mut gateway, flow, 80.0);
    assert_eq!(standing(&gateway.fold, "m/flow", "high"), Some(Standing::Suppressed));
    let clock_ms = gateway.fold.clock_ms;
    gateway.boot(clock_ms, 2, config(Settings { suppressions: Vec::new(), ..detection })).unwrap();
    say(&mut gateway, power, -200.0);
    assert_eq!(standing(&gateway.fold, "m/flow", "high"), Some(Standing::Unacknowledged), "the rule is gone");
}

#[test]
fn a_detector_in_shadow_is_counted_and_raises_nothing() {
    let shadow = Shadow { series: Pattern::new("m/*"), kinds: vec![Kind::High] };
    let detection = Settings { limits: vec![limit(50.0)], shadows: vec![shadow], ..Settings::default() };
    let mut gateway = Rehearsal::new(START_MS, config(detection)).unwrap();
    let series = gateway.series("m/flow", None).unwrap();
    for (at, value) in (1..).zip([80.0, 20.0, 80.0, -200.0]) {
        let clock_ms = START_MS + at * 1_000;
        gateway.message(clock_ms, [(series, clock_ms, value)]).unwrap();
    }
    let kinds = |alerts: &[(u64, schemas::message::AlertBody)]| alerts.iter().map(|(_, alert)| alert.kind.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&gateway.fold.fresh), ["low"]);
    assert_eq!(kinds(&gateway.fold.fresh_shadow), ["high"; 4]);
    assert!(gateway.fold.alarms.board.get("m/flow", "high").is_none());
    assert_eq!(stored(gateway).fold.shadowed["high"], 2);
}

#[test]
fn a_configured_group_takes_its_series_out_of_their_prefixes() {
    let rule = GroupRule { name: "cell".into(), series: vec![Pattern::new("a/*"), Pattern::new("b/flow")] };
    let detection = Settings { groups: vec![rule], ..Settings::default() };
    let mut gateway = Rehearsal::new(START_MS, config(detection)).unwrap();
    for name in ["a/x", "a/y", "b/flow", "b/power"] {
        gateway.series(name, None).unwrap();
    }
    let machines = |gateway: &Rehearsal| {
        [0, 1, 2, 3].map(|number| gateway.fold.machines.of(number).map(|machine| (machine.name.clone(), machine.group.channels())))
    };
    let in_cell = || Some(("cell".to_owned(), 3));
    assert_eq!(machines(&gateway), [in_cell(), in_cell(), in_cell(), Some(("b".to_owned(), 1))]);
    let mut gateway = stored(gateway);
    gateway.boot(START_MS + 1_000, 2, config(Settings::default())).unwrap();
    let pair = |name: &str| Some((name.to_owned(), 2));
    assert_eq!(machines(&gateway), [pair("a"), pair("a"), pair("b"), pair("b")]);
}
