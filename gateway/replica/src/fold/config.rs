//! What a boot record says of the configuration.

use detect::{Settings, alarm};
use schemas::message::Wanted;
use serde::{Deserialize, Serialize};

/// What of the configuration the fold depends on; each boot record carries it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FoldConfig {
    /// [`crate::fold::FOLD_VERSION`] of the program that began the boot.
    pub fold_version: u32,
    /// Window sizes as configured, in ms.
    pub sizes_ms: Vec<i64>,
    /// Grace after a window's end and its last reading, in ms.
    pub grace_ms: i64,
    /// Limits and detectors.
    pub detection: Settings,
    /// Redundancy group: its members' entries carry a digest of their readings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How alarms are treated; none in the boots of programs that knew none.
    #[serde(default)]
    pub alarms: Option<alarm::Settings>,
    /// Bytes of ordinary messages that may wait for the cloud.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crossing_bytes: u64,
    /// Ordinary messages of the cloud's broker that bridges ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<Wanted>,
    /// What goes to the cloud is offered first ([`crate::record::Record::Offered`]); the first programs did not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offers: bool,
    /// Alerts of a page ([`crate::limits::PAGE_ALERTS`]); 0 in the boots of programs that kept all in
    /// memory, and numbered their other pages accordingly.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub page_alerts: u64,
}

pub(crate) fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl FoldConfig {
    /// The settings that a boot record carries.
    ///
    /// # Errors
    /// The decoder's.
    pub fn decode(bytes: &[u8]) -> Result<Self, schemas::DecodeError> {
        schemas::cbor::from_slice(bytes, bytes.len())
    }
}
