//! What a group learns from a row: where its channels are, how they move together, and how far.
//!
//! Machines rest. What learns with a fixed weight forgets at night how a machine works by day
//! (estimator windup), so a channel that hardly moves, of a machine that is known to change its
//! level, teaches hardly anything: it waits until it moves again.

use super::cholesky::packed;
use super::{ALONE, ALONE_RESIDUAL, APART, CLIP, Channel, FIT, Group, RECORD_KEEP, SETTLES, Seen, learn_event};
use crate::limits::{GROUP_CHANNELS_MAX, GROUP_SIGMA_MIN, GROUP_VALUE_MAX, SCORE_MAX};

/// Weight of a new row once warm: the last thousand count.
const WEIGHT: f64 = 1e-3;
/// How much of a deviation beyond the record it takes up at once, below what raises.
const GROW: f64 = 0.02;
/// Weight of a new row in how lively a channel is: the last hundred count.
const LIVELY: f64 = 1e-2;
/// Mean square of the deviations, in usual ones, below which a channel is quiet: half of them.
const QUIET: f64 = 0.25;

impl Group {
    /// An ordinary row beyond a record takes it along.
    pub(super) fn grow(&mut self, seen: &Seen<'_>) {
        for (channel, deviation) in self.channels.iter_mut().zip(seen.deviation).filter(|(channel, _)| channel.speaks()) {
            channel.record += GROW * (deviation.abs() - channel.record).max(0.0);
            channel.record *= RECORD_KEEP;
        }
        if let Some(distance) = seen.distance {
            self.record_t += GROW * (distance - self.record_t).max(0.0);
            self.record_r += GROW * (seen.residual.unwrap_or(0.0) - self.record_r).max(0.0);
            self.record_t *= RECORD_KEEP;
            self.record_r *= RECORD_KEEP;
        }
    }

    /// The event's largest deviations so far.
    pub(super) fn remember(&mut self, seen: &Seen<'_>) {
        for (channel, deviation) in self.channels.iter_mut().zip(seen.deviation).filter(|(channel, _)| channel.speaks()) {
            channel.worst = channel.worst.max(deviation.abs());
        }
        self.worst_t = self.worst_t.max(seen.distance.unwrap_or(0.0));
        self.worst_r = self.worst_r.max(seen.residual.unwrap_or(0.0));
    }

    /// The event ended: part of what it showed is known from now on.
    pub(super) fn learn_event(&mut self) {
        let another = std::mem::take(&mut self.since) >= APART;
        for channel in &mut self.channels {
            learn_event(&mut channel.record, &mut channel.last, &mut channel.worst, ALONE, another);
        }
        learn_event(&mut self.record_t, &mut self.last_t, &mut self.worst_t, ALONE, another);
        let alone = if another { ALONE_RESIDUAL } else { ALONE };
        learn_event(&mut self.record_r, &mut self.last_r, &mut self.worst_r, alone, another);
    }

    /// The machine runs differently now: channels that are elsewhere are learnt anew there, all
    /// of them when none is.
    pub(super) fn relearn(&mut self, seen: &Seen<'_>) {
        let out = |at: usize| seen.deviation[at].abs() > CLIP;
        let some = (0..self.channels.len()).any(out);
        for at in (0..self.channels.len()).filter(|at| !some || out(*at)) {
            let channel = &mut self.channels[at];
            let mut regime = std::mem::take(&mut channel.regime);
            if some {
                regime.moved();
            }
            *channel = Channel { value: channel.value, missed: channel.missed, regime, ..Channel::default() };
            (0..self.channels.len()).for_each(|other| self.covariance[packed(at.max(other), at.min(other))] = 0.0);
        }
        self.channels.iter_mut().for_each(|channel| channel.worst = 0.0);
        (self.record_t, self.worst_t, self.last_t) = (0.0, 0.0, 0.0);
        (self.record_r, self.worst_r, self.last_r) = (0.0, 0.0, 0.0);
        (self.settled, self.peak, self.fitted) = (0, 0.0, 0);
    }

    pub(super) fn learn(&mut self, seen: &Seen<'_>) {
        // Of each channel, what is kept of its past and what the row adds.
        let mut parts = [(1.0, 0.0); GROUP_CHANNELS_MAX];
        for (at, channel) in self.channels.iter_mut().enumerate().filter(|(_, channel)| channel.teaches()) {
            let clip = if channel.fits() { CLIP * seen.sigma[at] } else { f64::MAX };
            let far = (channel.smooth - channel.mean).clamp(-clip, clip);
            let out = self.active > 0 && seen.deviation[at].abs() > CLIP;
            let moved = if out { 0.0 } else { far };
            channel.mean += weight(channel.seen) * moved;
            if channel.fits() {
                let part = LIVELY.max(1.0 / f64::from(channel.seen - FIT));
                channel.lively += part * ((far / seen.sigma[at]).powi(2) - channel.lively);
            }
            let weight = channel.weight();
            parts[at] = ((1.0 - weight).sqrt(), weight.sqrt() * moved);
        }
        if self.active > 0 {
            return;
        }
        self.channels.iter_mut().filter(|channel| channel.missed == 0).for_each(|channel| channel.regime.learn(channel.smooth));
        for i in 0..self.channels.len() {
            for j in (0..=i).filter(|j| self.channels[i].missed == 0 && self.channels[*j].missed == 0) {
                // Channels of different weight: a matrix scaled from both sides stays a covariance.
                let place = &mut self.covariance[packed(i, j)];
                *place = parts[i].0 * parts[j].0 * (*place + parts[i].1 * parts[j].1);
                // A pair that no longer moves would decay into numbers that processors handle slowly.
                if place.abs() < GROUP_SIGMA_MIN * GROUP_SIGMA_MIN {
                    *place = 0.0;
                }
            }
        }
    }

    /// How far the channels are behind the others, each in its own usual distance; the largest, and
    /// how many times the largest known. What lies within the noise of the distances themselves is
    /// never news: where channels hardly move, or are bound too closely, the regression alone
    /// expects less of them than they do.
    pub(super) fn stray(&mut self, sigma: &[f64], residuals: &[(f64, f64)], least: f64) -> (f64, f64) {
        let (mut largest, mut times): (f64, f64) = (0.0, 0.0);
        let (known, calm) = (self.record_r.max(self.near() * self.last_r).max(1.0), self.active == 0);
        for (at, channel) in self.channels.iter_mut().enumerate().filter(|(_, channel)| channel.is_bound()) {
            let (far, usual) = (residuals[at].0.abs() * sigma[at], (residuals[at].1 * sigma[at]).min(GROUP_VALUE_MAX));
            if channel.stray == 0.0 {
                channel.stray = usual * usual;
            }
            let strays = channel.stray.sqrt().max(GROUP_SIGMA_MIN);
            largest = largest.max((far / usual).min(SCORE_MAX));
            times = times.max((far / usual / known).min(far / strays / least));
            if calm && channel.missed == 0 {
                channel.stray += channel.weight() * (far.min(CLIP * strays).min(GROUP_VALUE_MAX).powi(2) - channel.stray);
            }
        }
        (largest, times)
    }
}

impl Channel {
    /// Weight of a row: less of a quiet channel that is known to change its level.
    fn weight(&self) -> f64 {
        let quiet = self.fits() && self.regime.changes();
        weight(self.seen) * if quiet { (self.lively / QUIET).min(1.0).powi(2) } else { 1.0 }
    }

    /// It has a reading of its own, and is not on the way to another level.
    fn teaches(&self) -> bool {
        self.missed == 0 && (self.away == 0 || self.away >= SETTLES)
    }
}

fn weight(seen: u32) -> f64 {
    WEIGHT.max(1.0 / f64::from(seen.max(1)))
}
