//! Bytes from strangers: nothing they send takes the server down or a place for good.

use crate::application::{BOTH, Door};
use crate::wire::{Connect, Publish, Seen, Will, Wire, block, packet, string, user};
use broker::Version;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One measures the memory of this process, the other takes a lot of it.
static MEMORY: Mutex<()> = Mutex::new(());

/// Reads until the server has closed or says nothing more.
fn drain(wire: &mut Wire) {
    while matches!(wire.try_next_within(Duration::from_millis(50)), Some(Seen::Packet(..))) {}
}

#[test]
fn garbage_is_closed_and_forgotten() {
    let door = Door::open();
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::default() });
    let bytes = prop::collection::vec(any::<u8>(), 1..600);
    let after_connect = any::<bool>();
    runner
        .run(&(bytes, after_connect, any::<bool>()), |(bytes, after_connect, v5)| {
            let version = BOTH[usize::from(v5)];
            let mut wire = if after_connect { Wire::clean(door.at, version, "garbage") } else { Wire::open(door.at, version) };
            // The server may have closed while this is written.
            drop(wire.try_send(&bytes));
            drain(&mut wire);
            Ok(())
        })
        .unwrap();
    Wire::clean(door.at, Version::V5, "sane").expect_quiet();
}

/// A session with all that a client can say, one packet after the other.
fn conversation(version: Version) -> Vec<Vec<u8>> {
    let properties = if version == Version::V5 { user("k", "v") } else { vec![] };
    let will = Some(Will { properties: properties.clone(), ..Will::of("will", "x") });
    let subscribe = [vec![0, 1], block(version, &properties), string("a/#"), vec![1]].concat();
    vec![
        Connect { id: "mutant", properties: properties.clone(), will, keep_alive_s: 60, ..Connect::of(version) }.bytes(),
        packet(0x82, &subscribe),
        Publish { qos: 0, properties: properties.clone(), ..Publish::of("a/b", "zero") }.bytes(version),
        Publish { qos: 1, id: 1, retain: true, ..Publish::of("a/b", "one") }.bytes(version),
        Publish { qos: 2, id: 2, ..Publish::of("log/a", "two") }.bytes(version),
        packet(0x62, &[0, 2]),
        packet(0xa2, &[vec![0, 3], block(version, &[]), string("a/#")].concat()),
        vec![0xc0, 0],
        vec![0xe0, 0],
    ]
}

#[test]
fn valid_packets_with_changed_bytes_do_no_harm() {
    let door = Door::open();
    let mut runner = TestRunner::new(Config { cases: 200, ..Config::default() });
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 1..6);
    runner
        .run(&(changes, any::<prop::sample::Index>(), any::<bool>()), |(changes, cut, v5)| {
            let version = BOTH[usize::from(v5)];
            let mut bytes = conversation(version).concat();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            let mut wire = Wire::open(door.at, version);
            drop(wire.try_send(&bytes));
            Ok(())
        })
        .unwrap();
    for version in BOTH {
        let mut wire = Wire::open(door.at, version);
        wire.send(&conversation(version).concat());
        drain(&mut wire);
        assert_eq!(wire.next(), Seen::Closed);
    }
    door.until("nobody is left", |d| d.broker.stats().connections == 0);
    Wire::clean(door.at, Version::V5, "sane").expect_quiet();
}

#[test]
fn announced_lengths_cost_nothing_until_their_bytes_come() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let door = Door::open();
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let before = resident();
    let mut wires: Vec<Wire> = (0..200)
        .map(|n| {
            let mut wire = Wire::clean(door.at, Version::V5, &format!("liar-{n}"));
            // 256 KiB are promised, just what is allowed.
            wire.send(&[0x30, 0xfc, 0xff, 0x0f, 0, 1, b'a']);
            wire
        })
        .collect();
    let mut last = Wire::clean(door.at, Version::V5, "last");
    last.expect_quiet();
    let grown = resident().saturating_sub(before);
    assert!(grown < 30 << 20, "200 promises take {grown} bytes");
    for (wire, length) in wires.iter_mut().zip([[0xff, 0xff, 0xff, 0x7f], [0x80, 0x80, 0x80, 0x01]]) {
        wire.send(&[0; 16]);
        let mut fresh = Wire::clean(door.at, Version::V5, "giant");
        fresh.send(&[&[0x30][..], &length].concat());
        fresh.expect_end(0x95);
    }
}

/// Lets this process, which is the server and all its clients, open so many files.
fn allow_files(count: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a struct that they may fill or read.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_cur.max(count.min(limit.rlim_max));
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

#[test]
fn a_thousand_clients_are_served_at_once() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    allow_files(4_000);
    let door = Door::open();
    let mut clients: Vec<Wire> = (0..1_000).map(|n| Wire::clean(door.at, BOTH[n % 2], &format!("c{n}"))).collect();
    assert_eq!(door.broker.stats().connections, 1_000);
    for (n, client) in clients.iter_mut().enumerate() {
        client.publish(Publish { qos: 1, id: 1, ..Publish::of("log/a", &n.to_string()) });
    }
    for client in &mut clients {
        client.expect(0x40, &[0, 1]);
    }
    assert_eq!(door.log.taken().len(), 1_000);
    drop(clients);
    door.until("nobody is left", |d| d.broker.stats().connections == 0 && d.broker.stats().sessions == 0);
}
