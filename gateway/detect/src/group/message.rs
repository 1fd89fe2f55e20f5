//! What a group says: which channels, and why, in one sentence.

use super::{CALM, Group, LASTS, Seen, level};
use crate::finding::{Finding, Kind, Severity, State, amount, number};
use crate::limits::{GROUP_CHANNELS_MAX, SCORE_MAX};

/// Channels that a message names: more than three nobody reads.
const NAMED_MAX: usize = 3;
/// Part of the first contributor's share that another must have to be named.
const NAMED_PART: f64 = 0.3;

/// What one channel adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributor {
    /// The channel's number in the group.
    pub channel: u16,
    /// Its value.
    pub value: f64,
    /// Its usual value.
    pub usual: f64,
    /// The standard deviation of its smoothed values.
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
    /// It is the channels together that are unusual, not one of them alone.
    pub together: bool,
    /// The event ended because it lasts: it is usual from now on.
    pub lasts: bool,
    /// Who contributes most, most first.
    pub contributors: Vec<Contributor>,
}

impl Group {
    #[cold]
    pub(super) fn change(&mut self, state: State, seen: &Seen<'_>) -> Change {
        let &Seen { time_ms, deviation, sigma, largest, times, together, .. } = seen;
        let solved = if together { self.factor(sigma).solve(deviation) } else { [0.0; GROUP_CHANNELS_MAX] };
        let mut shares = (0..self.channels.len())
            .filter(|&at| self.channels[at].speaks())
            .map(|at| {
                let alone = deviation[at].abs() / level(self.channels[at].record, largest);
                (at, if together { deviation[at] * solved[at] } else { alone })
            })
            .collect::<Vec<_>>();
        // Equal shares stay in the order of their channels, so that every replay names the same.
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        let first = shares.first().map_or(0.0, |(_, share)| *share);
        let contributors = shares
            .into_iter()
            .take(NAMED_MAX)
            .filter(|(_, share)| *share >= NAMED_PART * first)
            .map(|(at, _)| Contributor {
                channel: at as u16,
                value: self.channels[at].before,
                usual: self.channels[at].mean,
                sigma: sigma[at],
            })
            .collect();
        let lasts = state == State::Cleared && self.below < CALM;
        Change { state, time_ms, score: times.min(SCORE_MAX), together, lasts, contributors }
    }
}

impl Change {
    /// As an alert says it; `name` gives a channel's name within the group and its unit.
    pub fn finding<'a>(&self, name: impl Fn(u16) -> (&'a str, Option<&'a str>)) -> Finding {
        let parts = self.contributors.iter().map(|part| {
            let (name, unit) = name(part.channel);
            format!("{name} {} (usual {} ± {})", amount(part.value, unit), amount(part.usual, unit), number(part.sigma))
        });
        let parts = parts.collect::<Vec<_>>().join(", ");
        let times = number((self.score * 10.0).round() / 10.0);
        let message = match self.state {
            State::Active if self.together => format!("together unusual, {times} times the largest distance known: {parts}"),
            State::Active => format!("unusual, {times} times the largest deviation known: {parts}"),
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
