//! Every form of the contract, and that the fast way is the slow way.

use super::*;
use proptest::prelude::*;

const ARRIVAL_MS: i64 = 1_700_000_000_500;

type Plain = (Option<String>, f64, Option<i64>, Option<String>);

fn bytes(payload: &[u8]) -> Result<Vec<Plain>, PayloadError> {
    let mut out = vec![Sample::of(-7.0)];
    let read = parse(payload, &mut out);
    assert_eq!(out.remove(0), Sample::of(-7.0), "earlier samples stay");
    assert!(read.is_ok() || out.is_empty(), "a refused message leaves nothing");
    let own = |c: Cow<'_, str>| c.into_owned();
    let time = |s: &Sample<'_>| s.time_ms.or((s.after_ms != 0).then_some(ARRIVAL_MS + s.after_ms));
    let plain = |s: Sample<'_>| (s.suffix.clone().map(own), s.value, time(&s), s.unit.map(own));
    read.map(|()| out.into_iter().map(plain).collect())
}

fn all(payload: &str) -> Result<Vec<Plain>, PayloadError> {
    bytes(payload.as_bytes())
}

fn values(payload: &str) -> Vec<f64> {
    all(payload).unwrap().into_iter().map(|s| s.1).collect()
}

fn named(name: &str, value: f64) -> Plain {
    (Some(name.to_owned()), value, None, None)
}

#[test]
fn text_is_a_number_or_a_switch() {
    for (text, value) in [
        ("21.5", 21.5),
        (" 21.5\r\n", 21.5),
        ("-3e-2", -0.03),
        ("+5", 5.0),
        ("007", 7.0),
        (".5", 0.5),
        ("on\n", 1.0),
        ("ON", 1.0),
        ("Off", 0.0),
        ("true", 1.0),
        ("FALSE", 0.0),
    ] {
        assert_eq!(all(text), Ok(vec![(None, value, None, None)]), "{text}");
    }
}

#[test]
fn an_object_gives_value_time_and_unit() {
    let timed = Ok(vec![(None, 21.5, Some(1_700_000_000_000), Some("°C".to_owned()))]);
    for same in [
        r#"{"value":21.5,"ts":1700000000000,"unit":"°C"}"#,
        r#"{"v":21.5,"time":1700000000,"unit":"°C"}"#,
        r#" { "unit" : "°C" , "value" : 21.5 , "timestamp" : "2023-11-14T22:13:20Z" } "#,
        r#"{"unit":"\u00b0C","value":2150e-2,"ts":1700000000000000}"#,
        r#"{"value":21.5,"v":3,"ts":1700000000000000000,"time":5,"unit":"°C","meta":{"a":[1]},"x":4}"#,
        r#"{"value":0,"value":21.5,"ts":1700000000000,"unit":"°C"}"#,
    ] {
        assert_eq!(all(same), timed, "{same}");
    }
    assert_eq!(all(r#"{"value":true,"ts":null,"unit":""}"#), Ok(vec![(None, 1.0, None, None)]));
    assert_eq!(all(r#"{"value":1,"ts":1700000000.25}"#).unwrap()[0].2, Some(1_700_000_000_250));
    assert_eq!(all(r#"{"value":1,"ts":1700000000123999999}"#).unwrap()[0].2, Some(1_700_000_000_123));
}

#[test]
fn fields_of_an_object_without_value_are_series() {
    let fields = all(r#"{"b":1,"a":true,"c":"x","d":null,"e":[1],"unit":"V","ts":1700000000000}"#).unwrap();
    let at = Some(1_700_000_000_000);
    assert_eq!(fields, vec![(Some("b".to_owned()), 1.0, at, None), (Some("a".to_owned()), 1.0, at, None),]);
    assert_eq!(all(r#"{"a":1,"b":2}"#), Ok(vec![named("a", 1.0), named("b", 2.0)]));
    assert_eq!(all(r#"{"a":1,"a":2}"#), Ok(vec![named("a", 2.0)]));
    assert_eq!(all(r#"{"unit":5}"#), Ok(vec![named("unit", 5.0)]));
}

#[test]
fn a_list_holds_any_of_these() {
    assert_eq!(values(r#"[1,{"v":2},true,{"a":3,"b":4}]"#), [1.0, 2.0, 1.0, 3.0, 4.0]);
    assert_eq!(values(r#"[{"n":5,"v":1}]"#), [1.0], "a numeric n does not make it SenML");
    let most = format!("[{}1]", "1,".repeat(SAMPLES_MAX - 1));
    assert_eq!(values(&most).len(), SAMPLES_MAX);
    let more = format!("[{}1]", "1,".repeat(SAMPLES_MAX));
    assert_eq!(all(&more), Err(PayloadError::TooMany));
}

#[test]
fn what_is_no_reading_says_why() {
    for bad in [
        "",
        " ",
        "\n",
        "!",
        "hello",
        "21,5",
        "1 2",
        "0x10",
        "{}",
        "[]",
        "null",
        "\"on\"",
        r#"{"a":"x"}"#,
        "[1,\"x\"]",
        "[1,null]",
        "[[1]]",
        "[1,{}]",
        r#"{"value":null}"#,
        r#"{"value":"1"}"#,
        r#"{"value":[1]}"#,
        r#"{"value":1"#,
        r#"{"value":1}x"#,
        r#"{"value":1,}"#,
        r#"{"ts":1700000000000}"#,
    ] {
        assert!(matches!(all(bad), Err(PayloadError::Shape(_))), "{bad:?}: {:?}", all(bad));
    }
    for bad in ["NaN", "inf", "-Infinity", "1e999", r#"{"value":1e400}"#, r#"[1,-1e400]"#] {
        assert_eq!(all(bad), Err(PayloadError::NotFinite), "{bad}");
    }
    for bad in ["-5", "1e30", "\"yesterday\"", "\"2023-11-14T22:13:20\"", "\"\"", "\"1700000000\""] {
        let bad = format!(r#"{{"value":1,"ts":{bad}}}"#);
        assert!(matches!(all(&bad), Err(PayloadError::Time(_))), "{bad}");
    }
    let unit = |n: usize| format!(r#"{{"value":1,"unit":"{}"}}"#, "u".repeat(n));
    assert!(all(&unit(64)).is_ok());
    assert_eq!(all(&unit(65)), Err(PayloadError::Unit));
    assert_eq!(bytes(b"{\"a\":1,\"b\":\"\xff\"}").map_err(|e| matches!(e, PayloadError::Shape(_))), Err(true));
}

#[test]
fn senml_resolves_its_base_fields() {
    let pack = all(r#"[{"bn":"dev/","bt":1700000000,"bu":"V","bv":10,"bver":10,"n":"u","v":3},{"n":"i","u":"A","v":1,"t":-1},
            {"n":"text","vs":"x"},{"n":"on","vb":true,"u":""},{"bn":"e/","n":"f","t":0.25,"v":-1}]"#);
    let own = |n: &str, v, t, u: Option<&str>| (Some(n.to_owned()), v, Some(t), u.map(str::to_owned));
    assert_eq!(
        pack,
        Ok(vec![
            own("dev/u", 13.0, 1_700_000_000_000, Some("V")),
            own("dev/i", 11.0, 1_699_999_999_000, Some("A")),
            own("dev/on", 1.0, 1_700_000_000_000, None),
            own("e/f", 9.0, 1_700_000_000_250, Some("V")),
        ])
    );
}

#[test]
fn senml_times_below_2_28_are_relative_to_arrival() {
    let time = |t: &str| all(&format!(r#"[{{"n":"a","v":1,"t":{t}}}]"#)).map(|s| s[0].2);
    assert_eq!(time("0"), Ok(None));
    assert_eq!(time("-1.5"), Ok(Some(ARRIVAL_MS - 1_500)));
    assert_eq!(time("-0.3"), Ok(Some(ARRIVAL_MS - 300)));
    assert_eq!(time("60"), Ok(Some(ARRIVAL_MS + 60_000)));
    assert_eq!(time("268435455"), Ok(Some(ARRIVAL_MS + 268_435_455_000)));
    assert_eq!(time("268435456"), Ok(Some(268_435_456_000)));
    assert_eq!(time("-1700000001"), Ok(Some(ARRIVAL_MS - 1_700_000_001_000)), "whether that is before 1970 its arrival says");
    assert!(matches!(time("-4102444800"), Err(PayloadError::Time(_))));
    assert!(matches!(time("1e300"), Err(PayloadError::Time(_))));
    assert!(matches!(time("-1e300"), Err(PayloadError::Time(_))));
}

#[test]
fn senml_that_is_none_is_refused() {
    for bad in [
        r#"[{"n":"a"}]"#,
        r#"[{"n":"","v":1}]"#,
        r#"[{"n":"a","v":"1"}]"#,
        r#"[{"n":"a","v":true}]"#,
        r#"[{"n":"a","vb":1}]"#,
        r#"[{"n":"a","v":1,"vb":true}]"#,
        r#"[{"n":"a","v":1,"u":5}]"#,
        r#"[{"n":"a","v":1},2]"#,
        r#"[{"n":"a","v":1,"must_":1}]"#,
        r#"[{"bver":11,"n":"a","v":1}]"#,
        r#"[{"n":"a","v":[-1,215]}]"#,
    ] {
        assert!(matches!(all(bad), Err(PayloadError::Shape(_))), "{bad}: {:?}", all(bad));
    }
    let long = format!(r#"[{{"bn":"{}","n":"a","v":1}}]"#, "b".repeat(256));
    assert!(all(&long).is_err());
    assert_eq!(all(r#"[{"bn":"a","bv":1e308,"v":1e308}]"#), Err(PayloadError::NotFinite));
}

#[test]
fn cbor_has_the_same_shapes() {
    let ts = [0x1b, 0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00];
    // {"v": 1.0 (half), "ts": 1700000000000}
    let map = [&[0xa2, 0x61, b'v', 0xf9, 0x3c, 0x00, 0x62, b't', b's'][..], &ts].concat();
    assert_eq!(bytes(&map), Ok(vec![(None, 1.0, Some(1_700_000_000_000), None)]));
    // [true, -1, 2.5 (single)]
    let list = bytes(&[0x83, 0xf5, 0x20, 0xfa, 0x40, 0x20, 0x00, 0x00]).unwrap();
    assert_eq!(list.iter().map(|s| s.1).collect::<Vec<_>>(), [1.0, -1.0, 2.5]);
    // A number, and one behind the tag of self-described CBOR.
    assert_eq!(bytes(&[0x18, 200]).unwrap()[0].1, 200.0);
    assert_eq!(bytes(&[0xd9, 0xd9, 0xf7, 0x15]).unwrap()[0].1, 21.0);
    // {"v": 1, "ts": tag 0 "1970-01-01T00:00:01Z"}
    let tagged = [&[0xa2, 0x61, b'v', 1, 0x62, b't', b's', 0xc0, 0x74][..], b"1970-01-01T00:00:01Z"].concat();
    assert_eq!(bytes(&tagged).unwrap()[0].2, Some(1_000));
    // NaN, an infinity, half a map, bytes, something behind the end.
    assert_eq!(bytes(&[0xf9, 0x7e, 0x00]), Err(PayloadError::NotFinite));
    assert_eq!(bytes(&[0x81, 0xf9, 0x7c, 0x00]), Err(PayloadError::NotFinite));
    for bad in [&[0xa2, 0x61, b'v', 1][..], &[0x41, 0xff], &[0x81, 0x01, 0x01], &[0xf6], &[0x80]] {
        assert!(matches!(bytes(bad), Err(PayloadError::Shape(_))), "{bad:x?}");
    }
}

#[test]
fn senml_in_cbor_has_numbers_as_labels() {
    // [{-2: "dev/", -3: 1700000000, 0: "u", 1: "V", 2: 4([-1, 215])}, {0: "i", 6: -1, 4: false}]
    let pack = [
        &[0x82, 0xa5, 0x21, 0x64][..],
        b"dev/",
        &[0x22, 0x1a, 0x65, 0x53, 0xf1, 0x00, 0x00, 0x61],
        b"u",
        &[0x01, 0x61],
        b"V",
        &[0x02, 0xc4, 0x82, 0x20, 0x18, 215, 0xa3, 0x00, 0x61],
        b"i",
        &[0x06, 0x20, 0x04, 0xf4],
    ]
    .concat();
    assert_eq!(
        bytes(&pack),
        Ok(vec![
            (Some("dev/u".to_owned()), 21.5, Some(1_700_000_000_000), Some("V".to_owned())),
            (Some("dev/i".to_owned()), 0.0, Some(1_699_999_999_000), None),
        ])
    );
}

/// What the slow way alone reads.
fn slow(payload: &[u8]) -> Result<Vec<Sample<'_>>, PayloadError> {
    let mut out = Vec::new();
    any_form(payload, &mut Samples { from: 0, list: &mut out }).map(|()| out)
}

fn ways_agree(payload: &[u8]) -> Result<bool, TestCaseError> {
    let mut fast = Vec::new();
    if fast::parse(payload.trim_ascii(), &mut fast).is_none() {
        prop_assert!(fast.is_empty());
        return Ok(false);
    }
    let slow = slow(payload);
    let bits = |list: &[Sample<'_>]| list.iter().map(|s| s.value.to_bits()).collect::<Vec<_>>();
    prop_assert_eq!(slow.as_deref().map(bits), Ok(bits(&fast)));
    prop_assert_eq!(slow, Ok(fast));
    Ok(true)
}

#[test]
fn the_usual_payloads_take_the_fast_way() {
    for usual in [
        "21.5",
        "-3\n",
        r#"{"value":21.5,"ts":1700000000000}"#,
        r#"{"value": 21.5, "ts": 1700000000.5, "unit": "°C"}"#,
        r#"{"ts":"2023-11-14T22:13:20.5+01:00","v":true}"#,
        r#"{"ts":1700000000123999999,"temperature":21.5,"ok":false,"id":"a7","note":null}"#,
        r#"{"value":-0,"seq":17}"#,
    ] {
        assert!(ways_agree(usual.as_bytes()).unwrap(), "{usual}");
    }
}

/// JSON objects that are nearly what the fast way takes.
fn object() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        3 => prop::sample::select(vec!["value", "v", "ts", "time", "timestamp", "unit"]).prop_map(str::to_owned),
        1 => "[a-c°]{0,2}|\\\\n",
    ];
    let value = prop_oneof![
        4 => any::<f64>().prop_filter("JSON has no others", |v| v.is_finite()).prop_map(|v| format!("{v}")),
        4 => any::<f64>().prop_filter("JSON has no others", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
        4 => "-?[0-9]{1,20}(\\.[0-9]{1,5})?",
        2 => any::<i64>().prop_map(|v| v.to_string()),
        1 => "\"[ -~°]{0,4}\"",
        2 => (0i64..2_000_000_000).prop_map(|s| format!("\"{}\"", jiff::Timestamp::from_second(s).unwrap())),
        2 => prop::sample::select(vec!["true", "false", "null", "[]", "{\"v\":1}", "nul", "1e400", "-"]).prop_map(str::to_owned),
    ];
    let blank = "[ \n]{0,1}";
    let field = (key, value, blank).prop_map(|(k, v, b)| format!("{b}\"{k}\"{b}:{b}{v}{b}"));
    prop::collection::vec(field, 0..5).prop_map(|fields| format!("{{{}}}", fields.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_fast_way_reads_objects_as_the_slow_way_does(payload in object()) {
        ways_agree(payload.as_bytes())?;
    }

    #[test]
    fn a_changed_byte_makes_no_difference_to_that(payload in object(), at: prop::sample::Index, byte: u8) {
        let mut payload = payload.into_bytes();
        let at = at.index(payload.len());
        payload[at] = byte;
        ways_agree(&payload)?;
    }

    #[test]
    fn numbers_are_read_as_the_slow_way_reads_them(payload in "[ \n]?-?[0-9]{1,20}(\\.[0-9]{0,5})?(e-?[0-9]{1,3})?[ \n]?") {
        ways_agree(payload.as_bytes())?;
    }

    #[test]
    fn any_value_and_time_come_back(value: f64, ts in 100_000_000_000i64..100_000_000_000_000) {
        prop_assume!(value.is_finite());
        let text = format!(r#"{{"value":{value},"ts":{ts}}}"#);
        prop_assert_eq!(all(&text), Ok(vec![(None, value, Some(ts), None)]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(payload: Vec<u8>) {
        let _ = bytes(&payload);
    }

    #[test]
    fn arbitrary_text_never_panics(payload in "[\\[\\]{}\",:0-9a-z.\\- ]{0,40}") {
        let _ = all(&payload);
    }
}
