//! The JSON schemas accept their examples, which are the contract's, and refuse what they should.
//! The judge below knows the keywords that the schemas use and panics at any other, so that
//! none stands there untested.

use serde_json::{Value, json};

const MERGED: &str = include_str!("../../json/merged.schema.json");
const ALERT: &str = include_str!("../../json/alert.schema.json");
const ALARM: &str = include_str!("../../json/alarm.schema.json");
const KPI: &str = include_str!("../../json/alarm-kpi.schema.json");
const STATUS: &str = include_str!("../../json/gateway-status.schema.json");

fn parse(schema: &str) -> Value {
    serde_json::from_str(schema).expect("a schema is JSON")
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        _ => panic!("type {name}"),
    }
}

fn matches(text: &str, pattern: &str) -> bool {
    let gateway = |s: &str| (1..=64).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let boot = |s: &str| s.len() == 16 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match pattern {
        "^[a-z0-9-]{1,64}$" => gateway(text),
        "^[0-9a-f]{16}$" => boot(text),
        "^[a-z0-9-]{1,64}/[0-9a-f]{16}/[0-9]+/[0-9]+$" => match text.split('/').collect::<Vec<_>>()[..] {
            [g, b, seq, ordinal] => gateway(g) && boot(b) && digits(seq) && digits(ordinal),
            _ => false,
        },
        "^[1-9][0-9]*(ms|s|m|h|d)$" => {
            let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
            let number = &text[..text.len() - unit.len()];
            digits(number) && !number.starts_with('0') && ["ms", "s", "m", "h", "d"].contains(&unit)
        }
        _ => panic!("pattern {pattern}"),
    }
}

fn accepts(schema: &Value, value: &Value) -> bool {
    let none = serde_json::Map::new();
    let members = value.as_object().unwrap_or(&none);
    schema.as_object().expect("a schema is an object").iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "title" | "description" | "examples" => true,
        "type" => is_type(value, rule.as_str().expect("one type")),
        "enum" => rule.as_array().expect("a list").contains(value),
        "required" => rule.as_array().expect("a list").iter().all(|name| members.contains_key(name.as_str().expect("a name"))),
        "properties" => members.iter().all(|(name, member)| rule.get(name).is_none_or(|schema| accepts(schema, member))),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| accepts(rule, item))),
        "additionalProperties" => members.values().all(|member| accepts(rule, member)),
        "propertyNames" => members.keys().all(|name| accepts(rule, &json!(name))),
        "minProperties" => members.len() as u64 >= rule.as_u64().expect("a count"),
        "minLength" => value.as_str().is_some_and(|s| s.chars().count() as u64 >= rule.as_u64().expect("a count")),
        "minimum" => value.as_f64().is_some_and(|v| v >= rule.as_f64().expect("a bound")),
        "pattern" => value.as_str().is_some_and(|s| matches(s, rule.as_str().expect("a pattern"))),
        _ => panic!("keyword {keyword}"),
    })
}

#[test]
fn examples_are_accepted() {
    for schema in [MERGED, ALERT, ALARM, KPI, STATUS] {
        let schema = parse(schema);
        let examples = schema["examples"].as_array().expect("examples");
        assert!(!examples.is_empty() && examples.iter().all(|example| accepts(&schema, example)), "{}", schema["title"]);
        for name in schema["required"].as_array().expect("a list") {
            assert!(schema["properties"].get(name.as_str().expect("a name")).is_some(), "{name}");
        }
    }
}

#[test]
fn what_a_consumer_must_not_see_is_refused() {
    for (schema, member, wrong) in [
        (MERGED, "start", json!(1700000000000.5)),
        (MERGED, "count", json!(0)),
        (MERGED, "sum", json!(null)),
        (MERGED, "window", json!("10 s")),
        (MERGED, "unit", json!(null)),
        (MERGED, "gateways", json!({})),
        (MERGED, "gateways", json!({"Plant A": 1})),
        (MERGED, "agree", json!("no")),
        (MERGED, "revision", json!(0)),
        (ALERT, "id", json!("plant-a/4711/0")),
        (ALERT, "severity", json!("fatal")),
        (ALERT, "state", json!(0)),
        (ALERT, "value", json!(null)),
        (ALERT, "kind", json!("High High")),
        (ALARM, "state", json!("fine")),
        (ALARM, "since", json!("now")),
        (ALARM, "priority", json!("high")),
        (ALARM, "pending", json!(0)),
        (KPI, "states", json!({"normal": -1})),
        (KPI, "top", json!("none")),
        (STATUS, "boot", json!("9F3C2B7A11D04E58")),
        (STATUS, "clock", json!("fine")),
        (STATUS, "held", json!(-1)),
        (STATUS, "online", json!("yes")),
    ] {
        let schema = parse(schema);
        let mut value = schema["examples"][0].clone();
        value[member] = wrong.clone();
        assert!(!accepts(&schema, &value), "{member} = {wrong}");
        if schema["required"].as_array().expect("a list").contains(&json!(member)) {
            value.as_object_mut().expect("an object").remove(member);
            assert!(!accepts(&schema, &value), "without {member}");
        }
    }
}

/// Compatible growth: consumers pass over members that they do not know.
#[test]
fn members_to_come_are_accepted() {
    for schema in [MERGED, ALERT, ALARM, KPI, STATUS] {
        let schema = parse(schema);
        let mut value = schema["examples"][0].clone();
        value["to_come"] = json!([1]);
        assert!(accepts(&schema, &value));
    }
}
