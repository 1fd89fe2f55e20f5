//! Alarms through real processes: what people do at either end, with the link down and roles
//! killed, comes to the same at both.

use crate::clock;
use crate::gateway::tidegate;
use crate::healing::copy;
use crate::link::{Link, State};
use crate::plant::{Role, configs, consume, free_port};
use crate::wire::Wire;
use broker::Version::{V3, V5};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SERIES: &str = "line1/press3/temperature";
const WAIT: Duration = Duration::from_secs(120);

/// A request over HTTP: status code and JSON.
fn http(port: u16, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn post(port: u16, alarm: &str, verb: &str, body: Value) -> (u16, Value) {
    http(port, "POST", &format!("/api/v1/alarms/{alarm}/{verb}"), &body.to_string())
}

/// The alarms that a role lists, but for the one about receipts that a slow cloud makes the gateway wait for.
fn listed(role: &Role, query: &str) -> Vec<Value> {
    let list = http(role.http, "GET", &format!("/api/v1/alarms?{query}"), "").1;
    list.as_array().unwrap().iter().filter(|alarm| alarm["series"] != "tidegate/uplink").cloned().collect()
}

/// An alarm as a role shows it.
fn alarm(role: &Role, path: &str) -> Value {
    http(role.http, "GET", &format!("/api/v1/alarms/{path}"), "").1
}

fn until(what: &str, mut holds: impl FnMut() -> Result<(), Value>) {
    let deadline = Instant::now() + WAIT;
    while let Err(seen) = holds() {
        assert!(Instant::now() < deadline, "it did not come to this: {what}; seen: {seen:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn until_state(role: &Role, path: &str, state: &str) {
    until(state, || {
        let seen = alarm(role, path);
        if seen["state"] == state { Ok(()) } else { Err(seen) }
    });
}

/// Publishes at QoS 1 and waits for the acknowledgement.
fn publish(port: u16, topic: &str, payload: &str) {
    let mut options = MqttOptions::new(format!("hand-{}", rand::random::<u32>()), "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut connection) = Client::new(options, 10);
    client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        match connection.recv_timeout(Duration::from_secs(5)) {
            Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => return,
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => panic!("{topic}: {error}"),
        }
    }
    panic!("{topic} is not acknowledged");
}

/// A gateway and a bridge with a link between them that can be cut.
struct Plant {
    dir: tempfile::TempDir,
    edge_config: PathBuf,
    cloud_config: PathBuf,
    edge: Role,
    cloud: Role,
    link: Link,
}

impl Plant {
    fn start() -> Self {
        Self::start_with(|config, data| Role::start("edge", config, data))
    }

    fn start_with(gateway: impl Fn(&Path, &Path) -> Role) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mqtt, cloud_mqtt) = (free_port(), free_port());
        let link = Link::to(cloud_mqtt);
        let (edge_config, _) = configs(dir.path(), mqtt, link.port);
        let (_, cloud_config) = configs(&mkdir(&dir, "c"), mqtt, cloud_mqtt);
        let cloud = Role::start("cloud", &cloud_config, &dir.path().join("c/cloud"));
        let edge = gateway(&edge_config, &dir.path().join("edge"));
        Self { dir, edge_config, cloud_config, edge, cloud, link }
    }

    fn restart_edge(&mut self) {
        self.edge.kill();
        self.edge = Role::start("edge", &self.edge_config, &self.dir.path().join("edge"));
    }

    fn restart_cloud(&mut self) {
        self.cloud.kill();
        self.cloud = Role::start("cloud", &self.cloud_config, &self.dir.path().join("c/cloud"));
    }

    /// A reading far above its limit, or well below.
    fn heat(&self, series: &str, value: f64) {
        publish(self.edge.mqtt, &format!("sensors/{series}"), &value.to_string());
    }

    /// Both ends show the same alarm, but for what is counted by a clock of their own.
    fn until_same(&self, path: &str) -> Value {
        let mut same = Value::Null;
        until("both ends show the same", || {
            let (mut here, mut there) = (alarm(&self.edge, path), alarm(&self.cloud, path));
            for end in [&mut here, &mut there] {
                end.as_object_mut().map(|fields| fields.remove("count_day"));
            }
            same = here.clone();
            if here == there { Ok(()) } else { Err(json!({ "gateway": here, "cloud": there })) }
        });
        same
    }
}

fn mkdir(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn what_is_done_at_both_ends_during_an_outage_comes_to_the_same() {
    let mut plant = Plant::start();
    let (first, second) = (format!("plant-a/{SERIES}/high-high"), "plant-a/line1/press4/temperature/high-high".to_owned());
    plant.heat(SERIES, 97.0);
    plant.heat("line1/press4/temperature", 99.0);
    for path in [&first, &second] {
        until_state(&plant.edge, path, "unacknowledged");
        until_state(&plant.cloud, path, "unacknowledged");
    }
    assert_eq!(alarm(&plant.edge, &first)["message"], "97 is above 95");

    plant.link.set(State::Cut);
    // At the cloud by HTTP, the slashes of the series as they are; answered after the commit.
    let (code, done) = post(plant.cloud.http, &first, "ack", json!({ "by": "ann" }));
    assert_eq!((code, &done["state"], &done["acknowledged_by"], &done["pending"]), (200, &json!("acknowledged"), &json!("ann"), &json!(1)));
    plant.restart_cloud();
    // At the gateway by MQTT: the same alarm goes on the shelf, another is acknowledged.
    publish(plant.edge.mqtt, &format!("alarms/{first}/shelve"), r#"{"by":"bob","for":"1h","reason":"being repaired"}"#);
    publish(plant.edge.mqtt, &format!("alarms/{second}/ack"), r#"{"by":"bob"}"#);
    plant.restart_edge();
    assert_eq!(alarm(&plant.edge, &first)["state"], "shelved", "acknowledged to its client, so it is durable");
    assert_eq!(alarm(&plant.cloud, &first)["state"], "acknowledged", "what was answered is durable");
    assert_eq!(alarm(&plant.cloud, &second)["state"], "unacknowledged");

    plant.link.set(State::Up);
    until("the shelf is known at the cloud, the acknowledgement at the gateway", || {
        let (here, there) = (alarm(&plant.edge, &first), alarm(&plant.cloud, &first));
        let whole = |end: &Value| end["shelved_by"] == "bob" && end["acknowledged_by"] == "ann" && end["pending"].is_null();
        if whole(&here) && whole(&there) { Ok(()) } else { Err(json!({ "gateway": here, "cloud": there })) }
    });
    let same = plant.until_same(&first);
    assert_eq!((&same["state"], &same["shelved_reason"]), (&json!("shelved"), &json!("being repaired")));
    assert_eq!(plant.until_same(&second)["acknowledged_by"], "bob");

    // Retained at both brokers, also after both were killed.
    plant.restart_edge();
    plant.restart_cloud();
    for port in [plant.edge.mqtt, plant.cloud.mqtt] {
        let retained = consume(port, &["alarms/+/line1/press3/#"]);
        let (topic, shown) = retained.recv_timeout(WAIT).unwrap();
        assert_eq!((topic, &shown["state"], &shown["acknowledged_by"]), (format!("alarms/{first}"), &json!("shelved"), &json!("ann")));
    }

    // Back in peace and off the shelf, it is shown no more; what happened is still to be read.
    plant.heat(SERIES, 20.0);
    until("the end is known at both ends", || {
        let ends = [alarm(&plant.edge, &first), alarm(&plant.cloud, &first)];
        let told = |end: &Value| end["message"] == "97 is above 95" && end["value"] == 97.0 && end["cleared_value"] == 20.0;
        if ends.iter().all(told) { Ok(()) } else { Err(json!(ends)) }
    });
    let encoded = format!("plant-a/{}/high-high", SERIES.replace('/', "%2F"));
    assert_eq!(post(plant.edge.http, &encoded, "unshelve", json!({ "by": "bob" })).0, 200);
    for role in [&plant.edge, &plant.cloud] {
        until_state(role, &first, "normal");
        let list = listed(role, "");
        assert!(list.iter().map(|alarm| &alarm["series"]).eq(["line1/press4/temperature"]), "{list:#?}");
    }
}

/// What was done since the copy was made, or on the disk that is lost, is known at the cloud alone.
#[test]
fn a_gateway_on_an_old_disk_is_told_what_was_done_and_on_an_empty_one_both_begin_anew() {
    let mut plant = Plant::start();
    let (data, kept) = (plant.dir.path().join("edge"), plant.dir.path().join("copy"));
    let series = |n: u32| format!("line1/press{n}/temperature");
    let path = |n: u32| format!("plant-a/line1/press{n}/temperature/high-high");
    for n in 1..=4 {
        plant.heat(&series(n), 97.0);
        until_state(&plant.cloud, &path(n), "unacknowledged");
    }
    assert_eq!(plant.edge.stop(), Some(0));
    copy(&data, &kept);
    plant.edge = Role::start("edge", &plant.edge_config, &data);
    let by = || json!({ "by": "ann" });
    assert_eq!(post(plant.cloud.http, &path(1), "ack", by()).0, 200);
    assert_eq!(post(plant.cloud.http, &path(2), "shelve", json!({ "by": "ann", "for": "2h" })).0, 200);
    assert_eq!(post(plant.edge.http, &path(3), "out-of-service", by()).0, 200);
    assert_eq!(post(plant.edge.http, &path(4), "ack", by()).0, 200);
    let states = ["acknowledged", "shelved", "out-of-service", "acknowledged"];
    let until_all = |plant: &Plant| {
        for (n, state) in (1..).zip(states) {
            let same = plant.until_same(&path(n));
            assert!(same["state"] == state && same["pending"].is_null(), "{same:#}");
        }
    };
    for (n, state) in (1..).zip(states) {
        until_state(&plant.edge, &path(n), state);
        until_state(&plant.cloud, &path(n), state);
    }
    until_all(&plant);

    plant.edge.kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    plant.edge = Role::start("edge", &plant.edge_config, &data);
    (1..).zip(states).for_each(|(n, state)| until_state(&plant.edge, &path(n), state));
    until_all(&plant);

    plant.edge.kill();
    std::fs::remove_dir_all(&data).unwrap();
    plant.edge = Role::start("edge", &plant.edge_config, &data);
    until("what the gateway knows nothing of is gone", || {
        let left = listed(&plant.cloud, "state=all");
        if left.is_empty() { Ok(()) } else { Err(json!(left)) }
    });
    plant.heat(&series(2), 97.0);
    until_state(&plant.cloud, &path(2), "unacknowledged");
    plant.until_same(&path(2));
}

#[test]
fn the_shelf_ends_by_its_time_and_what_comes_too_late_is_taken_back() {
    let plant = Plant::start();
    let path = format!("plant-a/{SERIES}/high-high");
    plant.heat(SERIES, 97.0);
    until_state(&plant.edge, &path, "unacknowledged");
    until_state(&plant.cloud, &path, "unacknowledged");
    let (code, done) = post(plant.cloud.http, &path, "shelve", json!({ "by": "ann", "for": "15s", "reason": "noise" }));
    assert_eq!((code, &done["state"]), (200, &json!("shelved")));
    until_state(&plant.edge, &path, "shelved");
    // Nothing else happens: the clock alone ends it, at both ends.
    until_state(&plant.edge, &path, "unacknowledged");
    until_state(&plant.cloud, &path, "unacknowledged");
    let ended = done["shelved_until"].as_i64().unwrap();
    assert!(alarm(&plant.edge, &path)["shelved_until"].is_null() && ended > 0);

    plant.link.set(State::Cut);
    let (code, done) = post(plant.cloud.http, &path, "shelve", json!({ "by": "ann", "for": "2s" }));
    assert_eq!((code, &done["state"], &done["pending"]), (200, &json!("shelved"), &json!(1)));
    std::thread::sleep(Duration::from_secs(4));
    plant.link.set(State::Up);
    until("the command is answered as too late", || {
        let seen = alarm(&plant.cloud, &path);
        if seen["pending"].is_null() { Ok(()) } else { Err(seen) }
    });
    assert_eq!(plant.until_same(&path)["state"], "unacknowledged");
}

#[test]
fn a_shelf_lasts_as_long_as_was_asked_for_where_the_gateways_clock_is_wrong() {
    let Some(library) = clock::faketime() else { return };
    for offset in ["-10m", "+20m"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), offset).unwrap();
        let plant = Plant::start_with(|config, data| clock::start(&library, file.path(), config, data));
        let path = format!("plant-a/{SERIES}/high-high");
        plant.heat(SERIES, 97.0);
        let ends = [&plant.edge, &plant.cloud];
        ends.iter().for_each(|end| until_state(end, &path, "unacknowledged"));
        for asked in ends {
            let (code, done) = post(asked.http, &path, "shelve", json!({ "by": "ann", "for": "15s" }));
            assert_eq!((code, &done["state"]), (200, &json!("shelved")), "{offset}");
            // By the wrong clock it would be over at once, or last longer than this waits.
            for state in ["shelved", "unacknowledged"] {
                ends.iter().for_each(|end| until_state(end, &path, state));
            }
            plant.until_same(&path);
        }
    }
}

#[test]
fn an_alert_that_the_cloud_does_not_hear_leaves_an_alarm_at_the_gateway_alone_until_it_does() {
    let mut plant = Plant::start();
    let (heat, unheard) = (format!("plant-a/{SERIES}/high-high"), "plant-a/tidegate/uplink/uplink");
    plant.link.set(State::Cut);
    plant.heat(SERIES, 97.0);
    until_state(&plant.edge, &heat, "unacknowledged");
    until_state(&plant.edge, unheard, "unacknowledged");
    let text = alarm(&plant.edge, unheard)["message"].as_str().unwrap().to_owned();
    assert!(text.starts_with("1 alert has no receipt from the cloud after 10 s"), "{text}");
    let retained = consume(plant.edge.mqtt, &["alarms/plant-a/tidegate/#"]);
    assert_eq!(retained.recv_timeout(WAIT).unwrap().1["state"], "unacknowledged");
    // Nobody but the log remembers it.
    plant.restart_edge();
    until_state(&plant.edge, unheard, "unacknowledged");
    plant.link.set(State::Up);
    until_state(&plant.edge, unheard, "returned");
    assert_eq!(alarm(&plant.edge, unheard)["cleared_message"], "the cloud has every alert again");
    assert_eq!(post(plant.edge.http, unheard, "ack", json!({ "by": "ann" })).1["state"], "normal");
    until_state(&plant.cloud, &heat, "unacknowledged");
    assert!(alarm(&plant.cloud, unheard)["state"].is_null(), "the cloud need not be told that it did not hear");
}

/// For as long as a silence takes the process stands still; what sensors send meanwhile waits at its sockets.
#[test]
fn sensors_that_go_on_while_the_gateway_stands_still_are_not_called_silent() {
    let plant = Plant::start();
    let mut wire = Wire::clean(SocketAddr::from(([127, 0, 0, 1], plant.edge.mqtt)), V3, "line");
    let mut say = |rounds: u32, pause_ms: u64| {
        for round in 0..rounds {
            for sensor in 0..10 {
                let (topic, value) = (format!("sensors/z/{sensor}"), format!("20.{}", (round + sensor) % 3));
                let length = (2 + topic.len() + value.len()) as u8;
                wire.send(&[&[0x30, length, 0, topic.len() as u8][..], topic.as_bytes(), value.as_bytes()].concat());
            }
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
    };
    say(100, 50);
    for _ in 0..2 {
        plant.edge.freeze();
        say(22, 500);
        plant.edge.thaw();
        say(20, 50);
        plant.heat(SERIES, 20.0);
        let silent: Vec<Value> = listed(&plant.edge, "state=all").into_iter().filter(|alarm| alarm["kind"] == "silence").collect();
        assert!(silent.is_empty(), "{silent:#?}");
    }
}

#[test]
fn wrong_requests_are_told_why() {
    let plant = Plant::start();
    let path = format!("plant-a/{SERIES}/high-high");
    plant.heat(SERIES, 97.0);
    until_state(&plant.edge, &path, "unacknowledged");
    until_state(&plant.cloud, &path, "unacknowledged");
    for role in [&plant.edge, &plant.cloud] {
        for (alarm, verb, body, code, why) in [
            ("plant-a/line1/no/such/high", "ack", r#"{"by":"ann"}"#, 404, "there is no alarm plant-a/line1/no/such/high"),
            ("plant-b/line1/press3/temperature/high-high", "ack", r#"{"by":"ann"}"#, 404, "there is no alarm"),
            (&path, "destroy", r#"{"by":"ann"}"#, 404, "ack|shelve"),
            (&path, "ack", "ann", 400, "no JSON"),
            (&path, "ack", "{}", 422, "\"by\" says who"),
            (&path, "ack", "[]", 422, "no JSON object; write {\"by\""),
            (&path, "ack", r#"{"by":7}"#, 422, "invalid type"),
            (&path, "ack", r#"{"by":"ann","why":"x"}"#, 422, "unknown field"),
            (&path, "ack", r#"{"by":"ann","for":"3s"}"#, 422, "for shelve alone"),
            (&path, "shelve", r#"{"by":"ann"}"#, 422, "for how long"),
            (&path, "shelve", r#"{"by":"ann","for":"30"}"#, 422, "has no unit"),
            (&path, "shelve", r#"{"by":"ann","for":"90d"}"#, 422, "out of range"),
        ] {
            let (seen, answer) = http(role.http, "POST", &format!("/api/v1/alarms/{alarm}/{verb}"), body);
            assert!(seen == code && answer["error"].as_str().unwrap().contains(why), "{verb} {body}: {seen} {answer}");
        }
        let code = |query: &str| http(role.http, "GET", &format!("/api/v1/alarms?{query}"), "").0;
        assert_eq!([code("state=all"), code("priority=critical"), code("state=odd"), code("sate=all")], [200, 200, 400, 400]);
        for (query, why) in [("sate=all", "unknown field `sate`"), ("state=odd", "not one of all")] {
            let answer = http(role.http, "GET", &format!("/api/v1/alarms?{query}"), "").1;
            assert!(answer["error"].as_str().is_some_and(|error| error.contains(why)), "{query}: {answer}");
        }
        let list = |query: &str| listed(role, query).len();
        assert_eq!(
            [list(""), list("priority=critical"), list("priority=info"), list("state=shelved"), list("series=line1/")],
            [1, 1, 0, 0, 1]
        );
        let url = format!("http://127.0.0.1:{}", role.http);
        let shown = tidegate(&["alarms", "--series", "line1/", "--url", &url]);
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(
            shown.status.success() && text.contains(SERIES) && text.contains("1 unacknowledged") && text.contains("raised 1;"),
            "{text}"
        );
    }
    for role in [&plant.edge, &plant.cloud] {
        let mut five = Wire::clean(SocketAddr::from(([127, 0, 0, 1], role.mqtt)), V5, "five");
        five.subscribe(&[("alarms/+/+/+/+/high-high/ack", 0)]);
        let mut ask = |alarm: &str, body: &str| five.say(&format!("alarms/{alarm}/ack"), body);
        let no_such = if role.http == plant.edge.http { "plant-a/no/such" } else { "plant-b/no/such" };
        assert_eq!([ask(&path, "{}"), ask(&path, "ann"), ask(no_such, r#"{"by":"ann"}"#)], [0x99, 0x99, 0x90]);
        assert_eq!(ask(&path, r#"{"by":"ann"}"#), 0);
        // What is asked for is no message to others.
        five.expect_quiet();
        // MQTT 3.1.1 has no word for no, and closing would only make a client send it again.
        let mut three = Wire::clean(SocketAddr::from(([127, 0, 0, 1], role.mqtt)), V3, "three");
        for (alarm, body) in [(&*path, "ann"), (no_such, r#"{"by":"ann"}"#)] {
            assert_eq!(three.say(&format!("alarms/{alarm}/ack"), body), 0);
        }
    }
    let url = format!("http://127.0.0.1:{}", plant.edge.http);
    let done = tidegate(&["alarms", "shelve", &path, "--by", "ann", "--for", "1h", "--reason", "why not", "--url", &url]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(alarm(&plant.edge, &path)["shelved_reason"], "why not");
    // What cannot be is a wrong command line, whoever finds it so; what is not there is no such thing.
    for bad in [
        &["--state", "nonsense"][..],
        &["--priority", "high"],
        &["shelve", &path, "--by", "ann", "--for", "5"],
        &["shelve", &path, "--by", "ann", "--for", "31d"],
        &["ack", "high", "--by", "ann"],
        &["ack", &path, "--by", " "],
    ] {
        let wrong = tidegate(&[&["alarms", "--url", &url], bad].concat());
        assert_eq!(wrong.status.code(), Some(2), "{bad:?}: {}", String::from_utf8_lossy(&wrong.stderr));
    }
    let wrong = tidegate(&["alarms", "ack", "plant-a/no/such", "--by", "ann", "--url", &url]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("there is no alarm"));
}

#[test]
fn a_flood_is_told_once_and_a_storm_holds_warnings_back() {
    let mut plant = Plant::start();
    let text = std::fs::read_to_string(&plant.edge_config).unwrap() + "high = 50.0\n[alarms]\nflood = 3\n";
    std::fs::write(&plant.edge_config, text).unwrap();
    plant.restart_edge();
    let heard = consume(plant.cloud.mqtt, &["alerts/#"]);
    // Forty warnings and a critical one: a flood beyond three, a storm beyond thirty.
    for n in 0..40 {
        plant.heat(&format!("m{n}/temperature"), 60.0);
    }
    plant.heat("m40/temperature", 99.0);
    until("all are listed at the cloud, those held back too", || {
        let count = listed(&plant.cloud, "").len();
        if count == 43 { Ok(()) } else { Err(count.into()) }
    });
    let mut alerts: Vec<Value> = Vec::new();
    let deadline = Instant::now() + WAIT;
    let wanted = [("flood", 1), ("storm", 1), ("high", 30), ("high-high", 1)];
    while !wanted.iter().all(|(kind, count)| alerts.iter().filter(|a| a["kind"] == *kind).count() >= *count) && Instant::now() < deadline {
        alerts.extend(heard.recv_timeout(Duration::from_millis(200)).map(|(_, alert)| alert));
    }
    // And no more of them.
    while let Ok((_, alert)) = heard.recv_timeout(Duration::from_secs(2)) {
        alerts.push(alert);
    }
    let count = |kind: &str| alerts.iter().filter(|a| a["kind"] == kind).count();
    assert_eq!([count("flood"), count("storm"), count("high"), count("high-high")], [1, 1, 30, 1], "{alerts:#?}");
    let kpi = http(plant.cloud.http, "GET", "/api/v1/alarms/kpi", "").1;
    assert_eq!((&kpi[0]["held"]["flood"], &kpi[0]["raised"], &kpi[0]["in_flood"]), (&json!(10), &json!(41), &json!(true)), "{kpi:#}");
    // All critical ones at once; those of other priorities wait on.
    let url = format!("http://127.0.0.1:{}", plant.edge.http);
    let done = tidegate(&["alarms", "ack", "--all", "--priority", "critical", "--by", "jo", "--url", &url]);
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && text.contains("m40/temperature/high-high") && text.ends_with("acknowledged 1\n"), "{text}");
    let shown = tidegate(&["alarms", "--state", "acknowledged", "--series", "m4", "--url", &url]);
    assert!(String::from_utf8(shown.stdout).unwrap().starts_with("1 alarm: 1 active, 1 acknowledged\n"));
    let held = alarm(&plant.edge, "plant-a/m35/temperature/high");
    assert_eq!((&held["held"], &held["state"]), (&json!(1), &json!("unacknowledged")));
    let figures = consume(plant.edge.mqtt, &["alarms/plant-a/kpi"]);
    assert_eq!(figures.recv_timeout(WAIT).unwrap().1["gateway"], "plant-a");
}
