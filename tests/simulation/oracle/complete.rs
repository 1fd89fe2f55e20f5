//! What it means that a merged window is `complete` (contract §4): for each gateway that had its
//! series in the last seven days, all that its known boots accepted up to the window's end and
//! grace is applied, and in the window. It is judged when a window is first called so.
//!
//! Known exceptions (README of `gateway/cloud`): what damage took, and what is told to be gone for
//! good, is in no window, and nobody knows in which it was; of a redundancy group one of the fullest
//! members suffices. A boot that went on behind a copy of its disk that is in use, which the cloud took for over,
//! is known to be under way only when it speaks again; and one of which nothing but an urgent alert came, only
//! with its hello or first interval.
//!
//! Not judged: a gateway whose log was damaged.

use super::{Boot, Oracle, Window, ensure, number, series_number};
use crate::device::Device;
use replica::join::{Bridge, Merged};
use replica::limits::IDLE_FRONTIER_MS;
use std::collections::BTreeSet;
use telemetry::window;

/// A gateway that goes on tells its clock at least so often, besides what two rounds take.
const TELLS_MS: i64 = IDLE_FRONTIER_MS + 60_000;

impl Oracle {
    /// A record of the cloud's log has these windows published.
    pub fn completed(&mut self, bridge: &Bridge, lsn: u64, merged: &[Merged]) -> Result<(), String> {
        if lsn <= self.told.judged {
            return Ok(());
        }
        self.told.judged = lsn;
        for m in merged {
            let key = (series_number(&m.series), m.size_ms, m.start_ms);
            if !m.complete {
                ensure(!self.told.complete.contains(&key), || {
                    format!("window {key:?} was complete and is not in revision {}", m.revision)
                })?;
            } else if self.told.complete.insert(key) {
                self.complete(bridge, key, m).map_err(|what| format!("window {key:?} is called complete: {what}"))?;
            }
        }
        Ok(())
    }

    fn complete(&self, bridge: &Bridge, key: Window, m: &Merged) -> Result<(), String> {
        let mut members = self.members(key);
        members.extend(m.gateways.keys().map(|name| number(name)));
        let lacks = |gateway: u8| self.lacks(bridge, key, gateway, m.gateways.get(&format!("g{gateway}")).copied().unwrap_or(0));
        if !self.group {
            return members.into_iter().find_map(lacks).map_or(Ok(()), Err);
        }
        let most = m.gateways.values().max().copied().unwrap_or(0);
        let full = m.gateways.iter().filter(|(_, count)| **count == most).map(|(name, _)| number(name));
        let lacking: Vec<Option<String>> = full.map(lacks).collect();
        ensure(lacking.iter().any(Option::is_none), || format!("of its fullest members {lacking:?}"))
    }

    /// What of a gateway is not in, of which `count` readings are in the window.
    fn lacks(&self, bridge: &Bridge, (series, size_ms, start_ms): Window, gateway: u8, count: u64) -> Option<String> {
        let known = bridge.gateways.get(&format!("g{gateway}")).filter(|_| self.damage.times(gateway) == 0)?;
        let until_ms = start_ms + size_ms + self.grace_ms;
        // What was given up so long ago that its names went, too, is told as a number: of these windows or of others.
        let (mut within, mut nameless) = (0, 0);
        for (boot, told) in
            known.boots.iter().filter(|(_, told)| !told.sizes.is_empty() && !(told.ended && (self.cloned || self.disks_lost)))
        {
            nameless += told.lost;
            let Some(part) = self.parts.get(&(gateway, *boot)).filter(|_| self.live.is_empty()) else { continue };
            let is_gone = |seq: u64| told.gaps.iter().any(|(from, to, _)| seq > *from && seq <= *to);
            for fact in part.facts.iter().filter(|fact| fact.leaves && fact.arrival_ms < until_ms) {
                if fact.seq > told.applied {
                    return Some(format!("boot {boot:x} of g{gateway} is applied up to {}, and accepted {fact:?}", told.applied));
                }
                let is_here = fact.series as u8 == series && window::start_of(fact.time_ms, size_ms) == start_ms;
                let is_sure = self.is_date_sure(gateway, fact) && !is_gone(fact.seq);
                within += u64::from(is_here && is_sure);
            }
        }
        (within > count + nameless).then(|| format!("{count} readings of g{gateway} are in it, which accepted {within}"))
    }

    /// A window that nothing keeps from being complete, and that is not: all who had its series are
    /// known to be past it. Where disks were lost, copied or damaged, or readings given up, it may never be.
    pub fn incomplete(&self, devices: &[Device], bridge: &Bridge) -> Option<String> {
        let is_gone =
            |name: &Boot| bridge.gateways.get(&format!("g{}", name.0)).is_some_and(|g| g.boots.values().any(|p| !p.gaps.is_empty()));
        if self.cloned
            || self.disks_lost
            || !self.live.is_empty()
            || self.parts.keys().any(|name| self.damage.times(name.0) > 0 || is_gone(name))
        {
            return None;
        }
        let clock_ms = |gateway: u8| {
            let clocks = devices.iter().filter(|d| d.number() == gateway).filter_map(|d| Some(d.process.as_ref()?.fold.clock_ms));
            clocks.min().unwrap_or(i64::MAX)
        };
        let open = self.told.published.iter().filter(|(key, m)| !m.complete && self.given_up_of(**key) == 0);
        for (key, m) in open {
            let mut members: BTreeSet<u8> = self.members(*key);
            members.extend(m.gateways.keys().map(|name| number(name)));
            if members.iter().all(|gateway| clock_ms(*gateway) >= key.2 + key.1 + self.grace_ms + TELLS_MS) {
                return Some(format!("window {key:?} is not complete, and g{members:?} are past it"));
            }
        }
        None
    }
}
