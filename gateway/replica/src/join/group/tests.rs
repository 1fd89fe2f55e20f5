//! A group counts as its fullest member, and says whether its members saw the same.

use super::*;
use proptest::prelude::*;

/// A member's entry of the readings (time, value).
fn entry(readings: &[(i64, f64)]) -> Aggregate {
    let mut a = Aggregate::digested(readings[0].0, readings[0].1);
    readings[1..].iter().for_each(|(t, v)| a.add(*t, *v));
    a
}

fn piece<'a>(gateway: &'a str, group: Option<&'a str>, boot: u64, aggregate: &'a Aggregate) -> Piece<'a> {
    Piece { gateway, group, boot, start_ms: 0, born: boot, aggregate }
}

fn counts(sum: &Sum) -> (u64, Option<bool>) {
    (sum.aggregate.count(), sum.agree)
}

#[test]
fn the_fullest_member_counts_then_the_first_by_name_and_others_add() {
    let (three, four, own) = (entry(&[(1, 1.0), (2, 2.0), (3, 3.0)]), entry(&[(1, 9.0), (2, 9.0), (3, 9.0), (4, 9.0)]), entry(&[(1, 5.0)]));
    let g = Some("cell");
    let mut pieces = [piece("b", g, 1, &three), piece("a", g, 2, &four), piece("c", None, 3, &own)];
    let sum4 = sum(&mut pieces, &[("cell", "a"), ("cell", "b")]).unwrap();
    assert_eq!((counts(&sum4), sum4.aggregate.max()), ((5, Some(false)), 9.0));
    assert_eq!(sum4.gateways, BTreeMap::from([("a".into(), 4), ("b".into(), 3), ("c".into(), 1)]));
    // As full as each other: the first by name, whatever it saw.
    let other = entry(&[(1, 1.0), (2, 2.0), (3, 4.0)]);
    let sum3 = sum(&mut [piece("b", g, 1, &three), piece("a", g, 2, &other)], &[]).unwrap();
    assert_eq!((counts(&sum3), sum3.aggregate.max()), ((3, Some(false)), 4.0));
    // Two groups, and a member whose readings lie in two boots.
    let h = Some("hall");
    let mut pieces = [piece("b", g, 1, &three), piece("a", g, 2, &own), piece("a", g, 3, &own), piece("d", h, 4, &four)];
    assert_eq!(counts(&sum(&mut pieces, &[]).unwrap()), (7, Some(false)));
    assert_eq!(sum(&mut [], &[("cell", "a")]), None);
    assert_eq!(counts(&sum(&mut [piece("c", None, 3, &own)], &[]).unwrap()), (1, None));
}

#[test]
fn members_agree_when_all_that_had_the_series_gave_the_same() {
    let (a, b) = (entry(&[(1, 1.0), (2, 2.0)]), entry(&[(2, 2.0), (1, 1.0)]));
    let g = Some("cell");
    let both = [piece("a", g, 1, &a), piece("b", g, 2, &b)];
    let agree = |pieces: &[Piece<'_>], members: &[(&str, &str)]| sum(&mut pieces.to_vec(), members).unwrap().agree;
    assert_eq!(agree(&both, &[("cell", "a"), ("cell", "b")]), Some(true));
    assert_eq!(agree(&both, &[("cell", "a"), ("cell", "b"), ("cell", "c")]), Some(false), "c heard nothing");
    assert_eq!(agree(&both, &[("hall", "c")]), Some(true), "another group's member");
    assert_eq!(agree(&both[..1], &[("cell", "a")]), Some(false), "nobody to agree with");
    let mut plain = Aggregate::new(1, 1.0);
    plain.add(2, 2.0);
    assert_eq!(agree(&[both[0], piece("b", g, 2, &plain)], &[]), Some(false), "without a digest nothing is known");
}

#[test]
fn a_group_waits_for_one_of_its_fullest_members_only() {
    let (one, two) = (entry(&[(1, 1.0)]), entry(&[(1, 1.0), (2, 2.0)]));
    let g = Some("cell");
    let member = |number, name, is_past| Member { number, name, group: "cell", is_past };
    let uneven = [piece("a", g, 1, &one), piece("b", g, 2, &two)];
    assert_eq!(blockers(&uneven, [member(1, "a", true), member(2, "b", false)].into_iter()), [2]);
    assert_eq!(blockers(&uneven, [member(1, "a", false), member(2, "b", true)].into_iter()), [0; 0]);
    let even = [piece("a", g, 1, &one), piece("b", g, 2, &one)];
    assert_eq!(blockers(&even, [member(1, "a", false), member(2, "b", true)].into_iter()), [0; 0]);
    assert_eq!(blockers(&[], [member(1, "a", false), member(2, "b", false)].into_iter()), [1, 2], "none has any");
    assert_eq!(blockers(&[], [member(1, "a", false), member(2, "b", true)].into_iter()), [0; 0]);
}

proptest! {
    /// Whatever two members and a third gateway heard of a plant, in any order and in any number
    /// of boots: never more than there was, all of it where a member heard all, and never less
    /// than before when one more entry comes.
    #[test]
    fn never_more_than_the_truth_and_no_figure_goes_down(
        heard in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 1u64..4, 1u64..4), 1..40),
        shuffle in any::<u64>(),
    ) {
        let mut entries: BTreeMap<(&str, u64), Vec<(i64, f64)>> = BTreeMap::new();
        let (mut outside, mut totals) = (0, [0u64; 2]);
        for (i, (a, b, c, boot_a, boot_b)) in heard.iter().enumerate() {
            let reading = (i as i64, i as f64);
            for (given, name, boot) in [(*a, "a", *boot_a), (*b, "b", *boot_b + 10), (*c, "c", 99)] {
                if given {
                    entries.entry((name, boot)).or_default().push(reading);
                }
            }
            outside += u64::from(*c);
            totals = [totals[0] + u64::from(*a), totals[1] + u64::from(*b)];
        }
        let aggregates: Vec<((&str, u64), Aggregate)> = entries.iter().map(|(name, readings)| (*name, entry(readings))).collect();
        let mut pieces: Vec<Piece<'_>> =
            aggregates.iter().map(|((name, boot), a)| piece(name, (*name != "c").then_some("cell"), *boot, a)).collect();
        let turn = (shuffle as usize) % pieces.len().max(1);
        pieces.rotate_left(turn);
        let mut before = 0;
        for n in 1..=pieces.len() {
            let count = sum(&mut pieces[..n].to_vec(), &[]).map_or(0, |s| s.aggregate.count());
            prop_assert!(count >= before);
            before = count;
        }
        let whole = sum(&mut pieces, &[("cell", "a"), ("cell", "b")]);
        prop_assert_eq!(whole.as_ref().map_or(0, |s| s.aggregate.count()), totals[0].max(totals[1]) + outside);
        let same = heard.iter().all(|(a, b, ..)| a == b);
        if let Some(agree) = whole.and_then(|s| s.agree) {
            prop_assert_eq!(agree, same);
        }
    }
}
