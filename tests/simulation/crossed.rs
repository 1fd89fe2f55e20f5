//! What must hold of ordinary messages that bridges carry (contract §2, `[[bridge]]`): a message
//! that is durable at its gateway takes effect at the cloud once by (boot, seq), in the order of its
//! lane; one of the cloud is shown by each gateway that wants it, and never by the one that it
//! came from; what is missing in the end was too old, or is counted as given up.

use replica::fold::Fold;
use replica::join::Bridge;
use schemas::message::{CrossUp, Crossed, Wanted};
use std::collections::{BTreeMap, BTreeSet};

/// A message that a gateway's log took.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub boot: u64,
    pub seq: u64,
    pub lane: u8,
    pub topic: String,
    /// What tells it from all others: its payload.
    pub id: u64,
    /// By the gateway's clock; none: never.
    pub expires_ms: Option<i64>,
}

/// Boot and lane.
type Lane = (u64, u8);

/// What the cloud told the world.
#[derive(Debug, Clone, Default)]
pub struct Told {
    taken: BTreeSet<(u64, u64)>,
    last: BTreeMap<Lane, u64>,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    /// By boot and seq, with the gateway.
    durable: BTreeMap<(u64, u64), (u8, Fact)>,
    /// Ids that took effect at the cloud.
    effects: BTreeSet<u64>,
    /// Messages that the cloud offers: id, to whom.
    offered: BTreeMap<u64, BTreeSet<u8>>,
    /// What gateways' logs took of the cloud: gateway, and the message's name there.
    received: BTreeSet<(u8, u64, u64)>,
    /// Gateways that showed a message of the cloud.
    shown: BTreeSet<(u8, u64)>,
    /// Messages of gateways whose records are gone, damaged.
    lost: BTreeSet<(u64, u64)>,
    /// By gateway, how many had been given up before its log was damaged. One may wait again behind that,
    /// for want of others, and be taken for one that the cloud has, if that had later ones.
    forgotten: BTreeMap<u8, u64>,
    /// Gateways that lost messages of the cloud with damage: some they may show again, or never.
    torn: BTreeSet<u8>,
    /// When a gateway's clock came to be set, by boot and seq, and how far it had been behind.
    sets: Vec<(u8, u64, u64, i64)>,
    /// The cloud lost its disk, or got an older one.
    pub cloud_lost: bool,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

pub fn payload(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

pub fn id_of(payload: &[u8]) -> u64 {
    payload.try_into().map_or(0, u64::from_be_bytes)
}

impl Model {
    /// A frame with these is on stable storage.
    pub fn durable(&mut self, gateway: u8, facts: &[Fact], received: &[(u64, u64)]) {
        self.received.extend(received.iter().map(|(boot, seq)| (gateway, *boot, *seq)));
        self.durable.extend(facts.iter().map(|fact| ((fact.boot, fact.seq), (gateway, fact.clone()))));
    }

    /// A gateway's clock was set with this record: what waited is no older for it.
    pub fn clock_set(&mut self, gateway: u8, boot: u64, seq: u64, behind_ms: i64) {
        self.sets.push((gateway, boot, seq, behind_ms));
    }

    /// When a message of a gateway is too old. Boots have no order here: those of others count as later ones.
    fn expires_ms(&self, gateway: u8, fact: &Fact) -> Option<i64> {
        let later = |set: &&(u8, u64, u64, i64)| set.0 == gateway && (set.1 != fact.boot || set.2 > fact.seq);
        Some(fact.expires_ms? + self.sets.iter().filter(later).map(|set| set.3.max(0)).sum::<i64>())
    }

    /// A frame with these is gone, damaged.
    pub fn damaged(&mut self, gateway: u8, facts: &[Fact], received: &[(u64, u64)]) {
        self.lost.extend(facts.iter().map(|fact| (fact.boot, fact.seq)));
        if !received.is_empty() {
            self.torn.insert(gateway);
        }
    }

    /// A log is damaged of which so many messages were given up.
    pub fn forgets(&mut self, gateway: u8, given_up: u64) {
        *self.forgotten.entry(gateway).or_default() += given_up;
    }

    /// A gateway sends messages up at its clock.
    pub fn sent(&self, gateway: u8, clock_ms: i64, up: &CrossUp) -> Result<(), String> {
        for m in &up.messages {
            let fact = self.durable.get(&(m.boot, m.seq)).filter(|(of, _)| *of == gateway);
            let Some((_, fact)) = fact else {
                return Err(format!("g{gateway} sends message {} of boot {:x}, which is not durable", m.seq, m.boot));
            };
            ensure(fact.lane == up.lane && fact.topic == m.topic && fact.id == id_of(&m.payload), || {
                format!("g{gateway} sends {m:?} in lane {}, its log says {fact:?}", up.lane)
            })?;
            ensure(self.expires_ms(gateway, fact).is_none_or(|at| clock_ms < at), || {
                format!("g{gateway} sends {fact:?} at {clock_ms}: too old")
            })?;
        }
        Ok(())
    }

    /// A message takes effect at the cloud; `again`: after a crash of the cloud, from its cursor.
    pub fn taken(&mut self, told: &mut Told, m: &Crossed, again: bool) -> Result<(), String> {
        let Some((_, fact)) = self.durable.get(&(m.boot, m.seq)) else {
            return Err(format!("the cloud publishes {m:?}, which no log holds"));
        };
        ensure(fact.topic == m.topic && fact.id == id_of(&m.payload), || format!("the cloud publishes {m:?}, the log says {fact:?}"))?;
        self.effects.insert(fact.id);
        let fresh = told.taken.insert((m.boot, m.seq));
        ensure(fresh || again, || format!("message {} of boot {:x} took effect twice", m.seq, m.boot))?;
        let last = told.last.entry((m.boot, fact.lane)).or_default();
        ensure(!fresh || m.seq > *last, || format!("message {} of boot {:x} came behind {last}", m.seq, m.boot))?;
        *last = m.seq.max(*last);
        Ok(())
    }

    /// A message is at the cloud's broker, of a gateway or of a client there; `wanted` says by whom.
    pub fn offered(&mut self, id: u64, from: Option<u8>, topic: &str, wanted: impl Iterator<Item = (u8, Vec<Wanted>)>) {
        let wants = |filters: &[Wanted]| filters.iter().any(|w| telemetry::source::matches(&w.filter, topic));
        let to = wanted.filter(|(gateway, filters)| Some(*gateway) != from && wants(filters)).map(|(gateway, _)| gateway);
        self.offered.entry(id).or_default().extend(to);
    }

    /// A gateway says that it has the cloud's messages up to this one, but for what was too old to
    /// go: of such a one, overtaken by the next, it has that next one.
    pub fn done(&self, gateway: u8, boot: u64, seq: u64) -> Result<(), String> {
        let has = self.received.range((gateway, boot, seq)..=(gateway, boot, u64::MAX)).next().is_some();
        ensure(has, || format!("g{gateway} says that it has message {seq}, which no log holds"))
    }

    /// A gateway shows a message of the cloud; `fresh`: it has not before.
    pub fn shown(&mut self, gateway: u8, id: u64, fresh: bool) -> Result<(), String> {
        let from = self.durable.values().find(|(_, fact)| fact.id == id).map(|(of, _)| *of);
        ensure(from != Some(gateway), || format!("message {id} of g{gateway} came back to it"))?;
        ensure(self.offered.contains_key(&id), || format!("g{gateway} shows message {id}, which nobody published"))?;
        // A cloud that forgot that it has a message names it anew.
        ensure(fresh || self.cloud_lost || self.torn.contains(&gateway), || format!("g{gateway} shows message {id} twice"))?;
        self.shown.insert((gateway, id));
        Ok(())
    }

    /// A gateway's own count, at any moment.
    pub fn counts(gateway: &str, fold: &Fold) -> Result<(), String> {
        let c = &fold.crossing;
        let known = c.delivered + c.given_up + c.expired + c.waiting() as u64;
        ensure(c.taken == known, || format!("{gateway} took {} messages and knows of {known}", c.taken))
    }

    /// All is quiet: what is missing was too old, or is counted as given up. `lost` says that
    /// disks were lost or copied.
    pub fn quiet(&self, folds: &[(u8, &Fold)], bridge: &Bridge, lost: bool) -> Result<(), String> {
        if lost {
            return Ok(());
        }
        for &(gateway, fold) in folds {
            let owed = self.durable.iter().filter(|(name, (of, _))| *of == gateway && !self.lost.contains(name));
            let missing = owed.filter(|(_, (_, fact))| !self.effects.contains(&fact.id)).count() as u64;
            let (c, name) = (&fold.crossing, format!("g{gateway}"));
            // What is too old is counted with the next record.
            let counted = c.given_up + c.expired + c.waiting() as u64 + self.forgotten.get(&gateway).copied().unwrap_or(0);
            ensure(missing <= counted, || {
                format!("{missing} messages of {name} never reached the cloud, {counted} are given up or too old")
            })?;
            if self.cloud_lost || self.torn.contains(&gateway) {
                continue;
            }
            let owed = self.offered.iter().filter(|(_, to)| to.contains(&gateway));
            let missing = owed.filter(|(id, _)| !self.shown.contains(&(gateway, **id))).count() as u64;
            // What is too old is counted with the next one that comes.
            let counted = bridge.crossings.get(&name).map_or(0, |c| c.given_up + c.expired + c.waiting() as u64);
            ensure(missing <= counted, || format!("{missing} messages for {name} were not shown, {counted} are given up or too old"))?;
        }
        Ok(())
    }
}
