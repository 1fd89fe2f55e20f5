//! A machine's channels together: what no single channel shows, and what all of them show.
//!
//! Each channel is smoothed lightly and measured in its own standard deviations, learnt with
//! clipped updates. Three statistics are compared with the largest that the stream itself showed
//! while it was learnt, so that autocorrelation, heavy tails and the number of channels are
//! accounted for without a model of any:
//! - the largest deviation of one channel (its own record and that of all channels count alike);
//! - Hotelling's T² on a shrunk, exponentially weighted correlation, which sees channels that
//!   no longer go together though each stays within its range;
//! - the largest residual: what a regression of each channel on all others leaves of it, by a
//!   correlation that is hardly shrunk. It is the squared prediction error, taken channel by
//!   channel, and sees one channel that no longer follows the others long before T² does, in
//!   which the directions along which all move count as much.
//!
//! Records go on growing, a little with every row and more with every event that ended, and are
//! forgotten in days: the longer a machine runs, the rarer what is told. One event alone teaches
//! little, however large: a sensor's -999 says nothing of the machine's faults. One that comes
//! again, alike, teaches what it is. A single wild row is hardly an event: what is forty deviations
//! out counts as ten before the next value confirms it. No record is below what noise alone reaches
//! in as many rows, so that a start that was not calm, whose scales fall for hours, makes no
//! alert. An event begins after a few rows beyond 1.25
//! times the record and ends after a calm half minute (at 1 Hz). What is small beside the event before, its after-effect, is no news until
//! that one is forgotten. While it lasts, the channels that are out teach nothing; what lasts
//! half an hour is how the machine runs now, and is learnt anew.
//!
//! Readings become rows as they come: a row is complete when every channel has reported, or
//! when one reports again and at least half have; a channel that is missing keeps its value.

mod cholesky;
mod learn;
mod least;
mod message;
mod row;

use crate::finding::State;
use crate::limits::{GROUP_CHANNELS_MAX, GROUP_SIGMA_MIN, GROUP_VALUE_MAX, SCALE_RELATIVE_MIN, SCORE_MAX};
use crate::regime::Regime;
use cholesky::{Factor, packed};
pub use message::{Cause, Change, Contributor};
use row::Row;
use serde::{Deserialize, Serialize};

/// Weight of a new value in the smoothed one: some ten rows count.
const SMOOTH: f64 = 0.1;
/// Rows of a channel before a single one may be wild.
const FEW: u32 = 3;
/// Rows of a channel before its deviations are believed.
const FIT: u32 = 100;
/// Rows of a channel before it speaks: from [`FIT`] on the records grow.
const WARM: u32 = 400;
/// Changes of value before it speaks: a switch that never moved has no scale.
const CHANGES_MIN: u16 = 20;
/// Where updates are clipped, in standard deviations.
const CLIP: f64 = 4.0;
/// Deviations from which on a value counts as so many only, until the next one is as far out on its side.
const WILD: f64 = 40.0;
const WILD_COUNTS: f64 = 10.0;
/// Part of the correlation that is not believed: with few rows, chance makes channels look bound.
const SHRINK: f64 = 0.2;
/// The same for residuals: what is left of a channel behind all others shows only where they are
/// believed to be bound.
const SHRINK_RESIDUAL: f64 = 0.02;
/// Times the record that is unusual.
const TIMES: f64 = 1.25;
/// Rows at which twice as much is asked.
const YOUNG: f64 = 30.0;
/// How much of what an event teaches its record takes up: of equal ones, two are told.
const HABIT: f64 = 0.8;
/// Times the record that an event teaches at most, be it the first of its size; of residuals it
/// teaches nothing, as they have one record for all channels.
const ALONE: f64 = 1.5;
const ALONE_RESIDUAL: f64 = 1.0;
/// Times that two events are alike within.
const ALIKE: f64 = 4.0;
/// Rows between two events that are not one: a fault comes and goes.
const APART: u16 = 600;
/// Part of the last event that is known for so many rows: one fault is told once.
const NEAR: f64 = 0.4;
const NEAR_ROWS: u16 = 3_600;
/// Times its own record that the records of others can make a channel's at most.
const OTHERS: f64 = 4.0;
/// What of a record is kept from row to row: half is forgotten in 12 days at 1 Hz.
const RECORD_KEEP: f64 = 1.0 - 1.0 / 1_572_864.0;
/// Rows beyond it that raise.
const ENTER: u8 = 5;
/// Calm rows that clear.
const CALM: u8 = 30;
/// Part of an event's peak below which its after-effects are calm.
const AFTER: f64 = 0.2;
/// The largest peak that counts: its after-effects are over within 21 minutes at 1 Hz.
const PEAK_MAX: f64 = 200.0;
/// How much of the last peak is kept from row to row: half is forgotten in four minutes at 1 Hz.
const KEEP: f64 = 0.997;
/// Rows after which an event is how the machine runs now.
const LASTS: u16 = 1_800;

/// This detector in a sentence.
pub(crate) fn about() -> String {
    format!(
        "channels of one machine, smoothed over some ten rows: the largest deviation of one, Hotelling's T² of all, and the largest \
         residual of one behind the others; told beyond {TIMES} times the largest known, for {ENTER} rows in a row; over after {CALM} calm ones, or {LASTS}, which are then usual"
    )
}

/// Rows at another known level after which it is where the channel is measured from, and learnt.
const SETTLES: u8 = 60;

/// The largest that an event showed of something becomes known: up to `alone` times the record at once,
/// more if the `last` event was alike, and another one.
fn learn_event(record: &mut f64, last: &mut f64, worst: &mut f64, alone: f64, another: bool) {
    let worst = std::mem::take(worst);
    if worst <= *record {
        return;
    }
    let alike = another && worst <= ALIKE * *last && *last <= ALIKE * worst;
    let taught = worst.min((alone * *record).max(if alike { *last } else { 0.0 }));
    *last = if another { worst } else { last.max(worst) };
    *record += HABIT * (taught - *record).max(0.0);
}

/// One channel's state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Channel {
    /// Its value in the row under way, or the last one it had.
    value: f64,
    /// Its value in the row before.
    before: f64,
    smooth: f64,
    mean: f64,
    /// Largest deviation while it was learnt.
    record: f64,
    /// Largest deviation of the event under way.
    worst: f64,
    /// Rows seen.
    seen: u32,
    /// Changes of value seen, up to [`CHANGES_MIN`].
    changes: u16,
    /// Rows in a row without a reading of its own.
    missed: u8,
    /// Rows in a row at another level that it is known for; from [`SETTLES`] on it has arrived
    /// there, and moves more than where it was.
    #[serde(default)]
    away: u8,
    /// Levels that it is known for.
    #[serde(default)]
    regime: Regime,
    /// Mean square of its latest deviations, in its standard deviation.
    #[serde(default)]
    lively: f64,
    /// Mean square of its distance from what the others let expect; zero: none was seen.
    #[serde(default)]
    stray: f64,
    /// Largest deviation of its last event.
    #[serde(default)]
    last: f64,
    /// The value before was wild alone, and counted less.
    #[serde(default)]
    wild: bool,
}

impl Channel {
    /// It has shown what is usual, and is not missing now.
    fn speaks(&self) -> bool {
        self.seen > WARM && self.changes >= CHANGES_MIN && !self.is_gone()
    }

    /// It is believed to go with others now: not so on the way between levels.
    fn is_bound(&self) -> bool {
        self.fits() && self.away == 0
    }

    fn fits(&self) -> bool {
        self.seen > FIT && self.changes >= CHANGES_MIN && !self.is_gone()
    }
}

/// One row, as it was judged.
struct Seen<'a> {
    time_ms: i64,
    /// Of each channel, from its mean, in its standard deviations.
    deviation: &'a [f64],
    sigma: &'a [f64],
    /// The largest deviation known of each that speaks.
    known: &'a [f64],
    /// And of all of them.
    largest: f64,
    /// T, and the largest residual; none while they are learnt.
    distance: Option<f64>,
    residual: Option<f64>,
    /// How unusual, in times what raises.
    score: f64,
    /// The same, in times the largest known.
    times: f64,
    /// Who says so.
    cause: Cause,
}

/// The detector of one machine: below [`crate::limits::GROUP_STATE_BYTES_MAX`] bytes, heap
/// included. Stored and restored, it goes on exactly as if it never was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Group {
    channels: Vec<Channel>,
    /// Covariance of the smoothed values, lower triangle by rows.
    covariance: Vec<f64>,
    row: Row,
    /// Largest T of the rows while the present set of channels was learnt, and how many there were.
    record_t: f64,
    /// Largest T of the event under way.
    worst_t: f64,
    /// The same of residuals.
    #[serde(default)]
    record_r: f64,
    #[serde(default)]
    worst_r: f64,
    settled: u32,
    /// Size of the last event, as it is forgotten.
    peak: f64,
    above: u8,
    below: u8,
    /// Rows since it was raised; 0: it is not active.
    active: u16,
    /// Score of the last row, in times what raises.
    #[serde(default)]
    score: f64,
    /// Most channels that were measured at once.
    #[serde(default)]
    fitted: u16,
    /// Largest T and residual of the last event, and rows since.
    #[serde(default)]
    last_t: f64,
    #[serde(default)]
    last_r: f64,
    #[serde(default)]
    since: u16,
}

impl Group {
    /// Another channel; none when there are [`GROUP_CHANNELS_MAX`] already.
    pub fn join(&mut self) -> Option<u16> {
        let place = self.channels.len();
        if place == GROUP_CHANNELS_MAX {
            return None;
        }
        // By the one: doubling would leave half of the largest group's memory empty.
        self.channels.reserve_exact(1);
        self.channels.push(Channel::default());
        self.covariance.reserve_exact(place + 1);
        self.covariance.resize(packed(place + 1, 0), 0.0);
        Some(place as u16)
    }

    /// Channels so far.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Bytes of its state, heap included.
    pub fn state_bytes(&self) -> usize {
        size_of::<Self>() + self.channels.capacity() * size_of::<Channel>() + self.covariance.capacity() * size_of::<f64>()
    }

    /// Whether an event goes on.
    pub fn is_active(&self) -> bool {
        self.active > 0
    }

    /// How unusual the last row was, in times what raises.
    pub fn score(&self) -> f64 {
        self.score
    }

    /// A row was complete: judges it, then learns from it.
    fn judge(&mut self, time_ms: i64) -> Option<Change> {
        let count = self.channels.len();
        let mut deviation = [0.0; GROUP_CHANNELS_MAX];
        let mut sigma = [1.0; GROUP_CHANNELS_MAX];
        let mut known = [0.0; GROUP_CHANNELS_MAX];
        let mut largest: f64 = 0.0;
        let near = self.near();
        for (at, channel) in self.channels.iter_mut().enumerate() {
            sigma[at] = self.covariance[packed(at, at)].sqrt().max(SCALE_RELATIVE_MIN * channel.mean.abs()).max(GROUP_SIGMA_MIN);
            channel.step(sigma[at]);
            if channel.fits() {
                deviation[at] = ((channel.smooth - channel.mean) / sigma[at]).clamp(-SCORE_MAX, SCORE_MAX);
            }
            if channel.travels(deviation[at], sigma[at]) {
                deviation[at] = 0.0;
            }
            if channel.speaks() {
                known[at] = channel.record.max(near * channel.last).max(least::of_noise(channel.seen, 1));
                largest = largest.max(known[at]);
            }
        }
        let mut seen = Seen {
            time_ms,
            deviation: &deviation[..count],
            sigma: &sigma[..count],
            known: &known[..count],
            largest,
            distance: None,
            residual: None,
            score: 0.0,
            times: 0.0,
            cause: Cause::Channel,
        };
        self.rate(&mut seen);
        self.score = seen.score.min(SCORE_MAX);
        let change = self.follow(&seen);
        self.learn(&seen);
        change
    }

    /// How unusual the row is; records grow while they are learnt.
    fn rate(&mut self, seen: &mut Seen<'_>) {
        let mut fitting = 0;
        for (at, channel) in self.channels.iter_mut().enumerate() {
            let size = seen.deviation[at].abs();
            if channel.speaks() {
                let times = size / level(seen.known[at], seen.largest);
                if times / raises(channel.seen) > seen.score {
                    (seen.score, seen.times, seen.cause) = (times / raises(channel.seen), times, Cause::Channel);
                }
            } else if channel.fits() && channel.missed == 0 {
                channel.record = channel.record.max(size);
            }
            fitting += u16::from(channel.fits());
        }
        if fitting < 2 {
            return;
        }
        // With a channel more, distances are larger: what is usual is learnt anew.
        if fitting > self.fitted {
            (self.fitted, self.settled) = (fitting, 0);
        }
        let distance = self.factor(seen.sigma, SHRINK).distance(seen.deviation).min(SCORE_MAX);
        let residuals = self.factor(seen.sigma, SHRINK_RESIDUAL).residuals(seen.deviation);
        self.settled = self.settled.saturating_add(1);
        let rows = self.settled.saturating_add(FIT);
        let (residual, behind) = self.stray(seen.sigma, &residuals, least::of_noise(rows, fitting));
        if self.settled <= WARM - FIT {
            self.record_t = self.record_t.max(distance);
            self.record_r = self.record_r.max(residual);
            return;
        }
        (seen.distance, seen.residual) = (Some(distance), Some(residual));
        let raises = raises(rows);
        let alone = (seen.score > 1.0).then_some((seen.times, seen.cause));
        for (cause, times) in [
            (Cause::Distance, distance / self.record_t.max(self.near() * self.last_t).max(least::of_distance(rows, fitting))),
            (Cause::Residual, behind),
        ] {
            if times / raises > seen.score {
                (seen.score, seen.times, seen.cause) = (times / raises, times, cause);
            }
        }
        // What leaves its own range leaves the others behind as well: the simpler is said.
        if let Some((times, cause)) = alone.filter(|_| seen.cause == Cause::Residual) {
            (seen.times, seen.cause) = (times, cause);
        }
    }

    /// Part of the last event that is known, as it was of late.
    fn near(&self) -> f64 {
        if self.since < NEAR_ROWS { NEAR } else { 0.0 }
    }

    /// The shrunk correlation of the channels, factored. One that does not fit yet, or is on its way
    /// to another level, is bound to none.
    fn factor(&self, sigma: &[f64], shrink: f64) -> Factor {
        Factor::of(sigma.len(), |i, j| {
            let bound = self.channels[i].is_bound() && self.channels[j].is_bound();
            if bound { (1.0 - shrink) * self.covariance[packed(i, j)] / (sigma[i] * sigma[j]) } else { 0.0 }
        })
    }

    fn follow(&mut self, seen: &Seen<'_>) -> Option<Change> {
        self.peak = (self.peak * KEEP).max(seen.score.min(PEAK_MAX));
        let beyond = seen.score > (AFTER * self.peak).max(1.0);
        if self.active == 0 {
            self.since = self.since.saturating_add(1);
            self.above = if beyond { self.above.saturating_add(1) } else { 0 };
            if self.above < ENTER {
                if !beyond {
                    self.grow(seen);
                }
                return None;
            }
            (self.active, self.below) = (1, 0);
            self.remember(seen);
            return Some(self.change(State::Active, seen));
        }
        self.active += 1;
        self.remember(seen);
        self.below = if beyond { 0 } else { self.below + 1 };
        let calm = self.below >= CALM;
        if !calm && self.active < LASTS {
            return None;
        }
        let change = self.change(State::Cleared, seen);
        (self.active, self.above) = (0, 0);
        if calm {
            self.learn_event();
        } else {
            self.relearn(seen);
        }
        Some(change)
    }
}

impl Channel {
    /// One row passed; a row without a reading of its own shows nothing.
    fn step(&mut self, sigma: f64) {
        if self.missed > 0 {
            return;
        }
        let value = self.value.clamp(-GROUP_VALUE_MAX, GROUP_VALUE_MAX);
        if self.seen == 0 {
            (self.smooth, self.mean, self.before) = (value, value, value);
        }
        let counts = if self.seen >= FEW { self.confirmed(value, sigma) } else { value };
        self.seen = self.seen.saturating_add(1);
        if value != self.before && self.changes < CHANGES_MIN {
            self.changes += 1;
        }
        self.before = value;
        self.smooth += SMOOTH.max(1.0 / f64::from(self.seen)) * (counts - self.smooth);
    }

    /// A value as far as it counts: one that is wild alone may be none of the machine's. The next one that
    /// is as far out on its side says that it was, and makes up for it.
    fn confirmed(&mut self, value: f64, sigma: f64) -> f64 {
        let (far, before) = (value - self.mean, self.before - self.mean);
        let is_wild = |far: f64| far.abs() > WILD * sigma;
        let counts = |far: f64| self.mean + (WILD_COUNTS * sigma).copysign(far);
        if !is_wild(far) {
            self.wild = false;
            return value;
        }
        if !(is_wild(before) && before.signum() == far.signum()) {
            self.wild = true;
            return counts(far);
        }
        let missing = if self.wild { self.before - counts(before) } else { 0.0 };
        self.wild = false;
        self.smooth += SMOOTH * missing;
        value
    }

    /// Whether it is far from its mean, yet at or on the way to a level that it is known for;
    /// where it stays it is measured from. How it moves there is learnt before it is judged.
    fn travels(&mut self, deviation: f64, sigma: f64) -> bool {
        if deviation.abs() <= CLIP || !self.regime.is_known(self.smooth, sigma) {
            self.away = if self.away > SETTLES { self.away - 1 } else { 0 };
            return false;
        }
        self.away += 1;
        if self.away == SETTLES || self.away == 2 * SETTLES {
            (self.away, self.mean) = (SETTLES, self.smooth);
            self.regime.returned();
        }
        true
    }
}

/// The deviation that a channel's record and that of all channels call the largest yet:
/// halfway, so that a channel with a calm past is not judged by its past alone. What one of them is
/// known for may yet be none of the others' ways.
fn level(own: f64, largest: f64) -> f64 {
    (own * largest.min(OTHERS * own)).sqrt()
}

/// Times the record that is unusual for a channel that has been seen for so many rows: the
/// largest of few is exceeded sooner than that of many.
fn raises(seen: u32) -> f64 {
    TIMES * (1.0 + YOUNG / f64::from(seen.max(1)))
}
