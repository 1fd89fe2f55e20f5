//! Readings from the plant's existing broker, acknowledged there only after our commit.
//!
//! One task for each `[[ingest]]`: it takes what comes as it comes, keeps what waits for its
//! commit in order, and acknowledges from the front. That broker keeps our session, so what is
//! not acknowledged comes again after a crash of ours or a cut of the link. Not every broker marks
//! what it sends again, and every one sends what it retains to a new subscription: for a while
//! after a reconnect, and for retained messages, a timed reading that is known already is
//! therefore taken as a redelivery without the mark. One without a time counts again. So nothing is
//! subscribed to that is subscribed to already, through crashes of ours, too: see [`session`].

mod session;

use crate::client;
use crate::config::Ingest;
use crate::intake::Intake;
use crate::limits::{
    BACKOFF_MS, CONNECT_WAIT, INGEST_DOUBT_MAX, INGEST_PACKET_BYTES_MAX, INGEST_REQUESTS_MAX, INGEST_RETRY, INGEST_WAITING_BYTES_MAX,
    INGEST_WAITING_MAX,
};
use broker::{Application, Broker, Client, Horizon, Publish, Refusal, SessionEvent, Ticket, Verdict, Version};
use parking_lot::Mutex;
use rumqttc::{AsyncClient, ConnectionError, Event, MqttOptions, Packet, QoS, SubscribeReasonCode};
use session::Mark;
pub use session::{client_ids, is_ours, sessions};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

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
    /// Payloads of both.
    bytes: usize,
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
    let id = session::client_id(&gateway, &ingest);
    let mut options = MqttOptions::new(id.clone(), ingest.url.host.clone(), ingest.url.port);
    options.set_clean_session(false).set_manual_acks(true).set_keep_alive(Duration::from_secs(10));
    options.set_max_packet_size(INGEST_PACKET_BYTES_MAX, INGEST_PACKET_BYTES_MAX);
    let (client, mut mqtt) = AsyncClient::new(options, INGEST_REQUESTS_MAX);
    client::prepare(&mut mqtt);
    let (session, subscribed) = known;
    let mut mark = Mark::of(intake.clone(), known, ingest.filter.clone());
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
                let has_room = plant.has_room();
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
            Ok(Event::Incoming(Packet::Publish(publish))) => plant.came(publish),
            Ok(_) => {}
            Err(error) => {
                warn!(%error, url = %plant.ingest.url, "the plant's broker is not reached");
                // What came in the same breath as the end is of that connection, not of the next.
                for event in mqtt.state.events.drain(..) {
                    if let Event::Incoming(Packet::Publish(publish)) = event {
                        plant.came(publish);
                    }
                }
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
            bytes: 0,
            doubt: 0,
            subscribed,
            unanswered: None,
            stalled: false,
        }
    }

    /// A message of the present connection.
    fn came(&mut self, publish: rumqttc::Publish) {
        self.bytes += publish.payload.len();
        self.backlog.push_back((self.connection, publish));
    }

    /// Whether the socket is read on.
    fn has_room(&self) -> bool {
        self.backlog.len() + self.waiting.len() < INGEST_WAITING_MAX && self.bytes < INGEST_WAITING_BYTES_MAX
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
            let bytes = &mut self.bytes;
            self.backlog.retain(|(_, p)| {
                let stays = p.qos == QoS::AtMostOnce;
                *bytes -= if stays { 0 } else { p.payload.len() };
                stays
            });
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
            self.bytes -= w.publish.payload.len();
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crossing::rules::Rules;
    use crate::desk::Desk;
    use replica::fold::Fold;
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
        let config = broker::Config { max_packet: 1 << 16, connections_max: 1, queue_max: 10 };
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
        plant.came(publish());
        plant.disconnected();
        plant.take();
        plant.release();
        assert!(plant.backlog.is_empty() && plant.waiting.is_empty());
        assert!(is_free(&plant), "nothing is acknowledged: there 7 may be another message");
        // Long ones are bounded by their bytes, and what is taken or comes again makes room.
        let mut long = publish();
        long.payload = vec![b'x'; INGEST_WAITING_BYTES_MAX / 2].into();
        plant.came(long.clone());
        assert!(plant.has_room());
        plant.came(long);
        assert!(!plant.has_room());
        plant.subscribed = true;
        plant.connected(true);
        assert!(plant.has_room() && plant.bytes == 0);
        drop(sender);
    }
}
