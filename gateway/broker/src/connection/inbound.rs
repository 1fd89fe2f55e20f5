//! PUBLISHes in: one read → all of them parsed in place → one call of the application → the
//! queue of answers. A payload is copied only if somebody gets it.

use super::{Answer, Busy, Connection, End, Pending};
use crate::application::{Publish, SessionEvent, Verdict, Version};
use crate::codec::properties::travelling;
use crate::codec::read::{self, Frame, Packet, PublishIn};
use crate::codec::{reason, write};
use crate::error::Violation;
use crate::limits::{BATCH_MAX, READ_BYTES_MAX, RECEIVE_MAX, RECEIVED_IDS_MAX};
use crate::message::Message;
use crate::refusal::Refusal;
use crate::stats::count;
use bytes::{Buf, Bytes};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// PUBLISHes that were read one after the other and not offered yet.
#[derive(Default)]
struct Batch<'a> {
    entries: Vec<Entry<'a>>,
    /// Those of them that the application is asked about.
    offered: Vec<Publish<'a>>,
    qos1: usize,
    qos2: usize,
}

struct Entry<'a> {
    publish: PublishIn<'a>,
    /// Where the packet begins in the read buffer.
    start: usize,
    /// Not a QoS 2 message that was received before.
    fresh: bool,
}

impl<'a> Batch<'a> {
    fn push(&mut self, publish: PublishIn<'a>, start: usize, fresh: bool) {
        self.qos1 += usize::from(publish.qos == 1);
        self.qos2 += usize::from(publish.qos == 2 && fresh);
        if fresh {
            let PublishIn { topic, payload, qos, retain, dup, packet_id, .. } = publish;
            self.offered.push(Publish { topic, payload, qos, retain, dup, packet_id, will: false });
        }
        self.entries.push(Entry { publish, start, fresh });
    }

    /// Whether a QoS 2 message has the identifier of one before it.
    fn holds(&self, publish: &PublishIn<'_>) -> bool {
        let same = |e: &Entry<'_>| e.publish.qos == 2 && e.publish.packet_id == publish.packet_id;
        publish.qos == 2 && self.qos2 > 0 && self.entries.iter().any(same)
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.offered.clear();
        (self.qos1, self.qos2) = (0, 0);
    }
}

/// The reason of what was taken, which needs no words.
const TAKEN: (u8, &str) = (reason::SUCCESS, "");

impl Connection {
    /// Takes the packets that are there; true where a bound left some for the next turn.
    pub(super) fn packets(&mut self) -> Result<bool, End> {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        let taken = self.parse(&input, &mut at);
        self.input = input;
        self.input.advance(at);
        self.whole |= at > 0;
        taken
    }

    /// `at` follows what is done with: at the end it stands where the next turn begins.
    fn parse(&mut self, input: &[u8], at: &mut usize) -> Result<bool, End> {
        let mut batch = Batch::default();
        let mut next = 0;
        let result = loop {
            if self.is_full(batch.entries.len()) {
                break Ok(next < input.len());
            }
            let (head, body) = match read::frame(&input[next..], self.inner.config.max_packet) {
                Ok(Frame::Whole(head, body)) => (head, body),
                Ok(Frame::Needs(bytes)) => {
                    // A large packet is on its way: make room for it in steps as it comes.
                    if bytes > self.read_bytes {
                        self.read_bytes = bytes.min(READ_BYTES_MAX);
                    }
                    break Ok(false);
                }
                Err(violation) => break Err(violation.into()),
            };
            let (start, end) = (next, next + body.end);
            match read::packet(self.client.version, head, &input[start + body.start..end]) {
                Ok(Packet::Publish(publish)) => {
                    if batch.holds(&publish) {
                        // Whether it is a repetition depends on what becomes of the first.
                        if let Some(resume) = self.offer(&mut batch)? {
                            *at = resume;
                            return Ok(false);
                        }
                        *at = next;
                    }
                    let fresh = publish.qos != 2 || !self.session.received.contains_key(&publish.packet_id);
                    if let Err(violation) = self.within_bounds(&batch, &publish, fresh) {
                        break Err(violation.into());
                    }
                    batch.push(publish, start, fresh);
                    next = end;
                    if batch.entries.len() >= BATCH_MAX {
                        if let Some(resume) = self.offer(&mut batch)? {
                            *at = resume;
                            return Ok(false);
                        }
                        *at = next;
                    }
                }
                Ok(packet) => {
                    if let Some(resume) = self.offer(&mut batch)? {
                        *at = resume;
                        return Ok(false);
                    }
                    next = end;
                    *at = next;
                    self.control(packet)?;
                }
                Err(violation) => break Err(violation.into()),
            }
        };
        // What came before a breach counts.
        match self.offer(&mut batch)? {
            Some(resume) => {
                *at = resume;
                Ok(false)
            }
            None => {
                *at = next;
                result
            }
        }
    }

    /// Whether a client keeps to what was announced (MQTT 5), or to what is bearable.
    fn within_bounds(&self, batch: &Batch<'_>, publish: &PublishIn<'_>, fresh: bool) -> Result<(), Violation> {
        let exceeded = |why| Violation { code: reason::RECEIVE_MAXIMUM_EXCEEDED, why };
        if self.client.version == Version::V5 && publish.qos > 0 && (fresh || publish.qos == 1) {
            let out = self.unacked + self.incomplete.len() + batch.qos1 + batch.qos2;
            if out >= usize::from(RECEIVE_MAX) {
                return Err(exceeded("more PUBLISHes are unacknowledged than Receive Maximum allows"));
            }
        }
        if publish.qos == 2 && fresh && self.session.received.len() + batch.qos2 >= RECEIVED_IDS_MAX {
            return Err(exceeded("too many QoS 2 messages are not released"));
        }
        Ok(())
    }

    /// Hands a batch to the application. Where that is too busy: where to resume.
    fn offer(&mut self, batch: &mut Batch<'_>) -> Result<Option<usize>, End> {
        if batch.entries.is_empty() {
            return Ok(None);
        }
        let mut verdicts = Vec::with_capacity(batch.offered.len());
        if !batch.offered.is_empty() {
            self.inner.application.publish(&self.client, &batch.offered, &mut verdicts);
        }
        let mut verdicts = verdicts.into_iter();
        let mut judged = 0;
        let mut result = Ok(None);
        for entry in &batch.entries {
            let verdict = match entry.fresh {
                true => Some(verdicts.next().unwrap_or(Verdict::Refuse(Refusal::Unavailable))),
                false => None,
            };
            if verdict == Some(Verdict::Refuse(Refusal::Busy)) {
                if result.is_ok() {
                    self.busy = Some(Busy { asked: tokio::time::Instant::now(), ask: false });
                    result = Ok(Some(entry.start));
                }
                break;
            }
            self.busy = None;
            // One that closes the connection does not undo what was taken behind it: that too
            // is acknowledged, and its identifier known when the client comes back.
            if let Err(end) = self.judge(&entry.publish, verdict)
                && result.is_ok()
            {
                result = Err(end);
            }
            judged += 1;
        }
        self.moved |= judged > 0;
        count(&self.inner.counters.received, judged);
        batch.clear();
        result
    }

    /// Queues a PUBLISH's answer; no verdict is a QoS 2 message that was received before.
    fn judge(&mut self, p: &PublishIn<'_>, verdict: Option<Verdict>) -> Result<(), End> {
        let (ticket, (code, why), route) = match verdict {
            // Its first copy may still be on its way to the disk.
            None => (self.session.received.get(&p.packet_id).copied().unwrap_or(0), TAKEN, false),
            Some(Verdict::Accept) => (0, TAKEN, false),
            Some(Verdict::Route) => match self.received_ordinary(p) {
                Ok(ticket) => (ticket, TAKEN, true),
                Err(refusal) => (0, self.refused(p, refusal)?, false),
            },
            Some(Verdict::After { ticket, route }) => (ticket, TAKEN, route),
            Some(Verdict::Decline(refusal)) if self.client.version == Version::V3 => {
                count(&self.inner.counters.refused, 1);
                tracing::debug!(client = self.client.client_id, topic = p.topic, ?refusal, "a PUBLISH is acknowledged and not taken");
                (0, TAKEN, false)
            }
            Some(Verdict::Refuse(refusal) | Verdict::Decline(refusal)) => (0, self.refused(p, refusal)?, false),
        };
        let message = if route { self.message(p) } else { None };
        let answer = match p.qos {
            0 if message.is_none() => return Ok(()),
            0 => Answer::None,
            1 => {
                self.unacked += 1;
                Answer::Ack { head: write::PUBACK, packet_id: p.packet_id, code, why }
            }
            _ => {
                if code == reason::SUCCESS {
                    self.session.received.insert(p.packet_id, ticket);
                    self.incomplete.insert(p.packet_id);
                }
                Answer::Ack { head: write::PUBREC, packet_id: p.packet_id, code, why }
            }
        };
        self.pending_bytes += message.as_ref().map_or(0, |m| m.bytes());
        self.pending.push_back(Pending { ticket, answer, message });
        Ok(())
    }

    /// Logs the identifier of an ordinary QoS 2 message, so that it is routed once.
    fn received_ordinary(&self, p: &PublishIn<'_>) -> Result<u64, Refusal> {
        match p.qos {
            2 => self.inner.log(self.client.session, SessionEvent::Qos2Received { packet_id: p.packet_id }),
            _ => Ok(0),
        }
    }

    /// What a refused PUBLISH is answered with; MQTT 3.1.1 has no such answer. It closes, or
    /// acknowledges what the client may not do at all ([MQTT-3.3.5-2] leaves the choice).
    fn refused(&self, p: &PublishIn<'_>, refusal: Refusal) -> Result<(u8, &'static str), End> {
        count(&self.inner.counters.refused, 1);
        tracing::debug!(client = self.client.client_id, topic = p.topic, ?refusal, "a PUBLISH is refused");
        if self.client.version == Version::V3 && refusal == Refusal::NotAuthorized {
            return Ok(TAKEN);
        }
        if p.qos > 0 && self.client.version == Version::V3 {
            return Err(End::CloseAfterwards(refusal.code()));
        }
        Ok((refusal.code(), if self.explains { refusal.why() } else { "" }))
    }

    /// A copy for its subscribers; none where nobody gets it.
    fn message(&mut self, p: &PublishIn<'_>) -> Option<Arc<Message>> {
        let targets = self.routes.targets(&self.inner.router, p.topic, self.subscriber.id);
        if targets.is_empty() && !p.retain {
            return None;
        }
        let properties = match p.properties {
            [] => Bytes::new(),
            block => travelling(block).into(),
        };
        Some(Arc::new(Message {
            topic: p.topic.into(),
            payload: Bytes::copy_from_slice(p.payload),
            properties,
            qos: p.qos,
            retain: p.retain,
            expires: p.expiry_s.map(|s| Instant::now() + Duration::from_secs(u64::from(s))),
            urgent: false,
        }))
    }
}
