//! The newest retained message of each topic, bounded in count and bytes.

use crate::limits::{RETAINED_BYTES_MAX, RETAINED_MAX};
use crate::message::Message;
use crate::topic::{literal_prefix, matches};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Retained messages by topic.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    store: RwLock<Store>,
}

#[derive(Debug, Default)]
struct Store {
    /// Ordered, so that a filter looks only at topics that begin as it does.
    messages: BTreeMap<Box<str>, Held>,
    /// How often something was retained.
    changes: u64,
    bytes: usize,
    /// Those of clients: how many, and their bytes.
    bounded: (usize, usize),
    /// How many of them have an expiry; the sweep is for them.
    expiring: usize,
}

#[derive(Debug)]
struct Held {
    message: Arc<Message>,
    /// The store's count of changes with it.
    change: u64,
    /// A client's: it counts towards the bounds.
    bounded: bool,
}

/// How a walk over the store ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// There is nothing more.
    Over,
    /// No more was wanted.
    Stopped,
    /// It looked at as many topics as it may.
    Tired,
}

impl Store {
    fn remove(&mut self, topic: &str) {
        if let Some(Held { message: old, bounded, .. }) = self.messages.remove(topic) {
            self.bytes -= old.bytes();
            if bounded {
                self.bounded = (self.bounded.0 - 1, self.bounded.1 - old.bytes());
            }
            self.expiring -= usize::from(old.expires.is_some());
        }
    }
}

impl Retained {
    /// Number and bytes of what is retained.
    pub fn size(&self) -> (usize, usize) {
        let store = self.store.read();
        (store.messages.len(), store.bytes)
    }

    /// Sets a topic's message, or clears it with an empty payload. False where a bound forbids
    /// it: the topic has none then, rather than an old one that looks current. What the application
    /// alone publishes, `owned`, it bounds itself.
    pub fn set(&self, message: &Arc<Message>, owned: bool) -> bool {
        let mut store = self.store.write();
        store.remove(&message.topic);
        if message.payload.is_empty() {
            return true;
        }
        if !owned {
            let (count, bytes) = store.bounded;
            if count >= RETAINED_MAX || bytes + message.bytes() > RETAINED_BYTES_MAX {
                return false;
            }
            store.bounded = (count + 1, bytes + message.bytes());
        }
        store.bytes += message.bytes();
        store.expiring += usize::from(message.expires.is_some());
        store.changes += 1;
        let held = Held { message: message.clone(), change: store.changes, bounded: !owned };
        store.messages.insert(message.topic.clone(), held);
        true
    }

    /// How often something was retained up to now.
    pub fn changes(&self) -> u64 {
        self.store.read().changes
    }

    /// Calls `each` with the messages that a filter matches, by topic from behind `after` on, as long
    /// as it wants them, and moves `after` along. Those retained by later changes than `until` are
    /// passed over; at most `topics` are looked at.
    pub fn walk(
        &self,
        filter: &str,
        until: u64,
        after: &mut Option<Box<str>>,
        topics: usize,
        each: &mut dyn FnMut(&Arc<Message>) -> bool,
    ) -> Walk {
        let store = self.store.read();
        let prefix = literal_prefix(filter);
        let fits = |held: &Held| held.change <= until && !held.message.is_expired();
        if prefix.len() == filter.len() {
            return match store.messages.get(filter).filter(|held| fits(held)) {
                Some(held) if !each(&held.message) => Walk::Stopped,
                _ => Walk::Over,
            };
        }
        let from = match after.as_deref() {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let alike = store.messages.range::<str, _>((from, Bound::Unbounded)).take_while(|(topic, _)| topic.starts_with(prefix));
        let mut last = None;
        let mut walk = Walk::Over;
        for (looked, (topic, held)) in alike.enumerate() {
            if looked == topics {
                walk = Walk::Tired;
                break;
            }
            if fits(held) && matches(filter, topic) && !each(&held.message) {
                walk = Walk::Stopped;
                break;
            }
            last = Some(topic);
        }
        if walk != Walk::Over
            && let Some(topic) = last
        {
            *after = Some(topic.clone());
        }
        walk
    }

    /// Forgets what has expired.
    pub fn sweep(&self) {
        if self.store.read().expiring == 0 {
            return;
        }
        let mut store = self.store.write();
        let over: Vec<Box<str>> = store.messages.iter().filter(|(_, held)| held.message.is_expired()).map(|(t, _)| t.clone()).collect();
        for topic in over {
            store.remove(&topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Instant;

    fn message(topic: &str, payload: &'static str) -> Arc<Message> {
        Arc::new(Message {
            topic: topic.into(),
            payload: Bytes::from_static(payload.as_bytes()),
            properties: Bytes::new(),
            qos: 1,
            retain: true,
            expires: None,
            urgent: false,
        })
    }

    fn found(retained: &Retained, filter: &str) -> Vec<String> {
        let mut topics = Vec::new();
        let walk = retained.walk(filter, u64::MAX, &mut None, usize::MAX, &mut |m| {
            topics.push(m.topic.to_string());
            true
        });
        assert_eq!(walk, Walk::Over);
        topics
    }

    #[test]
    fn filters_find_what_they_match_and_nothing_else() {
        let retained = Retained::default();
        for topic in ["a", "a/b", "a/b/c", "ab", "$SYS/x", "b"] {
            assert!(retained.set(&message(topic, "1"), false));
        }
        assert_eq!(found(&retained, "a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(found(&retained, "a/+"), ["a/b"]);
        assert_eq!(found(&retained, "+"), ["a", "ab", "b"]);
        assert_eq!(found(&retained, "$SYS/#"), ["$SYS/x"]);
        assert_eq!(found(&retained, "a/b"), ["a/b"]);
        assert_eq!(found(&retained, "#").len(), 5);
    }

    #[test]
    fn an_empty_payload_clears_and_the_bytes_add_up() {
        let retained = Retained::default();
        retained.set(&message("a", "1"), false);
        retained.set(&message("a", "222"), false);
        assert_eq!(retained.size(), (1, message("a", "222").bytes()));
        retained.set(&message("a", ""), false);
        assert_eq!(retained.size(), (0, 0));
    }

    #[test]
    fn clients_fill_their_own_room_alone() {
        let retained = Retained::default();
        let long: &'static str = "x".repeat(RETAINED_BYTES_MAX / 2).leak();
        assert!(retained.set(&message("c/1", long), false));
        assert!(!retained.set(&message("c/2", long), false));
        assert!(retained.set(&message("own/1", long), true) && retained.set(&message("own/2", "1"), true));
        assert_eq!(found(&retained, "#"), ["c/1", "own/1", "own/2"]);
        retained.set(&message("own/1", ""), true);
        assert!(!retained.set(&message("c/2", long), false), "its bytes were none of theirs");
        retained.set(&message("c/1", ""), false);
        assert!(retained.set(&message("c/2", long), false));
    }

    #[test]
    fn what_has_expired_is_gone() {
        let retained = Retained::default();
        let mut old = Message::clone(&message("a", "1"));
        old.expires = Some(Instant::now());
        retained.set(&Arc::new(old), false);
        assert!(found(&retained, "#").is_empty() && found(&retained, "a").is_empty());
        retained.sweep();
        assert_eq!(retained.size(), (0, 0));
    }
}
