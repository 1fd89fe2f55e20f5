//! One session's bounded queue of messages, filled by publishers and emptied by its connection.

mod replay;

use crate::limits::{LAG_MESSAGES, QUEUED_BYTES_MAX, SUBSCRIBER_BYTES_MAX, SUBSCRIBER_QUEUE_MAX};
use crate::message::Delivery;
use crate::retained::Retained;
use crate::stats::{Counters, count};
use parking_lot::Mutex;
pub(crate) use replay::Replay;
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
    waiting: VecDeque<Waiting>,
    /// Messages among those that wait: what is replayed is in the retained store.
    live: usize,
    /// Their bytes.
    bytes: usize,
    /// Whether the client is there; QoS 0 waits for nobody.
    online: bool,
    /// Whether it is among the counters' laggards.
    lags: bool,
}

/// What waits in its order.
#[derive(Debug)]
enum Waiting {
    Live(Delivery),
    /// The retained messages that a subscription found.
    Replay(Box<Replay>),
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
        // What is urgent has room of its own: no backlog, of this subscriber or of others, takes any from it.
        let full = if delivery.message.urgent {
            queue.urgent.len() >= SUBSCRIBER_QUEUE_MAX
        } else {
            queue.live >= SUBSCRIBER_QUEUE_MAX
                || queue.bytes + bytes > SUBSCRIBER_BYTES_MAX
                || self.counters.queued_bytes.load(Ordering::Relaxed) + bytes > QUEUED_BYTES_MAX
        };
        if full {
            count(&self.counters.dropped, 1);
            return;
        }
        self.counters.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        count(&self.counters.delivered, 1);
        let first = if delivery.message.urgent {
            queue.urgent.push_back(delivery);
            queue.urgent.len() == 1
        } else {
            queue.live += 1;
            queue.bytes += bytes;
            self.look(&mut queue);
            queue.waiting.push_back(Waiting::Live(delivery));
            queue.waiting.len() == 1
        };
        if first {
            self.wake.notify_one();
        }
    }

    /// Queues what a subscription finds retained; one of the same filter that still waits begins
    /// anew, so that there is never more than one for each subscription.
    pub fn replay(&self, replay: Replay) {
        let mut queue = self.queue.lock();
        queue.forget(&replay.filter);
        queue.waiting.push_back(Waiting::Replay(Box::new(replay)));
        self.wake.notify_one();
    }

    /// The subscription ended: what it found and what still waits is not for its client.
    pub fn forget_replay(&self, filter: &str) {
        self.queue.lock().forget(filter);
    }

    /// Moves up to `max` messages to `out`, urgent ones first, at most `window` of them of QoS 1;
    /// else order is kept, so a QoS 1 message without room holds back what is behind it. True
    /// where a replay stopped in the middle of what its filter does not match: it is to be asked again.
    pub fn take(&self, retained: &Retained, out: &mut Vec<Delivery>, max: usize, mut window: usize) -> bool {
        let mut queue = self.queue.lock();
        let mut again = false;
        while out.len() < max && !again {
            let is_urgent = !queue.urgent.is_empty();
            if !is_urgent && let Some(Waiting::Replay(replay)) = queue.waiting.front_mut() {
                let from = out.len();
                let state = replay.take(retained, out, max, &mut window);
                count(&self.counters.delivered, (out.len() - from) as u64);
                match state {
                    replay::State::Over => drop(queue.waiting.pop_front()),
                    replay::State::Tired => again = true,
                    replay::State::Full => break,
                }
                continue;
            }
            match queue.front(is_urgent) {
                Some(next) if next.qos == 0 => {}
                Some(_) if window > 0 => window -= 1,
                _ => break,
            }
            if let Some(delivery) = queue.pop(is_urgent) {
                self.counters.queued_bytes.fetch_sub(delivery.message.bytes(), Ordering::Relaxed);
                out.push(delivery);
            }
        }
        self.look(&mut queue);
        again
    }
}

impl Queue {
    fn front(&self, is_urgent: bool) -> Option<&Delivery> {
        match self.waiting.front() {
            _ if is_urgent => self.urgent.front(),
            Some(Waiting::Live(delivery)) => Some(delivery),
            _ => None,
        }
    }

    fn pop(&mut self, is_urgent: bool) -> Option<Delivery> {
        if is_urgent {
            return self.urgent.pop_front();
        }
        match self.waiting.pop_front()? {
            Waiting::Live(delivery) => {
                self.live -= 1;
                self.bytes -= delivery.message.bytes();
                Some(delivery)
            }
            Waiting::Replay(_) => None,
        }
    }

    fn forget(&mut self, filter: &str) {
        self.waiting.retain(|w| !matches!(w, Waiting::Replay(replay) if replay.filter == filter));
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let queue = self.queue.get_mut();
        let left = queue.bytes + queue.urgent.iter().map(|d| d.message.bytes()).sum::<usize>();
        self.counters.queued_bytes.fetch_sub(left, Ordering::Relaxed);
        self.counters.laggards.lock().remove(&self.id);
    }
}
