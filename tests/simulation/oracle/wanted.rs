//! What a merged window is to say, from the readings in the logs; and of a redundancy group,
//! whose windows are their fullest member's.

use replica::join::Merged;
use std::collections::{BTreeMap, BTreeSet};
use telemetry::aggregate::Aggregate;

/// One gateway's readings of a window.
#[derive(Default)]
pub struct Share {
    sum: Option<Aggregate>,
    /// Time and value, to tell whether two heard the same.
    heard: Vec<(i64, u64)>,
    /// Readings whose only log is gone: the cloud may have them all the same.
    lost: u64,
}

impl Share {
    pub fn logged(&self) -> u64 {
        self.sum.as_ref().map_or(0, Aggregate::count)
    }

    /// All that ever were durable.
    pub fn all(&self) -> u64 {
        self.logged() + self.lost
    }
}

/// What the logs say of a window.
#[derive(Default)]
pub struct Wanted {
    pub gateways: BTreeMap<u8, Share>,
    /// Readings of it waited for their date: of several at one time any may be the first, and the last.
    pub waited: bool,
}

impl Wanted {
    pub fn add(&mut self, gateway: u8, (group, is_certain): (bool, bool), time_ms: i64, value: f64) {
        let share = self.gateways.entry(gateway).or_default();
        if !is_certain {
            share.lost += 1;
            return;
        }
        share.heard.push((time_ms, value.to_bits()));
        match &mut share.sum {
            Some(sum) => sum.add(time_ms, value),
            None if group => share.sum = Some(Aggregate::digested(time_ms, value)),
            None => share.sum = Some(Aggregate::new(time_ms, value)),
        }
    }

    /// All readings that ever were in logs.
    pub fn readings(&self) -> u64 {
        self.gateways.values().map(|share| share.logged() + share.lost).sum()
    }

    /// Readings in logs.
    pub fn logged(&self) -> u64 {
        self.gateways.values().map(Share::logged).sum()
    }

    pub fn is_certain(&self) -> bool {
        self.gateways.values().all(|share| share.lost == 0)
    }

    /// How many readings it has at least and at most, when so many were given up.
    pub fn count(&self, group: bool, given_up: u64) -> (u64, u64) {
        let shares = || self.gateways.values();
        if group {
            let fullest = shares().map(Share::logged).max().unwrap_or(0);
            return (fullest.saturating_sub(given_up), shares().map(|s| s.logged() + s.lost).max().unwrap_or(0));
        }
        (self.logged().saturating_sub(given_up), shares().map(|s| s.logged() + s.lost).sum())
    }

    /// Readings by gateway.
    pub fn counts(&self) -> BTreeMap<u8, u64> {
        self.gateways.iter().filter(|(_, share)| share.logged() > 0).map(|(gateway, share)| (*gateway, share.logged())).collect()
    }

    /// Whether `told` is the window.
    pub fn is(&self, told: &Aggregate, group: bool) -> bool {
        self.sum(group).as_ref() == Some(told) || self.waited && self.sum_between(told.first(), told.last(), group).as_ref() == Some(told)
    }

    /// The window, if these are among its readings: the others added between them.
    fn sum_between(&self, first: (i64, f64), last: (i64, f64), group: bool) -> Option<Aggregate> {
        let most = self.gateways.values().map(Share::logged).max()?;
        let shares = self.gateways.values().filter(|share| !group || share.logged() == most).take(if group { 1 } else { usize::MAX });
        let mut heard: Vec<(i64, u64)> = shares.flat_map(|share| share.heard.iter().copied()).collect();
        let mut take = |(time_ms, value): (i64, f64)| {
            let at = heard.iter().position(|h| *h == (time_ms, value.to_bits()))?;
            Some(heard.swap_remove(at))
        };
        take(first)?;
        let end = take(last);
        let new = if group { Aggregate::digested } else { Aggregate::new };
        let mut sum = new(first.0, first.1);
        heard.into_iter().chain(end).for_each(|(time_ms, bits)| sum.add(time_ms, f64::from_bits(bits)));
        Some(sum)
    }

    /// The window itself: all of it, or the fullest member's, the first by name of several.
    pub fn sum(&self, group: bool) -> Option<Aggregate> {
        let most = self.gateways.values().map(Share::logged).max()?;
        let mut shares = self.gateways.values().filter(|share| !group || share.logged() == most).filter_map(|share| share.sum.as_ref());
        let mut sum = shares.next()?.clone();
        if !group {
            shares.for_each(|other| sum.merge(other));
        }
        Some(sum)
    }

    /// Whether `told` is what the members may say of having heard the same. One that came to have
    /// the series later may be missing here without its being told again.
    pub fn agrees(&self, told: Option<bool>, members: &BTreeSet<u8>) -> Result<(), String> {
        let mut heard = self.gateways.values().filter(|share| share.logged() > 0).map(|share| {
            let mut heard = share.heard.clone();
            heard.sort_unstable();
            heard
        });
        let first = heard.next();
        let others: Vec<_> = heard.collect();
        let same = !others.is_empty() && others.iter().all(|other| Some(other) == first.as_ref());
        let all = members.iter().all(|m| self.gateways.get(m).is_some_and(|share| share.logged() > 0));
        match told {
            Some(true) if !same => Err("its members heard something else each, and are said to agree".to_owned()),
            Some(false) if same && all => Err("its members heard the same, and are said not to agree".to_owned()),
            None => Err("it does not say whether its members agree".to_owned()),
            _ => Ok(()),
        }
    }
}

/// A window of a group as it is published: no more than its fullest member gave, and no less than before.
pub fn grouped(merged: &Merged, before: Option<&Merged>) -> Result<(), String> {
    let count = merged.aggregate.count();
    let fullest = merged.gateways.values().max().copied().unwrap_or(0);
    if count != fullest {
        return Err(format!("{count} readings, its fullest member has {fullest}"));
    }
    match before.map(|m| m.aggregate.count()).filter(|had| *had > count) {
        Some(had) => Err(format!("{count} readings, it had {had}")),
        None => Ok(()),
    }
}
