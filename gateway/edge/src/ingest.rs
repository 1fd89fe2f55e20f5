//! Readings from the plant's existing broker, acknowledged there only after our commit.
//!
//! One task for each `[[ingest]]`: it takes what comes as it comes, keeps what waits for its
//! commit in order, and acknowledges from the front. That broker keeps our session, so what is
//! not acknowledged comes again after a crash of ours or a cut of the link. Not every broker marks
//! what it sends again, and every one sends what it retains to a new subscription: for a while
//! after a reconnect, and for retained messages, a timed reading that is known already is
//! therefore taken as a redelivery without the mark. One without a time counts again. So nothing is
//! subscribed to that is subscribed to already, through crashes of ours, too: see [`Mark`].

use crate::client;
use crate::config::Ingest;
use crate::intake::Intake;
use crate::limits::{
    BACKOFF_MS, CONNECT_WAIT, INGEST_DOUBT_MAX, INGEST_PACKET_BYTES_MAX, INGEST_REQUESTS_MAX, INGEST_RETRY, INGEST_WAITING_MAX,
};
use broker::{Application, Broker, Client, Horizon, OpenSession, Publish, Refusal, SessionEvent, Ticket, Verdict, Version};
use parking_lot::Mutex;
use replica::fold::Fold;
use rumqttc::{AsyncClient, ConnectionError, Event, MqttOptions, Packet, QoS, SubscribeReasonCode};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

/// Begins the names of these sessions in the log: no MQTT client can have such an identifier.
const MARK: char = '\0';

fn session_name(ingest: &Ingest) -> String {
    format!("{MARK}{} {}", ingest.url, ingest.filter)
}

/// Whether a session in the log is one of these, and no client's.
pub fn is_ours(client_id: &str) -> bool {
    client_id.starts_with(MARK)
}

/// Our identifier at the plant's broker: one for each filter, the same after every restart, so
/// that the session there always fits.
fn client_id(gateway: &str, ingest: &Ingest) -> String {
    // FNV-1a, 32 bits.
    let hash = session_name(ingest).bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("tidegate-{gateway}-{hash:08x}")
}

/// As whom this gateway reads elsewhere: under one of these names nobody is let in at its own door, where
/// what is read would come again without end.
pub fn client_ids(gateway: &str, ingests: &[Ingest]) -> Vec<String> {
    ingests.iter().map(|ingest| client_id(gateway, ingest)).collect()
}

/// The logged session of each `[[ingest]]`, found or opened, and whether it is known to be subscribed; those that are
/// configured no more end.
pub fn sessions(fold: &Fold, intake: &Intake, ingests: &[Ingest]) -> Vec<(u64, bool)> {
    let names: Vec<String> = ingests.iter().map(session_name).collect();
    for (number, session) in &fold.sessions.by_number {
        if is_ours(&session.client_id) && !names.contains(&session.client_id) && intake.session(*number, SessionEvent::Ended).is_err() {
            warn!("an ingest that is configured no more is not forgotten yet");
        }
    }
    let find = |name: &String| {
        let (number, found) = fold.sessions.by_number.iter().find(|(_, s)| s.client_id == *name)?;
        Some((*number, !found.subscriptions.is_empty()))
    };
    let open = |name: &String| {
        let opened = intake.open_session(&OpenSession { client_id: name, expiry_s: u32::MAX, version: Version::V3 });
        // Without one, redeliveries are told only while this process lives.
        (opened.map_or(0, |opened| opened.number), false)
    };
    names.iter().map(|name| find(name).unwrap_or_else(|| open(name))).collect()
}

/// What the log says of the subscription: that our session at the plant's broker has it, if it is there.
///
/// A session that begins with a CONNECT has none, and who dies before the answer does not know. So
/// whenever a CONNECT may be under way, the log does not say it.
struct Mark {
    intake: Arc<Intake>,
    horizon: watch::Receiver<Horizon>,
    /// Where it is logged; 0 for nowhere.
    session: u64,
    filter: String,
    is_set: bool,
}

impl Mark {
    /// Says it; a log that does not take it lets a next process subscribe again.
    fn set(&mut self) {
        // At QoS 1, as SUBSCRIBE asks.
        let event = SessionEvent::Subscribed { filter: &self.filter, options: 1, identifier: None };
        self.is_set = self.is_set || self.session != 0 && self.intake.session(self.session, event).is_ok();
    }

    /// Takes it back, durably.
    async fn clear(&mut self) {
        while self.is_set {
            match self.intake.session(self.session, SessionEvent::Unsubscribed { filter: &self.filter }) {
                Ok(ticket) => {
                    self.is_set = false;
                    // What fails ends the process.
                    drop(self.horizon.wait_for(|horizon| horizon.durable >= ticket || horizon.failed).await);
                }
                Err(_) => tokio::time::sleep(INGEST_RETRY).await,
            }
        }
    }
}

/// A message that was judged.
struct Waiting {
    /// Durable with this, 0 for what need not be.
    ticket: Ticket,
    publish: rumqttc::Publish,
    /// Whether our own subscribers get it.
    route: bool,
    /// The connection on which the plant's broker waits for our acknowledgement.
    connection: u64,
}

/// One plant broker's messages on their way.
struct Plant {
    ingest: Ingest,
    intake: Arc<Intake>,
    broker: Broker,
    client: AsyncClient,
    /// As whom the intake knows us.
    us: Client,
    horizon: watch::Receiver<Horizon>,
    /// Which connection to the plant's broker this is: an identifier of one says nothing on the next,
    /// where it may be another message's.
    connection: u64,
    /// Received on which connection, and not taken by the log yet.
    backlog: VecDeque<(u64, rumqttc::Publish)>,
    /// Judged, in order, and not acknowledged yet.
    waiting: VecDeque<Waiting>,
    /// So many more messages may be redeliveries without the mark.
    doubt: usize,
    /// Our session at the plant's broker has the subscription, if it is there.
    subscribed: bool,
    /// The present connection has asked for it, and must have an answer by then.
    unanswered: Option<Instant>,
    /// The request queue was full; acknowledgements go on when it has room.
    stalled: bool,
}

/// Subscribes for as long as the process lives; comes back by itself. `known` is what [`sessions`] said of it.
pub async fn run(gateway: String, ingest: Ingest, known: (u64, bool), intake: Arc<Intake>, broker: Broker) {
    let id = client_id(&gateway, &ingest);
    let mut options = MqttOptions::new(id.clone(), ingest.url.host.clone(), ingest.url.port);
    options.set_clean_session(false).set_manual_acks(true).set_keep_alive(Duration::from_secs(10));
    options.set_max_packet_size(INGEST_PACKET_BYTES_MAX, INGEST_PACKET_BYTES_MAX);
    let (client, mut mqtt) = AsyncClient::new(options, INGEST_REQUESTS_MAX);
    client::prepare(&mut mqtt);
    let (session, subscribed) = known;
    let mut mark = Mark { intake: intake.clone(), horizon: intake.horizon(), session, filter: ingest.filter.clone(), is_set: subscribed };
    let mut plant = Plant::new(ingest, intake, broker, client, (id, session), subscribed);
    let mut backoff_ms = BACKOFF_MS.0;
    let mut pause = Duration::ZERO;
    loop {
        let is_connected = mqtt.network.is_some();
        let event = {
            let unanswered = plant.unanswered;
            let next = async {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                if !is_connected {
                    mark.clear().await;
                }
                match unanswered {
                    Some(until) => timeout_at(until, mqtt.poll()).await.unwrap_or(Err(ConnectionError::NetworkTimeout)),
                    None => client::poll(&mut mqtt).await,
                }
            };
            // Kept until it is done: a poll that is dropped half way could lose bytes.
            tokio::pin!(next);
            loop {
                plant.take();
                plant.release();
                let is_behind = !plant.backlog.is_empty();
                let has_room = plant.backlog.len() + plant.waiting.len() < INGEST_WAITING_MAX;
                tokio::select! {
                    event = &mut next, if has_room => break event,
                    changed = plant.horizon.changed(), if is_behind || !plant.waiting.is_empty() => {
                        if changed.is_err() || plant.horizon.borrow().failed {
                            return;
                        }
                    }
                    () = tokio::time::sleep(INGEST_RETRY), if is_behind || plant.stalled => {}
                }
            }
        };
        pause = Duration::ZERO;
        match event {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                backoff_ms = BACKOFF_MS.0;
                if plant.connected(connack.session_present) {
                    mark.set();
                }
            }
            Ok(Event::Incoming(Packet::SubAck(suback))) => {
                if plant.confirmed(&suback.return_codes) {
                    mark.set();
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => plant.backlog.push_back((plant.connection, publish)),
            Ok(_) => {}
            Err(error) => {
                warn!(%error, url = %plant.ingest.url, "the plant's broker is not reached");
                // What came in the same breath as the end is of that connection, not of the next.
                let last = mqtt.state.events.drain(..).filter_map(|event| match event {
                    Event::Incoming(Packet::Publish(publish)) => Some((plant.connection, publish)),
                    _ => None,
                });
                plant.backlog.extend(last);
                client::forget(&mut mqtt);
                plant.disconnected();
                if !is_connected && client::is_unheard(&error) {
                    if plant.subscribed {
                        mark.set();
                    }
                } else if !is_connected {
                    plant.subscribed = false;
                }
                pause = Duration::from_millis(rand::random_range(0..=backoff_ms));
                backoff_ms = (backoff_ms * 2).min(BACKOFF_MS.1);
            }
        }
    }
}

impl Plant {
    /// As whom the intake knows us are our name there and the number of our logged session.
    fn new(
        ingest: Ingest,
        intake: Arc<Intake>,
        broker: Broker,
        client: AsyncClient,
        (id, session): (String, u64),
        subscribed: bool,
    ) -> Self {
        // As MQTT 3.1.1: what is no reading is kept aside with its reason, as nobody here hears one.
        let us = Client { client_id: id, session, version: Version::V3, connection: 0, memory: Mutex::new(None) };
        Self {
            horizon: intake.horizon(),
            ingest,
            intake,
            broker,
            client,
            us,
            connection: 0,
            backlog: VecDeque::new(),
            waiting: VecDeque::new(),
            doubt: 0,
            subscribed,
            unanswered: None,
            stalled: false,
        }
    }

    fn disconnected(&mut self) {
        self.connection += 1;
        self.unanswered = None;
    }

    /// Whether the subscription stands; else it is asked for.
    fn connected(&mut self, session_present: bool) -> bool {
        info!(url = %self.ingest.url, filter = self.ingest.filter, session_present, "reading from the plant's broker");
        if session_present {
            // What was not even taken comes again; without its session the broker knows of none.
            self.backlog.retain(|(_, p)| p.qos == QoS::AtMostOnce);
            self.doubt = INGEST_DOUBT_MAX;
            if self.us.session != 0 && self.intake.session(self.us.session, SessionEvent::Resumed { expiry_s: u32::MAX }).is_err() {
                warn!("the return to the plant's broker is not logged");
            }
        }
        if session_present && self.subscribed {
            // A subscription made again would bring everything retained again.
            return true;
        }
        self.subscribed = false;
        self.unanswered = Some(Instant::now() + CONNECT_WAIT);
        // In a task: the queue that takes it is emptied by the poll of this one.
        let (client, filter) = (self.client.clone(), self.ingest.filter.clone());
        tokio::spawn(async move { client.subscribe(filter, QoS::AtLeastOnce).await });
        false
    }

    /// Whether the plant's broker gives what was asked for.
    fn confirmed(&mut self, codes: &[SubscribeReasonCode]) -> bool {
        self.unanswered = None;
        self.subscribed = codes.iter().all(|code| *code != SubscribeReasonCode::Failure);
        if !self.subscribed {
            error!(url = %self.ingest.url, filter = self.ingest.filter, "the plant's broker refuses the subscription");
        }
        self.subscribed
    }

    /// Offers what came to the intake, until that is busy or has no room.
    fn take(&mut self) {
        let mut verdicts = Vec::with_capacity(1);
        while let Some((_, p)) = self.backlog.front() {
            if self.intake.is_refusing() {
                return;
            }
            let publish = Publish {
                topic: &p.topic,
                payload: &p.payload,
                qos: p.qos as u8,
                retain: p.retain,
                dup: p.dup || p.retain || self.doubt > 0,
                packet_id: p.pkid,
                will: false,
            };
            verdicts.clear();
            self.intake.publish(&self.us, &[publish], &mut verdicts);
            let (ticket, route) = match verdicts.first() {
                Some(Verdict::After { ticket, route }) => (*ticket, *route),
                // No source's: an ordinary message here as there.
                Some(Verdict::Route) => (0, true),
                Some(Verdict::Accept) => (0, false),
                Some(Verdict::Refuse(Refusal::Busy | Refusal::Unavailable)) | None => return,
                Some(Verdict::Refuse(_)) if self.intake.is_refusing() => return,
                // A limit that will not go away by waiting; counted by the intake.
                Some(Verdict::Refuse(refusal) | Verdict::Decline(refusal)) => {
                    warn!(topic = p.topic, ?refusal, "a message of the plant's broker is refused");
                    (0, false)
                }
            };
            self.doubt = self.doubt.saturating_sub(1);
            if let Some((connection, publish)) = self.backlog.pop_front() {
                self.waiting.push_back(Waiting { ticket, publish, route, connection });
            }
        }
    }

    /// Routes and acknowledges, in the order they came, what has become durable.
    fn release(&mut self) {
        let durable = self.horizon.borrow_and_update().durable;
        self.stalled = false;
        while let Some(w) = self.waiting.front_mut() {
            if w.ticket > durable {
                return;
            }
            if std::mem::take(&mut w.route) {
                let p = &w.publish;
                self.broker.publish(&p.topic, p.payload.clone(), p.qos as u8, p.retain);
            }
            let is_awaited = w.publish.qos != QoS::AtMostOnce && w.connection == self.connection;
            if is_awaited && self.client.try_ack(&w.publish).is_err() {
                self.stalled = true;
                return;
            }
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crossing::rules::Rules;
    use crate::desk::Desk;
    use settings::BrokerUrl;

    #[test]
    fn what_came_on_a_connection_before_is_not_acknowledged_on_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal::open(dir.path(), journal::Options { retain: Duration::MAX, limit_bytes: 1 << 30 }).unwrap();
        let journal = journal.start(Box::new(drop)).unwrap();
        let sources = telemetry::source::Sources::new("plant-a", vec![telemetry::source::Source::default()]).unwrap();
        let (sender, horizon) = watch::channel(Horizon { durable: u64::MAX, failed: false });
        let (desk, rules) = (Arc::new(Desk::new("plant-a")), Arc::new(Rules::new("plant-a", &[])));
        let settings = detect::Settings::default();
        let intake = Arc::new(Intake::new(journal, &Fold::default(), sources, true, settings, rules, 10, horizon, desk));
        let config = broker::Config { max_packet: 1 << 16, connections_max: 1 };
        let broker = Broker::new(config, intake.clone(), Vec::new());
        let options = MqttOptions::new("us", "127.0.0.1", 1);
        // Room for one acknowledgement, so that it is seen whether one is on its way.
        let (client, _mqtt) = AsyncClient::new(options, 1);
        let ingest = Ingest { url: BrokerUrl { host: "127.0.0.1".into(), port: 1 }, filter: "#".into() };
        let mut plant = Plant::new(ingest, intake, broker, client, ("us".into(), 0), false);
        let publish = || {
            let mut publish = rumqttc::Publish::new("sensors/a", QoS::AtLeastOnce, "1.5");
            publish.pkid = 7;
            publish
        };
        let is_free = |plant: &Plant| plant.client.try_publish("probe", QoS::AtMostOnce, false, "").is_ok();
        // Not taken by the log when the connection went.
        plant.backlog.push_back((plant.connection, publish()));
        plant.disconnected();
        plant.take();
        plant.release();
        assert!(plant.backlog.is_empty() && plant.waiting.is_empty());
        assert!(is_free(&plant), "nothing is acknowledged: there 7 may be another message");
        drop(sender);
    }
}
