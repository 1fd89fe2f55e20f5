//! The logged clock: follows the wall clock, once that is set, and never goes back.

use replica::clock::Clock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall time in ms since the Unix epoch, 0 for a clock before it.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The clock that records carry.
#[derive(Debug)]
pub struct LoggedClock {
    clock: Clock,
    now_ms: i64,
    logged_ms: i64,
    began: Instant,
    is_unset: bool,
    /// What it said when it was read last.
    read_ms: Option<i64>,
    was_away: bool,
    /// How much of that it leapt.
    leapt_ms: i64,
    /// The monotonic clock when it was read last.
    passed_ms: i64,
}

/// The core reads the clock once a second at least: one that went on by so much between two reads, in ms,
/// stood still, or leapt ahead.
const AWAY_MS: i64 = 2_000;

impl LoggedClock {
    /// A clock that goes on from the last one logged.
    pub fn resume(logged_ms: i64) -> Self {
        let (clock, began) = (Clock::resume(logged_ms, 0), Instant::now());
        Self {
            clock,
            now_ms: logged_ms,
            logged_ms,
            began,
            is_unset: !is_set(wall_ms()),
            read_ms: None,
            was_away: false,
            leapt_ms: 0,
            passed_ms: 0,
        }
    }

    /// Reads the clock: the arrival time of what is appended until it is read again.
    pub fn read(&mut self) -> i64 {
        let monotonic_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        // A clock that was not set goes on with the monotonic one, until it is and the log says so.
        let wall_ms = if self.is_unset { i64::MIN } else { wall_ms() };
        self.now_ms = self.clock.read(wall_ms, monotonic_ms);
        let before_ms = self.read_ms.replace(self.now_ms);
        let passed_ms = monotonic_ms - std::mem::replace(&mut self.passed_ms, monotonic_ms);
        if let Some(on_ms) = before_ms.map(|before_ms| self.now_ms.saturating_sub(before_ms)).filter(|on_ms| *on_ms >= AWAY_MS) {
            self.was_away = true;
            self.leapt_ms = self.leapt_ms.saturating_add(on_ms.saturating_sub(passed_ms).max(0));
        }
        self.now_ms
    }

    /// Whether [`LoggedClock::take_away`] has something to say.
    pub fn was_away(&self) -> bool {
        self.was_away
    }

    /// Whether nobody read it for a while since this was last asked, and how much of that it leapt, in ms: the log is to
    /// say so before anything else.
    pub fn take_away(&mut self) -> Option<u64> {
        let leapt_ms = std::mem::take(&mut self.leapt_ms).unsigned_abs();
        std::mem::take(&mut self.was_away).then_some(leapt_ms)
    }

    /// Whether the wall clock was not set when the process began, and is not followed yet.
    pub fn is_unset(&self) -> bool {
        self.is_unset
    }

    /// The wall clock is set and followed from here on. By how many ms this one was behind it.
    pub fn set(&mut self) -> i64 {
        let behind_ms = wall_ms().saturating_sub(self.read());
        self.is_unset = false;
        self.read();
        // The record about it says as much.
        (self.was_away, self.leapt_ms) = (false, 0);
        behind_ms
    }

    /// The clock of the last record, ms since the Unix epoch.
    pub fn logged_ms(&self) -> i64 {
        self.logged_ms
    }

    /// By how many ms the next record advances the logged clock; called once for each record.
    pub fn stamp(&mut self) -> u64 {
        let advance = self.now_ms.abs_diff(self.logged_ms);
        self.logged_ms = self.now_ms;
        advance
    }
}

/// 2020-01-01: a clock before it was never set, as on a device without a battery for it.
const SET_MS: i64 = 1_577_836_800_000;

/// Whether a wall clock that says so was ever set.
pub fn is_set(wall_ms: i64) -> bool {
    wall_ms >= SET_MS
}

/// A step of the wall clock against the monotonic one is a jump beyond this, in ms; what a time
/// service corrects bit by bit is none.
const JUMP_MS: i64 = 1_000;
/// How long a jump is told, in ms.
const JUMP_TOLD_MS: i64 = 10 * 60 * 1_000;
/// A logged clock that is ahead is told in the log so often, in ms.
const AHEAD_TOLD_MS: i64 = 60 * 60 * 1_000;
/// Beyond this difference to the cloud's clock the own one counts as skewed, and the logged clock as ahead of it, in ms.
const SKEW_MS: i64 = 5_000;

/// How good the wall clock is, looked at from time to time.
#[derive(Debug, Default)]
pub struct Watch {
    /// Wall less monotonic time at the last look.
    offset_ms: Option<i64>,
    /// Monotonic time of the last jump.
    jumped_ms: Option<i64>,
    /// Jumps seen by this process.
    pub jumps: u64,
    is_unset: bool,
    now_ms: i64,
    /// By how many ms the logged clock lies before the wall clock: it never goes back.
    pub ahead_ms: i64,
    /// When that was last told, of the monotonic clock.
    ahead_told_ms: Option<i64>,
    /// Wall clock less the cloud's at its last answer, in ms; the answer's way makes it a little larger.
    pub skew_ms: Option<i64>,
}

impl Watch {
    /// A look at both clocks, in ms; the monotonic one from any point on.
    pub fn look(&mut self, wall_ms: i64, monotonic_ms: i64) {
        let offset_ms = wall_ms.saturating_sub(monotonic_ms);
        if self.offset_ms.is_some_and(|before| before.abs_diff(offset_ms) > JUMP_MS.unsigned_abs()) {
            self.jumps += 1;
            self.jumped_ms = Some(monotonic_ms);
        }
        (self.offset_ms, self.now_ms, self.is_unset) = (Some(offset_ms), monotonic_ms, !is_set(wall_ms));
    }

    /// What the logged clock says at a look. Whether it is time to tell that it is ahead.
    pub fn logged(&mut self, wall_ms: i64, logged_ms: i64) -> bool {
        self.ahead_ms = if self.is_unset { 0 } else { logged_ms.saturating_sub(wall_ms).max(0) };
        if self.ahead_ms <= SKEW_MS {
            self.ahead_told_ms = None;
            return false;
        }
        let is_due = self.ahead_told_ms.is_none_or(|told_ms| self.now_ms - told_ms >= AHEAD_TOLD_MS);
        if is_due {
            self.ahead_told_ms = Some(self.now_ms);
        }
        is_due
    }

    /// The cloud answered, by its own clock.
    pub fn answered(&mut self, wall_ms: i64, cloud_ms: i64) {
        self.skew_ms = Some(wall_ms.saturating_sub(cloud_ms));
    }

    /// As intervals say it: 1 never set, 2 jumped lately, 0 nothing against it.
    pub fn quality(&self) -> u8 {
        match self.jumped_ms {
            _ if self.is_unset => 1,
            Some(at) if self.now_ms - at < JUMP_TOLD_MS => 2,
            _ => 0,
        }
    }

    /// In a word: `ok`, `unset`, `ahead`, `jumped`, `skewed`.
    pub fn word(&self) -> &'static str {
        match self.quality() {
            1 => "unset",
            // It lasts when a jump is long over.
            _ if self.ahead_ms > SKEW_MS => "ahead",
            2 => "jumped",
            _ if self.skew_ms.is_some_and(|skew| skew.abs() > SKEW_MS) => "skewed",
            _ => "ok",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_read_for_long_says_so_once() {
        let mut clock = LoggedClock::resume(0);
        clock.read();
        assert_eq!(clock.take_away(), None, "a start is none");
        // As if the process had stood still for as long.
        let stand = |clock: &mut LoggedClock, passed_ms: i64| {
            clock.read_ms = clock.read_ms.map(|read_ms| read_ms - 10 * AWAY_MS);
            clock.passed_ms -= passed_ms;
            clock.read();
            [clock.take_away(), clock.take_away()]
        };
        let [away, again] = stand(&mut clock, 10 * AWAY_MS);
        assert!(away.is_some_and(|leapt_ms| leapt_ms < 100) && again.is_none(), "{away:?}");
        // It leapt ahead by most of that.
        let [away, again] = stand(&mut clock, AWAY_MS);
        assert!(away.is_some_and(|leapt_ms| leapt_ms.abs_diff(9 * AWAY_MS as u64) < 100) && again.is_none(), "{away:?}");
    }

    #[test]
    fn a_logged_clock_is_ahead_of_one_that_was_set_back_until_that_has_come_there() {
        let (mut w, set, day) = (Watch::default(), 1_700_000_000_000, 86_400_000);
        w.look(set + day, 0);
        assert!(!w.logged(set + day, set + day));
        w.look(set, 1_000);
        assert!(w.logged(set, set + day), "told at once");
        assert_eq!((w.word(), w.ahead_ms, w.quality()), ("ahead", day, 2));
        w.look(set + 3_500_000, 3_501_000);
        assert!(!w.logged(set + 3_500_000, set + day + 3_500_000), "and not again and again");
        assert_eq!((w.word(), w.quality()), ("ahead", 0), "it lasts when the jump is long over");
        w.look(set + 3_600_000, 3_601_000);
        assert!(w.logged(set + 3_600_000, set + day));
        w.look(set + day, day + 1_000);
        assert!(!w.logged(set + day, set + day));
        assert_eq!((w.word(), w.ahead_ms), ("ok", 0));
        w.look(0, day + 2_000);
        w.logged(0, set + day);
        assert_eq!((w.word(), w.ahead_ms), ("unset", 0), "one that was never set is another matter");
    }

    #[test]
    fn a_clock_is_unset_then_jumps_then_is_well() {
        let mut w = Watch::default();
        w.look(5_000, 100);
        assert_eq!((w.word(), w.quality(), w.jumps), ("unset", 1, 0));
        w.look(6_000, 1_100);
        let set = 1_700_000_000_000;
        w.look(set, 2_000);
        assert_eq!((w.word(), w.jumps), ("jumped", 1));
        // Slewing is no jump.
        (0..600).for_each(|s| w.look(set + s * 1_001, 2_000 + s * 1_000));
        assert_eq!((w.word(), w.jumps), ("jumped", 1));
        w.look(set + 601_000, 603_000);
        assert_eq!((w.word(), w.quality()), ("ok", 0));
        w.answered(set, set + 6_000);
        assert_eq!((w.word(), w.skew_ms), ("skewed", Some(-6_000)));
        w.answered(set, set - 1);
        assert_eq!(w.word(), "ok");
        w.look(set, 700_000);
        assert_eq!((w.word(), w.jumps), ("jumped", 2), "backwards too");
    }
}
