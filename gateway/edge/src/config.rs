//! A gateway's config: a [`settings::Table`] → a [`Config`] that cannot be wrong.
//!
//! Everything is checked here, once, with file, line and key; `tidegate check` is [`load`]. The rest of
//! the crate takes each value as it stands.

mod bridge;
mod detection;

use detect::alarm::{Latch, Settings as AlarmSettings};
use detect::{LimitRule, Pattern, Settings};
use replica::fold::{FOLD_VERSION, FoldConfig};
use serde::Serialize;
use settings::unit::{serialize_bytes, serialize_duration, serialize_ms, serialize_ms_list};
use settings::{BrokerUrl, ConfigErrors, Table, address};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use telemetry::source::{OnInvalid, Share, Source, Sources};

/// Bytes of a gateway's name: it is a topic level and a metric label everywhere.
const GATEWAY_BYTES_MAX: usize = 64;
/// A PUBLISH packet: below, no useful reading fits; above, MQTT itself ends (268,435,455 bytes, MQTT 5, 2.1.4).
const PACKET_BYTES: (u64, u64) = (1 << 10, 256 << 20);
/// Connections: above, the file descriptors of one process end.
const CONNECTIONS: (u64, u64) = (1, 1_000_000);
/// Uplink interval: more often only costs, less often than a day nobody wants to wait.
const EVERY_MS: (i64, i64) = (10, DAY_MS);
/// Byte budget of the uplink, a second: below, hellos and keep-alives leave nothing; above, no link is.
const BUDGET_BYTES: (u64, u64) = (1 << 10, 1 << 40);
/// Window sizes: a millisecond is the resolution of time; a window must fit in the memory of a quarter.
const SIZE_MS: (i64, i64) = (1, 92 * DAY_MS);
/// Sizes at once: each costs an aggregate per series.
const SIZES_MAX: usize = 16;
/// Grace, and delays of limits: what waits longer than a week is no alarm any more.
const DELAY_MS: (i64, i64) = (0, 7 * DAY_MS);
/// Retention of delivered data, up to ten years.
const RETAIN_MS: (i64, i64) = (0, 3_653 * DAY_MS);
/// The log: below, not even a few commits and a snapshot fit; above, no file system is.
const LOG_BYTES: (u64, u64) = (1 << 20, 1 << 50);
const FLASH_BYTES: (u64, u64) = (1 << 20, 1 << 50);

/// Alarms in ten minutes that are no flood yet: with more no person reads them one by one.
const FLOOD: (u64, u64) = (1, 10_000);

const DAY_MS: i64 = 86_400_000;

/// What a gateway does, complete and checked. As JSON it has the names and units of the file.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// 1–64 of `a-z`, `0-9` and `-`; names this gateway everywhere.
    pub gateway: String,
    /// Where log, snapshots and working state live; a relative path is relative to the working directory.
    pub data_dir: PathBuf,
    /// The front door for sensors.
    pub mqtt: Mqtt,
    /// Health, metrics and status.
    pub http: Http,
    /// What may be taken at most; `[limits]` in the file.
    #[serde(rename = "limits")]
    pub bounds: Bounds,
    /// Brokers that are read from as well; `[[ingest]]`.
    pub ingest: Vec<Ingest>,
    /// The uplink; none for a gateway that stands alone.
    pub cloud: Option<CloudLink>,
    /// Ordinary messages that cross the link; the first that matches a topic decides; `[[bridge]]`.
    #[serde(rename = "bridge")]
    pub bridges: Vec<PlainBridge>,
    /// Aggregation.
    pub windows: Windows,
    /// Whether others hear the same sensors.
    pub redundancy: Redundancy,
    /// How alarms are treated.
    #[serde(serialize_with = "serialize_alarms")]
    pub alarms: AlarmSettings,
    /// The durable log.
    pub log: Log,
    /// Which topics are readings; at least one, the first that matches decides; `[[source]]`.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Fixed limits of series, as the detectors take them; `[[limit]]`.
    #[serde(rename = "detection")]
    pub limits: Settings,
}

impl Config {
    /// What of it windows, detectors and alarms depend on, as a boot of this program records it.
    pub fn fold(&self) -> FoldConfig {
        FoldConfig {
            fold_version: FOLD_VERSION,
            sizes_ms: self.windows.sizes_ms.clone(),
            grace_ms: self.windows.grace_ms,
            detection: self.limits.clone(),
            group: self.redundancy.group.clone(),
            alarms: Some(self.alarms.clone()),
            offers: true,
            ..FoldConfig::default()
        }
    }
}

/// `[mqtt]`
#[derive(Debug, Clone, Serialize)]
pub struct Mqtt {
    /// Where sensors connect; port 0 asks for a free one.
    pub listen: SocketAddr,
    /// Whether clients without a user may connect from beyond loopback.
    pub allow_anonymous: bool,
    /// Largest packet a client may send, in bytes.
    #[serde(serialize_with = "serialize_bytes")]
    pub max_packet: u64,
}

/// `[http]`
#[derive(Debug, Clone, Serialize)]
pub struct Http {
    /// Where to serve; port 0 asks for a free one.
    pub listen: SocketAddr,
}

/// `[limits]`
#[derive(Debug, Clone, Serialize)]
pub struct Bounds {
    /// MQTT connections at once; one more is refused.
    pub connections: usize,
    /// Series over the life of the data dir; a reading of one more is refused with 0x97.
    pub series: usize,
}

/// `[[ingest]]`: a broker of the plant that the gateway subscribes at.
#[derive(Debug, Clone, Serialize)]
pub struct Ingest {
    /// The broker.
    pub url: BrokerUrl,
    /// What to subscribe to; a valid MQTT filter.
    pub filter: String,
}

/// `[cloud]`
#[derive(Debug, Clone, Serialize)]
pub struct CloudLink {
    /// Host of the cloud's broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How often deltas go, in ms.
    #[serde(rename = "every", serialize_with = "serialize_ms")]
    pub every_ms: i64,
    /// Whether windows that are still open go as well.
    pub preview: bool,
    /// Bytes a second that the link may carry, both ways together; none: no bound.
    #[serde(serialize_with = "settings::unit::serialize_bytes_per_s")]
    pub budget: Option<u64>,
}

/// Which way a `[[bridge]]` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From here to the cloud.
    Out,
    /// From the cloud to here.
    In,
    /// Both ways; nothing goes back to where it came from.
    Both,
}

/// What of a `[[bridge]]` goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Before all others, committed without waiting for company.
    Urgent = 0,
    /// As it comes.
    Normal = 1,
    /// After all others; given up first.
    Bulk = 2,
}

/// Who answers for what a `[[bridge]]` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// A cloud bridge, which logs and tells repetitions.
    #[default]
    Bridge,
    /// A broker that stands alone: at least once.
    Broker,
}

/// `[[bridge]]`: ordinary messages that cross the link.
#[derive(Debug, Clone, Serialize)]
pub struct PlainBridge {
    /// Which topics here.
    pub filter: String,
    /// Which way.
    pub direction: Direction,
    /// What they are called at the cloud's broker: `{gateway}` and `{topic}` stand for themselves.
    pub remote: String,
    /// The most that a message's QoS may be on the other side.
    pub qos: u8,
    /// What goes first.
    pub priority: Priority,
    /// How long a message may wait, in ms; none: as long as there is room.
    #[serde(rename = "ttl", serialize_with = "serialize_optional_ms")]
    pub ttl_ms: Option<i64>,
    /// Who answers for it.
    pub delivery: Delivery,
}

fn serialize_optional_ms<S: serde::Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ms {
        Some(ms) => serialize_ms(ms, serializer),
        None => serializer.serialize_none(),
    }
}

/// `[windows]`
#[derive(Debug, Clone, Serialize)]
pub struct Windows {
    /// Sizes in ms as configured, at least one, no two alike.
    #[serde(rename = "sizes", serialize_with = "serialize_ms_list")]
    pub sizes_ms: Vec<i64>,
    /// How long after its end and its last reading a window goes up, in ms.
    #[serde(rename = "grace", serialize_with = "serialize_ms")]
    pub grace_ms: i64,
}

/// `[redundancy]`
#[derive(Debug, Clone, Default, Serialize)]
pub struct Redundancy {
    /// The group of gateways that hear the same sensors, named as gateways are; none: no other does.
    pub group: Option<String>,
}

/// `[log]`
#[derive(Debug, Clone, Serialize)]
pub struct Log {
    /// How long delivered data is kept.
    #[serde(serialize_with = "serialize_duration")]
    pub retain: Duration,
    /// Bytes of the log in all.
    #[serde(serialize_with = "serialize_bytes")]
    pub limit: u64,
    /// Bytes a day that small commits should cause at most.
    #[serde(serialize_with = "settings::unit::serialize_bytes_per_day")]
    pub flash_budget: u64,
}

/// Reads and checks a gateway's config: `file`, then the environment, then `sets` (`section.key=value`).
///
/// # Errors
/// Everything that is wrong, each with its place and key.
pub fn load(file: &Path, sets: &[String]) -> Result<Config, ConfigErrors> {
    read(Table::load(file, sets)?)
}

/// As [`load`], from a table that is already merged.
///
/// # Errors
/// Everything that is wrong, each with its place and key.
pub fn read(mut root: Table) -> Result<Config, ConfigErrors> {
    let gateway = root.text("gateway", |text| gateway_name(text).map(|()| text.to_owned()));
    let gateway = root.required("gateway", gateway, "\"plant-a\"");
    let data_dir = root.text("data_dir", |text| match text.is_empty() || text.contains('\0') {
        true => Err("this is no path".to_owned()),
        false => Ok(PathBuf::from(text)),
    });
    let data_dir = root.required("data_dir", data_dir, "\"var/plant-a\"");
    let mqtt = mqtt(root.section("mqtt"));
    let http = http(root.section("http"));
    let bounds = bounds(root.section("limits"));
    let ingest = root.tables("ingest").into_iter().filter_map(ingest).collect();
    let cloud = root.table("cloud").and_then(cloud);
    let bridges: Vec<PlainBridge> = root.tables("bridge").into_iter().filter_map(bridge::read).collect();
    bridge::together(&root, &bridges, cloud.is_some(), mqtt.max_packet);
    let windows = windows(root.section("windows"));
    let redundancy = redundancy(root.section("redundancy"));
    let alarms = alarms(root.section("alarms"));
    let log = log(root.section("log"));
    let sources = sources(gateway.as_deref().unwrap_or("gateway"), root.tables("source"));
    let limits = Settings {
        limits: root.tables("limit").into_iter().filter_map(limit).collect(),
        maintenance: detection::maintenance(&mut root),
        suppressions: root.tables("suppress").into_iter().filter_map(detection::suppress).collect(),
        shadows: root.tables("shadow").into_iter().filter_map(detection::shadow).collect(),
        groups: root.tables("group").into_iter().filter_map(detection::group).collect(),
    };
    root.finish();
    root.end()?;
    // `end` has reported every absent value, so none is absent here.
    let (Some(gateway), Some(data_dir)) = (gateway, data_dir) else { unreachable!("required keys are there once `end` is content") };
    Ok(Config { gateway, data_dir, mqtt, http, bounds, ingest, cloud, bridges, windows, redundancy, alarms, log, sources, limits })
}

fn gateway_name(text: &str) -> Result<(), String> {
    name("gateway", "plant-a", text)
}

/// Names of gateways and groups are levels of topics.
fn name(what: &str, example: &str, text: &str) -> Result<(), String> {
    let sound = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match sound && (1..=GATEWAY_BYTES_MAX).contains(&text.len()) {
        true => Ok(()),
        false => Err(format!(
            "\"{}\" is no {what} name; write 1 to {GATEWAY_BYTES_MAX} of a-z, 0-9 and -, such as {example}",
            text.escape_debug()
        )),
    }
}

fn mqtt(mut table: Table) -> Mqtt {
    let listen = table.text("listen", address::listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 1883)));
    let allow_anonymous = table.flag("allow_anonymous").unwrap_or(false);
    if !listen.ip().is_loopback() && !allow_anonymous {
        table.problem("listen", format!("{listen} is reachable from beyond this machine, where anyone could publish; write allow_anonymous = true if that is meant, or listen at 127.0.0.1"));
    }
    let max_packet = table.size("max_packet", PACKET_BYTES.0, PACKET_BYTES.1).unwrap_or(256 << 10);
    table.finish();
    Mqtt { listen, allow_anonymous, max_packet }
}

fn http(mut table: Table) -> Http {
    let listen = table.text("listen", address::listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
    table.finish();
    Http { listen }
}

fn bounds(mut table: Table) -> Bounds {
    let series_max = telemetry::limits::SERIES_MAX as u64;
    let connections = table.whole("connections", CONNECTIONS.0, CONNECTIONS.1).unwrap_or(10_000);
    let series = table.whole("series", 1, series_max).unwrap_or(100_000);
    table.finish();
    Bounds { connections: usize::try_from(connections).unwrap_or(usize::MAX), series: usize::try_from(series).unwrap_or(usize::MAX) }
}

fn ingest(mut table: Table) -> Option<Ingest> {
    let url = table.text("url", address::broker_url);
    let url = table.required("url", url, "\"mqtt://plant-broker:1883\"");
    let filter = table.text("filter", |text| address::topic_filter(text).map(|()| text.to_owned()));
    let filter = table.required("filter", filter, "\"sensors/#\"");
    table.finish();
    Some(Ingest { url: url?, filter: filter? })
}

fn cloud(mut table: Table) -> Option<CloudLink> {
    let url = table.text("url", address::broker_url);
    let url = table.required("url", url, "\"mqtt://127.0.0.1:1884\"");
    let every_ms = table.duration("every", EVERY_MS.0, EVERY_MS.1).unwrap_or(5_000);
    let preview = table.flag("preview").unwrap_or(false);
    let budget = table.rate("budget", "s", BUDGET_BYTES.0, BUDGET_BYTES.1);
    table.finish();
    let url = url?;
    Some(CloudLink { host: url.host, port: url.port, every_ms, preview, budget })
}

fn windows(mut table: Table) -> Windows {
    let sizes_ms = table.durations("sizes", SIZE_MS.0, SIZE_MS.1).unwrap_or_else(|| vec![10_000, 60_000]);
    if sizes_ms.is_empty() || sizes_ms.len() > SIZES_MAX {
        table.problem("sizes", format!("write 1 to {SIZES_MAX} window sizes, such as [\"10s\", \"1m\"]"));
    }
    for (index, size) in sizes_ms.iter().enumerate() {
        if sizes_ms[..index].contains(size) {
            table.problem(&format!("sizes[{index}]"), format!("the size {} is there twice", settings::unit::duration_text(*size)));
        }
    }
    let grace_ms = table.duration("grace", DELAY_MS.0, DELAY_MS.1).unwrap_or(2_000);
    table.finish();
    Windows { sizes_ms, grace_ms }
}

/// The words of `[alarms] latch`.
const LATCH: [(&str, Latch); 3] = [("none", Latch::None), ("critical", Latch::Critical), ("all", Latch::All)];

fn alarms(mut table: Table) -> AlarmSettings {
    let default = AlarmSettings::default();
    let latch = table.word("latch", &LATCH).unwrap_or(default.latch);
    let flood = table.whole("flood", FLOOD.0, FLOOD.1).and_then(|flood| u32::try_from(flood).ok()).unwrap_or(default.flood);
    table.finish();
    AlarmSettings { latch, flood }
}

fn serialize_alarms<S: serde::Serializer>(alarms: &AlarmSettings, serializer: S) -> Result<S::Ok, S::Error> {
    let latch = LATCH.iter().find(|(_, latch)| *latch == alarms.latch).map_or("none", |(word, _)| word);
    serializer.collect_map([("latch", serde_json::Value::from(latch)), ("flood", alarms.flood.into())])
}

fn redundancy(mut table: Table) -> Redundancy {
    let group = table.text("group", |text| name("group", "cell-4", text).map(|()| text.to_owned()));
    table.finish();
    Redundancy { group }
}

fn log(mut table: Table) -> Log {
    let retain_ms = table.duration("retain", RETAIN_MS.0, RETAIN_MS.1).unwrap_or(7 * DAY_MS);
    let limit = table.size("limit", LOG_BYTES.0, LOG_BYTES.1).unwrap_or(2 << 30);
    let flash_budget = table.rate("flash_budget", "day", FLASH_BYTES.0, FLASH_BYTES.1).unwrap_or(20 << 30);
    table.finish();
    Log { retain: Duration::from_millis(retain_ms.unsigned_abs()), limit, flash_budget }
}

fn sources(gateway: &str, tables: Vec<Table>) -> Vec<Source> {
    if tables.is_empty() {
        return vec![Source::default()];
    }
    tables.into_iter().filter_map(|table| source(gateway, table)).collect()
}

fn source(gateway: &str, mut table: Table) -> Option<Source> {
    let default = Source::default();
    let filter = table.text("filter", |text| address::topic_filter(text).map(|()| text.to_owned()));
    let filter = table.required("filter", filter, "\"sensors/#\"");
    // Without a '#' there is no {rest}; the whole topic is then the natural name.
    let ends_open = filter.as_deref().is_some_and(|filter| filter.ends_with('#'));
    let series = table.string("series").unwrap_or_else(|| if ends_open { default.series } else { "{topic}".to_owned() });
    let share = table.word("share", &[("none", Share::None), ("aggregates", Share::Aggregates)]).unwrap_or(default.share);
    let on_invalid = table.word("on_invalid", &[("refuse", OnInvalid::Refuse), ("pass", OnInvalid::Pass)]).unwrap_or(default.on_invalid);
    let source = filter.map(|filter| Source { filter, series, share, on_invalid });
    if let Some(Err(error)) = source.clone().map(|source| Sources::new(gateway, vec![source])) {
        table.problem("series", error.to_string());
    }
    table.finish();
    source
}

fn pattern(text: &str) -> Result<Pattern, String> {
    let level = |level: &str| !level.contains('*') || level == "*" || level == "**";
    if text.is_empty() || text.contains(['+', '#', '\0']) || !text.split('/').all(level) {
        return Err(format!(
            "\"{}\" matches no series; write its levels, with * for exactly one level and ** for any number",
            text.escape_debug()
        ));
    }
    Ok(Pattern::new(text))
}

fn limit(mut table: Table) -> Option<LimitRule> {
    let series = table.text("series", pattern);
    let series = table.required("series", series, "\"line1/*/temperature\"");
    let [low_low, low, high, high_high] = ["low_low", "low", "high", "high_high"].map(|key| table.number(key).map(|value| (key, value)));
    let given = [low_low, low, high, high_high].into_iter().flatten().collect::<Vec<_>>();
    let [above_usual, below_usual] = ["above_usual", "below_usual"].map(|key| {
        let by = table.number(key);
        if by.is_some_and(|by| by <= 0.0) {
            table.problem(key, "write by how much more than usual is too much, above 0");
        }
        by
    });
    if given.is_empty() && above_usual.is_none() && below_usual.is_none() {
        table.problem("series", "this limit has no bound; write at least one of low_low, low, high, high_high, above_usual, below_usual");
    }
    for pair in given.windows(2) {
        let [(lower, below), (upper, above)] = [pair[0], pair[1]];
        if below > above {
            table.problem(
                lower,
                format!("{lower} = {below} is above {upper} = {above}; write them in the order low_low, low, high, high_high"),
            );
        } else if below >= above && lower == "low" {
            table.problem(lower, format!("{lower} and {upper} are both {below}, so every value would be an alarm"));
        }
    }
    let deadband = table.number("deadband").unwrap_or(0.0);
    if deadband < 0.0 {
        table.problem(
            "deadband",
            format!("{deadband} is negative; write by how much a value must return before the alarm clears, 0 or more"),
        );
    }
    let on_delay_ms = table.duration("on_delay", DELAY_MS.0, DELAY_MS.1).unwrap_or(0);
    let off_delay_ms = table.duration("off_delay", DELAY_MS.0, DELAY_MS.1).unwrap_or(0);
    table.finish();
    let [low_low, low, high, high_high] = [low_low, low, high, high_high].map(|bound| bound.map(|(_, value)| value));
    Some(LimitRule { series: series?, high_high, high, low, low_low, deadband, on_delay_ms, off_delay_ms, above_usual, below_usual })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Config, String> {
        read(Table::parse("edge.toml", text, &[], &[]).unwrap()).map_err(|errors| errors.to_string())
    }

    const HEAD: &str = "gateway = \"plant-a\"\ndata_dir = \"var/plant-a\"\n";

    #[test]
    fn the_example_runs_as_it_is_and_says_the_defaults() {
        let example = read_text(include_str!("../../../broker-config/edge.toml")).unwrap();
        let mut defaults = read_text(HEAD).unwrap();
        defaults.cloud = example.cloud.clone();
        defaults.limits = example.limits.clone();
        assert_eq!(serde_json::to_value(&example).unwrap(), serde_json::to_value(&defaults).unwrap());
        assert_eq!(example.limits.limits.len(), 1);
        assert_eq!(example.cloud.unwrap().port, 1884);
    }

    #[test]
    fn impossible_values_are_refused_with_their_line_and_key() {
        for (text, expected) in [
            ("[mqtt]\nlisten = \"0.0.0.0:1883\"", "edge.toml:4: mqtt.listen: 0.0.0.0:1883 is reachable"),
            ("[windows]\nsizes = []", "edge.toml:4: windows.sizes: write 1 to 16"),
            ("[windows]\nsizes = [\"60s\", \"1m\"]", "edge.toml:4: windows.sizes[1]: the size 1m is there twice"),
            ("[windows]\nsizes = [\"0s\"]", "windows.sizes[0]: \"0s\" is out of range"),
            ("[windows]\ngrace = 2", "edge.toml:4: windows.grace: 2 has no unit"),
            ("[log]\nlimit = \"2GB\"", "did you mean 2GiB?"),
            ("[limits]\nseries = 0", "edge.toml:4: limits.series: 0 is out of range"),
            ("[cloud]\nevery = \"5s\"", "edge.toml:3: cloud.url: this key is required"),
            ("[cloud]\nurl = \"mqtts://h\"", "asks for TLS"),
            (
                "[cloud]\nurl = \"mqtt://h\"\nbudget = 64",
                "edge.toml:5: cloud.budget: 64 has no unit; write a rate in quotes, such as \"64KiB/s\"",
            ),
            ("[cloud]\nurl = \"mqtt://h\"\nbudget = \"64KiB\"", "did you mean 64KiB/s?"),
            ("[cloud]\nurl = \"mqtt://h\"\nbudget = \"64kB/s\"", "did you mean"),
            ("[cloud]\nurl = \"mqtt://h\"\nbudget = \"10B/s\"", "cloud.budget: \"10B/s\" is out of range"),
            ("[log]\nflash_budget = \"20GiB\"", "edge.toml:4: log.flash_budget: \"20GiB\" is no rate"),
            ("[[limit]]\nseries = \"a\"\nlow = 9\nhigh = 3", "edge.toml:5: limit[0].low: low = 9 is above high = 3"),
            ("[[limit]]\nseries = \"a\"\nhigh = 3\ndeadband = -1", "edge.toml:6: limit[0].deadband: -1 is negative"),
            ("[alarms]\nflood = 0", "edge.toml:4: alarms.flood: 0 is out of range"),
            ("[alarms]\nlatch = \"some\"", "edge.toml:4: alarms.latch: \"some\" is not one of"),
            ("[[limit]]\nseries = \"a\"", "limit[0].series: this limit has no bound"),
            ("[[limit]]\nhigh = nan\nseries = \"a\"", "limit[0].high: NaN is no finite number"),
            ("[[limit]]\nseries = \"a/#\"\nhigh = 1", "limit[0].series: \"a/#\" matches no series"),
            ("[[source]]\nfilter = \"a/#/b\"", "source[0].filter: \"a/#/b\": # is only allowed at the end"),
            ("[[source]]\nfilter = \"a/+\"\nseries = \"{rest}\"", "edge.toml:5: source[0].series:"),
            ("[[source]]\nfilter = \"a/#\"\nshare = \"raw\"", "edge.toml:5: source[0].share: \"raw\" is not one of"),
            ("[redundancy]\ngroup = \"Cell 4\"", "edge.toml:4: redundancy.group: \"Cell 4\" is no group name"),
            ("[[ingest]]\nfilter = \"#\"", "ingest[0].url: this key is required"),
        ] {
            let error = read_text(&format!("{HEAD}{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for name in ["", "Plant", "plant_a", "a/b", &"a".repeat(65)] {
            assert!(read_text(&format!("gateway = \"{name}\"\ndata_dir = \"d\"\n")).unwrap_err().contains("gateway: "), "{name}");
        }
    }

    #[test]
    fn what_detection_is_not_to_tell_is_read_and_what_is_wrong_in_it_refused() {
        let text = format!(
            "{HEAD}[[maintenance]]\nseries = \"a/**\"\nfrom = \"2026-02-01T06:00:00Z\"\nuntil = \"2026-02-01T08:00:00+01:00\"\nevery = \"7d\"\nreason = \"oil\"\n\
             [[suppress]]\nby = \"a/power\"\nby_kind = \"low\"\nseries = \"a/**\"\nkinds = [\"flatline\"]\n[[shadow]]\nkinds = [\"drift\"]\n\
             [[group]]\nname = \"cell\"\nseries = [\"a/*\", \"b/flow\"]\n[[limit]]\nseries = \"a/x\"\nabove_usual = 4.0\n"
        );
        let config = read_text(&text).unwrap().limits;
        let window = &config.maintenance[0];
        assert_eq!((window.until_ms - window.from_ms, window.every_ms), (3_600_000, Some(604_800_000)));
        assert_eq!((config.suppressions.len(), config.shadows.len(), config.groups[0].series.len()), (1, 1, 2));
        assert_eq!(config.limits[0].above_usual, Some(4.0));
        let wrong = [
            ("kinds = [\"flatline\"]", "kinds = [\"flatlin\"]", "did you mean \"flatline\"?"),
            ("until = \"2026-02-01T08:00:00+01:00\"", "until = \"2026-02-01T05:00:00Z\"", "not after from"),
            ("every = \"7d\"", "every = \"30m\"", "never end"),
            ("from = \"2026-02-01T06:00:00Z\"", "from = \"tomorrow\"", "is no time"),
            ("above_usual = 4.0", "above_usual = -4.0", "above 0"),
            ("kinds = [\"drift\"]", "", "kinds"),
            ("reason = \"oil\"", "", "reason"),
        ];
        for (good, bad, why) in wrong {
            let told = read_text(&text.replace(good, bad)).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }

    #[test]
    fn keys_of_what_is_not_built_are_unknown() {
        for (text, expected) in [
            ("[cloud]\nurl = \"mqtt://h\"\nbudgets = \"64KiB/s\"", "edge.toml:5: cloud.budgets: unknown key; did you mean budget?"),
            ("[redundancy]\ngroups = \"cell-4\"", "edge.toml:4: redundancy.groups: unknown key; did you mean group?"),
            ("[[state]]\nprefix = \"stock/\"", "edge.toml:3: state: unknown key"),
            ("[alarms]\nfloods = 3", "edge.toml:4: alarms.floods: unknown key; did you mean flood?"),
            ("[mqtt]\nlisen = \"127.0.0.1:1\"", "edge.toml:4: mqtt.lisen: unknown key; did you mean listen?"),
        ] {
            let error = read_text(&format!("{HEAD}{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn all_problems_come_at_once() {
        let error = read_text("gateway = \"X\"\n[windows]\nsizes = []\ngrace = 1\n[http]\nlisten = 8080\n").unwrap_err();
        assert_eq!(error.lines().count(), 5, "{error}");
    }
}
