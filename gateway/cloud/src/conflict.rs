//! Two that speak under one boot, as far as this process has seen.

use serde_json::{Value, json};

/// Two that spoke under one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The boot.
    pub boot: u64,
    /// Where the second was to go on.
    pub seq: u64,
}

impl Conflict {
    /// As a gateway's status shows it.
    pub fn json(&self) -> Value {
        json!({"boot": format!("{:016x}", self.boot), "from": self.seq})
    }
}
