//! Hashes with the packet ids they came under, oldest first, in few bytes: a gateway may have hundreds
//! of sessions with a thousand each, and has them twice, at the log's door and behind it.
//!
//! Hashes lie in blocks of one size, as lists that double while they grow leave holes of every size
//! behind. Ids are runs, since most clients count: some eight bytes for a hash with its id.

use std::collections::VecDeque;
use std::iter;

/// Hashes in a block.
const BLOCK: usize = 64;

/// A list that grows at its end and is forgotten from its beginning.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    blocks: VecDeque<Box<[u64; BLOCK]>>,
    /// What is behind the blocks, less than one.
    tail: Vec<u64>,
    /// So many from the beginning are forgotten, less than a block.
    skipped: usize,
    ids: VecDeque<Run>,
}

/// Ids with the same step from one to the next.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u16,
    step: u16,
    count: u16,
}

impl Run {
    fn nth(self, n: u16) -> u16 {
        self.first.wrapping_add(self.step.wrapping_mul(n))
    }

    /// Whether `id` goes on from here, and it was taken in.
    fn takes(&mut self, id: u16) -> bool {
        if self.count == 1 {
            self.step = id.wrapping_sub(self.first);
        }
        let goes_on = self.count < u16::MAX && self.nth(self.count) == id;
        self.count += u16::from(goes_on);
        goes_on
    }
}

impl Kept {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.tail.len() - self.skipped
    }

    /// One more.
    pub(super) fn push(&mut self, hash: u64, id: u16) {
        self.tail.push(hash);
        if self.tail.len() == BLOCK {
            let mut block = Box::new([0; BLOCK]);
            block.copy_from_slice(&self.tail);
            self.blocks.push_back(block);
            self.tail.clear();
        }
        if !self.ids.back_mut().is_some_and(|run| run.takes(id)) {
            self.ids.push_back(Run { first: id, step: 0, count: 1 });
        }
    }

    /// Forgets the oldest.
    pub(super) fn forget(&mut self, count: usize) {
        let mut left = count.min(self.len());
        self.skipped += left;
        while self.skipped >= BLOCK && self.blocks.pop_front().is_some() {
            self.skipped -= BLOCK;
        }
        while let Some(run) = self.ids.front_mut().filter(|_| left > 0) {
            // At most as long as the run.
            let taken = left.min(usize::from(run.count)) as u16;
            (run.first, run.count) = (run.nth(taken), run.count - taken);
            left -= usize::from(taken);
            if run.count == 0 {
                self.ids.pop_front();
            }
        }
    }

    /// The hashes, oldest first.
    pub(super) fn hashes(&self) -> impl Iterator<Item = u64> + '_ {
        let blocks = self.blocks.iter().flat_map(|block| block.iter());
        blocks.chain(&self.tail).skip(self.skipped).copied()
    }

    /// Their packet ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = u16> + '_ {
        self.ids.iter().flat_map(|run| (0..run.count).map(|n| run.nth(n)))
    }

    /// That of one place, the oldest at 0.
    fn nth(&self, at: usize) -> Option<u64> {
        let at = at + self.skipped;
        match self.blocks.get(at / BLOCK) {
            Some(block) => Some(block[at % BLOCK]),
            None => self.tail.get(at - self.blocks.len() * BLOCK).copied(),
        }
    }

    /// Where a hash is: looked for from the place `near` on, and then before it. What comes again comes in the order in
    /// which it came.
    pub(super) fn find(&self, hash: u64, near: usize) -> Option<usize> {
        let near = near.min(self.len());
        let block = (near + self.skipped) / BLOCK;
        let behind = self.blocks.range(block.min(self.blocks.len())..).flat_map(|block| block.iter());
        let behind = behind.chain(&self.tail).skip(near + self.skipped - block * BLOCK);
        let behind = behind.copied().position(|one| one == hash).map(|place| near + place);
        behind.or_else(|| self.hashes().take(near).position(|one| one == hash))
    }

    /// The hashes that came under a packet id, oldest first.
    pub(super) fn under(&self, id: u16) -> impl Iterator<Item = u64> + '_ {
        let mut end = 0;
        self.ids.iter().flat_map(move |run| {
            let begin = end;
            end += usize::from(run.count);
            // Most clients count: then it is one at most.
            let nth = id.wrapping_sub(run.first);
            let within = match run.step {
                1 => nth..run.count.min(nth.saturating_add(1)),
                _ => 0..run.count,
            };
            within.filter(move |nth| run.nth(*nth) == id).filter_map(move |nth| self.nth(begin + usize::from(nth)))
        })
    }

    /// Each with its packet id.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u64, u16)> + '_ {
        self.hashes().zip(self.ids())
    }

    /// From here on the ids say nothing: all are 0.
    pub(super) fn clear_ids(&mut self) {
        let len = self.len();
        self.ids.clear();
        self.ids.shrink_to_fit();
        let runs = iter::successors(Some(len), |left| left.checked_sub(usize::from(u16::MAX)));
        let counts = runs.map(|left| left.min(usize::from(u16::MAX)) as u16).filter(|count| *count > 0);
        self.ids.extend(counts.map(|count| Run { first: 0, step: 0, count }));
    }
}

impl PartialEq for Kept {
    /// By what is kept, wherever it lies.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.pairs().eq(other.pairs())
    }
}

impl FromIterator<(u64, u16)> for Kept {
    fn from_iter<I: IntoIterator<Item = (u64, u16)>>(pairs: I) -> Self {
        let mut kept = Self::default();
        pairs.into_iter().for_each(|(hash, id)| kept.push(hash, id));
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push(u16),
        Count(u16, u8),
        Forget(usize),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => any::<u16>().prop_map(Step::Push),
            6 => (any::<u16>(), any::<u8>()).prop_map(|(from, count)| Step::Count(from, count)),
            3 => (0usize..300).prop_map(Step::Forget),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn it_is_the_plain_list(steps in proptest::collection::vec(step(), 0..40)) {
            let (mut kept, mut plain, mut hash) = (Kept::default(), VecDeque::new(), 0u64);
            for step in steps {
                let ids = match step {
                    Step::Push(id) => vec![id],
                    Step::Count(from, count) => (0..u16::from(count)).map(|n| from.wrapping_add(n)).collect(),
                    Step::Forget(count) => {
                        kept.forget(count);
                        plain.drain(..count.min(plain.len()));
                        vec![]
                    }
                    Step::Clear => {
                        kept.clear_ids();
                        plain.iter_mut().for_each(|(_, id)| *id = 0);
                        vec![]
                    }
                };
                for id in ids {
                    hash += 1;
                    kept.push(hash, id);
                    plain.push_back((hash, id));
                }
                prop_assert_eq!(kept.len(), plain.len());
                prop_assert!(kept.pairs().eq(plain.iter().copied()));
                for near in [0, 1, 63, 64, 65, 200, usize::MAX] {
                    for (at, (hash, _)) in plain.iter().enumerate().step_by(37) {
                        prop_assert_eq!(kept.find(*hash, near), Some(at));
                    }
                    prop_assert_eq!(kept.find(0, near), None);
                }
                for id in plain.iter().map(|(_, id)| *id).step_by(23).chain([0, 1, u16::MAX]) {
                    prop_assert!(kept.under(id).eq(plain.iter().filter(|(_, of)| *of == id).map(|(hash, _)| *hash)), "{}", id);
                }
            }
            prop_assert_eq!(&plain.into_iter().collect::<Kept>(), &kept);
        }
    }

    #[test]
    fn what_counts_takes_eight_bytes_each() {
        let kept: Kept = (0..1_024u64).map(|n| (n, n as u16)).collect();
        assert_eq!((kept.ids.len(), kept.blocks.len(), kept.tail.len()), (1, 16, 0));
        assert_eq!(kept.tail.capacity(), BLOCK);
        let alternating: Kept = (0..1_024u64).map(|n| (n, if n % 2 == 0 { 7 } else { 900 })).collect();
        assert!(alternating.ids.len() <= 512, "at worst three bytes for an id");
    }
}
