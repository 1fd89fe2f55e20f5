//! A boot under whose name another speaks, with another log: a virtual machine that was resumed
//! from a live snapshot, beside the one that it was taken from (protocol §2).
//!
//! Whoever of the two is first to have an interval taken goes on under the name. The other ends its
//! part of the boot where the two are known to be the same, and begins a boot of its own.
//!
//! What is kept, and what is not:
//! - everything up to the fork is told by the one that goes on under the name, once. If that one is
//!   gone for good before it told all of it, the rest is told by nobody; it is counted shed below;
//! - what the other logged beyond the last record known to be shared is given up, and told as
//!   shed by its new boot. Up to the fork that is too much, where the first one tells it;
//! - alerts and acts beyond it are told under the new boot's name, though they may have been told
//!   under the old one by the urgent lane: such an alert shows twice, under two names;
//! - urgent alerts of both may have one name: the cloud shows the first;
//! - ordinary messages of a bridge that wait beyond it keep their names, which the cloud may have
//!   had from the other: then they count as repetitions;
//! - a machine that crashes behind the fork, before it was answered once, takes what the cloud
//!   has beyond its end for told by a clone of its disk, whose log is the same: what it had logged
//!   behind the fork is then lost, and called delivered;
//! - a cloud that loses its disk is told the boot again by whoever kept the name.
//!
//! Why what the other logged is not counted under its new boot: where the two parted is known only
//! to lie beyond the last record known to be shared, and what lies between is told by the first
//! one. Counted by both it would count twice, in silence; shed is said aloud.

use super::alerts::Alerts;
use super::marks::Marks;
use super::shelf::Shelf;
use super::{Acknowledged, Before, BootPart};
use crate::hash;
use schemas::message::Act;
use serde::{Deserialize, Serialize};

/// Where a boot's part ends because another speaks under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The last record that both are known to have.
    pub at: u64,
    /// Readings of the boot at or below it that may leave.
    pub readings: u64,
    /// Those beyond it, given up; none before another boot has begun.
    pub given_up: Option<u64>,
}

/// What lies behind a fork.
#[derive(Debug)]
pub(crate) struct Behind {
    pub fork: Fork,
    /// Readings given up.
    pub readings: u64,
    /// All that the boot had, up to the fork too.
    pub alerts: Alerts,
    pub acts: Vec<Act>,
}

impl BootPart {
    /// Ends it at its fork, if there is one that it does not end at yet.
    pub(crate) fn cut(&mut self, shelf: &mut Shelf) -> Option<Behind> {
        let fork = self.forked.as_mut().filter(|fork| fork.given_up.is_none())?;
        let readings = self.readings.saturating_sub(fork.readings);
        fork.given_up = Some(readings);
        let fork = *fork;
        self.entries.trim(u64::MAX, shelf);
        self.entries.covered(u64::MAX);
        std::mem::take(&mut self.marks).release(shelf);
        self.damage.retain(|(seq, _)| *seq <= fork.at);
        self.damaged = self.damage.iter().map(|(_, readings)| readings).sum();
        (self.end, self.readings, self.hash) = (fork.at, fork.readings, hash::UNKNOWN);
        (self.applied, self.readings_applied, self.hash_applied) = (fork.at, fork.readings, hash::UNKNOWN);
        (self.complete_from, self.readings_from) = (fork.at, fork.readings);
        self.logged = Acknowledged { applied: fork.at, readings: fork.readings, hash: hash::UNKNOWN, ..self.logged };
        let alerts = std::mem::take(&mut self.alerts);
        let acts = std::mem::take(&mut self.acts).into_iter().filter(|(seq, ..)| *seq > fork.at).map(|(_, act, _)| act);
        Some(Behind { fork, readings, alerts, acts: acts.collect() })
    }

    /// Takes what another boot had behind its fork, with the record `seq`; its alerts are those
    /// of that record from `ordinal` on. Answers how many alerts are lost, as their pages cannot be
    /// read; they take ordinals all the same, so that another look gives the others no other names.
    pub(crate) fn inherit(&mut self, behind: Behind, seq: u64, ordinal: &mut u32, before: Before, shelf: &mut Shelf) -> u64 {
        self.readings += behind.readings;
        self.damaged_at(seq, behind.readings);
        let mut lost = 0;
        behind.alerts.hand_on(behind.fork.at, shelf, |shelf, alert| match alert {
            Ok(mut alert) => {
                (alert.boot, alert.seq, alert.ordinal) = (self.boot, seq, *ordinal);
                *ordinal += 1;
                self.alerts.push(alert, before, shelf);
            }
            Err(count) => {
                *ordinal += count;
                lost += u64::from(count);
            }
        });
        self.acts.extend(behind.acts.into_iter().map(|act| (seq, act, before)));
        lost
    }
}

impl Marks {
    /// Lets go of all.
    fn release(self, shelf: &mut Shelf) {
        self.pages().iter().for_each(|page| shelf.release(page.id));
    }
}
