//! `tidegate alarms`: the alarms of a running gateway or bridge and the standard's figures, and
//! what people do about them. `text.rs` is the page that a person reads.

mod text;

use crate::outcome::{Failure, print};
use crate::web::{encoded, host_of, request};
use crate::words;
use anyhow::{Context as _, anyhow};
use detect::alarm::board::SHELF_MS_MAX;
use replica::alarm::{Filter, Target};
use serde_json::{Value, json};

/// Requests under way at once: one commit of the log takes all that wait for it, and of a role's 128
/// places most stay for others.
const TOGETHER: usize = 32;

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
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<String>,

    /// Only critical, warning or info ones.
    #[arg(long, value_name = "PRIORITY", value_parser = priority)]
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

fn state(text: &str) -> Result<String, String> {
    Filter { state: Some(text.to_owned()), ..Filter::default() }.check().map(|()| text.to_owned())
}

fn priority(text: &str) -> Result<String, String> {
    Filter { priority: Some(text.to_owned()), ..Filter::default() }.check().map(|()| text.to_owned())
}

/// An alarm's name has three parts at least.
fn named(text: &str) -> Result<String, String> {
    let is_one = Target::of(&format!("{text}/ack")).is_some();
    is_one.then(|| text.to_owned()).ok_or_else(|| "write GATEWAY/SERIES/KIND, as `tidegate alarms` lists them".to_owned())
}

fn shelf(text: &str) -> Result<String, String> {
    match settings::unit::duration_ms(text)? {
        1_000..=SHELF_MS_MAX => Ok(text.to_owned()),
        _ => Err("write 1s to 30d, or take it out of service".to_owned()),
    }
}

/// What `ack` takes: one alarm, or all that wait for it.
#[derive(Debug, clap::Args)]
struct Acknowledged {
    /// GATEWAY/SERIES/KIND, such as plant-a/line1/press3/temperature/high-high.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_parser = named)]
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
    #[arg(value_parser = named)]
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
        #[arg(long = "for", value_name = "DURATION", value_parser = shelf)]
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

fn ask(host: &str, method: &str, path: &str, body: &str) -> Result<Value, Failure> {
    let answer = request(host, method, path, body).with_context(|| format!("no answer from {host}"))?;
    let json = serde_json::from_slice::<Value>(&answer.body);
    if answer.code != 200 {
        let why = json.as_ref().ok().and_then(|json| json["error"].as_str()).map(str::to_owned);
        let why = why.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).trim().to_owned());
        let error = anyhow!("it answered {}: {}", answer.code, words::harmless(&why));
        // What was asked for cannot be, whoever is asked.
        return Err(if matches!(answer.code, 400 | 422) { Failure::Usage(error) } else { Failure::Running(error) });
    }
    Ok(json.with_context(|| format!("the answer of {host} is no JSON"))?)
}

/// What each gives, in the same order, some of them at a time.
fn each<T: Sync, R: Send>(items: &[T], does: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (share, does) = (items.len().div_ceil(TOGETHER).max(1), &does);
    std::thread::scope(|scope| {
        let shares = items.chunks(share).map(|share| scope.spawn(move || share.iter().map(does).collect::<Vec<_>>()));
        let shares = shares.collect::<Vec<_>>();
        shares.into_iter().flat_map(|share| share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn list(host: &str, arguments: &Arguments) -> Result<(), Failure> {
    let alarms = ask(host, "GET", &arguments.which.path(arguments.all.then_some("all")), "")?;
    if arguments.json {
        return print(&serde_json::to_string_pretty(&alarms).map_err(anyhow::Error::from)?);
    }
    let figures = ask(host, "GET", "/api/v1/alarms/kpi", "")?;
    let status = ask(host, "GET", "/api/v1/status", "")?;
    let gateway = arguments.which.gateway.as_deref();
    let [alarms, figures, status] = [alarms, figures, status].map(words::harmless_json);
    print(text::page(&alarms, &figures, &status, gateway).trim_end())
}

/// Acknowledges all that nobody has; what fails is told at the end, the others are done.
fn acknowledge(host: &str, what: &Acknowledged, as_json: bool) -> Result<(), Failure> {
    let mut done = Vec::new();
    let mut failed = None;
    let states: &[Option<&str>] = if what.which.state.is_some() { &[None] } else { &UNSEEN.map(Some) };
    for state in states {
        let alarms = ask(host, "GET", &what.which.path(*state), "")?;
        let names = alarms.as_array().into_iter().flatten().map(text::name).collect::<Vec<_>>();
        let body = json!({ "by": what.by, "reason": what.reason }).to_string();
        let answers = each(&names, |name| ask(host, "POST", &format!("/api/v1/alarms/{}/ack", encoded(name)), &body));
        for (name, answer) in names.into_iter().zip(answers) {
            match answer {
                Ok(alarm) => done.push(alarm),
                Err(Failure::Usage(error)) => failed = Some(Failure::Usage(error.context(name))),
                Err(Failure::Running(error)) => failed = Some(Failure::Running(error.context(name))),
                Err(Failure::OutputClosed) => {}
            }
        }
    }
    match as_json {
        true => print(&serde_json::to_string_pretty(&done).map_err(anyhow::Error::from)?)?,
        false => {
            let count = done.len();
            let done = done.into_iter().map(words::harmless_json).collect::<Vec<_>>();
            print(format!("{}acknowledged {count}", text::lines(&done)).trim_end())?;
        }
    }
    failed.map_or(Ok(()), Err)
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
        false => print(text::lines(&[words::harmless_json(alarm)]).trim_end()),
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

    #[test]
    fn what_cannot_be_is_a_wrong_command_line() {
        assert!(["all", "shelved"].into_iter().all(|text| state(text).is_ok()) && state("nonsense").is_err());
        assert!(priority("critical").is_ok() && priority("high").is_err());
        assert!(shelf("30m").is_ok() && ["5", "0s", "31d", "soon"].into_iter().all(|text| shelf(text).is_err()));
        assert!(named("g/a/b/high").is_ok() && ["high", "g/high", "g//high", ""].into_iter().all(|text| named(text).is_err()));
    }

    #[test]
    fn all_are_asked_and_answered_in_order() {
        for count in [0, 1, 31, 33, 1_000] {
            let items = (0..count).collect::<Vec<usize>>();
            assert_eq!(each(&items, |item| 2 * item), items.iter().map(|item| 2 * item).collect::<Vec<_>>());
        }
    }
}
