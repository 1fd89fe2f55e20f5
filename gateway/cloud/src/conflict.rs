//! Two that speak under one boot, as far as this process has seen.

use crate::core::Core;
use schemas::message::Delta;
use serde_json::{Value, json};
use tracing::error;

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

impl Core {
    /// Says so where an interval that is turned down is of another log than what is here.
    pub(crate) fn compare(&mut self, gateway: &str, delta: &Delta) {
        if !self.bridge.is_of_another_log(gateway, delta) {
            return;
        }
        let known = self.conflicts.insert(gateway.to_owned(), Conflict { boot: delta.boot, seq: delta.from });
        if known.is_none_or(|known| known.boot != delta.boot) {
            let boot = format!("{:016x}", delta.boot);
            error!(
                gateway,
                boot,
                from = delta.from,
                "two devices speak under one boot, with different logs; the second must begin another"
            );
        }
    }
}
