//! Ordinary messages, both ways.

use super::Core;
use crate::inbound::{is_own, wall_ms};
use crate::limits::{CARRY_AT_ONCE_MAX, CARRY_MS};
use replica::crossing::pace::Pace;
use replica::limits::CROSS_UP_PENDING_BYTES_MAX;
use replica::record::{Plain, Record};
use schemas::DecodeError;
use schemas::message::{CrossAck, CrossDone, CrossDown, CrossUp, FORMAT};
use std::collections::BTreeSet;
use tokio::runtime::Handle as Runtime;
use tracing::warn;

impl Core {
    /// Ordinary messages of a gateway. While brokers do not take those before them they wait at the gateway.
    pub(super) fn cross(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let up = CrossUp::decode(bytes)?;
        let Some((boot, last)) = up.messages.last().map(|m| (m.boot, m.seq)) else { return Ok(false) };
        if !self.bridge.has_room(gateway, boot) {
            complain!(self, "ordinary messages of a gateway too many are ignored", gateway);
            return Ok(false);
        }
        if let Some(message) = up.messages.iter().find(|m| is_own(&m.topic)) {
            complain!(self, "ordinary messages on a topic of the bridge's own are ignored", gateway, topic = ?message.topic);
            return Ok(false);
        }
        let applied = self.bridge.crossings.get(gateway).map_or(0, |c| c.applied(boot, up.lane));
        if last <= applied {
            let ack = CrossAck { format: FORMAT, boot, lane: up.lane, applied };
            self.out.answer(format!("bridge/v1/{gateway}/down/cross-ack"), ack.encode());
        } else if !self.out.is_behind()
            // Those that are not folded yet among them.
            && self.bridge.pending_bytes() + self.crossing_up_bytes < CROSS_UP_PENDING_BYTES_MAX
            && let Some(lsn) = self.log(&Record::CrossUp { gateway, bytes }, runtime)
        {
            self.crossing_up.push_back((lsn, bytes.len() as u64));
            self.crossing_up_bytes += bytes.len() as u64;
        }
        Ok(true)
    }

    /// A gateway has what was carried to it.
    pub(super) fn cross_done(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let done = CrossDone::decode(bytes)?;
        if self.bridge.crossings.get(gateway).is_some_and(|c| c.waiting() > 0) {
            self.log(&Record::CrossDone { gateway, boot: done.boot, seq: done.seq }, runtime);
        }
        Ok(self.knows(gateway))
    }

    /// An ordinary message of an existing broker that a gateway wants.
    pub(super) fn plain(&mut self, generation: u64, publish: rumqttc::Publish, runtime: &Runtime) {
        let message = Plain { topic: &publish.topic, payload: &publish.payload, qos: publish.qos as u8, retain: publish.retain };
        if self.out.is_open(generation) {
            let logged = self.log(&Record::CrossIn { message, session: 0, packet_id: 0 }, runtime);
            self.logged(logged, generation, publish);
        }
    }

    /// A message of an existing broker is acknowledged there once its record is durable. One that the log does not
    /// take comes again, with all behind it, so that none overtakes it: by a new connection.
    pub(super) fn logged(&mut self, lsn: Option<u64>, generation: u64, publish: rumqttc::Publish) {
        match lsn {
            Some(lsn) => self.unacknowledged.push_back((lsn, generation, publish)),
            None => {
                warn!("the connection to the existing broker is given up, so that its messages come again");
                self.out.give_up(generation);
            }
        }
    }

    /// Tells the doors what gateways want.
    pub fn want(&self) {
        let wanted = self.bridge.crossings.values().flat_map(|c| &c.wanted).map(|w| w.filter.clone());
        let filters: BTreeSet<String> = wanted.collect();
        if self.door.want(filters.iter().cloned().collect()) {
            self.out.want(filters);
        }
    }

    /// Ordinary messages go to gateways that are there, a batch at a time. Only those that some wait for are looked
    /// at; with many of them not for each event.
    pub(super) fn carry(&mut self) {
        let clock_ms = self.clock_ms();
        let laden = &mut self.bridge.laden;
        self.is_carry_due = laden.len() > CARRY_AT_ONCE_MAX && clock_ms - self.carried_at_ms < CARRY_MS;
        if self.is_carry_due || laden.is_empty() {
            return;
        }
        self.carried_at_ms = clock_ms;
        let (crossings, carried) = (&self.bridge.crossings, &mut self.carried);
        laden.retain(|name| {
            let Some(crossing) = crossings.get(name) else { return false };
            if !carried.contains_key(name) {
                carried.insert(name.clone(), (Pace::default(), crossing.down));
            }
            let Some((pace, down)) = carried.get_mut(name) else { return false };
            if *down != crossing.down {
                *down = crossing.down;
                pace.answered(clock_ms);
            }
            if crossing.waiting() == 0 {
                return false;
            }
            if self.presence.of(name).0 && pace.due_ms().is_none_or(|at| clock_ms >= at) {
                let messages = crossing.next_down(wall_ms(), pace.batch_bytes());
                if !messages.is_empty() {
                    self.out.answer(format!("bridge/v1/{name}/down/cross"), CrossDown { format: FORMAT, messages }.encode());
                    pace.sent(clock_ms);
                }
            }
            true
        });
    }
}
