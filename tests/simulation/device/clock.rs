//! A device's logged clock, as `edge::clock` keeps it: it follows the wall clock once that is set.

/// 2020-01-01, as in `edge::clock`: a wall clock before it was never set.
const SET_MS: i64 = 1_577_836_800_000;

/// Whether a wall clock that says so was ever set.
pub fn is_set(wall_ms: i64) -> bool {
    wall_ms >= SET_MS
}

#[derive(Clone)]
pub(super) struct Clock {
    clock: replica::clock::Clock,
    pub(super) now_ms: i64,
    pub(super) logged_ms: i64,
    pub(super) is_unset: bool,
}

impl Clock {
    /// One that goes on from the last time logged.
    pub(super) fn resume(logged_ms: i64, wall_ms: i64, mono_ms: i64) -> Self {
        let clock = replica::clock::Clock::resume(logged_ms, mono_ms);
        Self { clock, now_ms: logged_ms, logged_ms, is_unset: !is_set(wall_ms) }
    }

    pub(super) fn read(&mut self, wall_ms: i64, mono_ms: i64) -> i64 {
        self.now_ms = self.clock.read(if self.is_unset { i64::MIN } else { wall_ms }, mono_ms);
        self.now_ms
    }

    /// The wall clock is set and followed from here on. By how many ms this one was behind it.
    pub(super) fn set(&mut self, wall_ms: i64, mono_ms: i64) -> i64 {
        let behind_ms = wall_ms - self.read(wall_ms, mono_ms);
        self.is_unset = false;
        self.read(wall_ms, mono_ms);
        behind_ms
    }

    pub(super) fn stamp(&mut self) -> u64 {
        let advance = self.now_ms.abs_diff(self.logged_ms);
        self.logged_ms = self.now_ms;
        advance
    }
}
