//! Messages for an existing broker. Each is kept until its PUBACK, over all reconnects, and up to which record all was
//! taken is known: the cursor follows that. And what comes from there, until it is acknowledged.

use crate::limits::{CROSS_PAYLOAD_BYTES_MAX, OUTBOX_ANSWER_WAIT, OUTBOX_INFLIGHT_MAX, OUTBOX_URGENT_MAX};
use broker::topic::cover;
use parking_lot::Mutex;
use replica::crossing::echo::{Echoes, fingerprint};
use rumqttc::{AsyncClient, EventLoop, QoS};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use telemetry::source::matches;
use tokio::sync::Notify;
use tracing::warn;

/// What a message takes beside topic and payload, about.
const BESIDE_BYTES: usize = 128;

struct Message {
    lsn: u64,
    topic: String,
    payload: Vec<u8>,
    retain: bool,
    /// What it is known by when it comes back, if it does.
    echo: Option<u64>,
    /// Its packet id, once it went out on the present connection.
    packet: Option<u16>,
    acked: bool,
}

/// Messages that go in order; kept until acknowledged.
#[derive(Default)]
struct Line {
    /// The first has the number `first`.
    messages: VecDeque<Message>,
    first: u64,
    /// The first that the client has not got on this connection.
    next: u64,
}

impl Line {
    /// Lets go what was acknowledged, from the first on.
    fn trim(&mut self) {
        while self.messages.front().is_some_and(|m| m.acked) {
            self.messages.pop_front();
            self.first += 1;
        }
    }

    /// Everything that is not acknowledged goes again.
    fn rewind(&mut self, echoes: &mut Echoes) {
        self.in_doubt().filter_map(|m| m.echo).for_each(|own| echoes.forget(own));
        self.next = self.first;
        self.messages.iter_mut().for_each(|m| m.packet = None);
    }

    /// Messages that the client has, and the broker perhaps.
    fn in_doubt(&mut self) -> impl Iterator<Item = &mut Message> {
        let handed = (self.next - self.first) as usize;
        self.messages.iter_mut().take(handed).filter(|m| !m.acked)
    }

    /// A message that is on its way under a packet id.
    fn on_its_way(&mut self, packet: u16) -> Option<&mut Message> {
        self.in_doubt().find(|m| m.packet == Some(packet))
    }

    /// Before which record all was taken.
    fn before(&self) -> u64 {
        self.messages.front().map_or(u64::MAX, |m| m.lsn.saturating_sub(1))
    }
}

/// What follows an `Outgoing::Publish`: the requests in the order in which the client got them.
enum Handed {
    Ordered(u64),
    Urgent(u64),
    Answer,
}

#[derive(Default)]
struct State {
    connected: bool,
    /// The broker lets us hear gateways on this connection.
    listening: bool,
    /// When the last acknowledgement came, or what it is for began to go.
    heard: Option<Instant>,
    ordered: Line,
    /// What overtakes.
    urgent: Line,
    unacked: usize,
    handed: VecDeque<Handed>,
    settled: u64,
    /// Of the present connection.
    generation: u64,
    /// The last of which a message could not be taken: none behind it is, and all come again with the next.
    ended: Option<u64>,
    /// What messages without an acknowledgement take.
    bytes: usize,
    /// What gateways want of the ordinary messages there.
    wanted: BTreeSet<String>,
    /// Of what we published and will see again by our own subscription.
    echoes: Echoes,
    /// Messages that are too large for gateways.
    refused: u64,
}

/// Messages for an existing broker.
pub struct Outbox {
    client: AsyncClient,
    state: Mutex<State>,
    /// A connection is given up.
    ended: Notify,
}

impl Outbox {
    /// An outbox on a client that is not connected yet.
    pub fn new(client: AsyncClient) -> Self {
        Self { client, state: Mutex::new(State::default()), ended: Notify::new() }
    }

    pub(super) fn publish(&self, lsn: u64, topic: String, payload: Vec<u8>, retain: bool) {
        self.put(|state| &mut state.ordered, Message { lsn, topic, payload, retain, echo: None, packet: None, acked: false });
    }

    pub(super) fn publish_urgent(&self, lsn: u64, topic: String, payload: Vec<u8>) {
        self.put(|state| &mut state.urgent, Message { lsn, topic, payload, retain: false, echo: None, packet: None, acked: false });
    }

    /// An ordinary message, which comes back if it is among what gateways want.
    pub(super) fn forward(&self, lsn: u64, topic: String, payload: Vec<u8>, retain: bool) {
        let comes_back = self.state.lock().wanted.iter().any(|filter| matches(filter, &topic));
        let echo = comes_back.then(|| fingerprint(&topic, &payload));
        self.put(|state| &mut state.ordered, Message { lsn, topic, payload, retain, echo, packet: None, acked: false });
    }

    fn put(&self, line: impl Fn(&mut State) -> &mut Line, message: Message) {
        let mut state = self.state.lock();
        state.bytes += BESIDE_BYTES + message.topic.len() + message.payload.len();
        line(&mut state).messages.push_back(message);
        self.pump(&mut state);
    }

    pub(super) fn answer(&self, topic: String, payload: Vec<u8>) {
        let mut state = self.state.lock();
        if state.connected && self.client.try_publish(topic, QoS::AtMostOnce, false, payload).is_ok() {
            state.handed.push_back(Handed::Answer);
        }
    }

    /// Hands on as many as may be on their way, urgent ones first.
    fn pump(&self, state: &mut State) {
        let State { ordered, urgent, unacked, handed, heard, echoes, .. } = state;
        /// Messages, what the client's request for one is noted as, and how many may be on their way.
        type Turn<'a> = (&'a mut Line, fn(u64) -> Handed, usize);
        let lines: [Turn<'_>; 2] =
            [(urgent, Handed::Urgent, OUTBOX_INFLIGHT_MAX + OUTBOX_URGENT_MAX), (ordered, Handed::Ordered, OUTBOX_INFLIGHT_MAX)];
        for (line, of, most) in lines {
            while state.connected && *unacked < most {
                let Some(m) = line.messages.get((line.next - line.first) as usize) else { break };
                if !m.acked {
                    if self.client.try_publish(m.topic.as_str(), QoS::AtLeastOnce, m.retain, m.payload.clone()).is_err() {
                        return;
                    }
                    handed.push_back(of(line.next));
                    m.echo.into_iter().for_each(|own| echoes.expect(own));
                    if *unacked == 0 {
                        *heard = Some(Instant::now());
                    }
                    *unacked += 1;
                }
                line.next += 1;
            }
        }
    }

    pub(super) fn settle(&self, lsn: u64) -> u64 {
        let mut state = self.state.lock();
        state.settled = state.settled.max(lsn);
        // Of the urgent ones each has its own record, in no order.
        let urgent = state.urgent.messages.iter().filter(|m| !m.acked).map(|m| m.lsn.saturating_sub(1)).min();
        state.settled.min(state.ordered.before()).min(urgent.unwrap_or(u64::MAX))
    }

    /// Messages without an acknowledgement.
    pub fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.ordered.messages.len() + state.urgent.messages.len()
    }

    /// What they take.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Messages that are too large for gateways.
    pub(super) fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    /// Urgent messages of a record count for another from here on.
    pub(super) fn hold_urgent(&self, hold: impl Fn(&mut u64)) {
        self.state.lock().urgent.messages.iter_mut().for_each(|m| hold(&mut m.lsn));
    }

    /// The broker is there, by a new connection; whether it has our session still.
    pub fn connected(&self, resumed: bool) {
        let mut state = self.state.lock();
        if !resumed {
            state.echoes.clear();
        }
        state.connected = true;
        state.generation += 1;
        cover(state.wanted.iter().map(String::as_str)).for_each(|filter| self.subscribe(filter));
        self.pump(&mut state);
    }

    /// The broker has granted what this end needs.
    pub fn listens(&self) {
        self.state.lock().listening = true;
    }

    /// How much longer the next acknowledgement is waited for; none while there is none to come.
    pub fn patience(&self) -> Option<Duration> {
        let state = self.state.lock();
        let heard = state.heard.filter(|_| state.connected && state.unacked > 0)?;
        Some(OUTBOX_ANSWER_WAIT.saturating_sub(heard.elapsed()))
    }

    pub(super) fn is_answering(&self) -> bool {
        let is_late = self.patience().is_some_and(|left| left < OUTBOX_ANSWER_WAIT / 2);
        let state = self.state.lock();
        state.connected && state.listening && !is_late
    }

    fn subscribe(&self, filter: &str) {
        if self.client.try_subscribe(filter, QoS::AtLeastOnce).is_err() {
            warn!(filter, "not subscribed at the existing broker: the queue to it is full");
        }
    }

    pub(super) fn want(&self, filters: BTreeSet<String>) {
        let mut state = self.state.lock();
        if state.connected {
            let cover =
                |filters: &'_ BTreeSet<String>| cover(filters.iter().map(String::as_str)).map(str::to_owned).collect::<BTreeSet<_>>();
            let (old, new) = (cover(&state.wanted), cover(&filters));
            new.difference(&old).for_each(|filter| self.subscribe(filter));
            for gone in old.difference(&new) {
                // What still comes is wanted by nobody, and passed over.
                drop(self.client.try_unsubscribe(gone.as_str()));
            }
        }
        state.wanted = filters;
    }

    /// Whether a gateway wants a message of the broker and can have it, and it is not our own.
    pub fn came(&self, publish: &rumqttc::Publish) -> bool {
        let mut state = self.state.lock();
        if state.echoes.take(&publish.topic, &publish.payload) || !state.wanted.iter().any(|filter| matches(filter, &publish.topic)) {
            return false;
        }
        if publish.payload.len() > CROSS_PAYLOAD_BYTES_MAX {
            // With what surrounds it, no packet to a gateway would have room: all behind it would wait for ever.
            warn!(topic = publish.topic, bytes = publish.payload.len(), "too large for the way to a gateway; refused");
            state.refused += 1;
            return false;
        }
        true
    }

    /// Number of the present connection.
    pub fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Whether what came by that connection is still to be taken: after one that could not be, none is. What came
    /// by one that broke is, as a broker may not have it any more.
    pub(super) fn is_open(&self, generation: u64) -> bool {
        self.state.lock().ended != Some(generation)
    }

    /// A message that came by that connection cannot be taken.
    pub(super) fn give_up(&self, generation: u64) {
        self.state.lock().ended = Some(generation);
        self.ended.notify_one();
    }

    /// Waits until the present connection is given up.
    pub async fn given_up(&self) {
        while !self.is_given_up() {
            self.ended.notified().await;
        }
    }

    fn is_given_up(&self) -> bool {
        let state = self.state.lock();
        state.connected && state.ended == Some(state.generation)
    }

    /// Acknowledges what came, unless the connection that it came by is gone.
    pub fn acknowledge(&self, generation: u64, publish: &rumqttc::Publish) {
        let state = self.state.lock();
        if state.connected && state.generation == generation && self.client.try_ack(publish).is_err() {
            warn!("the queue to the existing broker is full; a message comes again");
        }
    }

    /// The connection is gone: everything that is not acknowledged goes again, and nothing else.
    pub fn disconnected(&self, mqtt: &mut EventLoop) {
        let mut state = self.state.lock();
        (state.connected, state.listening) = (false, false);
        // Under the lock, so that nothing comes behind it into the client's queue.
        mqtt.clean();
        mqtt.pending.clear();
        // Which `clean` leaves: what collided with an identifier in use, which would hold all requests for
        // ever, and what the old connection told, whose identifiers say nothing on the next.
        mqtt.state.collision = None;
        mqtt.state.events.clear();
        state.handed.clear();
        state.unacked = 0;
        let State { ordered, urgent, echoes, .. } = &mut *state;
        ordered.rewind(echoes);
        urgent.rewind(echoes);
    }

    /// The client sent the oldest of what it was handed, under a packet id.
    pub fn sent(&self, packet: u16) {
        let mut state = self.state.lock();
        let (line, number) = match state.handed.pop_front() {
            Some(Handed::Ordered(number)) => (&mut state.ordered, number),
            Some(Handed::Urgent(number)) => (&mut state.urgent, number),
            Some(Handed::Answer) | None => return,
        };
        if let Some(m) = line.messages.get_mut(number.wrapping_sub(line.first) as usize) {
            m.packet = Some(packet);
        }
    }

    /// The broker has a message.
    pub fn acked(&self, packet: u16) {
        let mut state = self.state.lock();
        let State { ordered, urgent, unacked, heard, bytes, .. } = &mut *state;
        if let Some(m) = ordered.on_its_way(packet).or_else(|| urgent.on_its_way(packet)) {
            m.acked = true;
            m.packet = None;
            *bytes -= BESIDE_BYTES + m.topic.len() + m.payload.len();
            m.payload = Vec::new();
            *unacked = unacked.saturating_sub(1);
            *heard = Some(Instant::now());
        }
        ordered.trim();
        urgent.trim();
        self.pump(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::OUTBOX_BYTES_MAX;
    use crate::outbound::Outbound;
    use rumqttc::MqttOptions;
    use std::sync::Arc;

    #[test]
    fn the_cursor_follows_acknowledgements_over_a_reconnect() {
        let (client, mut mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 1_000);
        let outbox = Arc::new(Outbox::new(client));
        let out = Outbound::Existing(outbox.clone());
        for lsn in [5, 5, 6] {
            out.publish(lsn, format!("t/{lsn}"), "p".into(), false);
        }
        assert_eq!((out.settle(6), out.is_connected()), (4, false));
        outbox.connected(true);
        out.answer("a".into(), vec![1]);
        // The client's packets: 1, 2, 3 and an answer without an id.
        [1, 2, 3, 0].into_iter().for_each(|id| outbox.sent(id));
        outbox.acked(2);
        assert_eq!(out.settle(6), 4, "the first of record 5 is still on its way");
        outbox.acked(1);
        assert_eq!(out.settle(6), 5);
        outbox.disconnected(&mut mqtt);
        outbox.acked(3);
        assert_eq!((out.settle(6), outbox.waiting()), (5, 1), "an old id says nothing on a new connection");
        outbox.connected(true);
        outbox.sent(1);
        outbox.acked(1);
        assert_eq!((out.settle(6), out.settle(9), outbox.waiting()), (6, 9, 0));
    }

    /// One acknowledgement that never came, and an identifier used again, are over with their connection.
    #[test]
    fn a_new_connection_knows_nothing_of_the_old_one() {
        let (client, mut mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 1_000);
        let outbox = Outbox::new(client);
        outbox.publish(5, "t".into(), vec![], false);
        outbox.connected(true);
        outbox.listens();
        assert!(outbox.is_answering() && outbox.patience().is_some());
        mqtt.state.collision = Some(rumqttc::Publish::new("t", QoS::AtLeastOnce, ""));
        mqtt.state.events.push_back(rumqttc::Event::Outgoing(rumqttc::Outgoing::Publish(1)));
        outbox.disconnected(&mut mqtt);
        assert!(mqtt.state.collision.is_none() && mqtt.state.events.is_empty());
        outbox.connected(true);
        assert!(!outbox.is_answering(), "not before it lets us hear gateways");
        outbox.listens();
        outbox.sent(1);
        outbox.acked(1);
        assert_eq!((outbox.waiting(), outbox.patience(), outbox.is_answering()), (0, None, true), "what collided was sent again");
        // Half of the patience without an acknowledgement, and the broker counts as gone.
        outbox.publish(6, "t".into(), vec![], false);
        outbox.state.lock().heard = Instant::now().checked_sub(OUTBOX_ANSWER_WAIT * 2 / 3);
        assert!(!outbox.is_answering());
    }

    /// Ours comes back once, however often it goes; what it was to come back by may be lost, and then another's that
    /// says the same is another's.
    #[test]
    fn an_echo_is_awaited_of_what_is_there_and_not_beyond_its_session() {
        let (client, mut mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 1_000);
        let outbox = Outbox::new(client);
        outbox.want(BTreeSet::from(["sw/#".to_owned()]));
        let came = || outbox.came(&rumqttc::Publish::new("sw/lamp", QoS::AtLeastOnce, "ON"));
        outbox.forward(5, "sw/lamp".into(), "ON".into(), false);
        assert!(came(), "before it goes, it is another's");
        outbox.connected(true);
        outbox.sent(1);
        assert!(!came() && came());
        // It came back, its acknowledgement did not: it goes and comes once more.
        outbox.disconnected(&mut mqtt);
        outbox.connected(true);
        outbox.sent(1);
        outbox.acked(1);
        assert!(!came() && came());
        for resumed in [true, false] {
            outbox.forward(6, "sw/lamp".into(), "ON".into(), false);
            outbox.sent(1);
            outbox.acked(1);
            outbox.disconnected(&mut mqtt);
            outbox.connected(resumed);
            assert_eq!(came(), !resumed);
        }
    }

    /// The door of our own broker refuses the same.
    #[test]
    fn what_no_gateway_could_take_is_refused_and_counted() {
        let (client, _mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 1_000);
        let out = Outbound::Existing(Arc::new(Outbox::new(client)));
        out.want(BTreeSet::from(["ev/#".to_owned()]));
        let Outbound::Existing(outbox) = &out else { return };
        let came = |topic: &str, bytes: usize| outbox.came(&rumqttc::Publish::new(topic, QoS::AtLeastOnce, vec![7; bytes]));
        assert_eq!((came("ev/x", CROSS_PAYLOAD_BYTES_MAX), out.refused()), (true, 0));
        assert_eq!((came("ev/x", CROSS_PAYLOAD_BYTES_MAX + 1), came("other", CROSS_PAYLOAD_BYTES_MAX + 1)), (false, false));
        assert_eq!(out.refused(), 1);
    }

    /// Ordinary messages may be long: a few thousand of them would be gigabytes.
    #[test]
    fn a_broker_that_takes_nothing_is_behind_by_bytes_too() {
        let (client, _mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 1_000);
        let outbox = Arc::new(Outbox::new(client));
        let out = Outbound::Existing(outbox.clone());
        outbox.connected(true);
        for lsn in 1..=4 {
            assert!(!out.is_behind());
            outbox.publish(lsn, "t".into(), vec![7; OUTBOX_BYTES_MAX / 4], false);
        }
        assert!(out.is_behind());
        outbox.sent(1);
        outbox.sent(2);
        outbox.acked(2);
        assert!(!out.is_behind(), "also before those ahead of it");
        outbox.acked(1);
        [3, 4].into_iter().for_each(|id| outbox.sent(id));
        [3, 4].into_iter().for_each(|id| outbox.acked(id));
        assert_eq!((outbox.waiting(), outbox.waiting_bytes()), (0, 0));
    }

    /// What comes again comes by another connection, which is not given up for it.
    #[tokio::test]
    async fn a_connection_whose_message_was_not_taken_ends_and_the_next_does_not() {
        let (client, mut mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 1_000);
        let outbox = Outbox::new(client);
        let is_given_up = async || tokio::time::timeout(Duration::from_millis(20), outbox.given_up()).await.is_ok();
        outbox.connected(true);
        assert!(outbox.is_open(1) && !is_given_up().await);
        outbox.give_up(1);
        assert!(!outbox.is_open(1) && is_given_up().await);
        outbox.disconnected(&mut mqtt);
        assert!(!is_given_up().await);
        outbox.connected(true);
        assert!(outbox.is_open(2) && !is_given_up().await);
        outbox.give_up(1);
        assert!(!is_given_up().await, "known of an old one too late");
    }

    #[test]
    fn no_more_are_on_their_way_than_a_broker_grants() {
        let (client, _mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 1_000);
        let outbox = Outbox::new(client);
        outbox.connected(true);
        for i in 0..250u64 {
            outbox.publish(i + 1, "t".into(), vec![], false);
        }
        let unacked = || outbox.state.lock().unacked;
        assert_eq!(unacked(), OUTBOX_INFLIGHT_MAX);
        for round in 0..3u64 {
            for i in 0..OUTBOX_INFLIGHT_MAX as u16 {
                outbox.sent(i + 1);
            }
            for i in 0..OUTBOX_INFLIGHT_MAX as u16 {
                outbox.acked(i + 1);
            }
            assert_eq!(outbox.settle(250), (100 * (round + 1)).min(250));
        }
    }
}
