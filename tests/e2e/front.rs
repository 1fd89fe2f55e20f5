//! What the gateway cannot take gets a truthful answer, and is counted.

use crate::gateway::{Gateway, logged, status_at, timed};
use crate::plant::{Role, configs, free_port};
use crate::wire::{Connect, PUBACK, Publish, Seen, Will, Wire};
use broker::Version::{V3, V5};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

#[test]
fn what_is_no_reading_is_told_in_mqtt_5_and_kept_aside_in_3() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "[limits]\nseries = 4\n");
    let mut watcher = Wire::clean(gateway.at(), V5, "watcher");
    watcher.subscribe(&[("sensors/#", 0)]);
    let mut five = Wire::clean(gateway.at(), V5, "five");
    for payload in ["no reading", "NaN", "{\"value\":1e999}", "{\"state\":\"on\"}", "[1,\"x\"]", "{\"value\":1", "\u{7f}"] {
        assert_eq!(five.say("sensors/a", payload), 0x99, "{payload:?}");
    }
    let long = format!("sensors/{}", "x".repeat(257));
    assert_eq!(five.say(&long, "1"), 0x90);
    assert_eq!(five.send_twice_safe("sensors/a", "no reading", 3, false), 0x99);
    gateway.until("nine are refused", |g| g.refused() == 9);
    let mut three = Wire::clean(gateway.at(), V3, "three");
    assert_eq!(three.say("sensors/a", "no reading either"), 0);
    assert_eq!(three.say(&long, "1"), 0);
    // Closing would only make it send this again.
    let field = format!("{{\"{}\":1}}", "x".repeat(257));
    assert_eq!((three.say("sensors/a", &field), five.say("sensors/a", &field)), (0, 0x90));
    gateway.until("thirteen are refused", |g| g.refused() == 13);
    // An empty payload clears a retained message: routed, no reading.
    three.publish(Publish { retain: true, qos: 1, id: 5, ..Publish::of("sensors/a", "") });
    three.expect(PUBACK, &[0, 5]);
    assert_eq!(watcher.message().brief(), ("sensors/a", "", 0, false));
    watcher.expect_quiet();
    assert_eq!(gateway.ledger("accepted"), 0);

    for n in 0..4 {
        assert_eq!(five.say(&format!("sensors/s{n}"), "1"), 0);
    }
    assert_eq!(five.say("sensors/s4", "1"), 0x97);
    assert_eq!(five.say("sensors/s0", "2"), 0);
    three.publish(Publish { qos: 1, id: 6, ..Publish::of("sensors/s4", "1") });
    assert_eq!(three.next(), Seen::Closed, "MQTT 3.1.1 has no word for a limit");
    gateway.has_accepted(5);
    // The counts outlive the process, and what was kept aside can be read.
    gateway.until("all is counted", |g| g.refused() == 15);
    let by_reason = |g: &Gateway| g.status()["ledger"]["refused"].clone();
    // The same reasons, whichever version was spoken.
    let counts = serde_json::json!({"payload": 9, "series": 4, "quota": 2, "room": 0});
    assert_eq!(by_reason(&gateway), counts);
    // Three of them are kept aside, which says so of itself.
    gateway.until_refusals_are_logged(12);
    gateway.kill_and_restart();
    assert_eq!((by_reason(&gateway), gateway.ledger("accepted")), (counts, 5));
    let shown = crate::gateway::tidegate(&["log", "show", "--data-dir", gateway.data.to_str().unwrap()]);
    assert!(String::from_utf8(shown.stdout).unwrap().contains("no reading either"));
}

/// What stands there a consumer believes: nobody but the role says it, not even retained or as a will.
#[test]
fn a_stranger_publishes_nothing_where_the_roles_speak() {
    let dir = tempfile::tempdir().unwrap();
    let (edge_config, cloud_config) = configs(dir.path(), free_port(), free_port());
    let cloud = Role::start("cloud", &cloud_config, &dir.path().join("cloud"));
    let edge = Role::start("edge", &edge_config, &dir.path().join("edge"));
    let at_edge = ["alerts/critical/plant-a/line1/x", "alarms/plant-a/line1/x/high-high"];
    let at_cloud = ["merged/10s/line1/x", "gateways/other/status", "bridge/v1/other/down/ack", at_edge[0], at_edge[1]];
    for (role, topics) in [(&edge, &at_edge[..]), (&cloud, &at_cloud[..])] {
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], role.mqtt));
        let mut watcher = Wire::clean(at, V5, "watcher");
        for topic in topics {
            watcher.subscribe(&[(topic, 0)]);
        }
        for (version, code) in [(V5, 0x87), (V3, 0)] {
            for topic in topics {
                let mut wire = Wire::clean(at, version, "stranger");
                assert_eq!((wire.say(topic, "{}"), wire.say(topic, "")), (code, code), "{topic}");
                wire.publish(Publish { retain: true, ..Publish::of(topic, "{}") });
                let will = Some(Will::of(topic, "{}"));
                let (mortal, _) = Wire::with(at, &Connect { id: "mortal", will, ..Connect::of(version) });
                mortal.vanish();
            }
        }
        // Wills come a moment after their clients.
        let counted = format!("\ntidegate_publishes_refused_total {}\n", 2 * 4 * topics.len());
        crate::bridge::until(&counted, || crate::gateway::get_at(role.http, "/metrics").1.contains(&counted));
        watcher.expect_quiet();
        let mut after = Wire::clean(at, V5, "after");
        for topic in topics {
            after.subscribe(&[(topic, 0)]);
        }
        after.expect_quiet();
    }
}

#[test]
fn a_will_that_is_a_reading_counts() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), "");
    let mut watcher = Wire::clean(gateway.at(), V5, "watcher");
    watcher.subscribe(&[("#", 0)]);
    for version in [V3, V5] {
        let will = Some(Will::of("sensors/online", "0"));
        let (wire, _) = Wire::with(gateway.at(), &Connect { id: "mortal", will, ..Connect::durable(version, "mortal") });
        wire.vanish();
        assert_eq!(watcher.message().brief(), ("sensors/online", "0", 0, false));
    }
    gateway.has_accepted(2);
    let will = Some(Will::of("sensors/online", "no reading"));
    let (wire, _) = Wire::with(gateway.at(), &Connect { id: "mortal", will, ..Connect::of(V5) });
    wire.vanish();
    gateway.until("it is counted", |g| g.refused() == 1);
    watcher.expect_quiet();
}

#[test]
fn topics_beside_the_sources_are_ordinary_messages() {
    let dir = tempfile::tempdir().unwrap();
    let more = "[[source]]\nfilter = \"sensors/+/state\"\non_invalid = \"pass\"\n[[source]]\nfilter = \"sensors/#\"\nshare = \"none\"\n";
    let gateway = Gateway::start(dir.path(), more);
    let mut watcher = Wire::clean(gateway.at(), V3, "watcher");
    watcher.subscribe(&[("#", 1)]);
    let mut wire = Wire::clean(gateway.at(), V5, "writer");
    let said = [("chat/a", "1"), ("sensors/x/state", "online"), ("sensors/x/state", "1"), ("sensors/y", "2")];
    for (topic, payload) in said {
        assert_eq!(wire.say(topic, payload), 0);
        let message = watcher.message();
        assert_eq!(message.brief(), (topic, payload, 1, false));
        watcher.acknowledge(message.id);
    }
    assert_eq!(wire.say("sensors/y", "online"), 0x99);
    gateway.has_accepted(2);
    assert_eq!((gateway.ledger("local"), gateway.refused()), (2, 1));
}

#[test]
fn the_cloud_knows_what_a_gateway_did_not_take() {
    let dir = tempfile::tempdir().unwrap();
    let cloud_port = free_port();
    let (edge_config, cloud_config) = configs(dir.path(), free_port(), cloud_port);
    let cloud = Role::start("cloud", &cloud_config, &dir.path().join("cloud"));
    let data = dir.path().join("edge");
    let gateway = Gateway { role: Role::start("edge", &edge_config, &data), config: edge_config, data };
    let (mut wire, _) = Wire::durable(gateway.at(), V5, "five");
    let reading = Publish { qos: 1, id: 7, ..Publish::of("sensors/a", "{\"value\":1,\"ts\":1700000000000}") };
    for dup in [false, true] {
        wire.publish(Publish { dup, ..reading.clone() });
        wire.expect(PUBACK, &[0, 7]);
    }
    assert_eq!(wire.say("sensors/a", "no reading"), 0x99);
    assert_eq!(wire.say("sensors/a", "{\"value\":2,\"ts\":1700000001000}"), 0);
    let expected = serde_json::json!({"accepted": 2, "delivered": 2, "held": 0, "shed": 0, "local": 0, "duplicates": 1,
        "refused": {"payload": 1, "series": 0, "quota": 0, "room": 0}});
    gateway.until("the cloud has the same ledger", |g| {
        let there = &status_at(cloud.http)["gateways"]["plant-a"]["ledger"];
        *there == expected && g.status()["ledger"] == expected
    });
}

#[test]
fn slow_http_clients_are_closed_and_the_door_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), "");
    let slow = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.role.http)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let mut first: Vec<TcpStream> = (0..100).map(slow).collect();
    assert_eq!(gateway.get("/healthz").0, 200, "there is room for others");
    // Beyond the bound: they wait, and cost the sensors nothing.
    let more: Vec<TcpStream> = (0..100).map(slow).collect();
    let mut sensor = Wire::clean(gateway.at(), V5, "sensor");
    assert_eq!(sensor.say("sensors/a", "1"), 0);
    for stream in &mut first {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(!answer.windows(3).any(|w| w == b"200"));
    }
    drop(more);
    assert_eq!(gateway.get("/readyz").0, 200);
}

/// Lets this process, which is all the sensors, open so many files.
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
fn a_thousand_sensors_are_heard_at_once() {
    let _apart = crate::apart::loading();
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = Gateway::configure(dir.path(), "[limits]\nconnections = 1000\n");
    allow_files(4_000);
    // A usual soft limit of open files is no reason for fewer.
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 300 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tidegate")]);
    let role = Role::start_as(shell, "edge", &config, &data);
    let gateway = Gateway { config, data, role };
    let mut sensors: Vec<Wire> =
        (0..1_000).map(|n| Wire::clean(gateway.at(), if n % 2 == 0 { V3 } else { V5 }, &format!("s{n}"))).collect();
    let (mut one_more, answer) = Wire::with(gateway.at(), &Connect { id: "more", ..Connect::of(V5) });
    assert_eq!((answer, one_more.next()), ((false, 0x97), Seen::Closed));
    for (n, sensor) in sensors.iter_mut().enumerate() {
        sensor.publish(Publish { qos: 1, id: 1, ..Publish::of(&format!("sensors/s{n}"), &timed(n as u64)) });
    }
    sensors.iter_mut().for_each(|s| s.expect(PUBACK, &[0, 1]));
    gateway.has_accepted(1_000);
}

/// Processor time of a process so far, in clock ticks of 10 ms.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn who_asks_for_much_that_is_retained_and_reads_nothing_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), "");
    let mut writer = Wire::clean(gateway.at(), V5, "writer");
    let text = "y".repeat(200);
    for n in 0..20_000u32 {
        writer.publish(Publish { retain: true, ..Publish::of(&format!("r/{n:05}"), &text) });
    }
    assert_eq!(writer.say("end", "1"), 0);
    let mut live = Wire::clean(gateway.at(), V5, "live");
    live.subscribe(&[("live/#", 1)]);
    let mut greedy = Wire::clean(gateway.at(), V5, "greedy");
    let filters = ["r/#", "#", "+/+", "r/+", "+/#"];
    let subscribe = |id: u16| {
        let body = [&id.to_be_bytes()[..], &[0], &crate::wire::string(filters[usize::from(id) % 5]), &[0]].concat();
        crate::wire::packet(0x82, &body)
    };
    greedy.send(&(1..=150).flat_map(subscribe).collect::<Vec<u8>>());
    // Until the socket takes no more of it.
    let mut idle = 0;
    crate::bridge::until("the socket is full, and that costs nothing", || {
        let before = ticks(gateway.role.pid());
        std::thread::sleep(Duration::from_millis(300));
        idle = if ticks(gateway.role.pid()) - before <= 3 { idle + 1 } else { 0 };
        idle == 2
    });
    let before = ticks(gateway.role.pid());
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks(gateway.role.pid()) - before;
    assert!(used < 100, "{used} ticks of 200 for one who does not read");
    assert_eq!(writer.say("live/x", "hello"), 0);
    assert_eq!(live.message().brief(), ("live/x", "hello", 1, false));
    let status = gateway.status();
    assert_eq!(status["subscriber_dropped"], 0, "{status}");
}

/// The process ends, in order or not, and its clients do not come back: their wills are published by the next one, those that
/// are readings count.
#[test]
fn wills_outlive_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "");
    let staying = |id| Connect { id, clean: false, properties: crate::wire::expiry(600), ..Connect::of(V5) };
    for stops in [false, true] {
        let mut watcher = Wire::with(gateway.at(), &staying("watcher")).0;
        watcher.subscribe(&[("#", 1)]);
        let will = |topic, payload| Some(Will::of(topic, payload));
        let mut wires = vec![Wire::with(gateway.at(), &Connect { id: "a", will: will("sensors/online", "0"), ..Connect::of(V3) }).0];
        wires.push(Wire::with(gateway.at(), &Connect { will: will("machine/b", "lost"), ..staying("b") }).0);
        wires.push(Wire::with(gateway.at(), &Connect { will: will("machine/c", "not lost"), ..staying("c") }).0);
        Wire::with(gateway.at(), &Connect { will: will("machine/d", "left"), ..staying("d") }).0.leave();
        // The first is not waited for: it is in the log with what came behind it.
        assert_eq!(wires[1].say("sensors/x", "1"), 0);
        if stops {
            gateway.stop_and_restart();
        } else {
            gateway.kill_and_restart();
        }
        drop(wires);
        let mut watcher = Wire::with(gateway.at(), &staying("watcher")).0;
        let back = Wire::with(gateway.at(), &Connect { will: will("machine/c", "not lost"), ..staying("c") }).0;
        let mut came = [watcher.message(), watcher.message()];
        came.sort_by(|a, b| a.topic.cmp(&b.topic));
        assert_eq!(
            [came[0].brief(), came[1].brief()].map(|(topic, payload, ..)| (topic, payload)),
            [("machine/b", "lost"), ("sensors/online", "0")]
        );
        came.iter().for_each(|m| {
            if m.id != 0 {
                watcher.acknowledge(m.id)
            }
        });
        back.leave();
        watcher.expect_quiet();
    }
    gateway.has_accepted(4);
    // What was published does not come again, nor what was withdrawn once the log knows it.
    gateway.until("the last will is withdrawn", |g| {
        let records = logged(&g.data);
        let last = records.iter().rfind(|record| record["event"] == "will");
        last.is_some_and(|last| records.iter().any(|record| record["event"] == "will-over" && record["of"] == last["record"]))
    });
    gateway.kill_and_restart();
    let mut watcher = Wire::with(gateway.at(), &staying("watcher")).0;
    std::thread::sleep(Duration::from_secs(7));
    watcher.expect_quiet();
    gateway.has_accepted(4);
}
