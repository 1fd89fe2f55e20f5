//! The urgent lane: alerts that wait for the cloud's receipt, critical ones first.

use super::rtt::Rtt;
use crate::fold::Fold;
use crate::limits::{ALERTS_AHEAD_MAX, ALERTS_FLYING_MAX, ALERTS_WAITING_MAX, ANSWER_MS, DEAF_MS_MAX, UNHEARD_MS, UNHEARD_RETRY_MS};
use crate::outbox::LastRead;
use schemas::message::AlertBody;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// An alert's name within its gateway.
pub type AlertId = (u64, u64, u32);

/// The first name, in order of severity, of one that is not critical.
const PLAIN: (u8, AlertId) = (1, (0, 0, 0));

/// How it stands with an alert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    /// Since when a receipt is waited for.
    since_ms: i64,
    /// When it last went on this connection.
    sent_ms: Option<i64>,
    /// When it goes next.
    due_ms: i64,
    /// How often it went.
    times: u32,
}

/// Alerts without a receipt.
#[derive(Debug, Clone, Default)]
pub(super) struct Urgent {
    /// By severity first.
    pub(super) waiting: BTreeMap<(u8, AlertId), Wait>,
    /// Those of them that went on this connection: a bounded number, so that no look at what is
    /// due goes through all.
    sent: BTreeSet<(u8, AlertId)>,
    /// Alerts for which there was no room, which go with their intervals: by boot, the last record
    /// of one.
    left: BTreeMap<u64, u64>,
    /// They are looked up in order.
    last_read: LastRead,
    /// None has waited since before.
    oldest_ms: i64,
    pub(super) connected: bool,
    /// Those that the cloud has receipted and no interval covers, with its boot.
    heard: BTreeMap<AlertId, u64>,
    rtt: Rtt,
    since_ms: Option<i64>,
    given_up: u32,
    /// The plant was told that alerts are not heard.
    pub(super) told: bool,
    /// Not to be told before: the log took no word.
    retry_ms: Option<i64>,
}

impl Urgent {
    /// What waits when the process begins, as far as there is room: the newest.
    pub(super) fn learn(&mut self, now_ms: i64, fold: &Fold) {
        self.told = fold.unheard;
        // What the list of alarms holds back goes up with its interval.
        let is_shown = |a: &AlertBody| a.alarm.as_ref().is_none_or(|note| note.held == detect::alarm::SHOWN);
        for part in fold.boots.iter().rev() {
            for alert in part.alerts.newest(&fold.shelf, part.applied).filter(is_shown) {
                if self.waiting.len() >= ALERTS_WAITING_MAX {
                    self.leave(alert.boot, alert.seq);
                    break;
                }
                self.add(now_ms, &alert);
            }
        }
    }

    /// A new alert, to go at once. When there are too many, the oldest of the least severe is left.
    pub(super) fn add(&mut self, now_ms: i64, alert: &AlertBody) {
        let wait = Wait { since_ms: now_ms, sent_ms: None, due_ms: now_ms, times: 0 };
        self.oldest_ms = if self.waiting.is_empty() { now_ms } else { self.oldest_ms.min(now_ms) };
        self.waiting.entry((alert.severity, id_of(alert))).or_insert(wait);
        if self.waiting.len() > ALERTS_WAITING_MAX
            && let Some((&(severity, _), _)) = self.waiting.last_key_value()
            && let Some((&key, _)) = self.waiting.range((severity, (0, 0, 0))..).next()
        {
            self.waiting.remove(&key);
            self.sent.remove(&key);
            self.leave(key.1.0, key.1.1);
        }
    }

    /// Those that were left and are told by now, or have another name behind a fork, are waited for no more.
    pub(super) fn follow(&mut self, fold: &Fold) {
        self.left.retain(|boot, seq| fold.boots.iter().any(|p| p.boot == *boot && *seq > p.applied && *seq <= p.end));
    }

    pub(super) fn leave(&mut self, boot: u64, seq: u64) {
        let last = self.left.entry(boot).or_default();
        *last = seq.max(*last);
    }

    /// The connection stands: everything without a receipt goes again.
    pub(super) fn connected(&mut self, now_ms: i64) {
        self.disconnected();
        self.connected = true;
        self.waiting.values_mut().for_each(|w| (w.due_ms, w.times) = (now_ms, 0));
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self) {
        self.connected = false;
        self.since_ms = None;
        self.waiting.values_mut().for_each(|w| w.sent_ms = None);
        self.sent.clear();
    }

    fn flying(&self) -> usize {
        self.sent.len()
    }

    /// When the next one goes, others than critical ones not before `free_at_ms`.
    pub(super) fn due_ms(&self, free_at_ms: i64) -> Option<i64> {
        if !self.connected {
            return None;
        }
        let due = |(key, wait): (&(u8, AlertId), &Wait)| if key.0 == 0 { wait.due_ms } else { wait.due_ms.max(free_at_ms) };
        let again = self.sent.iter().filter_map(|key| self.waiting.get_key_value(key)).map(due).min();
        if self.flying() >= ALERTS_FLYING_MAX {
            return again;
        }
        // Those that did not go yet are due since they came: the first of either kind stands for all.
        let is_new = |(_, wait): &(&(u8, AlertId), &Wait)| wait.sent_ms.is_none();
        let critical = self.waiting.range(..PLAIN).find(is_new).map(due);
        let plain = self.waiting.range(PLAIN..).find(is_new).map(due);
        [again, critical, plain].into_iter().flatten().min()
    }

    /// The next alert to go.
    pub(super) fn next(&mut self, now_ms: i64, is_free: bool, fold: &Fold) -> Option<AlertBody> {
        while self.connected {
            // Critical ones wait for no budget.
            let end = if is_free { Bound::Unbounded } else { Bound::Excluded(PLAIN) };
            let range = (Bound::Unbounded, end);
            let key = if self.flying() >= ALERTS_FLYING_MAX {
                *self.sent.range(range).find(|key| self.waiting.get(key).is_none_or(|w| w.due_ms <= now_ms))?
            } else {
                *self.waiting.range(range).find(|(_, w)| w.due_ms <= now_ms)?.0
            };
            let Some(alert) = self.body(fold, key.1) else {
                // An interval has covered it: it needs no receipt.
                self.waiting.remove(&key);
                self.sent.remove(&key);
                continue;
            };
            let wait = (self.rtt.wait(0) << self.waiting.get(&key).map_or(0, |w| w.times.min(5))).min(ANSWER_MS.2);
            if let Some(w) = self.waiting.get_mut(&key) {
                (w.sent_ms, w.due_ms, w.times) = (Some(now_ms), now_ms + wait, w.times + 1);
                self.sent.insert(key);
            }
            self.since_ms = self.since_ms.or(Some(now_ms));
            return Some(alert);
        }
        None
    }

    /// The cloud has an alert.
    pub(super) fn receipted(&mut self, now_ms: i64, id: AlertId, cloud_boot: u64) {
        self.given_up = 0;
        // What is not remembered goes once more with its interval.
        if self.heard.len() < ALERTS_AHEAD_MAX {
            self.heard.insert(id, cloud_boot);
        }
        self.sent.retain(|(_, sent)| *sent != id);
        let found = (0..=2).find_map(|severity| self.waiting.remove(&(severity, id)));
        // Only of an alert that went once is it known which time was answered.
        if let Some(Wait { sent_ms: Some(sent), times: 1, .. }) = found {
            self.rtt.sample(now_ms - sent, 1);
        }
        self.since_ms = (self.flying() > 0).then_some(now_ms);
    }

    /// An interval has told all alerts of a boot up to there. Whether this lane hears is another
    /// question: a receipt that was owed is still missed.
    pub(super) fn covered(&mut self, boot: u64, applied: u64) {
        self.waiting.retain(|(_, (of, seq, _)), _| *of != boot || *seq > applied);
        self.sent.retain(|key| self.waiting.contains_key(key));
        self.heard.retain(|(of, seq, _), _| *of != boot || *seq > applied);
    }

    /// An interval has told the alerts of one record below that ordinal.
    pub(super) fn joined(&mut self, boot: u64, seq: u64, ordinal: u32) {
        self.waiting.retain(|(_, (of, at, which)), _| *of != boot || *at != seq || *which >= ordinal);
        self.sent.retain(|key| self.waiting.contains_key(key));
    }

    /// Whether that boot of the cloud has said that it has an alert.
    pub(super) fn is_heard(&self, cloud_boot: u64, alert: &AlertBody) -> bool {
        cloud_boot != 0 && self.heard.get(&id_of(alert)) == Some(&cloud_boot)
    }

    /// The cloud does not know what it was believed to.
    pub(super) fn forget(&mut self) {
        self.heard.clear();
    }

    /// When the connection is to be given up.
    pub(super) fn deaf_at_ms(&self) -> Option<i64> {
        let patience = (self.rtt.patience() << self.given_up).min(DEAF_MS_MAX);
        self.since_ms.filter(|_| self.connected).map(|since| since.saturating_add(patience))
    }

    /// The connection was given up.
    pub(super) fn give_up(&mut self) {
        self.given_up = (self.given_up + 1).min(8);
        self.disconnected();
    }

    /// When the plant is to be told that an alert is not heard.
    pub(super) fn unheard_at_ms(&self) -> Option<i64> {
        let at_ms = match (self.told, self.is_all_heard()) {
            (false, false) if !self.waiting.is_empty() => self.oldest_ms.saturating_add(UNHEARD_MS),
            (true, true) => i64::MIN,
            _ => return None,
        };
        Some(at_ms.max(self.retry_ms.unwrap_or(i64::MIN)))
    }

    /// The log did not take what the plant was to be told.
    pub(super) fn unheard_refused(&mut self, now_ms: i64) {
        self.told = !self.told;
        self.retry_ms = Some(now_ms.saturating_add(UNHEARD_RETRY_MS));
    }

    /// What the plant is to be told: how many alerts have waited too long, and the one that has
    /// waited longest; none once all were heard.
    pub(super) fn unheard(&mut self, now_ms: i64) -> Option<Option<(u64, AlertId)>> {
        let late = self.waiting.iter().filter(|(_, w)| w.since_ms.saturating_add(UNHEARD_MS) <= now_ms);
        let count = late.clone().count() as u64;
        self.oldest_ms = self.waiting.values().map(|w| w.since_ms).min().unwrap_or(i64::MAX);
        let oldest = late.min_by_key(|(_, w)| w.since_ms).map(|((_, id), _)| *id);
        match (self.told, oldest) {
            (false, Some(id)) => {
                self.told = true;
                Some(Some((count, id)))
            }
            (true, None) if self.is_all_heard() => {
                self.told = false;
                Some(None)
            }
            _ => None,
        }
    }

    pub(super) fn is_all_heard(&self) -> bool {
        self.waiting.is_empty() && self.left.is_empty()
    }

    /// An alert that no interval has covered.
    fn body(&mut self, fold: &Fold, (boot, seq, ordinal): AlertId) -> Option<AlertBody> {
        let part = fold.boots.iter().rev().find(|p| p.boot == boot && seq > p.applied)?;
        part.alerts.find(&fold.shelf, (seq, ordinal), &mut self.last_read)
    }

    /// Alerts without a receipt, as far as they are known here.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

fn id_of(alert: &AlertBody) -> AlertId {
    (alert.boot, alert.seq, alert.ordinal)
}
