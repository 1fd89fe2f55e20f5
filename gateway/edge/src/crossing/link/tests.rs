//! The connection against a broker that does not do what one expects.

use super::*;
use crate::client::peer::{Peer, listener};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

async fn link(answer_wait: Duration) -> (CrossLink, TcpListener, mpsc::Receiver<Event>) {
    let (listener, port) = listener().await;
    let (events, told) = mpsc::channel(64);
    let filters = vec!["plants/plant-a/cmd/#".to_owned()];
    let link = CrossLink::to_broker_patiently("plant-a", ("127.0.0.1", port), filters, answer_wait, events, Arc::default());
    (link, listener, told)
}

async fn next(told: &mut mpsc::Receiver<Event>) -> CrossEvent {
    match told.recv().await {
        Some(Event::Cross(event)) => event,
        _ => panic!("nothing more is told"),
    }
}

/// So many connections come about.
async fn connected(told: &mut mpsc::Receiver<Event>, times: usize) {
    for _ in 0..times {
        while !matches!(next(told).await, CrossEvent::Connected(_)) {}
    }
}

fn message() -> Crossed {
    Crossed { boot: 1, seq: 1, topic: "t".into(), payload: Vec::new(), qos: 1, retain: false }
}

const GRANTED: SubscribeReasonCode = SubscribeReasonCode::Success(QoS::AtLeastOnce);

/// The broker kept the session, but the subscription was lost with its connection, or was never answered:
/// it is made again. What was granted is not.
#[tokio::test]
async fn a_subscription_counts_once_it_is_granted() {
    let (link, listener, mut told) = link(Duration::from_secs(10)).await;
    let (mut peer, _) = Peer::accept(&listener, false).await;
    assert!(matches!(peer.next().await, Some(Packet::Subscribe(_))));
    drop(peer);
    let (mut peer, _) = Peer::accept(&listener, true).await;
    assert!(matches!(peer.next().await, Some(Packet::Subscribe(_))), "asked again");
    assert!(peer.next().await.is_none(), "no answer: given up");
    let (mut peer, _) = Peer::accept(&listener, true).await;
    peer.subscribed(SubscribeReasonCode::Failure).await;
    // What goes out needs no subscription.
    connected(&mut told, 3).await;
    assert_eq!(link.publish(&[message()]).0, 1);
    assert!(matches!(peer.next().await, Some(Packet::Publish(_))));
    drop(peer);
    let (mut peer, _) = Peer::accept(&listener, true).await;
    assert_eq!(peer.subscribed(GRANTED).await, ["plants/plant-a/cmd/#"]);
    connected(&mut told, 1).await;
    // Behind the answer, so that it has been seen.
    peer.send(Packet::Publish(Publish::new("plants/plant-a/cmd/x", QoS::AtMostOnce, "1"))).await;
    assert!(matches!(next(&mut told).await, CrossEvent::Plain(4, _)));
    drop(peer);
    let (mut peer, _) = Peer::accept(&listener, true).await;
    connected(&mut told, 1).await;
    assert_eq!(link.publish(&[message()]).0, 1);
    assert!(matches!(peer.next().await, Some(Packet::Publish(_))), "and no subscription before it");
    drop(peer);
    // A session may have begun with a CONNECT whose answer is missed, and has none.
    drop(listener.accept().await.unwrap());
    let (mut peer, _) = Peer::accept(&listener, true).await;
    assert_eq!(peer.subscribed(GRANTED).await, ["plants/plant-a/cmd/#"]);
}

#[tokio::test]
async fn a_publish_without_an_answer_ends_the_connection() {
    let (link, listener, mut told) = link(Duration::from_millis(300)).await;
    let (mut peer, _) = Peer::accept(&listener, false).await;
    peer.subscribed(GRANTED).await;
    assert!(matches!(next(&mut told).await, CrossEvent::Connected(_)));
    // The connection stands as long as it likes while nothing is under way.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(link.publish(&[message()]).0, 1);
    assert!(matches!(peer.next().await, Some(Packet::Publish(_))));
    assert!(peer.next().await.is_none(), "given up");
    assert!(matches!(next(&mut told).await, CrossEvent::Disconnected));
    Peer::accept(&listener, true).await;
    assert!(matches!(next(&mut told).await, CrossEvent::Connected(_)));
}

/// It would come again with every connection, and nothing behind it.
#[tokio::test]
async fn a_large_message_comes_and_does_not_end_the_connection() {
    let (_link, listener, mut told) = link(CROSS_ANSWER_WAIT).await;
    let (mut peer, _) = Peer::accept(&listener, false).await;
    peer.subscribed(GRANTED).await;
    assert!(matches!(next(&mut told).await, CrossEvent::Connected(_)));
    let mut large = Publish::new("plants/plant-a/cmd/x", QoS::AtLeastOnce, vec![7; 5 << 20]);
    large.pkid = 1;
    peer.send(Packet::Publish(large)).await;
    let CrossEvent::Plain(1, publish) = next(&mut told).await else { panic!("it does not come") };
    assert_eq!(publish.payload.len(), 5 << 20);
}

/// What the socket has not taken has not left, and its answer is not waited for.
#[tokio::test]
async fn a_batch_has_left_once_it_is_written() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let (events, mut told) = mpsc::channel(64);
    let link = CrossLink::to_bridge("plant-a", 7, ("127.0.0.1", listener.local_addr().unwrap().port()), events, Arc::default());
    let (mut peer, _) = Peer::accept(&listener, false).await;
    peer.subscribed(GRANTED).await;
    assert!(matches!(next(&mut told).await, CrossEvent::Connected(false)));
    let batch = |bytes| CrossUp {
        format: schemas::message::FORMAT,
        lane: 1,
        messages: vec![Crossed { payload: vec![7; bytes], ..message() }],
        given_up: 0,
        expired: 0,
    };
    assert_eq!(link.send(&batch(10)).0, Some(1));
    assert!(matches!(next(&mut told).await, CrossEvent::Left(1)));
    assert!(matches!(peer.next().await, Some(Packet::Publish(_))));
    assert_eq!(link.send(&batch(4_000_000)).0, Some(2));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(told.try_recv().is_err(), "nobody reads it");
    assert!(matches!(peer.next().await, Some(Packet::Publish(_))));
    assert!(matches!(next(&mut told).await, CrossEvent::Left(2)));
}
