//! What a new subscription finds retained, taken from the store as its client takes it: nothing of
//! it is copied or counted while it waits, however much that is.
//!
//! A message that was retained after the subscription is passed over: the subscription brought it
//! as it came, and it waits behind. So nobody gets an old message after a new one of its topic.

use crate::message::Delivery;
use crate::retained::{Retained, Walk};
use std::sync::Arc;

/// Topics that are looked at in one step: a filter may match few of very many.
const STEP_TOPICS: usize = 4_096;

/// One subscription's retained messages.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The subscription's filter.
    pub filter: String,
    /// QoS that it is granted.
    pub qos: u8,
    /// Its identifier.
    pub identifiers: Option<Arc<[u32]>>,
    /// What the store held after this change of it came later.
    pub until: u64,
    /// The topic up to which all is taken.
    after: Option<Box<str>>,
}

/// Where a replay stands.
pub(super) enum State {
    /// Nothing is left.
    Over,
    /// No more fits now.
    Full,
    /// It looked at many topics; there may be more.
    Tired,
}

impl Replay {
    /// From the beginning; `until` as [`Retained::changes`] says it when the subscription stands.
    pub fn new(filter: &str, qos: u8, identifiers: Option<Arc<[u32]>>, until: u64) -> Self {
        Self { filter: filter.to_owned(), qos, identifiers, until, after: None }
    }

    pub(super) fn take(&mut self, retained: &Retained, out: &mut Vec<Delivery>, max: usize, window: &mut usize) -> State {
        let Self { filter, qos, identifiers, until, after } = self;
        let walk = retained.walk(filter, *until, after, STEP_TOPICS, &mut |message| {
            let qos = message.qos.min(*qos);
            if out.len() >= max || (qos > 0 && *window == 0) {
                return false;
            }
            *window -= usize::from(qos > 0);
            out.push(Delivery { message: message.clone(), qos, retain: true, identifiers: identifiers.clone() });
            true
        });
        match walk {
            Walk::Over => State::Over,
            Walk::Stopped => State::Full,
            Walk::Tired => State::Tired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::stats::Counters;
    use crate::subscriber::Subscriber;
    use bytes::Bytes;
    use std::sync::atomic::Ordering;

    fn message(topic: &str, payload: usize, qos: u8, urgent: bool) -> Arc<Message> {
        let (topic, payload) = (topic.into(), Bytes::from(vec![b'x'; payload]));
        Arc::new(Message { topic, payload, properties: Bytes::new(), qos, retain: true, expires: None, urgent })
    }

    fn live(message: Arc<Message>) -> Delivery {
        let qos = message.qos;
        Delivery { message, qos, retain: false, identifiers: None }
    }

    fn store(count: usize) -> Retained {
        let retained = Retained::default();
        for n in 0..count {
            assert!(retained.set(&message(&format!("r/{n:05}"), 100, 1, false), false));
        }
        retained
    }

    fn drain(subscriber: &Subscriber, retained: &Retained) -> Vec<String> {
        let mut topics = Vec::new();
        loop {
            let mut out = Vec::new();
            let again = subscriber.take(retained, &mut out, 64, 64);
            if out.is_empty() && !again {
                return topics;
            }
            topics.extend(out.into_iter().map(|d| format!("{}{}", d.message.topic, if d.retain { "" } else { " live" })));
        }
    }

    #[test]
    fn many_subscriptions_to_much_that_is_retained_take_no_room_and_leave_it_to_others() {
        let counters = Arc::new(Counters::default());
        let (greedy, retained) = (Subscriber::new(1, 0, 10_000, counters.clone()), store(20_000));
        for n in 0..1_000 {
            greedy.replay(Replay::new(["r/#", "#", "+/+"][n % 3], 0, None, retained.changes()));
        }
        assert_eq!(counters.queued_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(greedy.queue.lock().waiting.len(), 3, "one for each filter");
        assert_eq!(drain(&greedy, &retained).len(), 60_000);
    }

    #[test]
    fn each_comes_once_and_what_is_newer_comes_behind() {
        let retained = store(5);
        let one = Subscriber::new(1, 0, 10_000, Arc::default());
        one.set_online(true);
        one.replay(Replay::new("r/#", 1, None, retained.changes()));
        let mut out = Vec::new();
        assert!(!one.take(&retained, &mut out, 64, 2), "the window is full");
        assert_eq!(out.len(), 2);
        // New on a topic that was replayed, on one that was not, and on one of its own.
        for topic in ["r/00000", "r/00003", "r/9"] {
            let new = message(topic, 1, 1, false);
            assert!(retained.set(&new, false));
            one.offer(live(new));
        }
        assert_eq!(drain(&one, &retained), ["r/00002", "r/00004", "r/00000 live", "r/00003 live", "r/9 live"]);
        // Asked again in the middle: from the beginning, once.
        one.replay(Replay::new("r/#", 0, None, retained.changes()));
        one.take(&retained, &mut out, 5, 0);
        one.replay(Replay::new("r/#", 0, None, retained.changes()));
        assert_eq!(drain(&one, &retained).len(), 6);
        one.replay(Replay::new("r/#", 0, None, retained.changes()));
        one.forget_replay("r/#");
        assert!(drain(&one, &retained).is_empty());
    }

    #[test]
    fn a_filter_that_matches_little_is_looked_for_step_by_step() {
        let (retained, one) = (store(3 * STEP_TOPICS), Subscriber::new(1, 0, 10_000, Arc::default()));
        assert!(retained.set(&message("r/x/y", 1, 0, false), false));
        one.replay(Replay::new("r/+/y", 0, None, retained.changes()));
        let mut out = Vec::new();
        assert!(one.take(&retained, &mut out, 64, 64) && out.is_empty());
        assert_eq!(drain(&one, &retained), ["r/x/y"]);
    }

    #[test]
    fn no_subscriber_takes_all_the_room_and_none_takes_it_from_what_is_urgent() {
        let counters = Arc::new(Counters::default());
        let subscribers: Vec<_> = (0..20).map(|id| Subscriber::new(id, 0, 10_000, counters.clone())).collect();
        let large = message("live/a", 1 << 20, 1, false);
        for _ in 0..200 {
            subscribers[0].offer(live(large.clone()));
        }
        assert!(counters.queued_bytes.load(Ordering::Relaxed) <= crate::limits::SUBSCRIBER_BYTES_MAX);
        subscribers[1].offer(live(large.clone()));
        assert_eq!(subscribers[1].queue.lock().live, 1, "another has room");
        subscribers.iter().for_each(|s| (0..200).for_each(|_| s.offer(live(large.clone()))));
        let full = counters.queued_bytes.load(Ordering::Relaxed);
        assert!(full <= crate::limits::QUEUED_BYTES_MAX && full > crate::limits::QUEUED_BYTES_MAX - (2 << 20));
        subscribers[3].offer(live(message("alerts/critical/a", 1 << 20, 1, true)));
        assert_eq!(subscribers[3].queue.lock().urgent.len(), 1);
        drop(subscribers);
        assert_eq!(counters.queued_bytes.load(Ordering::Relaxed), 0);
    }
}
