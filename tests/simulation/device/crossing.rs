//! Ordinary messages at a device: what `edge::crossing` does.

use super::{Ctx, Device};
use crate::crossed::{self, Fact};
use crate::mutation::Mutation;
use crate::network::State;
use crate::rng::Rng;
use replica::crossing::share;
use replica::limits::CROSS_BATCH_BYTES;
use replica::record::{Plain, Record};
use replica::uplink::Lane;
use schemas::message::{CrossAck, CrossDone, CrossDown, CrossUp, FORMAT};

/// How long a batch is waited for, in ms, as in `edge::limits`.
const WAIT_MS: i64 = 5_000;
/// Topics of clients' messages: one that nobody wants back, and one that goes both ways.
pub const TOPICS: [&str; 2] = ["plants/events", "shared/orders"];

/// A batch under way.
#[derive(Clone)]
struct Flight {
    boot: u64,
    lane: u8,
    last: u64,
    deadline_ms: i64,
}

/// A process's hand on ordinary messages.
#[derive(Clone, Default)]
pub(super) struct Crossing {
    flight: Option<Flight>,
    /// The last acknowledgement logged.
    acked: u64,
    /// Messages of the cloud up to here were handled: durable with this record.
    done: Option<(u64, u64, u64)>,
    /// Shown up to this record.
    shown: u64,
    /// The log is still to be told so.
    settled: Option<u64>,
    /// Records of an earlier process, which may have shown what they brought.
    earlier: u64,
}

impl Crossing {
    /// Of a process that comes up with the log's records up to `lsn`.
    pub(super) fn new(lsn: u64) -> Self {
        Self { earlier: lsn, ..Self::default() }
    }
}

impl Device {
    /// A client publishes a message that a bridge carries.
    pub fn publish_plain(&mut self, ctx: &mut Ctx, salt: u64) {
        let wall_ms = self.wall_ms(ctx);
        let Some(process) = self.process.as_mut().filter(|p| !self.disk.full && !p.refuses) else { return };
        let mut rng = Rng::new(salt);
        let topic = rng.pick(&TOPICS);
        let (lane, ttl_ms) = (rng.below(3) as u8, rng.pick(&[0u64, 0, 8_000, 40_000]));
        ctx.messages += 1;
        let id = ctx.messages;
        let now_ms = process.clock.read(wall_ms, ctx.now_ms);
        let message = Plain { topic, payload: &crossed::payload(id), qos: 1, retain: false };
        let lsn = process.push(&Record::Crossed { lane, ttl_ms, message, session: 0, packet_id: 0 });
        let (boot, seq) = (process.boot, lsn - process.base);
        let expires_ms = (ttl_ms > 0).then_some(now_ms + ttl_ms as i64);
        process.batch.crossed.push(Fact { boot, seq, lane, topic: topic.to_owned(), id, expires_ms });
    }

    /// Shows what came and is durable, answers for it, and sends what is next.
    pub(super) fn cross(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        let wall_ms = self.wall_ms(ctx);
        let gateway = self.number();
        let stands = self.link.state != State::Down;
        let Some(process) = &mut self.process else { return Ok(()) };
        let mut last = None;
        for m in process.fold.crossing.fresh.iter().filter(|m| m.lsn > process.crossing.shown) {
            let id = crossed::id_of(&m.payload);
            let fresh = self.seen.insert(id) || m.lsn <= process.crossing.earlier;
            ctx.oracle.crossed.shown(gateway, id, fresh || ctx.oracle.disks_lost)?;
            last = Some(m.lsn);
        }
        if let Some(lsn) = last {
            process.crossing.shown = lsn;
            process.crossing.settled = last;
        }
        if let Some(lsn) = process.crossing.settled
            && process.log(&Record::CrossShown { lsn, unheld: 0 }).is_some()
        {
            process.crossing.settled = None;
        }
        let early = ctx.mutation == Mutation::CrossDoneEarly;
        if let Some((_, boot, seq)) = process.crossing.done.take_if(|(lsn, ..)| *lsn <= process.fold.lsn || early) {
            self.link.send_up(Lane::Intervals, "cross-done", CrossDone { format: FORMAT, boot, seq }.encode());
        }
        if !stands {
            process.crossing.flight = None;
            return Ok(());
        }
        if process.fold.lsn < process.crossing.acked || process.crossing.flight.as_ref().is_some_and(|f| ctx.now_ms < f.deadline_ms) {
            return Ok(());
        }
        let now_ms = process.clock.read(wall_ms, ctx.now_ms);
        let Some((lane, messages)) = process.fold.crossing.next_up(now_ms, share(process.fold.config.crossing_bytes)) else {
            return Ok(());
        };
        let Some((boot, last)) = messages.last().map(|m| (m.boot, m.seq)) else { return Ok(()) };
        process.crossing.flight = Some(Flight { boot, lane, last, deadline_ms: ctx.now_ms + WAIT_MS });
        let (given_up, expired) = (process.fold.crossing.given_up, process.fold.crossing.expired);
        let up = CrossUp { format: FORMAT, lane, messages, given_up, expired };
        ctx.oracle.crossed.sent(gateway, now_ms, &up)?;
        self.link.send_up(Lane::Intervals, "cross", up.encode());
        Ok(())
    }

    /// An answer, or messages of the cloud.
    pub(super) fn crossed(&mut self, ctx: &mut Ctx, what: &str, bytes: &[u8]) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let undecodable = |e| format!("a {what} does not decode: {e}");
        if what == "cross-ack" {
            let CrossAck { boot, lane, applied, .. } = CrossAck::decode(bytes).map_err(undecodable)?;
            process.crossing.flight.take_if(|f| f.boot == boot && f.lane == lane && applied >= f.last);
            if let Some(lsn) = process.log(&Record::CrossAcked { boot, lane, applied }) {
                process.crossing.acked = lsn;
            }
            return Ok(());
        }
        let down = CrossDown::decode(bytes).map_err(undecodable)?;
        let mut durable = process.fold.lsn;
        for m in down.messages.iter().filter(|_| !self.disk.full) {
            if process.fold.crossing.knows(m.boot, m.seq) {
                continue;
            }
            let message = Plain { topic: &m.topic, payload: &m.payload, qos: m.qos, retain: m.retain };
            let Some(lsn) = process.log(&Record::CrossReceived { boot: m.boot, seq: m.seq, message }) else { return Ok(()) };
            process.batch.received.push((m.boot, m.seq));
            durable = lsn;
        }
        if let Some(last) = down.messages.last().filter(|_| !self.disk.full) {
            process.crossing.done = Some((durable, last.boot, last.seq));
        }
        ctx.trace(|| format!("{} gets {} messages of the cloud", self.name, down.messages.len()));
        if ctx.mutation == Mutation::CrossDoneEarly {
            self.cross(ctx)?;
        }
        Ok(())
    }

    /// Whether no message waits here that could still go.
    pub fn crossed_all(&self, ctx: &Ctx) -> bool {
        let now_ms = self.wall_ms(ctx);
        self.process.as_ref().is_some_and(|p| {
            p.fold.crossing.next_up(now_ms.max(p.clock.now_ms), CROSS_BATCH_BYTES).is_none() && p.fold.crossing.fresh.is_empty()
        })
    }
}
