//! Machines that are copied while they run, memory and disk, and both go on: two processes with
//! one boot (protocol §2). One of them keeps the name. What the other has beyond the last record
//! known to be shared is told as shed, to the reading, and nothing is lost in silence.
//!
//! One hole that the product's own text names is kept out: a machine does not crash while another
//! has its boot.

use crate::disk::{Alias, Disk, Frame};
use crate::oracle::wanted::Wanted;
use crate::oracle::{Boot, Oracle, Part, Window, ensure, number, series_number};
use crate::plan::{Faults, Plan, Step};
use crate::rng::Rng;
use crate::world::{DEVICES_MAX, World};
use replica::fold::Fold;
use replica::hash::{BEGIN, UNKNOWN};
use replica::join::Bridge;
use replica::outbox::BootPart;
use replica::record::Record;
use schemas::message::Delta;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use telemetry::window;

/// One in so many plans is of machines that are copied live.
const ONE_IN: u64 = 16;

/// An entry: gateway, boot, window, birth.
type Name = (u8, u64, Window, u64);

/// What is known of machines that share a boot.
#[derive(Clone, Default)]
pub struct Live {
    /// Gateway and name of the copy's part of a boot → the boot, and the last record that both have.
    aliases: BTreeMap<Boot, (u64, u64)>,
    /// Readings given up at forks.
    given_up: BTreeMap<Boot, u64>,
    /// By number of an interval: entries in it beyond what is shared, and whose they are.
    sent: BTreeMap<u64, Vec<(Name, u64)>>,
    /// Those that the cloud took.
    taken: BTreeMap<Name, u64>,
    /// By the oracle's hash of a log: parts that came to have it after machines were copied. Two may log the same.
    logged: HashMap<u64, BTreeSet<Boot>>,
    /// What hashes are told of logs, by those of the oracle, and the other way.
    hashes: [HashMap<u64, u64>; 2],
}

impl Live {
    pub fn is_empty(&self) -> bool {
        self.aliases.is_empty()
    }

    fn all_given_up(&self) -> u64 {
        self.given_up.values().sum()
    }
}

pub fn is_live(seed: u64) -> bool {
    seed % ONE_IN == 5
}

/// A plan of one or two machines that are copied live.
pub fn plan(seed: u64) -> Plan {
    let mut rng = Rng::new(seed);
    let trims = rng.percent(50);
    let faults = Faults {
        crashes: true,
        clones: false,
        disks: false,
        damage: false,
        clocks: false,
        trims,
        full: false,
        shed: false,
        cloud_disks: false,
        bridges: false,
        groups: false,
    };
    let mut plan = Plan::with(seed, faults, &mut rng);
    for devices in (plan.gateways as u8..).take(1 + rng.index(2)) {
        let (at, device) = (plan.gateways + rng.index(plan.steps.len() * 2 / 3), rng.below(plan.gateways as u64) as u8);
        plan.steps.insert(at, Step::CloneLive { device });
        for step in &mut plan.steps[at + 1..] {
            match step.device() {
                Some(other) if *other == device && rng.percent(50) => *other = devices,
                _ => {}
            }
        }
    }
    plan
}

impl World {
    /// Whether another machine runs under the same boot.
    pub fn shares_boot(&self, index: usize) -> bool {
        let boot = |at: usize| self.devices.get(at).and_then(|d| d.process.as_ref()).map(|p| p.boot);
        (0..self.devices.len()).any(|other| other != index && boot(index).is_some() && boot(other) == boot(index))
    }

    /// A second machine goes on from the memory and disk of one.
    pub fn clone_live(&mut self, index: usize) -> Result<(), String> {
        if self.devices.len() >= DEVICES_MAX || self.shares_boot(index) {
            return Ok(());
        }
        let Some(mut copy) = self.devices[index].copied(&mut self.ctx)? else { return Ok(()) };
        if let Some(alias) = copy.disk.alias {
            self.ctx.oracle.copied(&copy.name, alias);
        }
        if self.cloud.process.is_some() {
            copy.connect(&self.ctx);
        }
        self.devices.push(copy);
        Ok(())
    }
}

impl Oracle {
    /// A machine is copied as it runs.
    fn copied(&mut self, gateway: &str, alias: Alias) {
        let gateway = number(gateway);
        let counts = self.parts.get(&(gateway, alias.boot)).map_or_else(Vec::new, |p| p.counts.clone());
        let counts = counts.into_iter().filter(|(seq, ..)| *seq <= alias.at).collect();
        self.parts.insert((gateway, alias.name), Part { end: alias.at, counts, facts: Vec::new() });
        self.live.aliases.insert((gateway, alias.name), (alias.boot, alias.at));
    }

    /// All that goes under the name of a boot.
    pub fn names(&self, name: Boot) -> Vec<Boot> {
        let aliases = self.live.aliases.iter().filter(move |(alias, (boot, _))| alias.0 == name.0 && *boot == name.1);
        std::iter::once(name).chain(aliases.map(|(alias, _)| *alias)).collect()
    }

    /// The boot under whose name a part goes.
    pub fn boot_of(&self, name: Boot) -> u64 {
        self.live.aliases.get(&name).map_or(name.1, |(boot, _)| *boot)
    }

    /// A frame is on stable storage.
    pub fn logged(&mut self, gateway: &str, disk: &Disk, boot: u64, frame: &Frame) {
        if self.live.is_empty() {
            return;
        }
        let name = disk.alias.filter(|alias| alias.boot == boot).map_or(boot, |alias| alias.name);
        for hash in (frame.first..=frame.last()).filter_map(|lsn| disk.hash_at(lsn)) {
            self.live.logged.entry(hash).or_default().insert((number(gateway), name));
        }
    }

    /// A gateway takes an answer for one to another that has its boot: there must be one.
    pub fn found(&self, gateway: &str, forked: Option<&Record<'_>>) -> Result<(), String> {
        let Some(Record::Forked { boot, at, .. }) = forked else { return Ok(()) };
        ensure(self.names((number(gateway), *boot)).len() > 1, || {
            format!("{gateway} takes boot {boot:x} beyond {at} for another's, and it is nobody else's")
        })
    }

    /// A gateway says what an interval is to go on from, and where it ends: two logs have one hash
    /// if and only if they are the same up to there.
    pub fn hashed(&mut self, gateway: &str, disk: &Disk, fold: &Fold, delta: &Delta) -> Result<(), String> {
        let Some(part) = fold.boots.iter().find(|p| p.boot == delta.boot) else { return Ok(()) };
        for (seq, hash) in [(delta.from, delta.hash_from), (delta.to, delta.hash_to)] {
            if hash == UNKNOWN {
                continue;
            }
            let log = if seq == 0 { Some(0) } else { disk.hash_at(part.base + seq) };
            let Some(log) = log else {
                return Err(format!("{gateway} knows a hash at record {seq} of boot {:x}, which is not here", part.boot));
            };
            let known = (*self.live.hashes[0].entry(log).or_insert(hash), *self.live.hashes[1].entry(hash).or_insert(log));
            ensure(known == (hash, log) && (seq == 0) == (hash == BEGIN), || {
                format!(
                    "{gateway} tells hash {hash:x} at record {seq} of boot {:x}, another log has it or this one has {:x}",
                    part.boot, known.0
                )
            })?;
        }
        Ok(())
    }

    /// A gateway found that another has its boot, or it did not.
    pub fn forked(&mut self, gateway: &str, disk: &mut Disk, fold: &Fold) -> Result<(), String> {
        for p in &fold.boots {
            let Some((fork, given_up)) = p.forked.and_then(|fork| Some((fork, fork.given_up?))) else { continue };
            let names = self.names((number(gateway), p.boot));
            ensure(names.len() > 1, || format!("{gateway} gives up boot {:x} beyond {}, which nobody else has", p.boot, fork.at))?;
            let mine = disk.alias.filter(|alias| alias.boot == p.boot).map_or(p.boot, |alias| alias.name);
            if !self.live.given_up.contains_key(&(number(gateway), mine)) {
                let there = disk.hash_at(p.base + fork.at);
                self.judged(gateway, (p.boot, mine), (fork.at, there), given_up)?;
            }
            if mine != p.boot {
                disk.lineage.remove(&mine);
            }
            if let Some(end) = disk.lineage.get_mut(&p.boot) {
                *end = fork.at.min(*end);
            }
            self.live.given_up.insert((number(gateway), mine), given_up);
        }
        if !self.live.is_empty()
            && let Some(part) = fold.current()
        {
            // Alerts of what was given up have new names.
            let mut unreadable = Vec::new();
            for (alert, _) in part.alerts.beyond(&fold.shelf, 0, &mut unreadable).filter(|(alert, _)| alert.boot == part.boot) {
                self.raised(gateway, disk.name(alert.boot, alert.seq), &alert, true)?;
            }
        }
        Ok(())
    }

    /// Beyond the fork lies all that only this machine has, and what is given up is what lies there; besides
    /// what it had to tell that was given up before.
    fn judged(&self, gateway: &str, (boot, mine): (u64, u64), (at, log): (u64, Option<u64>), given_up: u64) -> Result<(), String> {
        let shared = |(name, (of, at)): (&Boot, &(u64, u64))| {
            (name.0 == number(gateway) && *of == boot && (mine == boot || name.1 == mine)).then_some(*at)
        };
        let shared = self.live.aliases.iter().filter_map(shared).max().unwrap_or(0);
        let is_alike = log.and_then(|log| self.live.logged.get(&log)).is_some_and(|names| names.len() > 1);
        ensure(at <= shared || is_alike, || format!("{gateway} takes boot {boot:x} for shared up to {at}, and it is up to {shared}"))?;
        let Some(part) = self.parts.get(&(number(gateway), mine)) else { return Ok(()) };
        let beyond = part.counts(part.end).0 - part.counts(at).0;
        let most = beyond + self.live.all_given_up();
        ensure((beyond..=most).contains(&given_up), || {
            format!("{gateway} gives up {given_up} readings of boot {boot:x} beyond {at}, where {beyond} are")
        })
    }

    /// Readings that a boot tells against those that it logged up to there: it may have to tell
    /// those that another gave up.
    pub fn live_readings(&self, told: u64, known: u64) -> bool {
        (known..=known + self.live.all_given_up()).contains(&told)
    }

    /// What a gateway counts of a boot.
    pub fn live_gateway(&self, p: &BootPart, known: u64, applied: u64) -> Result<(), String> {
        ensure(self.live_readings(p.readings, known), || {
            format!("{} readings of boot {:x} are counted, {known} are durable", p.readings, p.boot)
        })?;
        ensure(self.live_readings(p.readings_applied, applied), || {
            format!("{} readings of boot {:x} are called delivered up to {}, there are {applied}", p.readings_applied, p.boot, p.applied)
        })
    }

    /// A gateway sends an interval.
    pub fn sent(&mut self, gateway: &str, disk: &Disk, fold: &Fold, delta: &Delta) {
        let shared =
            self.names((number(gateway), delta.boot)).iter().filter_map(|name| self.live.aliases.get(name)).map(|(_, at)| *at).min();
        let Some(shared) = shared else { return };
        let decode = |block: &[u8]| telemetry::block::decode(block, 1 << 16).unwrap_or_default();
        let entries = decode(&delta.entries).into_iter().chain(decode(&delta.ahead)).filter(|e| e.version > shared);
        let named = entries.map(|e| {
            let series = fold.series.get(e.series as usize).map_or(u8::MAX, |series| series_number(&series.name));
            let name = (number(gateway), delta.boot, (series, e.size_ms, e.start_ms), e.born);
            (name, disk.name(delta.boot, e.version))
        });
        self.live.sent.insert(delta.number, named.collect());
    }

    /// The cloud takes it: never of two machines an entry of one name.
    pub fn taken(&mut self, number: u64) -> Result<(), String> {
        for (name, whose) in self.live.sent.get(&number).cloned().unwrap_or_default() {
            let before = self.live.taken.insert(name, whose);
            ensure(before.is_none_or(|other| other == whose), || format!("the cloud took entry {name:?} of two machines"))?;
        }
        Ok(())
    }

    /// What is in no window was told as shed.
    pub fn live_shed(&self, bridge: &Bridge, wanted: &BTreeMap<Window, Wanted>) -> Result<(), String> {
        if self.live.is_empty() {
            return Ok(());
        }
        let base_ms = window::kept(&self.sizes_ms).into_iter().min();
        let of_base = |key: &Window| base_ms == Some(key.1);
        let logged: u64 = wanted.iter().filter(|(key, _)| of_base(key)).map(|(_, w)| w.readings()).sum();
        let there: u64 = self.told.published.iter().filter(|(key, _)| of_base(key)).map(|(_, m)| m.aggregate.count()).sum();
        let shed: u64 = bridge.gateways.values().map(|g| g.totals.shed).sum();
        ensure(logged <= there + shed, || format!("{logged} readings are in logs, {there} in windows, {shed} are told as shed"))?;
        let given_up = self.live.all_given_up();
        ensure(shed <= given_up, || format!("{shed} readings are told as shed, {given_up} were given up"))
    }
}
