//! What the front door knows of the alarms, to refuse at once what cannot be.

use hashbrown::HashSet;
use parking_lot::RwLock;
use replica::alarm::{Name, Target};
use role::alarms::Refused;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the door knows.
pub struct Desk {
    gateway: String,
    /// The gateway's alarms.
    pub(crate) known: RwLock<HashSet<Name>>,
    /// So much waits for the cloud that nothing more is taken.
    pub(crate) full: AtomicBool,
}

impl Desk {
    /// A desk for a gateway whose alarms are not known yet.
    pub fn new(gateway: &str) -> Self {
        Self { gateway: gateway.to_owned(), known: RwLock::default(), full: AtomicBool::new(false) }
    }

    /// Whether something can be done to an alarm.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, target: &Target<'_>) -> Result<(), Refused> {
        let name = (target.series.to_owned(), target.kind.to_owned());
        if target.gateway != self.gateway || !self.known.read().contains(&name) {
            return Err(Refused::Unknown);
        }
        match self.full.load(Ordering::Relaxed) {
            true => Err(Refused::Busy("too much waits for the cloud; ask again when the link is back".into())),
            false => Ok(()),
        }
    }

    /// Whether a topic asks for something about an alarm of this gateway.
    pub fn target<'a>(&self, topic: &'a str) -> Option<Target<'a>> {
        topic.strip_prefix("alarms/").and_then(Target::of).filter(|target| target.gateway == self.gateway)
    }
}
