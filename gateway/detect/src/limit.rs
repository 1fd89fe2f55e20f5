//! Fixed limits with deadband and delays (ISA-18.2, IEC 62682: on-delay, off-delay, deadband), and dynamic
//! ones, which follow what is usual: their alerts say as `baseline` what that was.
//!
//! A value beyond a limit for the on-delay raises; one back inside by the deadband for the
//! off-delay clears. Delays run by event time from reading to reading, so late data decide as
//! timely data would; when no reading comes at all, the logged clock ends them: a sensor that
//! publishes only changes must not hide an alarm by standing still.
//!
//! The critical limit of a side speaks for its warning limit: a jump beyond both raises the
//! critical one alone, a climb raises the warning and then the critical one, and when only
//! the critical one clears, the warning that still holds is raised then, if it was not yet.

use crate::finding::{Finding, Kind, Severity, State, amount, compared, duration, with_unit};
use crate::rule::LimitRule;
use serde::{Deserialize, Serialize};

/// The limits' kinds, critical before warning on each side.
const KINDS: [Kind; 4] = [Kind::HighHigh, Kind::High, Kind::LowLow, Kind::Low];

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Moment {
    time_ms: i64,
    clock_ms: i64,
}

/// One limit and what is known about it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Slot {
    limit: Option<f64>,
    /// The value is beyond it, delays considered.
    beyond: bool,
    /// An alert says so.
    told: bool,
    /// Since when the value asks for the other state.
    since: Option<Moment>,
}

/// The limits of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limits {
    slots: [Slot; 4],
    deadband: f64,
    on_delay_ms: i64,
    off_delay_ms: i64,
    value: f64,
    /// Event time of the last change of any limit: what is older is past, not news.
    changed_ms: Option<i64>,
    /// A limit was taken away while it was passed: to be told with the next call.
    retired: bool,
    /// Dynamic limits, above and below what is usual, and the fixed ones beside them.
    #[serde(default)]
    dynamic: Option<Dynamic>,
    /// Event time since which a dynamic one is passed, in minutes since the Unix epoch; 0: none is.
    #[serde(default)]
    passed_min: u32,
}

/// A dynamic limit that was passed for so long, in minutes, says what is usual no more.
const LASTS_MIN: u32 = 24 * 60;
/// So long, in minutes, it speaks for all that happens beyond it.
const SPEAKS_MIN: u32 = 60;

/// Whole minutes since the Unix epoch, at least 1.
fn minute(time_ms: i64) -> u32 {
    u32::try_from((time_ms / 60_000).max(1)).unwrap_or(u32::MAX)
}

/// Limits that follow what is usual: as a warning, `high` and `low`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Dynamic {
    above: Option<f64>,
    below: Option<f64>,
    high: Option<f64>,
    low: Option<f64>,
}

/// Places of `high` and `low` among the slots.
const HIGH: usize = 1;
const LOW: usize = 3;

impl Limits {
    /// The limits of a rule. What `before` has as state stays: an alert that is active is
    /// judged by the new limit, and one whose limit is gone is cleared by the next call.
    pub(crate) fn of(rule: Option<&LimitRule>, before: Option<&Limits>) -> Option<Limits> {
        let mut limits = match before {
            Some(before) => before.clone(),
            None => Limits {
                slots: Default::default(),
                deadband: 0.0,
                on_delay_ms: 0,
                off_delay_ms: 0,
                value: 0.0,
                changed_ms: None,
                retired: false,
                dynamic: None,
                passed_min: 0,
            },
        };
        let given = rule.map_or([None; 4], |r| [r.high_high, r.high, r.low_low, r.low]);
        limits.dynamic = rule.filter(|r| r.above_usual.is_some() || r.below_usual.is_some()).map(|r| Dynamic {
            above: r.above_usual.filter(|by| *by > 0.0),
            below: r.below_usual.filter(|by| *by > 0.0),
            high: r.high,
            low: r.low,
        });
        let follows = [false, limits.is_to_follow(HIGH), false, limits.is_to_follow(LOW)];
        for ((slot, limit), follows) in limits.slots.iter_mut().zip(given).zip(follows) {
            // One that follows is set with the next reading.
            let limit = if follows { slot.limit.or(limit) } else { limit };
            if slot.limit != limit {
                slot.limit = limit;
                slot.since = None;
            }
            // One that is gone while an alert says so is cleared with the next call; of one that
            // nobody was told of there is nothing to say.
            slot.beyond &= slot.limit.is_some() || slot.told;
        }
        // `max` also turns a deadband that is no number into 0.
        limits.deadband = rule.map_or(0.0, |r| r.deadband).max(0.0);
        limits.on_delay_ms = rule.map_or(0, |r| r.on_delay_ms).max(0);
        limits.off_delay_ms = rule.map_or(0, |r| r.off_delay_ms).max(0);
        limits.retired = limits.slots.iter().any(|s| s.limit.is_none() && s.told);
        let needed = limits.retired || limits.dynamic.is_some() || given.iter().any(Option::is_some);
        needed.then_some(limits)
    }

    /// Whether an alert of a limit speaks for what happens at a moment.
    #[inline]
    pub(crate) fn speaks(&self, time_ms: i64) -> bool {
        let fresh = self.passed_min == 0 || minute(time_ms).saturating_sub(self.passed_min) < SPEAKS_MIN;
        self.slots.iter().enumerate().any(|(at, slot)| slot.beyond && (fresh || !self.follows(at)))
    }

    /// Whether the limit at a place may follow what is usual.
    fn is_to_follow(&self, at: usize) -> bool {
        self.dynamic.is_some_and(|dynamic| match at {
            HIGH => dynamic.above.is_some(),
            LOW => dynamic.below.is_some(),
            _ => false,
        })
    }

    /// Whether it does, and is not the fixed one, which may be nearer.
    fn follows(&self, at: usize) -> bool {
        let is_fixed = |dynamic: Dynamic| self.slots[at].limit == if at == HIGH { dynamic.high } else { dynamic.low };
        self.is_to_follow(at) && !self.dynamic.is_some_and(is_fixed)
    }

    /// Whether some follow what is usual.
    #[inline]
    pub(crate) fn is_dynamic(&self) -> bool {
        self.dynamic.is_some()
    }

    /// Whether a dynamic limit has been passed for a day up to now: where the series is, is usual. From
    /// then on another day counts.
    pub(crate) fn lasts(&mut self, time_ms: i64) -> bool {
        if ![HIGH, LOW].into_iter().any(|at| self.follows(at) && self.slots[at].beyond) {
            self.passed_min = 0;
            return false;
        }
        let now = minute(time_ms);
        let lasts = self.passed_min > 0 && now.saturating_sub(self.passed_min) >= LASTS_MIN;
        if lasts || self.passed_min == 0 {
            self.passed_min = now;
        }
        lasts
    }

    /// Dynamic limits follow what is usual now, unless the value asks for them just now; when it
    /// `lasts` where it is, even then.
    pub(crate) fn follow(&mut self, usual: Option<f64>, lasts: bool) {
        let (Some(dynamic), Some(usual)) = (self.dynamic, usual) else { return };
        let nearer = |fixed: Option<f64>, moved: f64, upper: bool| match fixed {
            Some(fixed) if (fixed < moved) == upper => fixed,
            _ => moved,
        };
        let mut set = |at: usize, limit: f64| {
            let slot = &mut self.slots[at];
            if (lasts || !slot.beyond && slot.since.is_none()) && limit.is_finite() {
                slot.limit = Some(limit);
            }
        };
        if let Some(above) = dynamic.above {
            set(HIGH, nearer(dynamic.high, usual + above, true));
        }
        if let Some(below) = dynamic.below {
            set(LOW, nearer(dynamic.low, usual - below, false));
        }
    }

    /// Judges the newest value.
    #[inline]
    pub(crate) fn observe(&mut self, clock_ms: i64, time_ms: i64, value: f64, unit: Option<&str>, out: &mut Vec<Finding>) {
        self.value = value;
        let mut changed = self.retired;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(limit) = slot.limit else { continue };
            let upper = index < 2;
            let turns = match (slot.beyond, upper) {
                (false, true) => value > limit,
                (false, false) => value < limit,
                (true, true) => value <= limit - self.deadband,
                (true, false) => value >= limit + self.deadband,
            };
            if !turns {
                slot.since = None;
                continue;
            }
            let delay_ms = if slot.beyond { self.off_delay_ms } else { self.on_delay_ms };
            let since = slot.since.get_or_insert(Moment { time_ms, clock_ms });
            if time_ms.saturating_sub(since.time_ms) >= delay_ms {
                slot.beyond = !slot.beyond;
                slot.since = None;
                changed = true;
            }
        }
        if changed {
            self.tell(time_ms, unit, out);
        }
    }

    /// Judges a value that is older than the newest: it can raise what no later reading has
    /// answered yet, and clears nothing. With an on-delay one old value proves nothing. What the
    /// newest is back inside of ends when that has held for the off-delay.
    #[cold]
    pub(crate) fn observe_late(
        &mut self,
        clock_ms: i64,
        (time_ms, value): (i64, f64),
        (newest_ms, newest): (i64, f64),
        unit: Option<&str>,
        out: &mut Vec<Finding>,
    ) {
        if self.on_delay_ms > 0 || self.changed_ms.is_some_and(|changed| time_ms <= changed) {
            return;
        }
        let mut changed = false;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let passed = match slot.limit {
                Some(limit) if index < 2 => value > limit,
                Some(limit) => value < limit,
                None => false,
            };
            if passed && !slot.beyond {
                let is_back = slot.limit.is_some_and(|limit| match index < 2 {
                    true => newest <= limit - self.deadband,
                    false => newest >= limit + self.deadband,
                });
                slot.beyond = true;
                slot.since = is_back.then_some(Moment { time_ms: newest_ms, clock_ms });
                changed = true;
            }
        }
        if changed {
            self.value = value;
            self.tell(time_ms, unit, out);
            self.value = newest;
        }
    }

    /// The logged clock at which a delay ends without a reading.
    #[inline]
    pub(crate) fn due(&self) -> Option<i64> {
        if self.retired {
            return Some(0);
        }
        if self.slots.iter().all(|slot| slot.since.is_none()) {
            return None;
        }
        let ends = |slot: &Slot| {
            let delay_ms = self.delay_ms(slot);
            Some(slot.since?.clock_ms.saturating_add(delay_ms))
        };
        self.slots.iter().filter_map(ends).min()
    }

    /// The logged clock moved without a reading.
    pub(crate) fn tick(&mut self, clock_ms: i64, unit: Option<&str>, out: &mut Vec<Finding>) {
        let mut changed = self.retired.then_some(self.changed_ms.unwrap_or(clock_ms));
        for index in 0..self.slots.len() {
            let Some(since) = self.slots[index].since else {
                continue;
            };
            let delay_ms = self.delay_ms(&self.slots[index]);
            if clock_ms < since.clock_ms.saturating_add(delay_ms) {
                continue;
            }
            let slot = &mut self.slots[index];
            slot.beyond = !slot.beyond;
            slot.since = None;
            let time_ms = since.time_ms.saturating_add(delay_ms);
            changed = Some(changed.map_or(time_ms, |t: i64| t.max(time_ms)));
        }
        if let Some(time_ms) = changed {
            self.tell(time_ms, unit, out);
        }
    }

    /// The clock was `clock_ms` behind and is set now, and event time `time_ms`.
    #[cold]
    pub(crate) fn shift(&mut self, clock_ms: i64, time_ms: i64) {
        for since in self.slots.iter_mut().filter_map(|slot| slot.since.as_mut()) {
            since.clock_ms = since.clock_ms.saturating_add(clock_ms);
            since.time_ms = since.time_ms.saturating_add(time_ms);
        }
        let later = |at: i64| at.saturating_add(time_ms);
        self.changed_ms = self.changed_ms.map(later);
        if self.passed_min > 0 {
            self.passed_min = minute(later(i64::from(self.passed_min) * 60_000));
        }
    }

    /// Event time starts anew: delays that run are measured from the next reading.
    pub(crate) fn restart(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.since = None);
        (self.changed_ms, self.passed_min) = (None, 0);
    }

    fn delay_ms(&self, slot: &Slot) -> i64 {
        if slot.beyond { self.off_delay_ms } else { self.on_delay_ms }
    }

    /// Says what changed: what cleared, then what began.
    #[cold]
    fn tell(&mut self, time_ms: i64, unit: Option<&str>, out: &mut Vec<Finding>) {
        self.changed_ms = Some(time_ms);
        if self.retired {
            self.retired = false;
            for slot in self.slots.iter_mut().filter(|s| s.limit.is_none()) {
                slot.beyond = false;
            }
        }
        for (index, kind) in KINDS.into_iter().enumerate() {
            if self.slots[index].told && !self.slots[index].beyond {
                self.slots[index].told = false;
                out.push(self.finding(index, kind, State::Cleared, time_ms, unit));
            }
        }
        for (index, kind) in KINDS.into_iter().enumerate() {
            let spoken_for = index % 2 == 1 && self.slots[index - 1].beyond;
            let slot = &mut self.slots[index];
            if slot.beyond && !slot.told && !spoken_for {
                slot.told = true;
                out.push(self.finding(index, kind, State::Active, time_ms, unit));
            }
        }
    }

    fn finding(&self, index: usize, kind: Kind, state: State, time_ms: i64, unit: Option<&str>) -> Finding {
        let limit = self.slots[index].limit;
        // What is usual, and by how much the limit is beyond it.
        let usual = limit.filter(|_| self.follows(index)).zip(self.dynamic).and_then(|(limit, dynamic)| match index {
            HIGH => dynamic.above.map(|by| (limit - by, by)),
            _ => dynamic.below.map(|by| (limit + by, by)),
        });
        let message = match limit {
            None => format!("the limit was removed; the last value was {}", amount(self.value, unit)),
            Some(limit) => {
                let (value, bound) = compared(self.value, limit);
                let (value, bound) = (with_unit(&value, unit), with_unit(&bound, unit));
                let upper = index < 2;
                // What is told late (the critical limit cleared, the warning holds within its
                // deadband) must not claim more than the value shows.
                let passed = if upper { self.value > limit } else { self.value < limit };
                let side = match (state, upper, passed) {
                    (State::Active, true, true) => "is above",
                    (State::Active, false, true) => "is below",
                    (State::Active, _, false) => "is not far enough back from",
                    (State::Cleared, true, _) => "is back below",
                    (State::Cleared, false, _) => "is back above",
                };
                let delay = match state {
                    State::Active if self.on_delay_ms > 0 => {
                        format!(" for {}", duration(self.on_delay_ms))
                    }
                    _ => String::new(),
                };
                let beside = usual.filter(|_| state == State::Active).map_or(String::new(), |(usual, by)| {
                    let side = if upper { "above" } else { "below" };
                    format!(", which is {} {side} what is usual, {}", amount(by, unit), amount(usual, unit))
                });
                format!("{value} {side} {bound}{delay}{beside}")
            }
        };
        let severity = match kind {
            Kind::HighHigh | Kind::LowLow => Severity::Critical,
            _ => Severity::Warning,
        };
        Finding {
            kind,
            severity,
            state,
            time_ms,
            value: self.value,
            limit,
            score: None,
            baseline: usual.map(|(usual, _)| usual),
            message,
            contributors: Vec::new(),
        }
    }
}
