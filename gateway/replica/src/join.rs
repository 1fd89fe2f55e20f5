//! The cloud's half of the protocol (§3, §4): apply once, and `applied` never goes back.
//!
//! A deterministic fold over the cloud's own log. Invariants: an interval whose `from` lies
//! beyond `applied`, or that believes in another boot of the cloud, changes nothing; each
//! item of any other is judged alone; a merged window is the sum of its entries in the
//! canonical order (gateway, boot, start, born); a revision is a function of the log. What a
//! stranger sent and cannot be taken is counted: a record that was logged always folds.
//!
//! | file | subject |
//! |---|---|
//! | [`alarms`] | alarms of all gateways, and commands on their way down |
//! | [`gateways`] | gateways and their boots |
//! | [`series`] | names, units and sizes |
//! | [`taking`] | an interval, an alert: what of it is new |
//! | [`unfolded`] | intervals in the log that are not folded yet |
//! | [`publishing`] | merged windows, when they go and what they say |
//! | [`group`] | what counts of redundant gateways |
//! | [`window`] | a merged window, and as bytes |
//! | [`store`] | where windows are kept, the cache before it |
//! | [`crossing`] | ordinary messages, both ways |
//! | [`rounds`] | what is to be published when |
//! | [`lacking`] | windows of which readings were given up |
//! | [`spans`] | which parts a window of many has |
//! | [`set_back`] | revisions of a bridge that lost its disk |
//! | [`small`] | a map of a few keys |
//! | [`saved`] | all but the windows ↔ bytes |

pub mod alarms;
pub mod crossing;
pub mod gateways;
pub mod group;
mod lacking;
pub mod publishing;
pub mod rounds;
pub mod saved;
pub mod series;
mod set_back;
pub mod small;
pub mod spans;
pub mod store;
pub mod taking;
#[cfg(test)]
mod tests;
pub mod unfolded;
pub mod window;

use crate::crossing::bytes;
use crate::error::Error;
use crate::limits::{CHANGED_WINDOWS_MAX, GATEWAYS_MAX, SOURCES_MAX};
use crate::machine::is_of;
use crate::record::Record;
use crate::session::Sessions;
pub use alarms::Alarms;
pub use crossing::Crossing;
use detect::alarm::Name;
pub use gateways::{Gateway, Part};
use lacking::Lacking;
pub use publishing::{Merged, REPUBLISH_MS};
use rounds::Rounds;
use schemas::cbor;
use schemas::limits::CROSSED_MAX;
use schemas::message::{Ack, AlertBody, AlertUp, Command, CommandUp, CrossAck, CrossUp, Crossed, Hello, Receipt};
use serde::{Deserialize, Serialize};
use series::{Catalogue, valid_gateway, valid_name};
use set_back::SetBack;
use spans::Spans;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use store::{Store, StoreError, Windows};
pub use taking::Interval;
pub use unfolded::Unfolded;
pub use window::{Window, WindowKey};

/// How often windows that are too old leave the store, in ms.
const DAY_MS: i64 = 86_400_000;
/// Bytes of a stored config.
const CONFIG_BYTES_MAX: usize = 1 << 16;

/// What of the config decides what records mean; each boot logs it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BridgeConfig {
    /// Windows that ended longer ago, in ms, are counted as expired and not merged; none: all are.
    pub retain_ms: Option<i64>,
    /// Windows of many parts are published less often. The first programs did not, and what their
    /// records published keeps its revisions.
    #[serde(default)]
    pub is_paced: bool,
    /// Alarms go by their gateways' clocks. With the first programs they went by the cloud's.
    #[serde(default)]
    pub is_skewed: bool,
}

impl BridgeConfig {
    /// As a boot's record carries it.
    pub fn encode(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }
}

/// A message that no broker is known to have taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Pending {
    /// A window.
    Window(WindowKey),
    /// An alert of a gateway.
    Alert(String, Box<AlertBody>),
    /// A series and size whose retained window goes.
    Cleared(String, i64),
    /// An ordinary message of a gateway; shared with the states that are being written.
    Crossed(Arc<Crossed>),
    /// An alarm of a gateway, as it stands then.
    Alarm(String, Name),
}

impl Pending {
    /// What it takes, if it is an ordinary message.
    fn crossed_bytes(&self) -> u64 {
        if let Self::Crossed(message) = self { bytes(message) } else { 0 }
    }
}

/// What follows from a record.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answer to an interval.
    pub ack: Option<(String, Ack)>,
    /// Answer on the urgent lane.
    pub receipt: Option<(String, Receipt)>,
    /// Alerts seen for the first time.
    pub alerts: Vec<(String, AlertBody)>,
    /// Windows to publish.
    pub merged: Vec<Merged>,
    /// Series and sizes in ms whose newest window has expired: retained no longer.
    pub cleared: Vec<(String, i64)>,
    /// Ordinary messages of gateways to publish.
    pub crossed: Vec<Crossed>,
    /// Answer to those.
    pub cross_ack: Option<(String, CrossAck)>,
    /// Gateway that the record speaks of.
    pub gateway: Option<String>,
    /// Alarms that changed, by gateway; each is retained as it stands.
    pub alarms: Vec<(String, Name)>,
    /// What is to be passed on to a gateway at once.
    pub command: Option<(String, Command)>,
}

impl Effects {
    /// Whether it makes messages that a broker must take.
    pub fn publishes(&self) -> bool {
        !(self.alerts.is_empty() && self.merged.is_empty() && self.cleared.is_empty() && self.crossed.is_empty() && self.alarms.is_empty())
    }
}

/// The cloud's fold.
#[derive(Default)]
pub struct Bridge {
    /// The cloud's own boot.
    pub boot: u64,
    /// Last record folded.
    pub lsn: u64,
    /// The logged clock.
    pub clock_ms: i64,
    /// What the present boot's records mean.
    pub config: BridgeConfig,
    /// By name.
    pub gateways: BTreeMap<String, Arc<Gateway>>,
    /// Durable MQTT sessions of the embedded broker.
    pub sessions: Sessions,
    /// Alarms.
    pub alarms: Alarms,
    /// Messages of records up to here were taken by the broker.
    pub cursor: u64,
    /// Windows of rounds up to this record are not built: while a log is folded again, what is
    /// still to be published is built once, at its end ([`Bridge::unpublished`]).
    pub quiet: u64,
    /// Messages in the log that this version cannot read, and those beyond a bound.
    pub spoilt: u64,
    /// Windows published, revisions counted each.
    pub rounds_windows: u64,
    series: Catalogue,
    windows: Windows,
    rounds: Rounds,
    spans: Spans,
    /// When it was told again what it had.
    set_back: SetBack,
    lacking: Arc<Lacking>,
    /// Messages of records behind the cursor, by record.
    pending: VecDeque<(u64, Pending)>,
    /// What the ordinary messages among those take.
    pending_bytes: u64,
    /// Gateways' names by number.
    names: Vec<String>,
    /// Their `complete_ms` by number.
    complete_ms: Vec<i64>,
    /// Their redundancy groups by number.
    groups: Vec<Option<Box<str>>>,
    /// Boots by number: the gateway's number and the boot.
    sources: Vec<(u32, u64)>,
    /// Ordinary messages, by gateway.
    pub crossings: BTreeMap<String, Arc<Crossing>>,
    /// Gateways that some of them wait for, each from when one was offered until the owner finds none any more.
    pub laden: BTreeSet<String>,
    /// When the first of those for gateways may be too old.
    crossings_due_ms: i64,
    /// The day for which windows were last let go.
    swept: i64,
}

fn store_error(error: StoreError) -> Error {
    Error::Store(error.to_string())
}

impl Bridge {
    /// An empty fold whose windows are kept in `store`.
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { windows: Windows::new(store), ..Self::default() }
    }

    /// Whether there is room for a gateway and a boot, known or new.
    pub fn has_room(&self, gateway: &str, boot: u64) -> bool {
        self.part(gateway, boot).is_some()
            || (valid_gateway(gateway)
                && self.sources.len() < SOURCES_MAX
                && (self.names.len() < GATEWAYS_MAX || self.gateways.contains_key(gateway)))
    }

    /// Whether a hello says nothing new: then it is a sign of life, and not logged.
    pub fn knows(&self, gateway: &str, hello: &Hello) -> bool {
        let parent = hello.parent.and_then(|(boot, end)| Some((self.part(gateway, boot)?, end)));
        self.part(gateway, hello.boot)
            .is_some_and(|p| p.introduced > 0 && p.sizes == hello.sizes && p.grace_ms == hello.grace_ms && p.group == hello.group)
            && self.crossings.get(gateway).map_or(&[][..], |c| &c.wanted) == hello.wanted
            && parent.is_none_or(|(p, end)| p.ended || p.end == Some(end))
    }

    fn part(&self, gateway: &str, boot: u64) -> Option<&Part> {
        self.gateways.get(gateway)?.boots.get(&boot)
    }

    /// Folds one record of the cloud's log.
    ///
    /// # Errors
    /// For a kind that this version does not know, and when the store cannot go on.
    pub fn apply(&mut self, lsn: u64, kind: u8, payload: &[u8]) -> Result<Effects, Error> {
        self.apply_decoded(lsn, kind, payload, None)
    }

    /// The same for a record whose interval was decoded before it was logged.
    ///
    /// # Errors
    /// As [`Bridge::apply`].
    pub fn apply_decoded(&mut self, lsn: u64, kind: u8, payload: &[u8], decoded: Option<Interval>) -> Result<Effects, Error> {
        let (advance, record) = Record::decode(kind, payload)?;
        self.lsn = lsn;
        let second = self.clock_ms.div_euclid(1_000);
        self.clock_ms = self.clock_ms.saturating_add(i64::try_from(advance).unwrap_or(i64::MAX));
        let mut effects = Effects::default();
        match record {
            Record::Boot { boot, config, .. } => {
                self.boot = boot;
                // The first programs logged none.
                self.config = cbor::from_slice(config, CONFIG_BYTES_MAX).unwrap_or_default();
                self.sessions.restart(self.clock_ms);
            }
            Record::Session { number, event } => self.sessions.apply(self.lsn, self.clock_ms, number, event),
            Record::Cursor { lsn } => {
                self.cursor = self.cursor.max(lsn);
                while self.pending.front().is_some_and(|(at, _)| *at <= self.cursor)
                    && let Some((_, taken)) = self.pending.pop_front()
                {
                    self.pending_bytes -= taken.crossed_bytes();
                }
            }
            Record::Hello { gateway, bytes } => match Hello::decode(bytes) {
                Ok(hello) => self.hello(gateway, &hello, &mut effects).map_err(store_error)?,
                Err(_) => self.spoilt += 1,
            },
            Record::AlertUp { gateway, bytes } => match AlertUp::decode(bytes) {
                Ok(up) => self.urgent(gateway, up.alert, &mut effects),
                Err(_) => self.spoilt += 1,
            },
            Record::Interval { gateway, bytes } => match decoded.map_or_else(|| Interval::decode(bytes), Ok) {
                Ok(interval) => self.interval(gateway, interval, &mut effects).map_err(store_error)?,
                Err(_) => self.spoilt += 1,
            },
            Record::AskedAt { gateway, request } => {
                let command = self.alarms.asked(self.clock_ms, gateway, &request);
                effects.command = command.map(|command| (gateway.to_owned(), command));
            }
            Record::CommandUp { gateway, bytes } => match CommandUp::decode(bytes) {
                Ok(up) => self.command_up(gateway, &up),
                Err(_) => self.spoilt += 1,
            },
            Record::CrossUp { gateway, bytes } => match CrossUp::decode(bytes) {
                Ok(up) => self.crossed(gateway, up, &mut effects),
                Err(_) => self.spoilt += 1,
            },
            Record::CrossIn { message, session, packet_id } => {
                if packet_id != 0 {
                    self.sessions.received(session, packet_id);
                }
                let (topic, payload) = (message.topic.to_owned(), message.payload.to_vec());
                self.offer(
                    None,
                    Crossed {
                        boot: self.boot,
                        seq: lsn.saturating_mul(CROSSED_MAX as u64),
                        topic,
                        payload,
                        qos: message.qos,
                        retain: message.retain,
                    },
                );
            }
            Record::CrossDone { gateway, boot, seq } => {
                if let Some(crossing) = self.crossings.get_mut(gateway) {
                    Arc::make_mut(crossing).done(self.clock_ms, boot, seq);
                }
            }
            Record::Round => effects.merged = self.round().map_err(store_error)?,
            _ => {}
        }
        // Not with each record: they may be many.
        if self.crossings_due_ms <= self.clock_ms && self.clock_ms.div_euclid(1_000) != second {
            self.expire_crossings();
        }
        self.alarms.advance(self.clock_ms);
        effects.alarms = self.alarms.take_changed();
        self.sweep(&mut effects);
        let alerts = effects.alerts.iter().cloned().map(|(gateway, alert)| Pending::Alert(gateway, Box::new(alert)));
        let cleared = effects.cleared.iter().cloned().map(|(series, size)| Pending::Cleared(series, size));
        let crossed = effects.crossed.iter().cloned().map(|message| Pending::Crossed(Arc::new(message)));
        self.pending_bytes += effects.crossed.iter().map(bytes).sum::<u64>();
        let alarms = effects.alarms.iter().cloned().map(|(gateway, name)| Pending::Alarm(gateway, name));
        self.pending.extend(alerts.chain(cleared).chain(crossed).chain(alarms).map(|pending| (lsn, pending)));
        Ok(effects)
    }

    /// A gateway and its boot, known from here on; false where there is no room.
    fn open(&mut self, gateway: &str, boot: u64) -> bool {
        if !self.has_room(gateway, boot) {
            return false;
        }
        let number = self.names.len() as u32;
        let known = self.gateways.entry(gateway.to_owned()).or_insert_with(|| {
            self.names.push(gateway.to_owned());
            self.complete_ms.push(i64::MAX);
            self.groups.push(None);
            Arc::new(Gateway::new(number))
        });
        let known = Arc::make_mut(known);
        let (number, source) = (known.number, self.sources.len() as u32);
        known.boots.entry(boot).or_insert_with(|| {
            self.sources.push((number, boot));
            Part { number: source, ..Part::default() }
        });
        known.seen_ms = self.clock_ms;
        true
    }

    fn hello(&mut self, gateway: &str, hello: &Hello, effects: &mut Effects) -> Result<(), StoreError> {
        if !self.open(gateway, hello.boot) {
            self.spoilt += 1;
            return Ok(());
        }
        let Some(known) = self.gateways.get_mut(gateway).map(Arc::make_mut) else { return Ok(()) };
        let is_set_back = known.is_set_back(hello.boot, hello.parent);
        known.boot = hello.boot;
        known.change(hello.boot, |p| {
            p.set_windows(&hello.sizes, hello.grace_ms);
            p.group.clone_from(&hello.group);
            if p.introduced == 0 {
                p.introduced = self.lsn;
            }
        });
        if is_set_back {
            self.alarms.again(self.clock_ms, gateway);
        }
        if let Some((parent, end)) = hello.parent {
            known.change(parent, |p| p.end = Some(end));
            if let Some(part) = known.boots.get_mut(&parent) {
                part.retire();
            }
        }
        effects.gateway = Some(gateway.to_owned());
        if !hello.wanted.is_empty() || self.crossings.contains_key(gateway) {
            let crossing = self.crossings.entry(gateway.to_owned()).or_default();
            Arc::make_mut(crossing).wanted.clone_from(&hello.wanted);
        }
        self.recheck(gateway)
    }

    /// What a gateway said about alarms at once. Names that can be no topics are passed over.
    fn command_up(&mut self, gateway: &str, up: &CommandUp) {
        if !self.open(gateway, up.boot) {
            self.spoilt += 1;
            return;
        }
        for act in up.acts.iter().filter(|act| valid_name(&act.series)) {
            self.alarms.join(self.clock_ms, gateway, act);
        }
        for answer in &up.answers {
            self.alarms.answered(self.clock_ms, gateway, answer);
        }
    }

    /// Windows that changed and are not published; those that wait to be complete; those in memory,
    /// and those of them that the store does not have as they are.
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        (self.rounds.due(), self.rounds.waiting(), self.windows.cached(), self.windows.changed())
    }

    /// Windows of which a gateway gave readings up: series, window size, and spans from a start to an end, in ms.
    pub fn lacking(&self, gateway: &Gateway) -> impl Iterator<Item = (&str, i64, &[(i64, i64)])> {
        let of = self.lacking.of(gateway.number);
        of.filter_map(|(series, size_ms, spans)| Some((&*self.series.list().get(series as usize)?.name, size_ms, spans)))
    }

    /// Series known.
    pub fn series(&self) -> usize {
        self.series.list().len()
    }

    /// Whether there is a series of this name, or one of a machine of this name.
    pub fn has_series(&self, name: &str) -> bool {
        self.series.list().iter().any(|series| is_of(&series.name, name))
    }

    /// Once a day, windows that ended too long ago leave the store.
    fn sweep(&mut self, effects: &mut Effects) {
        let Some(retain_ms) = self.config.retain_ms else { return };
        let day = self.clock_ms.div_euclid(DAY_MS);
        if std::mem::replace(&mut self.swept, day) == day {
            return;
        }
        let oldest_ms = self.clock_ms.saturating_sub(retain_ms);
        let mut largest_ms = 0;
        for series in self.series.list_mut().iter_mut().map(Arc::make_mut) {
            largest_ms = largest_ms.max(series.sizes.last().copied().unwrap_or(0));
            let name = &series.name;
            series.newest.retain(|size, start| {
                let stays = start.saturating_add(size) >= oldest_ms;
                if !stays {
                    effects.cleared.push((name.to_string(), size));
                }
                stays
            });
        }
        self.rounds.forget(oldest_ms);
        self.spans.forget(oldest_ms);
        if self.lacking.reaches(oldest_ms) {
            Arc::make_mut(&mut self.lacking).forget(oldest_ms);
        }
        // A larger window that is not over yet is still added up from them.
        self.windows.forget(oldest_ms.saturating_sub(largest_ms));
    }

    /// Bytes of ordinary messages of gateways that no broker is known to have taken.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// When the first ordinary message for a gateway may be too old, by the logged clock; the greatest
    /// time for never.
    pub fn crossings_due_ms(&self) -> i64 {
        self.crossings_due_ms
    }

    /// Whether so much has changed that [`Bridge::begin_flush`] is due.
    pub fn is_full(&self) -> bool {
        self.windows.changed() >= CHANGED_WINDOWS_MAX
    }

    /// Begins to write the windows that changed and all else, as of the last record, to the store. While
    /// the write before is under way it does nothing, unless that holds up too much: then it waits for it.
    ///
    /// # Errors
    /// The store's.
    pub fn begin_flush(&mut self) -> Result<(), Error> {
        let holds_up = self.windows.changed() >= 2 * CHANGED_WINDOWS_MAX;
        if self.windows.settle(holds_up).map_err(store_error)? {
            let state = self.state();
            self.windows.write(self.lsn, Box::new(move || state.encode())).map(drop).map_err(store_error)?;
        }
        Ok(())
    }

    /// Looks whether a write has ended: then what it holds in memory can go.
    ///
    /// # Errors
    /// The store's.
    pub fn settle(&mut self) -> Result<(), Error> {
        self.windows.settle(false).map(drop).map_err(store_error)
    }

    /// Writes the windows and all else, as of the last record, to the store, and waits for it.
    /// False when the store has no room for it.
    ///
    /// # Errors
    /// The store's.
    pub fn flush(&mut self) -> Result<bool, Error> {
        let state = self.state();
        let begun = self.windows.write(self.lsn, Box::new(move || state.encode())).map_err(store_error)?;
        Ok(begun && self.windows.settle(true).map_err(store_error)?)
    }
}
