//! What the log says about a point of a boot ([`replica::uplink::proof`]): read again from disk.

use crate::limits::PROOF_RECORDS_MAX;
use journal::Journal;
use replica::uplink::{Proof, Question};

/// The log's answer. It has but one reader of its past at a time: `is_read` while there is another.
pub fn prove(journal: &Journal, mut question: Question, is_read: bool) -> Proof {
    let (mut next, last) = question.records();
    if last > journal.horizon().borrow().durable {
        return Proof::Beyond;
    }
    if is_read || last.saturating_sub(next) > PROOF_RECORDS_MAX {
        return Proof::Unknown;
    }
    let mut history = journal.history();
    while next <= last {
        let Some(frame) = history.frame(next) else { break };
        frame.records().for_each(|(lsn, kind, payload)| question.read(lsn, kind, payload));
        next = frame.last() + 1;
    }
    question.proof()
}
