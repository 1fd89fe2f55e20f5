//! What the sensors sent against what the consumer holds, window for window. Pure.
//!
//! The truth is computed here from the readings as they were sent, with arithmetic of its own: nothing of the
//! product's windows or aggregates takes part.

use serde_json::Value;
use std::collections::BTreeMap;

/// How far a sum may be off, relative to itself.
const SUM_RELATIVE_MAX: f64 = 1e-9;

/// A window: series, size as topics write it, start in ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its series.
    pub series: String,
    /// Its size, such as `2s`.
    pub window: String,
    /// Its start.
    pub start_ms: i64,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} from {}", self.window, self.series, self.start_ms)
    }
}

/// What a window must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    count: u64,
    sum: f64,
    /// What rounding took from the sum (Neumaier).
    lost: f64,
    min: f64,
    max: f64,
    gateways: BTreeMap<String, u64>,
}

/// All that was sent.
#[derive(Debug, Default)]
pub struct Truth {
    sizes: Vec<(i64, &'static str)>,
    windows: BTreeMap<Key, Tally>,
}

impl Truth {
    /// Nothing yet, for windows of these sizes.
    pub fn new(sizes: &[(i64, &'static str)]) -> Self {
        Self { sizes: sizes.to_vec(), windows: BTreeMap::new() }
    }

    /// A reading was sent.
    pub fn add(&mut self, gateway: &str, series: &str, time_ms: i64, value: f64) {
        for (size_ms, name) in &self.sizes {
            let key = Key { series: series.to_owned(), window: (*name).to_owned(), start_ms: time_ms - time_ms.rem_euclid(*size_ms) };
            let tally = self.windows.entry(key).or_insert_with(|| Tally { min: value, max: value, ..Tally::default() });
            tally.count += 1;
            let sum = tally.sum + value;
            tally.lost += if tally.sum.abs() >= value.abs() { (tally.sum - sum) + value } else { (value - sum) + tally.sum };
            tally.sum = sum;
            (tally.min, tally.max) = (tally.min.min(value), tally.max.max(value));
            *tally.gateways.entry(gateway.to_owned()).or_insert(0) += 1;
        }
    }

    /// How many windows there are.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }
}

/// A merged window as the consumer got it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Held {
    /// Readings in it.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Each gateway's part of the count.
    pub gateways: BTreeMap<String, u64>,
    /// How often it was published.
    pub revision: u64,
    /// Whether the cloud knows that nothing is missing.
    pub complete: bool,
    /// When it ends, in ms since the Unix epoch.
    pub end_ms: i64,
}

impl Held {
    /// Reads the payload of a merged topic.
    pub fn read(merged: &Value) -> Option<(Key, Held)> {
        let key = Key {
            series: merged["series"].as_str()?.to_owned(),
            window: merged["window"].as_str()?.to_owned(),
            start_ms: merged["start"].as_i64()?,
        };
        let parts = merged["gateways"].as_object()?.iter();
        let held = Held {
            count: merged["count"].as_u64()?,
            sum: merged["sum"].as_f64()?,
            min: merged["min"].as_f64()?,
            max: merged["max"].as_f64()?,
            gateways: parts.map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect::<Option<_>>()?,
            revision: merged["revision"].as_u64()?,
            complete: merged["complete"].as_bool()?,
            end_ms: merged["end"].as_i64()?,
        };
        Some((key, held))
    }
}

/// The outcome: how many are equal, and what differs, a line for each.
#[derive(Debug, Default, PartialEq)]
pub struct Comparison {
    /// Windows that agree.
    pub equal: usize,
    /// What does not.
    pub different: Vec<String>,
    /// Windows that the cloud calls complete.
    pub complete: usize,
    /// Those that it does not, as they are not over.
    pub open: usize,
    /// Those that are over, and that it does not call complete.
    pub incomplete: Vec<String>,
}

/// Compares every window of either side; what ends at `over_ms` or before is over.
pub fn compare(truth: &Truth, held: &BTreeMap<Key, Held>, over_ms: i64) -> Comparison {
    let mut comparison = Comparison::default();
    for (key, held) in held {
        match held.complete {
            true => comparison.complete += 1,
            false if held.end_ms > over_ms => comparison.open += 1,
            false => comparison.incomplete.push(key.to_string()),
        }
    }
    for (key, tally) in &truth.windows {
        match held.get(key) {
            None => comparison.different.push(format!("{key}: missing, {} readings were sent", tally.count)),
            Some(held) => match difference(tally, held) {
                None => comparison.equal += 1,
                Some(what) => comparison.different.push(format!("{key}: {what}")),
            },
        }
    }
    let invented = held.iter().filter(|(key, _)| !truth.windows.contains_key(key));
    comparison.different.extend(invented.map(|(key, held)| format!("{key}: {} readings that nobody sent", held.count)));
    comparison
}

fn difference(truth: &Tally, held: &Held) -> Option<String> {
    let mut what = Vec::new();
    let mut differs = |name: &str, sent: String, got: String| what.push(format!("{name} {got} instead of {sent}"));
    if truth.count != held.count {
        differs("count", truth.count.to_string(), held.count.to_string());
    }
    if truth.min != held.min {
        differs("min", truth.min.to_string(), held.min.to_string());
    }
    if truth.max != held.max {
        differs("max", truth.max.to_string(), held.max.to_string());
    }
    let sum = truth.sum + truth.lost;
    if (sum - held.sum).abs() > SUM_RELATIVE_MAX * sum.abs() {
        differs("sum", sum.to_string(), held.sum.to_string());
    }
    if truth.gateways != held.gateways {
        differs("gateways", format!("{:?}", truth.gateways), format!("{:?}", held.gateways));
    }
    (!what.is_empty()).then(|| what.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn truth() -> Truth {
        let mut truth = Truth::new(&[(2_000, "2s"), (10_000, "10s")]);
        for (gateway, time_ms, value) in [("a", 1_000, 0.1), ("b", 1_999, 0.2), ("a", 2_000, 0.3)] {
            truth.add(gateway, "s", time_ms, value);
        }
        truth
    }

    fn merged(window: &str, start: i64, count: u64, sum: f64, min: f64, max: f64, gateways: Value) -> Value {
        let end = start + if window == "2s" { 2_000 } else { 10_000 };
        json!({"series": "s", "window": window, "start": start, "end": end, "count": count, "sum": sum, "min": min, "max": max,
               "gateways": gateways, "revision": 1, "complete": true})
    }

    fn held(merged: &[Value]) -> BTreeMap<Key, Held> {
        merged.iter().map(|m| Held::read(m).unwrap()).collect()
    }

    fn right() -> [Value; 3] {
        [
            merged("2s", 0, 2, 0.3, 0.1, 0.2, json!({"a": 1, "b": 1})),
            merged("2s", 2_000, 1, 0.3, 0.3, 0.3, json!({"a": 1})),
            merged("10s", 0, 3, 0.6, 0.1, 0.3, json!({"a": 2, "b": 1})),
        ]
    }

    #[test]
    fn equal_windows_agree_up_to_the_last_bits_of_a_sum() {
        let truth = truth();
        let comparison = compare(&truth, &held(&right()), 5_000);
        assert_eq!((truth.windows(), comparison), (3, Comparison { equal: 3, complete: 3, ..Comparison::default() }));
    }

    #[test]
    fn only_a_window_that_is_over_must_be_complete() {
        let mut windows = right();
        windows.iter_mut().for_each(|window| window["complete"] = json!(false));
        let comparison = compare(&truth(), &held(&windows), 3_999);
        assert_eq!((comparison.equal, comparison.complete, comparison.open), (3, 0, 2));
        assert_eq!(comparison.incomplete, ["2s/s from 0"]);
    }

    #[test]
    fn whatever_differs_is_named() {
        let cases = [
            ("count", json!(4), "count 4 instead of 3"),
            ("sum", json!(0.600_000_01), "sum 0.60000001 instead of 0.6"),
            ("min", json!(0.100_000_000_001), "min 0.100000000001 instead of 0.1"),
            ("max", json!(0.2), "max 0.2 instead of 0.3"),
            ("gateways", json!({"a": 3}), "gateways {\"a\": 3} instead of"),
        ];
        for (field, value, expected) in cases {
            let mut windows = right();
            windows[2][field] = value;
            let comparison = compare(&truth(), &held(&windows), 0);
            assert_eq!((comparison.equal, comparison.different.len()), (2, 1));
            assert!(comparison.different[0].starts_with("10s/s from 0: ") && comparison.different[0].contains(expected), "{comparison:?}");
        }
    }

    #[test]
    fn missing_and_invented_windows_differ() {
        let mut windows = right().to_vec();
        windows.push(merged("2s", 4_000, 1, 1.0, 1.0, 1.0, json!({"a": 1})));
        windows.remove(0);
        let comparison = compare(&truth(), &held(&windows), 0);
        assert_eq!(comparison.equal, 2);
        assert_eq!(comparison.different, ["2s/s from 0: missing, 2 readings were sent", "2s/s from 4000: 1 readings that nobody sent"]);
    }

    #[test]
    fn a_payload_that_lacks_a_field_is_no_window() {
        let mut window = right()[0].clone();
        window["count"] = json!("two");
        assert_eq!(Held::read(&window), None);
    }
}
