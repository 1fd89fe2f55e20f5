//! Ordinary messages that a `[[bridge]]` carries, between the fold and their connection.
//!
//! | file | subject |
//! |---|---|
//! | [`given`] | what came in, until subscribers have it |
//! | [`rules`] | what crosses, and what it is called on the other side |
//! | [`link`] | the connection |

mod given;
pub mod link;
pub mod rules;

use crate::config::{CloudLink, Delivery, PlainBridge};
use crate::event::{CrossEvent, Events};
use crate::intake::Intake;
use crate::limits::{CROSS_HELD_BYTES_MAX, CROSS_PACKET_BYTES_MAX, CROSS_SETTLE_MS, INGEST_WAITING_MAX};
use crate::link::Bytes;
use crate::status::CrossingView;
use broker::Broker;
use broker::complaint::Kind;
use broker::topic::cover;
use given::Given;
use link::CrossLink;
use replica::crossing::echo::{Echoes, fingerprint};
use replica::crossing::pace::Pace;
use replica::fold::Fold;
use replica::record::{Plain, Record};
use rules::{Rules, is_published_here};
use rumqttc::Publish;
use schemas::message::{CrossDone, CrossUp, Crossed, FORMAT};
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::{debug, warn};

/// A batch under way.
struct Flight {
    boot: u64,
    lane: u8,
    last: u64,
    /// What of it may come back by our own subscription.
    echoes: Vec<u64>,
    /// Its number and bytes while the connection still writes it.
    unwritten: Option<(u64, usize)>,
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
    echoes: Echoes,
    /// Messages of a broker alone that the log does not take now, in order, each with the connection that it came
    /// by, and what they take. A lost connection voids none: the broker may have lost what it would send again.
    held: VecDeque<(u64, Publish)>,
    held_bytes: usize,
    /// A connection that brought more than is held: nothing more of it is taken, and all comes again with the next.
    ended: Option<u64>,
    /// Messages that came, and are not for here, by this process.
    refused: u64,
    complaints: Kind,
    /// Shown at our own broker up to this record.
    shown: u64,
    /// Of that, what subscribers may still have before them.
    given: Given,
    /// They have enough of it: the next wait in the log.
    holds_back: bool,
}

/// In place of a connection: what came by a session that is lost, and is acknowledged nowhere.
const OF_NO_SESSION: u64 = 0;

/// Whether a broker that sends again means that message.
fn is_same(a: &Publish, b: &Publish) -> bool {
    a.pkid == b.pkid && a.topic == b.topic && a.payload == b.payload
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
            let wanted = rules.wanted();
            let filters = cover(wanted.iter().map(|wanted| wanted.filter.as_str())).map(str::to_owned).collect();
            CrossLink::to_broker(gateway, at, filters, events, bytes)
        } else {
            CrossLink::to_bridge(gateway, boot, at, events, bytes)
        };
        Some(Self::on(link, rules, is_plain))
    }

    fn on(link: CrossLink, rules: Arc<Rules>, is_plain: bool) -> Self {
        Self {
            link,
            rules,
            is_plain,
            connected: false,
            flight: None,
            pace: Pace::default(),
            acked: 0,
            done: None,
            unacknowledged: VecDeque::new(),
            echoes: Echoes::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            ended: None,
            refused: 0,
            complaints: Kind::default(),
            shown: 0,
            given: Given::default(),
            holds_back: false,
        }
    }

    /// How it stands.
    pub fn view(&self, fold: &Fold) -> CrossingView {
        let promise = if self.is_plain { "at-least-once" } else { "once" };
        CrossingView::of(&fold.crossing, promise, self.refused)
    }

    /// The connection has news, at a clock that nobody can set.
    pub fn event(&mut self, event: CrossEvent, now_ms: i64, fold: &Fold, intake: &Intake) {
        match event {
            CrossEvent::Connected(resumed) => {
                self.connected = true;
                if !resumed {
                    // That broker knows nothing of what came by its lost session, nor of what was to come back by it.
                    self.held.iter_mut().for_each(|(generation, _)| *generation = OF_NO_SESSION);
                    self.echoes.clear();
                }
            }
            CrossEvent::Disconnected => {
                self.connected = false;
                // What was not taken there does not come back from there: it goes again.
                let echoes = self.flight.take().into_iter().flat_map(|flight| flight.echoes);
                echoes.for_each(|own| self.echoes.forget(own));
                self.pace.disconnected();
            }
            CrossEvent::Left(number) => {
                if let Some(flight) = &mut self.flight
                    && let Some((_, bytes)) = flight.unwritten.take_if(|(n, _)| *n == number)
                {
                    self.pace.left(now_ms, bytes as u64);
                }
            }
            CrossEvent::Ack(ack) => self.acknowledged(now_ms, (ack.boot, ack.lane, ack.applied), intake),
            CrossEvent::Taken => {
                if let Some(Flight { boot, lane, last, .. }) = self.flight {
                    self.acknowledged(now_ms, (boot, lane, last), intake);
                }
            }
            CrossEvent::Came(down) => self.came(&down.messages, fold, intake),
            CrossEvent::Plain(generation, publish) => self.plain(generation, publish, intake),
        }
    }

    /// The uplink's connection is lost. What is under way to a bridge beside it is likely to be on a line that is dead,
    /// and goes again by a new one.
    pub fn line_lost(&self) {
        if !self.is_plain && self.connected && self.flight.is_some() {
            self.link.give_up();
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

    /// What a message on that topic at the cloud is called here, and the most that its QoS may be; none, counted
    /// and told, for what is not for here.
    fn local(&mut self, remote: &str, bytes: usize) -> Option<(String, u8)> {
        let why = match self.rules.local(remote) {
            None => "no bridge asks for it",
            Some((topic, _)) if is_published_here(&topic) => "only the gateway itself publishes on that topic here",
            Some(_) if bytes as u64 > CROSS_PACKET_BYTES_MAX => "it is too large",
            Some(local) => return Some(local),
        };
        self.refused += 1;
        if let Some(untold) = self.complaints.due() {
            warn!(topic = remote, bytes, why, untold, "a message of the cloud is passed over");
        }
        None
    }

    fn came(&mut self, messages: &[Crossed], fold: &Fold, intake: &Intake) {
        let mut durable = fold.lsn;
        for m in messages {
            let Some((topic, qos)) = self.local(&m.topic, m.payload.len()) else { continue };
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
        if self.ended == Some(generation) {
            return;
        }
        if publish.dup
            && let Some(kept) = self.held.iter_mut().find(|(by, kept)| *by != OF_NO_SESSION && *by < generation && is_same(kept, &publish))
        {
            // The session goes on: it is held already, and now to be acknowledged on this connection.
            *kept = (generation, publish);
            return;
        }
        let is_own = self.echoes.take(&publish.topic, &publish.payload);
        let local = if is_own { None } else { self.local(&publish.topic, publish.payload.len()) };
        let Some((topic, qos)) = local else {
            self.link.acknowledge(generation, &publish);
            return;
        };
        if self.held.is_empty() && self.log((generation, &publish), (&topic, qos), intake) {
            return;
        }
        self.held_bytes += publish.payload.len();
        self.held.push_back((generation, publish));
        if self.held.len() > INGEST_WAITING_MAX || self.held_bytes > CROSS_HELD_BYTES_MAX {
            warn!("the log takes no messages of the broker; they come again with the next connection");
            self.ended = Some(generation);
            self.link.give_up();
            if let Some((_, last)) = self.held.pop_back() {
                self.held_bytes -= last.payload.len();
            }
        }
    }

    /// Whether the log takes it.
    fn log(&mut self, (generation, publish): (u64, &Publish), (topic, qos): (&str, u8), intake: &Intake) -> bool {
        let message = Plain { topic, payload: &publish.payload, qos: (publish.qos as u8).min(qos), retain: publish.retain };
        let logged = intake.log(&Record::CrossReceived { boot: 0, seq: 0, message });
        logged.is_ok_and(|lsn| {
            self.unacknowledged.push_back((lsn, generation, publish.clone()));
            true
        })
    }

    /// Offers to the log again what it did not take.
    pub fn retry(&mut self, intake: &Intake) {
        while let Some((generation, publish)) = self.held.pop_front() {
            let local = self.rules.local(&publish.topic);
            if local.is_some_and(|(topic, qos)| !self.log((generation, &publish), (&topic, qos), intake)) {
                self.held.push_front((generation, publish));
                return;
            }
            self.held_bytes -= publish.payload.len();
        }
    }

    /// What has become durable is shown at our own broker, as far as its subscribers keep up, and acknowledged where
    /// it came from. The log is told what they have.
    pub fn show(&mut self, fold: &Fold, intake: &Intake, broker: &Broker) {
        let fresh = &fold.crossing.fresh;
        for m in fresh.range(fresh.partition_point(|m| m.lsn <= self.shown)..) {
            if self.given.is_enough() {
                break;
            }
            let watched = broker.publish_watched(&m.topic, m.payload.clone().into(), m.qos, m.retain);
            self.given.give(m.lsn, m.topic.len() + m.payload.len(), watched);
            self.shown = m.lsn;
        }
        if let Some((lsn, unheld)) = self.given.settle() {
            match intake.log(&Record::CrossShown { lsn, unheld }) {
                Ok(_) => self.given.told(),
                Err(refused) => debug!(%refused, "messages shown may be shown again after a crash"),
            }
        }
        self.holds_back = fresh.back().is_some_and(|m| m.lsn > self.shown);
        if self.holds_back {
            // Where they come from, the next wait.
            return;
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
        let share = replica::crossing::share(fold.config.crossing_bytes);
        let bytes_max = self.pace.batch_bytes().min(bytes_max as u64).min(share);
        let (lane, messages) = fold.crossing.next_up(clock_ms, bytes_max)?;
        let (sent, mut bytes) = if self.is_plain { self.link.publish(&messages) } else { (messages.len(), 0) };
        let (boot, last) = messages[..sent].last().map(|m| (m.boot, m.seq))?;
        self.pace.sent(now_ms);
        let (mut echoes, mut unwritten) = (Vec::new(), None);
        if self.is_plain {
            let back = messages[..sent].iter().filter(|m| self.rules.local(&m.topic).is_some());
            echoes.extend(back.map(|m| fingerprint(&m.topic, &m.payload)));
            echoes.iter().for_each(|own| self.echoes.expect(*own));
        } else {
            let (given_up, expired) = (fold.crossing.given_up, fold.crossing.expired);
            let number;
            (number, bytes) = self.link.send(&CrossUp { format: FORMAT, lane, messages, given_up, expired });
            unwritten = number.map(|number| (number, bytes));
        }
        self.flight = Some(Flight { boot, lane, last, echoes, unwritten });
        Some(bytes)
    }

    /// Whether the connection stands and what was acknowledged is folded.
    fn is_ready(&self, fold: &Fold) -> bool {
        self.connected && fold.lsn >= self.acked
    }

    /// When the next may go, for all that is under way: a broker alone answers on its connection, and nothing goes
    /// again while it is still being written.
    fn due_ms(&self) -> i64 {
        match &self.flight {
            Some(flight) if self.is_plain || flight.unwritten.is_some() => i64::MAX,
            Some(_) => self.pace.due_ms().unwrap_or(i64::MIN),
            None => i64::MIN,
        }
    }

    /// When [`Crossing::show`] is to be called again, though nothing happens here: who acknowledges what is shown
    /// tells nobody.
    pub fn settle_wait_ms(&self) -> Option<i64> {
        match (self.holds_back, self.given.is_empty()) {
            (true, _) => Some(CROSS_SETTLE_MS.0),
            (false, false) => Some(CROSS_SETTLE_MS.1),
            (false, true) => None,
        }
    }

    /// When [`Crossing::speak`] is due again, if anything waits.
    pub fn next_timeout_ms(&self, fold: &Fold) -> Option<i64> {
        (self.is_ready(fold) && fold.crossing.waiting() > 0).then(|| self.due_ms()).filter(|at| *at < i64::MAX)
    }
}

#[cfg(test)]
mod tests;
