//! Sensors at a device, and its front door: what `edge::intake` does.

use super::{Ctx, Device, EPOCH_MS, LOCAL, SERIES};
use crate::disk::{Fact, Undated};
use crate::mutation::Mutation;
use crate::rng::Rng;
use replica::frame::Marks;
use replica::limits::FUTURE_MS_MAX;
use replica::record::{self, FLAG_AHEAD, FLAG_LEAVES, FLAG_PACKET_ID, FLAG_RELATIVE, FLAG_TIMED, FLAG_UNDATED, KIND_MESSAGE, Record};
use replica::session::messages_max;
use std::collections::VecDeque;

/// Between readings of a pack, in ms.
const PACK_MS: i64 = 1_500;
/// One in so many messages is acknowledged and its sensor does not hear it.
pub(super) const LOST_OF: u64 = 20;
/// Of a message's salt: whether its sensor comes anew before it, in percent.
const ANEW: (u64, u64) = (0x000d_0bad, 10);

#[derive(Debug, Clone)]
pub struct Message {
    pub(super) id: u64,
    pub(super) timed: bool,
    /// A redelivery can be told by the readings' own times.
    pub(super) told_apart: bool,
    pub(super) leaves: bool,
    pub(super) readings: Vec<(u32, i64, f64)>,
    /// So often.
    pub(super) acknowledged: u8,
}

/// A client with a persistent session: it sends again what was not acknowledged.
#[derive(Debug, Clone, Default)]
pub(super) struct Sensor {
    pub(super) unacknowledged: VecDeque<Message>,
}

impl Device {
    /// A sensor publishes something new.
    pub fn sense(&mut self, ctx: &mut Ctx, salt: u64) {
        let told_apart_by = ctx.messages + 1;
        self.hear(ctx, salt, told_apart_by);
    }

    /// A sensor's message arrives, which others may hear too: the same salt and number, the same readings.
    pub fn hear(&mut self, ctx: &mut Ctx, salt: u64, told_apart_by: u64) {
        let mut rng = Rng::new(salt);
        let sensor = rng.index(self.sensors.len());
        let true_ms = EPOCH_MS + ctx.now_ms;
        let count = if rng.percent(70) { 1 } else { 1 + rng.index(4) };
        let timed = rng.percent(80);
        let series = rng.index(SERIES.len());
        ctx.messages += 1;
        let id = ctx.messages;
        let readings = (0..count).map(|_| {
            let at = true_ms
                - match rng.below(20) {
                    0 => rng.range(0, 7_200_000),
                    1 => -rng.range(0, 240_000),
                    2..6 => rng.range(0, 40_000),
                    _ => rng.range(0, 2_000),
                };
            // No two messages are alike, so that a redelivery is one.
            (series as u32, at, (rng.range(-200, 1_000) * 1_000 + told_apart_by as i64 % 1_000) as f64 / 1e4)
        });
        let readings = readings.collect();
        let message = Message { id, timed, told_apart: timed, leaves: SERIES[series] != LOCAL, readings, acknowledged: 0 };
        if Rng::new(salt ^ ANEW.0).percent(ANEW.1) {
            self.come_anew(ctx, sensor);
        }
        self.publish(ctx, sensor, message, false);
    }

    /// A sensor's connection ended and it comes again, to a gateway that runs or not: it sends again what it knows nothing of.
    pub(super) fn come_anew(&mut self, ctx: &mut Ctx, sensor: usize) {
        if let Some(process) = &mut self.process {
            process.awaiting.retain(|(_, of, _)| *of != sensor);
        }
        let again: Vec<Message> = self.sensors[sensor].unacknowledged.drain(..).collect();
        for message in again {
            self.publish(ctx, sensor, message, true);
        }
    }

    /// A sensor publishes these readings: series, event time since [`EPOCH_MS`], value.
    pub fn tell(&mut self, ctx: &mut Ctx, readings: &[(u32, i64, f64)]) {
        ctx.messages += 1;
        let readings = readings.iter().map(|(series, at_ms, value)| (*series, EPOCH_MS + at_ms, *value)).collect();
        let message = Message { id: ctx.messages, timed: true, told_apart: true, leaves: true, readings, acknowledged: 0 };
        self.publish(ctx, 0, message, false);
    }

    /// As `edge::intake` takes it.
    pub(super) fn publish(&mut self, ctx: &mut Ctx, sensor: usize, message: Message, dup: bool) {
        let wall_ms = self.wall_ms(ctx);
        let Some(process) = &mut self.process else {
            self.sensors[sensor].unacknowledged.push_back(message);
            return;
        };
        if self.disk.full || process.refuses {
            return;
        }
        let now_ms = process.clock.read(wall_ms, ctx.now_ms);
        let undated = process.clock.is_unset;
        let session = process.sessions[sensor];
        let mut readings = Vec::new();
        // As they were sent, which is how a redelivery is told.
        let mut sent = Vec::new();
        for (index, (series, time_ms, value)) in message.readings.iter().enumerate() {
            let name = SERIES[*series as usize];
            let number = match process.numbers.get(name) {
                Some(number) => *number,
                None => {
                    let number = process.defined;
                    process.defined += 1;
                    process.push(&Record::Series { number, name, unit: None });
                    process.numbers.insert(name.to_owned(), number);
                    number
                }
            };
            // Packs say how long before their arrival a reading was taken.
            let after_ms = if undated { -PACK_MS * (index as u64 * (message.id % 3)) as i64 } else { 0 };
            let sent_ms = if message.timed { *time_ms } else { now_ms + after_ms };
            sent.push((number, sent_ms, *value));
            let is_ahead = sent_ms > now_ms + FUTURE_MS_MAX;
            let waits = match message.timed {
                _ if !undated || !message.leaves => None,
                false => Some(Undated::Relative(after_ms)),
                // It is not told apart from one that has no time of its own.
                true if sent_ms == now_ms => Some(Undated::Relative(0)),
                true => is_ahead.then_some(Undated::Own(sent_ms)),
            };
            readings.push((*series, if is_ahead || sent_ms < 0 { now_ms } else { sent_ms }, *value, waits));
        }
        let lsn;
        let sessions = process.memories.len();
        let memory = process.memories.entry(session).or_default();
        let known = message.timed && dup && memory.knows(&mut 0, sent.iter().copied());
        let packet_id = (message.id % 65_535) as u16 + 1;
        if known && ctx.mutation != Mutation::RedeliveryCounted {
            lsn = process.push(&Record::Duplicate { session, count: readings.len() as u64, packet_id: 0 });
        } else {
            let mut flags = if message.leaves { FLAG_LEAVES } else { 0 };
            if message.timed {
                flags |= FLAG_TIMED | FLAG_PACKET_ID | if undated { 0 } else { FLAG_AHEAD };
                memory.remember(packet_id, now_ms, messages_max(sessions), sent.iter().copied());
            }
            if undated && ctx.mutation != Mutation::UndatedTaken {
                flags |= FLAG_UNDATED | if message.timed { 0 } else { FLAG_RELATIVE };
            }
            let mut payload = Vec::new();
            schemas::wire::put_varint(&mut payload, process.clock.stamp());
            record::put_message_head(&mut payload, flags, session, packet_id);
            for (number, time_ms, value) in &sent {
                record::put_reading(&mut payload, *number, *time_ms, now_ms, *value);
            }
            process.batch.records.push((KIND_MESSAGE, payload));
            lsn = process.batch.last();
            process.batch.marks[usize::from(!message.leaves)] += readings.len() as u64;
            Marks::set_clock(&mut process.batch.marks, process.clock.logged_ms);
            let (boot, seq) = (process.boot, lsn - process.base);
            process.batch.facts.extend(readings.into_iter().map(|(series, time_ms, value, undated)| {
                let (message, leaves) = (message.id, message.leaves);
                let fact = Fact { boot, seq, message, series, time_ms, value, leaves, arrival_ms: now_ms, undated };
                Fact { time_ms: fact.date(0), ..fact }
            }));
        }
        if ctx.mutation == Mutation::SensorAckBeforeCommit {
            ctx.oracle.acknowledged(message.id, message.told_apart);
            return;
        }
        process.awaiting.push_back((lsn, sensor, message.id));
        self.sensors[sensor].unacknowledged.push_back(message);
    }
}
