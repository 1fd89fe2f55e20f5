//! One session's bounded queue of messages, filled by publishers and emptied by its connection.

use crate::limits::{LAG_MESSAGES, QUEUED_BYTES_MAX, SUBSCRIBER_QUEUE_MAX};
use crate::message::{Delivery, Message};
use crate::stats::{Counters, count};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::Notify;

/// A session seen by those who publish.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Unique in this process.
    pub id: u64,
    queue: Mutex<Queue>,
    /// Rung when something comes into an empty queue.
    pub wake: Notify,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Queue {
    /// What goes first. Topics are either urgent or not, so that the order within one stays.
    urgent: VecDeque<Delivery>,
    waiting: VecDeque<Delivery>,
    /// Those of them that count against the bound: not the replayed.
    live: usize,
    /// Whether the client is there; QoS 0 waits for nobody.
    online: bool,
    /// Whether it is among the counters' laggards.
    lags: bool,
}

impl Subscriber {
    pub fn new(id: u64, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { id, queue: Mutex::default(), wake: Notify::new(), counters })
    }

    /// The client came or went.
    pub fn set_online(&self, online: bool) {
        let mut queue = self.queue.lock();
        queue.online = online;
        self.look(&mut queue);
    }

    /// Enters or leaves the laggards.
    fn look(&self, queue: &mut Queue) {
        let most = if queue.lags { LAG_MESSAGES / 2 } else { LAG_MESSAGES };
        let lags = queue.online && queue.live >= most;
        if lags != queue.lags {
            queue.lags = lags;
            let mut laggards = self.counters.laggards.lock();
            if lags {
                laggards.insert(self.id, Instant::now());
            } else {
                laggards.remove(&self.id);
            }
        }
    }

    /// Queues a message; at a bound it is dropped and counted.
    pub fn offer(&self, delivery: Delivery) {
        let mut queue = self.queue.lock();
        if !queue.online && delivery.qos == 0 {
            return;
        }
        let bytes = delivery.message.bytes();
        // Each has room of its own: a backlog takes none from what is urgent.
        let waiting = if delivery.message.urgent { queue.urgent.len() } else { queue.live };
        let full = waiting >= SUBSCRIBER_QUEUE_MAX || self.counters.queued_bytes.load(Ordering::Relaxed) + bytes > QUEUED_BYTES_MAX;
        if full {
            count(&self.counters.dropped, 1);
            return;
        }
        if !delivery.message.urgent {
            queue.live += 1;
            self.look(&mut queue);
        }
        self.push(&mut queue, delivery);
    }

    /// Queues what `retained` gives, in one step with asking for it: a newer message on the same
    /// topic comes behind, never before.
    pub fn replay(&self, retained: impl FnOnce(&mut dyn FnMut(&Arc<Message>)), mut to: impl FnMut(&Arc<Message>) -> Delivery) {
        let mut queue = self.queue.lock();
        retained(&mut |message| {
            let mut delivery = to(message);
            delivery.replay = true;
            self.push(&mut queue, delivery);
        });
    }

    fn push(&self, queue: &mut Queue, delivery: Delivery) {
        self.counters.queued_bytes.fetch_add(delivery.message.bytes(), Ordering::Relaxed);
        count(&self.counters.delivered, 1);
        let place = if delivery.message.urgent { &mut queue.urgent } else { &mut queue.waiting };
        place.push_back(delivery);
        if place.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Moves up to `max` messages to `out`, urgent ones first, at most `window` of them of QoS 1;
    /// else order is kept, so a QoS 1 message without room holds back what is behind it.
    pub fn take(&self, out: &mut Vec<Delivery>, max: usize, mut window: usize) {
        let mut queue = self.queue.lock();
        while out.len() < max {
            let is_urgent = !queue.urgent.is_empty();
            match if is_urgent { queue.urgent.front() } else { queue.waiting.front() } {
                Some(next) if next.qos == 0 => {}
                Some(_) if window > 0 => window -= 1,
                _ => break,
            }
            if let Some(delivery) = if is_urgent { queue.urgent.pop_front() } else { queue.waiting.pop_front() } {
                queue.live -= usize::from(!delivery.replay && !is_urgent);
                self.counters.queued_bytes.fetch_sub(delivery.message.bytes(), Ordering::Relaxed);
                out.push(delivery);
            }
        }
        self.look(&mut queue);
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let queue = self.queue.get_mut();
        let left: usize = queue.waiting.iter().chain(&queue.urgent).map(|d| d.message.bytes()).sum();
        self.counters.queued_bytes.fetch_sub(left, Ordering::Relaxed);
        self.counters.laggards.lock().remove(&self.id);
    }
}
