//! The figures of the standard (ISA-18.2, clause 16; EEMUA 191): rates, floods, stale, most frequent.
//!
//! They are about the load on people: alarms that are shelved, out of service or suppressed by
//! design count in none of them but `held`, `standing` and `active`.

use super::Name;
use super::board::Board;
use super::flood::{SERIES, TEN_MINUTES_MS};
use super::kpi::DAY_MS;
use super::{CHATTERS, STALE_MS, Standing, is_annunciated};
use std::collections::BTreeMap;

/// How many of the most frequent are told.
const TOP: usize = 10;

/// The figures at one moment, over the day before it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// Alarms raised, of which people were told, in ten minutes, on average over `base_ms`; over less than ten minutes, all of them.
    pub average: f64,
    /// What the average is over: since the first alarm, a day at most, in ms.
    pub base_ms: i64,
    /// The most in one slot of ten minutes by the clock, as the standard counts. A flood counts any
    /// ten minutes, so its peak may be twice as high.
    pub peak: u64,
    /// Raised in the day.
    pub raised: u64,
    /// Share of the time in flood, 0 to 1.
    pub flood_share: f64,
    /// Time in flood, in ms.
    pub flood_ms: i64,
    /// Floods, the one under way included.
    pub floods: u64,
    /// There is one now.
    pub in_flood: bool,
    /// Alerts not shown, over the life of the list, by why (`AlarmNote::held`).
    pub held: BTreeMap<u8, u64>,
    /// Alarms by standing.
    pub standing: BTreeMap<&'static str, u64>,
    /// Alarms that are active, whether or not they are put aside.
    pub active: u64,
    /// Active for more than a day, and not put aside.
    pub stale: Vec<Name>,
    /// Those raised most often in the day, with how often.
    pub top: Vec<(Name, u64)>,
    /// Those that chattered when they were raised last, in the day.
    pub chattering: Vec<Name>,
    /// Alarms raised, of which people were told, over the life of the list.
    pub total: u64,
    /// Alarms that found no room in the list, or lost it to a more severe one.
    pub refused: u64,
}

impl Figures {
    /// The figures of a board at a time of its holder's clock, ms since the Unix epoch.
    pub fn of(board: &Board, clock_ms: i64) -> Self {
        let kpi = &board.kpi;
        let from = clock_ms.saturating_sub(DAY_MS);
        let bin = |ms: i64| ms.div_euclid(TEN_MINUTES_MS);
        let recent = kpi.raised.iter().filter(|(at, _)| *at > bin(from));
        let (raised, peak) = recent.fold((0, 0), |(sum, peak), (_, n)| (sum + u64::from(*n), u64::from(*n).max(peak)));
        let began = kpi.began_ms.map_or(clock_ms, |began| began.max(from));
        let span_ms = clock_ms.saturating_sub(began).max(TEN_MINUTES_MS);
        let open = kpi.flood_ms.map(|since| (since, kpi.flood_end(since, clock_ms)));
        let floods = kpi.floods.iter().copied().chain(open).filter(|(_, to)| *to > from);
        let (floods, flood_ms) = floods.fold((0, 0), |(count, ms), (since, to)| (count + 1, ms + (to - since.max(from))));
        let mut figures = Self {
            base_ms: clock_ms.saturating_sub(began),
            average: raised as f64 * TEN_MINUTES_MS as f64 / span_ms as f64,
            peak,
            raised,
            flood_share: (flood_ms as f64 / span_ms as f64).min(1.0),
            flood_ms,
            floods,
            in_flood: kpi.flood_ms.is_some(),
            held: kpi.held.clone(),
            total: kpi.total,
            refused: board.refused,
            ..Self::default()
        };
        for standing in Standing::ALL {
            figures.standing.insert(standing.as_str(), 0);
        }
        for (name, alarm) in board.iter() {
            let standing = alarm.standing(clock_ms);
            *figures.standing.entry(standing.as_str()).or_default() += 1;
            let active = alarm.raised.as_ref().filter(|_| alarm.is_active());
            figures.active += u64::from(active.is_some());
            if standing.holds().is_none() && active.is_some_and(|raised| clock_ms.saturating_sub(raised.key.at_ms) > STALE_MS) {
                figures.stale.push(name.clone());
            }
            let recent = alarm.raised.as_ref().filter(|raised| raised.key.at_ms > from && is_annunciated(raised.note.held));
            if recent.is_some_and(|raised| raised.note.flags & CHATTERS != 0) {
                figures.chattering.push(name.clone());
            }
            let often = alarm.annunciated(clock_ms);
            if often > 0 && name.0 != SERIES {
                figures.top.push((name.clone(), often));
            }
        }
        figures.top.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        figures.top.truncate(TOP);
        figures
    }
}
