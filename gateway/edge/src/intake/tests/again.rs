//! What comes again and what does not, with and without the mark.

use super::*;
use broker::Application;

const NOW_MS: i64 = 1_700_000_000_000;

/// A client with a durable session.
fn durable(intake: &Intake) -> Client {
    let open = OpenSession { client_id: "c", expiry_s: u32::MAX, version: Version::V3 };
    let session = intake.open_session(&open).unwrap().number;
    Client { session, ..client(Version::V3) }
}

fn publish<'a>(payload: &'a str, qos: u8, packet_id: u16, dup: bool) -> Publish<'a> {
    Publish { topic: "sensors/a", payload: payload.as_bytes(), qos, retain: false, dup, packet_id, will: false }
}

/// Whether a message counts; a duplicate is acknowledged and goes no further.
fn counts(intake: &Intake, client: &Client, publish: Publish<'_>) -> bool {
    match offer(intake, client, publish) {
        Verdict::After { route, .. } => route,
        other => panic!("{other:?}"),
    }
}

fn single(n: i64) -> String {
    format!("{{\"value\":1,\"ts\":{}}}", NOW_MS + n)
}

fn array(from: i64, count: i64) -> String {
    format!("[{}]", (from..from + count).map(single).collect::<Vec<_>>().join(","))
}

#[test]
fn all_that_was_in_flight_is_told_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 10);
    let in_flight = broker::limits::PENDING_MAX + usize::from(broker::limits::RECEIVE_MAX);
    let singles = (0..in_flight as i64).map(single).collect();
    let arrays = (0..20).map(|n| array(n * 60, 60)).collect();
    for messages in [singles, arrays, vec![array(0, 1_500)]] {
        let messages: Vec<String> = messages;
        for client in [durable(&intake), client(Version::V5)] {
            for (n, payload) in messages.iter().enumerate() {
                assert!(counts(&intake, &client, publish(payload, 1, n as u16 + 1, false)));
            }
            for (n, payload) in messages.iter().enumerate() {
                assert!(!counts(&intake, &client, publish(payload, 1, n as u16 + 1, true)), "{n} of {}", messages.len());
            }
        }
    }
}

#[test]
fn at_qos_2_a_released_identifier_brings_a_new_message_whatever_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 10);
    let client = durable(&intake);
    let coarse = single(0);
    assert!(counts(&intake, &client, publish(&coarse, 2, 1, false)));
    intake.session(client.session, SessionEvent::Qos2Released { packet_id: 1 }).unwrap();
    // Its first copy was lost on the way, and it comes on this connection or the next.
    assert!(counts(&intake, &client, publish(&coarse, 2, 2, true)));
    intake.session(client.session, SessionEvent::Disconnected { expiry_s: 9, settled: false }).unwrap();
    intake.session(client.session, SessionEvent::Resumed { expiry_s: 9 }).unwrap();
    assert!(counts(&intake, &client, publish(&coarse, 2, 3, true)));
    assert!(!counts(&intake, &client, publish(&coarse, 2, 2, false)), "the very identifier that may be unacknowledged");
}

#[test]
fn without_the_mark_only_what_a_lost_connection_left_in_doubt_is_a_redelivery() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 10);
    let client = durable(&intake);
    let coarse = single(0);
    let back = |settled| {
        intake.session(client.session, SessionEvent::Disconnected { expiry_s: 9, settled }).unwrap();
        intake.session(client.session, SessionEvent::Resumed { expiry_s: 9 }).unwrap();
    };
    assert!(counts(&intake, &client, publish(&coarse, 1, 1, false)));
    back(true);
    assert!(counts(&intake, &client, publish(&coarse, 1, 1, false)), "it knew that the first was taken");
    assert!(!counts(&intake, &client, publish(&coarse, 1, 1, true)), "the mark says that it is the same");
    back(false);
    assert!(!counts(&intake, &client, publish(&coarse, 1, 1, false)));
    assert!(counts(&intake, &client, publish(&coarse, 1, 1, false)), "in doubt once");
}

#[test]
fn a_time_ahead_is_known_by_what_was_sent_and_a_relative_one_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, intake) = door(dir.path(), 10);
    let client = durable(&intake);
    let ahead = format!("{{\"value\":1,\"ts\":{}}}", wall_ms() + 3_600_000);
    assert!(counts(&intake, &client, publish(&ahead, 1, 1, false)));
    std::thread::sleep(Duration::from_millis(5));
    assert!(!counts(&intake, &client, publish(&ahead, 1, 1, true)));
    let relative = "[{\"n\":\"x\",\"v\":1,\"t\":-5},{\"n\":\"x\",\"v\":1,\"t\":-4}]";
    for dup in [false, true] {
        assert!(counts(&intake, &client, publish(relative, 1, 2, dup)));
    }
    let past = "[{\"n\":\"x\",\"v\":1,\"t\":-3000000000}]";
    let five = Client { version: Version::V5, ..durable(&intake) };
    assert_eq!(offer(&intake, &five, publish(past, 1, 2, false)), Verdict::Refuse(broker::Refusal::PayloadFormatInvalid));
}
