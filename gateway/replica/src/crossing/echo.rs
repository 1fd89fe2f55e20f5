//! What a broker behind which no bridge stands sends back of what was published there, by our own subscription.

use crate::limits::CROSS_ECHOES_MAX;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Our own messages on their way back, in the order in which they went. Of two that say the same the first that
/// comes counts as ours.
#[derive(Debug, Default)]
pub struct Echoes(VecDeque<u64>);

/// What a message is known by, in this process.
pub fn fingerprint(topic: &str, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, payload).hash(&mut hasher);
    hasher.finish()
}

impl Echoes {
    /// A message goes out, and will come back.
    pub fn expect(&mut self, own: u64) {
        self.0.push_back(own);
        if self.0.len() > CROSS_ECHOES_MAX {
            self.0.pop_front();
        }
    }

    /// Whether what came is our own; then it is awaited no more.
    pub fn take(&mut self, topic: &str, payload: &[u8]) -> bool {
        let own = fingerprint(topic, payload);
        self.0.iter().position(|echo| *echo == own).and_then(|at| self.0.remove(at)).is_some()
    }

    /// A message that went out last is not known to have got there: it goes again, and is awaited then.
    pub fn forget(&mut self, own: u64) {
        if let Some(at) = self.0.iter().rposition(|echo| *echo == own) {
            self.0.remove(at);
        }
    }

    /// That broker has lost our session, and with it all that was to come back.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_back_once_and_no_more_are_awaited_than_the_bound() {
        let mut echoes = Echoes::default();
        let own = |n: usize| fingerprint("t", &n.to_le_bytes());
        let came = |echoes: &mut Echoes, n: usize| echoes.take("t", &n.to_le_bytes());
        (0..=CROSS_ECHOES_MAX).chain([7]).for_each(|n| echoes.expect(own(n)));
        assert_eq!([0, 1, 2, 7, 7, 7].map(|n| came(&mut echoes, n)), [false, false, true, true, true, false]);
        echoes.forget(own(3));
        assert!(!came(&mut echoes, 3) && came(&mut echoes, 4));
        echoes.clear();
        assert!(!came(&mut echoes, 5));
    }
}
