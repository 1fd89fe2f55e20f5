//! `tidegate alarms`: the alarms of a running gateway or bridge and the standard's figures, and
//! what people do about them. `text.rs` is the page that a person reads.

mod text;

use crate::outcome::{Failure, print};
use crate::web::{encoded, host_of, request};
use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

/// States in which an alarm waits for somebody to say that they know.
const UNSEEN: [&str; 3] = ["unacknowledged", "returned", "latched"];

/// `--url http://H:P [--state S] [--priority P] [--gateway G] [--series S] [--json] [ack|shelve|unshelve|out-of-service|return ALARM …]`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The role's HTTP address; run.json in its data dir names it.
    #[arg(long, value_name = "http://HOST:PORT", global = true)]
    url: Option<String>,

    /// Print JSON: the list of alarms, or the alarm after what was done.
    #[arg(long, global = true)]
    json: bool,

    /// With those in peace, too: the same as --state all.
    #[arg(long, conflicts_with = "state")]
    all: bool,

    #[command(flatten)]
    which: Which,

    #[command(subcommand)]
    act: Option<Act>,
}

/// Which alarms.
#[derive(Debug, Default, clap::Args)]
struct Which {
    /// Only those that stand so: unacknowledged, acknowledged, returned, latched, shelved, suppressed, out-of-service, normal.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,

    /// Only critical, warning or info ones.
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<String>,

    /// Only those of a gateway.
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,

    /// Only those of series that begin so.
    #[arg(long, value_name = "PREFIX")]
    series: Option<String>,
}

impl Which {
    /// What is asked of the role; `state` stands in for one that was not named.
    fn path(&self, state: Option<&str>) -> String {
        let state = self.state.as_deref().or(state);
        let keys = [("state", state), ("priority", self.priority.as_deref()), ("gateway", self.gateway.as_deref())];
        let keys = keys.into_iter().chain([("series", self.series.as_deref())]);
        let query = keys.filter_map(|(key, value)| value.map(|value| format!("{key}={}", encoded(value)))).collect::<Vec<_>>();
        if query.is_empty() { "/api/v1/alarms".to_owned() } else { format!("/api/v1/alarms?{}", query.join("&")) }
    }
}

/// What `ack` takes: one alarm, or all that wait for it.
#[derive(Debug, clap::Args)]
struct Acknowledged {
    /// GATEWAY/SERIES/KIND, such as plant-a/line1/press3/temperature/high-high.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    alarm: Option<String>,

    /// All that nobody has acknowledged and that the filters let through.
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    which: Which,

    /// Who does it.
    #[arg(long, value_name = "NAME")]
    by: String,

    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Who does what to which alarm, and why.
#[derive(Debug, clap::Args)]
struct What {
    /// GATEWAY/SERIES/KIND, such as plant-a/line1/press3/temperature/high-high.
    alarm: String,

    /// Who does it.
    #[arg(long, value_name = "NAME")]
    by: String,

    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

impl What {
    fn parts(&self) -> (&str, &String, &String) {
        (&self.alarm, &self.by, &self.reason)
    }
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Acknowledge: you know.
    Ack(Acknowledged),
    /// Put aside for a time: its alerts are not shown.
    Shelve {
        #[command(flatten)]
        what: What,
        /// For how long, such as 30m.
        #[arg(long = "for", value_name = "DURATION")]
        long: String,
    },
    /// Take off the shelf before its time.
    Unshelve(What),
    /// Take out of service until it is returned.
    OutOfService(What),
    /// Return to service.
    Return(What),
}

/// Lists the alarms, or does something to one.
///
/// # Errors
/// [`Failure::Usage`] for a command line that cannot be, [`Failure::Running`] when the role does
/// not answer well, or does not do it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let url = arguments.url.as_deref().ok_or_else(|| Failure::Usage(anyhow!("--url is missing; write --url http://HOST:PORT")))?;
    let host = host_of(url).map_err(Failure::Usage)?;
    match &arguments.act {
        None => list(&host, arguments),
        Some(Act::Ack(what)) if what.all => acknowledge(&host, what, arguments.json),
        Some(act) => done(&host, act, arguments.json),
    }
}

fn ask(host: &str, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
    let answer = request(host, method, path, body).with_context(|| format!("no answer from {host}"))?;
    let json = serde_json::from_slice::<Value>(&answer.body);
    if answer.code != 200 {
        let why = json.as_ref().ok().and_then(|json| json["error"].as_str()).map(str::to_owned);
        let why = why.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).trim().to_owned());
        return Err(anyhow!("it answered {}: {why}", answer.code));
    }
    json.with_context(|| format!("the answer of {host} is no JSON"))
}

fn list(host: &str, arguments: &Arguments) -> Result<(), Failure> {
    let alarms = ask(host, "GET", &arguments.which.path(arguments.all.then_some("all")), "")?;
    if arguments.json {
        return print(&serde_json::to_string_pretty(&alarms).map_err(anyhow::Error::from)?);
    }
    let figures = ask(host, "GET", "/api/v1/alarms/kpi", "")?;
    let status = ask(host, "GET", "/api/v1/status", "")?;
    let gateway = arguments.which.gateway.as_deref();
    print(text::page(&alarms, &figures, &status, gateway).trim_end())
}

/// Acknowledges all that nobody has; what fails is told at the end, the others are done.
fn acknowledge(host: &str, what: &Acknowledged, as_json: bool) -> Result<(), Failure> {
    let mut done = Vec::new();
    let mut failed = None;
    let states: &[Option<&str>] = if what.which.state.is_some() { &[None] } else { &UNSEEN.map(Some) };
    for state in states {
        let alarms = ask(host, "GET", &what.which.path(*state), "")?;
        for alarm in alarms.as_array().into_iter().flatten() {
            let path = format!("/api/v1/alarms/{}/ack", encoded(&text::name(alarm)));
            match ask(host, "POST", &path, &json!({ "by": what.by, "reason": what.reason }).to_string()) {
                Ok(alarm) => done.push(alarm),
                Err(error) => failed = Some(error.context(text::name(alarm))),
            }
        }
    }
    match as_json {
        true => print(&serde_json::to_string_pretty(&done).map_err(anyhow::Error::from)?)?,
        false => print(format!("{}acknowledged {}", text::lines(&done), done.len()).trim_end())?,
    }
    failed.map_or(Ok(()), |error| Err(Failure::Running(error)))
}

fn done(host: &str, act: &Act, as_json: bool) -> Result<(), Failure> {
    let (verb, what, long) = match act {
        Act::Ack(Acknowledged { alarm, by, reason, .. }) => ("ack", (alarm.as_deref().unwrap_or_default(), by, reason), None),
        Act::Shelve { what, long } => ("shelve", what.parts(), Some(long)),
        Act::Unshelve(what) => ("unshelve", what.parts(), None),
        Act::OutOfService(what) => ("out-of-service", what.parts(), None),
        Act::Return(what) => ("return", what.parts(), None),
    };
    let (alarm, by, reason) = what;
    let mut body = json!({ "by": by, "reason": reason });
    if let Some(long) = long {
        body["for"] = long.as_str().into();
    }
    let path = format!("/api/v1/alarms/{}/{verb}", encoded(alarm));
    let alarm = ask(host, "POST", &path, &body.to_string())?;
    match as_json {
        true => print(&serde_json::to_string_pretty(&alarm).map_err(anyhow::Error::from)?),
        false => print(text::lines(&[alarm]).trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_asked_of_the_role() {
        let which = Which { state: None, priority: Some("critical".into()), gateway: None, series: Some("line1/a b&c".into()) };
        assert_eq!(which.path(None), "/api/v1/alarms?priority=critical&series=line1/a%20b%26c");
        assert_eq!(which.path(Some("all")), "/api/v1/alarms?state=all&priority=critical&series=line1/a%20b%26c");
        assert_eq!(Which::default().path(None), "/api/v1/alarms");
    }
}
