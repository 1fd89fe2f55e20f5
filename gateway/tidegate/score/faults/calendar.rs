//! Faultless series of more than a day: machines that rest at night and at the weekend, and
//! machines that do the same again and again. What comes back is no anomaly.

use super::plant::Chance;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A Monday, ms since the Unix epoch.
const MONDAY_MS: i64 = 1_699_833_600_000;

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calendar {
    /// A machine that works from 6 to 22 o'clock on working days; at rest its sensor still stirs.
    Shifts,
    /// One that works day and night on working days; at rest its sensor tells one and the same value.
    Week,
    /// A press: heats, holds and cools in steps, every 20 minutes.
    Steps,
    /// The same, heated and cooled steadily.
    Waves,
}

pub const CALENDARS: [Calendar; 4] = [Calendar::Shifts, Calendar::Week, Calendar::Steps, Calendar::Waves];

impl Calendar {
    pub fn name(self) -> &'static str {
        match self {
            Self::Shifts => "shifts",
            Self::Week => "working week",
            Self::Steps => "cycle, steps",
            Self::Waves => "cycle, waves",
        }
    }

    /// Days of a series: weeks where weekends matter.
    pub fn days(self) -> i64 {
        match self {
            Self::Shifts | Self::Week => 28,
            Self::Steps | Self::Waves => 4,
        }
    }

    /// After which day what comes back has been seen.
    pub fn seen_days(self) -> i64 {
        if self.days() == 28 { 7 } else { 1 }
    }

    fn gap_ms(self) -> i64 {
        if self.days() == 28 { 10_000 } else { 1_000 }
    }
}

/// The readings of one series: their times, ms since the Unix epoch, with the day they are of, and values with one decimal.
pub fn readings(calendar: Calendar, seed: u64) -> impl Iterator<Item = (i64, i64, f64)> {
    let mut chance = Chance::new(seed);
    // On any day of the week, at any hour.
    let start_ms = MONDAY_MS + chance.between(0.0, (7 * DAY_MS) as f64) as i64;
    let mut wanders = 0.0;
    (1..=calendar.days() * DAY_MS / calendar.gap_ms()).map(move |at| {
        let now_ms = start_ms + at * calendar.gap_ms();
        let (weekday, hour) = ((now_ms - MONDAY_MS) / DAY_MS % 7, now_ms % DAY_MS / HOUR_MS);
        let cycle = (now_ms % 1_200_000) as f64 / 1_200_000.0;
        wanders = 0.99 * wanders + 0.14 * chance.normal();
        let works = match calendar {
            Calendar::Shifts => weekday < 5 && (6..22).contains(&hour),
            Calendar::Week => weekday < 5,
            Calendar::Steps | Calendar::Waves => true,
        };
        let value = match calendar {
            Calendar::Shifts | Calendar::Week if works => 60.0 + 0.3 * wanders + 0.5 * chance.normal(),
            Calendar::Shifts => 20.0 + 0.2 * chance.normal(),
            Calendar::Week => 20.0,
            Calendar::Steps if cycle < 0.25 => 80.0 + 0.3 * chance.normal(),
            Calendar::Steps if cycle < 0.4 => 50.0 + 0.3 * chance.normal(),
            Calendar::Steps => 30.0 + 0.3 * chance.normal(),
            Calendar::Waves => 50.0 + 20.0 * (std::f64::consts::TAU * cycle).sin() + 0.3 * chance.normal(),
        };
        (now_ms, (now_ms - start_ms) / DAY_MS, (value * 10.0).round() / 10.0)
    })
}
