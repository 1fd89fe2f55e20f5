//! What was seen and what was expected, as one and the same quantity: of most kinds a value of the series, of others a
//! run of equal values, a gap between readings, a step or a rate.

use crate::words::number;
use detect::limits::SCORE_MAX;
use serde_json::Value;

/// What an alert saw and what it expected, from its JSON.
pub(super) fn of(alert: &Value) -> (Option<String>, Option<String>) {
    let unit = alert["unit"].as_str().map_or(String::new(), |unit| format!(" {unit}"));
    let (value, usual) = (alert["value"].as_f64(), alert["baseline"].as_f64());
    let message = alert["message"].as_str().unwrap_or_default();
    // Of these the score is how many times the usual was seen.
    let times = alert["score"].as_f64().filter(|score| *score < SCORE_MAX);
    let compared = |least: f64, what: &str, often: &str| {
        let seen = times.zip(usual).map(|(times, usual)| format!("{}{what}", number(times * usual.max(least))));
        (seen, usual.map(|usual| format!("{}{often}", number(usual))))
    };
    match alert["kind"].as_str().unwrap_or_default() {
        "silence" => compared(1e-3, " s without a reading", " s between readings"),
        "cadence" => compared(1e-3, " s between readings", " s between readings"),
        "flatline" => {
            let run = |run: f64| number(run.round());
            let seen = times.zip(usual).map(|(times, usual)| format!("{} equal values in a row", run(times * usual.max(1.0))));
            (seen, usual.map(|usual| format!("{} at most, as remembered", run(usual.ceil()))))
        }
        // The score of these is of several quantities: the sentence names the one that it tells.
        "noise" => (clause(message, ", "), usual.map(|usual| format!("{}{unit} on average from reading to reading", number(usual)))),
        "rate" => {
            let usual = message.split_once("; ").and_then(|(_, rest)| rest.strip_suffix(" is usual"));
            (clause(message, "; "), usual.map(str::to_owned))
        }
        "saturation" => {
            let much = message.rsplit_once("; ").and_then(|(_, rest)| rest.strip_suffix(" would be much"));
            (clause(message, "; "), much.map(|much| format!("less than {much}")))
        }
        "clock" => (clause(message, "; "), Some("its time as the gateway's clock goes".to_owned())),
        _ => (value.map(|value| number(value) + &unit), usual.map(|usual| number(usual) + &unit)),
    }
}

/// A sentence up to where its first clause ends.
fn clause(message: &str, end: &str) -> Option<String> {
    let first = message.split(end).next().unwrap_or_default();
    (!first.is_empty()).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn what_is_seen_and_what_is_expected_are_one_quantity() {
        let of = |kind: &str, message: &str, usual: f64, score: f64| {
            let alert = json!({"kind": kind, "message": message, "value": 71.3, "baseline": usual, "score": score, "unit": "°C"});
            let (seen, expected) = super::of(&alert);
            [seen.unwrap(), expected.unwrap()]
        };
        assert_eq!(of("spike", "", 20.0, 9.0), ["71.3 °C", "20 °C"]);
        assert_eq!(of("silence", "", 2.0, 30.0), ["60 s without a reading", "2 s between readings"]);
        assert_eq!(of("cadence", "", 2.0, 1.75), ["3.5 s between readings", "2 s between readings"]);
        assert_eq!(of("flatline", "", 11.2, 60.0 / 11.2), ["60 equal values in a row", "12 at most, as remembered"]);
        let noise = "jumps by 2.1 °C on average from reading to reading, 4.2 times the usual 0.5 °C";
        let expected = ["jumps by 2.1 °C on average from reading to reading", "0.5 °C on average from reading to reading"];
        assert_eq!(of("noise", noise, 0.5, 1.1), expected);
        assert_eq!(of("rate", "rises by 5 °C/s; 0.1 °C/s is usual", 0.1, 9.0), ["rises by 5 °C/s", "0.1 °C/s"]);
        let cut = "cut off at 4: 50 % of the last 64 readings are exactly that and none above; 25 % would be much";
        assert_eq!(of("saturation", cut, 0.0, 1.0)[1], "less than 25 %");
    }
}
