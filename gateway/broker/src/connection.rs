//! The one loop per client.
//!
//! Each turn does, in this order, what needs no waiting: answers that have become durable leave
//! ([`outbound`]), packets that were read are taken ([`inbound`], [`control`]), messages that
//! wait for this client follow, and all of it goes into one write. Then the loop waits for
//! whatever comes first: bytes, the horizon, a message, room to write, a deadline.

mod control;
mod handshake;
mod inbound;
mod outbound;

use crate::application::{Client, Horizon, Ticket};
use crate::codec::connect::Will;
use crate::codec::{reason, write};
use crate::error::Violation;
use crate::inner::{Inner, Stop};
use crate::limits::{
    ANSWER_WAIT, BUSY_RETRY, BUSY_WAIT, DRAIN_WAIT, LAST_BYTES_MAX, LINGER, OUTPUT_BYTES_MAX, OUTPUT_FILL_BYTES, PENDING_BYTES_MAX,
    PENDING_MAX, READ_BYTES_MAX, READ_BYTES_MIN, SETTLE_WAIT, SLOWEST_BYTES_PER_S, WRITE_STALL,
};
use crate::message::{Delivery, Message};
use crate::registry::{Detached, Hold};
use crate::router::Routes;
use crate::session::Session;
use crate::stats::count;
use crate::subscriber::Subscriber;
use bytes::BytesMut;
use socket2::SockRef;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(crate) use handshake::serve;

/// An answer that waits for its ticket, and for those before it.
struct Pending {
    ticket: Ticket,
    answer: Answer,
    /// What subscribers get then.
    message: Option<Arc<Message>>,
}

/// What the client gets.
enum Answer {
    /// Nothing: QoS 0.
    None,
    /// PUBACK, PUBREC or PUBCOMP.
    Ack { head: u8, packet_id: u16, code: u8, why: &'static str },
    /// CONNACK, SUBACK or UNSUBACK. Deliveries wait behind them, so that the client hears the
    /// answer first.
    Packet(Box<[u8]>),
}

/// Why the loop ended.
#[derive(Debug)]
enum End {
    /// The client said so.
    Disconnect { will: bool, settled: bool },
    /// The socket closed or failed, or nothing can be acknowledged any more.
    Lost,
    /// This side closes, with a reason.
    Close(u8),
    /// The same, once what was taken before is acknowledged.
    CloseAfterwards(u8),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        tracing::debug!(%violation, "a client is disconnected");
        End::Close(violation.code)
    }
}

/// A client whose CONNECT was taken.
struct Connection {
    inner: Arc<Inner>,
    client: Client,
    session: Session,
    subscriber: Arc<Subscriber>,
    hold: Hold,
    kick: Arc<Notify>,
    input: BytesMut,
    /// Bytes to make room for before a read; follows what reads bring.
    read_bytes: usize,
    output: Vec<u8>,
    /// Bytes of `output` that are written already.
    written: usize,
    pending: VecDeque<Pending>,
    /// Bytes of messages in `pending`.
    pending_bytes: usize,
    /// [`Answer::Packet`]s in `pending`.
    held: usize,
    /// Whether the client was told that it is connected.
    welcomed: bool,
    /// QoS 1 PUBLISHes without PUBACK.
    unacked: usize,
    /// QoS 2 PUBLISHes of this connection without PUBCOMP.
    incomplete: BTreeSet<u16>,
    horizon: watch::Receiver<Horizon>,
    routes: Routes,
    /// What a returning client gets again before anything new.
    again: VecDeque<(u16, Delivery)>,
    inflight_max: usize,
    packet_max: u32,
    /// Whether it is told why something is not taken.
    explains: bool,
    keep_alive: Option<Duration>,
    /// A whole packet came since this was looked at.
    whole: bool,
    busy: Option<Busy>,
    /// Something was taken or answered since this was looked at.
    moved: bool,
    /// Something was answered since this was looked at.
    released: bool,
    /// Since when the oldest answer waits although nothing is answered.
    unanswered: Option<Instant>,
    /// Since when nothing is read although the client takes its answers, and nothing moved.
    held_back: Option<Instant>,
    /// Set once the broker stops: nothing more is delivered, and until when acknowledgements of
    /// what was are waited for.
    settling: Option<Instant>,
    /// Set once nothing is read any more: how it ends, and when at the latest.
    closing: Option<(End, Instant)>,
}

/// The application is too busy for what was read.
struct Busy {
    asked: Instant,
    /// The horizon moved, or enough time went by.
    ask: bool,
}

impl Busy {
    /// When it is asked again. Once that is due it has no deadline more: what is taken from this client
    /// then waits for what is full, and that is heard of.
    fn due(&self) -> Option<Instant> {
        (!self.ask).then_some(self.asked + BUSY_RETRY)
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Nothing was heard for one and a half keep-alives.
    Silent,
    /// Nothing could be taken from the client for half a keep-alive, or an answer waits too long.
    Refuse,
    /// The busy application is asked again.
    Ask,
    /// The client takes no bytes.
    Stalled,
    /// The client has not acknowledged all that it was sent before the stop.
    Settled,
    /// What was taken is still not durable.
    Drained,
}

impl Connection {
    async fn run(&mut self, stream: &mut TcpStream) -> End {
        let (mut reader, writer) = stream.split();
        let mut stop = self.inner.stop.subscribe();
        let (kick, subscriber) = (self.kick.clone(), self.subscriber.clone());
        let mut heard = Instant::now();
        let mut wrote = heard;
        let mut armed = heard + Duration::from_secs(86_400);
        let timer = tokio::time::sleep_until(armed);
        tokio::pin!(timer);
        loop {
            let (unread, unfilled) = match self.turn() {
                Ok(left) => left,
                Err(End::CloseAfterwards(code)) => {
                    self.close_afterwards(End::Close(code));
                    continue;
                }
                Err(end) => return end,
            };
            match self.flush(|bytes| writer.try_write(bytes)) {
                Ok(true) => wrote = Instant::now(),
                Ok(false) => {}
                Err(_) => return End::Lost,
            }
            // Output that the socket does not take waits for the socket, not for more of it.
            let more = unread || (unfilled && self.output.len() < OUTPUT_FILL_BYTES);
            if self.horizon.borrow().failed {
                return End::Lost;
            }
            match *stop.borrow_and_update() {
                Stop::Running => {}
                Stop::Draining => {
                    let until = *self.settling.get_or_insert(Instant::now() + SETTLE_WAIT);
                    if self.session.inflight.len() <= self.again.len() || until <= Instant::now() {
                        self.close_afterwards(End::Close(reason::SERVER_SHUTTING_DOWN));
                    }
                }
                Stop::Now => return End::Close(reason::SERVER_SHUTTING_DOWN),
            }
            if self.pending.is_empty()
                && let Some((end, _)) = self.closing.take_if(|_| self.output.is_empty())
            {
                return end;
            }
            let now = Instant::now();
            // CONNACK comes before any other answer.
            let reading = self.closing.is_none() && self.welcomed && self.busy.is_none() && !self.is_full(0);
            // While nothing is read the client cannot be heard: its time stands still.
            if std::mem::take(&mut self.whole) || !reading {
                heard = now;
            }
            let moved = std::mem::take(&mut self.moved);
            if reading || self.closing.is_some() || self.output.len() >= OUTPUT_BYTES_MAX {
                self.held_back = None;
            } else if moved || self.held_back.is_none() {
                self.held_back = Some(now);
            }
            let released = std::mem::take(&mut self.released);
            if self.pending.is_empty() || self.closing.is_some() {
                self.unanswered = None;
            } else if released || self.unanswered.is_none() {
                self.unanswered = Some(now);
            }
            if self.output.is_empty() {
                wrote = now;
            }
            let due = self.due(heard, wrote, reading);
            if let Some((at, _)) = due
                && (at < armed || armed <= now)
            {
                timer.as_mut().reset(at);
                armed = at;
            }
            if reading {
                self.input.reserve(self.read_bytes);
            }
            let waiting = !self.pending.is_empty() || self.busy.is_some();
            let writing = !self.output.is_empty();
            let delivering = self.held == 0 && self.output.len() < OUTPUT_FILL_BYTES;
            tokio::select! {
                biased;
                () = kick.notified() => return self.last_words(reader.as_ref()),
                read = reader.read_buf(&mut self.input), if reading => match read {
                    Ok(0) => self.close_afterwards(End::Lost),
                    Ok(n) => self.follow(n),
                    Err(_) => return End::Lost,
                },
                changed = self.horizon.changed(), if waiting => match changed {
                    Ok(()) => self.ask_again(),
                    Err(_) => return End::Lost,
                },
                ready = writer.writable(), if writing => if ready.is_err() {
                    return End::Lost;
                },
                () = subscriber.wake.notified(), if delivering => {}
                _ = stop.changed() => {}
                () = timer.as_mut() => {
                    let now = Instant::now();
                    match due.filter(|(at, _)| *at <= now) {
                        Some((_, Due::Silent)) => return End::Close(reason::KEEP_ALIVE_TIMEOUT),
                        Some((_, Due::Refuse)) => return End::Close(reason::QUOTA_EXCEEDED),
                        Some((_, Due::Stalled)) => return End::Lost,
                        Some((_, Due::Drained)) => return self.closing.take().map_or(End::Lost, |(end, _)| end),
                        Some((_, Due::Ask)) => self.ask_again(),
                        Some((_, Due::Settled)) | None => {}
                    }
                    // Fired and spent; the next turn sets it for what is due then.
                    armed = now;
                    if due.is_none() {
                        armed = now + Duration::from_secs(86_400);
                        timer.as_mut().reset(armed);
                    }
                }
                // There is more to do at once, after other tasks had their turn.
                () = tokio::task::yield_now(), if more => {}
            }
        }
    }

    /// Whatever can be done without waiting; whether there is more to read, and more to send.
    fn turn(&mut self) -> Result<(bool, bool), End> {
        self.release();
        let mut unread = false;
        if self.closing.is_none() && self.welcomed && self.busy.as_ref().is_none_or(|b| b.ask) {
            unread = self.packets()?;
            self.release();
        }
        unread &= !self.is_full(0);
        let unfilled = self.closing.is_none() && self.settling.is_none() && self.fill();
        Ok((unread, unfilled))
    }

    /// Whether so much waits already, `more` PUBLISHes of a batch included, that nothing more
    /// is taken from this client.
    fn is_full(&self, more: usize) -> bool {
        self.pending.len() + more >= PENDING_MAX || self.pending_bytes >= PENDING_BYTES_MAX || self.output.len() >= OUTPUT_BYTES_MAX
    }

    /// Reads no more; ends when all that was taken is acknowledged, or [`DRAIN_WAIT`] is over.
    fn close_afterwards(&mut self, end: End) {
        if self.closing.is_none() {
            self.closing = Some((end, Instant::now() + DRAIN_WAIT));
        }
    }

    fn ask_again(&mut self) {
        if let Some(busy) = &mut self.busy {
            busy.ask = true;
        }
    }

    /// The nearest deadline. `heard`: when the client was heard last; `wrote`: when it last
    /// took bytes.
    fn due(&self, heard: Instant, wrote: Instant, reading: bool) -> Option<(Instant, Due)> {
        // A packet counts once it is whole. A large one that is on its way lengthens the time, if it comes at some pace.
        let part = Duration::from_secs((self.input.len() / SLOWEST_BYTES_PER_S) as u64);
        let silent = self.keep_alive.filter(|_| reading).map(|k| (heard + k * 3 / 2 + part, Due::Silent));
        let stalled = (!self.output.is_empty()).then(|| (wrote + WRITE_STALL, Due::Stalled));
        let drained = self.closing.as_ref().map(|(_, at)| (*at, Due::Drained));
        let settled = self.settling.filter(|_| self.closing.is_none()).map(|at| (at, Due::Settled));
        let patience = self.keep_alive.map_or(BUSY_WAIT, |k| k / 2);
        let refuse = self.held_back.map(|since| (since + patience, Due::Refuse));
        let unanswered = self.unanswered.map(|since| (since + ANSWER_WAIT, Due::Refuse));
        let ask = self.busy.as_ref().and_then(Busy::due).map(|at| (at, Due::Ask));
        [silent, stalled, settled, drained, refuse, unanswered, ask].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Another connection wants the session. What this client had sent by then still counts, its
    /// DISCONNECT above all: it lies in the socket and must not lose to the quicker connection.
    fn last_words(&mut self, stream: &TcpStream) -> End {
        // Not through the runtime, which may not have heard of these bytes yet.
        let socket = SockRef::from(stream);
        let mut bytes = vec![0; READ_BYTES_MAX];
        let mut left = LAST_BYTES_MAX;
        while left > 0 && self.closing.is_none() && self.welcomed && self.busy.is_none() && !self.is_full(0) {
            match (&*socket).read(&mut bytes) {
                Ok(n @ 1..) => {
                    self.input.extend_from_slice(&bytes[..n]);
                    left = left.saturating_sub(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
            if let Err(end) = self.packets() {
                return end;
            }
        }
        End::Close(reason::SESSION_TAKEN_OVER)
    }

    /// Lets the read buffer follow what reads bring: small for a sensor, large for a stream.
    fn follow(&mut self, read: usize) {
        if read >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if read < self.read_bytes / 8 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
    }

    /// Writes what the socket takes now; true if it took anything.
    fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        let mut progress = false;
        while self.written < self.output.len() {
            match write(&self.output[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.written += n;
                    progress = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if progress {
            self.output.drain(..self.written);
            self.written = 0;
            if self.output.is_empty() && self.output.capacity() > OUTPUT_BYTES_MAX {
                self.output = Vec::new();
            }
        }
        Ok(progress)
    }

    /// Says why, gives the session back, and closes.
    async fn finish(mut self, stream: &mut TcpStream, end: End, will: Option<Will>) {
        self.release();
        if let End::Close(code) | End::CloseAfterwards(code) = end {
            if self.welcomed {
                write::disconnect(&mut self.output, self.client.version, code);
            } else {
                write::turn_away(&mut self.output, self.client.version, code);
            }
            if self.is_breach(code) {
                count(&self.inner.counters.violations, 1);
            }
        }
        // What the socket takes at once goes before the session is free for another connection.
        let lost = matches!(end, End::Lost) || self.flush(|bytes| stream.try_write(bytes)).is_err();
        let Self { inner, client, session, subscriber, hold, mut routes, pending, mut horizon, output, .. } = self;
        let from = subscriber.id;
        let stopping = *inner.stop.borrow() > Stop::Running;
        let withdrawn = matches!(end, End::Disconnect { will: false, .. });
        let will = will.filter(|_| !stopping && !withdrawn);
        let leaves_will = stopping && !withdrawn;
        let settled = matches!(end, End::Disconnect { settled: true, .. });
        inner.detach(Detached { hold, client, session, subscriber, settled, leaves_will }, will);
        let rest: Vec<Pending> = pending.into_iter().filter(|p| p.message.is_some()).collect();
        if !rest.is_empty() {
            // What was taken is routed once it is durable, whether or not its sender is there.
            tokio::spawn(async move {
                for p in rest {
                    if !crate::will::durable(&mut horizon, p.ticket).await {
                        return;
                    }
                    if let Some(message) = p.message {
                        outbound::route(&inner, &mut routes, &message, from);
                    }
                }
            });
        }
        if !lost {
            close(stream, &output).await;
        }
    }

    fn is_breach(&self, code: u8) -> bool {
        !matches!(
            code,
            reason::SERVER_SHUTTING_DOWN
                | reason::SESSION_TAKEN_OVER
                | reason::KEEP_ALIVE_TIMEOUT
                | reason::QUOTA_EXCEEDED
                | reason::IMPLEMENTATION_SPECIFIC
        )
    }
}

/// Writes the last bytes, then listens a moment: closing with unread bytes in the socket would
/// reset the connection and take the last packet from the client.
async fn close(stream: &mut TcpStream, last: &[u8]) {
    let orderly = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        // On the heap: each connection would have room for it all its life.
        let mut ignored = vec![0; 4096];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(LINGER, orderly).await {
        tracing::trace!(%error, "a socket did not close in order");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_be_asked_again_is_waited_for_by_no_clock() {
        let asked = Instant::now();
        assert_eq!(Busy { asked, ask: false }.due(), Some(asked + BUSY_RETRY));
        assert_eq!(Busy { asked, ask: true }.due(), None, "a deadline that is over would come at once, again and again");
    }
}
