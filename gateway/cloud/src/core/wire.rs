//! Messages of gateways: judged, logged, or answered at once.

use super::Core;
use crate::conflict::Conflict;
use crate::inbound::wall_ms;
use crate::limits::{DECODED_ENTRIES_MAX, HELLOS_MAX, OVERLOAD_MS, RETRY_FULL_MS, RETRY_ROOM_MS, ROOM_WAIT, UNWRITTEN_WINDOWS_MAX};
use journal::Refused;
use replica::join::Interval;
use replica::record::Record;
use schemas::DecodeError;
use schemas::message::{Ack, AlertUp, Beat, Bye, CommandUp, Delta, Hello};
use std::time::Instant;
use tokio::runtime::Handle as Runtime;
use tracing::{error, info, warn};

impl Core {
    /// A message from a gateway: logged when it is admitted, answered at once when it is not.
    pub(super) fn wire(&mut self, gateway: &str, what: &str, bytes: &[u8], at: Instant, runtime: &Runtime) {
        self.late_ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        if !replica::join::series::valid_gateway(gateway) {
            complain!(self, "a message of a gateway with an impossible name is ignored", ?gateway);
            self.refused += 1;
            return;
        }
        let taken = match what {
            "hello" => self.hello(gateway, bytes, runtime),
            "alert" => self.alert(gateway, bytes, runtime),
            "delta" => self.delta(gateway, bytes, at, runtime),
            "command" => self.command(gateway, bytes, runtime),
            "cross" => self.cross(gateway, bytes, runtime),
            "beat" => self.beat(gateway, bytes),
            "cross-done" => self.cross_done(gateway, bytes, runtime),
            "bye" => {
                self.bye(gateway, bytes);
                return;
            }
            _ => Ok(false),
        };
        match taken {
            Ok(true) => self.heard(gateway),
            Ok(false) => self.refused += 1,
            Err(error) => {
                self.refused += 1;
                complain!(self, "a message does not decode and is ignored", %error, gateway, what);
            }
        }
    }

    /// A gateway spoke. Names that the fold does not know cost nothing: anybody can invent them, and who is new
    /// is heard once it is folded.
    pub(super) fn heard(&mut self, gateway: &str) {
        if self.knows(gateway) && self.presence.heard(gateway, wall_ms()) {
            info!(gateway, "online");
            // At once, however lately the last status went.
            self.changed.insert(gateway.to_owned(), 0);
        }
    }

    pub(super) fn knows(&self, gateway: &str) -> bool {
        self.bridge.gateways.contains_key(gateway)
    }

    fn beat(&mut self, gateway: &str, bytes: &[u8]) -> Result<bool, DecodeError> {
        let beat = Beat::decode(bytes)?;
        if let Some(living) = beat.living {
            self.spoke(gateway, living);
        }
        Ok(self.knows(gateway))
    }

    /// A gateway's living boot spoke, known by its low bits.
    fn spoke(&mut self, gateway: &str, living: u16) {
        if self.knows(gateway) && self.speakers.heard(gateway, living, Instant::now()) {
            warn!(gateway, "two processes live under this name, a cloned device or a name given twice; give one of them another");
            self.changed.insert(gateway.to_owned(), 0);
        }
    }

    /// Ms since this process began.
    pub(super) fn clock_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// What says nothing new is a sign of life, and not logged.
    fn hello(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let hello = Hello::decode(bytes)?;
        if hello.gateway != gateway || !self.bridge.has_room(gateway, hello.boot) {
            complain!(self, "a gateway that speaks for another, or one too many, is ignored", gateway, named = hello.gateway);
            return Ok(false);
        }
        // A gateway says it once for each connection: what the log has no room for is kept.
        self.hellos.remove(gateway);
        if !self.bridge.knows(gateway, &hello) {
            self.compare_end(gateway, &hello);
            if self.log(&Record::Hello { gateway, bytes }, runtime).is_none() && self.hellos.len() < HELLOS_MAX {
                self.hellos.insert(gateway.to_owned(), bytes.to_vec());
            }
        }
        self.spoke(gateway, hello.boot as u16);
        Ok(true)
    }

    /// Logs the hellos that there was no room for.
    pub(super) fn late_hellos(&mut self) {
        let door = &self.door;
        self.hellos.retain(|gateway, bytes| door.log(&Record::Hello { gateway, bytes }).is_err());
    }

    fn alert(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let up = AlertUp::decode(bytes)?;
        if !self.bridge.can_take(gateway, &up.alert) {
            complain!(self, "an alert that cannot be published, or one too many, is ignored", gateway, series = ?up.alert.series);
            return Ok(false);
        }
        self.log(&Record::AlertUp { gateway, bytes }, runtime);
        Ok(true)
    }

    fn command(&mut self, gateway: &str, bytes: &[u8], runtime: &Runtime) -> Result<bool, DecodeError> {
        let up = CommandUp::decode(bytes)?;
        if !self.bridge.has_room(gateway, up.boot) {
            complain!(self, "one gateway or boot too many is ignored", gateway);
            return Ok(false);
        }
        // What is known already is not logged again: a gateway repeats it when it connects.
        let board = self.bridge.alarms.board(gateway);
        let is_news = !up.answers.is_empty() || up.acts.iter().any(|act| board.is_none_or(|board| !board.knows(act)));
        if is_news {
            self.log(&Record::CommandUp { gateway, bytes }, runtime);
        }
        Ok(true)
    }

    fn delta(&mut self, gateway: &str, bytes: &[u8], at: Instant, runtime: &Runtime) -> Result<bool, DecodeError> {
        let interval = Interval::decode(bytes)?;
        if self.store.is_short() && self.bridge.sizes().3 >= UNWRITTEN_WINDOWS_MAX && !self.store.has_room() {
            // The gateway keeps it, and sends it again; without an answer it would take the connection for deaf.
            self.ack(gateway, self.bridge.busy(gateway, &interval.delta, RETRY_ROOM_MS));
            return Ok(true);
        }
        if !self.bridge.has_room(gateway, interval.delta.boot) {
            complain!(self, "one gateway or boot too many is asked to come again later", gateway);
            self.ack(gateway, self.bridge.busy(gateway, &interval.delta, RETRY_FULL_MS));
            return Ok(false);
        }
        let Delta { sent_ms, clock, .. } = interval.delta;
        if sent_ms != 0 {
            self.spoke(gateway, interval.delta.boot as u16);
            let arrived_ms = wall_ms().saturating_sub(i64::try_from(at.elapsed().as_millis()).unwrap_or(0));
            if self.knows(gateway) {
                self.clocks.insert(gateway.to_owned(), (sent_ms.saturating_sub(arrived_ms), clock));
            }
        }
        match self.bridge.admit(gateway, &interval.delta, &self.unfolded) {
            Err(ack) => {
                self.compare(gateway, &interval.delta);
                self.ack(gateway, ack);
            }
            Ok(()) => match self.log(&Record::Interval { gateway, bytes }, runtime) {
                Some(lsn) => {
                    self.unfolded.push(lsn, gateway, &interval.delta);
                    if self.decoded_entries + interval.len() <= DECODED_ENTRIES_MAX {
                        self.decoded_entries += interval.len();
                        self.decoded.push_back((lsn, interval));
                    }
                }
                None => self.ack(gateway, self.bridge.busy(gateway, &interval.delta, RETRY_ROOM_MS)),
            },
        }
        Ok(true)
    }

    fn bye(&mut self, gateway: &str, bytes: &[u8]) {
        match Bye::decode(bytes) {
            Ok(bye) if self.bridge.gateways.get(gateway).is_some_and(|g| g.boot == bye.boot) => {
                self.presence.gone(gateway);
            }
            // The will of a boot that another has followed.
            Ok(_) => {}
            Err(error) => {
                self.refused += 1;
                complain!(self, "a last will does not decode and is ignored", %error, gateway);
            }
        }
    }

    /// Answers an interval, by our clock. When messages wait long before they are looked at, gateways
    /// are asked to pause: twice as long as it takes to catch up.
    pub(super) fn ack(&self, gateway: &str, mut ack: Ack) {
        ack.clock_ms = wall_ms();
        if self.late_ms >= OVERLOAD_MS {
            let pause = (2 * self.late_ms).min(RETRY_FULL_MS);
            ack.retry_after_ms = Some(ack.retry_after_ms.unwrap_or(0).max(pause));
        }
        self.out.answer(format!("bridge/v1/{gateway}/down/ack"), ack.encode());
    }

    /// Appends a record; waits a moment for a log that is behind, as that holds the gateways.
    pub(super) fn log(&self, record: &Record<'_>, runtime: &Runtime) -> Option<u64> {
        let until = Instant::now() + ROOM_WAIT;
        let mut progress = self.journal.horizon();
        loop {
            progress.mark_unchanged();
            match self.door.log(record) {
                Ok(lsn) => return Some(lsn),
                Err(Refused::Full) if Instant::now() < until => {
                    // Out of time or out of log: both are seen above.
                    drop(runtime.block_on(async { tokio::time::timeout(ROOM_WAIT / 10, progress.changed()).await }));
                }
                Err(refused) => {
                    warn!(%refused, "not taken; whoever sent it sends it again");
                    return None;
                }
            }
        }
    }

    /// Says so where a gateway goes on from less of a boot than is here: what lies beyond counts here alone.
    fn compare_end(&self, gateway: &str, hello: &Hello) {
        let Some((boot, end)) = hello.parent else { return };
        let here = self.bridge.gateways.get(gateway).and_then(|known| known.boots.get(&boot)).map_or(0, |part| part.applied);
        if here > end {
            let boot = format!("{boot:016x}");
            error!(gateway, boot, end, here, "a gateway's log ends before what is here of it: its disk lost the end, or it is an old copy");
        }
    }

    /// Says so where an interval that is turned down is of another log than what is here.
    fn compare(&mut self, gateway: &str, delta: &Delta) {
        if !self.bridge.is_of_another_log(gateway, delta) {
            return;
        }
        let known = self.conflicts.insert(gateway.to_owned(), Conflict { boot: delta.boot, seq: delta.from });
        if known.is_none_or(|known| known.boot != delta.boot) {
            let boot = format!("{:016x}", delta.boot);
            error!(
                gateway,
                boot,
                from = delta.from,
                "two devices speak under one boot, with different logs; the second must begin another"
            );
        }
    }
}
