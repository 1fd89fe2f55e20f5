//! A moment that may not have come yet, in the room of one that has; stored as what it stands for.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since the Unix epoch, or none: the least there is, where no reading's time can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(i64);

impl Default for Mark {
    fn default() -> Self {
        Self(i64::MIN)
    }
}

impl Mark {
    #[inline]
    pub(crate) fn at(ms: i64) -> Self {
        Self(ms)
    }

    #[inline]
    pub(crate) fn get(self) -> Option<i64> {
        (self.0 != i64::MIN).then_some(self.0)
    }

    /// The moment; the one given, from now on, if there was none.
    #[inline]
    pub(crate) fn get_or_insert(&mut self, ms: i64) -> i64 {
        if self.0 == i64::MIN {
            self.0 = ms;
        }
        self.0
    }

    /// So much later, if there is one.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        *self = self.get().map_or(*self, |ms| Self(ms.saturating_add(by_ms)));
    }
}

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Self::default(), Self))
    }
}
