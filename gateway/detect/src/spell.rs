//! Lengths that come again: of the pauses and rests of a series, those that it is known for.
//!
//! What came twice, alike, is how the series is: a machine that stands every night, a line that
//! stops for each change of its tool. What came once may have been a fault, and counts for nothing
//! yet. What came twice at one time of the day is known for that time only: who stands at night may
//! still be stuck at noon. A length is forgotten when it does not come again: in a week if it came
//! more often than daily, else in three, so that weekends are remembered, too.

use serde::{Deserialize, Serialize};

/// Lengths remembered: those of a break, a night and a weekend, and one that may be a fault.
const LENGTHS: usize = 4;
/// Lengths are alike when the larger is at most so many times the other; and a length is news beyond
/// so many times the known one.
const ALIKE: f32 = 1.5;
/// Parts of a day in which beginnings are kept, of 5.6 minutes each.
const PARTS: i32 = 256;
const PART_MS: i64 = 86_400_000 / PARTS as i64;
/// Beginnings so near are at one time of the day: an hour and a half, so that the clock may be set
/// to summer time.
const NEAR_PARTS: u8 = 16;
/// What comes again so soon comes at any time: half a day.
const OFTEN_PARTS: i32 = PARTS / 2;
/// So long a length is remembered that does not come again.
const KEEP_OFTEN_PARTS: i32 = 7 * PARTS;
const KEEP_PARTS: i32 = 21 * PARTS;

/// How often a length came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Came {
    #[default]
    Never,
    Once,
    /// At one time of the day, on several days.
    Daily,
    /// Several times a day.
    Often,
    /// On several days, at any time.
    Seldom,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Spell {
    length: f32,
    /// When the last one began: the day, counted from 1970 to 2149, and the part of it.
    day: u16,
    part: u8,
    came: Came,
}

/// State of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Spells([Spell; LENGTHS]);

/// A moment in parts of a day.
fn moment(time_ms: i64) -> i32 {
    time_ms.div_euclid(PART_MS).clamp(0, i64::from(u16::MAX) * i64::from(PARTS)) as i32
}

impl Spell {
    fn since(&self, began: i32) -> i32 {
        began - (i32::from(self.day) * PARTS + i32::from(self.part))
    }

    fn is_near(&self, began: i32) -> bool {
        // The day is round: the difference of two times of it, as a signed number of parts.
        ((began % PARTS) as u8).wrapping_sub(self.part).cast_signed().unsigned_abs() <= NEAR_PARTS
    }

    fn is_lost(&self, began: i32) -> bool {
        self.since(began) > if self.came == Came::Often { KEEP_OFTEN_PARTS } else { KEEP_PARTS }
    }

    /// Whether what begins then may be as long.
    fn is_known(&self, began: i32) -> bool {
        let comes = match self.came {
            Came::Never | Came::Once => false,
            Came::Daily => self.is_near(began),
            Came::Often | Came::Seldom => true,
        };
        comes && !self.is_lost(began)
    }

    /// Whether one that began then is this one again.
    fn is_met(&self, began: i32, length: f32) -> bool {
        let alike = self.came != Came::Never && length <= ALIKE * self.length && self.length <= ALIKE * length;
        alike && (self.came != Came::Daily || self.is_near(began))
    }

    fn meet(&mut self, began: i32, length: f32) {
        let often = self.since(began) < OFTEN_PARTS;
        let came = match self.came {
            _ if self.is_lost(began) => Came::Once,
            Came::Never => Came::Once,
            Came::Daily => Came::Daily,
            Came::Once | Came::Seldom | Came::Often if often => Came::Often,
            Came::Once if self.is_near(began) => Came::Daily,
            Came::Once | Came::Seldom => Came::Seldom,
            Came::Often => Came::Often,
        };
        let known = if came == Came::Once { 0.0 } else { self.length };
        *self = Self { length: known.max(length), day: (began / PARTS) as u16, part: (began % PARTS) as u8, came };
    }
}

impl Spells {
    /// Whether there is nothing to remember.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|spell| spell.came == Came::Never)
    }

    /// Up to which length (0 or more) what begins at some time, in ms, is no news; 0 where nothing is known.
    #[inline]
    pub(crate) fn usual(&self, began_ms: i64) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        let began = moment(began_ms);
        let known = self.0.iter().filter(|spell| spell.is_known(began));
        f64::from(ALIKE * known.fold(0.0, |longest: f32, spell| longest.max(spell.length)))
    }

    /// One of such length, that would be news if nothing was known, began at some time, in ms, and is over.
    #[cold]
    pub(crate) fn learn(&mut self, began_ms: i64, length: f64) {
        let (began, short) = (moment(began_ms), length as f32);
        if let Some(spell) = self.0.iter_mut().find(|spell| spell.is_met(began, short)) {
            spell.meet(began, short);
        } else if length > self.usual(began_ms) {
            // An empty place, or that of the one not met for longest.
            let age = |spell: &&mut Spell| if spell.came == Came::Never { i32::MAX } else { spell.since(began) };
            if let Some(spell) = self.0.iter_mut().max_by_key(age) {
                *spell = Spell::default();
                spell.meet(began, short);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    /// 22 o'clock of a day.
    const NIGHT_MS: i64 = 20_000 * DAY_MS + 22 * HOUR_MS;

    #[test]
    fn what_came_on_two_nights_is_usual_at_night_until_it_has_been_without_for_weeks() {
        let mut spells = Spells::default();
        spells.learn(NIGHT_MS, 100.0);
        assert_eq!(spells.usual(NIGHT_MS + DAY_MS), 0.0, "once may have been a fault");
        spells.learn(NIGHT_MS + DAY_MS + HOUR_MS, 120.0);
        let third_ms = NIGHT_MS + 2 * DAY_MS;
        assert_eq!([0, 2, 12].map(|hours| spells.usual(third_ms + hours * HOUR_MS)), [180.0, 180.0, 0.0]);
        spells.learn(third_ms + 12 * HOUR_MS, 110.0);
        assert_eq!(spells.usual(third_ms + DAY_MS + 12 * HOUR_MS), 0.0, "by day it came once");
        let late_ms = NIGHT_MS + 30 * DAY_MS;
        assert_eq!(spells.usual(late_ms), 0.0);
        spells.learn(late_ms, 120.0);
        assert_eq!(spells.usual(late_ms + DAY_MS), 0.0, "new again");
    }

    #[test]
    fn what_comes_several_times_a_day_is_usual_at_any_time_until_it_has_been_without_for_a_week() {
        let mut spells = Spells::default();
        // Over midnight, too.
        [0, 200, 400].into_iter().for_each(|seconds| spells.learn(20_000 * DAY_MS - 100_000 + seconds * 1_000, 15.0));
        assert_eq!([1, 100, 170].map(|hours| spells.usual(20_000 * DAY_MS + hours * HOUR_MS)), [22.5, 22.5, 0.0]);
    }

    #[test]
    fn faults_displace_neither_nights_nor_weekends() {
        let mut spells = Spells::default();
        for day in 0..28 {
            let began_ms = NIGHT_MS + day * DAY_MS;
            spells.learn(began_ms, if day % 7 == 6 { 560.0 } else { 80.0 });
            if day > 7 {
                spells.learn(began_ms + 10 * HOUR_MS, 10.0 * 1.6_f64.powi(day as i32 % 5));
            }
        }
        assert_eq!(spells.usual(NIGHT_MS + 28 * DAY_MS), 840.0);
    }

    #[test]
    fn any_times_and_lengths_are_taken() {
        let mut spells = Spells::default();
        for time_ms in [i64::MIN, -1, 0, i64::MAX, 5, i64::MAX - 1, i64::MIN] {
            for length in [0.0, 1e-30, 1e300, f64::from(u32::MAX)] {
                spells.learn(time_ms, length);
                assert!(spells.usual(time_ms) >= 0.0);
            }
        }
    }
}
