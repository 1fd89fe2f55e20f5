//! Whether what the cloud has of a boot is what this log says (protocol §2).
//!
//! An ack says how far a boot is applied, and the running hash of its log there. Mostly that is
//! where an interval of ours ended, and the hash is at hand. A clone of this disk may have told
//! more, or this process's answers were lost: then the log is asked. What differs, or lies beyond
//! all that was ever logged here, was said by another under this boot's name.
//!
//! Entries ahead and definitions are beyond what hashes speak of. So each interval of the living
//! boot says which one it follows, and an ack which one was taken last: of two that go on from one
//! the second is refused, and hears of an interval that it never sent.

use super::{Uplink, flight};
use crate::fold::Fold;
use crate::hash;
use crate::limits::SENT_REMEMBERED_MAX;
use crate::outbox::BootPart;
use crate::record::Record;
use schemas::message::Ack;
use std::collections::VecDeque;

/// What the log is asked: the running hash of `boot` at `to`, from that at `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The boot.
    pub boot: u64,
    /// Log record before its first.
    pub base: u64,
    /// A record of it, 0 for none.
    pub seq: u64,
    /// The hash there.
    pub hash: u64,
    /// The record asked about.
    pub to: u64,
}

/// What the log answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The hash there.
    Hash(u64),
    /// The log ends before.
    Beyond,
    /// That part of the log is gone, or takes too long to read.
    Unknown,
}

impl Question {
    /// The log's next record to read, and the last.
    pub fn records(&self) -> (u64, u64) {
        (self.base + self.seq + 1, self.base + self.to)
    }

    /// Goes on by a record of the log; one that is missing before it makes the answer unknown.
    pub fn read(&mut self, lsn: u64, kind: u8, payload: &[u8]) {
        let seq = lsn.saturating_sub(self.base);
        if seq <= self.seq || self.seq >= self.to {
            return;
        }
        self.hash = match self.seq + 1 == seq {
            true if seq == 1 => hash::first(kind, payload),
            true => hash::next(self.hash, kind, payload),
            false => hash::UNKNOWN,
        };
        self.seq = seq;
    }

    /// The answer, once all records are read.
    pub fn proof(&self) -> Proof {
        if self.seq == self.to && self.hash != hash::UNKNOWN { Proof::Hash(self.hash) } else { Proof::Unknown }
    }
}

/// What is to become of an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It speaks of this log, whose hash there is this, as far as is known.
    Ours(u64),
    /// The log must be asked first.
    Doubtful,
    /// It speaks of another's.
    Others,
}

/// Numbers of the living boot's intervals: how they follow one another.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    /// The last that the cloud is known to have taken.
    taken: u64,
    /// Those sent, oldest first, as far as they are remembered.
    sent: VecDeque<u64>,
    /// Some are forgotten.
    is_cut: bool,
}

impl Chain {
    /// None was sent by this boot.
    pub(super) fn of(boot: u64) -> Self {
        Self { taken: boot.max(1), ..Self::default() }
    }

    /// The one that the next one follows, with nothing under way.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the present cloud is known to take an interval only behind the one that it follows.
    pub(super) fn is_followed(&self, boot: u64) -> bool {
        self.taken != boot.max(1)
    }

    pub(super) fn send(&mut self, number: u64) {
        if self.sent.len() == SENT_REMEMBERED_MAX {
            self.sent.pop_front();
            self.is_cut = true;
        }
        self.sent.push_back(number);
    }

    /// The cloud took that one last; false where it was never sent from here.
    fn take(&mut self, boot: u64, last: u64) -> bool {
        let count = |number| flight::count_from(boot, number);
        if last == 0 || last == self.taken {
            return true;
        }
        let is_known = self.sent.contains(&last) || self.is_cut && self.sent.front().is_some_and(|first| count(last) < count(*first));
        if is_known && count(last) > count(self.taken) {
            self.taken = last;
        }
        is_known
    }

    /// Another boot of the cloud: what it took last, it says.
    pub(super) fn anew(&mut self, boot: u64) {
        self.taken = boot.max(1);
    }
}

impl Uplink {
    /// Whether another speaks under the boot that this process began: it must begin one more.
    pub fn is_forked(&self, fold: &Fold) -> bool {
        fold.current().is_some_and(|part| part.boot == self.settings.boot && part.forked.is_some())
    }

    /// Whether the interval that the cloud took last of the living boot was sent from here.
    pub(super) fn heard(&mut self, ack: &Ack) -> bool {
        ack.boot != self.settings.boot || self.chain.take(self.settings.boot, ack.last)
    }

    /// What an ack says of a boot against what is known here.
    pub(super) fn judge(&self, ack: &Ack, part: &BootPart, fold: &Fold) -> Judged {
        let at = ack.applied;
        if at < part.applied || (part.ended && at > part.end) {
            // It went back, or a clone of this disk told what is not here.
            return Judged::Ours(hash::UNKNOWN);
        }
        let own = if at == part.applied {
            Some(part.hash_applied)
        } else if at == part.end {
            Some(part.hash)
        } else {
            let birth = || fold.births.get(&(at + 1)).filter(|_| !part.ended).map(|(_, before)| before.hash);
            self.flights.hash_at(part.boot, at).or_else(birth)
        };
        let proof = self.proofs.get(&part.boot).filter(|(proven, _)| *proven == at).map(|(_, proof)| *proof);
        match (own, proof) {
            (Some(own), _) | (None, Some(Proof::Hash(own))) if hash::differ(own, ack.hash) => Judged::Others,
            (Some(own), _) | (None, Some(Proof::Hash(own))) => Judged::Ours(own),
            (None, Some(Proof::Beyond)) if !part.ended => Judged::Others,
            (None, Some(_)) => Judged::Ours(hash::UNKNOWN),
            (None, None) if at <= part.end && (ack.hash == hash::UNKNOWN || part.hash_applied == hash::UNKNOWN) => {
                Judged::Ours(hash::UNKNOWN)
            }
            (None, None) => Judged::Doubtful,
        }
    }

    /// Nothing is believed of an ack until the log has answered.
    pub(super) fn doubt(&mut self, ack: &Ack) {
        self.doubts.insert(ack.boot, (ack.clone(), false));
    }

    /// What the log is to be asked next.
    pub(super) fn question(&mut self, fold: &Fold) -> Option<Question> {
        let (boot, (ack, asked)) = self.doubts.iter_mut().find(|(_, (_, asked))| !asked)?;
        *asked = true;
        let part = fold.boots.iter().find(|p| p.boot == *boot)?;
        // Where it was answered meanwhile, the log says nothing, and the ack is taken as it is.
        let seq = part.applied.min(ack.applied);
        Some(Question { boot: *boot, base: part.base, seq, hash: part.hash_applied, to: ack.applied })
    }

    /// The ack that [`Question`] was about, with what the log answered.
    pub(super) fn answer(&mut self, question: &Question, proof: Proof) -> Option<Ack> {
        let (ack, _) = self.doubts.remove(&question.boot)?;
        self.proofs.insert(question.boot, (question.to, proof));
        Some(ack)
    }

    /// Another speaks under the boot's name: what is to be logged.
    pub(super) fn fork(&mut self, part: &BootPart) -> Record<'static> {
        self.flights.forsake(part.boot);
        Record::Forked { boot: part.boot, at: part.applied, readings: part.readings_applied }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_answers_with_the_hash_that_the_fold_had_there() {
        let records: Vec<(u64, u8, Vec<u8>)> = (1..20u64).map(|lsn| (lsn, if lsn == 4 { 1 } else { 5 }, vec![lsn as u8; 9])).collect();
        let mut hashes = vec![hash::UNKNOWN];
        for (lsn, kind, payload) in &records[3..] {
            let last = *hashes.last().unwrap();
            hashes.push(if *lsn == 4 { hash::first(*kind, payload) } else { hash::next(last, *kind, payload) });
        }
        for seq in 0..10usize {
            let asked = Question { boot: 7, base: 3, seq: seq as u64, hash: hashes[seq], to: 12 };
            let mut question = asked;
            records.iter().for_each(|(lsn, kind, payload)| question.read(*lsn, *kind, payload));
            assert_eq!(question.proof(), Proof::Hash(hashes[12]));
            let (first, last) = asked.records();
            assert_eq!((first, last), (seq as u64 + 4, 15));
            // Without its first, and without the last.
            let (mut question, mut short) = (asked, asked);
            records[first as usize..].iter().for_each(|(lsn, kind, payload)| question.read(*lsn, *kind, payload));
            records[..14].iter().for_each(|(lsn, kind, payload)| short.read(*lsn, *kind, payload));
            assert_eq!((question.proof(), short.proof()), (Proof::Unknown, Proof::Unknown));
        }
    }
}
