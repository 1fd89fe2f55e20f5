//! What others do wrong, told by name in the process's log: the first of a kind at once, then at
//! most one in a while, with how many there were in between. Counting is others' business.

use crate::limits::COMPLAINT_EVERY;
use std::time::Instant;

/// One kind's.
#[derive(Debug, Default)]
pub struct Kind {
    told: Option<Instant>,
    untold: u64,
}

impl Kind {
    /// Whether this one is to be told; then how many were not before it.
    pub fn due(&mut self) -> Option<u64> {
        if self.told.is_some_and(|told| told.elapsed() < COMPLAINT_EVERY) {
            self.untold += 1;
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_next_counted() {
        let mut kind = Kind::default();
        assert_eq!([kind.due(), kind.due(), kind.due()], [Some(0), None, None]);
        kind.told = Instant::now().checked_sub(COMPLAINT_EVERY);
        assert_eq!([kind.due(), kind.due()], [Some(2), None]);
    }
}
