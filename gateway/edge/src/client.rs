//! What every MQTT connection of the gateway to a broker elsewhere needs beside the client: a limit
//! for connecting apart from the one for writing, and an end that leaves nothing behind.

use crate::limits::{CONNECT_WAIT, FLUSH_WAIT_S};
use rumqttc::{ConnectionError, Event, EventLoop, NetworkOptions};
use std::io::ErrorKind;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// The client has one limit for connecting and for each write: here it is the write's, as what is
/// long may take its time on a slow line.
pub fn prepare(mqtt: &mut EventLoop) {
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(FLUSH_WAIT_S).set_tcp_nodelay(true);
    mqtt.set_network_options(network);
}

/// The next event; connecting, which is a poll of its own, has its own limit. Whether the broker has a name comes
/// first, as of a network that is away that alone is known for sure.
///
/// # Errors
/// The client's.
pub async fn poll(mqtt: &mut EventLoop) -> Result<Event, ConnectionError> {
    if mqtt.network.is_some() {
        return mqtt.poll().await;
    }
    let nobody = |why: String| ConnectionError::Io(std::io::Error::new(ErrorKind::HostUnreachable, why));
    let addresses = timeout(CONNECT_WAIT / 2, lookup_host(mqtt.mqtt_options.broker_address())).await;
    drop(addresses.map_err(|_| nobody("its name is not resolved in time".to_owned()))?.map_err(|error| nobody(error.to_string()))?);
    timeout(CONNECT_WAIT, mqtt.poll()).await.unwrap_or(Err(ConnectionError::NetworkTimeout))
}

/// Whether an attempt to connect failed so that the broker cannot have begun a session: nobody was there to read our
/// CONNECT, or the answer says so. Of any other it is not known.
pub fn is_unheard(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Io(error) => {
            matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
        }
        ConnectionError::ConnectionRefused(_) => true,
        _ => false,
    }
}

/// Ends the connection, and with it all that was queued, under way, or told by it and not heard yet:
/// packet identifiers of one connection say nothing on the next. `EventLoop::clean` alone keeps what
/// collided with an identifier in use, and then takes no request ever again.
pub fn forget(mqtt: &mut EventLoop) {
    mqtt.clean();
    mqtt.pending.clear();
    mqtt.state.collision = None;
    mqtt.state.events.clear();
}

/// A broker of a few lines, for tests of what connects to one.
#[cfg(test)]
pub mod peer {
    use bytes::BytesMut;
    use rumqttc::{ConnAck, ConnectReturnCode, Packet, SubAck, SubscribeReasonCode};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    /// So long a test waits for a packet that must come.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// One connection, from the broker's side.
    pub struct Peer {
        stream: TcpStream,
        buffer: BytesMut,
    }

    /// Where to listen, and its port.
    pub async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    impl Peer {
        /// The next connection, its CONNECT answered; and its client identifier.
        pub async fn accept(listener: &TcpListener, session_present: bool) -> (Self, String) {
            let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("a connection in time").unwrap();
            let mut peer = Self { stream, buffer: BytesMut::new() };
            let Some(Packet::Connect(connect)) = peer.next().await else { panic!("no CONNECT") };
            peer.send(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, session_present))).await;
            (peer, connect.client_id)
        }

        /// One that has ended, to stand where another was.
        pub async fn gone() -> Self {
            let (listener, port) = listener().await;
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            drop(listener);
            Self { stream, buffer: BytesMut::new() }
        }

        /// The next packet but a ping, none when the connection has ended.
        pub async fn next(&mut self) -> Option<Packet> {
            loop {
                match Packet::read(&mut self.buffer, 64 << 20) {
                    Ok(Packet::PingReq) => self.send(Packet::PingResp).await,
                    Ok(packet) => return Some(packet),
                    Err(_) => {
                        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("a packet in time");
                        if read.unwrap_or(0) == 0 {
                            return None;
                        }
                    }
                }
            }
        }

        /// Sends a packet; who is gone does not get it.
        pub async fn send(&mut self, packet: Packet) {
            let mut out = BytesMut::new();
            packet.write(&mut out, 64 << 20).unwrap();
            drop(self.stream.write_all(&out).await);
        }

        /// The next packet must be SUBSCRIBE: its filters, each of which gets that answer.
        pub async fn subscribed(&mut self, code: SubscribeReasonCode) -> Vec<String> {
            let Some(Packet::Subscribe(subscribe)) = self.next().await else { panic!("no SUBSCRIBE") };
            self.send(Packet::SubAck(SubAck::new(subscribe.pkid, vec![code; subscribe.filters.len()]))).await;
            subscribe.filters.into_iter().map(|f| f.path).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::{AsyncClient, MqttOptions, Packet, PubAck, Publish, QoS};

    /// A message of 2 MiB on a line of 150 KiB/s is one write of 14 s.
    #[test]
    fn a_long_write_may_take_its_time() {
        let (_, mut mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 8);
        prepare(&mut mqtt);
        assert!(mqtt.network_options().connection_timeout() >= 60);
        assert!(CONNECT_WAIT.as_secs() < 60, "which is not how long connecting may take");
    }

    /// Too long for a label of any name, so that no server is asked.
    #[tokio::test]
    async fn a_broker_whose_name_nobody_knows_has_not_heard_us() {
        let (_, mut mqtt) = AsyncClient::new(MqttOptions::new("x", "x".repeat(64), 1883), 8);
        assert!(is_unheard(&poll(&mut mqtt).await.unwrap_err()));
    }

    #[test]
    fn an_ended_connection_leaves_nothing_behind() {
        let (client, mut mqtt) = AsyncClient::new(MqttOptions::new("x", "127.0.0.1", 1), 8);
        client.try_publish("t", QoS::AtLeastOnce, false, "queued").unwrap();
        mqtt.state.collision = Some(Publish::new("t", QoS::AtLeastOnce, "collided"));
        mqtt.state.events.push_back(Event::Incoming(Packet::PubAck(PubAck::new(7))));
        forget(&mut mqtt);
        assert!(mqtt.pending.is_empty() && mqtt.state.collision.is_none() && mqtt.state.events.is_empty());
    }
}
