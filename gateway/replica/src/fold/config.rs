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

/// A start of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The logged clock, ms since the Unix epoch.
    pub clock_ms: i64,
    /// Its boot.
    pub boot: u64,
    /// What it changed of what detection depends on ([`FoldConfig::differences`]).
    pub changed: Vec<String>,
}

pub(crate) fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl FoldConfig {
    /// What a start with other settings changes of what detection depends on, in sentences for a person.
    pub fn differences(&self, new: &Self) -> Vec<String> {
        let mut out = Vec::new();
        if self.fold_version != new.fold_version {
            out.push(format!("the program's fold version went from {} to {}", self.fold_version, new.fold_version));
        }
        let (before, after) = (&self.detection.limits, &new.detection.limits);
        out.extend(after.iter().filter(|rule| !before.contains(rule)).map(|rule| format!("limit new or changed: {rule}")));
        out.extend(before.iter().filter(|rule| !after.contains(rule)).map(|rule| format!("limit gone: {rule}")));
        let (old, now) = (&self.detection, &new.detection);
        let rules = [
            ("maintenance windows", old.maintenance != now.maintenance),
            ("suppression by design", old.suppressions != now.suppressions),
            ("detectors in shadow", old.shadows != now.shadows),
            ("groups", old.groups != now.groups),
        ];
        out.extend(rules.into_iter().filter(|(_, changed)| *changed).map(|(what, _)| format!("the configuration of {what}")));
        if self.alarms != new.alarms {
            out.push("the treatment of alarms".to_owned());
        }
        out
    }

    /// The settings that a boot record carries.
    ///
    /// # Errors
    /// The decoder's.
    pub fn decode(bytes: &[u8]) -> Result<Self, schemas::DecodeError> {
        schemas::cbor::from_slice(bytes, bytes.len())
    }
}
