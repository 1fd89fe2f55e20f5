//! As many new series as a stranger can name: bounded, refused with a reason, and nothing else suffers.

use crate::gateway::{Gateway, tidegate, timed};
use crate::wire::{Connect, PUBACK, Publish, Seen, Wire, string};
use broker::Version::{V3, V5};

/// Resident memory of a process, in bytes.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn names_without_end_are_refused_and_what_is_known_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "[limits]\nseries = 50\n");
    let mut operator = Wire::clean(gateway.at(), V5, "operator");
    operator.subscribe(&[("alerts/#", 1), ("alarms/#", 1)]);
    let mut watcher = Wire::clean(gateway.at(), V5, "watcher");
    watcher.subscribe(&[("sensors/new/#", 0)]);
    let mut five = Wire::clean(gateway.at(), V5, "five");
    for n in 0..50 {
        assert_eq!(five.say(&format!("sensors/known/s{n}"), &timed(n)), 0);
    }
    // One more hears why, in words.
    five.publish(Publish { qos: 1, id: 7, ..Publish::of("sensors/new/s", "1") });
    let why = "a limit of this gateway is reached";
    five.expect(PUBACK, &[vec![0, 7, 0x97, why.len() as u8 + 3, 0x1f], string(why)].concat());
    let before = resident(gateway.role.pid());
    // The rest of a hundred thousand, many at once, as fast as they are refused.
    for batch in 0..200u64 {
        let packets: Vec<u8> = (0..500u64)
            .flat_map(|n| Publish { qos: 1, id: n as u16 + 1, ..Publish::of(&format!("sensors/new/{batch}/s{n}"), "1.5") }.bytes(V5))
            .collect();
        five.send(&packets);
        for n in 0..500u16 {
            let Seen::Packet(PUBACK, body) = five.next() else { panic!("{batch}/{n} is not answered") };
            assert_eq!(body[..3], [(n + 1).to_be_bytes()[0], (n + 1).to_be_bytes()[1], 0x97]);
        }
        assert_eq!(five.say(&format!("sensors/known/s{}", batch % 50), &timed(50 + batch)), 0, "what is known goes on");
    }
    let grown = resident(gateway.role.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "a hundred thousand refused names take {grown} bytes");
    // Several in one message: all or none, and a refused one uses up nothing.
    assert_eq!(five.say("sensors/known/s0", "[21.5,{\"fresh\":1}]"), 0x97);
    assert_eq!(five.say("sensors/known/s0", "[21.5,22.5]"), 0);
    gateway.has_accepted(252);
    watcher.expect_quiet();
    operator.expect_quiet();

    // MQTT 3.1.1 has no word for it: the connection closes, nothing is acknowledged, and others stay.
    let (mut three, _) = Wire::with(gateway.at(), &Connect::durable(V3, "three"));
    three.publish(Publish { qos: 1, id: 6, ..Publish::of("sensors/known/s1", &timed(900)) });
    three.expect(PUBACK, &[0, 6]);
    three.publish(Publish { qos: 1, id: 7, ..Publish::of("sensors/new/three", "1") });
    assert_eq!(three.next(), Seen::Closed);
    let (mut three, (present, _)) = Wire::with(gateway.at(), &Connect::durable(V3, "three"));
    assert!(present);
    three.publish(Publish { qos: 1, id: 8, ..Publish::of("sensors/known/s1", &timed(901)) });
    three.expect(PUBACK, &[0, 8]);
    assert_eq!(five.say("sensors/known/s2", &timed(902)), 0);

    // It is counted, shown to a person, and so after a crash; what was known before it still is.
    let quota = 100_001 + 1 + 1;
    let counted = |g: &Gateway| g.status()["ledger"]["refused"]["quota"] == quota && g.status()["series"] == 50;
    gateway.until("all are counted", counted);
    gateway.until_refusals_are_logged(quota);
    gateway.kill_and_restart();
    gateway.until("the counts outlive the process", counted);
    let shown = tidegate(&["status", "--url", &format!("http://127.0.0.1:{}", gateway.role.http)]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("refused    messages: 100,003 quota"), "{shown}");
    let mut five = Wire::clean(gateway.at(), V5, "five");
    for n in 0..50 {
        assert_eq!(five.say(&format!("sensors/known/s{n}"), &timed(1_000 + n)), 0);
    }
    assert_eq!(five.say("sensors/new/again", "1"), 0x97);
    gateway.has_accepted(305);
}
