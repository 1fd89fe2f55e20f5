//! The table of all sessions, of present and absent clients.

use crate::session::{LastWill, Session};
use crate::subscriber::Subscriber;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// A client's place.
pub(crate) struct Slot {
    pub subscriber: Arc<Subscriber>,
    pub holder: Holder,
}

pub(crate) enum Holder {
    /// A connection has the session.
    Connection {
        id: u64,
        /// Tells it to give the session up.
        kick: Arc<Notify>,
        /// Closed when it has.
        gone: watch::Receiver<()>,
    },
    /// The client is absent.
    Absent {
        session: Session,
        /// When the session ends; `None` for never.
        deadline: Option<Instant>,
        /// What is published if the client does not come back in time.
        will: Option<Box<Delayed>>,
    },
}

/// A will that waits for its client's return.
pub(crate) struct Delayed {
    pub last: LastWill,
    pub due: Instant,
    /// An earlier process left it: whatever session its client comes back with, it has not failed.
    pub inherited: bool,
}

impl Slot {
    /// Whether it stands for a will alone: its client's session is over.
    pub fn is_over(&self) -> bool {
        matches!(&self.holder, Holder::Absent { session, .. } if session.expiry_s == 0)
    }

    /// The client is back.
    pub fn returned(&mut self) {
        if let Holder::Absent { will, .. } = &mut self.holder {
            drop(will.take_if(|delayed| delayed.inherited));
        }
    }
}

/// The sessions by client identifier.
#[derive(Default)]
pub(crate) struct Sessions {
    pub slots: Mutex<HashMap<String, Slot>>,
}

impl Sessions {
    /// Whether a connection has that client's session.
    pub fn is_connected(&self, client_id: &str) -> bool {
        self.slots.lock().get(client_id).is_some_and(|slot| matches!(slot.holder, Holder::Connection { .. }))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.lock().len()
    }
}
