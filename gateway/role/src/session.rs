//! Sessions of a broker's clients in a role's log: what happens to them as records, and what an earlier process left.

use broker::{Application, OpenSession, SessionEvent, StoredSession, Ticket, Version, Will};
use replica::record::{LastWill, Plain, SessionEvent as Logged};
use replica::session::Session;
use tracing::warn;

/// A session that begins, as the log keeps it.
pub fn opened<'a>(open: &OpenSession<'a>) -> Logged<'a> {
    let version = if open.version == Version::V5 { 5 } else { 4 };
    Logged::Opened { client_id: open.client_id, expiry_s: open.expiry_s, version }
}

/// What happens to a session, as the log keeps it.
pub fn logged(event: SessionEvent<'_>) -> Logged<'_> {
    match event {
        SessionEvent::Resumed { expiry_s } => Logged::Resumed { expiry_s },
        SessionEvent::Disconnected { expiry_s, settled } => Logged::Disconnected { expiry_s, settled },
        SessionEvent::Ended => Logged::Ended,
        SessionEvent::Subscribed { filter, options, identifier } => Logged::Subscribed { filter, options, identifier },
        SessionEvent::Unsubscribed { filter } => Logged::Unsubscribed { filter },
        SessionEvent::Qos2Received { packet_id } => Logged::Qos2Received { packet_id },
        SessionEvent::Qos2Released { packet_id } => Logged::Qos2Released { packet_id },
        SessionEvent::Will(will) => Logged::Will(LastWill {
            message: Plain { topic: &will.topic, payload: &will.payload, qos: will.qos, retain: will.retain },
            delay_s: will.delay_s,
            expiry_s: will.expiry_s,
            properties: &will.properties,
        }),
        SessionEvent::WillOver { ticket } => Logged::WillOver { lsn: ticket },
    }
}

/// Sessions, by number, of clients that may come back, or whose wills are still to be published. Those that are over end
/// in the log, too, and those of clients that are not let in.
pub fn stored<'a>(
    sessions: impl Iterator<Item = (&'a u64, &'a Session)>,
    now_ms: i64,
    not_let_in: &[String],
    door: &impl Application,
) -> Vec<StoredSession> {
    let is_over = |s: &Session| (s.expired(now_ms) && s.will.is_none()) || not_let_in.contains(&s.client_id);
    let (over, alive): (Vec<_>, Vec<_>) = sessions.partition(|(_, s)| is_over(s));
    for (number, _) in over {
        if let Err(refused) = door.session(*number, SessionEvent::Ended) {
            warn!(?refused, number, "the end of a session is not logged; it ends again after a restart");
        }
    }
    alive
        .into_iter()
        .map(|(number, s)| StoredSession {
            number: *number,
            client_id: s.client_id.clone(),
            expiry_s: if s.expired(now_ms) { 0 } else { s.expiry_s },
            version: if s.version == 5 { Version::V5 } else { Version::V3 },
            subscriptions: s.subscriptions.iter().map(|(f, (o, i))| (f.clone(), *o, *i)).collect(),
            received: s.received.iter().copied().collect(),
            will: last_will(s),
        })
        .collect()
}

/// Its client's last will, which an earlier process left.
fn last_will(session: &Session) -> Option<(Will, Ticket)> {
    let will = session.will.as_ref()?;
    let (topic, payload, properties) = (will.topic.clone(), will.payload.clone(), will.properties.clone());
    let (qos, retain, delay_s, expiry_s) = (will.qos, will.retain, will.delay_s, will.expiry_s);
    Some((Will { topic, payload, qos, retain, delay_s, expiry_s, properties }, will.lsn))
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::{Client, Horizon, Opened, Publish, Refusal, Verdict};
    use parking_lot::Mutex;
    use replica::session::Sessions;
    use tokio::sync::watch;

    /// A log and what it folds to.
    #[derive(Default)]
    struct Log(Mutex<(u64, Sessions)>);

    impl Log {
        fn fold(&self, number: u64, event: Logged<'_>) -> u64 {
            let (lsn, sessions) = &mut *self.0.lock();
            *lsn += 1;
            sessions.apply(*lsn, 1_000, number, event);
            *lsn
        }
    }

    impl Application for Log {
        fn publish(&self, _: &Client, _: &[Publish<'_>], _: &mut Vec<Verdict>) {}

        fn open_session(&self, open: &OpenSession<'_>) -> Result<Opened, Refusal> {
            let number = self.0.lock().0 + 1;
            Ok(Opened { number, ticket: self.fold(number, opened(open)) })
        }

        fn session(&self, number: u64, event: SessionEvent<'_>) -> Result<Ticket, Refusal> {
            Ok(self.fold(number, logged(event)))
        }

        fn horizon(&self) -> watch::Receiver<Horizon> {
            watch::channel(Horizon::default()).1
        }
    }

    #[test]
    fn what_the_broker_said_of_a_session_is_what_it_gets_back() {
        let log = Log::default();
        let open = |client_id, expiry_s, version| log.open_session(&OpenSession { client_id, expiry_s, version }).unwrap().number;
        let will =
            Will { topic: "gone".into(), payload: b"1".to_vec(), qos: 2, retain: true, delay_s: 3, expiry_s: Some(4), properties: vec![5] };
        let stays = open("stays", 60, Version::V5);
        for event in [
            SessionEvent::Subscribed { filter: "a/#", options: 0b10_1001, identifier: Some(9) },
            SessionEvent::Subscribed { filter: "b", options: 1, identifier: None },
            SessionEvent::Unsubscribed { filter: "b" },
            SessionEvent::Qos2Received { packet_id: 7 },
            SessionEvent::Qos2Received { packet_id: 8 },
            SessionEvent::Qos2Released { packet_id: 7 },
            SessionEvent::Will(&will),
        ] {
            log.session(stays, event).unwrap();
        }
        let of_will = log.0.lock().0;
        let wills = open("wills", 0, Version::V3);
        let bygone = log.session(wills, SessionEvent::Will(&will)).unwrap();
        log.session(wills, SessionEvent::Will(&will)).unwrap();
        log.session(wills, SessionEvent::WillOver { ticket: bygone }).unwrap();
        let over = open("over", 1, Version::V5);
        let ours = open("ours", u32::MAX, Version::V3);
        for number in [wills, over] {
            log.session(number, SessionEvent::Disconnected { expiry_s: 1, settled: false }).unwrap();
        }
        let sessions = log.0.lock().1.clone();
        let found = stored(sessions.by_number.iter(), 2_000, &["ours".to_owned()], &log);
        assert_eq!(found.iter().map(|s| s.number).collect::<Vec<_>>(), [stays, wills]);
        let [first, second] = &found[..] else { panic!("two of four stay") };
        assert_eq!((&*first.client_id, first.expiry_s, first.version), ("stays", 60, Version::V5));
        assert_eq!((&first.subscriptions[..], &first.received[..]), (&[("a/#".to_owned(), 0b10_1001, Some(9))][..], &[8][..]));
        assert_eq!(first.will, Some((will, of_will)));
        assert_eq!((second.expiry_s, second.version), (0, Version::V3), "there for its will alone");
        assert!(second.will.is_some());
        let left: Vec<u64> = log.0.lock().1.by_number.keys().copied().collect();
        assert!(!left.contains(&over) && !left.contains(&ours), "they end in the log, too");
    }
}
