//! One session's bounded queue of messages, filled by publishers and emptied by its connection.

mod replay;

use crate::limits::{ABSENT_WAIT, LAG_MESSAGES, LAG_WAIT, QUEUED_BYTES_MAX, SUBSCRIBER_BYTES_MAX, URGENT_QUEUE_MAX};
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
    /// Number of its durable session, 0 when it ends with its connection.
    pub session: u64,
    /// Live messages that may wait for it.
    queue_max: usize,
    queue: Mutex<Queue>,
    /// Rung when something comes into an empty queue.
    pub wake: Notify,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Queue {
    /// What goes first. Topics are either urgent or not, so that the order within one stays.
    urgent: VecDeque<Delivery>,
    waiting: VecDeque<Waiting>,
    /// Messages among those that wait: what is replayed is in the retained store.
    live: usize,
    /// Their bytes.
    bytes: usize,
    /// When the client left, if it is not there; QoS 0 waits for nobody.
    left: Option<Instant>,
    /// Since when it is among the counters' laggards.
    lags: Option<Instant>,
}

/// What waits in its order.
#[derive(Debug)]
enum Waiting {
    Live(Delivery),
    /// The retained messages that a subscription found.
    Replay(Box<Replay>),
}

impl Subscriber {
    /// One whose client is not there, for now.
    pub fn new(id: u64, session: u64, queue_max: usize, counters: Arc<Counters>) -> Arc<Self> {
        let (urgent, waiting) = (VecDeque::new(), VecDeque::new());
        let queue = Queue { urgent, waiting, live: 0, bytes: 0, left: Some(Instant::now()), lags: None };
        Arc::new(Self { id, session, queue_max, queue: Mutex::new(queue), wake: Notify::new(), counters })
    }

    /// The client came or went.
    pub fn set_online(&self, online: bool) {
        let mut queue = self.queue.lock();
        queue.left = (!online).then(Instant::now);
        self.look(&mut queue, true);
    }

    /// Enters or leaves the laggards; `turned` where the client came or went.
    fn look(&self, queue: &mut Queue, turned: bool) {
        let least = if queue.left.is_some() { self.queue_max / 2 } else { LAG_MESSAGES };
        // Who lags does so until half of it is gone, also through a change of connections.
        let least = if queue.lags.is_some() { least.min(LAG_MESSAGES) / 2 } else { least };
        let lags = queue.live >= least;
        if lags == queue.lags.is_some() && !(lags && turned) {
            return;
        }
        queue.lags = lags.then(|| queue.lags.unwrap_or_else(Instant::now));
        let mut laggards = self.counters.laggards.lock();
        match (queue.lags, queue.left) {
            // One that comes back gets its time to catch up, and does not get it for ever by coming again and again.
            (Some(since), None) => laggards.insert(self.id, Instant::now().min(since + ABSENT_WAIT) + LAG_WAIT),
            (Some(since), Some(left)) => laggards.insert(self.id, since.min(left) + ABSENT_WAIT),
            (None, _) => laggards.remove(&self.id),
        };
    }

    /// Queues a message; at a bound it is dropped and counted.
    pub fn offer(&self, delivery: Delivery) {
        let mut queue = self.queue.lock();
        if queue.left.is_some() && delivery.qos == 0 {
            return;
        }
        let bytes = delivery.message.bytes();
        // What is urgent has room of its own: no backlog, of this subscriber or of others, takes any from it.
        let full = if delivery.message.urgent {
            queue.urgent.len() >= URGENT_QUEUE_MAX
        } else {
            queue.live >= self.queue_max
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
            self.look(&mut queue, false);
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
        self.look(&mut queue, false);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::stats::read;
    use bytes::Bytes;

    #[test]
    fn who_is_away_with_a_lot_is_waited_for_and_gets_time_to_catch_up() {
        let counters = Arc::new(Counters::default());
        let one = Subscriber::new(1, 0, 20_000, counters.clone());
        let (topic, payload, properties) = ("t".into(), Bytes::new(), Bytes::new());
        let message = Arc::new(Message { topic, payload, properties, qos: 1, retain: false, expires: None, urgent: false });
        let offer =
            |count| (0..count).for_each(|_| one.offer(Delivery { message: message.clone(), qos: 1, retain: false, identifiers: None }));
        let waits = || counters.laggards.lock().get(&1).map(|until| until.saturating_duration_since(Instant::now()));
        offer(9_999);
        assert_eq!(waits(), None, "half of its room is left");
        offer(1);
        assert!(waits().is_some_and(|wait| wait > LAG_WAIT && wait <= ABSENT_WAIT));
        one.set_online(true);
        assert!(waits().is_some_and(|wait| wait <= LAG_WAIT));
        let take = |count| assert!(!one.take(&Retained::default(), &mut Vec::new(), count, count));
        take(7_500);
        assert!(waits().is_some());
        take(1);
        assert_eq!(waits(), None);
        offer(2_500);
        assert_eq!(waits(), None);
        offer(1);
        assert!(waits().is_some_and(|wait| wait <= LAG_WAIT));
        offer(50_000);
        assert_eq!(read(&counters.dropped), 50_000 - 15_000, "there is a bound");
    }
}
