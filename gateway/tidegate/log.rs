//! `tidegate log`: reads the durable log, also beside a running process: no lock, nothing changed.

use crate::history::open;
use crate::outcome::{Failure, print};
use crate::words;
use anyhow::anyhow;
use journal::{Frame, parts, snapshot};
use replica::record::{FLAG_LEAVES, Record, SessionEvent};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A running process frees old segments while we look; so often is the list read again.
const ATTEMPTS: usize = 5;

/// `show | verify | stat`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print the records, oldest first; 1 when something is damaged.
    Show {
        #[command(flatten)]
        at: At,
        /// Begin with this record.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        from: u64,
        /// Print at most so many records.
        #[arg(long, value_name = "NUMBER", default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
    },
    /// Check every checksum and decode every record; 1 when something is damaged.
    Verify {
        #[command(flatten)]
        at: At,
    },
    /// Print sizes, ranges and how many records there are of each kind; 1 when something is damaged.
    Stat {
        #[command(flatten)]
        at: At,
    },
}

/// `--data-dir DIR [--json]`
#[derive(Debug, clap::Args)]
pub struct At {
    /// The data dir of a gateway or of a cloud bridge.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Print JSON, for `show` one object per line.
    #[arg(long)]
    json: bool,
}

/// Reads the log.
///
/// # Errors
/// [`Failure::Running`] when it cannot be read, or when `verify` finds damage.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show { at, from, limit } => show(at, *from, *limit),
        Command::Verify { at } => verify(at),
        Command::Stat { at } => stat(at),
    }
}

/// What the records before the present one said: the clock, and the series' names.
#[derive(Default)]
struct Context {
    /// The logged clock; none where the records that would tell it are freed already.
    clock_ms: Option<i64>,
    series: HashMap<u32, String>,
}

impl Context {
    fn of(first: u64) -> Self {
        Self { clock_ms: (first == 1).then_some(0), series: HashMap::new() }
    }

    fn advance(&mut self, advance_ms: u64, record: &Record<'_>) {
        let advance_ms = i64::try_from(advance_ms).unwrap_or(i64::MAX);
        self.clock_ms = self.clock_ms.map(|clock| clock.saturating_add(advance_ms));
        if let Record::Series { number, name, .. } = record {
            self.series.insert(*number, (*name).to_owned());
        }
    }
}

fn show(at: &At, from: u64, limit: u64) -> Result<(), Failure> {
    let reader = open(&at.data_dir)?;
    let mut context = None::<Context>;
    let mut left = limit;
    let mut damage = 0;
    let mut ended = Ok(());
    let seen = reader.frames(|frame| {
        let context = context.get_or_insert_with(|| Context::of(frame.first));
        for (number, kind, payload) in frame.records() {
            if left == 0 {
                return ControlFlow::Break(());
            }
            let shown = match Record::decode(kind, payload) {
                Ok((advance_ms, record)) => {
                    context.advance(advance_ms, &record);
                    if number < from {
                        continue;
                    }
                    describe(number, advance_ms, &record, context)
                }
                Err(error) => {
                    damage += 1;
                    if number < from {
                        continue;
                    }
                    Map::from_iter([
                        ("record".to_owned(), json!(number)),
                        ("kind".to_owned(), json!(kind)),
                        ("error".to_owned(), json!(error.to_string())),
                    ])
                }
            };
            left -= 1;
            let line = if at.json { Value::Object(shown).to_string() } else { text(&shown) };
            if let Err(failure) = print(&line) {
                ended = Err(failure);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    ended?;
    let found = seen.map_err(anyhow::Error::from)?.damage;
    for damage in &found {
        tracing::warn!("{damage}");
    }
    whole(&at.data_dir, damage + found.len())
}

/// Damage that was met fails whoever read the log, after all that could be read.
fn whole(data_dir: &Path, damage: usize) -> Result<(), Failure> {
    match damage {
        0 => Ok(()),
        _ => Err(Failure::Running(anyhow!(
            "the log in {} is damaged in {damage} places; `tidegate log verify` lists them",
            data_dir.display()
        ))),
    }
}

/// One record as fields.
fn describe(number: u64, advance_ms: u64, record: &Record<'_>, context: &Context) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    put("record", json!(number));
    match context.clock_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(time) => put("time", json!(time.to_string())),
        None => put("after_ms", json!(advance_ms)),
    }
    put("kind", json!(kind_of(record)));
    let hex = |boot: u64| json!(format!("{boot:016x}"));
    match record {
        Record::Tick | Record::Round | Record::Away { leapt_ms: 0 } => {}
        Record::Away { leapt_ms } => put("leapt_ms", json!(leapt_ms)),
        Record::ClockSet { behind_ms } => put("behind_ms", json!(behind_ms)),
        Record::Boot { boot, parent, .. } => {
            put("boot", hex(*boot));
            if let Some((parent, end)) = parent {
                put("parent", hex(*parent));
                put("parent_end", json!(end));
            }
        }
        Record::Series { number, name, unit } => {
            put("number", json!(number));
            put("series", json!(name));
            put("unit", json!(unit));
        }
        Record::Unit { number, unit } => {
            put("series", series(*number, context));
            put("unit", json!(unit));
        }
        Record::Message { flags, session, packet_id, readings } => {
            put("session", json!(session));
            put("packet_id", json!(packet_id));
            put("leaves", json!(flags & FLAG_LEAVES != 0));
            let mut list = Vec::new();
            // Without the clock, times are known only relative to it.
            let clock = context.clock_ms;
            let done = readings.for_each(clock.unwrap_or(0), |number, time, value| {
                let at = if clock.is_some() { "time" } else { "offset_ms" };
                list.push(json!({"series": series(number, context), at: time, "value": value}));
            });
            put("readings", Value::Array(list));
            if let Err(error) = done {
                put("error", json!(error.to_string()));
            }
        }
        Record::Shed { boot, version } => {
            put("boot", hex(*boot));
            put("version", json!(version));
        }
        Record::Offered { boot, born } | Record::Unnamed { boot, born } => {
            put("boot", hex(*boot));
            put("born", json!(born));
        }
        Record::Told { boot, cloud_boot, pages } => {
            put("boot", hex(*boot));
            put("cloud", hex(*cloud_boot));
            put("pages", json!(pages.list().unwrap_or_default()));
        }
        Record::Lost { page } => put("page", json!(page)),
        Record::Duplicate { session, count, packet_id } => {
            put("session", json!(session));
            put("packet_id", json!(packet_id));
            put("values", json!(count));
        }
        Record::Refused { reason, count } => {
            put("reason", json!(reason.as_str()));
            put("messages", json!(count));
        }
        Record::Quarantined { refusal, reason, topic, payload, session, packet_id } => {
            put("counted", json!(refusal.as_str()));
            put("session", json!(session));
            put("packet_id", json!(packet_id));
            put("topic", json!(topic));
            put("reason", json!(reason));
            put("payload", json!(payload.escape_ascii().to_string()));
        }
        Record::Session { number, event } => {
            put("session", json!(number));
            describe_event(event, &mut put);
        }
        Record::Forked { boot, at, readings } => {
            put("boot", hex(*boot));
            put("at", json!(at));
            put("readings", json!(readings));
        }
        Record::Acked { boot, applied, cloud_boot, shed, readings, hash } => {
            put("boot", hex(*boot));
            put("applied", json!(applied));
            put("cloud_boot", hex(*cloud_boot));
            put("shed", json!(shed));
            put("readings", json!(readings));
            if *hash != 0 {
                put("hash", hex(*hash));
            }
        }
        Record::Receipt { boot, seq, ordinal } => put("alert", json!(format!("{boot:016x}/{seq}/{ordinal}"))),
        Record::Asked { request } | Record::AskedAt { request, .. } => {
            if let Record::AskedAt { gateway, .. } = record {
                put("gateway", json!(gateway));
            }
            put("alarm", json!(format!("{}/{}", request.series, request.kind)));
            put("verb", json!(request.verb.as_str()));
            put("by", json!(request.by));
            if !request.reason.is_empty() {
                put("reason", json!(request.reason));
            }
            if request.for_ms > 0 {
                put("for", json!(settings::unit::duration_text(request.for_ms)));
            }
        }
        Record::Commanded { bytes } => put("bytes", json!(bytes.len())),
        Record::Cursor { lsn } => put("to", json!(lsn)),
        Record::Shown { lsn, unheld, behind } => {
            put("to", json!(lsn));
            if *unheld > 0 {
                put("unheld", json!(unheld));
            }
            if let Ok(sessions) = behind.sessions(*lsn)
                && !sessions.is_empty()
            {
                put("behind", json!(sessions));
            }
        }
        Record::CrossShown { lsn, unheld } => {
            put("to", json!(lsn));
            if *unheld > 0 {
                put("unheld", json!(unheld));
            }
        }
        Record::Crossed { lane, ttl_ms, message, .. } => {
            put("lane", json!(lane));
            put("ttl_ms", json!(ttl_ms));
            put("topic", json!(message.topic));
            put("bytes", json!(message.payload.len()));
        }
        Record::CrossAcked { boot, lane, applied } => {
            put("boot", json!(format!("{boot:016x}")));
            put("lane", json!(lane));
            put("applied", json!(applied));
        }
        Record::CrossReceived { boot, seq, message } => {
            put("name", json!(format!("{boot:016x}/{seq}")));
            put("topic", json!(message.topic));
            put("bytes", json!(message.payload.len()));
        }
        Record::CrossIn { message, .. } => {
            put("topic", json!(message.topic));
            put("bytes", json!(message.payload.len()));
        }
        Record::CrossDone { gateway, boot, seq } => {
            put("gateway", json!(gateway));
            put("name", json!(format!("{boot:016x}/{seq}")));
        }
        Record::Unheard { count, oldest: (boot, seq, ordinal) } => {
            put("count", json!(count));
            put("oldest", json!(format!("{boot:016x}/{seq}/{ordinal}")));
        }
        Record::Interval { gateway, bytes }
        | Record::AlertUp { gateway, bytes }
        | Record::Hello { gateway, bytes }
        | Record::CommandUp { gateway, bytes }
        | Record::CrossUp { gateway, bytes } => {
            put("gateway", json!(gateway));
            put("bytes", json!(bytes.len()));
        }
    }
    out
}

fn describe_event(event: &SessionEvent<'_>, put: &mut impl FnMut(&str, Value)) {
    let (name, detail) = match event {
        SessionEvent::Opened { client_id, expiry_s, version } => {
            put("client_id", json!(client_id));
            put("version", json!(version));
            ("opened", Some(("expiry_s", json!(expiry_s))))
        }
        SessionEvent::Resumed { expiry_s } => ("resumed", Some(("expiry_s", json!(expiry_s)))),
        SessionEvent::Disconnected { expiry_s, settled } => {
            put("settled", json!(settled));
            ("disconnected", Some(("expiry_s", json!(expiry_s))))
        }
        SessionEvent::Ended => ("ended", None),
        SessionEvent::Subscribed { filter, options, identifier } => {
            put("options", json!(options));
            put("identifier", json!(identifier));
            ("subscribed", Some(("filter", json!(filter))))
        }
        SessionEvent::Unsubscribed { filter } => ("unsubscribed", Some(("filter", json!(filter)))),
        SessionEvent::Qos2Received { packet_id } => ("qos2-received", Some(("packet_id", json!(packet_id)))),
        SessionEvent::Will(will) => {
            put("bytes", json!(will.message.payload.len()));
            ("will", Some(("topic", json!(will.message.topic))))
        }
        SessionEvent::WillOver { lsn } => ("will-over", Some(("of", json!(lsn)))),
        SessionEvent::Qos2Released { packet_id } => ("qos2-released", Some(("packet_id", json!(packet_id)))),
    };
    put("event", json!(name));
    if let Some((field, value)) = detail {
        put(field, value);
    }
}

fn kind_of(record: &Record<'_>) -> &'static str {
    match record {
        Record::Boot { .. } => "boot",
        Record::Tick => "tick",
        Record::Away { .. } => "away",
        Record::ClockSet { .. } => "clock-set",
        Record::Series { .. } => "series",
        Record::Unit { .. } => "unit",
        Record::Message { .. } => "message",
        Record::Duplicate { .. } => "duplicate",
        Record::Refused { .. } => "refused",
        Record::Quarantined { .. } => "quarantined",
        Record::Session { .. } => "session",
        Record::Acked { .. } => "acked",
        Record::Forked { .. } => "forked",
        Record::Receipt { .. } => "receipt",
        Record::Shown { .. } => "shown",
        Record::Shed { .. } => "shed",
        Record::Offered { .. } => "offered",
        Record::Unnamed { .. } => "unnamed",
        Record::Told { .. } => "told",
        Record::Lost { .. } => "lost",
        Record::Unheard { .. } => "unheard",
        Record::Interval { .. } => "interval",
        Record::AlertUp { .. } => "alert",
        Record::Hello { .. } => "hello",
        Record::Crossed { .. } => "crossed",
        Record::CrossAcked { .. } => "cross-acked",
        Record::CrossReceived { .. } => "cross-received",
        Record::CrossShown { .. } => "cross-shown",
        Record::CrossUp { .. } => "cross-up",
        Record::CrossIn { .. } => "cross-in",
        Record::CrossDone { .. } => "cross-done",
        Record::Round => "round",
        Record::Cursor { .. } => "cursor",
        Record::Asked { .. } | Record::AskedAt { .. } => "asked",
        Record::Commanded { .. } => "commanded",
        Record::CommandUp { .. } => "command",
    }
}

/// The series' name, or its number where the record that names it is freed already.
fn series(number: u32, context: &Context) -> Value {
    context.series.get(&number).map_or_else(|| json!(format!("#{number}")), |name| json!(name))
}

/// What every line begins with, without names.
const HEAD: [&str; 3] = ["record", "time", "kind"];

fn text(fields: &Map<String, Value>) -> String {
    let plain = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
    let shown = |value: &Value| match value {
        Value::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    };
    let head = HEAD.iter().filter_map(|name| fields.get(*name)).map(shown);
    let rest = fields.iter().filter(|(name, value)| !HEAD.contains(&name.as_str()) && !value.is_null());
    let line = head.chain(rest.map(|(name, value)| format!("{name}={}", shown(value)))).collect::<Vec<_>>().join(" ");
    words::harmless(&line)
}

/// Everything in a log, counted.
#[derive(Default)]
struct Survey {
    seen: journal::reader::Verified,
    kinds: BTreeMap<&'static str, u64>,
    readings: u64,
    undecodable: Vec<String>,
    snapshots: Vec<(u64, u64)>,
    bad_snapshots: Vec<String>,
    quarantined: u64,
    marks: [u64; 4],
}

fn survey(data_dir: &Path) -> Result<Survey, Failure> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match survey_once(data_dir) {
            Ok(survey) => return Ok(survey),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Failure::Running(anyhow!("the log cannot be read"))))
}

fn survey_once(data_dir: &Path) -> Result<Survey, Failure> {
    let reader = open(data_dir)?;
    let mut out = Survey::default();
    out.seen = reader
        .frames(|frame| {
            out.marks = frame.marks;
            count_records(frame, &mut out.kinds, &mut out.readings, &mut out.undecodable);
            ControlFlow::Continue(())
        })
        .map_err(anyhow::Error::from)?;
    let disk = journal::disk::RealDisk;
    for lsn in parts::list(&disk, reader.dir()).map_err(anyhow::Error::from)? {
        // One that is gone was freed meanwhile by the process that owns it.
        if let Err(what) = parts::verify(&disk, reader.dir(), lsn)
            && parts::path_of(reader.dir(), lsn).exists()
        {
            out.bad_snapshots.push(what);
        }
    }
    let listed = snapshot::list(&disk, reader.dir()).map_err(anyhow::Error::from)?;
    for saved in listed {
        let path = snapshot::path_of(reader.dir(), saved.at);
        match (snapshot::read(&disk, reader.dir(), saved.at), path.exists()) {
            (Some(state), _) => out.snapshots.push((saved.at, state.len() as u64)),
            // Replaced by a newer one while we looked.
            (None, false) => {}
            (None, true) => out.bad_snapshots.push(format!("{}: the checksum does not match", path.display())),
        }
    }
    out.quarantined = std::fs::read_dir(reader.dir().join("quarantine")).map_or(0, |entries| entries.count() as u64);
    Ok(out)
}

fn count_records(frame: &Frame, kinds: &mut BTreeMap<&'static str, u64>, readings: &mut u64, undecodable: &mut Vec<String>) {
    for (number, kind, payload) in frame.records() {
        match Record::decode(kind, payload) {
            Ok((_, record)) => {
                *kinds.entry(kind_of(&record)).or_default() += 1;
                if let Record::Message { readings: list, .. } = &record {
                    match list.for_each(0, |_, _, _| {}) {
                        Ok(count) => *readings += count,
                        Err(error) => undecodable.push(format!("record {number}: {error}")),
                    }
                }
            }
            Err(error) => undecodable.push(format!("record {number}: {error}")),
        }
    }
}

impl Survey {
    fn damage(&self) -> Vec<&String> {
        self.seen.damage.iter().chain(&self.undecodable).chain(&self.bad_snapshots).collect()
    }
}

fn verify(at: &At) -> Result<(), Failure> {
    let survey = survey(&at.data_dir)?;
    let damage = survey.damage();
    let (first, last) = survey.seen.range.unwrap_or((0, 0));
    if at.json {
        let result = json!({"segments": survey.seen.segments, "frames": survey.seen.frames, "records": survey.seen.records,
            "bytes": survey.seen.bytes, "first": first, "last": last, "snapshots": survey.snapshots.len(), "damage": damage});
        print(&result.to_string())?;
    } else {
        for line in &damage {
            print(&words::harmless(line))?;
        }
        print(&format!(
            "{} segments, {} frames, {} records ({first} to {last}), {} snapshots: {}",
            survey.seen.segments,
            survey.seen.frames,
            survey.seen.records,
            survey.snapshots.len(),
            if damage.is_empty() { "every checksum matches".to_owned() } else { format!("{} damaged places", damage.len()) }
        ))?;
    }
    match damage.is_empty() {
        true => Ok(()),
        false => Err(Failure::Running(anyhow!("the log in {} is damaged in {} places", at.data_dir.display(), damage.len()))),
    }
}

fn stat(at: &At) -> Result<(), Failure> {
    let survey = survey(&at.data_dir)?;
    let damage = survey.damage().len();
    let (first, last) = survey.seen.range.unwrap_or((0, 0));
    if at.json {
        let snapshots = survey.snapshots.iter().map(|(at, bytes)| json!({"record": at, "bytes": bytes})).collect::<Vec<_>>();
        let result = json!({"segments": survey.seen.segments, "frames": survey.seen.frames, "records": survey.seen.records,
            "bytes": survey.seen.bytes, "first": first, "last": last, "kinds": survey.kinds, "readings": survey.readings,
            "snapshots": snapshots, "quarantined_segments": survey.quarantined, "damaged_places": damage});
        print(&result.to_string())?;
        return whole(&at.data_dir, damage);
    }
    print(&format!("segments   {}", survey.seen.segments))?;
    print(&format!("frames     {}", survey.seen.frames))?;
    print(&format!("records    {} ({first} to {last})", survey.seen.records))?;
    print(&format!("readings   {}", survey.readings))?;
    print(&format!("bytes      {}", survey.seen.bytes))?;
    if let Some(per_reading) = survey.seen.bytes.checked_div(survey.readings) {
        print(&format!("           {per_reading} for each reading"))?;
    }
    for (kind, count) in &survey.kinds {
        print(&format!("  {kind:<12} {count}"))?;
    }
    for (at, bytes) in &survey.snapshots {
        print(&format!("snapshot   as of record {at}, {bytes} bytes"))?;
    }
    if survey.quarantined > 0 {
        print(&format!("quarantine {} segments set aside", survey.quarantined))?;
    }
    whole(&at.data_dir, damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_with_its_series_and_times() {
        let mut context = Context::of(1);
        let named = Record::Series { number: 3, name: "line 1/t", unit: None };
        context.advance(1_700_000_000_000, &named);
        let mut bytes = Vec::new();
        replica::record::put_reading(&mut bytes, 3, 1_699_999_999_000, 1_700_000_000_000, 21.5);
        let readings = replica::record::Readings { bytes: &bytes };
        let message = Record::Message { flags: FLAG_LEAVES, session: 0, packet_id: 0, readings };
        let shown = text(&describe(7, 0, &message, &context));
        assert!(shown.starts_with("7 2023-11-14T22:13:20Z message "), "{shown}");
        assert!(shown.contains("line 1/t") && shown.contains("1699999999000") && shown.contains("21.5"), "{shown}");
    }

    #[test]
    fn names_move_no_cursor() {
        let named = Record::Series { number: 3, name: "a\u{1b}[31m\nb\u{9b}", unit: None };
        let shown = text(&describe(7, 0, &named, &Context::of(1)));
        assert!(!shown.contains(char::is_control) && shown.contains("a\\u001b[31m\\nb\\u{9b}"), "{shown}");
    }

    #[test]
    fn without_its_beginning_a_log_shows_relative_times() {
        let shown = text(&describe(9, 250, &Record::Tick, &Context::of(9)));
        assert_eq!(shown, "9 tick after_ms=250");
    }
}
