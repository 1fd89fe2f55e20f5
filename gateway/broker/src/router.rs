//! Who gets a message: a trie of subscriptions behind a shared read lock.
//!
//! Subscriptions change rarely and messages come often. Each change raises the generation, so
//! that a connection can remember the subscribers of its topics ([`Routes`]) and asks the trie
//! only after a change.

use crate::limits::{
    ROUTES_CACHED_BYTES_MAX, ROUTES_CACHED_MAX, SUBSCRIPTIONS_TOTAL_BYTES_MAX, SUBSCRIPTIONS_TOTAL_MAX, TOPIC_CACHED_BYTES_MAX,
};
use crate::message::{Delivery, Message};
use crate::subscriber::Subscriber;
use hashbrown::HashMap;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Bits of a subscription's options byte (MQTT 5, 3.8.3.1).
pub(crate) mod options {
    /// Maximum QoS that is asked for.
    pub const QOS: u8 = 0x03;
    /// Not the client's own messages.
    pub const NO_LOCAL: u8 = 0x04;
    /// The retain flag as it was published.
    pub const RETAIN_AS_PUBLISHED: u8 = 0x08;
}

/// QoS that a subscription is granted: this server sends at QoS 0 and 1.
pub(crate) fn granted(option_bits: u8) -> u8 {
    (option_bits & options::QOS).min(1)
}

#[derive(Debug)]
struct Subscription {
    subscriber: Arc<Subscriber>,
    options: u8,
    identifier: Option<u32>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<String, Node>,
    plus: Option<Box<Node>>,
    /// Filters that end here.
    here: Vec<Subscription>,
    /// Filters that end here with `#`.
    below: Vec<Subscription>,
}

/// A subscriber of a topic, its subscriptions merged.
#[derive(Debug)]
pub(crate) struct Target {
    subscriber: Arc<Subscriber>,
    qos: u8,
    retain_as_published: bool,
    identifiers: Option<Arc<[u32]>>,
}

/// Subscriptions of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Router {
    root: RwLock<Node>,
    generation: AtomicU64,
    subscriptions: AtomicUsize,
    /// Of their filters, each with a byte more.
    bytes: AtomicUsize,
}

impl Router {
    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.subscriptions.load(Ordering::Acquire)
    }

    /// Whether there is room for another one.
    pub fn has_room(&self) -> bool {
        self.len() < SUBSCRIPTIONS_TOTAL_MAX && self.bytes.load(Ordering::Relaxed) < SUBSCRIPTIONS_TOTAL_BYTES_MAX
    }

    /// Adds or replaces a subscription.
    pub fn subscribe(&self, subscriber: &Arc<Subscriber>, filter: &str, options: u8, identifier: Option<u32>) {
        let mut root = self.root.write();
        let (mut node, mut end_below) = (&mut *root, false);
        for level in filter.split('/') {
            match level {
                "#" => end_below = true,
                "+" => node = node.plus.get_or_insert_default(),
                _ => node = node.children.entry_ref(level).or_default(),
            }
        }
        let place = if end_below { &mut node.below } else { &mut node.here };
        let new = Subscription { subscriber: subscriber.clone(), options, identifier };
        match place.iter_mut().find(|s| s.subscriber.id == subscriber.id) {
            Some(old) => *old = new,
            None => {
                place.push(new);
                self.subscriptions.fetch_add(1, Ordering::Release);
                self.bytes.fetch_add(filter.len() + 1, Ordering::Relaxed);
            }
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Removes a subscription, if there is one.
    pub fn unsubscribe(&self, subscriber: u64, filter: &str) {
        let mut root = self.root.write();
        if remove(&mut root, Some(filter), subscriber) {
            self.subscriptions.fetch_sub(1, Ordering::Release);
            self.bytes.fetch_sub(filter.len() + 1, Ordering::Relaxed);
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Removes whatever a subscriber has, for a session that was lost with its connection's task.
    pub fn forget(&self, subscriber: u64) {
        let mut root = self.root.write();
        let (gone, bytes) = root.forget(subscriber, 0);
        self.subscriptions.fetch_sub(gone, Ordering::Release);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The subscribers of a topic that `from` publishes to, each once.
    pub fn resolve(&self, topic: &str, from: u64) -> Vec<Target> {
        if self.len() == 0 {
            return Vec::new();
        }
        let root = self.root.read();
        let mut matching: Vec<&Subscription> = Vec::new();
        collect(&root, Some(topic), topic.starts_with('$'), &mut |subscriptions| {
            matching.extend(subscriptions.iter().filter(|s| s.options & options::NO_LOCAL == 0 || s.subscriber.id != from));
        });
        matching.sort_by_key(|s| s.subscriber.id);
        matching.chunk_by(|a, b| a.subscriber.id == b.subscriber.id).map(merged).collect()
    }

    /// Gives a message to its subscribers, uncached.
    pub fn route(&self, message: &Arc<Message>, from: u64) {
        send(message, &self.resolve(&message.topic, from));
    }

    /// Gives a message to those subscribers whose session is `wanted`. Each durable session that gets it at QoS 1 has one
    /// of its own, so that it is known which of them have it before them.
    pub fn route_apart(&self, message: Message, wanted: impl Fn(u64) -> bool) -> Vec<(u64, Weak<Message>)> {
        let (message, mut apart) = (Arc::new(message), Vec::new());
        for target in self.resolve(&message.topic, 0).iter().filter(|target| wanted(target.subscriber.session)) {
            let mut own = message.clone();
            if target.subscriber.session != 0 && target.qos.min(message.qos) > 0 {
                own = Arc::new(Message::clone(&message));
                apart.push((target.subscriber.session, Arc::downgrade(&own)));
            }
            send(&own, std::slice::from_ref(target));
        }
        apart
    }
}

fn merged(subscriptions: &[&Subscription]) -> Target {
    let identifiers: Vec<u32> = subscriptions.iter().filter_map(|s| s.identifier).collect();
    Target {
        subscriber: subscriptions[0].subscriber.clone(),
        qos: subscriptions.iter().map(|s| granted(s.options)).max().unwrap_or(0),
        retain_as_published: subscriptions.iter().any(|s| s.options & options::RETAIN_AS_PUBLISHED != 0),
        identifiers: (!identifiers.is_empty()).then(|| identifiers.into()),
    }
}

/// Hands a message to the queues of its subscribers.
pub(crate) fn send(message: &Arc<Message>, targets: &[Target]) {
    for target in targets {
        target.subscriber.offer(Delivery {
            message: message.clone(),
            qos: target.qos.min(message.qos),
            retain: target.retain_as_published && message.retain,
            identifiers: target.identifiers.clone(),
        });
    }
}

/// Walks every branch that matches. The depth is the trie's, which
/// [`FILTER_LEVELS_MAX`](crate::limits::FILTER_LEVELS_MAX) bounds, whatever the topic.
fn collect<'a>(node: &'a Node, rest: Option<&str>, reserved: bool, found: &mut impl FnMut(&'a [Subscription])) {
    // A wildcard in the first level does not match topics that begin with `$`.
    if !reserved {
        found(&node.below);
    }
    let Some(rest) = rest else {
        return found(&node.here);
    };
    let (level, rest) = match rest.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (rest, None),
    };
    if let Some(child) = node.children.get(level) {
        collect(child, rest, false, found);
    }
    if let Some(plus) = node.plus.as_deref().filter(|_| !reserved) {
        collect(plus, rest, false, found);
    }
}

/// Removes a subscription below `node`, and the nodes that are empty then.
fn remove(node: &mut Node, filter: Option<&str>, subscriber: u64) -> bool {
    let take = |place: &mut Vec<Subscription>| match place.iter().position(|s| s.subscriber.id == subscriber) {
        Some(at) => {
            place.swap_remove(at);
            true
        }
        None => false,
    };
    let (level, rest) = match filter {
        None => return take(&mut node.here),
        Some("#") => return take(&mut node.below),
        Some(filter) => match filter.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (filter, None),
        },
    };
    if level == "+" {
        let Some(plus) = node.plus.as_deref_mut() else {
            return false;
        };
        let removed = remove(plus, rest, subscriber);
        if plus.is_empty() {
            node.plus = None;
        }
        removed
    } else {
        let Some(child) = node.children.get_mut(level) else {
            return false;
        };
        let removed = remove(child, rest, subscriber);
        if child.is_empty() {
            node.children.remove(level);
        }
        removed
    }
}

impl Node {
    /// How many subscriptions went, and the bytes of their filters, each with one more; `path`: those
    /// of the levels above, each with its slash.
    fn forget(&mut self, subscriber: u64, path: usize) -> (usize, usize) {
        let (here, below) = (self.here.len(), self.below.len());
        self.here.retain(|s| s.subscriber.id != subscriber);
        self.below.retain(|s| s.subscriber.id != subscriber);
        let (here, below) = (here - self.here.len(), below - self.below.len());
        let mut gone = (here + below, here * path + below * (path + 2));
        let mut and = |(more, bytes): (usize, usize)| gone = (gone.0 + more, gone.1 + bytes);
        self.children.retain(|level, child| {
            and(child.forget(subscriber, path + level.len() + 1));
            !child.is_empty()
        });
        if let Some(plus) = &mut self.plus {
            and(plus.forget(subscriber, path + 2));
        }
        self.plus.take_if(|plus| plus.is_empty());
        gone
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.below.is_empty()
    }
}

/// What one publisher remembers of its topics' subscribers.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    generation: u64,
    targets: HashMap<String, Vec<Target>>,
    /// Of the topics.
    bytes: usize,
    /// Those of a topic that is too long to be remembered.
    once: Vec<Target>,
}

impl Routes {
    /// The subscribers of a topic that `from` publishes to.
    pub fn targets(&mut self, router: &Router, topic: &str, from: u64) -> &[Target] {
        if router.len() == 0 {
            return &[];
        }
        if topic.len() > TOPIC_CACHED_BYTES_MAX {
            self.once = router.resolve(topic, from);
            return &self.once;
        }
        let generation = router.generation.load(Ordering::Acquire);
        if generation != self.generation || self.targets.len() >= ROUTES_CACHED_MAX || self.bytes > ROUTES_CACHED_BYTES_MAX {
            self.targets.clear();
            (self.generation, self.bytes) = (generation, 0);
        }
        self.targets.entry_ref(topic).or_insert_with(|| {
            self.bytes += topic.len();
            router.resolve(topic, from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counters;
    use crate::topic::{matches, valid_filter, valid_name};
    use proptest::prelude::*;

    fn subscriber(id: u64) -> Arc<Subscriber> {
        Subscriber::new(id, 0, 10, Arc::new(Counters::default()))
    }

    fn reached(router: &Router, topic: &str) -> Vec<u64> {
        router.resolve(topic, 0).iter().map(|t| t.subscriber.id).collect()
    }

    #[test]
    fn overlapping_subscriptions_are_one_delivery_at_the_highest_qos() {
        let router = Router::default();
        let one = subscriber(1);
        router.subscribe(&one, "a/#", 0, Some(5));
        router.subscribe(&one, "a/+", 2 | options::NO_LOCAL, Some(6));
        let others = router.resolve("a/b", 9);
        assert_eq!(others.len(), 1);
        assert_eq!((others[0].qos, others[0].identifiers.as_deref()), (1, Some(&[5, 6][..])));
        let own = router.resolve("a/b", 1);
        assert_eq!((own[0].qos, own[0].identifiers.as_deref()), (0, Some(&[5][..])));
    }

    #[test]
    fn an_empty_router_keeps_no_nodes() {
        let router = Router::default();
        let one = subscriber(1);
        for filter in ["a/b/c", "a/+/c", "#", "a/#", "+/+"] {
            router.subscribe(&one, filter, 0, None);
        }
        assert_eq!((router.len(), router.bytes.load(Ordering::Relaxed)), (5, 6 + 6 + 2 + 4 + 4));
        for filter in ["a/b/c", "a/+/c", "never/there"] {
            router.unsubscribe(1, filter);
        }
        router.forget(1);
        assert_eq!((router.len(), router.bytes.load(Ordering::Relaxed)), (0, 0));
        assert!(router.root.read().is_empty());
    }

    #[test]
    fn what_is_remembered_follows_the_subscriptions() {
        let (router, mut routes) = (Router::default(), Routes::default());
        let one = subscriber(1);
        assert!(routes.targets(&router, "a", 0).is_empty());
        router.subscribe(&one, "a", 0, None);
        assert_eq!(routes.targets(&router, "a", 0).len(), 1);
        router.unsubscribe(1, "a");
        assert!(routes.targets(&router, "a", 0).is_empty());
        router.subscribe(&one, "#", 0, None);
        let long = "a".repeat(TOPIC_CACHED_BYTES_MAX + 1);
        assert_eq!(routes.targets(&router, &long, 0).len(), 1);
        assert!(!routes.targets.contains_key(&long), "a long topic is not remembered");
        for n in 0..2 * ROUTES_CACHED_BYTES_MAX / 500 {
            assert_eq!(routes.targets(&router, &format!("{n:0500}"), 0).len(), 1);
            assert!(routes.bytes <= ROUTES_CACHED_BYTES_MAX + 500);
        }
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_the_matching_rule(
            filters in prop::collection::vec("[ab+#$/]{1,5}", 1..12),
            removed in prop::collection::vec(any::<bool>(), 12),
            topic in "[$]?[ab/]{1,5}",
        ) {
            let router = Router::default();
            let mut expected = Vec::new();
            for (i, filter) in filters.iter().enumerate().filter(|(_, f)| valid_filter(f)) {
                router.subscribe(&subscriber(i as u64 + 1), filter, 1, None);
                if removed[i] {
                    router.unsubscribe(i as u64 + 1, filter);
                } else if valid_name(&topic) && matches(filter, &topic) {
                    expected.push(i as u64 + 1);
                }
            }
            prop_assert_eq!(reached(&router, &topic), expected);
        }
    }
}
