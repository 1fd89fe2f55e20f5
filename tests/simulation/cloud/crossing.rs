//! Ordinary messages at the cloud: what `cloud::core` does with them.

use super::{Cloud, Down, Process};
use crate::crossed;
use crate::device::Ctx;
use crate::mutation::Mutation;
use crate::rng::Rng;
use replica::join::{Bridge, Effects};
use replica::limits::CROSS_BATCH_BYTES;
use replica::record::{Plain, Record};
use schemas::message::{CrossAck, CrossDone, CrossDown, CrossUp, FORMAT};

/// How long messages for a gateway are waited for, in ms, as in `cloud::limits`.
const WAIT_MS: i64 = 3_000;
/// Topics of clients' messages at the cloud's broker.
const TOPICS: [&str; 2] = ["shared/orders", "to/all"];

/// A gateway's number.
fn number(name: &str) -> u8 {
    name[1..].parse().unwrap_or(u8::MAX)
}

/// Tells the oracle who is to get what a record brought.
pub(super) fn offers(ctx: &mut Ctx, bridge: &Bridge, kind: u8, payload: &[u8], effects: &Effects) {
    let wanted = || bridge.crossings.iter().map(|(name, crossing)| (number(name), crossing.wanted.clone()));
    match Record::decode(kind, payload) {
        Ok((_, Record::CrossIn { message, .. })) => {
            ctx.oracle.crossed.offered(crossed::id_of(message.payload), None, message.topic, wanted());
        }
        Ok((_, Record::CrossUp { gateway, .. })) => {
            for m in &effects.crossed {
                ctx.oracle.crossed.offered(crossed::id_of(&m.payload), Some(number(gateway)), &m.topic, wanted());
            }
        }
        _ => {}
    }
}

impl Process {
    /// Messages of a gateway, or its word that it has those for it.
    pub(super) fn crossed(&mut self, ctx: &Ctx, gateway: &str, what: &str, bytes: &[u8], down: &mut Down) -> Result<(), String> {
        let undecodable = |e| format!("a {what} does not decode: {e}");
        if what == "cross-done" {
            let done = CrossDone::decode(bytes).map_err(undecodable)?;
            ctx.oracle.crossed.done(number(gateway), done.boot, done.seq)?;
            if self.bridge.crossings.get(gateway).is_some_and(|c| c.waiting() > 0) {
                self.log(ctx, &Record::CrossDone { gateway, boot: done.boot, seq: done.seq });
            }
            return Ok(());
        }
        let up = CrossUp::decode(bytes).map_err(undecodable)?;
        let Some((boot, last)) = up.messages.last().map(|m| (m.boot, m.seq)) else { return Ok(()) };
        let applied = self.bridge.crossings.get(gateway).map_or(0, |c| c.applied(boot, up.lane));
        if last <= applied {
            down.push((gateway.to_owned(), "cross-ack", CrossAck { format: FORMAT, boot, lane: up.lane, applied }.encode()));
        } else {
            self.log(ctx, &Record::CrossUp { gateway, bytes });
            for m in up.messages.iter().filter(|_| ctx.mutation == Mutation::CrossEchoed) {
                let message = Plain { topic: &m.topic, payload: &m.payload, qos: m.qos, retain: m.retain };
                self.log(ctx, &Record::CrossIn { message, session: 0, packet_id: 0 });
            }
        }
        Ok(())
    }

    /// Messages go to gateways, a batch at a time.
    pub(super) fn carry(&mut self, ctx: &Ctx, down: &mut Down) {
        for (name, crossing) in self.bridge.crossings.iter().filter(|(_, c)| c.waiting() > 0) {
            if self.carried.get(name).is_some_and(|(until, had)| ctx.now_ms < *until && *had == crossing.down) {
                continue;
            }
            let messages = crossing.next_down(crate::device::EPOCH_MS + ctx.now_ms, CROSS_BATCH_BYTES);
            if !messages.is_empty() {
                down.push((name.clone(), "cross", CrossDown { format: FORMAT, messages }.encode()));
                self.carried.insert(name.clone(), (ctx.now_ms + WAIT_MS, crossing.down));
            }
        }
    }
}

impl Cloud {
    /// A client publishes a message at the cloud's broker.
    pub fn publish(&mut self, ctx: &mut Ctx, salt: u64) {
        let Some(process) = &mut self.process else { return };
        let topic = Rng::new(salt).pick(&TOPICS);
        ctx.messages += 1;
        let message = Plain { topic, payload: &crossed::payload(ctx.messages), qos: 1, retain: false };
        process.log(ctx, &Record::CrossIn { message, session: 0, packet_id: 0 });
    }

    /// Whether no message waits for one of these gateways that could still go.
    pub fn carried_all(&self, ctx: &Ctx, gateways: &[&str]) -> bool {
        let Some(process) = &self.process else { return false };
        let now_ms = crate::device::EPOCH_MS + ctx.now_ms;
        gateways.iter().all(|name| process.bridge.crossings.get(*name).is_none_or(|c| c.next_down(now_ms, CROSS_BATCH_BYTES).is_empty()))
    }
}
