//! Who gets a message, and what is retained.
//!
//! Subscriptions change rarely and messages come often: matching takes a read lock, and
//! with nobody subscribed costs one atomic load.

use crate::limits::{RETAINED_MAX, SUBSCRIBER_QUEUE_MAX};
use crate::topic::matches;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// A message on its way to subscribers.
#[derive(Debug, Clone)]
pub struct Message {
    /// Topic.
    pub topic: Arc<str>,
    /// Payload.
    pub payload: Bytes,
    /// QoS it was published with.
    pub qos: u8,
    /// Retain flag as published.
    pub retain: bool,
    /// MQTT 5 properties that travel with it, encoded.
    pub properties: Bytes,
}

/// A message for one subscriber.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The lower of published and granted QoS.
    pub qos: u8,
    /// Retain flag to be sent.
    pub retain: bool,
    /// Subscription identifiers that matched.
    pub identifiers: Vec<u32>,
}

struct Subscription {
    options: u8,
    identifier: Option<u32>,
}

struct Subscriber {
    queue: mpsc::Sender<Delivery>,
    filters: HashMap<String, Subscription>,
}

/// Subscriptions and retained messages of a broker.
#[derive(Default)]
pub struct Router {
    subscribers: RwLock<HashMap<u64, Subscriber>>,
    subscriptions: AtomicUsize,
    retained: RwLock<BTreeMap<Arc<str>, Message>>,
    /// Deliveries dropped because a subscriber did not keep up.
    pub dropped: AtomicU64,
    /// Deliveries handed to subscribers.
    pub delivered: AtomicU64,
}

impl Router {
    /// A connection that may subscribe: its queue's end.
    pub fn connect(&self, connection: u64) -> mpsc::Receiver<Delivery> {
        let (queue, end) = mpsc::channel(SUBSCRIBER_QUEUE_MAX);
        self.subscribers.write().insert(connection, Subscriber { queue, filters: HashMap::new() });
        end
    }

    /// The connection is gone.
    pub fn disconnect(&self, connection: u64) {
        if let Some(gone) = self.subscribers.write().remove(&connection) {
            self.subscriptions.fetch_sub(gone.filters.len(), Ordering::Release);
        }
    }

    /// Adds or replaces a subscription; whether it is new.
    pub fn subscribe(&self, connection: u64, filter: &str, options: u8, identifier: Option<u32>) -> bool {
        let mut subscribers = self.subscribers.write();
        let Some(subscriber) = subscribers.get_mut(&connection) else { return false };
        let new = subscriber.filters.insert(filter.to_owned(), Subscription { options, identifier }).is_none();
        if new {
            self.subscriptions.fetch_add(1, Ordering::Release);
        }
        new
    }

    /// Removes a subscription; whether there was one.
    pub fn unsubscribe(&self, connection: u64, filter: &str) -> bool {
        let mut subscribers = self.subscribers.write();
        let removed = subscribers.get_mut(&connection).is_some_and(|s| s.filters.remove(filter).is_some());
        if removed {
            self.subscriptions.fetch_sub(1, Ordering::Release);
        }
        removed
    }

    /// Whether anybody is subscribed to anything.
    pub fn is_idle(&self) -> bool {
        self.subscriptions.load(Ordering::Acquire) == 0
    }

    /// Gives a message to its subscribers, once each at the highest QoS that matched.
    pub fn route(&self, from: u64, message: Message) {
        if message.retain {
            self.retain(&message);
        }
        if self.is_idle() {
            return;
        }
        for (connection, subscriber) in self.subscribers.read().iter() {
            let mut delivery: Option<Delivery> = None;
            for (filter, subscription) in &subscriber.filters {
                let no_local = subscription.options & 4 != 0 && *connection == from;
                if no_local || !matches(filter, &message.topic) {
                    continue;
                }
                let granted = (subscription.options & 3).min(1).min(message.qos);
                let as_published = subscription.options & 8 != 0;
                let d =
                    delivery.get_or_insert_with(|| Delivery { message: message.clone(), qos: 0, retain: false, identifiers: Vec::new() });
                d.qos = d.qos.max(granted);
                d.retain |= as_published && message.retain;
                d.identifiers.extend(subscription.identifier);
            }
            if let Some(delivery) = delivery {
                let counter = if subscriber.queue.try_send(delivery).is_ok() { &self.delivered } else { &self.dropped };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Sets or clears a retained message.
    pub fn retain(&self, message: &Message) {
        let mut retained = self.retained.write();
        if message.payload.is_empty() {
            retained.remove(&message.topic);
        } else if retained.len() < RETAINED_MAX || retained.contains_key(&message.topic) {
            retained.insert(message.topic.clone(), Message { retain: true, ..message.clone() });
        }
    }

    /// Retained messages that a filter matches.
    pub fn retained(&self, filter: &str) -> Vec<Message> {
        self.retained.read().values().filter(|m| matches(filter, &m.topic)).cloned().collect()
    }
}
