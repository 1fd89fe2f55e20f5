//! What machines promise within the fold.

use super::TOP;
use crate::fold::{Fold, FoldConfig};
use crate::rehearse::Rehearsal;
use detect::limits::GROUP_CHANNELS_MAX;
use detect::{GroupRule, Kind, Pattern, Settings, Shadow};

const START_MS: i64 = 1_700_000_000_000;

fn rehearsal(names: &[String]) -> Rehearsal {
    let mut rehearsal = Rehearsal::new(START_MS, FoldConfig::default()).unwrap();
    for name in names {
        rehearsal.series(name, Some("bar")).unwrap();
    }
    rehearsal
}

/// Deterministic, between -1 and 1.
fn noise(at: i64, channel: u32) -> f64 {
    let mixed = (at as u64 ^ u64::from(channel) << 40).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// A row a second; the last channel leaves its range at the end.
fn run(rehearsal: &mut Rehearsal, from: i64, to: i64, fault_at: i64) {
    let channels = rehearsal.fold.series.len() as u32;
    for second in from..to {
        let time_ms = START_MS + second * 1_000;
        for channel in 0..channels {
            let fault = if channel + 1 == channels && second >= fault_at { 12.0 } else { 0.0 };
            rehearsal.message(time_ms, [(channel, time_ms, 20.0 + noise(second, channel) + fault)]).unwrap();
        }
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}channel-{at}")).collect()
}

#[test]
fn series_under_one_prefix_are_watched_together_without_any_configuration() {
    for (prefix, machine) in [("line1/press3/", "line1/press3"), ("", TOP)] {
        let mut rehearsal = rehearsal(&names(prefix, 4));
        run(&mut rehearsal, 0, 1_300, 1_200);
        let told = rehearsal.fold.fresh.iter().map(|(_, alert)| alert).filter(|alert| alert.kind == "group").collect::<Vec<_>>();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].series.as_str(), told[0].state), (machine, 0));
        assert!(told[0].message.contains("channel-3 3"), "{}", told[0].message);
        assert!((1_200..1_220).contains(&((told[0].time_ms - START_MS) / 1_000)));
    }
}

#[test]
fn a_long_list_is_no_machine_and_an_event_under_way_ends_with_it() {
    let mut rehearsal = rehearsal(&names("line1/press3/", GROUP_CHANNELS_MAX));
    run(&mut rehearsal, 0, 700, 650);
    rehearsal.series("line1/press3/one-more", None).unwrap();
    let told = rehearsal.fold.fresh.iter().filter(|(_, alert)| alert.kind == "group").map(|(_, alert)| alert.state).collect::<Vec<_>>();
    assert_eq!(told, [0, 1]);
    assert!(rehearsal.fold.machines.of(0).is_none());
    let before = rehearsal.fold.fresh.len();
    rehearsal.series("line1/press3/and-another", None).unwrap();
    assert_eq!(rehearsal.fold.fresh.len(), before);
}

#[test]
fn the_alarm_of_a_machine_ends_with_its_group_though_groups_are_only_tried_from_then_on() {
    let mut rehearsal = rehearsal(&names("a/b/", 3));
    run(&mut rehearsal, 0, 710, 700);
    let active = |fold: &Fold| fold.alarms.board.get("a/b", "group").is_some_and(|alarm| alarm.is_active());
    assert!(active(&rehearsal.fold));
    let groups = vec![GroupRule { name: "cell".into(), series: vec![Pattern::new("a/b/*")] }];
    let shadows = vec![Shadow { series: Pattern::new("**"), kinds: vec![Kind::Group] }];
    let config = FoldConfig { detection: Settings { groups, shadows, ..Settings::default() }, ..FoldConfig::default() };
    rehearsal.boot(START_MS + 711_000, 2, config).unwrap();
    assert!(!active(&rehearsal.fold));
    assert_eq!(rehearsal.fold.fresh_shadow, []);
}

#[test]
fn a_snapshot_at_any_record_goes_on_to_the_same_alerts() {
    let mut whole = rehearsal(&names("a/b/", 3));
    let mut resumed = rehearsal(&names("a/b/", 3));
    for from in (0..900).step_by(50) {
        run(&mut whole, from, from + 50, 700);
        run(&mut resumed, from, from + 50, 700);
        resumed.fold = Fold::restore(&resumed.fold.save()).unwrap();
        assert_eq!(resumed.fold.fresh, whole.fold.fresh);
        assert_eq!(resumed.fold.machines.all, whole.fold.machines.all);
    }
    assert!(whole.fold.fresh.iter().any(|(_, alert)| alert.kind == "group"));
}

#[test]
fn what_an_older_program_learnt_raises_nothing_while_its_records_are_folded_again() {
    let mut rehearsal = rehearsal(&names("a/b/", 3));
    rehearsal.fold.config.fold_version = 1;
    run(&mut rehearsal, 0, 900, 700);
    assert_eq!(rehearsal.fold.fresh, []);
}
