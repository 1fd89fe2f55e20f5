//! The alarms of one gateway, at either end of the link.

use super::act::{Acts, Verb};
use super::group::{self, AlertId};
use super::index::Index;
use super::kpi::Kpi;
use super::{Alarm, FLEETING, Name, SHOWN, Standing, Told, is_annunciated};
use schemas::message::{Act, AlertBody, AlertKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Alarms of one gateway. With more the one in peace for the longest is forgotten. If none is, a
/// more severe one takes the place of the least severe that was raised longest ago; any other finds
/// no room until its next alert. Either is counted, and alerts are shown all the same.
pub const ALARMS_MAX: usize = 10_000;

/// An alarm in peace is forgotten after this time, in ms: longer than the cloud may try to pass
/// on what was done there ([`NOT_AFTER_MS`]), so that nothing old meets what has forgotten it.
pub const FORGOTTEN_MS: i64 = 8 * DAY_MS;

/// What was done at the cloud and could not be passed on for so long is void, in ms.
pub const NOT_AFTER_MS: i64 = 7 * DAY_MS;

/// Acts on one alarm at the cloud that wait for the gateway; one more is refused.
pub const PENDING_MAX: usize = 16;

/// The longest time on the shelf, in ms; who needs more takes it out of service.
pub const SHELF_MS_MAX: i64 = 30 * DAY_MS;

const DAY_MS: i64 = 86_400_000;

/// How often an owner calls [`Board::sweep`], in ms.
pub const SWEEP_MS: i64 = 3_600_000;

/// What somebody asks for, as the log keeps it; the fold makes an act of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Drawn at random; names the act.
    pub id: u64,
    /// What.
    pub verb: Verb,
    /// The alarm's series.
    pub series: &'a str,
    /// The alarm's kind.
    pub kind: &'a str,
    /// Who.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
    /// For how long it is shelved, in ms; 0 for other verbs.
    pub for_ms: i64,
}

/// The alarms of one gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "Saved")]
pub struct Board {
    alarms: BTreeMap<Name, Alarm>,
    /// Counts for the standard's figures.
    pub kpi: Kpi,
    /// Alarms that found no room, or lost it to a more severe one.
    pub refused: u64,
    /// When alarms come off the shelf.
    shelved: BTreeSet<(i64, Name)>,
    #[serde(skip)]
    changed: BTreeSet<Name>,
    #[serde(skip)]
    index: Index,
}

/// A board as it is kept: what is derived is made anew.
#[derive(Deserialize)]
struct Saved {
    alarms: BTreeMap<Name, Alarm>,
    kpi: Kpi,
    refused: u64,
    shelved: BTreeSet<(i64, Name)>,
}

impl From<Saved> for Board {
    fn from(Saved { alarms, kpi, refused, shelved }: Saved) -> Self {
        let mut index = Index::default();
        alarms.iter().for_each(|(name, alarm)| index.put(name, alarm));
        Self { alarms, kpi, refused, shelved, changed: BTreeSet::new(), index }
    }
}

impl Board {
    /// An alarm.
    pub fn get(&self, series: &str, kind: &str) -> Option<&Alarm> {
        // A pair of strings cannot be looked up by a pair of slices; alerts are rare.
        self.alarms.get(&(series.to_owned(), kind.to_owned()))
    }

    /// All alarms, in the order of their names, those in peace too.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Alarm)> {
        self.alarms.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.alarms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.alarms.is_empty()
    }

    /// Alarms that changed since this was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.changed)
    }

    /// Changes an alarm, which may be new; none when there is no room for it. `severity` is that of
    /// an alert that raises it.
    fn change<T>(&mut self, clock_ms: i64, name: &Name, severity: Option<u8>, change: impl FnOnce(&mut Alarm) -> T) -> Option<T> {
        if !self.alarms.contains_key(name) && self.alarms.len() >= ALARMS_MAX && !self.make_room(clock_ms, severity) {
            return None;
        }
        self.changed.insert(name.clone());
        let alarm = self.alarms.entry(name.clone()).or_default();
        self.index.take(name, alarm);
        alarm.touched_ms = clock_ms;
        let changed = change(alarm);
        self.index.put(name, alarm);
        Some(changed)
    }

    fn make_room(&mut self, clock_ms: i64, severity: Option<u8>) -> bool {
        let is_gone = |name: &&Name| self.alarms.get(*name).is_some_and(|alarm| is_forgettable(alarm, clock_ms));
        let oldest = self.index.peaceful().find(is_gone).cloned();
        if let Some(oldest) = oldest {
            return self.remove(&oldest);
        }
        let Some(severity) = severity else { return false };
        self.refused += 1;
        // What waits for the gateway, or for a design to be over, is still to be done.
        let is_free = |name: &&Name| self.alarms.get(*name).is_some_and(|alarm| alarm.pending.is_empty() && !alarm.acts.is_suppressed());
        let Some(lesser) = self.index.lesser(severity).find(is_free).cloned() else { return false };
        self.changed.insert(lesser.clone());
        self.remove(&lesser)
    }

    fn remove(&mut self, name: &Name) -> bool {
        let gone = self.alarms.remove(name);
        gone.iter().for_each(|alarm| self.index.take(name, alarm));
        gone.is_some()
    }

    /// Takes an alert in, for the first time. What is counted is counted even when a newer one
    /// was here before it.
    pub fn alert(&mut self, clock_ms: i64, alert: &AlertBody, leaves: bool) {
        let told = Told::of(alert);
        self.kpi.alert(&told, alert);
        if let Some(group) = told.note.group {
            // What came first is shown with its consequences.
            let first = self.leader(&alert.series, &alert.kind, group).cloned();
            self.changed.extend(first);
        } else if alert.state == 0 {
            // It may come behind its consequences, which name it.
            self.changed.extend(self.index.following(told.id()).cloned());
        }
        let severity = (alert.state == 0).then_some(told.severity);
        self.change(clock_ms, &(alert.series.clone(), alert.kind.clone()), severity, |alarm| {
            alarm.leaves |= leaves;
            alarm.held += u64::from(told.note.held != SHOWN);
            let place = if alert.state == 0 {
                if told.is_new() {
                    alarm.hours.count(told.key.at_ms);
                    if !is_annunciated(told.note.held) {
                        alarm.aside.count(told.key.at_ms);
                    }
                    alarm.raised_at(told.key.at_ms);
                }
                if told.note.group.is_none() {
                    alarm.leads(&told);
                }
                &mut alarm.raised
            } else {
                alarm.fleeting += u64::from(told.note.flags & FLEETING != 0);
                &mut alarm.cleared
            };
            if place.as_ref().is_none_or(|old| told.key > old.key) {
                *place = Some(told);
            }
        });
    }

    /// How many alarms of the same machine there are whose newest raise followed this one.
    pub fn consequences(&self, name: &Name) -> usize {
        let id = self.alarms.get(name).and_then(Alarm::leads_as);
        let machine = group::machine(&name.0, &name.1);
        id.zip(machine).map_or(0, |(id, machine)| self.index.followers(id, machine))
    }

    /// The alarm of a machine that came first in a group.
    pub fn leader(&self, series: &str, kind: &str, group: AlertId) -> Option<&Name> {
        self.index.leader(group, group::machine(series, kind)?)
    }

    /// The act that a request becomes at this end; none when there is no such alarm.
    pub fn resolve(&self, clock_ms: i64, request: &Request<'_>) -> Option<Act> {
        let alarm = self.get(request.series, request.kind)?;
        let known = alarm.acts().newest_ms();
        Some(Act {
            id: request.id,
            verb: request.verb as u8,
            series: request.series.to_owned(),
            kind: request.kind.to_owned(),
            time_ms: clock_ms.max(known.map_or(0, |ms| ms.saturating_add(1))),
            by: request.by.to_owned(),
            reason: request.reason.to_owned(),
            until_ms: if request.verb == Verb::Shelve { clock_ms.saturating_add(request.for_ms) } else { 0 },
            seen: seen(alarm, request.verb),
        })
    }

    /// Joins an act that counts: done here, or taken from the other end.
    pub fn join(&mut self, clock_ms: i64, act: &Act) {
        let name = (act.series.clone(), act.kind.clone());
        self.act(clock_ms, name, |alarm| {
            alarm.pending.retain(|pending| pending.id != act.id);
            alarm.acts.join(act);
        });
    }

    /// At the cloud: an act that the gateway is still to take; false when too many wait.
    pub fn pend(&mut self, clock_ms: i64, act: Act) -> bool {
        let name = (act.series.clone(), act.kind.clone());
        let pends = self.act(clock_ms, name, |alarm| {
            let has_room = alarm.pending.len() < PENDING_MAX;
            alarm.pending.extend(has_room.then_some(act));
            has_room
        });
        pends == Some(true)
    }

    /// At the cloud: the gateway may have forgotten what was done, and is to take all that counts once more,
    /// before what it has not heard of.
    pub fn pend_again(&mut self, clock_ms: i64) {
        let done = self.alarms.iter().filter(|(_, alarm)| alarm.acts.iter().next().is_some());
        for name in done.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.act(clock_ms, name, |alarm| {
                let waits = |act: &&Act| alarm.pending.iter().any(|pending| pending.id == act.id);
                let again: Vec<Act> = alarm.acts.iter().filter(|act| !waits(act)).cloned().collect();
                alarm.pending.splice(0..0, again);
            });
        }
    }

    /// At the cloud: the gateway does not take an act; what it changed is taken back.
    pub fn withdraw(&mut self, clock_ms: i64, name: &Name, id: u64) {
        if self.alarms.contains_key(name) {
            self.act(clock_ms, name.clone(), |alarm| alarm.pending.retain(|pending| pending.id != id));
        }
    }

    /// At the cloud: the gateway knows no such alarm.
    pub fn forget(&mut self, name: &Name) {
        if self.remove(name) {
            self.changed.insert(name.clone());
        }
    }

    /// Changes what counts of an alarm's acts; of its shelves one is waited for.
    fn act<T>(&mut self, clock_ms: i64, name: Name, change: impl FnOnce(&mut Alarm) -> T) -> Option<T> {
        let before = self.shelved_until(&name);
        let changed = self.change(clock_ms, &name, None, change)?;
        let until = self.shelved_until(&name);
        // One that is over and still the last is waited for no more.
        if until != before {
            if let Some(before) = before {
                self.shelved.remove(&(before, name.clone()));
            }
            self.shelved.extend(until.map(|until| (until, name)));
        }
        Some(changed)
    }

    fn shelved_until(&self, name: &Name) -> Option<i64> {
        self.alarms.get(name)?.acts().shelved_until()
    }

    /// The clock went on: what comes off the shelf is shown, and given, in the order of its time.
    pub fn advance(&mut self, clock_ms: i64) -> Vec<Name> {
        let mut back = Vec::new();
        while self.shelved.first().is_some_and(|(until, _)| *until <= clock_ms) {
            if let Some((_, name)) = self.shelved.pop_first()
                && self.alarms.contains_key(&name)
            {
                self.changed.insert(name.clone());
                back.push(name);
            }
        }
        back
    }

    /// Once every [`SWEEP_MS`] of the logged clock: what has been in peace for long is forgotten.
    pub fn sweep(&mut self, clock_ms: i64) {
        let old = |alarm: &Alarm| clock_ms.saturating_sub(alarm.touched_ms) >= FORGOTTEN_MS && is_forgettable(alarm, clock_ms);
        let gone: Vec<Name> = self.alarms.iter().filter(|(_, alarm)| old(alarm)).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            self.remove(name);
        }
    }

    /// At the cloud: the gateway's clock is another than was thought. What is on the shelf by this one is waited for again.
    pub fn set_clock(&mut self, clock_ms: i64) {
        for (name, alarm) in &self.alarms {
            if let Some(until) = alarm.acts().shelved_until().filter(|until| *until > clock_ms)
                && self.shelved.insert((until, name.clone()))
            {
                self.changed.insert(name.clone());
            }
        }
    }

    /// When [`Board::advance`] has something to show.
    pub fn due_ms(&self) -> Option<i64> {
        self.shelved.first().map(|(until, _)| *until)
    }

    /// Whether to join an act would change nothing: it counts, or another before it, and it does not wait.
    pub fn knows(&self, act: &Act) -> bool {
        let alarm = self.get(&act.series, &act.kind);
        alarm.is_some_and(|alarm| {
            let mut acts: Acts = alarm.acts.clone();
            let waits = alarm.pending.iter().any(|pending| pending.id == act.id);
            !waits && (alarm.acts.iter().any(|known| known.id == act.id) || !acts.join(act))
        })
    }

    /// An act as it counts here.
    pub fn counting(&self, act: &Act) -> Option<&Act> {
        self.get(&act.series, &act.kind)?.acts.iter().find(|known| known.id == act.id)
    }

    /// Acts that wait for the gateway, of each alarm the oldest first; and the time of the gateway's clock after which
    /// each is refused there, ms since the Unix epoch.
    pub fn pending(&self) -> impl Iterator<Item = (&Act, i64)> {
        self.alarms.values().flat_map(|alarm| alarm.pending.iter().map(|act| (act, last_ms(alarm, act))))
    }
}

/// Which alert of an alarm somebody had seen who does something to it. Of two who acknowledge the
/// same raise the first counts, also when it ended in between: the second saw no other.
fn seen(alarm: &Alarm, verb: Verb) -> AlertKey {
    let acts = alarm.acts();
    let earlier = acts.acknowledged.as_ref().filter(|_| verb == Verb::Acknowledge && alarm.is_acknowledged());
    match earlier.filter(|_| !alarm.is_latched()) {
        Some(earlier) => earlier.seen,
        None => alarm.newest().map_or(AlertKey::default(), |told| told.key),
    }
}

/// After which time of the gateway's clock an act of the cloud is refused there, ms since the Unix epoch.
pub fn not_after_ms(act: &Act) -> i64 {
    let latest = act.time_ms.saturating_add(NOT_AFTER_MS);
    if act.verb == Verb::Shelve as u8 { act.until_ms.min(latest) } else { latest }
}

/// The same for one that waits. What is to be taken once more counts already, however old it is.
fn last_ms(alarm: &Alarm, act: &Act) -> i64 {
    let counts = alarm.acts.iter().any(|known| known.id == act.id);
    if counts { alarm.touched_ms.saturating_add(NOT_AFTER_MS) } else { not_after_ms(act) }
}

fn is_forgettable(alarm: &Alarm, clock_ms: i64) -> bool {
    alarm.standing(clock_ms) == Standing::Normal && alarm.pending.is_empty()
}
