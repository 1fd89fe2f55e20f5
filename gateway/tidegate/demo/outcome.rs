//! What came of a run: whether everything agrees, for a program and for a person. Pure.

use crate::demo::compare::Comparison;
use crate::demo::plan::Fault;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Differences that are written out; the rest is a number.
const SHOWN_MAX: usize = 20;

/// The alert that found a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// What it says.
    pub message: String,
    /// How long after the fault's beginning the readings showed it, in ms of their own time.
    pub detected_ms: i64,
    /// How long after the beginning it was at the gateway's own broker, if anybody listened there.
    pub gateway_ms: Option<i64>,
    /// How long after the beginning the cloud's consumer had it.
    pub consumer_ms: i64,
}

/// Figures of one gateway at the end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// Its name.
    pub gateway: String,
    /// Readings that its machines sent.
    pub sent: u64,
    /// Those that they saw acknowledged.
    pub acknowledged: u64,
    /// Publishes that they sent again.
    pub resent: u64,
    /// The gateway's own ledger.
    pub accepted: u64,
    /// Of these, durable at the cloud.
    pub delivered: u64,
    /// Still to go.
    pub held: u64,
    /// Given up.
    pub shed: u64,
    /// Not meant to leave.
    pub local: u64,
    /// Redeliveries that were recognised.
    pub duplicates: u64,
    /// Bytes on its uplink towards the cloud, and back.
    pub uplink_bytes: (u64, u64),
    /// What the same readings would have taken one by one.
    pub raw_bytes: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Length of the whole demo in s.
    pub seconds: f64,
    /// When the machines began, in ms of the demo.
    pub zero_ms: i64,
    /// Windows, compared.
    pub comparison: Comparison,
    /// How often a window was published again.
    pub revisions: u64,
    /// Each fault, and what found it.
    pub faults: Vec<(Fault, Option<Found>)>,
    /// Alerts that came, by their id.
    pub alerts: usize,
    /// Those of them that began something nobody injected.
    pub others: Vec<String>,
    /// Ids that came more than once.
    pub repeated: Vec<String>,
    /// Messages that are not what the contract says.
    pub strange: Vec<String>,
    /// By gateway.
    pub accounts: Vec<Account>,
    /// Ends of processes that were not clean.
    pub ends: Vec<String>,
}

impl Outcome {
    /// All that does not agree, a sentence for each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.comparison.different.iter().map(|what| format!("window {what}")).collect::<Vec<_>>();
        problems.extend(self.comparison.incomplete.iter().map(|what| format!("window {what} is over and not called complete")));
        if self.comparison.equal == 0 {
            problems.push("no window at all was compared".to_owned());
        }
        let missed = self.faults.iter().filter(|(_, found)| found.is_none());
        problems.extend(missed.map(|(fault, _)| format!("no {} alert for {}: {}", fault.expected(), fault.series, fault.what)));
        problems.extend(self.repeated.iter().map(|id| format!("alert {id} came more than once, though no bridge was killed")));
        problems.extend(self.strange.iter().map(|what| format!("not as the contract says: {what}")));
        for a in &self.accounts {
            let name = &a.gateway;
            if a.acknowledged != a.sent {
                problems.push(format!("{name} acknowledged {} of {} readings", a.acknowledged, a.sent));
            }
            if a.accepted != a.sent {
                problems.push(format!("{name} accepted {} readings, and its machines sent {}", a.accepted, a.sent));
            }
            if a.accepted != a.delivered + a.held + a.shed + a.local {
                problems.push(format!("the ledger of {name} does not balance: {a:?}"));
            }
            if (a.held, a.shed, a.local) != (0, 0, 0) {
                problems.push(format!("{name} still holds {}, shed {}, kept {}", a.held, a.shed, a.local));
            }
        }
        problems.extend(self.ends.iter().cloned());
        problems
    }

    /// The final object.
    pub fn json(&self) -> Value {
        let problems = self.problems();
        let faults = self.faults.iter().map(|(fault, found)| {
            json!({
                "series": fault.series, "kind": fault.kind, "what": fault.what, "from_ms": fault.from_ms, "found": found.is_some(),
                "alert": found.as_ref().map(|f| &f.id), "found_by": found.as_ref().map(|f| &f.kind), "message": found.as_ref().map(|f| &f.message),
                "detected_after_ms": found.as_ref().map(|f| f.detected_ms),
                "gateway_after_ms": found.as_ref().and_then(|f| f.gateway_ms),
                "consumer_after_ms": found.as_ref().map(|f| f.consumer_ms),
            })
        });
        let accounts = self.accounts.iter().map(|a| {
            json!({
                "gateway": a.gateway, "sent": a.sent, "acknowledged": a.acknowledged, "resent": a.resent,
                "ledger": {"accepted": a.accepted, "delivered": a.delivered, "held": a.held, "shed": a.shed, "local": a.local,
                           "duplicates": a.duplicates},
                "uplink_bytes": a.uplink_bytes.0, "downlink_bytes": a.uplink_bytes.1, "raw_bytes": a.raw_bytes,
            })
        });
        let shown = problems.iter().take(SHOWN_MAX).collect::<Vec<_>>();
        json!({
            "event": "result", "agrees": problems.is_empty(), "seconds": (self.seconds * 10.0).round() / 10.0,
            "problems": shown, "problems_in_all": problems.len(),
            "readings": {"sent": self.sum(|a| a.sent), "acknowledged": self.sum(|a| a.acknowledged), "resent": self.sum(|a| a.resent),
                         "duplicates": self.sum(|a| a.duplicates)},
            "windows": {"equal": self.comparison.equal, "different": self.comparison.different.len(), "revisions": self.revisions,
                        "complete": self.comparison.complete, "open": self.comparison.open},
            "faults": faults.collect::<Vec<_>>(),
            "alerts": {"received": self.alerts, "repeated": self.repeated.len(), "others": self.others},
            "uplink": {"bytes": self.uplink(), "raw_bytes": self.sum(|a| a.raw_bytes), "times_fewer": (self.times_fewer() * 10.0).round() / 10.0},
            "gateways": accounts.collect::<Vec<_>>(),
        })
    }

    /// The final text; its last line is the verdict.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write_faults(&mut out);
        for other in &self.others {
            let _ = writeln!(out, "  beside these: {other}");
        }
        let _ = writeln!(out, "\nReadings");
        for a in &self.accounts {
            let _ = writeln!(
                out,
                "  {}  sent {} = acknowledged {} = accepted {} = delivered {} + held {} + shed {}; {} sent again, {} of them known already",
                a.gateway, a.sent, a.acknowledged, a.accepted, a.delivered, a.held, a.shed, a.resent, a.duplicates
            );
        }
        let _ = writeln!(out, "\nUplink");
        let _ = writeln!(
            out,
            "  {} bytes for {} readings; one by one over MQTT QoS 1 they would have taken {}: {:.0} times fewer",
            self.uplink(),
            self.sum(|a| a.sent),
            self.sum(|a| a.raw_bytes),
            self.times_fewer()
        );
        let _ = writeln!(out, "\nWindows");
        let _ = writeln!(
            out,
            "  {} of {} are equal: count, minimum, maximum to the last bit, sum to 1e-9",
            self.comparison.equal,
            self.comparison.equal + self.comparison.different.len(),
        );
        let _ = match self.comparison.open {
            0 => writeln!(out, "  {} are called complete: the cloud knows that nothing of them is missing", self.comparison.complete),
            open => writeln!(
                out,
                "  {} are called complete: the cloud knows that nothing of them is missing; {open} are not over yet",
                self.comparison.complete
            ),
        };
        let _ = writeln!(out, "  {} revisions on the way: late readings, another gateway's part, a long window that grew", self.revisions);
        let _ = writeln!(out, "  {} alerts, {} of them more than once", self.alerts, self.repeated.len());
        let problems = self.problems();
        if problems.is_empty() {
            let _ = writeln!(out, "\nAgreed in {:.0} s: the consumer holds what was sent, through outage and kill -9.", self.seconds);
            return out;
        }
        let _ = writeln!(out, "\nWhat differs");
        for problem in problems.iter().take(SHOWN_MAX) {
            let _ = writeln!(out, "  {problem}");
        }
        let _ = writeln!(out, "\nNOT AGREED: {} differences.", problems.len());
        out
    }

    fn write_faults(&self, out: &mut String) {
        let _ = writeln!(out, "\nFaults, and the alerts that found them: how long after a fault began came the");
        let _ = writeln!(out, "reading that showed it, when was the alert at the gateway's own broker, and when");
        let _ = writeln!(out, "at the cloud's consumer");
        let width = self.faults.iter().map(|(f, _)| f.series.chars().count()).max().unwrap_or(0);
        let _ = writeln!(out, "  {:>7}  {:9}  {:width$}  {:>9} {:>9} {:>9}", "fault", "kind", "series", "reading", "gateway", "consumer");
        let seconds = |ms: i64| format!("{:.3} s", ms as f64 / 1e3);
        for (fault, found) in &self.faults {
            let kind = found.as_ref().map_or(fault.kind, |f| f.kind.as_str());
            let head = format!("  {:5.1} s  {kind:9}  {:width$}", (fault.from_ms + self.zero_ms) as f64 / 1e3, fault.series);
            let _ = match found {
                Some(f) => {
                    let (detected, consumer) = (seconds(f.detected_ms), seconds(f.consumer_ms));
                    let gateway = f.gateway_ms.map_or("not heard".to_owned(), seconds);
                    writeln!(out, "{head}  {detected:>9} {gateway:>9} {consumer:>9}\n           {}", f.message)
                }
                None => writeln!(out, "{head}  NOT FOUND: {}", fault.what),
            };
        }
    }

    fn sum(&self, of: impl Fn(&Account) -> u64) -> u64 {
        self.accounts.iter().map(of).sum()
    }

    fn uplink(&self) -> u64 {
        self.sum(|a| a.uplink_bytes.0 + a.uplink_bytes.1)
    }

    fn times_fewer(&self) -> f64 {
        self.sum(|a| a.raw_bytes) as f64 / self.uplink().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::Plan;
    use std::time::Duration;

    fn good() -> Outcome {
        let found = || Found {
            id: "plant-a/1/2/0".into(),
            kind: "spike".into(),
            message: "m".into(),
            detected_ms: 50,
            gateway_ms: Some(60),
            consumer_ms: 70,
        };
        let account = Account { gateway: "plant-a".into(), sent: 5, acknowledged: 5, accepted: 5, delivered: 5, ..Account::default() };
        Outcome {
            comparison: Comparison { equal: 3, ..Comparison::default() },
            faults: Plan::new(Duration::from_secs(30), 1).faults.into_iter().map(|fault| (fault, Some(found()))).collect(),
            accounts: vec![Account { uplink_bytes: (90, 10), raw_bytes: 1_000, ..account }],
            ..Outcome::default()
        }
    }

    #[test]
    fn a_good_run_agrees_and_says_so_in_its_last_line() {
        let outcome = good();
        assert_eq!(outcome.problems(), Vec::<String>::new());
        assert!(outcome.text().trim_end().lines().last().unwrap().starts_with("Agreed"));
        let json = outcome.json();
        assert_eq!((&json["agrees"], &json["uplink"]["times_fewer"]), (&json!(true), &json!(10.0)));
    }

    #[test]
    fn anything_that_differs_is_a_problem() {
        type Spoil = fn(&mut Outcome);
        let cases: [(&str, Spoil); 12] = [
            ("window w", |o| o.comparison.different.push("w".into())),
            ("window w is over", |o| o.comparison.incomplete.push("w".into())),
            ("no window at all", |o| o.comparison.equal = 0),
            ("no flatline alert", |o| o.faults[0].1 = None),
            ("alert x came more than once", |o| o.repeated.push("x".into())),
            ("not as the contract says: y", |o| o.strange.push("y".into())),
            ("acknowledged 4 of 5", |o| o.accounts[0].acknowledged = 4),
            ("accepted 6 readings, and its machines sent 5", |o| {
                (o.accounts[0].accepted, o.accounts[0].delivered) = (6, 6);
            }),
            ("does not balance", |o| o.accounts[0].delivered = 4),
            ("still holds 1", |o| (o.accounts[0].delivered, o.accounts[0].held) = (4, 1)),
            ("still holds 0, shed 1", |o| (o.accounts[0].delivered, o.accounts[0].shed) = (4, 1)),
            ("z", |o| o.ends.push("z".into())),
        ];
        for (expected, spoil) in cases {
            let mut outcome = good();
            spoil(&mut outcome);
            let problems = outcome.problems();
            assert!(problems.len() == 1 && problems[0].contains(expected), "{expected}: {problems:?}");
            assert!(outcome.text().trim_end().lines().last().unwrap().starts_with("NOT AGREED: 1"));
            assert_eq!(outcome.json()["agrees"], json!(false));
        }
    }
}
