//! A device's logged clock, as `edge::clock` keeps it.

/// The logged clock as `edge::clock` keeps it: follows the wall, never goes back.
#[derive(Clone)]
pub(super) struct Clock {
    pub(super) now_ms: i64,
    pub(super) logged_ms: i64,
    pub(super) since_ms: i64,
}

impl Clock {
    pub(super) fn read(&mut self, wall_ms: i64, mono_ms: i64) -> i64 {
        self.now_ms = if wall_ms >= self.now_ms { wall_ms } else { self.now_ms + (mono_ms - self.since_ms) };
        self.since_ms = mono_ms;
        self.now_ms
    }

    pub(super) fn stamp(&mut self) -> u64 {
        let advance = self.now_ms.abs_diff(self.logged_ms);
        self.logged_ms = self.now_ms;
        advance
    }
}
