//! A cloud bridge's config: a [`settings::Table`] → a [`Config`] that cannot be wrong.
//!
//! Everything is checked here, once, with file, line and key; `tidegate check` is [`load`].

use serde::Serialize;
use settings::unit::serialize_ms;
use settings::{BrokerUrl, ConfigErrors, Table, address};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const DAY_MS: i64 = 86_400_000;

/// Retention of merged windows: below a second every window would be expired on arrival; a hundred years is for ever.
const RETAIN_MS: (i64, i64) = (1_000, 36_525 * DAY_MS);

/// What a cloud bridge does, complete and checked. As JSON it has the names and units of the file.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// Where log, snapshots and working state live; a relative path is relative to the working directory.
    pub data_dir: PathBuf,
    /// The broker that gateways and consumers meet at.
    pub mqtt: Mqtt,
    /// Health, metrics and status.
    pub http: Http,
    /// The merged windows.
    pub merged: Merged,
}

/// `[mqtt]`
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Mqtt {
    /// A broker of our own, in this process.
    Embedded {
        /// Where gateways and consumers connect; port 0 asks for a free one.
        listen: SocketAddr,
        /// Whether clients without a user may connect from beyond loopback.
        allow_anonymous: bool,
    },
    /// A broker that is already there.
    Existing {
        /// The broker.
        broker: BrokerUrl,
    },
}

/// `[http]`
#[derive(Debug, Clone, Serialize)]
pub struct Http {
    /// Where to serve; port 0 asks for a free one.
    pub listen: SocketAddr,
}

/// `[merged]`
#[derive(Debug, Clone, Serialize)]
pub struct Merged {
    /// Windows that ended longer ago, in ms, are counted as expired and not merged; none: all is kept.
    #[serde(rename = "retain", serialize_with = "serialize_retain")]
    pub retain_ms: Option<i64>,
}

fn serialize_retain<S: serde::Serializer>(retain_ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match retain_ms {
        Some(ms) => serialize_ms(ms, serializer),
        None => serializer.serialize_none(),
    }
}

/// Reads and checks a cloud bridge's config: `file`, then the environment, then `sets` (`section.key=value`).
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
    let data_dir = root.text("data_dir", |text| match text.is_empty() || text.contains('\0') {
        true => Err("this is no path".to_owned()),
        false => Ok(PathBuf::from(text)),
    });
    let data_dir = root.required("data_dir", data_dir, "\"var/cloud\"");
    let mqtt = mqtt(root.section("mqtt"));
    let http = http(root.section("http"));
    if let Mqtt::Embedded { listen, .. } = mqtt
        && address::overlap(listen, http.listen)
    {
        root.problem("http.listen", format!("[mqtt] listens at {listen} already; write another port"));
    }
    let merged = merged(root.section("merged"));
    root.finish();
    root.end()?;
    let Some(data_dir) = data_dir else { unreachable!("required keys are there once `end` is content") };
    Ok(Config { data_dir, mqtt, http, merged })
}

fn mqtt(mut table: Table) -> Mqtt {
    let embedded = table.has("listen");
    let listen = table.text("listen", address::listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 1884)));
    let existing = table.has("broker");
    let broker = table.text("broker", address::broker_url);
    let anonymous_given = table.has("allow_anonymous");
    let allow_anonymous = table.flag("allow_anonymous").unwrap_or(false);
    if embedded && existing {
        table.problem("broker", "an existing broker is used, or one of our own listens, never both; write either broker or listen");
    }
    if existing && anonymous_given {
        table.problem("allow_anonymous", "who may connect to an existing broker is decided there; leave this key out");
    }
    if !existing && !listen.ip().is_loopback() && !allow_anonymous {
        table.problem("listen", format!("{listen} is reachable from beyond this machine, where anyone could publish; write allow_anonymous = true if that is meant, or listen at 127.0.0.1"));
    }
    table.finish();
    match broker {
        Some(broker) => Mqtt::Existing { broker },
        None => Mqtt::Embedded { listen, allow_anonymous },
    }
}

fn http(mut table: Table) -> Http {
    let listen = table.text("listen", address::listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8081)));
    table.finish();
    Http { listen }
}

fn merged(mut table: Table) -> Merged {
    let retain_ms = table.duration("retain", RETAIN_MS.0, RETAIN_MS.1);
    table.finish();
    Merged { retain_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Config, String> {
        read(Table::parse("cloud.toml", text, &[], &[]).unwrap()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_example_runs_as_it_is_and_says_the_defaults() {
        let example = read_text(include_str!("../../../broker-config/cloud.toml")).unwrap();
        let defaults = read_text("data_dir = \"var/cloud\"\n").unwrap();
        assert_eq!(serde_json::to_value(&example).unwrap(), serde_json::to_value(&defaults).unwrap());
    }

    #[test]
    fn the_broker_is_embedded_or_existing() {
        let config = read_text("data_dir = \"d\"\n[mqtt]\nbroker = \"mqtt://host:1883\"\n[merged]\nretain = \"400d\"\n").unwrap();
        assert!(matches!(config.mqtt, Mqtt::Existing { ref broker } if broker.host == "host"));
        assert_eq!(config.merged.retain_ms, Some(400 * DAY_MS));
        for (text, expected) in [
            ("[mqtt]\nbroker = \"mqtt://h\"\nlisten = \"127.0.0.1:1\"", "cloud.toml:3: mqtt.broker: an existing broker"),
            ("[http]\nlisten = \"127.0.0.1:1884\"", "cloud.toml:3: http.listen: [mqtt] listens at 127.0.0.1:1884 already"),
            ("[mqtt]\nlisten = \"0.0.0.0:1\"", "cloud.toml:3: mqtt.listen: 0.0.0.0:1 is reachable"),
            ("[mqtt]\nmax_packet = \"1MiB\"", "mqtt.max_packet: unknown key"),
            ("gateway = \"a\"", "cloud.toml:2: gateway: unknown key"),
            ("[merged]\nretain = 400", "cloud.toml:3: merged.retain: 400 has no unit"),
        ] {
            let error = read_text(&format!("data_dir = \"d\"\n{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(read_text("data_dir = \"d\"\n[mqtt]\nlisten = \"0.0.0.0:1\"\nallow_anonymous = true\n").is_ok());
    }
}
