//! Alarms as people and programs read and write them: topics, JSON, and what may be asked
//! (contract §6); the same at the gateway and at the cloud.

#[cfg(test)]
mod tests;

use crate::alert::{contributors, number};
pub use detect::alarm::board::PENDING_MAX;
use detect::alarm::board::SHELF_MS_MAX;
pub use detect::alarm::{Alarm, Board, Figures, Name, SHOWN};
use detect::alarm::{CHATTERS, HELD, LATCHES, Request, Standing, Verb};
use schemas::limits::{REASON_BYTES_MAX, WHO_BYTES_MAX};
use schemas::message::Act;
use serde::Deserialize;
use serde_json::{Value, json};

/// Names of severities, by the number on the wire.
pub const PRIORITIES: [&str; 3] = ["critical", "warning", "info"];

/// Where an alarm's present state is retained.
pub fn topic(gateway: &str, (series, kind): &Name) -> String {
    format!("alarms/{gateway}/{series}/{kind}")
}

/// Where a gateway's figures are retained: a series and a kind make two levels more at least,
/// so it is no alarm's topic.
pub fn kpi_topic(gateway: &str) -> String {
    format!("alarms/{gateway}/kpi")
}

/// What is retained of an alarm: its JSON, or nothing when it is in peace.
pub fn retained(gateway: &str, board: &Board, name: &Name, clock_ms: i64) -> String {
    match board.get(&name.0, &name.1) {
        Some(alarm) if alarm.standing(clock_ms) != Standing::Normal => json(gateway, board, name, alarm, clock_ms).to_string(),
        _ => String::new(),
    }
}

/// An alarm's present state.
pub fn json(gateway: &str, board: &Board, name: &Name, alarm: &Alarm, clock_ms: i64) -> Value {
    let (standing, acts) = (alarm.standing(clock_ms), alarm.acts());
    let mut body = json!({
        "gateway": gateway, "series": name.0, "kind": name.1, "state": standing.as_str(), "since": alarm.since_ms(clock_ms),
        "active": alarm.is_active(), "acknowledged": alarm.is_acknowledged(),
        "count_day": alarm.hours.sum(clock_ms), "fleeting": alarm.fleeting, "held": alarm.held,
    });
    let mut put = |key: &str, value: Value| body[key] = value;
    let id = |(boot, seq, ordinal): (u64, u64, u32)| Value::from(format!("{gateway}/{boot:016x}/{seq}/{ordinal}"));
    // What happened stays to be read once it is over: an end says that all is well again.
    if let Some(told) = alarm.raised.as_ref().or(alarm.cleared.as_ref()) {
        put("value", number(told.value).into());
        put("message", told.message.clone().into());
    }
    if let Some(newest) = alarm.newest() {
        put("chattering", (newest.note.flags & CHATTERS != 0).into());
        put("latches", (newest.note.flags & LATCHES != 0).into());
        put("count", newest.note.count.into());
    }
    if let Some(raised) = &alarm.raised {
        put("priority", PRIORITIES[usize::from(raised.severity.min(2))].into());
        put("raised", raised.time_ms.into());
        put("id", id(raised.id()));
        for (key, told) in [("limit", raised.limit), ("score", raised.score), ("baseline", raised.baseline)] {
            if let Some(told) = told.filter(|told| !told.is_nan()) {
                put(key, number(told).into());
            }
        }
        if let Some(contributors) = contributors(&raised.contributors) {
            put("contributors", contributors);
        }
        if let Some(unit) = &raised.unit {
            put("unit", unit.clone().into());
        }
        let consequences = board.consequences(name);
        let first = alarm.follows().or_else(|| alarm.leads_as().filter(|_| consequences > 0));
        if let Some(first) = first {
            put("group", id(first));
            put("first", alarm.follows().is_none().into());
            put("consequences", consequences.into());
            if let Some((series, kind)) = alarm.follows().and_then(|first| board.leader(&name.0, &name.1, first)) {
                put("follows", format!("{series}/{kind}").into());
            }
        }
    }
    if let Some(cleared) = alarm.cleared.as_ref().filter(|_| !alarm.is_active()) {
        put("cleared", cleared.time_ms.into());
        put("cleared_value", number(cleared.value).into());
        put("cleared_message", cleared.message.clone().into());
    }
    let mut tell = |what: &str, act: Option<&Act>| {
        if let Some(act) = act {
            put(&format!("{what}_by"), act.by.clone().into());
            put(&format!("{what}_at"), act.time_ms.into());
            if !act.reason.is_empty() {
                put(&format!("{what}_reason"), act.reason.clone().into());
            }
        }
    };
    tell("acknowledged", acts.acknowledged.as_ref().filter(|_| alarm.is_acknowledged()));
    let shelf = acts.shelf.as_ref().filter(|_| acts.shelved_until().is_some_and(|until| until > clock_ms));
    tell("shelved", shelf);
    tell("out_of_service", acts.service.as_ref().filter(|_| acts.is_out_of_service()));
    tell("suppressed", acts.design.as_ref().filter(|_| acts.is_suppressed()));
    if let Some(shelf) = shelf {
        put("shelved_until", shelf.until_ms.into());
    }
    if !alarm.pending.is_empty() {
        put("pending", alarm.pending.len().into());
    }
    body
}

/// A gateway's figures.
pub fn kpi_json(gateway: &str, figures: &Figures) -> Value {
    let name = |(series, kind): &Name| json!({ "series": series, "kind": kind });
    let held = figures.held.iter().map(|(why, count)| (HELD.get(usize::from(*why)).unwrap_or(&"other"), *count));
    let held = held.fold(serde_json::Map::new(), |mut held, (why, count)| {
        held.insert((*why).to_owned(), count.into());
        held
    });
    let top = figures.top.iter().map(|(alarm, count)| {
        let mut top = name(alarm);
        top["count"] = (*count).into();
        top
    });
    json!({
        "gateway": gateway, "average_per_10min": figures.average, "base_s": figures.base_ms / 1_000, "peak_per_10min": figures.peak, "raised_day": figures.raised,
        "raised": figures.total, "in_flood": figures.in_flood, "floods_day": figures.floods, "flood_s": figures.flood_ms / 1_000,
        "flood_share": figures.flood_share, "states": figures.standing, "active": figures.active,
        "stale": figures.stale.iter().map(name).collect::<Vec<_>>(), "top": top.collect::<Vec<_>>(),
        "chattering": figures.chattering.iter().map(name).collect::<Vec<_>>(), "held": held, "refused": figures.refused,
    })
}

/// Figures of a role for `/metrics`, over its gateways: name, kind, help, value.
pub fn metrics<'a>(figures: impl Iterator<Item = &'a Figures>) -> Vec<(&'static str, &'static str, &'static str, f64)> {
    let mut sums = [0.0; 9];
    for f in figures {
        let state = |name: &str| f.standing.get(name).copied().unwrap_or(0) as f64;
        let held = f.held.values().sum::<u64>() as f64;
        let one = [
            f.active as f64,
            state("unacknowledged"),
            state("shelved"),
            f.stale.len() as f64,
            f.chattering.len() as f64,
            f64::from(u8::from(f.in_flood)),
            f.average,
            f.total as f64,
            held,
        ];
        sums.iter_mut().zip(one).for_each(|(sum, value)| *sum += value);
    }
    let names = [
        ("alarms_active", "gauge", "Alarms whose condition lasts."),
        ("alarms_unacknowledged", "gauge", "Active alarms that nobody has acknowledged."),
        ("alarms_shelved", "gauge", "Alarms put aside for a time."),
        ("alarms_stale", "gauge", "Alarms active for more than a day and not put aside."),
        ("alarms_chattering", "gauge", "Alarms that chattered when they were raised last, in the last day."),
        ("alarm_floods", "gauge", "Gateways with a flood of alarms."),
        ("alarms_per_10min", "gauge", "Alarms raised that people were told of in ten minutes, on average over the last day."),
        ("alarms_raised_total", "counter", "Alarms raised that people were told of."),
        ("alerts_held_total", "counter", "Alerts that were not shown: flood, shelved, out of service, suppressed."),
    ];
    names.into_iter().zip(sums).map(|((name, kind, help), value)| (name, kind, help, value)).collect()
}

/// Figures of gateways for `/metrics` that are no sums: name, kind, help, label, and a value for each.
pub fn metrics_by<'a>(figures: impl Iterator<Item = (&'a str, &'a Figures)>) -> Vec<LabelledFigure> {
    let (mut peak, mut flood, mut top) = (Vec::new(), Vec::new(), Vec::new());
    for (gateway, of) in figures {
        peak.push((gateway.to_owned(), of.peak as f64));
        flood.push((gateway.to_owned(), of.flood_ms as f64 / 1_000.0));
        top.extend(of.top.iter().map(|((series, kind), count)| (format!("{gateway}/{series}/{kind}"), *count as f64)));
    }
    vec![
        ("alarms_peak_per_10min", "gauge", "Most alarms raised in one slot of ten minutes, in the last day.", "gateway", peak),
        ("alarm_flood_seconds", "gauge", "Time in flood in the last day.", "gateway", flood),
        ("alarms_most_frequent", "gauge", "How often the ten most frequent alarms were raised in the last day.", "alarm", top),
    ]
}

/// A figure by a label: name, kind, help, label, values.
pub type LabelledFigure = (&'static str, &'static str, &'static str, &'static str, Vec<(String, f64)>);

/// Which alarms a list is of.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// A state by its name, or `all`, with those in peace; without one, all that are not.
    pub state: Option<String>,
    /// `critical`, `warning` or `info`.
    pub priority: Option<String>,
    /// A gateway.
    pub gateway: Option<String>,
    /// Only series that begin so.
    pub series: Option<String>,
}

impl Filter {
    /// Whether it can be followed.
    ///
    /// # Errors
    /// A sentence that says what may be written.
    pub fn check(&self) -> Result<(), String> {
        let states: Vec<&str> = Standing::ALL.into_iter().map(Standing::as_str).collect();
        if let Some(state) = self.state.as_deref().filter(|state| *state != "all" && !states.contains(state)) {
            return Err(format!("state {state:?} is not one of all, {}", states.join(", ")));
        }
        match self.priority.as_deref().filter(|priority| !PRIORITIES.contains(priority)) {
            Some(priority) => Err(format!("priority {priority:?} is not one of {}", PRIORITIES.join(", "))),
            None => Ok(()),
        }
    }

    /// Alarms of a gateway that it lets through, in the order of their names.
    pub fn list(&self, gateway: &str, board: &Board, clock_ms: i64, out: &mut Vec<Value>) {
        if self.gateway.as_deref().is_some_and(|wanted| wanted != gateway) {
            return;
        }
        for (name, alarm) in board.iter().filter(|(name, _)| self.series.as_ref().is_none_or(|prefix| name.0.starts_with(prefix.as_str())))
        {
            let standing = alarm.standing(clock_ms);
            let state = match self.state.as_deref() {
                None => standing != Standing::Normal,
                Some("all") => true,
                Some(wanted) => standing.as_str() == wanted,
            };
            let priority = alarm.raised.as_ref().and_then(|raised| PRIORITIES.get(usize::from(raised.severity)));
            if state && self.priority.as_deref().is_none_or(|wanted| priority.is_some_and(|priority| *priority == wanted)) {
                out.push(json(gateway, board, name, alarm, clock_ms));
            }
        }
    }
}

/// What a path or topic behind `alarms/` names.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The gateway.
    pub gateway: &'a str,
    /// The alarm's series, with its slashes.
    pub series: &'a str,
    /// The alarm's kind.
    pub kind: &'a str,
    /// What is asked for.
    pub verb: Verb,
}

impl<'a> Target<'a> {
    /// From `{gateway}/{series}/{kind}/{verb}`; none when it is nothing of the sort, such as an
    /// alarm's own topic.
    pub fn of(path: &'a str) -> Option<Self> {
        let (gateway, rest) = path.split_once('/')?;
        let (rest, verb) = rest.rsplit_once('/')?;
        let (series, kind) = rest.rsplit_once('/')?;
        let whole = !gateway.is_empty() && !series.is_empty() && !kind.is_empty();
        Verb::named(verb).filter(|_| whole).map(|verb| Self { gateway, series, kind, verb })
    }

    /// As the log keeps it.
    pub fn request(&'a self, id: u64, body: &'a Body) -> Request<'a> {
        let Self { series, kind, verb, .. } = *self;
        Request { id, verb, series, kind, by: &body.by, reason: &body.reason, for_ms: body.for_ms }
    }
}

/// What somebody writes who asks for something.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// For how long to shelve, in ms; 0 for other verbs.
    pub for_ms: i64,
}

/// How a body is written.
const HOW: &str = r#"{"by":"name","for":"30m","reason":"…"}"#;

/// What is wrong with a body; each says how to write it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is no JSON.
    #[error("the body is no JSON: {0}; write {HOW}")]
    Malformed(String),
    /// It says something else than it should.
    #[error("{0}")]
    Wrong(String),
}

/// Why a request that names an alarm and says something is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The path names no alarm and verb.
    #[error("write {{gateway}}/{{series}}/{{kind}}/ack|shelve|unshelve|out-of-service|return")]
    Nowhere,
    /// Its body.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl RequestError {
    /// As HTTP says it (contract §6).
    pub fn http_status(&self) -> u16 {
        match self {
            RequestError::Nowhere => 404,
            RequestError::Body(BodyError::Malformed(_)) => 400,
            RequestError::Body(BodyError::Wrong(_)) => 422,
        }
    }
}

/// The body of a request to `path`; `duration` reads such as `30m` to ms.
///
/// # Errors
/// What is wrong with path or body.
pub fn request(path: &str, bytes: &[u8], duration: impl Fn(&str) -> Result<i64, String>) -> Result<Body, RequestError> {
    let target = Target::of(path).ok_or(RequestError::Nowhere)?;
    Ok(Body::parse(target.verb, bytes, duration)?)
}

/// That there is no such alarm, and where to look.
pub fn unknown(path: &str) -> String {
    format!("there is no alarm {path}; GET /api/v1/alarms?state=all lists those that are known")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    by: Option<String>,
    #[serde(rename = "for")]
    for_: Option<String>,
    reason: Option<String>,
}

impl Body {
    /// From JSON; `duration` reads such as `30m` to ms.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(verb: Verb, bytes: &[u8], duration: impl Fn(&str) -> Result<i64, String>) -> Result<Self, BodyError> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| BodyError::Malformed(error.to_string()))?;
        let wrong = |text: String| Err(BodyError::Wrong(text));
        if !value.is_object() {
            return wrong(format!("the body is no JSON object; write {HOW}"));
        }
        let raw: Raw = serde_json::from_value(value).map_err(|error| BodyError::Wrong(error.to_string()))?;
        let by = raw.by.unwrap_or_default();
        if by.trim().is_empty() || by.len() > WHO_BYTES_MAX {
            return wrong(format!("\"by\" says who; write 1 to {WHO_BYTES_MAX} bytes"));
        }
        let reason = raw.reason.unwrap_or_default();
        if reason.len() > REASON_BYTES_MAX {
            return wrong(format!("\"reason\" has {} bytes; write at most {REASON_BYTES_MAX}", reason.len()));
        }
        // Terminals would obey them, and a line would look like another alarm's.
        if let Some((key, _)) = [("by", &by), ("reason", &reason)].into_iter().find(|(_, text)| text.chars().any(char::is_control)) {
            return wrong(format!("\"{key}\" has control characters; write one line of text"));
        }
        let for_ms = match (verb, raw.for_) {
            (Verb::Shelve, None) => return wrong("\"for\" says for how long to shelve; write such as \"30m\"".to_owned()),
            (Verb::Shelve, Some(text)) => match duration(&text) {
                Err(error) => return wrong(format!("\"for\": {error}")),
                Ok(ms) if !(1_000..=SHELF_MS_MAX).contains(&ms) => {
                    return wrong(format!("\"for\": \"{text}\" is out of range; shelve for 1s to 30d, or take it out of service"));
                }
                Ok(ms) => ms,
            },
            (_, Some(_)) => return wrong(format!("\"for\" is for shelve alone, not for {}", verb.as_str())),
            (_, None) => 0,
        };
        Ok(Self { by, reason, for_ms })
    }
}
