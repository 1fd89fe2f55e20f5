//! Our sessions at plants' brokers, as the log has them: under which names, and whether they have what was subscribed to.

use crate::config::Ingest;
use crate::intake::Intake;
use crate::limits::INGEST_RETRY;
use broker::{Application, Horizon, OpenSession, SessionEvent, Version};
use replica::fold::Fold;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::warn;

/// Begins the names of these sessions in the log: no MQTT client can have such an identifier.
const MARK: char = '\0';

fn session_name(ingest: &Ingest) -> String {
    format!("{MARK}{} {}", ingest.url, ingest.filter)
}

/// Whether a session in the log is one of these, and no client's.
pub fn is_ours(client_id: &str) -> bool {
    client_id.starts_with(MARK)
}

/// Our identifier at the plant's broker: one for each filter, the same after every restart, so
/// that the session there always fits.
pub(super) fn client_id(gateway: &str, ingest: &Ingest) -> String {
    // FNV-1a, 32 bits.
    let hash = session_name(ingest).bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("tidegate-{gateway}-{hash:08x}")
}

/// As whom this gateway reads elsewhere: under one of these names nobody is let in at its own door, where
/// what is read would come again without end.
pub fn client_ids(gateway: &str, ingests: &[Ingest]) -> Vec<String> {
    ingests.iter().map(|ingest| client_id(gateway, ingest)).collect()
}

/// The logged session of each `[[ingest]]`, found or opened, and whether it is known to be subscribed; those that are
/// configured no more end.
pub fn sessions(fold: &Fold, intake: &Intake, ingests: &[Ingest]) -> Vec<(u64, bool)> {
    let names: Vec<String> = ingests.iter().map(session_name).collect();
    for (number, session) in &fold.sessions.by_number {
        if is_ours(&session.client_id) && !names.contains(&session.client_id) && intake.session(*number, SessionEvent::Ended).is_err() {
            warn!("an ingest that is configured no more is not forgotten yet");
        }
    }
    let find = |name: &String| {
        let (number, found) = fold.sessions.by_number.iter().find(|(_, s)| s.client_id == *name)?;
        Some((*number, !found.subscriptions.is_empty()))
    };
    let open = |name: &String| {
        let opened = intake.open_session(&OpenSession { client_id: name, expiry_s: u32::MAX, version: Version::V3 });
        // Without one, redeliveries are told only while this process lives.
        (opened.map_or(0, |opened| opened.number), false)
    };
    names.iter().map(|name| find(name).unwrap_or_else(|| open(name))).collect()
}

/// What the log says of the subscription: that our session at the plant's broker has it, if it is there.
///
/// A session that begins with a CONNECT has none, and who dies before the answer does not know. So
/// whenever a CONNECT may be under way, the log does not say it.
pub(super) struct Mark {
    intake: Arc<Intake>,
    horizon: watch::Receiver<Horizon>,
    /// Where it is logged; 0 for nowhere.
    session: u64,
    filter: String,
    is_set: bool,
}

impl Mark {
    /// As [`sessions`] found it.
    pub(super) fn of(intake: Arc<Intake>, (session, is_set): (u64, bool), filter: String) -> Self {
        Self { horizon: intake.horizon(), intake, session, filter, is_set }
    }

    /// Says it; a log that does not take it lets a next process subscribe again.
    pub(super) fn set(&mut self) {
        // At QoS 1, as SUBSCRIBE asks.
        let event = SessionEvent::Subscribed { filter: &self.filter, options: 1, identifier: None };
        self.is_set = self.is_set || self.session != 0 && self.intake.session(self.session, event).is_ok();
    }

    /// Takes it back, durably.
    pub(super) async fn clear(&mut self) {
        while self.is_set {
            match self.intake.session(self.session, SessionEvent::Unsubscribed { filter: &self.filter }) {
                Ok(ticket) => {
                    self.is_set = false;
                    // What fails ends the process.
                    drop(self.horizon.wait_for(|horizon| horizon.durable >= ticket || horizon.failed).await);
                }
                Err(_) => tokio::time::sleep(INGEST_RETRY).await,
            }
        }
    }
}
