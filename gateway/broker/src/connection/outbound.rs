//! What leaves: answers that are durable, and messages for this client.

use super::{Answer, Connection};
use crate::codec::{reason, write};
use crate::inner::Inner;
use crate::limits::{OUTPUT_FILL_BYTES, TAKE_MAX};
use crate::message::{Delivery, Message};
use crate::router::{self, Routes};
use crate::stats::count;
use std::sync::Arc;

/// Retains a message if it asks for that, and hands it to its subscribers.
pub(super) fn route(inner: &Inner, routes: &mut Routes, message: &Arc<Message>, from: u64) {
    inner.retain(message);
    router::send(message, routes.targets(&inner.router, &message.topic, from));
}

impl Connection {
    /// Lets go, in the order of arrival, what has become durable.
    pub(super) fn release(&mut self) {
        let horizon = *self.horizon.borrow_and_update();
        if horizon.failed {
            return;
        }
        while self.pending.front().is_some_and(|p| p.ticket <= horizon.durable) {
            let Some(p) = self.pending.pop_front() else {
                return;
            };
            (self.moved, self.released) = (true, true);
            match p.answer {
                Answer::None => {}
                Answer::Ack { head, packet_id, code, why } => {
                    match head {
                        write::PUBACK => self.unacked -= 1,
                        write::PUBREC if code == reason::SUCCESS => {}
                        _ => {
                            self.incomplete.remove(&packet_id);
                        }
                    }
                    match why {
                        "" => write::ack(&mut self.output, self.client.version, head, packet_id, code),
                        why => write::refusal(&mut self.output, head, packet_id, code, why),
                    }
                }
                Answer::Packet(packet) => {
                    self.held -= 1;
                    self.welcomed = true;
                    self.output.extend_from_slice(&packet);
                }
            }
            if let Some(message) = p.message {
                self.pending_bytes -= message.bytes();
                route(&self.inner, &mut self.routes, &message, self.subscriber.id);
            }
        }
    }

    /// Adds messages for this client to the output; true where its bound left some.
    pub(super) fn fill(&mut self) -> bool {
        if self.held > 0 {
            return false;
        }
        let mut taken = Vec::new();
        while self.output.len() < OUTPUT_FILL_BYTES {
            let window = self.inflight_max.saturating_sub(self.session.inflight.len() - self.again.len());
            if !self.again.is_empty() {
                if window == 0 {
                    return false;
                }
                if let Some((packet_id, delivery)) = self.again.pop_front() {
                    self.deliver(&delivery, packet_id, true);
                }
                continue;
            }
            let again = self.subscriber.take(&self.inner.retained, &mut taken, TAKE_MAX, window);
            if taken.is_empty() {
                return again;
            }
            for delivery in taken.drain(..) {
                let packet_id = match delivery.qos {
                    0 => 0,
                    _ => self.session.inflight.send(delivery.clone()),
                };
                self.deliver(&delivery, packet_id, false);
            }
        }
        true
    }

    fn deliver(&mut self, delivery: &Delivery, packet_id: u16, again: bool) {
        let counters = &self.inner.counters;
        if delivery.message.is_expired() {
            count(&counters.expired, 1);
        } else if write::publish(&mut self.output, self.client.version, delivery, packet_id, again, self.packet_max) {
            return;
        } else {
            count(&counters.dropped, 1);
        }
        self.session.inflight.acknowledge(packet_id);
    }
}
