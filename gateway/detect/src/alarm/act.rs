//! What people do to an alarm, and which of two acts counts.
//!
//! Acts are a set, joined at both ends: what was done at one end while the link was down meets
//! what was done at the other. Of the set only what can still matter is kept, one act for each
//! aspect, the greatest by a total order; so a join is idempotent, commutative and associative,
//! whatever is repeated, late or reordered.
//!
//! - **Acknowledged**: an act says which alert its person had seen. The newest seen counts; of
//!   two who had seen the same, the one who was first. So an acknowledgement never covers a
//!   raise that its person did not know of.
//! - **Shelf**, **service**, **suppression**: the newest by (time, id). An act's time is later
//!   than that of any act its person's end knew, so an answer beats what it answers, and
//!   clocks decide only between acts that did not know of each other.

use schemas::message::{Act, AlertKey};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// What can be done to an alarm; the number is the one on the wire ([`Act::verb`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// I know.
    Acknowledge = 0,
    /// Not now: put aside until a time.
    Shelve = 1,
    /// Back from the shelf before its time.
    Unshelve = 2,
    /// Out of service until returned.
    OutOfService = 3,
    /// Back in service.
    Return = 4,
    /// By configuration, of no meaning in the present state of the plant.
    Suppress = 5,
    /// Of meaning again.
    Release = 6,
}

impl Verb {
    /// What people may do.
    pub const PEOPLE: [Verb; 5] = [Self::Acknowledge, Self::Shelve, Self::Unshelve, Self::OutOfService, Self::Return];

    /// The verb of a number, if it is known.
    pub fn of(number: u8) -> Option<Verb> {
        let all = [Self::PEOPLE.as_slice(), &[Self::Suppress, Self::Release]];
        all.concat().into_iter().find(|verb| *verb as u8 == number)
    }

    /// The verb that people write, in topics and paths.
    pub fn named(name: &str) -> Option<Verb> {
        Self::PEOPLE.into_iter().find(|verb| verb.as_str() == name)
    }

    /// Its name in topics and paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledge => "ack",
            Self::Shelve => "shelve",
            Self::Unshelve => "unshelve",
            Self::OutOfService => "out-of-service",
            Self::Return => "return",
            Self::Suppress => "suppress",
            Self::Release => "release",
        }
    }
}

/// What counts of all that was done to one alarm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Acts {
    /// The acknowledgement.
    pub acknowledged: Option<Act>,
    /// Shelved, or unshelved.
    pub shelf: Option<Act>,
    /// Taken out of service, or returned.
    pub service: Option<Act>,
    /// Suppressed by design, or no longer.
    pub design: Option<Act>,
}

/// The order of acts of one aspect; the whole content last, so that it is total.
fn rank(act: &Act) -> (i64, u64, u8, i64, &str, &str, AlertKey) {
    (act.time_ms, act.id, act.verb, act.until_ms, &act.by, &act.reason, act.seen)
}

impl Acts {
    /// Takes an act in; whether anything changed.
    pub fn join(&mut self, act: &Act) -> bool {
        let Some(verb) = Verb::of(act.verb) else { return false };
        let (place, counts): (_, fn(&Act, &Act) -> bool) = match verb {
            Verb::Acknowledge => (&mut self.acknowledged, |new, old| (new.seen, Reverse(rank(new))) > (old.seen, Reverse(rank(old)))),
            Verb::Shelve | Verb::Unshelve => (&mut self.shelf, |new, old| rank(new) > rank(old)),
            Verb::OutOfService | Verb::Return => (&mut self.service, |new, old| rank(new) > rank(old)),
            Verb::Suppress | Verb::Release => (&mut self.design, |new, old| rank(new) > rank(old)),
        };
        let is_new = place.as_ref().is_none_or(|old| counts(act, old));
        if is_new {
            *place = Some(act.clone());
        }
        is_new
    }

    /// All that counts.
    pub fn iter(&self) -> impl Iterator<Item = &Act> {
        [&self.acknowledged, &self.shelf, &self.service, &self.design].into_iter().flatten()
    }

    /// When the newest of them was done.
    pub fn newest_ms(&self) -> Option<i64> {
        self.iter().map(|act| act.time_ms).max()
    }

    /// Until when it is on the shelf, if it was not taken off.
    pub fn shelved_until(&self) -> Option<i64> {
        self.shelf.as_ref().filter(|act| act.verb == Verb::Shelve as u8).map(|act| act.until_ms)
    }

    /// Whether it is out of service.
    pub fn is_out_of_service(&self) -> bool {
        self.service.as_ref().is_some_and(|act| act.verb == Verb::OutOfService as u8)
    }

    /// Whether it is suppressed by design.
    pub fn is_suppressed(&self) -> bool {
        self.design.as_ref().is_some_and(|act| act.verb == Verb::Suppress as u8)
    }
}
