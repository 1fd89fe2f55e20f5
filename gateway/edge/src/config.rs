//! A gateway's config: what it says, complete and checked. [`read`] makes it of a file.

mod bridge;
mod detection;
mod limit;
pub mod read;

use detect::Settings;
use detect::alarm::{Latch, Settings as AlarmSettings};
pub use read::{load, read};
use replica::fold::{FOLD_VERSION, FoldConfig};
use replica::limits::PAGE_ALERTS;
use serde::Serialize;
use settings::BrokerUrl;
use settings::unit::{serialize_bytes, serialize_duration, serialize_ms, serialize_ms_list};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use telemetry::source::Source;

const DAY_MS: i64 = 86_400_000;
/// Grace, and delays of limits: what waits longer than a week is no alarm any more.
const DELAY_MS: (i64, i64) = (0, 7 * DAY_MS);
/// Retention of delivered data, up to ten years.
const RETAIN_MS: (i64, i64) = (0, 3_653 * DAY_MS);

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
            page_alerts: PAGE_ALERTS as u64,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// The words of `[alarms] latch`.
const LATCH: [(&str, Latch); 3] = [("none", Latch::None), ("critical", Latch::Critical), ("all", Latch::All)];

fn serialize_alarms<S: serde::Serializer>(alarms: &AlarmSettings, serializer: S) -> Result<S::Ok, S::Error> {
    let latch = LATCH.iter().find(|(_, latch)| *latch == alarms.latch).map_or("none", |(word, _)| word);
    serializer.collect_map([("latch", serde_json::Value::from(latch)), ("flood", alarms.flood.into())])
}
