//! A map of a few keys: sorted in one piece of memory that is as long as it must be. A series has one
//! or two gateways and sizes, and there are many series.

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A map, written as any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Small<K, V>(Vec<(K, V)>);

impl<K, V> Default for Small<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Copy, V: Copy> Small<K, V> {
    /// A key's value.
    pub fn get(&self, key: K) -> Option<V> {
        self.0.binary_search_by_key(&key, |(k, _)| *k).ok().map(|at| self.0[at].1)
    }

    /// A key's value, `first` if it is new.
    pub fn entry(&mut self, key: K, first: V) -> &mut V {
        let at = match self.0.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(at) => at,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (key, first));
                at
            }
        };
        &mut self.0[at].1
    }

    /// All, by key.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + '_ {
        self.0.iter().copied()
    }

    /// Lets go of those that `stays` does not name.
    pub fn retain(&mut self, mut stays: impl FnMut(K, V) -> bool) {
        self.0.retain(|(k, v)| stays(*k, *v));
    }
}

impl<K: Serialize, V: Serialize> Serialize for Small<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(k, v)| (k, v)))
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Small<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut list: Vec<(K, V)> = BTreeMap::deserialize(deserializer)?.into_iter().collect();
        list.shrink_to_fit();
        Ok(Self(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_map_that_it_stands_for(steps in prop::collection::vec((0u32..6, -9i64..9), 0..30)) {
            let (mut small, mut map) = (Small::default(), BTreeMap::new());
            for (key, value) in steps {
                *small.entry(key, value) += value;
                *map.entry(key).or_insert(value) += value;
            }
            prop_assert!(small.iter().eq(map.iter().map(|(k, v)| (*k, *v))));
            prop_assert_eq!(small.get(3), map.get(&3).copied());
            let bytes = schemas::cbor::to_vec(&small);
            prop_assert_eq!(&bytes, &schemas::cbor::to_vec(&map));
            prop_assert_eq!(schemas::cbor::from_slice::<Small<u32, i64>>(&bytes, 1 << 10).unwrap(), small);
        }
    }
}
