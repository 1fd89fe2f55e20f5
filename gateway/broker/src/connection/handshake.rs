//! CONNECT: the first packet, the session, and the answer.

use super::{Answer, Connection, Pending, close};
use crate::application::{Client, Version};
use crate::codec::connect::{self, Connect};
use crate::codec::read::{self, Frame};
use crate::codec::{reason, write};
use crate::inner::{Inner, Stop};
use crate::limits::{CONNECT_BYTES_MAX, CONNECT_WAIT, INFLIGHT_MAX, PROBE_AFTER, PROBE_EVERY, READ_BYTES_MAX, READ_BYTES_MIN};
use crate::router::Routes;
use crate::stats::count;
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Serves one client from CONNECT to its end; `full`: unless it takes its own place over, it is only told that there is no room.
pub(crate) async fn serve(mut stream: TcpStream, inner: Arc<Inner>, full: bool) {
    // Each write is complete in itself; there is nothing to wait for.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A client without a keep-alive that lost its power would hold its place for ever.
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "a socket is not probed while it is silent");
    }
    let mut input = BytesMut::with_capacity(READ_BYTES_MIN);
    let max = inner.config.max_packet.min(CONNECT_BYTES_MAX);
    let mut stop = inner.stop.subscribe();
    let first = tokio::select! {
        first = tokio::time::timeout(CONNECT_WAIT, first_packet(&mut stream, &mut input, max)) => first,
        // Nothing was promised to it yet.
        _ = stop.wait_for(|stop| *stop > Stop::Running) => return,
    };
    let Ok(Ok(Some(body))) = first else { return };
    let version = connect::version_of(&body);
    let mut packet_max = u32::MAX;
    let taken = match connect::read(&body) {
        Ok(connect) => {
            packet_max = connect.packet_max;
            if full && !inner.sessions.is_connected(&connect.client_id) {
                count(&inner.counters.turned_away, 1);
                Err(reason::QUOTA_EXCEEDED)
            } else {
                welcome(&inner, connect, input).await
            }
        }
        Err(violation) => {
            tracing::debug!(%violation, "a client is turned away");
            count(&inner.counters.violations, 1);
            Err(violation.code)
        }
    };
    // It holds the buffer that the connection reads into.
    drop(body);
    match taken {
        Ok((mut connection, connect)) => {
            let end = connection.run(&mut stream).await;
            connection.finish(&mut stream, end, connect.will).await;
        }
        Err(code) => {
            let mut answer = Vec::new();
            write::turn_away(&mut answer, version, code);
            if answer.len() > packet_max as usize {
                answer.clear();
            }
            close(&mut stream, &answer).await;
        }
    }
}

/// The body of the first packet; nothing where that is no CONNECT or never comes whole, which
/// is closed without a word: whoever speaks there does not speak MQTT.
async fn first_packet(stream: &mut TcpStream, input: &mut BytesMut, max: usize) -> io::Result<Option<BytesMut>> {
    loop {
        if input.first().is_some_and(|head| *head != 0x10) {
            return Ok(None);
        }
        match read::frame(input, max) {
            Ok(Frame::Whole(_, body)) => {
                let mut packet = input.split_to(body.end);
                packet.advance(body.start);
                return Ok(Some(packet));
            }
            Ok(Frame::Needs(more)) => input.reserve(more.min(READ_BYTES_MAX)),
            Err(violation) => {
                tracing::debug!(%violation, "a connection's first packet is not taken");
                return Ok(None);
            }
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// Attaches the client to its session; CONNACK waits for the ticket like any answer.
async fn welcome(inner: &Arc<Inner>, connect: Connect, input: BytesMut) -> Result<(Connection, Connect), u8> {
    let version = connect.version;
    let assigned = connect.client_id.is_empty().then(|| assigned_id(inner));
    if assigned.is_some() && version == Version::V3 && !connect.clean {
        return Err(reason::CLIENT_ID_INVALID);
    }
    let client_id = assigned.clone().unwrap_or_else(|| connect.client_id.clone());
    let id = inner.next_connection.fetch_add(1, Ordering::Relaxed);
    let welcome = |present| {
        let mut connack = Vec::new();
        write::welcome(&mut connack, version, present, inner.config.max_packet, assigned.as_deref());
        connack
    };
    // What is offered must be said, or the client could not keep to it; a client that has no
    // room for that cannot be served. Every other answer to it but SUBACK is shorter.
    if welcome(false).len() > connect.packet_max as usize {
        return Err(reason::PACKET_TOO_LARGE);
    }
    let attached = inner.attach(&connect, &client_id, id).await.map_err(|refusal| refusal.connect_code())?;
    let connack = welcome(attached.present);
    let answer = Answer::Packet(connack.into());
    let connection = Connection {
        client: Client { client_id, session: attached.session.number, version, connection: id, memory: Mutex::new(None) },
        again: attached.session.inflight.unacknowledged().into(),
        session: attached.session,
        subscriber: attached.subscriber,
        hold: attached.hold,
        kick: attached.kick,
        input,
        read_bytes: READ_BYTES_MIN,
        output: Vec::new(),
        written: 0,
        pending: VecDeque::from([Pending { ticket: attached.ticket, answer, message: None }]),
        pending_bytes: 0,
        held: 1,
        welcomed: false,
        unacked: 0,
        incomplete: BTreeSet::new(),
        horizon: inner.application.horizon(),
        routes: Routes::default(),
        inflight_max: usize::from(connect.receive_max.min(INFLIGHT_MAX)),
        packet_max: connect.packet_max,
        explains: connect.version == Version::V5 && connect.explains && connect.packet_max as usize >= write::REFUSAL_BYTES_MAX,
        keep_alive: (connect.keep_alive_s > 0).then(|| Duration::from_secs(u64::from(connect.keep_alive_s))),
        whole: false,
        busy: None,
        moved: false,
        released: false,
        unanswered: None,
        held_back: None,
        settling: None,
        closing: None,
        inner: inner.clone(),
    };
    Ok((connection, connect))
}

/// An identifier that no client has, in this process or one before.
fn assigned_id(inner: &Inner) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let number = inner.next_connection.fetch_add(1, Ordering::Relaxed);
    format!("auto-{nanos:x}-{number}")
}
