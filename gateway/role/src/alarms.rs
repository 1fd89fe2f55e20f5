//! What people ask of a role's core about alarms, and who waits until it is done.

use crate::limits::ALARM_REQUESTS_MAX;
use replica::alarm::{Body, Filter, Name};
use serde_json::Value;
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// An alarm as people name it.
pub fn path(gateway: &str, (series, kind): &Name) -> String {
    format!("{gateway}/{series}/{kind}")
}

/// What such a path names: a gateway, and an alarm of its.
pub fn named(path: &str) -> Option<(&str, Name)> {
    let (gateway, rest) = path.split_once('/')?;
    let (series, kind) = rest.rsplit_once('/')?;
    Some((gateway, (series.to_owned(), kind.to_owned())))
}

/// Why something that was asked for is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such alarm.
    #[error("there is no such alarm")]
    Unknown,
    /// It cannot be taken now.
    #[error("{0}")]
    Busy(String),
}

/// Who waits for something to be done.
pub type Reply = oneshot::Sender<Result<Value, Refused>>;

/// What is asked.
pub enum Ask {
    /// A list.
    List(Filter, oneshot::Sender<Vec<Value>>),
    /// One alarm, as `{gateway}/{series}/{kind}`.
    One(String, oneshot::Sender<Option<Value>>),
    /// The figures of each gateway.
    Kpi(oneshot::Sender<Vec<Value>>),
    /// What is known of a series of this name, or of a machine of this name, if there is one.
    Series(String, oneshot::Sender<Option<Value>>),
    /// Something is to be done, as `{gateway}/{series}/{kind}/{verb}`; answered with the alarm once that is durable.
    Do(String, Body, Reply),
}

/// Requests in the log that are not durable yet, in its order, each with its alarm.
#[derive(Default)]
pub struct Waiting(VecDeque<(u64, String, Reply)>);

impl Waiting {
    /// Gives a request to the log, and answers it later; at once where it is not taken.
    pub fn ask(&mut self, path: &str, reply: Reply, log: impl FnOnce() -> Result<u64, Refused>) {
        let is_full = self.0.len() >= ALARM_REQUESTS_MAX;
        match if is_full { Err(Refused::Busy("too much waits for the log; ask again".into())) } else { log() } {
            Ok(lsn) => self.0.push_back((lsn, path.rsplit_once('/').map_or("", |(alarm, _)| alarm).to_owned(), reply)),
            Err(refused) => drop(reply.send(Err(refused))),
        }
    }

    /// Records up to `lsn` are folded: who waits for them is answered with the alarm as `shown`.
    pub fn folded(&mut self, lsn: u64, shown: impl Fn(&str) -> Option<Value>) {
        while self.0.front().is_some_and(|(at, ..)| *at <= lsn) {
            if let Some((_, alarm, reply)) = self.0.pop_front() {
                // Who asked may have gone.
                drop(reply.send(shown(&alarm).ok_or(Refused::Unknown)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_answered_once_it_is_durable_or_told_why_not() {
        let mut waiting = Waiting::default();
        let ask = |waiting: &mut Waiting, logged: Result<u64, Refused>| {
            let (reply, answer) = oneshot::channel();
            waiting.ask("g/a/b/high/ack", reply, || logged);
            answer
        };
        let mut refused = ask(&mut waiting, Err(Refused::Unknown));
        assert_eq!(refused.try_recv(), Ok(Err(Refused::Unknown)));
        let mut answers: Vec<_> = (1..=ALARM_REQUESTS_MAX as u64).map(|lsn| ask(&mut waiting, Ok(lsn))).collect();
        assert!(matches!(ask(&mut waiting, Ok(9)).try_recv(), Ok(Err(Refused::Busy(_)))));
        waiting.folded(2, |alarm| (alarm == "g/a/b/high").then(|| alarm.into()));
        assert_eq!(answers[1].try_recv(), Ok(Ok("g/a/b/high".into())));
        assert!(answers[2].try_recv().is_err());
        waiting.folded(3, |_| None);
        assert_eq!(answers[2].try_recv(), Ok(Err(Refused::Unknown)), "it is gone by now");
    }
}
