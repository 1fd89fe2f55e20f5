//! Every packet but PUBLISH.

use super::{Answer, Connection, End, Pending};
use crate::application::{SessionEvent, Ticket, Version};
use crate::codec::read::Packet;
use crate::codec::{reason, write};
use crate::error::Violation;
use crate::limits::{SUBSCRIPTIONS_BYTES_MAX, SUBSCRIPTIONS_MAX};
use crate::router::granted;
use crate::subscriber::Replay;
use crate::topic::{is_shared, valid_filter};

impl Connection {
    pub(super) fn control(&mut self, packet: Packet<'_>) -> Result<(), End> {
        match packet {
            // PUBLISHes go in batches, see `inbound`.
            Packet::Publish(_) => {}
            Packet::Puback(packet_id) => {
                // One that is to be sent again has been received after all.
                if self.session.inflight.acknowledge(packet_id) {
                    self.again.retain(|(id, _)| *id != packet_id);
                }
            }
            // This server sends nothing at QoS 2, so these answer nothing of its own.
            Packet::Pubrec(packet_id) => {
                write::ack(&mut self.output, self.client.version, write::PUBREL, packet_id, reason::PACKET_ID_NOT_FOUND);
            }
            Packet::Pubcomp(_) => {}
            Packet::Pubrel(packet_id) => self.pubrel(packet_id)?,
            Packet::Subscribe { packet_id, identifier, filters } => self.subscribe(packet_id, identifier, &filters)?,
            Packet::Unsubscribe { packet_id, filters } => self.unsubscribe(packet_id, &filters)?,
            // Not held back: it says that this server is there, not that a disk is quick.
            Packet::Pingreq => write::pingresp(&mut self.output),
            Packet::Disconnect { code, expiry_s } => return Err(self.disconnect(code, expiry_s)),
        }
        Ok(())
    }

    fn pubrel(&mut self, packet_id: u16) -> Result<(), End> {
        let number = self.client.session;
        let (mut ticket, mut code) = (0, reason::PACKET_ID_NOT_FOUND);
        if self.session.received.contains_key(&packet_id) {
            let logged = self.inner.log(number, SessionEvent::Qos2Released { packet_id });
            // Not released: the client asks again on its next connection.
            ticket = logged.map_err(|refusal| End::CloseAfterwards(refusal.code()))?;
            code = reason::SUCCESS;
            self.session.received.remove(&packet_id);
        }
        let answer = Answer::Ack { head: write::PUBCOMP, packet_id, code, why: "" };
        self.pending.push_back(Pending { ticket, answer, message: None });
        Ok(())
    }

    fn answer(&mut self, ticket: Ticket, head: u8, packet_id: u16, codes: &[u8]) -> Result<(), End> {
        let mut packet = Vec::new();
        write::suback(&mut packet, self.client.version, head, packet_id, codes);
        if packet.len() > self.packet_max as usize {
            return Err(End::CloseAfterwards(reason::PACKET_TOO_LARGE));
        }
        self.held += 1;
        self.pending.push_back(Pending { ticket, answer: Answer::Packet(packet.into()), message: None });
        Ok(())
    }

    fn subscribe(&mut self, packet_id: u16, identifier: Option<u32>, filters: &[(&str, u8)]) -> Result<(), End> {
        // What this client published before, as far as it is durable, is none of the new
        // subscription's, or of the retained messages that it finds.
        self.release();
        let mut last = 0;
        let mut codes = Vec::with_capacity(filters.len());
        for (filter, options) in filters {
            codes.push(match self.subscribe_one(filter, *options, identifier) {
                Ok(ticket) => {
                    last = last.max(ticket);
                    granted(*options)
                }
                Err(_) if self.client.version == Version::V3 => reason::UNSPECIFIED,
                Err(code) => code,
            });
        }
        self.answer(last, write::SUBACK, packet_id, &codes)
    }

    fn subscribe_one(&mut self, filter: &str, options: u8, identifier: Option<u32>) -> Result<Ticket, u8> {
        if is_shared(filter) {
            return Err(reason::SHARED_NOT_SUPPORTED);
        }
        if !valid_filter(filter) {
            return Err(reason::TOPIC_FILTER_INVALID);
        }
        let new = !self.session.subscriptions.contains_key(filter);
        if new && !self.has_room(filter) {
            return Err(reason::QUOTA_EXCEEDED);
        }
        let event = SessionEvent::Subscribed { filter, options, identifier };
        let ticket = self.inner.log(self.client.session, event).map_err(|refusal| refusal.code())?;
        self.session.subscriptions.insert(filter.to_owned(), (options, identifier));
        self.inner.router.subscribe(&self.subscriber, filter, options, identifier);
        // Only now: whoever waits for it publishes at once.
        if self.client.session == 0 && new {
            self.session.seats.insert(filter.to_owned(), self.inner.audience.join(filter));
        }
        // Retain handling: 0 always, 1 only for a new subscription, 2 never.
        if options >> 4 == 0 || (options >> 4 == 1 && new) {
            let identifiers = identifier.map(|id| [id].into());
            // What is retained from here on finds the subscription.
            self.subscriber.replay(Replay::new(filter, granted(options), identifiers, self.inner.retained.changes()));
        }
        Ok(ticket)
    }

    /// Whether one more filter fits.
    fn has_room(&self, filter: &str) -> bool {
        let filters = &self.session.subscriptions;
        let bytes = filter.len() + filters.keys().map(String::len).sum::<usize>();
        filters.len() < SUBSCRIPTIONS_MAX && bytes <= SUBSCRIPTIONS_BYTES_MAX && self.inner.router.has_room()
    }

    fn unsubscribe(&mut self, packet_id: u16, filters: &[&str]) -> Result<(), End> {
        // What was published before is still for it.
        self.release();
        let mut last = 0;
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            codes.push(match self.session.subscriptions.contains_key(*filter) {
                true => match self.inner.log(self.client.session, SessionEvent::Unsubscribed { filter }) {
                    Ok(ticket) => {
                        last = last.max(ticket);
                        self.session.subscriptions.remove(*filter);
                        self.session.seats.remove(*filter);
                        self.inner.router.unsubscribe(self.subscriber.id, filter);
                        self.subscriber.forget_replay(filter);
                        reason::SUCCESS
                    }
                    Err(refusal) => refusal.code(),
                },
                false if valid_filter(filter) => reason::NO_SUBSCRIPTION_EXISTED,
                false => reason::TOPIC_FILTER_INVALID,
            });
        }
        self.answer(last, write::UNSUBACK, packet_id, &codes)
    }

    fn disconnect(&mut self, code: u8, expiry_s: Option<u32>) -> End {
        match expiry_s {
            // A session that was to end with its connection cannot be made durable now.
            Some(expiry_s) if expiry_s > 0 && self.session.expiry_s == 0 => {
                return Violation::protocol("DISCONNECT prolongs a session that ends with its connection").into();
            }
            Some(expiry_s) => self.session.expiry_s = expiry_s,
            None => {}
        }
        // What is still to be written the client cannot have read.
        let settled = self.output.is_empty() && self.pending.iter().all(|p| matches!(p.answer, Answer::None));
        End::Disconnect { will: code != reason::SUCCESS, settled }
    }
}
