//! Asking a gateway's log: why an alert was raised, and which alerts another configuration
//! would have raised; a recording scored and the same recording replayed agree on when.

use crate::gateway::{Gateway, tidegate};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

const ROWS: usize = 1_500;
const FAULT: std::ops::Range<usize> = 1_100..1_300;

/// A pump's four channels at 1 Hz as a recording with labels; the flow fails.
fn write(path: &Path) {
    let mut text = "datetime;speed;current;flow;temperature;anomaly;changepoint\n".to_owned();
    let mut state = 7_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    let mut speed = 0.0;
    for row in 0..ROWS {
        speed = 0.98 * speed + 0.3 * noise();
        let (minute, second) = (row / 60, row % 60);
        let failed = FAULT.contains(&row);
        let flow = if failed { 20.0 } else { 30.0 + 2.0 * speed } + 0.2 * noise();
        let (current, temperature) = (4.0 + 0.2 * speed + 0.02 * noise(), 65.0 + 0.3 * noise());
        let changed = u8::from(row == FAULT.start || row == FAULT.end);
        writeln!(
            text,
            "2026-03-01 10:{minute:02}:{second:02};{:.3};{current:.3};{flow:.3};{temperature:.1};{};{changed}",
            50.0 + speed,
            u8::from(failed)
        )
        .unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn output(arguments: &[&str]) -> String {
    let out = tidegate(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn an_alert_is_explained_another_configuration_is_tried_and_a_score_is_what_the_gateway_does() {
    let dir = tempfile::tempdir().unwrap();
    let (recordings, scored) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::create_dir_all(&recordings).unwrap();
    let csv = recordings.join("pump.csv");
    write(&csv);
    let text = |path: &Path| path.to_str().unwrap().to_owned();

    let gateway = Gateway::start(dir.path(), "");
    let url = format!("mqtt://{}", gateway.at());
    let columns = "speed,current,flow,temperature";
    output(&[
        "replay",
        &text(&csv),
        "--url",
        &url,
        "--topic",
        "sensors/hall/pump/{column}",
        "--columns",
        columns,
        "--speed",
        "max",
        "--qos",
        "1",
    ]);
    gateway.until_accepted(4 * ROWS as u64);
    let data = text(&gateway.data);

    // The rows that a score flags are those between the gateway's own alerts.
    let json: Value = serde_json::from_str(&output(&["score", "skab", &text(&recordings), "--json", "--out", &text(&scored)])).unwrap();
    assert!(json["f1"].as_f64().unwrap() > 0.8 && json["far"].as_f64().unwrap() < 0.2, "{json}");
    assert!(json["one_file_left_out"].is_null(), "of one recording, none can be left out: {json}");
    let rows = std::fs::read_to_string(scored.join("pump.csv")).unwrap();
    let flagged = rows.lines().skip(1).filter(|row| row.ends_with(";1")).map(|row| row[..19].to_owned()).collect::<Vec<_>>();
    let why: Value = serde_json::from_str(&output(&["explain", "hall/pump", "--data-dir", &data, "--json"])).unwrap();
    let time = |time: &Value| time.as_str().unwrap()[..19].replace('T', " ");
    assert_eq!(time(&why["since"]), flagged[0], "{why}");
    assert!(time(&why["until"]) > *flagged.last().unwrap());
    assert_eq!(why["alert"]["kind"], "group");
    assert_eq!(why["alert"]["contributors"][0]["series"], "hall/pump/flow", "{why}");
    let human = output(&["explain", "hall/pump/flow", "--data-dir", &data]);
    assert!(human.contains("detector") && human.contains("the day before, of hall/pump"), "{human}");
    let stranger = tidegate(&["explain", "hall/pump/flwo", "--data-dir", &data]);
    assert_eq!(stranger.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("did you mean \"hall/pump/flow\"?"));

    // Of the running gateway: the same alert by what raised it, with its name, and the same exit codes.
    let http = format!("http://127.0.0.1:{}", gateway.role.http);
    let told: Value = serde_json::from_str(&output(&["explain", "hall/pump", "--url", &http, "--json"])).unwrap();
    assert_eq!(why["alert"]["gateway"], "plant-a");
    for key in ["id", "message", "value", "kind", "contributors"] {
        assert_eq!(told["alert"][key], why["alert"][key], "{key}: {told}");
    }
    assert!(told["until"].is_string() && told["until"] == why["until"], "{told}");
    assert_eq!(tidegate(&["explain", "hall/pump/flwo", "--url", &http]).status.code(), Some(2));
    let nowhere = tidegate(&["explain", "hall/pump"]);
    assert_eq!(nowhere.status.code(), Some(2));
    let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(said.contains("--data-dir") && said.contains("--url"), "{said}");

    // The same configuration changes nothing; a limit adds its alerts, over the log and over the file alike.
    let same = output(&["backtest", "--log", &data, "--config", &text(&gateway.config)]);
    assert!(same.trim().ends_with("0 gone, 0 added"), "{same}");
    let changed = dir.path().join("changed.toml");
    std::fs::write(
        &changed,
        "gateway = \"plant-a\"\ndata_dir = \"elsewhere\"\n[[limit]]\nseries = \"**/flow\"\nlow = 22.0\noff_delay = \"30s\"\n",
    )
    .unwrap();
    let file = text(&csv);
    for over in [["--log", data.as_str()], ["--csv", file.as_str()]] {
        let [which, place] = over;
        let json: Value = serde_json::from_str(&output(&["backtest", "--config", &text(&changed), "--json", which, place])).unwrap();
        let lows = json["added"].as_array().unwrap().iter().filter(|alert| alert["kind"] == "low").count();
        assert_eq!(lows, 1, "{over:?}: {json}");
    }
    let neither = tidegate(&["backtest", "--config", &text(&changed)]);
    assert_eq!(neither.status.code(), Some(2));
}
