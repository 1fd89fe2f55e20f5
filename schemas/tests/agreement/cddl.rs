//! `bridge.cddl` has the fields of the code, under the keys that the code writes.

use crate::sample;
use schemas::cbor::{self, Value as Cbor};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The fields of a rule in the order of its lines: key and name in the code.
fn fields(rule: &str) -> Vec<(i128, String)> {
    let text = include_str!("../../bridge.cddl");
    let begin = format!("\n{rule} = {{\n");
    let body = text.split_once(&begin).unwrap_or_else(|| panic!("no rule {rule}")).1;
    let body = body.split_once("\n}").expect("a rule ends").0;
    body.lines()
        .filter(|line| line.trim() != "* uint => any")
        .map(|line| {
            let (field, name) = line.split_once(';').unwrap_or_else(|| panic!("{rule}: {line} names no field"));
            let key = field.trim().trim_start_matches("? ").split(':').next().expect("a key");
            (key.parse().unwrap_or_else(|_| panic!("{rule}: {line} has no key")), name.trim().to_owned())
        })
        .collect()
}

/// Whether both are the same value; of structs, whether they have as many fields.
fn same(cbor: &Cbor, json: &Json) -> bool {
    match (cbor, json) {
        (Cbor::Null, Json::Null) => true,
        (Cbor::Bool(a), Json::Bool(b)) => a == b,
        (Cbor::Integer(a), Json::Number(b)) => a.to_string() == b.to_string(),
        (Cbor::Float(a), Json::Number(b)) => b.as_f64() == Some(*a),
        (Cbor::Text(a), Json::String(b)) => a == b,
        (Cbor::Bytes(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| b.as_u64() == Some((*a).into())),
        (Cbor::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Cbor::Map(a), Json::Object(b)) => a.len() == b.len(),
        _ => false,
    }
}

fn agrees<T: serde::Serialize>(rule: &str, message: &T) {
    let Ok(Cbor::Map(written)) = cbor::value(&cbor::to_vec(message), 1_000) else { panic!("{rule} is no map") };
    let Ok(Json::Object(named)) = serde_json::to_value(message) else { panic!("{rule} is no struct") };
    let written: BTreeMap<i128, &Cbor> =
        written.iter().map(|(key, value)| if let Cbor::Integer(key) = key { (*key, value) } else { panic!("{rule}: {key:?}") }).collect();
    let fields = fields(rule);
    assert_eq!(written.keys().copied().collect::<Vec<_>>(), fields.iter().map(|f| f.0).collect::<Vec<_>>(), "{rule}");
    assert_eq!(fields.len(), named.len(), "{rule}");
    for (key, name) in fields {
        let json = named.get(&name).unwrap_or_else(|| panic!("{rule}: the code has no field {name}"));
        assert!(same(written[&key], json), "{rule}: key {key} is not {name}");
    }
}

#[test]
fn every_rule_has_the_fields_of_the_code() {
    agrees("hello", &sample::hello_wanting());
    let (acts, tally) = (sample::delta_acts().acts, Some(sample::tally()));
    agrees("delta", &schemas::message::Delta { acts, tally, more: vec![1, 2], ..sample::delta_again() });
    agrees("beat", &schemas::message::Beat { format: 1, living: Some(0xffff) });
    agrees("tally", &sample::tally());
    agrees("definition", &sample::definition());
    agrees("shed-mark", &sample::shed_mark());
    agrees("alert", &schemas::message::AlertBody { alarm: Some(sample::note()), ..sample::alert_of_machine() });
    agrees("contributor", &sample::contributor());
    agrees("note", &sample::note());
    agrees("alert-key", &sample::alert_key());
    agrees("act", &sample::act());
    agrees("command", &sample::command_timed());
    agrees("command-up", &sample::command_up());
    agrees("answer", &sample::answer());
    agrees("wanted", &sample::wanted());
    agrees("crossed", &sample::crossed());
    agrees("cross-up", &sample::cross_up());
    agrees("cross-ack", &sample::cross_ack());
    agrees("cross-down", &sample::cross_down());
    agrees("cross-done", &sample::cross_done());
    agrees("alert-up", &sample::alert_up());
    agrees("receipt", &sample::receipt());
    agrees("bye", &sample::bye());
    agrees("ack", &sample::ack_hashed());
}

#[test]
fn bounds_are_those_of_the_code() {
    use schemas::limits as l;
    let text = include_str!("../../bridge.cddl");
    for bound in [
        format!("{} MiB a message, {} levels", l::MESSAGE_BYTES_MAX >> 20, l::CBOR_DEPTH_MAX),
        format!("[0*{} definition]", l::DEFINITIONS_MAX),
        format!("[0*{} alert]", l::ALERTS_MAX),
        format!("[0*{} shed-mark]", l::MARKS_MAX),
        format!("[0*{} act]", l::ACTS_MAX),
        format!("[0*{} contributor]", l::CONTRIBUTORS_MAX),
        format!("[0*{} answer]", l::ACTS_MAX),
        format!("tstr .size (0..{})                  ; by", l::WHO_BYTES_MAX),
        format!("tstr .size (0..{})                  ; reason", l::REASON_BYTES_MAX),
        format!("[0*{} size]", l::SIZES_MAX),
        format!("[0*{} wanted]", l::WANTED_MAX),
        format!("[0*{} crossed]", l::CROSSED_MAX),
        format!("topic  = tstr .size (1..{})", l::TOPIC_BYTES_MAX),
        format!("series = tstr .size (1..{})", l::SERIES_BYTES_MAX),
        format!("unit   = tstr .size (0..{})", l::UNIT_BYTES_MAX),
        format!("{{1,{}}}\"       ; gateway", l::GATEWAY_BYTES_MAX),
        format!("{{1,{}}}\"       ; kind", l::KIND_BYTES_MAX),
        format!("tstr .size (0..{})                ; message", l::SENTENCE_BYTES_MAX),
        format!("tstr .size (0..{})                  ; version", l::VERSION_BYTES_MAX),
    ] {
        assert!(text.contains(&bound), "bridge.cddl does not say {bound}");
    }
}
