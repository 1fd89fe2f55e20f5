//! Boots that are over: what they left, and what a cloud lost of them.

use super::*;

/// The gateway begins another boot.
fn begin(pair: &mut Pair, boot: u64, config: &FoldConfig) {
    let parent = pair.fold.current().map(|part| (part.boot, part.end));
    pair.log(0, &Record::Boot { boot, parent, config: &schemas::cbor::to_vec(config) });
}

#[test]
fn what_an_ended_boot_left_goes_with_the_sizes_that_it_ran_with() {
    let mut pair = Pair::new(Settings { boot: 8, ..Settings::default() }, Line::default(), 5);
    pair.define(1);
    pair.windows(1, 3);
    let config = FoldConfig { fold_version: FOLD_VERSION, sizes_ms: vec![7 * SIZE_MS], grace_ms: 9, ..FoldConfig::default() };
    begin(&mut pair, 8, &config);
    let restored = Fold::restore(&pair.fold.save()).unwrap();
    assert_eq!((&restored.boots[0].sizes_ms, restored.boots[1].grace_ms), (&vec![SIZE_MS], 9));
    pair.connect();
    let mut found = None;
    while let Some(out) = pair.uplink.poll(pair.now_ms, &pair.fold) {
        match out {
            Out::Delta(delta) => drop(found.get_or_insert(delta)),
            Out::Offer(boot, born) => pair.log(0, &Record::Offered { boot, born }),
            _ => {}
        }
    }
    let delta = found.unwrap();
    assert_eq!((delta.boot, delta.sizes, delta.grace_ms), (7, vec![SIZE_MS], 0));
}

#[test]
fn what_a_cloud_lost_of_all_boots_counts_as_held_before_any_of_it_goes_again() {
    let mut pair = Pair::new(Settings { boot: 9, ..Settings::default() }, clean(10), 5);
    let config = FoldConfig { fold_version: FOLD_VERSION, sizes_ms: vec![SIZE_MS], offers: true, ..FoldConfig::default() };
    for boot in [8, 9] {
        pair.define(1);
        pair.windows(1, 3);
        begin(&mut pair, boot, &config);
    }
    pair.connect();
    pair.run(20_000);
    let accepted = pair.fold.ledger().accepted;
    assert_eq!((pair.fold.ledger().delivered, accepted > 0), (accepted, true));
    (pair.bridge, pair.cloud_lsn) = (Bridge::default(), 0);
    pair.cloud_log(&Record::Boot { boot: 10, parent: None, config: &[] });
    pair.windows(1, 1);
    // Nothing goes before the log is folded again, which is not done here.
    pair.run(20_000);
    let (ledger, drain) = (pair.fold.ledger(), pair.uplink.drain(pair.now_ms, &pair.fold));
    assert_eq!((ledger.delivered, ledger.held), (0, ledger.accepted), "{ledger:?}");
    assert!(drain.windows > 0 && drain.bytes > 0 && drain.eta_s != Some(0), "{drain:?}");
}

#[test]
fn a_cloud_that_lost_its_disk_is_told_again_that_a_boot_is_over() {
    let mut pair = Pair::new(Settings { boot: 8, ..Settings::default() }, clean(10), 5);
    let config = FoldConfig { fold_version: FOLD_VERSION, sizes_ms: vec![SIZE_MS], offers: true, ..FoldConfig::default() };
    let end = pair.fold.current().unwrap().end;
    begin(&mut pair, 8, &config);
    pair.define(1);
    pair.windows(1, 1);
    pair.connect();
    pair.run(20_000);
    assert!(pair.bridge.gateways["a"].boots[&7].ended);
    (pair.bridge, pair.cloud_lsn) = (Bridge::default(), 0);
    pair.cloud_log(&Record::Boot { boot: 10, parent: None, config: &[] });
    pair.windows(1, 1);
    // Record by record, so that the past stands at the end of its first boot for a while.
    for _ in 0..60 {
        pair.run(1_000);
        if pair.fold.heals_from().is_some() {
            pair.fold.heal(Some(Fold::default()));
        }
        if let Some(next) = pair.fold.heals_with() {
            let (kind, payload) = pair.logged[next as usize - 1].clone();
            pair.fold.heal_frame(next, [0; 4], std::iter::once((next, kind, payload.as_slice()))).unwrap();
        }
    }
    let known = &pair.bridge.gateways["a"];
    assert!(known.boots[&7].ended && known.boots[&7].applied == end);
    assert_eq!(known.complete_ms, known.boots[&8].frontier_ms, "it holds no window back");
}
