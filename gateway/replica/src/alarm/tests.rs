use super::*;
use detect::alarm::{Annunciator, Settings};
use schemas::message::AlertBody;

const START_MS: i64 = 1_700_000_000_000;

fn alert(seq: u64, state: u8, series: &str) -> AlertBody {
    AlertBody {
        boot: 7,
        seq,
        ordinal: 0,
        series: series.into(),
        severity: 1,
        kind: "high".into(),
        state,
        time_ms: START_MS + seq as i64,
        value: f64::INFINITY,
        limit: Some(0.5),
        unit: Some("bar".into()),
        message: "too much".into(),
        score: None,
        baseline: None,
        alarm: None,
        contributors: Vec::new(),
    }
}

fn known_by(schema: &str, value: &Value) {
    let schema: Value = serde_json::from_str(schema).unwrap();
    for key in value.as_object().unwrap().keys() {
        assert!(schema["properties"].get(key).is_some(), "the schema does not know {key}");
    }
    for key in schema["required"].as_array().unwrap() {
        assert!(value.get(key.as_str().unwrap()).is_some(), "{key} is missing");
    }
}

#[test]
fn what_is_shown_is_what_the_schemas_say() {
    let mut all = Annunciator::default();
    let settings = Settings { flood: 1, ..Settings::default() };
    for (seq, series) in [(1, "m/a"), (2, "m/b"), (3, "m/c")] {
        all.alert(Some(&settings), START_MS, true, &mut alert(seq, 0, series));
    }
    for (id, verb) in Verb::PEOPLE.into_iter().enumerate() {
        let request = Request { id: id as u64, verb, series: "m/a", kind: "high", by: "jo", reason: "why", for_ms: 60_000 };
        let act = all.board.resolve(START_MS, &request).unwrap();
        all.board.join(START_MS, &act);
        let name = ("m/a".to_owned(), "high".to_owned());
        let shown = json("plant-a", &all.board, &name, all.board.get("m/a", "high").unwrap(), START_MS);
        known_by(include_str!("../../../../schemas/json/alarm.schema.json"), &shown);
        assert_eq!((&shown["value"], &shown["first"], &shown["consequences"]), (&json!(f64::MAX), &json!(true), &json!(2)));
        assert!(shown["acknowledged_by"] == "jo");
    }
    let figures = Figures::of(&all.board, START_MS);
    known_by(include_str!("../../../../schemas/json/alarm-kpi.schema.json"), &kpi_json("plant-a", &figures));
    assert_eq!(metrics([&figures, &figures].into_iter()).iter().find(|m| m.0 == "alarms_raised_total").unwrap().3, 6.0);
    // Over: what happened stays to be read, what ended it stands beside. The first of two who acknowledge counts.
    let (mut end, name) = (alert(8, 1, "m/c"), ("m/c".to_owned(), "high".to_owned()));
    (end.message, end.value) = ("fine again".to_owned(), 0.1);
    all.alert(Some(&settings), START_MS, true, &mut end);
    for (id, by) in [(20, "ann"), (21, "bob")] {
        let shown = json("plant-a", &all.board, &name, all.board.get("m/c", "high").unwrap(), START_MS);
        known_by(include_str!("../../../../schemas/json/alarm.schema.json"), &shown);
        assert_eq!((&shown["message"], &shown["value"], &shown["limit"]), (&json!("too much"), &json!(f64::MAX), &json!(0.5)));
        assert_eq!((&shown["cleared_message"], &shown["cleared_value"]), (&json!("fine again"), &json!(0.1)));
        let request = Request { id, verb: Verb::Acknowledge, series: "m/c", kind: "high", by, reason: "", for_ms: 0 };
        let act = all.board.resolve(START_MS + id as i64, &request).unwrap();
        all.board.join(START_MS, &act);
    }
    let shown = json("plant-a", &all.board, &name, all.board.get("m/c", "high").unwrap(), START_MS);
    assert_eq!((&shown["acknowledged_by"], &shown["acknowledged_at"]), (&json!("ann"), &json!(START_MS + 20)));
    // Over and acknowledged: nothing is retained.
    let name = ("m/b".to_owned(), "high".to_owned());
    assert!(!retained("plant-a", &all.board, &name, START_MS).is_empty());
    all.alert(Some(&settings), START_MS, true, &mut alert(9, 1, "m/b"));
    let request = Request { id: 9, verb: Verb::Acknowledge, series: "m/b", kind: "high", by: "jo", reason: "", for_ms: 0 };
    let act = all.board.resolve(START_MS, &request).unwrap();
    all.board.join(START_MS, &act);
    assert!(retained("plant-a", &all.board, &name, START_MS).is_empty());
}

#[test]
fn a_path_is_read_from_both_ends() {
    let target = Target::of("plant-a/line1/press3/temperature/high-high/shelve").unwrap();
    assert_eq!(
        (target.gateway, target.series, target.kind, target.verb),
        ("plant-a", "line1/press3/temperature", "high-high", Verb::Shelve)
    );
    // A series may be called like a verb; an alarm's own topic asks for nothing.
    assert_eq!(Target::of("g/ack/ack/high/ack").unwrap().series, "ack/ack");
    for other in ["plant-a/kpi", "plant-a/line1/high", "g/s/high/suppress", "g//high/ack", "/s/high/ack", "g/high/ack", "ack", ""] {
        assert_eq!(Target::of(other), None, "{other}");
    }
}

#[test]
fn arbitrary_bodies_are_refused_without_harm() {
    let parse = |verb, body: &str| {
        Body::parse(verb, body.as_bytes(), |text| {
            text.strip_suffix('s')
                .and_then(|n| n.parse::<i64>().ok())
                .map(|s| s.saturating_mul(1_000))
                .ok_or_else(|| "no duration".to_owned())
        })
    };
    assert_eq!(parse(Verb::Shelve, r#"{"by":"jo","for":"60s"}"#), Ok(Body { by: "jo".into(), reason: String::new(), for_ms: 60_000 }));
    assert!(matches!(parse(Verb::Acknowledge, "\u{0}"), Err(BodyError::Malformed(_))));
    let long = format!(r#"{{"by":"{}"}}"#, "x".repeat(WHO_BYTES_MAX + 1));
    assert_eq!(parse(Verb::Acknowledge, "[]").unwrap_err().to_string(), format!("the body is no JSON object; write {HOW}"));
    for wrong in [
        "null",
        "[]",
        "7",
        r#"{"by":" "}"#,
        r#"{"by":"jo\nan","for":"60s"}"#,
        r#"{"by":"jo","for":"60s","reason":"\u001b[2J"}"#,
        &long,
        r#"{"by":"jo","for":"9223372036854775807s"}"#,
        r#"{"by":"jo","for":"-3s"}"#,
        r#"{"by":"jo","for":"0s"}"#,
    ] {
        assert!(matches!(parse(Verb::Shelve, wrong), Err(BodyError::Wrong(_))), "{wrong}");
    }
}

#[test]
fn a_request_is_told_apart_by_what_is_wrong_with_it() {
    let duration = |_: &str| Ok(60_000);
    let code = |path: &str, body: &str| super::request(path, body.as_bytes(), duration).map_err(|error| error.http_status());
    assert_eq!(code("a/s/high", "{}"), Err(404));
    assert_eq!(code("a/s/high/ack", "by jo"), Err(400));
    assert_eq!(code("a/s/high/ack", "{}"), Err(422));
    assert_eq!(code("a/s/high/ack", "{\"by\":\"jo\"}").map(|body| body.by), Ok("jo".to_owned()));
}
