//! A connection's place, and who gives it up when all are taken and one more comes: whoever has
//! been waited for longest, for a request or its body. One whose answer is being made keeps it.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// One connection.
pub(crate) struct Seat {
    /// Since when it is waited for; none while its request is being answered.
    waits: Mutex<Option<Instant>>,
    /// Rung when it is to leave.
    pub leave: Notify,
}

impl Seat {
    /// It has told something, or was answered: it is waited for from now on.
    pub fn waits(&self) {
        *self.waits.lock() = Some(Instant::now());
    }

    /// Its request is there and is being answered.
    pub fn answers(&self) {
        *self.waits.lock() = None;
    }
}

/// All that are taken.
#[derive(Default)]
pub(crate) struct Seats(Mutex<Vec<Arc<Seat>>>);

impl Seats {
    /// One more; to be given back with [`Seats::left`].
    pub fn take(&self) -> Arc<Seat> {
        let seat = Arc::new(Seat { waits: Mutex::new(Some(Instant::now())), leave: Notify::new() });
        self.0.lock().push(seat.clone());
        seat
    }

    /// Its connection has ended.
    pub fn left(&self, seat: &Arc<Seat>) {
        self.0.lock().retain(|other| !Arc::ptr_eq(other, seat));
    }

    /// Asks the one that has been waited for longest to leave, if there is any.
    pub fn free_one(&self) {
        let seats = self.0.lock();
        let longest = seats.iter().filter_map(|seat| Some(((*seat.waits.lock())?, seat))).min_by_key(|(since, _)| *since);
        if let Some((_, seat)) = longest {
            // It is asked once.
            seat.answers();
            seat.leave.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_longest_leaves_first_and_who_is_answered_stays() {
        let seats = Seats::default();
        let [a, b, c] = [(); 3].map(|()| seats.take());
        a.answers();
        b.waits();
        let asked = |seat: &Arc<Seat>| seat.waits.lock().is_none();
        seats.free_one();
        assert!(asked(&c) && !asked(&b), "the other was heard since");
        seats.free_one();
        assert!(asked(&b));
        a.waits();
        seats.left(&a);
        seats.free_one();
        assert!(!asked(&a), "it is not here any more");
    }
}
