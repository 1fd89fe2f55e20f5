//! What a group says: which channels, and why, in one sentence.

use super::{CALM, Group, LASTS, SHRINK, SHRINK_RESIDUAL, Seen, level};
use crate::finding::{Finding, Kind, Severity, State, amount, brief, number, roughly};
use crate::limits::{GROUP_CHANNELS_MAX, SCORE_MAX};

/// Channels that a message names: more than three nobody reads.
const NAMED_MAX: usize = 3;
/// Part of the first contributor's share that another must have to be named.
const NAMED_PART: f64 = 0.3;

/// Which statistic is the most unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The deviation of one channel.
    Channel,
    /// The distance of all of them, T².
    Distance,
    /// What is left of one channel behind all others.
    Residual,
}

/// What one channel adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributor {
    /// The channel's number in the group.
    pub channel: u16,
    /// Its value.
    pub value: f64,
    /// Its usual value; of a residual, the value that goes with the other channels.
    pub usual: f64,
    /// The standard deviation of its smoothed values; of a residual, how far they stray from that.
    pub sigma: f64,
}

/// The group changed its mind.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Began or ended.
    pub state: State,
    /// Event time of the row, in ms since the Unix epoch.
    pub time_ms: i64,
    /// How unusual, in times the largest seen while the machine was learnt.
    pub score: f64,
    /// What is unusual.
    pub cause: Cause,
    /// The event ended because it lasts: it is usual from now on.
    pub lasts: bool,
    /// Who contributes most, most first.
    pub contributors: Vec<Contributor>,
}

impl Group {
    #[cold]
    pub(super) fn change(&mut self, state: State, seen: &Seen<'_>) -> Change {
        let &Seen { time_ms, deviation, sigma, known, largest, times, cause, .. } = seen;
        let mut expected = [(0.0, 1.0); GROUP_CHANNELS_MAX];
        let mut parts = [0.0; GROUP_CHANNELS_MAX];
        match cause {
            Cause::Channel => {}
            Cause::Distance => parts = self.factor(sigma, SHRINK).solve(deviation),
            Cause::Residual => expected = self.factor(sigma, SHRINK_RESIDUAL).residuals(deviation),
        }
        let share = |at: usize| match cause {
            Cause::Channel => deviation[at].abs() / level(known[at], largest),
            Cause::Distance => deviation[at] * parts[at],
            Cause::Residual => expected[at].0.abs() / expected[at].1,
        };
        // Those that were judged, and no others.
        let judged = |&at: &usize| match cause {
            Cause::Channel => self.channels[at].speaks(),
            Cause::Distance => self.channels[at].fits(),
            Cause::Residual => self.channels[at].is_bound(),
        };
        let mut shares = (0..self.channels.len()).filter(judged).map(|at| (at, share(at))).collect::<Vec<_>>();
        // Equal shares stay in the order of their channels, so that every replay names the same.
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        let first = shares.first().map_or(0.0, |(_, share)| *share);
        let contributors = shares
            .into_iter()
            .take(NAMED_MAX)
            .filter(|(_, share)| *share >= NAMED_PART * first)
            .map(|(at, _)| {
                let channel = &self.channels[at];
                let (usual, sigma) = match cause {
                    Cause::Residual => (channel.mean + (deviation[at] - expected[at].0) * sigma[at], sigma[at] * expected[at].1),
                    _ => (channel.mean, sigma[at]),
                };
                Contributor { channel: at as u16, value: channel.before, usual, sigma }
            })
            .collect();
        let lasts = state == State::Cleared && self.below < CALM;
        Change { state, time_ms, score: times.min(SCORE_MAX), cause, lasts, contributors }
    }
}

impl Change {
    /// As an alert says it; `name` gives a channel's name within the group and its unit.
    pub fn finding<'a>(&self, name: impl Fn(u16) -> (&'a str, Option<&'a str>)) -> Finding {
        let parts = self.contributors.iter().map(|part| {
            let (name, unit) = name(part.channel);
            let (value, usual) = (amount(part.value, unit), roughly(part.usual, part.sigma, unit));
            match self.cause {
                Cause::Residual => format!("{name} {value} ({usual} ± {} goes with the others)", brief(part.sigma)),
                _ => format!("{name} {value} (usual {usual} ± {})", brief(part.sigma)),
            }
        });
        let parts = parts.collect::<Vec<_>>().join(", ");
        let times = number((self.score * 10.0).round() / 10.0);
        let message = match self.state {
            State::Active => match self.cause {
                Cause::Channel => format!("unusual, {times} times the largest deviation known: {parts}"),
                Cause::Distance => format!("together unusual, {times} times the largest distance known: {parts}"),
                Cause::Residual => format!("no longer go together, {times} times the largest residual known: {parts}"),
            },
            State::Cleared if self.lasts => format!("unusual for {LASTS} rows, which is usual from now on: {parts}"),
            State::Cleared => format!("usual again for {CALM} rows: {parts}"),
        };
        Finding {
            kind: Kind::Group,
            severity: Severity::Warning,
            state: self.state,
            time_ms: self.time_ms,
            value: self.contributors.first().map_or(0.0, |part| part.value),
            limit: None,
            score: Some(self.score),
            baseline: self.contributors.first().map(|part| part.usual),
            message,
            contributors: Vec::new(),
        }
    }
}
