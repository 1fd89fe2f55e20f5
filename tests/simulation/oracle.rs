//! What must hold, judged by a plain model: the readings that became durable at gateways,
//! with what was acknowledged to sensors. It sums them up itself and knows nothing of
//! entries, versions or intervals.

mod complete;
pub mod damage;
pub mod wanted;

use crate::canonical;
use crate::crossed;
use crate::device::{Device, LOCAL, SERIES};
use crate::disk::{Alias, Disk, Fact, Frame};
use crate::live::Live;
use damage::{Damage, Hole};
use replica::alert::LINK_SERIES;
use replica::fold::Fold;
use replica::frame::Marks;
use replica::join::{Bridge, Merged};
use schemas::message::{AlertBody, Delta, ShedMark};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use telemetry::window;
use wanted::Wanted;

/// How long a gateway counts as having a series (contract §4).
const HAD_MS: i64 = 7 * 86_400_000;

/// Gateway and boot.
pub type Boot = (u8, u64);
/// Gateway, boot, seq, ordinal.
type AlertId = (u8, u64, u64, u32);
/// Series, size, start.
pub type Window = (u8, i64, i64);

#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Last durable seq.
    pub end: u64,
    /// Seq, readings up to it that may leave, and those that stay.
    pub counts: Vec<(u64, u64, u64)>,
    pub facts: Vec<Fact>,
}

impl Part {
    pub fn counts(&self, seq: u64) -> (u64, u64) {
        match self.counts.partition_point(|(at, ..)| *at <= seq) {
            0 => (0, 0),
            n => (self.counts[n - 1].1, self.counts[n - 1].2),
        }
    }
}

/// What is known from the cloud. A cloud that lost its disk, or got an older one, tells it again.
#[derive(Clone, Default)]
pub struct Told {
    alerted: BTreeSet<AlertId>,
    applied: BTreeMap<Boot, u64>,
    pub published: HashMap<Window, Merged>,
    /// Windows that were called complete, and the record of the cloud's log up to which that was judged.
    complete: BTreeSet<Window>,
    judged: u64,
    pub crossed: crossed::Told,
}

#[derive(Clone, Default)]
pub struct Oracle {
    pub sizes_ms: Vec<i64>,
    grace_ms: i64,
    /// All gateways are one redundancy group.
    group: bool,
    pub parts: BTreeMap<Boot, Part>,
    /// Readings by gateway and window that ever were durable.
    durable: HashMap<(u8, Window), u64>,
    /// Messages acknowledged, and whether they were timed.
    acknowledged: BTreeMap<u64, bool>,
    raised: BTreeMap<AlertId, AlertBody>,
    /// What the cloud told the world.
    pub told: Told,
    /// What no log and no snapshot behind it reaches back to any more.
    cut: BTreeMap<Boot, u64>,
    /// A gateway's disk was lost or replaced: sensors may have sent again what it held.
    pub disks_lost: bool,
    /// What was damaged in the middle of logs.
    pub damage: Damage,
    /// Two devices have one past: each may give up what the other delivers.
    pub cloned: bool,
    /// Ordinary messages.
    pub crossed: crossed::Model,
    /// Entries given up: gateway, boot, window, birth → readings.
    given_up: BTreeMap<(u8, u64, Window, u64), u64>,
    /// What is known of machines that share a boot.
    pub live: Live,
}

pub fn number(gateway: &str) -> u8 {
    gateway[1..].parse().unwrap_or(u8::MAX)
}

pub fn series_number(name: &str) -> u8 {
    SERIES.iter().position(|known| *known == name).map_or(u8::MAX, |n| n as u8)
}

pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// A durable reading counts in its windows.
fn count(durable: &mut HashMap<(u8, Window), u64>, sizes_ms: &[i64], gateway: u8, fact: &Fact) {
    for &size in sizes_ms.iter().filter(|_| fact.leaves) {
        let key = (fact.series as u8, size, window::start_of(fact.time_ms, size));
        *durable.entry((gateway, key)).or_default() += 1;
    }
}

fn id_of(gateway: &str, a: &AlertBody) -> AlertId {
    (number(gateway), a.boot, a.seq, a.ordinal)
}

impl Oracle {
    pub fn new(sizes_ms: &[i64], grace_ms: i64, group: bool) -> Self {
        Self { sizes_ms: sizes_ms.to_vec(), grace_ms, group, ..Self::default() }
    }

    /// All that is minded of the past, and the seqs of readings.
    pub fn tell(&self) -> (canonical::Told, Vec<u64>) {
        let facts: Vec<&Fact> = self.parts.values().flat_map(|part| &part.facts).collect();
        let seqs = facts.iter().map(|fact| fact.seq).collect();
        (canonical::Told::of(&[&self.told.alerted, &self.told.applied, &self.acknowledged, &facts]), seqs)
    }

    /// A frame is on stable storage.
    pub fn durable(&mut self, gateway: &str, alias: Option<Alias>, frame: &Frame) -> Result<(), String> {
        let gateway = number(gateway);
        self.crossed.durable(gateway, &frame.crossed, &frame.received);
        let Marks { boot, base, .. } = Marks::of(frame.marks);
        if let Some((seq, behind_ms)) = frame.set {
            self.crossed.clock_set(gateway, boot, seq, behind_ms);
        }
        let boot = alias.filter(|alias| alias.boot == boot).map_or(boot, |alias| alias.name);
        let part = self.parts.entry((gateway, boot)).or_default();
        if part.end == 0 {
            self.damage.begun((gateway, boot));
        }
        ensure(frame.first > base + part.end, || format!("boot {boot:x} of g{gateway} is used twice"))?;
        part.end = frame.last() - base;
        for fact in &frame.facts {
            let (_, mut readings, mut local) = part.counts.last().copied().unwrap_or_default();
            *(if fact.leaves { &mut readings } else { &mut local }) += 1;
            part.counts.push((fact.seq, readings, local));
            if fact.undated.is_some() {
                self.damage.undated((gateway, boot));
            }
            part.facts.push(Fact { boot, ..fact.clone() });
            count(&mut self.durable, &self.sizes_ms, gateway, fact);
        }
        if let Some((seq, behind_ms)) = frame.set {
            for fact in part.facts.iter_mut().filter(|fact| fact.undated.is_some() && fact.seq < seq) {
                fact.time_ms = fact.date(behind_ms);
                count(&mut self.durable, &self.sizes_ms, gateway, fact);
            }
        }
        Ok(())
    }

    /// Whether a reading has one date alone. One that waited for its date has another in every log that ends
    /// before its clock was set: a copy's, one that was put back, and one that was damaged.
    fn is_date_sure(&self, gateway: u8, fact: &Fact) -> bool {
        fact.undated.is_none() || !(self.cloned || self.disks_lost || self.damage.times(gateway) > 0)
    }

    /// A sensor was told that its message is safe.
    pub fn acknowledged(&mut self, message: u64, timed: bool) {
        self.acknowledged.insert(message, timed);
    }

    /// A gateway came up with this state: what never stopped would stand the same.
    pub fn recovered(&self, gateway: &str, disk: &Disk, fold: &Fold) -> Result<(), String> {
        ensure(fold.lsn == disk.end, || format!("{gateway} came up at record {}, its log ends at {}", fold.lsn, disk.end))?;
        self.gateway(gateway, disk, fold)
    }

    /// The ledger against the model (contract §3), at any moment.
    pub fn gateway(&self, gateway: &str, disk: &Disk, fold: &Fold) -> Result<(), String> {
        let ledger = fold.ledger();
        ensure(ledger.accepted == ledger.delivered + ledger.held + ledger.shed + ledger.local, || {
            format!("the ledger does not balance: {ledger:?}")
        })?;
        crossed::Model::counts(gateway, fold)?;
        if disk.damaged {
            return self.accepted(gateway, disk, fold);
        }
        for p in &fold.boots {
            let Some(part) = self.parts.get(&(number(gateway), disk.alias.filter(|a| a.boot == p.boot).map_or(p.boot, |a| a.name))) else {
                return Err(format!("{gateway} tells of boot {:x}, of which nothing is durable", p.boot));
            };
            ensure(p.end <= part.end, || format!("{gateway} folded record {} of boot {:x}; {} are durable", p.end, p.boot, part.end))?;
            let (told, known) = ((p.readings, p.local), part.counts(p.end));
            if !self.live.is_empty() {
                self.live_gateway(p, known.0, part.counts(p.applied).0)?;
                continue;
            }
            ensure(told == known, || format!("{gateway} counts {told:?} readings of boot {:x}, {known:?} are durable", p.boot))?;
            // A copy whose disk was damaged may have told the cloud of the same boot.
            let (told, known) = (p.readings_applied, part.counts(p.applied).0);
            ensure(told == known || self.damage.reaches((number(gateway), p.boot)), || {
                format!("{gateway} calls {told} readings of boot {:x} delivered up to {}, there are {known}", p.boot, p.applied)
            })?;
        }
        Ok(())
    }

    /// Through damage, what was accepted counts all the same once the whole log is folded.
    fn accepted(&self, gateway: &str, disk: &Disk, fold: &Fold) -> Result<(), String> {
        let counts = disk.lineage.iter().filter_map(|(boot, end)| Some(self.parts.get(&(number(gateway), *boot))?.counts(*end)));
        let known = counts.fold((0, 0), |sum, (readings, local)| (sum.0 + readings, sum.1 + local));
        ensure(fold.lsn < disk.end || fold.totals() == known, || {
            format!("{gateway} counts {:?} readings through damage, {known:?} were durable", fold.totals())
        })
    }

    /// A gateway shows an alert.
    pub fn raised(&mut self, gateway: &str, boot: u64, alert: &AlertBody, leaves: bool) -> Result<(), String> {
        ensure(!leaves || ![LOCAL, LINK_SERIES].contains(&alert.series.as_str()), || {
            format!("an alert of {} leaves the site", alert.series)
        })?;
        let id = (number(gateway), boot, alert.seq, alert.ordinal);
        let is_unsure = self.damage.is_unsure(&id);
        let before = self.raised.entry(id).or_insert_with(|| alert.clone());
        ensure(before == alert || is_unsure, || format!("alert {id:?} was {before:?} and is {alert:?}"))
    }

    /// A gateway gives an entry up.
    pub fn given_up(&mut self, gateway: &str, boot: u64, series: &str, m: &ShedMark) {
        let window = (series_number(series), m.size_ms, m.start_ms);
        // A clone may give up less of an entry than the original does.
        let count = self.given_up.entry((number(gateway), boot, window, m.born)).or_default();
        *count = m.count.max(*count);
    }

    /// An interval arrives at the cloud.
    pub fn interval(&self, gateway: &str, delta: &Delta) -> Result<(), String> {
        // That only asks how far the cloud is.
        if delta.from == u64::MAX {
            return Ok(());
        }
        let names = self.names((number(gateway), delta.boot));
        let end = names.iter().filter_map(|name| self.parts.get(name)).map(|p| p.end).max().unwrap_or(0);
        ensure(delta.to <= end, || format!("{gateway} sends up to {} of boot {:x}; {end} are durable", delta.to, delta.boot))
    }

    /// An alert takes effect at the cloud; `again`: after a crash of the cloud, from its cursor.
    pub fn alerted(&mut self, gateway: &str, alert: &AlertBody, again: bool) -> Result<(), String> {
        let id = id_of(gateway, alert);
        let names = self.names((id.0, id.1));
        let is_raised = names.iter().any(|name| self.raised.get(&(name.0, name.1, id.2, id.3)) == Some(alert));
        ensure(is_raised || self.damage.is_unsure(&id), || format!("the cloud tells of alert {id:?}, which {gateway} did not raise so"))?;
        let fresh = self.told.alerted.insert(id);
        ensure(fresh || again, || format!("alert {id:?} took effect twice"))
    }

    /// A merged window is published.
    pub fn published(&mut self, merged: &Merged) -> Result<(), String> {
        let key = (series_number(&merged.series), merged.size_ms, merged.start_ms);
        for (gateway, count) in &merged.gateways {
            let known = self.durable.get(&(number(gateway), key)).copied().unwrap_or(0);
            ensure(*count <= known, || format!("window {key:?} has {count} readings of {gateway}, {known} are durable"))?;
        }
        let before = self.told.published.get(&key);
        let revision = before.map_or(0, |m| m.revision);
        ensure(merged.revision >= revision, || format!("window {key:?} went from revision {revision} to {}", merged.revision))?;
        if self.group {
            wanted::grouped(merged, before).map_err(|what| format!("window {key:?}: {what}"))?;
        }
        self.told.published.insert(key, merged.clone());
        Ok(())
    }

    /// The cloud after a round.
    pub fn cloud(&mut self, bridge: &Bridge) -> Result<(), String> {
        for (gateway, known) in &bridge.gateways {
            for (boot, p) in &known.boots {
                let name = (number(gateway), *boot);
                let before = self.told.applied.insert(name, p.applied).unwrap_or(0);
                ensure(p.applied >= before, || format!("applied of {gateway}'s boot {boot:x} went back from {before} to {}", p.applied))?;
                let names = self.names(name);
                let mut parts = names.iter().filter_map(|name| self.parts.get(name)).filter(|part| p.applied <= part.end).peekable();
                let Some(part) = parts.peek() else {
                    return Err(format!("the cloud applied {} of {gateway}'s boot {boot:x}, which is not durable", p.applied));
                };
                let known = part.counts(p.applied).0;
                let holds = p.readings == known
                    || !self.live.is_empty() && parts.any(|part| self.live_readings(p.readings, part.counts(p.applied).0));
                ensure(holds || self.damage.reaches(name), || {
                    format!("the cloud counts {} readings of {gateway}'s boot {boot:x} up to {}, there are {known}", p.readings, p.applied)
                })?;
            }
        }
        Ok(())
    }

    /// A frame of a gateway's log is gone, `is_covered` by a snapshot.
    pub fn damaged(&mut self, hole: Hole, is_covered: bool) {
        self.crossed.damaged(hole.gateway, &hole.frame.crossed, &hole.frame.received);
        self.damage.add(hole, is_covered && !self.crossed.cloud_lost, &self.sizes_ms);
    }

    /// The cloud loses what it had: gateways fold their past again.
    pub fn cloud_lost(&mut self) {
        self.crossed.cloud_lost = true;
        self.damage.uncover(&self.sizes_ms);
    }

    /// A gateway's log is cut, and this is the oldest state that is kept.
    pub fn cut(&mut self, gateway: &str, oldest: &Fold) {
        for part in &oldest.boots {
            let cut = self.cut.entry((number(gateway), part.boot)).or_default();
            *cut = part.complete_from.max(*cut);
        }
    }

    /// All is quiet: the cloud is the sum of all logs, bit for bit.
    pub fn quiet(&self, devices: &[Device], bridge: &Bridge) -> Result<(), String> {
        let gaps = self.gaps(bridge)?;
        let folds: Vec<_> = devices.iter().filter_map(|d| Some((d.number(), &d.process.as_ref()?.fold))).collect();
        self.crossed.quiet(&folds, bridge, self.cloned || self.disks_lost)?;
        let is_gap = |boot: &Boot, seq: u64| gaps.get(boot).is_some_and(|list| list.iter().any(|(from, to)| seq > *from && seq <= *to));
        let kept = |gateway: u8, boot: u64, seq: u64| {
            devices.iter().any(|d| number(&d.name) == gateway && d.disk.lineage.get(&boot).is_some_and(|end| *end >= seq))
        };
        self.exactly_once(&kept)?;
        let mut wanted: BTreeMap<Window, Wanted> = BTreeMap::new();
        // As the cloud adds them up: by the boots' names.
        let mut parts: Vec<(&Boot, &Part)> = self.parts.iter().collect();
        parts.sort_by_key(|(name, _)| (name.0, self.boot_of(**name), self.boot_of(**name) != name.1));
        for ((gateway, _), part) in parts {
            for fact in part.facts.iter().filter(|f| f.leaves) {
                let is_there = kept(*gateway, fact.boot, fact.seq) && !is_gap(&(*gateway, fact.boot), fact.seq);
                let is_sure = self.is_date_sure(*gateway, fact);
                let other_ms = Some(fact.date(0)).filter(|_| !is_sure);
                for &size in &self.sizes_ms {
                    let certain = is_there && is_sure && !self.damage.may_shed(*gateway, fact, size);
                    for time_ms in other_ms.into_iter().chain([fact.time_ms]) {
                        let key = (fact.series as u8, size, window::start_of(time_ms, size));
                        let window = wanted.entry(key).or_default();
                        window.waited |= fact.undated.is_some();
                        window.add(*gateway, (self.group, certain), time_ms, fact.value);
                    }
                }
            }
        }
        let base_ms = window::kept(&self.sizes_ms).into_iter().min();
        let mut missing: BTreeMap<u8, u64> = BTreeMap::new();
        for (key, wanted) in &wanted {
            let given_up = self.given_up_of(*key);
            let (least, most) = wanted.count(self.group, given_up);
            let found = self.told.published.get(key);
            let count = found.map_or(0, |f| f.aggregate.count());
            let counts: BTreeMap<u8, u64> = found.iter().flat_map(|f| &f.gateways).map(|(name, n)| (number(name), *n)).collect();
            if base_ms == Some(key.1) {
                for (gateway, share) in &wanted.gateways {
                    let all = if self.damage.times(*gateway) > 0 { share.all() } else { share.logged() };
                    *missing.entry(*gateway).or_default() += all.saturating_sub(counts.get(gateway).copied().unwrap_or(0));
                }
            }
            let Some(found) = found else {
                ensure(least == 0, || format!("window {key:?} of {least} readings was never published"))?;
                continue;
            };
            ensure((least..=most).contains(&count), || {
                format!("window {key:?} has {count} readings, {} are in the logs, {given_up} were given up", wanted.logged())
            })?;
            if wanted.is_certain() && given_up == 0 {
                let logged = wanted.counts();
                ensure(logged == counts, || format!("window {key:?} has {counts:?} by gateway, the logs {logged:?}"))?;
                ensure(wanted.is(&found.aggregate, self.group), || {
                    format!("window {key:?} is {:?}, the logs say {:?}", found.aggregate, wanted.sum(self.group))
                })?;
                if self.group {
                    wanted.agrees(found.agree, &self.members(*key)).map_err(|what| format!("window {key:?}: {what}"))?;
                }
            }
        }
        self.live_shed(bridge, &wanted)?;
        if !self.cloned && !self.disks_lost && self.live.is_empty() {
            // Of what waited for its date and was damaged, nobody knows in which window it would be missing.
            for (gateway, missing) in missing.iter().filter(|(gateway, _)| !self.damage.hides_dates(**gateway)) {
                let slack = self.shed_at_most(*gateway, base_ms);
                let counted = bridge.gateways.get(&format!("g{gateway}")).map_or(0, |g| g.totals.shed);
                // Of a gap it is not known which of its readings the cloud has with others.
                let is_told = |boot: &Boot| boot.0 == *gateway;
                let most = if gaps.keys().any(is_told) { u64::MAX } else { missing + slack };
                ensure((*missing..=most).contains(&counted), || {
                    format!("{missing} readings of g{gateway} are in no window and {slack} were damaged, {counted} are counted shed")
                })?;
            }
        }
        for key in self.told.published.keys() {
            ensure(wanted.contains_key(key), || format!("window {key:?} was published, no log holds it"))?;
        }
        let leaves = |a: &AlertBody| ![LOCAL, LINK_SERIES].contains(&a.series.as_str());
        let owed = |id: &AlertId| kept(id.0, id.1, id.2) && !is_gap(&(id.0, id.1), id.2) && !self.damage.is_unsure(id);
        for (id, alert) in self.raised.iter().filter(|(id, a)| leaves(a) && owed(id)) {
            let id = &(id.0, self.boot_of((id.0, id.1)), id.2, id.3);
            ensure(self.told.alerted.contains(id), || format!("alert {id:?} never reached the cloud: {alert:?}"))?;
        }
        Ok(())
    }

    /// Readings of a gateway that may be counted as given up, for damage, though the cloud has them.
    fn shed_at_most(&self, gateway: u8, base_ms: Option<i64>) -> u64 {
        let Some(base_ms) = base_ms else { return 0 };
        let facts = self.parts.iter().filter(|(name, _)| name.0 == gateway).flat_map(|(_, part)| &part.facts);
        // Where damage takes the end of one boot and the beginning of the next, what lay there is counted
        // under the next one's name, also what earlier damage had counted under its own.
        facts.filter(|fact| fact.leaves && self.damage.may_shed(gateway, fact, base_ms)).count() as u64 * self.damage.times(gateway)
    }

    /// What gateways told the cloud to be gone for good: never what a log still reaches back to.
    fn gaps(&self, bridge: &Bridge) -> Result<BTreeMap<Boot, Vec<(u64, u64)>>, String> {
        let mut gaps: BTreeMap<Boot, Vec<(u64, u64)>> = BTreeMap::new();
        for (gateway, known) in &bridge.gateways {
            for (boot, part) in known.boots.iter().filter(|(_, part)| !part.gaps.is_empty()) {
                let name = (number(gateway), *boot);
                let cut = self.cut.get(&name).copied().unwrap_or(0);
                for (from, to, _) in &part.gaps {
                    ensure(*to <= cut, || format!("({from}, {to}] of {gateway}'s boot {boot:x} is told as gone, and kept beyond {cut}"))?;
                    gaps.entry(name).or_default().push((*from, *to));
                }
            }
        }
        Ok(gaps)
    }

    /// Gateways of which the cloud has windows of a window's series of the seven days before its end.
    fn members(&self, (series, size_ms, start_ms): Window) -> BTreeSet<u8> {
        let since_ms = start_ms + size_ms - HAD_MS;
        let had = self.told.published.iter().filter(|((s, size, start), _)| *s == series && start + size >= since_ms);
        had.flat_map(|(_, merged)| merged.gateways.keys().map(|name| number(name))).collect()
    }

    /// Readings of a window that gateways gave up, at most: larger windows are sums of those kept.
    fn given_up_of(&self, (series, size_ms, start_ms): Window) -> u64 {
        let base = window::base_for(&window::kept(&self.sizes_ms), size_ms).unwrap_or(size_ms);
        let within = |w: &Window| w.0 == series && w.1 == base && (start_ms..start_ms + size_ms).contains(&w.2);
        self.given_up.iter().filter(|((_, _, w, _), _)| within(w)).map(|(_, count)| count).sum()
    }

    /// What sensors were told is there, and what could be told apart is there once.
    fn exactly_once(&self, kept: &dyn Fn(u8, u64, u64) -> bool) -> Result<(), String> {
        let mut places: HashMap<u64, BTreeSet<(u8, u64, u64)>> = HashMap::new();
        let mut counts: HashMap<u64, BTreeSet<(u8, u64, u64)>> = HashMap::new();
        for ((gateway, boot), part) in &self.parts {
            for fact in &part.facts {
                let place = (*gateway, *boot, fact.seq);
                places.entry(fact.message).or_default().insert(place);
                // Nor does one count whose series is told by no record any more; by another name it may come again.
                if !self.damage.takes(*gateway, fact) {
                    counts.entry(fact.message).or_default().insert(place);
                }
            }
        }
        for (message, timed) in &self.acknowledged {
            let found = places.get(message).map(BTreeSet::len).unwrap_or(0);
            ensure(found > 0, || format!("message {message} was acknowledged and is in no log"))?;
            let found = counts.get(message).map_or(0, BTreeSet::len);
            let forgets = places.get(message).is_some_and(|p| p.iter().any(|(g, ..)| self.damage.forgets(*g)));
            ensure(!timed || found <= 1 || self.disks_lost || forgets, || format!("message {message} is in the logs {found} times"))?;
            let safe = places.get(message).is_some_and(|p| p.iter().any(|(g, b, s)| kept(*g, *b, *s)));
            ensure(safe || self.disks_lost || !self.live.is_empty(), || format!("message {message} was acknowledged and its log is gone"))?;
        }
        Ok(())
    }
}
