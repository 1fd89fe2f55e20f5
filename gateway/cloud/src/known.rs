//! Alarms as the doors know them, beside the core that has them all.

use hashbrown::HashMap;
use parking_lot::RwLock;
use replica::alarm::{Alarm, PENDING_MAX};

/// Alarms that the doors know, as `{gateway}/{series}/{kind}`: what cannot be is refused at once, and alerts that nobody
/// has put aside are shown at once.
pub type Known = RwLock<HashMap<String, Standing>>;

/// How an alarm stands, as far as doors need to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// People have put it aside here, and its gateway does not know yet.
    pub is_aside: bool,
    /// So much waits for its gateway that nothing more is taken.
    pub is_full: bool,
}

impl Standing {
    /// At the gateway's logged clock.
    pub fn of(alarm: &Alarm, clock_ms: i64) -> Self {
        Self { is_aside: alarm.is_put_aside_here(clock_ms), is_full: alarm.pending.len() >= PENDING_MAX }
    }
}
