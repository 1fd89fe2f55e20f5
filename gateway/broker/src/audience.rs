//! Who is subscribed without a session that outlives the connection: nothing else remembers them,
//! and after a restart nobody knows whom to wait for.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Filters, and how many such subscriptions each has.
#[derive(Debug, Default)]
pub(crate) struct Audience(Mutex<BTreeMap<Arc<str>, usize>>);

/// One subscription; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    audience: Arc<Audience>,
    filter: Arc<str>,
}

impl Audience {
    /// A subscription more.
    pub fn join(self: &Arc<Self>, filter: &str) -> Seat {
        let filter: Arc<str> = filter.into();
        *self.0.lock().entry(filter.clone()).or_default() += 1;
        Seat { audience: self.clone(), filter }
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, usize> {
        self.0.lock().iter().map(|(filter, count)| (filter.to_string(), *count)).collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut filters = self.audience.0.lock();
        if let Some(count) = filters.get_mut(&self.filter) {
            *count -= 1;
            if *count == 0 {
                filters.remove(&self.filter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_count_until_they_end() {
        let audience = Arc::new(Audience::default());
        let (a, _b, _c) = (audience.join("a/#"), audience.join("a/#"), audience.join("b"));
        assert_eq!(audience.all(), BTreeMap::from([("a/#".into(), 2), ("b".into(), 1)]));
        drop(a);
        assert_eq!(audience.all(), BTreeMap::from([("a/#".into(), 1), ("b".into(), 1)]));
    }
}
