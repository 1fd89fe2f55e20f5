//! Messages that were refused, counted until the log says so: in every moment each is either here or
//! in what is folded, so that no figure goes back.

use broker::Ticket;
use parking_lot::Mutex;
use replica::record::{Record, Refusal};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts by reason.
#[derive(Default)]
pub struct Refusals {
    /// Not in the log yet.
    counted: [AtomicU64; Refusal::ALL.len()],
    /// In a record that may not be folded yet: its number, and what it says.
    logged: Mutex<Vec<(Ticket, Refusal, u64)>>,
}

impl Refusals {
    /// One more.
    pub fn count(&self, reason: Refusal) {
        self.counted[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Logs what was counted since the last call; what is not taken is counted on.
    pub fn flush(&self, log: impl Fn(&Record<'_>) -> Result<Ticket, journal::Refused>) {
        let mut logged = self.logged.lock();
        for (reason, counter) in Refusal::ALL.into_iter().zip(&self.counted) {
            let count = counter.swap(0, Ordering::Relaxed);
            if count == 0 {
                continue;
            }
            match log(&Record::Refused { reason, count }) {
                Ok(ticket) => logged.push((ticket, reason, count)),
                Err(_) => {
                    counter.fetch_add(count, Ordering::Relaxed);
                }
            }
        }
    }

    /// A fold counts what the log says up to record `folded`.
    pub fn folded(&self, folded: u64) {
        self.logged.lock().retain(|(ticket, ..)| *ticket > folded);
    }

    /// Those that a fold as of record `folded` does not count, by reason; not to be asked for an earlier one
    /// than before.
    pub fn beyond(&self, folded: u64) -> [(Refusal, u64); Refusal::ALL.len()] {
        // Held throughout: none is on its way from one to the other.
        let mut logged = self.logged.lock();
        logged.retain(|(ticket, ..)| *ticket > folded);
        Refusal::ALL.map(|reason| {
            let of_it = logged.iter().filter(|(_, r, _)| *r as usize == reason as usize);
            (reason, self.counted[reason as usize].load(Ordering::Relaxed) + of_it.map(|(.., count)| count).sum::<u64>())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_until_its_record_is_folded() {
        let refusals = Refusals::default();
        let payloads = |folded| refusals.beyond(folded)[Refusal::Payload as usize].1;
        (0..3).for_each(|_| refusals.count(Refusal::Payload));
        assert_eq!(payloads(6), 3);
        refusals.flush(|_| Err(journal::Refused::Full));
        assert_eq!(payloads(6), 3, "what the log does not take is counted on");
        refusals.flush(|record| match record {
            Record::Refused { count: 3, .. } => Ok(7),
            other => panic!("{other:?}"),
        });
        refusals.count(Refusal::Payload);
        assert_eq!(payloads(6), 4);
        assert_eq!(payloads(7), 1);
        refusals.flush(|_| Ok(9));
        assert_eq!(payloads(8), 1);
        refusals.folded(9);
        assert!(refusals.logged.lock().is_empty());
        assert_eq!(payloads(9), 0);
    }
}
