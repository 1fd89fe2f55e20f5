//! A [`settings::Table`] → a [`Config`] that cannot be wrong.
//!
//! Everything is checked here, once, with file, line and key; `tidegate check` is [`load`]. The rest of
//! the crate takes each value as it stands.

use super::limit::limit;
use super::{
    Bounds, CloudLink, Config, DAY_MS, DELAY_MS, Http, Ingest, LATCH, Log, Mqtt, PlainBridge, RETAIN_MS, Redundancy, Windows, bridge,
    detection,
};
use detect::Settings;
use detect::alarm::Settings as AlarmSettings;
use replica::alert;
use settings::{ConfigErrors, Table, address};
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
/// The log: below, not even a few commits and a snapshot fit; above, no file system is.
const LOG_BYTES: (u64, u64) = (1 << 20, 1 << 50);
const FLASH_BYTES: (u64, u64) = (1 << 20, 1 << 50);

/// Alarms in ten minutes that are no flood yet: with more no person reads them one by one.
const FLOOD: (u64, u64) = (1, 10_000);

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
    if address::overlap(mqtt.listen, http.listen) {
        root.problem("http.listen", format!("[mqtt] listens at {} already; write another port", mqtt.listen));
    }
    let ingest: Vec<Ingest> = root.tables("ingest").into_iter().filter_map(ingest).collect();
    together(&root, &ingest, mqtt.listen);
    let cloud = root.table("cloud").and_then(cloud);
    let bridges: Vec<PlainBridge> = root.tables("bridge").into_iter().filter_map(bridge::read).collect();
    bridge::together(&root, gateway.as_deref().unwrap_or("gateway"), &bridges, cloud.is_some(), mqtt.max_packet);
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
        groups: detection::groups(&mut root),
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
    let series_max = replica::limits::GATEWAY_SERIES_MAX as u64;
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

/// What holds of all `[[ingest]]` and the rest of the config.
fn together(root: &Table, ingests: &[Ingest], door: SocketAddr) {
    for (index, ingest) in ingests.iter().enumerate() {
        if ingest.url.leads_to(door) {
            let why =
                format!("{} is this gateway's own [mqtt]: each reading would come again without end; name another broker", ingest.url);
            root.problem(&format!("ingest[{index}].url"), why);
        }
        if ingests[..index].contains(ingest) {
            root.problem(&format!("ingest[{index}].filter"), "this broker and filter are there twice; remove one of them");
        }
    }
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

fn alarms(mut table: Table) -> AlarmSettings {
    let default = AlarmSettings::default();
    let latch = table.word("latch", &LATCH).unwrap_or(default.latch);
    let flood = table.whole("flood", FLOOD.0, FLOOD.1).and_then(|flood| u32::try_from(flood).ok()).unwrap_or(default.flood);
    table.finish();
    AlarmSettings { latch, flood }
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
    if filter.as_deref().is_some_and(alert::is_gateways_own) {
        table.problem(
            "filter",
            "what begins with alerts/ or alarms/ is the gateway's own to publish; write another first level, such as sensors/#",
        );
    }
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

#[cfg(test)]
mod tests;
