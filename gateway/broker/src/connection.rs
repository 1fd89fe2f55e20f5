//! The one loop per client: read, hand over, and acknowledge what is durable, in order.

use crate::application::{Client, Horizon, OpenSession, Publish, Refusal, SessionEvent, Ticket, Verdict, Version};
use crate::codec::read::{self, Connect, Packet, PublishIn, Will};
use crate::codec::{Violation, protocol, write};
use crate::limits::{BATCH_MAX, CONNECT_WAIT, INFLIGHT_MAX, READ_BYTES, RECEIVE_MAX, SESSIONS_MAX, SUBSCRIPTIONS_MAX};
use crate::router::{Delivery, Message};
use crate::server::{Inner, Slot, deadline};
use crate::session::Session;
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// An answer that waits for its ticket, and for those before it.
struct Pending {
    ticket: Ticket,
    /// Bytes to be written then.
    answer: Answer,
    /// Message to be routed then.
    message: Option<Message>,
}

enum Answer {
    None,
    Ack { head: u8, packet_id: u16, code: u8 },
    Bytes(Vec<u8>),
}

/// Why the loop ended.
enum End {
    /// The client said so; its will is dropped unless it asked for it.
    Disconnect { will: bool, expiry_s: Option<u32> },
    /// The socket failed, or closed.
    Lost,
    /// We close it, with this reason.
    Close(u8),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        tracing::debug!(%violation, "a client is disconnected");
        End::Close(violation.code)
    }
}

struct Connection {
    inner: Arc<Inner>,
    client: Client,
    session: Arc<Mutex<Session>>,
    input: BytesMut,
    output: Vec<u8>,
    pending: VecDeque<Pending>,
    /// QoS > 0 PUBLISHes whose acknowledgement is not written yet.
    unacked: usize,
    horizon: watch::Receiver<Horizon>,
    inflight: HashSet<u16>,
    next_id: u16,
    inflight_max: usize,
    packet_max: u32,
    keep_alive: Option<Duration>,
    /// Since when the application is too busy to take what was read.
    blocked: Option<Instant>,
}

/// Serves one client from CONNECT to its end.
pub(crate) async fn serve(mut stream: TcpStream, inner: Arc<Inner>) {
    // Acknowledgements are written in one piece; there is nothing to wait for.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut input = BytesMut::with_capacity(READ_BYTES);
    let first = tokio::time::timeout(CONNECT_WAIT, read_connect(&mut stream, &mut input, inner.config.max_packet)).await;
    let connect = match first {
        Ok(Ok(Some(connect))) => connect,
        Ok(Err(violation)) => {
            let mut out = Vec::new();
            let version = if input.len() > 8 && input.get(8) == Some(&4) { Version::V3 } else { Version::V5 };
            write::connack(&mut out, version, false, violation.code, 0, None);
            drop(stream.write_all(&out).await);
            return;
        }
        _ => return,
    };
    let version = connect.version;
    let assigned = connect.client_id.is_empty().then(|| {
        let n = inner.next_connection.fetch_add(1, Ordering::Relaxed);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        format!("auto-{since:x}-{n}")
    });
    let refuse = |code: u8| {
        let mut out = Vec::new();
        write::connack(&mut out, version, false, code, 0, None);
        out
    };
    if assigned.is_some() && version == Version::V3 && !connect.clean {
        drop(stream.write_all(&refuse(0x85)).await);
        return;
    }
    let client_id = assigned.clone().unwrap_or_else(|| connect.client_id.clone());
    let id = inner.next_connection.fetch_add(1, Ordering::Relaxed);
    let taken_over = Arc::new(Notify::new());
    let attached = match attach(&inner, &connect, &client_id, id, &taken_over) {
        Ok(attached) => attached,
        Err(refusal) => {
            drop(stream.write_all(&refuse(refusal.code())).await);
            return;
        }
    };
    let number = attached.session.lock().number;
    let client = Client { client_id, session: number, version, connection: id, memory: Mutex::new(None) };
    let deliveries = inner.router.connect(id);
    for (filter, (options, identifier)) in &attached.session.lock().subscriptions {
        inner.router.subscribe(id, filter, *options, *identifier);
    }
    let mut connack = Vec::new();
    write::connack(&mut connack, version, attached.present, 0, inner.config.max_packet, assigned.as_deref());
    let mut connection = Connection {
        horizon: inner.application.horizon(),
        client,
        session: attached.session,
        input,
        output: Vec::new(),
        pending: VecDeque::from([Pending { ticket: attached.ticket, answer: Answer::Bytes(connack), message: None }]),
        unacked: 0,
        inflight: HashSet::new(),
        next_id: 0,
        inflight_max: usize::from(connect.receive_max.min(INFLIGHT_MAX)),
        packet_max: connect.packet_max,
        keep_alive: (connect.keep_alive_s > 0).then(|| Duration::from_millis(u64::from(connect.keep_alive_s) * 1_500)),
        blocked: None,
        inner: inner.clone(),
    };
    let end = connection.run(&mut stream, deliveries, &taken_over).await;
    connection.finish(&mut stream, end, connect.will).await;
}

async fn read_connect(stream: &mut TcpStream, input: &mut BytesMut, max: usize) -> Result<Option<Connect>, Violation> {
    loop {
        if let Some((head, body)) = read::frame(input, max)? {
            if head != 0x10 {
                return Err(protocol("the first packet is not CONNECT"));
            }
            let connect = read::connect(&input[body.clone()])?;
            input.advance(body.end);
            return Ok(Some(connect));
        }
        if input.first().is_some_and(|b| *b != 0x10) {
            return Err(protocol("the first packet is not CONNECT"));
        }
        match stream.read_buf(input).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

struct Attached {
    session: Arc<Mutex<Session>>,
    present: bool,
    ticket: Ticket,
}

/// Finds or makes the client's session, taking it over from an older connection.
fn attach(inner: &Inner, connect: &Connect, client_id: &str, id: u64, taken_over: &Arc<Notify>) -> Result<Attached, Refusal> {
    let mut sessions = inner.sessions.lock();
    let owner = Some((id, taken_over.clone()));
    if let Some(slot) = sessions.get_mut(client_id) {
        if let Some((_, older)) = slot.owner.take() {
            older.notify_one();
        }
        let number = slot.session.lock().number;
        if !connect.clean && number != 0 {
            let ticket = inner.log(number, SessionEvent::Resumed { expiry_s: connect.expiry_s })?;
            let mut session = slot.session.lock();
            (session.expiry_s, session.deadline) = (connect.expiry_s, None);
            drop(session);
            slot.owner = owner;
            return Ok(Attached { session: slot.session.clone(), present: true, ticket });
        }
        inner.log(number, SessionEvent::Ended)?;
        sessions.remove(client_id);
    }
    if sessions.len() >= SESSIONS_MAX {
        return Err(Refusal::QuotaExceeded);
    }
    let mut session = Session { expiry_s: connect.expiry_s, ..Session::default() };
    let mut ticket = 0;
    if connect.expiry_s > 0 {
        let opened = inner.application.open_session(&OpenSession { client_id, expiry_s: connect.expiry_s, version: connect.version })?;
        (session.number, ticket) = (opened.number, opened.ticket);
    }
    let session = Arc::new(Mutex::new(session));
    sessions.insert(client_id.to_owned(), Slot { session: session.clone(), owner });
    Ok(Attached { session, present: false, ticket })
}

impl Connection {
    async fn run(&mut self, stream: &mut TcpStream, mut deliveries: mpsc::Receiver<Delivery>, taken_over: &Notify) -> End {
        let mut stop = self.inner.stop.subscribe();
        let mut heard = Instant::now();
        loop {
            if let Err(end) = self.work() {
                drop(self.flush(stream).await);
                return end;
            }
            if self.horizon.borrow().failed {
                return End::Lost;
            }
            tokio::select! {
                flushed = self.flush(stream) => if flushed.is_err() { return End::Lost },
                () = taken_over.notified() => return End::Close(0x8e),
            }
            let stopping = *stop.borrow();
            if stopping && (self.pending.is_empty() || self.horizon.borrow().failed) {
                return End::Close(0x8b);
            }
            let full = self.pending.len() >= usize::from(RECEIVE_MAX) * 2
                || (self.client.version == Version::V3 && self.unacked >= usize::from(RECEIVE_MAX) * 2);
            let reading = self.blocked.is_none() && !stopping && !full;
            // While we do not read, the client cannot be heard, and its time stands still.
            if !reading {
                heard = Instant::now();
            }
            let silent = self.keep_alive.map_or_else(|| heard + Duration::from_secs(86_400 * 365), |k| heard + k);
            let patience = self.keep_alive.map_or(Duration::from_secs(30), |k| k / 3);
            if self.blocked.is_some_and(|since| since.elapsed() > patience) {
                return End::Close(0x97);
            }
            self.input.reserve(READ_BYTES);
            tokio::select! {
                biased;
                () = taken_over.notified() => return End::Close(0x8e),
                changed = self.horizon.changed(), if !self.pending.is_empty() || self.blocked.is_some() => {
                    if changed.is_err() {
                        return End::Lost;
                    }
                    self.blocked = None;
                }
                read = stream.read_buf(&mut self.input), if reading => match read {
                    Ok(0) | Err(_) => return End::Lost,
                    Ok(_) => heard = Instant::now(),
                },
                delivery = deliveries.recv(), if self.inflight.len() < self.inflight_max => match delivery {
                    Some(delivery) => {
                        self.deliver(&delivery);
                        // What else waits goes with the same write.
                        while self.inflight.len() < self.inflight_max && self.output.len() < READ_BYTES {
                            match deliveries.try_recv() {
                                Ok(delivery) => self.deliver(&delivery),
                                Err(_) => break,
                            }
                        }
                    }
                    None => return End::Lost,
                },
                _ = stop.changed(), if !stopping => {}
                () = tokio::time::sleep_until(silent), if reading => return End::Close(0x8d),
                () = tokio::time::sleep(Duration::from_millis(100)), if self.blocked.is_some() => self.blocked = None,
            }
        }
    }

    async fn flush(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// Whatever can be done without waiting: packets that are there, answers that are due.
    fn work(&mut self) -> Result<(), End> {
        if self.blocked.is_none() {
            self.packets()?;
        }
        self.release();
        Ok(())
    }

    fn packets(&mut self) -> Result<(), End> {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        let mut batch: Vec<PublishIn> = Vec::new();
        let mut starts: Vec<usize> = Vec::new();
        let result = loop {
            let framed = match read::frame(&input[at..], self.inner.config.max_packet) {
                Ok(Some(framed)) => Some(framed),
                Ok(None) => None,
                Err(violation) => {
                    // What came before the violation counts.
                    let taken = self.offer(&input, &mut batch, &starts);
                    break taken.and(Err(violation.into()));
                }
            };
            let publish = framed.as_ref().is_some_and(|(head, _)| head >> 4 == 3);
            if (!publish || batch.len() >= BATCH_MAX) && !batch.is_empty() {
                match self.offer(&input, &mut batch, &starts) {
                    Ok(None) => starts.clear(),
                    Ok(Some(resume)) => {
                        at = resume;
                        break Ok(());
                    }
                    Err(end) => break Err(end),
                }
            }
            let Some((head, body)) = framed else { break Ok(()) };
            let body = at + body.start..at + body.end;
            match read::packet(self.client.version, head, &input[body.clone()]) {
                Ok(Packet::Publish(mut p)) => {
                    p.topic = p.topic.start + body.start..p.topic.end + body.start;
                    p.payload = p.payload.start + body.start..p.payload.end + body.start;
                    starts.push(at);
                    batch.push(p);
                }
                Ok(packet) => {
                    if let Err(end) = self.packet(packet) {
                        break Err(end);
                    }
                }
                Err(violation) => {
                    let taken = self.offer(&input, &mut batch, &starts);
                    break taken.and(Err(violation.into()));
                }
            }
            at = body.end;
        };
        self.input = input;
        self.input.advance(at);
        result
    }

    /// Hands a batch to the application. Gives where to resume when it was too busy for it.
    fn offer(&mut self, input: &[u8], batch: &mut Vec<PublishIn>, starts: &[usize]) -> Result<Option<usize>, End> {
        if batch.is_empty() {
            return Ok(None);
        }
        let mut offered = Vec::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        let mut again = Vec::new();
        for (i, p) in batch.iter().enumerate() {
            if !p.topic_ok {
                return Err(End::Close(0x90));
            }
            if p.qos == 2 && (self.session.lock().received.contains(&p.packet_id) || again.contains(&p.packet_id)) {
                continue;
            }
            if p.qos == 2 {
                again.push(p.packet_id);
            }
            let topic = std::str::from_utf8(&input[p.topic.clone()]).map_err(|_| End::Close(0x81))?;
            offered.push(Publish {
                topic,
                payload: &input[p.payload.clone()],
                qos: p.qos,
                retain: p.retain,
                dup: p.dup,
                packet_id: p.packet_id,
                will: false,
            });
            places.push(i);
        }
        let mut verdicts = Vec::with_capacity(offered.len());
        if !offered.is_empty() {
            self.inner.application.publish(&self.client, &offered, &mut verdicts);
        }
        let mut outcome = Ok(None);
        let mut next = 0;
        let mut taken = 0;
        for (i, p) in batch.iter().enumerate() {
            let verdict = if places.get(next) == Some(&i) {
                next += 1;
                Some(verdicts.get(next - 1).copied().unwrap_or(Verdict::Refuse(Refusal::Unavailable)))
            } else {
                None
            };
            if verdict == Some(Verdict::Refuse(Refusal::Busy)) {
                self.blocked = Some(self.blocked.unwrap_or_else(Instant::now));
                outcome = Ok(Some(starts[i]));
                break;
            }
            if let Err(end) = self.judged(input, p, verdict) {
                outcome = Err(end);
                break;
            }
            taken += 1;
        }
        self.inner.received.fetch_add(taken, Ordering::Relaxed);
        batch.clear();
        outcome
    }

    /// Queues a PUBLISH's answer; `None` is a QoS 2 message that was received before.
    fn judged(&mut self, input: &[u8], p: &PublishIn, verdict: Option<Verdict>) -> Result<(), End> {
        if p.qos > 0 {
            if self.client.version == Version::V5 && self.unacked >= usize::from(RECEIVE_MAX) {
                return Err(End::Close(0x93));
            }
            self.unacked += 1;
        }
        let (mut ticket, mut code, mut route) = (0, 0, false);
        match verdict {
            None | Some(Verdict::Accept) => {}
            Some(Verdict::Route) => {
                route = true;
                if p.qos == 2 {
                    let number = self.client.session;
                    let logged = self.inner.log(number, SessionEvent::Qos2Received { packet_id: p.packet_id });
                    ticket = logged.map_err(|refusal| End::Close(refusal.code()))?;
                }
            }
            Some(Verdict::After { ticket: t, route: r }) => (ticket, route) = (t, r),
            Some(Verdict::Refuse(refusal)) if p.qos == 0 => {
                tracing::debug!(?refusal, "a QoS 0 message is refused");
                return Ok(());
            }
            Some(Verdict::Refuse(refusal)) if self.client.version == Version::V3 => return Err(End::Close(refusal.code())),
            Some(Verdict::Refuse(refusal)) => code = refusal.code(),
        }
        if p.qos == 2 && code == 0 {
            self.session.lock().received.insert(p.packet_id);
        }
        let wanted = route && (p.retain || !self.inner.router.is_idle());
        let message = wanted.then(|| Message {
            topic: String::from_utf8_lossy(&input[p.topic.clone()]).into(),
            payload: Bytes::copy_from_slice(&input[p.payload.clone()]),
            qos: p.qos,
            retain: p.retain,
            properties: Bytes::copy_from_slice(&p.properties),
        });
        let answer = match p.qos {
            0 => Answer::None,
            qos => Answer::Ack { head: if qos == 1 { 0x40 } else { 0x50 }, packet_id: p.packet_id, code },
        };
        if p.qos > 0 || message.is_some() {
            self.pending.push_back(Pending { ticket, answer, message });
        }
        Ok(())
    }

    /// Writes and routes what has become durable, in the order of arrival.
    fn release(&mut self) {
        let horizon = *self.horizon.borrow_and_update();
        if horizon.failed {
            return;
        }
        while self.pending.front().is_some_and(|p| p.ticket <= horizon.durable) {
            let Some(p) = self.pending.pop_front() else { return };
            match p.answer {
                Answer::None => {}
                Answer::Ack { head, packet_id, code } => {
                    if head == 0x40 || head == 0x50 {
                        self.unacked -= 1;
                    }
                    write::ack(&mut self.output, self.client.version, head, packet_id, code);
                }
                Answer::Bytes(bytes) => self.output.extend_from_slice(&bytes),
            }
            if let Some(message) = p.message {
                self.inner.router.route(self.client.connection, message);
            }
        }
    }

    fn packet(&mut self, packet: Packet<'_>) -> Result<(), End> {
        let version = self.client.version;
        let closed = |refusal: Refusal| End::Close(refusal.code());
        match packet {
            Packet::Publish(_) => {}
            Packet::Puback(id) => {
                self.inflight.remove(&id);
            }
            // We send nothing at QoS 2, so these answer nothing of ours.
            Packet::Pubrec(id) => write::ack(&mut self.output, version, 0x62, id, 0x92),
            Packet::Pubcomp(_) => {}
            Packet::Pubrel(packet_id) => {
                let known = self.session.lock().received.remove(&packet_id);
                let ticket = match known {
                    true => self.inner.log(self.client.session, SessionEvent::Qos2Released { packet_id }).map_err(closed)?,
                    false => 0,
                };
                let code = if known { 0 } else { 0x92 };
                self.pending.push_back(Pending { ticket, answer: Answer::Ack { head: 0x70, packet_id, code }, message: None });
            }
            Packet::Subscribe { packet_id, identifier, filters } => {
                let mut ticket = 0;
                let mut codes = Vec::new();
                let mut retained = Vec::new();
                for (filter, options, valid) in filters {
                    if filter.starts_with("$share/") {
                        codes.push(if version == Version::V5 { 0x9e } else { 0x80 });
                        continue;
                    }
                    let room = self.session.lock().subscriptions.len() < SUBSCRIPTIONS_MAX;
                    if !valid || !room {
                        codes.push(match (version, valid) {
                            (Version::V3, _) => 0x80,
                            (Version::V5, false) => 0x8f,
                            (Version::V5, true) => 0x97,
                        });
                        continue;
                    }
                    let event = SessionEvent::Subscribed { filter, options, identifier };
                    ticket = self.inner.log(self.client.session, event).map_err(closed)?;
                    self.session.lock().subscriptions.insert(filter.to_owned(), (options, identifier));
                    let new = self.inner.router.subscribe(self.client.connection, filter, options, identifier);
                    let granted = (options & 3).min(1);
                    codes.push(granted);
                    let handling = options >> 4 & 3;
                    if handling == 0 || (handling == 1 && new) {
                        retained.extend(self.inner.router.retained(filter).into_iter().map(|message| Delivery {
                            qos: granted.min(message.qos),
                            message,
                            retain: true,
                            identifiers: identifier.into_iter().collect(),
                        }));
                    }
                }
                let mut bytes = Vec::new();
                write::suback(&mut bytes, version, 0x90, packet_id, &codes);
                for delivery in &retained {
                    let id = if delivery.qos > 0 { self.packet_id() } else { 0 };
                    write::publish(&mut bytes, version, delivery, id, self.packet_max);
                }
                self.pending.push_back(Pending { ticket, answer: Answer::Bytes(bytes), message: None });
            }
            Packet::Unsubscribe { packet_id, filters } => {
                let mut ticket = 0;
                let mut codes = Vec::new();
                for (filter, valid) in filters {
                    let known = self.session.lock().subscriptions.remove(filter).is_some();
                    if known {
                        ticket = self.inner.log(self.client.session, SessionEvent::Unsubscribed { filter }).map_err(closed)?;
                        self.inner.router.unsubscribe(self.client.connection, filter);
                    }
                    codes.push(match (known, valid) {
                        (true, _) => 0,
                        (false, true) => 0x11,
                        (false, false) => 0x8f,
                    });
                }
                let mut bytes = Vec::new();
                write::suback(&mut bytes, version, 0xb0, packet_id, &codes);
                self.pending.push_back(Pending { ticket, answer: Answer::Bytes(bytes), message: None });
            }
            Packet::Pingreq => self.pending.push_back(Pending { ticket: 0, answer: Answer::Bytes(vec![0xd0, 0]), message: None }),
            Packet::Disconnect { code, expiry_s } => return Err(End::Disconnect { will: code == 4, expiry_s }),
        }
        Ok(())
    }

    fn packet_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if self.inflight.insert(self.next_id) {
                return self.next_id;
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let id = if delivery.qos > 0 { self.packet_id() } else { 0 };
        if !write::publish(&mut self.output, self.client.version, delivery, id, self.packet_max) {
            self.inflight.remove(&id);
            self.inner.router.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn finish(mut self, stream: &mut TcpStream, end: End, will: Option<Will>) {
        let inner = self.inner.clone();
        if let End::Close(code) = end {
            write::disconnect(&mut self.output, self.client.version, code);
            drop(tokio::time::timeout(Duration::from_secs(1), self.flush(stream)).await);
        }
        drop(tokio::time::timeout(Duration::from_secs(1), stream.shutdown()).await);
        inner.router.disconnect(self.client.connection);
        let (send_will, expiry_s) = match end {
            End::Disconnect { will, expiry_s } => (will, expiry_s),
            _ => (true, None),
        };
        // What was taken is routed once it is durable, whether or not its sender still listens.
        let rest: Vec<Pending> = self.pending.drain(..).filter(|p| p.message.is_some()).collect();
        for p in rest {
            if wait_for(&mut self.horizon, p.ticket).await
                && let Some(message) = p.message
            {
                inner.router.route(self.client.connection, message);
            }
        }
        {
            let mut sessions = inner.sessions.lock();
            let ours =
                sessions.get(&self.client.client_id).is_some_and(|s| s.owner.as_ref().is_some_and(|(id, _)| *id == self.client.connection));
            if ours {
                let mut session = self.session.lock();
                let expiry_s = expiry_s.filter(|_| session.expiry_s > 0).unwrap_or(session.expiry_s);
                session.expiry_s = expiry_s;
                session.deadline = deadline(expiry_s);
                let event = if expiry_s == 0 { SessionEvent::Ended } else { SessionEvent::Disconnected { expiry_s } };
                if inner.log(session.number, event).is_err() {
                    tracing::debug!("a session's pause is not logged; after a restart it counts from there");
                }
                drop(session);
                if expiry_s == 0 {
                    sessions.remove(&self.client.client_id);
                } else if let Some(slot) = sessions.get_mut(&self.client.client_id) {
                    slot.owner = None;
                }
            }
        }
        let stopping = *inner.stop.borrow();
        if let Some(will) = will.filter(|_| send_will && !stopping) {
            tokio::spawn(fire(inner, self.client, self.horizon, will));
        }
    }
}

/// Publishes a will, after its delay unless its client is back by then.
async fn fire(inner: Arc<Inner>, client: Client, mut horizon: watch::Receiver<Horizon>, will: Will) {
    if will.delay_s > 0 {
        tokio::time::sleep(Duration::from_secs(u64::from(will.delay_s))).await;
        if inner.sessions.lock().get(&client.client_id).is_some_and(|s| s.owner.is_some()) {
            return;
        }
    }
    let publish = Publish {
        topic: &will.topic,
        payload: &will.payload,
        qos: will.qos.min(1),
        retain: will.retain,
        dup: false,
        packet_id: 0,
        will: true,
    };
    let mut verdicts = Vec::new();
    inner.application.publish(&client, &[publish], &mut verdicts);
    let routed = match verdicts.first() {
        Some(Verdict::Route) => true,
        Some(Verdict::After { ticket, route }) => wait_for(&mut horizon, *ticket).await && *route,
        _ => false,
    };
    if routed {
        let message = Message {
            topic: will.topic.as_str().into(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            properties: Bytes::new(),
        };
        inner.router.route(client.connection, message);
    }
}

/// Whether a ticket became durable; false once the log has failed.
async fn wait_for(horizon: &mut watch::Receiver<Horizon>, ticket: Ticket) -> bool {
    horizon.wait_for(|h| h.failed || h.durable >= ticket).await.is_ok_and(|h| !h.failed)
}
