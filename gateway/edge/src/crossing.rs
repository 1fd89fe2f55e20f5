//! Ordinary messages that a `[[bridge]]` carries, between the fold and their connection.
//!
//! | file | subject |
//! |---|---|
//! | [`rules`] | what crosses, and what it is called on the other side |
//! | [`link`] | the connection |

pub mod link;
pub mod rules;

use crate::config::{CloudLink, Delivery, PlainBridge};
use crate::core::Events;
use crate::intake::Intake;
use crate::limits::CROSS_ECHOES_MAX;
use crate::link::Bytes;
use broker::Broker;
use link::{CrossEvent, CrossLink};
use replica::crossing::pace::Pace;
use replica::fold::Fold;
use replica::record::{Plain, Record};
use rules::Rules;
use rumqttc::Publish;
use schemas::message::{CrossDone, CrossUp, Crossed, FORMAT};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tracing::warn;

/// A batch under way.
struct Flight {
    boot: u64,
    lane: u8,
    last: u64,
}

/// The core's hand on ordinary messages.
pub struct Crossing {
    link: CrossLink,
    rules: Arc<Rules>,
    /// No bridge stands behind the cloud's broker.
    is_plain: bool,
    connected: bool,
    flight: Option<Flight>,
    pace: Pace,
    /// The last acknowledgement logged: the fold decides what it covers, and what was too old by then.
    acked: u64,
    /// Messages of the cloud up to here were handled: durable with this record.
    done: Option<(u64, u64, u64)>,
    /// Messages of a broker alone: to be acknowledged there once this record is durable.
    unacknowledged: VecDeque<(u64, u64, Publish)>,
    /// Of what was published at a broker alone and comes back by our own subscription.
    echoes: VecDeque<u64>,
    /// Shown at our own broker up to this record.
    shown: u64,
}

fn fingerprint(topic: &str, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, payload).hash(&mut hasher);
    hasher.finish()
}

impl Crossing {
    /// Starts the connection; without any `[[bridge]]` there is none.
    pub fn start(
        gateway: &str,
        boot: u64,
        cloud: &CloudLink,
        bridges: &[PlainBridge],
        rules: Arc<Rules>,
        events: &Events,
        bytes: Arc<Bytes>,
    ) -> Option<Self> {
        let is_plain = bridges.first()?.delivery == Delivery::Broker;
        let (events, at) = (events.clone(), (cloud.host.as_str(), cloud.port));
        let link = if is_plain {
            let filters = rules.wanted().into_iter().map(|w| w.filter).collect();
            CrossLink::to_broker(gateway, at, filters, events, bytes)
        } else {
            CrossLink::to_bridge(gateway, boot, at, events, bytes)
        };
        let (unacknowledged, echoes) = (VecDeque::new(), VecDeque::new());
        Some(Self {
            link,
            rules,
            is_plain,
            connected: false,
            flight: None,
            pace: Pace::default(),
            acked: 0,
            done: None,
            unacknowledged,
            echoes,
            shown: 0,
        })
    }

    /// What its delivery promises.
    pub fn promise(&self) -> &'static str {
        if self.is_plain { "at-least-once" } else { "once" }
    }

    /// The connection has news, at a clock that nobody can set.
    pub fn event(&mut self, event: CrossEvent, now_ms: i64, fold: &Fold, intake: &Intake) {
        match event {
            CrossEvent::Connected | CrossEvent::Disconnected => {
                self.connected = matches!(event, CrossEvent::Connected);
                self.flight = None;
                self.pace.disconnected();
            }
            CrossEvent::Ack(ack) => self.acknowledged(now_ms, (ack.boot, ack.lane, ack.applied), intake),
            CrossEvent::Taken => {
                if let Some(Flight { boot, lane, last }) = self.flight {
                    self.acknowledged(now_ms, (boot, lane, last), intake);
                }
            }
            CrossEvent::Came(down) => self.came(&down.messages, fold, intake),
            CrossEvent::Plain(generation, publish) => self.plain(generation, publish, intake),
        }
    }

    fn acknowledged(&mut self, now_ms: i64, (boot, lane, applied): (u64, u8, u64), intake: &Intake) {
        if self.flight.take_if(|f| f.boot == boot && f.lane == lane && applied >= f.last).is_some() {
            self.pace.answered(now_ms);
        }
        match intake.log(&Record::CrossAcked { boot, lane, applied }) {
            Ok(lsn) => self.acked = lsn,
            Err(refused) => warn!(%refused, "an acknowledgement is not logged; messages go again"),
        }
    }

    fn came(&mut self, messages: &[Crossed], fold: &Fold, intake: &Intake) {
        let mut durable = fold.lsn;
        for m in messages {
            let Some((topic, qos)) = self.rules.local(&m.topic) else {
                warn!(topic = m.topic, "a message that no bridge asks for is passed over");
                continue;
            };
            if fold.crossing.knows(m.boot, m.seq) {
                continue;
            }
            let message = Plain { topic: &topic, payload: &m.payload, qos: m.qos.min(qos), retain: m.retain };
            match intake.log(&Record::CrossReceived { boot: m.boot, seq: m.seq, message }) {
                Ok(lsn) => durable = lsn,
                Err(refused) => {
                    warn!(%refused, "messages of the cloud are not taken; they come again");
                    return;
                }
            }
        }
        if let Some(last) = messages.last() {
            self.done = Some((durable, last.boot, last.seq));
        }
    }

    fn plain(&mut self, generation: u64, publish: Publish, intake: &Intake) {
        let own = fingerprint(&publish.topic, &publish.payload);
        let echo = self.echoes.iter().position(|e| *e == own).and_then(|at| self.echoes.remove(at)).is_some();
        let local = self.rules.local(&publish.topic).filter(|_| !echo);
        let Some((topic, qos)) = local else {
            self.link.acknowledge(generation, &publish);
            return;
        };
        let message = Plain { topic: &topic, payload: &publish.payload, qos: (publish.qos as u8).min(qos), retain: publish.retain };
        match intake.log(&Record::CrossReceived { boot: 0, seq: 0, message }) {
            Ok(lsn) => self.unacknowledged.push_back((lsn, generation, publish)),
            Err(refused) => warn!(%refused, "a message of the broker is not taken; it comes again with the next connection"),
        }
    }

    /// What has become durable is shown at our own broker, then acknowledged where it came from.
    pub fn show(&mut self, fold: &Fold, intake: &Intake, broker: &Broker) {
        let fresh = fold.crossing.fresh.iter().filter(|m| m.lsn > self.shown);
        let mut last = None;
        for m in fresh {
            broker.publish(&m.topic, m.payload.clone().into(), m.qos, m.retain);
            last = Some(m.lsn);
        }
        if let Some(lsn) = last {
            self.shown = lsn;
            if let Err(refused) = intake.log(&Record::CrossShown { lsn }) {
                warn!(%refused, "messages shown may be shown again after a crash");
            }
        }
        while self.unacknowledged.front().is_some_and(|(lsn, ..)| *lsn <= fold.lsn) {
            let Some((_, generation, publish)) = self.unacknowledged.pop_front() else { break };
            self.link.acknowledge(generation, &publish);
        }
        if let Some((_, boot, seq)) = self.done.take_if(|(lsn, ..)| *lsn <= fold.lsn) {
            self.link.done(&CrossDone { format: FORMAT, boot, seq });
        }
    }

    /// Sends what is next, when nothing is under way: bytes on the line. `clock_ms` is the logged
    /// clock, by which messages are too old; `bytes_max` what the link has for them now.
    pub fn speak(&mut self, now_ms: i64, clock_ms: i64, bytes_max: usize, fold: &Fold) -> Option<usize> {
        if !self.is_ready(fold) || self.due_ms() > now_ms {
            return None;
        }
        let bytes_max = self.pace.batch_bytes().min(bytes_max as u64);
        let (lane, messages) = fold.crossing.next_up(clock_ms, bytes_max)?;
        let (sent, mut bytes) = if self.is_plain { self.link.publish(&messages) } else { (messages.len(), 0) };
        let (boot, last) = messages[..sent].last().map(|m| (m.boot, m.seq))?;
        self.flight = Some(Flight { boot, lane, last });
        self.pace.sent(now_ms);
        if self.is_plain {
            self.echoes.extend(messages.iter().filter(|m| self.rules.local(&m.topic).is_some()).map(|m| fingerprint(&m.topic, &m.payload)));
            let beyond = self.echoes.len().saturating_sub(CROSS_ECHOES_MAX);
            self.echoes.drain(..beyond);
        } else {
            let (given_up, expired) = (fold.crossing.given_up, fold.crossing.expired);
            bytes = self.link.send(&CrossUp { format: FORMAT, lane, messages, given_up, expired });
        }
        Some(bytes)
    }

    /// Whether the connection stands and what was acknowledged is folded.
    fn is_ready(&self, fold: &Fold) -> bool {
        self.connected && fold.lsn >= self.acked
    }

    /// When the next may go, for all that is under way: a broker alone answers on its connection.
    fn due_ms(&self) -> i64 {
        match self.flight {
            Some(_) if self.is_plain => i64::MAX,
            Some(_) => self.pace.due_ms().unwrap_or(i64::MIN),
            None => i64::MIN,
        }
    }

    /// When [`Crossing::speak`] is due again, if anything waits.
    pub fn next_timeout_ms(&self, fold: &Fold) -> Option<i64> {
        (self.is_ready(fold) && fold.crossing.waiting() > 0).then(|| self.due_ms()).filter(|at| *at < i64::MAX)
    }
}
